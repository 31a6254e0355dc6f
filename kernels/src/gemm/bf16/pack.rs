//! Operands as bf16 terms in the order in which the products read them.
//!
//! A word holds a pair of bf16 of two places along k. A *chunk* is 32 places and 16 words: word q pairs place q with
//! place q + 16, so that whole vectors become words without a shuffle; it is the same for A and B, and a sum does not
//! mind. A's rows are cut into *groups*: `[group][chunk][term][ROWS][16 words]`. B's columns are cut into *panels* of
//! 16: `[panel][chunk][term][16 words][16 columns]`. A group or a panel of one chunk and one term is thus an AMX tile
//! of 1 KiB, and a row of it a vector of AVX-512. Missing places are zero; missing rows of A and columns of B, which
//! reach no element of C, are anything.
//!
//! Numbers are multiplied by 2²³ first: then the last bit of any f32, 2⁻¹⁴⁹, is the smallest normal one, and no term
//! of anything, subnormals included, is flushed to zero by units that know no subnormals. Bytes are whole numbers and
//! not multiplied.

#![allow(clippy::needless_range_loop, reason = "lines and words are coordinates")]

use crate::gemm::{Packed, Right};
use crate::isa::{Op, Simd};
use crate::matrix::Matrix;
use std::ops::Range;

/// Places of a chunk along k.
pub(super) const CHUNK: usize = 32;
/// Words of a chunk.
pub(super) const WORDS: usize = 16;
/// Columns of a panel.
pub(super) const PANEL: usize = 16;
/// Places along k that are asked for before they are packed.
const AHEAD: usize = 4 * CHUNK;
/// 2²³
pub(super) const SCALE: f32 = 8_388_608.0;

/// How many bf16 stand for a number: the nearest one, the nearest one to what is left, and the rest, which with the 24
/// bits of f32 is one more exactly.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Terms {
    One,
    Two,
    Three,
}

impl Terms {
    #[inline(always)]
    pub fn count(self) -> usize {
        match self {
            Terms::One => 1,
            Terms::Two => 2,
            Terms::Three => 3,
        }
    }
}

/// The bf16 nearest to `scale·x`, `scale` a power of two, or the one below where x is within 2⁻¹⁶ of its next power of
/// two. With c = (2¹⁶ + 1)·x rounded, c − 2¹⁶·x is x to the last place of c, which is 2¹⁶ times that of x or more, and
/// so a number of 24 − 16 bits that the second operation hits exactly (after T. J. Dekker's split, Numerische
/// Mathematik 18, 1971, which without fused operations takes three); ties go either way. Infinities, NaN and |scale·x|
/// ≥ 2¹¹² become infinite or NaN.
#[inline(always)]
fn nearest<S: Simd>(s: S, x: S::F, scale: f32) -> S::F {
    let c = s.mul(x, s.splat(65_537.0 * scale));
    s.mul_add(x, s.splat(-65_536.0 * scale), c)
}

/// The words of two vectors of numbers whose lanes are 16 places apart, one for each term.
#[inline(always)]
fn words<S: Simd, const TERMS: usize>(s: S, first: S::F, second: S::F) -> [S::U; TERMS] {
    let ([mut x, mut y], mut scale) = ([first, second], SCALE);
    let mut words = [s.to_bits(first); TERMS];
    for (t, word) in words.iter_mut().enumerate() {
        let (low, high) = (nearest(s, x, scale), nearest(s, y, scale));
        *word = s.or(s.shr::<16>(s.to_bits(low)), s.to_bits(high));
        // What is left, which a subtraction or one rounding of both operations leaves exact.
        if t == 0 {
            let scale = s.splat(scale);
            (x, y) = (s.mul_add(x, scale, s.neg(low)), s.mul_add(y, scale, s.neg(high)));
        } else {
            (x, y) = (s.sub(x, low), s.sub(y, high));
        }
        scale = 1.0;
    }
    words
}

