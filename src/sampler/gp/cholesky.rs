//! Dense factors of symmetric positive matrices, f64, in tiles of 8 × 8.
//!
//! A matrix has whole rows and columns of [`Lanes`]: it is filled up by a unit matrix, which changes nothing and leaves
//! no edges. Factor, inverse of the factor and inverse of the matrix are each a sweep over tiles that subtracts
//!
//! T[r][c] −= Σₖ P[k][r]·Q[k][c],
//!
//! the one loop in which nearly all the time goes ([`subtract`]), and a small triangle that is solved in place. Its
//! bounds are two vector products and differences a cycle, so n = 100 with all three takes some ten microseconds.

use super::lanes::{Lanes, WIDTH, dot, padded};
use hpt_kernels::isa::Simd;

/// Eight rows of one block of columns.
pub(super) type Tile = [Lanes; WIDTH];

/// A lower triangular factor L with A = L·Lᵀ, as its inverse.
#[derive(Clone, Debug)]
pub(super) struct Cholesky {
    n: usize,
    /// Blocks of columns of a row.
    blocks: usize,
    /// L⁻¹, row by row, zero above the diagonal.
    inverse: Vec<Lanes>,
    /// Σ ln Lᵢᵢ = ½·ln|A|.
    half_log_determinant: f64,
}

impl Cholesky {
    /// Of a unit matrix of n rows.
    pub(super) fn unit(n: usize) -> Self {
        let blocks = n.div_ceil(WIDTH);
        let mut inverse = vec![Lanes::ZERO; blocks * blocks * WIDTH];
        (0..blocks * WIDTH).for_each(|i| inverse[i * blocks + i / WIDTH].0[i % WIDTH] = 1.0);
        Cholesky { n, blocks, inverse, half_log_determinant: 0.0 }
    }

    /// Factors another matrix of that size, of which the upper triangle is given in rows of whole lanes with a unit
    /// matrix behind (the upper triangle of tiles is overwritten by U = Lᵀ). False where it is not positive: then
    /// nothing is to be asked of the factor.
    #[inline(always)]
    pub(super) fn refactor<S: Simd>(&mut self, s: S, a: &mut [Lanes]) -> bool {
        let Some(half_log_determinant) = factor(s, self.blocks, a, &mut self.inverse) else { return false };
        self.half_log_determinant = half_log_determinant;
        invert_factor(s, self.blocks, a, &mut self.inverse);
        true
    }

    pub(super) fn half_log_determinant(&self) -> f64 {
        self.half_log_determinant
    }

    /// L⁻¹·b.
    #[inline(always)]
    pub(super) fn half_solve(&self, b: &[Lanes]) -> Vec<Lanes> {
        let mut out = vec![Lanes::ZERO; self.blocks];
        for i in 0..self.n {
            let last = i / WIDTH;
            let row = &self.inverse[i * self.blocks..i * self.blocks + last + 1];
            out[last].0[i % WIDTH] = dot(row, &b[..last + 1]);
        }
        out
    }

    /// L⁻ᵀ·v: after [`Cholesky::half_solve`] the solution of A·x = b.
    #[inline(always)]
    pub(super) fn half_solve_transposed(&self, v: &[Lanes]) -> Vec<Lanes> {
        let mut out = vec![Lanes::ZERO; self.blocks];
        for (block, out) in out.iter_mut().enumerate() {
            for i in block * WIDTH..self.n {
                *out = *out + self.inverse[i * self.blocks + block] * v[i / WIDTH].0[i % WIDTH];
            }
        }
        out
    }

    /// A⁻¹·b.
    pub(super) fn solve(&self, b: &[f64]) -> Vec<Lanes> {
        self.half_solve_transposed(&self.half_solve(&padded(b)))
    }

    /// Σᵢ (L⁻¹·K)ᵢ² for eight columns of K at once, given row by row.
    #[inline(always)]
    pub(super) fn squared_halves(&self, k: &[Lanes]) -> Lanes {
        let mut sum = Lanes::ZERO;
        for first in (0..self.n).step_by(WIDTH) {
            let mut tile = [Lanes::ZERO; WIDTH];
            for (j, k) in k.iter().enumerate().take(first + WIDTH) {
                for (r, row) in tile.iter_mut().enumerate() {
                    *row = *row + *k * self.inverse[(first + r) * self.blocks + j / WIDTH].0[j % WIDTH];
                }
            }
            let used = WIDTH.min(self.n - first);
            sum = tile[..used].iter().fold(sum, |sum, row| sum + *row * *row);
        }
        sum
    }

