//! A disk that refuses a mapped page: every command says which and ends with a failure, a node tells its sessions first.

use crate::topology::Farewell;
use std::io;
use std::sync::Mutex;
use std::thread;
use wattbook_ledger::BusErrors;

/// What is said to the sessions of the node that runs, if one does.
static FAREWELL: Mutex<Option<Farewell>> = Mutex::new(None);

/// Listens for refused pages from now on; see [`BusErrors`].
pub(super) fn watch() -> io::Result<()> {
    let mut errors = BusErrors::install()?;
    thread::Builder::new().name("bus errors".into()).spawn(move || {
        let Ok(error) = errors.wait() else { return };
        eprintln!("wattbook: {error}; what was durable is safe: mend the disk or the file, then start again");
        let farewell = FAREWELL.lock().ok().and_then(|mut farewell| farewell.take());
        if let Some(farewell) = farewell {
            farewell.say();
        }
        std::process::exit(1);
    })?;
    Ok(())
}

/// Says farewell for a node before the process ends.
pub(super) fn on_error(farewell: Farewell) {
    if let Ok(mut slot) = FAREWELL.lock() {
        *slot = Some(farewell);
    }
}
