//! Passages on their way into a block of an index: gathered to stretches, tokenised on any thread, encoded.

use tercet_retrieval::{BlockBuilder, Encoding, TokenWeights};
use tercet_sampler::{TextTokenizer, text_id};

use super::blocks::{BLOCK_BYTES, Tokenised};
use super::corpus::Passage;
use super::texts::{Stretch, TextEncoder};
use super::vectors::{floats, token_weights};
use crate::files::CommandError;
use crate::model::representation::Heads;

/// An empty block.
pub fn new_block(encoding: &Encoding) -> BlockBuilder {
    BlockBuilder::new(encoding.heads, encoding.stored)
}

/// Passages that will be encoded together.
#[derive(Default)]
pub struct Waiting {
    passages: Vec<Passage>,
    /// The length of their texts.
    num_bytes: usize,
}

impl Waiting {
    /// Whether they are to be encoded before this one is added: a stretch ends where its texts would be too many, as in
    /// all that is encoded.
    pub fn is_full(&self, next: &Passage) -> bool {
        !self.passages.is_empty() && self.num_bytes + next.text.len() > BLOCK_BYTES
    }

    /// Adds a passage.
    pub fn add(&mut self, passage: Passage) {
        self.num_bytes += passage.text.len();
        self.passages.push(passage);
    }

    /// With what is made of their texts on the host.
    ///
    /// # Errors
    /// A passage that the tokenizer cannot take.
    pub fn tokenised(self, tokenizer: &TextTokenizer, encoding: &Encoding) -> anyhow::Result<TokenisedPassages> {
        let passages = self.passages;
        let texts: Vec<&str> = passages.iter().map(|passage| passage.text.as_str()).collect();
        let untitled: Vec<&str> = passages.iter().filter_map(Passage::untitled).collect();
        let heads = encoding.heads;
        let contents = tokenizer.encode_contents(&texts)?;
        let untitled = tokenizer.encode_contents(&untitled)?;
        // Counts need no vectors.
        let to_encode = (heads.dense || heads.lexical)
            .then(|| Tokenised::of(tokenizer, &encoding.passage_prompt, &texts))
            .transpose()?;
        Ok(TokenisedPassages { passages, contents, untitled, to_encode })
    }
}

/// Passages with their tokens.
pub struct TokenisedPassages {
    passages: Vec<Passage>,
    /// Each passage's tokens, without what stands before it.
    contents: Vec<Vec<u32>>,
    /// The tokens of each passage that has a title, without the title.
    untitled: Vec<Vec<u32>>,
    /// What the encoder gets; none where nothing is encoded.
    to_encode: Option<Tokenised>,
}

impl TokenisedPassages {
    /// Encodes them, and puts them into a block; how many are blank or without a token.
    ///
    /// # Errors
    /// Representations that are not numbers, or a passage that a block cannot have.
    pub fn encode(
        &self,
        encoder: &TextEncoder,
        encoding: &Encoding,
        builder: &mut BlockBuilder,
    ) -> anyhow::Result<usize> {
        let (heads, max_len) = (encoding.heads, encoding.passage_max_len);
        let Self { passages, contents, untitled, to_encode } = self;
        let mut untitled = untitled.iter();
        let most = encoder.num_tokens_of(max_len);
        let (dense, lexical, num_empty) = match to_encode {
            Some(tokenised) => {
                let wanted = Heads { lexical: heads.lexical, ..Heads::DENSE };
                let Stretch { vectors, num_empty } = encoder.encode_tokenised(tokenised, max_len, wanted)?;
                (floats(&vectors.dense), vectors.lexical.iter().map(token_weights).collect(), num_empty)
            }
            None => {
                let is_empty = |(of, tokens): (&Passage, &Vec<u32>)| tokens.is_empty() || of.text.trim().is_empty();
                let num_empty = passages.iter().zip(contents).filter(|pair| is_empty(*pair)).count();
                (Vec::new(), vec![TokenWeights::new(); passages.len()], num_empty)
            }
        };
        let width = dense.len() / passages.len().max(1);
        for (i, passage) in passages.iter().enumerate() {
            let dense = &dense[i * width..(i + 1) * width];
            let whole = text_id(&contents[i]);
            let without_title = passage.untitled().and_then(|_| untitled.next()).map(|tokens| text_id(tokens));
            let identities = [whole, without_title.unwrap_or(whole)];
            let (id, text, tokens) = (&passage.id, &passage.text, &contents[i][..most.min(contents[i].len())]);
            let lexical = &lexical[i];
            let put = builder.push(tercet_retrieval::Passage { id, text, identities, dense, lexical, tokens });
            put.map_err(|error| CommandError::Usage(format!("the passage {id:?}: {error}")))?;
        }
        Ok(num_empty)
    }
}
