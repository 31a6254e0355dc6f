//! Numbers to numbers: integers, floats, conversions, comparisons, selections, moves.

use super::words::Words;
use super::{Builder, Decoded, Symbol};
use crate::instr::{Carry, FourFn, Function, Guard, Join, Logic, Op, Slot, Test};
use crate::ops::convert::{Convert, format};
use crate::ops::float::{FloatOp, Kind};
use crate::ops::half::HalfOp;
use crate::ops::round::{BF16, F16, Round};
use crate::ops::{float, half, int};
use crate::parse::syntax::{Operand, Type};

const NONE: Slot = Slot::ZERO;

impl<'a> Builder<'a, '_> {
    /// Arithmetic named by its opcode; false if it is none.
    pub(super) fn arithmetic(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<bool> {
        if matches!(words.name, "and" | "or" | "xor" | "not") && words.take("pred") {
            self.logic(words, operands)?;
            return Ok(true);
        }
        let carries = matches!(words.name, "add" | "sub" | "mad") && words.take_of(&["cc"]).is_some();
        if carries || matches!(words.name, "addc" | "subc" | "madc") {
            self.carry(words, carries, operands)?;
            return Ok(true);
        }
        match words.name {
            "setp" | "set" => self.test(words, operands)?,
            "testp" => self.classify(words, operands)?,
            "selp" => self.select(words, operands)?,
            "slct" => self.select_sign(words, operands)?,
            "cvt" => self.convert(words, operands)?,
            "mov" => self.mov(words, operands)?,
            "shf" => {
                let side = words.need_of(&["l", "r"])?;
                let mode = words.need_of(&["wrap", "clamp"])?;
                words.ty()?;
                let function = int::funnel(&format!("{side}.{mode}"));
                self.plain(words, function, operands, &[Type::B(32); 4])?;
            }
            "prmt" => {
                words.ty()?;
                let mode = words.take_of(&["f4e", "b4e", "rc8", "ecl", "ecr", "rc16"]).unwrap_or_default();
                self.plain(words, int::permute(mode), operands, &[Type::B(32); 4])?;
            }
            "dp4a" => {
                let (a, b) = (words.ty()?, words.ty()?);
                self.plain(words, int::dot4(a, b), operands, &[Type::B(32); 4])?;
            }
            "bfi" | "lop3" => self.four(words, operands)?,
            "copysign" => {
                let ty = words.ty()?;
                self.plain(words, float::copysign(ty.bits()), operands, &[ty; 3])?;
            }
            _ => return self.by_type(words, operands),
        }
        Ok(true)
    }

    /// `name[.half].type`: the type decides.
    fn by_type(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<bool> {
        const NAMES: &[&str] = &[
            "add", "sub", "mul", "mad", "mul24", "div", "rem", "min", "max", "abs", "neg", "and", "or", "xor", "not",
            "cnot", "shl", "shr", "brev", "popc", "clz", "bfind", "bfe", "sad", "fma", "sqrt", "rcp", "rsqrt", "sin",
            "cos", "ex2", "lg2", "tanh",
        ];
        if !NAMES.contains(&words.name) {
            return Ok(false);
        }
        let ty = words.ty()?;
        match ty {
            Type::F(32) | Type::F(64) => self.float(words, ty, operands)?,
            Type::F(16) | Type::F16x2 | Type::Bf16 | Type::Bf16x2 => self.half(words, ty, operands)?,
            _ => self.integer(words, ty, operands)?,
        }
        Ok(true)
    }

    /// Pushes a function from sources to a destination; `types` are the destination's and the sources'.
    fn plain(
        &mut self,
        words: &Words<'a>,
        function: Option<Function>,
        operands: &[Operand<'a>],
        types: &[Type],
    ) -> Decoded<()> {
        let Some(function) = function else { return words.unknown() };
        self.count(operands, types.len())?;
        let d = self.destination(&operands[0], types[0].bits())?;
        let mut sources = [NONE; 3];
        for (index, (operand, &ty)) in operands.iter().zip(types).skip(1).enumerate() {
            sources[index] = self.source(operand, ty)?;
        }
        self.push_function(function, d, sources);
        Ok(())
    }

    fn push_function(&mut self, function: Function, d: Slot, sources: [Slot; 3]) {
        match function {
            Function::Plane(function) => self.push(Op::Plane(function), d, sources),
            Function::Wide(function) => self.push(Op::Wide(function), d, sources),
        }
    }

    fn integer(&mut self, words: &mut Words<'a>, ty: Type, operands: &[Operand<'a>]) -> Decoded<()> {
        let name = words.name;
        let shift = Type::U(32);
        match name {
            "mul" | "mad" if words.take("wide") => {
                let double = Type::B(2 * ty.bits() as u8);
                let types = [double, ty, ty, double];
                let types = if name == "mul" { &types[..3] } else { &types };
                return self.plain(words, int::widening(ty), operands, types);
            }
            _ => {}
        }
        let half = match name {
            "mul" | "mad" | "mul24" => words.need_of(&["lo", "hi"])?,
            "add" | "sub" => words.take_of(&["sat"]).unwrap_or_default(),
            "bfind" => words.take_of(&["shiftamt"]).unwrap_or_default(),
            _ => "",
        };
        let op = if half.is_empty() { name.to_owned() } else { format!("{name}.{half}") };
        let function = int::same_width(&op, ty);
        let types: &[Type] = match name {
            "shl" | "shr" => &[ty, ty, shift],
            "popc" | "clz" | "bfind" => &[shift, ty],
            "bfe" => &[ty, ty, shift, shift],
            "mad" | "sad" => &[ty; 4],
            "abs" | "neg" | "not" | "cnot" | "brev" => &[ty; 2],
            _ => &[ty; 3],
        };
        self.plain(words, function, operands, types)
    }

    fn float(&mut self, words: &mut Words<'a>, ty: Type, operands: &[Operand<'a>]) -> Decoded<()> {
        let Some(mut kind) = Kind::named(words.name) else { return words.unknown() };
        let round = words.round();
        let (approximate, flush) = (words.take("approx") || words.take("full"), words.take("ftz"));
        let saturate = words.take("sat");
        if words.take("NaN") {
            kind = match kind {
                Kind::Min => Kind::MinNan,
                Kind::Max => Kind::MaxNan,
                _ => return words.unknown(),
            };
        }
        let transcendental = matches!(kind, Kind::Rsqrt | Kind::Sin | Kind::Cos | Kind::Exp2 | Kind::Log2 | Kind::Tanh);
        let inexact = transcendental || matches!(kind, Kind::Div | Kind::Sqrt | Kind::Rcp);
        let needs_round = matches!(kind, Kind::Fma | Kind::Div | Kind::Sqrt | Kind::Rcp);
        if approximate && (!inexact || round.is_some())
            || transcendental && !approximate
            || needs_round && !approximate && round.is_none()
        {
            return words.unknown();
        }
        let op = FloatOp { kind, round: round.unwrap_or(Round::Nearest), flush, saturate };
        let types = &[ty; 4][..kind.operands() + 1];
        if ty == Type::F(64) {
            if op.round != Round::Nearest || saturate || flush && !approximate {
                return words.unknown();
            }
            return self.plain(words, float::double(kind), operands, types);
        }
        match float::fast(op) {
            Some(function) => self.plain(words, Some(function), operands, types),
            None => self.described(Op::Float(op), operands, types),
        }
    }

    fn half(&mut self, words: &mut Words<'a>, ty: Type, operands: &[Operand<'a>]) -> Decoded<()> {
        let Some(mut kind) = Kind::named(words.name) else { return words.unknown() };
        let known = matches!(kind, Kind::Exp2 | Kind::Tanh | Kind::Min | Kind::Max | Kind::Abs | Kind::Neg)
            || matches!(kind, Kind::Add | Kind::Sub | Kind::Mul | Kind::Fma);
        let nearest = matches!(words.round(), None | Some(Round::Nearest));
        if !known || !nearest {
            return words.unknown();
        }
        if words.take("NaN") {
            kind = match kind {
                Kind::Min => Kind::MinNan,
                Kind::Max => Kind::MaxNan,
                _ => return words.unknown(),
            };
        }
        words.take("approx");
        let brain = matches!(ty, Type::Bf16 | Type::Bf16x2);
        let pair = matches!(ty, Type::F16x2 | Type::Bf16x2);
        let (flush, saturate, relu) = (words.take("ftz"), words.take("sat"), words.take("relu"));
        let types = &[ty; 4][..kind.operands() + 1];
        self.described(Op::Half(HalfOp { kind, brain, pair, flush, saturate, relu }), operands, types)
    }

    fn described(&mut self, op: Op, operands: &[Operand<'a>], types: &[Type]) -> Decoded<()> {
        self.count(operands, types.len())?;
        let d = self.destination(&operands[0], types[0].bits())?;
        let mut sources = [NONE; 3];
        for (index, (operand, &ty)) in operands.iter().zip(types).skip(1).enumerate() {
            sources[index] = self.source(operand, ty)?;
        }
        self.push(op, d, sources);
        Ok(())
    }

    fn four(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let ty = words.ty()?;
        self.count(operands, 5)?;
        let d = self.destination(&operands[0], ty.bits())?;
        let (a, b) = (self.source(&operands[1], ty)?, self.source(&operands[2], ty)?);
        let last = self.source(&operands[4], Type::U(32))?;
        let (third, function): (_, FourFn) = match (words.name, ty.bits()) {
            ("bfi", 32) => (Type::U(32), |a, b, c, d| int::insert(a, b, c, d, 32)),
            ("bfi", 64) => (Type::U(32), |a, b, c, d| int::insert(a, b, c, d, 64)),
            ("lop3", 32) => (ty, int::logic3),
            _ => return words.unknown(),
        };
        let c = self.source(&operands[3], third)?;
        self.push(Op::Four(function, last), d, [a, b, c]);
        Ok(())
    }

    fn carry(&mut self, words: &mut Words<'a>, flagged: bool, operands: &[Operand<'a>]) -> Decoded<()> {
        let (name, last) = (words.name, flagged || words.take("cc"));
        let product = if name.starts_with("mad") { Some(words.need_of(&["lo", "hi"])? == "hi") } else { None };
        let ty = words.ty()?;
        if ty.bits() != 32 {
            return words.unknown();
        }
        let read = name.ends_with('c'); // addc, subc, madc
        let carry = Carry {
            subtract: name.starts_with("sub"),
            read,
            write: last || !read,
            product,
            signed: matches!(ty, Type::S(_)),
        };
        let count = if product.is_some() { 4 } else { 3 };
        self.described(Op::Carry(carry), operands, &[ty; 4][..count])
    }

    /// `setp.cmp[.bool][.ftz].type p[|q], a, b[, c]`, and `set` to a register.
    fn test(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        const COMPARISONS: &[&str] = &[
            "eq", "ne", "lt", "le", "gt", "ge", "lo", "ls", "hi", "hs", "equ", "neu", "ltu", "leu", "gtu", "geu",
            "num", "nan",
        ];
        let op = words.need_of(COMPARISONS)?;
        let flush = words.take("ftz");
        let join = match words.take_of(&["and", "or", "xor"]) {
            Some("and") => Join::And,
            Some("or") => Join::Or,
            Some(_) => Join::Xor,
            None => Join::Only,
        };
        let result = if words.name == "set" { Some(words.ty()?) } else { None };
        let ty = words.ty()?;
        let compare = match ty {
            Type::F(16) if !flush && words.name == "setp" => half::compare(op, F16),
            Type::Bf16 if !flush && words.name == "setp" => half::compare(op, BF16),
            Type::F(bits @ (32 | 64)) => float::compare(op, u32::from(bits), flush),
            _ if flush => None,
            _ => int::compare(op, ty),
        };
        let Some(compare) = compare else { return words.unknown() };
        self.count(operands, if join == Join::Only { 3 } else { 4 })?;
        let (a, b) = (self.source(&operands[1], ty)?, self.source(&operands[2], ty)?);
        let other = if join == Join::Only { Guard::ALWAYS } else { self.truth(&operands[3])? };
        let (mut p, mut q, mut register) = (None, None, None);
        match (result, &operands[0]) {
            (None, Operand::Name(name)) => p = self.truth_destination(name)?,
            (None, Operand::Pair(first, second)) => {
                p = self.truth_destination(first)?;
                q = self.truth_destination(second)?;
            }
            (Some(result), operand) if result.bits() == 32 => {
                let one = if result == Type::F(32) { 1f32.to_bits() } else { u32::MAX };
                register = Some((self.destination(operand, 32)?, one));
            }
            _ => return words.unknown(),
        }
        self.push(Op::Test(Box::new(Test { compare, p, q, join, other, register })), NONE, [a, b, NONE]);
        Ok(())
    }

    fn classify(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let op = words.need_of(&["finite", "infinite", "number", "notanumber", "normal", "subnormal"])?;
        let ty = words.ty()?;
        let Some(compare) = float::test(op, ty.bits()) else { return words.unknown() };
        self.count(operands, 2)?;
        let Operand::Name(name) = operands[0] else { return self.error("a predicate is needed") };
        let (p, a) = (self.truth_destination(name)?, self.source(&operands[1], ty)?);
        let test = Test { compare, p, q: None, join: Join::Only, other: Guard::ALWAYS, register: None };
        self.push(Op::Test(Box::new(test)), NONE, [a, NONE, NONE]);
        Ok(())
    }

    fn select(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let ty = words.ty()?;
        self.count(operands, 4)?;
        let d = self.destination(&operands[0], ty.bits())?;
        let (a, b) = (self.source(&operands[1], ty)?, self.source(&operands[2], ty)?);
        let guard = self.truth(&operands[3])?;
        self.push(Op::Select(guard), d, [a, b, NONE]);
        Ok(())
    }

    fn select_sign(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let (ty, by) = (words.ty()?, words.ty()?);
        if by.bits() != 32 {
            return words.unknown();
        }
        self.described(Op::SelectSign(by == Type::F(32)), operands, &[ty, ty, ty, by])
    }

    fn logic(&mut self, words: &Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let logic = match words.name {
            "and" => Logic::And,
            "or" => Logic::Or,
            "xor" => Logic::Xor,
            _ => Logic::Not,
        };
        self.count(operands, if logic == Logic::Not { 2 } else { 3 })?;
        let Operand::Name(name) = operands[0] else { return self.error("a predicate is needed") };
        let (d, a) = (self.predicate(name)?, self.truth(&operands[1])?);
        let b = operands.get(2).map_or(Ok(Guard::ALWAYS), |operand| self.truth(operand))?;
        self.push_bare(Op::Logic(logic, d, a, b));
        Ok(())
    }

    fn convert(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let whole = words.take_of(&["rni", "rzi", "rmi", "rpi"]);
        let away = words.take("rna");
        let stated = words.round();
        let round = match whole {
            Some("rni") => Some(Round::Nearest),
            Some("rzi") => Some(Round::Zero),
            Some("rmi") => Some(Round::Down),
            Some(_) => Some(Round::Up),
            None if away => Some(Round::Away),
            None => stated,
        };
        let (flush, saturate, relu) = (words.take("ftz"), words.take("sat"), words.take("relu"));
        words.take("satfinite");
        let (to, from) = (words.ty()?, words.ty()?);
        let convert =
            Convert { to, from, round: round.unwrap_or(Round::Zero), whole: whole.is_some(), saturate, flush, relu };
        let narrowing = match (format(from), format(to)) {
            (Some(from), Some(to)) => from.fraction > to.fraction || from.exponent > to.exponent,
            (None, None) => false,
            _ => true,
        };
        let types_known =
            from != Type::Pred && to != Type::Pred && !matches!(from, Type::Tf32 | Type::F16x2 | Type::Bf16x2);
        if narrowing && round.is_none()
            || !types_known
            || away && to != Type::Tf32
            || stated.is_some() && whole.is_some()
        {
            return words.unknown();
        }
        if matches!(to, Type::F16x2 | Type::Bf16x2) {
            if from != Type::F(32) {
                return words.unknown();
            }
            return self.described(Op::ConvertPair(convert), operands, &[to, from, from]);
        }
        self.count(operands, 2)?;
        // Registers may be wider than the types.
        let (d, a) = (self.any_register(&operands[0])?, self.any_source(&operands[1], from)?);
        if d.bits() < to.bits() || a.bits() < from.bits() && from.bits() != 8 {
            return self.error("a register narrower than its type");
        }
        match convert.fast() {
            Some(function) => self.push_function(function, d, [a, NONE, NONE]),
            None => self.push(Op::Convert(convert), d, [a, NONE, NONE]),
        }
        Ok(())
    }

    /// `mov`: registers, constants, addresses, packing and unpacking, predicates.
    fn mov(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let ty = words.ty()?;
        self.count(operands, 2)?;
        match (&operands[0], &operands[1]) {
            (Operand::Vector(parts), from) => {
                let bits = ty.bits() / parts.len() as u32;
                let from = self.source(from, ty)?;
                let parts: Decoded<Vec<_>> = parts.iter().map(|part| self.part(part, bits)).collect();
                self.push(Op::Unpack(bits, parts?), NONE, [from, NONE, NONE]);
                Ok(())
            }
            (to, Operand::Vector(parts)) => {
                let bits = ty.bits() / parts.len() as u32;
                let to = self.destination(to, ty.bits())?;
                let parts: Decoded<Vec<_>> = parts.iter().map(|part| self.source(part, Type::B(bits as u8))).collect();
                self.push(Op::Pack(bits, parts?), to, [NONE; 3]);
                Ok(())
            }
            (Operand::Name(to), from) if ty == Type::Pred => {
                let (d, a) = (self.predicate(to)?, self.truth(from)?);
                self.push_bare(Op::Logic(Logic::Move, d, a, Guard::ALWAYS));
                Ok(())
            }
            (to, from) => {
                let d = self.destination(to, ty.bits())?;
                if matches!(from, Operand::Name("%clock" | "%clock_hi" | "%clock64" | "%globaltimer")) {
                    self.push(Op::Clock, d, [NONE; 3]);
                    return Ok(());
                }
                let a = self.value_or_address(from, ty)?;
                let bits = Type::B(ty.bits() as u8);
                let Some(function) = int::same_width("mov", bits) else { return words.unknown() };
                self.push_function(function, d, [a, NONE, NONE]);
                Ok(())
            }
        }
    }

    fn part(&mut self, part: &Operand<'a>, bits: u32) -> Decoded<Option<Slot>> {
        if *part == Operand::Name("_") { Ok(None) } else { self.destination(part, bits).map(Some) }
    }

    fn value_or_address(&mut self, from: &Operand<'a>, ty: Type) -> Decoded<Slot> {
        if let Operand::Name(name) = *from
            && self.special_register(name).is_none()
        {
            match self.symbol(name) {
                Some(Symbol::Register(_)) => {}
                Some(symbol) => {
                    let Some(slot) = self.address_of(symbol) else {
                        return self.error(format!("`{name}` is a predicate"));
                    };
                    // In 32 bits: the low plane, which holds all of a shared or local address.
                    return Ok(if ty.bits() == 32 { Slot::new(slot.plane(), 32) } else { slot });
                }
                None => return self.error(format!("`{name}` is not declared")),
            }
        }
        self.source(from, ty)
    }
}
