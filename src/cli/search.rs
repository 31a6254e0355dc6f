//! `search`: from flags and a study file to a tuned, tested, saved model.

use super::console::Console;
use super::document::{self, Course};
use super::failure::Failure;
use super::options::{DATA, Opt, Options, RUN, SEARCH, add, add_settings, settings};
use super::progress::Bars;
use super::{Verb, interrupt, screen, table};
use crate::cli::study_file::StudyFile;
use clap::{Arg, ArgAction, ArgMatches};
use hpt_engine::Error;
use hpt_engine::data::{DataSpec, SplitSpec};
use hpt_engine::prepared::Prepared;
use hpt_engine::search::{
    Constraint, Interval, Measure, SearchOutcome, SearchSpec, default_space, search, space_of_study,
};
use hpt_engine::settings::Settings;
use hpt_engine::space::{Params, Space};
use hpt_engine::study::{Storage, Study};
use serde_json::{Map, Value as Json, json};
use std::path::{Path, PathBuf};
use std::time::Instant;
use toml::Value as Toml;

pub const VERB: Verb = Verb {
    name: "search",
    about: "Tune, retrain the best, test it, save it: the main job",
    arguments: |command| {
        let file = Arg::new("file").value_name("STUDY.toml").help("Study file; the command line wins over it");
        let print = Arg::new("print_space").long("print-space").action(ArgAction::SetTrue).help_heading("Search");
        let command = add(command.arg(file), DATA, "Data");
        let command = command.arg(print.help("Print the space as TOML to start from, and do nothing else"));
        add_settings(add(add(command, SEARCH, "Search"), RUN, "Running"))
            .mut_arg("data", |arg| {
                let help = arg.get_help().map(ToString::to_string).unwrap_or_default();
                arg.help(format!("{help} [default: digits]"))
            })
            .after_help(format!("{HELP}\n\n{}", super::options::pruner_options()))
    },
    run,
};

const HELP: &str = "\
Trials run in parallel and are stored as they finish. The best configuration is trained once more on training and \
validation rows, tested once on the test rows, and saved. --trials is the total that the study should reach: after an \
interrupt or a crash the same command goes on where it stopped. An interrupted search exits with 130; with --json it prints \
its document all the same, `stopped_by` being `interrupt` and `model` null; `put_back` are the trials that were under way and \
go on with the next call, `interrupted` is what the best of them had come to where there is no result yet.

Flags of a training (--epochs 10, --optimizer adam) fix a value for all trials; what varies is the [space] table of a \
study file, or a space sized from the data.

With several metrics (--metric accuracy,parameters) the result is the front: the trials that no other beats in all of \
them. The one with the best first metric is retrained; models of the front are kept first (--keep-models). Pruners look at \
all of them after every epoch: what others dominate is stopped, and the front goes on. A trial whose \
number of parameters or inference time breaks a --constraint is not trained and stored as pruned; that time is the \
shortest of some passes over the validation rows before the training, and is what the trial is judged by.

Examples:
  hpt-engine search
  hpt-engine search --data table.csv --target price --time-limit 10m
  hpt-engine search study.toml --trials 200
  hpt-engine search --metric accuracy,parameters --constraint 'parameters <= 20000'
  hpt-engine search --command './objective.sh {learning_rate} {optimizer}' --space space.toml --direction minimize

With --command every trial runs that program. Its last line is the value; a line `step value` before it is an \
intermediate value, by which the pruner may end it (of several directions `step v1 v2`); the step is a whole number from 0 on. \
Where --trial-time-limit kills it, what it reported last is its result. {name} is a parameter, as is the variable HPT_NAME in capitals ({learning_rate}: HPT_LEARNING_RATE); there are \
HPT_TRIAL_NUMBER, HPT_TRIAL_SEED, HPT_STUDY and HPT_PARAMS (JSON) too. What is not active is empty. Pairs of braces \
around anything but one name (JSON, awk, ${VAR}) stay as they are; a name that is no parameter, as in awk's {print}, and {} \
are refused; {{ and }} are single braces.

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
    let began = Instant::now();
    let (flags, own) = (Options::from_flags(matches, TABLES), settings(matches)?);
    let file = matches.get_one::<String>("file").map(|path| StudyFile::read(path)).transpose()?;
    let options = match &file {
        Some(file) => flags.or(&file.options),
        None => flags,
    };
    let fixed = file.as_ref().map_or(own.clone(), |file| file.settings.with(&own));
    if options.raw("command").is_some() {
        return super::command::run(&options, &fixed, file.as_ref(), matches.get_flag("print_space"), console);
    }
    let spec = SearchSpec { began: Some(began), ..specify(&options, &own, fixed, file.as_ref(), console)? };
    if let Some(place) = options.place("direction") {
        check_directions(&spec, place, &options.list("direction")?)?;
    }
    if matches.get_flag("print_space") {
        return print_space(&spec, console);
    }
    if let Some(out) = &spec.out {
        super::output::writable(out)?;
    }
    let stop = interrupt::catch()?;
    let is_new = own_space(&spec)?.is_none();
    let bars = Bars::new(console, spec.time_limit, spec.space.is_none() && is_new);
    let outcome = search(&spec, &bars, &stop);
    bars.end();
    match outcome {
        Ok(outcome) => console.result(&document(&outcome)?, || screen::of(&outcome, &spec.data.path)),
        Err(Error::Interrupted) => Err(interrupt::end(&bars, &spec.storage, console)),
        Err(error) => Err(error.into()),
    }
}

