//! The token ids that frame a text, and those of padding, of unknown tokens and of what is masked.

use std::path::Path;

use serde::{Deserialize, Serialize};
use tercet_configs::read_text;

use crate::error::TokenizeError;

/// Special token ids. Files use Hugging Face's names for them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct SpecialTokens {
    /// Precedes every text (`<s>`, `[CLS]`).
    #[serde(rename = "cls_token_id")]
    pub cls: u32,
    /// Follows every text (`</s>`, `[SEP]`).
    #[serde(rename = "eos_token_id")]
    pub eos: u32,
    /// Pads the shorter texts of a batch.
    #[serde(rename = "pad_token_id")]
    pub pad: u32,
    /// Replaces what the vocabulary lacks.
    #[serde(rename = "unk_token_id")]
    pub unk: u32,
    /// Replaces what pre-training hides. Older stores and files do not say it, and some tokenizers have none.
    #[serde(rename = "mask_token_id", default, skip_serializing_if = "Option::is_none")]
    pub mask: Option<u32>,
}

impl SpecialTokens {
    /// The number of tokens that [`framed`](Self::framed) adds to a text.
    pub const NUM_FRAMING: usize = 2;

    /// Reads the `special_tokens.json` of a model directory that has no tokenizer.json.
    ///
    /// # Errors
    /// The file cannot be read, lacks an id, or asks for padding on the left, where CLS must stand.
    pub fn load(path: &Path) -> Result<Self, TokenizeError> {
        #[derive(Deserialize)]
        struct File {
            #[serde(flatten)]
            special: SpecialTokens,
            padding_side: Option<String>,
        }
        let invalid = |reason: String| TokenizeError::Invalid { path: path.to_owned(), reason };
        let text = read_text(path).map_err(|source| TokenizeError::Read { path: path.to_owned(), source })?;
        let file: File = serde_json::from_str(&text).map_err(|e| invalid(e.to_string()))?;
        match file.padding_side.as_deref() {
            None | Some("right") => Ok(file.special),
            Some(side) => Err(invalid(format!("padding_side is \"{side}\": only \"right\" is supported"))),
        }
    }

    /// CLS, `prefix`, `content` and EOS. Prefix and content are cut so that these are at most `max_len` tokens; a
    /// `max_len` below 2 still gives CLS and EOS.
    pub fn framed(&self, prefix: &[u32], content: &[u32], max_len: usize) -> Vec<i64> {
        let kept = (prefix.len() + content.len()).min(max_len.saturating_sub(Self::NUM_FRAMING));
        let mut ids = Vec::with_capacity(kept + Self::NUM_FRAMING);
        ids.push(self.cls.into());
        ids.extend(prefix.iter().chain(content).take(kept).copied().map(i64::from));
        ids.push(self.eos.into());
        ids
    }

    /// All but the mask: what has no lexical weight.
    pub fn ids(&self) -> [u32; 4] {
        [self.cls, self.eos, self.pad, self.unk]
    }

    /// Whether `id` is one of them, the mask included.
    pub fn contains(&self, id: u32) -> bool {
        self.ids().contains(&id) || self.mask == Some(id)
    }

    /// The largest id but the mask's, which contrastive training does not need.
    pub fn max_id(&self) -> u32 {
        self.cls.max(self.eos).max(self.pad).max(self.unk)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SPECIAL: SpecialTokens = SpecialTokens { cls: 0, eos: 2, pad: 1, unk: 3, mask: None };

    #[test]
    fn a_frame_is_cut_inside_and_keeps_its_ends() {
        let framed = |prefix: &[u32], content: &[u32], max_len| SPECIAL.framed(prefix, content, max_len);
        assert_eq!(framed(&[], &[7, 8, 9], 8), [0, 7, 8, 9, 2]);
        assert_eq!(framed(&[], &[7, 8, 9], 4), [0, 7, 8, 2]);
        assert_eq!(framed(&[5, 6], &[7, 8, 9], 6), [0, 5, 6, 7, 8, 2]);
        assert_eq!(framed(&[5, 6], &[7, 8, 9], 3), [0, 5, 2]);
        assert_eq!(framed(&[], &[], 4), [0, 2]);
        assert_eq!(framed(&[], &[7], 0), [0, 2]);
    }

    #[test]
    fn a_model_directorys_file_is_read() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("special_tokens.json");
        let ids = r#""cls_token_id": 0, "eos_token_id": 2, "pad_token_id": 1, "unk_token_id": 3"#;
        std::fs::write(&path, format!(r#"{{{ids}, "padding_side": "right", "other": 5}}"#)).unwrap();
        assert_eq!(SpecialTokens::load(&path).unwrap(), SPECIAL);

        std::fs::write(&path, format!(r#"{{{ids}, "mask_token_id": 4}}"#)).unwrap();
        assert_eq!(SpecialTokens::load(&path).unwrap(), SpecialTokens { mask: Some(4), ..SPECIAL });

        std::fs::write(&path, format!(r#"{{{ids}, "padding_side": "left"}}"#)).unwrap();
        assert!(SpecialTokens::load(&path).unwrap_err().to_string().contains("padding_side is \"left\""));

        std::fs::write(&path, r#"{"cls_token_id": 0}"#).unwrap();
        let message = SpecialTokens::load(&path).unwrap_err().to_string();
        assert!(message.contains("special_tokens.json: missing field `eos_token_id`"), "{message}");
    }
}
