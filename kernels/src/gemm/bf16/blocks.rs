//! The loops around the units, and what becomes of their sums.
//!
//! From the outside in: `NC` columns; `GROUPS` groups of rows of A, packed for all of k; a block of k for which a
//! pair of panels stays in a near cache; pairs of panels, packed just before their first use; groups. A block of C of
//! which the last k is done is scaled back, checked, added to the old C or stored, while it is in L1; the epilogue
//! runs over whole rows of the groups.

use super::pack::{Bytes, CHUNK, Lines, PANEL, SCALE, Source, Terms, WORDS};
use super::ring::{self, Ring};
use super::{Block, Unit};
use crate::epilogue::Epilogue;
use crate::gemm::blocks::{Buffer, Cut};
use crate::gemm::parts::Parts;
use crate::gemm::{Beta, Gemm, Left, Right, Scratch, blocks};
use crate::isa::{Op, Simd};
use crate::matrix::{Matrix, MatrixMut};
use std::ops::Range;

/// Most columns at a time.
const NC: usize = 2048;
/// Groups of rows at a time where A is too long for [`Unit::LEFT`].
const GROUPS: usize = 8;
/// Columns of a block: two panels.
pub(in crate::gemm) const COLS: usize = 2 * PANEL;

/// Working memory: grows to what the largest product so far needed.
#[derive(Debug, Default)]
pub(in crate::gemm) struct Memory {
    a: Buffer,
    b: Buffer,
    sums: Buffer,
    repaired: Buffer,
}

impl Memory {
    #[inline(always)]
    pub(super) fn grow<U: Unit>(&mut self, left: Terms, terms: Terms, m: usize, k: usize, n: usize) {
        let [left, right] = [left, terms].map(|terms| k.div_ceil(CHUNK) * terms.count() * WORDS);
        let (groups, most) = (m.div_ceil(U::ROWS), groups_at_once::<U>(left));
        let panels = if groups > most { n.min(NC).div_ceil(PANEL) } else { COLS / PANEL };
        let rows = groups.min(most).next_multiple_of(U::GROUPS) * U::ROWS;
        self.a.grow(rows * left);
        self.b.grow((panels.next_multiple_of(COLS / PANEL) * PANEL * right).max(ring::words(terms)));
        self.sums.grow(rows * COLS);
        self.repaired.grow(U::ROWS * COLS);
    }

    /// Elements held.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        [&self.a, &self.b, &self.sums, &self.repaired].iter().map(|buffer| buffer.size()).sum()
    }
}

/// Groups of rows at a time, of which one has so many words a row.
#[inline(always)]
fn groups_at_once<U: Unit>(words: usize) -> usize {
    (U::LEFT / (U::ROWS * words).max(1)).max(GROUPS) / U::GROUPS * U::GROUPS
}

/// Where a result goes.
#[derive(Debug)]
pub(in crate::gemm) enum Out<'a> {
    /// Rows of contiguous columns.
    Rows(MatrixMut<'a>),
    /// Somebody who takes it part by part, for a product without an epilogue.
    Parts(Parts<'a>),
}

impl Out<'_> {
    /// Where element (i, j) lies, and the distance to the next row; up to the next multiple of [`PANEL`] columns, the
    /// rest of its row follows.
    #[inline(always)]
    fn at(&mut self, i: usize, j: usize) -> (*mut f32, usize) {
        match self {
            Out::Rows(c) => {
                let step = c.row_stride();
                (c.as_mut_ptr().wrapping_add(i * step + j), step)
            }
            Out::Parts(c) => c.at(i, j),
        }
    }
}

/// Operands, as those of [`Gemm`].
#[derive(Debug)]
pub(in crate::gemm) struct Args<'a> {
    pub a: Left<'a>,
    pub b: Right<'a>,
    pub c: Out<'a>,
    pub beta: Beta,
    pub epilogue: Epilogue<'a>,
}

