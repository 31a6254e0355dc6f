//! Importance: how much of what a study saw each parameter explains, alone and in pairs.
//!
//! - [`Method::Fanova`]: functional analysis of variance of a random forest (F. Hutter, H. Hoos, K. Leyton-Brown, "An
//!   efficient approach for assessing hyperparameter importance", ICML 2014). Over the whole space.
//! - [`Method::PedAnova`]: divergence of the best trials' densities from all trials' (S. Watanabe, A. Bansal,
//!   F. Hutter, "PED-ANOVA", IJCAI 2023). For getting among the best, also within a region of good trials.
//!
//! Both see a parameter as its domain does: logarithmic where the domain is, uniform over the space. A parameter that
//! exists only under a condition counts where it exists; that it exists at all is its parents' effect. Everything is a
//! pure function of (space, trials, seed).

mod axes;
mod density;
mod forest;
mod infer;
mod partition;
#[cfg(test)]
mod tests;

pub use infer::infer_space;

use crate::history::{Direction, State, Trial};
use crate::space::Space;
use crate::statistics::{deviation, mean};
use crate::{Error, Result};
use axes::Axis;
use serde::Serialize;

/// Trials below which nothing is said.
const FEWEST: usize = 4;

/// How importance is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Method {
    /// Functional analysis of variance of a random forest.
    Fanova,
    /// Densities of the best trials against all.
    PedAnova,
}

impl Method {
    /// Every method with its name.
    pub const ALL: [(&'static str, Method); 2] = [("fanova", Method::Fanova), ("ped-anova", Method::PedAnova)];

    /// The name on the command line.
    pub fn name(self) -> &'static str {
        Self::ALL[self as usize].0
    }

    /// The method of that name.
    ///
    /// # Errors
    /// [`Error::Input`] with the list of names for one that is not in it.
    pub fn by_name(name: &str) -> Result<Self> {
        let found = Self::ALL.iter().find(|(known, _)| *known == name).map(|(_, method)| *method);
        found.ok_or_else(|| Error::unknown("method", name, Self::ALL.iter().map(|(name, _)| *name)))
    }
}

/// What is explained.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Target {
    /// The objective of that place, from 0.
    Value(usize),
    /// Seconds from a trial's start to its end; few are good.
    Seconds,
}

/// How to measure; [`ImportanceSpec::default`] is fANOVA of the first objective.
#[derive(Clone, Debug, PartialEq)]
pub struct ImportanceSpec {
    /// How.
    pub method: Method,
    /// Of what.
    pub target: Target,
    /// Keys the forest's and the resampling's random numbers.
    pub seed: u64,
    /// Trees of the forest, or resamples of PED-ANOVA's spread.
    pub rounds: usize,
    /// PED-ANOVA: the share of trials that are the best, γ′ (0 < γ′ < region).
    pub quantile: f64,
    /// PED-ANOVA: the share of trials that they are compared with, γ ≤ 1; below 1 the importance is local.
    pub region: f64,
    /// PED-ANOVA: compare with the uniform distribution over the space instead of the region's trials.
    pub uniform: bool,
    /// Pairs too.
    pub pairs: bool,
    /// Use pruned trials too, with their last value.
    pub pruned: bool,
}

impl Default for ImportanceSpec {
    fn default() -> Self {
        ImportanceSpec {
            method: Method::Fanova,
            target: Target::Value(0),
            seed: 0,
            rounds: 64,
            quantile: 0.1,
            region: 1.0,
            uniform: false,
            pairs: false,
            pruned: false,
        }
    }
}

/// What was found; lists are sorted, the most important first.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Importance {
    /// Which trials it is from.
    pub trials: Used,
    /// Each parameter alone.
    pub parameters: Vec<Single>,
    /// What each pair does beyond both alone; empty unless asked for.
    pub pairs: Vec<Pair>,
}

