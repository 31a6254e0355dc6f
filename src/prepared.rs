//! Data made ready: loaded once, split once, encoded once for each kind of preprocessing.
//!
//! Training, validation and test rows as [`Dataset`]s that any number of trainings share without copies.

use crate::Result;
use crate::data::{
    self, DataSpec, Dataset, Fold, Loaded, Pipeline, Preprocess, Sketch, Split, SplitSpec, Targets, Task,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Instant;

/// Loaded and split data.
#[derive(Debug)]
pub struct Prepared {
    loaded: Loaded,
    split: Split,
    /// Folds of the rows that are not for the test; 0: they are divided once.
    folds: usize,
    /// The first training and validation rows.
    first: Fold,
    seed: u64,
    /// All sets of rows have the same number of inputs.
    aligned: bool,
    fingerprint: OnceLock<u64>,
    cache: Mutex<HashMap<(Preprocess, usize), Arc<Sets>>>,
    widths: Mutex<HashMap<Preprocess, usize>>,
}

/// Rows encoded by a pipeline that was fitted on the training rows alone.
#[derive(Debug)]
pub struct Sets {
    /// From columns to features.
    pub pipeline: Pipeline,
    /// Rows to learn from.
    pub train: Arc<Dataset>,
    /// Rows that choose; none where the split asked for none.
    pub validation: Option<Arc<Dataset>>,
    /// Rows that judge, once; none where the split asked for none.
    pub test: Option<Arc<Dataset>>,
    /// The training rows, to be known again.
    pub seen: Sketch,
    /// What the user should know: dropped columns and the like.
    pub notes: Vec<String>,
    /// Seconds that all this took.
    pub seconds: f64,
}

impl Prepared {
    /// Reads and splits.
    ///
    /// # Errors
    /// Those of [`data::load`], [`data::split`] and [`data::folds`].
    pub fn load(spec: &DataSpec, split: &SplitSpec) -> Result<Self> {
        let loaded = data::load(spec)?;
        let (seed, folds) = (split.seed, data::fold_count(&loaded.source, split.folds)?);
        let split = data::split(&loaded.source, loaded.test.is_some(), split)?;
        let first = match folds {
            0 => (split.train.clone(), split.validation.clone()),
            k => data::folds(&loaded.source, &split.development(), k, seed, 0)?.swap_remove(0),
        };
        let (fingerprint, cache, widths) = (OnceLock::new(), Mutex::default(), Mutex::default());
        Ok(Prepared { loaded, split, folds, first, seed, aligned: false, fingerprint, cache, widths })
    }

    /// The data's name: the file's without its endings.
    pub fn name(&self) -> &str {
        &self.loaded.name
    }

    /// What reading had to say.
    pub fn notes(&self) -> &[String] {
        &self.loaded.notes
    }

    /// A hash of everything that was read, the same on every machine.
    pub fn fingerprint(&self) -> u64 {
        *self.fingerprint.get_or_init(|| self.loaded.source.fingerprint())
    }

    /// What the target means.
    pub fn task(&self) -> &Task {
        self.loaded.source.task()
    }

    /// Rows for training, validation and test; with folds, those of the first.
    pub fn rows(&self) -> (usize, usize, usize) {
        let test = self.loaded.test.as_ref().map_or(self.split.test.len(), data::Source::rows);
        (self.first.0.len(), self.first.1.len(), test)
    }

    /// How many folds there are; 0 where rows are divided once.
    pub fn folds(&self) -> usize {
        self.folds
    }

    /// Columns of the data, the target not counted.
    pub fn columns(&self) -> usize {
        self.loaded.source.columns()
    }

    /// The rows with statistics from the training rows. Every call with the same kind returns the same sets.
    ///
    /// # Errors
    /// Those of [`Pipeline::fit`].
    pub fn sets(&self, preprocess: Preprocess) -> Result<Arc<Sets>> {
        self.sets_of(preprocess, 0)
    }

    /// The same for a part of a cross-validation: of k folds, part p holds out fold p mod k of the division number p /
    /// k. Each part has a copy of the rows, encoded with the statistics of its own training rows. Without folds all
    /// parts are one.
    ///
    /// # Errors
    /// As [`Prepared::sets`], and those of [`data::folds`].
    pub fn sets_of(&self, preprocess: Preprocess, part: usize) -> Result<Arc<Sets>> {
        let part = if self.folds == 0 { 0 } else { part };
        let mut cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(sets) = cache.get(&(preprocess, part)) {
            return Ok(sets.clone());
        }
        let (train, validation) = self.part(part)?;
        // The test rows are looked at once, by the model of the first part or the last training.
        let sets = Arc::new(self.encode(preprocess, &train, &validation, part == 0)?);
        cache.insert((preprocess, part), sets.clone());
        Ok(sets)
    }

    /// Training and validation rows of a part.
    fn part(&self, part: usize) -> Result<Fold> {
        if part == 0 {
            return Ok(self.first.clone());
        }
        let (repetition, fold) = ((part / self.folds) as u64, part % self.folds);
        let rows = self.split.development();
        let mut pairs = data::folds(&self.loaded.source, &rows, self.folds, self.seed, repetition)?;
        Ok(pairs.swap_remove(fold))
    }

    /// Training and validation rows together as training rows, with statistics from them; for the last training.
    ///
    /// # Errors
    /// Those of [`Pipeline::fit`].
    pub fn final_sets(&self, preprocess: Preprocess) -> Result<Sets> {
        self.encode(preprocess, &self.split.development(), &[], true)
    }

    /// Makes all sets of rows as wide as the widest of the first and the last training: columns that are constant in
    /// the training rows alone, and categories that these lack, come back there. Networks of the same layers then have
    /// the same number of parameters, whichever rows they were trained on.
    #[must_use]
    pub fn aligned(mut self) -> Self {
        self.aligned = true;
        self.cache = Mutex::default();
        self
    }

    /// That width.
    fn width(&self, preprocess: Preprocess) -> Result<usize> {
        let mut widths = self.widths.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(inputs) = widths.get(&preprocess) {
            return Ok(*inputs);
        }
        let fitted = |rows: &[usize]| Ok(Pipeline::fit(&self.loaded.source, rows, preprocess)?.0.inputs());
        let inputs = usize::max(fitted(&self.first.0)?, fitted(&self.split.development())?);
        widths.insert(preprocess, inputs);
        Ok(inputs)
    }

    /// Seconds that the longest encoding so far took: [`Prepared::final_sets`] takes about as long, for as many rows.
    pub fn encoding_seconds(&self) -> f64 {
        let cache = self.cache.lock().unwrap_or_else(PoisonError::into_inner);
        cache.values().map(|sets| sets.seconds).fold(0.0, f64::max)
    }

    fn encode(&self, preprocess: Preprocess, train: &[usize], validation: &[usize], with_test: bool) -> Result<Sets> {
        let (source, started) = (&self.loaded.source, Instant::now());
        let (mut pipeline, notes) = Pipeline::fit(source, train, preprocess)?;
        if self.aligned {
            pipeline.widen(self.width(preprocess)?);
        }
        let some = |rows: &[usize]| match rows {
            [] => Ok(None),
            rows => pipeline.transform(source, rows).map(|dataset| Some(Arc::new(dataset))),
        };
        let test = match &self.loaded.test {
            _ if !with_test => None,
            Some(test) => Some(Arc::new(pipeline.transform(test, &(0..test.rows()).collect::<Vec<_>>())?)),
            None => some(&self.split.test)?,
        };
        let train = Arc::new(pipeline.transform(source, train)?);
        let seen = Sketch::of(&train);
        let validation = some(validation)?;
        Ok(Sets { train, seen, validation, test, pipeline, notes, seconds: started.elapsed().as_secs_f64() })
    }

    /// Targets of the training rows, to choose metrics by.
    ///
    /// # Errors
    /// As [`Prepared::sets`].
    pub fn targets(&self) -> Result<Targets> {
        Ok(self.sets(Preprocess::default())?.train.targets.clone())
    }
}