/// Rows of A, or columns of B.
#[derive(Clone, Copy)]
pub(super) enum Source<'a> {
    /// lines × k.
    Matrix(Matrix<'a>),
    /// The rows of a packed matrix.
    Rows(Packed<'a>),
    /// The columns of a packed matrix.
    Cols(Packed<'a>),
}

impl<'a> Source<'a> {
    /// Those places of those columns of B, which are whole panels of it where it is packed.
    #[inline(always)]
    pub fn of(b: Right<'a>, places: Range<usize>, cols: Range<usize>) -> Self {
        match b {
            Right::Strided(b) => Source::Matrix(b.block(places, cols).t()),
            Right::Packed(b) => Source::Cols(b.cols(cols).rows(places)),
            Right::Transposed(b) => Source::Rows(b.rows(cols).cols(places)),
        }
    }

    /// Lines and places.
    #[inline(always)]
    fn size(&self) -> (usize, usize) {
        match self {
            Source::Matrix(x) => (x.rows(), x.cols()),
            Source::Rows(x) => (x.k(), x.n()),
            Source::Cols(x) => (x.n(), x.k()),
        }
    }

    /// Whether 16 places of a line lie together, from a multiple of 16 on, and whether 16 lines of a place do.
    #[inline(always)]
    fn contiguous(&self) -> (bool, bool) {
        match self {
            Source::Matrix(x) => (x.col_stride() == 1 || x.cols() <= 1, x.row_stride() == 1 || x.rows() <= 1),
            Source::Rows(_) => (true, false),
            Source::Cols(_) => (false, true),
        }
    }

    /// Where an element lies, and how far from line to line and from place to place there.
    #[inline(always)]
    fn at(&self, line: usize, p: usize) -> (*const f32, usize, usize) {
        match self {
            Source::Matrix(x) => {
                let (lines, places) = (x.row_stride(), x.col_stride());
                (x.as_ptr().wrapping_add(line * lines + p * places), lines, places)
            }
            Source::Rows(x) => {
                let (at, step) = x.at(line, p);
                (at, step, 1)
            }
            Source::Cols(x) => {
                let (at, step) = x.at(p, line);
                (at, 1, step)
            }
        }
    }
}

/// Packs lines.
#[derive(Clone, Copy)]
pub(super) struct Lines<'a> {
    pub from: Source<'a>,
    pub terms: Terms,
    /// Lines of a group or panel that there is room for, at most 16; more lines go to the next one.
    pub stored: usize,
    /// Words from a group or panel to the next.
    pub next: usize,
    /// Whether a line's words of a chunk lie together (A), or a word of all lines (B).
    pub together: bool,
    /// `chunks · terms · stored · 16` words.
    pub to: *mut u32,
}

impl Op for Lines<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match self.terms {
            Terms::One => self.pack::<S, 1>(s),
            Terms::Two => self.pack::<S, 2>(s),
            Terms::Three => self.pack::<S, 3>(s),
        }
    }
}

impl<'a> Lines<'a> {
    #[inline(always)]
    fn pack<S: Simd, const TERMS: usize>(self, s: S) {
        let Lines { from, stored, together, .. } = self;
        let (lines, k) = from.size();
        debug_assert!(stored <= 16 && (together || stored == PANEL));
        let (along, across) = from.contiguous();
        for p in (0..k).step_by(CHUNK) {
            for first in (0..lines).step_by(stored) {
                let chunk = self.chunk(first, p);
                // SAFETY: the source is readable and the words writable, as the creator promises; the size of the
                // square buffers follows from `LANES`.
                unsafe {
                    match S::LANES {
                        _ if along && together => chunk.straight::<S, TERMS, true>(s),
                        _ if across && !together && !along => chunk.straight::<S, TERMS, false>(s),
                        16 => chunk.turned::<S, TERMS, 16>(s, along, across),
                        _ => chunk.turned::<S, TERMS, 8>(s, along, across),
                    }
                }
            }
        }
    }

