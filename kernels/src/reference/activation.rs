//! The activations and their derivatives in `f64`, by definition. See [`Activation`] for the conventions.

use crate::activation::Activation;
use std::f64::consts::{FRAC_1_SQRT_2, FRAC_2_SQRT_PI, PI};

/// act(z)
pub fn forward(a: Activation, z: f64) -> f64 {
    (a.oracle().0)(z)
}

/// act'(z)
pub fn derivative(a: Activation, z: f64) -> f64 {
    (a.oracle().1)(z)
}

/// erf x by `2/√π · e^(−x²) · Σ 2ⁿx²ⁿ⁺¹/(2n+1)!!` (DLMF 7.6.2: no term is negative), and 1 − erfc x from 2 on.
pub fn erf(x: f64) -> f64 {
    let a = x.abs();
    if a.is_nan() {
        return a;
    }
    if a >= 2.0 {
        return (1.0 - erfc(a)).copysign(x);
    }
    let (mut term, mut sum, mut n) = (a, a, 0.0);
    while term > sum * 1e-18 {
        n += 1.0;
        term *= 2.0 * a * a / (2.0 * n + 1.0);
        sum += term;
    }
    (FRAC_2_SQRT_PI * (-a * a).exp() * sum).copysign(x)
}

/// 1 − erf x, for x ≥ 2 by the continued fraction of DLMF 7.9.1, evaluated from its hundredth level.
pub fn erfc(x: f64) -> f64 {
    if x.is_nan() || x < 2.0 {
        return 1.0 - erf(x);
    }
    // √π·e^(x²)·erfc x = 1/(x + (1/2)/(x + (2/2)/(x + (3/2)/(x + …))))
    let fraction = (1..=100).rev().fold(x, |tail, k| x + 0.5 * f64::from(k) / tail);
    (-x * x).exp() / (PI.sqrt() * fraction)
}

/// Distribution function of the standard normal.
fn normal_cdf(z: f64) -> f64 {
    0.5 * erfc(-z * FRAC_1_SQRT_2)
}

pub(crate) fn identity(z: f64) -> f64 {
    z
}
pub(crate) fn identity_slope(_: f64) -> f64 {
    1.0
}
pub(crate) fn relu(z: f64) -> f64 {
    if z <= 0.0 { 0.0 } else { z }
}
pub(crate) fn relu_slope(z: f64) -> f64 {
    if z <= 0.0 { 0.0 } else { 1.0 }
}
pub(crate) fn leaky_relu(z: f64) -> f64 {
    if z <= 0.0 { 0.01 * z } else { z }
}
pub(crate) fn leaky_relu_slope(z: f64) -> f64 {
    if z <= 0.0 { 0.01 } else { 1.0 }
}
pub(crate) fn elu(z: f64) -> f64 {
    if z <= 0.0 { z.exp_m1() } else { z }
}
pub(crate) fn elu_slope(z: f64) -> f64 {
    if z <= 0.0 { z.exp() } else { 1.0 }
}

const SELU_ALPHA: f64 = 1.673_263_242_354_377_2;
const SELU_SCALE: f64 = 1.050_700_987_355_480_5;

pub(crate) fn selu(z: f64) -> f64 {
    SELU_SCALE * if z <= 0.0 { SELU_ALPHA * z.exp_m1() } else { z }
}
pub(crate) fn selu_slope(z: f64) -> f64 {
    SELU_SCALE * if z <= 0.0 { SELU_ALPHA * z.exp() } else { 1.0 }
}
pub(crate) fn gelu(z: f64) -> f64 {
    z * normal_cdf(z)
}
pub(crate) fn gelu_slope(z: f64) -> f64 {
    normal_cdf(z) + z * (-0.5 * z * z).exp() / (2.0 * PI).sqrt()
}
pub(crate) fn sigmoid(z: f64) -> f64 {
    1.0 / (1.0 + (-z).exp())
}
pub(crate) fn sigmoid_slope(z: f64) -> f64 {
    sigmoid(z) * sigmoid(-z)
}
pub(crate) fn silu(z: f64) -> f64 {
    z * sigmoid(z)
}
pub(crate) fn silu_slope(z: f64) -> f64 {
    sigmoid(z) * (1.0 + z * sigmoid(-z))
}
pub(crate) fn tanh(z: f64) -> f64 {
    z.tanh()
}
pub(crate) fn tanh_slope(z: f64) -> f64 {
    1.0 / z.cosh().powi(2)
}
pub(crate) fn softplus(z: f64) -> f64 {
    if z > 20.0 { z } else { z.exp().ln_1p() }
}
pub(crate) fn softplus_slope(z: f64) -> f64 {
    if z > 20.0 { 1.0 } else { sigmoid(z) }
}
pub(crate) fn mish(z: f64) -> f64 {
    z * softplus(z).tanh()
}
pub(crate) fn mish_slope(z: f64) -> f64 {
    softplus(z).tanh() + z * tanh_slope(softplus(z)) * softplus_slope(z)
}
