//! The loop: worker threads that ask, run the objective and tell, and a keeper that writes what they report.
//!
//! Each finished trial is committed at once. Reports go to the keeper, which writes them in groups at most
//! [`GROUP`] after they were made, records heartbeats and takes over the trials of processes that died. A stop (flag,
//! time limit, storage failure) puts running trials back: they wait with the same parameters and slot, so the study
//! goes on later as if nothing had happened.

use super::ask::{Asked, Runner, Terms};
use super::cache::Counts;
use super::context::{Context, ObjectiveEnd};
use super::handle::Study;
use super::order::Turn;
use super::rows;
use super::stop::{Rule, StopRules, Watch};
use super::tell::{Notes, Outcome};
use crate::history::Trial;
use crate::pruner::Pruner;
use crate::sampler::Sampler;
use crate::sharers::Sharers;
use crate::{Error, Result};
use std::any::Any;
use std::collections::BTreeSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::Ordering::{AcqRel, Acquire};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::{Duration, Instant};

/// How long a report may wait to be written.
const GROUP: Duration = Duration::from_millis(200);
/// Time between two heartbeats of a running trial.
const HEARTBEAT: Duration = Duration::from_secs(10);
/// Time between two looks for trials of dead processes.
const TAKE_OVER: Duration = Duration::from_secs(1);

/// Hears of (trial's number, step, values).
type OnReport<'a> = dyn Fn(u64, u64, &[f64]) + Sync + 'a;

/// How to run a study.
#[derive(Clone)]
pub struct OptimizeSpec<'a> {
    /// Proposes trials.
    pub sampler: &'a dyn Sampler,
    /// Stops trials early; with several objectives those that report all of them.
    pub pruner: &'a dyn Pruner,
    /// The total the study should reach: complete, pruned, and failed by their own objective. None: no limit.
    pub trials: Option<u64>,
    /// When to stop; running trials are stopped too and put back.
    pub time_limit: Option<Duration>,
    /// What else ends the study, by what its trials have shown; running trials are stopped too and put back.
    pub rules: StopRules,
    /// Trials at once, at least 1.
    pub jobs: usize,
    /// Tells results in the order of the plan, each trial seeing those so many places before it: the study is then the
    /// same with any number of jobs, at the cost that fewer than `jobs` trials may run at once. With 1 it is the study
    /// of one job; with w, at most w trials run at once where the sampler learns. Time limits cut any study off where
    /// they do.
    pub deterministic: Option<u64>,
    /// Keys the proposals.
    pub seed: u64,
    /// Set to true from elsewhere (a signal handler), it stops the study as soon as objectives notice.
    pub stop: Arc<AtomicBool>,
    /// Called in the worker's thread when a trial starts.
    pub on_start: Option<&'a (dyn Fn(&Trial) + Sync)>,
    /// Called in the worker's thread with (trial's number, step, values) for each report.
    pub on_report: Option<&'a OnReport<'a>>,
    /// Called in the worker's thread when a trial has finished and is stored.
    pub on_trial: Option<&'a (dyn Fn(&Trial) + Sync)>,
}

impl<'a> OptimizeSpec<'a> {
    /// One job, seed 0, no limit, nothing called.
    pub fn new(sampler: &'a dyn Sampler, pruner: &'a dyn Pruner) -> Self {
        OptimizeSpec {
            sampler,
            pruner,
            trials: None,
            time_limit: None,
            rules: StopRules::default(),
            jobs: 1,
            deterministic: None,
            seed: 0,
            stop: Arc::default(),
            on_start: None,
            on_report: None,
            on_trial: None,
        }
    }
}

impl std::fmt::Debug for OptimizeSpec<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("OptimizeSpec")
            .field("trials", &self.trials)
            .field("time_limit", &self.time_limit)
            .field("jobs", &self.jobs)
            .field("deterministic", &self.deterministic)
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

/// Why the loop ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stopped {
    /// The study has as many trials as were asked for.
    Reached,
    /// The sampler has nothing left to propose.
    Exhausted,
    /// The time limit passed.
    TimeLimit,
    /// The best value is as good as was asked for.
    Target,
    /// So many trials brought nothing better.
    NoImprovement,
    /// No more than was named is left to gain.
    Regret,
    /// The stop flag was set.
    Interrupted,
}

