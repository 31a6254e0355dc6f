//! Tails of the distributions that tests refer to, by the incomplete gamma and beta functions.
//!
//! The functions are computed as the definitions suggest: a power series where it converges fast, else a continued
//! fraction by Lentz's method (NIST Digital Library of Mathematical Functions, 8.7.1, 8.9.2 and 8.17.22), with ln Γ
//! from Stirling's series (5.11.1) shifted upwards. Relative errors are about 1e-13 in the range of p-values that
//! anybody looks at.

/// Terms of a series or fraction after which it has long converged.
const TERMS: usize = 10_000;
/// Where the terms stop to matter.
const ENOUGH: f64 = 1e-16;
/// In place of a denominator of 0 (Lentz).
const TINY: f64 = 1e-300;

/// P(X > x) of a chi-square distribution with `degrees` degrees of freedom.
pub fn chi_square_tail(x: f64, degrees: f64) -> f64 {
    if x <= 0.0 { 1.0 } else { upper_gamma(degrees / 2.0, x / 2.0) }
}

/// P(X > x) of Fisher's F distribution with `above` and `below` degrees of freedom.
pub fn f_tail(x: f64, above: f64, below: f64) -> f64 {
    match x {
        _ if x <= 0.0 => 1.0,
        f64::INFINITY => 0.0,
        x => beta(below / (below + above * x), below / 2.0, above / 2.0),
    }
}

/// P(|X| > z) of a standard normal distribution.
pub fn normal_two_sided(z: f64) -> f64 {
    chi_square_tail(z * z, 1.0)
}

/// P(X ≤ z) of a standard normal distribution.
pub fn normal_below(z: f64) -> f64 {
    let beyond = 0.5 * normal_two_sided(z);
    if z < 0.0 { beyond } else { 1.0 - beyond }
}

/// P(a < X ≤ b) of a standard normal distribution, accurate also far from 0.
pub fn normal_between(a: f64, b: f64) -> f64 {
    match a >= 0.0 {
        // Both in the upper tail: mirrored, so that no 1 is subtracted.
        true => normal_below(-a) - normal_below(-b),
        false => normal_below(b) - normal_below(a),
    }
}

/// Γ(a, x) / Γ(a), a > 0, x ≥ 0.
fn upper_gamma(a: f64, x: f64) -> f64 {
    if !x.is_finite() {
        return if x.is_nan() { f64::NAN } else { 0.0 };
    }
    let scale = (a * x.ln() - x - ln_gamma(a)).exp();
    if x < a + 1.0 {
        let (mut term, mut sum) = (1.0 / a, 1.0 / a);
        for n in 1..TERMS {
            term *= x / (a + n as f64);
            sum += term;
            if term < sum * ENOUGH {
                break;
            }
        }
        return 1.0 - sum * scale;
    }
    // 1/(x + 1 − a − 1·(1 − a)/(x + 3 − a − …))
    let fraction = lentz(x + 1.0 - a, |n| (n * (a - n), x + 2.0 * n + 1.0 - a));
    scale / fraction
}

/// The regularised incomplete beta function I_x(a, b), 0 ≤ x ≤ 1.
fn beta(x: f64, a: f64, b: f64) -> f64 {
    if x.is_nan() || x <= 0.0 || x >= 1.0 {
        return if x.is_nan() { f64::NAN } else { f64::from(x >= 1.0) };
    }
    // The fraction converges fast on this side of the mean alone.
    if x > (a + 1.0) / (a + b + 2.0) {
        return 1.0 - beta(1.0 - x, b, a);
    }
    let scale = (a * x.ln() + b * (-x).ln_1p() + ln_gamma(a + b) - ln_gamma(a) - ln_gamma(b)).exp() / a;
    let fraction = lentz(1.0, |n| {
        let m = (n / 2.0).floor();
        let numerator = match n % 2.0 == 0.0 {
            true => m * (b - m) * x / ((a + 2.0 * m - 1.0) * (a + 2.0 * m)),
            false => -(a + m) * (a + b + m) * x / ((a + 2.0 * m) * (a + 2.0 * m + 1.0)),
        };
        (numerator, 1.0)
    });
    scale / fraction
}

/// first + a₁/(b₁ + a₂/(b₂ + …)) with (aₙ, bₙ) = `part(n)`.
fn lentz(first: f64, part: impl Fn(f64) -> (f64, f64)) -> f64 {
    let apart = |x: f64| if x.abs() < TINY { TINY } else { x };
    let mut value = apart(first);
    let (mut c, mut d) = (value, 0.0);
    for n in 1..TERMS {
        let (a, b) = part(n as f64);
        d = 1.0 / apart(b + a * d);
        c = apart(b + a / c);
        value *= c * d;
        if (c * d - 1.0).abs() < ENOUGH.max(f64::EPSILON) {
            break;
        }
    }
    value
}

/// ln Γ(x), x > 0.
fn ln_gamma(x: f64) -> f64 {
    // Γ(x) = Γ(x + n) / (x (x + 1) …): the series is good from 15 on.
    let (mut x, mut product) = (x, 1.0);
    while x < 15.0 {
        product *= x;
        x += 1.0;
    }
    let y = 1.0 / (x * x);
    let series = (1.0 / 12.0 - y * (1.0 / 360.0 - y * (1.0 / 1260.0 - y * (1.0 / 1680.0 - y / 1188.0)))) / x;
    (x - 0.5) * x.ln() - x + 0.5 * std::f64::consts::TAU.ln() + series - f64::ln(product)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn closed_forms_are_met() {
        let close = |a: f64, b: f64| assert!((a - b).abs() <= 1e-13 * b.abs(), "{a} {b}");
        // Γ(n) = (n − 1)!, Γ(½) = √π.
        close(ln_gamma(11.0), 3_628_800f64.ln());
        close(ln_gamma(0.5), 0.5 * std::f64::consts::PI.ln());
        for x in [0.1, 1.0, 2.0, 7.0, 40.0] {
            // Two degrees of freedom are an exponential distribution; F(2, 2) has the tail 1/(1 + x).
            close(chi_square_tail(x, 2.0), (-x / 2.0).exp());
            close(f_tail(x, 2.0, 2.0), 1.0 / (1.0 + x));
        }
        close(normal_below(0.0), 0.5);
        close(normal_between(-1.0, 1.0), 1.0 - normal_two_sided(1.0));
        close(normal_between(8.0, 9.0), 6.219_831_985_865_832e-16);
        assert_eq!(
            (chi_square_tail(0.0, 3.0), f_tail(f64::INFINITY, 1.0, 2.0), chi_square_tail(-1.0, 3.0)),
            (1.0, 0.0, 1.0)
        );
    }
}
