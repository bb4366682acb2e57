//! A collection, queries, and lists of ids: MS MARCO's layout (mMARCO, T2Ranking, DuReader), cMedQA2's CSV, LeCaRDv2's
//! objects, COLIEE's folder of texts.

use super::join::{Join, Texts, add_negatives};
use crate::args::Tsv;
use crate::error::CurateError;

pub fn run(args: &Tsv) -> Result<String, CurateError> {
    let mut join = Join::default();
    if let Some(qrels) = &args.qrels {
        join.judgments(qrels, args.judged.min_score)?;
    }
    if let Some(triples) = &args.triples {
        join.triples(triples, args.judged.max_negatives)?;
    }
    add_negatives(&mut join, &args.judged)?;
    let collection = Texts { paths: &args.collection, fields: args.collection_fields.as_ref() };
    let queries = Texts { paths: &args.queries, fields: args.query_fields.as_ref() };
    join.write(&collection, &queries, &args.rows.out)
}
