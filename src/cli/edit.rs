//! `enqueue`, `add-trial`, `delete-trial`, `copy-study`, `delete-study`: a study changed by hand.

use super::console::Console;
use super::failure::Failure;
use super::search::params_of_json;
use super::{Verb, ask_tell, storage, table};
use clap::{Arg, ArgAction, ArgMatches, Command};
use hpt_engine::Error;
use hpt_engine::report::trials::trial_json;
use hpt_engine::space::Params;
use hpt_engine::study::{Outcome, Storage, Study};
use serde_json::json;
use std::collections::BTreeMap;

pub const ENQUEUE: Verb = Verb {
    name: "enqueue",
    about: "Queue a configuration: it is tried before new ones",
    arguments: |command| {
        let params = params_argument("Parameters and values as JSON; those left out are the sampler's");
        storage::arguments(command)
            .arg(params.required(true))
            .after_help("Example:\n  hpt-engine enqueue --storage s.db --params '{\"learning_rate\": 0.001}'")
    },
    run: enqueue,
};

pub const ADD: Verb = Verb {
    name: "add-trial",
    about: "Add a finished trial whose result is known from elsewhere",
    arguments: add_arguments,
    run: add,
};

pub const DELETE_TRIAL: Verb = Verb {
    name: "delete-trial",
    about: "Delete a bad trial: samplers, pruners and `best` pass it over",
    arguments: |command| {
        let arg = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name(value).help(help).help_heading("Trial")
        };
        storage::arguments(command)
            .arg(arg("number", "N", "Number of the trial").required(true))
            .arg(arg("reason", "TEXT", "Why, for whoever looks at it later"))
            .after_help(
                "The trial stays in the file as a failed one without values, as Optuna's numbering needs it; what it was is \
                 kept in its attribute hpt:deleted. Its place in the plan stays taken. To correct a result, delete the \
                 trial and add it again:\n  hpt-engine delete-trial --number 3\n  hpt-engine add-trial --params-of 3 --value 0.93\n\
                 A search that is running sees it when it is started again.",
            )
    },
    run: delete_trial,
};

pub const COPY: Verb = Verb {
    name: "copy-study",
    about: "Copy a study under another name, in the same file or another",
    arguments: |command| {
        let arg = |name: &'static str, value: &'static str, help: &'static str| {
            Arg::new(name).long(name).value_name(value).help(help).help_heading("Copy")
        };
        storage::arguments(command)
            .arg(arg("to", "NAME", "Name of the copy [default: that of the study]"))
            .arg(arg("to-storage", "FILE", "File of the copy [default: the same file]"))
            .after_help("Trials that are running wait in the copy.")
    },
    run: copy,
};

pub const DELETE_STUDY: Verb = Verb {
    name: "delete-study",
    about: "Delete a study and all its trials",
    arguments: |command| {
        let yes = Arg::new("yes").long("yes").action(ArgAction::SetTrue).help_heading("Study");
        storage::arguments(command)
            .mut_arg("study", |arg| arg.required(true).help("Name of the study"))
            .arg(yes.help("Confirms it: there is no way back"))
    },
    run: delete_study,
};

fn params_argument(help: &'static str) -> Arg {
    Arg::new("params").long("params").value_name("JSON").help(help).help_heading("Trial")
}

fn add_arguments(command: Command) -> Command {
    let arg = |name: &'static str, value: &'static str, help: &'static str| {
        Arg::new(name).long(name).value_name(value).help(help).allow_hyphen_values(true).help_heading("Trial")
    };
    storage::arguments(command)
        .arg(params_argument("All its parameters and values as JSON").conflicts_with("params-of"))
        .arg(arg("params-of", "N", "The parameters of this trial of the study"))
        .arg(arg("value", "X", "Its value").conflicts_with("values"))
        .arg(arg("values", "A,B", "Its values, one an objective"))
        .arg(arg("state", "STATE", "fail or prune, for a trial without a value; complete is one with it"))
        .arg(arg("constraints", "A,B", ask_tell::CONSTRAINTS))
        .arg(arg(
            "intermediate",
            "JSON",
            "Intermediate values by step, as in '{\"1\": 0.5, \"2\": 0.4}'; of several objectives a list each",
        ))
        .after_help(
            "The trial counts towards the total of the study, and samplers learn from it.\n\nExample:\n  \
             hpt-engine add-trial --storage s.db --params '{\"x\": 0.3, \"kind\": \"a\"}' --value 1.7",
        )
}

/// The JSON of an argument.
fn json_of<T: serde::de::DeserializeOwned>(
    matches: &ArgMatches,
    name: &str,
    example: &str,
) -> Result<Option<T>, Failure> {
    let Some(text) = matches.get_one::<String>(name) else { return Ok(None) };
    let read = serde_json::from_str(text);
    let wrong = |error| Failure::input(format!("--{name} is `{text}` ({error}); {example}"));
    read.map(Some).map_err(wrong)
}

