//! Who touched a word last, and whether anything orders that before now.
//!
//! Each warp has a clock and a copy of what it knows of the other warps' clocks (`seen`). An access of warp w at its
//! time t is ordered before one of warp v exactly if `t < seen_v[w]`; a barrier sets what its participants have seen of
//! each other and moves their clocks on. Within a warp, lanes are ordered by `bar.warp.sync` and barriers only (`t` of
//! the earlier access before the warp's clock now): since Volta nothing else orders them. Blocks of one launch are
//! ordered by nothing but fences with atomics or flags: a fence moves the block's epoch, an atomic (or a strong store)
//! publishes it at its address, and one that reads the address afterwards has seen it.
//!
//! One reader or a set of warps is remembered for each word, with the least of the readers' times: exact under barriers
//! of the whole block; with barriers of some warps a conflict can be missed, never invented. Of the bytes of a word
//! that several threads wrote, the last one's are remembered. `bar.warp.sync` counts for the whole warp, whatever its
//! mask.

use crate::instr::LANES;
use std::collections::HashMap;

const THREAD: u32 = 0x3ff;
const BYTES_AT: u32 = 10;
const STRONG: u32 = 1 << 14;
const WRITTEN: u32 = 1 << 15;
const LANE_AT: u32 = 16;
const MANY_LANES: u32 = 1 << 21;
const READ_STRONG: u32 = 1 << 22;
const MANY_BLOCKS: u32 = 1 << 23;
const WRITE_BITS: u32 = 0xffff;

/// The last writer and the readers since of one word.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Cell {
    /// Writer's thread, bytes and kind; readers' lane and kind.
    who: u32,
    wrote: u32,
    read: u32,
    readers: u32,
}

/// The same for global memory: which block, and its epoch then.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct GlobalCell {
    cell: Cell,
    write_block: u32,
    write_epoch: u32,
    read_block: u32,
    read_epoch: u32,
}

/// The warp that accesses.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Who<'a> {
    pub warp: u32,
    pub clock: u32,
    pub seen: &'a [u32; LANES],
    /// The least of `seen`: what happened before is ordered, whoever did it.
    pub floor: u32,
    /// An atomic or another access that never races with its like.
    pub strong: bool,
}

/// The block that accesses global memory.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Block<'a> {
    /// Number of the block among all blocks ever launched, from 1 on.
    pub serial: u32,
    /// The serial of the launch's first block: what is older was ordered by the end of its launch.
    pub first: u32,
    pub epoch: u32,
    /// Epochs of other blocks that this one has seen.
    pub acquired: &'a HashMap<u32, u32>,
}

/// The other party of a race.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Other {
    /// Whether the other access was a write.
    pub wrote: bool,
    /// Thread in its block; the lane is unknown (`None`) where several read.
    pub thread: Option<u32>,
    /// Serial of its block; 0 for the own one.
    pub block: u32,
}

impl Cell {
    /// Whether the last write conflicts with an access of `bytes` by `lane`.
    #[inline(always)]
    fn written(&self, who: Who<'_>, lane: u32, bytes: u32) -> Option<Other> {
        if self.who & WRITTEN == 0 || self.wrote < who.floor {
            return None;
        }
        if (self.who >> BYTES_AT) & bytes & 0xf == 0 || who.strong && self.who & STRONG != 0 {
            return None;
        }
        let thread = self.who & THREAD;
        let warp = thread / LANES as u32;
        let ordered = if warp == who.warp {
            thread % LANES as u32 == lane || self.wrote < who.clock
        } else {
            self.wrote < who.seen[warp as usize]
        };
        if ordered { None } else { Some(Other { wrote: true, thread: Some(thread), block: 0 }) }
    }

    #[inline(always)]
    pub fn read(&mut self, who: Who<'_>, lane: u32, bytes: u32) -> Option<Other> {
        if let Some(other) = self.written(who, lane, bytes) {
            return Some(other);
        }
        let bit = 1 << who.warp;
        let one = lane << LANE_AT | if who.strong { READ_STRONG } else { 0 };
        if self.readers == 0 || self.all_before(who) {
            self.who = self.who & WRITE_BITS | one;
            self.readers = bit;
            self.read = who.clock;
        } else {
            if (self.who >> LANE_AT) & 31 != lane || self.readers != bit {
                self.who |= MANY_LANES;
            }
            if !who.strong {
                self.who &= !READ_STRONG;
            }
            self.readers |= bit;
            self.read = self.read.min(who.clock);
        }
        None
    }

    /// More lanes of the warp than the one that read last.
    #[inline(always)]
    pub fn many_lanes(&mut self) {
        self.who |= MANY_LANES;
    }

    /// Whether every remembered read is ordered before `who` now.
    #[inline(always)]
    fn all_before(&self, who: Who<'_>) -> bool {
        if self.read < who.floor {
            return true;
        }
        let own = 1 << who.warp;
        if self.readers & own != 0 && self.read >= who.clock {
            return false;
        }
        let mut others = self.readers & !own;
        while others != 0 {
            if self.read >= who.seen[others.trailing_zeros() as usize] {
                return false;
            }
            others &= others - 1;
        }
        true
    }

