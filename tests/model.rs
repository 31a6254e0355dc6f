//! Model files: what is saved comes back bit for bit and predicts the same; what is no model is refused with the
//! reason.

use hpt_engine::data::{DataSpec, Preprocess, SplitSpec};
use hpt_engine::engine::{Device, Engine, Fit};
use hpt_engine::model::{Activation, Model, ModelSpec};
use hpt_engine::prepared::Prepared;
use hpt_engine::train::{Control, TrainSpec};
use safetensors::SafeTensors;
use safetensors::tensor::{Dtype, TensorView};
use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A model trained for an epoch on a built-in set.
fn model(data: &str) -> (Model, Arc<hpt_engine::data::Dataset>) {
    let prepared = Prepared::load(&DataSpec::new(data), &SplitSpec::default()).unwrap();
    let sets = prepared.sets(Preprocess::Standard).unwrap();
    let network = ModelSpec { residual: true, ..ModelSpec::uniform(&[12, 12], Activation::Gelu, 0.1) };
    let training = TrainSpec { epochs: 1, ..TrainSpec::default() };
    let engine = Engine::new(Device::Cpu, 1).unwrap();
    let (mut model, _) = engine.train(&Fit::new(&sets.train, &network, &training), &mut |_| Control::Continue).unwrap();
    model.pipeline = Some(sets.pipeline.clone());
    (model, sets.test.clone().unwrap())
}

fn refused(path: &Path) -> String {
    let error = Model::load(path).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    let message = error.to_string();
    assert!(message.contains(&path.display().to_string()), "{message}");
    message
}

/// A saved model's bytes, and a file to write changed ones to.
fn saved(folder: &tempfile::TempDir) -> (Vec<u8>, PathBuf) {
    let path = folder.path().join("model.safetensors");
    model("digits").0.save(&path).unwrap();
    (std::fs::read(&path).unwrap(), folder.path().join("changed.safetensors"))
}

/// The same file with another metadata document.
fn with_document(bytes: &[u8], change: impl FnOnce(&mut serde_json::Value)) -> Vec<u8> {
    let (_, metadata) = SafeTensors::read_metadata(bytes).unwrap();
    let mut document = serde_json::from_str(&metadata.metadata().as_ref().unwrap()["hpt-engine"]).unwrap();
    change(&mut document);
    let tensors = SafeTensors::deserialize(bytes).unwrap();
    let info = HashMap::from([("hpt-engine".to_owned(), document.to_string())]);
    safetensors::serialize(tensors.tensors(), Some(info)).unwrap()
}

#[test]
fn a_model_comes_back_as_it_was() {
    for data in ["digits", "california-housing"] {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("model.safetensors");
        let (model, test) = model(data);
        model.save(&path).unwrap();
        let loaded = Model::load(&path).unwrap();
        assert_eq!(loaded, model);
        let engine = Engine::new(Device::Cpu, 1).unwrap();
        assert_eq!(engine.predict(&loaded, &test).unwrap(), engine.predict(&model, &test).unwrap());
        // The same model is the same file.
        let again = folder.path().join("again.safetensors");
        loaded.save(&again).unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), std::fs::read(&again).unwrap());
    }
}

#[test]
fn tensors_have_pytorchs_names_and_layout() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, _) = saved(&folder);
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let weight = tensors.tensor("layers.0.weight").unwrap();
    let model = Model::load(&folder.path().join("model.safetensors")).unwrap();
    let inputs = model.plan.inputs;
    assert_eq!((weight.dtype(), weight.shape()), (Dtype::F32, [12, inputs].as_slice()));
    let at = |out: usize, input: usize| {
        f32::from_le_bytes(weight.data()[(out * inputs + input) * 4..][..4].try_into().unwrap())
    };
    assert_eq!(at(3, 17), model.weights[model.plan.layers[0].weights.start + 17 * 12 + 3]);
}

#[test]
fn every_truncation_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, path) = saved(&folder);
    for length in [0, 1, 7, 8, 9, 100, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..length]).unwrap();
        let message = refused(&path);
        let said = ["truncated", "empty", "not a safetensors file"].iter().any(|word| message.contains(word));
        assert!(said, "{length} bytes: {message}");
        assert!(length < 100 || message.contains("truncated"), "{length} bytes: {message}");
    }
}

#[test]
fn what_is_no_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("other");
    assert!(refused(&path).contains("no such file"));
    std::fs::write(&path, "a,b\n1,2\n3,4\n5,6\n").unwrap();
    assert!(refused(&path).contains("not a safetensors file"));
    let view = TensorView::new(Dtype::F32, vec![1], &[0; 4]).unwrap();
    std::fs::write(&path, safetensors::serialize([("x", view)], None).unwrap()).unwrap();
    assert!(refused(&path).contains("not one of hpt-engine's models"));
}

#[test]
fn newer_and_inconsistent_models_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (bytes, path) = saved(&folder);
    let check = |change: &dyn Fn(&mut serde_json::Value), expected: &str| {
        std::fs::write(&path, with_document(&bytes, change)).unwrap();
        let message = refused(&path);
        assert!(message.contains(expected), "{message}");
    };
    let newer = |document: &mut serde_json::Value| {
        document["format"] = 99.into();
        document["training"]["version"] = "7.0.0".into();
    };
    check(&newer, "written by hpt-engine 7.0.0 in format 99");
    check(&|document| document["model"]["hidden"][0]["units"] = 13.into(), "parameters");
    check(&|document| document["model"]["hidden"][0]["units"] = 0.into(), "0 units");
    check(&|document| document["model"]["hidden"][0]["activation"] = "swoosh".into(), "swoosh");
    check(&|document| document["head"]["classes"] = 11.into(), "do not fit");
    check(&|document| document["inputs"] = 63.into(), "do not fit");
    check(&|document| document["pipeline"] = 3.into(), "damaged");
}

#[cfg(unix)]
#[test]
fn links_are_followed_and_devices_are_not_replaced() {
    use std::os::unix::fs::FileTypeExt;
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = model("digits");
    let (target, link) = (folder.path().join("target"), folder.path().join("link"));
    std::fs::write(&target, "").unwrap();
    std::os::unix::fs::symlink(&target, &link).unwrap();
    model.save(&link).unwrap();
    assert!(std::fs::symlink_metadata(&link).unwrap().is_symlink());
    assert_eq!(Model::load(&target).unwrap(), model);
    model.save(Path::new("/dev/null")).unwrap();
    assert!(std::fs::metadata("/dev/null").unwrap().file_type().is_char_device());
}

#[test]
fn a_folder_that_is_missing_is_an_error_and_nothing_is_written() {
    let folder = tempfile::tempdir().unwrap();
    let (model, _) = model("digits");
    let path = folder.path().join("none").join("model.safetensors");
    let message = model.save(&path).unwrap_err().to_string();
    assert!(message.contains("none"), "{message}");
    assert!(!folder.path().join("none").exists());
}
