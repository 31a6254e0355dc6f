//! Samplers against each other: the same problem, the same budget, many seeds, and the statistics of it.
//!
//! A [`Problem`] runs one study: a function with a known optimum ([`function`]), a table of results of a complete grid
//! ([`Grid`]), or trainings on data (`search::DataProblem`, on the other side of the bridge). [`run`] runs every
//! sampler with every seed, a block of all samplers for one seed after the other; [`Report`] says who was better and
//! whether that may be chance. With a storage every run is a study of it, and what was interrupted goes on.
//!
//! ```
//! use hpt_engine::compare::{CompareSpec, Report, function, run};
//!
//! let branin = function("branin")?;
//! let samplers = ["random".to_owned(), "qmc".to_owned()];
//! let runs = run(&branin, &CompareSpec { seeds: 5, trials: 20, ..CompareSpec::new(&samplers) })?;
//! let report = Report::new(&branin, &runs)?;
//! assert_eq!(report.standings.len(), 2);
//! assert!(report.duels[0].p_holm > 0.0);
//! # Ok::<(), hpt_engine::Error>(())
//! ```

mod functions;
mod grid;
mod report;

pub use functions::{FUNCTIONS, function};
pub use grid::Grid;
pub use report::{Curve, Duel, Report, Spread, Standing};

use crate::history::{Direction, State, Trial};
use crate::pruner::Never;
use crate::sampler;
use crate::space::{Params, Space};
use crate::study::{ObjectiveEnd, OptimizeSpec, Stopped, Storage, Study, StudyConfig};
use crate::{Error, Result};
use serde::Serialize;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// Attribute of a study: seconds from its start to the end of each trial, by number.
const ELAPSED: &str = "elapsed";

/// What samplers are compared on.
pub trait Problem: Sync {
    /// What it is called; the start of its studies' names.
    fn name(&self) -> &str;

    /// Whether small or large values are good.
    fn direction(&self) -> Direction;

    /// The best and the median value over the space, where they are known: for normalised regret.
    fn landmarks(&self) -> Option<(f64, f64)> {
        None
    }

    /// Runs one study, one trial at a time, and says whether it came to its end.
    ///
    /// # Errors
    /// The sampler is not known, the storage fails, input is wrong.
    fn run(&self, course: &Course<'_>) -> Result<(Study, bool)>;
}

/// One study to run.
#[derive(Debug)]
pub struct Course<'a> {
    /// Name of the sampler.
    pub sampler: &'a str,
    /// Seed of everything in it.
    pub seed: u64,
    /// Trials that the study should have.
    pub trials: u64,
    /// Name of the study.
    pub study: String,
    /// Where it is kept; none for nowhere.
    pub storage: Option<&'a Storage>,
    /// Set to true, it stops.
    pub stop: Arc<AtomicBool>,
    /// Takes the time: to be told when the first trial may start, and each trial's end.
    pub clock: Clock,
}

/// When trials ended, in seconds of running.
#[derive(Debug, Default)]
pub struct Clock(Mutex<(Option<Instant>, BTreeMap<u64, f64>)>);

impl Clock {
    /// The first trial may start now.
    pub fn start(&self) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).0 = Some(Instant::now());
    }

    /// A trial has ended now.
    pub fn ended(&self, trial: &Trial) {
        let mut clock = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(start) = clock.0 {
            clock.1.insert(trial.number, start.elapsed().as_secs_f64());
        }
    }

    /// Keeps the times with the study, after those of earlier calls.
    fn keep(self, study: &Study) -> Result<BTreeMap<u64, f64>> {
        let earlier = study.attribute(ELAPSED)?.and_then(|times| serde_json::from_value(times).ok());
        let mut times: BTreeMap<u64, f64> = earlier.unwrap_or_default();
        let offset = times.values().copied().fold(0.0, f64::max);
        let (_, own) = self.0.into_inner().unwrap_or_else(PoisonError::into_inner);
        if !own.is_empty() {
            times.extend(own.into_iter().map(|(number, time)| (number, offset + time)));
            study.set_attribute(ELAPSED, &json!(times))?;
        }
        Ok(times)
    }
}

