//! The covariance: Matérn-5/2 with a length scale for each parameter.
//!
//! k(x, x′) = s²·(1 + √5·r + 5/3·r²)·exp(−√5·r) with r² = Σ wⱼ·dⱼ²(x, x′), wⱼ = 1/ℓⱼ², where dⱼ is the difference of
//! two warped coordinates ([`warp`](super::warp)) or, for choices, 0 or 1; observations carry noise of variance σ². How
//! its parameters θ are learned is in [`fit`](super::fit).

use super::cholesky::Cholesky;
use super::lanes::{Lanes, WIDTH, flat, padded, run};
use super::warp::Warp;
use crate::sampler::codec::Column;
use hpt_kernels::isa::{Op, Simd};

/// Inputs of the kernel, column by column.
#[derive(Clone, Debug, Default)]
pub(super) struct Inputs {
    /// What each column is.
    pub(super) columns: Vec<Column>,
    /// For each column its n values.
    pub(super) values: Vec<Vec<Lanes>>,
    pub(super) n: usize,
    /// Number of parameters, thus of wⱼ.
    pub(super) parameters: usize,
}

impl Inputs {
    pub(super) fn new(columns: &[Column], parameters: usize, rows: &[Vec<f64>]) -> Self {
        let column = |c: usize| padded(&rows.iter().map(|row| row[c]).collect::<Vec<_>>());
        let values = (0..columns.len()).map(column).collect();
        Inputs { columns: columns.to_vec(), values, n: rows.len(), parameters }
    }

    /// The n values of a column.
    pub(super) fn column(&self, c: usize) -> impl Iterator<Item = f64> + Clone + '_ {
        flat(&self.values[c]).take(self.n)
    }

    /// A value of a column.
    #[inline(always)]
    pub(super) fn at(&self, c: usize, i: usize) -> f64 {
        self.values[c][i / WIDTH].0[i % WIDTH]
    }

    /// The inputs as θ warps them.
    pub(super) fn warped(mut self, theta: &Theta) -> Inputs {
        for (values, column) in self.values.iter_mut().zip(&self.columns) {
            let warp = theta.warp(column);
            values.iter_mut().for_each(|x| *x = warp.at(*x));
        }
        self
    }

    /// Number of parameters that vary, at least 1.
    pub(super) fn used(&self) -> usize {
        let varies = |j: &usize| self.columns.iter().any(|column| column.parameter == *j);
        (0..self.parameters).filter(varies).count().max(1)
    }

    /// The inputs of those rows.
    pub(super) fn subset(&self, rows: &[usize]) -> Inputs {
        let some = |c: usize| padded(&rows.iter().map(|i| self.at(c, *i)).collect::<Vec<_>>());
        let values = (0..self.columns.len()).map(some).collect();
        Inputs { columns: self.columns.clone(), values, n: rows.len(), parameters: self.parameters }
    }

    /// dⱼ² of a column between two sides.
    #[inline(always)]
    pub(super) fn squared(column: &Column, a: Lanes, b: Lanes) -> Lanes {
        if column.by_equality { a.differs(b) } else { (a - b) * (a - b) }
    }
}

/// θ; see the module.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Theta {
    /// wⱼ = 1/ℓⱼ², one a parameter.
    pub(super) weights: Vec<f64>,
    /// s².
    pub(super) signal: f64,
    /// σ².
    pub(super) noise: f64,
    /// aⱼ and bⱼ, one a parameter.
    pub(super) warps: Vec<Warp>,
}

impl Theta {
    /// From d weights, signal, noise and, where curves are learned, d times a and d times b.
    pub(super) fn from_logs(logs: &[f64], d: usize) -> Self {
        let warp = |j: usize| match logs.get(2 * d + 2 + j) {
            Some(b) => Warp { a: logs[d + 2 + j].exp(), b: b.exp() },
            None => Warp::IDENTITY,
        };
        Theta {
            weights: logs[..d].iter().map(|log| log.exp()).collect(),
            signal: logs[d].exp(),
            noise: logs[d + 1].exp(),
            warps: (0..d).map(warp).collect(),
        }
    }

