//! `mma.sync.aligned.m16n8kK.row.col`: which lane holds which element, and what the tensor cores compute.
//!
//! D (16×8) = A (16×K) · B (K×8) + C. Fragments are those of the PTX manual ("Matrix fragments for mma.m16n8k…"),
//! written once as functions from (row, column) to (register, half, lane). The arithmetic is either exact (sums in f64,
//! one rounding to f32) or that of a generation of devices, as measured by FTTN (Li et al., "FTTN: Feature-Targeted
//! Testing for Numerical Properties of NVIDIA & AMD Matrix Accelerators", 2024) and MMA-Sim (2025): products exact, all
//! of them and C aligned to the largest exponent with a number of fractional bits, cut, added, and cut to f32.

use super::round::{BF16, F16, F32, Format, Round, TF32};
use crate::instr::{Element, LANES, Plane, Product};

/// A generation of tensor cores.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Generation {
    /// sm_75.
    Turing,
    /// sm_80, sm_86.
    Ampere,
    /// sm_89.
    Ada,
    /// sm_90.
    Hopper,
}

/// Arithmetic of `mma.sync`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Mma {
    /// Products and their sum in f64, one rounding to the result: what to compare with a tolerance.
    Exact,
    /// Bit for bit as a generation does it.
    Bits(Generation),
}

const ROWS: usize = 16;
const COLUMNS: usize = 8;
/// The greatest k.
const DEPTH: usize = 16;

impl Element {
    fn format(self) -> Format {
        match self {
            Self::F16 => F16,
            Self::Bf16 => BF16,
            Self::Tf32 => TF32,
        }
    }

    /// The value of an operand's bits.
    #[inline(always)]
    fn value(self, bits: u64) -> f64 {
        match self {
            Self::F16 => F16.value(bits),
            Self::Bf16 => f64::from(f32::from_bits((bits as u32) << 16)),
            Self::Tf32 => f64::from(f32::from_bits((bits as u32) << 13)),
        }
    }
}

/// Register, half and lane of A's element (row, k).
fn place_a(element: Element, row: usize, k: usize) -> (usize, usize, usize) {
    let (high, group) = (row / 8, row % 8);
    match element {
        // Four columns a lane row, one element a register.
        Element::Tf32 => (high + 2 * (k / 4), 0, group * 4 + k % 4),
        _ => (high + 2 * (k / 8), k % 2, group * 4 + k % 8 / 2),
    }
}

/// Register, half and lane of B's element (k, column).
fn place_b(element: Element, k: usize, column: usize) -> (usize, usize, usize) {
    match element {
        Element::Tf32 => (k / 4, 0, column * 4 + k % 4),
        _ => (k / 8, k % 2, column * 4 + k % 8 / 2),
    }
}

/// Register, half and lane of C's and D's element.
fn place_c(half: bool, row: usize, column: usize) -> (usize, usize, usize) {
    let lane = row % 8 * 4 + column / 2;
    if half { (row / 8, column % 2, lane) } else { (row / 8 * 2 + column % 2, 0, lane) }
}

fn bits(planes: &[Plane], (register, half, lane): (usize, usize, usize), element: Element) -> u64 {
    let word = planes[register][lane];
    u64::from(match element {
        // The hardware looks at the upper 19 bits only.
        Element::Tf32 => word >> 13,
        _ => word >> (16 * half) & 0xffff,
    })
}

/// The result's registers.
pub(crate) fn multiply(product: &Product, mma: Mma, a: &[Plane], b: &[Plane], c: &[Plane]) -> Vec<Plane> {
    let (element, k, half) = (product.element, product.k, product.half);
    let mut out = vec![[0; LANES]; product.d.len()];
    let mut put = |row: usize, column: usize, value: &dyn Fn(u64) -> u64| {
        let (register, upper, lane) = place_c(half, row, column);
        let start = c[register][lane] >> (16 * upper);
        let start = u64::from(if half { start & 0xffff } else { start });
        out[register][lane] |= (value(start) as u32) << (16 * upper);
    };
    let left = |row: usize, at: usize| bits(a, place_a(element, row, at), element);
    let right = |at: usize, column: usize| bits(b, place_b(element, at, column), element);
    let Mma::Bits(generation) = mma else {
        let mut columns = [[0.0; COLUMNS]; DEPTH];
        for (at, values) in columns[..k].iter_mut().enumerate() {
            *values = std::array::from_fn(|column| element.value(right(at, column)));
        }
        let format = if half { F16 } else { F32 };
        for row in 0..ROWS {
            let values: [f64; DEPTH] =
                std::array::from_fn(|at| if at < k { element.value(left(row, at)) } else { 0.0 });
            let mut sums = [0.0; COLUMNS];
            for (x, columns) in values[..k].iter().zip(&columns) {
                for (sum, y) in sums.iter_mut().zip(columns) {
                    *sum += x * y;
                }
            }
            for (column, sum) in sums.into_iter().enumerate() {
                put(row, column, &|start| format.round(format.value(start) + sum, Round::Nearest));
            }
        }
        return out;
    };
    let columns: Vec<Vec<u64>> = (0..COLUMNS).map(|column| (0..k).map(|at| right(at, column)).collect()).collect();
    for row in 0..ROWS {
        let x: Vec<u64> = (0..k).map(|at| left(row, at)).collect();
        for (column, y) in columns.iter().enumerate() {
            put(row, column, &|start| stepwise(generation, element.format(), &x, y, start, half));
        }
    }
    out
}

