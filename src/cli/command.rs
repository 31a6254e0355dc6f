//! `search --command`: any program as the objective, from options to the last screen.
//!
//! The same options as a search of the built-in trainer; those that only that one has are refused by name.

use super::console::Console;
use super::document::{self, Course};
use super::failure::Failure;
use super::options::{DATA, Options};
use super::progress::Bars;
use super::search::{check_enqueued, enqueued};
use super::study_file::StudyFile;
use super::{interrupt, screen, storage, table};
use hpt_engine::Error;
use hpt_engine::history::Direction;
use hpt_engine::report::trials::objective_names;
use hpt_engine::search::{CommandOutcome, CommandSpec, Constraint, search_command};
use hpt_engine::settings::Settings;
use hpt_engine::space::Space;
use hpt_engine::study::{Regret, Study, Summary};
use serde_json::Value as Json;
use std::collections::BTreeMap;
use std::path::PathBuf;

/// Options of a search that mean nothing to a program outside.
const BUILT_IN: [&str; 9] =
    ["checkpoint_every", "device", "threads", "folds", "repeats", "keep_models", "retrain", "out", "population"];

/// Runs the search that the options describe.
pub fn run(
    options: &Options,
    settings: &Settings,
    file: Option<&StudyFile>,
    print_space: bool,
    console: &Console,
) -> Result<(), Failure> {
    let spec = specify(options, settings, file, console)?;
    if print_space {
        return console.result(&spec.space, || format!("[space]\n{}", spec.space.to_toml()));
    }
    let stop = interrupt::catch()?;
    let bars = Bars::new(console, spec.time_limit, false);
    let outcome = search_command(&spec, &bars, &stop);
    bars.end();
    match outcome {
        Ok(outcome) => console.result(&document(&outcome)?, || screen_of(&outcome)),
        Err(Error::Interrupted) => Err(interrupt::end(&bars, &spec.storage, console)),
        Err(error) => Err(error.into()),
    }
}

fn specify(
    options: &Options,
    settings: &Settings,
    file: Option<&StudyFile>,
    console: &Console,
) -> Result<CommandSpec, Failure> {
    let command = options.text("command")?.unwrap_or_default();
    refuse_the_built_in(options, settings, file)?;
    let blank = CommandSpec::new(command, Direction::Minimize, Space::new(Vec::new())?);
    let default = CommandSpec {
        storage: options.text("storage")?.map_or(blank.storage.clone(), PathBuf::from),
        study: options.text("study")?.map(str::to_owned),
        ..blank
    };
    // What a study has that is there already need not be said again.
    let begun = Study::open_if_there(&default.storage, &default.study_name())?;
    let space = match (options.text("space")?, file) {
        (Some(path), _) => Some(StudyFile::read_space(path, BTreeMap::new(), &|text| console.note(text))?),
        (None, Some(file)) => file.free_space(&|text| console.note(text))?,
        (None, None) => None,
    };
    let space = space.or_else(|| begun.as_ref()?.space().cloned());
    let Some(space) = space.filter(|space| !space.is_empty()) else {
        return Err(Failure::input(
            "a command needs a space: --space FILE, or a study file with a table [space], such as\n  \
             [space]\n  learning_rate = { log = [1e-4, 1e-1] }",
        ));
    };
    let place = options.place("direction").unwrap_or("--direction").to_owned();
    let names = options.list("direction")?;
    let directions: Vec<Direction> = match (names.as_slice(), &begun) {
        ([], Some(study)) => study.directions().to_vec(),
        ([], None) => {
            return Err(Failure::input(
                "--direction is missing: minimize or maximize, one each for several values, with commas",
            ));
        }
        (names, _) => names.iter().map(|name| storage::direction(&place, name)).collect::<Result<_, _>>()?,
    };
    let named = options.list("metric")?;
    let of_study = || begun.as_ref().map(|study| study.metric_names().to_vec()).unwrap_or_default();
    let metrics = if named.is_empty() { of_study() } else { named };
    storage::check_metric_names(options.place("metric").unwrap_or("--metric"), &metrics)?;
    if !metrics.is_empty() && metrics.len() != directions.len() {
        let place = options.place("metric").unwrap_or("--metric");
        return Err(Failure::input(format!(
            "{place} has {}, the directions are {}; one name each is expected",
            table::plural(metrics.len(), "name"),
            directions.len()
        )));
    }
    let time_limit = options.time("time_limit")?;
    let rules = options.stop_rules(directions.len())?;
    if rules.regret == Some(Regret::Error) {
        let message = "a command's value has no error that is known; give the regret bound as a number";
        return Err(options.locate("stop_regret_bound", Error::input(message)).into());
    }
    let mut spec = CommandSpec {
        space,
        directions,
        told: storage::told_by(options)?,
        constraints: options.constraints(begun.as_ref(), Constraint::named)?,
        metrics,
        trials: options.count("trials", 1)?.or(default.trials.filter(|_| time_limit.is_none())),
        time_limit,
        began: None,
        trial_time_limit: options.time("trial_time_limit")?,
        trial_memory_limit: options.size("trial_memory_limit")?,
        // How many processors a program uses is its own affair: one at a time unless it is said.
        jobs: options.auto("jobs")?.max(1),
        enqueue: enqueued(options)?,
        deterministic: options.width()?,
        rules,
        warm_start: options.warm_start()?,
        ..default
    };
    spec.seed = storage::seed(options, &spec.storage, &spec.study_name())?;
    check_enqueued(options, &spec.enqueue, &spec.space)?;
    spec.check_command(options.place("command").unwrap_or("--command"))?;
    Ok(spec)
}

