//! What options were given: each value with its flag or its place in the study file, read and checked when it is asked
//! for.
//!
//! Which options there are is not known here, nor what they are for; a wrong value is answered with its place, what was
//! found and what is expected.

use super::{Opt, flag};
use crate::cli::table;
use clap::ArgMatches;
use clap::parser::ValueSource;
use hpt_engine::Error;
use hpt_engine::data::{DataSpec, Folds, SplitSpec, TaskChoice};
use hpt_engine::engine::Device;
use hpt_engine::search::{Constraint, Measure, WarmStart};
use hpt_engine::study::{Regret, StopRules, Storage, Study, ToldOption};
use hpt_engine::train::Metric;
use indexmap::IndexMap;
use std::path::Path;
use std::time::Duration;
use toml::Value as Toml;

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
        match number(value) {
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
        number(value).filter(|x| !x.is_nan()).map(Some).ok_or_else(|| wrong(place, value, "a number"))
    }

    /// Numbers: one, several with commas, or a list; empty where none is given.
    fn reals(&self, name: &str) -> Result<Vec<f64>, Error> {
        let Some((place, value)) = self.raw(name) else { return Ok(Vec::new()) };
        let found: Option<Vec<f64>> = match value {
            Toml::String(text) => text.split(',').map(|word| word.trim().parse().ok()).collect(),
            Toml::Array(items) => items.iter().map(plain_number).collect(),
            single => plain_number(single).map(|x| vec![x]),
        };
        let numbers = found.filter(|found| !found.iter().any(|x| x.is_nan()));
        numbers.ok_or_else(|| wrong(place, value, "a number (one an objective, with commas)"))
    }

    /// What the pruner is told: `name=value` on the command line, a table in a file.
    pub fn pruner_options(&self) -> Result<Vec<ToldOption>, Error> {
        let Some((place, value)) = self.raw("pruner_option") else { return Ok(Vec::new()) };
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
        let read = |(name, text): (String, String)| match text.parse() {
            Ok(value) => Ok(ToldOption { place: place.to_owned(), name, value }),
            Err(_) => Err(wrong(&format!("{place}: {name}"), &Toml::String(text), "a number")),
        };
        items.into_iter().map(read).collect()
    }

    /// After how many places results are seen, where they are told in order.
    pub fn width(&self) -> Result<Option<u64>, Error> {
        match self.raw("deterministic") {
            Some((_, Toml::Boolean(wanted))) => Ok(wanted.then_some(1)),
            _ => self.count("deterministic", 1),
        }
    }

    /// What ends a study of so many objectives.
    pub fn stop_rules(&self, objectives: usize) -> Result<StopRules, Error> {
        let regret = match self.raw("stop_regret_bound") {
            Some((_, Toml::String(text))) if text.trim() == "auto" => Some(Regret::Error),
            Some((place, value)) => match self.real("stop_regret_bound").ok().flatten().filter(|x| *x >= 0.0) {
                Some(bound) => Some(Regret::Value(bound)),
                None => return Err(wrong(place, value, "a number from 0 on or `auto`")),
            },
            None => None,
        };
        if let Some(place) = self.place("stop_regret_bound").filter(|_| objectives > 1) {
            return Err(Error::input(format!(
                "{place} goes with one objective alone, and there are {objectives}; leave it out (--patience-trials \
                 and --stop-at go with several)"
            )));
        }
        let target = self.reals("stop_at")?;
        if let Some(place) = self.place("stop_at").filter(|_| target.len() != objectives) {
            return Err(Error::input(format!(
                "{place} has {}, and there {}; one value each is expected, with commas and in the objectives' order",
                table::plural(target.len(), "value"),
                if objectives == 1 { "is 1 objective".to_owned() } else { format!("are {objectives} objectives") }
            )));
        }
        Ok(StopRules { target, patience: self.count("patience_trials", 1)?, regret })
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

    /// What trials must keep; where nothing is said of it, what those of the study must that is there already.
    pub fn constraints<M>(
        &self,
        begun: Option<&Study>,
        read: impl Fn(&str, &str) -> Result<Constraint<M>, Error>,
    ) -> Result<Vec<Constraint<M>>, Error> {
        match (self.place("constraint"), begun) {
            (Some(place), _) => self.list("constraint")?.iter().map(|text| read(place, text)).collect(),
            // Those of another kind of search cannot be read: the study is refused where it is opened for good.
            (None, Some(study)) => Ok(Constraint::of_study(study, read).unwrap_or_default()),
            (None, None) => Ok(Vec::new()),
        }
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
            folds: Folds::None,
            seed: self.seed()?,
        };
        Ok(Some((data, split)))
    }

    /// The division of rows for trials: by `folds`, or those of `fold_column`, where either is given.
    pub fn in_folds(&self, split: SplitSpec) -> Result<SplitSpec, Error> {
        let (name, folds) = match (self.count("folds", 2)?, self.text("fold_column")?) {
            (Some(k), _) => ("folds", Folds::Count(k as usize)),
            (None, Some(_)) => ("fold_column", Folds::Column),
            (None, None) => return Ok(split),
        };
        match (self.place("validation_split"), self.place(name)) {
            (Some(share), Some(folds)) => Err(Error::input(format!(
                "{share} and {folds} exclude each other: every fold is the validation rows once"
            ))),
            _ => Ok(SplitSpec { folds, ..split }),
        }
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

/// A number of a file.
fn plain_number(value: &Toml) -> Option<f64> {
    match value {
        Toml::Float(x) => Some(*x),
        Toml::Integer(n) => Some(*n as f64),
        _ => None,
    }
}

/// A number of a file or of a flag.
fn number(value: &Toml) -> Option<f64> {
    match value {
        Toml::String(text) => text.trim().parse().ok(),
        value => plain_number(value),
    }
}

/// Milliseconds (`500ms`), seconds (`90`, `90s`), minutes, hours and days, one after the other; none where it is no
/// time above 0.
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

/// Bytes; none where it is no size above 0. As in SI, `kB` is 1000 and `KiB` 1024 bytes; `K`, `M`, `G` alone are
/// 1024's.
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
}
