//! One block: its shared memory and its barriers.
//!
//! Warps that wait stay on their instruction; [`Block::settle`] lets them go once enough have arrived.

use crate::instr::Place;
use crate::instr::{LANES, Reduce, SHARED_START};
use crate::kernel::Code;
use crate::memory::{Bytes, OUTSIDE, RAW};
use crate::race::Cell;
use crate::warp::{Position, State, Warp, lanes};
use std::collections::HashMap;

/// Barriers of a block.
pub(crate) const BARRIERS: usize = 16;

/// Who has arrived at a barrier.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Rendezvous {
    /// Warps that wait here.
    pub waiting: u32,
    /// Warps that only announced themselves (`bar.arrive`).
    pub announced: u32,
    /// What those knew of the clocks then.
    pub known: [u32; LANES],
    /// Threads it takes; `None`: all of the block.
    pub threads: Option<u32>,
    /// Threads whose predicate held, of `arrived`.
    pub held: u32,
    pub arrived: u32,
    pub reduce: Option<Reduce>,
}

/// How a word of shared memory stands to `wgmma`, which reads it by another way than ordinary instructions write it.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct View {
    /// The warp that stored it last.
    pub writer: u32,
    /// When that warp fenced it, by its clock; [`UNFENCED`](View::UNFENCED) until then, 0 where nobody stored.
    pub fenced: u32,
    /// Products under way that read it.
    pub readers: u32,
}

impl View {
    pub const UNFENCED: u32 = u32::MAX;
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Block {
    pub at: Position,
    /// Number among all blocks ever run.
    pub serial: u32,
    /// Moves with each fence.
    pub epoch: u32,
    /// Epochs of other blocks that this one has seen.
    pub acquired: HashMap<u32, u32>,
    pub shared: Bytes,
    pub cells: Vec<Cell>,
    /// For kernels with `wgmma`: what it may see of each word.
    pub views: Vec<View>,
    pub barriers: [Rendezvous; BARRIERS],
}

impl Block {
    pub fn new(code: &Code, at: Position, serial: u32) -> Self {
        let dynamic = (code.dynamic - SHARED_START) as usize;
        let size = dynamic + at.dynamic_shared as usize;
        let mut shared = Bytes::new(size, OUTSIDE);
        for &(start, bytes) in &code.shared {
            let start = (start - SHARED_START) as usize;
            shared.state[start..start + bytes as usize].fill(RAW);
        }
        shared.state[dynamic..].fill(RAW);
        let cells = vec![Cell::default(); size.div_ceil(4)];
        let barriers = [Rendezvous::default(); BARRIERS];
        let views = vec![View::default(); if code.grouped { cells.len() } else { 0 }];
        Self { at, serial, epoch: 1, acquired: HashMap::new(), shared, cells, views, barriers }
    }

    /// Lets the warps go that wait at barriers where enough have arrived.
    pub fn settle(&mut self, warps: &mut [Warp]) {
        for id in 0..BARRIERS {
            let barrier = self.barriers[id];
            if barrier.waiting == 0 {
                continue;
            }
            let living =
                warps.iter().filter(|warp| warp.state != State::Done).fold(0, |mask, warp| mask | 1 << warp.index);
            let there = barrier.waiting | barrier.announced;
            let complete = match barrier.threads {
                None => living & !there == 0,
                Some(threads) => there.count_ones() * LANES as u32 >= threads,
            };
            if complete {
                join(warps, &barrier, barrier.threads.is_none());
                self.release(id, warps);
            }
        }
    }

    fn release(&mut self, id: usize, warps: &mut [Warp]) {
        let barrier = std::mem::take(&mut self.barriers[id]);
        let value = match barrier.reduce {
            None => 0,
            Some(Reduce::And) => u32::from(barrier.held == barrier.arrived),
            Some(Reduce::Or) => u32::from(barrier.held > 0),
            Some(Reduce::Count) => barrier.held,
        };
        for index in lanes(barrier.waiting) {
            let warp = &mut warps[index];
            let mask = warp.active;
            match warp.reduction.take() {
                Some(Place::Predicate(at)) => warp.put_predicate(at, value.wrapping_neg(), mask, 0),
                Some(Place::Register(slot)) => warp.put(slot, &[value; LANES], mask, 0),
                None => {}
            }
            warp.state = State::Ready;
            warp.pc += 1;
        }
    }
}

/// Orders what the participants did before the barrier before what those that waited do after it.
fn join(warps: &mut [Warp], barrier: &Rendezvous, all: bool) {
    let now = 1 + warps.iter().map(|warp| warp.clock).max().unwrap_or(0);
    let mut seen = if all { [now; LANES] } else { barrier.known };
    for index in lanes(barrier.waiting) {
        for (seen, other) in seen.iter_mut().zip(warps[index].seen) {
            *seen = (*seen).max(other);
        }
    }
    for index in lanes(barrier.waiting) {
        seen[index] = now;
    }
    for index in lanes(barrier.waiting) {
        warps[index].seen = seen;
        warps[index].clock = now;
        warps[index].floor = seen.iter().copied().min().unwrap_or(0);
    }
}
