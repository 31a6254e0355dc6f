//! Warm start: what another study found out, given to the sampler of this one.
//!
//! - The best [`TRIED_FIRST`] different configurations of the source are enqueued, with the parameters that both spaces
//!   have.
//! - Its complete trials, at most [`MOST`] of them, a third the best and the others spread over the ranks, are given to
//!   the sampler beside this study's ([`Ask::source`](crate::sampler::Ask::source)), never as if they were: values of
//!   two studies are on two scales, and the optimum may be elsewhere. What is carried over is the standardised loss
//!   z = (loss − mean) / deviation of each objective, cut to ±3. With several objectives the best are those of the
//!   front, by the first of them. How far it agrees with what is measured here, and thus counts, is for the sampler to
//!   find out.
//! - A parameter of this space that the source has not is drawn at random, so that it carries no opinion.
//!
//! A warm start should never do clearly worse than the best of the source enqueued alone. So trials of the source count
//! neither as start-up nor as tried, and samplers that take no advice do the same with them as without.
//! `TRANSFER=1 cargo bench --bench search` measures it (`benches/search/record.md`).
//!
//! Where the directions differ (accuracy there, a loss or several objectives here) the values say nothing here, and
//! only the first point holds: what is best there is tried first. What is carried over is kept with the study
//! (`hpt:priors`), so a later run needs no source.

use super::handle::Study;
use crate::history::pareto::{Merit, distinct_first};
use crate::history::{Direction, State, Trial};
use crate::random::{Purpose, Stream};
use crate::space::{Params, Space, Value};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::sync::{Arc, PoisonError};

/// System attribute of a study: the trials carried over.
pub(super) const PRIORS: &str = "hpt:priors";
/// How many of the source's best are tried first.
const TRIED_FIRST: usize = 3;
/// The most trials that are carried over.
const MOST: usize = 100;
/// Standardised losses beyond this say no more than that.
const CUT: f64 = 3.0;

/// A trial carried over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Prior {
    params: Params,
    /// Standardised loss of each objective.
    z: Vec<f64>,
}

/// What a warm start took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Trials enqueued.
    pub enqueued: usize,
    /// Trials given to the sampler as data.
    pub data: usize,
    /// Whether both studies have the same directions; otherwise only the best of the source are taken.
    pub comparable: bool,
    /// Parameters that both spaces have.
    pub common: Vec<String>,
    /// Parameters of the source that this space has not.
    pub dropped: Vec<String>,
    /// Parameters of this space that the source has not.
    pub new: Vec<String>,
}

impl Study {
    /// Takes over what `source` found; see the module. A study that has finished trials or was warm-started before
    /// stays as it is, and the answer is none.
    ///
    /// # Errors
    /// The source has no complete trial, or no parameter in common; a storage fails.
    pub fn warm_start(&self, source: &Study) -> Result<Option<Transfer>> {
        let space = self.needed_space()?;
        let refuse = |why: String| Err(Error::input(format!("warm start from the study `{}`: {why}", source.name())));
        let (own, theirs) = (self.directions(), source.directions());
        let comparable = own == theirs;
        if self.counts()?.finished() > 0 || self.attribute("priors")?.is_some() {
            return Ok(None);
        }
        let trials = source.trials()?;
        let ranked = ranked(&trials, theirs);
        if ranked.is_empty() {
            return refuse("no trial of it is complete".to_owned());
        }
        let known: BTreeSet<&str> =
            ranked.iter().flat_map(|(trial, _)| trial.params.keys()).map(String::as_str).collect();
        let (common, new): (Vec<String>, Vec<String>) = space
            .parameters()
            .iter()
            .map(|parameter| parameter.name.clone())
            .partition(|name| known.contains(name.as_str()));
        if common.is_empty() {
            return refuse("it has no parameter of this space".to_owned());
        }
        let dropped = known.iter().filter(|name| space.get(name).is_none()).map(|name| (*name).to_owned()).collect();
        let mut enqueued = 0;
        for (trial, _) in ranked.iter().take(TRIED_FIRST) {
            let params = shared(space, &trial.params);
            enqueued += usize::from(!params.is_empty() && self.enqueue_once(&params)?.is_some());
        }
        let priors = if comparable { priors(space, &ranked) } else { Vec::new() };
        self.set_attribute("priors", &json!(priors))?;
        let data = priors.len();
        *self.inner.priors.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(priors);
        Ok(Some(Transfer { enqueued, data, comparable, common, dropped, new }))
    }
}

