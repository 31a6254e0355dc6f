//! Views of a matrix in somebody else's memory.
//!
//! [`Matrix`] reads and [`MatrixMut`] writes `rows × cols` elements `ptr[i·row_stride + j·col_stride]`; a transpose,
//! a block, a column of a wider table are all views. They own nothing and know nothing of arithmetic. `from_raw`
//! exists so that several threads can write disjoint blocks of one matrix, which slices cannot express.

use std::marker::PhantomData;
use std::ops::Range;

/// Elements that a `rows × cols` view spans from its first to its last, or `None` where that overflows.
fn span(rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Option<usize> {
    if rows == 0 || cols == 0 {
        return Some(0);
    }
    (rows - 1).checked_mul(row_stride)?.checked_add((cols - 1).checked_mul(col_stride)?)?.checked_add(1)
}

/// Panics unless a slice of `len` elements holds the view.
fn check(len: usize, rows: usize, cols: usize, row_stride: usize, col_stride: usize) {
    assert!(
        span(rows, cols, row_stride, col_stride).is_some_and(|span| span <= len),
        "a {rows}×{cols} view with strides {row_stride}, {col_stride} does not fit in {len} elements"
    );
}

/// A readable `rows × cols` view of numbers, `f32` unless said; strides are in elements.
#[derive(Clone, Copy, Debug)]
pub struct Matrix<'a, T = f32> {
    ptr: *const T,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
    data: PhantomData<&'a [T]>,
}

// SAFETY: a `Matrix` grants what the `&[T]` that it stands for grants.
unsafe impl<T: Sync> Send for Matrix<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Sync> Sync for Matrix<'_, T> {}

impl<'a, T: Copy> Matrix<'a, T> {
    /// The view of `data` with those strides.
    ///
    /// # Panics
    /// The view reaches beyond `data`.
    pub fn new(data: &'a [T], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride, col_stride);
        Matrix { ptr: data.as_ptr(), rows, cols, row_stride, col_stride, data: PhantomData }
    }

    /// Rows one after another: strides `cols`, 1.
    ///
    /// # Panics
    /// `data` holds fewer than `rows · cols` elements.
    pub fn row_major(data: &'a [T], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols, 1)
    }

    /// The view that begins at `ptr`.
    ///
    /// # Safety
    /// Every element of the view is readable and not written by anyone during `'a`.
    pub unsafe fn from_raw(ptr: *const T, rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        Matrix { ptr, rows, cols, row_stride, col_stride, data: PhantomData }
    }

    /// The transpose: the same memory, rows and columns exchanged.
    #[must_use]
    pub fn t(self) -> Self {
        Matrix { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// The block of those rows and columns.
    ///
    /// # Panics
    /// A range reaches beyond the matrix.
    #[must_use]
    pub fn block(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        let ptr = self.ptr.wrapping_add(offset(self.rows, self.cols, self.row_stride, self.col_stride, &rows, &cols));
        Matrix { ptr, rows: rows.len(), cols: cols.len(), ..self }
    }

    /// Number of rows.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline(always)]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row to the next.
    #[inline(always)]
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Elements from one column to the next.
    #[inline(always)]
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// Where element (0, 0) lies; dangling where the view is empty.
    #[inline(always)]
    pub fn as_ptr(&self) -> *const T {
        self.ptr
    }

    /// Element (`i`, `j`).
    ///
    /// # Panics
    /// It lies outside the matrix.
    #[inline]
    pub fn get(&self, i: usize, j: usize) -> T {
        assert!(i < self.rows && j < self.cols, "({i}, {j}) outside {}×{}", self.rows, self.cols);
        // SAFETY: the element is one of the view's, all of which are readable.
        unsafe { *self.ptr.add(i * self.row_stride + j * self.col_stride) }
    }

    /// Row `i` as a slice.
    ///
    /// # Panics
    /// `i` is outside the matrix, or the columns are not contiguous.
    #[inline]
    pub fn row(&self, i: usize) -> &'a [T] {
        assert!(i < self.rows && (self.col_stride == 1 || self.cols <= 1), "no row {i} with contiguous columns");
        // SAFETY: the row's elements are contiguous and readable during `'a`.
        unsafe { std::slice::from_raw_parts(self.ptr.add(i * self.row_stride), self.cols) }
    }
}

/// A writable `rows × cols` view of `f32`; strides are in elements and no two elements share an address.
#[derive(Debug)]
pub struct MatrixMut<'a> {
    ptr: *mut f32,
    rows: usize,
    cols: usize,
    row_stride: usize,
    col_stride: usize,
    data: PhantomData<&'a mut [f32]>,
}

