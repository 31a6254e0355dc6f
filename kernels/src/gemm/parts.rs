//! A product whose result is used up at once, part by part, and never written to memory as a whole.

use super::blocks::{Buffer, KC, PartsProduct, Product, STRIPS};
use super::pack::Panels;
use super::tile::MAX_ROWS;
use super::{Beta, Gemm, Left, Method, Right, Scratch, bf16, packed_len, panel_width};
use crate::epilogue::Epilogue;
use crate::isa::{Isa, Op, Simd};
use crate::matrix::{Matrix, MatrixMut};
use std::ops::Range;

/// Elements of a part of an f32 product to which blocks of k are added, 1 MiB: fewer columns, and A is packed again and
/// again.
const PART: usize = 1 << 18;

/// What takes the parts of a result.
pub trait Take {
    /// Those rows of that panel, as they lie in a panel of these rows alone, with zeros in the padding.
    fn take(&mut self, rows: Range<usize>, panel: usize, values: &[f32]);

    /// Memory that `take` will read for them, to be asked for while they are computed.
    fn needs(&self, rows: Range<usize>, panel: usize) -> [&[f32]; 3];
}

/// `C ← A·B`, of which `to` gets every part as soon as it is computed, while it is in a near cache; every element comes
/// once, with the bits of [`gemm_by`](super::gemm_by).
///
/// # Panics
/// Shapes differ, B was packed for another instruction set, the set has no such method, or it is chains of f32 and A
/// are bytes.
pub fn gemm_parts(isa: Isa, method: Method, a: Left, b: Right, scratch: &mut Scratch, to: &mut dyn Take) {
    let (m, k, n, width) = (a.rows(), a.cols(), b.cols(), panel_width(isa));
    assert!(b.rows() == k, "{m}×{k} by {}×{n}", b.rows());
    if let Right::Packed(b) | Right::Transposed(b) = &b {
        assert!(b.width() == width, "B is packed in panels of {} columns", b.width());
    }
    if m == 0 || n == 0 {
        return;
    }
    let mut memory = std::mem::take(&mut scratch.part);
    memory.grow(part_len(isa, m, k, n));
    let c = Parts { isa, memory: &mut memory, rows: 0..0, cols: 0..0, once: true, to };
    if method == Method::F32 {
        match (a.numbers(), b) {
            (a, Right::Strided(b)) if is_narrow(isa, &a, n) => isa.run(Narrow { a, b, c, scratch }),
            (a, b) => isa.run(PartsProduct { a, b, c, scratch }),
        }
    } else {
        let c = bf16::Out::Parts(c);
        bf16::run(isa, method, bf16::Args { a, b, c, beta: Beta::Zero, epilogue: Epilogue::None }, scratch);
    }
    scratch.part = memory;
}

/// Rows of a narrow product at a time.
const NARROW_ROWS: usize = 256;

/// Whether C is so narrow that vectors along its rows are for the most part empty, where those down its columns take
/// less even if C has to be turned; A lies by columns.
pub(super) fn is_narrow(isa: Isa, a: &Matrix, n: usize) -> bool {
    let (m, k, lanes) = (a.rows(), a.cols(), isa.lanes());
    // Operations of vectors, some eight of them to turn one.
    a.row_stride() == 1 && n < lanes && n * m.div_ceil(lanes) * k + 8 * m < m * k
}

/// `Cᵀ ← Bᵀ·Aᵀ`, turned: the same chains, so the same bits.
struct Narrow<'a, 's> {
    a: Matrix<'a>,
    b: Matrix<'a>,
    c: Parts<'a>,
    scratch: &'s mut Scratch,
}

impl Op for Narrow<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Narrow { a, b, mut c, scratch } = self;
        let (m, k, n) = (a.rows(), a.cols(), b.cols());
        let mut memory = std::mem::take(&mut scratch.tile);
        memory.grow(n * m.min(NARROW_ROWS));
        for first in (0..m).step_by(NARROW_ROWS) {
            let rows = first..m.min(first + NARROW_ROWS);
            let (right, count) = (Right::Strided(a.block(rows.clone(), 0..k).t()), rows.len());
            // SAFETY: there is room, which is this call's alone.
            let turned = unsafe { MatrixMut::from_raw(memory.as_mut_ptr(), n, count, count, 1) };
            let args = Gemm { a: b.t().into(), b: right, c: turned, beta: Beta::Zero, epilogue: Epilogue::None };
            s.call(Product { args, scratch });
            c.begin(rows, 0..n, true);
            let (to, width) = c.at(first, 0);
            s.call(Panels { from: memory.as_mut_ptr(), row_stride: 1, col_stride: count, k: count, n, width, to });
            c.end(0..n);
        }
        scratch.tile = memory;
    }
}

