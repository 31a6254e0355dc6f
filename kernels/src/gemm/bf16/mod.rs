//! Products of f32 operands by bf16 arithmetic.
//!
//! A number is written as a sum of bf16 *terms*, each the nearest one to what those before leave.
//! [`Method::Bf16x6`] has three, x = hi + mid + lo, and adds hi·hi + hi·mid + mid·hi + mid·mid + hi·lo + lo·hi in f32
//! (as XLA's `BF16_BF16_F32_X6`, which is JAX's `highest` on a TPU); [`Method::Bf16x3`] has two and adds
//! hi·hi + hi·lo + lo·hi; [`Method::Bf16`] takes hi alone. `pack.rs` makes the terms in the order of a unit,
//! `blocks.rs` holds the loops, `tiles.rs` the order of tile operations, which `amx.rs` does by instructions and
//! `emulated.rs` in plain arithmetic, `pairs.rs` AVX-512's dot products, `cost.rs` which method a shape gets, `peak.rs`
//! measures what a unit does at most. A result depends on its row of A, its column of B and the unit alone, not on the
//! block of C that was asked for. Of different units' results the last bits differ.
//!
//! **Error of the sums.** A tile adds 16 products to each of two sums of a chunk, these two, and their sum to C: of p
//! products of terms the roundings are at most (p·⌈k/32⌉ + 18)·2⁻²⁴ of Σ|terms' products|, which is within 2⁻⁶ of
//! Σ|a·b|. Adding to an old C is one more.
//!
//! **Terms.** bf16 has 8 bits. For x in [2ᵉ, 2ᵉ⁺¹) what hi leaves is at most 2⁻⁸·2ᵉ, and what mid leaves of that
//! at most 2⁻¹⁷·2ᵉ, half the last place of a mid below 2⁻⁸·2ᵉ. (Just below a power of two both may be twice that, but
//! are as small beside x.) A third term holds what is left exactly, for x has 24 bits.
//!
//! **Error of `Bf16x6`.** What is dropped, mid·lo, lo·mid and lo·lo, is at most (2·2⁻²⁵ + 2⁻³⁴)·|a·b|: one rounding of
//! f32 and a thousandth. With the sums' (6·⌈k/32⌉ + 18)·2⁻²⁴ this is less, from k = 32 on, than what the k roundings of
//! a chain of f32 multiply-adds may come to, k·2⁻²⁴·Σ|a·b|: so it counts as f32. In random data it is about half of the
//! chain's as well.
//!
//! **Error of `Bf16x3`.** What is dropped of a product is lo·lo and each rest times the other operand: at most
//! (2⁻¹⁶ + 2·2⁻¹⁷)·|a·b| = 2⁻¹⁵·|a·b|. No choice of two terms is safe from this, as neighbours of the form hi + lo are
//! 2⁻¹⁶ apart where |lo| is near 2⁻⁸. A and B all of the same adverse constant come to 3.03e-5 of 3.05e-5. How near a
//! sum comes depends on how many of its terms count, for the dropped parts of many have various signs: measured
//! (`tests/errors.rs`, k from 16 to 2,500), normal numbers and uniform ones, of both signs and of one, stay within
//! 9e-6, and within 2e-6 from k = 300 on; where one or a few terms are nearly all of the sum (exponents of a wide
//! range, one large column, lognormal or very sparse numbers) up to 2.5e-5, and beyond 1e-5 in up to 4 % of the
//! elements. To keep 1e-5 there takes a third term, which is `Bf16x6`. [`Method::choose`] takes three products from
//! k = 32 on. `Bf16` drops up to 2⁻⁷·Σ|a·b|; 7.3e-3 where a few terms count.
//!
//! **Bytes.** A of bytes has one term, the byte, which is a bf16: of `Bf16x6` and `Bf16x3` three and two products are
//! left. What is dropped is of B alone: nothing with three terms, at most 2⁻¹⁷·|a·b| = 7.63e-6 with two, so that with
//! the roundings 1e-5·Σ|a·b| is kept in data of any kind: by the bound up to k = 320 (1.18e-5 for 784), as measured,
//! 8.2e-6 at most, up to 2,500. The scale is one rounding of the sum, where an f32 operand has one in each of its
//! numbers.
//!
//! **Range.** Operands are scaled by 2²³ and sums by 2⁻⁴⁶, both exact, so subnormals count in full; a result below
//! 2⁻¹²⁶ is off by no more than f32's own rounding there (plus 2⁻¹⁷² for each of 3k or 6k products that are
//! flushed). Where a scaled
//! number or sum does not fit (an infinity, a NaN, |x| ≥ 2⁸⁹, |Σ| ≥ 2⁸², 2¹⁰⁵ of bytes, which are not scaled), the
//! element's sum is not finite, and the element is computed by the f32 kernel instead: there the results are those of
//! f32, to the bit.

