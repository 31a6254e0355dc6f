//! fANOVA: regression trees over the space, each taken apart exactly ([`super::partition`]).
//!
//! A tree is grown on as many trials drawn with replacement as there are, every split the one that leaves the least
//! squared error, over all parameters, until the trials of a leaf have one value. The values of a choice are split into
//! two sets, optimal after ordering them by their means (W. D. Fisher, JASA 53, 1958). A conditional parameter is split
//! only where it exists.

use super::axes::{Axis, Side, whole};
use super::partition::{Leaf, decompose};
use super::{ImportanceSpec, Shares, Table};
use crate::random::{Purpose, Stream};
use rayon::prelude::*;

/// Shares of each tree.
pub(super) fn shares(table: &Table, spec: &ImportanceSpec) -> Vec<Shares> {
    // Shares do not depend on the scale; sums of squares do not lose digits to a large mean.
    let n = table.losses.len() as f64;
    let mean = table.losses.iter().sum::<f64>() / n;
    let scale = table.losses.iter().map(|loss| (loss - mean).abs()).fold(0.0, f64::max);
    let losses: Vec<f64> = table.losses.iter().map(|loss| (loss - mean) / scale).collect();
    let tree = |round: usize| {
        let mut grower =
            Grower { table, losses: &losses, stream: Stream::new(spec.seed, round as u64, Purpose::Bootstrap, 0) };
        decompose(&table.axes, &grower.grow(), spec.pairs)
    };
    (0..spec.rounds).into_par_iter().map(tree).collect()
}

struct Grower<'a> {
    table: &'a Table,
    losses: &'a [f64],
    stream: Stream,
}

/// A box with the trials in it.
struct Node {
    cell: Vec<Side>,
    rows: Vec<usize>,
}

/// The best way to divide a node.
struct Split {
    /// Σ²/n of both sides: the larger, the smaller the error that is left.
    score: f64,
    axis: usize,
    sides: [Side; 2],
}

impl Grower<'_> {
    fn grow(&mut self) -> Vec<Leaf> {
        let n = self.table.rows.len();
        let rows = (0..n).map(|_| self.stream.below(n as u64) as usize).collect();
        let mut open = vec![Node { cell: whole(&self.table.axes), rows }];
        let mut leaves = Vec::new();
        while let Some(node) = open.pop() {
            let first = self.losses[node.rows[0]];
            let pure = node.rows.iter().all(|&row| self.losses[row] == first);
            match if pure { None } else { self.split(&node) } {
                None => {
                    let value = node.rows.iter().map(|&row| self.losses[row]).sum::<f64>() / node.rows.len() as f64;
                    leaves.push(Leaf { value, cell: node.cell });
                }
                Some(Split { axis, sides, .. }) => {
                    let [left, right] = sides;
                    let inside = |row: &usize| contains(&left, self.table.rows[*row][axis]);
                    let (below, above) = node.rows.iter().copied().partition(inside);
                    let mut cell = node.cell.clone();
                    cell[axis] = left;
                    open.push(Node { cell, rows: below });
                    let mut cell = node.cell;
                    cell[axis] = right;
                    open.push(Node { cell, rows: above });
                }
            }
        }
        leaves
    }

    fn split(&mut self, node: &Node) -> Option<Split> {
        let axes = &self.table.axes;
        let mut order: Vec<usize> = (0..axes.len()).collect();
        // Equally good splits are chosen by chance.
        self.stream.shuffle(&mut order);
        let mut best: Option<Split> = None;
        for axis in order {
            if axes[axis].is_single() || !axes[axis].exists(axes, &node.cell) {
                continue;
            }
            let points: Vec<(f64, f64)> =
                node.rows.iter().map(|&row| (self.table.rows[row][axis], self.losses[row])).collect();
            let split = match &node.cell[axis] {
                Side::Interval(low, high) => between(&axes[axis], axis, points, *low, *high),
                Side::Set(members) => apart(axis, &points, members),
            };
            if let Some(split) = split.filter(|split| best.as_ref().is_none_or(|best| split.score > best.score)) {
                best = Some(split);
            }
        }
        best
    }
}

/// Whether a coordinate lies on the left side; its values are below the side's upper end.
fn contains(side: &Side, x: f64) -> bool {
    match side {
        Side::Interval(_, high) => x < *high,
        Side::Set(members) => members[x as usize],
    }
}

/// The best threshold of a number.
fn between(axis: &Axis, place: usize, mut points: Vec<(f64, f64)>, low: f64, high: f64) -> Option<Split> {
    points.sort_by(|a, b| a.0.total_cmp(&b.0));
    let (n, total) = (points.len(), points.iter().map(|point| point.1).sum::<f64>());
    let (mut best, mut sum): (Option<(f64, f64)>, f64) = (None, 0.0);
    for i in 1..n {
        sum += points[i - 1].1;
        if points[i - 1].0 < points[i].0 {
            let score = sum * sum / i as f64 + (total - sum).powi(2) / (n - i) as f64;
            if best.is_none_or(|(most, _)| score > most) {
                let threshold = axis.threshold(points[i - 1].0, points[i].0);
                if low < threshold && threshold < high {
                    best = Some((score, threshold));
                }
            }
        }
    }
    let (score, threshold) = best?;
    Some(Split { score, axis: place, sides: [Side::Interval(low, threshold), Side::Interval(threshold, high)] })
}

/// The best two sets of a choice's values; values that no trial here has go with the larger side.
fn apart(place: usize, points: &[(f64, f64)], members: &[bool]) -> Option<Split> {
    let mut sums = vec![(0.0, 0usize); members.len()];
    for (x, y) in points {
        sums[*x as usize].0 += y;
        sums[*x as usize].1 += 1;
    }
    let mut seen: Vec<usize> = (0..members.len()).filter(|&value| sums[value].1 > 0).collect();
    let mean = |value: usize| sums[value].0 / sums[value].1 as f64;
    seen.sort_by(|&a, &b| mean(a).total_cmp(&mean(b)));
    let total: f64 = sums.iter().map(|sum| sum.0).sum();
    let (mut best, mut sum, mut count): (Option<(f64, usize, usize)>, f64, usize) = (None, 0.0, 0);
    for i in 1..seen.len() {
        sum += sums[seen[i - 1]].0;
        count += sums[seen[i - 1]].1;
        let score = sum * sum / count as f64 + (total - sum).powi(2) / (points.len() - count) as f64;
        if best.is_none_or(|(most, ..)| score > most) {
            best = Some((score, i, count));
        }
    }
    let (score, i, count) = best?;
    let unseen_left = 2 * count > points.len();
    let left: Vec<bool> = (0..members.len())
        .map(|value| members[value] && if sums[value].1 > 0 { seen[..i].contains(&value) } else { unseen_left })
        .collect();
    let right = members.iter().zip(&left).map(|(member, left)| *member && !left).collect();
    Some(Split { score, axis: place, sides: [Side::Set(left), Side::Set(right)] })
}
