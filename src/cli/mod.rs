//! The command line: one file a verb, one table of them.
//!
//! A verb turns arguments into one call of the library and prints what comes back: results on standard output,
//! everything else on standard error. No decision about training or searching is made here. Exit codes are 0 (done),
//! 2 (the user's input), 130 (interrupted) and 1 (the rest); no panic reaches a user.

mod chart;
mod console;
mod failure;
mod interrupt;
pub mod options;
mod output;
mod population;
mod progress;
mod screen;
mod storage;
mod study_file;
mod table;

mod ask_tell;
mod bench;
mod check;
mod command;
mod compare;
mod completions;
mod devices;
mod document;
mod edit;
mod evaluate;
mod importance;
mod predict;
mod search;
mod studies;
mod train;

use clap::{Arg, ArgAction, ArgMatches, Command};
use console::Console;
use failure::{Failure, explain};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitCode;

/// One verb.
struct Verb {
    name: &'static str,
    /// One line for the list.
    about: &'static str,
    /// Adds its arguments.
    arguments: fn(Command) -> Command,
    run: fn(&ArgMatches, &Console) -> Result<(), Failure>,
}

/// Every verb, in the order of the help.
const VERBS: &[Verb] = &[
    search::VERB,
    train::VERB,
    evaluate::VERB,
    predict::VERB,
    studies::STUDIES,
    studies::TRIALS,
    studies::BEST,
    importance::VERB,
    compare::VERB,
    ask_tell::CREATE,
    edit::COPY,
    edit::DELETE_STUDY,
    ask_tell::ASK,
    ask_tell::TELL,
    edit::ENQUEUE,
    edit::ADD,
    edit::DELETE_TRIAL,
    devices::VERB,
    bench::VERB,
    check::VERB,
    completions::VERB,
];

const INTRODUCTION: &str = "Trains and tunes dense neural networks at the speed of the hardware";

const EXAMPLES: &str = "\
Examples:
  hpt-engine search                                      tune the built-in digits
  hpt-engine search --data table.csv --target price      tune a network for a table
  hpt-engine train --data table.csv --hidden 256,256     train one configuration
  hpt-engine predict --model model.safetensors --data new.csv --out predicted.csv

`hpt-engine help VERB` says everything about one verb.";

/// The whole command line.
fn command() -> Command {
    let verbs = VERBS.iter().map(|verb| {
        let command = Command::new(verb.name).about(verb.about).disable_version_flag(true);
        // What is a verb's own comes first.
        (verb.arguments)(command).args(common())
    });
    Command::new("hpt-engine")
        .version(env!("CARGO_PKG_VERSION"))
        .about(INTRODUCTION)
        .after_help(EXAMPLES)
        .subcommand_value_name("VERB")
        .subcommand_help_heading("Verbs")
        .subcommand_required(true)
        .subcommands(verbs)
}

/// What every verb takes.
fn common() -> [Arg; 3] {
    let flag = |name: &'static str| Arg::new(name).long(name).action(ArgAction::SetTrue).help_heading("Output");
    [
        flag("json").help("Print one JSON document on standard output, and nothing else there"),
        flag("quiet").short('q').help("No progress and no notes on standard error").conflicts_with("verbose"),
        flag("verbose").short('v').help("More of both"),
    ]
}

/// Runs the command line of this process.
pub fn main() -> ExitCode {
    std::panic::set_hook(Box::new(|info| console::complain(&failure::of_panic(info))));
    let failure = match catch_unwind(AssertUnwindSafe(run)) {
        Ok(Ok(())) => return ExitCode::SUCCESS,
        Ok(Err(failure)) => failure,
        // The hook has said what there is to say.
        Err(_) => return ExitCode::FAILURE,
    };
    if let Some(message) = &failure.message {
        console::complain(message);
    }
    ExitCode::from(failure.code)
}

fn run() -> Result<(), Failure> {
    let mut command = command();
    if std::env::args_os().len() <= 1 {
        return console::print(&command.render_help().to_string());
    }
    let matches = match command.try_get_matches_from_mut(std::env::args_os()) {
        Ok(matches) => matches,
        Err(error) if !error.use_stderr() => return console::print_help(&error),
        Err(error) => return Err(explain(&error, &command)),
    };
    match matches.subcommand() {
        Some((name, matches)) => match VERBS.iter().find(|verb| verb.name == name) {
            Some(verb) => (verb.run)(matches, &Console::new(matches)),
            None => Ok(()),
        },
        None => Ok(()),
    }
}
