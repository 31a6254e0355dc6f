//! Epilogues and dropout as passes of their own, whole and in blocks.

use crate::tolerance::{EPILOGUE, PRODUCT};
use crate::{uniform, widen};
use hpt_kernels::activation::Activation;
use hpt_kernels::dropout::{Dropout, dropout_rows, keep};
use hpt_kernels::epilogue::{Backward, Derivative, Forward, backward, forward};
use hpt_kernels::isa::Isa;
use hpt_kernels::matrix::{Matrix, MatrixMut};
use hpt_kernels::philox::Key;
use hpt_kernels::reference::{activation as oracle, dropout_factor};
use std::ops::Range;

const SHAPES: &[(usize, usize)] =
    &[(0, 5), (3, 0), (1, 1), (2, 7), (3, 16), (2, 33), (5, 64), (3, 65), (2, 131), (2, 257)];

fn dropout(width: usize, probability: f32) -> Dropout {
    let key = Key::new(0xfeed_f00d_dead_beef);
    Dropout { key, step: 0x1234_5678_9abc, purpose: 3, probability, row: 0, col: 0, width }
}

/// Every combination of an activation with and without bias, dropout and residual.
fn combinations() -> impl Iterator<Item = (Activation, [bool; 3])> {
    Activation::ALL.iter().flat_map(|&a| (0..8).map(move |i| (a, [i & 1 > 0, i & 2 > 0, i & 4 > 0])))
}

/// The arrays of one case.
struct Case {
    rows: usize,
    cols: usize,
    activation: Activation,
    c: Vec<f32>,
    bias: Option<Vec<f32>>,
    dropout: Option<Dropout>,
    residual: Option<Vec<f32>>,
}

impl Case {
    fn new((rows, cols): (usize, usize), activation: Activation, [bias, drop, residual]: [bool; 3]) -> Self {
        Case {
            rows,
            cols,
            activation,
            c: uniform(20, rows * cols, -3.0, 3.0),
            bias: bias.then(|| uniform(21, cols, -1.0, 1.0)),
            dropout: drop.then(|| dropout(cols, 0.3)),
            residual: residual.then(|| uniform(22, rows * cols, -1.0, 1.0)),
        }
    }

    /// Output and kept z, computed block by block.
    fn run(&self, isa: Isa, blocks: &[(Range<usize>, Range<usize>)]) -> [Vec<f32>; 2] {
        let (rows, cols) = (self.rows, self.cols);
        let (mut c, mut z) = (self.c.clone(), vec![f32::NAN; self.c.len()]);
        for (r, k) in blocks {
            let all = self.residual.as_ref().map(|x| Matrix::row_major(x, rows, cols));
            let args = Forward {
                bias: self.bias.as_ref().map(|bias| &bias[k.clone()]),
                z: Some(MatrixMut::row_major(&mut z, rows, cols).block(r.clone(), k.clone())),
                activation: self.activation,
                dropout: self.dropout.map(|d| Dropout { row: r.start, col: k.start, ..d }),
                residual: all.map(|x| x.block(r.clone(), k.clone())),
            };
            forward(isa, MatrixMut::row_major(&mut c, rows, cols).block(r.clone(), k.clone()), args);
        }
        [c, z]
    }

    fn exact(&self) -> Vec<f64> {
        let mut out = Vec::new();
        for (i, &c) in self.c.iter().enumerate() {
            let (row, col) = (i / self.cols, i % self.cols);
            let z = f64::from(c) + self.bias.as_ref().map_or(0.0, |b| f64::from(b[col]));
            let factor = self.dropout.map_or(1.0, |d| dropout_factor(&d, row, col));
            let residual = self.residual.as_ref().map_or(0.0, |r| f64::from(r[i]));
            out.push(oracle::forward(self.activation, z) * factor + residual);
        }
        out
    }
}

#[test]
fn forward_agrees_with_the_oracle_and_keeps_z() {
    for isa in Isa::available() {
        for &shape in SHAPES {
            for (activation, with) in combinations() {
                let case = Case::new(shape, activation, with);
                let [c, z] = case.run(isa, &[(0..shape.0, 0..shape.1)]);
                let what = || format!("{shape:?} {activation:?} {with:?} on {}", isa.name());
                EPILOGUE.check_all(&c, &case.exact(), &what);
                let zero = vec![0.0; shape.1];
                let bias = case.bias.as_ref().unwrap_or(&zero);
                assert!(z.iter().enumerate().all(|(i, z)| *z == case.c[i] + bias[i % shape.1]), "z of {}", what());
            }
        }
    }
}

#[test]
fn blocks_give_the_same_bits() {
    for isa in Isa::available() {
        for (activation, with) in combinations() {
            let case = Case::new((5, 257), activation, with);
            let blocks = [0..1, 1..5]
                .into_iter()
                .flat_map(|r| [0..32, 32..64, 64..65, 65..70, 70..201, 201..257].map(|k| (r.clone(), k)));
            let whole = case.run(isa, &[(0..5, 0..257)]);
            assert_eq!(case.run(isa, &blocks.collect::<Vec<_>>()), whole, "{activation:?} {with:?} {}", isa.name());
        }
    }
}

