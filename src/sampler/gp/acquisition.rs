//! What makes a configuration worth a trial, from the mean and the deviation that the process predicts for it.
//!
//! All are maximised, and losses are minimised. `f*` is the smallest mean at any tried configuration.
//! - `logei`: ln of the expected improvement below f* ([`expected`](super::expected)); `ei`: without the logarithm,
//!   whose flat regions local search cannot leave.
//! - `pi`: ln of the probability to get [`MARGIN`] below f*.
//! - `ucb`: −(μ − β·σ), the optimistic bound, with β = [`BETA`].
//! - `thompson`: minus one function drawn from the process ([`path`](super::path)): by chance as likely a proposal as
//!   it is likely the best.

use super::expected::{log_cumulative, log_ei};
use crate::{Error, Result};

/// Deviations between the mean and the optimistic bound: 97.5 % of a normal are above it.
const BETA: f64 = 1.96;
/// What `pi` asks for at least, in deviations of the outcomes: without it, the smallest certain improvement wins.
const MARGIN: f64 = 0.01;

/// A rule; see the module.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Acquisition {
    /// Logarithm of expected improvement.
    #[default]
    LogEi,
    /// Expected improvement.
    Ei,
    /// Optimistic confidence bound.
    Ucb,
    /// Probability of improvement.
    Pi,
    /// The best configuration of one drawn function.
    Thompson,
}

impl Acquisition {
    /// All, the default first.
    pub const ALL: [Acquisition; 5] =
        [Acquisition::LogEi, Acquisition::Ei, Acquisition::Ucb, Acquisition::Pi, Acquisition::Thompson];

    /// `logei`, `ei`, `ucb`, `pi` or `thompson`.
    pub fn name(self) -> &'static str {
        match self {
            Acquisition::LogEi => "logei",
            Acquisition::Ei => "ei",
            Acquisition::Ucb => "ucb",
            Acquisition::Pi => "pi",
            Acquisition::Thompson => "thompson",
        }
    }

    /// The rule of that name.
    ///
    /// # Errors
    /// [`Error::Input`] with the list of names for one that is not in it.
    pub fn by_name(name: &str) -> Result<Self> {
        let found = Self::ALL.into_iter().find(|rule| rule.name() == name);
        found.ok_or_else(|| Error::unknown("acquisition", name, Self::ALL.map(Self::name)))
    }

    /// In a few words, for a person.
    pub(in crate::sampler) fn words(self) -> &'static str {
        match self {
            Acquisition::LogEi | Acquisition::Ei => "expected improvement",
            Acquisition::Ucb => "an optimistic bound",
            Acquisition::Pi => "probability of improvement",
            Acquisition::Thompson => "Thompson sampling",
        }
    }

    /// (value, d/dμ, d/dσ) for σ > 0. Not for `thompson`, which has no formula in μ and σ: there it is minus the mean.
    pub(super) fn value(self, mean: f64, deviation: f64, best: f64) -> (f64, f64, f64) {
        match self {
            Acquisition::LogEi => log_ei(mean, deviation, best),
            Acquisition::Ei => {
                let (log, by_mean, by_deviation) = log_ei(mean, deviation, best);
                (log.exp(), log.exp() * by_mean, log.exp() * by_deviation)
            }
            Acquisition::Ucb => (BETA * deviation - mean, -1.0, BETA),
            Acquisition::Pi => {
                let z = (best - MARGIN - mean) / deviation;
                let (log, slope) = log_cumulative(z);
                (log, -slope / deviation, -slope * z / deviation)
            }
            Acquisition::Thompson => (-mean, -1.0, 0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slopes_are_differences() {
        for rule in Acquisition::ALL {
            for (mean, deviation, best) in [(0.3, 0.5, 0.1), (3.0, 0.4, 0.0), (-1.0, 0.7, 0.5)] {
                let e = 1e-6;
                let (_, by_mean, by_deviation) = rule.value(mean, deviation, best);
                let at = |m: f64, d: f64| rule.value(mean + m, deviation + d, best).0;
                let differences = ((at(e, 0.0) - at(-e, 0.0)) / (2.0 * e), (at(0.0, e) - at(0.0, -e)) / (2.0 * e));
                assert!((by_mean - differences.0).abs() < 1e-5 * (1.0 + by_mean.abs()), "{rule:?}");
                assert!((by_deviation - differences.1).abs() < 1e-5 * (1.0 + by_deviation.abs()), "{rule:?}");
            }
        }
    }

    #[test]
    fn lower_means_are_better_and_names_lead_back() {
        for rule in Acquisition::ALL {
            assert!(rule.value(-1.0, 0.5, 0.0).0 > rule.value(1.0, 0.5, 0.0).0, "{rule:?}");
            assert_eq!(Acquisition::by_name(rule.name()).unwrap(), rule);
        }
        assert!(Acquisition::by_name("logie").unwrap_err().to_string().contains("`logei`"));
    }
}