#[cfg(target_arch = "x86_64")]
mod amx;
mod blocks;
mod cost;
mod emulated;
mod pack;
#[cfg(target_arch = "x86_64")]
mod pairs;
mod peak;
mod ring;
#[cfg(test)]
mod tests;
mod tiles;

pub(super) use blocks::{Args, COLS, Memory, Out};
pub use peak::{bf16_multiply_adds, bf16_peak};

use super::Scratch;
use crate::isa::{Bf16, Isa, Op, Portable, Simd};
use pack::Terms;
use ring::Ring;

/// How a product of f32 operands is computed.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Method {
    /// Chains of f32 multiply-adds.
    #[default]
    F32,
    /// Six products of bf16 terms, three of a number; no less exact than chains from k = 32 on.
    Bf16x6,
    /// Three products of bf16 terms, two of a number; error of at most 2⁻¹⁵·Σ|a·b|, beside the sums' roundings.
    Bf16x3,
    /// One product of bf16; error of at most 2⁻⁷·Σ|a·b|, likewise.
    Bf16,
}

impl Method {
    /// Every method, most exact first.
    pub const ALL: [Method; 4] = [Method::F32, Method::Bf16x6, Method::Bf16x3, Method::Bf16];

    /// The fastest method for a product m × k × n that is at least as exact as this one: chosen from the shape, the
    /// instruction set and its unit of bf16 alone. A caller that divides C among threads asks for the whole product.
    /// `bytes`: A may be bytes ([`Left::Bytes`](super::Left::Bytes)), or else, for [`Method::F32`], the numbers that
    /// they stand for.
    pub fn choose(self, isa: Isa, bytes: bool, m: usize, k: usize, n: usize) -> Method {
        // Errors of sums of few terms do not average out, and no unit is faster there.
        let allowed = if k < pack::CHUNK { Method::F32 } else { self };
        let exact_enough = Method::ALL.into_iter().filter(|method| *method <= allowed && method.is_native(isa));
        cost::of(isa).fastest(exact_enough, bytes, m, k, n)
    }

    /// Estimated seconds of a product m × k × n by this method on one core, `bytes` where A are bytes: a model of work,
    /// fitted to a processor of each kind, which knows nothing of this one's clock or memory.
    pub fn seconds(self, isa: Isa, bytes: bool, m: usize, k: usize, n: usize) -> f64 {
        cost::of(isa).seconds(self, bytes, m, k, n)
    }

    /// What, beside the set, [`choose`](Method::choose) goes by where this method is allowed, so that results differ in
    /// their last bits between machines of one set: the kind of unit. None where all of the set's machines choose
    /// alike.
    pub fn unit(self, isa: Isa) -> Option<&'static str> {
        if self != Method::F32 && self.is_native(isa) { cost::of(isa).kind } else { None }
    }

    /// Whether the set has a unit for this method.
    pub fn is_available(self, isa: Isa) -> bool {
        match (self, isa.bf16()) {
            (Method::F32, _) => true,
            (_, None) => false,
            #[cfg(target_arch = "x86_64")]
            (Method::Bf16x6 | Method::Bf16x3, Some(Bf16::Pairs)) => false,
            _ => true,
        }
    }

    /// Whether the set has a unit for this method that is faster than its f32 arithmetic.
    pub fn is_native(self, isa: Isa) -> bool {
        #[cfg(target_arch = "x86_64")]
        if self != Method::F32 && isa.bf16() == Some(Bf16::Pairs) && !pairs::fast() {
            return false;
        }
        self.is_available(isa)
    }

    /// How many products of bf16 make one of numbers, or of bytes (A) by numbers; chains of f32 make theirs of none.
    pub fn products(self, bytes: bool) -> usize {
        if self == Method::F32 {
            return 0;
        }
        let terms = self.terms().count();
        tiles::order(if bytes { 1 } else { terms }, terms).len()
    }

    fn terms(self) -> Terms {
        match self {
            Method::F32 => unreachable!("chains of f32 have no terms"),
            Method::Bf16x6 => Terms::Three,
            Method::Bf16x3 => Terms::Two,
            Method::Bf16 => Terms::One,
        }
    }
}

