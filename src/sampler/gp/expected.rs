//! The logarithm of expected improvement, exact far into the tail.
//!
//! With z = (f* − μ)/σ, EI = σ·h(z) and h(z) = φ(z) + z·Φ(z). Far below zero the two terms cancel and, soon
//! after, underflow, so from z = −3 on ln h is taken from the continued fraction of Mills' ratio: for x = −z,
//! Φ(−x)/φ(x) = 1/(x + c) with c = 1/(x + 2/(x + 3/(x + …))), hence h = φ(x)·c/(x + c), a product without any
//! difference. The use of ln EI is from Ament et al., "Unexpected improvements to expected improvement" (NeurIPS 2023).

/// ½·ln 2π.
const HALF_LN_TAU: f64 = 0.918_938_533_204_672_7;

/// (ln h(z), d ln h / dz).
pub(super) fn log_h(z: f64) -> (f64, f64) {
    if z <= -3.0 {
        let x = -z;
        let c = tail(x);
        return (-0.5 * x * x - HALF_LN_TAU + (c / (x + c)).ln(), 1.0 / c);
    }
    let (density, cumulative) = (density(z), cumulative(z));
    let h = density + z * cumulative;
    (h.ln(), cumulative / h)
}

/// (ln EI, d/dμ, d/dσ) of minimising below `best` from a normal with mean μ and deviation σ > 0.
pub(super) fn log_ei(mean: f64, deviation: f64, best: f64) -> (f64, f64, f64) {
    let z = (best - mean) / deviation;
    let (log_h, slope) = log_h(z);
    (deviation.ln() + log_h, -slope / deviation, (1.0 - slope * z) / deviation)
}

/// (ln Φ(z), φ(z)/Φ(z)).
pub(super) fn log_cumulative(z: f64) -> (f64, f64) {
    if z <= -3.0 {
        let mills = tail(-z) - z;
        return (-0.5 * z * z - HALF_LN_TAU - mills.ln(), mills);
    }
    let cumulative = cumulative(z);
    (cumulative.ln(), density(z) / cumulative)
}

/// c of the module's continued fraction, x ≥ 3.
fn tail(x: f64) -> f64 {
    // So many are exact to rounding, the fewer the farther out. The rest of the fraction, t ≈ k/(x + t), closes it.
    let terms = match x {
        _ if x > 8.0 => 12,
        _ if x > 5.0 => 20,
        _ => 40,
    };
    let rest = 0.5 * ((x * x + 4.0 * (terms + 1) as f64).sqrt() - x);
    1.0 / (x + (2..=terms).rev().fold(rest, |below, k| k as f64 / (x + below)))
}

fn density(z: f64) -> f64 {
    (-0.5 * z * z - HALF_LN_TAU).exp()
}

/// Φ(z) for z ≥ −3.
fn cumulative(z: f64) -> f64 {
    if z > 3.0 {
        return 1.0 - density(z) / (z + tail(z));
    }
    // Φ = ½ + φ·(z + z³/3 + z⁵/15 + …), all terms of one sign.
    let (mut term, mut sum, mut k) = (z, z, 1.0);
    while term.abs() > 1e-17 * sum.abs() {
        k += 2.0;
        term *= z * z / k;
        sum += term;
    }
    0.5 + density(z) * sum
}

#[cfg(test)]
mod tests {
    use super::*;

    /// ∫ₓ^∞ (t − x) φ(t) dt = h(−x), by Simpson's rule, times e^{x²/2} so that it does not underflow.
    fn scaled_integral(x: f64) -> f64 {
        let (n, width) = (20_000, 40.0 / (1.0 + x.abs()));
        let f = |s: f64| s * (-0.5 * s * s - s * x - HALF_LN_TAU).exp();
        let step = width / n as f64;
        let inner: f64 = (1..n).map(|i| f(i as f64 * step) * if i % 2 == 1 { 4.0 } else { 2.0 }).sum();
        (f(0.0) + inner + f(width)) * step / 3.0
    }

    #[test]
    fn it_equals_the_integral() {
        for z in [-300.0, -40.0, -10.5, -9.5, -5.0, -3.01, -2.99, -1.0, -0.3, 0.0, 0.4, 1.0] {
            let expected = scaled_integral(-z).ln() - 0.5 * z * z;
            let (found, _) = log_h(z);
            assert!((found - expected).abs() < 1e-8 * (1.0 + expected.abs()).min(10.0), "{z}: {found} {expected}");
        }
        // Far above, EI is the distance; Φ(2.5) from tables.
        assert!((log_h(30.0).0 - 30f64.ln()).abs() < 1e-12);
        assert!((cumulative(2.5) - 0.993_790_334_674_224).abs() < 1e-14);
        assert!((cumulative(-0.5) - 0.308_537_538_725_987).abs() < 1e-14);
        assert!(log_h(-1e10).0.is_finite());
        // ln Φ from tables; the two formulas meet at −3.
        assert!((log_cumulative(-5.0).0 - 2.866_515_719e-7f64.ln()).abs() < 1e-9);
        assert!((log_cumulative(-3.000_001).0 - log_cumulative(-2.999_999).0).abs() < 1e-5);
    }

    #[test]
    fn slopes_are_differences() {
        for (mean, deviation, best) in [(0.3, 0.5, 0.1), (5.0, 0.2, 0.0), (-1.0, 0.7, 0.5), (4.0, 1.0, 1.0)] {
            let e = 1e-6;
            let (_, by_mean, by_deviation) = log_ei(mean, deviation, best);
            let up = |m: f64, d: f64| log_ei(m, d, best).0;
            let mean_difference = (up(mean + e, deviation) - up(mean - e, deviation)) / (2.0 * e);
            let deviation_difference = (up(mean, deviation + e) - up(mean, deviation - e)) / (2.0 * e);
            assert!((by_mean - mean_difference).abs() < 1e-5 * (1.0 + by_mean.abs()));
            assert!((by_deviation - deviation_difference).abs() < 1e-5 * (1.0 + by_deviation.abs()));
        }
    }
}
