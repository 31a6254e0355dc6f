//! Who may start: models and datasets get memory in the order in which they ask.
//!
//! What does not fit now waits until others have left; what can never fit is refused with the bytes that it needs.

use super::descriptor::{Address, bytes_of};
use super::dispatch::{Dispatcher, Placed, Resident};
use super::driver::Limits;
use super::evaluation::least_bytes;
use super::memory::{Budget, Space, amount};
use super::request::Reply;
use super::tables::{Blueprint, Network};
use crate::data::{Dataset, Features, Targets};
use crate::{Error, Result};
use std::sync::Arc;

/// What could not start yet for lack of memory.
pub(super) enum Waiting {
    Models(Vec<(u64, Blueprint)>, Reply<()>),
    Data(u64, Arc<Dataset>, Reply<()>),
}

impl Waiting {
    /// Bytes of its allocations.
    fn sizes(&self) -> Vec<usize> {
        match self {
            Waiting::Models(models, _) => models.iter().map(|(_, blueprint)| blueprint.layout.bytes).collect(),
            Waiting::Data(_, data, _) => vec![data_bytes(data)],
        }
    }

    /// Bytes that the largest of its evaluations takes.
    fn outputs(&self) -> usize {
        match self {
            Waiting::Models(models, _) => {
                models.iter().map(|(_, blueprint)| least_bytes(&blueprint.plan)).max().unwrap_or_default()
            }
            Waiting::Data(..) => 0,
        }
    }

    fn name(&self) -> String {
        match self {
            Waiting::Models(models, _) if models.len() > 1 => format!("a cohort of {} networks", models.len()),
            Waiting::Models(models, _) => {
                let parameters: usize = models.iter().map(|(_, blueprint)| blueprint.plan.parameters).sum();
                format!("a network of {parameters} parameters")
            }
            Waiting::Data(_, data, _) => format!("a dataset of {} rows", data.rows),
        }
    }

    fn refuse(self, error: Error) {
        let (Waiting::Models(_, reply) | Waiting::Data(_, _, reply)) = self;
        // Whoever asked may have gone.
        let _ = reply.send(Err(error));
    }
}

/// Bytes that a dataset takes on a device.
pub(super) fn data_bytes(data: &Dataset) -> usize {
    let mut space = Space::default();
    match &data.features {
        Features::F32(values) => space.take(values.len(), 4),
        Features::U8 { values, .. } => space.take(values.len(), 1),
    };
    match &data.targets {
        Targets::None => 0,
        Targets::Classes { labels, .. } => space.take(labels.len(), 4),
        Targets::Binary { values, .. } | Targets::Real { values, .. } => space.take(values.len(), 4),
    };
    space.0
}

/// The error where not even a block of a network's outputs fits.
pub(super) fn outputs_too_large(what: &str, bytes: usize, limits: &Limits, budget: Budget) -> Error {
    let Limits { device, name, .. } = limits;
    Error::TooLarge(format!(
        "the outputs of {what} need {} ({bytes} bytes) of {device} ({name}), which has {} for outputs: fewer units or --device cpu help",
        amount(bytes),
        amount(budget.evaluation)
    ))
}

impl Dispatcher {
    /// Starts what waits, in its order, as far as it fits; refuses what can never fit.
    pub fn admit(&mut self) -> Result<()> {
        while let Some(next) = self.waiting.pop_front() {
            let sizes = next.sizes();
            let bytes = sizes.iter().sum();
            let Budget { capacity, .. } = self.budget;
            // Where no model is left to end, only data could go, and whoever holds those perhaps waits here.
            let hopeless = bytes > capacity || (self.models.is_empty() && !self.budget.has(bytes));
            if hopeless {
                let error = self.too_large(&next.name(), bytes);
                next.refuse(error);
                continue;
            }
            if next.outputs() > self.budget.evaluation {
                let error = outputs_too_large(&next.name(), next.outputs(), self.driver.limits(), self.budget);
                next.refuse(error);
                continue;
            }
            let places = if self.budget.has(bytes) { self.reserve(&sizes)? } else { None };
            let Some(places) = places else {
                if !self.models.is_empty() {
                    self.waiting.push_front(next);
                    return Ok(());
                }
                let device = &self.driver.limits().device;
                let text = format!("{device}: {} could not be had; other programs use the GPU", amount(bytes));
                next.refuse(Error::TooLarge(text));
                continue;
            };
            self.budget.taken += bytes;
            match next {
                Waiting::Models(models, reply) => {
                    for ((id, blueprint), base) in models.into_iter().zip(places) {
                        self.begin(id, blueprint, base)?;
                    }
                    let _ = reply.send(Ok(()));
                }
                Waiting::Data(id, data, reply) => {
                    let placed = self.put(places[0], bytes, &data)?;
                    self.data.insert(id, placed);
                    let _ = reply.send(Ok(()));
                }
            }
        }
        Ok(())
    }