/// Trials by what became of them here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Used {
    /// Used.
    pub used: usize,
    /// Left out: stopped by a pruner.
    pub pruned: usize,
    /// Left out: failed.
    pub failed: usize,
    /// Left out: not finished.
    pub unfinished: usize,
    /// Left out: the target is missing or not a finite number.
    pub without_target: usize,
    /// Left out: their parameters do not belong to the space.
    pub outside: usize,
}

/// Importance of one parameter.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Single {
    /// Its name.
    pub name: String,
    /// Its share among the parameters alone: these sum to 1 (to 0 where nothing matters).
    pub importance: f64,
    /// The share of the variance that it explains alone: of the target (fANOVA), or of being among the best
    /// (PED-ANOVA). What the shares lack to 1 are pairs and more.
    pub share: f64,
    /// Standard deviation of `share` over the trees, or over resampled trials.
    pub spread: f64,
}

/// Importance of two parameters together, beyond each alone.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pair {
    /// Their names, in the order of the space.
    pub names: [String; 2],
    /// The share of the variance that they explain together and neither explains alone.
    pub share: f64,
    /// Standard deviation of `share` over the trees, or over resampled trials.
    pub spread: f64,
}

/// The trials as numbers: a row a trial.
struct Table {
    axes: Vec<Axis>,
    /// `rows[trial][axis]`; NaN where the parameter does not exist.
    rows: Vec<Vec<f64>>,
    /// The target, smaller better.
    losses: Vec<f64>,
}

/// One round's shares: each parameter alone, then each pair in the order of [`pairs_of`]; none where there is no
/// variance.
type Shares = Option<Vec<f64>>;

/// The importance of every parameter of `space` over the trials of a study.
///
/// # Errors
/// [`Error::Input`] where the settings are out of range, fewer than 4 trials can be used, the target is the same in all
/// of them, or no parameter varies.
pub fn importance(
    space: &Space,
    directions: &[Direction],
    trials: &[Trial],
    spec: &ImportanceSpec,
) -> Result<Importance> {
    check(directions, spec)?;
    let (table, used) = tabulate(space, directions, trials, spec);
    if table.rows.len() < FEWEST {
        let only = describe(&used);
        return Err(Error::input(format!("importance needs at least {FEWEST} trials that can be used; {only}")));
    }
    if table.losses.iter().all(|loss| *loss == table.losses[0]) {
        let n = table.rows.len();
        return Err(Error::input(format!("importance: the target is {} in all {n} trials", table.losses[0].abs())));
    }
    if table.axes.iter().all(Axis::is_single) {
        return Err(Error::input("importance: no parameter of the space has more than one value"));
    }
    let rounds = match spec.method {
        Method::Fanova => forest::shares(&table, spec),
        Method::PedAnova => density::shares(&table, spec),
    };
    Ok(summary(space, used, &rounds, spec))
}

/// What was used and what was left out, in words.
pub fn describe(used: &Used) -> String {
    let Used { used, pruned, failed, unfinished, without_target, outside } = *used;
    let left = [
        (pruned, "pruned"),
        (failed, "failed"),
        (unfinished, "not finished"),
        (without_target, "without a finite target"),
        (outside, "outside the space"),
    ];
    let left: Vec<String> = left.iter().filter(|(n, _)| *n > 0).map(|(n, what)| format!("{n} {what}")).collect();
    let left = if left.is_empty() { String::new() } else { format!(", left out: {}", left.join(", ")) };
    format!("{used} of {} trials used{left}", used + pruned + failed + unfinished + without_target + outside)
}

fn check(directions: &[Direction], spec: &ImportanceSpec) -> Result<()> {
    let ImportanceSpec { quantile, region, rounds, .. } = *spec;
    if let Target::Value(place) = spec.target
        && place >= directions.len()
    {
        let n = directions.len();
        return Err(Error::input(format!("importance: there is no objective {place}; the study has {n}, from 0")));
    }
    if !(quantile > 0.0 && quantile < region && region <= 1.0) {
        return Err(Error::input(format!(
            "importance: the quantile is {quantile} and the region {region}; 0 < quantile < region ≤ 1 is expected"
        )));
    }
    if rounds == 0 {
        return Err(Error::input("importance: 0 trees; at least 1 is expected"));
    }
    Ok(())
}

