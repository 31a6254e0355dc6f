//! `check`: a device's arithmetic against the oracle's, comparison by comparison.

use super::console::Console;
use super::failure::Failure;
use super::options::{DEVICE, Options, add};
use super::{Verb, table};
use clap::{Arg, ArgAction, ArgMatches};
use hpt_engine::backend::cuda::Nvidia;
use hpt_engine::check::{Choice, Finding};
use hpt_engine::engine::Engine;
use serde_json::json;

pub const VERB: Verb = Verb {
    name: "check",
    about: "Compare what a device computes with the f64 oracle and the CPU: every kernel, a training, many at once",
    arguments: |command| {
        let planted = Arg::new("planted").long("planted").value_name("TOOL").hide(true);
        let from = Arg::new("from").long("from").value_name("N").value_parser(clap::value_parser!(usize));
        let from = from.default_value("0").help("Begin with comparison N, counted from 0");
        let only = Arg::new("only").long("only").value_name("TEXT").action(ArgAction::Append);
        let only = only.help("Make those whose name has TEXT in it; may be given several times");
        add(command, &[DEVICE], "Running").arg(from).arg(only).arg(planted).after_help(HELP)
    },
    run,
};

const HELP: &str = "\
Each comparison says how far the device is from the oracle, as a share of what rounding explains. Exit 1 where one is \
beyond it. A GPU on which a kernel fails is lost to the process: those that are left are made by --from, which the last \
line names.

Examples:
  hpt-engine check --device cuda
  hpt-engine check --device cuda --only medium --only bf16";

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let options = Options::from_flags(matches, &[&[DEVICE]]);
    if let Some(tool) = matches.get_one::<String>("planted") {
        // For compute-sanitizer, which has to find the bug (`cuda/check`).
        Nvidia::plant(0, tool)?;
        return console.result(&json!({"planted": tool}), || format!("{tool}: the planted kernel has run"));
    }
    let engine = Engine::new(options.device()?, 1)?;
    let caps = engine.caps();
    console.line(&format!("{} ({})", caps.device, caps.isa));
    let line = |i: usize, finding: &Finding| {
        let Finding { name, what, share, agrees, error } = finding;
        match error {
            Some(error) => format!("{i} FAILED {name}: {error}"),
            None => {
                format!("{i} {} {name}: {what} at {share:.3} of the bound", if *agrees { "ok    " } else { "WRONG " })
            }
        }
    };
    let only: Vec<String> = matches.get_many("only").into_iter().flatten().cloned().collect();
    let choice = Choice { from: matches.get_one("from").copied().unwrap_or(0), only: &only };
    let found = engine.compare(choice, &mut |i, finding| console.line(&line(i, finding)));
    if found.list.is_empty() {
        let names = "no comparison has such a name and number";
        return Err(Failure::new(2, format!("{names}; there are {}", table::plural(found.comparisons, "comparison"))));
    }
    let wrong = found.list.iter().filter(|finding| !finding.agrees).count();
    // Where a device is lost, the first that was not made.
    let next = found.lost.map(|last| last + 1);
    let document = json!({
        "device": caps.device, "isa": caps.isa, "agrees": wrong == 0, "findings": found.list,
        "comparisons": found.comparisons, "next": next,
    });
    console.result(&document, || {
        let left =
            next.map_or(String::new(), |next| format!("; the device is lost, the others are made by --from {next}"));
        let made = table::plural(found.list.len(), "comparison");
        match wrong {
            0 => format!("{}: {made} agree", caps.device),
            n => format!("{}: {n} of {made} do not agree{left}", caps.device),
        }
    })?;
    if wrong == 0 { Ok(()) } else { Err(Failure { code: 1, message: None }) }
}
