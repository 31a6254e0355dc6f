//! Initial weights, keyed by (seed, slot, layer).
//!
//! Formulas are those of `torch.nn.init`: a uniform on (−b, b) or a normal of deviation σ, with
//! b = √3·σ and σ = gain/√fan. `torch` is what `torch.nn.Linear` does by default: weights and bias alike
//! uniform with b = 1/√fan_in. All others start with zero biases.

use super::Plan;
use crate::random::{Purpose, Stream};
use crate::{Error, Result};

/// How weights start.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Init {
    /// `torch.nn.Linear`'s default: U(±1/√fan_in), the bias too.
    Torch,
    /// He et al. 2015: σ² = 2/fan_in, normal.
    HeNormal,
    /// The same variance, uniform.
    HeUniform,
    /// Glorot & Bengio 2010: σ² = 2/(fan_in + fan_out), normal.
    GlorotNormal,
    /// The same variance, uniform.
    GlorotUniform,
    /// LeCun et al. 1998: σ² = 1/fan_in, normal.
    LecunNormal,
    /// The same variance, uniform.
    LecunUniform,
}

impl Init {
    /// Every name, and what it means; the short names are the customary kind of each.
    pub const NAMES: &[(&str, Init)] = &[
        ("torch", Init::Torch),
        ("he", Init::HeNormal),
        ("glorot", Init::GlorotUniform),
        ("lecun", Init::LecunNormal),
        ("he-normal", Init::HeNormal),
        ("he-uniform", Init::HeUniform),
        ("glorot-normal", Init::GlorotNormal),
        ("glorot-uniform", Init::GlorotUniform),
        ("lecun-normal", Init::LecunNormal),
        ("lecun-uniform", Init::LecunUniform),
    ];

    /// The initialisation of that name.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn by_name(name: &str) -> Result<Self> {
        let row = Self::NAMES.iter().find(|row| row.0 == name);
        row.map(|row| row.1).ok_or_else(|| Error::unknown("init", name, Self::NAMES.iter().map(|row| row.0)))
    }

    /// Its full name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().rfind(|row| row.1 == self).map_or("torch", |row| row.0)
    }

    /// Variance of a weight.
    fn variance(self, fan_in: f64, fan_out: f64) -> f64 {
        match self {
            Init::Torch => 1.0 / (3.0 * fan_in),
            Init::HeNormal | Init::HeUniform => 2.0 / fan_in,
            Init::GlorotNormal | Init::GlorotUniform => 2.0 / (fan_in + fan_out),
            Init::LecunNormal | Init::LecunUniform => 1.0 / fan_in,
        }
    }
}

/// The initial parameters of a network, [`Plan::parameters`] long.
pub fn initialise(plan: &Plan, init: Init, seed: u64, slot: u64) -> Vec<f32> {
    let mut parameters = vec![0.0; plan.parameters];
    for (i, layer) in plan.layers.iter().enumerate() {
        let mut stream = Stream::new(seed, slot, Purpose::Init, i as u64);
        let deviation = init.variance(layer.inputs as f64, layer.outputs as f64).sqrt();
        let bound = deviation * 3f64.sqrt();
        let mut uniform = |x: &mut f32| *x = ((2.0 * stream.uniform() - 1.0) * bound) as f32;
        match init {
            Init::Torch => parameters[layer.weights.start..layer.bias.end].iter_mut().for_each(uniform),
            Init::HeUniform | Init::GlorotUniform | Init::LecunUniform => {
                parameters[layer.weights.clone()].iter_mut().for_each(&mut uniform);
            }
            Init::HeNormal | Init::GlorotNormal | Init::LecunNormal => {
                parameters[layer.weights.clone()].iter_mut().for_each(|x| *x = (stream.normal() * deviation) as f32);
            }
        }
    }
    parameters
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{Activation, ModelSpec};

    #[test]
    fn weights_have_the_stated_variance_and_bounds() {
        let spec = ModelSpec::uniform(&[300], Activation::Relu, 0.0);
        let plan = Plan::new(&spec, 200, 2).unwrap();
        for &(name, init) in Init::NAMES {
            let parameters = initialise(&plan, init, 3, 0);
            let weights = &parameters[plan.layers[0].weights.clone()];
            let variance = weights.iter().map(|&w| f64::from(w).powi(2)).sum::<f64>() / weights.len() as f64;
            let expected = init.variance(200.0, 300.0);
            assert!((variance / expected - 1.0).abs() < 0.03, "{name}: {variance} is not {expected}");
            let bound = (3.0 * expected).sqrt() * (1.0 + 1e-6);
            let inside = weights.iter().all(|&w| f64::from(w).abs() <= bound);
            assert_eq!(inside, !name.ends_with("normal") && name != "he" && name != "lecun", "{name}");
            let bias = &parameters[plan.layers[0].bias.clone()];
            assert_eq!(bias.iter().all(|&b| b == 0.0), init != Init::Torch, "{name}");
        }
    }

    #[test]
    fn seed_slot_and_layer_key_the_numbers() {
        let spec = ModelSpec::uniform(&[8, 8], Activation::Relu, 0.0);
        let plan = Plan::new(&spec, 8, 8).unwrap();
        let first = initialise(&plan, Init::Torch, 1, 2);
        assert_eq!(first, initialise(&plan, Init::Torch, 1, 2));
        assert_ne!(first, initialise(&plan, Init::Torch, 2, 2));
        assert_ne!(first, initialise(&plan, Init::Torch, 1, 3));
        assert_ne!(first[plan.layers[1].weights.clone()], first[plan.layers[2].weights.clone()]);
    }
}
