//! Registers to planes: those that are never alive at the same time share one.
//!
//! Compilers write a fresh register for each value, thousands of them, and a warp's file would fit no cache. A
//! register's life is the range of positions between which it may still be read (backward dataflow over basic blocks);
//! a write under a guard ends none. So a register that may be read before it is written is alive from the start, shares
//! with nobody then, and is found uninitialised as before. Lanes that have parted are no trouble: each has its own
//! column of the plane, and writes only that. A result never shares with an operand of its instruction, so that it can
//! be computed in place.

use crate::instr::{GroupA, Guard, Instr, Op, Place, Slot};
use std::cmp::Reverse;
use std::collections::{BinaryHeap, HashMap};

/// Whether an instruction reads or writes a register.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Role {
    Read,
    Write,
}

/// Calls `visit` for every register of an instruction.
pub(super) fn registers(instr: &mut Instr, visit: &mut dyn FnMut(&mut Slot, Role)) {
    use Role::{Read, Write};
    let mut writes_d = true;
    match &mut instr.op {
        Op::Four(_, last) => visit(last, Read),
        Op::Unpack(_, parts) => {
            writes_d = false;
            parts.iter_mut().flatten().for_each(|slot| visit(slot, Write));
        }
        Op::Pack(_, parts) => parts.iter_mut().for_each(|slot| visit(slot, Read)),
        Op::Test(test) => {
            writes_d = false;
            test.register.iter_mut().for_each(|(slot, _)| visit(slot, Write));
        }
        Op::Load(access) => {
            writes_d = false;
            visit(&mut access.base, Read);
            access.values.iter_mut().flatten().for_each(|slot| visit(slot, Write));
        }
        Op::Store(access) => {
            writes_d = false;
            visit(&mut access.base, Read);
            access.values.iter_mut().flatten().for_each(|slot| visit(slot, Read));
        }
        Op::Atomic(atomic) => {
            writes_d = false;
            [&mut atomic.base, &mut atomic.value, &mut atomic.swap].into_iter().for_each(|slot| visit(slot, Read));
            atomic.result.iter_mut().for_each(|slot| visit(slot, Write));
        }
        Op::Shuffle(shuffle) => {
            writes_d = false;
            let read = [&mut shuffle.value, &mut shuffle.lane, &mut shuffle.clamp, &mut shuffle.members];
            read.into_iter().for_each(|slot| visit(slot, Read));
            visit(&mut shuffle.result, Write);
        }
        Op::Vote(vote) => {
            writes_d = false;
            visit(&mut vote.members, Read);
            place(&mut vote.result, visit);
        }
        Op::Match(found) => {
            writes_d = false;
            [&mut found.value, &mut found.members].into_iter().for_each(|slot| visit(slot, Read));
            visit(&mut found.result, Write);
        }
        Op::Redux(redux) => {
            writes_d = false;
            [&mut redux.value, &mut redux.members].into_iter().for_each(|slot| visit(slot, Read));
            visit(&mut redux.result, Write);
        }
        Op::Barrier(barrier) => {
            writes_d = false;
            visit(&mut barrier.id, Read);
            barrier.threads.iter_mut().for_each(|slot| visit(slot, Read));
            barrier.reduce.iter_mut().for_each(|(_, _, result)| place(result, visit));
        }
        Op::Copy(copy) => {
            writes_d = false;
            [&mut copy.to, &mut copy.from].into_iter().for_each(|slot| visit(slot, Read));
            copy.source.iter_mut().for_each(|slot| visit(slot, Read));
        }
        Op::Matrices(matrices) => {
            writes_d = false;
            visit(&mut matrices.base, Read);
            matrices.registers.iter_mut().for_each(|slot| visit(slot, Write));
        }
        Op::Product(product) => {
            writes_d = false;
            let read = product.a.iter_mut().chain(&mut product.b).chain(&mut product.c);
            read.for_each(|slot| visit(slot, Read));
            product.d.iter_mut().for_each(|slot| visit(slot, Write));
        }
        Op::GroupProduct(product) => {
            writes_d = false;
            visit(&mut product.b, Read);
            match &mut product.a {
                GroupA::Registers(slots) => slots.iter_mut().for_each(|slot| visit(slot, Read)),
                GroupA::Shared(slot) => visit(slot, Read),
            }
            product.d.iter_mut().for_each(|slot| visit(slot, Read));
            product.d.iter_mut().for_each(|slot| visit(slot, Write));
        }
        _ => {}
    }
    [&mut instr.a, &mut instr.b, &mut instr.c].into_iter().for_each(|slot| visit(slot, Read));
    // Without a destination, d is the constant zero, which is pinned.
    if writes_d {
        visit(&mut instr.d, Write);
    }
}

