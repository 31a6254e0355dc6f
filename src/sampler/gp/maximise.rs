//! Where the acquisition is largest: many candidates, then local search from the best of them.
//!
//! Candidates are quasi-random points and variations of the best configurations so far. Local search alternates between
//! L-BFGS over the continuous coordinates (long step ranges are relaxed and rounded) and trying every other value of
//! a choice and the neighbours on a step range, children of a changed parent included, until neither gains anything.
//! What has been tried is not proposed again: of the places where searches end the highest one that is new is taken.

use super::ensemble::Landscape;
use super::lbfgs::{Bounded, minimize};
use crate::random::Stream;
use crate::sampler::codec::{Codec, Kind, Point};
use crate::sampler::random::Tried;
use crate::sampler::sobol::Sobol;

/// Step ranges up to this length are searched value by value, longer ones by slopes.
const SHORT: u64 = 24;
/// Rounds of local search at most.
const ROUNDS: usize = 6;
/// A change of the acquisition below this is none.
const GAIN: f64 = 1e-6;
/// In a continuum a configuration that differs less from a tried one in every column is the same...
const SAME: f64 = 1e-6;
/// ...unless noise has at least this variance, of outcomes with variance 1: then a second look tells something.
const NOISY: f64 = 1e-3;

/// One maximisation.
pub(super) struct Search<'a, L> {
    pub(super) surrogate: &'a L,
    pub(super) codec: &'a Codec<'a>,
    /// Configurations that may not be proposed again, in a finite space.
    pub(super) tried: Option<&'a Tried<'a>>,
    /// Rows of those that were tried or are under way, for a continuum.
    pub(super) rows: &'a [Vec<f64>],
    /// Number of quasi-random candidates; half as many are variations.
    pub(super) candidates: usize,
    /// Local searches.
    pub(super) starts: usize,
    /// Slope evaluations of one L-BFGS run.
    pub(super) evaluations: usize,
}

