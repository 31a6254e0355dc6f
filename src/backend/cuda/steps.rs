//! One round of steps of every model that wants some.
//!
//! A round goes by legs: row numbers and rates of a leg are sent, its steps are launched, and while the device makes
//! them those of the next are sent. Nobody waits for the device before the end of a round, which reads all losses.

use super::descriptor::{Address, Model, Rate, Run, bytes_of, bytes_of_mut};
use super::dispatch::{Dispatcher, Placed, Resident};
use super::driver::Driver;
use super::memory::Layout;
use super::request::{Done, Reply, Steps};
use super::round::{Losses, Round};
use crate::Result;
use std::ops::Range;

/// How long rounds and legs are: guesses until `hpt-engine bench legs` has run on a GPU. No number of a training
/// depends on them.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Pace {
    /// Steps that a round has at least, where the models have so many left.
    pub short: usize,
    /// The same for models whose steps one block makes: they are short, and their weights come and go with each round.
    pub short_resident: usize,
    /// Bytes that the first leg sends, about, so that the device soon has something to do; each leg after it sends
    /// twice as many …
    pub first_leg: usize,
    /// … up to these, of which what a driver has for transfers under way holds several.
    pub leg: usize,
    /// Bytes of row numbers that a model is sent at once at least, about: a transfer costs the device some
    /// microseconds, however short it is.
    pub piece: usize,
}

impl Default for Pace {
    fn default() -> Self {
        Pace { short: 16, short_resident: 256, first_leg: 1 << 20, leg: 16 << 20, piece: 64 << 10 }
    }
}

/// Losses that a round keeps at most, of all models: 32 MiB, which are no model's memory.
const LOSSES: usize = 1 << 22;

/// Steps that a model still has to make.
pub(super) struct Job {
    steps: Steps,
    /// Steps that are made, or launched.
    made: usize,
    /// Steps that the window on the device is laid out for …
    window: Range<usize>,
    /// … and where those end whose rows and rates have been sent.
    sent: usize,
    losses: Vec<f64>,
    reply: Reply<Done>,
}

impl Job {
    pub fn new(steps: Steps, reply: Reply<Done>) -> Self {
        let losses = Vec::with_capacity(steps.rates.len());
        Job { steps, made: 0, window: 0..0, sent: 0, losses, reply }
    }

    /// Steps that are left.
    fn left(&self) -> usize {
        self.steps.rates.len() - self.made
    }

    /// Steps that the window holds.
    fn capacity(&self, layout: &Layout) -> usize {
        (layout.window / self.steps.batch.max(1)).min(layout.window_steps).max(1)
    }

    /// Bytes that a step's rows and rate take.
    fn step_bytes(&self) -> usize {
        4 * self.steps.batch + size_of::<Rate>()
    }

    /// The rows of those steps, as places in the run.
    fn rows(&self, steps: Range<usize>) -> Range<usize> {
        let Steps { batch, rows, .. } = &self.steps;
        (steps.start * batch).min(rows.len())..(steps.end * batch).min(rows.len())
    }

    /// The next `count` steps, of which the window holds so many; their rows and rates are sent if they are not there,
    /// `piece` bytes at once.
    fn leg(
        &mut self,
        (count, piece): (usize, usize),
        driver: &mut dyn Driver,
        base: Address,
        layout: &Layout,
    ) -> Result<Run> {
        let steps = self.made..self.made + count;
        if steps.end > self.window.end {
            self.window = self.made..self.steps.rates.len().min(self.made + self.capacity(layout));
            self.sent = self.made;
        }
        let first_row = self.rows(self.window.clone()).start;
        let place = |row: usize| base + (layout.rows + (row - first_row) * size_of::<u32>()) as Address;
        let rate = |step: usize| base + (layout.rates + (step - self.window.start) * size_of::<Rate>()) as Address;
        if steps.end > self.sent {
            let until = steps.end.max(self.sent + piece / self.step_bytes()).min(self.window.end);
            let (sent, rows) = (self.sent..until, self.rows(self.sent..until));
            driver.write(rate(sent.start), bytes_of(&self.steps.rates[sent]))?;
            driver.write(place(rows.start), bytes_of(&self.steps.rows[rows]))?;
            self.sent = until;
        }
        let rows = self.rows(steps.clone());
        let run = Run {
            rows: place(rows.start),
            rates: rate(steps.start),
            losses: 0,
            first_step: self.steps.first_step + self.made as u64,
            row_count: rows.len() as u32,
            steps: count as u32,
            batch: self.steps.batch as u32,
            unused: 0,
        };
        self.made = steps.end;
        Ok(run)
    }
}

/// A model in a round.
struct Rider {
    id: u64,
    /// Whether one block makes its steps.
    resident: bool,
    /// Steps that it makes in the round, and how many of them are launched.
    goal: usize,
    gone: usize,
}