/// The complete trials with finite losses, best first.
fn ranked<'a>(trials: &'a [Trial], directions: &[Direction]) -> Vec<(&'a Trial, Vec<f64>)> {
    let known = trials.iter().filter_map(|trial| Some((trial, Merit::of(directions, trial)?)));
    let finite = known.filter(|(_, merit)| merit.losses.iter().all(|loss| loss.is_finite()));
    let (trials, merits): (Vec<&Trial>, Vec<Merit>) = finite.unzip();
    distinct_first(&merits).into_iter().map(|place| (trials[place], merits[place].losses.clone())).collect()
}

/// The parameters with a value that this space has too, as many as can exist together, parents first.
fn shared(space: &Space, params: &Params) -> Params {
    let mut taken = Params::new();
    for parameter in space.parameters() {
        if let Some(value) = params.get(&parameter.name).and_then(|value| parameter.domain.accept(value)) {
            taken.insert(parameter.name.clone(), value);
            if space.accepts_part(&taken).is_err() {
                taken.pop();
            }
        }
    }
    taken
}

/// At most [`MOST`] trials; a third are the best, the others spread evenly over the ranks.
fn priors(space: &Space, ranked: &[(&Trial, Vec<f64>)]) -> Vec<Prior> {
    let scales = moments(ranked);
    let (best, rest) = ranked.split_at(ranked.len().min(MOST / 3));
    let others = rest.len().min(MOST - best.len());
    let chosen = best.iter().chain((0..others).map(|i| &rest[i * rest.len() / others]));
    chosen
        .enumerate()
        .map(|(i, (trial, losses))| {
            let given = shared(space, &trial.params);
            let mut stream = Stream::new(0, i as u64, Purpose::Bootstrap, 1);
            let open = |_: usize, parameter: &crate::space::Parameter| -> Value {
                let given = given.get(&parameter.name).cloned();
                given.unwrap_or_else(|| parameter.domain.from_unit(stream.uniform()))
            };
            let z = losses.iter().zip(&scales).map(|(loss, (mean, deviation))| match *deviation > 0.0 {
                true => ((loss - mean) / deviation).clamp(-CUT, CUT),
                false => 0.0,
            });
            Prior { z: z.collect(), params: space.build(open) }
        })
        .collect()
}

/// What was kept with the study; what cannot be read is as if nothing had been kept.
pub(super) fn read(kept: Json) -> Vec<Prior> {
    serde_json::from_value(kept).unwrap_or_default()
}

impl Study {
    /// What was carried over, for samplers: complete trials whose losses are standardised.
    pub(super) fn source(&self) -> Vec<Trial> {
        let priors = self.inner.priors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let trial = |(number, prior): (usize, &Prior)| {
            let mut trial = Trial::blank(number as u64, State::Complete);
            // The loss of a loss is the value again.
            trial.values = self.directions().iter().zip(&prior.z).map(|(direction, z)| direction.loss(*z)).collect();
            trial.params = prior.params.clone();
            trial
        };
        priors.iter().enumerate().map(trial).collect()
    }
}

/// Mean and standard deviation of each loss.
fn moments(ranked: &[(&Trial, Vec<f64>)]) -> Vec<(f64, f64)> {
    let n = ranked.len().max(1) as f64;
    let of = |objective: usize| {
        let values = || ranked.iter().map(|(_, losses)| losses[objective]);
        let mean = values().sum::<f64>() / n;
        (mean, (values().map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt())
    };
    (0..ranked.first().map_or(0, |(_, losses)| losses.len())).map(of).collect()
}
