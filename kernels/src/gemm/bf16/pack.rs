//! Operands as bf16 halves in the order in which the products read them.
//!
//! A word holds a pair of bf16 of two places along k. A *chunk* is 32 places and 16 words: word q pairs place q with
//! place q + 16, so that whole vectors become words without a shuffle; it is the same for A and B, and a sum does not
//! mind. A's rows are cut into *groups*: `[group][chunk][half][ROWS][16 words]`. B's columns are cut into *panels* of
//! 16: `[panel][chunk][half][16 words][16 columns]`. A group or a panel of one chunk and one half is thus an AMX tile
//! of 1 KiB, and a row of it a vector of AVX-512. Missing places are zero; missing rows of A and columns of B, which
//! reach no element of C, are anything.
//!
//! Numbers are multiplied by 2²³ first: then the last bit of any f32, 2⁻¹⁴⁹, is the smallest normal one, and no half
//! of anything, subnormals included, is flushed to zero by units that know no subnormals.

#![allow(clippy::needless_range_loop, reason = "lines and words are coordinates")]

use crate::isa::{Op, Simd};
use crate::matrix::Matrix;

/// Places of a chunk along k.
pub(super) const CHUNK: usize = 32;
/// Words of a chunk.
pub(super) const WORDS: usize = 16;
/// Columns of a panel.
pub(super) const PANEL: usize = 16;
/// 2²³
pub(super) const SCALE: f32 = 8_388_608.0;

/// How many bf16 stand for a number: one, or the nearest one and the nearest one to what is left.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Halves {
    One,
    Two,
}

impl Halves {
    #[inline(always)]
    pub fn count(self) -> usize {
        match self {
            Halves::One => 1,
            Halves::Two => 2,
        }
    }
}

/// The bf16 nearest to x, and what is left. T. J. Dekker's split (Numerische Mathematik 18, 1971): with
/// c = (2¹⁶ + 1)·x, c − (c − x) is x rounded to 24 − 16 bits, and the rest is exact; ties go either way. Infinities,
/// NaN and |x| ≥ 2¹¹¹ become NaN.
#[inline(always)]
fn halve<S: Simd>(s: S, x: S::F) -> (S::F, S::F) {
    let c = s.mul(x, s.splat(65_537.0));
    let half = s.sub(c, s.sub(c, x));
    (half, s.sub(x, half))
}

/// The words of two vectors whose lanes are 16 places apart, one for each half.
#[inline(always)]
fn words<S: Simd>(s: S, halves: Halves, first: S::F, second: S::F) -> [S::U; 2] {
    let pair = |low: S::F, high: S::F| s.or(s.shr::<16>(s.to_bits(low)), s.to_bits(high));
    let scale = s.splat(SCALE);
    let ((high0, rest0), (high1, rest1)) = (halve(s, s.mul(first, scale)), halve(s, s.mul(second, scale)));
    match halves {
        Halves::One => [pair(high0, high1); 2],
        Halves::Two => [pair(high0, high1), pair(halve(s, rest0).0, halve(s, rest1).0)],
    }
}

/// Packs lines of a matrix: rows of A, or columns of B seen as the rows of its transpose.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    /// lines × k.
    pub from: Matrix<'a>,
    pub halves: Halves,
    /// Lines that there is room for (at most 16).
    pub stored: usize,
    /// Whether a line's words of a chunk lie together (A), or a word of all lines (B).
    pub together: bool,
    /// `chunks · halves · stored · 16` words.
    pub to: *mut u32,
}

impl Op for Lines<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Lines { from, stored, together, .. } = self;
        debug_assert!(from.rows() <= stored && stored <= 16 && (together || stored == PANEL));
        let along = from.col_stride() == 1 || from.cols() <= 1;
        let across = from.row_stride() == 1 || from.rows() <= 1;
        // SAFETY: the matrix is readable and the words writable, as the creator promises; the size of the square
        // buffers follows from `LANES`.
        unsafe {
            if along && together {
                self.straight::<S, true>(s);
            } else if across && !together && !along {
                self.straight::<S, false>(s);
            } else {
                self.turned(s, along, across);
            }
        }
    }
}