fn place(place: &mut Place, visit: &mut dyn FnMut(&mut Slot, Role)) {
    if let Place::Register(slot) = place {
        visit(slot, Role::Write);
    }
}

/// A set of small numbers.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Set(Vec<u64>);

impl Set {
    pub fn new(size: usize) -> Self {
        Self(vec![0; size.div_ceil(64)])
    }

    pub fn insert(&mut self, value: usize) {
        self.0[value / 64] |= 1 << (value % 64);
    }

    pub fn holds(&self, value: usize) -> bool {
        self.0[value / 64] >> (value % 64) & 1 == 1
    }

    /// Takes in another set; whether that added something.
    pub fn join(&mut self, other: &Set) -> bool {
        let mut grown = false;
        for (word, &other) in self.0.iter_mut().zip(&other.0) {
            grown |= other & !*word != 0;
            *word |= other;
        }
        grown
    }

    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    fn members(&self) -> impl Iterator<Item = usize> {
        self.0
            .iter()
            .enumerate()
            .flat_map(|(at, &word)| (0..64).filter(move |bit| word >> bit & 1 == 1).map(move |bit| 64 * at + bit))
    }
}

/// Instructions that run one after the other.
struct Stretch {
    start: usize,
    /// Behind the last.
    end: usize,
    next: Vec<usize>,
    /// Read before written, and written for sure.
    reads: Set,
    writes: Set,
    alive: Set,
}

/// Gives every register of `instructions` a plane; those in `pinned` keep theirs, which are the first. Returns the
/// number of planes.
pub(super) fn allocate(instructions: &mut [Instr], pinned: usize) -> usize {
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    let mut slots: Vec<Slot> = Vec::new();
    for instr in instructions.iter_mut() {
        registers(instr, &mut |slot, _| {
            if slot.plane() >= pinned {
                numbers.entry(slot.plane()).or_insert_with(|| {
                    slots.push(*slot);
                    slots.len() - 1
                });
            }
        });
    }
    let mut lives = lives(instructions, &numbers, slots.len());
    for (at, instr) in instructions.iter_mut().enumerate() {
        registers(instr, &mut |slot, _| {
            if let Some(&number) = numbers.get(&slot.plane()) {
                lives[number] = (lives[number].0.min(at), lives[number].1.max(at));
            }
        });
    }
    let (planes, total) = share(&slots, &lives, pinned);
    for instr in instructions {
        registers(instr, &mut |slot, _| {
            if let Some(&number) = numbers.get(&slot.plane()) {
                *slot = slot.at(planes[number]);
            }
        });
    }
    total
}

/// First and last position at which each register is alive on the border of a stretch.
fn lives(instructions: &mut [Instr], numbers: &HashMap<usize, usize>, count: usize) -> Vec<(usize, usize)> {
    let mut stretches = stretches(instructions, numbers, count);
    let mut changed = true;
    while changed {
        changed = false;
        for index in (0..stretches.len()).rev() {
            let mut alive = Set::new(count);
            for &next in &stretches[index].next {
                for (word, other) in alive.0.iter_mut().zip(&stretches[next].alive.0) {
                    *word |= other;
                }
            }
            let stretch = &mut stretches[index];
            for (word, (reads, writes)) in alive.0.iter_mut().zip(stretch.reads.0.iter().zip(&stretch.writes.0)) {
                *word = *word & !writes | reads;
            }
            changed |= stretch.alive != alive;
            stretch.alive = alive;
        }
    }
    let mut lives = vec![(usize::MAX, 0); count];
    let mut extend = |number: usize, at: usize| lives[number] = (lives[number].0.min(at), lives[number].1.max(at));
    for stretch in &stretches {
        stretch.alive.members().for_each(|number| extend(number, stretch.start));
        for &next in &stretch.next {
            stretches[next].alive.members().for_each(|number| extend(number, stretch.end - 1));
        }
    }
    lives
}

