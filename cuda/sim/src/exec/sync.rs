//! What needs company: barriers, shuffles, votes, and fences between blocks.

use super::{Core, Flow};
use crate::block::BARRIERS;
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instr::{
    Barrier, Change, Instr, LANES, Match, Op, Place, Redux, Shuffle, ShuffleMode, Slot, Vote, VoteMode,
};
use crate::warp::lanes;

impl Core<'_> {
    pub(super) fn together(&mut self, instr: &Instr, mask: u32) -> Outcome<Flow> {
        match &instr.op {
            Op::Barrier(barrier) => self.barrier(barrier, mask),
            Op::Shuffle(shuffle) => self.with(shuffle.members, mask, |core| core.shuffle(shuffle, mask)),
            Op::Vote(vote) => self.with(vote.members, mask, |core| core.vote(vote, mask)),
            Op::Match(found) => self.with(found.members, mask, |core| core.matching(found, mask)),
            Op::Redux(redux) => self.with(redux.members, mask, |core| core.redux(redux, mask)),
            Op::WarpSync => self.with(instr.a, mask, |core| {
                core.warp.clock += 1;
                Ok(())
            }),
            Op::Matrices(matrices) => self.whole(mask, |core| core.matrices(matrices)),
            Op::Product(product) => self.whole(mask, |core| core.product(product)),
            Op::GroupProduct(product) => self.whole(mask, |core| core.group_product(product)),
            Op::GroupFence => self.whole(mask, |_| Ok(())),
            Op::GroupCommit => self.whole(mask, |core| {
                core.commit_group();
                Ok(())
            }),
            Op::GroupWait(open) => self.whole(mask, |core| core.wait_groups(*open as usize)),
            Op::ProxyFence => self.whole(mask, |core| {
                core.fence_proxy();
                Ok(())
            }),
            _ => Err(Trouble::new(FaultKind::Trap, 0, "an instruction without a meaning")),
        }
    }

    /// Runs what takes all 32 lanes.
    fn whole(&mut self, mask: u32, run: impl FnOnce(&mut Self) -> Outcome<()>) -> Outcome<Flow> {
        if mask == u32::MAX {
            return run(self).map(|()| Flow::Next);
        }
        if self.warp.active != u32::MAX && self.warp.alive == u32::MAX && mask == self.warp.active {
            return Ok(Flow::Park);
        }
        if mask == 0 && self.warp.active == self.warp.alive {
            return Ok(Flow::Next);
        }
        let detail = format!("all 32 lanes must execute this together; here are {mask:#010x}");
        Err(Trouble::new(FaultKind::BarrierDivergence, self.warp.active.trailing_zeros(), detail))
    }

    /// Runs `run` once all living lanes that the executing lanes name as members are there.
    fn with(&mut self, members: Slot, mask: u32, run: impl FnOnce(&mut Self) -> Outcome<()>) -> Outcome<Flow> {
        if mask == 0 {
            return Ok(Flow::Next);
        }
        let vague = self.warp.vague(members) & mask;
        if vague != 0 {
            return Err(self.uninitialised(vague, "the mask of members"));
        }
        let named = *self.warp.plane(members);
        for lane in lanes(mask) {
            if named[lane] >> lane & 1 == 0 {
                let detail =
                    format!("lane {lane} executes this with the mask {:#010x}, which does not name it", named[lane]);
                return Err(Trouble::new(FaultKind::BarrierDivergence, lane as u32, detail));
            }
            let missing = named[lane] & self.warp.alive & !mask;
            if missing == 0 {
                continue;
            }
            // Those missing may still come, unless they stand here with a guard that does not hold.
            if missing & self.warp.active == 0 {
                return Ok(Flow::Park);
            }
            let detail = format!("the mask {:#010x} names lanes {missing:#010x}, whose guard is false", named[lane]);
            return Err(Trouble::new(FaultKind::BarrierDivergence, lane as u32, detail));
        }
        run(self).map(|()| Flow::Next)
    }

    fn barrier(&mut self, barrier: &Barrier, mask: u32) -> Outcome<Flow> {
        let warp = &mut *self.warp;
        if mask == 0 && warp.active == warp.alive {
            return Ok(Flow::Next);
        }
        if mask != warp.alive && mask == warp.active {
            return Ok(Flow::Park);
        }
        let company = if barrier.aligned { warp.born } else { warp.alive };
        if mask != company {
            let left = warp.born & !warp.alive;
            let detail = format!(
                "lanes {mask:#010x} of {:#010x} arrive at the barrier, lanes {left:#010x} have left",
                warp.born
            );
            return Err(Trouble::new(FaultKind::BarrierDivergence, warp.active.trailing_zeros(), detail));
        }
        let first = mask.trailing_zeros() as usize;
        let vague = warp.vague(barrier.id) & mask;
        if vague != 0 {
            return Err(self.uninitialised(vague, "the number of the barrier"));
        }
        let id = warp.plane(barrier.id)[first] as usize;
        let threads = barrier.threads.map(|slot| warp.plane(slot)[first]);
        if id >= BARRIERS || threads.is_some_and(|threads| threads == 0 || threads % LANES as u32 != 0) {
            let detail = format!("barrier {id} (of 16) of {threads:?} threads (a multiple of 32)");
            return Err(Trouble::new(FaultKind::Launch, first as u32, detail));
        }
        self.counters.barriers += 1;
        let meeting = &mut self.block.barriers[id];
        if meeting.waiting | meeting.announced != 0 && meeting.threads != threads {
            let detail =
                format!("{threads:?} threads at barrier {id}, where others arrived with {:?}", meeting.threads);
            return Err(Trouble::new(FaultKind::Deadlock, first as u32, detail));
        }
        meeting.threads = threads;
        if let Some((reduce, guard, place)) = barrier.reduce {
            let (holds, vague) = warp.guard(guard);
            if vague & mask != 0 {
                return Err(self.uninitialised(vague & mask, "the predicate of the reduction"));
            }
            meeting.reduce = Some(reduce);
            meeting.held += (holds & mask).count_ones();
            meeting.arrived += mask.count_ones();
            self.warp.reduction = Some(place);
        }
        let bit = 1 << self.warp.index;
        if barrier.arrive {
            meeting.announced |= bit;
            for (known, seen) in meeting.known.iter_mut().zip(self.warp.seen) {
                *known = (*known).max(seen);
            }
            self.warp.clock += 1;
            meeting.known[self.warp.index as usize] = self.warp.clock;
            return Ok(Flow::Next);
        }
        meeting.waiting |= bit;
        Ok(Flow::Wait(id))
    }

    fn shuffle(&mut self, shuffle: &Shuffle, mask: u32) -> Outcome<()> {
        let warp = &mut *self.warp;
        let (lane_of, clamp) = (*warp.plane(shuffle.lane), *warp.plane(shuffle.clamp));
        let (values, vague) = (*warp.plane(shuffle.value), warp.vague(shuffle.value));
        let unknown = (warp.vague(shuffle.lane) | warp.vague(shuffle.clamp)) & mask;
        if unknown != 0 {
            return Err(self.uninitialised(unknown, "the source lane"));
        }
        let (mut out, mut missing, mut inside) = (values, 0, 0);
        for lane in lanes(mask) {
            let (b, c, me) = (lane_of[lane] & 31, clamp[lane] & 31, lane as u32);
            let segment = clamp[lane] >> 8 & 31;
            let (least, most) = (me & segment, me & segment | c & !segment);
            let (source, valid) = match shuffle.mode {
                ShuffleMode::Up => (me.wrapping_sub(b), me as i32 - b as i32 >= most as i32),
                ShuffleMode::Down => (me + b, me + b <= most),
                ShuffleMode::Butterfly => (me ^ b, (me ^ b) <= most),
                ShuffleMode::Index => (least | b & !segment, (least | b & !segment) <= most),
            };
            let source = if valid { source as usize } else { lane };
            inside |= u32::from(valid) << lane;
            out[lane] = values[source];
            // What a lane that does not take part would give is undefined.
            let known = mask >> source & 1 == 1 && vague >> source & 1 == 0;
            missing |= u32::from(!known) << lane;
        }
        let warp = &mut *self.warp;
        warp.put(shuffle.result, &out, mask, missing);
        if let Some(index) = shuffle.inside {
            warp.put_predicate(index, inside, mask, 0);
        }
        Ok(())
    }

    fn vote(&mut self, vote: &Vote, mask: u32) -> Outcome<()> {
        let (holds, vague) = self.warp.guard(vote.value);
        if vague & mask != 0 {
            return Err(self.uninitialised(vague & mask, "the predicate"));
        }
        let named = *self.warp.plane(vote.members);
        let (mut out, mut bits) = ([0; LANES], 0);
        for lane in lanes(mask) {
            let members = named[lane] & mask;
            let holding = holds & members;
            out[lane] = holding;
            let result = match vote.mode {
                VoteMode::All => holding == members,
                VoteMode::Any => holding != 0,
                VoteMode::Uniform => holding == members || holding == 0,
                VoteMode::Ballot => false,
            };
            bits |= u32::from(result) << lane;
        }
        match vote.result {
            Place::Predicate(index) => self.warp.put_predicate(index, bits, mask, 0),
            Place::Register(slot) => self.warp.put(slot, &out, mask, 0),
        }
        Ok(())
    }

    fn matching(&mut self, found: &Match, mask: u32) -> Outcome<()> {
        let (values, vague) = (self.warp.wide(found.value), self.warp.vague(found.value) & mask);
        if vague != 0 {
            return Err(self.uninitialised(vague, "the value"));
        }
        let named = *self.warp.plane(found.members);
        let (mut out, mut bits) = ([0; LANES], 0);
        for lane in lanes(mask) {
            let members = named[lane] & mask;
            let equal =
                lanes(members).filter(|&other| values[other] == values[lane]).fold(0, |all, other| all | 1 << other);
            let all = equal == members;
            out[lane] = if found.all && !all { 0 } else { equal };
            bits |= u32::from(all) << lane;
        }
        self.warp.put(found.result, &out, mask, 0);
        if let Some(index) = found.equal {
            self.warp.put_predicate(index, bits, mask, 0);
        }
        Ok(())
    }

    fn redux(&mut self, redux: &Redux, mask: u32) -> Outcome<()> {
        let (values, vague) = (*self.warp.plane(redux.value), self.warp.vague(redux.value));
        let named = *self.warp.plane(redux.members);
        let (mut out, mut unknown) = ([0; LANES], 0);
        for lane in lanes(mask) {
            let members = named[lane] & mask;
            unknown |= u32::from(vague & members != 0) << lane;
            let joined = lanes(members).map(|other| values[other]).reduce(|a, b| match (redux.change, redux.signed) {
                (Change::Add, _) => a.wrapping_add(b),
                (Change::And, _) => a & b,
                (Change::Or, _) => a | b,
                (Change::Xor, _) => a ^ b,
                (Change::Min, true) => (a as i32).min(b as i32) as u32,
                (Change::Max, true) => (a as i32).max(b as i32) as u32,
                (Change::Min, false) => a.min(b),
                _ => a.max(b),
            });
            out[lane] = joined.unwrap_or(0);
        }
        self.warp.put(redux.result, &out, mask, unknown);
        Ok(())
    }

    /// `membar` and `fence`: what came before may be published from now on.
    pub(super) fn fence(&mut self, device: bool, mask: u32) {
        if device && mask != 0 {
            self.block.epoch += 1;
        }
    }

    /// Publishes this block's epoch, and what it has seen, at an address.
    pub(super) fn release(&mut self, address: u64) {
        if self.block.epoch == 1 && self.block.acquired.is_empty() {
            return;
        }
        let published = self.released.entry(address).or_default();
        for (&block, &epoch) in self.block.acquired.iter().chain([(&self.block.serial, &self.block.epoch)]) {
            let known = published.entry(block).or_insert(0);
            *known = (*known).max(epoch);
        }
    }

    /// Sees what was published at an address.
    pub(super) fn acquire(&mut self, address: u64) {
        let Some(published) = self.released.get(&address) else { return };
        for (&block, &epoch) in published {
            if block != self.block.serial {
                let known = self.block.acquired.entry(block).or_insert(0);
                *known = (*known).max(epoch);
            }
        }
    }
}
