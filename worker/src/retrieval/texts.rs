//! Texts → token ids → representations in host memory: what every command on texts begins with.

use std::num::NonZeroUsize;
use std::ops::Deref;
use std::path::Path;
use std::rc::Rc;

use tch::{Device, Kind};
use tercet_cluster::{Collective, ReduceOp};
use tercet_configs::{CpuMatmul, Pooling, Precision, Prompts};
use tercet_retrieval::{Contents, Encoding, Stored, WeightsOf};
use tercet_sampler::{SubBatchLimit, TextInput, TextTokenizer, text_id};

use super::ahead::ahead;
use super::blocks::{BLOCK_BYTES, Tokenised, blocks};
use super::mcls::frame_with_cls;
use super::vectors::{TextVectors, gather, share};
use crate::agreement::matmul::{self, Needs};
use crate::agreement::{compute_kind_of, precision, same_weights};
use crate::files::CommandError;
use crate::machine::device::{device_kind, device_of};
use crate::model::encode::encode_texts;
use crate::model::representation::Heads;
use crate::model::{M3Model, ModelOptions};
use crate::tensors::checksum::checksum;

/// How a model's folder is used, where there is a choice.
#[derive(Debug, Clone, Copy)]
pub struct EncoderOptions {
    /// Replaces what the folder says of pooling.
    pub pooling: Option<Pooling>,
    /// Puts a CLS before each stretch of this many tokens of a text.
    pub mcls: Option<NonZeroUsize>,
    /// Tokens that go through the encoder at a time.
    pub sub_batch_tokens: usize,
    /// The encoder's arithmetic; "auto" is decided by the ranks' devices.
    pub precision: Precision,
    /// Who does the products of a CPU. "auto" is a matter of timing, so it may round differently the next time.
    pub matmul: CpuMatmul,
}

/// A model with its tokenizer.
pub struct TextEncoder<'a> {
    model: Held<'a>,
    tokenizer: Rc<TextTokenizer>,
    limit: SubBatchLimit,
    mcls: Option<NonZeroUsize>,
    precision: Precision,
}

/// A model: one's own, or one that somebody goes on with.
enum Held<'a> {
    Own(Box<M3Model>),
    Live(&'a M3Model),
}

impl Deref for Held<'_> {
    type Target = M3Model;

    fn deref(&self) -> &M3Model {
        match self {
            Self::Own(model) => model,
            Self::Live(model) => model,
        }
    }
}

impl<'a> TextEncoder<'a> {
    /// The encoder of a model as it is now, in training, which computes in `precision`. `limit` is what goes through it
    /// at a time.
    pub fn of_live(
        model: &'a M3Model,
        tokenizer: Rc<TextTokenizer>,
        limit: SubBatchLimit,
        precision: Precision,
    ) -> Self {
        Self { model: Held::Live(model), tokenizer, limit, mcls: None, precision }
    }

    /// Reads the model directory at `dir`, with the tokenizer.json in it. Every rank calls it.
    ///
    /// # Errors
    /// What is wrong with the directory; ranks have read different ones; a collective that failed.
    pub fn load(dir: &Path, options: EncoderOptions, ranks: &dyn Collective) -> anyhow::Result<Self> {
        let EncoderOptions { pooling, mcls, sub_batch_tokens, precision, matmul: library } = options;
        let precision = precision::of_ranks(precision, ranks)?;
        let options = ModelOptions { pooling, ..ModelOptions::default() };
        let device = device_of(ranks);
        let mut model = M3Model::load(dir, &options, device, Kind::Float)?;
        same_weights::check(ranks, &model.parameters.flat, format_args!("as {} has them", dir.display()))?;
        model.parameters.compute_in(compute_kind_of(precision));
        let slow = model.slow_attention(compute_kind_of(precision));
        if precision == Precision::Bf16 && ranks.rank() == 0 {
            tracing::info!("the encoder computes in bf16; --precision fp32 asks for 32-bit floats");
        }
        matmul::choose(&mut model, library, None, Needs::Forward, ranks)?;
        if !model.fresh.is_empty() {
            tracing::warn!(
                "{} lacks {}: those heads compute with random weights",
                dir.display(),
                model.fresh.join(", ")
            );
        }
        if ranks.rank() == 0 {
            let remarks = model.remarks.iter().map(String::as_str).chain(slow);
            remarks.for_each(|remark| tracing::warn!("{remark}"));
        }
        let tokenizer = Rc::new(TextTokenizer::load(&model.tokenizer_folder().join("tokenizer.json"))?);
        let (model, limit) = (Held::Own(Box::new(model)), SubBatchLimit { tokens: sub_batch_tokens, texts: 0 });
        Ok(Self { model, tokenizer, limit, mcls, precision })
    }

    /// Where the model is.
    pub fn device(&self) -> Device {
        self.model.options().1
    }

