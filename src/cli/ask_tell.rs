//! `create-study`, `ask`, `tell`: the search alone, for an objective outside of this program.
//!
//! The sampler, the seed and the pruner are kept with the study, by `create-study` as by `search`, so that each `ask`
//! is one short process that needs to be told nothing.

use super::console::Console;
use super::failure::Failure;
use super::{Verb, options, screen, storage, table};
use crate::cli::study_file::StudyFile;
use clap::{Arg, ArgAction, ArgMatches, Command};
use hpt_engine::Error;
use hpt_engine::report::trials::{number as number_json, objective_names};
use hpt_engine::search::Constraint;
use hpt_engine::study::{Method, Outcome, Storage, Study, StudyConfig};
use serde_json::json;
use std::collections::BTreeMap;

pub const CREATE: Verb = Verb {
    name: "create-study",
    about: "Create a study for any objective, to be driven by `ask` and `tell`",
    arguments: |command| {
        let arg = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name(value).help(help).help_heading("Study")
        };
        let direction = arg("direction", "NAMES", "minimize or maximize; one each for several objectives, with commas");
        storage::arguments(command)
            .mut_arg("study", |arg| arg.required(true).help("Name of the study"))
            .arg(direction.required(true).action(ArgAction::Append))
            .arg(arg("metric", "NAMES", "What the objectives are called, with commas").action(ArgAction::Append))
            .arg(arg("space", "FILE", "TOML file whose [space] table says what varies; `ask` needs one"))
            .arg(arg("sampler", "NAME", "How configurations are proposed [default: auto, or what a search takes]"))
            .arg(arg("acquisition", "NAME", "What a Gaussian process maximises [default: logei]"))
            .arg(arg(
                "pruner",
                "NAME",
                "What `tell --step` asks whether to go on [default: none, or what a search takes]",
            ))
            .arg(arg("pruner-option", "NAME=X", "Option of the pruner; several may be given").action(ArgAction::Append))
            .arg(arg("seed", "N", "Seed of the proposals [default: 0]"))
            .after_help(format!("{EXAMPLE}\n\n{}", options::pruner_options()))
    },
    run: create,
};

pub const ASK: Verb = Verb {
    name: "ask",
    about: "Take the next trial of a study: its number and parameters",
    arguments: |command| {
        let arg = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name(value).help(help).help_heading("Trial")
        };
        storage::arguments(command)
            .arg(arg("sampler", "NAME", "How this configuration is proposed [default: as the study was begun]"))
            .arg(arg("acquisition", "NAME", "What a Gaussian process maximises [default: as the study was begun]"))
            .after_help("Exit code 1 says that every configuration of the space has been tried.")
    },
    run: ask,
};

pub const TELL: Verb = Verb {
    name: "tell",
    about: "Tell the result of a trial, or an intermediate value",
    arguments: tell_arguments,
    run: tell,
};

const EXAMPLE: &str = "\
Example:
  hpt-engine create-study --storage s.db --study mine --direction minimize --space space.toml
  hpt-engine ask --storage s.db --study mine --json      prints {\"number\": 0, \"params\": {\"x\": 0.3}}
  hpt-engine tell --storage s.db --study mine --number 0 --value 1.7

A study that has no space (one of Optuna, or one created without --space) gets one by the same command with --space: its \
trials stay, and must fit it. Until then nothing can be asked for or queued, and what is added has the parameters of a \
trial that it has.

A space file:
  [space]
  x = { float = [-5.0, 5.0] }
  kind = { choice = [\"a\", \"b\"] }";

/// What `--constraints` says.
pub const CONSTRAINTS: &str = "By how much it breaks each constraint (what is kept is 0 or less; as Optuna's), or, of a \
    study with constraints, what each is about: NAME=X,NAME=X. Values that have those names need not be said again";

fn tell_arguments(command: Command) -> Command {
    let arg = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).allow_hyphen_values(true).help_heading("Trial")
    };
    storage::arguments(command)
        .arg(arg("number", "N", "Number of the trial, as `ask` gave it").required(true))
        .arg(arg("value", "X", "Its value").conflicts_with("values"))
        .arg(arg("values", "A,B", "Its values, one an objective"))
        .arg(arg("constraints", "A,B", CONSTRAINTS).conflicts_with("step"))
        .arg(arg("state", "STATE", "fail or prune, for a trial without a value; complete is one with it"))
        .arg(
            arg("step", "N", "The value, or all values, are intermediate ones of this step; the trial goes on")
                .conflicts_with("state"),
        )
        .arg(
            arg("pruner", "NAME", "What is asked whether it should go on [default: as the study was begun]")
                .requires("step"),
        )
        .arg(
            arg("pruner-option", "NAME=X", "Option of the pruner; several may be given")
                .action(ArgAction::Append)
                .requires("step"),
        )
}

/// The texts of an argument, split at commas.
fn list(matches: &ArgMatches, name: &str) -> Vec<String> {
    let texts = matches.get_many::<String>(name).into_iter().flatten();
    texts.flat_map(|text| text.split(',')).map(|text| text.trim().to_owned()).collect()
}

fn text<'a>(matches: &'a ArgMatches, name: &str) -> Option<&'a str> {
    matches.get_one::<String>(name).map(String::as_str)
}

