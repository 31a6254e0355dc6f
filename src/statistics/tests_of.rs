//! Tests of paired samples: Friedman for several treatments, Wilcoxon for two, Holm for many questions at once.

use super::distribution::{chi_square_tail, f_tail, normal_two_sided};
use super::{ranks, runs};
use serde::Serialize;

/// Differences up to which the exact distribution of the signed-rank sum is counted.
const EXACT: usize = 50;

/// Friedman's test: is any of k treatments better than another, over n blocks?
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Friedman {
    /// Blocks, n.
    pub blocks: usize,
    /// The mean rank of each treatment, 1 the best.
    pub mean_ranks: Vec<f64>,
    /// Friedman's chi-square, corrected for ties, with k − 1 degrees of freedom.
    pub chi_square: f64,
    /// The chance of as much or more where no treatment differs.
    pub p: f64,
    /// Iman and Davenport's F = (n − 1)χ² / (n(k − 1) − χ²), which is less conservative; infinite (`null` in JSON)
    /// where every block has the same order.
    pub f: f64,
    /// Its degrees of freedom, k − 1 and (k − 1)(n − 1).
    pub degrees: [usize; 2],
    /// The chance of as much or more; none where F is infinite, which no distribution of it has a place for.
    pub f_p: Option<f64>,
}

/// Friedman's test of `losses[treatment][block]`, smaller better; none with fewer than three treatments or two blocks,
/// and where all treatments are equal in every block.
///
/// M. Friedman, JASA 32 (1937); R. L. Iman, J. M. Davenport, Communications in Statistics A 9 (1980).
pub fn friedman(losses: &[Vec<f64>]) -> Option<Friedman> {
    let k = losses.len();
    let n = losses.first()?.len();
    if k < 3 || n < 2 {
        return None;
    }
    let mut sums = vec![0.0; k];
    let mut ties = 0.0;
    for block in 0..n {
        let row: Vec<f64> = losses.iter().map(|treatment| treatment[block]).collect();
        let ranked = ranks(&row);
        sums.iter_mut().zip(&ranked).for_each(|(sum, rank)| *sum += rank);
        ties += tie_sum(&ranked);
    }
    let (k_, n_) = (k as f64, n as f64);
    let correction = 1.0 - ties / (n_ * k_ * (k_ * k_ - 1.0));
    if correction <= 0.0 {
        return None;
    }
    let squares: f64 = sums.iter().map(|sum| sum * sum).sum();
    let chi_square = (12.0 / (n_ * k_ * (k_ + 1.0)) * squares - 3.0 * n_ * (k_ + 1.0)) / correction;
    let chi_square = chi_square.max(0.0);
    let rest = n_ * (k_ - 1.0) - chi_square;
    // What is left of the largest possible value is rounding where all blocks agree.
    let f = if rest > 1e-9 * n_ * k_ { (n_ - 1.0) * chi_square / rest } else { f64::INFINITY };
    let degrees = [k - 1, (k - 1) * (n - 1)];
    Some(Friedman {
        blocks: n,
        mean_ranks: sums.iter().map(|sum| sum / n_).collect(),
        chi_square,
        p: chi_square_tail(chi_square, k_ - 1.0),
        f,
        degrees,
        f_p: f.is_finite().then(|| f_tail(f, degrees[0] as f64, degrees[1] as f64)),
    })
}

/// Wilcoxon's signed-rank test of paired differences.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Wilcoxon {
    /// Differences that are not 0.
    pub n: usize,
    /// Sum of the ranks of the positive differences.
    pub positive: f64,
    /// Sum of the ranks of the negative ones.
    pub negative: f64,
    /// Two-sided chance of as unequal sums or more where signs are chance; 1 where no difference is left.
    pub p: f64,
    /// Whether `p` was counted over all signs; otherwise it is the normal approximation.
    pub exact: bool,
}

