//! Bayesian optimisation with a Gaussian process.
//!
//! Quasi-random points first; then a Gaussian process is fitted to the normalised outcomes
//! ([`outcome`](super::outcome)) and the configuration with the largest expected improvement is proposed. Trials under
//! way are conditioned on with their predicted mean ("kriging believer"), which takes away the uncertainty around them.
//! Everything is computed anew from the history: no state, so a resumed study proposes what it would have proposed.

mod cholesky;
mod expected;
mod kernel;
mod lbfgs;
mod maximise;
mod surrogate;

use super::codec::{Codec, Point};
use super::outcome::{Outcomes, normalise};
use super::random::{Tried, draw};
use super::sobol::{Sobol, quasi_random};
use super::{Ask, Proposal, Sampler, Settings};
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::Space;
use kernel::{Inputs, fit};
use maximise::Search;
use surrogate::Surrogate;

/// Step of the keyed numbers of one proposal.
const VARY: u64 = 1 << 41;
/// Most outcomes that the length scales are learned from, and most that the process is conditioned on.
const MOST_FITTED: usize = 120;
const MOST_KEPT: usize = 600;
/// Configurations whose variations are candidates.
const ELITES: usize = 5;

/// Gaussian process and expected improvement; see the module.
#[derive(Clone, Copy, Debug)]
pub struct GpSampler {
    /// Quasi-random trials before the model is used.
    pub startup: u64,
}

impl GpSampler {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        GpSampler { startup: settings.startup.max(2) }
    }
}

impl Sampler for GpSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let outcomes = Outcomes::new(ask);
        if (outcomes.measured as u64) < self.startup {
            return quasi_random(ask);
        }
        let codec = Codec::new(ask.space);
        match propose(ask, &codec, &outcomes) {
            Some(point) => Proposal::Params(codec.params(&point)),
            None => draw(ask, 0),
        }
    }

    fn describe(&self, _: &Space, directions: &[Direction]) -> String {
        let scalar = if directions.len() > 1 { ", objectives weighed anew each trial" } else { "" };
        format!("gp: Gaussian process after {} quasi-random trials{scalar}", self.startup)
    }
}

/// The point of largest expected improvement; none where no model can be made or nothing new was found.
fn propose(ask: &Ask, codec: &Codec, outcomes: &Outcomes) -> Option<Point> {
    let (points, losses): (Vec<Point>, Vec<f64>) =
        outcomes.finished.iter().filter_map(|(params, loss)| Some((codec.point(params)?, *loss))).unzip();
    if points.is_empty() || codec.columns().is_empty() {
        return None;
    }
    let mut order: Vec<usize> = (0..points.len()).collect();
    order.sort_by(|a, b| losses[*a].total_cmp(&losses[*b]));
    let kept = most_telling(&order, MOST_KEPT);
    let rows: Vec<Vec<f64>> = kept.iter().map(|i| codec.embed(&points[*i])).collect();
    let y = normalise(&kept.iter().map(|i| losses[*i]).collect::<Vec<_>>());
    let surrogate = condition(codec, &rows, &y, outcomes)?;
    let elites: Vec<Point> = order.iter().take(ELITES).map(|i| points[*i].clone()).collect();
    let tried = ask.space.size().map(|_| Tried::new(ask));
    let (candidates, starts) = effort(rows.len());
    let search = Search { surrogate: &surrogate, codec, tried: tried.as_ref(), candidates, starts, evaluations: 20 };
    let sobol = Sobol::new(ask.space.len(), ask.seed, ask.slot + 1);
    search.run(&elites, &sobol, &mut Stream::new(ask.seed, ask.slot, Purpose::Propose, VARY))
}

/// Fits the process, and conditions it on the trials under way as if they ended where it expects them.
fn condition(codec: &Codec, rows: &[Vec<f64>], y: &[f64], outcomes: &Outcomes) -> Option<Surrogate> {
    let parameters = codec.kinds().len();
    let inputs = Inputs::new(codec.columns(), parameters, rows);
    let mut order: Vec<usize> = (0..y.len()).collect();
    order.sort_by(|a, b| y[*a].total_cmp(&y[*b]));
    let mut fitted = most_telling(&order, MOST_FITTED);
    fitted.sort_unstable();
    let targets: Vec<f64> = fitted.iter().map(|i| y[*i]).collect();
    let theta = fit(&inputs.subset(&fitted), &targets, 25);
    let surrogate = Surrogate::new(theta.clone(), inputs, y)?;
    let pending: Vec<Vec<f64>> =
        outcomes.pending.iter().filter_map(|params| Some(codec.embed(&codec.point(params)?))).collect();
    if pending.is_empty() {
        return Some(surrogate);
    }
    let believed = pending.iter().map(|x| surrogate.mean(x));
    let y: Vec<f64> = y.iter().copied().chain(believed).collect();
    let rows: Vec<Vec<f64>> = rows.iter().cloned().chain(pending.iter().cloned()).collect();
    Surrogate::new(theta, Inputs::new(codec.columns(), parameters, &rows), &y)
}

/// At most `most` of the places, which come best first: a third are the best, the others evenly from the rest.
fn most_telling(order: &[usize], most: usize) -> Vec<usize> {
    if order.len() <= most {
        let mut all = order.to_vec();
        all.sort_unstable();
        return all;
    }
    let (best, rest) = order.split_at(most / 3);
    let others = most - best.len();
    best.iter().copied().chain((0..others).map(|i| rest[i * rest.len() / others])).collect()
}

/// (candidates, local searches): fewer where one evaluation costs n² operations of a large n.
fn effort(n: usize) -> (usize, usize) {
    let cost = (n * n / 2 + 20 * n).max(1);
    ((8_000_000 / cost).clamp(96, 768), (2_000_000 / cost).clamp(2, 6))
}