/// A whole number.
pub fn whole(matches: &ArgMatches, name: &str) -> Result<Option<u64>, Error> {
    let read = |text: &str| {
        text.trim()
            .parse()
            .map_err(|_| Error::input(format!("--{name} is `{text}`; a whole number from 0 on is expected")))
    };
    text(matches, name).map(read).transpose()
}

fn create(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let name = text(matches, "study").unwrap_or_default();
    let directions = list(matches, "direction");
    let directions =
        directions.iter().map(|name| storage::direction("--direction", name)).collect::<Result<Vec<_>, _>>()?;
    let space =
        text(matches, "space").map(|path| StudyFile::read_space(path, BTreeMap::new(), &|text| console.note(text)));
    let space = space.transpose()?;
    let metrics = list(matches, "metric");
    storage::check_metric_names("--metric", &metrics)?;
    let objectives = objective_names(&metrics, directions.len());
    // Before anything is created.
    let told = storage::told(matches)?.with_hyperband_for_bohb();
    storage::over(&told, Method::default(), &objectives)?;
    // A study that is there has its seed; only one that is named can be another one.
    let seed = whole(matches, "seed")?.map(|seed| ("seed".to_owned(), json!(seed)));
    let config = StudyConfig {
        name: name.to_owned(),
        directions,
        metric_names: metrics,
        space,
        attributes: seed.into_iter().collect(),
    };
    let path = storage::path(matches);
    let study = Study::create_or_open(&Storage::open_or_create(path)?, &config)?;
    let method = storage::over(&told, study.begun()?.method, &objectives)?;
    study.set_told(&told, &method)?.iter().for_each(|change| console.note(change));
    let trials = study.trials()?.len();
    let directions: Vec<&str> = study.directions().iter().map(|direction| direction.name()).collect();
    let document = json!({"study": name, "storage": path, "directions": directions, "trials": trials});
    console.result(&document, || match trials {
        0 => format!("study `{name}` in {path}"),
        _ => format!("study `{name}` in {path} was there, with {}", table::plural(trials, "trial")),
    })
}

fn ask(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let study = storage::open(matches)?;
    let sampler = storage::method(matches, &study, console)?.sampler()?;
    let seed = study.attribute("seed")?.and_then(|seed| seed.as_u64()).unwrap_or(0);
    let Some(trial) = study.ask_detached(sampler.as_ref(), seed)? else {
        return Err(Failure::new(1, format!("study `{}`: every configuration has been tried", study.name())));
    };
    console.result(&json!({"number": trial.number, "params": trial.params}), || {
        let params = trial.params.iter().map(|(name, value)| format!("\n{name} = {}", screen::value(value)));
        format!("trial {}{}", trial.number, params.collect::<String>())
    })
}

fn number_of(place: &str, text: &str) -> Result<f64, Error> {
    let wrong = |_| Error::input(format!("{place} is `{text}`; a number is expected"));
    text.trim().parse().map_err(wrong)
}

/// What `--value`, `--values` or `--state` say.
pub fn outcome(matches: &ArgMatches) -> Result<Outcome, Failure> {
    let values = match (text(matches, "value"), text(matches, "values")) {
        (Some(one), _) => Some(vec![number_of("--value", one)?]),
        (None, Some(texts)) => {
            Some(texts.split(',').map(|text| number_of("--values", text)).collect::<Result<_, _>>()?)
        }
        (None, None) => None,
    };
    Ok(match (values, text(matches, "state")) {
        (Some(values), None | Some("complete")) => Outcome::Complete(values),
        (None, Some("complete")) => return Err(Failure::input("--state complete needs --value, or --values")),
        (None, Some("prune")) => Outcome::Pruned,
        (None, Some("fail")) => Outcome::Failed("told so".to_owned()),
        (Some(_), Some(state @ ("prune" | "fail"))) => {
            return Err(Failure::input(format!(
                "--state {state} and a value (--value, --values) exclude each other; the state of a trial with one is complete"
            )));
        }
        (_, Some(other)) => return Err(Error::unknown("--state", other, ["complete", "fail", "prune"]).into()),
        (None, None) => return Err(Failure::input("one of --value, --values and --state is missing")),
    })
}

