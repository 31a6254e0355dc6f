//! The standard normal distribution, as far as samplers need it.

/// 1 − Φ(z) for z ≥ 0, within 1.2e-7 of itself: Chebyshev's fit of Press et al., "Numerical Recipes", section 6.2.
pub(super) fn tail(z: f64) -> f64 {
    const FIT: [f64; 10] = [
        -1.265_512_23,
        1.000_023_68,
        0.374_091_96,
        0.096_784_18,
        -0.186_288_06,
        0.278_868_07,
        -1.135_203_98,
        1.488_515_87,
        -0.822_152_23,
        0.170_872_77,
    ];
    let x = z * std::f64::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.5 * x);
    0.5 * t * (-x * x + FIT.iter().rev().fold(0.0, |sum, c| sum * t + c)).exp()
}

/// Φ(b) − Φ(a) for a ≤ b, without cancelling in the tails.
pub(super) fn mass(a: f64, b: f64) -> f64 {
    match () {
        _ if a >= 0.0 => tail(a) - tail(b),
        _ if b <= 0.0 => tail(-b) - tail(-a),
        _ => 1.0 - tail(-a) - tail(b),
    }
}

/// Φ(z).
pub(super) fn cumulative(z: f64) -> f64 {
    if z < 0.0 { tail(-z) } else { 1.0 - tail(z) }
}

/// The z ≥ 0 beyond which `p` lies; `p` from 1e-20 to ½ (others count as the nearer end).
pub(super) fn quantile_above(p: f64) -> f64 {
    let (mut low, mut high) = (0.0, 10.0);
    for _ in 0..50 {
        let middle = 0.5 * (low + high);
        if tail(middle) > p { low = middle } else { high = middle }
    }
    0.5 * (low + high)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tails_are_those_of_the_reference() {
        for z in [0.0, 0.3, 1.0, 2.5, 6.0, 20.0] {
            let expected = 0.5 * hpt_kernels::reference::activation::erfc(z / 2f64.sqrt());
            assert!((tail(z) / expected - 1.0).abs() < 2e-7, "{z}: {} {expected}", tail(z));
        }
        assert!((mass(-1.0, 2.0) - 0.818_594_614_12).abs() < 1e-7);
        assert!((mass(-2.0, -1.0) - mass(1.0, 2.0)).abs() < 1e-16);
        assert!((cumulative(-1.0) + cumulative(1.0) - 1.0).abs() < 1e-15);
    }

    #[test]
    fn quantiles_invert_tails() {
        for (p, z) in [(0.5, 0.0), (0.025, 1.959_964), (1e-6, 4.753_424)] {
            assert!((quantile_above(p) - z).abs() < 1e-5, "{p}");
        }
    }
}
