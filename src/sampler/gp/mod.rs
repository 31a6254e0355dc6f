//! Bayesian optimisation with a Gaussian process.
//!
//! Quasi-random points first; then a Gaussian process is fitted to the normalised outcomes
//! ([`outcome`](super::outcome)) and the configuration with the largest [`Acquisition`] is proposed. Trials under
//! way are conditioned on with their predicted mean ("kriging believer"), which takes away the uncertainty around them.
//! With two to [`MOST_OBJECTIVES`] objectives each has a process of its own, and the improvement is that of the front's
//! hypervolume ([`front`]); with more, and for the other acquisitions, objectives are weighed anew each trial.
//! Where trials are stopped at rungs the history is seen as of the largest one that enough trials have reached
//! ([`rung`]); those that were stopped before count there with what they would have come to. So with Hyperband it is
//! BOHB with a process. What another study found ([`Ask::source`]) is the mean that a second process starts from, where
//! that explains the outcomes better ([`source`]); then every second quasi-random point is already a proposal of it.
//! Everything is computed anew from the history: no state, so a resumed study proposes what it would have proposed.

mod acquisition;
mod bound;
mod boxes;
mod cholesky;
mod ensemble;
mod expected;
mod fit;
mod front;
mod kernel;
mod lanes;
mod lbfgs;
mod maximise;
mod path;
mod source;
mod surrogate;
mod warp;

pub use acquisition::Acquisition;
pub use bound::{FEWEST as REGRET_TRIALS, regret_bound};

use super::codec::{Codec, Kind, Point};
use super::outcome::{Outcomes, normalise};
use super::random::{Tried, draw};
use super::rung;
use super::several::{self, Observation, Observations};
use super::sobol::{Sobol, quasi_random};
use super::{Ask, Proposal, Sampler, Settings};
use crate::history::Direction;
use crate::random::{Purpose, Stream};
use crate::space::{Params, Space};
use ensemble::{Ensemble, Landscape};
use fit::{Prior, fit};
use front::Subject;
use kernel::{Inputs, Theta};
use maximise::Search;
use source::{Share, explain};
use std::borrow::Cow;
use std::sync::Arc;
use surrogate::Surrogate;

/// Step of the keyed numbers of one proposal.
const VARY: u64 = 1 << 41;
/// Step of the keyed numbers of a drawn function.
const PATH: u64 = 1 << 43;
/// Step of the keyed number that says whether another study is asked.
const TURN: u64 = 1 << 47;
/// Most outcomes that the length scales are learned from, and most that the process is conditioned on.
const MOST_FITTED: usize = 160;
const MOST_KEPT: usize = 600;
/// Outcomes of the study's own before which a source is not asked.
const FEWEST_EARLY: usize = 4;
/// Configurations whose variations are candidates, with one objective and with several.
const ELITES: usize = 5;
const FRONT_ELITES: usize = 10;
/// Most objectives of which the hypervolume is improved: with five a front of sixty leaves thousands of boxes.
pub(super) const MOST_OBJECTIVES: usize = 4;

/// Gaussian process and expected improvement; see the module.
#[derive(Clone, Copy, Debug)]
pub struct GpSampler {
    /// Quasi-random trials before the model is used.
    pub startup: u64,
    /// What is maximised.
    pub acquisition: Acquisition,
}

impl GpSampler {
    /// With what the user said.
    pub fn new(settings: &Settings) -> Self {
        GpSampler { startup: settings.startup.max(2), acquisition: settings.acquisition }
    }
}

impl Sampler for GpSampler {
    fn ask(&self, ask: &Ask) -> Proposal {
        let seen = rung::at_largest(ask).map(|(_, seen)| seen);
        let ask = &Ask { history: seen.as_deref().unwrap_or(ask.history), ..*ask };
        let codec = Codec::new(ask.space);
        let (is_early, point) = if self.sees_volume(ask.directions.len()) {
            let trials = Observations::new(ask);
            let is_early = self.is_early(&codec, trials.measured, trials.finished.iter().map(|one| one.params));
            (is_early, (!is_early).then(|| self.propose_for_front(ask, &codec, &trials)).flatten())
        } else {
            let outcomes = Outcomes::new(ask);
            let params = outcomes.finished.iter().map(|(params, _)| *params);
            let is_early = self.is_early(&codec, outcomes.measured, params);
            (is_early, self.propose(ask, &codec, &outcomes, is_early))
        };
        match point {
            Some(point) => Proposal::Params(codec.params(&point)),
            None if is_early => quasi_random(ask),
            None => draw(ask, 0),
        }
    }

    fn transfers(&self, _: &Space, _: &[Direction]) -> bool {
        true
    }

    fn describe(&self, _: &Space, directions: &[Direction]) -> String {
        let volume = if self.sees_volume(directions.len()) { " of the front's hypervolume" } else { "" };
        let scalar =
            if directions.len() > 1 && volume.is_empty() { ", objectives weighed anew each trial" } else { "" };
        let rule = self.acquisition.words();
        format!("gp: Gaussian process and {rule}{volume} after {} quasi-random trials{scalar}", self.startup)
    }
}

