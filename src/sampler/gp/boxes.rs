//! Expected hypervolume improvement, exactly: the part of the space of outcomes that no point of a front dominates, cut
//! into boxes, and the expected volume that an outcome takes of each.
//!
//! An outcome y adds what it dominates below the reference and the front does not. Of a box [l, u) that is
//! Π (uₖ − max(lₖ, yₖ))₊ = Π ((uₖ − yₖ)₊ − (lₖ − yₖ)₊), so for independent normal yₖ
//!
//! EHVI = Σ over boxes Π over k (EI(uₖ) − EI(lₖ)), EI(t) = E (t − yₖ)₊,
//!
//! without sampling (Yang, Emmerich, Deutz and Bäck, "Efficient computation of expected hypervolume improvement using
//! box decomposition algorithms", J. Glob. Optim. 75, 2019). EI is taken as a share of that of the reference, which
//! costs a few products a box; where nothing but rounding would be left of the sum, it is summed from logarithms of EI,
//! so it has slopes where the improvement itself is no number any more (Ament et al., NeurIPS 2023).
//!
//! The decomposition starts with all that is below the reference; each point, by its last loss, cuts what it dominates
//! out of every box, which leaves up to one box an objective, and neighbours that fit together are joined. For n points
//! that are n + 1 boxes with two objectives and 2n + 1 with three, the fewest that are known to be possible (Yang et
//! al.), some 10·n with four, and thousands with five, from where on [`super::GpSampler`] weighs objectives instead.

use super::expected::log_ei;
use std::cmp::Ordering;

/// Boxes whose logarithm is so far below the largest do not change a sum.
const NEGLIGIBLE: f64 = 40.0;

/// A part of the volume below the reference that is computed from logarithms: far above it products keep all digits.
const FAINT: f64 = 1e-200;

/// A box of losses: lower ends, −∞ included, and upper ends.
type Span = (Vec<f64>, Vec<f64>);

/// What a front leaves; see the module.
#[derive(Clone, Debug)]
pub(super) struct Boxes {
    /// For each objective the different ends of boxes, rising from −∞.
    ends: Vec<Vec<f64>>,
    /// For each box its objectives' places of lower and upper ends, one box after the other.
    places: Vec<(u32, u32)>,
}

/// EI at an end: its logarithm and the slopes of that by mean and deviation.
type Log = (f64, f64, f64);

impl Boxes {
    /// What is below `reference` and not dominated by any of the points.
    pub(super) fn new(points: &[Vec<f64>], reference: &[f64]) -> Self {
        let spans = decompose(points, reference);
        let ends = |k: usize| {
            let mut ends: Vec<f64> = spans.iter().flat_map(|(low, high)| [low[k], high[k]]).collect();
            ends.sort_by(f64::total_cmp);
            ends.dedup();
            ends
        };
        let ends: Vec<Vec<f64>> = (0..reference.len()).map(ends).collect();
        let place = |k: usize, end: f64| ends[k].partition_point(|other| *other < end) as u32;
        let mut places = Vec::with_capacity(spans.len() * reference.len());
        for (low, high) in &spans {
            places.extend((0..reference.len()).map(|k| (place(k, low[k]), place(k, high[k]))));
        }
        Boxes { places, ends }
    }

    /// ln EHVI of outcomes with these means and deviations, one an objective.
    pub(super) fn log_improvement(&self, outcomes: &[(f64, f64)]) -> f64 {
        let logs = self.logs(outcomes);
        let (whole, shares) = shares(&logs);
        let sum: f64 = self.boxes().map(|places| sides(&shares, places).product::<f64>()).sum();
        if sum > FAINT { whole + sum.ln() } else { self.by_logarithms(&logs) }
    }