    /// Whether a remembered read conflicts with a write by `lane`.
    #[inline(always)]
    fn was_read(&self, who: Who<'_>, lane: u32) -> Option<Other> {
        if self.readers == 0 || who.strong && self.who & READ_STRONG != 0 || self.all_before(who) {
            return None;
        }
        let own = 1 << who.warp;
        let only_me = self.readers == own && self.who & MANY_LANES == 0 && (self.who >> LANE_AT) & 31 == lane;
        if only_me {
            return None;
        }
        // In a set of several warps, those that are ordered must not be blamed.
        let warp = (0..LANES as u32).find(|&warp| {
            let limit = if warp == who.warp { who.clock } else { who.seen[warp as usize] };
            self.readers & 1 << warp != 0 && self.read >= limit
        })?;
        let exact = self.who & MANY_LANES == 0;
        let thread = warp * LANES as u32 + if exact { (self.who >> LANE_AT) & 31 } else { 0 };
        Some(Other { wrote: false, thread: exact.then_some(thread), block: 0 })
    }

    #[inline(always)]
    pub fn write(&mut self, who: Who<'_>, lane: u32, bytes: u32) -> Option<Other> {
        if let Some(other) = self.written(who, lane, bytes).or_else(|| self.was_read(who, lane)) {
            return Some(other);
        }
        let thread = who.warp * LANES as u32 + lane;
        // Bytes that the same thread wrote just before stay remembered.
        let same = self.who & WRITTEN != 0 && self.who & THREAD == thread && self.wrote == who.clock;
        let bytes = if same { bytes | (self.who >> BYTES_AT) & 0xf } else { bytes };
        self.who = thread | bytes << BYTES_AT | WRITTEN | if who.strong { STRONG } else { 0 };
        self.wrote = who.clock;
        self.readers = 0;
        None
    }
}

impl GlobalCell {
    /// Whether what `block` did at `epoch` is ordered before `here`.
    #[inline(always)]
    fn ordered(block: u32, epoch: u32, here: Block<'_>) -> bool {
        block < here.first || !here.acquired.is_empty() && here.acquired.get(&block).is_some_and(|&seen| epoch < seen)
    }

    #[inline(always)]
    pub fn many_lanes(&mut self) {
        self.cell.many_lanes();
    }

    /// Forgets what is ordered before this block, so that the rest is of this block alone; else the other party.
    #[inline(always)]
    fn settle_writer(&mut self, who: Who<'_>, bytes: u32, here: Block<'_>) -> Option<Other> {
        if self.cell.who & WRITTEN == 0 || self.write_block == here.serial {
            return None;
        }
        if Self::ordered(self.write_block, self.write_epoch, here) {
            self.cell.who &= !WRITE_BITS;
            return None;
        }
        let apart = (self.cell.who >> BYTES_AT) & bytes & 0xf == 0 || who.strong && self.cell.who & STRONG != 0;
        if apart {
            return None;
        }
        Some(Other { wrote: true, thread: Some(self.cell.who & THREAD), block: self.write_block })
    }

    #[inline(always)]
    fn settle_readers(&mut self, here: Block<'_>) {
        let stale = if self.cell.who & MANY_BLOCKS != 0 {
            self.read_block < here.first
        } else {
            self.read_block != here.serial && Self::ordered(self.read_block, self.read_epoch, here)
        };
        if stale {
            self.cell.readers = 0;
            self.cell.who &= WRITE_BITS;
        }
    }

    #[inline(always)]
    pub fn read(&mut self, who: Who<'_>, lane: u32, bytes: u32, here: Block<'_>) -> Option<Other> {
        if let Some(other) = self.settle_writer(who, bytes, here) {
            return Some(other);
        }
        self.settle_readers(here);
        if self.cell.readers != 0 && (self.read_block != here.serial || self.cell.who & MANY_BLOCKS != 0) {
            self.cell.who |= MANY_BLOCKS;
            if !who.strong {
                self.cell.who &= !READ_STRONG;
            }
            self.read_block = self.read_block.max(here.serial);
            return None;
        }
        self.read_block = here.serial;
        self.read_epoch = here.epoch;
        if self.cell.who & WRITTEN != 0 && self.write_block != here.serial {
            // Strong accesses of two blocks, or other bytes of the word: the writer stays remembered, unordered.
            let keep = self.cell.who & WRITE_BITS;
            self.cell.who &= !WRITE_BITS;
            let other = self.cell.read(who, lane, bytes);
            self.cell.who |= keep;
            return other;
        }
        self.cell.read(who, lane, bytes)
    }

    #[inline(always)]
    pub fn write(&mut self, who: Who<'_>, lane: u32, bytes: u32, here: Block<'_>) -> Option<Other> {
        if let Some(other) = self.settle_writer(who, bytes, here) {
            return Some(other);
        }
        self.settle_readers(here);
        if self.cell.readers != 0 && (self.read_block != here.serial || self.cell.who & MANY_BLOCKS != 0) {
            if !(who.strong && self.cell.who & READ_STRONG != 0) {
                return Some(Other { wrote: false, thread: None, block: self.read_block });
            }
            self.cell.readers = 0;
        }
        if self.write_block != here.serial {
            self.cell.who &= !WRITE_BITS;
        }
        self.write_block = here.serial;
        self.write_epoch = here.epoch;
        self.cell.write(who, lane, bytes)
    }
}
