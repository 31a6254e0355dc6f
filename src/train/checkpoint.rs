//! A training between two epochs: what is needed to go on with it, or with a copy of it.
//!
//! Weights and the optimizer's memory; the number of epochs says where the order of the rows, dropout and the schedule go
//! on, since all of them are functions of it. As a file it is `safetensors` with `weights`, `moments.0`, `moments.1`.
//! Files are not forced to the disk: whoever reads one compares [`Checkpoint::fingerprint`] with what was recorded, and
//! computes again what does not fit.

use crate::model::Plan;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// The metadata's key.
const KEY: &str = "hpt-engine-checkpoint";

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Epochs that were made.
    pub epochs: usize,
    /// Weights, in the order of the plan.
    pub weights: Vec<f32>,
    /// The optimizer's vectors, each as long as the weights.
    pub moments: Vec<Vec<f32>>,
}

impl Checkpoint {
    /// Sees that a network of this plan can go on from here, to the epoch `last`.
    pub(super) fn check(&self, plan: &Plan, last: usize) -> Result<()> {
        let lengths = || std::iter::once(&self.weights).chain(&self.moments).map(Vec::len);
        if let Some(found) = lengths().find(|&n| n != plan.parameters) {
            let expected = plan.parameters;
            return Err(Error::input(format!("the checkpoint has {found} parameters; the network has {expected}")));
        }
        if self.epochs >= last {
            let made = self.epochs;
            return Err(Error::input(format!("the checkpoint has {made} epochs; nothing is left up to epoch {last}")));
        }
        Ok(())
    }

    /// A hash of every bit (FNV-1a, 64 bits, over 32-bit words), the same on every machine.
    pub fn fingerprint(&self) -> u64 {
        let step = |hash: u64, word: u32| (hash ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3);
        let numbers = std::iter::once(&self.weights).chain(&self.moments);
        let lengths = [self.epochs as u32, self.weights.len() as u32, self.moments.len() as u32];
        let words = numbers.flatten().map(|x| x.to_bits());
        lengths.into_iter().chain(words).fold(0xcbf2_9ce4_8422_2325, step)
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        let bytes_of = |values: &[f32]| values.iter().flat_map(|x| x.to_le_bytes()).collect::<Vec<u8>>();
        let named = |i: usize| if i == 0 { "weights".to_owned() } else { format!("moments.{}", i - 1) };
        let tensors: Vec<(String, Vec<u8>)> = std::iter::once(&self.weights)
            .chain(&self.moments)
            .enumerate()
            .map(|(i, values)| (named(i), bytes_of(values)))
            .collect();
        let shape = vec![self.weights.len()];
        let views = tensors.iter().map(|(name, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let metadata = HashMap::from([(KEY.to_owned(), self.epochs.to_string())]);
        let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
        let bytes = bytes.map_err(|e| Error::Storage(format!("{}: {e}", path.display())))?;
        std::fs::write(path, bytes).map_err(|e| Error::io(path, e))
    }

    /// Reads one; none where the file is missing, cut off or no checkpoint.
    pub fn load(path: &Path) -> Option<Self> {
        let bytes = std::fs::read(path).ok()?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
        let epochs = metadata.metadata().as_ref()?.get(KEY)?.parse().ok()?;
        let tensors = SafeTensors::deserialize(&bytes).ok()?;
        let values = |name: &str| {
            let tensor = tensors.tensor(name).ok().filter(|tensor| tensor.dtype() == Dtype::F32)?;
            let words = tensor.data().chunks_exact(4);
            Some(words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect::<Vec<f32>>())
        };
        let moments = (0..).map_while(|i: usize| values(&format!("moments.{i}"))).collect();
        Some(Checkpoint { epochs, weights: values("weights")?, moments })
    }
}