    /// The error for what never fits.
    fn too_large(&self, what: &str, bytes: usize) -> Error {
        let Limits { device, name, .. } = self.driver.limits();
        let Budget { capacity, taken, .. } = self.budget;
        Error::TooLarge(format!(
            "{what} needs {} ({bytes} bytes) of {device} ({name}), which has {} ({capacity} bytes) for models and data, {} of them taken by data: fewer units, a smaller batch or --device cpu help",
            amount(bytes),
            amount(capacity),
            amount(taken)
        ))
    }

    /// Memory of these sizes, or none of it.
    fn reserve(&mut self, sizes: &[usize]) -> Result<Option<Vec<Address>>> {
        let mut places = Vec::with_capacity(sizes.len());
        for &bytes in sizes {
            match self.driver.allocate(bytes)? {
                Some(place) => places.push(place),
                None => {
                    places.into_iter().try_for_each(|place| self.driver.release(place))?;
                    return Ok(None);
                }
            }
        }
        Ok(Some(places))
    }

    /// Writes what a model begins with.
    fn begin(&mut self, id: u64, mut blueprint: Blueprint, base: Address) -> Result<()> {
        let (layout, parameters) = (&blueprint.layout, blueprint.plan.parameters);
        let at = |offset: usize| base + offset as Address;
        self.driver.write(at(layout.weights), bytes_of(&blueprint.weights))?;
        for slot in layout.slots.into_iter().chain([layout.direction]).flatten() {
            self.driver.zero(at(slot), 4 * parameters)?;
        }
        self.driver.zero(at(layout.offset), 8)?;
        if let (Some(place), Some(weights)) = (layout.class_weights, &blueprint.criterion.class_weights) {
            self.driver.write(at(place), bytes_of(weights))?;
        }
        blueprint.weights = Vec::new();
        let shared = self.driver.limits().shared;
        let network = Network::of(&blueprint, base, &self.products, shared);
        self.models.insert(id, Resident { base, blueprint, network, job: None });
        Ok(())
    }

    /// Writes a dataset.
    fn put(&mut self, address: Address, bytes: usize, data: &Dataset) -> Result<Placed> {
        let mut space = Space::default();
        let (features, scale) = match &data.features {
            Features::F32(values) => (space.take(values.len(), 4), None),
            Features::U8 { values, scale } => (space.take(values.len(), 1), Some(*scale)),
        };
        let (features, targets) = (address + features as Address, address + space.0 as Address);
        match &data.features {
            Features::F32(values) => self.driver.write(features, bytes_of(values))?,
            Features::U8 { values, .. } => self.driver.write(features, values)?,
        }
        let (targets, target_bytes) = match &data.targets {
            Targets::None => (0, 0),
            Targets::Classes { labels, .. } => {
                self.driver.write(targets, bytes_of(labels))?;
                (targets, 4)
            }
            Targets::Binary { values, width } | Targets::Real { values, width, .. } => {
                self.driver.write(targets, bytes_of(values))?;
                (targets, 4 * width)
            }
        };
        let (rows, inputs) = (data.rows, data.inputs);
        Ok(Placed { address, bytes, features, targets, scale, rows, inputs, target_bytes })
    }
}
