//! The oracle: everything this crate computes, in `f64`, by the formulas and nothing else.
//!
//! Never optimised, never vectorised: every fast path is held against it, and a whole network can be trained with it.
//! It shares no code with the fast paths but the tables of names and the keyed random words. Its own derivatives are
//! checked by finite differences, its error function against values of 40 digits.

pub mod activation;
pub mod loss;
pub mod optimizer;

use crate::dropout::{Dropout, keep};

/// A `rows × cols` view of `f64` with any strides.
#[derive(Clone, Copy, Debug)]
pub struct View<'a> {
    /// Element (i, j) is `data[i·row_stride + j·col_stride]`.
    pub data: &'a [f64],
    /// Rows.
    pub rows: usize,
    /// Columns.
    pub cols: usize,
    /// Elements from one row to the next.
    pub row_stride: usize,
    /// Elements from one column to the next.
    pub col_stride: usize,
}

impl<'a> View<'a> {
    /// Rows one after another.
    pub fn row_major(data: &'a [f64], rows: usize, cols: usize) -> Self {
        View { data, rows, cols, row_stride: cols, col_stride: 1 }
    }

    /// The transpose.
    #[must_use]
    pub fn t(self) -> Self {
        View { rows: self.cols, cols: self.rows, row_stride: self.col_stride, col_stride: self.row_stride, ..self }
    }

    /// Element (i, j).
    pub fn get(&self, i: usize, j: usize) -> f64 {
        assert!(i < self.rows && j < self.cols, "({i}, {j}) outside {}×{}", self.rows, self.cols);
        self.data[i * self.row_stride + j * self.col_stride]
    }
}

/// `A·B`, row-major, m × n.
///
/// # Panics
/// The inner dimensions differ.
pub fn gemm(a: View, b: View) -> Vec<f64> {
    assert_eq!(a.cols, b.rows, "inner dimensions differ");
    let mut c = Vec::with_capacity(a.rows * b.cols);
    for i in 0..a.rows {
        for j in 0..b.cols {
            c.push((0..a.cols).map(|p| a.get(i, p) * b.get(p, j)).sum());
        }
    }
    c
}

/// What dropout multiplies the block's element (`row`, `col`) by: 0 or 1 / (1 − p).
pub fn dropout_factor(d: &Dropout, row: usize, col: usize) -> f64 {
    if keep(d, row, col) { 1.0 / (1.0 - f64::from(d.probability)) } else { 0.0 }
}

/// Sum of each column.
pub fn column_sums(x: View) -> Vec<f64> {
    (0..x.cols).map(|j| (0..x.rows).map(|i| x.get(i, j)).sum()).collect()
}
