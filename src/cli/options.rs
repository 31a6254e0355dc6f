//! The options of data, devices and searches: one table, from which the flags and the keys of a study file follow.
//!
//! A flag and a key of the same name are the same option: both come to [`Options`], where each value keeps the place
//! it came from, and are read and checked by the same code. The settings of a training have a table of their own,
//! [`SETTINGS`].

use super::failure::Failure;
use clap::parser::ValueSource;
use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use hpt_engine::Error;
use hpt_engine::data::{DataSpec, SplitSpec, TaskChoice};
use hpt_engine::engine::Device;
use hpt_engine::pruner::{self, OPTIONS, PRUNERS};
use hpt_engine::sampler::{Acquisition, SAMPLERS};
use hpt_engine::search::{Constraint, Measure, WarmStart};
use hpt_engine::settings::{Kind, SETTINGS, Settings};
use hpt_engine::space::Value;
use hpt_engine::study::{Regret, StopRules, Storage, Study};
use hpt_engine::train::Metric;
use indexmap::IndexMap;
use std::path::Path;
use std::time::Duration;
use toml::Value as Toml;

/// One option.
pub struct Opt {
    /// Its key; as a flag, with `-` for `_`.
    pub name: &'static str,
    /// What stands for its value in the help.
    value: &'static str,
    help: &'static str,
    /// May be given several times.
    many: bool,
    /// Its value may be left out.
    bare: bool,
    /// The words it takes, where they are few.
    words: fn() -> Vec<&'static str>,
}

/// An option with one value.
pub const fn opt(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { name, value, help, many: false, bare: false, words: Vec::new }
}

/// One that may be given several times.
pub const fn many(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { many: true, ..opt(name, value, help) }
}

/// One whose value may be left out: it is then 1. A value needs `=`.
pub const fn flagged(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { bare: true, ..opt(name, value, help) }
}

/// One that takes one of a few words.
pub const fn one_of(name: &'static str, help: &'static str, words: fn() -> Vec<&'static str>) -> Opt {
    Opt { words, ..opt(name, "NAME", help) }
}

/// Help with the words that may be given, before the default.
fn described(help: &str, words: &[&str]) -> String {
    let (help, default) = help.split_at(help.find(" [default:").unwrap_or(help.len()));
    if words.is_empty() { format!("{help}{default}") } else { format!("{help}: {}{default}", words.join(", ")) }
}

