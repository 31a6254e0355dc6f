//! How the program ends when it does not succeed, and clap's errors in the words of all the others.

use clap::error::{ContextKind, ContextValue, ErrorKind};
use clap::{Arg, Command};
use hpt_engine::Error;
use std::panic::PanicHookInfo;

/// An exit code, and what to say.
#[derive(Debug)]
pub struct Failure {
    /// 2 for the user's input, 130 for an interrupt, 1 for the rest; 0 where the reader of the output has gone.
    pub code: u8,
    /// The message; none where everything is said.
    pub message: Option<String>,
}

impl Failure {
    /// An exit code with a message.
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Failure { code, message: Some(message.into()) }
    }

    /// The user's input is wrong.
    pub fn input(message: impl Into<String>) -> Self {
        Failure::new(2, message)
    }

    /// The user stopped it, and has been told what that means.
    pub fn interrupted() -> Self {
        Failure { code: 130, message: None }
    }
}

impl From<Error> for Failure {
    fn from(error: Error) -> Self {
        Failure::new(error.exit_code(), error.to_string())
    }
}

/// The line for a panic: a defect, in words a user can pass on.
pub fn of_panic(info: &PanicHookInfo<'_>) -> String {
    let payload = info.payload();
    let text = payload.downcast_ref::<&str>().copied().or(payload.downcast_ref::<String>().map(String::as_str));
    let what = text.unwrap_or("no message").replace('\n', " ");
    let place = info.location().map(|place| format!(" at {}:{}", place.file(), place.line())).unwrap_or_default();
    format!(
        "this is a defect of hpt-engine {}: {what}{place}; please report it with the command that you typed",
        env!("CARGO_PKG_VERSION")
    )
}

/// A wrong command line, in our words.
pub fn explain(error: &clap::Error, command: &Command) -> Failure {
    let mut words = std::env::args_os().skip(1).map(|word| word.to_string_lossy().into_owned());
    let verb = words.find(|word| !word.starts_with('-') && word != "help");
    let verb = verb.and_then(|name| command.find_subcommand(name).cloned());
    let verb_name = verb.as_ref().map(|verb| verb.get_name().to_owned());
    let found = text(error, ContextKind::InvalidArg);
    let message = match (error.kind(), &verb) {
        (ErrorKind::InvalidSubcommand, _) => {
            let found = text(error, ContextKind::InvalidSubcommand);
            let verbs = command.get_subcommands().map(Command::get_name);
            Error::unknown("verb", &found, verbs).to_string()
        }
        (ErrorKind::MissingSubcommand | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand, _) => {
            let verbs: Vec<_> = command.get_subcommands().map(Command::get_name).collect();
            format!("a verb is missing: one of {}", verbs.join(", "))
        }
        (ErrorKind::UnknownArgument, _) if found.starts_with('-') => {
            let of = verb.as_ref().unwrap_or(command);
            let near = nearest(&found, of).map(|near| format!("; did you mean `{near}`?")).unwrap_or_default();
            format!("option: `{found}` is not known{near}")
        }
        (ErrorKind::UnknownArgument, Some(verb)) => unexpected(&found, verb),
        (ErrorKind::MissingRequiredArgument, _) => {
            let are = if found.contains('\n') { "are" } else { "is" };
            format!("{} {are} missing", found.replace('\n', ", "))
        }
        // Values are read by us; what clap refuses is that there is none.
        (ErrorKind::InvalidValue, _) => format!("{found}: a value is missing"),
        (ErrorKind::ArgumentConflict, _) => {
            let other = text(error, ContextKind::PriorArg);
            if other.is_empty() || other == found {
                format!("{found} is given twice")
            } else {
                format!("{found} and {} exclude each other", other.replace('\n', ", "))
            }
        }
        // Rare kinds (text that is not UTF-8): the first line of clap's own message.
        _ => error.to_string().lines().next().unwrap_or_default().trim_start_matches("error: ").to_owned(),
    };
    let help = verb_name.map_or("`hpt-engine help` says what there is".to_owned(), |verb| {
        format!("`hpt-engine help {verb}` lists the options")
    });
    Failure::input(format!("{message}\n{help}"))
}

/// A word where only options are expected.
fn unexpected(found: &str, verb: &Command) -> String {
    let name = verb.get_name();
    let takes_data = verb.get_arguments().any(|arg| arg.get_long() == Some("data"));
    match found {
        "true" | "false" => {
            format!("`{found}` stands alone; a value of a switch is written with `=`, as in --nesterov={found}")
        }
        _ if takes_data => {
            format!("`{found}` is not expected after `{name}`; for a file or a built-in set write `--data {found}`")
        }
        _ => format!("`{found}` is not expected after `{name}`"),
    }
}

/// The option that is most like this one.
fn nearest(found: &str, command: &Command) -> Option<String> {
    let word = found.trim_start_matches('-').split('=').next().unwrap_or_default();
    let hidden = |arg: &&Arg| !arg.is_hide_set();
    let names = command.get_arguments().filter(hidden).filter_map(Arg::get_long);
    Error::nearest(&word.replace('_', "-"), names).map(|name| format!("--{name}"))
}

fn text(error: &clap::Error, kind: ContextKind) -> String {
    match error.get(kind) {
        Some(ContextValue::String(text)) => text.clone(),
        Some(ContextValue::Strings(list)) => list.join("\n"),
        Some(other) => other.to_string(),
        None => String::new(),
    }
}
