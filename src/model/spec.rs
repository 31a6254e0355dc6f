//! The description of a network, as flags, study files and model files give it.

use super::{Activation, Init};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};

/// One hidden layer: `units` outputs, then the activation, then dropout.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LayerSpec {
    /// Outputs, at least 1.
    pub units: usize,
    /// Applied to every output.
    pub activation: Activation,
    /// Probability in [0, 1) that an output is dropped in training.
    pub dropout: f64,
}

/// A dense network: hidden layers in order, then a linear output layer whose width the task gives.
///
/// With no hidden layer it is a linear (or logistic) model. With `residual`, a hidden layer whose input is
/// another hidden layer of the same width adds that input to its output: h′ = dropout(act(h·W + b)) + h.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSpec {
    /// The hidden layers, first to last.
    pub hidden: Vec<LayerSpec>,
    /// Skip connections between hidden layers of equal widths.
    pub residual: bool,
    /// Probability in [0, 1) that an input feature is dropped in training.
    pub input_dropout: f64,
    /// How the weights start.
    pub init: Init,
}

impl Default for ModelSpec {
    /// Two hidden layers of 128 relu units, no dropout, PyTorch's initialisation.
    fn default() -> Self {
        ModelSpec::uniform(&[128, 128], Activation::Relu, 0.0)
    }
}

impl ModelSpec {
    /// Hidden layers of these widths with one activation and dropout for all.
    pub fn uniform(units: &[usize], activation: Activation, dropout: f64) -> Self {
        let hidden = units.iter().map(|&units| LayerSpec { units, activation, dropout }).collect();
        ModelSpec { hidden, residual: false, input_dropout: 0.0, init: Init::Torch }
    }

    /// Checks every number.
    ///
    /// # Errors
    /// A layer without units, or a dropout outside [0, 1).
    pub fn validate(&self) -> Result<()> {
        for (i, layer) in self.hidden.iter().enumerate() {
            if layer.units == 0 {
                return Err(Error::input(format!("hidden layer {} has 0 units; at least 1 is needed", i + 1)));
            }
            probability(&format!("dropout of hidden layer {}", i + 1), layer.dropout)?;
        }
        probability("input_dropout", self.input_dropout)
    }
}

fn probability(what: &str, p: f64) -> Result<()> {
    // As the kernels will see it.
    if p >= 0.0 && (p as f32) < 1.0 {
        Ok(())
    } else {
        Err(Error::input(format!("{what} is {p}; a probability from 0 up to but not including 1 is expected")))
    }
}

// On disk a layer is {"units", "activation", "dropout"} with the activation's name.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct LayerOnDisk {
    units: usize,
    activation: String,
    dropout: f64,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct SpecOnDisk {
    hidden: Vec<LayerOnDisk>,
    residual: bool,
    input_dropout: f64,
    init: String,
}

impl Serialize for ModelSpec {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let hidden = self.hidden.iter().map(|layer| LayerOnDisk {
            units: layer.units,
            activation: layer.activation.name().to_owned(),
            dropout: layer.dropout,
        });
        SpecOnDisk {
            hidden: hidden.collect(),
            residual: self.residual,
            input_dropout: self.input_dropout,
            init: self.init.name().to_owned(),
        }
        .serialize(serializer)
    }
}

impl<'de> Deserialize<'de> for ModelSpec {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        use serde::de::Error as _;
        let disk = SpecOnDisk::deserialize(deserializer)?;
        let hidden = disk.hidden.into_iter().map(|layer| {
            let activation = Activation::from_name(&layer.activation)
                .ok_or_else(|| D::Error::custom(format!("unknown activation `{}`", layer.activation)))?;
            Ok(LayerSpec { units: layer.units, activation, dropout: layer.dropout })
        });
        let spec = ModelSpec {
            hidden: hidden.collect::<Result<_, D::Error>>()?,
            residual: disk.residual,
            input_dropout: disk.input_dropout,
            init: Init::by_name(&disk.init).map_err(D::Error::custom)?,
        };
        spec.validate().map_err(D::Error::custom)?;
        Ok(spec)
    }
}
