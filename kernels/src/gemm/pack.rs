//! `B` in the order in which the product reads it.
//!
//! Columns are cut into panels of [`panel_width`]; a panel holds its k rows one after another. The last panel is as
//! wide as whole vectors cover what is left, its missing columns are zero. A panel's bytes depend on nothing but its
//! columns, so threads can pack different panels of one matrix.

use crate::isa::Isa;
use crate::matrix::Matrix;
use std::marker::PhantomData;
use std::ops::Range;

/// Vectors across a panel.
pub(super) const PANEL_VECTORS: usize = 2;

/// Columns of a panel: two vectors.
pub fn panel_width(isa: Isa) -> usize {
    PANEL_VECTORS * isa.lanes()
}

/// Elements that the packed form of a k × n matrix takes; panel `p` begins at `p · panel_width · k`.
pub fn packed_len(isa: Isa, k: usize, n: usize) -> usize {
    k * n.next_multiple_of(isa.lanes())
}

/// A k × n matrix in packed form, in memory of the caller.
#[derive(Clone, Copy, Debug)]
pub struct Packed<'a> {
    ptr: *const f32,
    k: usize,
    n: usize,
    /// Columns, with padding, from the first of this view to the last of the matrix that was packed.
    stored: usize,
    width: usize,
    data: PhantomData<&'a [f32]>,
}

// SAFETY: a `Packed` grants what the `&[f32]` that it stands for grants.
unsafe impl Send for Packed<'_> {}
// SAFETY: as above.
unsafe impl Sync for Packed<'_> {}

impl<'a> Packed<'a> {
    /// The view of `data`, into which every panel of a k × n matrix was packed for `isa`.
    ///
    /// # Panics
    /// `data` is shorter than [`packed_len`].
    pub fn new(isa: Isa, data: &'a [f32], k: usize, n: usize) -> Self {
        assert!(data.len() >= packed_len(isa, k, n), "{} elements cannot hold a packed {k}×{n} matrix", data.len());
        // SAFETY: the slice is readable during `'a` and long enough.
        unsafe { Self::from_raw(isa, data.as_ptr(), k, n) }
    }

    /// As [`Packed::new`], from a pointer.
    ///
    /// # Safety
    /// [`packed_len`] elements from `ptr` are readable and not written by anyone during `'a`.
    pub unsafe fn from_raw(isa: Isa, ptr: *const f32, k: usize, n: usize) -> Self {
        let stored = n.next_multiple_of(isa.lanes());
        Packed { ptr, k, n, stored, width: panel_width(isa), data: PhantomData }
    }

    /// The block of those columns.
    ///
    /// # Panics
    /// The range reaches beyond the matrix, or does not begin at a multiple of [`panel_width`].
    #[must_use]
    pub fn cols(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.n, "columns {range:?} of {}", self.n);
        assert!(range.start.is_multiple_of(self.width) || range.is_empty(), "column {} begins no panel", range.start);
        Packed {
            ptr: self.ptr.wrapping_add(range.start * self.k),
            n: range.len(),
            stored: self.stored - range.start,
            ..self
        }
    }

    /// Rows.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of this view.
    pub fn n(&self) -> usize {
        self.n
    }

    pub(super) fn get(&self, p: usize, j: usize) -> f32 {
        let start = j / self.width * self.width;
        let stride = self.width.min(self.stored - start);
        // SAFETY: an element of the view.
        unsafe { *self.ptr.add(start * self.k + p * stride + j % self.width) }
    }
}

/// Packs the panels of that range of `b` (k × n) into `out`, which begins with the first of them.
///
/// # Panics
/// `out` is too short, or the range reaches beyond the last panel.
pub fn pack(isa: Isa, b: Matrix, panels: Range<usize>, out: &mut [f32]) {
    let columns = packed_columns(isa, &b, &panels);
    assert!(out.len() >= b.rows() * columns, "{} elements for {columns} columns of {} rows", out.len(), b.rows());
    // SAFETY: the slice is writable and long enough.
    unsafe { pack_raw(isa, b, panels, out.as_mut_ptr()) }
}

/// Columns, with padding, of a range of panels.
fn packed_columns(isa: Isa, b: &Matrix, panels: &Range<usize>) -> usize {
    let (width, stored) = (panel_width(isa), b.cols().next_multiple_of(isa.lanes()));
    assert!(panels.end <= stored.div_ceil(width), "panels {panels:?} of a matrix of {} columns", b.cols());
    (panels.end * width).min(stored).saturating_sub(panels.start * width)
}

/// As [`pack`], to a pointer.
///
/// # Safety
/// The packed panels fit in the memory at `out`, which nobody else reads or writes meanwhile.
pub unsafe fn pack_raw(isa: Isa, b: Matrix, panels: Range<usize>, out: *mut f32) {
    let columns = packed_columns(isa, &b, &panels);
    let (width, k) = (panel_width(isa), b.rows());
    let first = panels.start * width;
    for j in 0..columns {
        let start = j / width * width;
        let stride = width.min(columns - start);
        for p in 0..k {
            let x = if first + j < b.cols() { b.get(p, first + j) } else { 0.0 };
            // SAFETY: within the panels, as the caller promises.
            unsafe { *out.add(start * k + p * stride + j % width) = x }
        }
    }
}