/// A product of which m, n ≥ 1.
pub(super) struct Product<'a, 's, U> {
    pub args: Args<'a>,
    pub terms: Terms,
    pub unit: U,
    pub memory: &'s mut Memory,
    /// For elements that f32 computes.
    pub scratch: &'s mut Scratch,
}

/// What the loops share.
struct Plan<'a> {
    a: Left<'a>,
    b: Right<'a>,
    /// Of A, and of B.
    left: Terms,
    terms: Terms,
    cut: Cut,
    /// Most rows of a group.
    rows: usize,
    /// Whether more rows than one block of groups use B's panels, which are kept then.
    keep: bool,
    /// Chunks of a block of k.
    chunks: usize,
    /// Words of a group and of a panel.
    group: usize,
    panel: usize,
    /// Where they are packed.
    to_a: *mut u32,
    to_b: *mut u32,
    sums: *mut f32,
}

impl<U: Unit> Op for Product<'_, '_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (m, k, n) = (self.args.a.rows(), self.args.a.cols(), self.args.b.cols());
        let left = if let Left::Bytes(..) = self.args.a { Terms::One } else { self.terms };
        self.memory.grow::<U>(left, self.terms, m, k, n);
        let cut = Cut::new(m, U::ROWS);
        let chunks = k.div_ceil(CHUNK);
        let words = |terms: Terms| chunks * terms.count() * WORDS;
        let most_groups = groups_at_once::<U>(words(left));
        // Blocks of k as even as possible; one, of none, where k = 0.
        let most = U::CHUNKS / self.terms.count();
        let plan = Plan {
            a: self.args.a,
            b: self.args.b,
            left,
            terms: self.terms,
            cut,
            rows: U::ROWS,
            keep: cut.strips > most_groups,
            chunks: chunks.div_ceil(chunks.div_ceil(most).max(1)),
            group: words(left) * U::ROWS,
            panel: words(self.terms) * PANEL,
            to_a: self.memory.a.as_mut_ptr().cast(),
            to_b: self.memory.b.as_mut_ptr().cast(),
            sums: self.memory.sums.as_mut_ptr(),
        };
        for j0 in (0..n).step_by(NC) {
            let cols = j0..n.min(j0 + NC);
            for t0 in (0..cut.strips).step_by(most_groups) {
                let groups = t0..cut.strips.min(t0 + most_groups);
                plan.pack_left(s, groups.clone());
                self.block(s, &plan, groups.clone(), cols.clone(), t0 == 0);
                let Args { c, epilogue, .. } = &mut self.args;
                if let (Out::Rows(c), false) = (c, matches!(epilogue, Epilogue::None)) {
                    for i in cut.start(groups.start)..cut.start(groups.end) {
                        epilogue.apply_row(s, i, j0, &mut c.row_mut(i)[cols.clone()]);
                    }
                }
            }
        }
    }
}

impl Plan<'_> {
    #[inline(always)]
    fn rows(&self, group: usize) -> Range<usize> {
        self.cut.start(group)..self.cut.start(group + 1)
    }

    #[inline(always)]
    fn pack_left<S: Simd>(&self, s: S, groups: Range<usize>) {
        let stored = self.rows;
        for t in groups.clone() {
            let (rows, to) = (self.rows(t), self.to_a.wrapping_add((t - groups.start) * self.group));
            match self.a {
                Left::Strided(a) => {
                    let from = Source::Matrix(a.block(rows, 0..a.cols()));
                    s.call(Lines { from, terms: self.left, stored, next: 0, together: true, to });
                }
                Left::Bytes(from, _) => s.call(Bytes { from, lines: rows.len(), first: rows.start, stored, to }),
            }
        }
    }

    /// B's panels of those chunks and columns, packed now (`fill`), and the distance from panel to panel; `first` is
    /// the first of the columns that are kept.
    #[inline(always)]
    fn right<S: Simd>(
        &self,
        s: S,
        chunks: Range<usize>,
        cols: Range<usize>,
        first: usize,
        fill: bool,
    ) -> (*mut u32, usize) {
        let words = self.terms.count() * WORDS * PANEL;
        let (to, next) = if self.keep {
            (self.to_b.wrapping_add((cols.start - first) / PANEL * self.panel + chunks.start * words), self.panel)
        } else {
            (self.to_b, self.chunks * words)
        };
        if fill && !chunks.is_empty() {
            let places = chunks.start * CHUNK..self.a.cols().min(chunks.end * CHUNK);
            let from = Source::of(self.b, places, cols);
            s.call(Lines { from, terms: self.terms, stored: PANEL, next, together: false, to });
        }
        (to, next)
    }
}

