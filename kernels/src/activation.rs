//! The activations and their derivatives.
//!
//! One table, `activations!`, holds them: a row gives the variant, its name, the vector body of the function and of
//! its derivative, and the oracle's two functions. The enum, the parsing, the dispatch and the tests follow from it.
//! Conventions and constants are PyTorch's: the derivative of relu at 0 is 0, gelu is the exact one, softplus has
//! β = 1. All propagate NaN.

use crate::isa::{Isa, Op, Simd};
use crate::math::{copysign, exp, exp_m1, normal_tail, sigmoid, sigmoids, softplus, tanh};
use crate::reference::activation as oracle;

/// A function of one variable and its derivative, on any instruction set.
pub(crate) trait Curve {
    fn value<S: Simd>(s: S, z: S::F) -> S::F;
    fn slope<S: Simd>(s: S, z: S::F) -> S::F;
}

/// What to do with a curve that is known at run time only.
pub(crate) trait Visit {
    fn visit<C: Curve>(self);
}

macro_rules! activations {
    ($($(#[doc = $doc:literal])* $variant:ident, $name:literal, |$s:ident, $z:ident|
        $value:expr, $slope:expr, $oracle:path, $oracle_slope:path;)*) => {
        /// A function between layers, applied element by element.
        #[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
        pub enum Activation {
            $($(#[doc = $doc])* $variant,)*
        }

        impl Activation {
            /// All of them.
            pub const ALL: &[Activation] = &[$(Activation::$variant,)*];

            /// Its name, PyTorch's in snake case.
            pub fn name(self) -> &'static str {
                match self {
                    $(Activation::$variant => $name,)*
                }
            }

            #[inline(always)]
            pub(crate) fn visit<V: Visit>(self, v: V) {
                match self {
                    $(Activation::$variant => v.visit::<curves::$variant>(),)*
                }
            }

            /// The oracle's function and derivative.
            pub(crate) fn oracle(self) -> (fn(f64) -> f64, fn(f64) -> f64) {
                match self {
                    $(Activation::$variant => ($oracle, $oracle_slope),)*
                }
            }
        }

        mod curves {
            use super::*;
            $(
                pub(crate) struct $variant;
                impl Curve for $variant {
                    #[inline(always)]
                    fn value<S: Simd>($s: S, $z: S::F) -> S::F {
                        $value
                    }
                    #[inline(always)]
                    fn slope<S: Simd>($s: S, $z: S::F) -> S::F {
                        $slope
                    }
                }
            )*
        }
    };
}

/// PyTorch's slope of leaky_relu below 0.
const LEAK: f32 = 0.01;
/// Scale λ and λ·α of selu (Klambauer et al., "Self-normalizing neural networks", 2017).
const SELU: [f32; 2] = [1.050_701, 1.758_099_4];
/// 1/√(2π)
const DENSITY: f32 = 0.398_942_3;

activations! {
    /// z
    Identity, "identity", |_s, z| z, one(_s, z), oracle::identity, oracle::identity_slope;
    /// max(z, 0)
    Relu, "relu", |s, z| s.max(s.splat(0.0), z),
        s.select(s.le(z, s.splat(0.0)), s.splat(0.0), s.splat(1.0)), oracle::relu, oracle::relu_slope;
    /// z, or 0.01·z below 0
    LeakyRelu, "leaky_relu", |s, z| s.select(s.le(z, s.splat(0.0)), s.mul(z, s.splat(LEAK)), z),
        s.select(s.le(z, s.splat(0.0)), s.splat(LEAK), s.splat(1.0)), oracle::leaky_relu, oracle::leaky_relu_slope;
    /// z, or e^z − 1 below 0
    Elu, "elu", |s, z| s.select(s.lt(s.splat(0.0), z), z, exp_m1(s, z)),
        s.select(s.lt(s.splat(0.0), z), s.splat(1.0), exp(s, z)), oracle::elu, oracle::elu_slope;
    /// λ·z, or λα·(e^z − 1) below 0
    Selu, "selu", |s, z|
        s.select(s.lt(s.splat(0.0), z), s.mul(z, s.splat(SELU[0])), s.mul(exp_m1(s, z), s.splat(SELU[1]))),
        s.select(s.lt(s.splat(0.0), z), s.splat(SELU[0]), s.mul(exp(s, z), s.splat(SELU[1]))),
        oracle::selu, oracle::selu_slope;
    /// z·Φ(z) with the distribution function Φ of the standard normal
    Gelu, "gelu", |s, z| s.mul(z, normal_cdf(s, z).0), gelu_slope(s, z), oracle::gelu, oracle::gelu_slope;
    /// z·σ(z)
    Silu, "silu", |s, z| s.mul(z, sigmoid(s, z)), silu_slope(s, z), oracle::silu, oracle::silu_slope;
    /// tanh z
    Tanh, "tanh", |s, z| tanh(s, z), tanh_slope(s, z), oracle::tanh, oracle::tanh_slope;
    /// 1 / (1 + e^−z)
    Sigmoid, "sigmoid", |s, z| sigmoid(s, z), sigmoid_slope(s, z), oracle::sigmoid, oracle::sigmoid_slope;
    /// ln(1 + e^z)
    Softplus, "softplus", |s, z| softplus(s, z), sigmoid(s, z), oracle::softplus, oracle::softplus_slope;
    /// z·tanh(softplus(z))
    Mish, "mish", |s, z| mish(s, z), mish_slope(s, z), oracle::mish, oracle::mish_slope;
}

impl Activation {
    /// The activation of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|a| a.name() == name)
    }

    /// Whether the derivative must be computed from z. Where not, the output tells it (its sign, for relu), or there is
    /// nothing to tell.
    pub fn derivative_needs_z(self) -> bool {
        !matches!(self, Activation::Identity | Activation::Relu)
    }
}

#[inline(always)]
fn one<S: Simd>(s: S, _: S::F) -> S::F {
    s.splat(1.0)
}

/// `(Φ(z), e^(−z²/2))`
#[inline(always)]
fn normal_cdf<S: Simd>(s: S, z: S::F) -> (S::F, S::F) {
    let (tail, g) = normal_tail(s, z);
    (s.select(s.lt(z, s.splat(0.0)), tail, s.sub(s.splat(1.0), tail)), g)
}

/// Φ(z) + z·φ(z)
#[inline(always)]
fn gelu_slope<S: Simd>(s: S, z: S::F) -> S::F {
    let (cdf, g) = normal_cdf(s, z);
    // Both factors finite: beyond 20 the product is 0, whatever z is.
    let a = s.min(s.splat(20.0), s.abs(z));
    s.add(cdf, copysign(s, s.mul(s.mul(a, s.splat(DENSITY)), g), z))
}

/// σ(z)·(1 + z·σ(−z))
#[inline(always)]
fn silu_slope<S: Simd>(s: S, z: S::F) -> S::F {
    let (up, down) = sigmoids(s, z);
    s.mul(up, s.mul_add(z, down, s.splat(1.0)))
}

/// 1 − tanh² z = 4u / (1 + u)², u = e^(−2|z|)
#[inline(always)]
fn tanh_slope<S: Simd>(s: S, z: S::F) -> S::F {
    let u = exp(s, s.mul(s.abs(z), s.splat(-2.0)));
    let d = s.add(u, s.splat(1.0));
    s.div(s.mul(u, s.splat(4.0)), s.mul(d, d))
}

/// σ(z)·σ(−z)
#[inline(always)]
fn sigmoid_slope<S: Simd>(s: S, z: S::F) -> S::F {
    let u = exp(s, s.neg(s.abs(z)));
    let d = s.add(u, s.splat(1.0));
    s.div(u, s.mul(d, d))
}

/// `(z', e, n)` with `z'` in [−110, 20], `e = e^z'` and `n = e·(e + 2)`, so that tanh(softplus(z)) = n / (n + 2): from
/// 20 on that is 1 in `f32`, and n stays finite.
#[inline(always)]
fn mish_parts<S: Simd>(s: S, z: S::F) -> (S::F, S::F, S::F) {
    let z = s.max(s.splat(-110.0), s.min(s.splat(20.0), z));
    let e = exp(s, z);
    (z, e, s.mul(e, s.add(e, s.splat(2.0))))
}

#[inline(always)]
fn mish<S: Simd>(s: S, z: S::F) -> S::F {
    let (_, _, n) = mish_parts(s, z);
    s.mul(z, s.div(n, s.add(n, s.splat(2.0))))
}

/// (n·(n + 2) + 4z·e·(1 + e)) / (n + 2)²
#[inline(always)]
fn mish_slope<S: Simd>(s: S, z: S::F) -> S::F {
    let (z, e, n) = mish_parts(s, z);
    let d = s.add(n, s.splat(2.0));
    let bend = s.mul(s.mul(z, s.splat(4.0)), s.mul_add(e, e, e));
    s.div(s.mul_add(n, d, bend), s.mul(d, d))
}

/// `out[i] = act(z[i])`
///
/// # Panics
/// The lengths differ.
pub fn forward(isa: Isa, a: Activation, z: &[f32], out: &mut [f32]) {
    isa.run(Map { a, z, out, what: What::Value });
}

/// `out[i] = act'(z[i])`
///
/// # Panics
/// The lengths differ.
pub fn derivative(isa: Isa, a: Activation, z: &[f32], out: &mut [f32]) {
    isa.run(Map { a, z, out, what: What::Slope });
}

#[derive(PartialEq)]
enum What {
    Value,
    Slope,
}

struct Map<'a> {
    a: Activation,
    z: &'a [f32],
    out: &'a mut [f32],
    what: What,
}

impl Op for Map<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        assert_eq!(self.z.len(), self.out.len(), "z and out differ in length");
        self.a.visit(Loop { s, map: self });
    }
}

struct Loop<'a, S> {
    s: S,
    map: Map<'a>,
}

impl<S: Simd> Visit for Loop<'_, S> {
    #[inline(always)]
    fn visit<C: Curve>(self) {
        let (s, Map { z, out, what, .. }) = (self.s, self.map);
        if what == What::Value {
            for (z, out) in z.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
                s.store(out, C::value(s, s.load(z)));
            }
        } else {
            for (z, out) in z.chunks(S::LANES).zip(out.chunks_mut(S::LANES)) {
                s.store(out, C::slope(s, s.load(z)));
            }
        }
    }
}
