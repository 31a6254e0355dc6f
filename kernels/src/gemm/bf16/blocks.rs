//! The loops around the units, and what becomes of their sums.
//!
//! From the outside in: `NC` columns; `GROUPS` groups of rows of A, packed for all of k; a block of k for which a
//! pair of panels stays in a near cache; pairs of panels, packed just before their first use; groups. A block of C of
//! which the last k is done is scaled back, checked, added to the old C or stored, while it is in L1; the epilogue
//! runs over whole rows of the groups.

use super::pack::{CHUNK, Halves, Lines, PANEL, SCALE, WORDS};
use super::{Block, Unit};
use crate::epilogue::Epilogue;
use crate::gemm::blocks::{Buffer, Cut};
use crate::gemm::{Beta, Gemm, PackedMut, Right, Scratch, blocks};
use crate::isa::{Op, Simd};
use crate::matrix::{Matrix, MatrixMut};
use std::ops::Range;

/// Most columns at a time.
const NC: usize = 1024;
/// Most groups of rows at a time.
const GROUPS: usize = 8;
/// Columns of a block: two panels.
const COLS: usize = 2 * PANEL;

/// Working memory: grows to what the largest product so far needed.
#[derive(Debug, Default)]
pub(in crate::gemm) struct Memory {
    a: Buffer,
    b: Buffer,
    sums: Buffer,
    repaired: Buffer,
    lines: Buffer,
}

impl Memory {
    #[inline(always)]
    pub(super) fn grow<U: Unit>(&mut self, halves: Halves, m: usize, k: usize, n: usize) {
        let (groups, panels) = (m.div_ceil(U::ROWS).min(GROUPS), n.min(NC).div_ceil(PANEL));
        let words = k.div_ceil(CHUNK) * halves.count() * WORDS;
        let pairs = groups.next_multiple_of(U::GROUPS);
        self.a.grow(pairs * U::ROWS * words);
        self.b.grow(panels * PANEL * words);
        self.sums.grow(pairs * U::ROWS * panels.next_multiple_of(2) * PANEL);
        self.repaired.grow(U::ROWS * COLS);
        self.lines.grow(PANEL * k);
    }

    /// Elements held.
    #[cfg(test)]
    pub fn size(&self) -> usize {
        [&self.a, &self.b, &self.sums, &self.repaired, &self.lines].iter().map(|buffer| buffer.size()).sum()
    }
}

/// Where a result goes.
#[derive(Debug)]
pub(in crate::gemm) enum Out<'a> {
    /// Rows of contiguous columns.
    Rows(MatrixMut<'a>),
    /// Panels, for a product without an epilogue.
    Panels(PackedMut<'a>),
}

impl Out<'_> {
    /// Where element (i, j) lies; up to the next multiple of [`PANEL`] columns, the rest of its row follows.
    #[inline(always)]
    fn at(&mut self, i: usize, j: usize) -> *mut f32 {
        match self {
            Out::Rows(c) => {
                let step = c.row_stride();
                c.as_mut_ptr().wrapping_add(i * step + j)
            }
            Out::Panels(c) => c.at(i, j),
        }
    }
}

/// Operands, as those of [`Gemm`].
#[derive(Debug)]
pub(in crate::gemm) struct Args<'a> {
    pub a: Matrix<'a>,
    pub b: Right<'a>,
    pub c: Out<'a>,
    pub beta: Beta,
    pub epilogue: Epilogue<'a>,
}

/// A product of which m, n ≥ 1.
pub(super) struct Product<'a, 's, U> {
    pub args: Args<'a>,
    pub halves: Halves,
    pub unit: U,
    pub memory: &'s mut Memory,
    /// For elements that f32 computes.
    pub scratch: &'s mut Scratch,
}

/// What the loops share.
struct Plan<'a> {
    a: Matrix<'a>,
    b: Right<'a>,
    halves: Halves,
    cut: Cut,
    /// Most rows of a group.
    rows: usize,
    /// Words of a group and of a panel.
    group: usize,
    panel: usize,
    /// Where they are packed.
    to_a: *mut u32,
    to_b: *mut u32,
    sums: *mut f32,
    /// Room for the lines of a panel.
    lines: *mut f32,
}

