//! Learning-rate schedules: the rate of a step as a pure function of (step, epochs seen by the plateau rule).
//!
//! t counts steps from 0 after the warm-up, T is the number of steps of the whole training after it. Names and
//! formulas are those of `torch.optim.lr_scheduler` and `keras.optimizers.schedules`, stepped once an update;
//! `decay_steps` left out is one epoch for step, exponential and inverse-time, and T for polynomial and cosine.

use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::f64::consts::PI;

/// The kinds of schedule.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// The same rate throughout.
    Constant,
    /// rate · decay_rate^⌊t / decay_steps⌋.
    Step,
    /// rate · decay_rate^(t / decay_steps); the exponent is floored with `staircase`.
    Exponential,
    /// rate / (1 + decay_rate · t / decay_steps); the quotient is floored with `staircase`.
    InverseTime,
    /// rate · (1 − min(t, decay_steps) / decay_steps)^power.
    Polynomial,
    /// rate · (1 + cos(π · min(t, decay_steps) / decay_steps)) / 2.
    Cosine,
    /// PyTorch's `OneCycleLR`: from rate/25 up to rate over the first 30 % of T, then down to rate/250,000, by cosines.
    OneCycle,
    /// PyTorch's `ReduceLROnPlateau`: times decay_rate when the metric has not improved for `patience` epochs.
    Plateau,
    /// Hypergradient descent (Baydin et al., 2018): the rate goes along its own gradient, from step to step; see
    /// [`UpdateRule::hypergradient`](crate::backend::UpdateRule::hypergradient).
    Hypergradient,
}

impl Kind {
    /// The names that `--schedule` takes.
    pub const NAMES: &[(&str, Kind)] = &[
        ("constant", Kind::Constant),
        ("step", Kind::Step),
        ("exponential", Kind::Exponential),
        ("inverse-time", Kind::InverseTime),
        ("polynomial", Kind::Polynomial),
        ("cosine", Kind::Cosine),
        ("one-cycle", Kind::OneCycle),
        ("plateau", Kind::Plateau),
        ("hypergradient", Kind::Hypergradient),
    ];

    /// The schedule of that name; an underscore is as good as a hyphen.
    ///
    /// # Errors
    /// The name is unknown.
    pub fn by_name(name: &str) -> Result<Self> {
        let wanted = name.replace('_', "-");
        let row = Self::NAMES.iter().find(|row| row.0 == wanted);
        row.map(|row| row.1).ok_or_else(|| Error::unknown("schedule", name, Self::NAMES.iter().map(|row| row.0)))
    }

    /// Its name.
    pub fn name(self) -> &'static str {
        Self::NAMES.iter().find(|row| row.1 == self).map_or("constant", |row| row.0)
    }
}

/// A schedule with its constants.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Schedule {
    /// Which formula.
    pub kind: Kind,
    /// Factor of the decay; none takes 0.1 for step and plateau, 0.96 for exponential, 1 for inverse-time.
    pub decay_rate: Option<f64>,
    /// Steps that the decay takes; none as the module says.
    pub decay_steps: Option<u64>,
    /// Decay in stairs instead of smoothly (exponential and inverse-time).
    pub staircase: bool,
    /// Exponent of the polynomial.
    pub power: f64,
    /// Epochs without improvement before the plateau rule acts.
    pub patience: usize,
    /// β of hypergradient descent; none takes the paper's for the optimizer (section 5): 1e-7 for Adam, else 1e-3.
    pub hypergradient_rate: Option<f64>,
    /// Steps over which the rate first rises linearly: step i has (i + 1) / (warmup_steps + 1) of the rate.
    pub warmup_steps: u64,
}

impl Default for Schedule {
    fn default() -> Self {
        Schedule {
            kind: Kind::Constant,
            decay_rate: None,
            decay_steps: None,
            staircase: false,
            power: 1.0,
            patience: 10,
            hypergradient_rate: None,
            warmup_steps: 0,
        }
    }
}