impl Stopped {
    /// The name in JSON: `trials`, `exhausted`, `time`, `target`, `no-improvement`, `regret-bound`, `interrupt`.
    pub fn name(self) -> &'static str {
        match self {
            Stopped::Reached => "trials",
            Stopped::Exhausted => "exhausted",
            Stopped::TimeLimit => "time",
            Stopped::Target => "target",
            Stopped::NoImprovement => "no-improvement",
            Stopped::Regret => "regret-bound",
            Stopped::Interrupted => "interrupt",
        }
    }
}

/// The end of a sentence: it ended because …
impl std::fmt::Display for Stopped {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Stopped::Reached => "the study has all its trials",
            Stopped::Exhausted => "every configuration has been tried",
            Stopped::TimeLimit => "the time was up",
            Stopped::Target => "the value to stop at was reached",
            Stopped::NoImprovement => "too many trials in a row brought nothing better",
            Stopped::Regret => "what may be left to gain is no more than was named",
            Stopped::Interrupted => "it was interrupted",
        })
    }
}

/// What [`Study::optimize`] did.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// Trials of the study by state, those of earlier runs included.
    pub counts: Counts,
    /// Trials that this call finished.
    pub finished: u64,
    /// Wall-clock seconds of this call.
    pub seconds: f64,
    /// Why it ended.
    pub stopped: Stopped,
}

/// One call of [`Study::optimize`].
pub(super) struct Run<'a> {
    pub(super) study: &'a Study,
    pub(super) spec: &'a OptimizeSpec<'a>,
    pub(super) deadline: Option<Instant>,
    /// Reported and not written yet: trial id, step, values.
    reports: Mutex<Vec<(i64, u64, Vec<f64>)>>,
    shared: Mutex<Shared>,
    /// How many are left; changes with `shared` locked.
    workers: AtomicUsize,
    /// How many of them do not wait for others.
    pub(super) at_work: Arc<Sharers>,
    /// Signalled when `shared` or `workers` changes.
    changed: Condvar,
    /// Set with `shared.fatal`.
    failed: AtomicBool,
    /// The token under which the pruner follows the study.
    pub(super) following: u64,
    /// What the stop rules know.
    pub(super) watch: Mutex<Watch>,
    /// Locked while a trial is told, where order counts; see [`Turn`].
    pub(super) telling: Mutex<()>,
    /// The rule that has ended the study.
    pub(super) ruled: OnceLock<Rule>,
}

#[derive(Default)]
struct Shared {
    fatal: Option<Error>,
    /// Numbers of the trials that run here.
    running: BTreeSet<u64>,
    finished: u64,
    exhausted: bool,
}

