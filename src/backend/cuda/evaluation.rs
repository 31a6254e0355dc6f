//! Outputs of rows: pending evaluations of several models and datasets go together, in pieces that fit their memory.
//!
//! A piece is some consecutive rows, in blocks; a block's outputs and the sum of its losses depend on the model and the
//! rows alone, and the sums are added in the order of the blocks.

use super::descriptor::{Address, Model, Run, bytes_of_mut};
use super::dispatch::Dispatcher;
use super::memory::{ALIGN, Space};
use super::request::{Outputs, Reply, Wanted};
use super::round::{Losses, Round};
use super::tables::{Evaluating, Network};
use crate::backend::{Detail, Tally};
use crate::model::Plan;
use crate::{Error, Result};
use std::ops::Range;

/// Rows of a block, where the network is not very wide.
const BLOCK: usize = 2048;
/// Bytes that the activations of a block may take.
const ACTIVATIONS: usize = 16 << 20;
/// Bytes that the outputs of a piece may take.
const OUTPUTS: usize = 64 << 20;
/// Sums of a column of a block.
const SUMS: usize = 4;

/// An evaluation that waits.
pub(super) struct Pending {
    pub model: u64,
    pub data: u64,
    pub wanted: Wanted,
    pub reply: Reply<Outputs>,
}

/// An evaluation under way.
struct Course {
    pending: Pending,
    /// Rows of the dataset.
    rows: usize,
    block: usize,
    /// Rows of a piece.
    piece: usize,
    done: usize,
    outputs: Outputs,
}

/// Rows of a block, from the network alone, and the widest hidden layer.
fn block_of(plan: &Plan) -> (usize, usize) {
    let hidden = plan.layers.split_last().map_or(&[][..], |(_, hidden)| hidden);
    let widest = hidden.iter().map(|layer| layer.outputs).max().unwrap_or(0);
    let fits = ACTIVATIONS / (8 * widest.max(1));
    (if fits >= BLOCK { BLOCK } else { fits.max(1).next_power_of_two() / 2 }.max(1), widest)
}

/// Bytes that an evaluation of a network takes at the least.
pub(super) fn least_bytes(plan: &Plan) -> usize {
    let (block, _) = block_of(plan);
    let mut space = Space::default();
    space.take(SUMS * plan.outputs, size_of::<f64>());
    buffers(&mut space, 0, plan, block).1
}

/// Rows of a piece where evaluations may take so many bytes: whole blocks, one at the least.
fn piece_of(plan: &Plan, memory: usize) -> usize {
    let (block, _) = block_of(plan);
    // What stands beside the first block, of which both parts may end off their alignment.
    let rest = memory.saturating_sub(least_bytes(plan) + 2 * ALIGN).min(OUTPUTS);
    block + rest / (plan.outputs * (4 * block + SUMS * size_of::<f64>())) * block
}

/// Buffers of a piece of so many rows, from `base` on, and where they end.
fn buffers(space: &mut Space, base: Address, plan: &Plan, rows: usize) -> (Evaluating, usize) {
    let (block, widest) = block_of(plan);
    let mut take = |n: usize| base + space.take(n, 4) as Address;
    let between = [take(block * widest), take(block * widest)];
    let (outputs, row_losses, row_hits) = (take(rows * plan.outputs), take(block), take(block));
    (Evaluating { block, between, outputs, row_losses, row_hits, columns: None }, space.0)
}

impl Dispatcher {
    /// Computes all pending evaluations.
    pub fn evaluate(&mut self) -> Result<()> {
        let mut courses: Vec<Course> = Vec::new();
        for pending in std::mem::take(&mut self.evaluations) {
            let known = self.models.get(&pending.model).zip(self.data.get(&pending.data));
            let Some((resident, data)) = known else { continue };
            let (block, _) = block_of(&resident.blueprint.plan);
            let width = resident.blueprint.plan.outputs;
            let piece = piece_of(&resident.blueprint.plan, self.budget.evaluation);
            let (mut outputs, mut columns) = (Outputs::default(), 0);
            match pending.wanted {
                Wanted::Outputs => outputs.values.reserve_exact(data.rows * width),
                Wanted::Tally(Detail::Rows) => {}
                Wanted::Tally(Detail::Columns) => columns = width,
            }
            outputs.tally.columns = vec![[0.0; SUMS]; columns];
            courses.push(Course { pending, rows: data.rows, block, piece, done: 0, outputs });
        }
        while !courses.is_empty() {
            let group = self.group(&courses)?;
            self.pieces(&mut courses[..group])?;
            // Those that are through leave; the others go on with their next piece.
            for place in
                (0..group).rev().filter(|&place| courses[place].done >= courses[place].rows).collect::<Vec<_>>()
            {
                let Course { pending, outputs, .. } = courses.remove(place);
                // Whoever asked may have gone.
                let _ = pending.reply.send(Ok(outputs));
            }
        }
        Ok(())
    }

