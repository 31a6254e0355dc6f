//! The optimizers: weights, gradient and state in one pass.
//!
//! One table, `OPTIMIZERS`, gives the names and PyTorch's defaults; the formulas are those of `torch.optim` (SGD, Adam,
//! AdamW, RMSprop), the gradient first scaled (clipping), then joined by `weight_decay·w` and `l1·sign(w)`. State
//! begins as zeros, which is what PyTorch's first step amounts to. Elements do not see each other, so any split of the
//! arrays gives the same bits. What depends on the step alone is computed once a call, in `f64`.
//!
//! State that has become subnormal is kept as 0. The moments of a weight whose gradient is 0 for good (a dead unit, a
//! pixel that is never lit) decay into that range and stay, no weight can tell them from 0, and arithmetic on them
//! takes several times as long.

use crate::isa::{Isa, Op, Simd};
use crate::math::copysign;

/// An optimizer and its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Optimizer {
    /// `w −= lr·g`
    Sgd,
    /// `b = momentum·b + g; w −= lr·b`
    Momentum {
        /// What remains of the velocity.
        momentum: f32,
    },
    /// `b = momentum·b + g; w −= lr·(g + momentum·b)`
    Nesterov {
        /// What remains of the velocity.
        momentum: f32,
    },
    /// `m = β₁m + (1 − β₁)g; v = β₂v + (1 − β₂)g²; w −= lr·m̂ / (√v̂ + ε)` with `m̂ = m/(1 − β₁ᵗ)`, `v̂ = v/(1 − β₂ᵗ)`
    /// (Kingma and Ba, 2015, algorithm 1).
    Adam {
        /// β₁
        beta1: f32,
        /// β₂
        beta2: f32,
        /// ε
        epsilon: f32,
    },
    /// Adam with `w *= 1 − lr·weight_decay` in place of decay in the gradient (Loshchilov and Hutter, 2019).
    AdamW {
        /// β₁
        beta1: f32,
        /// β₂
        beta2: f32,
        /// ε
        epsilon: f32,
    },
    /// `v = αv + (1 − α)g²; w −= lr·g / (√v + ε)`, or with momentum `b = momentum·b + g/(√v + ε); w −= lr·b`.
    RmsProp {
        /// α
        alpha: f32,
        /// ε
        epsilon: f32,
        /// What remains of the velocity; 0 for none.
        momentum: f32,
    },
}

/// Name and defaults of each; PyTorch's where it has some (SGD's momentum is 0 there, so the usual 0.9 here).
const OPTIMIZERS: &[(&str, Optimizer)] = &[
    ("sgd", Optimizer::Sgd),
    ("momentum", Optimizer::Momentum { momentum: 0.9 }),
    ("nesterov", Optimizer::Nesterov { momentum: 0.9 }),
    ("adam", Optimizer::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }),
    ("adamw", Optimizer::AdamW { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 }),
    ("rmsprop", Optimizer::RmsProp { alpha: 0.99, epsilon: 1e-8, momentum: 0.0 }),
];

impl Optimizer {
    /// The names of all of them.
    pub fn names() -> impl Iterator<Item = &'static str> {
        OPTIMIZERS.iter().map(|row| row.0)
    }

    /// All of them with their defaults.
    pub fn all() -> impl Iterator<Item = Optimizer> {
        OPTIMIZERS.iter().map(|row| row.1)
    }

    /// Its name.
    pub fn name(&self) -> &'static str {
        let kind = std::mem::discriminant(self);
        OPTIMIZERS.iter().find(|row| std::mem::discriminant(&row.1) == kind).map_or("", |row| row.0)
    }

    /// The optimizer of that name with its defaults.
    pub fn by_name(name: &str) -> Option<Self> {
        OPTIMIZERS.iter().find(|row| row.0 == name).map(|row| row.1)
    }

    /// Vectors of state it keeps, each as long as the weights and zero at first.
    pub fn slots(&self) -> usize {
        match *self {
            Optimizer::Sgd => 0,
            Optimizer::Momentum { .. } | Optimizer::Nesterov { .. } => 1,
            Optimizer::Adam { .. } | Optimizer::AdamW { .. } => 2,
            Optimizer::RmsProp { momentum, .. } => 1 + usize::from(momentum != 0.0),
        }
    }
}