/// From flags, and from the study file where one is named, to the search.
fn specify(
    options: &Options,
    own: &Settings,
    fixed: Settings,
    file: Option<&StudyFile>,
    console: &Console,
) -> Result<SearchSpec, Failure> {
    let (data, split) = match options.data()? {
        Some(found) => found,
        None => stand_in(options.clone())?,
    };
    let split = options.in_folds(split)?;
    let space = match options.text("space")? {
        Some(path) => Some(space_of(path, &fixed, console)?),
        None => match file {
            Some(file) => file.space(own, &|text| console.note(text))?,
            None => None,
        },
    };
    let time_limit = options.time("time_limit")?;
    let default = SearchSpec::new(data.clone());
    let storage = options.text("storage")?.map_or(default.storage, PathBuf::from);
    let study = options.text("study")?.map(str::to_owned);
    let name = study.clone().unwrap_or_else(|| data.name());
    let objectives = match options.objectives()? {
        unsaid if unsaid.is_empty() => own_objectives(&storage, &name)?,
        named => named,
    };
    let rules = options.stop_rules(objectives.len().max(1))?;
    let begun = Study::open_if_there(&storage, &name)?;
    let spec = SearchSpec {
        split,
        fixed,
        space,
        objectives,
        constraints: options.constraints(begun.as_ref(), Constraint::parse)?,
        told: super::storage::told_by(options)?,
        trials: options.count("trials", 1)?.or(default.trials.filter(|_| time_limit.is_none())),
        time_limit,
        began: None,
        trial_time_limit: options.time("trial_time_limit")?,
        checkpoint_every: options.time("checkpoint_every")?.unwrap_or(default.checkpoint_every),
        trial_memory_limit: options.size("trial_memory_limit")?,
        jobs: options.auto("jobs")?,
        threads: options.auto("threads")?,
        device: options.device()?,
        cohort: options.auto("cohort")?,
        engine: None,
        seed: super::storage::seed(options, &storage, &name)?,
        storage,
        study,
        repeats: options.count("repeats", 1)?.unwrap_or(1) as usize,
        keep_models: options.count("keep_models", 0)?.map_or(default.keep_models, |n| n as usize),
        retrain: retrain(options)?,
        enqueue: enqueued(options)?,
        deterministic: options.width()?,
        rules,
        warm_start: options.warm_start()?,
        population: options.population()?,
        out: options.text("out")?.map(PathBuf::from),
        data,
    };
    if !spec.enqueue.is_empty() {
        check_enqueued(options, &spec.enqueue, &space_to_search(&spec)?)?;
    }
    Ok(spec)
}

/// Whether the best configuration is trained once more; else its model must have been kept.
fn retrain(options: &Options) -> Result<bool, Error> {
    match options.text("retrain")? {
        None | Some("best") => Ok(true),
        Some("none") if options.count("keep_models", 0)? == Some(0) => {
            let places = ["retrain", "keep_models"].map(|name| options.place(name).unwrap_or(name));
            Err(Error::input(format!(
                "{} is none, so the best trial's own model is the result, and {} is 0, so none is kept; keep at least 1",
                places[0], places[1]
            )))
        }
        Some("none") => Ok(false),
        Some(other) => Err(options.locate("retrain", Error::unknown("choice", other, ["best", "none"]))),
    }
}

/// Refuses configurations to try first that the space has not, where they stand.
pub fn check_enqueued(options: &Options, enqueued: &[Params], space: &Space) -> Result<(), Error> {
    let check = |params| space.accepts_part(params).map_err(|error| options.locate("enqueue", error));
    enqueued.iter().try_for_each(check)
}

/// Parameters as JSON, each named once.
///
/// # Errors
/// What is wrong with the text.
pub fn params_of_json(text: &str) -> Result<Params, serde_json::Error> {
    struct Once;
    impl<'de> serde::de::Visitor<'de> for Once {
        type Value = Params;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("parameters and values")
        }

        fn visit_map<A: serde::de::MapAccess<'de>>(self, mut pairs: A) -> Result<Params, A::Error> {
            let mut params = Params::new();
            while let Some((name, value)) = pairs.next_entry::<String, hpt_engine::space::Value>()? {
                if params.contains_key(&name) {
                    return Err(serde::de::Error::custom(format!("`{name}` is given twice")));
                }
                params.insert(name, value);
            }
            Ok(params)
        }
    }
    let mut text = serde_json::Deserializer::from_str(text);
    let params = serde::Deserializer::deserialize_map(&mut text, Once)?;
    text.end().map(|()| params)
}

/// The built-in set, where no data are named.
fn stand_in(mut options: Options) -> Result<(DataSpec, SplitSpec), Error> {
    options.set("data", "--data".to_owned(), Toml::String(DEFAULT_DATA.to_owned()));
    Ok(options.data()?.unwrap_or_else(|| (DataSpec::new(DEFAULT_DATA), SplitSpec::default())))
}

