//! What an operation may be wrong by, `|got − exact| ≤ absolute + relative·|exact|`: the one place that says so.
//!
//! The relative part is a count of roundings (each 6e-8 of the value); the absolute part belongs to formulas that
//! subtract: there the roundings are relative to the terms, of order 1 with the tests' data, not to what is left.

use hpt_kernels::activation::Activation;

/// `|got − exact| ≤ absolute + relative·|exact|`
#[derive(Clone, Copy, Debug)]
pub struct Tolerance {
    pub absolute: f64,
    pub relative: f64,
}

/// One rounding.
const UNIT: f64 = 5.960_464_477_539_063e-8;
/// Below it `f32` has no full precision.
const SMALLEST: f64 = 1.2e-38;

/// What a product of few factors loses.
pub const PRODUCT: Tolerance = Tolerance { absolute: SMALLEST, relative: 3.0 * UNIT };
/// A whole forward epilogue: an activation, a product and two sums of numbers up to 4.
pub const EPILOGUE: Tolerance = Tolerance { absolute: 20.0 * UNIT, relative: 16.0 * UNIT };
/// Losses: sums of up to 257 terms of order 10.
pub const LOSS: Tolerance = Tolerance { absolute: 20.0 * UNIT, relative: 16.0 * UNIT };
/// Their gradients: differences of numbers of order 1.
pub const GRADIENT: Tolerance = Tolerance { absolute: 8.0 * UNIT, relative: 16.0 * UNIT };
/// Ten steps of an optimizer on weights of order 1.
pub const OPTIMIZER: Tolerance = Tolerance { absolute: 40.0 * UNIT, relative: 40.0 * UNIT };
/// Sums in `f64`.
pub const SUM: Tolerance = Tolerance { absolute: 1e-12, relative: 1e-13 };
/// Sums in `f64`, stored as `f32`.
pub const STORED_SUM: Tolerance = Tolerance { absolute: 1e-12, relative: UNIT };

/// An activation, and its derivative.
pub fn activation(a: Activation) -> [Tolerance; 2] {
    let relative = |roundings: f64| Tolerance { absolute: SMALLEST, relative: roundings * UNIT };
    let near_root = |roundings: f64| Tolerance { absolute: roundings * UNIT, relative: 8.0 * UNIT };
    match a {
        Activation::Identity | Activation::Relu => [relative(0.0); 2],
        Activation::LeakyRelu => [relative(2.0); 2],
        Activation::Elu | Activation::Selu => [relative(6.0); 2],
        Activation::Gelu => [relative(12.0), near_root(12.0)],
        Activation::Silu => [relative(6.0), near_root(6.0)],
        Activation::Tanh | Activation::Sigmoid | Activation::Softplus => [relative(8.0); 2],
        Activation::Mish => [relative(10.0), near_root(10.0)],
    }
}

impl Tolerance {
    /// Panics unless `got` is `exact`, within this; NaN equals NaN.
    pub fn check(self, got: f32, exact: f64, what: &dyn Fn() -> String) {
        let error = (f64::from(got) - exact).abs();
        let same = f64::from(got) == exact || got.is_nan() && exact.is_nan();
        let allowed = self.absolute + self.relative * exact.abs();
        assert!(same || error <= allowed, "{}: {got:e}, not {exact:e}: off by {error:.3e} > {allowed:.3e}", what());
    }

    /// [`Tolerance::check`] of each element.
    pub fn check_all(self, got: &[f32], exact: &[f64], what: &dyn Fn() -> String) {
        assert_eq!(got.len(), exact.len(), "{}", what());
        for (i, (&got, &exact)) in got.iter().zip(exact).enumerate() {
            self.check(got, exact, &|| format!("{}, element {i}", what()));
        }
    }
}
