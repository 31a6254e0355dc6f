//! `wgmma`: its operands, and whether registers are used as its asynchronous products allow.
//!
//! What the PTX manual asks of registers ("Asynchronous warpgroup level matrix instructions") is a matter of the order
//! of instructions alone, so it is looked for on every way through the code and not only on those that a run takes:
//! - Before the first product, and between an ordinary write of an accumulator or a fragment of A and the product that
//!   uses it, stands a `wgmma.fence`. Products on the same accumulators follow one another without.
//! - From a product until a `wgmma.wait_group` that covers it, nothing but other products touches its registers.
//!
//! An instruction that breaks a rule becomes [`Op::Wrong`], a fault where it is executed.

use super::allocate::{Role, Set, registers};
use super::words::Words;
use super::{Builder, Decoded};
use crate::fault::FaultKind;
use crate::instr::{Element, GroupA, GroupProduct, Guard, Instr, Op, Slot};
use crate::parse::syntax::{Operand, Type};
use std::collections::HashMap;

impl<'a> Builder<'a, '_> {
    pub(super) fn group(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let kind = words.need_of(&["mma_async", "fence", "commit_group", "wait_group"])?;
        if !["sync", "aligned"].into_iter().all(|word| words.take(word)) {
            return words.unknown();
        }
        match (kind, operands) {
            ("mma_async", _) => return self.group_product(words, operands),
            ("fence", []) => self.push_bare(Op::GroupFence),
            ("commit_group", []) => self.push_bare(Op::GroupCommit),
            ("wait_group", &[Operand::Integer(open)]) => self.push_bare(Op::GroupWait(open.min(64) as u32)),
            _ => return words.unknown(),
        }
        Ok(())
    }

    /// `wgmma.mma_async.sync.aligned.m64nNkK.f32.type.type d, a, b, adds, sign, sign (, 0, 0)`; both operands by k.
    fn group_product(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let shape = words.take_prefixed("m64n").and_then(|rest| rest.split_once('k'));
        let numbers = shape.map(|(columns, k)| (columns.parse::<usize>(), k.parse::<usize>()));
        let Some((Ok(columns), Ok(k))) = numbers else { return words.unknown() };
        let (d, a, b) = (words.ty()?, words.ty()?, words.ty()?);
        let element = match a {
            Type::F(16) => Element::F16,
            Type::Bf16 => Element::Bf16,
            Type::Tf32 => Element::Tf32,
            _ => return words.unknown(),
        };
        let half = element != Element::Tf32;
        if d != Type::F(32)
            || a != b
            || k != if half { 16 } else { 8 }
            || !(8..=256).contains(&columns)
            || columns % 8 != 0
        {
            return words.unknown();
        }
        let Some(([d, a, b, adds], signs)) = operands.split_first_chunk::<4>() else {
            return self.error(format!("{} operands", operands.len()));
        };
        // Of halves, two more say whether an operand is by rows, which is not supported.
        let signs = match (half, signs) {
            (false, [a, b]) | (true, [a, b, Operand::Integer(0), Operand::Integer(0)]) => [a, b],
            _ => return self.error("the signs of both operands, and of halves two zeros, are needed"),
        };
        let mut negated = [false; 2];
        for (negated, sign) in negated.iter_mut().zip(signs) {
            *negated = match sign {
                Operand::Integer(1) => false,
                Operand::Integer(sign) if *sign == u64::MAX => true,
                _ => return self.error("a sign is 1 or -1"),
            };
        }
        let adds = match adds {
            Operand::Integer(1) => Guard::ALWAYS,
            Operand::Integer(0) => Guard::new(0, true),
            other => self.truth(other)?,
        };
        let Operand::Vector(parts) = d else { return self.error("a vector of accumulators is needed") };
        if parts.len() != columns / 2 {
            return self.error(format!("{} accumulators, expected {}", parts.len(), columns / 2));
        }
        let d = parts.iter().map(|part| self.destination(part, 32)).collect::<Decoded<Vec<Slot>>>()?;
        let a = match a {
            Operand::Vector(parts) if parts.len() == 4 => {
                let fragment = parts.iter().map(|part| self.source(part, Type::B(32)));
                GroupA::Registers(fragment.collect::<Decoded<Vec<Slot>>>()?)
            }
            Operand::Vector(parts) => {
                return self.error(format!("a fragment of {} registers, expected 4", parts.len()));
            }
            descriptor => GroupA::Shared(self.source(descriptor, Type::B(64))?),
        };
        let b = self.source(b, Type::B(64))?;
        self.push_bare(Op::GroupProduct(Box::new(GroupProduct { columns, k, element, d, a, b, adds, negated })));
        Ok(())
    }
}

/// Committed groups that are told apart; older ones count as one.
const DEPTH: usize = 8;

/// What may be true before an instruction.
#[derive(Clone)]
struct State {
    /// No fence has come yet.
    fresh: bool,
    /// Registers that ordinary instructions have written since the last fence.
    written: Set,
    /// Registers in use by products that are not committed, and by the groups, the latest first.
    used: Vec<Set>,
}