    /// The chunk of those places of a group or panel.
    #[inline(always)]
    fn chunk(&self, first: usize, p: usize) -> Chunk<'a> {
        let &Lines { from, stored, together, .. } = self;
        let (lines, k) = from.size();
        let words = p / CHUNK * self.terms.count() * stored * WORDS;
        let to = self.to.wrapping_add(first / stored * self.next + words);
        Chunk { from, first, lines: stored.min(lines - first), p, left: k - p, stored, together, to }
    }

    /// The vectors of these lines, where they are two panels of a chunk, packed as they lie and as wide as vectors.
    #[inline(always)]
    pub fn vectors<S: Simd>(&self) -> Option<[Vectors; 2]> {
        let (along, across) = self.from.contiguous();
        let as_they_lie = across && !along && !self.together;
        if self.from.size() != (2 * PANEL, CHUNK) || !as_they_lie || S::LANES != PANEL {
            return None;
        }
        Some([self.chunk(0, 0).vectors::<false>(0), self.chunk(PANEL, 0).vectors::<false>(0)])
    }
}

/// Vectors of numbers that become vectors of words.
#[derive(Clone, Copy)]
pub(super) struct Vectors {
    /// The first numbers of each pair, and the second.
    pairs: [*const f32; 2],
    /// From vector to vector.
    step: usize,
    /// From what is packed to what is asked for.
    ahead: usize,
    /// Vectors of words, 16 words apart.
    to: *mut u32,
    /// From term to term.
    next: usize,
}

impl Vectors {
    /// Packs those of them.
    ///
    /// # Safety
    /// Numbers are readable and words writable.
    #[inline(always)]
    pub unsafe fn pack<S: Simd, const TERMS: usize>(&self, s: S, range: Range<usize>) {
        let ([x, y], mut to) = (self.pairs, self.to.wrapping_add(range.start * WORDS));
        let skip = range.start * self.step;
        let (mut x, mut y) = (x.wrapping_add(skip), y.wrapping_add(skip));
        for _ in range {
            s.prefetch(x.wrapping_add(self.ahead));
            s.prefetch(y.wrapping_add(self.ahead));
            // SAFETY: by the caller's promise.
            unsafe { put::<S, TERMS>(s, s.load_ptr(x), s.load_ptr(y), to, self.next) };
            (x, y, to) = (x.wrapping_add(self.step), y.wrapping_add(self.step), to.wrapping_add(WORDS));
        }
    }
}

/// Packs rows of bytes, each of which is one term as it is, unscaled: 8 bits are those of bf16.
#[derive(Clone, Copy)]
pub(super) struct Bytes<'a> {
    /// All of A, so that vectors may reach beyond these lines into others of it.
    pub from: Matrix<'a, u8>,
    /// Lines of a group, at most 16.
    pub lines: usize,
    pub first: usize,
    /// Lines that there is room for.
    pub stored: usize,
    /// `chunks · stored · 16` words.
    pub to: *mut u32,
}

impl Op for Bytes<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        match S::LANES {
            16 => self.pack::<S, 16>(s),
            _ => self.pack::<S, 8>(s),
        }
    }
}

impl Bytes<'_> {
    #[inline(always)]
    fn pack<S: Simd, const L: usize>(&self, s: S) {
        let Bytes { from, lines, first, stored, .. } = *self;
        let (k, line, place) = (from.cols(), from.row_stride(), from.col_stride());
        for p in (0..k).step_by(CHUNK) {
            let to = self.to.wrapping_add(p / CHUNK * stored * WORDS);
            let at = from.as_ptr().wrapping_add(first * line + p * place);
            let whole = p + CHUNK <= k;
            // SAFETY: bytes of the matrix, and words of a chunk that is stored.
            unsafe {
                if whole && place == 1 {
                    self.along(s, at, line, to);
                } else if whole && line == 1 && first + PANEL <= from.rows() {
                    self.across::<S, L>(s, at, place, to);
                } else {
                    let mut bytes = [[0u8; CHUNK]; PANEL];
                    for (i, bytes) in bytes[..lines].iter_mut().enumerate() {
                        for (q, byte) in bytes[..CHUNK.min(k - p)].iter_mut().enumerate() {
                            *byte = *at.add(i * line + q * place);
                        }
                    }
                    self.along(s, bytes.as_ptr().cast(), CHUNK, to);
                }
            }
        }
    }

    /// A chunk of lines that lie `step` bytes apart.
    ///
    /// # Safety
    /// They are readable, and as many lines of words writable.
    #[inline(always)]
    unsafe fn along<S: Simd>(&self, s: S, mut at: *const u8, step: usize, to: *mut u32) {
        for i in 0..self.lines {
            for v in (0..WORDS).step_by(S::LANES) {
                // SAFETY: by the caller's promise.
                unsafe {
                    let word = pair(s, s.load_bytes(at.add(v)), s.load_bytes(at.add(v + WORDS)));
                    s.store_ptr(to.add(i * WORDS + v).cast(), word);
                }
            }
            at = at.wrapping_add(step);
        }
    }

    /// A chunk whose places lie `step` bytes apart, and 16 lines of each together.
    ///
    /// # Safety
    /// As for `along`.
    #[inline(always)]
    unsafe fn across<S: Simd, const L: usize>(&self, s: S, at: *const u8, step: usize, to: *mut u32) {
        for q in (0..WORDS).step_by(L) {
            for v in (0..PANEL).step_by(L) {
                let (mut x, mut square) = (at.wrapping_add(q * step + v), [s.splat(0.0); L]);
                for word in &mut square {
                    // SAFETY: by the caller's promise.
                    *word = unsafe { pair(s, s.load_bytes(x), s.load_bytes(x.add(WORDS * step))) };
                    x = x.wrapping_add(step);
                }
                transpose(s, &mut square);
                for (i, &words) in square.iter().enumerate().take(self.lines.saturating_sub(v)) {
                    // SAFETY: by the caller's promise.
                    unsafe { s.store_ptr(to.add((v + i) * WORDS + q).cast(), words) };
                }
            }
        }
    }
}

