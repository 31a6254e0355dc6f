//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends the process at once.
//!
//! A finished trial is in the study's file before anybody says so, and a model's file is replaced in one step, so
//! ending at once loses nothing that was finished.

use super::console::say;
use super::failure::Failure;
use std::io::IsTerminal;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag that the first signal sets; from now on signals are caught.
pub fn catch() -> Result<Arc<AtomicBool>, Failure> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let handler = move || {
        if flag.swap(true, Ordering::SeqCst) {
            // Commands have process groups of their own, which a terminal's signal does not reach.
            hpt_engine::search::kill_commands();
            std::process::exit(130);
        }
        // On a terminal a bar or the echo of the key stands on the line.
        let newline = if std::io::stderr().is_terminal() { "\n" } else { "" };
        say(&format!("{newline}stopping; once more stops at once"));
    };
    ctrlc::set_handler(handler).map_err(|error| Failure::new(1, format!("signals cannot be caught: {error}")))?;
    Ok(stop)
}
