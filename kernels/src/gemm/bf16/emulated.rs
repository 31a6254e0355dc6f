//! The tiles in plain arithmetic, to the bit: so that everything around them is tested on machines that have none.
//!
//! The arithmetic is that of the pseudo-code of TDPBF16PS (Intel SDM, volume 2; the Intrinsics Guide has the same):
//! for every element two f32 sums begin with 0, one of the products of the low bf16 of the words and one of the high
//! ones, by fused multiply-adds in the order of k; then the two are added, and their sum is added to C. Every
//! operation rounds to nearest even, takes subnormal inputs as zero and flushes subnormal results to zero, whatever
//! MXCSR says. The bits of a NaN are not modelled, only that it is one.

use super::pack::WORDS;
use super::tiles::{ROWS, Tiles};
use crate::isa::{Op, Simd};

type Tile = [[u32; WORDS]; ROWS];

/// Eight tiles, and the vectors that compute with them.
pub(super) struct Emulated<S>([Tile; 8], S);

impl<S: Simd> Emulated<S> {
    pub fn new(s: S) -> Self {
        Emulated([[[0; WORDS]; ROWS]; 8], s)
    }
}

/// A subnormal is a zero of the same sign.
#[inline(always)]
fn flush(x: f32) -> f32 {
    if x.abs() < f32::MIN_POSITIVE { 0.0f32.copysign(x) } else { x }
}

/// `c ← a·b + c`, lane by lane.
#[inline(always)]
fn multiply_add(a: f32, b: &[f32; WORDS], c: &mut [f32; WORDS]) {
    let mut smallest = false;
    let old = *c;
    for ((c, &b), &old) in c.iter_mut().zip(b).zip(&old) {
        let sum = a.mul_add(b, old);
        smallest |= sum.abs() == f32::MIN_POSITIVE;
        *c = flush(sum);
    }
    if smallest {
        for ((c, &b), &old) in c.iter_mut().zip(b).zip(&old) {
            *c = at_the_edge(a, b, old, *c);
        }
    }
}

/// Whether a result is subnormal is told after rounding as if exponents had no end, so one that f32's own coarser
/// spacing there would round up to 2⁻¹²⁶ may be flushed. Beside a result so small the exact sum either is an f32, or
/// has a product below 2⁻¹³³: f64 tells on which side of 2⁻¹²⁶ − 2⁻¹⁵¹, the middle, it lies.
#[cold]
fn at_the_edge(a: f32, b: f32, c: f32, sum: f32) -> f32 {
    if sum.abs() != f32::MIN_POSITIVE {
        return sum;
    }
    let exact = f64::from(a) * f64::from(b) + f64::from(c);
    let middle = f64::from(f32::MIN_POSITIVE) * (1.0 - 2f64.powi(-25));
    if exact.abs() < middle { 0.0f32.copysign(sum) } else { sum }
}

/// The low and the high bf16 of words, as f32.
#[inline(always)]
fn parts(words: &[u32; WORDS]) -> [[f32; WORDS]; 2] {
    let number = |bits: u32| flush(f32::from_bits(bits));
    [words.map(|word| number(word << 16)), words.map(|word| number(word & 0xffff_0000))]
}

impl<S: Simd> Tiles for Emulated<S> {
    #[inline(always)]
    fn zero<const T: usize>(&mut self) {
        self.0[T] = [[0; WORDS]; ROWS];
    }

    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u32, step: usize) {
        for (i, row) in self.0[T].iter_mut().enumerate() {
            // SAFETY: by the caller's promise.
            *row = unsafe { from.add(i * step).cast::<[u32; WORDS]>().read_unaligned() };
        }
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(&self, to: *mut u32, step: usize) {
        for (i, row) in self.0[T].iter().enumerate() {
            // SAFETY: by the caller's promise.
            unsafe { to.add(i * step).cast::<[u32; WORDS]>().write_unaligned(*row) };
        }
    }

    #[inline(always)]
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        self.1.call(Dot { tiles: &mut self.0, c: C, a: A, b: B });
    }
}

/// C += A·B, one function for all tiles: in the program the emulation is to be small.
struct Dot<'a> {
    tiles: &'a mut [Tile; 8],
    c: usize,
    a: usize,
    b: usize,
}

impl Op for Dot<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let Dot { tiles, c, a, b } = self;
        let b = tiles[b].map(|row| parts(&row));
        let mut sums = [[[0.0f32; WORDS]; 2]; ROWS];
        for (sums, a) in sums.iter_mut().zip(&tiles[a]) {
            let [low, high] = parts(a);
            for ((low, high), [b_low, b_high]) in low.into_iter().zip(high).zip(&b) {
                multiply_add(low, b_low, &mut sums[0]);
                multiply_add(high, b_high, &mut sums[1]);
            }
        }
        for (row, [low, high]) in tiles[c].iter_mut().zip(&sums) {
            for ((c, &low), &high) in row.iter_mut().zip(low).zip(high) {
                let sum = flush(low + high);
                *c = flush(flush(f32::from_bits(*c)) + sum).to_bits();
            }
        }
    }
}
