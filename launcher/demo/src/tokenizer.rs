//! A tokenizer of the demo's own: a Unigram model trained on its corpus, in the shape of XLM-RoBERTa's.
//!
//! Also writes the two small files with which Hugging Face's loaders take the folder for a model's tokenizer.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, anyhow};
use serde_json::json;
use tokenizers::models::unigram::{Unigram, UnigramTrainer};
use tokenizers::normalizers::replace::ReplacePattern;
use tokenizers::normalizers::{Lowercase, NFKC, Replace, Sequence};
use tokenizers::pre_tokenizers::metaspace::{Metaspace, PrependScheme};
use tokenizers::processors::template::TemplateProcessing;
use tokenizers::{AddedToken, TokenizerBuilder, decoders};

/// Their ids are their places here, those of XLM-RoBERTa.
const SPECIAL_TOKENS: [&str; 5] = ["<s>", "<pad>", "</s>", "<unk>", "<mask>"];
/// Substrings that training starts from. More cost time and change little at this vocabulary size.
const SEED_SIZE: usize = 100_000;

/// Trains on `texts` (5 MB take about 15 s on two cores) and writes tokenizer.json and its companions into `folder`.
/// It has at most `pieces`, special tokens included. Returns tokenizer.json's path.
///
/// # Errors
/// If training fails (too little text) or a file cannot be written.
pub(crate) fn train(texts: Vec<String>, pieces: u32, folder: &Path) -> anyhow::Result<PathBuf> {
    let mut trainer = UnigramTrainer::builder()
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
    tokenizer.train(&mut trainer, texts.into_iter()).map_err(|e| anyhow!(e)).context("training the tokenizer")?;

    let path = folder.join("tokenizer.json");
    fs::create_dir_all(folder).with_context(|| format!("{}", folder.display()))?;
    tokenizer.save(&path, false).map_err(|e| anyhow!(e)).with_context(|| format!("writing {}", path.display()))?;
    write_companions(folder)?;
    Ok(path)
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