impl<L: Landscape> Search<'_, L> {
    /// The point of largest acquisition that was found; none where all candidates have been tried.
    pub(super) fn run(&self, elites: &[Point], sobol: &Sobol, stream: &mut Stream) -> Option<Point> {
        let mut points: Vec<Point> = Vec::with_capacity(2 * self.candidates);
        for i in 0..self.candidates {
            points.push(sobol.point(i as u64).iter().enumerate().map(|(j, u)| self.codec.settle(j, *u)).collect());
        }
        for i in 0..self.candidates / 2 {
            points.extend(elites.get(i % elites.len().max(1)).map(|elite| self.vary(elite, stream)));
        }
        points.extend_from_slice(elites);
        points.retain(|point| self.is_free(point));
        let mut candidates: Vec<(f64, Point)> = self.scores(&points).into_iter().zip(points).collect();
        candidates.sort_by(|a, b| b.0.total_cmp(&a.0));
        let mut ends: Vec<(f64, Point)> = self.spread(&candidates).into_iter().map(|start| self.climb(start)).collect();
        ends.sort_by(|a, b| b.0.total_cmp(&a.0));
        ends.into_iter().chain(candidates).map(|(_, point)| point).find(|point| self.is_new(point))
    }

    fn scores(&self, points: &[Point]) -> Vec<f64> {
        self.surrogate.scores(&points.iter().map(|point| self.codec.embed(point)).collect::<Vec<_>>())
    }

    fn is_free(&self, point: &[f64]) -> bool {
        self.tried.is_none_or(|tried| !tried.contains(&self.codec.params(point)))
    }

    /// False in a continuum where a trial has the same configuration and another look at it would tell nothing.
    fn is_new(&self, point: &[f64]) -> bool {
        let x = self.codec.embed(point);
        let is_same = |row: &Vec<f64>| row.iter().zip(&x).all(|(a, b)| (a - b).abs() < SAME);
        self.tried.is_some() || self.surrogate.noise() >= NOISY || !self.rows.iter().any(is_same)
    }

    /// The highest candidates that are not next to a higher one.
    fn spread(&self, candidates: &[(f64, Point)]) -> Vec<(f64, Point)> {
        let mut starts: Vec<(f64, Point)> = Vec::with_capacity(self.starts);
        for candidate in candidates {
            if starts.len() == self.starts {
                break;
            }
            let is_near = |(_, other): &(f64, Point)| other.iter().zip(&candidate.1).all(|(a, b)| (a - b).abs() < 0.1);
            if !starts.iter().any(is_near) {
                starts.push(candidate.clone());
            }
        }
        starts
    }

    /// A copy with about a third of the active coordinates changed, a little or a lot.
    fn vary(&self, elite: &Point, stream: &mut Stream) -> Point {
        let mut point = elite.clone();
        let width = [0.02, 0.1, 0.3][stream.below(3) as usize];
        let share = [0.15, 0.4, 1.0][stream.below(3) as usize];
        let forced = stream.below(point.len().max(1) as u64) as usize;
        for (j, coordinate) in point.iter_mut().enumerate() {
            if j != forced && stream.uniform() >= share {
                continue;
            }
            *coordinate = match self.codec.kinds()[j] {
                Kind::Choice(n) => stream.below(n) as f64,
                _ => self.codec.settle(j, (*coordinate + width * stream.normal()).clamp(0.0, 1.0)),
            };
        }
        point
    }

    fn climb(&self, (mut score, mut point): (f64, Point)) -> (f64, Point) {
        for _ in 0..ROUNDS {
            let before = score;
            self.slide(&mut score, &mut point);
            self.hop(&mut score, &mut point);
            if score - before < GAIN {
                break;
            }
        }
        (score, point)
    }

    /// L-BFGS over the active coordinates that have slopes.
    fn slide(&self, score: &mut f64, point: &mut Point) {
        let active = self.codec.active(point);
        let columns = self.codec.columns();
        let free: Vec<(usize, usize)> = (0..columns.len())
            .filter(|c| columns[*c].is_coordinate && active[columns[*c].parameter])
            .filter(|c| match self.codec.kinds()[columns[*c].parameter] {
                Kind::Real => true,
                Kind::Steps(n) => n > SHORT,
                Kind::Choice(_) => false,
            })
            .map(|c| (c, columns[c].parameter))
            .collect();
        if free.is_empty() {
            return;
        }
        let mut x = self.codec.embed(point);
        // In units of the length scales the acquisition bends alike in all directions.
        let units: Vec<f64> = free.iter().map(|(_, j)| self.surrogate.weight(*j).sqrt()).collect();
        let start: Vec<f64> = free.iter().zip(&units).map(|((c, _), unit)| x[*c] * unit).collect();
        let (low, high) = (vec![0.0; free.len()], units.clone());
        let bounded = Bounded { low: &low, high: &high, evaluations: self.evaluations, first_step: 0.05, gain: GAIN };
        let (end, _) = minimize(&start, &bounded, |at| {
            free.iter().zip(at).zip(&units).for_each(|(((c, _), value), unit)| x[*c] = value / unit);
            let (score, slopes) = self.surrogate.score_with_slopes(&x);
            (-score, free.iter().zip(&units).map(|((c, _), unit)| -slopes[*c] / unit).collect())
        });
        let mut moved = point.clone();
        for (((_, parameter), value), unit) in free.iter().zip(end).zip(&units) {
            moved[*parameter] = self.codec.settle(*parameter, value / unit);
        }
        self.adopt_if_better(vec![moved], score, point);
    }

    /// Every other value of a choice and of a short step range, the neighbours on a long one.
    fn hop(&self, score: &mut f64, point: &mut Point) {
        for j in 0..point.len() {
            if !self.codec.active(point)[j] {
                continue;
            }
            let place = self.codec.place(j, point[j]);
            let places: Vec<u64> = match self.codec.kinds()[j] {
                Kind::Real => continue,
                Kind::Steps(n) if n > SHORT => (place.saturating_sub(2)..=(place + 2).min(n - 1)).collect(),
                Kind::Steps(n) | Kind::Choice(n) => (0..n).collect(),
            };
            let moved = |other: u64| {
                let mut moved = point.clone();
                moved[j] = self.codec.coordinate(j, other);
                moved
            };
            let others: Vec<Point> = places.into_iter().filter(|other| *other != place).map(moved).collect();
            self.adopt_if_better(others, score, point);
        }
    }

    /// Takes the best of `others` in place of `point` where it is better.
    fn adopt_if_better(&self, others: Vec<Point>, score: &mut f64, point: &mut Point) {
        for (reached, other) in self.scores(&others).into_iter().zip(others) {
            if reached > *score && self.is_free(&other) {
                (*score, *point) = (reached, other);
            }
        }
    }
}