impl State {
    fn new(size: usize) -> Self {
        State { fresh: false, written: Set::new(size), used: vec![Set::new(size); DEPTH + 1] }
    }

    fn join(&mut self, other: &State) -> bool {
        let mut grown = other.fresh && !self.fresh;
        self.fresh |= other.fresh;
        grown |= self.written.join(&other.written);
        for (used, other) in self.used.iter_mut().zip(&other.used) {
            grown |= used.join(other);
        }
        grown
    }

    fn uses(&self, number: usize) -> bool {
        self.used.iter().any(|used| used.holds(number))
    }

    /// What is wrong with an instruction here; the state becomes the one behind it.
    fn pass(&mut self, instr: &mut Instr, numbers: &HashMap<usize, usize>) -> Option<(FaultKind, String)> {
        let mut touched = Vec::new();
        registers(instr, &mut |slot, role| touched.extend(numbers.get(&slot.plane()).map(|&number| (number, role))));
        match &instr.op {
            Op::GroupFence => {
                self.fresh = false;
                self.written.clear();
            }
            Op::GroupCommit => {
                // The oldest two become one, and what is queued from now on is a new one.
                let mut oldest = self.used.remove(DEPTH);
                self.used[DEPTH - 1].join(&oldest);
                oldest.clear();
                self.used.insert(0, oldest);
            }
            Op::GroupWait(open) => self.used.iter_mut().skip(1 + *open as usize).for_each(Set::clear),
            Op::GroupProduct(_) => {
                let unfenced = touched.iter().any(|&(number, _)| self.written.holds(number));
                touched.iter().for_each(|&(number, _)| self.used[0].insert(number));
                if self.fresh {
                    return Some((FaultKind::Unfenced, "no wgmma.fence stands before the first wgmma".to_owned()));
                }
                return unfenced.then(|| {
                    let detail = "its accumulators or its A were written and no wgmma.fence followed";
                    (FaultKind::Unfenced, detail.to_owned())
                });
            }
            _ => {
                let found = touched.iter().any(|&(number, _)| self.uses(number));
                for &(number, role) in &touched {
                    if role == Role::Write {
                        self.written.insert(number);
                    }
                }
                return found.then(|| {
                    let detail = "a register of a wgmma that no wgmma.wait_group has waited for";
                    (FaultKind::Asynchronous, detail.to_owned())
                });
            }
        }
        None
    }
}

/// Looks at all ways through a kernel.
pub(super) fn check(instructions: &mut [Instr]) {
    let mut numbers: HashMap<usize, usize> = HashMap::new();
    for instr in instructions.iter_mut() {
        if let Op::GroupProduct(product) = &instr.op {
            let fragment = match &product.a {
                GroupA::Registers(slots) => slots.as_slice(),
                GroupA::Shared(_) => &[],
            };
            for slot in product.d.iter().chain(fragment) {
                let next = numbers.len();
                numbers.entry(slot.plane()).or_insert(next);
            }
        }
    }
    if numbers.is_empty() {
        return;
    }
    // Where ways part or meet; between those the state is carried along.
    let mut before: HashMap<usize, State> = HashMap::new();
    before.insert(0, State { fresh: true, ..State::new(numbers.len()) });
    let mut meets = vec![false; instructions.len() + 1];
    for instr in instructions.iter() {
        match &instr.op {
            Op::Branch(to) => meets[*to as usize] = true,
            Op::Table(targets) => targets.iter().for_each(|&to| meets[to as usize] = true),
            _ => {}
        }
    }
    let mut wrong: HashMap<usize, (FaultKind, String)> = HashMap::new();
    let mut left = vec![0];
    while let Some(start) = left.pop() {
        let mut state = before[&start].clone();
        let mut at = start;
        while at < instructions.len() {
            if let Some(found) = state.pass(&mut instructions[at], &numbers) {
                wrong.entry(at).or_insert(found);
            }
            let (mut targets, falls) = match &instructions[at].op {
                Op::Branch(to) => (vec![*to as usize], instructions[at].guard != Guard::ALWAYS),
                Op::Table(to) => (to.iter().map(|&to| to as usize).collect(), instructions[at].guard != Guard::ALWAYS),
                Op::Exit | Op::Trap(_) => (Vec::new(), instructions[at].guard != Guard::ALWAYS),
                _ => (Vec::new(), true),
            };
            at += 1;
            let carried = falls && !meets[at];
            if falls && meets[at] {
                targets.push(at);
            }
            for to in targets {
                let grown = match before.get_mut(&to) {
                    Some(known) => known.join(&state),
                    None => {
                        before.insert(to, state.clone());
                        true
                    }
                };
                if grown && !left.contains(&to) {
                    left.push(to);
                }
            }
            if !carried {
                break;
            }
        }
    }
    for (at, found) in wrong {
        instructions[at].op = Op::Wrong(Box::new(found));
    }
}
