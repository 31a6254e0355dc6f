//! From statements to instructions: names become places, opcodes functions. What is not known is an error, never
//! skipped.
//!
//! Device functions are expanded where they are called, and their parameters are the caller's variables of the call: no
//! stack, and recursion is refused.

mod allocate;
mod arithmetic;
mod control;
mod group;
mod memory;
mod operand;
mod target;
mod words;

use crate::fault::ParseError;
use crate::instr::{Guard, Instr, LOCAL_START, Op, Origin, SHARED_START, Slot, Special, Start};
use crate::kernel::{Code, Global, Kernel, Param, Shelf};
use crate::parse::syntax::{Function, Home, Item, Statement, Text, Type, Variable};
use std::collections::HashMap;
use std::sync::Arc;
use words::Words;

pub(crate) type Decoded<T> = Result<T, ParseError>;

/// All kernels of a text.
pub(crate) fn kernels(text: &Text<'_>, source: &str) -> Decoded<Vec<Kernel>> {
    let globals = text.variables.iter().filter(|variable| matches!(variable.home, Home::Global | Home::Const));
    let globals = globals.map(|variable| Global {
        name: variable.name.to_owned(),
        size: variable.size as usize,
        constant: variable.home == Home::Const,
        bytes: variable.bytes.clone().unwrap_or_default(),
    });
    let shelf = Arc::new(Shelf { globals: globals.collect(), source: source.to_owned() });
    let entries = text.functions.iter().filter(|function| function.entry);
    entries.map(|function| kernel(text, function, &shelf)).collect()
}

fn kernel(text: &Text<'_>, function: &Function<'_>, shelf: &Arc<Shelf>) -> Decoded<Kernel> {
    let mut params: Vec<Param> = Vec::new();
    for param in &function.params {
        let end = params.last().map_or(0, |last| last.offset + last.size);
        let align = param.align.max(1) as usize;
        let offset = end.next_multiple_of(align);
        params.push(Param { name: param.name.to_owned(), size: param.size as usize, align, offset });
    }
    let mut builder = Builder::new(text, shelf);
    builder.scopes.push(Scope::root());
    for (param, variable) in params.iter().zip(&function.params) {
        builder.declare(variable.name, Symbol::Param(param.offset as u64));
    }
    let body = function.body.as_deref().unwrap_or_default();
    builder.items(body)?;
    builder.push_at(function.line, 0..0, Op::Exit);
    builder.close()?;
    let (static_shared, local_bytes) = (builder.static_shared, builder.local_bytes);
    let code = Arc::new(builder.finish());
    let name = function.name.to_owned();
    Ok(Kernel {
        name,
        params,
        static_shared,
        local_bytes,
        max_threads: function.max_threads,
        code,
        shelf: shelf.clone(),
    })
}

/// What a name stands for.
#[derive(Clone, Copy, Debug)]
enum Symbol {
    Register(Slot),
    Predicate(usize),
    /// Offset in the kernel's parameters.
    Param(u64),
    Shared(u32),
    DynamicShared,
    /// Address in local memory; the flag marks parameters of calls.
    Local(u32, bool),
    /// Index in the shelf.
    Global(usize),
}

/// A place that waits for a label's position.
struct Patch<'a> {
    instruction: usize,
    /// Entry of a branch table.
    entry: usize,
    label: &'a str,
    line: u32,
}

#[derive(Default)]
struct Scope<'a> {
    /// A function's outermost scope: names and labels beyond are not seen.
    root: bool,
    symbols: HashMap<&'a str, Symbol>,
    ranges: Vec<(&'a str, u32, Type)>,
    labels: HashMap<&'a str, u32>,
    targets: HashMap<&'a str, Vec<&'a str>>,
    patches: Vec<Patch<'a>>,
    /// Instructions of an expanded function that return to its end.
    returns: Vec<usize>,
    inlined: bool,
}

impl Scope<'_> {
    fn root() -> Self {
        Self { root: true, ..Self::default() }
    }
}