    /// −A⁻¹ at a tile, `row` ≤ `column`; rows and columns beyond n are not to be used.
    #[inline(always)]
    pub(super) fn negated_inverse<S: Simd>(&self, s: S, row: usize, column: usize) -> Tile {
        let mut tile = [Lanes::ZERO; WIDTH];
        let operands = Operands { p: &self.inverse, q: &self.inverse, blocks: self.blocks, row, column };
        subtract(s, &mut tile, operands, column * WIDTH, self.blocks * WIDTH);
        tile
    }
}

/// P and Q of [`subtract`], each with rows of so many blocks, and the block of columns that is read of each.
struct Operands<'a> {
    p: &'a [Lanes],
    q: &'a [Lanes],
    blocks: usize,
    row: usize,
    column: usize,
}

/// T[r][c] −= Σ P[k][r]·Q[k][c] over k from `from` to `to`, in that order.
#[inline(always)]
fn subtract<S: Simd>(_: S, tile: &mut Tile, operands: Operands, from: usize, to: usize) {
    // As many rows at once as there are registers for.
    match S::LANES {
        16 => subtract_rows::<8>(tile, &operands, from, to),
        _ => subtract_rows::<4>(tile, &operands, from, to),
    }
}

#[inline(always)]
fn subtract_rows<const R: usize>(tile: &mut Tile, operands: &Operands, from: usize, to: usize) {
    let Operands { p, q, blocks, row, column } = *operands;
    for first in (0..WIDTH).step_by(R) {
        let mut rows = [Lanes::ZERO; R];
        rows.copy_from_slice(&tile[first..first + R]);
        for k in from..to {
            let (left, right) = (&p[k * blocks + row].0, q[k * blocks + column]);
            for r in 0..R {
                rows[r] = rows[r] - right * left[first + r];
            }
        }
        tile[first..first + R].copy_from_slice(&rows);
    }
}

#[inline(always)]
fn load(a: &[Lanes], blocks: usize, row: usize, column: usize) -> Tile {
    let mut tile = [Lanes::ZERO; WIDTH];
    for (r, own) in tile.iter_mut().enumerate() {
        *own = a[(row * WIDTH + r) * blocks + column];
    }
    tile
}

#[inline(always)]
fn store(a: &mut [Lanes], blocks: usize, row: usize, column: usize, tile: &Tile) {
    for (r, own) in tile.iter().enumerate() {
        a[(row * WIDTH + r) * blocks + column] = *own;
    }
}

/// A = Uᵀ·U in place, but for the tiles of the diagonal, of which `inverse` gets U⁻ᵀ; ½·ln|A|, or none where A is not
/// positive.
#[inline(always)]
fn factor<S: Simd>(s: S, blocks: usize, a: &mut [Lanes], inverse: &mut [Lanes]) -> Option<f64> {
    let mut half_log_determinant = 0.0;
    let mut diagonal = [Lanes::ZERO; WIDTH];
    for row in 0..blocks {
        for column in row..blocks {
            let original = load(a, blocks, row, column);
            let mut tile = original;
            subtract(s, &mut tile, Operands { p: a, q: a, blocks, row, column }, 0, row * WIDTH);
            if row == column {
                half_log_determinant += factor_tile(&original, &mut tile, &mut diagonal)?;
                store(inverse, blocks, row, row, &diagonal);
            } else {
                store(a, blocks, row, column, &times(&diagonal, &tile));
            }
        }
    }
    Some(half_log_determinant)
}

