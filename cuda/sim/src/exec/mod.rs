//! A warp's run: fetch, guard, execute, and which of its lanes go first where they have parted.
//!
//! The lanes at the lowest place run first, so that those ahead wait where the ways meet again; lanes that reach an
//! instruction which needs company (`bar.sync`, `shfl.sync`, …) are parked until the others stand there too. If the
//! others cannot, that is a fault, and not an order of events that happens to work.

mod atomic;
mod count;
mod group;
mod memory;
mod sync;
mod tensor;

use crate::block::Block;
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instr::{
    Carry, Compare, Guard, Instr, Join, LANES, LOCAL_WINDOW, Logic, Op, PARAM_WINDOW, Plane, SHARED_WINDOW,
};
use crate::instr::{Slot, Space, Test, WINDOW, Wide};
use crate::kernel::Code;
use crate::machine::{Counters, Options, Released};
use crate::memory::Memory;
use crate::warp::{Split, State, Warp, lanes};

/// Everything an instruction may touch.
pub(crate) struct Core<'a> {
    pub code: &'a Code,
    pub block: &'a mut Block,
    pub warp: &'a mut Warp,
    pub memory: &'a mut Memory,
    pub counters: &'a mut Counters,
    pub options: &'a Options,
    pub params: &'a [u8],
    /// Serial of the launch's first block.
    pub first: u32,
    pub released: &'a mut Released,
}

/// Where the lanes that executed go on.
enum Flow {
    Next,
    /// The lanes of the mask to this place, the others to the next.
    Jump(u32, u32),
    /// Every lane to a place of its own.
    Scatter(Box<[u32; LANES]>, u32),
    /// Not executed: the lanes wait for others.
    Park,
    /// The lanes of the mask are done.
    Leave(u32),
    /// The warp waits at a barrier.
    Wait(usize),
}

