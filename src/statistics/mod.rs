//! Statistics of comparisons: distributions, quantiles, ranks, and the tests that say whether a difference is chance.
//!
//! - [`distribution`]: upper tails of the normal, chi-square and F distributions.
//! - [`friedman`] asks whether any of several treatments differs, [`wilcoxon`] whether two of them do, [`holm`] keeps
//!   the promise of a level when many such questions are asked at once (J. Demšar, "Statistical comparisons of
//!   classifiers over multiple data sets", JMLR 7, 2006).
//!
//! Everything is f64 and pure; nothing here knows what is compared. The numbers are held against SciPy's
//! (`tests/golden/statistics.json`).

pub mod distribution;
mod tests_of;

pub use tests_of::{Friedman, Wilcoxon, friedman, holm, wilcoxon};

/// Ranks from 1 of the values in rising order; equal values share the mean of their places. A NaN ranks last.
pub fn ranks(values: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..values.len()).collect();
    let key = |i: usize| if values[i].is_nan() { f64::INFINITY } else { values[i] };
    order.sort_by(|&a, &b| key(a).total_cmp(&key(b)));
    let mut ranks = vec![0.0; values.len()];
    for run in runs(&order, |a, b| key(a) == key(b)) {
        let mean = (run.start + run.end + 1) as f64 / 2.0;
        order[run].iter().for_each(|&i| ranks[i] = mean);
    }
    ranks
}

/// Maximal runs of neighbours that are equal.
fn runs<T: Copy>(items: &[T], same: impl Fn(T, T) -> bool) -> Vec<std::ops::Range<usize>> {
    let mut runs = Vec::new();
    let mut start = 0;
    for end in 1..=items.len() {
        if end == items.len() || !same(items[start], items[end]) {
            runs.push(start..end);
            start = end;
        }
    }
    runs
}

/// Mean; NaN of nothing.
pub fn mean(values: &[f64]) -> f64 {
    values.iter().sum::<f64>() / values.len() as f64
}

/// Standard deviation of a sample (divided by n − 1); 0 of one value, NaN of none.
pub fn deviation(values: &[f64]) -> f64 {
    if values.len() == 1 {
        return 0.0;
    }
    let mean = mean(values);
    (values.iter().map(|x| (x - mean).powi(2)).sum::<f64>() / (values.len() as f64 - 1.0)).sqrt()
}

/// Quantile at `share` in [0, 1], linear between the order statistics (numpy's default); NaN of nothing.
pub fn quantile(values: &[f64], share: f64) -> f64 {
    if values.is_empty() {
        return f64::NAN;
    }
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let place = share.clamp(0.0, 1.0) * (sorted.len() - 1) as f64;
    let (low, high) = (sorted[place.floor() as usize], sorted[place.ceil() as usize]);
    // Equal ends may be infinite.
    if low == high { low } else { low + (high - low) * place.fract() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranks_share_places_and_quantiles_lie_between() {
        assert_eq!(ranks(&[3.0, 1.0, 3.0, 2.0]), [3.5, 1.0, 3.5, 2.0]);
        assert_eq!(ranks(&[f64::NAN, 1.0, f64::INFINITY]), [2.5, 1.0, 2.5]);
        assert_eq!(ranks(&[]), [0.0; 0]);
        assert_eq!(quantile(&[4.0, 1.0, 2.0], 0.25), 1.5);
        assert_eq!([0.0, 0.5, 1.0].map(|q| quantile(&[1.0, 3.0, 2.0], q)), [1.0, 2.0, 3.0]);
        assert!(quantile(&[], 0.5).is_nan());
        assert_eq!((mean(&[1.0, 2.0]), deviation(&[1.0, 3.0]), deviation(&[5.0])), (1.5, 2f64.sqrt(), 0.0));
    }
}
