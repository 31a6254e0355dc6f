//! `search`: from flags and a study file to a tuned, tested, saved model.

use super::console::Console;
use super::failure::Failure;
use super::options::{DATA, Opt, Options, RUN, SEARCH, add, add_settings, settings, writable};
use super::progress::Bars;
use super::{Verb, interrupt, screen, table};
use crate::cli::study_file::StudyFile;
use clap::{Arg, ArgAction, ArgMatches};
use hpt_engine::data::{DataSpec, SplitSpec};
use hpt_engine::history::{Direction, Trial};
use hpt_engine::prepared::Prepared;
use hpt_engine::search::{SearchOutcome, SearchSpec, default_space, search};
use hpt_engine::settings::Settings;
use hpt_engine::space::{Params, Space};
use hpt_engine::{Error, pruner, sampler};
use serde_json::{Map, Value as Json, json};
use std::path::PathBuf;
use toml::Value as Toml;

pub const VERB: Verb = Verb {
    name: "search",
    about: "Tune, retrain the best, test it, save it: the main job",
    arguments: |command| {
        let file = Arg::new("file").value_name("STUDY.toml").help("Study file; the command line wins over it");
        let print = Arg::new("print_space").long("print-space").action(ArgAction::SetTrue).help_heading("Search");
        let command = command.arg(file).arg(print.help("Print the space as TOML to start from, and do nothing else"));
        let command = add(command, SEARCH, "Search");
        add_settings(add(add(command, DATA, "Data"), RUN, "Running"))
            .mut_arg("data", |arg| {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                arg.help(format!("{help} [default: digits]"))
            })
            .after_help(HELP)
    },
    run,
};

const HELP: &str = "\
Trials run in parallel and are stored as they finish. The best configuration is trained once more on training and \
validation rows, tested once on the test rows, and saved. --trials is the total that the study should reach: after an \
interrupt or a crash the same command goes on where it stopped.

Flags of a training (--epochs 10, --optimizer adam) fix a value for all trials; what varies is the [space] table of a \
study file, or a space sized from the data.

Examples:
  hpt-engine search
  hpt-engine search --data table.csv --target price --time-limit 10m
  hpt-engine search study.toml --trials 200

A study file:
  [data]
  path = \"table.csv\"
  target = \"price\"

  [train]
  epochs = 30

  [space]
  learning_rate = { log = [1e-4, 1e-1] }
  batch_size    = { choice = [32, 64, 128] }
  layers        = { int = [1, 4] }
  units         = { int = [32, 512], log = true, each = \"layers\" }
  dropout       = { float = [0.0, 0.5] }";

/// The options of this verb that are not settings.
const TABLES: &[&[Opt]] = &[DATA, RUN, SEARCH];

/// What is tuned where no data are named.
const DEFAULT_DATA: &str = "digits";

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let (spec, direction) = specify(matches, console)?;
    if let Some((place, name)) = &direction {
        check_direction(&spec, place, name)?;
    }
    if matches.get_flag("print_space") {
        return print_space(&spec, console);
    }
    if let Some(out) = &spec.out {
        writable(out)?;
    }
    let stop = interrupt::catch()?;
    let bars = Bars::new(console, spec.time_limit, spec.space.is_none());
    let outcome = search(&spec, &bars, &stop);
    bars.end();
    match outcome {
        Ok(outcome) => console.result(&document(&outcome)?, || screen::of(&outcome, &spec.data.path)),
        Err(Error::Interrupted) => {
            super::console::say(&how_to_resume(&bars, &spec));
            Err(Failure::interrupted())
        }
        Err(error) => Err(error.into()),
    }
}

/// From flags, and from the study file where one is named, to the search; with the direction that the file states.
fn specify(matches: &ArgMatches, console: &Console) -> Result<(SearchSpec, Option<(String, String)>), Failure> {
    let (flags, own) = (Options::from_flags(matches, TABLES), settings(matches)?);
    let file = matches.get_one::<String>("file").map(|path| StudyFile::read(path)).transpose()?;
    let options = match &file {
        Some(file) => flags.or(&file.options),
        None => flags,
    };
    let fixed = file.as_ref().map_or(own.clone(), |file| file.settings.with(&own));
    let (data, split) = match options.data()? {
        Some(found) => found,
        None => stand_in(options.clone())?,
    };
    let space = match options.text("space")? {
        Some(path) => Some(space_of(path, &fixed)?),
        None => match &file {
            Some(file) => file.space(&own, &|text| console.note(text))?,
            None => None,
        },
    };
    let time_limit = options.time("time_limit")?;
    let default = SearchSpec::new(data.clone());
    let spec = SearchSpec {
        split,
        fixed,
        space,
        metric: options.metric()?,
        sampler: options.text("sampler")?.unwrap_or(&default.sampler).to_owned(),
        pruner: options.text("pruner")?.unwrap_or(&default.pruner).to_owned(),
        trials: options.count("trials", 1)?.or(default.trials.filter(|_| time_limit.is_none())),
        time_limit,
        trial_time_limit: options.time("trial_time_limit")?,
        jobs: options.auto("jobs")?,
        threads: options.auto("threads")?,
        device: options.device()?,
        seed: options.seed()?,
        storage: options.text("storage")?.map_or(default.storage, PathBuf::from),
        study: options.text("study")?.map(str::to_owned),
        repeats: options.count("repeats", 1)?.unwrap_or(1) as usize,
        keep_models: options.count("keep_models", 0)?.map_or(default.keep_models, |n| n as usize),
        enqueue: enqueued(&options)?,
        out: options.text("out")?.map(PathBuf::from),
        data,
    };
    sampler::by_name(&spec.sampler, &sampler::Settings::default())?;
    pruner::by_name(&spec.pruner, &pruner::Settings::default())?;
    Ok((spec, file.and_then(|file| file.direction)))
}

