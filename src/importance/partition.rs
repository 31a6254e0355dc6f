//! Functional analysis of variance of a function that is constant on boxes.
//!
//! The mean over all but some axes is again constant on boxes, and the volumes of boxes are products, so variances of
//! marginals are exact sums (Hutter et al. 2014, section 3):
//!
//! m_U(x_U) = Σ_leaves value · vol(leaf without U) · [x_U in leaf],   V_U = Var m_U − Σ_{W ⊂ U} V_W
//!
//! An axis is cut into atoms at all edges of the leaves; each leaf adds to a rectangle of atoms, by differences.

use super::axes::{Axis, Side};
use super::pairs_of;
use std::ops::Range;

/// A box and the value in it.
#[derive(Clone, Debug)]
pub(super) struct Leaf {
    pub(super) value: f64,
    /// One side an axis; the leaves' boxes divide the space.
    pub(super) cell: Vec<Side>,
}

/// An axis cut at the edges of all leaves.
struct Atoms {
    /// The share of the axis that each atom has.
    weights: Vec<f64>,
    /// For each leaf, the atoms of its side.
    ranges: Vec<Vec<Range<usize>>>,
    /// For each leaf, its side's volume.
    volumes: Vec<f64>,
}

/// The share of the variance of each axis alone, then with `pairs` of each pair beyond both; none where nothing varies.
pub(super) fn decompose(axes: &[Axis], leaves: &[Leaf], pairs: bool) -> Option<Vec<f64>> {
    let volumes: Vec<f64> = leaves.iter().map(|leaf| leaf.cell.iter().map(Side::volume).product()).collect();
    let mean: f64 = leaves.iter().zip(&volumes).map(|(leaf, volume)| leaf.value * volume).sum();
    let total: f64 = leaves.iter().zip(&volumes).map(|(leaf, volume)| (leaf.value - mean).powi(2) * volume).sum();
    if leaves.len() < 2 || total <= 0.0 {
        return None;
    }
    let atoms: Vec<Atoms> = (0..axes.len()).map(|axis| atoms(leaves, axis)).collect();
    let values: Vec<f64> = leaves.iter().map(|leaf| leaf.value - mean).collect();
    let alone: Vec<f64> = atoms.iter().map(|atoms| single(atoms, &values, &volumes)).collect();
    let mut shares: Vec<f64> = alone.iter().map(|variance| variance / total).collect();
    if pairs {
        let beyond = |(i, j): (usize, usize)| {
            let [a, b] = [&atoms[i], &atoms[j]];
            if a.weights.len() == 1 || b.weights.len() == 1 {
                return 0.0;
            }
            (pair(a, b, &values, &volumes) - alone[i] - alone[j]).max(0.0) / total
        };
        shares.extend(pairs_of(axes.len()).map(beyond));
    }
    Some(shares)
}

fn atoms(leaves: &[Leaf], axis: usize) -> Atoms {
    let volumes = leaves.iter().map(|leaf| leaf.cell[axis].volume()).collect();
    let mut edges: Vec<f64> = Vec::new();
    let mut members = None;
    for leaf in leaves {
        match &leaf.cell[axis] {
            Side::Interval(low, high) => edges.extend([*low, *high]),
            Side::Set(set) => members = Some(set.len()),
        }
    }
    edges.sort_by(f64::total_cmp);
    edges.dedup();
    let weights = match members {
        Some(n) => vec![1.0 / n as f64; n],
        None => edges.windows(2).map(|edge| edge[1] - edge[0]).collect(),
    };
    let place = |edge: f64| edges.partition_point(|other| *other < edge);
    let ranges = leaves.iter().map(|leaf| match &leaf.cell[axis] {
        Side::Interval(low, high) => std::iter::once(place(*low)..place(*high)).collect(),
        Side::Set(set) => runs(set),
    });
    Atoms { ranges: ranges.collect(), weights, volumes }
}

/// Maximal runs of members.
fn runs(set: &[bool]) -> Vec<Range<usize>> {
    let mut runs: Vec<Range<usize>> = Vec::new();
    for (i, _) in set.iter().enumerate().filter(|(_, member)| **member) {
        match runs.last_mut() {
            Some(run) if run.end == i => run.end = i + 1,
            _ => runs.push(i..i + 1),
        }
    }
    runs
}

/// Variance of the marginal of one axis; the values have mean 0.
fn single(atoms: &Atoms, values: &[f64], volumes: &[f64]) -> f64 {
    // Nothing depends on an axis that was never cut.
    if atoms.weights.len() == 1 {
        return 0.0;
    }
    let mut marginal = vec![0.0; atoms.weights.len() + 1];
    for (leaf, value) in values.iter().enumerate() {
        let part = value * volumes[leaf] / atoms.volumes[leaf];
        for range in &atoms.ranges[leaf] {
            marginal[range.start] += part;
            marginal[range.end] -= part;
        }
    }
    let mut height = 0.0;
    let squares = marginal.iter().zip(&atoms.weights).map(|(step, weight)| {
        height += step;
        height * height * weight
    });
    squares.sum()
}

/// Variance of the marginal of two axes.
fn pair(a: &Atoms, b: &Atoms, values: &[f64], volumes: &[f64]) -> f64 {
    let (rows, columns) = (a.weights.len(), b.weights.len());
    let width = columns + 1;
    let mut steps = vec![0.0; (rows + 1) * width];
    for (leaf, value) in values.iter().enumerate() {
        let part = value * volumes[leaf] / (a.volumes[leaf] * b.volumes[leaf]);
        for down in &a.ranges[leaf] {
            for across in &b.ranges[leaf] {
                steps[down.start * width + across.start] += part;
                steps[down.start * width + across.end] -= part;
                steps[down.end * width + across.start] -= part;
                steps[down.end * width + across.end] += part;
            }
        }
    }
    let mut sum = 0.0;
    let mut heights = vec![0.0; columns];
    for row in 0..rows {
        let mut change = 0.0;
        for column in 0..columns {
            change += steps[row * width + column];
            heights[column] += change;
            sum += heights[column] * heights[column] * a.weights[row] * b.weights[column];
        }
    }
    sum
}