impl Study {
    /// Runs the study on `spec.jobs` threads until it has `spec.trials` trials, its sampler has nothing left, or it is
    /// stopped. What ran in processes that died is tried again first (see [`Study::reclaim`]); other live processes may
    /// work on it too.
    ///
    /// A panic of the objective is a failed trial.
    ///
    /// # Errors
    /// What an objective returned as [`ObjectiveEnd::Fatal`]; the storage fails. Finished trials are kept, running ones
    /// put back.
    pub fn optimize<F>(&self, spec: &OptimizeSpec<'_>, objective: F) -> Result<Summary>
    where
        F: Fn(&mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> + Sync,
    {
        let started = Instant::now();
        spec.rules.check(self.directions())?;
        let _fast_commits = self.inner.storage.running();
        self.reclaim()?;
        let jobs = spec.jobs.max(1);
        let following = self.cache().follow(spec.pruner, self.directions());
        let run = Run {
            study: self,
            spec,
            deadline: spec.time_limit.and_then(|limit| started.checked_add(limit)),
            reports: Mutex::default(),
            shared: Mutex::default(),
            workers: AtomicUsize::new(jobs),
            at_work: Sharers::new(jobs),
            changed: Condvar::new(),
            failed: AtomicBool::new(false),
            following,
            watch: Mutex::new(self.watch(spec)?),
            telling: Mutex::default(),
            ruled: OnceLock::new(),
        };
        run.heed(&run.watch());
        std::thread::scope(|scope| {
            scope.spawn(|| run.keep());
            for _ in 0..jobs {
                scope.spawn(|| run.work(&objective));
            }
        });
        let stopping = run.stopping();
        let mut shared = run.shared();
        if let Some(error) = shared.fatal.take() {
            return Err(error);
        }
        Ok(Summary {
            counts: self.counts()?,
            finished: shared.finished,
            seconds: started.elapsed().as_secs_f64(),
            stopped: match stopping {
                Some(why @ (Stopped::Target | Stopped::NoImprovement | Stopped::Regret)) => why,
                _ if shared.exhausted => Stopped::Exhausted,
                Some(why) if spec.trials.is_none_or(|trials| self.cache().counts.finished() < trials) => why,
                _ => Stopped::Reached,
            },
        })
    }
}

impl Run<'_> {
    fn shared(&self) -> MutexGuard<'_, Shared> {
        self.shared.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(super) fn reports(&self) -> MutexGuard<'_, Vec<(i64, u64, Vec<f64>)>> {
        self.reports.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Why no trial should start or go on, if so.
    pub(super) fn stopping(&self) -> Option<Stopped> {
        if self.spec.stop.load(Ordering::Relaxed) || self.failed.load(Ordering::Relaxed) {
            Some(Stopped::Interrupted)
        } else if self.deadline.is_some_and(|deadline| Instant::now() >= deadline) {
            Some(Stopped::TimeLimit)
        } else {
            self.ruled.get().map(|rule| match rule {
                Rule::Target => Stopped::Target,
                Rule::Patience => Stopped::NoImprovement,
                Rule::Regret => Stopped::Regret,
            })
        }
    }

    /// Waits until something changes here, or a moment.
    pub(super) fn pause(&self) {
        let shared = self.shared();
        drop(self.changed.wait_timeout(shared, GROUP / 4).unwrap_or_else(PoisonError::into_inner));
    }

    pub(super) fn fail(&self, error: Error) {
        self.shared().fatal.get_or_insert(error);
        self.failed.store(true, Ordering::Relaxed);
        self.changed.notify_all();
    }

    /// A worker: one trial after the other.
    fn work<F>(&self, objective: &F)
    where
        F: Fn(&mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd>,
    {
        let _leaving = Leaving(self);
        while self.stopping().is_none() {
            let stopping = || self.stopping().is_some();
            let terms =
                Terms { limit: self.spec.trials, runner: Runner::Process, stopping: &stopping, run: Some(self) };
            match self.study.ask_on(self.spec.sampler, self.spec.seed, terms) {
                Ok(Asked::Trial(trial)) => {
                    let number = trial.number;
                    if let Err(error) = self.one(*trial, objective) {
                        self.study.abandoned().insert(number);
                        self.fail(error);
                    }
                    self.shared().running.remove(&number);
                }
                Ok(Asked::Exhausted) => {
                    self.shared().exhausted = true;
                    break;
                }
                Ok(Asked::Stopping) => break,
                Ok(Asked::Enough) => {
                    if !self.wait_for_others() {
                        break;
                    }
                }
                Err(error) => self.fail(error),
            }
        }
    }

    /// Waits a moment where trials of other processes are still running, since they may die; false where there are
    /// none.
    fn wait_for_others(&self) -> bool {
        let others = self.study.cache().open().any(|(_, trial)| self.study.foreign(trial).is_some());
        if others {
            self.pause();
        }
        others
    }

    /// Runs one trial and writes how it ended.
    fn one<F>(&self, trial: Trial, objective: &F) -> Result<()>
    where
        F: Fn(&mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd>,
    {
        let number = trial.number;
        let id = self.study.cache().get(number).map(|(id, _)| id).unwrap_or_default();
        self.shared().running.insert(number);
        if let Some(on_start) = self.spec.on_start {
            on_start(&trial);
        }
        let mut context = Context { run: self, trial, id, notes: Notes::default(), gives_way: false };
        let end = catch_unwind(AssertUnwindSafe(|| objective(&mut context)));
        let Context { notes, trial, gives_way, .. } = context;
        let (outcome, fatal) = match end {
            Ok(Err(ObjectiveEnd::Fatal(error))) => return self.put_back(number, Some(error)),
            _ if gives_way => return self.put_back(number, None),
            Ok(Ok(values)) => {
                let (got, wanted) = (values.len(), self.study.directions().len());
                if got == wanted {
                    (Outcome::Complete(values), None)
                } else {
                    let why = format!("the objective returned {got} values, the study has {wanted} directions");
                    (Outcome::Failed(why.clone()), Some(Error::Input(why)))
                }
            }
            Ok(Err(ObjectiveEnd::Pruned)) => (Outcome::Pruned, None),
            Ok(Err(ObjectiveEnd::Failed(why))) => (Outcome::Failed(why), None),
            Ok(Err(ObjectiveEnd::Stopped)) if self.stopping().is_some() => return self.put_back(number, None),
            Ok(Err(ObjectiveEnd::Stopped)) => (Outcome::Failed("the objective stopped by itself".into()), None),
            Err(panic) => (Outcome::Failed(format!("the objective panicked: {}", message(&*panic))), None),
        };
        let Turn::Now(_told) = self.wait_for_turn(trial.slot())? else { return self.put_back(number, None) };
        let unwritten = self.take_reports(id);
        let done = self.tell(|| self.study.finish(&trial, &unwritten, notes, outcome))?;
        self.shared().finished += u64::from(done.is_some());
        self.changed.notify_all();
        if let (Some(done), Some(on_trial)) = (&done, self.spec.on_trial) {
            on_trial(done);
        }
        fatal.map_or(Ok(()), Err)
    }

    /// Lets a trial wait again; `error` is why, where the study cannot go on.
    fn put_back(&self, number: u64, error: Option<Error>) -> Result<()> {
        let why = match &error {
            Some(error) => format!("the study stopped: {error}"),
            None => "interrupted".to_owned(),
        };
        let put_back = self.study.put_back(|_, _, trial| Ok((trial.number == number).then_some(why.as_str())));
        match error {
            Some(error) => Err(error),
            None => put_back.map(drop),
        }
    }

    /// Takes what the trial reported and the keeper has not written.
    fn take_reports(&self, trial: i64) -> Vec<(u64, Vec<f64>)> {
        let mut reports = self.reports();
        let (own, others) = reports.drain(..).partition(|(id, _, _)| *id == trial);
        *reports = others;
        own.into_iter().map(|(_, step, values)| (step, values)).collect()
    }

    /// The keeper: until all workers are gone.
    fn keep(&self) {
        let (mut heartbeat, mut take_over) = (Instant::now(), Instant::now());
        while self.workers.load(Acquire) > 0 {
            if let Err(error) = self.write_reports() {
                self.fail(error);
            }
            if heartbeat.elapsed() >= HEARTBEAT {
                heartbeat = Instant::now();
                self.record_heartbeats().unwrap_or_else(|error| self.fail(error));
            }
            if take_over.elapsed() >= TAKE_OVER {
                take_over = Instant::now();
                self.study.reclaim().map(drop).unwrap_or_else(|error| self.fail(error));
            }
            let shared = self.shared();
            if self.workers.load(Acquire) > 0 {
                drop(self.changed.wait_timeout(shared, GROUP / 2).unwrap_or_else(PoisonError::into_inner));
            }
        }
    }

    fn write_reports(&self) -> Result<()> {
        // Held while writing: a trial that ends meanwhile waits, so that nothing is written to a finished trial.
        let mut reports = self.reports();
        if !reports.is_empty() {
            self.study.inner.storage.write(|connection| {
                reports.iter().try_for_each(|(id, step, values)| rows::report(connection, *id, *step, values))
            })?;
            reports.clear();
        }
        Ok(())
    }

    fn record_heartbeats(&self) -> Result<()> {
        let running: Vec<u64> = self.shared().running.iter().copied().collect();
        let ids: Vec<i64> =
            running.iter().filter_map(|&number| self.study.cache().get(number).map(|(id, _)| id)).collect();
        self.study.inner.storage.write(|connection| rows::heartbeats(connection, &ids))
    }
}

/// Counts a worker out when it ends, by a panic in a callback too: the keeper waits for that.
struct Leaving<'a>(&'a Run<'a>);

impl Drop for Leaving<'_> {
    fn drop(&mut self) {
        // Under the lock that the keeper waits with, so that it cannot miss the last one.
        let _shared = self.0.shared();
        self.0.workers.fetch_sub(1, AcqRel);
        self.0.at_work.leave();
        self.0.changed.notify_all();
    }
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str)).unwrap_or("no message")
}