    /// The same, and its slopes by mean and deviation of each objective.
    pub(super) fn log_improvement_with_slopes(&self, outcomes: &[(f64, f64)]) -> (f64, Vec<(f64, f64)>) {
        let logs = self.logs(outcomes);
        let (whole, shares) = shares(&logs);
        // Slopes of the sum by each share.
        let mut pulls: Vec<Vec<f64>> = shares.iter().map(|own| vec![0.0; own.len()]).collect();
        let mut sum = 0.0;
        let mut own = vec![0.0; outcomes.len()];
        for places in self.boxes() {
            own.iter_mut().zip(sides(&shares, places)).for_each(|(own, side)| *own = side);
            sum += own.iter().product::<f64>();
            for (k, (low, high)) in places.iter().enumerate() {
                let others = own[..k].iter().chain(&own[k + 1..]).product::<f64>();
                pulls[k][*high as usize] += others;
                pulls[k][*low as usize] -= others;
            }
        }
        if sum <= FAINT {
            return self.by_logarithms_with_slopes(&logs);
        }
        let slope = |(logs, (shares, pulls)): (&Vec<Log>, (&Vec<f64>, &Vec<f64>))| {
            let terms = logs.iter().zip(shares).zip(pulls);
            terms.fold((0.0, 0.0), |(m, d), (((_, by_mean, by_deviation), share), pull)| {
                (m + pull * share * by_mean / sum, d + pull * share * by_deviation / sum)
            })
        };
        (whole + sum.ln(), logs.iter().zip(shares.iter().zip(&pulls)).map(slope).collect())
    }

    fn boxes(&self) -> impl Iterator<Item = &[(u32, u32)]> {
        self.places.chunks(self.ends.len().max(1))
    }

    /// ln EHVI where it is no number any more.
    fn by_logarithms(&self, logs: &[Vec<Log>]) -> f64 {
        let terms = self.terms(logs);
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        largest + near(&terms, largest).map(|(_, share)| share).sum::<f64>().ln()
    }

    /// The same, and its slopes.
    fn by_logarithms_with_slopes(&self, logs: &[Vec<Log>]) -> (f64, Vec<(f64, f64)>) {
        let terms = self.terms(logs);
        let largest = terms.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        let (mut sum, mut slopes) = (0.0, vec![(0.0, 0.0); logs.len()]);
        let boxes: Vec<&[(u32, u32)]> = self.boxes().collect();
        for (place, share) in near(&terms, largest) {
            sum += share;
            for ((slope, logs), (low, high)) in slopes.iter_mut().zip(logs).zip(boxes[place]) {
                let ((below, m, d), (above, by_mean, by_deviation)) = (logs[*low as usize], logs[*high as usize]);
                // d ln(A − B) = (A·d ln A − B·d ln B)/(A − B), and B/A = e^{below − above}.
                let ratio = (below - above).exp();
                slope.0 += share * (by_mean - ratio * m) / (1.0 - ratio);
                slope.1 += share * (by_deviation - ratio * d) / (1.0 - ratio);
            }
        }
        slopes.iter_mut().for_each(|slope| *slope = (slope.0 / sum, slope.1 / sum));
        (largest + sum.ln(), slopes)
    }

    /// ln EI at each end of each objective.
    fn logs(&self, outcomes: &[(f64, f64)]) -> Vec<Vec<Log>> {
        let at = |end: f64, (mean, deviation): (f64, f64)| match end {
            f64::NEG_INFINITY => (f64::NEG_INFINITY, 0.0, 0.0),
            _ => log_ei(mean, deviation, end),
        };
        self.ends.iter().zip(outcomes).map(|(ends, own)| ends.iter().map(|end| at(*end, *own)).collect()).collect()
    }