impl Lines<'_> {
    /// Element (line, p) of the source.
    #[inline(always)]
    fn at(&self, line: usize, p: usize) -> *const f32 {
        self.from.as_ptr().wrapping_add(line * self.from.row_stride() + p * self.from.col_stride())
    }

    /// Whole vectors become whole vectors of words: along lines where a line's words lie together (`ALONG`), across
    /// them where a word's lines do.
    ///
    /// # Safety
    /// The source is readable and `to` writable.
    #[inline(always)]
    unsafe fn straight<S: Simd, const ALONG: bool>(&self, s: S) {
        let (lines, k) = (self.from.rows(), self.from.cols());
        let (block, count) = (self.stored * WORDS, self.halves.count());
        // `outer` vectors of words to a chunk: lines where they lie along, else words.
        let outer = if ALONG { lines } else { WORDS };
        for chunk in 0..k.div_ceil(CHUNK) {
            let p0 = chunk * CHUNK;
            let to = self.to.wrapping_add(chunk * count * block);
            let left = k - p0;
            for o in 0..outer {
                for v in (0..16).step_by(S::LANES) {
                    // How many lanes are there of the first and of the second places.
                    let (first, second) = if ALONG {
                        (left.saturating_sub(v), left.saturating_sub(v + WORDS))
                    } else {
                        let there = lines.saturating_sub(v);
                        (there * usize::from(o < left), there * usize::from(o + WORDS < left))
                    };
                    let (i, p) = if ALONG { (o, p0 + v) } else { (v, p0 + o) };
                    if !ALONG {
                        // Rows lie far apart: the same ones of the next chunk.
                        s.prefetch(self.at(i, p + CHUNK));
                        s.prefetch(self.at(i, p + CHUNK + WORDS));
                    }
                    // SAFETY: as many elements are read as the matrix has there; 16 words of each of `outer` rows of
                    // the chunk are written.
                    unsafe {
                        let x = load(s, self.at(i, p), first);
                        let y = load(s, self.at(i, p + WORDS), second);
                        let words = words(s, self.halves, x, y);
                        for (half, &word) in words.iter().enumerate().take(count) {
                            s.store_ptr(to.add(half * block + o * WORDS + v).cast(), s.from_bits(word));
                        }
                    }
                }
            }
        }
    }

    /// The other order: each chunk is made in the order of the source and turned round.
    ///
    /// # Safety
    /// As for `straight`.
    #[inline(always)]
    unsafe fn turned<S: Simd>(&self, s: S, along: bool, across: bool) {
        match S::LANES {
            // SAFETY: by the caller's promise.
            16 => unsafe { self.turned_by::<S, 16>(s, along, across) },
            // SAFETY: as above.
            _ => unsafe { self.turned_by::<S, 8>(s, along, across) },
        }
    }

    /// # Safety
    /// As for `straight`; `L` is `LANES`.
    #[inline(always)]
    unsafe fn turned_by<S: Simd, const L: usize>(&self, s: S, along: bool, across: bool) {
        let (lines, k) = (self.from.rows(), self.from.cols());
        let (block, count) = (self.stored * WORDS, self.halves.count());
        for chunk in 0..k.div_ceil(CHUNK) {
            let p0 = chunk * CHUNK;
            let left = k - p0;
            let to = self.to.wrapping_add(chunk * count * block);
            // Squares of L × L words: `o` counts what the source has in vectors' order, `v` the lanes.
            for o in (0..16).step_by(L) {
                for v in (0..16).step_by(L) {
                    let mut squares = [[s.splat(0.0); L]; 2];
                    for r in 0..L {
                        let (i, q) = if along { (o + r, v) } else { (v, o + r) };
                        // SAFETY: as in `straight`; single elements where no direction is contiguous.
                        let (x, y) = unsafe {
                            if along || across {
                                let there = |p: usize| {
                                    if along {
                                        usize::from(i < lines) * left.saturating_sub(p)
                                    } else {
                                        usize::from(p < left) * lines.saturating_sub(i)
                                    }
                                };
                                let second = load(s, self.at(i, p0 + q + WORDS), there(q + WORDS));
                                (load(s, self.at(i, p0 + q), there(q)), second)
                            } else {
                                (self.gather(s, i, p0 + q), self.gather(s, i, p0 + q + WORDS))
                            }
                        };
                        let words = words(s, self.halves, x, y);
                        squares[0][r] = s.from_bits(words[0]);
                        squares[1][r] = s.from_bits(words[1]);
                    }
                    for (half, square) in squares.iter_mut().enumerate().take(count) {
                        // Words lie across lines in the source's order; turned they lie as they are wanted.
                        if along != self.together {
                            transpose(s, square);
                        }
                        let (row, col) = if along == self.together { (o, v) } else { (v, o) };
                        for (r, &x) in square.iter().enumerate() {
                            if row + r < if self.together { lines } else { WORDS } {
                                // SAFETY: 16 words of a row of the chunk that is stored.
                                unsafe {
                                    let at = to.add(half * block + (row + r) * WORDS + col);
                                    s.store_ptr(at.cast(), x);
                                }
                            }
                        }
                    }
                }
            }
        }
    }

    /// `LANES` lines of place `p`, from line `i`, one by one.
    ///
    /// # Safety
    /// The source is readable.
    #[inline(always)]
    unsafe fn gather<S: Simd>(&self, s: S, i: usize, p: usize) -> S::F {
        let mut lanes = [0.0f32; 16];
        for (lane, x) in lanes[..S::LANES].iter_mut().enumerate() {
            if p < self.from.cols() && i + lane < self.from.rows() {
                // SAFETY: an element of the matrix.
                *x = unsafe { *self.at(i + lane, p) };
            }
        }
        s.load(&lanes[..S::LANES])
    }
}

/// The first `n` lanes at `p`, or all where there are more; nothing is touched where `n` is 0.
///
/// # Safety
/// As many elements are readable.
#[inline(always)]
unsafe fn load<S: Simd>(s: S, p: *const f32, n: usize) -> S::F {
    if n >= S::LANES {
        // SAFETY: by the caller's promise.
        unsafe { s.load_ptr(p) }
    } else if n == 0 {
        s.splat(0.0)
    } else {
        // SAFETY: as above.
        unsafe { s.load_first(p, n) }
    }
}

/// Turns a square of `L = LANES` vectors, by log₂ L rounds that interleave the first half of them with the second.
#[inline(always)]
fn transpose<S: Simd, const L: usize>(s: S, x: &mut [S::F; L]) {
    let mut distance = L / 2;
    while distance > 0 {
        let half = *x;
        for c in 0..L / 2 {
            (x[2 * c], x[2 * c + 1]) = s.interleave(half[c], half[c + L / 2]);
        }
        distance /= 2;
    }
}
