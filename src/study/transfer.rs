//! Warm start: what another study found out, given to the sampler of this one.
//!
//! - The best [`TRIED_FIRST`] trials of the source are enqueued, with the parameters that both spaces have.
//! - Its complete trials, at most [`MOST`] of them spread over its ranks, become data for the sampler. Values of two
//!   studies are on two scales, so what is carried over is the standardised loss z = (loss − mean) / deviation, cut to ±3.
//!   A sampler sees mean + z · deviation of this study's own complete trials; before there are two, z itself.
//! - A parameter of this space that the source has not is drawn at random, so that it carries no opinion.
//! - Each complete trial of this study displaces one carried over: what is measured here wins in the end.
//!
//! In a finite space only the first point holds: samplers never propose twice what they have seen, and what another study
//! has tried is not tried here. What is carried over is kept with the study (`hpt:priors`), so a later run needs no source.

use super::handle::Study;
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
const MOST: usize = 50;
/// Standardised losses beyond this say no more than that.
const CUT: f64 = 3.0;
/// Numbers of trials that are not this study's.
const FOREIGN: u64 = 1 << 62;

/// A trial carried over.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Prior {
    params: Params,
    /// Standardised loss.
    z: f64,
}

/// What a warm start took.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Transfer {
    /// Trials enqueued.
    pub enqueued: usize,
    /// Trials given to the sampler as data.
    pub data: usize,
    /// Parameters that both spaces have.
    pub common: Vec<String>,
    /// Parameters of the source that this space has not.
    pub dropped: Vec<String>,
    /// Parameters of this space that the source has not.
    pub new: Vec<String>,
}

impl Study {
    /// Takes over what `source` found; see the module. A study that has finished trials or was warm-started before stays as
    /// it is, and the answer is none.
    ///
    /// # Errors
    /// One of them has several objectives, or their directions differ; the source has no complete trial, or no parameter
    /// in common; a storage fails.
    pub fn warm_start(&self, source: &Study) -> Result<Option<Transfer>> {
        let space = self.needed_space()?;
        let refuse = |why: String| Err(Error::input(format!("warm start from the study `{}`: {why}", source.name())));
        let ([own], [theirs]) = (self.directions(), source.directions()) else {
            return refuse("studies with one objective are expected".to_owned());
        };
        if own != theirs {
            return refuse(format!("its direction is {}, this study's {}", theirs.name(), own.name()));
        }
        if self.counts()?.finished() > 0 || self.attribute("priors")?.is_some() {
            return Ok(None);
        }
        let trials = source.trials()?;
        let ranked = ranked(&trials, *theirs);
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
        let priors = if space.size().is_none() { priors(space, &ranked) } else { Vec::new() };
        self.set_attribute("priors", &json!(priors))?;
        let data = priors.len();
        *self.inner.priors.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(priors);
        Ok(Some(Transfer { enqueued, data, common, dropped, new }))
    }
}

/// The complete trials with finite losses, best first.
fn ranked(trials: &[Trial], direction: Direction) -> Vec<(&Trial, f64)> {
    let complete = trials.iter().filter(|trial| trial.state == State::Complete);
    let mut ranked: Vec<(&Trial, f64)> = complete
        .filter_map(|trial| Some((trial, direction.loss(trial.value()?))))
        .filter(|(_, loss)| loss.is_finite())
        .collect();
    ranked.sort_by(|a, b| a.1.total_cmp(&b.1).then(a.0.number.cmp(&b.0.number)));
    ranked
}

/// The parameters with a value that this space has too, and that are active among themselves.
fn shared(space: &Space, params: &Params) -> Params {
    let mut taken = Params::new();
    for parameter in space.parameters() {
        let value = params.get(&parameter.name).and_then(|value| parameter.domain.accept(value));
        // A condition on a parent that is left open may hold or not: what is not active is passed over when asked for.
        let possible = parameter.when.iter().all(|c| taken.get(&c.parent).is_none_or(|parent| c.test.holds(parent)));
        if let Some(value) = value.filter(|_| possible) {
            taken.insert(parameter.name.clone(), value);
        }
    }
    taken
}

/// At most [`MOST`] trials, spread evenly over the ranks, with the best among them.
fn priors(space: &Space, ranked: &[(&Trial, f64)]) -> Vec<Prior> {
    let (mean, deviation) = moments(ranked.iter().map(|(_, loss)| *loss));
    let count = ranked.len().min(MOST);
    let chosen = (0..count).map(|i| ranked[i * ranked.len() / count]);
    let mut priors: Vec<Prior> = chosen
        .enumerate()
        .map(|(i, (trial, loss))| {
            let given = shared(space, &trial.params);
            let mut stream = Stream::new(0, i as u64, Purpose::Bootstrap, 1);
            let open = |_: usize, parameter: &crate::space::Parameter| -> Value {
                let given = given.get(&parameter.name).cloned();
                given.unwrap_or_else(|| parameter.domain.from_unit(stream.uniform()))
            };
            let z = if deviation > 0.0 { (loss - mean) / deviation } else { 0.0 };
            Prior { params: space.build(open), z: z.clamp(-CUT, CUT) }
        })
        .collect();
    // Displaced from the end: an order that has nothing to do with the ranks.
    Stream::new(0, 0, Purpose::Shuffle, 0).shuffle(&mut priors);
    priors
}

/// What was kept with the study; what cannot be read is as if nothing had been kept.
pub(super) fn read(kept: Json) -> Vec<Prior> {
    serde_json::from_value(kept).unwrap_or_default()
}

/// The priors that are not displaced yet as trials, on the scale of the study's own.
pub(super) fn trials(priors: &[Prior], directions: &[Direction], own: &[Trial], complete: usize) -> Vec<Trial> {
    let [direction] = *directions else { return Vec::new() };
    let count = priors.len().saturating_sub(complete);
    if count == 0 {
        return Vec::new();
    }
    let losses: Vec<f64> = ranked(own, direction).into_iter().map(|(_, loss)| loss).collect();
    let (mean, deviation) = if losses.len() < 2 { (0.0, 1.0) } else { moments(losses.iter().copied()) };
    let trial = |(i, prior): (usize, &Prior)| {
        let mut trial = Trial::blank(FOREIGN + i as u64, State::Complete);
        // The loss of a loss is the value again.
        trial.values = vec![direction.loss(mean + deviation * prior.z)];
        trial.params = prior.params.clone();
        trial
    };
    priors[..count].iter().enumerate().map(trial).collect()
}

/// Mean and standard deviation.
fn moments(values: impl Iterator<Item = f64> + Clone) -> (f64, f64) {
    let n = values.clone().count().max(1) as f64;
    let mean = values.clone().sum::<f64>() / n;
    (mean, (values.map(|value| (value - mean).powi(2)).sum::<f64>() / n).sqrt())
}
