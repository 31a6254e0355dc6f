//! The models of the best trials so far, one file each, as the study goes on and after it was interrupted.

use crate::history::pareto::{Merit, best_first};
use crate::history::{Direction, State, Trial};
use crate::model::Model;
use crate::study::Study;
use crate::{Error, Result};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

/// The models of the best trials so far, one file each.
pub(super) struct Kept {
    folder: PathBuf,
    count: usize,
    directions: Vec<Direction>,
    best: Mutex<Vec<(Merit, u64)>>,
}

impl Kept {
    /// Finds the models that an earlier part of the study left.
    pub fn new(folder: &Path, count: usize, study: &Study) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            let name = folder.display();
            return Err(Error::input(format!("{name}: is a file, and the models need a folder; name one with --out")));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        let directions = study.directions().to_vec();
        let kept = Kept { folder: folder.to_owned(), count, directions, best: Mutex::default() };
        let trials = study.trials()?;
        let ours = |trial: &&Trial| kept.model(trial, study).is_some();
        let found = trials.iter().filter(|trial| trial.state == State::Complete).filter(ours);
        let found = found.filter_map(|trial| Some((Merit::of(&kept.directions, trial)?, trial.number)));
        kept.best.lock().unwrap_or_else(PoisonError::into_inner).extend(found);
        Ok(kept)
    }

    /// The model of a trial, where it is there; a file of that name may be another study's.
    pub fn model(&self, trial: &Trial, study: &Study) -> Option<Model> {
        let model = Model::load(&self.path(trial.number)).ok()?;
        let training = &model.training;
        let is_ours = training.study.as_deref() == Some(study.name()) && training.slot == trial.slot();
        is_ours.then_some(model)
    }

    fn path(&self, number: u64) -> PathBuf {
        self.folder.join(format!("trial-{number}.safetensors"))
    }

    /// Saves a trial's model if it is among the best, in place of the worst of them. With several objectives the front
    /// comes first, and within a front the first objective decides.
    pub fn offer(&self, number: u64, values: &[f64], violation: f64, model: &Model) -> Result<()> {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let losses = self.directions.iter().zip(values).map(|(direction, value)| direction.loss(*value) + 0.0);
        best.push((Merit { losses: losses.collect(), violation }, number));
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
