//! What a trial's trainings have come to so far, one for each fold and repetition, and the file in which that waits for
//! the study to go on.
//!
//! A trial that is stopped (by the user, the clock or a rule of the study) leaves `unfinished/STUDY-SLOT.safetensors`
//! in the folder of models: the whole trainings with what they showed, the first one's weights, and the one that was
//! under way, paused. Whoever runs that slot again goes on from there, to the same numbers. The file names the trial it
//! belongs to, and carries a hash of its numbers: one that does not fit is not looked at, and the trial begins again.

use super::measure::Measure;
use crate::history::Direction;
use crate::train::{Checkpoint, Metric, Paused, Scores, Trained, hash, read, write};
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::Value as Json;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// Where stopped trials wait, beside the models.
const FOLDER: &str = "unfinished";
/// The metadata's key.
const KEY: &str = "hpt-engine-unfinished";
/// The first training's weights, and those that the paused one may go back to.
const FIRST: &str = "first";
const KEPT: &str = "kept";

/// What one training showed.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measured {
    pub watched: f64,
    pub scores: Scores,
    /// That of the weights that it ended with.
    pub epoch: usize,
    pub parameters: f64,
    pub training_seconds: f64,
    /// For 1,000 rows.
    pub inference_seconds: Option<f64>,
}

/// See the module.
#[derive(Debug, Default, Serialize, Deserialize)]
pub(super) struct Parts {
    /// What its whole trainings showed.
    pub measured: Vec<Measured>,
    /// The first of them, whose model is the trial's.
    pub first: Option<Trained>,
    /// The next one, where that was stopped.
    pub paused: Option<Paused>,
    /// Seconds that scoring the first took.
    pub scoring: f64,
    /// Epochs of the first training, or trainings where these are compared, that the pruner has let pass.
    pub passed: usize,
    /// Seconds of all that.
    pub seconds: f64,
    /// When it was written last, or begun.
    #[serde(skip)]
    pub written: Option<Instant>,
}

/// Where a stopped trial's parts lie.
pub(super) struct Place {
    path: PathBuf,
    /// The trial they belong to: whatever its numbers depend on.
    trial: Json,
}

/// The text of a file.
#[derive(Serialize, Deserialize)]
struct Record<P> {
    trial: Json,
    parts: P,
    hash: u64,
}

impl Place {
    /// That of a slot of a study; `trial` is what its numbers depend on.
    pub fn new(out: &Path, study: &str, slot: u64, trial: Json) -> Self {
        // A study's name may hold what a path gives a meaning to.
        let study = study.replace(['/', '\\'], "_");
        Place { path: out.join(FOLDER).join(format!("{study}-{slot}.safetensors")), trial }
    }

    /// Removes the folder where nothing waits in it.
    pub fn tidy(out: &Path) {
        let _ = std::fs::remove_dir(out.join(FOLDER));
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// What is there of this trial.
    pub fn load(&self) -> Option<Parts> {
        let (text, mut vectors) = read(&self.path, KEY)?;
        let record: Record<Parts> = serde_json::from_str(&text).ok()?;
        let mut parts = record.parts;
        if let Some(first) = &mut parts.first {
            first.weights = vectors.remove(FIRST)?;
        }
        if let Some(paused) = &mut parts.paused {
            paused.kept = vectors.remove(KEPT);
            paused.checkpoint = Checkpoint::from_vectors(paused.history.len(), &mut vectors)?;
        }
        (record.trial == self.trial && record.hash == parts.hash()).then_some(parts)
    }

    /// Writes it for later; the time since it was written last counts.
    pub fn save(&self, parts: &mut Parts) -> Result<()> {
        parts.seconds += parts.since().as_secs_f64();
        parts.written = Some(Instant::now());
        let parts = &*parts;
        if parts.measured.is_empty() && parts.paused.is_none() {
            return Ok(());
        }
        let record = Record { trial: self.trial.clone(), parts, hash: parts.hash() };
        let text =
            serde_json::to_string(&record).map_err(|e| Error::Storage(format!("{}: {e}", self.path.display())))?;
        let folder = self.path.parent().unwrap_or(Path::new(""));
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        write(&self.path, KEY, text, &parts.vectors())
    }

    /// Removes what was there: the trial has ended.
    pub fn clear(&self) {
        // What stays behind takes room, no more.
        let _ = std::fs::remove_file(&self.path);
    }
}

impl Parts {
    /// Since it was written last, or begun.
    pub fn since(&self) -> Duration {
        self.written.map_or(Duration::ZERO, |written| written.elapsed())
    }

    fn vectors(&self) -> Vec<(String, &[f32])> {
        let first = self.first.iter().map(|first| (FIRST.to_owned(), first.weights.as_slice()));
        let kept = self.paused.iter().filter_map(|paused| paused.kept.as_deref());
        let checkpoint = self.paused.iter().flat_map(|paused| paused.checkpoint.vectors());
        first.chain(kept.map(|kept| (KEPT.to_owned(), kept))).chain(checkpoint).collect()
    }

    fn hash(&self) -> u64 {
        hash(self.vectors().into_iter().flat_map(|(_, values)| values.iter().map(|x| x.to_bits())))
    }

    /// What it has taken so far.
    pub fn spent(&self) -> Duration {
        Duration::try_from_secs_f64(self.seconds).unwrap_or_default() + self.since()
    }

