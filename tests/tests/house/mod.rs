//! The house's rules, kept by a test: who may import whom, and how wide a comment is.
//!
//! 1. **No circles.** Files of a crate are nodes. A file imports the file in which what it names is defined, through
//!    however many `pub use`; `mod x;` is no import, and neither is a `pub use` of what the file does not use itself.
//!    So a folder's mod.rs may use its files, and they may use what others of them define, but not what mod.rs defines:
//!    what files share has a file of its own. Unit tests may look anywhere ([`imports`]). What is known to be wrong
//!    stands in [`circles::KNOWN`].
//! 2. **Rooms.** In worker/src a room imports only what stands below it, and of that nothing that it is not about
//!    ([`rooms`]).
//! 3. **Comments** are at most 120 columns wide and fill their lines ([`comments`]).
//! 4. **Prose** of pages, and comments of files that are no Rust, are at most 120 columns wide, and say "the
//!    number of" where a number is meant ([`prose`]).

mod circles;
mod comments;
mod imports;
mod prose;
mod rooms;
mod source;
