//! A tokenizer of the demo's own: a Unigram model trained on its corpus, in the shape of XLM-RoBERTa's.
//!
//! The same texts give the same file: the trainer of the crate `tokenizers` alone does not, for it goes through words
//! in the order of a hash map, and adds its numbers up in an order that depends on threads.
//!
//! Also writes the two small files with which Hugging Face's loaders take the folder for a model's tokenizer.

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use rayon::prelude::*;
use serde_json::json;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFKC, Replace, Sequence};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, TokenizerBuilder, Trainer, decoders};

/// Their ids are their places here, those of XLM-RoBERTa.
const SPECIAL_TOKENS: [&str; 5] = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
/// Substrings that training starts from. More cost time and change little at this vocabulary size.
const SEED_SIZE: usize = 100_000;
/// Parts of the words whose numbers are added up apart, whatever the machine: sums in another order are other sums.
const NUM_THREADS: usize = 2;
/// What the crate's trainer puts between the scores of characters that no piece was left for.
const SCORE_STEP: f64 = 0.0001;

/// Trains on `texts` (5 MB take about 15 s on two cores) and writes tokenizer.json and its companions into `folder`.
/// It has at most `pieces`, special tokens included. Returns tokenizer.json's path.
///
/// # Errors
/// If training fails (too little text) or a file cannot be written.
pub(crate) fn train(texts: Vec<String>, pieces: u32, folder: &Path) -> anyhow::Result<PathBuf> {
    let trainer = UnigramTrainer::builder()
        .vocab_size(pieces)
        .special_tokens(SPECIAL_TOKENS.iter().map(|t| AddedToken::from(*t, true)).collect())
        .unk_token(Some("<unk>".to_owned()))
        .seed_size(SEED_SIZE)
        .show_progress(false)
        .build()?;
    // Any run of blanks is one space, as everywhere in XLM-RoBERTa's world; small letters only suit a small vocabulary.
    let blanks = Replace::new(ReplacePattern::Regex(r"\s+".into()), " ").map_err(|e| anyhow!(e))?;
    let metaspace = Metaspace::new('▁', PrependScheme::Always, true);
    let frame = TemplateProcessing::builder()
        .try_single("<s> $A </s>")
        .and_then(|b| b.try_pair("<s> $A </s> </s> $B </s>"))
        .map_err(|e| anyhow!(e))?
        .special_tokens(vec![("<s>", 0), ("</s>", 2)])
        .build()?;
    let mut tokenizer = TokenizerBuilder::new()
        .with_model(Unigram::default())
        .with_normalizer(Some(Sequence::new(vec![NFKC.into(), Lowercase.into(), blanks.into()])))
        .with_pre_tokenizer(Some(metaspace.clone()))
        .with_post_processor(Some(frame))
        .with_decoder(Some(decoders::DecoderWrapper::from(metaspace)))
        .build()
        .map_err(|e| anyhow!(e))?;
    let mut trainer = Repeatable { trainer, words: BTreeMap::new() };
    tokenizer.train(&mut trainer, texts.into_iter()).map_err(|e| anyhow!(e)).context("training the tokenizer")?;

    let path = folder.join("tokenizer.json");
    fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    tokenizer.save(&path, false).map_err(|e| anyhow!(e)).with_context(|| format!("writing {}", path.display()))?;
    write_companions(folder)?;
    Ok(path)
}

/// The crate's trainer, made to give the same pieces each time.
struct Repeatable {
    trainer: UnigramTrainer,
    /// How often each occurs.
    words: BTreeMap<String, u32>,
}

impl Trainer for Repeatable {
    type Model = Unigram;

    fn should_show_progress(&self) -> bool {
        self.trainer.should_show_progress()
    }

    fn feed<I, S, F>(&mut self, texts: I, words_of: F) -> tokenizers::Result<()>
    where
        I: Iterator<Item = S> + Send,
        S: AsRef<str> + Send,
        F: Fn(&str) -> tokenizers::Result<Vec<String>> + Sync,
    {
        let count = |mut counts: HashMap<String, u32>, text: S| {
            for word in words_of(text.as_ref())? {
                *counts.entry(word).or_default() += 1;
            }
            tokenizers::Result::Ok(counts)
        };
        let parts: Vec<_> = texts.par_bridge().try_fold(HashMap::new, count).collect::<tokenizers::Result<_>>()?;
        for (word, times) in parts.into_iter().flatten() {
            *self.words.entry(word).or_default() += times;
        }
        Ok(())
    }

