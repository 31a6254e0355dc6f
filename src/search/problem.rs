//! Trainings on data as a problem that samplers are compared on: a search without its last training.

use super::budget::Budget;
use super::kept::Kept;
use super::trial::Objective;
use super::{Bridge, Measure, Progress, SearchSpec};
use crate::compare::{Clock, Course, Problem};
use crate::data::SplitSpec;
use crate::engine::{Device, Engine};
use crate::history::{Direction, Trial};
use crate::prepared::Prepared;
use crate::study::{Stopped, Study, Told};
use crate::train::Metric;
use crate::{Error, Result};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Instant;

/// The trials of a search on data. The seed of a run also divides the rows, so every seed is another split, the same
/// for all samplers; a run has one trial at a time on one thread. As in a search, the default configuration is the
/// first trial.
#[derive(Debug)]
pub struct DataProblem {
    spec: SearchSpec,
    name: String,
    direction: Direction,
    /// Files of runs that nobody keeps.
    folder: tempfile::TempDir,
}

impl DataProblem {
    /// The search that `spec` describes; its sampler, seed, trials, jobs, storage and folders are the comparison's.
    ///
    /// # Errors
    /// The data cannot be read; no folder for temporary files.
    pub fn new(spec: SearchSpec) -> Result<Self> {
        let split = SplitSpec { seed: 0, ..spec.split.clone() };
        let prepared = Prepared::load(&spec.data, &split)?;
        let objective = match *spec.objectives.as_slice() {
            [] => Measure::Metric(Metric::default_for(&prepared.targets()?)),
            [objective] => objective,
            _ => return Err(Error::input("samplers are compared by one objective; name one metric")),
        };
        let direction = objective.direction();
        let name = spec.study.clone().unwrap_or_else(|| prepared.name().to_owned());
        // One training after the other is the CPU's work, where no device is named; a GPU is opened once.
        let device = if spec.device == Device::Auto { Device::Cpu } else { spec.device };
        let engine = Some(Arc::new(Engine::new(device, 1)?));
        let spec = SearchSpec { device, engine, cohort: 1, ..spec };
        let folder = tempfile::tempdir().map_err(|e| Error::io(std::env::temp_dir(), e))?;
        Ok(DataProblem { spec, name, direction, folder })
    }
}

impl Problem for DataProblem {
    fn name(&self) -> &str {
        &self.name
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn run(&self, course: &Course<'_>) -> Result<(Study, bool)> {
        let own = self.folder.path().join(course.study.replace(['/', '\\'], "_"));
        let spec = SearchSpec {
            told: Told { sampler: Some(course.sampler.to_owned()), ..self.spec.told.clone() },
            seed: course.seed,
            trials: Some(course.trials),
            jobs: 1,
            threads: 1,
            keep_models: 0,
            storage: course.storage.map_or_else(|| own.with_extension("db"), |storage| PathBuf::from(storage.path())),
            study: Some(course.study.clone()),
            out: Some(own),
            ..self.spec.clone()
        };
        let times = Times(&course.clock);
        let bridge = Bridge::open(&spec, &times)?;
        bridge.enqueue()?;
        let budget = Budget::new(Instant::now(), None, spec.trial_time_limit, course.stop.clone());
        let kept = Kept::new(&bridge.out, 0, &bridge.study, false)?;
        let summary = bridge.run(&Objective { bridge: &bridge, budget: &budget, kept: &kept })?;
        Ok((bridge.study, summary.stopped != Stopped::Interrupted))
    }
}

/// Takes the time and says nothing.
struct Times<'a>(&'a Clock);

impl Progress for Times<'_> {
    fn note(&self, _: &str) {}
    fn started(&self, _: &Study, _: Option<u64>, _: u64) {
        self.0.start();
    }
    fn trial_started(&self, _: &Trial) {}
    fn epoch(&self, _: u64, _: u64, _: f64) {}
    fn trial_finished(&self, trial: &Trial, _: Option<f64>) {
        self.0.ended(trial);
    }
    fn retraining(&self, _: usize, _: usize) {}
}
