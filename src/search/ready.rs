//! A trial made ready to train: what its parameters mean, on which device, and what is known of its network before.
//!
//! Networks that are too large or too slow end here: nothing of them is trained.

use super::measure::{self, Constraint, Measure};
use super::trial::Objective;
use crate::backend::training_bytes;
use crate::engine::{Engine, Fit, useful_threads};
use crate::model::Plan;
use crate::prepared::Sets;
use crate::settings::{Config, Settings};
use crate::space::Params;
use crate::study::{Context, ObjectiveEnd};
use crate::{Error, Result};
use serde_json::json;
use std::sync::Arc;
use std::time::Instant;

/// A trial that is ready to train.
pub(super) struct Ready {
    pub settings: Settings,
    pub config: Config,
    pub sets: Arc<Sets>,
    pub parameters: usize,
    pub engine: Engine,
}

/// What is known of a network before its training.
#[derive(Clone, Copy)]
pub(super) struct Fixed {
    pub parameters: f64,
    pub inference_seconds: Option<f64>,
}

/// A trial's settings: the fixed ones and its parameters.
pub(super) fn settings_of(fixed: &Settings, params: &Params) -> Result<Settings> {
    let mut own = Settings::default();
    for (name, value) in params {
        own.set(&format!("parameter {name}"), name, value)?;
    }
    Ok(fixed.with(&own))
}

impl Objective<'_> {
    /// What a trial's parameters mean, and the device to train it on.
    pub(super) fn prepare(&self, context: &mut Context<'_>) -> Result<Ready, ObjectiveEnd> {
        let spec = self.bridge.spec;
        let settings = settings_of(&spec.fixed, context.params()).map_err(failed)?;
        let mut config = settings.resolve().map_err(failed)?;
        config.train.metric = Some(self.bridge.watched);
        let watched = Measure::Metric(self.bridge.watched);
        let further = self.bridge.objectives.iter().filter(|objective| **objective != watched);
        config.train.also = further.filter_map(|objective| objective.metric()).collect();
        // Whatever the clock may end leaves the model of its last whole epoch.
        config.train.keep_epochs =
            spec.trial_time_limit.is_some() || self.budget.is_limited() || self.budget.may_deliver();
        let sets = self.bridge.prepared.sets(config.preprocess)?;
        let plan = Plan::new(&config.model, sets.train.inputs, sets.train.targets.outputs()).map_err(failed)?;
        let batch = config.train.batch_size.min(sets.train.rows);
        let threads = match spec.threads {
            0 => self.bridge.threads.min(useful_threads(&plan, &config.train, &sets.train)),
            threads => threads,
        };
        check_memory(&plan, batch, threads, spec.trial_memory_limit)?;
        let parameters = plan.parameters;
        self.price(context, parameters, None)?;
        let fit = Fit { validation: sets.validation.as_ref(), ..Fit::new(&sets.train, &config.model, &config.train) };
        let mut engine = self.bridge.engine_for(&fit, threads)?;
        if spec.threads == 0 {
            engine = engine.shared(context.sharers());
        }
        Ok(Ready { settings, config, sets, parameters, engine })
    }

    /// Does not train a network whose size, or whose inference time where that is known by now, breaks a constraint:
    /// such a trial is stored as pruned, with what of its constraints is known (0 for the rest).
    pub(super) fn price(
        &self,
        context: &mut Context<'_>,
        parameters: usize,
        inference_seconds: Option<f64>,
    ) -> Result<(), ObjectiveEnd> {
        let constraints = &self.bridge.spec.constraints;
        let value = |constraint: &Constraint| match constraint.measure {
            Measure::Parameters => Some(parameters as f64),
            Measure::InferenceSeconds => inference_seconds,
            _ => None,
        };
        let violation = |constraint: &Constraint| value(constraint).map_or(0.0, |value| constraint.violation(value));
        let known: Vec<f64> = constraints.iter().map(violation).collect();
        let Some(broken) = known.iter().position(|violation| *violation > 0.0) else { return Ok(()) };
        let broken = &constraints[broken];
        let found = match (broken.measure, inference_seconds) {
            (Measure::InferenceSeconds, Some(seconds)) => format!("takes {seconds:.3e} s for 1,000 rows"),
            _ => format!("has {parameters} parameters"),
        };
        context.set_user("parameters", json!(parameters));
        if let Some(seconds) = inference_seconds {
            context.set_user("inference_seconds", json!(seconds));
        }
        context.set_user("pruned_because", json!(format!("not trained: it {found}, against {broken}")));
        context.set_constraints(known);
        Err(ObjectiveEnd::Pruned)
    }

    /// Seconds to evaluate 1,000 rows, where somebody wants to know. Measured before the training, since it does not
    /// depend on what the weights are: what is too slow need not be trained, and pruners compare it from the first
    /// epoch on.
    pub(super) fn inference_seconds(
        &self,
        engine: &Engine,
        config: &Config,
        sets: &Sets,
    ) -> Result<Option<f64>, ObjectiveEnd> {
        let bridge = self.bridge;
        let wanted = bridge.spec.judges(Measure::InferenceSeconds);
        let (true, Some(validation)) = (wanted, &sets.validation) else {
            return Ok(None);
        };
        let model = Fit::new(&sets.train, &config.model, &config.train).untrained()?;
        let constraints = || bridge.spec.constraints.iter().filter(|one| one.measure == Measure::InferenceSeconds);
        let (mut least, mut passes) = (f64::INFINITY, 0);
        // Other trials run meanwhile: where a limit seems to be broken it is looked at longer.
        while passes < measure::PASSES
            || passes < measure::DOUBTFUL_PASSES && constraints().any(|one| one.violation(least) > 0.0)
        {
            let started = Instant::now();
            engine.outputs(&model, validation)?;
            least = least.min(started.elapsed().as_secs_f64() * 1000.0 / validation.rows.max(1) as f64);
            passes += 1;
        }
        Ok(Some(least))
    }
}

/// Fails a trial whose training would take more memory than one may.
fn check_memory(plan: &Plan, batch: usize, threads: usize, limit: Option<u64>) -> Result<(), ObjectiveEnd> {
    let needed = training_bytes(plan, batch, threads);
    match limit {
        Some(limit) if needed > limit as f64 => {
            let mib = |bytes: f64| format!("{:.1} MiB", bytes / f64::from(1 << 20));
            Err(ObjectiveEnd::Failed(format!(
                "not started: {} parameters with batches of {batch} take {}, above the trial's memory limit of {}",
                plan.parameters,
                mib(needed),
                mib(limit as f64)
            )))
        }
        _ => Ok(()),
    }
}

/// What is wrong with one configuration ends its trial, not the study.
fn failed(error: Error) -> ObjectiveEnd {
    ObjectiveEnd::Failed(error.to_string())
}
