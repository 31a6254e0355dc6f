//! The pieces of a module: functions, variables, statements, operands. All text is borrowed from the source.

use std::ops::Range;

/// A scalar type as written: the letter that says how bits are read, and their number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Type {
    /// `.b8` … `.b64`: bits.
    B(u8),
    /// `.u8` … `.u64`.
    U(u8),
    /// `.s8` … `.s64`.
    S(u8),
    /// `.f16 .f32 .f64`.
    F(u8),
    /// `.f16x2`.
    F16x2,
    /// `.bf16`.
    Bf16,
    /// `.bf16x2`.
    Bf16x2,
    /// `.tf32`.
    Tf32,
    /// `.pred`.
    Pred,
}

impl Type {
    /// The type named `word`, without its dot.
    pub fn named(word: &str) -> Option<Self> {
        Some(match word {
            "f16x2" => Self::F16x2,
            "bf16" => Self::Bf16,
            "bf16x2" => Self::Bf16x2,
            "tf32" => Self::Tf32,
            "pred" => Self::Pred,
            "f16" | "f32" | "f64" => Self::F(word[1..].parse().ok()?),
            _ => {
                let bits = match word.get(1..)? {
                    "8" => 8,
                    "16" => 16,
                    "32" => 32,
                    "64" => 64,
                    _ => return None,
                };
                match word.as_bytes()[0] {
                    b'b' => Self::B(bits),
                    b'u' => Self::U(bits),
                    b's' => Self::S(bits),
                    _ => return None,
                }
            }
        })
    }

    /// Width in bits; a predicate has 1.
    pub fn bits(self) -> u32 {
        match self {
            Self::B(bits) | Self::U(bits) | Self::S(bits) | Self::F(bits) => u32::from(bits),
            Self::F16x2 | Self::Bf16x2 | Self::Tf32 => 32,
            Self::Bf16 => 16,
            Self::Pred => 1,
        }
    }

    /// Width in bytes.
    pub fn bytes(self) -> u32 {
        self.bits().div_ceil(8)
    }
}

/// What stands between two commas.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Operand<'a> {
    /// A register, variable, label or function.
    Name(&'a str),
    /// A whole number, as its 64 bits; or the bits of a double where `Float` is not asked for.
    Integer(u64),
    /// `0f…`: the bits of a single.
    Single(u32),
    /// `0d…` or a decimal fraction: the bits of a double.
    Double(u64),
    /// `{a, b}`.
    Vector(Vec<Operand<'a>>),
    /// `(a, b)`: parameters of a call.
    List(Vec<Operand<'a>>),
    /// `[base + offset]`; the base is missing in `[16]`.
    Address(Option<&'a str>, i64),
    /// `p|q`.
    Pair(&'a str, &'a str),
    /// `!p`.
    Not(&'a str),
}

/// One instruction with its guard.
#[derive(Clone, Debug)]
pub(crate) struct Statement<'a> {
    pub line: u32,
    /// Bytes of the source, from the opcode to before the semicolon.
    pub span: Range<usize>,
    /// `@p` or `@!p`: the name and whether it is negated.
    pub guard: Option<(&'a str, bool)>,
    /// With its modifiers, as written.
    pub opcode: &'a str,
    pub operands: Vec<Operand<'a>>,
}

/// Where a variable lives.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Home {
    Global,
    Const,
    Shared,
    Local,
    Param,
}

/// A variable in memory.
#[derive(Clone, Debug)]
pub(crate) struct Variable<'a> {
    pub line: u32,
    pub name: &'a str,
    pub home: Home,
    pub size: u32,
    pub align: u32,
    /// `.extern`: `extern __shared__` in CUDA C; its size is chosen by the launch.
    pub external: bool,
    /// Initial bytes; shorter than `size` where the rest is zero. `None`: not initialised in the text.
    pub bytes: Option<Vec<u8>>,
}

/// Registers of one declaration: `%r<5>` has a count, `%x` has none.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Registers<'a> {
    pub name: &'a str,
    pub count: Option<u32>,
    pub ty: Type,
}

/// What a body holds, in the order of the text.
#[derive(Clone, Debug)]
pub(crate) enum Item<'a> {
    Label(&'a str, u32),
    Registers(Registers<'a>),
    Variable(Variable<'a>),
    Statement(Statement<'a>),
    /// `name: .branchtargets a, b;`
    Targets(&'a str, Vec<&'a str>),
    Block(Vec<Item<'a>>),
}

/// A kernel (`.entry`) or a device function (`.func`).
#[derive(Clone, Debug)]
pub(crate) struct Function<'a> {
    pub line: u32,
    pub name: &'a str,
    pub entry: bool,
    pub results: Vec<Variable<'a>>,
    pub params: Vec<Variable<'a>>,
    /// `.maxntid` or `.reqntid`, multiplied out.
    pub max_threads: Option<u32>,
    /// `None` for a declaration.
    pub body: Option<Vec<Item<'a>>>,
}

/// A whole text.
#[derive(Clone, Debug, Default)]
pub(crate) struct Text<'a> {
    pub version: (u32, u32),
    pub target: &'a str,
    pub variables: Vec<Variable<'a>>,
    pub functions: Vec<Function<'a>>,
}
