//! Texts are cut into blocks, and blocks into tokens: what is done before the encoder comes to them.

use std::ops::Range;

use tercet_sampler::TextTokenizer;

/// Texts whose representations lie in device memory at a time, in bytes of text: some 300,000 tokens, which is about
/// 1 GB of vectors in a model 1024 wide.
pub const BLOCK_BYTES: usize = 1 << 20;

/// The tokens of texts that will be encoded together.
pub struct Tokenised {
    /// Each text's tokens, behind those that stand before it; special tokens excepted.
    pub contents: Vec<Vec<u32>>,
    /// How many of the texts are blank or without a token.
    pub num_empty: usize,
}

impl Tokenised {
    /// Tokenises `texts`, with `prompt` directly before each.
    ///
    /// # Errors
    /// A text that the tokenizer cannot take.
    pub fn of(tokenizer: &TextTokenizer, prompt: &str, texts: &[&str]) -> anyhow::Result<Self> {
        let contents = match prompt {
            "" => tokenizer.encode_contents(texts)?,
            prompt => {
                let prompted: Vec<String> = texts.iter().map(|text| format!("{prompt}{text}")).collect();
                tokenizer.encode_contents(&prompted)?
            }
        };
        // With a prompt they are not without tokens, but no less empty.
        let is_empty = |(text, content): (&&str, &Vec<u32>)| content.is_empty() || text.trim().is_empty();
        let num_empty = texts.iter().zip(&contents).filter(|pair| is_empty(*pair)).count();
        Ok(Self { contents, num_empty })
    }
}

/// Consecutive ranges of at most `max_bytes` of text; a longer text makes a range of its own.
pub fn blocks(texts: &[&str], max_bytes: usize) -> Vec<Range<usize>> {
    let mut blocks = Vec::new();
    let (mut start, mut bytes) = (0, 0);
    for (i, text) in texts.iter().enumerate() {
        if i > start && bytes + text.len() > max_bytes {
            blocks.push(start..i);
            (start, bytes) = (i, 0);
        }
        bytes += text.len();
    }
    if start < texts.len() {
        blocks.push(start..texts.len());
    }
    blocks
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_cover_everything_in_order() {
        assert_eq!(blocks(&["xx", "xx", "xx", "xxxxx", "y"], 4), [0..2, 2..3, 3..4, 4..5]);
        assert_eq!(blocks(&["x", "", "yyyy"], 4), [0..2, 2..3]);
        assert!(blocks(&[], 4).is_empty());
    }
}