impl GpSampler {
    /// Whether the improvement is that of the front's hypervolume; otherwise objectives are weighed ([`Outcomes`]).
    fn sees_volume(&self, objectives: usize) -> bool {
        let improves = matches!(self.acquisition, Acquisition::LogEi | Acquisition::Ei);
        improves && (2..=MOST_OBJECTIVES).contains(&objectives)
    }

    /// Whether fewer were measured than the start wants, or belong to the space: others tell nothing.
    fn is_early<'a>(&self, codec: &Codec, measured: usize, params: impl Iterator<Item = &'a Params>) -> bool {
        let startup = self.startup as usize;
        measured < startup || params.filter(|params| codec.observed(params).is_some()).take(startup).count() < startup
    }

    /// What another study found as a history, where there is such and it is asked in this slot: by chance, ever more
    /// rarely after the start. The more is known here the less there is to gain from it and the more from looking
    /// elsewhere.
    fn turn<'a>(&self, ask: &Ask<'a>, known: usize) -> Option<Ask<'a>> {
        let is_asked =
            || Stream::new(ask.seed, ask.slot, Purpose::Propose, TURN).uniform() * (known as f64) < self.startup as f64;
        (!ask.source.is_empty() && is_asked()).then_some(Ask { history: ask.source, ..*ask })
    }

    /// The point of largest acquisition; none where no model can be made or nothing new was found, and early unless it
    /// is the turn of what another study found and that explains the outcomes.
    fn propose(&self, ask: &Ask, codec: &Codec, outcomes: &Outcomes, is_early: bool) -> Option<Point> {
        let (points, losses): (Vec<Point>, Vec<f64>) =
            outcomes.finished.iter().filter_map(|(params, loss)| Some((codec.point(params)?, *loss))).unzip();
        let is_for_design =
            is_early && (ask.source.is_empty() || !ask.slot.is_multiple_of(2) || points.len() < FEWEST_EARLY);
        if is_for_design || points.is_empty() || codec.columns().is_empty() {
            return None;
        }
        let source = self.turn(ask, points.len()).and_then(|ask| source_of(&ask, codec));
        let mut order: Vec<usize> = (0..points.len()).collect();
        order.sort_by(|a, b| losses[*a].total_cmp(&losses[*b]));
        let kept = most_telling(&order, MOST_KEPT);
        let rows: Vec<Vec<f64>> = kept.iter().map(|i| codec.embed(&points[*i])).collect();
        let y = normalise(&kept.iter().map(|i| losses[*i]).collect::<Vec<_>>());
        let pending = rows_of(codec, &outcomes.pending);
        let mut stream = Stream::new(ask.seed, ask.slot, Purpose::Propose, PATH);
        let processes =
            priors(codec).iter().flat_map(|prior| condition(codec, &rows, &y, *prior, &pending, source.as_ref()));
        let members = processes.filter(|(process, _)| !is_early || process.is_above());
        let members = members.map(|(process, y)| process.with_acquisition(self.acquisition, &y, &mut stream)).collect();
        let elites: Vec<Point> = order.iter().take(ELITES).map(|i| points[*i].clone()).collect();
        let rows = [rows, pending].concat();
        self.highest(ask, codec, &Ensemble::new(members, self.acquisition)?, &elites, &rows, effort(y.len()))
    }

    /// The same for several objectives.
    fn propose_for_front(&self, ask: &Ask, codec: &Codec, trials: &Observations) -> Option<Point> {
        let known: Vec<(Point, &Observation)> =
            trials.finished.iter().filter_map(|one| Some((codec.point(one.params)?, one))).collect();
        if known.is_empty() || codec.columns().is_empty() {
            return None;
        }
        let observed: Vec<&Observation> = known.iter().map(|(_, one)| *one).collect();
        let order = several::best_first(&observed, FRONT_ELITES);
        let kept = most_telling(&order, MOST_KEPT);
        let rows: Vec<(Vec<f64>, &Observation)> =
            kept.iter().map(|i| (codec.embed(&known[*i].0), known[*i].1)).collect();
        let pending = rows_of(codec, &trials.pending);
        let subject = Subject::new(&rows, ask.directions.len(), pending.clone());
        let is_plain = self.acquisition == Acquisition::Ei;
        let sources = match self.turn(ask, known.len()) {
            Some(ask) => sources_of(&ask, codec),
            None => vec![None; ask.directions.len()],
        };
        let members =
            priors(codec).iter().flat_map(|prior| subject.fronts(codec, *prior, is_plain, &sources)).collect();
        let elites: Vec<Point> = order.iter().take(FRONT_ELITES).map(|i| known[*i].0.clone()).collect();
        let (candidates, starts) = effort(rows.len());
        let effort = (candidates / ask.directions.len(), starts);
        let rows = [rows.into_iter().map(|(row, _)| row).collect(), pending].concat();
        self.highest(ask, codec, &Ensemble::new(members, self.acquisition)?, &elites, &rows, effort)
    }

    /// Where the acquisition is largest.
    fn highest<L: Landscape>(
        &self,
        ask: &Ask,
        codec: &Codec,
        landscape: &L,
        elites: &[Point],
        rows: &[Vec<f64>],
        (candidates, starts): (usize, usize),
    ) -> Option<Point> {
        let tried = ask.space.size().map(|_| Tried::new(ask));
        let tried = tried.as_ref();
        let search = Search { surrogate: landscape, codec, tried, rows, candidates, starts, evaluations: 20 };
        let sobol = Sobol::new(ask.space.len(), ask.seed, ask.slot + 1);
        search.run(elites, &sobol, &mut Stream::new(ask.seed, ask.slot, Purpose::Propose, VARY))
    }
}

