//! `B` in the order in which the product reads it.
//!
//! Columns are cut into panels of [`panel_width`]; a panel holds its k rows one after another. The last panel is as
//! wide as whole vectors cover what is left, its missing columns are zero. A panel's bytes depend on nothing but its
//! columns, so threads can pack different panels of one matrix.

use crate::isa::{Isa, Op, Simd};
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
    /// Rows of the matrix that was packed, and the first of them in this view.
    height: usize,
    first: usize,
    /// Columns of a panel, a power of two.
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
        Packed { ptr, k, n, stored, height: k, first: 0, width: panel_width(isa), data: PhantomData }
    }

    /// The block of those columns.
    ///
    /// # Panics
    /// The range reaches beyond the matrix, or cuts a panel: it begins at a multiple of [`panel_width`] and ends at
    /// one or with the matrix.
    #[must_use]
    pub fn cols(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.n, "columns {range:?} of {}", self.n);
        let whole = |j: usize| j.is_multiple_of(self.width);
        assert!(whole(range.start) && (whole(range.end) || range.end == self.n), "columns {range:?} cut a panel");
        Packed {
            ptr: self.ptr.wrapping_add(range.start * self.height),
            n: range.len(),
            stored: self.stored - range.start,
            ..self
        }
    }

    /// The block of those rows.
    ///
    /// # Panics
    /// The range reaches beyond the matrix.
    #[must_use]
    pub fn rows(self, range: Range<usize>) -> Self {
        assert!(range.start <= range.end && range.end <= self.k, "rows {range:?} of {}", self.k);
        Packed { k: range.len(), first: self.first + range.start, ..self }
    }

    /// Rows.
    pub fn k(&self) -> usize {
        self.k
    }

    /// Columns of this view.
    pub fn n(&self) -> usize {
        self.n
    }

    /// Where row `p` of the panel that begins at column `j` lies, and the distance to its next row.
    #[inline(always)]
    pub(super) fn panel(&self, p: usize, j: usize) -> (*const f32, usize) {
        let step = self.width.min(self.stored.saturating_sub(j));
        (self.ptr.wrapping_add(j * self.height + (self.first + p) * step), step)
    }

    /// Where element (p, j) lies, and the distance to the next row; the rest of its panel's row follows.
    #[inline(always)]
    pub(super) fn at(&self, p: usize, j: usize) -> (*const f32, usize) {
        let first = j & !(self.width - 1);
        let (panel, step) = self.panel(p, first);
        (panel.wrapping_add(j - first), step)
    }

    /// Elements from a panel to the next.
    #[inline(always)]
    pub(super) fn next_panel(&self) -> usize {
        self.height * self.width
    }

    /// Columns of a whole panel.
    pub(super) fn width(&self) -> usize {
        self.width
    }

    /// Writes this matrix row-major, without the padding.
    ///
    /// # Panics
    /// `out` is not k × n.
    pub fn unpack(&self, out: &mut [f32]) {
        assert_eq!(out.len(), self.k * self.n, "{} × {}", self.k, self.n);
        for j in (0..self.n).step_by(self.width) {
            let cols = self.width.min(self.n - j);
            for p in 0..self.k {
                let (from, step) = self.panel(p, j);
                debug_assert!(cols <= step);
                // SAFETY: the row of a panel has `step ≥ cols` readable elements.
                out[p * self.n + j..][..cols].copy_from_slice(unsafe { std::slice::from_raw_parts(from, cols) });
            }
        }
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
    let first = panels.start * panel_width(isa);
    let n = columns.min(b.cols() - first.min(b.cols()));
    let b = b.block(0..b.rows(), first.min(b.cols())..first.min(b.cols()) + n);
    let width = panel_width(isa);
    isa.run(Panels {
        from: b.as_ptr(),
        row_stride: b.row_stride(),
        col_stride: b.col_stride(),
        k: b.rows(),
        n,
        width,
        to: out,
    });
}

/// Packs a k × n matrix into panels of `width` columns; the last is as narrow as whole vectors allow.
pub(super) struct Panels {
    pub from: *const f32,
    pub row_stride: usize,
    pub col_stride: usize,
    pub k: usize,
    pub n: usize,
    /// One or two vectors.
    pub width: usize,
    pub to: *mut f32,
}

