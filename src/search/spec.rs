//! What a search is told, who listens to it, and what it comes to.

use super::{Constraint, Found, Measure, PopulationSpec, Tested};
use crate::Result;
use crate::data::{DataSpec, SplitSpec};
use crate::engine::{Device, Engine};
use crate::history::Trial;
use crate::sampler::Sampler;
use crate::settings::Settings;
use crate::space::{Params, Space};
use crate::study::{StopRules, Stopped, Storage, Study, Told};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// A search, as flags and study files describe it.
#[derive(Clone, Debug)]
pub struct SearchSpec {
    /// The data.
    pub data: DataSpec,
    /// How they are divided; its seed is the search's. With folds every trial trains once for each and its value is the
    /// mean.
    pub split: SplitSpec,
    /// Settings that do not vary.
    pub fixed: Settings,
    /// What varies; none takes that of the study, or of a new one [`default_space`](super::default_space).
    pub space: Option<Space>,
    /// What is optimised; empty takes accuracy or RMSE. With several the result is a front; pruners look at all of
    /// them, early stopping at the first metric among them.
    pub objectives: Vec<Measure>,
    /// What a trial must keep to be among the best.
    pub constraints: Vec<Constraint>,
    /// Sampler and pruner with their options. What is left out is as the study was begun; of a new study the sampler
    /// `auto` and the pruner `asha` (`hyperband` for `bohb`, `none` where no objective is a metric), whose first rung
    /// follows from the epochs.
    pub told: Told,
    /// The total number of trials that the study should reach; none for no limit.
    pub trials: Option<u64>,
    /// Wall-clock time of everything, the last training included; where that has no time left, the best trial's own
    /// model is the result. Where no trial is complete by then, those under way end with what they came to.
    pub time_limit: Option<Duration>,
    /// When that time began; none: with the search.
    pub began: Option<Instant>,
    /// Wall-clock time of one trial; what it has learned by then is its result.
    pub trial_time_limit: Option<Duration>,
    /// What a trial has come to is written after so long each time, so that a crash loses no more of it.
    pub checkpoint_every: Duration,
    /// Bytes that the training of one trial may take, the data aside; one that is planned to take more fails unstarted.
    pub trial_memory_limit: Option<u64>,
    /// Trials at once; 0 chooses. On GPUs see `cohort`.
    pub jobs: usize,
    /// Threads of each trial; 0 chooses.
    pub threads: usize,
    /// Where to train.
    pub device: Device,
    /// Trials at once on GPUs; 0 chooses by their memory, the trials, and whether the sampler learns from them.
    pub cohort: usize,
    /// A device that is ready, in place of `device`: several searches may share a GPU.
    pub engine: Option<Arc<Engine>>,
    /// Seed of everything.
    pub seed: u64,
    /// The study's file.
    pub storage: PathBuf,
    /// The study's name; none takes the data's.
    pub study: Option<String>,
    /// Trainings of each trial with different seeds, whose values are averaged; with folds, other divisions into them.
    pub repeats: usize,
    /// How many of the best trials' models are kept.
    pub keep_models: usize,
    /// Train the best configuration once more, on training and validation rows, where the time limit leaves time for
    /// that; else the best trial's own model is the result.
    pub retrain: bool,
    /// Configurations to try first; parameters left out are proposed by the sampler.
    pub enqueue: Vec<Params>,
    /// Tell results in the order of the plan, seen so many places later: the same study with any number of jobs
    /// ([`OptimizeSpec`](crate::study::OptimizeSpec)).
    pub deterministic: Option<u64>,
    /// What ends the search beside the number of trials and the time.
    pub rules: StopRules,
    /// Another study to learn from.
    pub warm_start: Option<WarmStart>,
    /// Train a population that copies its best members' weights, in place of sampler, pruner and number of trials,
    /// which then stay as they are by default.
    pub population: Option<PopulationSpec>,
    /// Folder for the models; none takes one named after the study.
    pub out: Option<PathBuf>,
}

impl SearchSpec {
    /// Everything by default on these data.
    pub fn new(data: DataSpec) -> Self {
        SearchSpec {
            data,
            split: SplitSpec::default(),
            fixed: Settings::default(),
            space: None,
            objectives: Vec::new(),
            constraints: Vec::new(),
            told: Told::default(),
            trials: Some(100),
            time_limit: None,
            began: None,
            trial_time_limit: None,
            checkpoint_every: Duration::from_secs(60),
            trial_memory_limit: None,
            jobs: 0,
            threads: 0,
            device: Device::Auto,
            cohort: 0,
            engine: None,
            seed: 0,
            storage: PathBuf::from("hpt-study.db"),
            study: None,
            repeats: 1,
            keep_models: 3,
            retrain: true,
            enqueue: Vec::new(),
            deterministic: None,
            rules: StopRules::default(),
            warm_start: None,
            population: None,
            out: None,
        }
    }
}

