//! A product whose result is used up at once, part by part, and never written to memory as a whole.

use super::blocks::{Buffer, PartsProduct, STRIPS};
use super::tile::MAX_ROWS;
use super::{Beta, Method, Right, Scratch, bf16, packed_len, panel_width};
use crate::epilogue::Epilogue;
use crate::isa::Isa;
use crate::matrix::Matrix;
use std::ops::Range;

/// Elements of a part of an f32 product: 256 KiB, a part of L2.
const PART: usize = 1 << 16;

/// What takes the parts of a result.
pub trait Take {
    /// Those rows of that panel, as they lie in a panel of these rows alone, with zeros in the padding.
    fn take(&mut self, rows: Range<usize>, panel: usize, values: &[f32]);

    /// Memory that `take` will read for them, to be asked for while they are computed.
    fn needs(&self, rows: Range<usize>, panel: usize) -> [&[f32]; 3];
}

/// `C ← A·B`, of which `to` gets every part as soon as it is computed, while it is in a near cache; every element comes
/// once, with the bits of [`gemm_panels`].
///
/// # Panics
/// Shapes differ, B was packed for another instruction set, or the set has no such method.
pub fn gemm_parts(isa: Isa, method: Method, a: Matrix, b: Right, scratch: &mut Scratch, to: &mut dyn Take) {
    let (m, k, n, width) = (a.rows(), a.cols(), b.cols(), panel_width(isa));
    assert!(b.rows() == k, "{m}×{k} by {}×{n}", b.rows());
    if let Right::Packed(b) | Right::Transposed(b) = &b {
        assert!(b.width() == width, "B is packed in panels of {} columns", b.width());
    }
    if m == 0 || n == 0 {
        return;
    }
    let mut memory = std::mem::take(&mut scratch.part);
    memory.grow(part_len(isa, m, n));
    let c = Parts { isa, memory: &mut memory, rows: 0..0, cols: 0..0, once: true, to };
    if method == Method::F32 {
        isa.run(PartsProduct { a, b, c, scratch });
    } else {
        let c = bf16::Out::Parts(c);
        bf16::run(isa, method, bf16::Args { a, b, c, beta: Beta::Zero, epilogue: Epilogue::None }, scratch);
    }
    scratch.part = memory;
}

/// Columns of a part of an f32 product of so many rows, in whole panels.
pub(super) fn columns(rows: usize, panel: usize) -> usize {
    panel * (PART / (rows * panel).max(1)).max(1)
}

/// Elements that a part of m × n takes at most.
pub(super) fn part_len(isa: Isa, m: usize, n: usize) -> usize {
    let f32 = PART.max(STRIPS * MAX_ROWS * panel_width(isa));
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

    /// Hands out the panel of those columns.
    pub fn end(&mut self, cols: Range<usize>) {
        let stored = cols.len().next_multiple_of(self.isa.lanes());
        let (from, _) = self.at(self.rows.start, cols.start);
        // SAFETY: `part_len` elements were made room for, and those of the rows and columns are no more.
        let values = unsafe { std::slice::from_raw_parts_mut(from, self.rows.len() * stored) };
        if cols.len() < stored {
            values.chunks_exact_mut(stored).for_each(|row| row[cols.len()..].fill(0.0));
        }
        self.to.take(self.rows.clone(), cols.start / panel_width(self.isa), values);
    }
}