    fn train(&self, model: &mut Unigram) -> tokenizers::Result<Vec<AddedToken>> {
        let words = self.words.iter().map(|(word, times)| (word.clone(), *times)).collect();
        let threads = rayon::ThreadPoolBuilder::new().num_threads(NUM_THREADS).build()?;
        let special = threads.install(|| self.trainer.do_train(words, model))?;
        let mut pieces: Vec<_> = model.iter().cloned().collect();
        settle(&mut pieces[special.len()..]);
        *model = Unigram::from(pieces, SPECIAL_TOKENS.iter().position(|token| *token == "<unk>"), false)?;
        Ok(special)
    }
}

/// Gives `pieces` with their scores an order of their own.
///
/// Characters that no piece was left for get scores from the lowest one up, in the order of a hash set. Which ones they
/// are cannot be told, but all characters that low together have the same scores each time: these are dealt again.
fn settle(pieces: &mut [(String, f64)]) {
    pieces.sort_by(|a, b| b.1.total_cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    let is_character = |piece: &str| piece.chars().nth(1).is_none();
    let num_characters = pieces.iter().filter(|(piece, _)| is_character(piece)).count();
    let lowest = pieces.last().map_or(0.0, |(_, score)| *score);
    let above = lowest + SCORE_STEP * num_characters as f64;
    let low = |(piece, score): &&mut (String, f64)| *score <= above && is_character(piece);
    let mut names: Vec<_> = pieces.iter_mut().filter(low).map(|(piece, _)| std::mem::take(piece)).collect();
    names.sort();
    // A name that was taken is empty, and no character is.
    for ((piece, _), name) in pieces.iter_mut().filter(|(piece, _)| piece.is_empty()).zip(names) {
        *piece = name;
    }
}

/// tokenizer_config.json and special_tokens_map.json.
fn write_companions(folder: &Path) -> anyhow::Result<()> {
    let roles = json!({
        "bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "sep_token": "</s>",
        "pad_token": "<pad>", "cls_token": "<s>", "mask_token": "<mask>",
    });
    let mut config = json!({
        "tokenizer_class": "PreTrainedTokenizerFast", "model_max_length": 8192, "clean_up_tokenization_spaces": false,
    });
    if let (Some(config), Some(roles)) = (config.as_object_mut(), roles.as_object()) {
        config.extend(roles.clone());
    }
    for (name, content) in [("special_tokens_map.json", roles), ("tokenizer_config.json", config)] {
        let path = folder.join(name);
        fs::write(&path, format!("{content:#}\n")).with_context(|| format!("writing {}", path.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_texts_give_the_same_file() {
        // Each rare character occurs once, in a word that is a piece as a whole or not: many get scores of last resort.
        let rare = |n: u32| char::from_u32(0x4e00 + n).unwrap();
        let texts: Vec<_> =
            (0..600).map(|n| format!("word{} {}{} part{}", n % 37, rare(n), rare(n / 2), n % 11)).collect();
        let train = |texts: Vec<String>| {
            let folder = tempfile::tempdir().unwrap();
            fs::read(super::train(texts, 16_000, folder.path()).unwrap()).unwrap()
        };
        let first = train(texts.clone());
        for _ in 0..3 {
            assert!(train(texts.iter().rev().cloned().collect()) == first);
        }
    }

    #[test]
    fn the_written_file_loads_and_frames_texts_as_xlm_roberta_does() {
        let words = ["file", "directory", "list", "print", "sort", "Größe", "ファイル", "文件", "каталог"];
        let texts = (0..400).map(|n| format!("{} the {} {}", words[n % 9], words[n * 7 % 9], words[n * 5 % 9]));
        let folder = tempfile::tempdir().unwrap();
        let path = train(texts.collect(), 16_000, folder.path()).unwrap();
        let tokenizer = tokenizers::Tokenizer::from_file(path).unwrap();
        for (id, token) in SPECIAL_TOKENS.iter().enumerate() {
            assert_eq!(tokenizer.token_to_id(token), Some(id as u32));
        }
        let encoding = tokenizer.encode("List  the\nfile", true).unwrap();
        assert_eq!((encoding.get_ids()[0], encoding.get_ids().last()), (0, Some(&2)));
        assert_eq!(tokenizer.decode(encoding.get_ids(), true).unwrap(), "list the file");
        assert!(folder.path().join("tokenizer_config.json").is_file());
    }
}