impl PartialOrd for Method {
    /// By error.
    fn partial_cmp(&self, other: &Method) -> Option<std::cmp::Ordering> {
        (*self as u8).partial_cmp(&(*other as u8))
    }
}

/// Sums of a block of C.
#[derive(Clone, Copy, Debug)]
struct Block {
    /// Chunks of k.
    chunks: usize,
    /// Of A: as many as of B, or one.
    left: Terms,
    terms: Terms,
    /// The first group of A, at its first chunk.
    a: *const u32,
    /// From group to group.
    a_next: usize,
    /// 1, or up to [`Unit::GROUPS`].
    groups: usize,
    /// Rows of the first group.
    rows: usize,
    /// The first panel of B, at its first chunk.
    b: *const u32,
    /// From panel to panel.
    b_next: usize,
    /// 1 or 2.
    panels: usize,
    /// Sums, `groups · ROWS` rows of `panels · 16`.
    sums: *mut f32,
    /// From row to row of them.
    step: usize,
    /// Whether they begin with what is there.
    add: bool,
}

/// What multiplies.
trait Unit {
    /// Most rows of a group.
    const ROWS: usize;
    /// Most groups of a block.
    const GROUPS: usize;
    /// Whether it works beside the vectors, so that B may come from a [`Ring`].
    const BESIDE: bool;
    /// Words of A that stay in L2 beside B's panels: as many groups are packed at a time.
    const LEFT: usize;
    /// Chunks of a block of k, of one term; of more as many fewer.
    const CHUNKS: usize;

    /// Computes a block; `ring` has B where it has not been packed.
    ///
    /// # Safety
    /// The operands are readable in whole groups and panels and the sums writable.
    unsafe fn block<S: Simd>(&mut self, s: S, block: &Block, ring: Option<&mut Ring>);
}

/// A product by `method`, of which m, n ≥ 1.
///
/// # Panics
/// The set has no such method.
pub(super) fn run(isa: Isa, method: Method, args: Args<'_>, scratch: &mut Scratch) {
    let mut memory = std::mem::take(&mut scratch.bf16);
    let terms = method.terms();
    isa.run(Entry { isa, args, terms, memory: &mut memory, scratch });
    scratch.bf16 = memory;
}

struct Entry<'a, 's> {
    isa: Isa,
    args: Args<'a>,
    terms: Terms,
    memory: &'s mut Memory,
    scratch: &'s mut Scratch,
}

impl Op for Entry<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Entry { isa, args, terms, memory, scratch } = self;
        match isa.bf16() {
            Some(Bf16::EmulatedTiles) => {
                let unit = tiles::Tiled(emulated::Emulated::new(s));
                s.call(blocks::Product { args, terms, unit, memory, scratch });
            }
            // Sets of narrower vectors are told apart so that none of these is compiled for them.
            #[cfg(target_arch = "x86_64")]
            Some(Bf16::Tiles) if S::LANES == 16 => {
                // SAFETY: `bf16` names tiles only where the system permits them; products do not nest.
                let unit = tiles::Tiled(unsafe { amx::Amx::new() });
                s.call(blocks::Product { args, terms, unit, memory, scratch });
            }
            #[cfg(target_arch = "x86_64")]
            Some(Bf16::Pairs) if S::LANES == 16 => {
                assert!(terms == Terms::One, "{} has no products of several terms", isa.name());
                // SAFETY: `bf16` names pairs only where the machine has them.
                let unit = unsafe { pairs::Pairs::new() };
                s.call(blocks::Product { args, terms, unit, memory, scratch });
            }
            _ => panic!("{} has no products of bf16", isa.name()),
        }
    }
}

/// Memory for a product, as [`Scratch::reserve_for`].
pub(super) fn reserve(isa: Isa, method: Method, memory: &mut Memory, m: usize, k: usize, n: usize) {
    if method == Method::F32 {
        return;
    }
    let terms = method.terms();
    for left in [terms, Terms::One] {
        match isa.bf16() {
            None => {}
            Some(Bf16::EmulatedTiles) => {
                memory.grow::<tiles::Tiled<emulated::Emulated<Portable>>>(left, terms, m, k, n);
            }
            #[cfg(target_arch = "x86_64")]
            Some(Bf16::Tiles) => memory.grow::<tiles::Tiled<amx::Amx>>(left, terms, m, k, n),
            #[cfg(target_arch = "x86_64")]
            Some(Bf16::Pairs) => memory.grow::<pairs::Pairs>(left, terms, m, k, n),
        }
    }
}
