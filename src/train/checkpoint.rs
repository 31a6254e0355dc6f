//! A training between two epochs: what is needed to go on with it, or with a copy of it.
//!
//! Weights and the optimizer's memory; the number of epochs says where the order of the rows, dropout and the schedule
//! go on, since all of them are functions of it. As a file it is `safetensors` with `weights`, `moments.0`,
//! `moments.1`. Files are not forced to the disk: whoever reads one compares [`Checkpoint::fingerprint`] with what was
//! recorded, and computes again what does not fit.

use crate::model::Plan;
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use std::collections::HashMap;
use std::path::Path;

/// The metadata's key.
const KEY: &str = "hpt-engine-checkpoint";

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
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
        self.check_lengths(plan)?;
        if self.epochs >= last {
            let made = self.epochs;
            return Err(Error::input(format!("the checkpoint has {made} epochs; nothing is left up to epoch {last}")));
        }
        Ok(())
    }

    /// Sees that it is of a network of this plan.
    pub(super) fn check_lengths(&self, plan: &Plan) -> Result<()> {
        let lengths = || std::iter::once(&self.weights).chain(&self.moments).map(Vec::len);
        if let Some(found) = lengths().find(|&n| n != plan.parameters) {
            let expected = plan.parameters;
            return Err(Error::input(format!("the checkpoint has {found} parameters; the network has {expected}")));
        }
        Ok(())
    }

    /// A hash of every bit, the same on every machine.
    pub fn fingerprint(&self) -> u64 {
        let numbers = std::iter::once(&self.weights).chain(&self.moments);
        let lengths = [self.epochs as u32, self.weights.len() as u32, self.moments.len() as u32];
        hash(lengths.into_iter().chain(numbers.flatten().map(|x| x.to_bits())))
    }

    /// Writes it.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn save(&self, path: &Path) -> Result<()> {
        write(path, KEY, self.epochs.to_string(), &self.vectors())
    }

    /// Reads one; none where the file is missing, cut off or no checkpoint.
    pub fn load(path: &Path) -> Option<Self> {
        let (epochs, mut vectors) = read(path, KEY)?;
        Self::from_vectors(epochs.parse().ok()?, &mut vectors)
    }

    /// Weights and moments by name.
    pub(crate) fn vectors(&self) -> Vec<(String, &[f32])> {
        let moments = self.moments.iter().enumerate().map(|(i, values)| (format!("moments.{i}"), values.as_slice()));
        std::iter::once(("weights".to_owned(), self.weights.as_slice())).chain(moments).collect()
    }

    /// The reverse of [`Checkpoint::vectors`]; none where there are no weights.
    pub(crate) fn from_vectors(epochs: usize, vectors: &mut HashMap<String, Vec<f32>>) -> Option<Self> {
        let moments = (0..).map_while(|i: usize| vectors.remove(&format!("moments.{i}"))).collect();
        Some(Checkpoint { epochs, weights: vectors.remove("weights")?, moments })
    }
}

/// [`hash`] of the weights of a model, as text.
pub(crate) fn hash_of(weights: &[f32]) -> String {
    format!("{:016x}", hash(weights.iter().map(|x| x.to_bits())))
}

/// A hash of every bit (FNV-1a, 64 bits, over 32-bit words), the same on every machine.
pub(crate) fn hash(words: impl Iterator<Item = u32>) -> u64 {
    let step = |hash: u64, word: u32| (hash ^ u64::from(word)).wrapping_mul(0x0000_0100_0000_01b3);
    words.fold(0xcbf2_9ce4_8422_2325, step)
}

/// Writes vectors, by names that differ, and `text` under `key` of the metadata as a `safetensors` file.
pub(crate) fn write(path: &Path, key: &str, text: String, vectors: &[(String, &[f32])]) -> Result<()> {
    let bytes: Vec<Vec<u8>> = vectors.iter().map(|(_, v)| v.iter().flat_map(|x| x.to_le_bytes()).collect()).collect();
    let views = vectors
        .iter()
        .zip(&bytes)
        .map(|((name, values), bytes)| Ok((name, TensorView::new(Dtype::F32, vec![values.len()], bytes)?)));
    let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
    let metadata = HashMap::from([(key.to_owned(), text)]);
    let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
    let bytes = bytes.map_err(|e| Error::Storage(format!("{}: {e}", path.display())))?;
    // Whoever is killed meanwhile leaves what was there before.
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).and_then(|()| std::fs::rename(&new, path)).map_err(|e| {
        // On a full disk it would be in the way.
        let _ = std::fs::remove_file(&new);
        Error::io(path, e)
    })
}

/// The text under `key` and the vectors of such a file; none where it is missing, cut off or another one.
pub(crate) fn read(path: &Path, key: &str) -> Option<(String, HashMap<String, Vec<f32>>)> {
    let bytes = std::fs::read(path).ok()?;
    let (_, metadata) = SafeTensors::read_metadata(&bytes).ok()?;
    let text = metadata.metadata().as_ref()?.get(key)?.clone();
    let tensors = SafeTensors::deserialize(&bytes).ok()?;
    let values = |(name, tensor): (String, TensorView<'_>)| {
        let words = tensor.data().chunks_exact(4);
        let values = words.map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect();
        (tensor.dtype() == Dtype::F32).then_some((name, values))
    };
    let vectors = tensors.tensors().into_iter().map(values).collect::<Option<HashMap<_, _>>>()?;
    Some((text, vectors))
}