impl Core<'_> {
    /// Runs up to `budget` instructions.
    pub fn run(&mut self, budget: u32) -> Outcome<()> {
        let code = self.code;
        for _ in 0..budget {
            if self.warp.state != State::Ready {
                break;
            }
            if !self.warp.splits.is_empty() {
                self.choose()?;
            }
            let instr = &code.instructions[self.warp.pc as usize];
            let active = self.warp.active;
            let mask = if instr.guard == Guard::ALWAYS {
                active
            } else {
                let (holds, vague) = self.warp.guard(instr.guard);
                if vague & active != 0 {
                    return Err(self.uninitialised(vague & active, "the guard"));
                }
                active & holds
            };
            self.counters.instructions += 1;
            self.counters.lane_instructions += u64::from(mask.count_ones());
            self.warp.ticks = self.warp.ticks.wrapping_add(1);
            if self.counters.instructions > self.options.step_limit {
                let detail = format!("more than {} instructions in one launch", self.options.step_limit);
                return Err(Trouble::new(FaultKind::StepLimit, active.trailing_zeros(), detail));
            }
            let flow = self.execute(instr, mask)?;
            self.go_on(flow)?;
        }
        Ok(())
    }

    fn go_on(&mut self, flow: Flow) -> Outcome<()> {
        let warp = &mut *self.warp;
        match flow {
            Flow::Next => warp.pc += 1,
            Flow::Jump(to, taken) if taken == warp.active => warp.pc = to,
            Flow::Jump(_, 0) => warp.pc += 1,
            Flow::Jump(to, taken) => {
                self.counters.divergences += 1;
                warp.splits.push(Split { pc: to, mask: taken, parked: None });
                warp.active &= !taken;
                warp.pc += 1;
            }
            Flow::Scatter(places, taken) => {
                let stay = warp.active & !taken;
                let next = warp.pc + 1;
                let mut parts: Vec<Split> = Vec::new();
                for lane in lanes(warp.active) {
                    let pc = if stay >> lane & 1 == 1 { next } else { places[lane] };
                    match parts.iter_mut().find(|part| part.pc == pc) {
                        Some(part) => part.mask |= 1 << lane,
                        None => parts.push(Split { pc, mask: 1 << lane, parked: None }),
                    }
                }
                self.counters.divergences += u64::from(parts.len() > 1);
                let first = parts[0];
                (warp.pc, warp.active) = (first.pc, first.mask);
                warp.splits.extend(&parts[1..]);
            }
            Flow::Leave(mask) => {
                warp.alive &= !mask;
                warp.active &= !mask;
                warp.pc += 1;
                if warp.alive == 0 {
                    warp.state = State::Done;
                } else if warp.active == 0 {
                    self.resume()?;
                }
            }
            Flow::Park => {
                let split = Split { pc: warp.pc, mask: warp.active, parked: Some(warp.alive) };
                warp.splits.push(split);
                warp.active = 0;
                self.resume()?;
            }
            Flow::Wait(barrier) => warp.state = State::Waiting(barrier),
        }
        Ok(())
    }

    /// Runs the lanes at the lowest place, joined by those that stand there.
    fn choose(&mut self) -> Outcome<()> {
        let warp = &mut *self.warp;
        let lowest = warp.splits.iter().filter(|split| split.parked.is_none()).map(|split| split.pc).min();
        if lowest.is_some_and(|pc| pc < warp.pc) {
            warp.splits.push(Split { pc: warp.pc, mask: warp.active, parked: None });
            warp.active = 0;
            return self.resume();
        }
        self.gather();
        Ok(())
    }

    /// Joins all lanes at the place of the active ones.
    fn gather(&mut self) {
        let warp = &mut *self.warp;
        let (pc, mut active) = (warp.pc, warp.active);
        warp.splits.retain(|split| {
            if split.pc == pc {
                active |= split.mask;
            }
            split.pc != pc
        });
        warp.active = active;
    }

    /// Picks lanes to run when none do.
    fn resume(&mut self) -> Outcome<()> {
        let warp = &mut *self.warp;
        let alive = warp.alive;
        // Lanes that left may be the ones that were waited for.
        let ready = |split: &&Split| split.parked.is_none_or(|then| then != alive);
        let lowest = warp.splits.iter().filter(ready).map(|split| split.pc).min();
        let Some(pc) = lowest else {
            let first = warp.splits[0];
            let others: Vec<_> = warp.splits.iter().map(|split| self.code.origins[split.pc as usize].line).collect();
            (warp.pc, warp.active) = (first.pc, first.mask);
            let detail =
                format!("lanes {:#010x} wait here for lanes that wait elsewhere: lines {others:?}", first.mask);
            return Err(Trouble::new(FaultKind::BarrierDivergence, first.mask.trailing_zeros(), detail));
        };
        (warp.pc, warp.active) = (pc, 0);
        self.gather();
        Ok(())
    }

    #[cold]
    fn uninitialised(&self, lanes: u32, what: &str) -> Box<Trouble> {
        let source = match self.warp.source {
            0 => String::new(),
            line => format!("; the last load of something uninitialised was on line {line}"),
        };
        let detail = format!("{what} holds a value that nothing wrote{source}");
        Trouble::new(FaultKind::Uninitialised, lanes.trailing_zeros(), detail)
    }

    fn line(&self) -> u32 {
        self.code.origins[self.warp.pc as usize].line
    }

    #[inline(always)]
    fn execute(&mut self, instr: &Instr, mask: u32) -> Outcome<Flow> {
        let warp = &mut *self.warp;
        match &instr.op {
            Op::Plane(function) => warp.run(*function, instr.d, [instr.a, instr.b, instr.c], mask),
            Op::Wide(function) => {
                let mut out = [0; LANES];
                function(&warp.wide(instr.a), &warp.wide(instr.b), &warp.wide(instr.c), &mut out);
                let vague = warp.vague(instr.a) | warp.vague(instr.b) | warp.vague(instr.c);
                warp.put_wide(instr.d, &out, mask, vague);
            }
            Op::Test(test) => self.test(test, instr, mask),
            Op::Load(access) => self.load(access, mask)?,
            Op::Store(access) => self.store(access, mask)?,
            Op::Branch(to) => return Ok(Flow::Jump(*to, mask)),
            _ => return self.seldom(instr, mask),
        }
        Ok(Flow::Next)
    }

    fn seldom(&mut self, instr: &Instr, mask: u32) -> Outcome<Flow> {
        match &instr.op {
            Op::Float(op) => self.each(instr, mask, |a, b, c| op.apply(a, b, c)),
            Op::Half(op) => self.each(instr, mask, |a, b, c| op.apply(a, b, c)),
            Op::Convert(op) => self.each_wide(instr, mask, |a, _, _| op.apply(a)),
            Op::ConvertPair(op) => self.each_wide(instr, mask, |a, b, _| op.pair(a, b)),
            Op::Four(function, last) => {
                let last = *last;
                let (extra, vague) = (self.warp.wide(last), self.warp.vague(last));
                let mut lane = 0;
                self.each_wide(instr, mask, |a, b, c| {
                    lane += 1;
                    function(a, b, c, extra[lane - 1])
                });
                self.warp.vague[instr.d.plane()] |= vague & mask;
            }
            Op::Select(guard) => self.select(*guard, instr, mask),
            Op::SelectSign(float) => self.select_sign(*float, instr, mask),
            Op::Logic(logic, d, a, b) => self.logic(*logic, *d, *a, *b, mask),
            Op::Carry(carry) => self.carry(*carry, instr, mask),
            Op::Unpack(bits, parts) => self.unpack(*bits, parts, instr.a, mask),
            Op::Pack(bits, parts) => self.pack(*bits, parts, instr.d, mask),
            Op::Clock => {
                let ticks = [self.warp.ticks; LANES];
                self.warp.put_wide(instr.d, &ticks.map(u64::from), mask, 0);
            }
            Op::ActiveMask => {
                self.warp.put(instr.d, &[mask; LANES], mask, 0);
            }
            Op::IsSpace(space, p) => self.is_space(*space, *p, instr.a, mask)?,
            Op::Atomic(atomic) => self.atomic(atomic, mask)?,
            Op::Fence(device) => self.fence(*device, mask),
            Op::Copy(copy) => self.begin_copy(copy, mask)?,
            Op::Commit => lanes(mask).for_each(|lane| self.warp.group[lane] += 1),
            Op::Wait(open) => self.land(mask, Some(*open))?,
            Op::WaitAll => self.land(mask, None)?,
            Op::Table(targets) => return self.table(targets, instr.a, mask),
            Op::Exit => {
                self.leave_groups(mask)?;
                return Ok(Flow::Leave(mask));
            }
            Op::Wrong(wrong) if mask != 0 => {
                return Err(Trouble::new(wrong.0, mask.trailing_zeros(), wrong.1.clone()));
            }
            Op::Wrong(_) => {}
            Op::Trap(_) if mask == 0 => {}
            Op::Trap(what) => return Err(Trouble::new(FaultKind::Trap, mask.trailing_zeros(), what.clone())),
            Op::Nothing => {}
            _ => return self.together(instr, mask),
        }
        Ok(Flow::Next)
    }

    fn each(&mut self, instr: &Instr, mask: u32, function: impl Fn(u32, u32, u32) -> u32) {
        let warp = &mut *self.warp;
        let (a, b, c) = (warp.plane(instr.a), warp.plane(instr.b), warp.plane(instr.c));
        let out: Plane =
            std::array::from_fn(|lane| if mask >> lane & 1 == 1 { function(a[lane], b[lane], c[lane]) } else { 0 });
        let vague = warp.vague(instr.a) | warp.vague(instr.b) | warp.vague(instr.c);
        warp.put(instr.d, &out, mask, vague);
    }

    fn each_wide(&mut self, instr: &Instr, mask: u32, mut function: impl FnMut(u64, u64, u64) -> u64) {
        let warp = &mut *self.warp;
        let (a, b, c) = (warp.wide(instr.a), warp.wide(instr.b), warp.wide(instr.c));
        let out: Wide = std::array::from_fn(|lane| function(a[lane], b[lane], c[lane]));
        let vague = warp.vague(instr.a) | warp.vague(instr.b) | warp.vague(instr.c);
        warp.put_wide(instr.d, &out, mask, vague);
    }

    fn test(&mut self, test: &Test, instr: &Instr, mask: u32) {
        let warp = &mut *self.warp;
        let bits = match test.compare {
            Compare::Plane(compare) => compare(warp.plane(instr.a), warp.plane(instr.b)),
            Compare::Wide(compare) => compare(&warp.wide(instr.a), &warp.wide(instr.b)),
            Compare::Half(format, holds) => {
                let (a, b) = (warp.plane(instr.a), warp.plane(instr.b));
                let order = |lane: usize| format.value(a[lane].into()).partial_cmp(&format.value(b[lane].into()));
                (0..LANES).fold(0, |bits, lane| bits | u32::from(holds(order(lane))) << lane)
            }
        };
        let vague = warp.vague(instr.a) | warp.vague(instr.b);
        let (other, other_vague) = warp.guard(test.other);
        let join = |bits: u32| match test.join {
            Join::Only => (bits, vague),
            Join::And => and(bits, vague, other, other_vague),
            Join::Or => or(bits, vague, other, other_vague),
            Join::Xor => (bits ^ other, vague | other_vague),
        };
        let (p, q) = (join(bits), join(!bits));
        if let Some(index) = test.p {
            warp.put_predicate(index, p.0, mask, p.1);
        }
        if let Some(index) = test.q {
            warp.put_predicate(index, q.0, mask, q.1);
        }
        if let Some((slot, one)) = test.register {
            let out: Plane = std::array::from_fn(|lane| if p.0 >> lane & 1 == 1 { one } else { 0 });
            warp.put(slot, &out, mask, p.1);
        }
    }

    fn select(&mut self, guard: Guard, instr: &Instr, mask: u32) {
        let warp = &mut *self.warp;
        let (holds, unknown) = warp.guard(guard);
        let (a, b) = (warp.wide(instr.a), warp.wide(instr.b));
        let out: Wide = std::array::from_fn(|lane| if holds >> lane & 1 == 1 { a[lane] } else { b[lane] });
        let vague = holds & warp.vague(instr.a) | !holds & warp.vague(instr.b) | unknown;
        warp.put_wide(instr.d, &out, mask, vague);
    }

    fn select_sign(&mut self, float: bool, instr: &Instr, mask: u32) {
        let warp = &mut *self.warp;
        let (a, b, c) = (warp.wide(instr.a), warp.wide(instr.b), *warp.plane(instr.c));
        let out: Wide = std::array::from_fn(|lane| {
            let first = if float { f32::from_bits(c[lane]) >= 0.0 } else { c[lane] as i32 >= 0 };
            if first { a[lane] } else { b[lane] }
        });
        let vague = warp.vague(instr.a) | warp.vague(instr.b) | warp.vague(instr.c);
        warp.put_wide(instr.d, &out, mask, vague);
    }

    fn logic(&mut self, logic: Logic, d: usize, a: Guard, b: Guard, mask: u32) {
        let ((a, vague_a), (b, vague_b)) = (self.warp.guard(a), self.warp.guard(b));
        let (bits, vague) = match logic {
            Logic::And => and(a, vague_a, b, vague_b),
            Logic::Or => or(a, vague_a, b, vague_b),
            Logic::Xor => (a ^ b, vague_a | vague_b),
            Logic::Not => (!a, vague_a),
            Logic::Move => (a, vague_a),
        };
        self.warp.put_predicate(d, bits, mask, vague);
    }

    fn carry(&mut self, carry: Carry, instr: &Instr, mask: u32) {
        let warp = &mut *self.warp;
        let (a, b, c) = (*warp.plane(instr.a), *warp.plane(instr.b), *warp.plane(instr.c));
        let (mut out, mut flags) = ([0; LANES], 0);
        for lane in 0..LANES {
            let (x, y) = match carry.product {
                None => (a[lane], b[lane]),
                Some(high) => {
                    let product = if carry.signed {
                        (i64::from(a[lane] as i32) * i64::from(b[lane] as i32)) as u64
                    } else {
                        u64::from(a[lane]) * u64::from(b[lane])
                    };
                    (if high { (product >> 32) as u32 } else { product as u32 }, c[lane])
                }
            };
            let flag = carry.read && warp.carry >> lane & 1 == 1;
            let (first, over) = if carry.subtract { x.overflowing_sub(y) } else { x.overflowing_add(y) };
            let step = u32::from(flag);
            let (value, again) = if carry.subtract { first.overflowing_sub(step) } else { first.overflowing_add(step) };
            out[lane] = value;
            flags |= u32::from(over || again) << lane;
        }
        if carry.write {
            warp.carry = warp.carry & !mask | flags & mask;
        }
        let vague = warp.vague(instr.a) | warp.vague(instr.b) | warp.vague(instr.c);
        warp.put(instr.d, &out, mask, vague);
    }

    fn unpack(&mut self, bits: u32, parts: &[Option<Slot>], from: Slot, mask: u32) {
        let (whole, vague) = (self.warp.wide(from), self.warp.vague(from));
        for (index, part) in parts.iter().enumerate() {
            if let Some(slot) = part {
                let keep = if bits == 64 { u64::MAX } else { (1 << bits) - 1 };
                let values = whole.map(|value| value >> (index as u32 * bits) & keep);
                self.warp.put_wide(*slot, &values, mask, vague);
            }
        }
    }

    fn pack(&mut self, bits: u32, parts: &[Slot], to: Slot, mask: u32) {
        let (mut whole, mut vague) = ([0; LANES], 0);
        for (index, &part) in parts.iter().enumerate() {
            let values = self.warp.wide(part);
            for lane in 0..LANES {
                whole[lane] |= values[lane] << (index as u32 * bits);
            }
            vague |= self.warp.vague(part);
        }
        self.warp.put_wide(to, &whole, mask, vague);
    }

    fn is_space(&mut self, space: Space, p: usize, a: Slot, mask: u32) -> Outcome<()> {
        let (addresses, vague) = (self.warp.wide(a), self.warp.vague(a) & mask);
        if vague != 0 {
            return Err(self.uninitialised(vague, "the address"));
        }
        let bits =
            lanes(mask).filter(|&lane| space_of(addresses[lane]) == space).fold(0, |bits, lane| bits | 1 << lane);
        self.warp.put_predicate(p, bits, mask, 0);
        Ok(())
    }

    fn table(&mut self, targets: &[u32], index: Slot, mask: u32) -> Outcome<Flow> {
        let (values, vague) = (*self.warp.plane(index), self.warp.vague(index) & mask);
        if vague != 0 {
            return Err(self.uninitialised(vague, "the index of the branch"));
        }
        let mut places = Box::new([0; LANES]);
        for lane in lanes(mask) {
            let Some(&place) = targets.get(values[lane] as usize) else {
                let detail = format!("index {} of a branch table of {}", values[lane], targets.len());
                return Err(Trouble::new(FaultKind::OutOfBounds, lane as u32, detail));
            };
            places[lane] = place;
        }
        Ok(Flow::Scatter(places, mask))
    }
}

/// `a & b`, known to be false where one of them is.
fn and(a: u32, vague_a: u32, b: u32, vague_b: u32) -> (u32, u32) {
    (a & b, vague_a & vague_b | vague_a & b | vague_b & a)
}

fn or(a: u32, vague_a: u32, b: u32, vague_b: u32) -> (u32, u32) {
    (a | b, vague_a & vague_b | vague_a & !b | vague_b & !a)
}

/// The space a generic address points to.
pub(crate) fn space_of(address: u64) -> Space {
    let inside = |window: u64| address.wrapping_sub(window) < WINDOW;
    if inside(SHARED_WINDOW) {
        Space::Shared
    } else if inside(LOCAL_WINDOW) {
        Space::Local
    } else if inside(PARAM_WINDOW) {
        Space::Param
    } else {
        Space::Global
    }
}
