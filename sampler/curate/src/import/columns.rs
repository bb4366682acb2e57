//! Pairs and triples in named columns: JSON Lines, Parquet, Arrow, CSV or TSV.

use crate::args::Columns;
use crate::error::CurateError;
use crate::input::{Field, for_each_record};
use crate::output::{Row, Rows};

pub fn run(args: &Columns) -> Result<String, CurateError> {
    let fields: Vec<&Field> = [&args.query].into_iter().chain(&args.pos).chain(&args.neg).collect();
    if fields.iter().any(|field| field.is_by_number()) && !fields.iter().all(|field| field.is_by_number()) {
        let reason = "columns are named all by numbers (of a table without a first line of names) or all by names";
        return Err(CurateError::Usage(reason.into()));
    }
    let mut columns: Vec<&str> = fields.iter().flat_map(|field| field.columns()).collect();
    columns.extend(args.conditions.iter().map(|condition| condition.column()));
    let mut rows = Rows::create(&args.rows.out)?;
    for path in &args.files {
        for_each_record(path, &columns, |_, record| {
            for condition in &args.conditions {
                if !condition.holds(&record)? {
                    rows.leave_out("rows with other values than --where asks for", 1);
                    return Ok(());
                }
            }
            let texts = |fields: &[Field]| {
                let all = fields.iter().map(|field| field.texts(&record)).collect::<Result<Vec<_>, _>>();
                all.map(|all| all.concat())
            };
            let (query, pos, neg) = (args.query.text(&record)?, texts(&args.pos)?, texts(&args.neg)?);
            Ok(rows.write(Row { query, pos, neg })?)
        })?;
    }
    rows.finish()
}
