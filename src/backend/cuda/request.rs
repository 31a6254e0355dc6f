//! What trainings ask of a GPU's dispatcher, and how they wait for the answer.
//!
//! A request carries the sending half of a channel of its own. Whatever ends the dispatcher, an error or a panic, drops
//! the requests that it holds, and with them these halves: whoever waits hears of it and nobody hangs.

use super::descriptor::Rate;
use super::steps::Pace;
use super::tables::Blueprint;
use super::timing::{Timed, Took};
use crate::backend::{Detail, Tally};
use crate::data::Dataset;
use crate::{Error, Result};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, OnceLock};

/// The answer to one request.
pub type Reply<T> = Sender<Result<T>>;

/// What of a model is read or written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arena {
    /// Its weights.
    Weights,
    /// A vector of its optimizer.
    Slot(usize),
}

/// Steps of one model.
#[derive(Debug)]
pub struct Steps {
    /// The model.
    pub model: u64,
    /// The dataset.
    pub data: u64,
    /// Number of the first step over the whole training.
    pub first_step: u64,
    /// Row numbers of all steps.
    pub rows: Vec<u32>,
    /// Rows a step.
    pub batch: usize,
    /// What depends on a step alone, one a step.
    pub rates: Vec<Rate>,
}

/// What steps came to.
#[derive(Debug, Default, PartialEq)]
pub struct Done {
    /// Each step's mean loss.
    pub losses: Vec<f64>,
    /// What adapting has added to the rate.
    pub offset: f64,
}

/// What rows came to.
#[derive(Debug, Default, PartialEq)]
pub struct Outputs {
    /// Outputs, where they are wanted.
    pub values: Vec<f32>,
    /// The sum of the rows' losses.
    pub sum: f64,
    /// What was counted of them.
    pub tally: Tally,
}

/// What is wanted of an evaluation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// Outputs of all rows.
    Outputs,
    /// What is counted of them, and they stay where they are.
    Tally(Detail),
}

/// A request.
#[derive(Debug)]
pub enum Request {
    /// Puts a dataset on the device under this number.
    Upload(u64, Arc<Dataset>, Reply<()>),
    /// Nobody needs that dataset any more.
    Forget(u64),
    /// Starts models, under these numbers, all or none.
    Begin(Vec<(u64, Blueprint)>, Reply<()>),
    /// These models have ended.
    End(Vec<u64>),
    /// Makes steps.
    Advance(Steps, Reply<Done>),
    /// Computes outputs of (model, dataset).
    Evaluate(u64, u64, Wanted, Reply<Outputs>),
    /// Keeps a model's weights.
    Snapshot(u64, Reply<()>),
    /// Goes back to them.
    Restore(u64, Reply<()>),
    /// Reads a model.
    Read(u64, Arena, Reply<Vec<f32>>),
    /// Writes a model's optimizer; what is empty becomes zeros.
    Write(u64, usize, Vec<f32>, Reply<()>),
    /// Rounds and legs are of these lengths from now on.
    Pace(Pace),
    /// Takes the time of a product, where there is a kernel for it.
    Time(Timed, Reply<Option<Took>>),
}

/// The way to a dispatcher.
#[derive(Clone, Debug)]
pub struct Line {
    /// Its queue.
    pub queue: Sender<Request>,
    /// Why it ended; set whenever it has.
    pub failure: Arc<OnceLock<String>>,
}

impl Line {
    /// Asks without waiting; see [`Line::answer`].
    pub fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Receiver<Result<T>> {
        let (reply, answer) = channel();
        // Where nobody listens any more the reply is dropped here, and the answer says so.
        let _ = self.queue.send(request(reply));
        answer
    }

    /// Waits for an answer.
    ///
    /// # Errors
    /// The answer's own; the dispatcher has ended.
    pub fn answer<T>(&self, answer: &Receiver<Result<T>>) -> Result<T> {
        answer.recv().unwrap_or_else(|_| Err(self.ended()))
    }

    /// Asks and waits.
    ///
    /// # Errors
    /// As [`Line::answer`].
    pub fn call<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T> {
        self.answer(&self.ask(request))
    }

    /// The error for whoever asks a dispatcher that has ended: it says why soon after it has dropped a request.
    pub fn ended(&self) -> Error {
        Error::Device(self.failure.wait().clone())
    }
}