/// One step of an optimizer on a range of the weights.
#[derive(Debug)]
pub struct Update<'a> {
    /// Which, and its constants.
    pub optimizer: Optimizer,
    /// What the step's number and its rate amount to.
    pub scalars: Scalars,
    /// λ of `½λ|w|²`; [`Optimizer::AdamW`]'s, decoupled from the gradient, is in `scalars`.
    pub weight_decay: f32,
    /// λ of `λ·Σ|w|`.
    pub l1: f32,
    /// Multiplies the gradient before all else: 1, or less where it is clipped.
    pub gradient_scale: f32,
    /// Changed in place.
    pub weights: &'a mut [f32],
    /// As many as weights.
    pub gradients: &'a [f32],
    /// State: the first [`Optimizer::slots`] as long as the weights, the others empty.
    pub slots: [&'a mut [f32]; 2],
}

/// Takes the step. See [`Update`].
///
/// # Panics
/// Lengths do not fit.
pub fn update(isa: Isa, args: Update) {
    let n = args.weights.len();
    assert_eq!(args.gradients.len(), n, "one gradient a weight");
    for (i, slot) in args.slots.iter().enumerate() {
        let expected = if i < args.optimizer.slots() { n } else { 0 };
        assert_eq!(slot.len(), expected, "slot {i} of {}", args.optimizer.name());
    }
    isa.run(Checked(args));
}

/// Vectors that are asked for before they are needed. Roots by multiply-adds fill the processor's window with so many
/// instructions that it sees too few loads ahead by itself.
const AHEAD: usize = 12;

/// How one weight changes: `(w, g, state) → (w, state)`.
trait Rule: Copy {
    const SLOTS: usize;
    fn step<S: Simd>(self, s: S, w: S::F, g: S::F, state: [S::F; 2]) -> (S::F, [S::F; 2]);
}

#[derive(Clone, Copy)]
struct Sgd {
    lr: f32,
}

impl Rule for Sgd {
    const SLOTS: usize = 0;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, w: S::F, g: S::F, state: [S::F; 2]) -> (S::F, [S::F; 2]) {
        (s.mul_add(g, s.splat(-self.lr), w), state)
    }
}

#[derive(Clone, Copy)]
struct Momentum {
    lr: f32,
    momentum: f32,
    nesterov: bool,
}

impl Rule for Momentum {
    const SLOTS: usize = 1;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, w: S::F, g: S::F, [b, other]: [S::F; 2]) -> (S::F, [S::F; 2]) {
        let momentum = s.splat(self.momentum);
        let b = s.mul_add(b, momentum, g);
        let d = if self.nesterov { s.mul_add(b, momentum, g) } else { b };
        (s.mul_add(d, s.splat(-self.lr), w), [b, other])
    }
}

/// Adam with the corrections folded in: `lr / (1 − β₁ᵗ)` and `1 / √(1 − β₂ᵗ)`. `DECOUPLED`: AdamW, whose weights
/// shrink.
#[derive(Clone, Copy)]
struct Adam<const DECOUPLED: bool> {
    shrink: f32,
    beta2: f32,
    one_less: [f32; 2],
    epsilon: f32,
    lr: f32,
    root: f32,
}

impl<const DECOUPLED: bool> Rule for Adam<DECOUPLED> {
    const SLOTS: usize = 2;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, w: S::F, g: S::F, [m, v]: [S::F; 2]) -> (S::F, [S::F; 2]) {
        let m = s.mul_add(s.sub(g, m), s.splat(self.one_less[0]), m);
        let v = s.mul_add(s.mul(g, g), s.splat(self.one_less[1]), s.mul(v, s.splat(self.beta2)));
        let d = s.mul_add(s.sqrt(v), s.splat(self.root), s.splat(self.epsilon));
        let w = if DECOUPLED { s.mul(w, s.splat(self.shrink)) } else { w };
        // The rate last: `lr·m` can be subnormal where `m` is not.
        (s.mul_add(s.div(m, d), s.splat(-self.lr), w), [m, v])
    }
}

#[derive(Clone, Copy)]
struct RmsProp {
    lr: f32,
    alpha: f32,
    one_less: f32,
    epsilon: f32,
}