/// The priors under which the process is fitted. Where all parameters are continua both speak: either alone is sooner
/// or later certain of a basin that is not the best one. Among steps and choices, where outcomes are rugged, the broad
/// one finds structure that is not there: on complete grids of MLP configurations it cost a fifth.
fn priors(codec: &Codec) -> &'static [Prior] {
    let is_smooth = codec.kinds().iter().all(|kind| matches!(kind, Kind::Real | Kind::Steps(1) | Kind::Choice(1)));
    if is_smooth { &[Prior::Scaled, Prior::Broad] } else { &[Prior::Scaled] }
}

/// The process of what another study found, which is the history of this `ask`.
fn source_of(ask: &Ask, codec: &Codec) -> Option<Arc<Surrogate>> {
    let outcomes = Outcomes::new(ask);
    let known = outcomes.finished.iter().filter_map(|(params, loss)| Some((codec.embed(&codec.point(params)?), *loss)));
    let (rows, losses): (Vec<Vec<f64>>, Vec<f64>) = known.unzip();
    process_of(codec, &rows, &normalise(&losses))
}

/// The same, one an objective.
fn sources_of(ask: &Ask, codec: &Codec) -> Vec<Option<Arc<Surrogate>>> {
    let trials = Observations::new(ask);
    let known = trials.finished.iter().filter_map(|one| Some((codec.embed(&codec.point(one.params)?), one)));
    let known: Vec<(Vec<f64>, &Observation)> = known.collect();
    let subject = Subject::new(&known, ask.directions.len(), Vec::new());
    subject.objectives().map(|(rows, y)| process_of(codec, rows, y)).collect()
}

/// A process of another study's outcomes; none of fewer than two.
fn process_of(codec: &Codec, rows: &[Vec<f64>], y: &[f64]) -> Option<Arc<Surrogate>> {
    if rows.len() < 2 || codec.columns().is_empty() {
        return None;
    }
    let (process, _) = condition(codec, rows, y, Prior::Scaled, &[], None).pop()?;
    Some(Arc::new(process))
}

/// Fits the process to the rows and outcomes and conditions it on the trials under way as if they ended where it
/// expects them; and where a source explains the outcomes better, a second one on top of it. With all outcomes (what
/// the source leaves of them) that each is conditioned on.
fn condition(
    codec: &Codec,
    rows: &[Vec<f64>],
    y: &[f64],
    prior: Prior,
    pending: &[Vec<f64>],
    source: Option<&Arc<Surrogate>>,
) -> Vec<(Surrogate, Vec<f64>)> {
    let parameters = codec.kinds().len();
    let inputs = Inputs::new(codec.columns(), parameters, rows);
    let mut order: Vec<usize> = (0..y.len()).collect();
    order.sort_by(|a, b| y[*a].total_cmp(&y[*b]));
    let mut fitted = most_telling(&order, MOST_FITTED);
    fitted.sort_unstable();
    let targets: Vec<f64> = fitted.iter().map(|i| y[*i]).collect();
    let subset = inputs.subset(&fitted);
    let (theta, alone) = fit(&subset, &targets, prior, 25);
    let above = source.and_then(|source| explain(source, rows, y, (&subset, &fitted), prior, alone));
    let conditioned = |theta: Theta, mut y: Vec<f64>, share: Option<Share>| {
        let mut surrogate = Surrogate::new(theta.clone(), inputs.clone(), &y)?;
        let mut rows = Cow::Borrowed(rows);
        if !pending.is_empty() {
            y.extend(pending.iter().map(|x| surrogate.mean(x)));
            rows.to_mut().extend_from_slice(pending);
            surrogate = Surrogate::new(theta, Inputs::new(codec.columns(), parameters, &rows), &y)?;
        }
        Some((share.into_iter().fold(surrogate, |surrogate, share| surrogate.above(share, &rows)), y))
    };
    let above = above.and_then(|(share, rest, theta)| conditioned(theta, rest, Some(share)));
    conditioned(theta, y.to_vec(), None).into_iter().chain(above).collect()
}

/// The rows of the configurations that belong to the space.
fn rows_of(codec: &Codec, params: &[&Params]) -> Vec<Vec<f64>> {
    params.iter().filter_map(|params| Some(codec.embed(&codec.point(params)?))).collect()
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