/// The sum as a generation computes it: in as many steps as the hardware takes for this k.
fn stepwise(generation: Generation, format: Format, x: &[u64], y: &[u64], start: u64, half: bool) -> u64 {
    let (fraction, step) = match (generation, format == TF32) {
        (Generation::Hopper, _) => (25, x.len()),
        (_, true) => (24, 4.min(x.len())),
        (_, false) => (24, 8.min(x.len())),
    };
    let target = if half { F16 } else { F32 };
    let round = if half { Round::Nearest } else { Round::Zero };
    let steps = x.chunks(step).zip(y.chunks(step));
    steps.fold(start, |sum, (x, y)| aligned_sum(format, x, y, sum, target, round, fraction))
}

/// Sign, significand as a whole number, and exponent of its last bit.
fn parts(format: Format, bits: u64) -> (bool, i64, i32) {
    let exponent = (bits >> format.fraction & ((1 << format.exponent) - 1)) as i32;
    let fraction = (bits & ((1 << format.fraction) - 1)) as i64;
    let significand = if exponent == 0 { fraction } else { fraction | 1 << format.fraction };
    (bits & format.sign() != 0, significand, exponent.max(1) - 1 + format.least() - format.fraction as i32)
}

/// One step: exact products and the start, aligned to the largest exponent, cut below `fraction` bits, added.
fn aligned_sum(format: Format, x: &[u64], y: &[u64], start: u64, target: Format, round: Round, fraction: i32) -> u64 {
    let special = |format: Format, bits: u64| bits & format.infinity() == format.infinity();
    if special(target, start) || x.iter().chain(y).any(|&bits| special(format, bits)) {
        let products = x.iter().zip(y).map(|(&x, &y)| format.value(x) * format.value(y));
        return target.round(products.fold(target.value(start), |sum, product| sum + product), round);
    }
    // An operand's own exponent counts, not that of its first one: a product lies in [1, 4) times its power of two.
    let mut terms = Vec::with_capacity(x.len() + 1);
    let (sign, significand, last) = parts(target, start);
    terms.push((sign, significand, last, last + target.fraction as i32));
    for (&x, &y) in x.iter().zip(y) {
        let ((sign_x, x, last_x), (sign_y, y, last_y)) = (parts(format, x), parts(format, y));
        terms.push((sign_x != sign_y, x * y, last_x + last_y, last_x + last_y + 2 * format.fraction as i32));
    }
    let top = terms.iter().filter(|term| term.1 != 0).map(|term| term.3).max();
    let Some(top) = top else {
        let all_negative = terms.iter().all(|term| term.0);
        return if all_negative { target.sign() } else { 0 };
    };
    let least = top - fraction;
    let sum: i64 = terms
        .iter()
        .map(|&(negative, significand, last, _)| {
            let shift = last - least;
            let cut = if shift >= 0 { significand << shift.min(62) } else { significand >> (-shift).min(63) };
            if negative { -cut } else { cut }
        })
        .sum();
    target.assemble(sum < 0, sum.unsigned_abs(), least, round)
}

