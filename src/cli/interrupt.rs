//! SIGINT and SIGTERM: the first asks for an orderly end, the second ends the process at once.
//!
//! A finished trial is in the study's file before anybody says so, and a model's file is replaced in one step, so
//! ending at once loses nothing that was finished.
//!
//! A search that was interrupted prints its document all the same: the study as it is, without a model.

use super::console::{Console, say};
use super::document::{self, Course};
use super::failure::Failure;
use super::progress::Bars;
use super::search::how_to_resume;
use hpt_engine::Error;
use hpt_engine::study::Stopped;
use serde_json::Value as Json;
use std::io::IsTerminal;
use std::path::Path;
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

/// The end of a search that was interrupted: how to go on, and with `--json` what there is.
pub fn end(bars: &Bars, storage: &Path, console: &Console) -> Failure {
    say(&how_to_resume(bars, storage));
    let print = || match document(bars) {
        Ok(document) if console.json => console.result(&document, String::new),
        Ok(_) => Ok(()),
        Err(error) => Err(error.into()),
    };
    print().err().unwrap_or_else(Failure::interrupted)
}

/// The keys of a search that ran to its end; null is what there is not, which is all but the reason where the study was
/// not open yet.
fn document(bars: &Bars) -> Result<Json, Error> {
    let (seconds, rate) = bars.pace();
    let course = Course { seconds, rate, stopped: Stopped::Interrupted };
    match bars.study() {
        Some(study) => document::of(&study, study.best()?.first(), course),
        None => Ok(document::blank(course)),
    }
}