/// How to compare.
#[derive(Clone)]
pub struct CompareSpec<'a> {
    /// Names of the samplers.
    pub samplers: &'a [String],
    /// Runs of each, with the seeds 0, 1, ….
    pub seeds: u64,
    /// Trials of each run.
    pub trials: u64,
    /// Runs at once.
    pub jobs: usize,
    /// Keeps the runs as studies, so that an interrupted comparison goes on.
    pub storage: Option<&'a Storage>,
    /// Set to true from elsewhere (a signal handler), it stops.
    pub stop: Arc<AtomicBool>,
    /// Called in a worker's thread when a run has ended.
    pub on_run: Option<&'a (dyn Fn(&Run) + Sync)>,
}

impl<'a> CompareSpec<'a> {
    /// 20 seeds of 50 trials, one at a time.
    pub fn new(samplers: &'a [String]) -> Self {
        CompareSpec { samplers, seeds: 20, trials: 50, jobs: 1, storage: None, stop: Arc::default(), on_run: None }
    }
}

impl std::fmt::Debug for CompareSpec<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { samplers, seeds, trials, jobs, .. } = self;
        write!(f, "CompareSpec {{ samplers: {samplers:?}, seeds: {seeds}, trials: {trials}, jobs: {jobs}, .. }}")
    }
}

/// One sampler with one seed.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Run {
    /// The sampler.
    pub sampler: String,
    /// The seed.
    pub seed: u64,
    /// Whether it came to its end; otherwise it was interrupted.
    pub ended: bool,
    /// The best value after each trial; `null` while no trial is complete.
    pub best: Vec<Option<f64>>,
    /// Seconds from the start to the end of each trial: proposals, trials and storage.
    pub seconds: Vec<f64>,
}