    /// How far it is, of so many trainings.
    pub fn describe(&self, of: usize) -> String {
        let epochs = |n: usize| if n == 1 { "1 epoch".to_owned() } else { format!("{n} epochs") };
        match (self.measured.len(), self.paused.as_ref().map_or(0, |paused| paused.history.len())) {
            (0, 0) => "in its first epoch".to_owned(),
            (0, n) if of == 1 => format!("after {}", epochs(n)),
            (0, n) => format!("after {} of the first of its {of} trainings", epochs(n)),
            (whole, 0) => format!("after {whole} of its {of} trainings"),
            (whole, n) => format!("after {whole} of its {of} trainings and {} of the next", epochs(n)),
        }
    }
}

/// The mean of a measure over trainings; none where one of them has none.
pub(super) fn mean(measure: Measure, watched: Metric, measured: &[Measured]) -> Option<f64> {
    let of = |one: &Measured| match measure {
        Measure::Metric(metric) if metric == watched => Some(one.watched),
        Measure::Metric(metric) => one.scores.get(metric),
        Measure::Parameters => Some(one.parameters),
        Measure::TrainingSeconds => Some(one.training_seconds),
        Measure::InferenceSeconds => one.inference_seconds,
    };
    let values: Option<Vec<f64>> = measured.iter().map(of).collect();
    values.map(|values| values.iter().sum::<f64>() / values.len() as f64)
}

/// Whether the mean of trainings is better than the value of another trial, and than the mean of what those of its
/// trainings came to that had the same rows: the first of `theirs`, which is empty where all have the same.
pub(super) fn are_ahead(direction: Direction, own: &[f64], value: f64, theirs: &[f64]) -> bool {
    let mean = |values: &[f64]| values.iter().sum::<f64>() / values.len() as f64;
    let same = if theirs.is_empty() { Some(value) } else { theirs.get(..own.len()).map(mean) };
    let is_ahead = |of: f64| direction.better(mean(own), of);
    !own.is_empty() && is_ahead(value) && same.is_some_and(is_ahead)
}

/// Each metric's mean over the trainings, where all have it.
pub(super) fn mean_scores(measured: &[Measured]) -> Scores {
    let of = |name: &String| measured.iter().map(|one| one.scores.0.get(name).copied()).sum::<Option<f64>>();
    let names = measured.iter().take(1).flat_map(|one| one.scores.0.keys());
    Scores(names.filter_map(|name| Some((name.clone(), of(name)? / measured.len() as f64))).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folds_are_compared_with_the_same_folds() {
        let (up, down) = (Direction::Maximize, Direction::Minimize);
        assert!(are_ahead(up, &[0.9], 0.8, &[]) && !are_ahead(down, &[0.9], 0.8, &[]));
        assert!(are_ahead(up, &[0.9, 0.7], 0.7, &[0.85, 0.7, 0.55]));
        assert!(!are_ahead(up, &[0.9, 0.7], 0.7, &[0.9, 0.75, 0.45]), "the first two are easy ones");
        assert!(!are_ahead(up, &[0.7, 0.7], 0.71, &[0.6, 0.6, 0.93]), "its value would not be the best");
        assert!(!are_ahead(up, &[0.9, 0.9], 0.5, &[0.5]), "nothing to compare with");
        assert!(!are_ahead(up, &[], 0.5, &[]));
    }

    #[test]
    fn what_is_kept_of_a_trial_is_read_as_it_was() {
        let folder = tempfile::tempdir().unwrap();
        let place = |seed: u64| Place::new(folder.path(), "a/b", 5, serde_json::json!({ "seed": seed }));
        place(1).save(&mut Parts::default()).unwrap();
        assert!(!folder.path().join("unfinished").exists(), "nothing to keep");
        let epoch = |epoch, also: Vec<f64>| crate::train::Epoch {
            epoch,
            learning_rate: 0.1,
            train_loss: 1.0 / 3.0,
            validation_loss: Some(0.5),
            metric: None,
            also,
            seconds: 0.25,
        };
        let history = vec![epoch(1, vec![f64::NAN, 0.1]), epoch(2, Vec::new())];
        let scores = Scores([("accuracy".to_owned(), 0.1 + 0.2)].into_iter().collect());
        let measured = Measured {
            watched: 1e-300,
            scores,
            epoch: 2,
            parameters: 3.0,
            training_seconds: 0.5,
            inference_seconds: None,
        };
        let mut parts = Parts {
            measured: vec![measured],
            first: Some(Trained {
                weights: vec![1.0, -0.0, f32::MIN_POSITIVE],
                history: history.clone(),
                epoch: 2,
                metric: Some(0.1),
                seconds: 0.5,
                stopped: crate::train::Stopped::Early,
            }),
            paused: Some(Paused {
                checkpoint: Checkpoint {
                    epochs: 2,
                    weights: vec![1e-40; 3],
                    moments: vec![vec![2.0; 3], vec![3.0; 3]],
                },
                history,
                losses: vec![0.1, 2.0 / 3.0],
                seconds: 0.125,
                kept: Some(vec![7.0; 3]),
            }),
            scoring: 0.01,
            passed: 2,
            seconds: 1.5,
            written: None,
        };
        place(1).save(&mut parts).unwrap();
        parts.written = None;
        let read = place(1).load().unwrap();
        // What is not a number is not equal to itself.
        assert_eq!(format!("{read:?}"), format!("{parts:?}"));
        assert_eq!(read.describe(5), "after 1 of its 5 trainings and 2 epochs of the next");
        assert!(place(2).load().is_none(), "another trial's");
        place(1).clear();
        Place::tidy(folder.path());
        assert!(place(1).load().is_none() && !folder.path().join("unfinished").exists());
    }
}