impl<U: Unit> Product<'_, '_, U> {
    /// Those groups times those columns, up to the epilogue; `fill`: B's panels are to be packed.
    #[inline(always)]
    fn block<S: Simd>(&mut self, s: S, plan: &Plan, groups: Range<usize>, cols: Range<usize>, fill: bool) {
        let chunks = plan.a.cols().div_ceil(CHUNK);
        let once = U::BESIDE && plan.cut.strips <= U::GROUPS && plan.chunks == chunks;
        let mut ring = if once { Ring::new(s, plan.b, cols.clone(), plan.terms, plan.to_b) } else { None };
        for j in cols.clone().step_by(COLS) {
            let here = j..cols.end.min(j + COLS);
            if let Out::Parts(parts) = &mut self.args.c {
                parts.begin(plan.cut.start(groups.start)..plan.cut.start(groups.end), here.clone(), false);
            }
            let mut part = 0..plan.chunks;
            loop {
                let (b, b_next) = if ring.is_some() {
                    (plan.to_b, ring::slab_words(plan.terms) / 2)
                } else {
                    plan.right(s, part.clone(), here.clone(), cols.start, fill)
                };
                for t in groups.clone().step_by(U::GROUPS) {
                    let group = t - groups.start;
                    let offset = part.start * plan.left.count() * WORDS;
                    // Sums that no later block of k adds to make room for the next at once.
                    let place = if plan.chunks == chunks { 0 } else { group * U::ROWS * COLS };
                    let block = Block {
                        chunks: part.len(),
                        left: plan.left,
                        terms: plan.terms,
                        a: plan.to_a.wrapping_add(group * plan.group + offset * U::ROWS),
                        a_next: plan.group,
                        groups: (groups.end - t).min(U::GROUPS),
                        rows: plan.rows(t).len(),
                        b,
                        b_next,
                        panels: here.len().div_ceil(PANEL),
                        sums: plan.sums.wrapping_add(place),
                        step: COLS,
                        add: part.start > 0,
                    };
                    // SAFETY: groups and panels are packed for those places, and `grow` made room for the sums.
                    unsafe { self.unit.block(s, &block, ring.as_mut()) };
                    if part.end == chunks {
                        for g in 0..block.groups {
                            self.finish(s, plan.rows(t + g), here.clone(), block.sums.wrapping_add(g * U::ROWS * COLS));
                        }
                    }
                }
                if part.end == chunks {
                    break;
                }
                part = part.end..chunks.min(part.end + plan.chunks);
            }
            if let Out::Parts(parts) = &mut self.args.c {
                parts.end(here);
            }
        }
    }

    /// C from the sums of that block of it, one group's rows by at most [`COLS`] columns.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, s: S, rows: Range<usize>, cols: Range<usize>, sums: *const f32) {
        let Args { a, c, beta, .. } = &mut self.args;
        let back = match a {
            Left::Strided(_) => 1.0 / (SCALE * SCALE),
            Left::Bytes(_, scale) => *scale / SCALE,
        };
        let sums = Sums { rows, cols, at: sums, back };
        let finite = match beta {
            // Where it is in vain, the block is written again.
            Beta::Zero => sums.check::<S, true, false>(s, c),
            Beta::One => {
                let finite = sums.check::<S, false, true>(s, c);
                if finite {
                    sums.check::<S, true, true>(s, c);
                }
                finite
            }
        };
        if !finite {
            let to = self.memory.repaired.as_mut_ptr();
            s.call(Repair { args: &mut self.args, sums, to, scratch: self.scratch });
        }
    }
}