/// A kernel being decoded.
struct Builder<'a, 't> {
    text: &'t Text<'a>,
    shelf: &'t Arc<Shelf>,
    scopes: Vec<Scope<'a>>,
    instructions: Vec<Instr>,
    origins: Vec<Origin>,
    /// Planes of constants and special registers, which keep their place.
    planes: usize,
    /// Planes of registers, before they are shared out.
    registers: usize,
    predicates: usize,
    starts: Vec<(usize, Start)>,
    constants: HashMap<(u64, bool), Slot>,
    specials: HashMap<Special, Slot>,
    addresses: Vec<(usize, usize)>,
    address_of: HashMap<usize, Slot>,
    /// Module variables in shared memory that this kernel uses.
    shared_of: HashMap<&'a str, u32>,
    shared: Vec<(u32, u32)>,
    shared_end: u32,
    static_shared: u32,
    /// Planes to hold the address of dynamic shared memory.
    dynamic: Option<Slot>,
    dynamic_align: u32,
    local_end: u32,
    local_bytes: u32,
    /// Functions being expanded.
    stack: Vec<&'a str>,
    line: u32,
    span: std::ops::Range<usize>,
    guard: Guard,
}

impl<'a, 't> Builder<'a, 't> {
    fn new(text: &'t Text<'a>, shelf: &'t Arc<Shelf>) -> Self {
        let mut builder = Self {
            text,
            shelf,
            scopes: Vec::new(),
            instructions: Vec::new(),
            origins: Vec::new(),
            planes: 0,
            registers: VIRTUAL,
            predicates: 1,
            starts: Vec::new(),
            constants: HashMap::new(),
            specials: HashMap::new(),
            addresses: Vec::new(),
            address_of: HashMap::new(),
            shared_of: HashMap::new(),
            shared: Vec::new(),
            shared_end: SHARED_START,
            static_shared: 0,
            dynamic: None,
            dynamic_align: 16,
            local_end: LOCAL_START,
            local_bytes: 0,
            stack: Vec::new(),
            line: 0,
            span: 0..0,
            guard: Guard::ALWAYS,
        };
        // Unused operands are slot 0: a zero of 64 bits.
        builder.constant(0, 64);
        builder
    }

    fn error<T>(&self, what: impl Into<String>) -> Decoded<T> {
        Err(ParseError::new(self.line, what))
    }

    fn declare(&mut self, name: &'a str, symbol: Symbol) {
        if let Some(scope) = self.scopes.last_mut() {
            scope.symbols.insert(name, symbol);
        }
    }

