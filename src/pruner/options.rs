//! What the user may say about a pruner: one table, from which flags, keys of a study file, their checks and what a
//! study keeps of them follow.

use super::PRUNERS;
use crate::{Error, Result};

/// What the user may say about a pruner.
#[derive(Clone, Debug, PartialEq)]
pub struct Settings {
    /// Finished trials before median and percentile stop any.
    pub startup: usize,
    /// Steps that every trial may do before median, percentile and threshold stop it.
    pub warmup: u64,
    /// The share of better trials, in percent, that percentile keeps.
    pub percentile: f64,
    /// The first step at which successive halving compares.
    pub min_resource: u64,
    /// The steps of a trial that is not stopped, where that is known; hyperband divides them.
    pub max_resource: Option<u64>,
    /// Of how many trials successive halving lets one go on.
    pub reduction: u64,
    /// Reports without an improvement before a trial may be stopped, by any pruner.
    pub patience: Option<u64>,
    /// By how much a value must be better to be an improvement.
    pub min_delta: f64,
    /// Threshold stops what is below, in the first objective.
    pub lower: Option<f64>,
    /// Threshold stops what is above, in the first objective.
    pub upper: Option<f64>,
    /// Further bounds of threshold, by the names of objectives.
    pub bounds: Vec<NamedBound>,
    /// The names of the objectives, which bounds may say.
    pub objectives: Vec<String>,
    /// Wilcoxon stops below this p.
    pub p_threshold: f64,
    /// Folds or repetitions before wilcoxon stops.
    pub startup_steps: usize,
}

/// A bound on one of several objectives.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedBound {
    /// The objective's name.
    pub objective: String,
    /// What is below (`lower`) or above (`upper`) is stopped.
    pub side: &'static str,
    /// The bound.
    pub limit: f64,
}

impl Default for Settings {
    fn default() -> Self {
        Settings {
            startup: 5,
            warmup: 0,
            percentile: 25.0,
            min_resource: 1,
            max_resource: None,
            reduction: 3,
            patience: None,
            min_delta: 0.0,
            lower: None,
            upper: None,
            bounds: Vec::new(),
            objectives: Vec::new(),
            p_threshold: 0.1,
            startup_steps: 2,
        }
    }
}

/// A row of the table.
#[derive(Clone, Copy, Debug)]
pub struct PrunerOption {
    /// Its name.
    pub name: &'static str,
    /// What it says, in one line.
    pub help: &'static str,
    /// The pruners that heed it; none means all but `none`.
    pub of: &'static [&'static str],
    /// What it takes.
    expected: &'static str,
    get: fn(&Settings) -> Option<f64>,
    set: fn(&mut Settings, f64) -> Option<()>,
}

/// A whole number from `least` on.
fn whole(value: f64, least: u64) -> Option<u64> {
    (value.fract() == 0.0 && value >= least as f64 && value < 9e15).then_some(value as u64)
}

fn within(value: f64, low: f64, high: f64) -> Option<f64> {
    (low..=high).contains(&value).then_some(value)
}

const FROM_0: &str = "a whole number from 0 on";
const FROM_1: &str = "a whole number from 1 on";
const FROM_2: &str = "a whole number from 2 on";
const NUMBER: &str = "a number";

/// Every option of every pruner.
#[rustfmt::skip]
pub const OPTIONS: &[PrunerOption] = &[
    PrunerOption { name: "startup", help: "finished trials before any is stopped [5]", of: &["median", "percentile"], expected: FROM_0,
        get: |s| Some(s.startup as f64), set: |s, x| { s.startup = whole(x, 0)? as usize; Some(()) } },
    PrunerOption { name: "warmup", help: "steps that every trial may do [0]", of: &["median", "percentile", "threshold"], expected: FROM_0,
        get: |s| Some(s.warmup as f64), set: |s, x| { s.warmup = whole(x, 0)?; Some(()) } },
    PrunerOption { name: "percentile", help: "the best percent that go on [25]", of: &["percentile"], expected: "a number above 0 and up to 100",
        get: |s| Some(s.percentile), set: |s, x| { s.percentile = within(x, f64::MIN_POSITIVE, 100.0)?; Some(()) } },
    PrunerOption { name: "min_resource", help: "first step at which trials are compared [1; where the program trains, a 27th of the epochs, a ninth for fewer than 27 trials]", of: &["asha", "hyperband"], expected: FROM_1,
        get: |s| Some(s.min_resource as f64), set: |s, x| { s.min_resource = whole(x, 1)?; Some(()) } },
    PrunerOption { name: "max_resource", help: "steps of a trial that is not stopped", of: &["hyperband"], expected: FROM_1,
        get: |s| s.max_resource.map(|x| x as f64), set: |s, x| { s.max_resource = Some(whole(x, 1)?); Some(()) } },
    PrunerOption { name: "reduction", help: "one in so many goes on [3]", of: &["asha", "hyperband"], expected: FROM_2,
        get: |s| Some(s.reduction as f64), set: |s, x| { s.reduction = whole(x, 2)?; Some(()) } },
    PrunerOption { name: "patience", help: "reports without an improvement before a trial may be stopped [5 for patience]", of: &[], expected: FROM_1,
        get: |s| s.patience.map(|x| x as f64), set: |s, x| { s.patience = Some(whole(x, 1)?); Some(()) } },
    PrunerOption { name: "min_delta", help: "by how much an improvement must be better [0]", of: &[], expected: "a number from 0 on",
        get: |s| Some(s.min_delta), set: |s, x| { s.min_delta = within(x, 0.0, f64::MAX)?; Some(()) } },
    PrunerOption { name: "lower", help: "what is below is stopped; of several objectives the first, lower.NAME=X another", of: &["threshold"], expected: NUMBER,
        get: |s| s.lower, set: |s, x| { s.lower = Some(x); Some(()) } },
    PrunerOption { name: "upper", help: "what is above is stopped; likewise, as in upper.loss=2", of: &["threshold"], expected: NUMBER,
        get: |s| s.upper, set: |s, x| { s.upper = Some(x); Some(()) } },
    PrunerOption { name: "p_threshold", help: "probability below which a trial is worse [0.1]", of: &["wilcoxon"], expected: "a number from 0 to 1",
        get: |s| Some(s.p_threshold), set: |s, x| { s.p_threshold = within(x, 0.0, 1.0)?; Some(()) } },
    PrunerOption { name: "startup_steps", help: "folds or repetitions before any is stopped [2]", of: &["wilcoxon"], expected: FROM_1,
        get: |s| Some(s.startup_steps as f64), set: |s, x| { s.startup_steps = whole(x, 1)? as usize; Some(()) } },
];