    /// ln of the expected share of each box; −∞ for one as thin as rounding.
    fn terms(&self, logs: &[Vec<Log>]) -> Vec<f64> {
        let mut largest = f64::NEG_INFINITY;
        let term = |places: &[(u32, u32)]| {
            let most: f64 = logs.iter().zip(places).map(|(logs, (_, high))| logs[*high as usize].0).sum();
            if most < largest - NEGLIGIBLE {
                return f64::NEG_INFINITY;
            }
            let fall = |(logs, (low, high)): (&Vec<Log>, &(u32, u32))| {
                log_rest(logs[*high as usize].0 - logs[*low as usize].0)
            };
            let own = most + logs.iter().zip(places).map(fall).sum::<f64>();
            largest = largest.max(own);
            own
        };
        self.boxes().map(term).collect()
    }
}

/// The logarithm of the product of EI at all references, and for each objective EI at its ends over EI at its
/// reference.
fn shares(logs: &[Vec<Log>]) -> (f64, Vec<Vec<f64>>) {
    let whole = |own: &Vec<Log>| own.last().map_or(0.0, |log| log.0);
    let share = |own: &Vec<Log>| own.iter().map(|log| (log.0 - whole(own)).exp()).collect();
    (logs.iter().map(whole).sum(), logs.iter().map(share).collect())
}

/// What a box has of each objective.
fn sides<'a>(shares: &'a [Vec<f64>], places: &'a [(u32, u32)]) -> impl Iterator<Item = f64> + 'a {
    shares.iter().zip(places).map(|(own, (low, high))| own[*high as usize] - own[*low as usize])
}

/// Places and e^{term − largest} of the terms that count.
fn near(terms: &[f64], largest: f64) -> impl Iterator<Item = (usize, f64)> {
    let near = terms.iter().enumerate().filter(move |(_, term)| **term > largest - NEGLIGIBLE);
    near.map(move |(place, term)| (place, (term - largest).exp()))
}

/// ln(1 − e^{−x}) for x ≥ 0.
fn log_rest(x: f64) -> f64 {
    if x > std::f64::consts::LN_2 { (-(-x).exp()).ln_1p() } else { (-(-x).exp_m1()).max(0.0).ln() }
}

/// Disjoint boxes of all that is below `reference` and not dominated.
fn decompose(points: &[Vec<f64>], reference: &[f64]) -> Vec<Span> {
    let last = reference.len() - 1;
    let is_inside = |point: &&Vec<f64>| point.iter().zip(reference).all(|(x, worst)| x < worst);
    let mut inside: Vec<&Vec<f64>> = points.iter().filter(is_inside).collect();
    inside.sort_by(|a, b| a[last].total_cmp(&b[last]));
    let mut spans = vec![(vec![f64::NEG_INFINITY; reference.len()], reference.to_vec())];
    for point in inside {
        let (cut, mut kept): (Vec<Span>, Vec<Span>) =
            spans.into_iter().partition(|(_, high)| point.iter().zip(high).all(|(x, high)| x < high));
        for (mut low, high) in cut {
            for (k, &x) in point.iter().enumerate().filter(|(k, x)| **x > low[*k]).collect::<Vec<_>>() {
                let mut part = high.clone();
                part[k] = x;
                kept.push((low.clone(), part));
                low[k] = x;
            }
        }
        spans = kept;
    }
    loop {
        let before = spans.len();
        (0..reference.len()).for_each(|k| join(&mut spans, k));
        if spans.len() == before {
            return spans;
        }
    }
}