impl RmsProp {
    /// `v`, and `g / (√v + ε)`
    #[inline(always)]
    fn normalize<S: Simd>(self, s: S, g: S::F, v: S::F) -> (S::F, S::F) {
        let v = s.mul_add(s.mul(g, g), s.splat(self.one_less), s.mul(v, s.splat(self.alpha)));
        (v, s.div(g, s.add(s.sqrt(v), s.splat(self.epsilon))))
    }
}

impl Rule for RmsProp {
    const SLOTS: usize = 1;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, w: S::F, g: S::F, [v, other]: [S::F; 2]) -> (S::F, [S::F; 2]) {
        let (v, d) = self.normalize(s, g, v);
        (s.mul_add(d, s.splat(-self.lr), w), [v, other])
    }
}

#[derive(Clone, Copy)]
struct RmsPropMomentum {
    base: RmsProp,
    momentum: f32,
}

impl Rule for RmsPropMomentum {
    const SLOTS: usize = 2;
    #[inline(always)]
    fn step<S: Simd>(self, s: S, w: S::F, g: S::F, [v, b]: [S::F; 2]) -> (S::F, [S::F; 2]) {
        let (v, d) = self.base.normalize(s, g, v);
        let b = s.mul_add(b, s.splat(self.momentum), d);
        (s.mul_add(b, s.splat(-self.base.lr), w), [v, b])
    }
}

/// The constant that a user wrote, in `f64`: 0.999 is meant, not the `f32` next to it, which 1 − β₂ would show in its
/// fifth digit. Any `f32` that is no short decimal stays what it is.
pub(crate) fn written(x: f32) -> f64 {
    let short = (f64::from(x) * 1e7).round() / 1e7;
    if short as f32 == x { short } else { f64::from(x) }
}

/// `1 − x` of a constant that a user wrote as `x` (0.999 is meant, not the `f32` next to it).
pub fn one_less(x: f32) -> f32 {
    (1.0 - written(x)) as f32
}

/// What of a step depends on its number and its rate alone, computed in `f64`.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Scalars {
    /// AdamW: `1 − lr·weight_decay`; 1 for the others.
    pub shrink: f32,
    /// Adam and AdamW: `lr / (1 − β₁ᵗ)`; the rate itself for the others.
    pub corrected: f32,
    /// Adam and AdamW: `1 / √(1 − β₂ᵗ)`; 1 for the others.
    pub root: f32,
    /// Adam and AdamW: `1 / (1 − β₁ᵗ)`; 1 for the others.
    pub inverse: f32,
}

impl Scalars {
    /// Those of step `t`, counted from 1, at this rate.
    ///
    /// # Panics
    /// The step is 0.
    pub fn new(optimizer: Optimizer, weight_decay: f32, learning_rate: f32, t: u64) -> Self {
        assert!(t > 0, "steps count from 1");
        let (Optimizer::Adam { beta1, beta2, .. } | Optimizer::AdamW { beta1, beta2, .. }) = optimizer else {
            return Scalars { shrink: 1.0, corrected: learning_rate, root: 1.0, inverse: 1.0 };
        };
        let decoupled = if matches!(optimizer, Optimizer::AdamW { .. }) { weight_decay } else { 0.0 };
        let lr = f64::from(learning_rate);
        let correction = |beta: f32| 1.0 - written(beta).powf(t as f64);
        Scalars {
            shrink: (1.0 - lr * written(decoupled)) as f32,
            corrected: (lr / correction(beta1)) as f32,
            root: (1.0 / correction(beta2).sqrt()) as f32,
            inverse: (1.0 / correction(beta1)) as f32,
        }
    }
}

/// An update whose arrays are as long as they should be.
struct Checked<'a>(Update<'a>);

impl Op for Checked<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        self.0.take_step(s);
    }
}