/// Runs every sampler with every seed. The order of the result is that of seeds, then samplers, whatever ended first.
///
/// # Errors
/// Nothing to compare; a sampler that is not known or named twice; what [`Problem::run`] returns.
pub fn run(problem: &dyn Problem, spec: &CompareSpec<'_>) -> Result<Vec<Run>> {
    check(spec)?;
    let plan: Vec<(u64, &String)> =
        (0..spec.seeds).flat_map(|seed| spec.samplers.iter().map(move |sampler| (seed, sampler))).collect();
    let (next, done) = (AtomicUsize::new(0), Mutex::new(BTreeMap::new()));
    let failure: Mutex<Option<Error>> = Mutex::new(None);
    let broken = AtomicBool::new(false);
    let work = || {
        while !spec.stop.load(Ordering::Relaxed) && !broken.load(Ordering::Relaxed) {
            let place = next.fetch_add(1, Ordering::Relaxed);
            let Some(&(seed, sampler)) = plan.get(place) else { break };
            match one(problem, spec, sampler, seed) {
                Ok(run) => {
                    if let Some(on_run) = spec.on_run {
                        on_run(&run);
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).insert(place, run);
                }
                Err(error) => {
                    broken.store(true, Ordering::Relaxed);
                    failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert(error);
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..spec.jobs.clamp(1, plan.len()) {
            scope.spawn(work);
        }
    });
    match failure.into_inner().unwrap_or_else(PoisonError::into_inner) {
        Some(error) => Err(error),
        None => Ok(done.into_inner().unwrap_or_else(PoisonError::into_inner).into_values().collect()),
    }
}

fn check(spec: &CompareSpec<'_>) -> Result<()> {
    let CompareSpec { samplers, seeds, trials, .. } = spec;
    if samplers.is_empty() || *seeds == 0 || *trials == 0 {
        return Err(Error::input("compare: at least one sampler, one seed and one trial are needed"));
    }
    for (i, name) in samplers.iter().enumerate() {
        sampler::by_name(name, &sampler::Settings::default())?;
        if samplers[..i].contains(name) {
            return Err(Error::input(format!("compare: the sampler `{name}` is named twice")));
        }
    }
    Ok(())
}

fn one(problem: &dyn Problem, spec: &CompareSpec<'_>, sampler: &str, seed: u64) -> Result<Run> {
    let course = Course {
        sampler,
        seed,
        trials: spec.trials,
        study: format!("{} {sampler} {seed}", problem.name()),
        storage: spec.storage,
        stop: spec.stop.clone(),
        clock: Clock::default(),
    };
    let (study, ended) = problem.run(&course)?;
    let times = course.clock.keep(&study)?;
    let trials = study.trials()?;
    let first = trials.iter().filter_map(|trial| trial.started).min();
    let direction = problem.direction();
    let mut run = Run { sampler: sampler.to_owned(), seed, ended, best: Vec::new(), seconds: Vec::new() };
    let lost = |trial: &&Trial| trial.state.is_finished() && !trial.system.contains_key("hpt:lost");
    let mut best: Option<f64> = None;
    for trial in trials.iter().filter(lost).take(spec.trials as usize) {
        let value = trial.value().filter(|value| trial.state == State::Complete && value.is_finite());
        if let Some(value) = value {
            best = Some(best.map_or(value, |best| if direction.better(value, best) { value } else { best }));
        }
        // A killed process kept no times: then what the clock on the wall said.
        let wall = trial.finished.zip(first).map_or(0.0, |(finished, first)| finished.seconds_since(first));
        let before = run.seconds.last().copied().unwrap_or(0.0);
        run.best.push(best);
        run.seconds.push(times.get(&trial.number).copied().unwrap_or(wall).max(before));
    }
    Ok(run)
}

/// The value at a point, if it has one.
type Evaluate = Box<dyn Fn(&Params) -> Option<f64> + Send + Sync>;

/// A space with a value for (nearly) every point of it.
pub struct Function {
    /// What it is called.
    pub name: String,
    /// Where it is defined.
    pub space: Space,
    /// Whether small or large values are good.
    pub direction: Direction,
    /// Its best value.
    pub optimum: f64,
    /// A typical value.
    pub median: f64,
    /// How many points of a finite space have a value; none where all have.
    pub known: Option<u64>,
    evaluate: Evaluate,
}

impl Function {
    /// The value at a point; none where there is none.
    pub fn evaluate(&self, params: &Params) -> Option<f64> {
        (self.evaluate)(params)
    }
}

impl std::fmt::Debug for Function {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Function").field("name", &self.name).field("space", &self.space).finish_non_exhaustive()
    }
}

impl Problem for Function {
    fn name(&self) -> &str {
        &self.name
    }

    fn direction(&self) -> Direction {
        self.direction
    }

    fn landmarks(&self) -> Option<(f64, f64)> {
        Some((self.optimum, self.median))
    }

    fn run(&self, course: &Course<'_>) -> Result<(Study, bool)> {
        let config = StudyConfig::new(&course.study, self.direction, self.space.clone());
        let study = match course.storage {
            Some(storage) => Study::create_or_open(storage, &config)?,
            None => Study::in_memory(&config)?,
        };
        let settings = sampler::Settings { trials: Some(course.trials), ..sampler::Settings::default() };
        let sampler = sampler::by_name(course.sampler, &settings)?;
        let on_trial = |trial: &Trial| course.clock.ended(trial);
        let mut spec = OptimizeSpec::new(sampler.as_ref(), &Never);
        spec.trials = Some(course.trials);
        spec.seed = course.seed;
        spec.stop = course.stop.clone();
        spec.on_trial = Some(&on_trial);
        course.clock.start();
        let summary = study.optimize(&spec, |context| match self.evaluate(context.params()) {
            Some(value) => Ok(vec![value]),
            None => Err(ObjectiveEnd::Failed(format!("{}: has no value there", self.name))),
        })?;
        Ok((study, summary.stopped != Stopped::Interrupted))
    }
}
