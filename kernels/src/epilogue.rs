//! What is done to a row of a product while it is still in the cache.
//!
//! The product calls `apply_row` on every piece of every finished row; forward that is bias, activation,
//! dropout and residual, backward the factor from dL/da to dL/dz. Not a layer: the views are blocks that the caller
//! has cut to the shape of `C`, and [`Dropout`] knows where that block lies in the whole matrix.

use crate::activation::{Activation, Curve, Visit};
use crate::dropout::{self, Dropout};
use crate::isa::{Isa, Op, Simd};
use crate::matrix::{Matrix, MatrixMut};

/// What becomes of the rows of a product `c`.
#[derive(Debug)]
pub enum Epilogue<'a> {
    /// They stay.
    None,
    /// From the product to a layer's output.
    Forward(Forward<'a>),
    /// From dL/da to dL/dz.
    Backward(Backward<'a>),
}

/// `z = c + bias; c = dropout(act(z)) + residual`
#[derive(Debug)]
pub struct Forward<'a> {
    /// One number a column.
    pub bias: Option<&'a [f32]>,
    /// Where z is kept for the backward pass: the shape of `c`, column stride 1.
    pub z: Option<MatrixMut<'a>>,
    /// The layer's function.
    pub activation: Activation,
    /// The layer's dropout.
    pub dropout: Option<Dropout>,
    /// Added last: the shape of `c`, column stride 1.
    pub residual: Option<Matrix<'a>>,
}

/// `c = c ⊙ mask·scale ⊙ act'(z)`
#[derive(Debug)]
pub struct Backward<'a> {
    /// What act' is computed from.
    pub input: Derivative<'a>,
    /// The layer's function.
    pub activation: Activation,
    /// The layer's dropout in the forward pass.
    pub dropout: Option<Dropout>,
}

/// What a derivative is computed from.
#[derive(Debug)]
pub enum Derivative<'a> {
    /// The kept z: the shape of `c`, column stride 1.
    FromZ(Matrix<'a>),
    /// relu alone: the layer's output after dropout and before any residual, the shape of `c`, column stride 1. An
    /// element lets the gradient through where it is positive, so no mask is drawn.
    FromOutput(Matrix<'a>),
    /// identity alone: nothing.
    None,
}

impl Epilogue<'_> {
    /// Treats the piece `c` of a row that begins at (`row`, `col`) of the block that the views describe.
    ///
    /// Pieces may begin and end anywhere and the numbers are the same; with dropout, one that does not begin and end
    /// at a multiple of 64 columns draws the words of the whole group of 64 again.
    #[inline(always)]
    pub(crate) fn apply_row<S: Simd>(&mut self, s: S, row: usize, col: usize, c: &mut [f32]) {
        match self {
            Epilogue::None => {}
            Epilogue::Forward(forward) => s.call(ForwardRow { forward, row, col, c }),
            Epilogue::Backward(backward) => s.call(BackwardRow { backward, row, col, c }),
        }
    }
}

struct ForwardRow<'a, 'b> {
    forward: &'a mut Forward<'b>,
    row: usize,
    col: usize,
    c: &'a mut [f32],
}

impl Op for ForwardRow<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let ForwardRow { forward, row, col, c } = self;
        let n = c.len();
        let bias = forward.bias.map(|bias| &bias[col..][..n]);
        let z = forward.z.as_mut().map(|z| &mut z.row_mut(row)[col..][..n]);
        forward.activation.visit(Activate { s, bias, z, c });
        if let Some(d) = &forward.dropout {
            dropout::apply(s, d, row, col, c);
        }
        if let Some(residual) = &forward.residual {
            let residual = &residual.row(row)[col..][..n];
            for (c, r) in c.chunks_mut(S::LANES).zip(residual.chunks(S::LANES)) {
                let v = s.add(s.load(c), s.load(r));
                s.store(c, v);
            }
        }
    }
}

/// `z = c + bias; c = act(z)`
struct Activate<'a, S> {
    s: S,
    bias: Option<&'a [f32]>,
    z: Option<&'a mut [f32]>,
    c: &'a mut [f32],
}

impl<S: Simd> Visit for Activate<'_, S> {
    #[inline(always)]
    fn visit<C: Curve>(mut self) {
        let s = self.s;
        for i in (0..self.c.len()).step_by(S::LANES) {
            let mut v = s.load(&self.c[i..]);
            if let Some(bias) = self.bias {
                v = s.add(v, s.load(&bias[i..]));
            }
            if let Some(z) = &mut self.z {
                s.store(&mut z[i..], v);
            }
            s.store(&mut self.c[i..], C::value(s, v));
        }
    }
}

struct BackwardRow<'a, 'b> {
    backward: &'a Backward<'b>,
    row: usize,
    col: usize,
    c: &'a mut [f32],
}

impl Op for BackwardRow<'_, '_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let BackwardRow { backward, row, col, c } = self;
        let (activation, n) = (backward.activation, c.len());
        match &backward.input {
            Derivative::FromOutput(h) => {
                assert_eq!(activation, Activation::Relu, "only relu's derivative follows from its output");
                let scale = s.splat(backward.dropout.map_or(1.0, |d| d.scale()));
                let zero = s.splat(0.0);
                for (c, h) in c.chunks_mut(S::LANES).zip(h.row(row)[col..][..n].chunks(S::LANES)) {
                    let factor = s.select(s.le(s.load(h), zero), zero, scale);
                    let v = s.mul(s.load(c), factor);
                    s.store(c, v);
                }
                return;
            }
            Derivative::FromZ(z) => activation.visit(Chain { s, z: &z.row(row)[col..][..n], c }),
            Derivative::None => {
                assert_eq!(activation, Activation::Identity, "only identity's derivative follows from nothing");
            }
        }
        if let Some(d) = &backward.dropout {
            dropout::apply(s, d, row, col, c);
        }
    }
}

/// `c = c ⊙ act'(z)`
struct Chain<'a, S> {
    s: S,
    z: &'a [f32],
    c: &'a mut [f32],
}

impl<S: Simd> Visit for Chain<'_, S> {
    #[inline(always)]
    fn visit<C: Curve>(self) {
        let s = self.s;
        for (c, z) in self.c.chunks_mut(S::LANES).zip(self.z.chunks(S::LANES)) {
            let v = s.mul(s.load(c), C::slope(s, s.load(z)));
            s.store(c, v);
        }
    }
}

/// [`Epilogue::Backward`] as a pass of its own over all rows of `c`, whose column stride is 1.
///
/// # Panics
/// A view is smaller than `c`, or the derivative cannot be computed from what was given.
pub fn backward(isa: Isa, c: MatrixMut, epilogue: Backward) {
    isa.run(Rows { c, epilogue: Epilogue::Backward(epilogue) });
}

/// [`Epilogue::Forward`] as a pass of its own over all rows of `c`, whose column stride is 1.
///
/// # Panics
/// A view is smaller than `c`.
pub fn forward(isa: Isa, c: MatrixMut, epilogue: Forward) {
    isa.run(Rows { c, epilogue: Epilogue::Forward(epilogue) });
}

struct Rows<'a> {
    c: MatrixMut<'a>,
    epilogue: Epilogue<'a>,
}

impl Op for Rows<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(mut self, s: S) {
        for row in 0..self.c.rows() {
            self.epilogue.apply_row(s, row, 0, self.c.row_mut(row));
        }
    }
}
