//! Sums whose bits depend on the numbers alone.
//!
//! A vector is summed in chunks of [`CHUNK`] elements, each chunk in [`WAYS`] interleaved `f64` sums, and everything is
//! combined in one fixed order. Threads that each take whole chunks therefore agree with one thread bit for bit, and
//! all instruction sets agree with each other: the arithmetic is plain Rust, only compiled for the set.

use crate::isa::{Isa, Op, Simd};
use crate::matrix::Matrix;

/// Elements of a chunk.
pub const CHUNK: usize = 4096;
/// Interleaved sums of a chunk.
const WAYS: usize = 32;
/// Columns that are summed side by side.
const COLUMNS: usize = 32;

#[derive(Clone, Copy)]
enum Term {
    Itself,
    Square,
}

/// `Σ x[i]`
pub fn sum(isa: Isa, x: &[f32]) -> f64 {
    x.chunks(CHUNK).map(|chunk| isa.run(Chunk { x: chunk, term: Term::Itself })).sum()
}

/// `Σ x[i]²`
pub fn sum_of_squares(isa: Isa, x: &[f32]) -> f64 {
    x.chunks(CHUNK).map(|chunk| isa.run(Chunk { x: chunk, term: Term::Square })).sum()
}

/// The part of [`sum_of_squares`] that each chunk of [`CHUNK`] elements contributes; their sum in order is the whole.
///
/// # Panics
/// `out` is not as long as there are chunks.
pub fn sum_of_squares_chunks(isa: Isa, x: &[f32], out: &mut [f64]) {
    assert_eq!(out.len(), x.len().div_ceil(CHUNK), "one sum a chunk");
    for (out, chunk) in out.iter_mut().zip(x.chunks(CHUNK)) {
        *out = isa.run(Chunk { x: chunk, term: Term::Square });
    }
}

struct Chunk<'a> {
    x: &'a [f32],
    term: Term,
}

impl Op for Chunk<'_> {
    type Output = f64;
    #[inline(always)]
    fn run<S: Simd>(self, _: S) -> f64 {
        let mut sums = [0.0; WAYS];
        let (whole, rest) = self.x.as_chunks::<WAYS>();
        match self.term {
            Term::Itself => {
                for x in whole {
                    for i in 0..WAYS {
                        sums[i] += f64::from(x[i]);
                    }
                }
                for (sum, &x) in sums.iter_mut().zip(rest) {
                    *sum += f64::from(x);
                }
            }
            Term::Square => {
                for x in whole {
                    for i in 0..WAYS {
                        sums[i] += f64::from(x[i]) * f64::from(x[i]);
                    }
                }
                for (sum, &x) in sums.iter_mut().zip(rest) {
                    *sum += f64::from(x) * f64::from(x);
                }
            }
        }
        sums.iter().sum()
    }
}

/// `out[j] = Σᵢ x[i, j]`: the gradient of a bias. Each column is summed by itself in `f64`, its rows in order.
///
/// # Panics
/// `out` is not as long as `x` has columns.
pub fn column_sums(isa: Isa, x: Matrix, out: &mut [f32]) {
    assert_eq!(out.len(), x.cols(), "one sum a column");
    isa.run(Columns { x, out });
}

struct Columns<'a> {
    x: Matrix<'a>,
    out: &'a mut [f32],
}

impl Op for Columns<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        let x = self.x;
        for (block, out) in self.out.chunks_mut(COLUMNS).enumerate() {
            let first = block * COLUMNS;
            let mut sums = [0.0; COLUMNS];
            if x.col_stride() == 1 {
                for row in 0..x.rows() {
                    let row = &x.row(row)[first..][..out.len()];
                    match row.first_chunk::<COLUMNS>() {
                        Some(row) => {
                            for j in 0..COLUMNS {
                                sums[j] += f64::from(row[j]);
                            }
                        }
                        None => {
                            for (sum, &x) in sums.iter_mut().zip(row) {
                                *sum += f64::from(x);
                            }
                        }
                    }
                }
            } else {
                for (j, sum) in sums[..out.len()].iter_mut().enumerate() {
                    for i in 0..x.rows() {
                        *sum += f64::from(x.get(i, first + j));
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(sums) {
                *out = sum as f32;
            }
        }
    }
}