    /// The encoder's arithmetic, decided.
    pub fn precision(&self) -> Precision {
        self.precision
    }

    /// How the dense head reads a text, decided.
    pub fn pooling(&self) -> Pooling {
        self.model.pooling
    }

    /// Whether the folder has weights of all three heads.
    pub fn has_all_heads(&self) -> bool {
        self.model.fresh.is_empty()
    }

    /// The widths of a dense and of a multi-vector representation.
    pub fn dims(&self) -> (i64, i64) {
        self.model.dims()
    }

    /// What the numbers of an index of passages by this model depend on, but for the passages and the weights.
    pub fn encoding(&self, heads: Contents, stored: Stored, passage_prompt: &str, passage_max_len: usize) -> Encoding {
        Encoding {
            heads,
            stored,
            precision: self.precision,
            device: device_kind(self.device()),
            pooling: self.pooling(),
            mcls: self.mcls.map(Into::into),
            passage_prompt: passage_prompt.to_owned(),
            passage_max_len,
            sub_batch_tokens: self.limit.tokens,
        }
    }

    /// Checksums that tell the model from others: of all that its representations follow from, but for how it is used.
    pub fn weights_of(&self) -> WeightsOf {
        let config = format!("{:?} {}", self.model.config.raw, self.model.normalize);
        WeightsOf {
            weights: format!("{:016x}", checksum(&self.model.parameters.flat)),
            config: blake3::hash(config.as_bytes()).to_hex().to_string(),
            tokenizer: self.tokenizer.hash().to_owned(),
        }
    }

    /// The tokens of each text that go into the encoder if it is cut to `max_len`, special ones and what may stand
    /// before it excepted.
    ///
    /// # Errors
    /// A text that the tokenizer cannot take.
    pub fn tokens(&self, texts: &[&str], max_len: usize) -> anyhow::Result<Vec<Vec<u32>>> {
        let mut contents = self.contents(texts)?;
        let most = self.num_tokens_of(max_len);
        contents.iter_mut().for_each(|content| content.truncate(most));
        Ok(contents)
    }

    /// The tokens of each text, special ones excepted, however many.
    ///
    /// # Errors
    /// A text that the tokenizer cannot take.
    pub fn contents(&self, texts: &[&str]) -> anyhow::Result<Vec<Vec<u32>>> {
        Ok(self.tokenizer.encode_contents(texts)?)
    }

    /// How many of a text's tokens go into the encoder at most if it is cut to `max_len`: all but CLS and EOS.
    pub fn num_tokens_of(&self, max_len: usize) -> usize {
        max_len.min(self.model.config.max_text_len()).saturating_sub(2)
    }

    /// The places of those of `texts` of which the tokenizer makes no token; blank ones are among them.
    ///
    /// # Errors
    /// A text that the tokenizer cannot take.
    pub fn tokenless(&self, texts: &[&str]) -> anyhow::Result<Vec<usize>> {
        Ok(self.tokenizer.tokenless(texts)?)
    }

    /// What the model's folder names to stand before texts.
    pub fn prompts(&self) -> &Prompts {
        &self.model.prompts
    }

    /// Which of `texts` are the same, as training tells it: by their tokens, whole and without what stands before them.
    /// None for a text of which no token is left. Every rank calls it with the same texts.
    ///
    /// # Errors
    /// A text that the tokenizer cannot take; a collective that failed.
    pub fn identities(&self, texts: &[&str], ranks: &dyn Collective) -> anyhow::Result<Vec<Option<u64>>> {
        let own: Vec<&str> = share(texts, ranks).copied().collect();
        let mut ids = Vec::with_capacity(own.len());
        for block in blocks(&own, BLOCK_BYTES) {
            let contents = self.tokenizer.encode_contents(&own[block])?;
            ids.extend(contents.iter().map(|content| text_id(content).cast_signed()));
        }
        let (all, nothing) = (gather(ranks, &ids)?, text_id(&[]));
        let id = |i: usize| all[i % all.len()][i / all.len()].cast_unsigned();
        Ok((0..texts.len()).map(|i| Some(id(i)).filter(|id| *id != nothing)).collect())
    }

