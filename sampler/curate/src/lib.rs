//! What `tercet-curate` does: from data as others publish them to what Tercet reads. `tercet import`, `tercet curate`
//! and `tercet synthesize` start it.
//!
//! [`import`] has a file a kind of labelled data set. [`curation`] makes rows of raw text: [`sources`] give pairs,
//! [`filters`] judge each, [`duplicates`] find what is there already, [`relevance`] asks a model. [`synthesis`] has
//! questions to long documents made by a language model. All read by [`input`] and write by [`output`], and what is
//! written is there whole or not at all.
//!
//! Not here: tokens, models, ranks. Whoever only trains needs none of this.

#![cfg_attr(test, allow(clippy::unwrap_used))]
// It is a library for this package's program, examples and benches alone; its documentation is read by who changes it.
#![allow(rustdoc::private_intra_doc_links)]

pub mod args;
pub mod curation;
pub mod duplicates;
pub mod error;
pub mod filters;
pub mod import;
pub mod input;
pub mod output;
pub mod pair;
pub mod reason;
pub mod relevance;
pub mod sources;
pub mod synthesis;
