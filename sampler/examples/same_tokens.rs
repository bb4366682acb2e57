//! Whether a tokenizer's fast way gives the tokens that the `tokenizers` crate gives, on rows of one's own, and how
//! much faster: `cargo run --release -p tercet-sampler --example same_tokens TOKENIZER.json ROWS…`

use std::collections::HashSet;
use std::error::Error;
use std::path::Path;
use std::time::Instant;

use rayon::prelude::*;
use tercet_sampler::{RowReader, TextTokenizer};
use tokenizers::Tokenizer;

fn main() -> Result<(), Box<dyn Error>> {
    let mut args = std::env::args().skip(1);
    let tokenizer = args.next().ok_or("expected TOKENIZER.json ROWS…")?;
    let ours = TextTokenizer::load(Path::new(&tokenizer))?;
    let mut theirs = Tokenizer::from_file(&tokenizer).map_err(|e| e.to_string())?;
    theirs.with_padding(None).with_truncation(None).map_err(|e| e.to_string())?;
    println!("the fast way is {}", if ours.is_fast() { "taken" } else { "not known for this tokenizer" });
    for path in args {
        let mut texts = HashSet::new();
        for row in RowReader::open(Path::new(&path))? {
            let row = row?;
            texts.extend([row.query].into_iter().chain(row.pos).chain(row.neg));
        }
        let texts: Vec<String> = texts.into_iter().collect();
        let began = Instant::now();
        let ids = ours.encode_contents(&texts)?;
        let our_secs = began.elapsed().as_secs_f64();
        let began = Instant::now();
        let expected: Result<Vec<_>, _> =
            texts.par_iter().map(|text| Ok(theirs.encode_fast(text.as_str(), false)?.get_ids().to_vec())).collect();
        let expected = expected.map_err(|e: tokenizers::Error| e.to_string())?;
        let their_secs = began.elapsed().as_secs_f64();
        if let Some(i) = (0..texts.len()).find(|&i| ids[i] != expected[i]) {
            return Err(format!("{path}: other tokens for {:?}", texts[i]).into());
        }
        let tokens: usize = ids.iter().map(Vec::len).sum();
        println!(
            "{path}: {} texts, {tokens} tokens, the same; {:.1} times as fast",
            texts.len(),
            their_secs / our_secs
        );
    }
    Ok(())
}