    /// The representations of each of `lists` of texts with `prompt` directly before each text, in their order, given
    /// to `take` list by list. A text is cut to `max_len` tokens, special ones included, or to what the model takes, if
    /// that is less. A thread makes the tokens of what comes next while the encoder computes. Every rank calls it, each
    /// with as many lists, of texts of its own.
    ///
    /// # Errors
    /// A prompt that leaves no room for a text, a tokenizer that does not fit the model, representations that are not
    /// numbers, or a collective that failed; or `take`'s.
    pub fn encode_lists(
        &self,
        prompt: &str,
        lists: &[Vec<&str>],
        max_len: usize,
        heads: Heads,
        ranks: &dyn Collective,
        mut take: impl FnMut(TextVectors) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        self.check_room(prompt, max_len)?;
        let tokenizer = &*self.tokenizer;
        let stretches = lists.iter().flat_map(|list| blocks(list, BLOCK_BYTES).into_iter().map(|own| &list[own]));
        ahead(stretches.map(|stretch| Tokenised::of(tokenizer, prompt, stretch)), |coming| {
            for list in lists {
                let mut parts = Vec::new();
                let mut num_empty = 0;
                for tokenised in coming.iter().take(blocks(list, BLOCK_BYTES).len()) {
                    let Stretch { vectors, num_empty: own } = self.encode_tokenised(&tokenised?, max_len, heads)?;
                    num_empty += own;
                    parts.push(vectors);
                }
                tell_of_empty(num_empty, ranks)?;
                take(match parts.is_empty() {
                    true => self.encode_block(&[], max_len, heads)?,
                    false => TextVectors::concat(parts),
                })?;
            }
            Ok(())
        })
    }

    /// As [`encode_lists`](Self::encode_lists), of texts that go through the encoder together, in at most
    /// [`BLOCK_BYTES`]. What comes out depends on these texts alone, not on ranks; nobody else need call it.
    ///
    /// # Errors
    /// A tokenizer that does not fit the model, or representations that are not numbers.
    pub fn encode_tokenised(&self, texts: &Tokenised, max_len: usize, heads: Heads) -> anyhow::Result<Stretch> {
        let vectors = self.encode_block(&texts.contents, max_len.min(self.model.config.max_text_len()), heads)?;
        Ok(Stretch { vectors, num_empty: texts.num_empty })
    }

    /// What makes texts' tokens, for a thread of its own.
    pub fn tokenizer(&self) -> &TextTokenizer {
        &self.tokenizer
    }

    /// Reports, on rank 0, that texts are cut earlier than was asked for.
    pub fn tell_cut(&self, ranks: &dyn Collective, what: &str, asked: usize) {
        let most = self.model.config.max_text_len();
        if ranks.rank() == 0 && most < asked {
            tracing::info!("{what} are cut at {most} tokens, for which the model has positions, not at {asked}");
        }
    }

    /// Refuses what would leave nothing of any text behind `prompt`.
    ///
    /// # Errors
    /// [`CommandError::Usage`].
    pub fn check_room(&self, prompt: &str, max_len: usize) -> anyhow::Result<()> {
        let max_len = max_len.min(self.model.config.max_text_len());
        // A space at the end becomes one with what follows.
        let mut content = self.tokenizer.encode_content(prompt.trim_end())?;
        let num_tokens = content.len();
        content.push(self.tokenizer.special().unk);
        if self.frame(&content, max_len).ids.len() == self.frame(&content, usize::MAX).ids.len() {
            return Ok(());
        }
        let message = format!(
            "the prefix {prompt:?} has {num_tokens} tokens, and the maximum length of {max_len}, special tokens included, \
             leaves none for the text: take a shorter prefix, or cut texts later"
        );
        Err(CommandError::Usage(message).into())
    }

    fn encode_block(&self, contents: &[Vec<u32>], max_len: usize, heads: Heads) -> anyhow::Result<TextVectors> {
        let inputs: Vec<TextInput> = contents.iter().map(|content| self.frame(content, max_len)).collect();
        let longest = inputs.iter().map(|input| input.ids.len()).max().unwrap_or(0);
        let largest = inputs.iter().flat_map(|input| &input.ids).copied().max().unwrap_or(0);
        self.model.check_lengths(longest, largest)?;
        let vectors = TextVectors::of(&encode_texts(&self.model, &inputs, heads, self.limit));
        vectors.check_finite()?;
        Ok(vectors)
    }

    fn frame(&self, content: &[u32], max_len: usize) -> TextInput {
        match self.mcls {
            Some(every) => frame_with_cls(content, self.tokenizer.special(), every, max_len),
            None => TextInput::framed(self.tokenizer.special(), &[], content, max_len),
        }
    }
}

/// Says, on rank 0, how many texts of all ranks are empty. Every rank calls it.
fn tell_of_empty(own: usize, ranks: &dyn Collective) -> anyhow::Result<()> {
    let mut num_empty = [own as i64];
    ranks.all_reduce(num_empty.as_mut_slice().into(), ReduceOp::Sum)?;
    let [num_empty] = num_empty;
    if num_empty > 0 {
        tracing::warn!("{num_empty} texts are blank or without a token: they all get the same representation");
    }
    Ok(())
}

/// Texts that were encoded together.
#[derive(Debug)]
pub struct Stretch {
    /// Their representations, in their order.
    pub vectors: TextVectors,
    /// How many of them are blank or without a token.
    pub num_empty: usize,
}
