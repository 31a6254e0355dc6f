//! The instruction sets, and the one way to reach them.
//!
//! [`Simd`] is a token: a value of it proves that the machine has the instructions, so its methods are
//! safe to call. An operation is a struct of its arguments that implements [`Op`] with a body generic
//! over the token; [`Isa::run`] enters a `#[target_feature]` function once and calls that body inside,
//! where everything is inlined and compiled for the set. One file an instruction set; a new set is one
//! file and one line in `ISAS`.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod peak;
mod portable;

pub(crate) use peak::best;
pub use peak::{bandwidth, multiply_adds, peak};
pub use portable::Portable;
#[cfg(target_arch = "x86_64")]
pub use {avx2::Avx2, avx512::Avx512};

use std::sync::OnceLock;

/// Vector arithmetic on one instruction set.
///
/// `F` holds [`LANES`](Simd::LANES) `f32`, `U` as many `u32`, `M` as many truth values. All operations are
/// lane by lane and round to nearest even. `LANES` divides 64.
pub trait Simd: Copy + Send + Sync + 'static {
    /// Vector of `f32`.
    type F: Copy;
    /// Vector of `u32`.
    type U: Copy;
    /// One truth value a lane.
    type M: Copy;
    /// One `f64` a lane, to sum in.
    type W: Copy;
    /// Number of lanes: 8 or 16.
    const LANES: usize;
    /// Most rows of the product's register tile (with two vectors a row), from the number of registers.
    const TILE_ROWS: usize;

    /// `x` in every lane.
    fn splat(self, x: f32) -> Self::F;
    /// The first `LANES` elements; where `x` is shorter, the missing lanes are zero.
    fn load(self, x: &[f32]) -> Self::F;
    /// Writes the first `min(LANES, x.len())` lanes.
    fn store(self, x: &mut [f32], v: Self::F);
    /// Reads `LANES` elements.
    ///
    /// # Safety
    /// `p` is readable for `LANES` elements (no alignment is needed).
    unsafe fn load_ptr(self, p: *const f32) -> Self::F;
    /// Writes `LANES` elements.
    ///
    /// # Safety
    /// `p` is writable for `LANES` elements (no alignment is needed).
    unsafe fn store_ptr(self, p: *mut f32, v: Self::F);
    /// Reads `n` elements, `n ≤ LANES`; the other lanes are zero and their memory is not touched.
    ///
    /// # Safety
    /// `p` is readable for `n` elements.
    unsafe fn load_first(self, p: *const f32, n: usize) -> Self::F;
    /// Writes the first `n ≤ LANES` lanes; other memory is not touched.
    ///
    /// # Safety
    /// `p` is writable for `n` elements.
    unsafe fn store_first(self, p: *mut f32, n: usize, v: Self::F);

    /// `a + b`
    fn add(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a − b`
    fn sub(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b`
    fn mul(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a / b`
    fn div(self, a: Self::F, b: Self::F) -> Self::F;
    /// `a · b + c`, with one rounding where the set has it (all but the portable tier on x86-64).
    fn mul_add(self, a: Self::F, b: Self::F, c: Self::F) -> Self::F;
    /// The smaller; `b` where either is NaN.
    fn min(self, a: Self::F, b: Self::F) -> Self::F;
    /// The larger; `b` where either is NaN.
    fn max(self, a: Self::F, b: Self::F) -> Self::F;
    /// `√a`, the nearest `f32`.
    fn sqrt(self, a: Self::F) -> Self::F;
    /// `|a|`
    fn abs(self, a: Self::F) -> Self::F;
    /// `−a`
    fn neg(self, a: Self::F) -> Self::F;
    /// The nearest integer, halves to even.
    fn round(self, a: Self::F) -> Self::F;
    /// `a · 2^n` for whole `n` with `|n| ≤ 252`, rounded once.
    #[inline(always)]
    fn scale2(self, a: Self::F, n: Self::F) -> Self::F {
        // In two steps, since 2^n alone may lie outside the range of f32 where the result does not.
        let half = self.round(self.mul(n, self.splat(0.5)));
        let power = |n| self.from_bits(self.shl::<23>(self.add_u(self.to_int(n), self.splat_u(127))));
        self.mul(self.mul(a, power(half)), power(self.sub(n, half)))
    }
    /// `a < b`, false where either is NaN.
    fn lt(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a ≤ b`, false where either is NaN.
    fn le(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a = b`, false where either is NaN.
    fn eq(self, a: Self::F, b: Self::F) -> Self::M;
    /// `a` where the mask is set, else `b`.
    fn select(self, m: Self::M, a: Self::F, b: Self::F) -> Self::F;
    /// `a`, and 0 in the lanes that are subnormal.
    #[inline(always)]
    fn flush(self, a: Self::F) -> Self::F {
        self.select(self.lt(self.abs(a), self.splat(f32::MIN_POSITIVE)), self.splat(0.0), a)
    }
    /// Sum of the lanes, in a fixed order.
    fn sum(self, a: Self::F) -> f32;
    /// The largest lane (of lanes without NaN).
    fn max_lane(self, a: Self::F) -> f32;

    /// 0 in every lane.
    fn zero_w(self) -> Self::W;
    /// `sum + a`, in `f64`.
    fn add_w(self, sum: Self::W, a: Self::F) -> Self::W;
    /// `sum + a²`, in `f64`, where the square is exact.
    fn add_square_w(self, sum: Self::W, a: Self::F) -> Self::W;
    /// Writes the lanes.
    fn store_w(self, x: &mut [f64], sum: Self::W);

    /// `x` in every lane.
    fn splat_u(self, x: u32) -> Self::U;
    /// `start, start + 1, …` (wrapping).
    fn iota(self, start: u32) -> Self::U;
    /// `a + b`, wrapping.
    fn add_u(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a − b`, wrapping.
    fn sub_u(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a ^ b`
    fn xor(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a & b`
    fn and(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a | b`
    fn or(self, a: Self::U, b: Self::U) -> Self::U;
    /// `a << N`
    fn shl<const N: u32>(self, a: Self::U) -> Self::U;
    /// `a >> N`, zeros shifted in.
    fn shr<const N: u32>(self, a: Self::U) -> Self::U;
    /// The 64-bit product of each even lane, its high half in the odd lane behind.
    fn mul_even(self, a: Self::U, b: Self::U) -> Self::U;
    /// The odd lanes moved to the even lanes before them; what stands where they were is unspecified.
    fn high_halves(self, a: Self::U) -> Self::U;
    /// The even lanes of both, those of `odd` moved to the odd lanes behind them.
    fn pair(self, even: Self::U, odd: Self::U) -> Self::U;
    /// As many bytes as numbers.
    ///
    /// # Safety
    /// They are readable.
    unsafe fn load_bytes(self, p: *const u8) -> Self::F;
    /// `a ≥ b`, unsigned.
    fn ge_u(self, a: Self::U, b: Self::U) -> Self::M;
    /// The same bits as `f32`.
    #[allow(clippy::wrong_self_convention, reason = "the token is no value that is converted")]
    fn from_bits(self, a: Self::U) -> Self::F;
    /// The same bits as `u32`.
    fn to_bits(self, a: Self::F) -> Self::U;
    /// The nearest `i32` as its bits; lanes outside the range of `i32` are unspecified.
    fn to_int(self, a: Self::F) -> Self::U;
    /// `a₀ b₀ a₁ b₁ …`: the first and the second vector of the two interleaved.
    fn interleave(self, a: Self::F, b: Self::F) -> (Self::F, Self::F);
    /// Asks for the cache line at `p`; any address is allowed.
    fn prefetch(self, p: *const f32);
    /// The lanes as an array in memory order (for tails and tests; not for hot loops).
    fn store_u(self, x: &mut [u32], v: Self::U);

    /// Runs an operation in a function of its own, compiled for this set: for bodies too large to be inlined
    /// wherever they are needed, loops that should have all registers, bodies that a table chooses from.
    fn call<O: Op>(self, op: O) -> O::Output;
}

/// An operation on some instruction set: its arguments are the fields, its body is [`Op::run`].
///
/// Mark the implementation `#[inline(always)]`, as well as what it calls: only what is inlined into the
/// entry of [`Isa::run`] is compiled for the set.
pub trait Op {
    /// What the operation returns.
    type Output;
    /// The body.
    fn run<S: Simd>(self, s: S) -> Self::Output;
}

/// An instruction set that the running machine has (its only constructors check that).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Isa(Set);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Set {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2,
    #[cfg(target_arch = "x86_64")]
    Avx512,
    #[cfg(target_arch = "x86_64")]
    Amx,
    AmxEmulated,
}

/// What multiplies bf16, where anything does.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Bf16 {
    /// AMX tiles.
    #[cfg(target_arch = "x86_64")]
    Tiles,
    /// The same tiles in plain arithmetic.
    EmulatedTiles,
    /// AVX-512's dot products of pairs.
    #[cfg(target_arch = "x86_64")]
    Pairs,
}

/// A set's name, and whether the machine has it.
type Row = (&'static str, Set, fn() -> bool);

/// Every instruction set of this architecture, slowest first, and last the one that is only ever named: AMX as plain
/// arithmetic, to test and to reproduce elsewhere what machines with tiles compute. Its vectors are the machine's best.
const ISAS: &[Row] = &[
    ("portable", Set::Portable, || true),
    #[cfg(target_arch = "x86_64")]
    ("avx2", Set::Avx2, avx2::available),
    #[cfg(target_arch = "x86_64")]
    ("avx512", Set::Avx512, avx512::available),
    #[cfg(target_arch = "x86_64")]
    ("amx", Set::Amx, amx::available),
    ("amx-emulated", Set::AmxEmulated, || true),
];

impl Isa {
    /// The sets that the running machine has, slowest first.
    pub fn available() -> impl Iterator<Item = Isa> {
        ISAS.iter().filter(|&&(_, set, has)| set != Set::AmxEmulated && has()).map(|&(_, set, _)| Isa(set))
    }

    /// The fastest set, or the one that the environment variable `HPT_ISA` names.
    ///
    /// # Errors
    /// `HPT_ISA` names a set that does not exist or that the machine lacks.
    pub fn detect() -> Result<Isa, String> {
        static DETECTED: OnceLock<Result<Isa, String>> = OnceLock::new();
        DETECTED
            .get_or_init(|| match std::env::var("HPT_ISA") {
                Ok(name) if !name.is_empty() => Isa::by_name(&name).map_err(|e| format!("HPT_ISA: {e}")),
                _ => Ok(Isa::available().last().unwrap_or(Isa(Set::Portable))),
            })
            .clone()
    }

    /// The set of that name.
    ///
    /// # Errors
    /// The name is unknown, or the machine lacks the set.
    pub fn by_name(name: &str) -> Result<Isa, String> {
        match ISAS.iter().find(|row| row.0 == name) {
            Some(&(_, set, has)) if has() => Ok(Isa(set)),
            Some(_) => Err(format!("this machine has no {name}")),
            None => {
                let known: Vec<_> = ISAS.iter().map(|row| row.0).collect();
                Err(format!("unknown instruction set `{name}` (known: {})", known.join(", ")))
            }
        }
    }

    /// Its name, as `HPT_ISA` takes it.
    pub fn name(self) -> &'static str {
        ISAS.iter().find(|row| row.1 == self.0).map_or("portable", |row| row.0)
    }

    /// Lanes of `f32` in a vector.
    pub fn lanes(self) -> usize {
        struct Lanes;
        impl Op for Lanes {
            type Output = usize;
            #[inline(always)]
            fn run<S: Simd>(self, _: S) -> usize {
                S::LANES
            }
        }
        self.run(Lanes)
    }

    /// What multiplies bf16 on this set.
    pub(crate) fn bf16(self) -> Option<Bf16> {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx => Some(Bf16::Tiles),
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 if std::is_x86_feature_detected!("avx512bf16") => Some(Bf16::Pairs),
            Set::AmxEmulated => Some(Bf16::EmulatedTiles),
            _ => None,
        }
    }

    /// The set whose vectors this one has.
    #[inline]
    fn vectors(self) -> Set {
        match self.0 {
            #[cfg(target_arch = "x86_64")]
            Set::Amx => Set::Avx512,
            #[cfg(target_arch = "x86_64")]
            Set::AmxEmulated if avx512::available() => Set::Avx512,
            #[cfg(target_arch = "x86_64")]
            Set::AmxEmulated if avx2::available() => Set::Avx2,
            Set::AmxEmulated => Set::Portable,
            set => set,
        }
    }

    /// Runs an operation compiled for this set.
    #[inline]
    pub fn run<O: Op>(self, op: O) -> O::Output {
        match self.vectors() {
            // SAFETY: `vectors` names this set only where `available` says that the machine has it.
            #[cfg(target_arch = "x86_64")]
            Set::Avx2 => unsafe { avx2::enter(op) },
            // SAFETY: as above.
            #[cfg(target_arch = "x86_64")]
            Set::Avx512 => unsafe { avx512::enter(op) },
            _ => op.run(Portable::new()),
        }
    }
}