/// Joins boxes that are the same but for objective `k`, in which one begins where the other ends.
fn join(spans: &mut Vec<Span>, k: usize) {
    let order = |a: &Span, b: &Span| {
        let others = (0..a.0.len()).filter(|other| *other != k);
        let pairs = others.map(|other| a.0[other].total_cmp(&b.0[other]).then(a.1[other].total_cmp(&b.1[other])));
        pairs.fold(Ordering::Equal, Ordering::then)
    };
    spans.sort_by(|a, b| order(a, b).then(a.0[k].total_cmp(&b.0[k])));
    spans.dedup_by(|next, one| {
        let fits = one.1[k] == next.0[k] && order(one, next).is_eq();
        if fits {
            one.1[k] = next.1[k];
        }
        fits
    });
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::history::pareto::{hypervolume, ranks};
    use crate::random::{Purpose, Stream};

    /// Points none of which dominates another.
    fn front(n: usize, objectives: usize, seed: u64) -> Vec<Vec<f64>> {
        let mut stream = Stream::new(seed, n as u64, Purpose::Propose, 0);
        let on_sphere = |_| {
            let x: Vec<f64> = (0..objectives).map(|_| stream.normal().abs()).collect();
            let length = x.iter().map(|x| x * x).sum::<f64>().sqrt();
            x.into_iter().map(|x| x / length).collect()
        };
        (0..n).map(on_sphere).collect()
    }

    /// The part of the volume below `reference` within the unit cube that the boxes fill.
    fn filled(boxes: &[Span]) -> f64 {
        let side = |(low, high): (&f64, &f64)| high - low.max(0.0);
        boxes.iter().map(|(low, high)| low.iter().zip(high).map(side).product::<f64>()).sum()
    }

    #[test]
    fn boxes_are_all_that_is_not_dominated_and_few() {
        for objectives in 1..=4 {
            for n in [0, 1, 2, 7, 23] {
                let mut points = front(n, objectives, 1);
                if objectives == 1 {
                    points.truncate(1);
                }
                let reference = vec![1.2; objectives];
                let boxes = decompose(&points, &reference);
                let expected = 1.2f64.powi(objectives as i32) - hypervolume(&points, &reference);
                assert!((filled(&boxes) - expected).abs() < 1e-12, "{objectives}: {n}");
                let most = [1, points.len() + 1, 2 * points.len() + 1, 10 * points.len() + 1][objectives - 1];
                assert!(boxes.len() <= most, "{objectives} objectives: {} boxes of {n} points", boxes.len());
                for (i, (low, high)) in boxes.iter().enumerate() {
                    let overlaps = |(l, h): &Span| (0..objectives).all(|k| low[k].max(l[k]) < high[k].min(h[k]));
                    assert!(!boxes[..i].iter().any(overlaps), "disjoint");
                }
            }
        }
    }

    #[test]
    fn points_that_are_equal_dominated_or_outside_change_nothing() {
        let reference = [1.2, 1.2];
        let plain = decompose(&[vec![0.3, 0.6], vec![0.6, 0.3]], &reference);
        let mut more = vec![vec![0.3, 0.6], vec![0.6, 0.3], vec![0.6, 0.3], vec![0.3, 0.7], vec![1.2, 0.0]];
        for _ in 0..2 {
            let found = decompose(&more, &reference);
            assert!((filled(&found) - filled(&plain)).abs() < 1e-15, "{found:?}");
            more.reverse();
        }
    }

    /// The mean gain of volume over draws of the outcome.
    fn by_draws(points: &[Vec<f64>], reference: &[f64], outcomes: &[(f64, f64)], draws: usize) -> f64 {
        let mut stream = Stream::new(2, 0, Purpose::Propose, 0);
        let before = hypervolume(points, reference);
        let mut all = points.to_vec();
        let mut gain = || {
            all.push(outcomes.iter().map(|(mean, deviation)| mean + deviation * stream.normal()).collect());
            let gain = hypervolume(&all, reference) - before;
            all.pop();
            gain
        };
        (0..draws).map(|_| gain()).sum::<f64>() / draws as f64
    }

    #[test]
    fn the_expectation_is_the_mean_of_draws() {
        for objectives in [1, 2, 3, 4] {
            let points = front(if objectives == 1 { 1 } else { 6 }, objectives, 3);
            let reference = vec![1.1; objectives];
            let boxes = Boxes::new(&points, &reference);
            for (mean, deviation) in [(0.5, 0.3), (0.2, 0.05), (0.9, 0.4)] {
                let outcomes: Vec<(f64, f64)> = (0..objectives).map(|k| (mean + 0.03 * k as f64, deviation)).collect();
                let found = boxes.log_improvement(&outcomes).exp();
                let expected = by_draws(&points, &reference, &outcomes, 60_000);
                assert!((found / expected - 1.0).abs() < 0.03, "{objectives}: {found} {expected}");
            }
        }
    }

    /// An outcome that is certain adds what it adds, and one far away keeps a finite logarithm.
    #[test]
    fn certainty_and_hopelessness_are_exact() {
        let points = front(9, 3, 5);
        assert!(ranks(&points).iter().all(|rank| *rank == 0));
        let (reference, outcome) = (vec![1.1; 3], [0.3, 0.4, 0.35]);
        let boxes = Boxes::new(&points, &reference);
        let with = [points.clone(), vec![outcome.to_vec()]].concat();
        let expected = hypervolume(&with, &reference) - hypervolume(&points, &reference);
        let found = boxes.log_improvement(&outcome.map(|mean| (mean, 1e-7))).exp();
        assert!((found / expected - 1.0).abs() < 1e-5, "{found} {expected}");
        let (near, far) = (boxes.log_improvement(&[(9.0, 0.1); 3]), boxes.log_improvement(&[(10.0, 0.1); 3]));
        assert!(near < -1000.0 && far < near && far.is_finite(), "{near} {far}");
    }

    #[test]
    fn products_and_logarithms_agree() {
        for objectives in [2, 3, 4] {
            let boxes = Boxes::new(&front(9, objectives, 4), &vec![1.1; objectives]);
            for (mean, deviation) in [(0.5, 0.3), (0.9, 0.05), (1.3, 0.1)] {
                let outcomes: Vec<(f64, f64)> = (0..objectives).map(|k| (mean + 0.1 * k as f64, deviation)).collect();
                let (value, slopes) = boxes.log_improvement_with_slopes(&outcomes);
                let (expected, by_logarithms) = boxes.by_logarithms_with_slopes(&boxes.logs(&outcomes));
                assert!((value - expected).abs() < 1e-9 * (1.0 + expected.abs()), "{value} {expected}");
                for (own, other) in slopes.iter().zip(&by_logarithms) {
                    assert!((own.0 - other.0).abs() < 1e-7 * (1.0 + other.0.abs()), "{own:?} {other:?}");
                    assert!((own.1 - other.1).abs() < 1e-7 * (1.0 + other.1.abs()), "{own:?} {other:?}");
                }
            }
        }
    }

    #[test]
    fn slopes_are_differences() {
        for objectives in [2, 3] {
            let boxes = Boxes::new(&front(8, objectives, 7), &vec![1.1; objectives]);
            for (mean, deviation) in [(0.5, 0.3), (1.4, 0.1), (-0.2, 0.05), (3.0, 0.2)] {
                let outcomes: Vec<(f64, f64)> = (0..objectives).map(|k| (mean + 0.1 * k as f64, deviation)).collect();
                let (value, slopes) = boxes.log_improvement_with_slopes(&outcomes);
                assert!((value - boxes.log_improvement(&outcomes)).abs() < 1e-12 * (1.0 + value.abs()));
                for k in 0..objectives {
                    let e = 1e-6;
                    let at = |m: f64, d: f64| {
                        let mut moved = outcomes.clone();
                        moved[k] = (moved[k].0 + m, moved[k].1 + d);
                        boxes.log_improvement(&moved)
                    };
                    let by_mean = (at(e, 0.0) - at(-e, 0.0)) / (2.0 * e);
                    let by_deviation = (at(0.0, e) - at(0.0, -e)) / (2.0 * e);
                    assert!((slopes[k].0 - by_mean).abs() < 1e-5 * (1.0 + by_mean.abs()), "{slopes:?} {by_mean}");
                    assert!((slopes[k].1 - by_deviation).abs() < 1e-5 * (1.0 + by_deviation.abs()), "{by_deviation}");
                }
            }
        }
    }
}
