//! Blocks of C on tiles: the order of loads and products that AMX and its emulation share.
//!
//! A block is 32 × 32 of C on four tiles of sums, with two tiles of A and two of B. For every chunk of k these are
//! multiplied for one pair of terms after another ([`order`]).

use super::pack::{PANEL, Terms, WORDS};
use super::ring::{PARTS, Ring};
use super::{Block, Unit};
use crate::isa::{Op, Simd};

/// Rows of a tile.
pub(super) const ROWS: usize = 16;

/// The instructions. Tiles have 16 rows of 64 bytes and numbers from 0 to 7.
pub(super) trait Tiles {
    /// All zeros.
    fn zero<const T: usize>(&mut self);
    /// 16 rows of 16 words that lie `step` words apart.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn load<const T: usize>(&mut self, from: *const u32, step: usize);
    /// As `load`, the other way.
    ///
    /// # Safety
    /// The rows are writable.
    unsafe fn store<const T: usize>(&self, to: *mut u32, step: usize);
    /// TDPBF16PS: `C[i, j] += Σ A[i, q].low · B[q, j].low + Σ A[i, q].high · B[q, j].high`.
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self);
}

/// Tiles as a unit of products.
pub(super) struct Tiled<T>(pub T);

impl<T: Tiles> Unit for Tiled<T> {
    const ROWS: usize = ROWS;
    const GROUPS: usize = 2;
    /// Half of L2.
    const LEFT: usize = 1 << 18;
    /// Far more than L1 holds: L2 delivers tiles as fast as they are multiplied, where sums that are put aside and
    /// taken up again cost a fifth.
    const CHUNKS: usize = 128;

    const BESIDE: bool = true;

    #[inline(always)]
    unsafe fn block<S: Simd>(&mut self, s: S, block: &Block, ring: Option<&mut Ring>) {
        match ring {
            None => self.sum(s, block, Ready { at: block.b, chunk: block.terms.count() * ROWS * WORDS }),
            Some(ring) => self.sum(s, block, ring),
        }
    }
}

impl<T: Tiles> Tiled<T> {
    #[inline(always)]
    fn sum<S: Simd, B: Supply>(&mut self, s: S, block: &Block, b: B) {
        match (block.left, block.terms) {
            (_, Terms::One) => self.terms::<S, B, 1, 1>(s, block, b),
            (Terms::One, Terms::Two) => self.terms::<S, B, 1, 2>(s, block, b),
            (Terms::One, Terms::Three) => self.terms::<S, B, 1, 3>(s, block, b),
            (_, Terms::Two) => self.terms::<S, B, 2, 2>(s, block, b),
            (_, Terms::Three) => self.terms::<S, B, 3, 3>(s, block, b),
        }
    }

    #[inline(always)]
    fn terms<S: Simd, B: Supply, const LEFT: usize, const TERMS: usize>(&mut self, s: S, block: &Block, b: B) {
        let tiles = &mut self.0;
        match (block.groups, block.panels) {
            (1, 1) => s.call(Sum::<_, _, 1, 1, LEFT, TERMS> { tiles, block, b }),
            (1, _) => s.call(Sum::<_, _, 1, 2, LEFT, TERMS> { tiles, block, b }),
            (_, 1) => s.call(Sum::<_, _, 2, 1, LEFT, TERMS> { tiles, block, b }),
            (_, _) => s.call(Sum::<_, _, 2, 2, LEFT, TERMS> { tiles, block, b }),
        }
    }
}

/// Tiles of sums of a block.
#[cfg(any(test, target_arch = "x86_64"))]
pub(super) const SUMS: usize = 4;

