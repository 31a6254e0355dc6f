//! Shapes and offsets: where each layer's weights and bias lie in the one flat arena of parameters.

use super::{Activation, ModelSpec};
use crate::{Error, Result};
use std::ops::Range;

/// One layer of a [`Plan`]: y = dropout(act(x·W + b)) (+ x where `residual`).
#[derive(Clone, Debug, PartialEq)]
pub struct Layer {
    /// Width of x.
    pub inputs: usize,
    /// Width of y.
    pub outputs: usize,
    /// W, `inputs × outputs` row-major, as a range of the arena.
    pub weights: Range<usize>,
    /// b, `outputs`, as a range of the arena.
    pub bias: Range<usize>,
    /// The activation; the output layer has the identity.
    pub activation: Activation,
    /// Probability that an output is dropped in training.
    pub dropout: f32,
    /// Adds its input to its output.
    pub residual: bool,
}

/// A network with all shapes known.
///
/// W is stored `inputs × outputs`, the transpose of PyTorch's. A backend may keep it in an order of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct Plan {
    /// The layers, the output layer last; at least one.
    pub layers: Vec<Layer>,
    /// Width of the input.
    pub inputs: usize,
    /// Width of the output.
    pub outputs: usize,
    /// Probability that an input feature is dropped in training.
    pub input_dropout: f32,
    /// Length of the arena: number of parameters.
    pub parameters: usize,
}

impl Plan {
    /// The plan of a network between `inputs` features and `outputs` outputs.
    ///
    /// # Errors
    /// The description is invalid, a width is 0, or the number of parameters overflows.
    pub fn new(spec: &ModelSpec, inputs: usize, outputs: usize) -> Result<Self> {
        spec.validate()?;
        if inputs == 0 || outputs == 0 {
            return Err(Error::input(format!("a network needs inputs and outputs; it has {inputs} and {outputs}")));
        }
        let mut layers = Vec::with_capacity(spec.hidden.len() + 1);
        let (mut width, mut offset) = (inputs, 0);
        let hidden = spec.hidden.iter().map(|l| (l.units, l.activation, l.dropout as f32));
        for (i, (units, activation, dropout)) in hidden.chain([(outputs, Activation::Identity, 0.0)]).enumerate() {
            let too_large = || Error::input(format!("layer {} of {width} × {units} weights is too large", i + 1));
            let weights = width.checked_mul(units).ok_or_else(too_large)?;
            let bias = offset + weights;
            let end = bias.checked_add(units).filter(|&end| end <= isize::MAX as usize / 64).ok_or_else(too_large)?;
            let residual = spec.residual && i > 0 && i < spec.hidden.len() && width == units;
            let (weights, bias) = (offset..bias, bias..end);
            layers.push(Layer { inputs: width, outputs: units, weights, bias, activation, dropout, residual });
            (width, offset) = (units, end);
        }
        let input_dropout = spec.input_dropout as f32;
        Ok(Plan { layers, inputs, outputs, input_dropout, parameters: offset })
    }

    /// The widest layer output, the input included.
    pub fn widest(&self) -> usize {
        self.layers.iter().map(|layer| layer.outputs).fold(self.inputs, usize::max)
    }

    /// Floating-point operations of one training step over `batch` rows: 2·B·P forward, 4·B·P backward.
    pub fn step_flops(&self, batch: usize) -> f64 {
        6.0 * batch as f64 * self.parameters as f64
    }
}
