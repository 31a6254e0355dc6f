//! Trained models, in memory and on disk.
//!
//! On disk a model is a `safetensors` file: tensors `layers.0.weight` (out × in, PyTorch's layout) and
//! `layers.0.bias`, and under the metadata key `hpt-engine` a JSON document with everything else that is needed to
//! predict and to say where the model came from.

use super::{Criterion, Loss, ModelSpec, Plan};
use crate::data::{Pipeline, Sketch, Targets};
use crate::{Error, Result};
use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::io::Write;
use std::path::Path;

/// The newest format of the metadata that this program reads and the one it writes.
const FORMAT: u64 = 1;
/// The metadata's key.
const KEY: &str = "hpt-engine";

/// A trained network with everything it needs to predict.
#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    /// The network.
    pub spec: ModelSpec,
    /// Its shapes and offsets.
    pub plan: Plan,
    /// Its weights, in the order of the plan.
    pub weights: Vec<f32>,
    /// From the columns of a file to features; none for a model trained on arrays.
    pub pipeline: Option<Pipeline>,
    /// What the outputs mean.
    pub head: Head,
    /// What was minimised.
    pub criterion: Criterion,
    /// Where it came from.
    pub training: Training,
}

/// What the outputs of a network mean.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Head {
    /// One probability a class.
    Classes(usize),
    /// One probability a label.
    Binary(usize),
    /// Standardised numbers: own units = output · deviation + mean.
    Real {
        /// Mean of each target over the training rows.
        mean: Vec<f64>,
        /// Deviation of each target over the training rows.
        deviation: Vec<f64>,
    },
}

impl Head {
    /// The head for such targets; none without targets.
    pub fn of(targets: &Targets) -> Option<Self> {
        match targets {
            Targets::None => None,
            Targets::Classes { classes, .. } => Some(Head::Classes(*classes)),
            Targets::Binary { width, .. } => Some(Head::Binary(*width)),
            Targets::Real { mean, deviation, .. } => {
                Some(Head::Real { mean: mean.clone(), deviation: deviation.clone() })
            }
        }
    }

    /// Number of outputs.
    pub fn outputs(&self) -> usize {
        match self {
            Head::Classes(n) | Head::Binary(n) => *n,
            Head::Real { mean, .. } => mean.len(),
        }
    }
}

/// Where a model came from; for people, not for predicting.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Training {
    /// Version of the program that trained it.
    pub version: String,
    /// Seed.
    pub seed: u64,
    /// Place in the plan of a search.
    pub slot: u64,
    /// Epoch whose weights these are.
    pub epoch: usize,
    /// Training rows.
    pub rows: usize,
    /// Every setting that differs from its default, by its key.
    pub settings: serde_json::Map<String, serde_json::Value>,
    /// The study, where it came from one.
    pub study: Option<String>,
    /// The pieces of its training where hyperparameters changed on the way:
    /// `{"trial", "epochs": [from, to], "params"}`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub schedule: Vec<serde_json::Value>,
    /// Which rows it learned from; empty where nobody kept that.
    #[serde(default, skip_serializing_if = "Sketch::is_empty")]
    pub seen: Sketch,
}

#[derive(Serialize, Deserialize)]
struct Document {
    format: u64,
    model: ModelSpec,
    inputs: usize,
    head: Head,
    loss: Loss,
    label_smoothing: f32,
    class_weights: Option<Vec<f32>>,
    pipeline: Option<Pipeline>,
    training: Training,
}