/// Wilcoxon's test that `a − b` is symmetric about 0; pairs without a difference are left out.
///
/// With up to 50 differences `p` is the exact one of these ranks, ties included (every choice of signs is counted);
/// beyond, the normal approximation with the variance corrected for ties and no continuity correction.
///
/// F. Wilcoxon, Biometrics Bulletin 1 (1945).
pub fn wilcoxon(a: &[f64], b: &[f64]) -> Wilcoxon {
    // Equal infinities are no difference either.
    let differences = a.iter().zip(b).filter(|(a, b)| a != b).map(|(a, b)| a - b);
    let differences: Vec<f64> = differences.filter(|d| !d.is_nan()).collect();
    let n = differences.len();
    let ranked = ranks(&differences.iter().map(|d| d.abs()).collect::<Vec<_>>());
    let sum = |positive: bool| -> f64 {
        ranked.iter().zip(&differences).filter(|(_, d)| (**d > 0.0) == positive).map(|(rank, _)| rank).sum()
    };
    let (positive, negative) = (sum(true), sum(false));
    let exact = n <= EXACT;
    let p = match n {
        0 => 1.0,
        _ if exact => signs(&ranked, positive.min(negative)),
        _ => {
            let n = n as f64;
            let variance = n * (n + 1.0) * (2.0 * n + 1.0) / 24.0 - tie_sum(&ranked) / 48.0;
            normal_two_sided((positive - n * (n + 1.0) / 4.0) / variance.sqrt())
        }
    };
    Wilcoxon { n, positive, negative, p: p.min(1.0), exact }
}

/// Twice the share of all choices of signs whose positive ranks sum to at most `least`. Ranks are halves, so twice the
/// ranks are whole numbers and their sums can be counted one by one.
fn signs(ranks: &[f64], least: f64) -> f64 {
    let doubled: Vec<usize> = ranks.iter().map(|rank| (2.0 * rank).round() as usize).collect();
    let mut chances = vec![0.0; doubled.iter().sum::<usize>() + 1];
    chances[0] = 1.0;
    let mut reach = 0;
    for rank in doubled {
        reach += rank;
        for sum in (0..=reach).rev() {
            let with = if sum >= rank { chances[sum - rank] } else { 0.0 };
            chances[sum] = 0.5 * (chances[sum] + with);
        }
    }
    2.0 * chances[..=(2.0 * least).round() as usize].iter().sum::<f64>()
}

/// Σ (t³ − t) over the groups of t equal ranks.
fn tie_sum(ranks: &[f64]) -> f64 {
    let mut sorted = ranks.to_vec();
    sorted.sort_by(f64::total_cmp);
    let sizes = runs(&sorted, |a, b| a == b).into_iter().map(|run| run.len() as f64);
    sizes.map(|t| t * t * t - t).sum()
}

/// Holm's step-down adjustment: hypotheses with an adjusted p below a level may be rejected together at that level.
///
/// S. Holm, Scandinavian Journal of Statistics 6 (1979).
pub fn holm(p: &[f64]) -> Vec<f64> {
    let mut order: Vec<usize> = (0..p.len()).collect();
    order.sort_by(|&a, &b| p[a].total_cmp(&p[b]));
    let mut adjusted = vec![0.0; p.len()];
    let mut least: f64 = 0.0;
    for (place, &i) in order.iter().enumerate() {
        least = least.max(((p.len() - place) as f64 * p[i]).min(1.0));
        adjusted[i] = least;
    }
    adjusted
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_differ_is_not_significant() {
        let same = wilcoxon(&[1.0, 2.0, f64::INFINITY], &[1.0, 2.0, f64::INFINITY]);
        assert_eq!((same.n, same.p), (0, 1.0));
        assert_eq!(friedman(&[vec![1.0, 2.0], vec![1.0, 2.0], vec![1.0, 2.0]]), None);
        assert_eq!(friedman(&[vec![1.0, 2.0], vec![2.0, 1.0]]), None);
        assert_eq!(friedman(&[]), None);
        assert_eq!(holm(&[]), [0.0; 0]);
    }

    #[test]
    fn small_cases_can_be_counted_by_hand() {
        // Five differences of one sign: 2 of 32 choices of signs are as extreme.
        let all = wilcoxon(&[1.0, 2.0, 3.0, 4.0, 5.0], &[0.0; 5]);
        assert_eq!((all.positive, all.negative, all.p, all.exact), (15.0, 0.0, 2.0 / 32.0, true));
        // Every block has the same order: the largest chi-square there is, n(k − 1).
        let order = friedman(&[vec![1.0; 4], vec![2.0; 4], vec![3.0; 4]]).unwrap();
        assert_eq!((order.chi_square, order.f, order.f_p), (8.0, f64::INFINITY, None));
        assert_eq!(order.mean_ranks, [1.0, 2.0, 3.0]);
        assert_eq!(holm(&[0.04, 0.01, 0.03]), [0.06, 0.03, 0.06]);
    }
}
