//! The models of the best trials so far, one file each, as the study goes on and after it was interrupted.

use crate::history::pareto::{Merit, best_first};
use crate::history::{Direction, State, Trial};
use crate::model::Model;
use crate::study::Study;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The file of a training that was interrupted before there was any result.
const UNFINISHED: &str = "interrupted.safetensors";
/// Attribute of a study: what that file holds ([`Interrupted`]); null where there is none any more.
const INTERRUPTED: &str = "interrupted";

/// The models of the best trials so far, one file each.
pub(super) struct Kept {
    folder: PathBuf,
    count: usize,
    directions: Vec<Direction>,
    best: Mutex<Vec<(Merit, u64)>>,
    /// The best model since the start where no file is kept and one may be needed.
    held: Mutex<Option<(Merit, u64, Model)>>,
    holds: bool,
    /// What trainings that were interrupted had come to.
    unfinished: Mutex<Option<Unfinished>>,
}

/// What an interrupted training had come to.
pub(super) struct Unfinished {
    pub trial: u64,
    pub epoch: usize,
    /// What was watched, and the same as a loss.
    pub value: f64,
    pub loss: f64,
    pub model: Model,
}

/// The model of a training that the user interrupted before there was any result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interrupted {
    /// The trial, which is lost now: another one repeats it.
    pub trial: u64,
    /// Epochs that it had trained.
    pub epoch: usize,
    /// The metric that is watched, on the validation rows.
    pub value: f64,
    /// The file.
    pub model: PathBuf,
}

impl Interrupted {
    /// What an interrupt left of a study; none where the file is gone.
    pub(super) fn of(study: &Study) -> Result<Option<Self>> {
        let left: Option<Self> = study.attribute(INTERRUPTED)?.and_then(|left| serde_json::from_value(left).ok());
        Ok(left.filter(|left| left.model.is_file()))
    }
}

impl Kept {
    /// Finds the models that an earlier part of the study left. Where none are kept and a time limit may make the best one the
    /// result (`holds`), that stays in memory.
    pub fn new(folder: &Path, count: usize, study: &Study, holds: bool) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            let name = folder.display();
            return Err(Error::input(format!("{name}: is a file, and the models need a folder; name one with --out")));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let directions = study.directions().to_vec();
        let (best, held, unfinished) = (Mutex::default(), Mutex::default(), Mutex::default());
        let holds = holds && count == 0;
        let kept = Kept { folder: folder.to_owned(), count, directions, best, held, holds, unfinished };
        let trials = study.trials()?;
        let ours = |trial: &&Trial| kept.model(trial, study).is_some();
        let found = trials.iter().filter(|trial| trial.state == State::Complete).filter(ours);
        let found = found.filter_map(|trial| Some((Merit::of(&kept.directions, trial)?, trial.number)));
        kept.best.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        Ok(kept)
    }

    /// The model of a trial, where it is there; a file of that name may be another study's.
    pub fn model(&self, trial: &Trial, study: &Study) -> Option<Model> {
        if let Some((_, number, model)) = self.held().as_ref()
            && *number == trial.number
        {
            return Some(model.clone());
        }
        let model = Model::load(&self.path(trial.number)).ok()?;
        let training = &model.training;
        let is_ours = training.study.as_deref() == Some(study.name()) && training.slot == trial.slot();
        is_ours.then_some(model)
    }

    fn held(&self) -> MutexGuard<'_, Option<(Merit, u64, Model)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a training had come to when it was interrupted, if none beside it had come further.
    pub fn interrupted(&self, unfinished: Unfinished) {
        let mut best = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        if best.as_ref().is_none_or(|best| unfinished.loss < best.loss) {
            *best = Some(unfinished);
        }
    }

    /// Saves the best of what was interrupted, and says where; the study remembers it.
    pub fn save_interrupted(&self, study: &Study) -> Result<Option<Interrupted>> {
        let unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(unfinished) = unfinished else { return Ok(None) };
        let Unfinished { trial, epoch, value, model, .. } = unfinished;
        let left = Interrupted { trial, epoch, value, model: self.folder.join(UNFINISHED) };
        model.save(&left.model)?;
        study.set_attribute(INTERRUPTED, &json!(left))?;
        Ok(Some(left))
    }

    /// Removes what an interrupt left: there is a result.
    pub fn forget_interrupted(&self, study: &Study) -> Result<()> {
        // What stays behind takes a little room, no more.
        let _ = std::fs::remove_file(self.folder.join(UNFINISHED));
        match study.attribute(INTERRUPTED)? {
            Some(left) if !left.is_null() => study.set_attribute(INTERRUPTED, &Json::Null),
            _ => Ok(()),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("trial-{number}.safetensors"))
    }

    /// Saves a trial's model if it is among the best, in place of the worst of them. With several objectives the front
    /// comes first, and within a front the first objective decides.
    pub fn offer(&self, number: u64, values: &[f64], violation: f64, model: &Model) -> Result<()> {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let losses = self.directions.iter().zip(values).map(|(direction, value)| direction.loss(*value) + 0.0);
        let merit = Merit { losses: losses.collect(), violation };
        if self.holds {
            let mut held = self.held();
            let is_better =
                |(before, _, _): &(Merit, u64, Model)| best_first(&[before.clone(), merit.clone()]).first() == Some(&1);
            if held.as_ref().is_none_or(is_better) {
                *held = Some((merit, number, model.clone()));
            }
            return Ok(());
        }
        best.push((merit, number));
        best.sort_by_key(|(_, number)| *number);
        let merits: Vec<Merit> = best.iter().map(|(merit, _)| merit.clone()).collect();
        let order = best_first(&merits);
        let count = self.count.min(best.len());
        if !order[..count].iter().any(|place| best[*place].1 == number) {
            best.retain(|(_, other)| *other != number);
            return Ok(());
        }
        model.save(&self.path(number))?;
        *best = order.into_iter().map(|place| best[place].clone()).collect();
        for (_, dropped) in best.drain(count..) {
            let path = self.path(dropped);
            match std::fs::remove_file(&path) {
                // Another process of the same study may have been first.
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(Error::io(&path, e)),
                _ => {}
            }
        }
        Ok(())
    }
}