/// The words of numbers that are bf16.
#[inline(always)]
fn pair<S: Simd>(s: S, first: S::F, second: S::F) -> S::F {
    s.from_bits(s.or(s.shr::<16>(s.to_bits(first)), s.to_bits(second)))
}

/// Stores the words of two vectors.
///
/// # Safety
/// There is room at `to` and, for each further term, `next` words further on.
#[inline(always)]
unsafe fn put<S: Simd, const TERMS: usize>(s: S, first: S::F, second: S::F, to: *mut u32, next: usize) {
    for (t, word) in words::<S, TERMS>(s, first, second).into_iter().enumerate() {
        // SAFETY: by the caller's promise.
        unsafe { s.store_ptr(to.add(t * next).cast(), s.from_bits(word)) };
    }
}

/// A chunk of a group or a panel.
struct Chunk<'a> {
    from: Source<'a>,
    /// The first line, and how many.
    first: usize,
    lines: usize,
    /// The first place, and how many there are from it on.
    p: usize,
    left: usize,
    stored: usize,
    together: bool,
    to: *mut u32,
}

impl Chunk<'_> {
    /// Where an element lies.
    #[inline(always)]
    fn at(&self, line: usize, p: usize) -> *const f32 {
        self.from.at(self.first + line, self.p + p).0
    }

    /// As `at`, with the distance to the next vector of the source: of the next line, or of the next place.
    #[inline(always)]
    fn vector(&self, line: usize, p: usize, along: bool) -> (*const f32, usize) {
        let (at, lines, places) = self.from.at(self.first + line, self.p + p);
        (at, if along { lines } else { places })
    }

    /// The vectors of words from word or line `v` on, of a chunk that is whole.
    #[inline(always)]
    fn vectors<const ALONG: bool>(&self, v: usize) -> Vectors {
        let (i, p) = if ALONG { (0, v) } else { (v, 0) };
        let ((x, step), (y, _)) = (self.vector(i, p, ALONG), self.vector(i, p + WORDS, ALONG));
        let ahead = if ALONG { AHEAD } else { AHEAD * step };
        Vectors { pairs: [x, y], step, ahead, to: self.to.wrapping_add(v), next: self.stored * WORDS }
    }

    /// Whole vectors become whole vectors of words: along lines where a line's words lie together (`ALONG`), across
    /// them where a word's lines do.
    ///
    /// # Safety
    /// The source is readable and `to` writable.
    #[inline(always)]
    unsafe fn straight<S: Simd, const TERMS: usize, const ALONG: bool>(&self, s: S) {
        let &Chunk { lines, left, .. } = self;
        // Vectors of words: lines where they lie along, else words.
        let count = if ALONG { lines } else { WORDS };
        if left >= CHUNK && (ALONG || lines == PANEL) {
            for v in (0..16).step_by(S::LANES) {
                // SAFETY: all elements are there; 16 words of each row of the chunk are written.
                unsafe { self.vectors::<ALONG>(v).pack::<S, TERMS>(s, 0..count) };
            }
            return;
        }
        for o in 0..count {
            for v in (0..16).step_by(S::LANES) {
                let (i, p) = if ALONG { (o, v) } else { (v, o) };
                let (x, y) = (self.at(i, p), self.at(i, p + WORDS));
                // SAFETY: as many elements are read as the source has there; 16 words of each row of the chunk are
                // written.
                unsafe {
                    let (x, y) = if ALONG {
                        (load(s, x, left.saturating_sub(v)), load(s, y, left.saturating_sub(v + WORDS)))
                    } else {
                        let there = |p: usize| lines.saturating_sub(v) * usize::from(p < left);
                        (load(s, x, there(o)), load(s, y, there(o + WORDS)))
                    };
                    put::<S, TERMS>(s, x, y, self.to.add(o * WORDS + v), self.stored * WORDS);
                }
            }
        }
    }

    /// The other order: made in the order of the source and turned round, by squares of `L = LANES`.
    ///
    /// # Safety
    /// As for `straight`.
    #[inline(always)]
    unsafe fn turned<S: Simd, const TERMS: usize, const L: usize>(&self, s: S, along: bool, across: bool) {
        let &Chunk { lines, left, stored, together, to, .. } = self;
        // The rows of the chunk that are stored, and whether their words lie across the source's order.
        let (rows, turn) = (if together { lines } else { WORDS }, along != together);
        let whole = left >= CHUNK && lines == 16 && (along || across);
        // `o` counts what the source has in vectors' order, `v` the lanes.
        for o in (0..16).step_by(L) {
            for v in (0..16).step_by(L) {
                let mut squares = [[s.splat(0.0); L]; TERMS];
                let (i, q) = if along { (o, v) } else { (v, o) };
                let ((mut next_x, x_step), (mut next_y, y_step)) =
                    (self.vector(i, q, along), self.vector(i, q + WORDS, along));
                if whole {
                    for r in 0..L {
                        // SAFETY: as in `straight`.
                        let (x, y) = unsafe { (s.load_ptr(next_x), s.load_ptr(next_y)) };
                        for (square, word) in squares.iter_mut().zip(words::<S, TERMS>(s, x, y)) {
                            square[r] = s.from_bits(word);
                        }
                        (next_x, next_y) = (next_x.wrapping_add(x_step), next_y.wrapping_add(y_step));
                    }
                } else {
                    for r in 0..L {
                        let (i, q) = if along { (o + r, v) } else { (v, o + r) };
                        let (x, y) = (next_x, next_y);
                        (next_x, next_y) = (x.wrapping_add(x_step), y.wrapping_add(y_step));
                        // SAFETY: as in `straight`; single elements where no direction is contiguous.
                        let (x, y) = unsafe {
                            if along {
                                let there = |q: usize| usize::from(i < lines) * left.saturating_sub(q);
                                (load(s, x, there(q)), load(s, y, there(q + WORDS)))
                            } else if across {
                                let there = |q: usize| usize::from(q < left) * lines.saturating_sub(i);
                                (load(s, x, there(q)), load(s, y, there(q + WORDS)))
                            } else {
                                (self.gather(s, i, q), self.gather(s, i, q + WORDS))
                            }
                        };
                        for (square, word) in squares.iter_mut().zip(words::<S, TERMS>(s, x, y)) {
                            square[r] = s.from_bits(word);
                        }
                    }
                }
                let (row, col) = if turn { (v, o) } else { (o, v) };
                for (term, square) in squares.iter_mut().enumerate() {
                    if turn {
                        transpose(s, square);
                    }
                    for (r, &x) in square.iter().enumerate() {
                        if row + r < rows {
                            // SAFETY: 16 words of a row of the chunk that is stored.
                            unsafe { s.store_ptr(to.add((term * stored + row + r) * WORDS + col).cast(), x) };
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
            if p < self.left && i + lane < self.lines {
                // SAFETY: an element of the source.
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
