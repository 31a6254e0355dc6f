//! `completions`: what a shell needs to complete the command line.

use super::Verb;
use super::console::{Console, print};
use super::failure::Failure;
use clap::{Arg, ArgMatches};
use clap_complete::{Shell, generate};
use hpt_engine::Error;

pub const VERB: Verb = Verb {
    name: "completions",
    about: "Print completions for bash, zsh or fish",
    arguments: |command| {
        let shell = Arg::new("shell").value_name("SHELL").required(true).help("bash, zsh or fish");
        command.arg(shell).after_help(
            "Example:\n  hpt-engine completions bash > ~/.local/share/bash-completion/completions/hpt-engine",
        )
    },
    run,
};

const SHELLS: [(&str, Shell); 3] = [("bash", Shell::Bash), ("zsh", Shell::Zsh), ("fish", Shell::Fish)];

fn run(matches: &ArgMatches, _: &Console) -> Result<(), Failure> {
    let name = matches.get_one::<String>("shell").map_or("", String::as_str);
    let Some((_, shell)) = SHELLS.into_iter().find(|(known, _)| *known == name) else {
        return Err(Error::unknown("shell", name, SHELLS.map(|(known, _)| known)).into());
    };
    let mut script = Vec::new();
    generate(shell, &mut super::command(), "hpt-engine", &mut script);
    let script = String::from_utf8_lossy(&script);
    // clap_complete writes the case labels of a program with a hyphen in its name differently from what it looks for.
    print(&script.replace("hpt__subcmd__engine", "hpt__engine"))
}
