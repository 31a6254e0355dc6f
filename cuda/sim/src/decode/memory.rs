//! What touches memory: loads, stores, atomics, asynchronous copies, matrix loads, addresses between spaces.

use super::words::Words;
use super::{Builder, Decoded, Symbol};
use crate::instr::{
    Access, AsyncCopy, Atomic, Change, Guard, LOCAL_WINDOW, Matrices, Op, Order, PARAM_WINDOW, SHARED_WINDOW, Slot,
    Space,
};
use crate::ops::wide;
use crate::parse::syntax::{Operand, Type};

const NONE: Slot = Slot::ZERO;
const SHARED: &[&str] = &["shared", "shared::cta"];
const SCOPES: &[&str] = &["cta", "cluster", "gpu", "sys"];
const CACHES: &[&str] = &["ca", "cg", "cs", "lu", "cv", "wb", "wt"];

impl<'a> Builder<'a, '_> {
    /// Memory instructions named by their opcode; false if it is none.
    pub(super) fn memory(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<bool> {
        match words.name {
            "ld" | "ldu" => self.access(words, operands, false)?,
            "st" => self.access(words, operands, true)?,
            "atom" | "red" => self.atomic(words, operands)?,
            "cp" => self.copy(words, operands)?,
            "ldmatrix" => self.matrices(words, operands)?,
            "cvta" => self.between_spaces(words, operands)?,
            "isspacep" => self.is_space(words, operands)?,
            "prefetch" | "prefetchu" | "discard" | "applypriority" => {
                words.take_of(&["global", "local", "const"]);
                words.take_of(&["L1", "L2", "L2::evict_last", "L2::evict_normal"]);
                self.address(operands.first().unwrap_or(&Operand::Integer(0)))?;
                self.push_bare(Op::Nothing);
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn space(&mut self, words: &mut Words<'a>) -> Space {
        match words.take_of(&["global", "const", "param", "param::entry", "param::func", "local"]) {
            Some("global" | "const") => Space::Global,
            Some("local") => Space::Local,
            Some(_) => Space::Param,
            None if words.take_of(SHARED).is_some() => Space::Shared,
            None => Space::Generic,
        }
    }

    /// Hints of caching that change no value.
    fn caching(&mut self, words: &mut Words<'a>) {
        words.take("nc");
        words.take_of(CACHES);
        for prefix in ["L1::", "L2::"] {
            while words.take_prefixed(prefix).is_some() {}
        }
    }

    fn access(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>], store: bool) -> Decoded<()> {
        let space = self.space(words);
        let order = match words.take_of(&["weak", "volatile", "relaxed", "acquire", "release", "mmio"]) {
            None | Some("weak") => Order::Weak,
            Some("acquire") => Order::Acquire,
            Some("release") => Order::Release,
            Some(_) => Order::Relaxed,
        };
        words.take_of(SCOPES);
        self.caching(words);
        let count = words.take_of(&["v2", "v4", "v8"]).map_or(1, |word| usize::from(word.as_bytes()[1] - b'0'));
        let ty = words.ty()?;
        self.count(operands, 2)?;
        let (value, place) = if store { (&operands[1], &operands[0]) } else { (&operands[0], &operands[1]) };
        let parts = match value {
            Operand::Vector(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        if parts.len() != count || ty.bytes() as usize * count > 16 || ty == Type::Pred {
            return words.unknown();
        }
        let mut values = Vec::with_capacity(count);
        for part in parts {
            let slot = match part {
                Operand::Name("_") => None,
                part if store => Some(self.any_source(part, ty)?),
                part => Some(self.any_register(part)?),
            };
            if slot.is_some_and(|slot| slot.bits() < ty.bits() && ty.bits() != 8) {
                return self.error("a register narrower than its type");
            }
            values.push(slot);
        }
        let (base, offset, symbol) = self.address(place)?;
        let (space, hidden) = match (space, symbol) {
            // Parameters of a call live in local memory.
            (Space::Param, Some(Symbol::Local(_, hidden))) => (Space::Local, hidden),
            (Space::Generic, Some(Symbol::Shared(_) | Symbol::DynamicShared)) => (Space::Shared, false),
            (Space::Generic, Some(Symbol::Local(_, hidden))) => (Space::Local, hidden),
            (space, _) => (space, false),
        };
        let signed = matches!(ty, Type::S(_));
        let access = Box::new(Access { space, order, bytes: ty.bytes(), signed, base, offset, values, hidden });
        self.push_bare(if store { Op::Store(access) } else { Op::Load(access) });
        Ok(())
    }

    fn atomic(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let order = match words.take_of(&["relaxed", "acquire", "release", "acq_rel"]) {
            Some("acquire") => Order::Acquire,
            Some("release") => Order::Release,
            Some("acq_rel") => Order::AcquireRelease,
            _ => Order::Relaxed,
        };
        words.take_of(SCOPES);
        let space = self.space(words);
        let change = match words.need_of(&["add", "min", "max", "and", "or", "xor", "exch", "cas", "inc", "dec"])? {
            "add" => Change::Add,
            "min" => Change::Min,
            "max" => Change::Max,
            "and" => Change::And,
            "or" => Change::Or,
            "xor" => Change::Xor,
            "exch" => Change::Exchange,
            "cas" => Change::CompareAndSwap,
            "inc" => Change::Increment,
            _ => Change::Decrement,
        };
        words.take("noftz");
        let ty = words.ty()?;
        let float = matches!(ty, Type::F(_) | Type::F16x2 | Type::Bf16 | Type::Bf16x2);
        if float && !matches!(change, Change::Add | Change::Exchange)
            || ty.bits() < 16
            || words.name == "red" && change == Change::Exchange
        {
            return words.unknown();
        }
        let fetch = usize::from(words.name == "atom");
        self.count(operands, fetch + 2 + usize::from(change == Change::CompareAndSwap))?;
        let result = match &operands[0] {
            Operand::Name("_") => None,
            operand if fetch == 1 => Some(self.destination(operand, ty.bits())?),
            _ => None,
        };
        let (base, offset, _) = self.address(&operands[fetch])?;
        let value = self.source(&operands[fetch + 1], ty)?;
        let swap = operands.get(fetch + 2).map_or(Ok(NONE), |operand| self.source(operand, ty))?;
        self.push_bare(Op::Atomic(Box::new(Atomic { space, order, change, ty, base, offset, value, swap, result })));
        Ok(())
    }

    /// `cp.async` and its waits.
    fn copy(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        if !words.take("async") {
            return words.unknown();
        }
        if words.take("commit_group") {
            self.push_bare(Op::Commit);
            return self.count(operands, 0);
        }
        if words.take("wait_all") {
            self.push_bare(Op::WaitAll);
            return self.count(operands, 0);
        }
        if words.take("wait_group") {
            let [Operand::Integer(open)] = operands else {
                return self.error("the number of groups that may stay open");
            };
            self.push_bare(Op::Wait(*open as u32));
            return Ok(());
        }
        let cache = words.need_of(&["ca", "cg"])?;
        if words.take_of(SHARED).is_none() || !words.take("global") {
            return words.unknown();
        }
        while words.take_prefixed("L2::").is_some() {}
        let (to, to_offset, _) = self.address(operands.first().unwrap_or(&Operand::Integer(0)))?;
        let (from, from_offset, _) = self.address(operands.get(1).unwrap_or(&Operand::Integer(0)))?;
        let bytes = match operands.get(2) {
            Some(&Operand::Integer(bytes @ (4 | 8 | 16))) if cache == "ca" || bytes == 16 => bytes as u32,
            other => return self.error(format!("a size of 4, 8 or 16 bytes (16 for .cg), found {other:?}")),
        };
        let (mut source, mut ignore) = (None, None);
        match operands.get(3) {
            Some(operand @ (Operand::Integer(_) | Operand::Name(_))) => {
                let is_predicate =
                    matches!(operand, Operand::Name(name) if matches!(self.symbol(name), Some(Symbol::Predicate(_))));
                if is_predicate {
                    ignore = Some(self.truth(operand)?);
                } else {
                    source = Some(self.source(operand, Type::U(32))?);
                }
            }
            Some(operand) => ignore = Some(self.truth(operand)?),
            None => {}
        }
        self.push_bare(Op::Copy(Box::new(AsyncCopy { to, to_offset, from, from_offset, bytes, source, ignore })));
        Ok(())
    }

    fn matrices(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let fixed = ["sync", "aligned", "m8n8"].into_iter().all(|word| words.take(word));
        let count = match words.need_of(&["x1", "x2", "x4"])? {
            "x1" => 1,
            "x2" => 2,
            _ => 4,
        };
        let transposed = words.take("trans");
        let space = self.space(words);
        if !fixed || words.ty()? != Type::B(16) {
            return words.unknown();
        }
        self.count(operands, 2)?;
        let parts = match &operands[0] {
            Operand::Vector(parts) => parts.as_slice(),
            one => std::slice::from_ref(one),
        };
        if parts.len() != count {
            return words.unknown();
        }
        let registers: Decoded<Vec<_>> = parts.iter().map(|part| self.destination(part, 32)).collect();
        let (base, offset, symbol) = self.address(&operands[1])?;
        let space =
            if matches!(symbol, Some(Symbol::Shared(_) | Symbol::DynamicShared)) { Space::Shared } else { space };
        self.push_bare(Op::Matrices(Box::new(Matrices { registers: registers?, transposed, space, base, offset })));
        Ok(())
    }

    /// `cvta[.to].space`: addresses of spaces lie in windows of the generic ones.
    fn between_spaces(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let to = words.take("to");
        let window = match self.space(words) {
            Space::Shared => SHARED_WINDOW,
            Space::Local => LOCAL_WINDOW,
            Space::Param => PARAM_WINDOW,
            Space::Global => 0,
            Space::Generic => return words.unknown(),
        };
        let ty = words.ty()?;
        self.count(operands, 2)?;
        let d = self.destination(&operands[0], ty.bits())?;
        let a = match operands[1] {
            Operand::Name(name) => match self.symbol(name) {
                Some(Symbol::Register(slot)) => slot,
                Some(symbol) => self.address_of(symbol).unwrap_or(NONE),
                None => return self.error(format!("`{name}` is not declared")),
            },
            _ => return self.error("a register or a variable is needed"),
        };
        if ty.bits() != 64 || !a.is_wide() {
            return words.unknown();
        }
        let shift = self.constant(if to { window.wrapping_neg() } else { window }, 64);
        if let crate::instr::Function::Wide(add) = wide!(|a, b, _| a.wrapping_add(b)) {
            self.push(Op::Wide(add), d, [a, shift, NONE]);
        }
        Ok(())
    }

    fn is_space(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let space = self.space(words);
        self.count(operands, 2)?;
        let Operand::Name(name) = operands[0] else { return self.error("a predicate is needed") };
        let (p, a) = (self.predicate(name)?, self.source(&operands[1], Type::U(64))?);
        let guard = Guard::ALWAYS;
        debug_assert!(guard == Guard::ALWAYS && space != Space::Generic);
        self.push(Op::IsSpace(space, p), NONE, [a, NONE, NONE]);
        Ok(())
    }
}