impl<U: Unit> Op for Product<'_, '_, U> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        let (m, k, n) = (self.args.a.rows(), self.args.a.cols(), self.args.b.cols());
        self.memory.grow::<U>(self.halves, m, k, n);
        let cut = Cut::new(m, U::ROWS);
        let words = k.div_ceil(CHUNK) * self.halves.count() * WORDS;
        let plan = Plan {
            a: self.args.a,
            b: self.args.b,
            halves: self.halves,
            cut,
            rows: U::ROWS,
            group: words * U::ROWS,
            panel: words * PANEL,
            to_a: self.memory.a.as_mut_ptr().cast(),
            to_b: self.memory.b.as_mut_ptr().cast(),
            sums: self.memory.sums.as_mut_ptr(),
            lines: self.memory.lines.as_mut_ptr(),
        };
        for j0 in (0..n).step_by(NC) {
            let cols = j0..n.min(j0 + NC);
            for t0 in (0..cut.strips).step_by(GROUPS) {
                let groups = t0..cut.strips.min(t0 + GROUPS);
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
        let (stored, halves) = (self.rows, self.halves);
        for t in groups.clone() {
            let from = self.a.block(self.rows(t), 0..self.a.cols());
            let to = self.to_a.wrapping_add((t - groups.start) * self.group);
            s.call(Lines { from, halves, stored, together: true, to });
        }
    }

    /// Columns of B, of one panel of 16, as lines.
    #[inline(always)]
    fn lines(&self, cols: Range<usize>) -> Matrix<'_> {
        match self.b {
            Right::Strided(b) => b.block(0..b.rows(), cols).t(),
            Right::Packed(b) => b.within(cols).t(),
            // Their places along k lie in several panels.
            Right::Transposed(b) => {
                let (lines, k) = (cols.len(), b.n());
                // SAFETY: `grow` made room, and nobody reads the lines before.
                b.rows(cols).unpack(unsafe { std::slice::from_raw_parts_mut(self.lines, lines * k) });
                // SAFETY: written above, and next after these have been packed.
                Matrix::row_major(unsafe { std::slice::from_raw_parts(self.lines, lines * k) }, lines, k)
            }
        }
    }

    /// The panels that cover those columns; `first` is the first column of all that are packed.
    #[inline(always)]
    fn pack_right<S: Simd>(&self, s: S, cols: Range<usize>, first: usize) {
        for j in cols.clone().step_by(PANEL) {
            let from = self.lines(j..cols.end.min(j + PANEL));
            let to = self.to_b.wrapping_add((j - first) / PANEL * self.panel);
            s.call(Lines { from, halves: self.halves, stored: PANEL, together: false, to });
        }
    }
}

impl<U: Unit> Product<'_, '_, U> {
    /// Those groups times those columns, up to the epilogue; `fill`: B's panels are to be packed.
    #[inline(always)]
    fn block<S: Simd>(&mut self, s: S, plan: &Plan, groups: Range<usize>, cols: Range<usize>, fill: bool) {
        let chunks = plan.a.cols().div_ceil(CHUNK);
        let most = U::CHUNKS * 2 / plan.halves.count();
        // Blocks of k as even as possible; one, of none, where k = 0.
        let blocks = chunks.div_ceil(most).max(1);
        let most = chunks.div_ceil(blocks);
        let step = if blocks == 1 { COLS } else { cols.len().next_multiple_of(COLS) };
        for p in 0..blocks {
            let part = p * most..chunks.min((p + 1) * most);
            for j in cols.clone().step_by(COLS) {
                let here = j..cols.end.min(j + COLS);
                if fill && p == 0 {
                    plan.pack_right(s, here.clone(), cols.start);
                }
                for t in groups.clone().step_by(U::GROUPS) {
                    let (group, panel) = (t - groups.start, (j - cols.start) / PANEL);
                    let offset = part.start * plan.halves.count() * WORDS;
                    let place = if blocks == 1 { 0 } else { group * U::ROWS * step + (j - cols.start) };
                    let block = Block {
                        chunks: part.len(),
                        halves: plan.halves,
                        a: plan.to_a.wrapping_add(group * plan.group + offset * U::ROWS),
                        a_next: plan.group,
                        groups: (groups.end - t).min(U::GROUPS),
                        rows: plan.rows(t).len(),
                        b: plan.to_b.wrapping_add(panel * plan.panel + offset * PANEL),
                        b_next: plan.panel,
                        panels: here.len().div_ceil(PANEL),
                        sums: plan.sums.wrapping_add(place),
                        step,
                        add: p > 0,
                    };
                    // SAFETY: groups and panels are packed for all of k, and `grow` made room for the sums.
                    unsafe { self.unit.block(s, &block) };
                    if p + 1 == blocks {
                        for g in 0..block.groups {
                            let sums = block.sums.wrapping_add(g * U::ROWS * step);
                            self.finish(s, plan.rows(t + g), here.clone(), sums, step);
                        }
                    }
                }
            }
        }
    }