// SAFETY: a `MatrixMut` grants what the `&mut [f32]` that it stands for grants.
unsafe impl Send for MatrixMut<'_> {}
// SAFETY: as above; a shared `MatrixMut` gives no access to elements.
unsafe impl Sync for MatrixMut<'_> {}

impl<'a> MatrixMut<'a> {
    /// The view of `data` with those strides.
    ///
    /// # Panics
    /// The view reaches beyond `data`, or two of its elements share an address.
    pub fn new(data: &'a mut [f32], rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        check(data.len(), rows, cols, row_stride, col_stride);
        let empty = rows == 0 || cols == 0;
        let distinct = (rows <= 1 || row_stride > 0) && (cols <= 1 || col_stride > 0);
        let nested =
            rows <= 1 || cols <= 1 || row_stride > (cols - 1) * col_stride || col_stride > (rows - 1) * row_stride;
        assert!(
            empty || (distinct && nested),
            "elements of a {rows}×{cols} view with strides {row_stride}, {col_stride} overlap"
        );
        MatrixMut { ptr: data.as_mut_ptr(), rows, cols, row_stride, col_stride, data: PhantomData }
    }

    /// Rows one after another: strides `cols`, 1.
    ///
    /// # Panics
    /// `data` holds fewer than `rows · cols` elements.
    pub fn row_major(data: &'a mut [f32], rows: usize, cols: usize) -> Self {
        Self::new(data, rows, cols, cols, 1)
    }

    /// The view that begins at `ptr`.
    ///
    /// # Safety
    /// Every element of the view is readable and writable, no two share an address, and nobody else reads or
    /// writes them during `'a`. (The memory between the view's elements may belong to others.)
    pub unsafe fn from_raw(ptr: *mut f32, rows: usize, cols: usize, row_stride: usize, col_stride: usize) -> Self {
        MatrixMut { ptr, rows, cols, row_stride, col_stride, data: PhantomData }
    }

    /// The same view for a shorter time.
    pub fn reborrow(&mut self) -> MatrixMut<'_> {
        MatrixMut { ptr: self.ptr, data: PhantomData, ..*self }
    }

    /// The view to read.
    pub fn as_matrix(&self) -> Matrix<'_> {
        Matrix {
            ptr: self.ptr,
            rows: self.rows,
            cols: self.cols,
            row_stride: self.row_stride,
            col_stride: self.col_stride,
            data: PhantomData,
        }
    }

    /// The transpose: the same memory, rows and columns exchanged.
    #[must_use]
    pub fn t(self) -> Self {
        MatrixMut { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// The block of those rows and columns.
    ///
    /// # Panics
    /// A range reaches beyond the matrix.
    #[must_use]
    pub fn block(self, rows: Range<usize>, cols: Range<usize>) -> Self {
        let ptr = self.ptr.wrapping_add(offset(self.rows, self.cols, self.row_stride, self.col_stride, &rows, &cols));
        MatrixMut { ptr, rows: rows.len(), cols: cols.len(), ..self }
    }

    /// Number of rows.
    #[inline(always)]
    pub fn rows(&self) -> usize {
        self.rows
    }

    /// Number of columns.
    #[inline(always)]
    pub fn cols(&self) -> usize {
        self.cols
    }

    /// Elements from one row to the next.
    #[inline(always)]
    pub fn row_stride(&self) -> usize {
        self.row_stride
    }

    /// Elements from one column to the next.
    #[inline(always)]
    pub fn col_stride(&self) -> usize {
        self.col_stride
    }

    /// Where element (0, 0) lies; dangling where the view is empty.
    #[inline(always)]
    pub fn as_mut_ptr(&mut self) -> *mut f32 {
        self.ptr
    }

    /// Row `i` as a slice.
    ///
    /// # Panics
    /// `i` is outside the matrix, or the columns are not contiguous.
    #[inline]
    pub fn row_mut(&mut self, i: usize) -> &mut [f32] {
        assert!(i < self.rows && (self.col_stride == 1 || self.cols <= 1), "no row {i} with contiguous columns");
        // SAFETY: the row's elements are contiguous and this view's alone; `&mut self` keeps the row exclusive.
        unsafe { std::slice::from_raw_parts_mut(self.ptr.add(i * self.row_stride), self.cols) }
    }
}

/// The distance of element (`r.start`, `c.start`), after a check that the block lies inside.
fn offset(rows: usize, cols: usize, row_stride: usize, col_stride: usize, r: &Range<usize>, c: &Range<usize>) -> usize {
    assert!(
        r.start <= r.end && r.end <= rows && c.start <= c.end && c.end <= cols,
        "block {r:?} × {c:?} outside {rows}×{cols}"
    );
    r.start * row_stride + c.start * col_stride
}
