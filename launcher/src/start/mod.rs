//! Starting ranks, and staying until they are gone.
//!
//! [`command`] is the command line that starts them and [`environment`] what they get of this one's variables;
//! [`child`] runs it, passes on [`signals`], and leaves no process behind; [`ended`] says what it means how it ended.
//! [`ranks`] puts these together.

mod child;
mod command;
mod ended;
mod environment;
mod ranks;
mod signals;

pub use child::{Input, Stop};
pub use ended::{check, interrupted};
pub use ranks::{Attempt, run};
pub use signals::Noted;