/// The space of another file, for a training.
pub fn space_of(path: &str, fixed: &Settings, console: &Console) -> Result<Space, Error> {
    let known = fixed.iter().map(|(name, value)| (name.to_owned(), value.clone())).collect();
    let space = StudyFile::read_space(path, known, &|text| console.note(text))?;
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
pub fn enqueued(options: &Options) -> Result<Vec<Params>, Error> {
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
        Toml::String(text) => params_of_json(text).map_err(|error| wrong(text, &error)),
        Toml::Table(_) => item.clone().try_into::<Params>().map_err(|error| wrong(item, &error)),
        other => Err(wrong(other, &"no table")),
    };
    items.iter().map(read).collect()
}

/// Directions that are stated must be those of the objectives.
fn check_directions(spec: &SearchSpec, place: &str, stated: &[String]) -> Result<(), Error> {
    stated.iter().try_for_each(|name| super::storage::direction(place, name).map(drop))?;
    let objectives = match spec.objectives.as_slice() {
        [] => {
            let split = SplitSpec { seed: spec.seed, ..spec.split.clone() };
            let targets = Prepared::load(&spec.data, &split)?.targets()?;
            vec![hpt_engine::train::Metric::default_for(&targets).into()]
        }
        named => named.to_vec(),
    };
    if stated.len() != objectives.len() {
        let names: Vec<&str> = objectives.iter().map(|objective| objective.name()).collect();
        return Err(Error::input(format!(
            "{place} has {}, the metric {}; one direction each is expected (they follow from the metrics and may be left out)",
            table::plural(stated.len(), "entry").replace("entrys", "entries"),
            names.join(", ")
        )));
    }
    match stated.iter().zip(&objectives).find(|(name, objective)| **name != objective.direction().name()) {
        Some((name, objective)) => Err(Error::input(format!(
            "{place} is `{name}`; the metric {objective} is one to {}",
            objective.direction().name()
        ))),
        None => Ok(()),
    }
}

/// The objectives of the study, where it is there already; none where that is not one of trainings.
fn own_objectives(storage: &Path, study: &str) -> Result<Vec<Measure>, Error> {
    let names = Storage::open_if_there(storage)?.map_or(Ok(Vec::new()), |storage| storage.metrics_of(study))?;
    let measures: Result<Vec<Measure>, Error> = names.iter().map(|name| Measure::by_name("", name)).collect();
    Ok(measures.unwrap_or_default())
}

/// The space of the study, where it is there already.
fn own_space(spec: &SearchSpec) -> Result<Option<Space>, Error> {
    space_of_study(spec, &spec.study.clone().unwrap_or_else(|| spec.data.name()))
}

/// The space that was given, that of the study where it is there already, or the one that is sized from the data.
fn space_to_search(spec: &SearchSpec) -> Result<Space, Error> {
    if let Some(space) = &spec.space {
        return Ok(space.clone());
    }
    if let Some(space) = own_space(spec)? {
        return Ok(space);
    }
    let split = SplitSpec { seed: spec.seed, ..spec.split.clone() };
    default_space(Prepared::load(&spec.data, &split)?.rows().0, &spec.fixed)
}

fn print_space(spec: &SearchSpec, console: &Console) -> Result<(), Failure> {
    let space = space_to_search(spec)?;
    console.result(&space, || format!("[space]\n{}", space.to_toml()))
}

/// What is kept, and the command that goes on.
pub fn how_to_resume(bars: &Bars, storage: &Path) -> String {
    // What was put back may have its result again.
    let counts = bars.study().and_then(|study| study.counts().ok());
    let finished = table::plural(counts.map_or(bars.finished(), |counts| counts.finished()) as usize, "trial");
    let command: Vec<String> = std::env::args_os().map(|word| table::quoted(&word.to_string_lossy())).collect();
    let storage = storage.display();
    let again = bars.study().and_then(|study| screen::what_goes_on(&study)).map(|text| format!("; {text}"));
    format!(
        "interrupted: {finished} of the study finished and kept in {storage}{}; to go on:\n  {}",
        again.unwrap_or_default(),
        command.join(" ")
    )
}

fn document(outcome: &SearchOutcome) -> Result<Json, Error> {
    let course = Course { seconds: outcome.seconds, rate: screen::rate(outcome), stopped: outcome.stopped };
    let mut document = document::of(&outcome.study, Some(&outcome.best), course)?;
    if let Some(test) = &outcome.test {
        let mut fields: Map<String, Json> =
            test.scores.0.iter().map(|(name, value)| (name.clone(), json!(value))).collect();
        let interval = |(name, interval): (&String, &Interval)| (name.clone(), json!([interval.low, interval.high]));
        fields
            .insert("intervals".to_owned(), test.intervals.iter().map(interval).collect::<Map<String, Json>>().into());
        document["test"] = fields.into();
    }
    document["retrained"] = json!(outcome.retrained.then_some(outcome.best.number));
    document["model"] = json!(outcome.model.display().to_string());
    Ok(document)
}