#[test]
fn backward_agrees_with_the_oracle() {
    for isa in Isa::available() {
        for &(rows, cols) in SHAPES {
            for &activation in Activation::ALL {
                for d in [None, Some(dropout(cols, 0.3))] {
                    let (dy, z) = (uniform(23, rows * cols, -1.0, 1.0), uniform(24, rows * cols, -3.0, 3.0));
                    let mut c = dy.clone();
                    let input = Derivative::FromZ(Matrix::row_major(&z, rows, cols));
                    backward(isa, MatrixMut::row_major(&mut c, rows, cols), Backward { input, activation, dropout: d });
                    let exact: Vec<f64> = (0..rows * cols)
                        .map(|i| {
                            let factor = d.map_or(1.0, |d| dropout_factor(&d, i / cols, i % cols));
                            f64::from(dy[i]) * factor * oracle::derivative(activation, f64::from(z[i]))
                        })
                        .collect();
                    EPILOGUE.check_all(&c, &exact, &|| format!("{rows}×{cols} {activation:?} on {}", isa.name()));
                }
            }
        }
    }
}

#[test]
fn what_the_output_tells_equals_what_z_tells() {
    let (rows, cols) = (4, 131);
    let dy = uniform(25, rows * cols, -1.0, 1.0);
    for isa in Isa::available() {
        for d in [None, Some(dropout(cols, 0.5))] {
            let run = |input, activation| {
                let mut c = dy.clone();
                backward(isa, MatrixMut::row_major(&mut c, rows, cols), Backward { input, activation, dropout: d });
                c
            };
            let mut case = Case::new((rows, cols), Activation::Relu, [true, false, false]);
            case.dropout = d;
            let [h, z] = case.run(isa, &[(0..rows, 0..cols)]);
            let (h, z) = (Matrix::row_major(&h, rows, cols), Matrix::row_major(&z, rows, cols));
            let from_output = run(Derivative::FromOutput(h), Activation::Relu);
            assert_eq!(from_output, run(Derivative::FromZ(z), Activation::Relu));
            let nothing = run(Derivative::None, Activation::Identity);
            assert_eq!(nothing, run(Derivative::FromZ(z), Activation::Identity));
        }
    }
}

#[test]
fn dropout_keeps_what_the_scalar_mapping_keeps() {
    for isa in Isa::available() {
        for &(rows, cols) in SHAPES {
            for probability in [0.0, 0.1, 0.5, 0.999] {
                // A block whose place in the whole takes more than 32 bits to count.
                let d = Dropout { row: 70_000_000_000, col: 37, ..dropout(cols + 100, probability) };
                let mut x = uniform(26, rows * cols, 0.5, 1.0);
                let exact: Vec<f64> = widen(&x)
                    .into_iter()
                    .enumerate()
                    .map(|(i, x)| x * if keep(&d, i / cols, i % cols) { f64::from(d.scale()) } else { 0.0 })
                    .collect();
                dropout_rows(isa, MatrixMut::row_major(&mut x, rows, cols), d);
                PRODUCT.check_all(&x, &exact, &|| format!("{rows}×{cols} with {probability} on {}", isa.name()));
            }
        }
    }
}

#[test]
fn the_mapping_is_the_documented_one() {
    use hpt_kernels::philox::philox4x32_10;
    let d = dropout(200, 0.5);
    for (r, c) in [(0, 0), (0, 15), (0, 16), (0, 63), (0, 64), (3, 199), (17, 100)] {
        let block = 16 * (r as u32 * 4 + c as u32 / 64) + c as u32 % 16;
        let words = philox4x32_10([block, 0x5678_9abc, 0x1234, 3], [0xdead_beef, 0xfeed_f00d]);
        assert_eq!(keep(&d, r, c), words[c / 16 % 4] >= 1 << 31, "({r}, {c})");
    }
}

#[test]
fn dropout_drops_its_share_and_every_step_another() {
    let kept = |d: &Dropout| (0..100 * 200).filter(|i| keep(d, i / 200, i % 200)).count() as f64;
    for p in [0.0, 0.1, 0.5, 0.9] {
        let d = dropout(200, p);
        let (mean, deviation) = (20_000.0 * (1.0 - f64::from(p)), (20_000.0 * f64::from(p * (1.0 - p))).sqrt());
        assert!((kept(&d) - mean).abs() <= 4.0 * deviation, "{p}: {}", kept(&d));
    }
    let d = dropout(200, 0.5);
    for other in [Dropout { step: d.step + 1, ..d }, Dropout { purpose: 4, ..d }, Dropout { key: Key::new(1), ..d }] {
        let same = (0..20_000).filter(|i| keep(&d, i / 200, i % 200) == keep(&other, i / 200, i % 200)).count();
        assert!((same as f64 - 10_000.0).abs() < 300.0, "{same} of 20000 agree");
    }
}

#[test]
#[should_panic(expected = "only relu's derivative follows from its output")]
fn the_output_tells_no_other_derivative() {
    let h = [0.0; 4];
    let args = Backward {
        input: Derivative::FromOutput(Matrix::row_major(&h, 2, 2)),
        activation: Activation::Tanh,
        dropout: None,
    };
    let isa = Isa::detect().expect("an instruction set");
    backward(isa, MatrixMut::row_major(&mut [0.0; 4], 2, 2), args);
}