    /// The curve over that column.
    pub(super) fn warp(&self, column: &Column) -> Warp {
        if column.is_coordinate { self.warps[column.parameter] } else { Warp::IDENTITY }
    }

    /// (k, dk/dr²) from r².
    #[inline(always)]
    pub(super) fn covariance(&self, squared: Lanes) -> (Lanes, Lanes) {
        // √5·r.
        let r = (squared * 5.0).sqrt();
        let fall = (Lanes::ZERO - r).exp() * self.signal;
        let line = r + Lanes::splat(1.0);
        ((line + squared * (5.0 / 3.0)) * fall, line * fall * (-5.0 / 6.0))
    }

    /// k and dk/dr² between a block of the inputs and, column by column, the other sides.
    #[inline(always)]
    pub(super) fn block(&self, inputs: &Inputs, block: usize, other: impl Fn(usize) -> Lanes) -> (Lanes, Lanes) {
        let mut squared = Lanes::ZERO;
        for (c, column) in inputs.columns.iter().enumerate() {
            let own = Inputs::squared(column, inputs.values[c][block], other(c));
            squared = squared + own * self.weights[column.parameter];
        }
        self.covariance(squared)
    }

    /// k(x, ·) over the inputs, and dk/dr², zero behind the last; both sides are warped already.
    #[inline(always)]
    pub(super) fn covariances(&self, inputs: &Inputs, x: &[f64]) -> (Vec<Lanes>, Vec<Lanes>) {
        let blocks = inputs.n.div_ceil(WIDTH);
        let (mut k, mut slopes) = (vec![Lanes::ZERO; blocks], vec![Lanes::ZERO; blocks]);
        for block in 0..blocks {
            let (own, slope) = self.block(inputs, block, |c| Lanes::splat(x[c]));
            let used = (inputs.n - block * WIDTH).min(WIDTH);
            (k[block], slopes[block]) = (own.between(0, used), slope.between(0, used));
        }
        (k, slopes)
    }

    /// The upper triangle of K + σ²·I as [`Cholesky::refactor`] takes it, and dk/dr² right of the diagonal.
    #[inline(always)]
    pub(super) fn fill(&self, inputs: &Inputs, matrix: &mut [Lanes], slopes: &mut [Lanes]) {
        let (n, blocks) = (inputs.n, inputs.n.div_ceil(WIDTH));
        for i in 0..blocks * WIDTH {
            let own = i / WIDTH;
            for block in own..blocks {
                let place = i * blocks + block;
                let (mut k, mut slope) = self.block(inputs, block, |c| Lanes::splat(inputs.at(c, i)));
                let from = if block == own { i % WIDTH + 1 } else { 0 };
                let to = if i < n { (n - block * WIDTH).min(WIDTH) } else { 0 };
                if from > 0 || to < WIDTH {
                    (k, slope) = (k.between(from, to), slope.between(from, to));
                }
                (matrix[place], slopes[place]) = (k, slope);
            }
            matrix[i * blocks + own].0[i % WIDTH] = if i < n { self.signal + self.noise } else { 1.0 };
        }
    }

    /// The factor of K + σ²·I, with more noise where rounding asks for it.
    pub(super) fn factor(&mut self, inputs: &Inputs) -> Option<Cholesky> {
        let blocks = inputs.n.div_ceil(WIDTH);
        let mut memory = vec![Lanes::ZERO; 2 * blocks * blocks * WIDTH];
        let (matrix, slopes) = memory.split_at_mut(blocks * blocks * WIDTH);
        let mut factor = Cholesky::unit(inputs.n);
        for _ in 0..12 {
            if run(Condition { theta: self, inputs, matrix, slopes, factor: &mut factor }) {
                return Some(factor);
            }
            self.noise *= 10.0;
        }
        None
    }
}

/// Fills a matrix and factors it.
struct Condition<'a> {
    theta: &'a Theta,
    inputs: &'a Inputs,
    matrix: &'a mut [Lanes],
    slopes: &'a mut [Lanes],
    factor: &'a mut Cholesky,
}

impl Op for Condition<'_> {
    type Output = bool;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> bool {
        self.theta.fill(self.inputs, self.matrix, self.slopes);
        self.factor.refactor(s, self.matrix)
    }
}