    /// How many of the courses fit the memory of evaluations together: at least one.
    fn group(&mut self, courses: &[Course]) -> Result<usize> {
        let (mut space, mut sums, mut count) = (Space::default(), 0, 0);
        for course in courses {
            buffers(&mut space, 0, &self.models[&course.pending.model].blueprint.plan, course.next().len());
            sums += course.sums() * size_of::<f64>();
            if space.0 + sums.next_multiple_of(ALIGN) > self.budget.evaluation {
                break;
            }
            count += 1;
        }
        if count == 0 {
            let device = &self.driver.limits().device;
            return Err(Error::Device(format!("{device}: no memory for the outputs of a network")));
        }
        Ok(count)
    }

    /// Computes the next piece of each of the courses.
    fn pieces(&mut self, courses: &mut [Course]) -> Result<()> {
        let base = self.arena.reserve_exactly(self.driver.as_mut(), self.budget.evaluation)?;
        let (mut space, mut round) = (Space::default(), Round::default());
        let (mut runs, mut places) = (Vec::with_capacity(courses.len()), Vec::with_capacity(courses.len()));
        // Those of all courses stand together: one transfer brings them.
        let mut columns = vec![0.0f64; courses.iter().map(Course::sums).sum()];
        let counted = base + space.take(columns.len(), size_of::<f64>()) as Address;
        let mut next = counted;
        for course in courses.iter() {
            let (resident, data) = (&self.models[&course.pending.model], &self.data[&course.pending.data]);
            let rows = course.next();
            let (mut buffers, _) = buffers(&mut space, base, &resident.blueprint.plan, rows.len());
            buffers.columns = (course.sums() > 0).then_some(next);
            next += (course.sums() * size_of::<f64>()) as Address;
            let network = Network::evaluating(&resident.blueprint, resident.base, &buffers, &self.products);
            let row = data.inputs * if data.scale.is_some() { 1 } else { 4 };
            let ahead = |address: Address, bytes: usize| address + (rows.start * bytes) as Address;
            let model = data.of(network.model);
            let targets = if model.targets == 0 { 0 } else { ahead(model.targets, data.target_bytes) };
            let model = Model { features: ahead(model.features, row), targets, ..model };
            let steps = rows.len().div_ceil(course.block) as u32;
            let (row_count, batch) = (rows.len() as u32, course.block as u32);
            round.add(&network, model);
            runs.push(Run { row_count, steps, batch, ..Run::default() });
            places.push(buffers.outputs);
        }
        let steps = runs.iter().map(|run| run.steps as usize).max().unwrap_or(0).max(1);
        let driver = self.driver.as_mut();
        // Of each block two: the sum of its losses and how many rows are right.
        let sums = Losses::reserve(driver, &mut self.buffers, runs.len(), 2 * steps)?;
        runs.iter_mut().enumerate().for_each(|(i, run)| run.losses = sums.at(i, 0));
        round.send(driver, &mut self.buffers)?.make(driver, &runs, steps)?;
        let sums = sums.read(driver, runs.len())?;
        if !columns.is_empty() {
            driver.read(counted, bytes_of_mut(&mut columns))?;
        }
        let mut columns = columns.as_slice();
        for ((course, sums), place) in courses.iter_mut().zip(sums.chunks_exact(2 * steps)).zip(places) {
            let (rows, (of_course, rest)) = (course.next(), columns.split_at(course.sums()));
            columns = rest;
            let outputs = &mut course.outputs;
            for of_block in sums.chunks_exact(2).take(rows.len().div_ceil(course.block)) {
                outputs.sum += of_block[0];
                outputs.tally.right += of_block[1] as u64;
            }
            add(&mut outputs.tally, of_course);
            if course.pending.wanted == Wanted::Outputs {
                let (start, width) = (outputs.values.len(), self.models[&course.pending.model].blueprint.plan.outputs);
                outputs.values.resize(start + rows.len() * width, 0.0);
                self.driver.read(place, bytes_of_mut(&mut outputs.values[start..]))?;
            }
            course.done = rows.end;
        }
        Ok(())
    }
}

/// Adds the sums of blocks, of each all columns.
fn add(tally: &mut Tally, sums: &[f64]) {
    for of_block in sums.chunks_exact((SUMS * tally.columns.len()).max(1)) {
        for (column, sums) in tally.columns.iter_mut().zip(of_block.chunks_exact(SUMS)) {
            column.iter_mut().zip(sums).for_each(|(sum, more)| *sum += more);
        }
    }
}

impl Course {
    /// The rows of the next piece.
    fn next(&self) -> Range<usize> {
        self.done..self.rows.min(self.done + self.piece)
    }

    /// Sums of the next piece's columns.
    fn sums(&self) -> usize {
        self.next().len().div_ceil(self.block) * SUMS * self.outputs.tally.columns.len()
    }
}
