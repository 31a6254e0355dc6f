//! `--storage` and `--study`: which study a verb is about.

use super::failure::Failure;
use super::options::Options;
use clap::{Arg, ArgMatches, Command};
use hpt_engine::Error;
use hpt_engine::history::Direction;
use hpt_engine::report::trials::objective_names;
use hpt_engine::sampler::{Acquisition, Sampler};
use hpt_engine::study::{Storage, Study};
use hpt_engine::{pruner, sampler};

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

/// Opens the study that the arguments name.
pub fn open(matches: &ArgMatches) -> Result<Study, Failure> {
    let storage = Storage::open(path(matches))?;
    Ok(Study::open(&storage, matches.get_one::<String>("study").map(String::as_str))?)
}

/// What `create-study` kept under a key, as text.
pub fn kept(study: &Study, key: &str, default: &str) -> Result<String, Error> {
    let kept = study.attribute(key)?;
    Ok(kept.as_ref().and_then(|value| value.as_str()).unwrap_or(default).to_owned())
}

/// The sampler and seed that the study was created with.
pub fn sampler_of(study: &Study) -> Result<(Box<dyn Sampler>, u64), Error> {
    let seed = study.attribute("seed")?.and_then(|seed| seed.as_u64()).unwrap_or(0);
    let default = sampler::Settings::default();
    let acquisition = Acquisition::by_name(&kept(study, "acquisition", default.acquisition.name())?)?;
    let settings = sampler::Settings { acquisition, ..default };
    let sampler = sampler::by_name(&kept(study, "sampler", "auto")?, &settings)?;
    Ok((sampler, seed))
}

/// Whether a running trial should stop, by the pruner that the study was created with.
pub fn should_prune(study: &Study, number: u64) -> Result<bool, Error> {
    let name = kept(study, "pruner", "none")?;
    let told = study.attribute("pruner_options")?.and_then(|told| serde_json::from_value::<Vec<String>>(told).ok());
    let objectives = objective_names(study.metric_names(), study.directions().len());
    let settings = pruner_settings(&name, &told.unwrap_or_default(), &objectives)?;
    let pruner = pruner::by_name(&name, &settings)?;
    study.should_prune(number, pruner.as_ref())
}

/// What `--pruner-option` tells a pruner of objectives with these names.
pub fn pruner_settings(name: &str, told: &[String], objectives: &[String]) -> Result<pruner::Settings, Error> {
    let mut options = Options::default();
    if !told.is_empty() {
        let told = told.iter().cloned().map(toml::Value::String).collect();
        options.set("pruner_option", "--pruner-option".to_owned(), toml::Value::Array(told));
    }
    options.pruner(name, pruner::Settings { objectives: objectives.to_vec(), ..pruner::Settings::default() })
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
