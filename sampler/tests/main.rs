//! All tests of the sampler in one program, so that it is linked once.

#![allow(clippy::unwrap_used)]

mod hostile_bytes;
mod plan_deal;
mod plan_policy;
mod plan_prepared;
mod plan_schedule;
mod plan_store;
mod plan_texts;
mod prepare;
mod prepare_inputs;
mod prepare_tokenizer;
mod store;
mod texts;
mod tokenize_alike;
mod unigram_tokenizer;
mod word_tokenizer;
mod written_store;
