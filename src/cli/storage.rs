//! `--storage` and `--study`: which study a verb is about.

use super::console::Console;
use super::failure::Failure;
use super::options::Options;
use clap::{Arg, ArgMatches, Command};
use hpt_engine::Error;
use hpt_engine::history::Direction;
use hpt_engine::report::trials::objective_names;
use hpt_engine::sampler::Acquisition;
use hpt_engine::study::{Method, Storage, Study, Told, has_acquisition};
use hpt_engine::{pruner, sampler};
use std::path::Path;
use toml::Value as Toml;

/// Where studies are unless it is said.
pub const STORAGE: &str = "hpt-study.db";

/// Adds both.
pub fn arguments(command: Command) -> Command {
    let study = Arg::new("study").long("study").value_name("NAME").help_heading("Study");
    command.arg(storage_argument()).arg(study.help("Name of the study [default: the only one there is]"))
}

/// `--storage`.
pub fn storage_argument() -> Arg {
    let help = format!("File of studies [default: {STORAGE}]");
    Arg::new("storage").long("storage").value_name("FILE").help(help).help_heading("Study")
}

/// The path of the storage.
pub fn path(matches: &ArgMatches) -> &str {
    matches.get_one::<String>("storage").map_or(STORAGE, String::as_str)
}

/// The seed that is named, else that of the study of that name, where it has been begun, else 0.
pub fn seed(options: &Options, storage: &Path, study: &str) -> Result<u64, Error> {
    if let Some(seed) = options.count("seed", 0)? {
        return Ok(seed);
    }
    let kept = Storage::open_if_there(storage)?.map_or(Ok(None), |storage| storage.attribute_of(study, "seed"))?;
    Ok(kept.and_then(|seed| seed.as_u64()).unwrap_or(0))
}

/// Opens the study that the arguments name.
pub fn open(matches: &ArgMatches) -> Result<Study, Failure> {
    let storage = Storage::open(path(matches))?;
    Ok(Study::open(&storage, matches.get_one::<String>("study").map(String::as_str))?)
}

/// How the study that the arguments name goes on: what it was begun with, unless they say otherwise.
pub fn method(matches: &ArgMatches, study: &Study, console: &Console) -> Result<Method, Error> {
    let begun = study.begun()?;
    let objectives = objective_names(study.metric_names(), study.directions().len());
    let method = over(&told(matches)?, begun.method.clone(), &objectives)?;
    for change in method.changes_from(&begun) {
        console.note(&format!("{change}, for this call alone"));
    }
    Ok(method)
}

/// What arguments say of sampler and pruner; a verb need not have all of them.
pub fn told(matches: &ArgMatches) -> Result<Told, Error> {
    let all = |name: &str| matches.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned();
    let mut options = Options::default();
    for name in ["sampler", "acquisition", "pruner"] {
        if let Some(text) = all(name).next() {
            options.set(name, format!("--{name}"), Toml::String(text));
        }
    }
    let told: Vec<Toml> =
        all("pruner-option").flat_map(|text| text.split(',').map(Toml::from).collect::<Vec<_>>()).collect();
    if !told.is_empty() {
        options.set("pruner_option", "--pruner-option".to_owned(), Toml::Array(told));
    }
    told_by(&options)
}

/// What the options of a search say of sampler and pruner, each known by name.
pub fn told_by(options: &Options) -> Result<Told, Error> {
    let sampler = options.text("sampler")?.map(str::to_owned);
    if let Some(name) = &sampler {
        let known = sampler::by_name(name, &sampler::Settings::default());
        known.map_err(|error| options.locate("sampler", error))?;
    }
    let pruner = options.text("pruner")?.map(str::to_owned);
    if let Some(name) = &pruner {
        pruner::entry(name).map_err(|error| options.locate("pruner", error))?;
    }
    let acquisition = options.text("acquisition")?.map(Acquisition::by_name).transpose();
    let acquisition = acquisition.map_err(|error| options.locate("acquisition", error))?;
    if let (Some(sampler), Some(_)) = (&sampler, acquisition) {
        check_acquisition(options.place("acquisition").unwrap_or("acquisition"), sampler)?;
    }
    Ok(Told { sampler, acquisition, pruner, options: options.pruner_options()? })
}

/// Refuses an acquisition, said at `place`, for a sampler that has none.
fn check_acquisition(place: &str, sampler: &str) -> Result<(), Error> {
    if has_acquisition(sampler) {
        return Ok(());
    }
    Err(Error::input(format!("the sampler {sampler} has no acquisition; gp and auto have")).at(place))
}

/// `method` with what is told in its place, for a study of these objectives.
pub fn over(told: &Told, mut method: Method, objectives: &[String]) -> Result<Method, Error> {
    if told.acquisition.is_some() {
        check_acquisition("--acquisition", told.sampler.as_ref().unwrap_or(&method.sampler))?;
    }
    method.pruner_settings.objectives = objectives.to_vec();
    told.over(method)
}

/// Refuses two objectives of one name: nobody could tell their values apart.
pub fn check_metric_names(place: &str, names: &[String]) -> Result<(), Error> {
    match names.iter().enumerate().find(|(i, name)| names[..*i].contains(name)) {
        Some((i, twice)) => {
            Err(Error::input(format!("{place}: {twice} is named twice (the second time in place {})", i + 1)))
        }
        None => Ok(()),
    }
}

/// `minimize` or `maximize`.
pub fn direction(place: &str, name: &str) -> Result<Direction, Error> {
    let all = [Direction::Minimize, Direction::Maximize];
    let found = all.into_iter().find(|direction| direction.name() == name);
    found.ok_or_else(|| Error::unknown(place, name, all.map(Direction::name)))
}