/// ½·ln|T| and U⁻ᵀ of a tile T = Uᵀ·U, which is overwritten; `original` is T before anything was taken off.
#[inline(always)]
fn factor_tile(original: &Tile, tile: &mut Tile, inverse: &mut Tile) -> Option<f64> {
    let mut roots = Lanes::ZERO;
    for (r, own) in inverse.iter_mut().enumerate() {
        *own = Lanes::ZERO;
        own.0[r] = 1.0;
    }
    for r in 0..WIDTH {
        let left = tile[r].0[r];
        if left.is_nan() || left <= 1e-14 * original[r].0[r].abs() {
            return None;
        }
        roots.0[r] = left.sqrt();
        let (row, own) = (tile[r] * (1.0 / roots.0[r]), inverse[r] * (1.0 / roots.0[r]));
        (tile[r], inverse[r]) = (row, own);
        for q in r + 1..WIDTH {
            tile[q] = tile[q] - row * row.0[q];
            inverse[q] = inverse[q] - own * row.0[q];
        }
    }
    Some(roots.ln().sum())
}

/// L·T for a lower triangle L.
#[inline(always)]
fn times(lower: &Tile, tile: &Tile) -> Tile {
    let mut out = [Lanes::ZERO; WIDTH];
    for (q, row) in tile.iter().enumerate() {
        for (out, lower) in out.iter_mut().zip(lower) {
            *out = *out + *row * lower.0[q];
        }
    }
    out
}

