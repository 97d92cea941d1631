//! Ctrl-C and its like. The first one ends a run after the change at hand; a second one ends the process at once, and
//! the journal has what to do then.

use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, Ordering};

use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
use signal_hook::flag;

/// As a shell counts a process that SIGINT ended.
const ENDED: i32 = 130;

static CAME: OnceLock<Arc<AtomicBool>> = OnceLock::new();

/// From here on signals are heard; before, they end the process as they do by default.
pub fn listen() -> std::io::Result<()> {
    let came = CAME.get_or_init(Arc::default);
    let ignored = ignored();
    for signal in [SIGINT, SIGTERM, SIGHUP] {
        // nohup, or a shell that started this in the background, has said so.
        if ignored >> (signal - 1) & 1 == 1 {
            continue;
        }
        flag::register_conditional_shutdown(signal, ENDED, came.clone())?;
        flag::register(signal, came.clone())?;
    }
    Ok(())
}

pub fn asked() -> bool {
    CAME.get().is_some_and(|came| came.load(Ordering::Relaxed))
}

/// What came was an answer to a question, and is heeded: the next one counts as the first.
pub fn heeded() {
    if let Some(came) = CAME.get() {
        came.store(false, Ordering::Relaxed);
    }
}

/// The signals that this process ignores, as bits.
fn ignored() -> u64 {
    procfs::process::Process::myself().and_then(|own| own.status()).map_or(0, |s| s.sigign)
}
