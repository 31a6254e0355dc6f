//! What an objective sees of its trial, and how it ends: reports go in, verdicts come out.
//!
//! A report is known to pruners and samplers of this process at once and to the file a moment later (the keeper of
//! [`optimize`](super::optimize)). What an objective keeps with its trial beside values is written when the trial ends.

use super::optimize::Run;
use super::tell::{Notes, stored_constraints};
use crate::history::{CONSTRAINTS, OF_PARTS, Trial};
use crate::sharers::Sharers;
use crate::space::Params;
use crate::{Error, Result};
use serde_json::Value as Json;
use std::sync::Arc;
use std::time::Instant;

/// How an objective ends without values.
#[derive(Debug)]
pub enum ObjectiveEnd {
    /// It was told [`Verdict::Prune`] and stopped.
    Pruned,
    /// It was told [`Verdict::Stop`] and stopped; the trial is put back.
    Stopped,
    /// This trial failed; the study goes on.
    Failed(String),
    /// Nothing can go on: the study stops and returns the error.
    Fatal(Error),
}

impl From<Error> for ObjectiveEnd {
    fn from(error: Error) -> Self {
        match error {
            Error::Diverged { .. } | Error::TooLarge(_) => ObjectiveEnd::Failed(error.to_string()),
            Error::Interrupted => ObjectiveEnd::Stopped,
            error => ObjectiveEnd::Fatal(error),
        }
    }
}

/// What an objective should do after a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Go on.
    Continue,
    /// Return [`ObjectiveEnd::Pruned`]: the trial will not be among the best.
    Prune,
    /// Return [`ObjectiveEnd::Stopped`]: the study stops.
    Stop,
}

/// What an objective sees of its trial.
pub struct Context<'a> {
    pub(super) run: &'a Run<'a>,
    pub(super) trial: Trial,
    pub(super) id: i64,
    pub(super) notes: Notes,
    /// It cannot go on before another one has been repeated, or not at all.
    pub(super) gives_way: bool,
}

impl std::fmt::Debug for Context<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Context").field("trial", &self.trial).finish_non_exhaustive()
    }
}

impl Context<'_> {
    /// The trial's number.
    pub fn number(&self) -> u64 {
        self.trial.number
    }

    /// The trial's place in the plan, which keys its random numbers; a repetition has the same.
    pub fn slot(&self) -> u64 {
        self.trial.slot()
    }

    /// Whether an earlier attempt at it was lost or stopped.
    pub fn is_repetition(&self) -> bool {
        super::is_repetition(&self.trial)
    }

    /// The active parameters.
    pub fn params(&self) -> &Params {
        &self.trial.params
    }

    /// Reports a value at a step (epochs count from 1) and hears what to do. With several objectives it is one of the
    /// first, and nothing is pruned by it alone.
    pub fn report(&mut self, step: u64, value: f64) -> Verdict {
        self.report_kept(step, &[value])
    }

    /// Reports one value an objective at a step and hears what to do; see
    /// [`Study::report_values`](super::Study::report_values). Another number of values stops the study with an error.
    pub fn report_values(&mut self, step: u64, values: &[f64]) -> Verdict {
        match self.run.study.check_count(self.trial.number, values.len()) {
            Ok(()) => self.report_kept(step, values),
            Err(error) => {
                self.run.fail(error);
                Verdict::Stop
            }
        }
    }

    /// Writes constraints that were kept and that the study does not know.
    fn show_constraints(&self) -> Result<()> {
        let (study, number) = (self.run.study, self.trial.number);
        let Some(constraints) = &self.notes.constraints else { return Ok(()) };
        let own = self.trial.system.get(CONSTRAINTS);
        let known = study.cache().get(number).is_some_and(|(_, known)| known.system.get(CONSTRAINTS) == own);
        if known { Ok(()) } else { study.show_constraints(number, constraints) }
    }

    fn report_kept(&mut self, step: u64, values: &[f64]) -> Verdict {
        let Run { study, spec, .. } = self.run;
        if let Err(error) = self.show_constraints() {
            self.run.fail(error);
            return Verdict::Stop;
        }
        if spec.pruner.of_parts() && !self.trial.is_of_parts() {
            if let Err(error) = study.mark_parts(self.trial.number) {
                self.run.fail(error);
                return Verdict::Stop;
            }
            self.trial.system.insert(OF_PARTS.into(), true.into());
        }
        self.trial.take_report(step, values);
        study.cache().report(self.trial.number, step, values);
        self.run.reports().push((self.id, step, values.to_vec()));
        if let Some(on_report) = spec.on_report {
            on_report(self.trial.number, step, values);
        }
        if self.should_stop() {
            return Verdict::Stop;
        }
        let (directions, following) = (study.directions(), self.run.following);
        let prunes = match self.run.view(self.slot()) {
            None => Some(study.cache().should_prune(spec.pruner, following, directions, &self.trial)),
            Some(view) => self.run.prunes_in_order(view, &self.trial).unwrap_or_else(|error| {
                self.run.fail(error);
                None
            }),
        };
        self.gives_way |= prunes.is_none();
        match prunes {
            Some(true) => Verdict::Prune,
            Some(false) if !self.should_stop() => Verdict::Continue,
            _ => Verdict::Stop,
        }
    }

    /// Keeps by how much the trial breaks each constraint (at most 0: it is kept, or not known yet). Samplers and
    /// pruners know it from the next report on; without one it is written when the trial ends.
    pub fn set_constraints(&mut self, constraints: Vec<f64>) {
        self.trial.system.insert(CONSTRAINTS.into(), stored_constraints(&constraints));
        self.notes.constraints = Some(constraints);
    }

    /// Keeps the values of which the trial's value is the mean (repetitions, folds), where Optuna's terminator looks
    /// for them; they are written when the trial ends. Their spread is its error ([`Regret::Error`](super::Regret)).
    pub fn set_parts(&mut self, parts: &[f64]) {
        self.notes.parts = parts.to_vec();
    }

    /// Keeps a value with the trial, as a user attribute; it is written when the trial ends.
    pub fn set_user(&mut self, key: impl Into<String>, value: Json) {
        self.notes.user.insert(key.into(), value);
    }

    /// Says that the trial goes on from what an earlier attempt came to in so many seconds: they count as its own
    /// ([`Trial::seconds`]).
    pub fn goes_on_after(&mut self, seconds: f64) {
        self.notes.earlier_seconds = Some(seconds);
    }

    /// True where the study stops; then return [`ObjectiveEnd::Stopped`].
    pub fn should_stop(&self) -> bool {
        self.run.stopping().is_some()
    }

    /// The workers of this call that are at work, this one included: with the last trials they become fewer, and what
    /// waits for others (`deterministic`) is not among them. Trainings that share the cores by them
    /// ([`Place`](crate::sharers::Place)) leave none idle.
    pub fn sharers(&self) -> Arc<Sharers> {
        Arc::clone(&self.run.at_work)
    }

    /// When the study's time is up.
    pub fn deadline(&self) -> Option<Instant> {
        self.run.deadline
    }
}
