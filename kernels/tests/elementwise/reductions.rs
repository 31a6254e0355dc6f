//! Sums: exact to `f64`, and the same bits on every instruction set and for every split.

use crate::tolerance::{STORED_SUM, SUM};
use crate::{LENGTHS, uniform, widen};
use hpt_kernels::isa::Isa;
use hpt_kernels::matrix::Matrix;
use hpt_kernels::reduce::{CHUNK, column_sums, sum, sum_of_squares, sum_of_squares_chunks};
use hpt_kernels::reference::{self, View};

#[test]
fn sums_agree_with_the_oracle_and_with_each_other() {
    for n in LENGTHS.iter().copied().chain([CHUNK - 1, CHUNK, CHUNK + 1, 3 * CHUNK + 77]) {
        let x = uniform(2, n, -1.0, 3.0);
        let exact = widen(&x);
        let mut bits = Vec::new();
        for isa in Isa::available() {
            let (s, q) = (sum(isa, &x), sum_of_squares(isa, &x));
            let (exact_s, exact_q) = (exact.iter().sum::<f64>(), exact.iter().map(|x| x * x).sum::<f64>());
            assert!((s - exact_s).abs() <= SUM.absolute + SUM.relative * exact_s.abs(), "{s} {exact_s}");
            assert!((q - exact_q).abs() <= SUM.absolute + SUM.relative * exact_q, "{q} {exact_q}");
            bits.push((s.to_bits(), q.to_bits()));
        }
        assert!(bits.iter().all(|b| *b == bits[0]), "instruction sets differ");
    }
}

#[test]
fn squares_do_not_overflow() {
    for isa in Isa::available() {
        assert_eq!(sum_of_squares(isa, &[1e30, 1e30]), 2.0 * f64::from(1e30f32).powi(2));
        assert!(sum(isa, &[1.0, f32::NAN]).is_nan());
    }
}

#[test]
fn whole_chunks_add_up_to_the_same_bits() {
    let x = uniform(3, 5 * CHUNK + 9, -1.0, 1.0);
    for isa in Isa::available() {
        let mut parts = [0.0; 6];
        let (a, b) = x.split_at(2 * CHUNK);
        sum_of_squares_chunks(isa, a, &mut parts[..2]);
        sum_of_squares_chunks(isa, b, &mut parts[2..]);
        assert_eq!(parts.iter().sum::<f64>().to_bits(), sum_of_squares(isa, &x).to_bits());
    }
}

#[test]
fn column_sums_agree_with_the_oracle_for_any_stride_and_split() {
    for isa in Isa::available() {
        for &cols in LENGTHS {
            for rows in [0, 1, 2, 13, 128] {
                let data = uniform(4, rows * (cols + 3), -1.0, 1.0);
                let exact = widen(&data);
                let view = View { data: &exact, rows, cols, row_stride: cols + 3, col_stride: 1 };
                let x = Matrix::new(&data, rows, cols, cols + 3, 1);
                let mut out = vec![f32::NAN; cols];
                column_sums(isa, x, &mut out);
                STORED_SUM.check_all(&out, &reference::column_sums(view), &|| format!("{rows}×{cols}"));

                let mut parts = vec![f32::NAN; cols];
                let middle = cols / 3;
                column_sums(isa, x.block(0..rows, 0..middle), &mut parts[..middle]);
                column_sums(isa, x.block(0..rows, middle..cols), &mut parts[middle..]);
                assert_eq!(parts, out);

                let mut of_rows = vec![f32::NAN; rows];
                column_sums(isa, x.t(), &mut of_rows);
                STORED_SUM.check_all(&of_rows, &reference::column_sums(view.t()), &|| format!("{cols}×{rows} strided"));
            }
        }
    }
}
