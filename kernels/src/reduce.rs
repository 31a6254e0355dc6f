//! Sums whose bits depend on the numbers alone.
//!
//! A vector is summed in chunks of [`CHUNK`] elements, each chunk in 32 interleaved `f64` sums, and everything is
//! combined in one fixed order. Threads that each take whole chunks therefore agree with one thread bit for bit, and
//! all instruction sets agree with each other, whatever their number of lanes.

use crate::isa::{Isa, Op, Simd};
use crate::matrix::Matrix;

/// Elements of a chunk.
pub const CHUNK: usize = 4096;
/// Interleaved sums of a chunk.
const WAYS: usize = 32;
/// The fewest lanes of any instruction set.
const MIN_LANES: usize = 8;

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
    fn run<S: Simd>(self, s: S) -> f64 {
        let mut sums = Sums::new(s);
        // Whole pieces by themselves, so that the compiler sees their length; a short end's missing lanes add 0.
        let (whole, rest) = self.x.as_chunks::<WAYS>();
        for x in whole {
            sums.add(x, self.term);
        }
        sums.add(rest, self.term);
        sums.ways().iter().sum()
    }
}

/// 32 sums in as many vectors as that takes.
struct Sums<S: Simd> {
    s: S,
    vectors: [S::W; WAYS / MIN_LANES],
}

impl<S: Simd> Sums<S> {
    #[inline(always)]
    fn new(s: S) -> Self {
        Sums { s, vectors: [s.zero_w(); WAYS / MIN_LANES] }
    }

    /// Adds the terms of at most 32 numbers, one to each sum.
    #[inline(always)]
    fn add(&mut self, x: &[f32], term: Term) {
        let s = self.s;
        for (sum, x) in self.vectors.iter_mut().zip(x.chunks(S::LANES)) {
            let x = s.load(x);
            *sum = match term {
                Term::Itself => s.add_w(*sum, x),
                Term::Square => s.add_square_w(*sum, x),
            };
        }
    }

    #[inline(always)]
    fn ways(&self) -> [f64; WAYS] {
        let mut ways = [0.0; WAYS];
        for (way, sum) in ways.chunks_mut(S::LANES).zip(self.vectors) {
            self.s.store_w(way, sum);
        }
        ways
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
    fn run<S: Simd>(self, s: S) {
        let x = self.x;
        for (block, out) in self.out.chunks_mut(WAYS).enumerate() {
            let first = block * WAYS;
            let mut ways = [0.0; WAYS];
            if x.col_stride() == 1 {
                let mut sums = Sums::new(s);
                for row in 0..x.rows() {
                    let row = &x.row(row)[first..][..out.len()];
                    match row.first_chunk::<WAYS>() {
                        Some(whole) => sums.add(whole, Term::Itself),
                        None => sums.add(row, Term::Itself),
                    }
                }
                ways = sums.ways();
            } else {
                for (j, sum) in ways[..out.len()].iter_mut().enumerate() {
                    for i in 0..x.rows() {
                        *sum += f64::from(x.get(i, first + j));
                    }
                }
            }
            for (out, sum) in out.iter_mut().zip(ways) {
                *out = sum as f32;
            }
        }
    }
}
