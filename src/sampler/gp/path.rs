//! A function drawn from the process, in closed form (Wilson et al., "Efficiently sampling functions from Gaussian
//! process posteriors", ICML 2020): a draw from the prior as a sum of cosines, moved onto the outcomes by the kernel,
//!
//! f(x) = φ(x)ᵀv + k(x, X)·(K + σ²·I)⁻¹·(y − Φ·v − ε), φᵢ(x) = √(2s²/m)·cos(ωᵢᵀz + bᵢ).
//!
//! z is x with each column over its length scale; a choice has a coordinate for each value it was met with, 1/√2 at its
//! own, so that two different values are at distance 1 as in the kernel. The frequencies ω of the Matérn-5/2 kernel
//! follow Student's t with 5 degrees of freedom.

use super::kernel::{Inputs, Theta};
use super::lanes::Lanes;
use crate::random::Stream;

/// Cosines of a draw.
const FEATURES: usize = 256;

/// One function; see the module.
#[derive(Clone, Debug)]
pub(super) struct Path {
    /// For each column its frequencies by the values of a choice, or alone under 0 for a number.
    frequencies: Vec<Vec<(f64, Vec<f64>)>>,
    phases: Vec<f64>,
    /// v·√(2s²/m).
    amplitudes: Vec<f64>,
    /// (K + σ²·I)⁻¹·(y − Φ·v − ε).
    pub(super) moves: Vec<Lanes>,
}

impl Path {
    /// A function of the process over the warped `inputs`; `solve` gives (K + σ²·I)⁻¹ times a vector.
    pub(super) fn draw(
        theta: &Theta,
        inputs: &Inputs,
        y: &[f64],
        stream: &mut Stream,
        solve: impl Fn(&[f64]) -> Vec<Lanes>,
    ) -> Path {
        // t: a normal over the root of a chi-squared number over its degrees of freedom, which all columns share.
        let tails: Vec<f64> =
            (0..FEATURES).map(|_| (5.0 / (0..5).map(|_| stream.normal().powi(2)).sum::<f64>()).sqrt()).collect();
        let mut frequencies = Vec::with_capacity(inputs.columns.len());
        for (c, column) in inputs.columns.iter().enumerate() {
            let scale = theta.weights[column.parameter].sqrt();
            let mut levels = if column.by_equality { inputs.column(c).collect() } else { vec![0.0] };
            levels.sort_by(f64::total_cmp);
            levels.dedup();
            let mut of = |level: f64| (level, tails.iter().map(|tail| scale * tail * stream.normal()).collect());
            frequencies.push(levels.into_iter().map(&mut of).collect());
        }
        let height = (2.0 * theta.signal / FEATURES as f64).sqrt();
        let phases = (0..FEATURES).map(|_| std::f64::consts::TAU * stream.uniform()).collect();
        let amplitudes = (0..FEATURES).map(|_| height * stream.normal()).collect();
        let mut path = Path { frequencies, phases, amplitudes, moves: Vec::new() };
        let residuals: Vec<f64> = (0..inputs.n)
            .map(|i| {
                let x: Vec<f64> = (0..inputs.columns.len()).map(|c| inputs.at(c, i)).collect();
                y[i] - path.prior(inputs, &x).0 - theta.noise.sqrt() * stream.normal()
            })
            .collect();
        path.moves = solve(&residuals);
        path
    }

    /// The prior's part at warped columns, and its slopes by them (0 for choices).
    pub(super) fn prior(&self, inputs: &Inputs, x: &[f64]) -> (f64, Vec<f64>) {
        let mut angles = self.phases.clone();
        for (c, levels) in self.frequencies.iter().enumerate() {
            let (level, factor) =
                if inputs.columns[c].by_equality { (x[c], std::f64::consts::FRAC_1_SQRT_2) } else { (0.0, x[c]) };
            // A value that no trial has is a direction of its own that no frequency knows.
            if let Some((_, frequencies)) = levels.iter().find(|(known, _)| *known == level) {
                angles.iter_mut().zip(frequencies).for_each(|(angle, frequency)| *angle += factor * frequency);
            }
        }
        let value = angles.iter().zip(&self.amplitudes).map(|(angle, amplitude)| amplitude * angle.cos()).sum();
        let falls: Vec<f64> =
            angles.iter().zip(&self.amplitudes).map(|(angle, amplitude)| -amplitude * angle.sin()).collect();
        let slope = |(c, levels): (usize, &Vec<(f64, Vec<f64>)>)| {
            if inputs.columns[c].by_equality { 0.0 } else { falls.iter().zip(&levels[0].1).map(|(f, w)| f * w).sum() }
        };
        (value, self.frequencies.iter().enumerate().map(slope).collect())
    }
}