fn stretches(instructions: &mut [Instr], numbers: &HashMap<usize, usize>, count: usize) -> Vec<Stretch> {
    let length = instructions.len();
    let mut leaders = vec![false; length + 1];
    leaders[0] = true;
    for (at, instr) in instructions.iter().enumerate() {
        match &instr.op {
            Op::Branch(to) => leaders[*to as usize] = true,
            Op::Table(targets) => targets.iter().for_each(|&to| leaders[to as usize] = true),
            Op::Exit | Op::Trap(_) => {}
            _ => continue,
        }
        leaders[at + 1] = true;
    }
    let starts: Vec<usize> = (0..length).filter(|&at| leaders[at]).collect();
    let of = |at: usize| starts.partition_point(|&start| start <= at) - 1;
    let mut stretches = Vec::with_capacity(starts.len());
    for (index, &start) in starts.iter().enumerate() {
        let end = starts.get(index + 1).copied().unwrap_or(length);
        let (mut reads, mut writes) = (Set::new(count), Set::new(count));
        for instr in &mut instructions[start..end] {
            let sure = instr.guard == Guard::ALWAYS;
            let mut written = Vec::new();
            registers(instr, &mut |slot, role| {
                let Some(&number) = numbers.get(&slot.plane()) else { return };
                match role {
                    Role::Read if !writes.holds(number) => reads.insert(number),
                    Role::Write if sure => written.push(number),
                    // What a guard keeps from being written stays what it was.
                    Role::Write if !writes.holds(number) => reads.insert(number),
                    _ => {}
                }
            });
            written.into_iter().for_each(|number| writes.insert(number));
        }
        let last = &instructions[end - 1];
        let falls =
            last.guard != Guard::ALWAYS || !matches!(last.op, Op::Branch(_) | Op::Table(_) | Op::Exit | Op::Trap(_));
        let mut next: Vec<usize> = match &last.op {
            Op::Branch(to) => vec![of(*to as usize)],
            Op::Table(targets) => targets.iter().map(|&to| of(to as usize)).collect(),
            _ => Vec::new(),
        };
        next.extend((falls && end < length).then(|| of(end)));
        stretches.push(Stretch { start, end, next, reads, writes, alive: Set::new(count) });
    }
    stretches
}

/// A plane for each register, and how many there are then: the first that is free, in the order of their starts.
fn share(slots: &[Slot], lives: &[(usize, usize)], pinned: usize) -> (Vec<usize>, usize) {
    let mut order: Vec<usize> = (0..slots.len()).collect();
    order.sort_by_key(|&number| lives[number].0);
    let mut planes = vec![0; slots.len()];
    let mut total = pinned;
    let mut ends: BinaryHeap<Reverse<(usize, usize)>> = BinaryHeap::new();
    let mut free: [Vec<usize>; 2] = Default::default();
    for number in order {
        while let Some(&Reverse((end, old))) = ends.peek()
            && end < lives[number].0
        {
            ends.pop();
            free[usize::from(slots[old].is_wide())].push(planes[old]);
        }
        let wide = slots[number].is_wide();
        planes[number] = free[usize::from(wide)].pop().unwrap_or_else(|| {
            total += if wide { 2 } else { 1 };
            total - if wide { 2 } else { 1 }
        });
        ends.push(Reverse((lives[number].1, number)));
    }
    (planes, total)
}

#[cfg(test)]
mod tests {
    use crate::Module;

    fn planes(body: &str) -> usize {
        let text = format!(
            ".version 7.0\n.target sm_80\n.visible .entry k()\n{{\n.reg .pred %p<9>;\n.reg .b32 %r<100>;\n.reg .b64 %rd<9>;\n{body}\nret;\n}}"
        );
        Module::parse(&text).unwrap().kernel("k").unwrap().code.planes
    }

    #[test]
    fn registers_that_do_not_meet_share_a_plane() {
        // Two planes of the zero and one of the constant 1 are pinned.
        let chain: String = (1..50).map(|i| format!("add.u32 %r{}, %r{i}, 1;", i + 1)).collect();
        assert_eq!(planes(&format!("mov.u32 %r1, 1; {chain}")), 5);
        // All alive at once.
        let sum: String = (1..50).map(|i| format!("add.u32 %r60, %r60, %r{i};")).collect();
        let all: String = (1..50).map(|i| format!("mov.u32 %r{i}, 1;")).collect();
        assert_eq!(planes(&format!("{all} mov.u32 %r60, 1; {sum}")), 53);
    }

    #[test]
    fn what_a_loop_carries_lives_through_it() {
        let body = "mov.u32 %r1, 1; mov.u32 %r2, 1;
            L: add.u32 %r3, %r1, 1; add.u32 %r4, %r3, 1; add.u32 %r5, %r4, %r4; add.u32 %r2, %r2, 1;
            setp.lt.u32 %p1, %r2, 1; @%p1 bra L; add.u32 %r6, %r1, %r2;";
        // r1 and r2 alone, r3 to r6 in two.
        assert_eq!(planes(body), 3 + 2 + 2);
    }

    #[test]
    fn what_may_be_read_unwritten_shares_with_nobody() {
        let guarded =
            "mov.u32 %r1, 1; add.u32 %r2, %r1, 1; setp.lt.u32 %p1, %r2, 1; @%p1 mov.u32 %r3, 1; add.u32 %r4, %r3, 1;";
        let plain = guarded.replace("@%p1", "");
        assert_eq!(planes(guarded), planes(&plain) + 1);
    }
}
