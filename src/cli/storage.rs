//! `--storage` and `--study`: which study a verb is about.

use super::console::Console;
use super::failure::Failure;
use super::options::Options;
use clap::{Arg, ArgMatches, Command};
use hpt_engine::Error;
use hpt_engine::history::Direction;
use hpt_engine::report::trials::objective_names;
use hpt_engine::sampler::Acquisition;
use hpt_engine::study::{Method, Storage, Study};
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

/// How the study that the arguments name goes on: what it was begun with, unless they say otherwise.
pub fn method(matches: &ArgMatches, study: &Study, console: &Console) -> Result<Method, Error> {
    let kept = study.method()?;
    let objectives = objective_names(study.metric_names(), study.directions().len());
    let method = Told::of(matches)?.over(kept.clone().unwrap_or_default(), &objectives)?;
    for change in kept.iter().flat_map(|kept| method.changes_from(kept)) {
        console.note(&format!("{change}, for this call alone"));
    }
    Ok(method)
}

/// In place of a sampler that is not known yet: one that has an acquisition.
const ANY: &str = "auto";

/// What arguments say of sampler and pruner; a verb need not have all of them.
pub struct Told {
    sampler: Option<String>,
    acquisition: Option<Acquisition>,
    pruner: Option<String>,
    options: Vec<String>,
}

impl Told {
    /// Reads and checks them.
    pub fn of(matches: &ArgMatches) -> Result<Self, Error> {
        let all = |name: &str| matches.try_get_many::<String>(name).ok().flatten().into_iter().flatten().cloned();
        let text = |name: &str| all(name).next();
        let (sampler, pruner) = (text("sampler"), text("pruner"));
        if let Some(name) = &sampler {
            sampler::by_name(name, &sampler::Settings::default()).map_err(|error| error.at("--sampler"))?;
        }
        if let Some(name) = &pruner {
            pruner::entry(name).map_err(|error| error.at("--pruner"))?;
        }
        let acquisition = text("acquisition").map(|name| {
            let mut options = Options::default();
            options.set("acquisition", "--acquisition".to_owned(), toml::Value::String(name));
            super::search::acquisition(&options, sampler.as_deref().unwrap_or(ANY))
        });
        let options = all("pruner-option").flat_map(|text| text.split(',').map(str::to_owned).collect::<Vec<_>>());
        Ok(Told { sampler, acquisition: acquisition.transpose()?.flatten(), pruner, options: options.collect() })
    }

    /// What was kept, with what is told in its place.
    pub fn over(self, mut method: Method, objectives: &[String]) -> Result<Method, Error> {
        if let Some(sampler) = self.sampler {
            method.sampler = sampler;
        }
        if let Some(acquisition) = self.acquisition {
            super::search::check_acquisition("--acquisition", &method.sampler)?;
            method.acquisition = acquisition;
        }
        if let Some(pruner) = self.pruner {
            // Options of another pruner mean nothing to this one.
            if pruner != method.pruner {
                method.pruner_settings = pruner::Settings::default();
            }
            method.pruner = pruner;
        }
        method.pruner_settings.objectives = objectives.to_vec();
        if !self.options.is_empty() {
            let mut options = Options::default();
            let told = self.options.into_iter().map(toml::Value::String).collect();
            options.set("pruner_option", "--pruner-option".to_owned(), toml::Value::Array(told));
            method.pruner_settings = options.pruner(&method.pruner, method.pruner_settings)?;
        }
        method.pruner()?;
        Ok(method)
    }
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