impl Model {
    /// Writes the model; a file that is there is replaced at once or not at all.
    ///
    /// # Errors
    /// The folder is missing or read-only, or the disk is full.
    pub fn save(&self, path: &Path) -> Result<()> {
        let document = Document {
            format: FORMAT,
            model: self.spec.clone(),
            inputs: self.plan.inputs,
            head: self.head.clone(),
            loss: self.criterion.loss,
            label_smoothing: self.criterion.label_smoothing,
            class_weights: self.criterion.class_weights.clone(),
            pipeline: self.pipeline.clone(),
            training: self.training.clone(),
        };
        let text = serde_json::to_string(&document).map_err(|e| Error::Storage(format!("{}: {e}", path.display())))?;
        let tensors = self.tensors();
        let views =
            tensors.iter().map(|(name, shape, bytes)| Ok((name, TensorView::new(Dtype::F32, shape.clone(), bytes)?)));
        let views = views.collect::<Result<Vec<_>, safetensors::SafeTensorError>>();
        let metadata = HashMap::from([(KEY.to_owned(), text)]);
        let bytes = views.and_then(|views| safetensors::serialize(views, Some(metadata)));
        let bytes = bytes.map_err(|e| Error::Storage(format!("{}: {e}", path.display())))?;
        write_whole(path, &bytes)
    }

    /// Name, shape and little-endian bytes of each tensor, weights transposed to out × in.
    fn tensors(&self) -> Vec<(String, Vec<usize>, Vec<u8>)> {
        let mut tensors = Vec::new();
        for (l, layer) in self.plan.layers.iter().enumerate() {
            let weights = &self.weights[layer.weights.clone()];
            let order = (0..layer.outputs).flat_map(|j| (0..layer.inputs).map(move |i| i * layer.outputs + j));
            let bytes = order.flat_map(|at| weights[at].to_le_bytes()).collect();
            tensors.push((format!("layers.{l}.weight"), vec![layer.outputs, layer.inputs], bytes));
            let bias = self.weights[layer.bias.clone()].iter().flat_map(|b| b.to_le_bytes()).collect();
            tensors.push((format!("layers.{l}.bias"), vec![layer.outputs], bias));
        }
        tensors
    }

    /// Reads a model.
    ///
    /// # Errors
    /// The file is missing, truncated, no `safetensors` file, one of another program, one of a newer version, or
    /// inconsistent in itself: the message says which.
    pub fn load(path: &Path) -> Result<Self> {
        let name = path.display();
        let bytes = std::fs::read(path).map_err(|e| Error::io(path, e))?;
        let (_, metadata) = SafeTensors::read_metadata(&bytes).map_err(|e| unreadable(path, &bytes, &e))?;
        let text = metadata.metadata().as_ref().and_then(|map| map.get(KEY)).ok_or_else(|| {
            Error::input(format!(
                "{name}: a safetensors file, but not one of hpt-engine's models (no `{KEY}` in its metadata)"
            ))
        })?;
        let damaged = |e: &dyn std::fmt::Display| Error::input(format!("{name}: the model is damaged: {e}"));
        let value: serde_json::Value = serde_json::from_str(text).map_err(|e| damaged(&e))?;
        let format = value.get("format").and_then(serde_json::Value::as_u64).unwrap_or(0);
        if format > FORMAT {
            let version = value.pointer("/training/version").and_then(|v| v.as_str()).unwrap_or("a newer version");
            return Err(Error::input(format!(
                "{name}: written by hpt-engine {version} in format {format}; this is {} and reads formats up to {FORMAT}",
                env!("CARGO_PKG_VERSION")
            )));
        }
        let document: Document = serde_json::from_value(value).map_err(|e| damaged(&e))?;
        let tensors = SafeTensors::deserialize(&bytes).map_err(|e| unreadable(path, &bytes, &e))?;
        Self::assemble(document, &tensors).map_err(|e| damaged(&e))
    }

