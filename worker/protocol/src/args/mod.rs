//! The arguments of every command that ranks do, as they are typed: names, defaults, help, and what is refused at once.
//!
//! Each struct is a part of two command lines: of `tercet-worker COMMAND`, and of `tercet COMMAND`, which adds what
//! only a launcher is asked.

mod bench;
mod choices;
mod device;
mod doctor;
mod encode;
mod eval;
mod index;
mod measure;
mod mine;
mod probe;
mod recipe;
mod score;
mod search;
mod step;
mod texts;
mod train;

pub use bench::BenchArgs;
pub use choices::EvalChoices;
pub use device::DeviceArg;
pub use doctor::DoctorArgs;
pub use encode::{EncodeArgs, PoolingArg, Side};
pub use eval::EvalArgs;
pub use index::{IndexArgs, IndexHead, StoreArg};
pub use measure::MeasureArgs;
pub use mine::{Draw, Few, Filters, MineArgs, RankRange};
pub use probe::ProbeArgs;
pub use recipe::RecipeArgs;
pub use score::ScoreArgs;
pub use search::{Bm25Lengths, LexicalArg, Lists, Ranking, SearchArgs, Weights};
pub use step::StepArgs;
pub use texts::{PrecisionArg, Prefixes};
pub use train::{RankTrainArgs, TrainArgs};