/// The trials that can be used, as numbers.
fn tabulate(space: &Space, directions: &[Direction], trials: &[Trial], spec: &ImportanceSpec) -> (Table, Used) {
    let axes = axes::of(space);
    let mut table = Table { axes, rows: Vec::new(), losses: Vec::new() };
    let mut used = Used::default();
    for trial in trials {
        let left_out = match trial.state {
            State::Complete => None,
            State::Pruned if spec.pruned => None,
            State::Pruned => Some(&mut used.pruned),
            State::Failed => Some(&mut used.failed),
            State::Waiting | State::Running => Some(&mut used.unfinished),
        };
        if let Some(count) = left_out {
            *count += 1;
            continue;
        }
        let loss = match spec.target {
            Target::Seconds => trial.seconds(),
            Target::Value(place) => {
                // What is pruned with several objectives has no values, but what it had come to.
                let reached = || trial.reached().filter(|_| trial.state == State::Pruned)?.get(place).copied();
                trial.values.get(place).copied().or_else(reached).map(|value| directions[place].loss(value))
            }
        };
        let Some(loss) = loss.filter(|loss| loss.is_finite()) else {
            used.without_target += 1;
            continue;
        };
        let known = trial.params.iter().filter(|(name, _)| space.get(name).is_some());
        if space.contains(&known.map(|(name, value)| (name.clone(), value.clone())).collect()).is_err() {
            used.outside += 1;
            continue;
        }
        let row = space.parameters().iter().zip(&table.axes);
        let row = row.map(|(parameter, axis)| trial.params.get(&parameter.name).map_or(f64::NAN, |v| axis.place(v)));
        table.rows.push(row.collect());
        table.losses.push(loss);
        used.used += 1;
    }
    (table, used)
}

/// The pairs of `n` parameters, in order.
fn pairs_of(n: usize) -> impl Iterator<Item = (usize, usize)> {
    (0..n).flat_map(move |i| (i + 1..n).map(move |j| (i, j)))
}

/// Mean and spread over the rounds, sorted.
fn summary(space: &Space, used: Used, rounds: &[Shares], spec: &ImportanceSpec) -> Importance {
    let names: Vec<&str> = space.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    let seen: Vec<&Vec<f64>> = rounds.iter().flatten().collect();
    // The first round of PED-ANOVA is of the trials themselves: its value is the estimate, the others are the spread.
    let (value, spread): (Vec<f64>, Vec<f64>) = (0..seen.first().map_or(0, |round| round.len()))
        .map(|i| {
            let over: Vec<f64> = seen.iter().map(|round| round[i]).collect();
            match spec.method {
                Method::Fanova => (mean(&over), deviation(&over)),
                Method::PedAnova if over.len() > 1 => (over[0], deviation(&over[1..])),
                Method::PedAnova => (over[0], 0.0),
            }
        })
        .unzip();
    let at = |list: &[f64], i: usize| list.get(i).copied().unwrap_or(0.0);
    let sum: f64 = value.iter().take(names.len()).sum();
    let single = |(i, name): (usize, &&str)| Single {
        name: (*name).to_owned(),
        importance: if sum > 0.0 { at(&value, i) / sum } else { 0.0 },
        share: at(&value, i),
        spread: at(&spread, i),
    };
    let mut parameters: Vec<Single> = names.iter().enumerate().map(single).collect();
    parameters.sort_by(|a, b| b.share.total_cmp(&a.share));
    let mut pairs: Vec<Pair> = Vec::new();
    if spec.pairs {
        let pair = |(place, (i, j)): (usize, (usize, usize))| Pair {
            names: [names[i].to_owned(), names[j].to_owned()],
            share: at(&value, names.len() + place),
            spread: at(&spread, names.len() + place),
        };
        pairs.extend(pairs_of(names.len()).enumerate().map(pair));
        pairs.sort_by(|a, b| b.share.total_cmp(&a.share));
    }
    Importance { trials: used, parameters, pairs }
}