/// Refuses what only the built-in trainer has, rather than ignoring it.
fn refuse_the_built_in(options: &Options, settings: &Settings, file: Option<&StudyFile>) -> Result<(), Failure> {
    let mut of_data = DATA.iter().map(|opt| opt.name).chain(BUILT_IN);
    let given = of_data.find_map(|name| options.place(name).map(str::to_owned));
    let setting = || {
        let place = |name: &str| super::options::flag(name);
        let from_file = |name: &str| file.is_some_and(|file| file.settings.get(name).is_some());
        settings.iter().next().map(|(name, _)| if from_file(name) { format!("[train] {name}") } else { place(name) })
    };
    match given.or_else(setting) {
        Some(place) => Err(Failure::input(format!(
            "{place} belongs to the built-in training and means nothing to a command; what varies is in [space], what is fixed in the command itself"
        ))),
        None => Ok(()),
    }
}

fn document(outcome: &CommandOutcome) -> Result<Json, Error> {
    let Summary { seconds, stopped, .. } = outcome.summary;
    document::of(&outcome.study, outcome.best.first(), Course { seconds, rate: rate(outcome), stopped })
}

fn rate(outcome: &CommandOutcome) -> f64 {
    let summary = &outcome.summary;
    if summary.seconds > 0.0 { summary.finished as f64 / summary.seconds } else { 0.0 }
}

fn screen_of(outcome: &CommandOutcome) -> String {
    let (study, summary) = (&outcome.study, &outcome.summary);
    let metric = study.metric_names().first().map_or("value", String::as_str);
    let mut parts = Vec::new();
    if let ([direction], Ok(trials)) = (study.directions(), study.trials()) {
        parts.extend(screen::chart(&trials, *direction).map(|chart| format!("best {metric} against trials\n{chart}")));
    }
    let best = match (study.directions().len(), outcome.best.first()) {
        (1, Some(best)) => {
            let value = best.value().map_or(String::new(), table::number);
            format!("best: trial {}, {metric} {value}", best.number)
        }
        _ => format!("{} that no other beats", table::plural(outcome.best.len(), "trial")),
    };
    parts.push(screen::tally(study, summary, rate(outcome), &best));
    let names = objective_names(study.metric_names(), study.directions().len());
    parts.push(match names.len() {
        1 => format!("the best trials:\n{}", screen::configurations(&outcome.top, &names)),
        _ => format!("the front:\n{}", screen::front(study, &outcome.top, &names)),
    });
    let path = study.storage().path().display().to_string();
    let (path, name) = (table::quoted(&path), table::quoted(study.name()));
    parts.push(format!("next:  hpt-engine trials --storage {path} --study {name}"));
    parts.join("\n\n")
}
