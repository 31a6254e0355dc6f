//! Dense factors of symmetric positive matrices, f64, row-major.
//!
//! Written as products and sums of contiguous rows, which the compiler turns into vectors of any width the target has;
//! with the few hundred rows of a study's history nothing cleverer pays.

/// A lower triangular factor L with A = L·Lᵀ, and its inverse.
#[derive(Clone, Debug)]
pub(super) struct Cholesky {
    n: usize,
    /// L⁻¹, n × n, zero above the diagonal.
    inverse: Vec<f64>,
    /// Σ ln Lᵢᵢ = ½·ln|A|.
    half_log_determinant: f64,
}

impl Cholesky {
    /// Factors the n × n matrix of which the lower triangle is given (it is overwritten); none where it is not positive.
    pub(super) fn new(n: usize, mut a: Vec<f64>) -> Option<Self> {
        let mut half_log_determinant = 0.0;
        for i in 0..n {
            let (above, row) = a.split_at_mut(i * n);
            for j in 0..i {
                let other = &above[j * n..j * n + j + 1];
                row[j] = (row[j] - dot(&row[..j], &other[..j])) / other[j];
            }
            let diagonal = row[i] - dot(&row[..i], &row[..i]);
            if diagonal.is_nan() || diagonal <= 1e-14 * row[i].abs() {
                return None;
            }
            row[i] = diagonal.sqrt();
            half_log_determinant += row[i].ln();
        }
        Some(Cholesky { n, inverse: invert_lower(n, &a), half_log_determinant })
    }

    pub(super) fn half_log_determinant(&self) -> f64 {
        self.half_log_determinant
    }

    /// L⁻¹·b.
    pub(super) fn half_solve(&self, b: &[f64]) -> Vec<f64> {
        (0..self.n).map(|i| dot(&self.inverse[i * self.n..i * self.n + i + 1], &b[..i + 1])).collect()
    }

    /// L⁻ᵀ·v: after [`Cholesky::half_solve`] the solution of A·x = b.
    pub(super) fn half_solve_transposed(&self, v: &[f64]) -> Vec<f64> {
        let mut x = vec![0.0; self.n];
        for (i, &factor) in v.iter().enumerate() {
            axpy(factor, &self.inverse[i * self.n..i * self.n + i + 1], &mut x[..i + 1]);
        }
        x
    }

    /// The lower triangle of A⁻¹, n × n.
    pub(super) fn inverse(&self) -> Vec<f64> {
        let n = self.n;
        let mut out = vec![0.0; n * n];
        for i in 0..n {
            let row = &self.inverse[i * n..i * n + i + 1];
            for a in 0..=i {
                axpy(row[a], &row[..a + 1], &mut out[a * n..a * n + a + 1]);
            }
        }
        out
    }
}

/// Xᵢ = (eᵢ − Σ_{k<i} Lᵢₖ·Xₖ)/Lᵢᵢ, row by row.
fn invert_lower(n: usize, l: &[f64]) -> Vec<f64> {
    let mut x = vec![0.0; n * n];
    for i in 0..n {
        let (above, row) = x.split_at_mut(i * n);
        let scale = 1.0 / l[i * n + i];
        for k in 0..i {
            axpy(-l[i * n + k] * scale, &above[k * n..k * n + k + 1], &mut row[..k + 1]);
        }
        row[i] = scale;
    }
    x
}

/// Σ aᵢ·bᵢ with eight independent sums.
pub(super) fn dot(a: &[f64], b: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (left, right) = (a.chunks_exact(8), b.chunks_exact(8));
    let rest: f64 = left.remainder().iter().zip(right.remainder()).map(|(a, b)| a * b).sum();
    for (a, b) in left.zip(right) {
        for lane in 0..8 {
            sums[lane] += a[lane] * b[lane];
        }
    }
    let [a, b, c, d, e, f, g, h] = sums;
    ((a + e) + (c + g)) + ((b + f) + (d + h)) + rest
}

/// y += factor·x.
fn axpy(factor: f64, x: &[f64], y: &mut [f64]) {
    for (y, x) in y.iter_mut().zip(x) {
        *y += factor * x;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    #[test]
    fn factors_solve_and_invert() {
        for n in [1, 2, 7, 8, 9, 31] {
            let mut stream = Stream::new(1, n as u64, Purpose::Propose, 0);
            let b: Vec<f64> = (0..n * n).map(|_| stream.normal()).collect();
            let entry =
                |i: usize, j: usize| dot(&b[i * n..(i + 1) * n], &b[j * n..(j + 1) * n]) + f64::from(u8::from(i == j));
            let a: Vec<f64> = (0..n * n).map(|e| entry(e / n, e % n)).collect();
            let factor = Cholesky::new(n, a.clone()).unwrap();
            let rhs: Vec<f64> = (0..n).map(|_| stream.normal()).collect();
            let x = factor.half_solve_transposed(&factor.half_solve(&rhs));
            let inverse = factor.inverse();
            for i in 0..n {
                assert!((dot(&a[i * n..(i + 1) * n], &x) - rhs[i]).abs() < 1e-9);
                let column: Vec<f64> = (0..n).map(|j| inverse[i.max(j) * n + i.min(j)]).collect();
                let unit = dot(&a[i * n..(i + 1) * n], &column);
                assert!((unit - 1.0).abs() < 1e-9, "{n}: {unit}");
            }
        }
        let known = Cholesky::new(2, vec![4.0, 9.0, 2.0, 3.0]).unwrap();
        assert!((known.half_log_determinant() - 0.5 * 8f64.ln()).abs() < 1e-14);
        assert!(Cholesky::new(2, vec![1.0, 0.0, 1.0, 1.0]).is_none());
    }
}
