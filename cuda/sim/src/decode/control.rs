//! What decides who runs: branches, calls, barriers, and what the lanes of a warp do together.

use super::words::Words;
use super::{Builder, Decoded, Patch, Scope, Symbol};
use crate::instr::{
    Barrier, Change, Element, Match, Op, Place, Product, Reduce, Redux, Shuffle, ShuffleMode, Slot, Vote, VoteMode,
};
use crate::parse::syntax::{Operand, Type};

const NONE: Slot = Slot::ZERO;

impl<'a> Builder<'a, '_> {
    /// Decodes one instruction.
    pub(super) fn instruction(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        if self.arithmetic(words, operands)? || self.memory(words, operands)? {
            return Ok(());
        }
        match words.name {
            "bra" => self.branch(words, operands),
            "brx" => self.table(words, operands),
            "ret" | "exit" => self.leave(words),
            "trap" | "brkpt" => {
                self.push_bare(Op::Trap("the kernel trapped".to_owned()));
                Ok(())
            }
            "call" => self.call(words, operands),
            "bar" | "barrier" => self.barrier(words, operands),
            "membar" | "fence" => self.fence(words),
            "shfl" => self.shuffle(words, operands),
            "vote" => self.vote(words, operands),
            "match" => self.matching(words, operands),
            "redux" => self.redux(words, operands),
            "activemask" => {
                words.ty()?;
                self.count(operands, 1)?;
                let d = self.destination(&operands[0], 32)?;
                self.push(Op::ActiveMask, d, [NONE; 3]);
                Ok(())
            }
            "mma" => self.product(words, operands),
            "wgmma" => self.group(words, operands),
            "nanosleep" | "pmevent" => {
                words.take("u32");
                self.push_bare(Op::Nothing);
                Ok(())
            }
            _ => words.unknown(),
        }
    }

    fn patch(&mut self, entry: usize, label: &'a str) {
        let (instruction, line) = (self.instructions.len() - 1, self.line);
        if let Some(scope) = self.scopes.last_mut() {
            scope.patches.push(Patch { instruction, entry, label, line });
        }
    }

    fn branch(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        words.take("uni");
        let [Operand::Name(label)] = operands else { return self.error("a label is needed") };
        self.push_bare(Op::Branch(0));
        self.patch(0, label);
        Ok(())
    }

    fn table(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        words.take("idx");
        words.take("uni");
        let [index, Operand::Name(name)] = operands else {
            return self.error("an index and a list of labels are needed");
        };
        let index = self.source(index, Type::U(32))?;
        let labels = self.scopes.iter().rev().find_map(|scope| scope.targets.get(name).cloned());
        let Some(labels) = labels else { return self.error(format!("no .branchtargets `{name}`")) };
        self.push(Op::Table(vec![0; labels.len()]), NONE, [index, NONE, NONE]);
        for (entry, label) in labels.into_iter().enumerate() {
            self.patch(entry, label);
        }
        Ok(())
    }

    fn leave(&mut self, words: &mut Words<'a>) -> Decoded<()> {
        words.take("uni");
        let returns = words.name == "ret";
        let depth = self.scopes.iter().rposition(|scope| scope.root).unwrap_or(0);
        if returns && self.scopes[depth].inlined {
            let here = self.instructions.len();
            self.push_bare(Op::Branch(0));
            self.scopes[depth].returns.push(here);
        } else {
            self.push_bare(Op::Exit);
        }
        Ok(())
    }

    /// `call.uni (results), name, (parameters);`: the body is expanded here.
    fn call(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        words.take("uni");
        let mut lists = Vec::new();
        let mut callee = None;
        for operand in operands {
            match operand {
                Operand::List(list) => lists.push(list.as_slice()),
                Operand::Name(name) if callee.is_none() => {
                    callee = Some(*name);
                    // Results come before the name, parameters after it.
                    if lists.is_empty() {
                        lists.push(&[]);
                    }
                }
                _ => return self.error("indirect calls are not supported"),
            }
        }
        let Some(callee) = callee else { return self.error("the name of a function is needed") };
        if callee == "__assertfail" {
            self.push_bare(Op::Trap("an assertion of the device failed".to_owned()));
            return Ok(());
        }
        let text = self.text;
        let functions = text.functions.iter().filter(|function| function.name == callee && !function.entry);
        let Some(function) = functions.clone().find(|function| function.body.is_some()) else {
            return self.error(format!("the function `{callee}` has no body here"));
        };
        if self.stack.contains(&callee) {
            return self.error(format!("`{callee}` calls itself: recursion is not supported"));
        }
        let formal = function.results.iter().chain(&function.params);
        let actual: Vec<_> = lists.iter().copied().flatten().collect();
        if formal.clone().count() != actual.len() {
            return self.error(format!("`{callee}` is called with {} parameters and results", actual.len()));
        }
        let mut scope = Scope { inlined: true, ..Scope::root() };
        for (variable, operand) in formal.zip(actual) {
            let Operand::Name(name) = operand else { return self.error("parameters of calls are variables") };
            match self.symbol(name) {
                Some(symbol @ Symbol::Local(..)) => scope.symbols.insert(variable.name, symbol),
                _ => return self.error(format!("`{name}` is no .param variable")),
            };
        }
        let (line, span, guard) = (self.line, self.span.clone(), self.guard);
        // Lanes whose guard does not hold pass the expansion by.
        let skip = self.instructions.len();
        self.push_bare(Op::Branch(skip as u32 + 2));
        self.guard = crate::instr::Guard::ALWAYS;
        self.push_bare(Op::Branch(0));
        self.stack.push(callee);
        self.scopes.push(scope);
        self.items(function.body.as_deref().unwrap_or_default())?;
        self.close()?;
        self.stack.pop();
        let end = self.instructions.len() as u32;
        self.instructions[skip + 1].op = Op::Branch(end);
        (self.line, self.span, self.guard) = (line, span, guard);
        Ok(())
    }

    fn barrier(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let aligned = words.take("aligned") || words.name == "bar";
        words.take("cta");
        if words.take("warp") {
            words.take("sync");
            self.count(operands, 1)?;
            let members = self.source(&operands[0], Type::B(32))?;
            self.push(Op::WarpSync, NONE, [members, NONE, NONE]);
            return Ok(());
        }
        let kind = words.need_of(&["sync", "arrive", "red"])?;
        let mut operands = operands.iter();
        let mut reduce = None;
        if kind == "red" {
            let how = match words.need_of(&["popc", "and", "or"])? {
                "popc" => Reduce::Count,
                "and" => Reduce::And,
                _ => Reduce::Or,
            };
            words.ty()?;
            let place = match operands.next() {
                Some(Operand::Name(name)) if how != Reduce::Count => Place::Predicate(self.predicate(name)?),
                Some(operand) => Place::Register(self.destination(operand, 32)?),
                None => return self.error("a destination is needed"),
            };
            let Some(last) = operands.next_back() else { return self.error("a predicate is needed") };
            reduce = Some((how, self.truth(last)?, place));
        }
        let Some(id) = operands.next() else { return self.error("the number of a barrier is needed") };
        let id = self.source(id, Type::U(32))?;
        let threads = operands.next().map(|operand| self.source(operand, Type::U(32))).transpose()?;
        let arrive = kind == "arrive";
        self.push_bare(Op::Barrier(Box::new(Barrier { id, threads, aligned, arrive, reduce })));
        Ok(())
    }

    fn fence(&mut self, words: &mut Words<'a>) -> Decoded<()> {
        if words.take("proxy") {
            words.need_of(&["async"])?;
            words.need_of(&["shared::cta"])?;
            self.push_bare(Op::ProxyFence);
            return Ok(());
        }
        words.take_of(&["sc", "acq_rel", "acquire", "release"]);
        let scope = words.need_of(&["cta", "gl", "gpu", "sys", "cluster"])?;
        self.push_bare(Op::Fence(!matches!(scope, "cta")));
        Ok(())
    }

    fn shuffle(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let sync = words.take("sync");
        let mode = match words.need_of(&["up", "down", "bfly", "idx"])? {
            "up" => ShuffleMode::Up,
            "down" => ShuffleMode::Down,
            "bfly" => ShuffleMode::Butterfly,
            _ => ShuffleMode::Index,
        };
        if !sync || words.ty()?.bits() != 32 {
            return words.unknown();
        }
        self.count(operands, 5)?;
        let (result, inside) = match operands[0] {
            Operand::Pair(result, inside) => {
                (self.destination(&Operand::Name(result), 32)?, self.truth_destination(inside)?)
            }
            _ => (self.destination(&operands[0], 32)?, None),
        };
        let [value, lane, clamp, members] = [1, 2, 3, 4].map(|at| self.source(&operands[at], Type::B(32)));
        let shuffle = Shuffle { mode, result, inside, value: value?, lane: lane?, clamp: clamp?, members: members? };
        self.push_bare(Op::Shuffle(Box::new(shuffle)));
        Ok(())
    }

    fn vote(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let sync = words.take("sync");
        let mode = match words.need_of(&["all", "any", "uni", "ballot"])? {
            "all" => VoteMode::All,
            "any" => VoteMode::Any,
            "uni" => VoteMode::Uniform,
            _ => VoteMode::Ballot,
        };
        if !sync {
            return words.unknown();
        }
        words.ty()?;
        self.count(operands, 3)?;
        let result = match operands[0] {
            Operand::Name(name) if mode != VoteMode::Ballot => Place::Predicate(self.predicate(name)?),
            _ => Place::Register(self.destination(&operands[0], 32)?),
        };
        let (value, members) = (self.truth(&operands[1])?, self.source(&operands[2], Type::B(32))?);
        self.push_bare(Op::Vote(Box::new(Vote { mode, result, value, members })));
        Ok(())
    }

    fn matching(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let all = words.need_of(&["any", "all"])? == "all";
        if !words.take("sync") {
            return words.unknown();
        }
        let ty = words.ty()?;
        self.count(operands, 3)?;
        let (result, equal) = match operands[0] {
            Operand::Pair(result, equal) => {
                (self.destination(&Operand::Name(result), 32)?, self.truth_destination(equal)?)
            }
            _ => (self.destination(&operands[0], 32)?, None),
        };
        let (value, members) = (self.source(&operands[1], ty)?, self.source(&operands[2], Type::B(32))?);
        self.push_bare(Op::Match(Box::new(Match { all, result, equal, value, members })));
        Ok(())
    }

    fn redux(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let sync = words.take("sync");
        let change = match words.need_of(&["add", "min", "max", "and", "or", "xor"])? {
            "add" => Change::Add,
            "min" => Change::Min,
            "max" => Change::Max,
            "and" => Change::And,
            "or" => Change::Or,
            _ => Change::Xor,
        };
        let ty = words.ty()?;
        if !sync || ty.bits() != 32 || matches!(ty, Type::F(_)) {
            return words.unknown();
        }
        self.count(operands, 3)?;
        let result = self.destination(&operands[0], 32)?;
        let (value, members) = (self.source(&operands[1], ty)?, self.source(&operands[2], Type::B(32))?);
        let signed = matches!(ty, Type::S(_));
        self.push_bare(Op::Redux(Box::new(Redux { change, signed, result, value, members })));
        Ok(())
    }

    /// `mma.sync.aligned.m16n8kK.row.col.dtype.atype.btype.ctype d, a, b, c`.
    fn product(&mut self, words: &mut Words<'a>, operands: &[Operand<'a>]) -> Decoded<()> {
        let fixed = ["sync", "aligned", "row", "col"].into_iter().all(|word| words.take(word));
        let k = match words.need_of(&["m16n8k4", "m16n8k8", "m16n8k16"])? {
            "m16n8k4" => 4,
            "m16n8k8" => 8,
            _ => 16,
        };
        let (d, a, b, c) = (words.ty()?, words.ty()?, words.ty()?, words.ty()?);
        let element = match a {
            Type::F(16) => Element::F16,
            Type::Bf16 => Element::Bf16,
            Type::Tf32 => Element::Tf32,
            _ => return words.unknown(),
        };
        let half = d == Type::F(16);
        let sizes = if element == Element::Tf32 { [4, 8] } else { [8, 16] };
        let accumulates = d == c && (d == Type::F(32) || half && element == Element::F16);
        if !fixed || a != b || !accumulates || !sizes.contains(&k) {
            return words.unknown();
        }
        self.count(operands, 4)?;
        let each = if element == Element::Tf32 { 1 } else { 2 };
        let lengths = [if half { 2 } else { 4 }, 16 * k / 32 / each, 8 * k / 32 / each, if half { 2 } else { 4 }];
        let mut fragments: [Vec<Slot>; 4] = Default::default();
        for (at, fragment) in fragments.iter_mut().enumerate() {
            let parts = match &operands[at] {
                Operand::Vector(parts) => parts.as_slice(),
                one => std::slice::from_ref(one),
            };
            if parts.len() != lengths[at] {
                return self.error(format!("a fragment of {} registers, expected {}", parts.len(), lengths[at]));
            }
            for part in parts {
                fragment.push(if at == 0 { self.destination(part, 32)? } else { self.source(part, Type::B(32))? });
            }
        }
        let [d, a, b, c] = fragments;
        self.push_bare(Op::Product(Box::new(Product { k, element, half, d, a, b, c })));
        Ok(())
    }
}