/// [`SUMS`] products of tiles that are loaded once with `word`, so many times; returns the first tile of sums.
#[cfg(any(test, target_arch = "x86_64"))]
#[inline(always)]
pub(super) fn on_tiles<T: Tiles>(tiles: &mut T, word: u32, steps: usize) -> [u32; ROWS * WORDS] {
    let mut tile = [word; ROWS * WORDS];
    // SAFETY: the memory is 16 rows of 16 words, and both tiles of an operand are loaded from it.
    unsafe {
        tiles.zero::<0>();
        tiles.zero::<1>();
        tiles.zero::<2>();
        tiles.zero::<3>();
        load_a::<T, 2>(tiles, tile.as_ptr(), 0);
        load_b::<T, 2>(tiles, tile.as_ptr(), 0);
        for _ in 0..steps {
            dots::<T, 2, 2>(tiles);
        }
        tiles.store::<0>(tile.as_mut_ptr(), WORDS);
    }
    tile
}

/// Where the chunks of B's panels come from.
trait Supply {
    /// Where the next one lies.
    fn step<S: Simd>(&mut self) -> *const u32;
    /// Does a part of what there is to do beside the products of a chunk; all of [`PARTS`] come in turn after `step`.
    fn part<S: Simd, const TERMS: usize>(&mut self, s: S, part: usize);
}

/// Packed before.
struct Ready {
    at: *const u32,
    /// Words of a chunk.
    chunk: usize,
}

impl Supply for Ready {
    #[inline(always)]
    fn step<S: Simd>(&mut self) -> *const u32 {
        let at = self.at;
        self.at = at.wrapping_add(self.chunk);
        at
    }

    #[inline(always)]
    fn part<S: Simd, const TERMS: usize>(&mut self, _: S, _: usize) {}
}

impl Supply for &mut Ring<'_> {
    #[inline(always)]
    fn step<S: Simd>(&mut self) -> *const u32 {
        Ring::step::<S>(self)
    }

    #[inline(always)]
    fn part<S: Simd, const TERMS: usize>(&mut self, s: S, part: usize) {
        Ring::part::<S, TERMS>(self, s, part);
    }
}

/// G × P tiles of sums, of so many terms of A and of B.
struct Sum<'a, T, B, const G: usize, const P: usize, const LEFT: usize, const TERMS: usize> {
    tiles: &'a mut T,
    block: &'a Block,
    b: B,
}

impl<T: Tiles, B: Supply, const G: usize, const P: usize, const LEFT: usize, const TERMS: usize> Op
    for Sum<'_, T, B, G, P, LEFT, TERMS>
{
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Sum { tiles: t, block, b: mut supply } = self;
        let step = block.step;
        let corner = |g: usize, p: usize| block.sums.wrapping_add(g * ROWS * step + p * PANEL).cast::<u32>();
        let tile = ROWS * WORDS;
        // SAFETY: the caller of `block` promises the memory of operands and sums.
        unsafe {
            start::<T, 0>(t, block.add, corner(0, 0), step);
            if P == 2 {
                start::<T, 1>(t, block.add, corner(0, 1), step);
            }
            if G == 2 {
                start::<T, 2>(t, block.add, corner(1, 0), step);
            }
            if G == 2 && P == 2 {
                start::<T, 3>(t, block.add, corner(1, 1), step);
            }
            for chunk in 0..block.chunks {
                let (a, b) = (block.a.add(chunk * LEFT * tile), supply.step::<S>());
                let mut at = Chunk { tiles: t, block, a, b, supply: &mut supply };
                // Written out, as a loop is not always unrolled.
                at.product::<S, G, P, LEFT, TERMS, 0>(s);
                at.product::<S, G, P, LEFT, TERMS, 1>(s);
                at.product::<S, G, P, LEFT, TERMS, 2>(s);
                at.product::<S, G, P, LEFT, TERMS, 3>(s);
                at.product::<S, G, P, LEFT, TERMS, 4>(s);
                at.product::<S, G, P, LEFT, TERMS, 5>(s);
            }
            t.store::<0>(corner(0, 0), step);
            if P == 2 {
                t.store::<1>(corner(0, 1), step);
            }
            if G == 2 {
                t.store::<2>(corner(1, 0), step);
            }
            if G == 2 && P == 2 {
                t.store::<3>(corner(1, 1), step);
            }
        }
    }
}

