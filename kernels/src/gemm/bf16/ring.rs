//! B packed while it is multiplied, where all of A is one block of groups, so that every packed number is used once.
//!
//! A *slab* is a chunk of a pair of panels, `[panel][term][16 words][16 columns]`, 2 KiB a term; a few of them stay in
//! L1. Tiles are multiplied beside the vectors (on an Intel Xeon 12 products of tiles take 192 cycles), but only beside
//! what the processor sees ahead, some 500 instructions. So a slab is packed in [`PARTS`] parts, each between a few
//! products.

use super::blocks::COLS;
use super::pack::{CHUNK, Lines, PANEL, Source, Terms, Vectors, WORDS};
use crate::gemm::Right;
use crate::isa::Simd;
use std::ops::Range;

/// Slabs that there is room for.
const ROOM: usize = 4;
/// Slabs that are packed ahead of the one in use: what was just written is not there for tiles at once.
const LEAD: usize = 2;
/// Parts in which a slab is packed.
pub(super) const PARTS: usize = 3;

/// Words of a slab.
#[inline(always)]
pub(super) fn slab_words(terms: Terms) -> usize {
    COLS * terms.count() * WORDS
}

/// Words of the ring.
#[inline(always)]
pub(super) fn words(terms: Terms) -> usize {
    ROOM * slab_words(terms)
}

/// A slab to be packed.
enum Slab<'a> {
    Whole([Vectors; 2]),
    Edge(Lines<'a>),
}

/// See the module. Slabs are numbered along k, pair after pair.
pub(super) struct Ring<'a> {
    b: Right<'a>,
    cols: Range<usize>,
    k: usize,
    terms: Terms,
    to: *mut u32,
    /// Slabs in use or used, and the one that is being packed, if any.
    used: usize,
    slab: Option<Slab<'a>>,
    /// The next one: its number, its first column and its first place.
    packed: usize,
    col: usize,
    place: usize,
}

impl<'a> Ring<'a> {
    /// The slabs of those columns of B; there is room for [`words`] at `to`. `None` where packing turns B
    /// round, which takes too long beside products, or where k is short.
    #[inline(always)]
    pub fn new<S: Simd>(s: S, b: Right<'a>, cols: Range<usize>, terms: Terms, to: *mut u32) -> Option<Self> {
        let (k, col) = (b.rows(), cols.start);
        let across = match b {
            Right::Strided(b) => b.col_stride() == 1,
            Right::Packed(_) => true,
            Right::Transposed(_) => false,
        };
        if !across || k <= ROOM * CHUNK {
            return None;
        }
        let mut ring = Ring { b, cols, k, terms, to, used: 0, slab: None, packed: 0, col, place: 0 };
        for _ in 0..LEAD {
            ring.begin::<S>();
            match terms {
                Terms::One => ring.pack::<S, 1>(s, 0..WORDS),
                Terms::Two => ring.pack::<S, 2>(s, 0..WORDS),
                Terms::Three => ring.pack::<S, 3>(s, 0..WORDS),
            }
        }
        Some(ring)
    }

    /// Turns to the next slab, and to packing one of those behind it.
    #[inline(always)]
    pub fn step<S: Simd>(&mut self) -> *const u32 {
        self.begin::<S>();
        self.used += 1;
        self.at(self.used - 1)
    }

    /// Packs a part, of as many terms as the ring has; all come in turn after [`Ring::step`].
    #[inline(always)]
    pub fn part<S: Simd, const TERMS: usize>(&mut self, s: S, part: usize) {
        self.pack::<S, TERMS>(s, part * WORDS / PARTS..(part + 1) * WORDS / PARTS);
    }

    #[inline(always)]
    fn pack<S: Simd, const TERMS: usize>(&mut self, s: S, words: Range<usize>) {
        debug_assert_eq!(TERMS, self.terms.count());
        match &self.slab {
            Some(Slab::Whole(panels)) => {
                for panel in panels {
                    // SAFETY: B is readable, and the ring has room for the slab.
                    unsafe { panel.pack::<S, TERMS>(s, words.clone()) };
                }
            }
            Some(Slab::Edge(slab)) if words.start == 0 => s.call(*slab),
            _ => {}
        }
    }

    #[inline(always)]
    fn at(&self, slab: usize) -> *mut u32 {
        self.to.wrapping_add(slab % ROOM * slab_words(self.terms))
    }

    #[inline(always)]
    fn begin<S: Simd>(&mut self) {
        if self.col >= self.cols.end {
            self.slab = None;
            return;
        }
        let places = self.place..self.k.min(self.place + CHUNK);
        let cols = self.col..self.cols.end.min(self.col + COLS);
        let from = Source::of(self.b, places, cols);
        let (next, to) = (slab_words(self.terms) / 2, self.at(self.packed));
        let lines = Lines { from, terms: self.terms, stored: PANEL, next, together: false, to };
        self.slab = Some(match lines.vectors::<S>() {
            Some(slab) => Slab::Whole(slab),
            None => Slab::Edge(lines),
        });
        self.packed += 1;
        self.place += CHUNK;
        if self.place >= self.k {
            (self.place, self.col) = (0, self.col + COLS);
        }
    }
}