    fn items(&mut self, items: &[Item<'a>]) -> Decoded<()> {
        for item in items {
            match item {
                Item::Targets(name, labels) => {
                    if let Some(scope) = self.scopes.last_mut() {
                        scope.targets.insert(name, labels.clone());
                    }
                }
                Item::Registers(registers) => self.registers(registers.name, registers.count, registers.ty),
                _ => {}
            }
        }
        for item in items {
            match item {
                Item::Label(name, line) => {
                    let here = self.instructions.len() as u32;
                    let twice = self.scopes.last_mut().and_then(|scope| scope.labels.insert(name, here)).is_some();
                    if twice {
                        return Err(ParseError::new(*line, format!("the label `{name}` stands here twice")));
                    }
                }
                Item::Variable(variable) => self.variable(variable)?,
                Item::Statement(statement) => self.statement(statement)?,
                Item::Block(items) => {
                    self.scopes.push(Scope::default());
                    self.items(items)?;
                    self.close()?;
                }
                Item::Registers(_) | Item::Targets(..) => {}
            }
        }
        Ok(())
    }

    fn registers(&mut self, name: &'a str, count: Option<u32>, ty: Type) {
        match count {
            Some(count) => {
                if let Some(scope) = self.scopes.last_mut() {
                    scope.ranges.push((name, count, ty));
                }
            }
            None => {
                let symbol = self.register(ty);
                self.declare(name, symbol);
            }
        }
    }

    /// A fresh register.
    fn register(&mut self, ty: Type) -> Symbol {
        if ty == Type::Pred {
            self.predicates += 1;
            return Symbol::Predicate(self.predicates - 1);
        }
        Symbol::Register(self.fresh(ty.bits()))
    }

    /// A place of its own for a register.
    fn fresh(&mut self, bits: u32) -> Slot {
        let slot = Slot::new(self.registers, bits);
        self.registers += 2;
        slot
    }

    /// A place for something that stays the same.
    fn pinned(&mut self, bits: u32) -> Slot {
        let slot = Slot::new(self.planes, bits);
        self.planes += if bits == 64 { 2 } else { 1 };
        slot
    }

    fn variable(&mut self, variable: &Variable<'a>) -> Decoded<()> {
        self.line = variable.line;
        let symbol = match variable.home {
            Home::Shared if variable.external => self.dynamic_shared(variable.align),
            Home::Shared => Symbol::Shared(self.place_shared(variable.size, variable.align)),
            Home::Local | Home::Param => {
                let hidden = variable.home == Home::Param;
                let start = self.local_end.next_multiple_of(variable.align.max(1));
                self.local_end = start + variable.size;
                self.local_bytes += if hidden { 0 } else { variable.size };
                Symbol::Local(start, hidden)
            }
            Home::Global | Home::Const => return self.error("a global variable inside a function is not supported"),
        };
        self.declare(variable.name, symbol);
        Ok(())
    }

    fn dynamic_shared(&mut self, align: u32) -> Symbol {
        self.dynamic_align = self.dynamic_align.max(align);
        Symbol::DynamicShared
    }

    /// Static shared memory: aligned as asked and not better, and with a gap behind it.
    fn place_shared(&mut self, size: u32, align: u32) -> u32 {
        let align = align.max(1);
        self.static_shared = self.static_shared.next_multiple_of(align) + size;
        let start = misaligned(self.shared_end, align);
        self.shared_end = start + size + SHARED_GAP;
        self.shared.push((start, size));
        start
    }

    fn statement(&mut self, statement: &Statement<'a>) -> Decoded<()> {
        self.line = statement.line;
        self.span = statement.span.clone();
        self.guard = match statement.guard {
            None => Guard::ALWAYS,
            Some((name, negated)) => Guard::new(self.predicate(name)?, negated),
        };
        let mut words = Words::new(statement.opcode, statement.line);
        self.instruction(&mut words, &statement.operands)?;
        words.finish()?;
        self.labelled(statement.opcode)
    }

    fn push(&mut self, op: Op, d: Slot, sources: [Slot; 3]) {
        let [a, b, c] = sources;
        self.instructions.push(Instr { op, guard: self.guard, d, a, b, c });
        let (line, start, end) = (self.line, self.span.start as u32, self.span.end as u32);
        self.origins.push(Origin { line, start, end });
    }

    /// An instruction without operands of its own.
    fn push_bare(&mut self, op: Op) {
        self.push(op, Slot::default(), [Slot::default(); 3]);
    }

    fn push_at(&mut self, line: u32, span: std::ops::Range<usize>, op: Op) {
        (self.line, self.span, self.guard) = (line, span, Guard::ALWAYS);
        self.push_bare(op);
    }

    /// Ends a scope: branches find its labels, or look further out.
    fn close(&mut self) -> Decoded<()> {
        let Some(scope) = self.scopes.pop() else { return Ok(()) };
        for patch in scope.patches {
            let Some(&place) = scope.labels.get(patch.label) else {
                match self.scopes.last_mut() {
                    Some(outer) if !scope.root => outer.patches.push(patch),
                    _ => return Err(ParseError::new(patch.line, format!("no label `{}`", patch.label))),
                }
                continue;
            };
            match &mut self.instructions[patch.instruction].op {
                Op::Branch(to) => *to = place,
                Op::Table(places) => places[patch.entry] = place,
                _ => {}
            }
        }
        let end = self.instructions.len() as u32;
        for instruction in scope.returns {
            self.instructions[instruction].op = Op::Branch(end);
        }
        Ok(())
    }

    fn finish(mut self) -> Code {
        let dynamic = misaligned(self.shared_end, self.dynamic_align);
        if let Some(slot) = self.dynamic {
            self.starts.push((slot.plane(), Start::Constant(dynamic)));
            self.starts.push((slot.plane() + 1, Start::Constant(0)));
        }
        group::check(&mut self.instructions);
        let grouped = self.instructions.iter().any(|instr| matches!(instr.op, Op::GroupProduct(_)));
        let planes = allocate::allocate(&mut self.instructions, self.planes);
        Code {
            instructions: self.instructions,
            origins: self.origins,
            planes,
            predicates: self.predicates,
            starts: self.starts,
            addresses: self.addresses,
            shared: self.shared,
            dynamic,
            local: self.local_end - LOCAL_START,
            grouped,
        }
    }
}

/// Registers are numbered from here on until they get their planes.
const VIRTUAL: usize = 1 << 24;

/// Bytes between variables of shared memory that nothing may touch.
const SHARED_GAP: u32 = 64;

/// The next address that is a multiple of `align` but not of twice that: code that relies on more is found out.
fn misaligned(from: u32, align: u32) -> u32 {
    let start = from.next_multiple_of(align);
    if start.is_multiple_of(2 * align) { start + align } else { start }
}
