//! The matrix product.
//!
//! [`gemm`] computes `C ← A·B + β·C` and an epilogue on the rows of the result. It is not a BLAS: no α, no
//! triangles, no threads: a caller with several threads gives each a block of `C`. An element is the chain
//! `c ← fma(a[i,p], b[p,j], c)` over p = 0, 1, …, k−1 that begins with `β·c`, whatever the blocking, the packing and
//! the block of `C` that was asked for; so results never depend on how the work was split. [`gemm_by`] computes
//! it from bf16 terms instead ([`Method`]).

mod bf16;
mod blocks;
mod pack;
mod parts;
#[cfg(test)]
mod tests;
mod tile;

pub use bf16::{Method, bf16_multiply_adds, bf16_peak};
pub use blocks::Scratch;
use pack::PANEL_VECTORS;
pub use pack::{Packed, pack, pack_raw, packed_len, panel_width};
pub use parts::{Take, gemm_parts};

use blocks::Product;

use crate::epilogue::Epilogue;
use crate::isa::Isa;
use crate::matrix::{Matrix, MatrixMut};
use std::ops::Range;

/// What becomes of the old `C`.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Beta {
    /// `C ← A·B`; the old content is not read and may be anything, NaN included.
    Zero,
    /// `C ← A·B + C`.
    One,
}

/// The left operand `A`, m × k, any strides.
#[derive(Clone, Copy, Debug)]
pub enum Left<'a> {
    /// As it lies in memory.
    Strided(Matrix<'a>),
    /// Bytes that stand for `byte · scale`, for products of bf16 terms: a byte is one term, exactly, and the sums
    /// are multiplied by the scale.
    Bytes(Matrix<'a, u8>, f32),
}

impl<'a> From<Matrix<'a>> for Left<'a> {
    fn from(a: Matrix<'a>) -> Self {
        Left::Strided(a)
    }
}

impl<'a> Left<'a> {
    /// Rows, those of `C`.
    pub fn rows(&self) -> usize {
        match self {
            Left::Strided(a) => a.rows(),
            Left::Bytes(a, _) => a.rows(),
        }
    }

    /// Columns, the length of the sums.
    pub fn cols(&self) -> usize {
        match self {
            Left::Strided(a) => a.cols(),
            Left::Bytes(a, _) => a.cols(),
        }
    }

    /// The transpose: the same memory, rows and columns exchanged.
    #[must_use]
    pub fn t(self) -> Self {
        match self {
            Left::Strided(a) => Left::Strided(a.t()),
            Left::Bytes(a, scale) => Left::Bytes(a.t(), scale),
        }
    }

    /// The block of those rows.
    ///
    /// # Panics
    /// The range reaches beyond the matrix.
    #[must_use]
    pub fn block(self, rows: Range<usize>) -> Self {
        match self {
            Left::Strided(a) => Left::Strided(a.block(rows, 0..a.cols())),
            Left::Bytes(a, scale) => Left::Bytes(a.block(rows, 0..a.cols()), scale),
        }
    }

    /// The numbers, unless they are bytes.
    pub fn strided(self) -> Option<Matrix<'a>> {
        match self {
            Left::Strided(a) => Some(a),
            Left::Bytes(..) => None,
        }
    }

    /// The operand of a chain of f32.
    ///
    /// # Panics
    /// They are bytes.
    fn numbers(self) -> Matrix<'a> {
        match self {
            Left::Strided(a) => a,
            Left::Bytes(..) => panic!("bytes are for products of bf16 terms"),
        }
    }
}

/// The right operand `B`, k × n.
#[derive(Clone, Copy, Debug)]
pub enum Right<'a> {
    /// As it lies in memory.
    Strided(Matrix<'a>),
    /// Packed by [`pack`] for the same instruction set.
    Packed(Packed<'a>),
    /// The transpose of this n × k matrix, packed likewise.
    Transposed(Packed<'a>),
}

impl Right<'_> {
    /// Rows, the length of the sums.
    pub fn rows(&self) -> usize {
        match self {
            Right::Strided(b) => b.rows(),
            Right::Packed(b) => b.k(),
            Right::Transposed(b) => b.n(),
        }
    }

    /// Columns, those of `C`.
    pub fn cols(&self) -> usize {
        match self {
            Right::Strided(b) => b.cols(),
            Right::Packed(b) => b.n(),
            Right::Transposed(b) => b.k(),
        }
    }
}

/// `C ← A·B + β·C`, then the epilogue on each row.
#[derive(Debug)]
pub struct Gemm<'a> {
    /// Left operand, m × k.
    pub a: Left<'a>,
    /// Right operand, k × n.
    pub b: Right<'a>,
    /// Result, m × n, any strides; contiguous columns where there is an epilogue.
    pub c: MatrixMut<'a>,
    /// Whether the product is added to the old `C`.
    pub beta: Beta,
    /// Applied to every row of the result once.
    pub epilogue: Epilogue<'a>,
}