/// By how much a trial that ends so breaks each constraint: as `--constraints` says, else by its own values; none where
/// nothing is said of it. A complete trial of a study with constraints must not leave one open: it would count as kept.
pub fn violations(matches: &ArgMatches, study: &Study, outcome: &Outcome) -> Result<Option<Vec<f64>>, Error> {
    let limits = Constraint::of_study(study, Constraint::named)?;
    let texts = list(matches, "constraints");
    let in_words = || limits.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
    if !texts.is_empty() && !texts.iter().any(|text| text.contains('=')) {
        let numbers: Vec<f64> = texts.iter().map(|text| number_of("--constraints", text)).collect::<Result<_, _>>()?;
        if !limits.is_empty() && numbers.len() != limits.len() {
            return Err(Error::input(format!(
                "--constraints has {}; the study `{}` has {}: {}",
                table::plural(numbers.len(), "number"),
                study.name(),
                table::plural(limits.len(), "constraint"),
                in_words()
            )));
        }
        return Ok(Some(numbers));
    }
    let mut measured = BTreeMap::new();
    for text in &texts {
        let Some((name, value)) = text.split_once('=') else {
            let message = format!("--constraints: `{text}` has no name and others have; NAME=X is expected for each");
            return Err(Error::input(message));
        };
        let name = name.trim();
        if !limits.iter().any(|limit| limit.measure == name) {
            let known = limits.iter().map(|limit| limit.measure.as_str());
            return Err(Error::unknown("--constraints", name, known));
        }
        if measured.insert(name.to_owned(), number_of(&format!("--constraints {name}"), value)?).is_some() {
            return Err(Error::input(format!("--constraints says twice what {name} is")));
        }
    }
    let values: &[f64] = if let Outcome::Complete(values) = outcome { values } else { &[] };
    let metrics = study.metric_names();
    let known: Vec<Option<f64>> =
        limits.iter().map(|limit| limit.violation_among(&measured, metrics, values)).collect();
    let open: Vec<&str> = limits
        .iter()
        .zip(&known)
        .filter(|(_, known)| known.is_none())
        .map(|(limit, _)| limit.measure.as_str())
        .collect();
    if matches!(outcome, Outcome::Complete(_)) && !open.is_empty() {
        return Err(Error::input(format!(
            "the study `{}` has constraints ({}), and nothing says whether this trial keeps them; add --constraints {}",
            study.name(),
            in_words(),
            open.iter().map(|name| format!("{name}=X")).collect::<Vec<_>>().join(",")
        )));
    }
    // As of a trial that is pruned on its way: what is unknown counts as kept.
    let any = known.iter().any(Option::is_some);
    Ok(any.then(|| known.into_iter().map(Option::unwrap_or_default).collect()))
}

/// `tell --step`: keeps intermediate values and says whether the trial should stop.
fn report(study: &Study, number: u64, step: u64, matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let pruner = storage::method(matches, study, console)?.pruner()?;
    let Outcome::Complete(values) = outcome(matches)? else { return Err(Failure::input("--step needs a value")) };
    let (key, shown) = match (values.as_slice(), text(matches, "values")) {
        ([one], None) => {
            study.report(number, step, *one)?;
            ("value", number_json(*one))
        }
        (all, _) => {
            study.report_values(number, step, all)?;
            ("values", all.iter().copied().map(number_json).collect())
        }
    };
    let stop = study.should_prune(number, pruner.as_ref())?;
    let mut document = json!({"number": number, "state": "running", "step": step, "should_prune": stop});
    document[key] = shown;
    console.result(&document, || {
        let partial = study.directions().len() > 1 && key == "value";
        let more = match stop {
            true => ", but should stop: it will not be among the best",
            false if partial => "; pruners judge what is told of all objectives (--values A,B)",
            false => "",
        };
        format!("trial {number} goes on{more}")
    })
}

fn tell(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let Some(number) = whole(matches, "number")? else { return Err(Failure::input("--number is missing")) };
    let study = storage::open(matches)?;
    if let Some(step) = whole(matches, "step")? {
        return report(&study, number, step, matches, console);
    }
    let outcome = outcome(matches)?;
    if let Some(constraints) = violations(matches, &study, &outcome)? {
        study.set_constraints(number, &constraints)?;
    }
    let trial = study.tell(number, outcome)?;
    let single = study.directions().len() == 1;
    console.result(&hpt_engine::report::trials::trial_json(&trial, single), || {
        let values: Vec<String> = trial.values.iter().copied().map(table::number).collect();
        format!(
            "trial {number} {}{}{}",
            trial.state.name(),
            if values.is_empty() { "" } else { ": " },
            values.join(", ")
        )
    })
}