impl Schedule {
    /// Checks every number.
    ///
    /// # Errors
    /// A value outside its range.
    pub fn validate(&self) -> Result<()> {
        if let Some(rate) = self.decay_rate {
            let below_1 = matches!(self.kind, Kind::Step | Kind::Exponential | Kind::Plateau);
            if !rate.is_finite() || rate <= 0.0 || (below_1 && rate > 1.0) {
                let range = if below_1 { "a number in (0, 1]" } else { "a number above 0" };
                return Err(Error::input(format!("decay_rate is {rate}; {range} is expected")));
            }
        }
        if let Some(beta) = self.hypergradient_rate.filter(|beta| !(beta.is_finite() && *beta > 0.0)) {
            return Err(Error::input(format!("hypergradient_rate is {beta}; a number above 0 is expected")));
        }
        if self.decay_steps == Some(0) {
            return Err(Error::input("decay_steps is 0; at least 1 is expected"));
        }
        if !self.power.is_finite() || self.power <= 0.0 {
            return Err(Error::input(format!("power is {}; a number above 0 is expected", self.power)));
        }
        Ok(())
    }

    /// The decay factor in force.
    pub fn decay_rate(&self) -> f64 {
        self.decay_rate.unwrap_or(match self.kind {
            Kind::Exponential => 0.96,
            Kind::InverseTime => 1.0,
            _ => 0.1,
        })
    }

    /// The learning rate of step `step` (from 0) of `total`, `per_epoch` of them an epoch.
    ///
    /// `plateau` is the factor that [`Plateau`] has come to; 1 for other schedules.
    pub fn rate(&self, base: f64, step: u64, total: u64, per_epoch: u64, plateau: f64) -> f64 {
        if step < self.warmup_steps {
            return base * plateau * (step + 1) as f64 / (self.warmup_steps + 1) as f64;
        }
        let t = (step - self.warmup_steps) as f64;
        let whole = total.saturating_sub(self.warmup_steps).max(1);
        let steps = |default: u64| self.decay_steps.unwrap_or(default).max(1) as f64;
        let decay = self.decay_rate();
        let stairs = |x: f64| if self.staircase { x.floor() } else { x };
        match self.kind {
            // What hypergradient descent adds is the backend's.
            Kind::Constant | Kind::Hypergradient => base,
            Kind::Step => base * decay.powf((t / steps(per_epoch)).floor()),
            Kind::Exponential => base * decay.powf(stairs(t / steps(per_epoch))),
            Kind::InverseTime => base / (1.0 + decay * stairs(t / steps(per_epoch))),
            Kind::Polynomial => base * (1.0 - (t / steps(whole)).min(1.0)).powf(self.power),
            Kind::Cosine => base * (1.0 + (PI * (t / steps(whole)).min(1.0)).cos()) / 2.0,
            Kind::OneCycle => one_cycle(base, t, whole as f64),
            Kind::Plateau => base * plateau,
        }
    }
}

/// `torch.optim.lr_scheduler.OneCycleLR` with its defaults (pct_start 0.3, div 25, final div 1e4, cosine).
fn one_cycle(base: f64, t: f64, whole: f64) -> f64 {
    let (start, end) = (base / 25.0, base / 25.0 / 1e4);
    let rise = 0.3 * whole - 1.0;
    let between = |from: f64, to: f64, x: f64| to + (from - to) / 2.0 * (1.0 + (PI * x.clamp(0.0, 1.0)).cos());
    if t <= rise { between(start, base, t / rise) } else { between(base, end, (t - rise) / (whole - 1.0 - rise)) }
}

/// The state of `ReduceLROnPlateau` (relative threshold 1e-4, no cool-down): a factor that shrinks.
#[derive(Clone, Copy, Debug)]
pub struct Plateau {
    factor: f64,
    decay: f64,
    patience: usize,
    best: f64,
    bad_epochs: usize,
}

impl Plateau {
    /// Before the first epoch: the factor is 1. It stays 1 for any other kind of schedule.
    pub fn new(schedule: &Schedule) -> Self {
        let decay = if schedule.kind == Kind::Plateau { schedule.decay_rate() } else { 1.0 };
        Plateau { factor: 1.0, decay, patience: schedule.patience, best: f64::INFINITY, bad_epochs: 0 }
    }

    /// The factor of the learning rate now.
    pub fn factor(&self) -> f64 {
        self.factor
    }

    /// Takes an epoch's `loss` (smaller is better; negate a metric that grows).
    pub fn observe(&mut self, loss: f64) {
        // PyTorch's relative threshold shrinks a positive best and, for its `max` mode, stretches it; on negated
        // values both are this.
        if loss < self.best - 1e-4 * self.best.abs() || self.best == f64::INFINITY {
            self.best = loss;
            self.bad_epochs = 0;
        } else {
            self.bad_epochs += 1;
        }
        if self.bad_epochs > self.patience {
            self.factor *= self.decay;
            self.bad_epochs = 0;
        }
    }
}