impl Update<'_> {
    #[inline(always)]
    fn take_step<S: Simd>(self, s: S) {
        let lr = self.scalars.corrected;
        match self.optimizer {
            Optimizer::Sgd => self.apply(s, Sgd { lr }),
            Optimizer::Momentum { momentum } => self.apply(s, Momentum { lr, momentum, nesterov: false }),
            Optimizer::Nesterov { momentum } => self.apply(s, Momentum { lr, momentum, nesterov: true }),
            Optimizer::Adam { beta1, beta2, epsilon } => {
                let rule = self.adam::<false>(beta1, beta2, epsilon);
                self.apply(s, rule);
            }
            Optimizer::AdamW { beta1, beta2, epsilon } => {
                let rule = self.adam::<true>(beta1, beta2, epsilon);
                Update { weight_decay: 0.0, ..self }.apply(s, rule);
            }
            Optimizer::RmsProp { alpha, epsilon, momentum } => {
                let base = RmsProp { lr, alpha, one_less: one_less(alpha), epsilon };
                if momentum == 0.0 {
                    self.apply(s, base);
                } else {
                    self.apply(s, RmsPropMomentum { base, momentum });
                }
            }
        }
    }

    fn adam<const DECOUPLED: bool>(&self, beta1: f32, beta2: f32, epsilon: f32) -> Adam<DECOUPLED> {
        let Scalars { shrink, corrected: lr, root, .. } = self.scalars;
        Adam { shrink, beta2, one_less: [one_less(beta1), one_less(beta2)], epsilon, lr, root }
    }

    #[inline(always)]
    fn apply<S: Simd, R: Rule>(self, s: S, rule: R) {
        // The loop is bound by arithmetic, so what changes nothing is left out of it.
        if self.gradient_scale == 1.0 && self.weight_decay == 0.0 && self.l1 == 0.0 {
            self.each::<S, R, true>(s, rule);
        } else {
            self.each::<S, R, false>(s, rule);
        }
    }

    /// `PLAIN`: the gradient is what was given.
    #[inline(always)]
    fn each<S: Simd, R: Rule, const PLAIN: bool>(mut self, s: S, rule: R) {
        let n = self.weights.len();
        let whole = n - n % S::LANES;
        // Twice the same, so that the compiler sees vectors of full length in the loop.
        for i in (0..whole).step_by(S::LANES) {
            // Not beyond what is ours: what another worker is about to write would come here in vain and leave it.
            let ahead = (i + AHEAD * S::LANES).min(whole - 1);
            s.prefetch(self.weights.as_ptr().wrapping_add(ahead));
            for slot in &self.slots[..R::SLOTS] {
                s.prefetch(slot.as_ptr().wrapping_add(ahead));
            }
            // SAFETY: `i + LANES ≤ whole ≤ n`, the length of every array in use (`Checked`).
            unsafe { self.vector::<S, R, PLAIN>(s, rule, i, S::LANES) };
        }
        if whole < n {
            // SAFETY: likewise.
            unsafe { self.vector::<S, R, PLAIN>(s, rule, whole, n - whole) };
        }
    }

    /// The elements `i .. i + n`, `n` at most the lanes.
    ///
    /// # Safety
    /// Weights, gradients and the rule's slots have them.
    #[inline(always)]
    unsafe fn vector<S: Simd, R: Rule, const PLAIN: bool>(&mut self, s: S, rule: R, i: usize, n: usize) {
        // SAFETY: by the caller's promise.
        let load = |x: &[f32]| unsafe { s.load(x.get_unchecked(i..i + n)) };
        // SAFETY: likewise.
        let store = |x: &mut [f32], v: S::F| unsafe { s.store(x.get_unchecked_mut(i..i + n), v) };
        let (zero, w) = (s.splat(0.0), load(self.weights));
        let mut g = load(self.gradients);
        if !PLAIN {
            g = s.mul(g, s.splat(self.gradient_scale));
            if self.weight_decay != 0.0 {
                g = s.mul_add(w, s.splat(self.weight_decay), g);
            }
            if self.l1 != 0.0 {
                let sign = copysign(s, s.splat(self.l1), w);
                g = s.add(g, s.select(s.eq(w, zero), zero, sign));
            }
        }
        let mut state = [zero; 2];
        for (state, slot) in state.iter_mut().zip(&self.slots[..R::SLOTS]) {
            *state = load(slot);
        }
        let (w, state) = rule.step(s, w, g, state);
        store(self.weights, w);
        for (state, slot) in state.into_iter().zip(&mut self.slots[..R::SLOTS]) {
            store(slot, s.flush(state));
        }
    }
}