    /// C from the sums of that block of it, one group's rows by at most [`COLS`] columns.
    #[inline(always)]
    fn finish<S: Simd>(&mut self, s: S, rows: Range<usize>, cols: Range<usize>, sums: *const f32, step: usize) {
        let back = s.splat(1.0 / (SCALE * SCALE));
        let mut check = s.splat(0.0);
        // SAFETY: the sums of this block; columns that C lacks are zeros or of no meaning, and masked.
        let sum = |r: usize, v: usize| unsafe { s.load_first(sums.add(r * step + v), (cols.len() - v).min(S::LANES)) };
        for r in 0..rows.len() {
            for v in (0..cols.len()).step_by(S::LANES) {
                // 0 for a finite number, else NaN.
                check = s.add(check, s.sub(sum(r, v), sum(r, v)));
            }
        }
        if s.sum(check) != 0.0 {
            let to = self.memory.repaired.as_mut_ptr();
            s.call(Repair { args: &mut self.args, rows, cols, sums, step, to, scratch: self.scratch });
            return;
        }
        for (r, i) in rows.enumerate() {
            for v in (0..cols.len()).step_by(S::LANES) {
                let (c, there) = (self.args.c.at(i, cols.start + v), (cols.len() - v).min(S::LANES));
                let mut x = s.mul(sum(r, v), back);
                // SAFETY: elements of a row of C, of one panel where it has panels.
                unsafe {
                    if self.args.beta == Beta::One {
                        x = s.add(s.load_first(c, there), x);
                    }
                    s.store_first(c, there, x);
                }
            }
        }
    }
}

/// A block of C some of whose sums are not finite: those elements by the f32 kernel.
struct Repair<'a, 's> {
    args: &'s mut Args<'a>,
    rows: Range<usize>,
    cols: Range<usize>,
    sums: *const f32,
    step: usize,
    /// Room for the block.
    to: *mut f32,
    scratch: &'s mut Scratch,
}

impl Op for Repair<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Repair { args, rows, cols, sums, step, to, scratch } = self;
        let Args { a, b, c, beta, .. } = args;
        let k = a.cols();
        // SAFETY: `grow` made room, which is this call's alone.
        let block = || unsafe { MatrixMut::from_raw(to, rows.len(), cols.len(), COLS, 1) };
        let mut exact = block();
        for (r, i) in rows.clone().enumerate() {
            for (exact, j) in exact.row_mut(r).iter_mut().zip(cols.clone()) {
                // SAFETY: an element of C.
                *exact = unsafe { *c.at(i, j) };
            }
        }
        let right = match *b {
            Right::Strided(b) => Right::Strided(b.block(0..k, cols.clone())),
            Right::Packed(b) => Right::Packed(b.cols(cols.clone())),
            Right::Transposed(b) => Right::Transposed(b.rows(cols.clone())),
        };
        let args = Gemm { a: a.block(rows.clone(), 0..k), b: right, c: exact, beta: *beta, epilogue: Epilogue::None };
        s.call(blocks::Product { args, scratch });
        let mut exact = block();
        for (r, i) in rows.enumerate() {
            for (j, exact) in exact.row_mut(r).iter().enumerate() {
                // SAFETY: a sum of this block, and an element of C.
                let (sum, c) = unsafe { (*sums.add(r * step + j), &mut *c.at(i, cols.start + j)) };
                let scaled = sum * (1.0 / (SCALE * SCALE));
                *c = match beta {
                    _ if !sum.is_finite() => *exact,
                    Beta::Zero => scaled,
                    Beta::One => *c + scaled,
                };
            }
        }
    }
}