/// The parameters of `--params`.
fn params(matches: &ArgMatches) -> Result<Option<Params>, Failure> {
    let Some(text) = matches.get_one::<String>("params") else { return Ok(None) };
    let wrong = |error| Failure::input(format!("--params is `{text}` ({error}); {PARAMS}"));
    params_of_json(text).map(Some).map_err(wrong)
}

const PARAMS: &str = "parameters and values are expected, as in '{\"learning_rate\": 0.001}'";

fn enqueue(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let params = params(matches)?.unwrap_or_default();
    let study = storage::open(matches)?;
    let number = study.enqueue(&params)?;
    console.result(&json!({"study": study.name(), "number": number, "state": "waiting"}), || {
        format!("trial {number} of `{}` waits", study.name())
    })
}

/// An intermediate value, or one an objective.
#[derive(serde::Deserialize)]
#[serde(untagged)]
enum Report {
    One(f64),
    All(Vec<f64>),
}

impl Report {
    fn values(self) -> Vec<f64> {
        match self {
            Report::One(value) => vec![value],
            Report::All(values) => values,
        }
    }
}

fn add(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let given = params(matches)?;
    let intermediate: Option<BTreeMap<u64, Report>> =
        json_of(matches, "intermediate", "values by step are expected, as in '{\"1\": 0.5}'")?;
    let intermediate = intermediate.unwrap_or_default().into_iter().map(|(step, report)| (step, report.values()));
    let intermediate: BTreeMap<u64, Vec<f64>> = intermediate.collect();
    let study = storage::open(matches)?;
    let params = match (given, ask_tell::whole(matches, "params-of")?) {
        (Some(params), _) => params,
        (None, Some(number)) => params_of(&study, number)?,
        (None, None) => return Err(Failure::input("one of --params and --params-of is missing")),
    };
    let outcome = match ask_tell::outcome(matches)? {
        Outcome::Failed(_) => Outcome::Failed("added as failed".to_owned()),
        outcome => outcome,
    };
    let objectives = study.directions().len();
    if let Some((step, values)) = intermediate.iter().find(|(_, values)| values.len() != objectives) {
        let list: Vec<String> = (1..=objectives).map(|i| format!("0.{i}")).collect();
        return Err(Failure::input(format!(
            "--intermediate: step {step} has {} for {}; one each is expected, as in '{{\"{step}\": [{}]}}'",
            table::plural(values.len(), "value"),
            table::plural(objectives, "objective"),
            list.join(", ")
        )));
    }
    let constraints = ask_tell::violations(matches, &study, &outcome)?.unwrap_or_default();
    let trial = study.add_trial(&params, &intermediate, &constraints, outcome)?;
    console.result(&trial_json(&trial, study.directions().len() == 1), || {
        format!("trial {} of `{}` is added: {}", trial.number, study.name(), trial.state.name())
    })
}

fn params_of(study: &Study, number: u64) -> Result<Params, Failure> {
    let trials = study.trials()?;
    let trial = trials.iter().find(|trial| trial.number == number);
    trial.map(|trial| trial.params.clone()).ok_or_else(|| {
        let count = table::plural(trials.len(), "trial");
        Failure::input(format!("--params-of {number}: there is no such trial; `{}` has {count}", study.name()))
    })
}

fn delete_trial(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let Some(number) = ask_tell::whole(matches, "number")? else { return Err(Failure::input("--number is missing")) };
    let study = storage::open(matches)?;
    let reason = matches.get_one::<String>("reason").map_or("", String::as_str);
    let before = study.counts()?.deleted;
    let trial = study.delete_trial(number, reason)?;
    let repeated = study.counts()?.deleted > before + 1;
    console.result(&trial_json(&trial, study.directions().len() == 1), || {
        let with = if repeated { ", and so is its repetition" } else { "" };
        format!("trial {number} of `{}` is deleted{with}", study.name())
    })
}

fn copy(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let study = storage::open(matches)?;
    let name = matches.get_one::<String>("to").map_or(study.name(), String::as_str);
    if name.is_empty() {
        return Err(Failure::input("--to is empty; a name is expected"));
    }
    let target = match matches.get_one::<String>("to-storage") {
        Some(path) => Storage::open_or_create(path)?,
        None => study.storage().clone(),
    };
    let copy = study.copy_to(&target, name)?;
    let (trials, path) = (copy.trials()?.len(), target.path().display().to_string());
    console.result(&json!({"study": name, "storage": path, "trials": trials}), || {
        format!("`{}` is copied to `{name}` in {path}: {}", study.name(), table::plural(trials, "trial"))
    })
}

fn delete_study(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let study = storage::open(matches)?;
    let (name, trials) = (study.name().to_owned(), study.trials()?.len());
    if !matches.get_flag("yes") {
        let message =
            format!("`{name}` has {}, and there is no way back; --yes deletes it", table::plural(trials, "trial"));
        return Err(Error::input(message).into());
    }
    study.delete()?;
    console.result(&json!({"deleted": name, "trials": trials}), || {
        format!("`{name}` is deleted, with {}", table::plural(trials, "trial"))
    })
}
