//! Turns panics of others' readers into errors. Those of Arrow and Parquet panic on some damaged files, that of
//! tokenizer.json on some parts that it cannot use, and a parser of HTML on some pages.
//!
//! The state that a panic leaves behind is discarded. Such panics are not printed: a hook, set once, checks a flag of
//! the thread.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static IS_GUARDED: Cell<bool> = const { Cell::new(false) };
}

static HOOK: Once = Once::new();

/// The result of `decode`, or its panic's message as the error.
///
/// # Errors
/// `decode`'s own, or its panic's message.
pub fn guarded<T>(decode: impl FnOnce() -> Result<T, String>) -> Result<T, String> {
    HOOK.call_once(|| {
        let hook = take_hook();
        set_hook(Box::new(move |panic| {
            if !IS_GUARDED.get() {
                hook(panic);
            }
        }));
    });
    let outside = IS_GUARDED.replace(true);
    let decoded = catch_unwind(AssertUnwindSafe(decode));
    IS_GUARDED.set(outside);
    decoded.unwrap_or_else(|panic| {
        let message = panic.downcast_ref::<String>().map(String::as_str).or(panic.downcast_ref::<&str>().copied());
        Err(format!("the reader gave up: {}", message.unwrap_or("no reason given")))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_an_error_and_the_next_one_is_a_panic_again() {
        assert_eq!(guarded(|| Ok(1)), Ok(1));
        let error = guarded::<()>(|| panic!("bad {}", 7)).unwrap_err();
        assert_eq!(error, "the reader gave up: bad 7");
        assert!(!IS_GUARDED.get());
    }
}
