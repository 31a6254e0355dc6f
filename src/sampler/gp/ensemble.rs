//! Several processes that were fitted under different priors, as one: what one is certain of alone, another doubts.
//!
//! Their acquisitions are averaged; those that are logarithms, as what they are logarithms of. That is the first step
//! from the most likely hyperparameters towards all of them (Snoek, Larochelle and Adams, "Practical Bayesian
//! optimization of machine learning algorithms", NIPS 2012, section 3.2).

use super::acquisition::Acquisition;

/// What is climbed.
pub(super) trait Landscape {
    /// 1/ℓ² of a parameter, for the unit in which steps are measured.
    fn weight(&self, parameter: usize) -> f64;

    /// The variance of noise, of outcomes with variance 1.
    fn noise(&self) -> f64;

    /// The acquisition at each of the rows of columns.
    fn scores(&self, rows: &[Vec<f64>]) -> Vec<f64>;

    /// The acquisition at `x` (its columns).
    #[cfg(test)]
    fn score(&self, x: &[f64]) -> f64 {
        self.scores(&[x.to_vec()])[0]
    }

    /// The acquisition at `x` and its slopes by the columns (0 for choices).
    fn score_with_slopes(&self, x: &[f64]) -> (f64, Vec<f64>);
}

/// See the module; at least one member.
#[derive(Clone, Debug)]
pub(super) struct Ensemble<L> {
    members: Vec<L>,
    is_logarithm: bool,
}

impl<L: Landscape> Ensemble<L> {
    /// None without a member.
    pub(super) fn new(members: Vec<L>, acquisition: Acquisition) -> Option<Self> {
        let is_logarithm = matches!(acquisition, Acquisition::LogEi | Acquisition::Pi);
        (!members.is_empty()).then_some(Ensemble { members, is_logarithm })
    }

    fn average(&self, scores: &[f64]) -> f64 {
        let n = scores.len() as f64;
        if !self.is_logarithm {
            return scores.iter().sum::<f64>() / n;
        }
        let largest = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
        largest + (scores.iter().map(|score| (score - largest).exp()).sum::<f64>() / n).ln()
    }
}

impl<L: Landscape> Landscape for Ensemble<L> {
    /// The mean of the members'.
    fn weight(&self, parameter: usize) -> f64 {
        self.members.iter().map(|member| member.weight(parameter)).sum::<f64>() / self.members.len() as f64
    }

    /// The largest of the members'.
    fn noise(&self) -> f64 {
        self.members.iter().map(Landscape::noise).fold(0.0, f64::max)
    }

    fn scores(&self, rows: &[Vec<f64>]) -> Vec<f64> {
        let all: Vec<Vec<f64>> = self.members.iter().map(|member| member.scores(rows)).collect();
        let of = |row: usize| self.average(&all.iter().map(|scores| scores[row]).collect::<Vec<_>>());
        (0..rows.len()).map(of).collect()
    }

    fn score_with_slopes(&self, x: &[f64]) -> (f64, Vec<f64>) {
        let all: Vec<(f64, Vec<f64>)> = self.members.iter().map(|member| member.score_with_slopes(x)).collect();
        let scores: Vec<f64> = all.iter().map(|(score, _)| *score).collect();
        let average = self.average(&scores);
        let mut slopes = vec![0.0; x.len()];
        for (score, own) in &all {
            let share = if self.is_logarithm { (score - average).exp() } else { 1.0 } / all.len() as f64;
            slopes.iter_mut().zip(own).for_each(|(slope, own)| *slope += share * own);
        }
        (average, slopes)
    }
}
