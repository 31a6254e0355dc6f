//! PED-ANOVA: how the density of the best trials differs from that of all.
//!
//! A parameter's values are counted on a grid of at most 50 points and smoothed with a normal kernel of Scott's width,
//! truncated to the grid, and a broad prior of the weight of one trial (choices: with a share of every value). With p
//! of the best n′ trials, q of the n trials of the region, and γ = n′/n, the importance is γ² Σ q (p/q − 1)² (Watanabe
//! et al. 2023, section 3): the variance of the marginal of "is among the best", whose total variance is γ(1 − γ).
//!
//! A conditional parameter is compared within the trials that have it, weighted by α²/β with its share α of the best
//! and β of all trials ("Conditional PED-ANOVA", arXiv 2601.20800, theorem 4.2): that there are more of them among the
//! best is the parents' effect.
//!
//! A pair has the same kernels' products, whose marginals are the densities of the singles; what it adds is its
//! divergence less both of theirs (exact for a uniform `q`, at least 0 by definition otherwise).

use super::axes::Axis;
use super::{ImportanceSpec, Shares, Table, pairs_of};
use crate::random::{Purpose, Stream};
use crate::space::{Domain, Value};
use crate::statistics::distribution::normal_between;
use rayon::prelude::*;

/// Most points of a grid.
const POINTS: usize = 50;
/// Trials that a parameter must have in the region.
const FEWEST: usize = 2;
/// Added to densities, so that a ratio exists.
const FLOOR: f64 = 1e-12;
/// Least width of a kernel, in points: 90 % of it lie within the point's own cell.
const NARROWEST: f64 = 0.5 / 1.64;

/// A parameter's grid.
struct Grid {
    points: usize,
    is_choice: bool,
    /// The point of each trial; none where the parameter does not exist.
    places: Vec<Option<usize>>,
}

/// A smoothed density of some trials over a grid: the mean of one kernel a trial, and the prior.
struct Smooth {
    /// For each point where a trial is, how many.
    counts: Vec<usize>,
    /// For each such point, its kernel over the grid.
    kernels: Vec<Vec<f64>>,
    prior: Vec<f64>,
}

/// Shares: of the trials themselves first, then of `rounds` resamples.
pub(super) fn shares(table: &Table, spec: &ImportanceSpec) -> Vec<Shares> {
    let n = table.losses.len();
    let grids: Vec<Grid> = (0..table.axes.len()).map(|axis| grid(table, axis)).collect();
    let round = |round: usize| {
        let mut stream = Stream::new(spec.seed, round as u64, Purpose::Bootstrap, 1);
        let trials: Vec<usize> = match round {
            0 => (0..n).collect(),
            _ => (0..n).map(|_| stream.below(n as u64) as usize).collect(),
        };
        of_trials(&grids, &table.losses, &trials, spec)
    };
    (0..=spec.rounds).into_par_iter().map(round).collect()
}

/// Shares from these trials.
fn of_trials(grids: &[Grid], losses: &[f64], trials: &[usize], spec: &ImportanceSpec) -> Shares {
    let (best, region) = (top(losses, trials, spec.quantile), top(losses, trials, spec.region));
    let share = best.len() as f64 / region.len() as f64;
    // Where ties make everything the best, nothing tells the best apart.
    if best.len() == region.len() {
        return None;
    }
    let scale = share * share / (share * (1.0 - share));
    let weighted = |axes: &[usize]| -> f64 {
        let with = |trials: &[usize]| -> Vec<usize> {
            let has = |trial: &&usize| axes.iter().all(|&axis| grids[axis].places[**trial].is_some());
            trials.iter().filter(has).copied().collect()
        };
        let (best_with, region_with) = (with(&best), with(&region));
        if best_with.is_empty() || region_with.len() < FEWEST {
            return 0.0;
        }
        let (alpha, beta) =
            (best_with.len() as f64 / best.len() as f64, region_with.len() as f64 / region.len() as f64);
        let divergence = |axis: usize| {
            let [p, q] =
                [&best_with, &region_with].map(|trials| Smooth::of(&grids[axis], axis_places(grids, axis, trials)));
            pearson(&p.density(), &if spec.uniform { uniform(grids[axis].points) } else { q.density() })
        };
        let divergence = match *axes {
            [axis] => divergence(axis),
            [a, b] => {
                (together(grids, [a, b], &best_with, &region_with, spec) - divergence(a) - divergence(b)).max(0.0)
            }
            _ => 0.0,
        };
        alpha * alpha / beta * divergence * scale
    };
    let free: Vec<bool> = grids.iter().map(|grid| grid.points > 1).collect();
    let mut shares: Vec<f64> = (0..grids.len()).map(|axis| if free[axis] { weighted(&[axis]) } else { 0.0 }).collect();
    if spec.pairs {
        shares.extend(pairs_of(grids.len()).map(|(a, b)| if free[a] && free[b] { weighted(&[a, b]) } else { 0.0 }));
    }
    // Densities that are smoothed from few trials may differ by more than what is to be explained.
    shares.iter_mut().for_each(|share| *share = share.min(1.0));
    Some(shares)
}