/// Columns of a part of an f32 product of so many rows, in whole panels.
pub(super) fn columns(rows: usize, panel: usize) -> usize {
    panel * (PART / (rows * panel).max(1)).max(1)
}

/// Elements that the parts of a product m × k × n take at most.
pub(super) fn part_len(isa: Isa, m: usize, k: usize, n: usize) -> usize {
    let f32 = if k <= KC { STRIPS * MAX_ROWS * panel_width(isa) } else { PART };
    packed_len(isa, m, n).min(f32.max(packed_len(isa, m, bf16::COLS)))
}

/// The rows and columns that are being computed.
pub(super) struct Parts<'a> {
    isa: Isa,
    memory: &'a mut Buffer,
    rows: Range<usize>,
    /// Begins with a panel, and ends with one or with C.
    cols: Range<usize>,
    /// Whether a panel is done before the next begins, which takes its place then.
    once: bool,
    to: &'a mut dyn Take,
}

impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("rows", &self.rows).field("cols", &self.cols).finish_non_exhaustive()
    }
}

impl Parts<'_> {
    /// Turns to other rows and columns.
    pub fn begin(&mut self, rows: Range<usize>, cols: Range<usize>, once: bool) {
        (self.rows, self.cols, self.once) = (rows, cols, once);
    }

    /// Where element (i, j) of C lies, and the distance to the next row.
    #[inline(always)]
    pub fn at(&mut self, i: usize, j: usize) -> (*mut f32, usize) {
        let (width, col) = (panel_width(self.isa), j - self.cols.start);
        let (first, stored) = (col - col % width, self.cols.len().next_multiple_of(self.isa.lanes()));
        let (panel, step) = (if self.once { 0 } else { first * self.rows.len() }, width.min(stored - first));
        (self.memory.as_mut_ptr().wrapping_add(panel + (i - self.rows.start) * step + col % width), step)
    }

    /// What will be needed when the panel of those columns is done.
    pub fn near(&self, cols: Range<usize>) -> [&[f32]; 3] {
        self.to.needs(self.rows.clone(), cols.start / panel_width(self.isa))
    }

    /// Hands out the panels of those columns.
    pub fn end(&mut self, cols: Range<usize>) {
        let width = panel_width(self.isa);
        for first in cols.clone().step_by(width) {
            let cols = width.min(cols.end - first);
            let stored = cols.next_multiple_of(self.isa.lanes());
            let (from, _) = self.at(self.rows.start, first);
            // SAFETY: `part_len` elements were made room for, and those of the rows and columns are no more.
            let values = unsafe { std::slice::from_raw_parts_mut(from, self.rows.len() * stored) };
            if cols < stored {
                values.chunks_exact_mut(stored).for_each(|row| row[cols..].fill(0.0));
            }
            self.to.take(self.rows.clone(), first / width, values);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The first value of each panel, and how many there are.
    struct Panels(Vec<(usize, f32, usize)>);

    impl Take for Panels {
        fn take(&mut self, _: Range<usize>, panel: usize, values: &[f32]) {
            self.0.push((panel, values[0], values.len()));
        }

        fn needs(&self, _: Range<usize>, _: usize) -> [&[f32]; 3] {
            [&[]; 3]
        }
    }

    #[test]
    fn panels_come_one_by_one_from_blocks_of_several() {
        for isa in Isa::available() {
            let (rows, width) = (3, panel_width(isa));
            let (mut memory, mut to) = (Buffer::default(), Panels(Vec::new()));
            memory.grow(rows * 2 * width);
            let mut parts = Parts { isa, memory: &mut memory, rows: 0..0, cols: 0..0, once: true, to: &mut to };
            parts.begin(5..5 + rows, 2 * width..4 * width, false);
            for panel in 2..4 {
                // SAFETY: room was made for both.
                unsafe { *parts.at(5, panel * width).0 = panel as f32 };
            }
            parts.end(2 * width..4 * width);
            assert_eq!(to.0, [(2, 2.0, rows * width), (3, 3.0, rows * width)], "{}", isa.name());
        }
    }
}
