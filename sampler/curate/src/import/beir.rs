//! A BEIR folder (Thakur et al., 2021) whose training queries are judged: corpus.jsonl, queries.jsonl, qrels/train.tsv.

use tercet_sampler::plain_or_packed;

use super::join::{Join, Texts, add_negatives};
use crate::args::Beir;
use crate::error::CurateError;

pub fn run(args: &Beir) -> Result<String, CurateError> {
    let file = |name: &str| {
        let path = plain_or_packed(&args.dir.join(name));
        match path.is_file() {
            true => Ok(path),
            false => Err(CurateError::Usage(format!("{}: no such file", path.display()))),
        }
    };
    let qrels = file(&format!("qrels/{}.tsv", args.split))?;
    let (corpus, queries) = ([file("corpus.jsonl")?], [file("queries.jsonl")?]);
    let mut join = Join::default();
    join.judgments(&qrels, args.judged.min_score)?;
    add_negatives(&mut join, &args.judged)?;
    let texts = |paths| Texts { paths, fields: None };
    join.write(&texts(&corpus), &texts(&queries), &args.rows.out)
}
