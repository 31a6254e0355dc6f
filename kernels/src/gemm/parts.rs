//! A product whose result is used up at once, part by part, and never written to memory as a whole.

use super::blocks::{Buffer, PartsProduct, STRIPS};
use super::tile::MAX_ROWS;
use super::{Beta, Method, PackedMut, Right, Scratch, bf16, packed_len, panel_width};
use crate::epilogue::Epilogue;
use crate::isa::Isa;
use crate::matrix::Matrix;
use std::ops::Range;

/// Elements of a part of an f32 product: 256 KiB, a part of L2.
const PART: usize = 1 << 16;

/// What takes the parts of a result: their rows and panels, and the values as they lie in panels of those rows alone, with
/// zeros in the padding.
pub type Each<'a> = &'a mut dyn FnMut(Range<usize>, Range<usize>, &[f32]);

/// `C ← A·B`, of which `each` gets every part as soon as it is computed, while it is in a near cache; every element comes
/// once, with the bits of [`gemm_panels`].
///
/// # Panics
/// Shapes differ, B was packed for another instruction set, or the set has no such method.
pub fn gemm_parts(isa: Isa, method: Method, a: Matrix, b: Right, scratch: &mut Scratch, each: Each) {
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
    let c = Parts { isa, memory: &mut memory, rows: 0..0, cols: 0..0, each };
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

/// The part that is being computed.
pub(super) struct Parts<'a> {
    isa: Isa,
    memory: &'a mut Buffer,
    rows: Range<usize>,
    /// Begins with a panel, and ends with one or with C.
    cols: Range<usize>,
    each: Each<'a>,
}

impl std::fmt::Debug for Parts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Parts").field("rows", &self.rows).field("cols", &self.cols).finish_non_exhaustive()
    }
}

impl Parts<'_> {
    fn len(&self) -> usize {
        packed_len(self.isa, self.rows.len(), self.cols.len())
    }

    /// The memory of the part.
    fn panels(&mut self) -> PackedMut<'_> {
        // SAFETY: `part_len` elements were made room for, and the part is no larger.
        unsafe { PackedMut::from_raw(self.isa, self.memory.as_mut_ptr(), self.rows.len(), self.cols.len()) }
    }

    /// Where element (i, j) of C lies, and the distance to the next row.
    #[inline(always)]
    pub fn at(&mut self, i: usize, j: usize) -> (*mut f32, usize) {
        let (row, col) = (i - self.rows.start, j - self.cols.start);
        self.panels().at(row, col)
    }

    /// Turns to another part.
    pub fn begin(&mut self, rows: Range<usize>, cols: Range<usize>) {
        (self.rows, self.cols) = (rows, cols);
        if !self.cols.len().is_multiple_of(self.isa.lanes()) {
            let len = self.len();
            // SAFETY: as in `panels`.
            unsafe { std::slice::from_raw_parts_mut(self.memory.as_mut_ptr(), len) }.fill(0.0);
        }
    }

    /// Hands it out.
    pub fn end(&mut self) {
        let (len, width) = (self.len(), panel_width(self.isa));
        // SAFETY: as in `panels`.
        let values = unsafe { std::slice::from_raw_parts(self.memory.as_mut_ptr(), len) };
        (self.each)(self.rows.clone(), self.cols.start / width..self.cols.end.div_ceil(width), values);
    }
}