impl Op for Panels {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut to = self.to;
        for j in (0..self.n).step_by(self.width) {
            let cols = self.width.min(self.n - j);
            let width = cols.next_multiple_of(S::LANES);
            let from = self.from.wrapping_add(j * self.col_stride);
            // SAFETY: the matrix is readable and the panels writable, as the creator of `Panels` promises.
            unsafe {
                match (self.row_stride, self.col_stride) {
                    (_, 1) => rows(s, from, self.row_stride, self.k, cols, to, width),
                    (1, _) => match S::LANES {
                        16 => columns::<S, 16>(s, from, self.col_stride, self.k, cols, to, width),
                        _ => columns::<S, 8>(s, from, self.col_stride, self.k, cols, to, width),
                    },
                    _ => elements(from, self.row_stride, self.col_stride, self.k, cols, to, width),
                }
            }
            to = to.wrapping_add(self.k * width);
        }
    }
}

/// Rows that are asked for before they are needed.
const AHEAD: usize = 24;

/// A panel whose rows are contiguous in the source.
#[inline(always)]
unsafe fn rows<S: Simd>(s: S, from: *const f32, step: usize, k: usize, cols: usize, to: *mut f32, width: usize) {
    let whole = cols / S::LANES * S::LANES;
    for p in 0..k {
        let (from, to) = (from.wrapping_add(p * step), to.wrapping_add(p * width));
        s.prefetch(from.wrapping_add(AHEAD * step));
        s.prefetch(from.wrapping_add(AHEAD * step + S::LANES));
        // SAFETY: `cols` elements are readable and `width ≥ cols` writable.
        unsafe {
            for v in (0..whole).step_by(S::LANES) {
                s.store_ptr(to.add(v), s.load_ptr(from.add(v)));
            }
            if whole < cols {
                s.store_ptr(to.add(whole), s.load_first(from.add(whole), cols - whole));
            }
        }
    }
}

/// A panel whose columns are contiguous in the source: blocks of `L = LANES` columns and rows are transposed in
/// registers, by log₂ L rounds that interleave the first half of the vectors with the second.
#[inline(always)]
unsafe fn columns<S: Simd, const L: usize>(
    s: S,
    from: *const f32,
    step: usize,
    k: usize,
    cols: usize,
    to: *mut f32,
    width: usize,
) {
    for j in (0..width).step_by(L) {
        let there = cols.saturating_sub(j).min(L);
        for p in (0..k).step_by(L) {
            let len = L.min(k - p);
            let from = from.wrapping_add(j * step + p);
            let mut x = [s.splat(0.0); L];
            // SAFETY: rows p .. p + len of columns j .. j + there are readable, and rows of `width` writable.
            unsafe {
                if there == L && len == L {
                    for (c, x) in x.iter_mut().enumerate() {
                        *x = s.load_ptr(from.add(c * step));
                        s.prefetch(from.wrapping_add((c + L) * step));
                    }
                } else {
                    for (c, x) in x.iter_mut().enumerate().take(there) {
                        *x = s.load_first(from.add(c * step), len);
                        s.prefetch(from.wrapping_add((c + there) * step));
                    }
                }
                let mut distance = L / 2;
                while distance > 0 {
                    let half = x;
                    for c in 0..L / 2 {
                        (x[2 * c], x[2 * c + 1]) = s.interleave(half[c], half[c + L / 2]);
                    }
                    distance /= 2;
                }
                let to = to.add(p * width + j);
                if len == L {
                    for (r, &x) in x.iter().enumerate() {
                        s.store_ptr(to.add(r * width), x);
                    }
                } else {
                    for (r, &x) in x.iter().enumerate().take(len) {
                        s.store_ptr(to.add(r * width), x);
                    }
                }
            }
        }
    }
}

/// A panel of any strides.
#[inline(always)]
unsafe fn elements(from: *const f32, rs: usize, cs: usize, k: usize, cols: usize, to: *mut f32, width: usize) {
    for p in 0..k {
        for j in 0..width {
            // SAFETY: as in `rows`, element by element.
            unsafe { *to.add(p * width + j) = if j < cols { *from.add(p * rs + j * cs) } else { 0.0 } }
        }
    }
}