impl SearchSpec {
    /// Whether trials are judged by that, as an objective or a constraint.
    pub(super) fn judges(&self, measure: Measure) -> bool {
        let constrained = self.constraints.iter().map(|constraint| constraint.measure);
        self.objectives.iter().copied().chain(constrained).any(|judged| judged == measure)
    }
}

/// Another study, to learn from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WarmStart {
    /// Its file.
    pub storage: PathBuf,
    /// Its name; none takes the only one there is.
    pub study: Option<String>,
}

impl WarmStart {
    /// Gives `study` what the other one found, and says what was taken.
    pub(super) fn apply(&self, study: &Study, sampler: &dyn Sampler, progress: &dyn Progress) -> Result<()> {
        let source = Study::open(&Storage::open(&self.storage)?, self.study.as_deref())?;
        let name = source.name();
        let Some(taken) = study.warm_start(&source)? else {
            progress.note(&format!("the study has begun already: nothing more is taken from `{name}`"));
            return Ok(());
        };
        let list = |what: &str, names: &[String]| match names {
            [] => String::new(),
            names => format!("; {what}: {}", names.join(", ")),
        };
        let data = match taken.data {
            _ if !taken.comparable => {
                "and no more, since its values are of other objectives and cannot be compared".to_owned()
            }
            _ if !sampler.learns() => "and no more, since the sampler does not learn from values".to_owned(),
            n if study.space().is_some_and(|space| sampler.transfers(space, study.directions())) => {
                format!("{n} are data for the sampler, as far as they agree with the trials of this study")
            }
            _ => "and no more, since the sampler learns from the trials of this study alone".to_owned(),
        };
        progress.note(&format!(
            "warm start from `{name}`: its {} best are tried first, {data}{}{}{}",
            taken.enqueued,
            list("parameters in common", &taken.common),
            list("only there, left out", &taken.dropped),
            list("only here, drawn at random", &taken.new),
        ));
        Ok(())
    }
}

/// What a search came to.
#[derive(Clone, Debug)]
pub struct SearchOutcome {
    /// The study, still open.
    pub study: Study,
    /// What was optimised; the study has the directions.
    pub objectives: Vec<Measure>,
    /// Seconds of this call, everything included.
    pub seconds: f64,
    /// Trials that this call finished.
    pub finished: u64,
    /// Seconds in which it finished them.
    pub trial_seconds: f64,
    /// Why no more trials were run.
    pub stopped: Stopped,
    /// The best trial; with several objectives that of the front with the best first one.
    pub best: Trial,
    /// The best trial, or those that no other beats in all objectives.
    pub front: Vec<Trial>,
    /// What the study says of the best trial, and of the default configuration.
    pub found: Found,
    /// The resulting model's metrics on the test rows, where there are some.
    pub test: Option<Tested>,
    /// The saved model.
    pub model: PathBuf,
    /// Whether it was trained once more, on training and validation rows; else it is the best trial's own: that was
    /// asked for, or the time limit left no time.
    pub retrained: bool,
    /// The best five trials, best first; with several objectives the front, by the first of them.
    pub top: Vec<Trial>,
}

/// Who listens to a search. Calls come from several threads.
pub trait Progress: Sync {
    /// Something the user should know.
    fn note(&self, text: &str);
    /// The study is open: so many of `total` trials are finished already.
    fn started(&self, study: &Study, total: Option<u64>, finished: u64);
    /// A trial starts.
    fn trial_started(&self, trial: &Trial);
    /// A trial reports an epoch.
    fn epoch(&self, trial: u64, epoch: u64, value: f64);
    /// A trial's command wrote a line to its standard error.
    fn said(&self, _trial: u64, _line: &str) {}
    /// A trial is finished and stored; `best` is the study's best value now.
    fn trial_finished(&self, trial: &Trial, best: Option<f64>);
    /// The last training begins (epoch 0), or has finished an epoch.
    fn retraining(&self, epoch: usize, of: usize);
}

/// Nobody.
impl Progress for () {
    fn note(&self, _: &str) {}
    fn started(&self, _: &Study, _: Option<u64>, _: u64) {}
    fn trial_started(&self, _: &Trial) {}
    fn epoch(&self, _: u64, _: u64, _: f64) {}
    fn trial_finished(&self, _: &Trial, _: Option<f64>) {}
    fn retraining(&self, _: usize, _: usize) {}
}