    fn assemble(document: Document, tensors: &SafeTensors<'_>) -> Result<Self> {
        let plan = Plan::new(&document.model, document.inputs, document.head.outputs())?;
        if let Some(pipeline) = &document.pipeline {
            pipeline.validate()?;
            if (pipeline.inputs(), pipeline.outputs()) != (plan.inputs, plan.outputs) {
                return Err(Error::input("its columns do not fit its network"));
            }
        }
        if document.class_weights.as_ref().is_some_and(|weights| weights.len() != plan.outputs) {
            return Err(Error::input("its class weights do not fit its network"));
        }
        let stored: usize = tensors.iter().map(|(_, tensor)| tensor.data().len() / 4).sum();
        if stored != plan.parameters {
            let (found, expected) = (stored, plan.parameters);
            return Err(Error::input(format!(
                "its tensors hold {found} numbers; its network has {expected} parameters"
            )));
        }
        let mut weights = vec![0.0; plan.parameters];
        for (l, layer) in plan.layers.iter().enumerate() {
            let weight = floats(tensors, &format!("layers.{l}.weight"), &[layer.outputs, layer.inputs])?;
            for (at, w) in weight.enumerate() {
                weights[layer.weights.start + at % layer.inputs * layer.outputs + at / layer.inputs] = w;
            }
            let bias = floats(tensors, &format!("layers.{l}.bias"), &[layer.outputs])?;
            weights[layer.bias.clone()].iter_mut().zip(bias).for_each(|(w, b)| *w = b);
        }
        let Document { loss, label_smoothing, class_weights, .. } = document;
        Ok(Model {
            spec: document.model,
            plan,
            weights,
            pipeline: document.pipeline,
            head: document.head,
            criterion: Criterion { loss, label_smoothing, class_weights },
            training: document.training,
        })
    }
}

/// Puts the bytes into a file: a regular one is replaced at once, through links; anything else (a device, a pipe) is
/// written to.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let failed = |e| Error::io(path, e);
    let target = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
    if std::fs::metadata(&target).is_ok_and(|found| !found.is_file() && !found.is_dir()) {
        return std::fs::write(&target, bytes).map_err(failed);
    }
    let folder = target.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut file = tempfile::NamedTempFile::new_in(folder).map_err(|e| Error::io(folder, e))?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    // A temporary file is private; a model gets the permissions of any new file.
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        file.as_file().set_permissions(std::fs::Permissions::from_mode(0o644)).map_err(failed)?;
    }
    file.persist(&target).map_err(|e| failed(e.error))?;
    Ok(())
}

/// The elements of a tensor of this shape.
fn floats<'a>(tensors: &SafeTensors<'a>, name: &str, shape: &[usize]) -> Result<impl Iterator<Item = f32> + use<'a>> {
    let tensor = tensors.tensor(name).map_err(|_| Error::input(format!("tensor {name} is missing")))?;
    if tensor.dtype() != Dtype::F32 || tensor.shape() != shape {
        let found = tensor.shape();
        return Err(Error::input(format!(
            "tensor {name} is {:?} {found:?}; F32 {shape:?} is expected",
            tensor.dtype()
        )));
    }
    let (words, _) = tensor.data().as_chunks::<4>();
    Ok(words.iter().map(|&bytes| f32::from_le_bytes(bytes)))
}

/// What is wrong with a file that `safetensors` cannot read.
fn unreadable(path: &Path, bytes: &[u8], e: &safetensors::SafeTensorError) -> Error {
    use safetensors::SafeTensorError::*;
    let name = path.display();
    let header = bytes.first_chunk::<8>().map(|&n| u64::from_le_bytes(n));
    let looks_like_one = bytes.get(8) == Some(&b'{');
    match (header, e) {
        _ if bytes.is_empty() => Error::input(format!("{name}: the file is empty")),
        (Some(n), _) if looks_like_one && n > bytes.len() as u64 - 8 => Error::input(format!(
            "{name}: the file is truncated: its header alone has {n} bytes, the file {}",
            bytes.len()
        )),
        (_, MetadataIncompleteBuffer) if looks_like_one => Error::input(format!(
            "{name}: the file is truncated or has bytes left over: its tensors do not fill it exactly"
        )),
        _ => Error::input(format!("{name}: not a safetensors file ({e})")),
    }
}
