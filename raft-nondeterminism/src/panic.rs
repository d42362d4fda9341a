//! A panic of the code under test as a value, with the place where it happened.
//!
//! Guarantees: a caught panic prints nothing, so that shrinking one does not print it a thousand
//!             times; every other panic of the program is treated as before.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static IS_CATCHING: Cell<bool> = const { Cell::new(false) };
    static CAUGHT: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Does something, and returns what a panic said, and where.
///
/// What `action` was changing may be broken after a panic: the caller must not look at it again.
pub(crate) fn catch<T>(action: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        // The hook is the program's, so it stays, and passes on what it does not know.
        let previous = take_hook();
        set_hook(Box::new(move |info| {
            if IS_CATCHING.get() {
                CAUGHT.set(Some(describe(info)));
            } else {
                previous(info);
            }
        }));
    });
    IS_CATCHING.set(true);
    let outcome = catch_unwind(AssertUnwindSafe(action));
    IS_CATCHING.set(false);
    outcome.map_err(|_| CAUGHT.take().unwrap_or_else(|| "a panic without words".to_owned()))
}

fn describe(info: &PanicHookInfo<'_>) -> String {
    let text = info.payload().downcast_ref::<&str>().copied();
    let text = text.or_else(|| info.payload().downcast_ref::<String>().map(String::as_str));
    let text = text.unwrap_or("a panic without words");
    match info.location() {
        Some(place) => format!("{text} ({}:{})", place.file(), place.line()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_caught_with_its_words_and_its_place() {
        let message = catch(|| assert!(Vec::<u32>::new().len() > 1, "two of them")).unwrap_err();
        assert!(message.starts_with("two of them ("), "{message}");
        assert!(message.contains("panic.rs:"), "{message}");
        assert_eq!(catch(|| 7), Ok(7), "the next one is not blamed for it");
    }
}