/// The trials that are not worse than the one at that share from the best.
fn top(losses: &[f64], trials: &[usize], share: f64) -> Vec<usize> {
    let mut sorted: Vec<f64> = trials.iter().map(|&trial| losses[trial]).collect();
    sorted.sort_by(f64::total_cmp);
    let cut = sorted[((share * sorted.len() as f64).ceil() as usize).clamp(1, sorted.len()) - 1];
    trials.iter().copied().filter(|&trial| losses[trial] <= cut).collect()
}

/// The points of an axis and where the trials are: the first and the last point are the ends of the domain.
fn grid(table: &Table, axis: usize) -> Grid {
    let Axis { domain, .. } = &table.axes[axis];
    let size = domain.size();
    let points = match domain {
        Domain::Choice(values) => values.len(),
        // A doubling a point.
        Domain::Int { low, high, log: true, .. } => {
            let doublings = (((high - low) as f64 + 1.0).log2().ceil() as usize).saturating_add(1);
            doublings.min(POINTS)
        }
        _ => size.map_or(POINTS, |size| size.min(POINTS as u64) as usize),
    };
    let is_choice = domain.is_choice();
    let place = |row: &Vec<f64>| {
        let x = Some(row[axis]).filter(|x| !x.is_nan())?;
        if is_choice || points < 2 {
            return Some(if is_choice { x as usize } else { 0 });
        }
        let share = between_ends(domain, x);
        // Half-way, the lower point.
        Some(((share * (points - 1) as f64 - 0.5).ceil().max(0.0) as usize).min(points - 1))
    };
    let points = if size == Some(1) { 1 } else { points };
    Grid { points, is_choice, places: table.rows.iter().map(place).collect() }
}

/// Where a coordinate's value lies between the ends of its domain.
fn between_ends(domain: &Domain, x: f64) -> f64 {
    let number = |value: Value| value.as_f64().unwrap_or(f64::NAN);
    match *domain {
        Domain::Float { log: true, .. } | Domain::Float { step: None, .. } | Domain::Choice(_) => x,
        Domain::Float { low, high, .. } => (number(domain.from_unit(x)) - low) / (high - low),
        Domain::Int { low, high, log: true, .. } => {
            let [low, high] = [low as f64, high as f64].map(f64::ln);
            (number(domain.from_unit(x)).ln() - low) / (high - low)
        }
        Domain::Int { low, high, .. } => (number(domain.from_unit(x)) - low as f64) / (high as f64 - low as f64),
    }
}

fn axis_places<'a>(grids: &'a [Grid], axis: usize, trials: &'a [usize]) -> impl Iterator<Item = usize> + 'a {
    trials.iter().filter_map(move |&trial| grids[axis].places[trial])
}

fn uniform(points: usize) -> Vec<f64> {
    vec![1.0 / points as f64; points]
}

/// Σ q (p/q − 1)².
fn pearson(p: &[f64], q: &[f64]) -> f64 {
    p.iter().zip(q).map(|(p, q)| q * (p / q - 1.0).powi(2)).sum()
}

/// The divergence of two axes together.
fn together(grids: &[Grid], axes: [usize; 2], best: &[usize], region: &[usize], spec: &ImportanceSpec) -> f64 {
    let density = |trials: &[usize]| {
        let [a, b] = axes.map(|axis| Smooth::of(&grids[axis], axis_places(grids, axis, trials)));
        let place = |axis: usize, trial: usize| grids[axes[axis]].places[trial].unwrap_or(0);
        let mut counts = vec![vec![0usize; b.prior.len()]; a.prior.len()];
        trials.iter().for_each(|&trial| counts[place(0, trial)][place(1, trial)] += 1);
        joint(&a, &b, &counts)
    };
    let p = density(best);
    let q = if spec.uniform { uniform(p.len()) } else { density(region) };
    pearson(&p, &q)
}