/// The built-in set, where no data are named.
fn stand_in(mut options: Options) -> Result<(DataSpec, SplitSpec), Error> {
    options.set("data", "--data".to_owned(), Toml::String(DEFAULT_DATA.to_owned()));
    Ok(options.data()?.unwrap_or_else(|| (DataSpec::new(DEFAULT_DATA), SplitSpec::default())))
}

/// The space of another file, for a training.
pub fn space_of(path: &str, fixed: &Settings) -> Result<Space, Error> {
    let known = fixed.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let space = StudyFile::read_space(path, known)?;
    hpt_engine::settings::check_space(&format!("{path}: [space]"), &space)?;
    match space.parameters().iter().find(|parameter| fixed.get(&parameter.name).is_some()) {
        Some(parameter) => {
            let name = &parameter.name;
            Err(Error::input(format!("{path}: [space] {name}: it is fixed as well (by a flag or in [train])")))
        }
        None => Ok(space),
    }
}

/// The configurations to try first: JSON texts on the command line, tables in a file.
fn enqueued(options: &Options) -> Result<Vec<Params>, Error> {
    let Some((place, value)) = options.raw("enqueue") else { return Ok(Vec::new()) };
    let items = match value {
        Toml::Array(items) => items.as_slice(),
        single => std::slice::from_ref(single),
    };
    let wrong = |found: &dyn std::fmt::Display, why: &dyn std::fmt::Display| {
        Error::input(format!(
            "{place} is `{found}` ({why}); parameters and values are expected, as in '{{\"learning_rate\": 0.001}}'"
        ))
    };
    let read = |item: &Toml| match item {
        Toml::String(text) => serde_json::from_str::<Params>(text).map_err(|error| wrong(text, &error)),
        Toml::Table(_) => item.clone().try_into::<Params>().map_err(|error| wrong(item, &error)),
        other => Err(wrong(other, &"no table")),
    };
    items.iter().map(read).collect()
}

/// A direction that is stated must be the metric's.
fn check_direction(spec: &SearchSpec, place: &str, stated: &str) -> Result<(), Error> {
    let metric = match spec.metric {
        Some(metric) => metric,
        None => {
            let split = SplitSpec { seed: spec.seed, ..spec.split.clone() };
            let targets = Prepared::load(&spec.data, &split)?.targets()?;
            hpt_engine::train::Metric::default_for(&targets)
        }
    };
    let own = if metric.larger_is_better() { Direction::Maximize } else { Direction::Minimize };
    if stated == own.name() {
        return Ok(());
    }
    Err(Error::input(format!("{place} is `{stated}`; the metric {metric} is one to {}", own.name())))
}

fn print_space(spec: &SearchSpec, console: &Console) -> Result<(), Failure> {
    let space = match &spec.space {
        Some(space) => space.clone(),
        None => {
            let split = SplitSpec { seed: spec.seed, ..spec.split.clone() };
            default_space(Prepared::load(&spec.data, &split)?.rows().0, &spec.fixed)?
        }
    };
    console.result(&space, || format!("[space]\n{}", space.to_toml()))
}

/// What is kept, and the command that goes on.
fn how_to_resume(bars: &Bars, spec: &SearchSpec) -> String {
    let finished = table::plural(bars.finished() as usize, "trial");
    let command: Vec<String> = std::env::args_os().map(|word| table::quoted(&word.to_string_lossy())).collect();
    let storage = spec.storage.display();
    format!("interrupted: {finished} of the study finished and kept in {storage}; to go on:\n  {}", command.join(" "))
}

/// `{"number", "value", "params"}`.
fn outline(trial: &Trial) -> Json {
    json!({"number": trial.number, "value": trial.value(), "params": trial.params})
}

fn document(outcome: &SearchOutcome) -> Result<Json, Error> {
    let counts = outcome.study.counts()?;
    let test = outcome.test.as_ref().map(|test| {
        let mut fields: Map<String, Json> =
            test.scores.0.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let intervals: Map<String, Json> = test
            .intervals
            .iter()
            .map(|(name, interval)| (name.clone(), json!([interval.low, interval.high])))
            .collect();
        fields.insert("intervals".to_owned(), intervals.into());
        fields
    });
    Ok(json!({
        "study": outcome.study.name(),
        "storage": outcome.study.storage().path().display().to_string(),
        "direction": outcome.direction.name(),
        "metric": outcome.metric.name(),
        "trials": {"complete": counts.complete, "pruned": counts.pruned, "failed": counts.failed},
        "seconds": outcome.seconds,
        "trials_per_second": screen::rate(outcome),
        "best": outline(&outcome.best),
        "default": outcome.default_value,
        "validation": outcome.validation,
        "test": test,
        "model": outcome.model.display().to_string(),
        "top": outcome.top.iter().map(outline).collect::<Vec<_>>(),
    }))
}
