//! Dropout whose mask is a pure function of (key, step, layer, row, column).
//!
//! No mask is stored: forward and backward draw the same one. The columns of a row go in groups of 64; a group is 16
//! Philox blocks, and word `w` of block `j` belongs to column `64·group + 16·w + j`. So sixteen lanes that each hold
//! one block yield four vectors of contiguous columns without a transpose, and a GPU draws the same bits. [`keep`] is
//! the mapping in scalars, the oracle of [`dropout_rows`].

use crate::isa::{Isa, Op, Simd};
use crate::matrix::MatrixMut;
use crate::philox::{Key, Rounds, philox4x32_10};

/// Columns of a group.
const GROUP: usize = 64;

/// Which mask: of what layer, in what step, how dense, and where in it the block at hand lies.
#[derive(Clone, Copy, PartialEq, Debug)]
pub struct Dropout {
    /// The trial's key.
    pub key: Key,
    /// The optimizer step, below 2^48.
    pub step: u64,
    /// What is dropped (a layer's index, say); `u32::MAX` is taken by [`Key::derive`].
    pub purpose: u32,
    /// Probability that an element is dropped, in `[0, 1)`.
    pub probability: f32,
    /// Row of the block's first element in the whole matrix.
    pub row: usize,
    /// Column of the block's first element in the whole matrix.
    pub col: usize,
    /// Columns of the whole matrix.
    pub width: usize,
}

impl Dropout {
    /// Elements whose random word is below it are dropped: `round(p · 2³²)`.
    ///
    /// # Panics
    /// The probability is not in `[0, 1)`.
    pub fn threshold(&self) -> u32 {
        assert!((0.0..1.0).contains(&self.probability), "dropout probability {} is not in [0, 1)", self.probability);
        (f64::from(self.probability) * 4_294_967_296.0).round_ties_even() as u32
    }

    /// What kept elements are multiplied by: `1 / (1 − p)`.
    pub fn scale(&self) -> f32 {
        1.0 / (1.0 - self.probability)
    }

    /// The counter of the first of the sixteen blocks of that group of that row (of the whole matrix).
    fn counter(&self, row: usize, group: usize) -> [u32; 4] {
        let block = 16 * (row as u64 * self.width.div_ceil(GROUP) as u64 + group as u64);
        let high = (self.step >> 32) as u32 & 0xffff | ((block >> 32) as u32) << 16;
        [block as u32, self.step as u32, high, self.purpose]
    }
}

/// Whether the block's element (`r`, `c`) is kept.
pub fn keep(d: &Dropout, r: usize, c: usize) -> bool {
    let (r, c) = (d.row + r, d.col + c);
    let [block, b, high, purpose] = d.counter(r, c / GROUP);
    let words = philox4x32_10([block + (c % 16) as u32, b, high, purpose], d.key.0);
    words[c / 16 % 4] >= d.threshold()
}

/// What the factors of all groups of a mask have in common.
struct Factors<'a, S: Simd> {
    d: &'a Dropout,
    rounds: Rounds<S>,
    threshold: S::U,
    scale: S::F,
}

impl<S: Simd> Factors<'_, S> {
    /// Gives 0 or the scale for each column of `N` groups to `each`, a vector at a time with its first column.
    #[inline(always)]
    fn of_groups<const N: usize>(&self, s: S, row: usize, group: usize, mut each: impl FnMut(usize, S::F)) {
        for first in (0..16).step_by(S::LANES) {
            let mut counters = [[s.splat_u(0); 4]; N];
            for (i, counter) in counters.iter_mut().enumerate() {
                let [block, b, high, purpose] = self.d.counter(row, group + i);
                *counter = [s.iota(block + first as u32), s.splat_u(b), s.splat_u(high), s.splat_u(purpose)];
            }
            for (w, word) in self.rounds.words(s, counters).as_flattened().iter().enumerate() {
                each(16 * w + first, s.select(s.ge_u(*word, self.threshold), self.scale, s.splat(0.0)));
            }
        }
    }
}

/// Multiplies a part of a row, which begins at the block's element (`row`, `col`), by its factors.
#[inline(always)]
pub(crate) fn apply<S: Simd>(s: S, d: &Dropout, row: usize, col: usize, c: &mut [f32]) {
    let (row, col) = (d.row + row, d.col + col);
    let (threshold, scale) = (s.splat_u(d.threshold()), s.splat(d.scale()));
    let factors = Factors { d, rounds: Rounds::new(s, d.key), threshold, scale };
    let mut buffer = [0.0; GROUP];
    let mut done = 0;
    while done < c.len() {
        let (group, at) = ((col + done) / GROUP, (col + done) % GROUP);
        // Fewer registers than those of AVX-512 do not hold the states of two.
        let two = c[done..].first_chunk_mut::<{ 2 * GROUP }>().filter(|_| at == 0 && S::LANES == 16);
        if let Some(x) = two {
            factors.of_groups::<2>(s, row, group, |i, factor| {
                let v = s.mul(s.load(&x[i..]), factor);
                s.store(&mut x[i..], v);
            });
            done += 2 * GROUP;
            continue;
        }
        factors.of_groups::<1>(s, row, group, |i, factor| s.store(&mut buffer[i..][..S::LANES], factor));
        let part = (GROUP - at).min(c.len() - done);
        let (x, f) = (&mut c[done..done + part], &buffer[at..]);
        for i in (0..part).step_by(S::LANES) {
            let v = s.mul(s.load(&x[i..]), s.load(&f[i..]));
            s.store(&mut x[i..], v);
        }
        done += part;
    }
}

/// Dropout of a whole block as a pass of its own (the input layer's).
///
/// `x` is `rows × cols` with column stride 1.
pub fn dropout_rows(isa: Isa, x: MatrixMut, d: Dropout) {
    isa.run(Rows { x, d });
}

struct Rows<'a> {
    x: MatrixMut<'a>,
    d: Dropout,
}

impl Op for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for row in 0..self.x.rows() {
            apply(s, &self.d, row, 0, self.x.row_mut(row));
        }
    }
}