/// The density over the product of two grids, row by row.
fn joint(a: &Smooth, b: &Smooth, counts: &[Vec<usize>]) -> Vec<f64> {
    let (rows, columns) = (a.prior.len(), b.prior.len());
    let trials = counts.iter().flatten().sum::<usize>() as f64;
    let mut density = vec![0.0; rows * columns];
    let mut add = |down: &[f64], across: &[f64], weight: f64| {
        for (row, x) in density.chunks_exact_mut(columns).zip(down) {
            row.iter_mut().zip(across).for_each(|(cell, y)| *cell += weight * x * y);
        }
    };
    for (i, counts) in counts.iter().enumerate().filter(|(_, counts)| counts.iter().any(|count| *count > 0)) {
        // The kernels of one row of the counts have one factor in common.
        let mut across = vec![0.0; columns];
        for (j, count) in counts.iter().enumerate().filter(|(_, count)| **count > 0) {
            across.iter_mut().zip(&b.kernels[j]).for_each(|(sum, y)| *sum += *count as f64 * y);
        }
        add(&a.kernels[i], &across, 1.0 / (trials + 1.0));
    }
    add(&a.prior, &b.prior, 1.0 / (trials + 1.0));
    density.iter_mut().for_each(|cell| *cell += FLOOR);
    density
}

impl Smooth {
    /// Of trials at these points.
    fn of(grid: &Grid, places: impl Iterator<Item = usize>) -> Self {
        let mut counts = vec![0usize; grid.points];
        places.for_each(|place| counts[place] += 1);
        let kernel: Box<dyn Fn(usize) -> Vec<f64>> = if grid.is_choice {
            let kernels = counts.iter().filter(|count| **count > 0).count() as f64 + 1.0;
            let (others, sum) = (1.0 / kernels, 1.0 + grid.points as f64 / kernels);
            Box::new(move |place| (0..grid.points).map(|i| (f64::from(i == place) + others) / sum).collect())
        } else {
            let width = width(&counts);
            Box::new(move |place| truncated(place as f64, width, grid.points))
        };
        let kernels =
            (0..grid.points).map(|place| if counts[place] > 0 { kernel(place) } else { Vec::new() }).collect();
        let prior = match grid.is_choice {
            true => uniform(grid.points),
            false => truncated((grid.points - 1) as f64 / 2.0, grid.points as f64, grid.points),
        };
        drop(kernel);
        Smooth { counts, kernels, prior }
    }

    fn density(&self) -> Vec<f64> {
        let trials = self.counts.iter().sum::<usize>() as f64;
        let mut density = self.prior.clone();
        for (count, kernel) in self.counts.iter().zip(&self.kernels).filter(|(count, _)| **count > 0) {
            density.iter_mut().zip(kernel).for_each(|(sum, x)| *sum += *count as f64 * x);
        }
        density.iter().map(|sum| sum / (trials + 1.0) + FLOOR).collect()
    }
}

/// Scott's width with the quartiles' distance where that is less (D. W. Scott, "Multivariate density estimation",
/// 1992), in points. A quartile is the place of the first trial at or after a quarter (above three quarters) of them.
fn width(counts: &[usize]) -> f64 {
    let n: usize = counts.iter().sum();
    let places = || counts.iter().enumerate().filter(|(_, count)| **count > 0);
    let mean = places().map(|(i, count)| (i * count) as f64).sum::<f64>() / n as f64;
    let squares: f64 = places().map(|(i, count)| *count as f64 * (i as f64 - mean).powi(2)).sum();
    let deviation = (squares / n.saturating_sub(1).max(1) as f64).sqrt();
    let mut sum = 0;
    let sums: Vec<(usize, usize)> = places()
        .map(|(i, count)| {
            sum += count;
            (i, sum)
        })
        .collect();
    let first = sums.partition_point(|(_, sum)| *sum < n / 4);
    let third = sums.partition_point(|(_, sum)| *sum <= n * 3 / 4).min(sums.len().saturating_sub(1));
    let range = sums.get(third).map_or(0, |place| place.0) as f64 - sums.get(first).map_or(0, |place| place.0) as f64;
    (1.059 * (range / 1.34).min(deviation) * (n as f64).powf(-0.2)).max(NARROWEST)
}

/// A normal kernel's mass in the cell of every point, of its mass over all cells.
fn truncated(mean: f64, width: f64, points: usize) -> Vec<f64> {
    let mass = |from: f64, to: f64| normal_between((from - mean) / width, (to - mean) / width);
    let all = mass(-0.5, points as f64 - 0.5);
    (0..points).map(|i| mass(i as f64 - 0.5, i as f64 + 0.5) / all).collect()
}