/// Lanes in which a register of the result depends on something that nothing wrote.
pub(crate) fn vague(product: &Product, a: &[u32], b: &[u32], c: &[u32]) -> Vec<u32> {
    let mut out = c.to_vec();
    if a.iter().chain(b).all(|&mask| mask == 0) {
        return out;
    }
    let (element, k) = (product.element, product.k);
    let known = |masks: &[u32], (register, _, lane): (usize, usize, usize)| masks[register] >> lane & 1 == 0;
    for row in 0..ROWS {
        let row_known = (0..k).all(|at| known(a, place_a(element, row, at)));
        for column in 0..COLUMNS {
            if !row_known || !(0..k).all(|at| known(b, place_b(element, at, column))) {
                let (register, _, lane) = place_c(product.half, row, column);
                out[register] |= 1 << lane;
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2^`exponent` as bf16, negative if asked.
    fn power(exponent: i32, negative: bool) -> u64 {
        BF16.round(if negative { -1.0 } else { 1.0 } * 2f64.powi(exponent), Round::Nearest)
    }

    /// The sum of ±2^e over the terms, as products with 1, with `start`.
    fn sum(generation: Generation, terms: &[(i32, bool)], start: f32) -> f32 {
        let mut x = vec![0; 16];
        for (x, &(exponent, negative)) in x.iter_mut().zip(terms) {
            *x = power(exponent, negative);
        }
        f32::from_bits(stepwise(generation, BF16, &x, &[power(0, false); 16], start.to_bits().into(), false) as u32)
    }

    #[test]
    fn bits_below_the_window_are_cut() {
        use Generation::{Ada, Ampere, Hopper};
        let small = |exponent| [(exponent, false); 4];
        // Four times 2⁻²⁵ beside 1: kept with 25 fractional bits, lost with 24; 2⁻²⁶ is lost with both.
        assert_eq!(sum(Hopper, &small(-25), 1.0), 1.0 + f32::EPSILON);
        assert_eq!(sum(Ampere, &small(-25), 1.0), 1.0);
        assert_eq!(sum(Ada, &small(-24), 1.0), 1.0 + 2.0 * f32::EPSILON);
        assert_eq!(sum(Hopper, &[(-26, false); 16], 1.0), 1.0);
        // Negative terms are cut toward zero as well, and so is the result.
        assert_eq!(sum(Hopper, &[(-26, true); 16], 1.0), 1.0);
        assert_eq!(sum(Hopper, &[(-25, true)], 1.0), 1.0 - f32::EPSILON / 2.0);
        assert_eq!(sum(Hopper, &[(-24, false)], -1.0), -(1.0 - f32::EPSILON / 2.0));
        assert_eq!(sum(Hopper, &[(-24, false)], 1.0), 1.0);
    }

    #[test]
    fn older_generations_take_two_steps() {
        // In the first half 2⁻²⁵ is lost beside ±1; the second half alone keeps 2⁻²⁶.
        let mut terms = [(-140, false); 16];
        terms[..3].copy_from_slice(&[(0, false), (0, true), (-25, false)]);
        terms[8] = (-26, false);
        assert_eq!(sum(Generation::Ampere, &terms, 0.0), 2f32.powi(-26));
        // In one step the first half's are kept, and the other is lost.
        assert_eq!(sum(Generation::Hopper, &terms, 0.0), 2f32.powi(-25));
    }

    #[test]
    fn exponents_are_those_of_the_operands() {
        // 1.5 · 1.5 = 2.25 counts with the exponent 0: a window of 24 bits still reaches 2⁻²⁴.
        let run = |generation, start: f32| {
            let x = [BF16.round(1.5, Round::Nearest); 1];
            f32::from_bits(aligned_sum_of(generation, &x, &x, start))
        };
        assert_eq!(run(24, 2f32.powi(-22)), 2.25 + 2f32.powi(-22));
        assert_eq!(run(24, 2f32.powi(-23)), 2.25);
    }

    fn aligned_sum_of(fraction: i32, x: &[u64], y: &[u64], start: f32) -> u32 {
        aligned_sum(BF16, x, y, start.to_bits().into(), F32, Round::Zero, fraction) as u32
    }

    #[test]
    fn zeros_infinities_and_subnormals() {
        let sum = |x: &[u64], y: &[u64], start: f32| f32::from_bits(aligned_sum_of(25, x, y, start));
        let (zero, minus, one) = (0, BF16.sign(), power(0, false));
        assert_eq!(sum(&[zero], &[one], -0.0).to_bits(), 0);
        assert_eq!(sum(&[minus], &[one], -0.0).to_bits(), 0x8000_0000);
        assert_eq!(sum(&[BF16.infinity()], &[one], 1.0), f32::INFINITY);
        assert!(sum(&[BF16.infinity()], &[zero], 1.0).is_nan());
        assert!(sum(&[one], &[one], f32::NAN).is_nan());
        // The smallest subnormal bf16 is 2⁻¹³³; results may be subnormal too.
        assert_eq!(sum(&[1], &[one], 0.0), 2f32.powi(-133));
        assert_eq!(sum(&[1, power(-126, true)], &[one, power(-7, false)], 0.0), 0.0);
    }
}