/// The options of all pruners, for the end of a help.
pub fn pruner_options() -> String {
    let line = |option: &pruner::PrunerOption| {
        let of = if option.of.is_empty() { "all".to_owned() } else { option.of.join(", ") };
        format!("  {:<14} {} ({of})", option.name, option.help)
    };
    format!("Options of pruners:\n{}", OPTIONS.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Where data are.
#[rustfmt::skip]
pub const PATH: Opt = opt("data", "PATH", "CSV or TSV file (plain or gzip), folder with IDX files, .npz file, or a built-in set: digits, california-housing");
pub const DELIMITER: Opt =
    opt("delimiter", "CHAR", "What separates cells: one character, or `tab` [default: found out]");
/// Where to run.
pub const DEVICE: Opt = opt(
    "device",
    "DEVICE",
    "auto, cpu, cuda (all GPUs) or cuda:1; auto is the GPU for searches and large networks, if there is one that computes as the CPU does [default: auto]",
);
pub const THREADS: Opt = opt("threads", "N", "Threads of one training, or auto [default: auto]");

/// Which data, and how they are divided.
#[rustfmt::skip]
pub const DATA: &[Opt] = &[
    PATH,
    many("target", "NAMES", "Target column, or several with commas [default: the last column]"),
    DELIMITER,
    opt("test", "PATH", "File of test rows, instead of --test-split"),
    opt("test_split", "SHARE", "Share of the rows for the test, 0 for none [default: 0.2]"),
    opt("validation_split", "SHARE", "Share of the other rows for validation, 0 for none [default: 0.2]"),
    one_of("task", "What the target means [default: auto]", || TaskChoice::ALL.iter().map(|row| row.0).collect()),
    many("categorical", "NAMES", "Columns of numbers to be taken as categories, with commas"),
    opt("fold_column", "NAME", "Column that says to which fold a row belongs; it is no input"),
];

/// What a training needs beside its settings.
#[rustfmt::skip]
pub const RUN: &[Opt] = &[
    one_of("metric", "What early stopping and a search look at; a search takes several with commas, also parameters, training_seconds, inference_seconds (of 1,000 rows) [default: accuracy, or rmse]", || Metric::names().collect()),
    opt("seed", "N", "Seed of splits, weights, shuffling, dropout and proposals [default: 0]"),
    DEVICE,
    THREADS,
];

/// What a search needs beside that.
#[rustfmt::skip]
pub const SEARCH: &[Opt] = &[
    one_of("sampler", "How configurations are proposed [default: auto]", || SAMPLERS.iter().map(|entry| entry.name).collect()),
    one_of("acquisition", "What the Gaussian process of gp and auto maximises [default: logei]", || Acquisition::ALL.map(Acquisition::name).to_vec()),
    one_of("pruner", "How hopeless trials are stopped [default: asha; hyperband for the sampler bohb; none where no objective is a metric]", || PRUNERS.iter().map(|entry| entry.name).collect()),
    many("pruner_option", "NAME=X", "Option of the pruner; several may be given. See the end of this help"),
    opt("trials", "N", "Trials that the study should reach in all [default: 100; none with --time-limit]"),
    opt("time_limit", "TIME", "Time for everything, as in 90s, 10m or 1h30m"),
    opt("trial_time_limit", "TIME", "Time for one trial: what it has learned, or a command has reported, by then is its result"),
    opt("trial_memory_limit", "SIZE", "Memory of one trial, as in 500MiB or 2GiB; what needs more fails"),
    opt("command", "COMMAND", "Program to run as a trial instead of a training, as in './objective.sh {learning_rate}'"),
    many("direction", "NAMES", "minimize or maximize the command's value; one each for several, with commas"),
    many("constraint", "NAME<=X", "What a trial must keep to be among the best, as in 'parameters <= 100000' or 'accuracy >= 0.9'; several may be given. A command prints `constraint NAME VALUE`"),
    opt("jobs", "N", "Trials at once, or auto [default: auto; 1 for a command]"),
    opt("cohort", "N", "Trials at once on a GPU, or auto: by its memory, and fewer for samplers that learn from trials [default: auto]"),
    flagged("deterministic", "WIDTH", "Make the same study with any number of jobs: results are told in order, and a trial sees those before it. With =4, those four places before it, so that a sampler that learns may have four trials under way. A time limit still ends it anywhere"),
    opt("storage", "FILE", "File of studies [default: hpt-study.db]"),
    opt("study", "NAME", "Name of the study [default: the data's or the command's name]"),
    opt("repeats", "N", "Trainings of each trial with different seeds, averaged [default: 1]"),
    opt("keep_models", "N", "Models of the best trials to keep [default: 3]"),
    one_of("retrain", "What is trained once more, on training and validation rows together; with none the best trial's own model is the result [default: best]", || vec!["best", "none"]),
    opt("stop_at", "X", "Value that is good enough: the study ends when its best has reached it; of several objectives all, with commas"),
    opt("patience_trials", "N", "The study ends after so many trials in a row that brought nothing better"),
    opt("stop_regret_bound", "X", "The study ends when, by a Gaussian process, the best there is can hardly be better than the best so far by more than X; `auto` takes the error of that value, from --repeats"),
    opt("warm_start", "FILE[:STUDY]", "Study to learn from: its best are tried first, its trials are data for the sampler"),
    opt("population", "K", "Population-based training: K members train in generations, the worst copy weights of the best"),
    opt("generation_epochs", "N", "Epochs of a population's generation [default: 1]"),
    opt("exploit", "SHARE", "Share of a population that copies one of as many best [default: 0.2]"),
    opt("explore_factor", "X", "What the copy multiplies or divides its hyperparameters by [default: 1.2]"),
    opt("explore_resample", "SHARE", "Probability that it draws one anew instead [default: 0.25]"),
    many("enqueue", "JSON", "Configuration to try first, as in '{\"learning_rate\": 0.001}'"),
    opt("space", "FILE", "File whose [space] table says what varies [default: sized from the data]"),
    opt("out", "DIR", "Folder for the models [default: named after the study]"),
];

/// The flag of a key.
pub fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

fn arg(name: &'static str, value: &'static str, help: String, heading: &'static str) -> Arg {
    // `--learning_rate`, as in a study file, is understood too.
    let arg = Arg::new(name).help(help).help_heading(heading).value_name(value).long(name.replace('_', "-"));
    let arg = if name.contains('_') { arg.alias(name) } else { arg };
    // `-3e-2` is a number, though it looks like an option.
    arg.allow_hyphen_values(matches!(value, "X" | "N" | "SHARE")).value_hint(match value {
        "PATH" => ValueHint::AnyPath,
        "FILE" => ValueHint::FilePath,
        "DIR" => ValueHint::DirPath,
        _ => ValueHint::Other,
    })
}

/// Adds the flags of a table.
pub fn add(command: Command, table: &'static [Opt], heading: &'static str) -> Command {
    command.args(table.iter().map(|opt| {
        let arg = arg(opt.name, opt.value, described(opt.help, &(opt.words)()), heading);
        match opt {
            Opt { many: true, .. } => arg.action(ArgAction::Append),
            Opt { bare: true, .. } => arg.num_args(0..=1).require_equals(true).default_missing_value("1"),
            _ => arg,
        }
    }))
}

/// Adds a flag for every setting of a training.
pub fn add_settings(command: Command) -> Command {
    command.args(SETTINGS.iter().map(|setting| {
        let help = match setting.default {
            "" | "false" => setting.help.to_owned(),
            default => format!("{} [default: {default}]", setting.help),
        };
        let (value, words) = match setting.kind {
            Kind::Flag => ("BOOL", Vec::new()),
            Kind::Count(_) => ("N", Vec::new()),
            Kind::Name(names) => ("NAME", names()),
            Kind::Widths => ("WIDTHS", Vec::new()),
            _ => ("X", Vec::new()),
        };
        let arg = arg(setting.name, value, described(&help, &words), "Training");
        match setting.kind {
            // `--nesterov` alone is true; a value needs `=`, since a word after it may be something else.
            Kind::Flag => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            _ => arg,
        }
    }))
}

/// The settings that flags give.
pub fn settings(matches: &ArgMatches) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    for setting in SETTINGS {
        if let Some(text) = matches.get_one::<String>(setting.name) {
            settings.set(&flag(setting.name), setting.name, &Value::Text(text.clone()))?;
        }
    }
    Ok(settings)
}

/// Option values, each with the place it came from.
#[derive(Clone, Debug, Default)]
pub struct Options(IndexMap<String, (String, Toml)>);

impl Options {
    /// Those of these tables that flags give.
    pub fn from_flags(matches: &ArgMatches, tables: &[&[Opt]]) -> Self {
        let mut options = Options::default();
        for opt in tables.iter().copied().flatten() {
            if matches.value_source(opt.name) != Some(ValueSource::CommandLine) {
                continue;
            }
            let mut texts: Vec<Toml> =
                matches.get_many::<String>(opt.name).into_iter().flatten().cloned().map(Toml::String).collect();
            let value = if texts.len() == 1 { texts.remove(0) } else { Toml::Array(texts) };
            options.set(opt.name, flag(opt.name), value);
        }
        options
    }

    /// Sets a value; `place` is its flag, or the file and key.
    pub fn set(&mut self, name: &str, place: String, value: Toml) {
        self.0.insert(name.to_owned(), (place, value));
    }

    /// These, and those of `weaker` that are not given here.
    #[must_use]
    pub fn or(mut self, weaker: &Options) -> Options {
        for (name, given) in &weaker.0 {
            self.0.entry(name.clone()).or_insert_with(|| given.clone());
        }
        self
    }

    /// Where an option was given.
    pub fn place(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(|(place, _)| place.as_str())
    }

    /// The value as it was given.
    pub fn raw(&self, name: &str) -> Option<(&str, &Toml)> {
        self.0.get(name).map(|(place, value)| (place.as_str(), value))
    }

    /// An error about the value of an option, which names the option or its place in the study file.
    pub fn locate(&self, name: &str, error: Error) -> Error {
        match self.place(name) {
            Some(place) => error.at(place),
            None => error,
        }
    }

    /// A text.
    pub fn text(&self, name: &str) -> Result<Option<&str>, Error> {
        match self.raw(name) {
            None => Ok(None),
            Some((_, Toml::String(text))) => Ok(Some(text)),
            Some((place, other)) => Err(wrong(place, other, "a text")),
        }
    }

    /// A list of texts, or one text with commas.
    pub fn list(&self, name: &str) -> Result<Vec<String>, Error> {
        let Some((place, value)) = self.raw(name) else { return Ok(Vec::new()) };
        let items = match value {
            Toml::Array(items) => items.as_slice(),
            single => std::slice::from_ref(single),
        };
        let mut list = Vec::new();
        for item in items {
            let Toml::String(text) = item else { return Err(wrong(place, item, "a name")) };
            // Commas separate names, but in the lists of a file, where every text is one name.
            match value {
                Toml::Array(_) if !place.starts_with("--") => list.push(text.clone()),
                _ => list.extend(text.split(',').map(|name| name.trim().to_owned()).filter(|name| !name.is_empty())),
            }
        }
        if list.is_empty() { Err(wrong(place, value, "at least one name")) } else { Ok(list) }
    }

    /// A whole number from `least` on.
    pub fn count(&self, name: &str, least: u64) -> Result<Option<u64>, Error> {
        let Some((place, value)) = self.raw(name) else { return Ok(None) };
        let found = match value {
            Toml::Integer(n) => u64::try_from(*n).ok(),
            Toml::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match found {
            Some(n) if n >= least => Ok(Some(n)),
            _ => Err(wrong(place, value, &format!("a whole number from {least} on"))),
        }
    }

    /// A whole number from 1 on; the answer 0 is `auto`.
    pub fn auto(&self, name: &str) -> Result<usize, Error> {
        match self.raw(name) {
            Some((_, Toml::String(text))) if text.trim() == "auto" => Ok(0),
            Some((place, value)) => match self.count(name, 0) {
                Ok(Some(n)) if (1..=4096).contains(&n) => Ok(n as usize),
                _ => Err(wrong(place, value, "a whole number from 1 to 4096 or `auto`")),
            },
            None => Ok(0),
        }
    }

    /// A share of rows: from 0 up to but not including 1.
    pub fn share(&self, name: &str) -> Result<Option<f64>, Error> {
        let Some((place, value)) = self.raw(name) else { return Ok(None) };
        let found = match value {
            Toml::Float(x) => Some(*x),
            Toml::Integer(n) => Some(*n as f64),
            Toml::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        match found {
            Some(x) if (0.0..1.0).contains(&x) => Ok(Some(x)),
            _ => Err(wrong(place, value, "a share from 0 up to but not including 1")),
        }
    }

    /// A time: `500ms`, `90s`, `10m`, `1h30m`; a number alone is seconds.
    pub fn time(&self, name: &str) -> Result<Option<Duration>, Error> {
        let Some((place, value)) = self.raw(name) else { return Ok(None) };
        let found = match value {
            Toml::Integer(n) => duration(&n.to_string()),
            Toml::Float(x) => duration(&x.to_string()),
            Toml::String(text) => duration(text),
            _ => None,
        };
        found.map(Some).ok_or_else(|| wrong(place, value, "a time above 0, as in 500ms, 90s, 10m or 1h30m,"))
    }

    /// A size in bytes: `500MiB`, `2GiB`, `2GB`; a number alone is bytes.
    pub fn size(&self, name: &str) -> Result<Option<u64>, Error> {
        let Some((place, value)) = self.raw(name) else { return Ok(None) };
        let found = match value {
            Toml::Integer(n) => u64::try_from(*n).ok().filter(|n| *n > 0),
            Toml::String(text) => bytes(text),
            _ => None,
        };
        found.map(Some).ok_or_else(|| wrong(place, value, "a size above 0, as in 500MiB or 2GiB,"))
    }

    /// A number.
    pub fn real(&self, name: &str) -> Result<Option<f64>, Error> {
        let Some((place, value)) = self.raw(name) else { return Ok(None) };
        let found = match value {
            Toml::Float(x) => Some(*x),
            Toml::Integer(n) => Some(*n as f64),
            Toml::String(text) => text.trim().parse().ok(),
            _ => None,
        };
        found.filter(|x| !x.is_nan()).map(Some).ok_or_else(|| wrong(place, value, "a number"))
    }

    /// Numbers: one, several with commas, or a list; empty where none is given.
    fn reals(&self, name: &str) -> Result<Vec<f64>, Error> {
        let Some((place, value)) = self.raw(name) else { return Ok(Vec::new()) };
        let number = |item: &Toml| match item {
            Toml::Float(x) => Some(*x),
            Toml::Integer(n) => Some(*n as f64),
            _ => None,
        };
        let found: Option<Vec<f64>> = match value {
            Toml::String(text) => text.split(',').map(|word| word.trim().parse().ok()).collect(),
            Toml::Array(items) => items.iter().map(number).collect(),
            single => number(single).map(|x| vec![x]),
        };
        let numbers = found.filter(|found| !found.iter().any(|x| x.is_nan()));
        numbers.ok_or_else(|| wrong(place, value, "a number (one an objective, with commas)"))
    }

    /// What the pruner of that name is told, on top of `settings`: `name=value` on the command line, a table in a file.
    pub fn pruner(&self, pruner: &str, mut settings: pruner::Settings) -> Result<pruner::Settings, Error> {
        let Some((place, value)) = self.raw("pruner_option") else { return Ok(settings) };
        let items: Vec<(String, String)> = match value {
            Toml::Table(table) => table.iter().map(|(name, value)| (name.clone(), value.to_string())).collect(),
            value => {
                let texts = match value {
                    Toml::Array(items) => items.as_slice(),
                    single => std::slice::from_ref(single),
                };
                let pair = |item: &Toml| {
                    let (name, value) = item.as_str()?.split_once('=')?;
                    // What stands after a point is the name of an objective.
                    let (name, of) = name.split_at(name.find('.').unwrap_or(name.len()));
                    Some((format!("{}{}", name.trim().replace('-', "_"), of.trim()), value.trim().to_owned()))
                };
                let expected = "NAME=X, as in startup=10,";
                texts
                    .iter()
                    .map(|item| pair(item).ok_or_else(|| wrong(place, item, expected)))
                    .collect::<Result<_, _>>()?
            }
        };
        for (name, text) in items {
            let value =
                text.parse().map_err(|_| wrong(&format!("{place}: {name}"), &Toml::String(text), "a number"))?;
            settings.set(place, pruner, &name, value)?;
        }
        Ok(settings)
    }

    /// After how many places results are seen, where they are told in order.
    pub fn width(&self) -> Result<Option<u64>, Error> {
        match self.raw("deterministic") {
            Some((_, Toml::Boolean(wanted))) => Ok(wanted.then_some(1)),
            _ => self.count("deterministic", 1),
        }
    }

    /// What ends a study.
    pub fn stop_rules(&self) -> Result<StopRules, Error> {
        let regret = match self.raw("stop_regret_bound") {
            Some((_, Toml::String(text))) if text.trim() == "auto" => Some(Regret::Error),
            Some((place, value)) => match self.real("stop_regret_bound").ok().flatten().filter(|x| *x >= 0.0) {
                Some(bound) => Some(Regret::Value(bound)),
                None => return Err(wrong(place, value, "a number from 0 on or `auto`")),
            },
            None => None,
        };
        Ok(StopRules { target: self.reals("stop_at")?, patience: self.count("patience_trials", 1)?, regret })
    }

    /// The study to learn from: a file, with the study's name after a colon where it is said.
    pub fn warm_start(&self) -> Result<Option<WarmStart>, Error> {
        let Some(text) = self.text("warm_start")? else { return Ok(None) };
        let whole = WarmStart { storage: text.into(), study: None };
        let start = match text.rsplit_once(':') {
            Some((path, study)) if !Path::new(text).exists() && !study.is_empty() && !study.starts_with('/') => {
                WarmStart { storage: path.into(), study: Some(study.to_owned()) }
            }
            _ => whole,
        };
        // Nothing else happens before it is known to be there.
        let opened = Storage::open(&start.storage).and_then(|storage| Study::open(&storage, start.study.as_deref()));
        opened.map_err(|error| self.locate("warm_start", error))?;
        Ok(Some(start))
    }

    /// The device.
    pub fn device(&self) -> Result<Device, Error> {
        self.text("device")?.map_or(Ok(Device::Auto), Device::by_name)
    }

    /// What a search optimises; empty where nothing was said.
    pub fn objectives(&self) -> Result<Vec<Measure>, Error> {
        let place = self.place("metric").unwrap_or("--metric").to_owned();
        self.list("metric")?.iter().map(|name| Measure::by_name(&place, name)).collect()
    }

    /// What trials must keep.
    pub fn constraints<M>(
        &self,
        read: impl Fn(&str, &str) -> Result<Constraint<M>, Error>,
    ) -> Result<Vec<Constraint<M>>, Error> {
        let place = self.place("constraint").unwrap_or("--constraint").to_owned();
        self.list("constraint")?.iter().map(|text| read(&place, text)).collect()
    }

    /// The metric.
    pub fn metric(&self) -> Result<Option<Metric>, Error> {
        self.text("metric")?.map(Metric::by_name).transpose()
    }

    /// The seed.
    pub fn seed(&self) -> Result<u64, Error> {
        Ok(self.count("seed", 0)?.unwrap_or(0))
    }

    /// The data and their division; none where no data are named.
    pub fn data(&self) -> Result<Option<(DataSpec, SplitSpec)>, Error> {
        let Some(path) = self.text("data")? else { return Ok(None) };
        let task = self.text("task")?.map(|name| TaskChoice::by_name(self.place("task").unwrap_or("task"), name));
        let data = DataSpec {
            path: path.to_owned(),
            target: self.list("target")?,
            delimiter: self.delimiter()?,
            test: self.text("test")?.map(str::to_owned),
            categorical: self.list("categorical")?,
            fold_column: self.text("fold_column")?.map(str::to_owned),
            task: task.transpose()?.unwrap_or_default(),
        };
        if let (Some(test), Some(split)) = (self.place("test"), self.place("test_split")) {
            return Err(Error::input(format!("{test} and {split} exclude each other: the file has the test rows")));
        }
        let default = SplitSpec::default();
        let split = SplitSpec {
            test: self.share("test_split")?.unwrap_or(default.test),
            validation: self.share("validation_split")?.unwrap_or(default.validation),
            seed: self.seed()?,
        };
        Ok(Some((data, split)))
    }

    /// The byte that separates cells.
    pub fn delimiter(&self) -> Result<Option<u8>, Error> {
        match self.text("delimiter")? {
            None => Ok(None),
            Some("tab" | "\\t" | "\t") => Ok(Some(b'\t')),
            Some(text) => match text.as_bytes() {
                [byte] if byte.is_ascii() && !byte.is_ascii_alphanumeric() => Ok(Some(*byte)),
                _ => {
                    let place = self.place("delimiter").unwrap_or("delimiter");
                    Err(Error::input(format!("{place} is `{text}`; one character such as `;`, or `tab`, is expected")))
                }
            },
        }
    }
}

fn wrong(place: &str, found: &Toml, expected: &str) -> Error {
    let found = match found {
        Toml::String(text) => text.clone(),
        other => other.to_string(),
    };
    Error::input(format!("{place} is `{found}`; {expected} is expected"))
}

/// Milliseconds (`500ms`), seconds (`90`, `90s`), minutes, hours and days, one after the other; none where it is no time above 0.
fn duration(text: &str) -> Option<Duration> {
    let mut rest = text.trim();
    let mut total = 0.0;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let amount: f64 = rest[..digits].parse().ok()?;
        let letters = rest[digits..].find(|c: char| !c.is_ascii_alphabetic()).unwrap_or(rest.len() - digits);
        let unit = match &rest[digits..digits + letters] {
            "ms" => 1e-3,
            "" | "s" | "sec" => 1.0,
            "m" | "min" => 60.0,
            "h" => 3600.0,
            "d" => 86400.0,
            _ => return None,
        };
        total += amount * unit;
        rest = rest[digits + letters..].trim_start();
    }
    Duration::try_from_secs_f64(total).ok().filter(|time| !time.is_zero())
}

/// Bytes; none where it is no size above 0. As in SI, `kB` is 1000 and `KiB` 1024 bytes; `K`, `M`, `G` alone are 1024's.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let digits = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
    let amount: f64 = text[..digits].parse().ok()?;
    let unit = text[digits..].trim().to_lowercase();
    let power = |letter: &str| ["k", "m", "g", "t"].iter().position(|known| *known == letter).map(|at| at as i32 + 1);
    let factor = match unit.as_str() {
        "" | "b" => 1.0,
        unit => match (unit.strip_suffix("ib"), unit.strip_suffix('b')) {
            (Some(letter), _) => 1024f64.powi(power(letter)?),
            (None, Some(letter)) => 1000f64.powi(power(letter)?),
            (None, None) => 1024f64.powi(power(unit)?),
        },
    };
    let size = amount * factor;
    (size >= 1.0 && size < u64::MAX as f64).then_some(size as u64)
}

/// Sees that the file that `--out` names can be made.
pub fn output(path: &str) -> Result<(), Failure> {
    let place = Path::new(path);
    if path.is_empty() || place.is_dir() || path.ends_with('/') {
        return Err(Failure::input(format!("--out {path}: is a directory, the name of a file is expected")));
    }
    writable(folder_of(place))
}

/// The folder that a file stands in.
pub fn folder_of(file: &Path) -> &Path {
    file.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Sees that files can be made in a folder, or that the folder can be made.
pub fn writable(folder: &Path) -> Result<(), Failure> {
    let there = folder.ancestors().find(|place| place.exists()).unwrap_or(Path::new("."));
    let there = if there.as_os_str().is_empty() { Path::new(".") } else { there };
    tempfile::tempfile_in(there).map(drop).map_err(|error| {
        let full = error.kind() == std::io::ErrorKind::StorageFull;
        let message = format!("--out {}: cannot be written to ({error}); give another", folder.display());
        Failure::new(if full { 1 } else { 2 }, message)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_have_units() {
        let seconds = |text: &str| duration(text).map(|time| time.as_secs_f64());
        assert_eq!(seconds("500ms"), Some(0.5));
        assert_eq!(seconds("90s"), Some(90.0));
        assert_eq!(seconds("10m"), Some(600.0));
        assert_eq!(seconds("1h30m"), Some(5400.0));
        assert_eq!(seconds("1h 30m 5s"), Some(5405.0));
        assert_eq!(seconds("1.5h"), Some(5400.0));
        assert_eq!(seconds("45"), Some(45.0));
        for wrong in ["", "0", "0s", "10x", "m", "-5s", "1..5s", "5 parsecs", "nan", "1e400d"] {
            assert_eq!(seconds(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn sizes_have_units() {
        let sizes = [("512", 512), ("2GiB", 2 << 30), ("1.5 MiB", 3 << 19), ("2GB", 2_000_000_000), ("64k", 64 << 10)];
        for (text, size) in sizes {
            assert_eq!(bytes(text), Some(size), "{text}");
        }
        for wrong in ["", "0", "0GiB", "GiB", "-1GiB", "2 parsecs", "1e9", "2iB", "9999999999TiB"] {
            assert_eq!(bytes(wrong), None, "{wrong}");
        }
    }

    #[test]
    fn no_option_has_the_name_of_a_setting() {
        let names: Vec<&str> = [DATA, RUN, SEARCH].into_iter().flatten().map(|opt| opt.name).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name} twice");
            assert!(SETTINGS.iter().all(|setting| setting.name != *name), "{name} is a setting");
        }
    }
}
