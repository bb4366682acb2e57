//! What every part of a search knows.

use tercet_cluster::Collective;
use tercet_protocol::args::{Bm25Lengths, LexicalArg, Lists};
use tercet_retrieval::{Bm25, DocLengths, Index, LexicalWeights, Stored};

use crate::retrieval::texts::TextEncoder;

/// An index that is searched.
pub struct Search<'a> {
    pub(super) index: &'a Index,
    pub(super) encoder: &'a TextEncoder<'a>,
    pub(super) ranks: &'a dyn Collective,
    pub(super) lists: &'a Lists,
    pub(super) bm25: Bm25,
    pub(super) bm25_words: Bm25,
    pub(super) lexical: LexicalWeights,
    /// What stands before each query, and its tokens at most.
    pub(super) query_prompt: &'a str,
    pub(super) query_max_len: usize,
}

impl<'a> Search<'a> {
    /// A search in an index that `encoder`'s model made. Reads this rank's part of it, to see that it is whole. Every
    /// rank calls it.
    ///
    /// # Errors
    /// A block that is damaged, or a prompt that leaves no room for a query; a rank that is gone.
    pub fn new(
        index: &'a Index,
        encoder: &'a TextEncoder<'a>,
        lists: &'a Lists,
        (query_prompt, query_max_len): (&'a str, usize),
        ranks: &'a dyn Collective,
    ) -> anyhow::Result<Self> {
        encoder.check_room(query_prompt, query_max_len)?;
        for block in index.blocks().iter().skip(ranks.rank()).step_by(ranks.world_size()) {
            block.verify()?;
        }
        ranks.barrier()?;
        let lengths = match lists.bm25_lengths {
            Bm25Lengths::Exact => DocLengths::Exact,
            Bm25Lengths::Lucene => DocLengths::Lucene,
        };
        let bm25 = index.bm25(lists.bm25_k1, lists.bm25_b, lengths);
        let bm25_words = index.bm25_words(lists.bm25_k1, lists.bm25_b, lengths);
        let lexical = match lists.lexical {
            LexicalArg::Exact => LexicalWeights::Exact,
            LexicalArg::Published => LexicalWeights::Published,
        };
        let encoding = &index.settings().encoding;
        let is_rounded = encoding.heads.lexical && encoding.stored != Stored::Fp32;
        if is_rounded && lexical == LexicalWeights::Published && ranks.rank() == 0 {
            tracing::warn!(
                "--lexical published: the index stores weights in {}, so some are another hundredth than the published \
                 procedure's; `tercet index --store fp32` keeps them whole",
                encoding.stored.name()
            );
        }
        Ok(Self { index, encoder, ranks, lists, bm25, bm25_words, lexical, query_prompt, query_max_len })
    }

    /// What is searched.
    pub fn index(&self) -> &'a Index {
        self.index
    }

    /// The model that made it.
    pub fn encoder(&self) -> &'a TextEncoder<'a> {
        self.encoder
    }

    /// How lists are made.
    pub fn lists(&self) -> &'a Lists {
        self.lists
    }

    /// Who shares the work.
    pub fn ranks(&self) -> &'a dyn Collective {
        self.ranks
    }
}