/// `C ← A·B + β·C`, then the epilogue. See [`Gemm`] for the operands.
///
/// # Panics
/// Shapes differ, B was packed for another instruction set, or there is an epilogue and the columns of `C` are not
/// contiguous.
pub fn gemm(isa: Isa, args: Gemm, scratch: &mut Scratch) {
    gemm_by(isa, Method::F32, args, scratch);
}

/// As [`gemm`], by another method ([`Method::choose`]).
///
/// # Panics
/// As [`gemm`]; or the set has no such method ([`Method::is_available`]), or it is chains of f32 and A are bytes.
pub fn gemm_by(isa: Isa, method: Method, args: Gemm, scratch: &mut Scratch) {
    let (m, k, n) = (args.a.rows(), args.a.cols(), args.b.cols());
    assert!(
        args.b.rows() == k && args.c.rows() == m && args.c.cols() == n,
        "{m}×{k} by {}×{n} into {}×{}",
        args.b.rows(),
        args.c.rows(),
        args.c.cols()
    );
    if let Right::Packed(b) | Right::Transposed(b) = &args.b {
        assert!(b.width() == panel_width(isa), "B is packed in panels of {} columns", b.width());
    }
    if m == 0 || n == 0 {
        return;
    }
    if args.c.col_stride() == 1 || n == 1 {
        run(isa, method, args, scratch);
        return;
    }
    assert!(matches!(args.epilogue, Epilogue::None), "an epilogue needs a C of contiguous columns");
    match args {
        Gemm { a: Left::Strided(a), b: Right::Strided(b), c, beta, epilogue } if m == 1 || c.row_stride() == 1 => {
            let transposed = Gemm { a: b.t().into(), b: Right::Strided(a.t()), c: c.t(), beta, epilogue };
            run(isa, method, transposed, scratch);
        }
        args => scattered(isa, method, args, scratch),
    }
}

/// A product of which C has contiguous columns and m, n ≥ 1.
fn run(isa: Isa, method: Method, args: Gemm, scratch: &mut Scratch) {
    if method == Method::F32 {
        return isa.run(Product { args, scratch });
    }
    let Gemm { a, b, c, beta, epilogue } = args;
    bf16::run(isa, method, bf16::Args { a, b, c: bf16::Out::Rows(c), beta, epilogue }, scratch);
}

/// Rows and columns of the tile through which a product reaches a C of which no stride is 1.
const TILE: (usize, usize) = (64, 256);

/// `C ← A·B + β·C` where C has no contiguous direction: tile by tile through memory that has.
fn scattered(isa: Isa, method: Method, args: Gemm, scratch: &mut Scratch) {
    let Gemm { a, b, mut c, beta, .. } = args;
    let (m, k, n) = (a.rows(), a.cols(), b.cols());
    let (rs, cs) = (c.row_stride(), c.col_stride());
    let mut tile = std::mem::take(&mut scratch.tile);
    tile.grow(TILE.0 * TILE.1);
    for i in (0..m).step_by(TILE.0) {
        for j in (0..n).step_by(TILE.1) {
            let (rows, cols) = (TILE.0.min(m - i), TILE.1.min(n - j));
            let corner = c.as_mut_ptr().wrapping_add(i * rs + j * cs);
            let each = || (0..rows).flat_map(|r| (0..cols).map(move |q| (r * rs + q * cs, r * cols + q)));
            let data = tile.as_mut_ptr();
            if beta == Beta::One {
                // SAFETY: elements of C, and of a tile of `rows · cols ≤ TILE.0 · TILE.1`.
                each().for_each(|(there, here)| unsafe { *data.add(here) = *corner.add(there) });
            }
            let b = match b {
                Right::Strided(b) => Right::Strided(b.block(0..k, j..j + cols)),
                Right::Packed(b) => Right::Packed(b.cols(j..j + cols)),
                Right::Transposed(b) => Right::Transposed(b.rows(j..j + cols)),
            };
            // SAFETY: the tile is this call's alone and large enough.
            let inner = unsafe { MatrixMut::from_raw(data, rows, cols, cols, 1) };
            let a = a.block(i..i + rows);
            run(isa, method, Gemm { a, b, c: inner, beta, epilogue: Epilogue::None }, scratch);
            // SAFETY: as above.
            each().for_each(|(there, here)| unsafe { *corner.add(there) = *data.add(here) });
        }
    }
    scratch.tile = tile;
}