impl Dispatcher {
    /// Makes one round; nothing where nobody wants steps.
    pub fn advance(&mut self) -> Result<()> {
        let left = self.models.values().filter_map(|resident| resident.job.as_ref().map(Job::left));
        let (least, most, working) =
            left.fold((usize::MAX, 0, 0), |(least, most, n), left| (left.min(least), left.max(most), n + 1));
        if working == 0 {
            return Ok(());
        }
        let pace = self.pace;
        let short = pace.short.min(most);
        let steps = if working == self.models.len() { least.min(LOSSES / working).max(short) } else { short };
        let mut round = Round::default();
        let mut riders = Vec::with_capacity(working);
        for (&id, Resident { network, job, .. }) in &self.models {
            let Some((job, data)) = job.as_ref().and_then(|job| Some((job, self.data.get(&job.steps.data)?))) else {
                continue;
            };
            let resident = network.resident.is_some();
            let goal = job.left().min(if resident { steps.max(pace.short_resident) } else { steps });
            riders.push(Rider { id, resident, goal, gone: 0 });
            round.add(network, data.of(network.model));
        }
        let columns = riders.iter().map(|rider| rider.goal).max().unwrap_or(0).max(1);
        let losses = Losses::reserve(self.driver.as_mut(), &mut self.buffers, riders.len(), columns)?;
        let sent = round.send(self.driver.as_mut(), &mut self.buffers)?;
        let mut bytes = pace.first_leg;
        while riders.iter().any(|rider| rider.gone < rider.goal) {
            let length = self.leg_length(&riders, bytes);
            let (mut runs, mut launched) = (Vec::with_capacity(riders.len()), 0);
            for (i, rider) in riders.iter_mut().enumerate() {
                // Where the round is short, it is for those that are made by launches.
                let most = if rider.resident && steps < pace.short_resident { pace.short_resident } else { length };
                let run = self.ride(rider, most)?;
                runs.push(Run { losses: losses.at(i, rider.gone - run.steps as usize), ..run });
                if !rider.resident {
                    launched = launched.max(run.steps as usize);
                }
            }
            sent.make(self.driver.as_mut(), &runs, launched)?;
            bytes = (2 * bytes).min(pace.leg);
        }
        let made = losses.read(self.driver.as_mut(), riders.len())?;
        riders.iter().zip(made.chunks_exact(columns)).try_for_each(|(rider, losses)| self.settle(rider, losses))
    }

    /// Steps of a leg that sends about so many bytes: no more than any model's window holds.
    fn leg_length(&self, riders: &[Rider], bytes: usize) -> usize {
        let (mut of_step, mut most) = (0, usize::MAX);
        for rider in riders.iter().filter(|rider| rider.gone < rider.goal) {
            let Resident { blueprint, job: Some(job), .. } = &self.models[&rider.id] else { continue };
            of_step += job.step_bytes();
            most = most.min(job.capacity(&blueprint.layout));
        }
        (bytes / of_step.max(1)).clamp(1, most)
    }

    /// The next steps of a model, at most so many.
    fn ride(&mut self, rider: &mut Rider, most: usize) -> Result<Run> {
        let known = self.models.get_mut(&rider.id);
        let Some(Resident { base, blueprint, job: Some(job), .. }) = known else { return Ok(Run::default()) };
        let count = (rider.goal - rider.gone).min(most).min(job.capacity(&blueprint.layout));
        rider.gone += count;
        job.leg((count, self.pace.piece), self.driver.as_mut(), *base, &blueprint.layout)
    }

    /// Takes the losses of a model's steps, and answers where those were its last.
    fn settle(&mut self, rider: &Rider, losses: &[f64]) -> Result<()> {
        let Some(resident) = self.models.get_mut(&rider.id) else { return Ok(()) };
        let Some(mut job) = resident.job.take() else { return Ok(()) };
        job.losses.extend_from_slice(&losses[..rider.goal]);
        if job.left() > 0 {
            resident.job = Some(job);
            return Ok(());
        }
        let mut offset = 0.0f64;
        if resident.blueprint.update.hypergradient.is_some() {
            let at = resident.base + resident.blueprint.layout.offset as Address;
            self.driver.read(at, bytes_of_mut(std::slice::from_mut(&mut offset)))?;
        }
        // Whoever asked may have gone.
        let _ = job.reply.send(Ok(Done { losses: job.losses, offset }));
        Ok(())
    }
}

impl Placed {
    /// The model's entry with the addresses of these data.
    pub fn of(&self, model: Model) -> Model {
        Model {
            features: self.features,
            targets: self.targets,
            bytes: u32::from(self.scale.is_some()),
            scale: self.scale.unwrap_or(1.0),
            ..model
        }
    }
}
