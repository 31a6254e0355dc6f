//! The matrix product.
//!
//! [`gemm`] computes `C ← A·B + β·C` and an epilogue on the rows of the result. It is not a BLAS: no α, no
//! triangles, no threads: a caller with several threads gives each a block of `C`. An element is the chain
//! `c ← fma(a[i,p], b[p,j], c)` over p = 0, 1, …, k−1 that begins with `β·c`, whatever the blocking, the packing and
//! the block of `C` that was asked for; so results never depend on how the work was split.

mod pack;
pub use pack::{Packed, pack, pack_raw, packed_len, panel_width};

use crate::epilogue::Epilogue;
use crate::isa::{Isa, Op, Simd};
use crate::matrix::{Matrix, MatrixMut};

/// What becomes of the old `C`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beta {
    /// `C ← A·B`; the old content is not read and may be anything, NaN included.
    Zero,
    /// `C ← A·B + C`.
    One,
}

/// The right operand `B`, k × n.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// As it lies in memory.
    Strided(Matrix<'a>),
    /// Packed by [`pack`] for the same instruction set.
    Packed(Packed<'a>),
}

impl Right<'_> {
    /// Rows, the length of the sums.
    pub fn rows(&self) -> usize {
        match self {
            Right::Strided(b) => b.rows(),
            Right::Packed(b) => b.k(),
        }
    }

    /// Columns, those of `C`.
    pub fn cols(&self) -> usize {
        match self {
            Right::Strided(b) => b.cols(),
            Right::Packed(b) => b.n(),
        }
    }
}

/// `C ← A·B + β·C`, then the epilogue on each row.
#[derive(Debug)]
pub struct Gemm<'a> {
    /// Left operand, m × k, any strides.
    pub a: Matrix<'a>,
    /// Right operand, k × n.
    pub b: Right<'a>,
    /// Result, m × n, any strides; contiguous columns where there is an epilogue.
    pub c: MatrixMut<'a>,
    /// Whether the product is added to the old `C`.
    pub beta: Beta,
    /// Applied to every row of the result once.
    pub epilogue: Epilogue<'a>,
}

/// Working memory of [`gemm`]: grows to what the largest product so far needed.
#[derive(Debug, Default)]
pub struct Scratch {}

impl Scratch {
    /// Memory for every product of at most those sizes, so that none of them allocates.
    pub fn with_capacity_for(_isa: Isa, _max_m: usize, _max_k: usize, _max_n: usize) -> Self {
        Scratch {}
    }
}

/// `C ← A·B + β·C`, then the epilogue. See [`Gemm`] for the operands.
///
/// # Panics
/// Shapes differ, or there is an epilogue and the columns of `C` are not contiguous.
pub fn gemm(isa: Isa, args: Gemm, _scratch: &mut Scratch) {
    isa.run(Run { args });
}

struct Run<'a> {
    args: Gemm<'a>,
}

impl Op for Run<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gemm { a, b, mut c, beta, mut epilogue } = self.args;
        let (m, k, n) = (a.rows(), a.cols(), b.cols());
        assert!(b.rows() == k && c.rows() == m && c.cols() == n, "shapes differ");
        let (rs, cs) = (c.row_stride(), c.col_stride());
        for i in 0..m {
            for j in 0..n {
                // SAFETY: (i, j) is an element of C.
                let x = unsafe { &mut *c.as_mut_ptr().add(i * rs + j * cs) };
                let mut sum = if beta == Beta::Zero { 0.0 } else { *x };
                for p in 0..k {
                    let w = match &b {
                        Right::Strided(b) => b.get(p, j),
                        Right::Packed(b) => b.get(p, j),
                    };
                    sum = a.get(i, p).mul_add(w, sum);
                }
                *x = sum;
            }
            if !matches!(epilogue, Epilogue::None) {
                epilogue.apply_row(s, i, 0, c.row_mut(i));
            }
        }
    }
}