/// The products of terms of A and of B, in an order in which each differs from the one before in one of both alone, so
/// that few tiles are loaded twice. What they leave out is of the order of the rounding that so many terms allow.
#[inline(always)]
pub(super) const fn order(left: usize, terms: usize) -> &'static [(usize, usize)] {
    match (left, terms) {
        (_, 1) => &[(0, 0)],
        // Of one term nothing is left out.
        (1, 2) => &[(0, 1), (0, 0)],
        (1, _) => &[(0, 2), (0, 1), (0, 0)],
        (_, 2) => &[(0, 1), (0, 0), (1, 0)],
        _ => &[(0, 2), (0, 1), (1, 1), (1, 0), (0, 0), (2, 0)],
    }
}

/// A chunk in work.
struct Chunk<'a, T, B> {
    tiles: &'a mut T,
    block: &'a Block,
    /// Its first group and panel.
    a: *const u32,
    b: *const u32,
    supply: &'a mut B,
}

impl<T: Tiles, B: Supply> Chunk<'_, T, B> {
    /// Product `I` of the order, if there is one, and the parts of the supply's work that follow it.
    ///
    /// # Safety
    /// As [`Unit::block`].
    #[inline(always)]
    unsafe fn product<
        S: Simd,
        const G: usize,
        const P: usize,
        const LEFT: usize,
        const TERMS: usize,
        const I: usize,
    >(
        &mut self,
        s: S,
    ) {
        let (order, tile) = (order(LEFT, TERMS), ROWS * WORDS);
        if I >= order.len() {
            return;
        }
        let (left, right) = order[I];
        let (same_left, same_right) =
            if I == 0 { (false, false) } else { (order[I - 1].0 == left, order[I - 1].1 == right) };
        // SAFETY: by the caller's promise.
        unsafe {
            if !same_left {
                load_a::<T, G>(self.tiles, self.a.add(left * tile), self.block.a_next);
            }
            if !same_right {
                load_b::<T, P>(self.tiles, self.b.add(right * tile), self.block.b_next);
            }
        }
        dots::<T, G, P>(self.tiles);
        for part in I * PARTS / order.len()..(I + 1) * PARTS / order.len() {
            self.supply.part::<S, TERMS>(s, part);
        }
    }
}

/// # Safety
/// As [`Tiles::load`].
#[inline(always)]
unsafe fn start<T: Tiles, const TILE: usize>(t: &mut T, add: bool, sums: *const u32, step: usize) {
    if add {
        // SAFETY: by the caller's promise.
        unsafe { t.load::<TILE>(sums, step) }
    } else {
        t.zero::<TILE>();
    }
}

/// # Safety
/// As [`Tiles::load`], for G tiles.
#[inline(always)]
unsafe fn load_a<T: Tiles, const G: usize>(t: &mut T, a: *const u32, next: usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        t.load::<4>(a, WORDS);
        if G == 2 {
            t.load::<5>(a.add(next), WORDS);
        }
    }
}

/// # Safety
/// As [`Tiles::load`], for P tiles.
#[inline(always)]
unsafe fn load_b<T: Tiles, const P: usize>(t: &mut T, b: *const u32, next: usize) {
    // SAFETY: by the caller's promise.
    unsafe {
        t.load::<6>(b, WORDS);
        if P == 2 {
            t.load::<7>(b.add(next), WORDS);
        }
    }
}

#[inline(always)]
fn dots<T: Tiles, const G: usize, const P: usize>(t: &mut T) {
    t.dot::<0, 4, 6>();
    if P == 2 {
        t.dot::<1, 4, 7>();
    }
    if G == 2 {
        t.dot::<2, 5, 6>();
    }
    if G == 2 && P == 2 {
        t.dot::<3, 5, 7>();
    }
}
