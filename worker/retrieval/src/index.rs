//! A finished index, mapped.

use std::path::{Path, PathBuf};

use crate::block::Block;
use crate::bm25::{Bm25, DocLengths};
use crate::error::IndexError;
use crate::hits::Ids;
use crate::manifest::{BLOCKS, Manifest, SETTINGS, Settings, WeightsOf, differences};

/// All blocks of an index. A document's number is its place in the corpus.
#[derive(Debug)]
pub struct Index {
    dir: PathBuf,
    manifest: Manifest,
    blocks: Vec<Block>,
    /// The number of each block's first document, and that of all documents.
    first: Vec<u32>,
}

impl Index {
    /// Maps the index in the folder `dir`.
    ///
    /// # Errors
    /// There is none, it is not finished, or a block is not the one that was written.
    pub fn open(dir: &Path) -> Result<Self, IndexError> {
        let not_there = |reason: &str| IndexError::NotThere { path: dir.to_owned(), reason: reason.into() };
        let Some(manifest) = Manifest::read(dir)? else {
            return Err(match dir.join(SETTINGS).exists() {
                true => not_there("this index is not finished: type the `tercet index` command again, it goes on"),
                false => not_there("no index is here (`tercet index --out` writes one)"),
            });
        };
        let encoding = &manifest.settings.encoding;
        let mut blocks = Vec::with_capacity(manifest.blocks.len());
        let mut first = vec![0u32];
        for meta in &manifest.blocks {
            let path = dir.join(BLOCKS).join(&meta.file);
            if !path.exists() {
                let reason = "a block of the index is gone: type the `tercet index` or `tercet eval` command again, it \
                              makes the block anew";
                return Err(IndexError::NotThere { path, reason: reason.into() });
            }
            let block = Block::open(&path, encoding.heads, encoding.stored)?;
            if block.checksum()? != meta.blake3 || block.num_passages() != meta.passages {
                return Err(IndexError::damaged(&path, "it is not the block that the manifest names"));
            }
            let next = first[blocks.len()].checked_add(meta.passages as u32);
            first.push(next.ok_or_else(|| not_there("more than 4 billion documents"))?);
            blocks.push(block);
        }
        Ok(Self { dir: dir.to_owned(), manifest, blocks, first })
    }

    /// What the index is of.
    pub fn settings(&self) -> &Settings {
        &self.manifest.settings
    }

    /// Refuses a model that is not the one that made the index.
    ///
    /// # Errors
    /// [`IndexError::Other`] with what differs.
    pub fn must_be_of(&self, model: &WeightsOf) -> Result<(), IndexError> {
        let differences = differences(&self.manifest.settings.model, model);
        if differences.is_empty() {
            return Ok(());
        }
        let reason = format!(
            "the index was made with another model: {}. Name the model it was made with, or index the corpus with this one",
            differences.join("; ")
        );
        Err(IndexError::Other { path: self.dir.clone(), reason })
    }

    /// The blocks, in order.
    pub fn blocks(&self) -> &[Block] {
        &self.blocks
    }

    /// The number of the first document of block `i`.
    pub fn first_doc(&self, i: usize) -> u32 {
        self.first[i]
    }

    /// Documents.
    pub fn num_docs(&self) -> usize {
        self.first[self.blocks.len()] as usize
    }

    /// The block of document `doc`, and its place there.
    ///
    /// # Panics
    /// If there is no such document.
    pub fn place(&self, doc: u32) -> (&Block, usize) {
        let block = self.first.partition_point(|first| *first <= doc) - 1;
        (&self.blocks[block], (doc - self.first[block]) as usize)
    }

    /// The hashes of the text of document `doc`, with its title and without ([`Block::identities`]).
    ///
    /// # Panics
    /// If there is no such document.
    pub fn identities(&self, doc: u32) -> [u64; 2] {
        let (block, place) = self.place(doc);
        block.identities(place)
    }

    /// The text of document `doc`.
    ///
    /// # Errors
    /// [`IndexError::Damaged`].
    ///
    /// # Panics
    /// If there is no such document.
    pub fn text(&self, doc: u32) -> Result<String, IndexError> {
        let (block, place) = self.place(doc);
        block.text(place)
    }

    /// BM25 over this corpus's tokens.
    pub fn bm25(&self, k1: f64, b: f64, lengths: DocLengths) -> Bm25 {
        let num_tokens = self.manifest.blocks.iter().map(|block| block.tokens).sum();
        Bm25 { k1, b, lengths, num_docs: self.num_docs() as u64, num_tokens }
    }

    /// Bytes of the blocks.
    pub fn num_bytes(&self) -> u64 {
        self.manifest.blocks.iter().map(|block| block.bytes).sum()
    }

    /// BM25 over its words.
    pub fn bm25_words(&self, k1: f64, b: f64, lengths: DocLengths) -> Bm25 {
        let num_tokens = self.manifest.blocks.iter().map(|block| block.words).sum();
        Bm25 { num_tokens, ..self.bm25(k1, b, lengths) }
    }

    /// Documents that have `token`.
    pub fn document_frequency(&self, token: u32) -> u64 {
        self.blocks.iter().map(|block| block.document_frequency(token) as u64).sum()
    }

    /// Documents that have `word`.
    pub fn word_frequency(&self, word: &str) -> u64 {
        self.blocks.iter().map(|block| block.word_frequency(word) as u64).sum()
    }
}

impl Ids for Index {
    fn id(&self, doc: u32) -> &[u8] {
        let (block, place) = self.place(doc);
        block.id(place)
    }
}