impl PrunerOption {
    /// Whether a pruner heeds it.
    pub fn is_of(&self, pruner: &str) -> bool {
        pruner != "none" && (self.of.is_empty() || self.of.contains(&pruner))
    }
}

impl Settings {
    /// What a pruner heeds of this and what is not as by default: `NAME=X` each, which [`Settings::tell`] takes back.
    pub fn told(&self, pruner: &str) -> Vec<String> {
        let usual = Settings::default();
        let own = OPTIONS.iter().filter(|option| option.is_of(pruner) && (option.get)(self) != (option.get)(&usual));
        let own = own.filter_map(|option| Some(format!("{}={}", option.name, (option.get)(self)?)));
        let is_threshold = |_: &&NamedBound| pruner == "threshold";
        let bounds = self.bounds.iter().filter(is_threshold);
        own.chain(bounds.map(|bound| format!("{}.{}={}", bound.side, bound.objective, bound.limit))).collect()
    }

    /// Sets an option that is given as `NAME=X`.
    ///
    /// # Errors
    /// As [`Settings::set`]; what is no `NAME=X`.
    pub fn tell(&mut self, place: &str, pruner: &str, text: &str) -> Result<()> {
        // The name of an objective may hold a `=` too.
        let pair = text.rsplit_once('=').and_then(|(name, value)| Some((name, value.trim().parse().ok()?)));
        let (name, value) =
            pair.ok_or_else(|| Error::input(format!("{place} is `{text}`; NAME=X, as in startup=10, is expected")))?;
        self.set(place, pruner, name, value)
    }

    /// Sets an option of a pruner; `place` is where it was given.
    ///
    /// # Errors
    /// [`Error::Input`]: no option of that name, one that this pruner does not heed, or a value that it does not take.
    pub fn set(&mut self, place: &str, pruner: &str, name: &str, value: f64) -> Result<()> {
        let (name, objective) = name.split_once('.').map_or((name, None), |(name, of)| (name, Some(of)));
        let own = || OPTIONS.iter().filter(|option| option.is_of(pruner)).map(|option| option.name);
        let Some(option) = OPTIONS.iter().find(|option| option.name == name) else {
            return Err(Error::unknown(&format!("{place}: option of the pruner {pruner}"), name, own()));
        };
        if !option.is_of(pruner) {
            let of: Vec<&str> = PRUNERS.iter().map(|entry| entry.name).filter(|pruner| option.is_of(pruner)).collect();
            return Err(Error::input(format!("{place}: `{name}` is an option of {}, not of {pruner}", of.join(", "))));
        }
        if let Some(objective) = objective {
            let side = ["lower", "upper"].into_iter().find(|side| *side == name);
            let side = side.ok_or_else(|| {
                Error::input(format!(
                    "{place}: `{name}.{objective}`: only lower and upper have a value for each objective"
                ))
            })?;
            if value.is_nan() {
                return Err(Error::input(format!("{place}: `{name}.{objective}` is {value}; {NUMBER} is expected")));
            }
            self.bounds.retain(|bound| bound.objective != objective || bound.side != side);
            self.bounds.push(NamedBound { objective: objective.to_owned(), side, limit: value });
            return Ok(());
        }
        (option.set)(self, value)
            .filter(|()| !value.is_nan())
            .ok_or_else(|| Error::input(format!("{place}: `{name}` is {value}; {} is expected", option.expected)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_pruner_is_told_comes_back() {
        for entry in PRUNERS {
            let mut settings = Settings::default();
            assert_eq!(settings.told(entry.name), [""; 0], "{}", entry.name);
            let own: Vec<&PrunerOption> = OPTIONS.iter().filter(|option| option.is_of(entry.name)).collect();
            let value = |option: &PrunerOption| if option.name == "p_threshold" { 0.3 } else { 7.0 };
            own.iter().for_each(|option| settings.set("", entry.name, option.name, value(option)).unwrap());
            if entry.name == "threshold" {
                settings.set("", "threshold", "upper.a=b", 0.1).unwrap();
            }
            let mut again = Settings::default();
            settings.told(entry.name).iter().for_each(|text| again.tell("", entry.name, text).unwrap());
            assert_eq!(again, settings, "{}", entry.name);
            assert_eq!(settings.told("none"), [""; 0]);
        }
        let found = Settings::default().tell("here", "asha", "reduction").unwrap_err().to_string();
        assert_eq!(found, "here is `reduction`; NAME=X, as in startup=10, is expected");
    }
}
