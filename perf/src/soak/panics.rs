//! Panics as findings: only this harness catches them, the code under test never does.

use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind, set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static CATCHING: Cell<bool> = const { Cell::new(false) };
    static SAID: RefCell<String> = const { RefCell::new(String::new()) };
}

static HOOK: Once = Once::new();

/// Runs `body`; a panic in it becomes its message and place. Panics elsewhere print as always.
pub(crate) fn caught<T>(body: impl FnOnce() -> T) -> Result<T, String> {
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |info| {
            if CATCHING.get() {
                SAID.with_borrow_mut(|said| *said = info.to_string());
            } else {
                loud(info);
            }
        }));
    });
    CATCHING.set(true);
    // What `body` leaves behind half done is dropped by every caller.
    let result = catch_unwind(AssertUnwindSafe(body));
    CATCHING.set(false);
    result.map_err(|_| SAID.take())
}
