//! A file a kind of data set, and what they have in common: joining texts by their ids, and folders by language.

mod beir;
mod columns;
mod dpr;
mod join;
mod languages;
mod miracl;
mod mkqa;
mod mldr;
mod narrativeqa;
mod squad;
mod tevatron;
mod tsv;

use crate::args::Kind;
use crate::error::CurateError;

/// Imports what is asked for, and returns what to say of it.
///
/// # Errors
/// The data are not what they should be, or files cannot be read or written.
pub fn run(kind: &Kind) -> Result<String, CurateError> {
    match kind {
        Kind::Squad(args) => squad::run(args),
        Kind::Beir(args) => beir::run(args),
        Kind::Dpr(args) => dpr::run(args),
        Kind::Tevatron(args) => tevatron::run(args),
        Kind::Tsv(args) => tsv::run(args),
        Kind::Columns(args) => columns::run(args),
        Kind::Miracl(args) => miracl::run(args),
        Kind::Mldr(args) => mldr::run(args),
        Kind::Mkqa(args) => mkqa::run(args),
        Kind::Narrativeqa(args) => narrativeqa::run(args),
    }
}
