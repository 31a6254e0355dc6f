//! `check`: a device's arithmetic against the oracle's, comparison by comparison.

use super::console::Console;
use super::failure::Failure;
use super::options::{DEVICE, Options, add};
use super::{Verb, table};
use clap::{Arg, ArgMatches};
use hpt_engine::backend::cuda::Nvidia;
use hpt_engine::check::Finding;
use hpt_engine::engine::Engine;
use serde_json::json;

pub const VERB: Verb = Verb {
    name: "check",
    about: "Compare what a device computes with the f64 oracle and the CPU: every kernel, a training, many at once",
    arguments: |command| {
        let planted = Arg::new("planted").long("planted").value_name("TOOL").hide(true);
        add(command, &[DEVICE], "Running").arg(planted).after_help(HELP)
    },
    run,
};

const HELP: &str = "\
Each comparison says how far the device is from the oracle, as a share of what rounding explains. Exit 1 where one is \
beyond it.

Example:
  hpt-engine check --device cuda";

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
    let line = |finding: &Finding| {
        let Finding { name, what, share, agrees } = finding;
        format!("{} {name}: {what} at {share:.3} of the bound", if *agrees { "ok   " } else { "WRONG" })
    };
    let findings = engine.compare(&mut |finding| console.line(&line(finding)))?;
    let wrong: Vec<&Finding> = findings.iter().filter(|finding| !finding.agrees).collect();
    let document = json!({"device": caps.device, "isa": caps.isa, "agrees": wrong.is_empty(), "findings": findings});
    console.result(&document, || match wrong.len() {
        0 => format!("{}: {} agree", caps.device, table::plural(findings.len(), "comparison")),
        n => format!("{}: {n} of {} do not agree", caps.device, table::plural(findings.len(), "comparison")),
    })?;
    if wrong.is_empty() { Ok(()) } else { Err(Failure { code: 1, message: None }) }
}
