//! One round of steps of every model that wants some.

use super::descriptor::{Address, Model, Rate, Run, bytes_of, bytes_of_mut};
use super::dispatch::{Dispatcher, Placed, Resident};
use super::driver::Driver;
use super::memory::Layout;
use super::request::{Done, Reply, Steps};
use super::round::Round;
use super::tables::Network;
use crate::Result;
use std::ops::Range;

/// Steps that a round has at least, where the models have so many left.
const SHORT: usize = 16;
/// The same for models whose steps one block makes: they are short, and their weights come and go with each round.
const SHORT_RESIDENT: usize = 256;

/// Steps that a model still has to make.
pub(super) struct Job {
    steps: Steps,
    /// Steps that are made.
    made: usize,
    /// Steps whose rows and rates are on the device.
    window: Range<usize>,
    losses: Vec<f64>,
    reply: Reply<Done>,
}

impl Job {
    pub fn new(steps: Steps, reply: Reply<Done>) -> Self {
        let losses = Vec::with_capacity(steps.rates.len());
        Job { steps, made: 0, window: 0..0, losses, reply }
    }

    /// Steps that can be made without another look at the host.
    fn ready(&self) -> usize {
        self.window.end - self.made
    }

    /// The rows of those steps, as places in the run.
    fn rows(&self, steps: Range<usize>) -> Range<usize> {
        let Steps { batch, rows, .. } = &self.steps;
        (steps.start * batch).min(rows.len())..(steps.end * batch).min(rows.len())
    }

    /// Sends the next rows and rates where those on the device are used up.
    fn slide(&mut self, driver: &mut dyn Driver, base: Address, layout: &Layout) -> Result<()> {
        if self.ready() > 0 {
            return Ok(());
        }
        let length = (layout.window / self.steps.batch.max(1)).min(layout.window_steps).max(1);
        self.window = self.made..self.steps.rates.len().min(self.made + length);
        let rows = self.rows(self.window.clone());
        driver.write(base + layout.rates as Address, bytes_of(&self.steps.rates[self.window.clone()]))?;
        driver.write(base + layout.rows as Address, bytes_of(&self.steps.rows[rows]))
    }

    /// The next so many steps, or what there is of them.
    fn run(&self, most: usize, base: Address, layout: &Layout) -> Run {
        let steps = self.ready().min(most);
        let rows = self.rows(self.made..self.made + steps);
        let offset = rows.start - self.rows(self.window.clone()).start;
        Run {
            rows: base + (layout.rows + offset * size_of::<u32>()) as Address,
            rates: base + (layout.rates + (self.made - self.window.start) * size_of::<Rate>()) as Address,
            losses: 0,
            first_step: self.steps.first_step + self.made as u64,
            row_count: rows.len() as u32,
            steps: steps as u32,
            batch: self.steps.batch as u32,
            unused: 0,
        }
    }
}

impl Dispatcher {
    /// Makes one round; nothing where nobody wants steps.
    pub fn advance(&mut self) -> Result<()> {
        let (mut least, mut most, mut working) = (usize::MAX, 0, 0);
        for Resident { base, blueprint, job, .. } in self.models.values_mut() {
            let Some(job) = job.as_mut().filter(|job| !job.steps.rates.is_empty()) else { continue };
            job.slide(self.driver.as_mut(), *base, &blueprint.layout)?;
            (least, most, working) = (least.min(job.ready()), most.max(job.ready()), working + 1);
        }
        let steps = if working == self.models.len() { least.max(SHORT.min(most)) } else { SHORT.min(most) };
        let most_of = |network: &Network| if network.resident.is_some() { steps.max(SHORT_RESIDENT) } else { steps };
        let (mut round, mut longest) = (Round::default(), 1);
        for Resident { base, blueprint, network, job, .. } in self.models.values() {
            if let Some((job, data)) = job.as_ref().and_then(|job| Some((job, self.data.get(&job.steps.data)?))) {
                let run = job.run(most_of(network), *base, &blueprint.layout);
                longest = longest.max(run.steps as usize);
                round.add(network, data.of(network.model), run);
            }
        }
        let losses = if working > 0 { round.run(self.driver.as_mut(), &mut self.buffers)? } else { Vec::new() };
        let mut losses = losses.chunks_exact(longest);
        for resident in self.models.values_mut() {
            let Some(mut job) = resident.job.take() else { continue };
            let made = job.ready().min(most_of(&resident.network));
            job.losses.extend(losses.next().into_iter().flat_map(|losses| &losses[..made]));
            job.made += made;
            if job.made < job.steps.rates.len() {
                resident.job = Some(job);
                continue;
            }
            let mut offset = 0.0f64;
            if resident.blueprint.update.hypergradient.is_some() {
                let at = resident.base + resident.blueprint.layout.offset as Address;
                self.driver.read(at, bytes_of_mut(std::slice::from_mut(&mut offset)))?;
            }
            // Whoever asked may have gone.
            let _ = job.reply.send(Ok(Done { losses: job.losses, offset }));
        }
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
