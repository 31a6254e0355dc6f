//! Where words go: results to standard output, everything else to standard error, and nothing panics over either.
//!
//! A reader that closed standard output (`| head`) has had enough: the program ends quietly. Colours and bars are for
//! terminals alone, and never with `NO_COLOR`.

use super::failure::Failure;
use clap::ArgMatches;
use serde::Serialize;
use std::io::{ErrorKind, IsTerminal, Write};

/// How much to say, and to whom.
#[derive(Clone, Copy, Debug)]
pub struct Console {
    /// Results as one JSON document.
    pub json: bool,
    /// Nothing on standard error but errors.
    pub quiet: bool,
    /// More on standard error.
    pub verbose: bool,
    /// Standard error is a terminal: bars instead of lines.
    pub terminal: bool,
}

impl Console {
    /// From the flags that every verb has.
    pub fn new(matches: &ArgMatches) -> Self {
        Console {
            json: matches.get_flag("json"),
            quiet: matches.get_flag("quiet"),
            verbose: matches.get_flag("verbose"),
            terminal: std::io::stderr().is_terminal() && std::env::var_os("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// Something the user should know, on standard error.
    pub fn note(&self, text: &str) {
        if !self.quiet {
            say(&format!("note: {text}"));
        }
    }

    /// A line of progress.
    pub fn line(&self, text: &str) {
        if !self.quiet {
            say(text);
        }
    }

    /// Prints a result: the document with `--json`, else the text.
    pub fn result<T: Serialize>(&self, document: &T, text: impl FnOnce() -> String) -> Result<(), Failure> {
        if !self.json {
            return print(&text());
        }
        let document = serde_json::to_string_pretty(document)
            .map_err(|error| Failure::new(1, format!("the result is no JSON: {error}")))?;
        print(&document)
    }
}

/// One line on standard error; where nobody can hear it, it is lost.
pub fn say(text: &str) {
    let _ = writeln!(std::io::stderr().lock(), "{text}");
}

/// An error message.
pub fn complain(message: &str) {
    say(&format!("{} {message}", paint("error:", "\x1b[1;31m", std::io::stderr().is_terminal())));
}

/// Columns of the terminal that standard output is; none where it is none, and a line may be as long as it is.
pub fn columns() -> Option<usize> {
    if !std::io::stdout().is_terminal() {
        return None;
    }
    let said = std::env::var("COLUMNS").ok().and_then(|columns| columns.parse().ok());
    let asked = || {
        // The system's own answer, without a call that is unsafe: lines and columns.
        let terminal = std::fs::File::open("/dev/tty").ok()?;
        let output = std::process::Command::new("stty").arg("size").stdin(terminal).output().ok()?;
        String::from_utf8(output.stdout).ok()?.split_whitespace().nth(1)?.parse().ok()
    };
    Some(said.or_else(asked).filter(|columns| *columns > 0).unwrap_or(80))
}

/// The text in bold where standard output is a terminal.
pub fn bold(text: &str) -> String {
    paint(text, "\x1b[1m", std::io::stdout().is_terminal())
}

fn paint(text: &str, code: &str, terminal: bool) -> String {
    let plain = !terminal || std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    if plain { text.to_owned() } else { format!("{code}{text}\x1b[0m") }
}

/// Writes to standard output, with a newline at the end.
pub fn print(text: &str) -> Result<(), Failure> {
    let mut out = std::io::stdout().lock();
    let newline = if text.ends_with('\n') { "" } else { "\n" };
    out.write_all(text.as_bytes())
        .and_then(|()| out.write_all(newline.as_bytes()))
        .and_then(|()| out.flush())
        .map_err(|error| unwritable(&error))
}

/// What `--help` and `--version` print.
pub fn print_help(error: &clap::Error) -> Result<(), Failure> {
    error.print().map_err(|error| unwritable(&error))
}

/// Why standard output did not take what was written.
pub fn unwritable(error: &std::io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure { code: 0, message: None },
        _ => Failure::new(1, format!("standard output: {error}")),
    }
}
