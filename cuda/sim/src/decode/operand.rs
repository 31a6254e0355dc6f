//! Names and operands: registers, constants, special registers, addresses.

use super::{Builder, Decoded, Symbol};
use crate::instr::{Guard, Slot, Special, Start};
use crate::parse::syntax::{Home, Operand, Type};

impl<'a> Builder<'a, '_> {
    /// What a name means, from the innermost scope outward.
    pub(super) fn symbol(&mut self, name: &'a str) -> Option<Symbol> {
        let mut found = None;
        for (depth, scope) in self.scopes.iter().enumerate().rev() {
            if let Some(&symbol) = scope.symbols.get(name) {
                return Some(symbol);
            }
            let range = scope.ranges.iter().find(|(prefix, count, _)| {
                let digits = name
                    .strip_prefix(prefix)
                    .filter(|rest| !rest.is_empty() && (*rest == "0" || !rest.starts_with('0')));
                digits.and_then(|digits| digits.parse::<u32>().ok()).is_some_and(|index| index < *count)
            });
            if let Some(&(_, _, ty)) = range {
                found = Some((depth, ty));
                break;
            }
            if scope.root {
                break;
            }
        }
        if let Some((depth, ty)) = found {
            let symbol = self.register(ty);
            self.scopes[depth].symbols.insert(name, symbol);
            return Some(symbol);
        }
        self.module_symbol(name)
    }

    fn module_symbol(&mut self, name: &'a str) -> Option<Symbol> {
        let variable = self.text.variables.iter().find(|variable| variable.name == name)?;
        match variable.home {
            Home::Shared if variable.external => Some(self.dynamic_shared(variable.align)),
            Home::Shared => {
                if let Some(&address) = self.shared_of.get(name) {
                    return Some(Symbol::Shared(address));
                }
                let address = self.place_shared(variable.size, variable.align);
                self.shared_of.insert(name, address);
                Some(Symbol::Shared(address))
            }
            _ => self.shelf.globals.iter().position(|global| global.name == name).map(Symbol::Global),
        }
    }

    /// A constant of 64 bits or fewer.
    pub(super) fn constant(&mut self, value: u64, bits: u32) -> Slot {
        let value = if bits == 64 { value } else { value & ((1 << bits) - 1) };
        let wide = bits == 64;
        if let Some(&slot) = self.constants.get(&(value, wide)) {
            return Slot::new(slot.plane(), bits);
        }
        let slot = self.pinned(if wide { 64 } else { 32 });
        self.starts.push((slot.plane(), Start::Constant(value as u32)));
        if wide {
            self.starts.push((slot.plane() + 1, Start::Constant((value >> 32) as u32)));
        }
        self.constants.insert((value, wide), slot);
        Slot::new(slot.plane(), bits)
    }

    fn special(&mut self, special: Special) -> Slot {
        if let Some(&slot) = self.specials.get(&special) {
            return slot;
        }
        let slot = self.pinned(32);
        self.starts.push((slot.plane(), Start::Special(special)));
        self.specials.insert(special, slot);
        slot
    }

    /// The plane of a special register, if `name` is one that stays the same.
    pub(super) fn special_register(&mut self, name: &str) -> Option<Slot> {
        let (base, axis) = match name.rsplit_once('.') {
            Some((base, axis)) => (base, ["x", "y", "z"].iter().position(|&other| other == axis)?),
            None => (name, 3),
        };
        let special = match (base, axis) {
            ("%tid", ..3) => Special::ThreadId(axis),
            ("%ntid", ..3) => Special::BlockSize(axis),
            ("%ctaid", ..3) => Special::BlockId(axis),
            ("%nctaid", ..3) => Special::GridSize(axis),
            ("%laneid", 3) => Special::Lane,
            ("%warpid", 3) => Special::WarpId,
            ("%nwarpid", 3) => Special::WarpCount,
            ("%lanemask_eq", 3) => Special::LaneMaskEqual,
            ("%lanemask_lt", 3) => Special::LaneMaskLess,
            ("%lanemask_le", 3) => Special::LaneMaskLessEqual,
            ("%lanemask_gt", 3) => Special::LaneMaskGreater,
            ("%lanemask_ge", 3) => Special::LaneMaskGreaterEqual,
            ("%dynamic_smem_size", 3) => Special::DynamicShared,
            ("%total_smem_size", 3) => Special::TotalShared,
            ("WARP_SZ", 3) => return Some(self.constant(32, 32)),
            _ => return None,
        };
        Some(self.special(special))
    }

    /// A register of `bits` bits to be written.
    pub(super) fn destination(&mut self, operand: &Operand<'a>, bits: u32) -> Decoded<Slot> {
        let slot = self.any_register(operand)?;
        if slot.bits() == bits {
            Ok(slot)
        } else {
            self.error(format!("a register of {} bits where {bits} are needed", slot.bits()))
        }
    }

    /// A register of any width.
    pub(super) fn any_register(&mut self, operand: &Operand<'a>) -> Decoded<Slot> {
        let Operand::Name(name) = operand else { return self.error(format!("{operand:?} where a register is needed")) };
        match self.symbol(name) {
            Some(Symbol::Register(slot)) => Ok(slot),
            Some(_) => self.error(format!("`{name}` is no register that holds a number")),
            None => self.error(format!("`{name}` is not declared")),
        }
    }

    /// A register or a constant of the type's width.
    pub(super) fn source(&mut self, operand: &Operand<'a>, ty: Type) -> Decoded<Slot> {
        let bits = ty.bits();
        let slot = self.any_source(operand, ty)?;
        if slot.bits() == bits || bits == 8 {
            Ok(slot)
        } else {
            self.error(format!("a value of {} bits where {bits} are needed", slot.bits()))
        }
    }

    /// A register of any width, or a constant of the type's.
    pub(super) fn any_source(&mut self, operand: &Operand<'a>, ty: Type) -> Decoded<Slot> {
        let bits = ty.bits();
        match *operand {
            Operand::Integer(value) => Ok(self.constant(value, bits)),
            Operand::Single(value) if bits == 64 => Ok(self.constant(f64::from(f32::from_bits(value)).to_bits(), 64)),
            Operand::Single(value) if bits == 32 => Ok(self.constant(u64::from(value), 32)),
            Operand::Double(value) if bits == 64 => Ok(self.constant(value, 64)),
            Operand::Double(value) if bits == 32 => {
                Ok(self.constant(u64::from((f64::from_bits(value) as f32).to_bits()), 32))
            }
            Operand::Name(name) => match self.special_register(name) {
                Some(slot) => Ok(slot),
                None => self.any_register(operand),
            },
            _ => self.error(format!("{operand:?} where a value of {bits} bits is needed")),
        }
    }

    /// Index of a predicate register.
    pub(super) fn predicate(&mut self, name: &'a str) -> Decoded<usize> {
        match self.symbol(name) {
            Some(Symbol::Predicate(index)) => Ok(index),
            Some(_) => self.error(format!("`{name}` is no predicate")),
            None => self.error(format!("the predicate `{name}` is not declared")),
        }
    }

    /// `p`, `!p` or a constant truth.
    pub(super) fn truth(&mut self, operand: &Operand<'a>) -> Decoded<Guard> {
        match *operand {
            Operand::Name(name) => Ok(Guard::new(self.predicate(name)?, false)),
            Operand::Not(name) => Ok(Guard::new(self.predicate(name)?, true)),
            Operand::Integer(value) => Ok(Guard::new(0, value == 0)),
            _ => self.error(format!("{operand:?} where a predicate is needed")),
        }
    }

    /// Index of a predicate to be written; `None` for `_`.
    pub(super) fn truth_destination(&mut self, name: &'a str) -> Decoded<Option<usize>> {
        if name == "_" { Ok(None) } else { self.predicate(name).map(Some) }
    }

    /// The address of a variable, in its own space.
    pub(super) fn address_of(&mut self, symbol: Symbol) -> Option<Slot> {
        Some(match symbol {
            Symbol::Param(offset) => self.constant(offset, 64),
            Symbol::Shared(address) => self.constant(u64::from(address), 64),
            Symbol::Local(address, _) => self.constant(u64::from(address), 64),
            Symbol::DynamicShared => match self.dynamic {
                Some(slot) => slot,
                None => {
                    let slot = self.pinned(64);
                    self.dynamic = Some(slot);
                    slot
                }
            },
            Symbol::Global(index) => {
                if let Some(&slot) = self.address_of.get(&index) {
                    return Some(slot);
                }
                let slot = self.pinned(64);
                self.addresses.push((slot.plane(), index));
                self.address_of.insert(index, slot);
                slot
            }
            Symbol::Register(_) | Symbol::Predicate(_) => return None,
        })
    }

    /// `[base + offset]`: where the base is, and the symbol if it is a variable.
    pub(super) fn address(&mut self, operand: &Operand<'a>) -> Decoded<(Slot, i64, Option<Symbol>)> {
        let Operand::Address(base, offset) = *operand else {
            return self.error(format!("{operand:?} where an address in brackets is needed"));
        };
        let Some(name) = base else { return Ok((self.constant(0, 64), offset, None)) };
        match self.symbol(name) {
            Some(Symbol::Register(slot)) if slot.bits() >= 32 => Ok((slot, offset, None)),
            Some(symbol) => match self.address_of(symbol) {
                Some(slot) => Ok((slot, offset, Some(symbol))),
                None => self.error(format!("`{name}` holds no address")),
            },
            None => self.error(format!("`{name}` is not declared")),
        }
    }

    /// Exactly `count` operands.
    pub(super) fn count(&self, operands: &[Operand<'a>], count: usize) -> Decoded<()> {
        if operands.len() == count {
            Ok(())
        } else {
            self.error(format!("{} operands where {count} are needed", operands.len()))
        }
    }
}