/// Sums of a block of C.
struct Sums {
    rows: Range<usize>,
    cols: Range<usize>,
    /// Rows of [`COLS`].
    at: *const f32,
    /// What they are multiplied by.
    back: f32,
}

impl Sums {
    /// Whether all are finite; `STORE`: C becomes what they stand for, or (`ADD`) has it added.
    #[inline(always)]
    fn check<S: Simd, const STORE: bool, const ADD: bool>(&self, s: S, c: &mut Out) -> bool {
        let (back, zero) = (s.splat(self.back), s.splat(0.0));
        // 0 for finite numbers, else NaN.
        let mut check = zero;
        for v in (0..self.cols.len()).step_by(S::LANES) {
            let there = (self.cols.len() - v).min(S::LANES);
            let (mut from, (mut to, step)) = (self.at.wrapping_add(v), c.at(self.rows.start, self.cols.start + v));
            for _ in self.rows.clone() {
                // SAFETY: sums of this block and elements of a row of C, of one panel where it has panels; columns that
                // C lacks are zeros or of no meaning, and masked.
                unsafe {
                    let sum = if there == S::LANES { s.load_ptr(from) } else { s.load_first(from, there) };
                    check = s.mul_add(sum, zero, check);
                    if STORE {
                        let mut x = s.mul(sum, back);
                        if ADD {
                            x = s.add(s.load_first(to, there), x);
                        }
                        if there == S::LANES { s.store_ptr(to, x) } else { s.store_first(to, there, x) }
                    }
                }
                (from, to) = (from.wrapping_add(COLS), to.wrapping_add(step));
            }
        }
        s.sum(check) == 0.0
    }
}

/// A block of C some of whose sums are not finite: those elements by the f32 kernel.
struct Repair<'a, 's> {
    args: &'s mut Args<'a>,
    sums: Sums,
    /// Room for the block.
    to: *mut f32,
    scratch: &'s mut Scratch,
}

impl Op for Repair<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Repair { args, sums: Sums { rows, cols, at: sums, back }, to, scratch } = self;
        let Args { a, b, c, beta, .. } = args;
        let k = a.cols();
        // SAFETY: `grow` made room, which is this call's alone.
        let block = || unsafe { MatrixMut::from_raw(to, rows.len(), cols.len(), COLS, 1) };
        let mut exact = block();
        for (r, i) in rows.clone().enumerate() {
            for (exact, j) in exact.row_mut(r).iter_mut().zip(cols.clone()) {
                // SAFETY: an element of C.
                *exact = unsafe { *c.at(i, j).0 };
            }
        }
        let right = match *b {
            Right::Strided(b) => Right::Strided(b.block(0..k, cols.clone())),
            Right::Packed(b) => Right::Packed(b.cols(cols.clone())),
            Right::Transposed(b) => Right::Transposed(b.rows(cols.clone())),
        };
        let mut numbers = Vec::new();
        let a = match a.block(rows.clone()) {
            Left::Bytes(a, scale) => {
                let line = |i: usize| (0..k).map(move |p| f32::from(a.get(i, p)) * scale);
                numbers.extend((0..a.rows()).flat_map(line));
                Matrix::row_major(&numbers, a.rows(), k).into()
            }
            strided => strided,
        };
        let args = Gemm { a, b: right, c: exact, beta: *beta, epilogue: Epilogue::None };
        s.call(blocks::Product { args, scratch });
        let mut exact = block();
        for (r, i) in rows.enumerate() {
            for (j, exact) in exact.row_mut(r).iter().enumerate() {
                // SAFETY: a sum of this block, and an element of C.
                let (sum, c) = unsafe { (*sums.add(r * COLS + j), &mut *c.at(i, cols.start + j).0) };
                let scaled = sum * back;
                *c = match beta {
                    _ if !sum.is_finite() => *exact,
                    Beta::Zero => scaled,
                    Beta::One => *c + scaled,
                };
            }
        }
    }
}