/// X = U⁻ᵀ, row by row, from its diagonal of tiles.
#[inline(always)]
fn invert_factor<S: Simd>(s: S, blocks: usize, upper: &[Lanes], x: &mut [Lanes]) {
    for row in 0..blocks {
        let diagonal = load(x, blocks, row, row);
        for column in 0..row {
            let mut tile = [Lanes::ZERO; WIDTH];
            subtract(s, &mut tile, Operands { p: upper, q: x, blocks, row, column }, column * WIDTH, row * WIDTH);
            store(x, blocks, row, column, &times(&diagonal, &tile));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use crate::sampler::gp::lanes::{flat, run};
    use hpt_kernels::isa::{Isa, Op};

    /// A matrix that is to be factored: its size and the upper triangle, as [`Cholesky::refactor`] takes it.
    struct Factor<'a>(usize, &'a mut [Lanes]);

    impl Op for Factor<'_> {
        type Output = Option<Cholesky>;

        #[inline(always)]
        fn run<S: Simd>(self, s: S) -> Option<Cholesky> {
            let mut factor = Cholesky::unit(self.0);
            factor.refactor(s, self.1).then_some(factor)
        }
    }

    /// A square positive matrix, B·Bᵀ + I.
    fn positive(n: usize) -> Vec<Vec<f64>> {
        let mut stream = Stream::new(1, n as u64, Purpose::Propose, 0);
        let b: Vec<Vec<f64>> = (0..n).map(|_| (0..n).map(|_| stream.normal()).collect()).collect();
        let entry = |i: usize, j: usize| -> f64 {
            b[i].iter().zip(&b[j]).map(|(x, y)| x * y).sum::<f64>() + f64::from(u8::from(i == j))
        };
        (0..n).map(|i| (0..n).map(|j| entry(i, j)).collect()).collect()
    }

    /// In whole lanes, with a unit matrix behind.
    fn upper(a: &[Vec<f64>]) -> Vec<Lanes> {
        let (n, blocks) = (a.len(), a.len().div_ceil(WIDTH));
        let entry = |i: usize, j: usize| match (i < n, j < n) {
            (true, true) if j >= i => a[i][j],
            _ => f64::from(u8::from(i == j)),
        };
        let all: Vec<f64> = (0..blocks * WIDTH).flat_map(|i| (0..blocks * WIDTH).map(move |j| entry(i, j))).collect();
        padded(&all)
    }

    /// The textbook's loop, for L and then L⁻¹.
    fn naive(a: &[Vec<f64>]) -> (Vec<Vec<f64>>, f64) {
        let n = a.len();
        let mut l = vec![vec![0.0; n]; n];
        for i in 0..n {
            for j in 0..=i {
                let rest = a[i][j] - (0..j).map(|k| l[i][k] * l[j][k]).sum::<f64>();
                l[i][j] = if i == j { rest.sqrt() } else { rest / l[j][j] };
            }
        }
        let mut inverse = vec![vec![0.0; n]; n];
        for i in 0..n {
            for j in 0..=i {
                let own = inverse[..i].iter().enumerate().skip(j);
                let sum: f64 = own.map(|(k, row)| l[i][k] * row[j]).sum();
                inverse[i][j] = (f64::from(u8::from(i == j)) - sum) / l[i][i];
            }
        }
        (inverse, l.iter().enumerate().map(|(i, row)| row[i].ln()).sum())
    }

    #[test]
    fn it_is_the_textbooks_factor() {
        for n in [1, 2, 7, 8, 9, 16, 31, 41] {
            let a = positive(n);
            let factor = run(Factor(n, &mut upper(&a))).unwrap();
            let (inverse, half_log_determinant) = naive(&a);
            let largest = inverse.iter().flatten().fold(0.0, |most: f64, x| most.max(x.abs()));
            for (i, expected) in inverse.iter().enumerate() {
                let row = flat(&factor.inverse[i * factor.blocks..(i + 1) * factor.blocks]);
                for (found, expected) in row.zip(expected) {
                    assert!((found - expected).abs() < 1e-10 * largest, "{n}: {i}");
                }
            }
            assert!((factor.half_log_determinant() - half_log_determinant).abs() < 1e-10 * n as f64);
        }
    }

    #[test]
    fn solutions_solve_and_the_inverse_inverts() {
        for n in [1, 7, 8, 9, 31] {
            let a = positive(n);
            let factor = run(Factor(n, &mut upper(&a))).unwrap();
            let mut stream = Stream::new(2, n as u64, Purpose::Propose, 0);
            let b: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
            let times = |x: &[f64], i: usize| -> f64 { a[i].iter().zip(x).map(|(a, x)| a * x).sum() };
            let x: Vec<f64> = flat(&factor.solve(&b)).collect();
            assert!((0..n).all(|i| (times(&x, i) - b[i]).abs() < 1e-8), "{n}");
            // Eight columns at once are each what one is alone.
            let columns: Vec<Lanes> = b.iter().map(|b| Lanes(std::array::from_fn(|c| b * (c as f64 - 2.5)))).collect();
            let half = factor.half_solve(&padded(&b));
            let alone = dot(&half, &half);
            for (c, found) in factor.squared_halves(&columns).0.into_iter().enumerate() {
                let expected = alone * (c as f64 - 2.5).powi(2);
                assert!((found - expected).abs() < 1e-12 * (1.0 + expected), "{n}: {found} {expected}");
            }
            struct Inverse<'a>(&'a Cholesky);
            impl Op for Inverse<'_> {
                type Output = Vec<Vec<Tile>>;
                #[inline(always)]
                fn run<S: Simd>(self, s: S) -> Vec<Vec<Tile>> {
                    let row = |i: usize| (i..self.0.blocks).map(|j| self.0.negated_inverse(s, i, j)).collect();
                    (0..self.0.blocks).map(row).collect()
                }
            }
            let tiles = run(Inverse(&factor));
            let at = |i: usize, j: usize| -tiles[i / 8][j / 8 - i / 8][i % 8].0[j % 8];
            for i in 0..n {
                let column: Vec<f64> = (0..n).map(|j| at(i.min(j), i.max(j))).collect();
                assert!((times(&column, i) - 1.0).abs() < 1e-8, "{n}: {i}");
                assert!(i == 0 || times(&column, i - 1).abs() < 1e-8, "{n}: {i}");
            }
        }
    }

    #[test]
    fn determinants_are_known_and_what_is_not_positive_is_refused() {
        let known = run(Factor(2, &mut upper(&[vec![4.0, 2.0], vec![2.0, 3.0]]))).unwrap();
        assert!((known.half_log_determinant() - 0.5 * 8f64.ln()).abs() < 1e-14);
        assert!(run(Factor(2, &mut upper(&[vec![1.0, 1.0], vec![1.0, 1.0]]))).is_none());
        assert!(run(Factor(2, &mut upper(&[vec![1.0, f64::NAN], vec![f64::NAN, 1.0]]))).is_none());
    }

    #[test]
    fn bits_are_the_same_on_every_set() {
        let a = upper(&positive(41));
        let bits = |isa: Isa| -> Vec<u64> {
            flat(&isa.run(Factor(41, &mut a.clone())).unwrap().inverse).map(f64::to_bits).collect()
        };
        let expected = bits(Isa::by_name("portable").unwrap());
        assert!(Isa::available().all(|isa| bits(isa) == expected));
    }
}
