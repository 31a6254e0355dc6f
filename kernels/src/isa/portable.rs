//! Any machine: `wide`'s eight lanes, which are SSE2 on x86-64 and NEON on aarch64. The readable tier.

use super::{Op, Simd};
use wide::{f32x8, u32x8};

/// The token of the portable tier; every machine has it.
#[derive(Clone, Copy, Debug)]
pub struct Portable(());

impl Portable {
    pub(crate) fn new() -> Self {
        Portable(())
    }
}

#[inline(always)]
fn mask(m: u32x8) -> f32x8 {
    f32x8::new(m.to_array().map(f32::from_bits))
}

impl Simd for Portable {
    type F = f32x8;
    type U = u32x8;
    type M = f32x8;
    type W = [f64; 8];
    const LANES: usize = 8;
    const TILE_ROWS: usize = 3;

    #[inline(always)]
    fn splat(self, x: f32) -> f32x8 {
        f32x8::splat(x)
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> f32x8 {
        match x.first_chunk::<8>() {
            Some(&whole) => f32x8::new(whole),
            None => {
                let mut lanes = [0.0; 8];
                lanes[..x.len()].copy_from_slice(x);
                f32x8::new(lanes)
            }
        }
    }
    #[inline(always)]
    fn store(self, x: &mut [f32], v: f32x8) {
        match x.first_chunk_mut::<8>() {
            Some(whole) => *whole = v.to_array(),
            None => {
                let n = x.len();
                x.copy_from_slice(&v.to_array()[..n]);
            }
        }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> f32x8 {
        // SAFETY: the caller promises eight readable elements; the read is unaligned.
        f32x8::new(unsafe { p.cast::<[f32; 8]>().read_unaligned() })
    }
    #[inline(always)]
    unsafe fn store_ptr(self, p: *mut f32, v: f32x8) {
        // SAFETY: the caller promises eight writable elements; the write is unaligned.
        unsafe { p.cast::<[f32; 8]>().write_unaligned(v.to_array()) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> f32x8 {
        // SAFETY: the caller promises `n` readable elements.
        self.load(unsafe { std::slice::from_raw_parts(p, n) })
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: f32x8) {
        let lanes = v.to_array();
        // SAFETY: the caller promises `n ≤ 8` writable elements.
        unsafe { std::ptr::copy_nonoverlapping(lanes.as_ptr(), p, n) }
    }
    #[inline(always)]
    fn add(self, a: f32x8, b: f32x8) -> f32x8 {
        a + b
    }
    #[inline(always)]
    fn sub(self, a: f32x8, b: f32x8) -> f32x8 {
        a - b
    }
    #[inline(always)]
    fn mul(self, a: f32x8, b: f32x8) -> f32x8 {
        a * b
    }
    #[inline(always)]
    fn div(self, a: f32x8, b: f32x8) -> f32x8 {
        a / b
    }
    #[inline(always)]
    fn mul_add(self, a: f32x8, b: f32x8, c: f32x8) -> f32x8 {
        a.mul_add(b, c)
    }
    #[inline(always)]
    fn min(self, a: f32x8, b: f32x8) -> f32x8 {
        self.select(self.lt(a, b), a, b)
    }
    #[inline(always)]
    fn max(self, a: f32x8, b: f32x8) -> f32x8 {
        self.select(self.lt(b, a), a, b)
    }
    #[inline(always)]
    fn sqrt(self, a: f32x8) -> f32x8 {
        a.sqrt()
    }
    #[inline(always)]
    fn abs(self, a: f32x8) -> f32x8 {
        a.abs()
    }
    #[inline(always)]
    fn neg(self, a: f32x8) -> f32x8 {
        -a
    }
    #[inline(always)]
    fn round(self, a: f32x8) -> f32x8 {
        a.round_ties_even()
    }
    #[inline(always)]
    fn lt(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_lt(b)
    }
    #[inline(always)]
    fn le(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_le(b)
    }
    #[inline(always)]
    fn eq(self, a: f32x8, b: f32x8) -> f32x8 {
        a.simd_eq(b)
    }
    #[inline(always)]
    fn select(self, m: f32x8, a: f32x8, b: f32x8) -> f32x8 {
        m.bitselect(a, b)
    }
    #[inline(always)]
    fn sum(self, a: f32x8) -> f32 {
        let x = a.to_array();
        ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7]))
    }
    #[inline(always)]
    fn max_lane(self, a: f32x8) -> f32 {
        a.to_array().into_iter().fold(f32::NEG_INFINITY, f32::max)
    }

    #[inline(always)]
    fn zero_w(self) -> [f64; 8] {
        [0.0; 8]
    }
    #[inline(always)]
    fn add_w(self, mut sum: [f64; 8], a: f32x8) -> [f64; 8] {
        for (sum, a) in sum.iter_mut().zip(a.to_array()) {
            *sum += f64::from(a);
        }
        sum
    }
    #[inline(always)]
    fn add_square_w(self, mut sum: [f64; 8], a: f32x8) -> [f64; 8] {
        for (sum, a) in sum.iter_mut().zip(a.to_array()) {
            *sum += f64::from(a) * f64::from(a);
        }
        sum
    }
    #[inline(always)]
    fn store_w(self, x: &mut [f64], sum: [f64; 8]) {
        x[..8].copy_from_slice(&sum);
    }

    #[inline(always)]
    fn splat_u(self, x: u32) -> u32x8 {
        u32x8::splat(x)
    }
    #[inline(always)]
    fn iota(self, start: u32) -> u32x8 {
        u32x8::new([0, 1, 2, 3, 4, 5, 6, 7]) + u32x8::splat(start)
    }
    #[inline(always)]
    fn add_u(self, a: u32x8, b: u32x8) -> u32x8 {
        a + b
    }
    #[inline(always)]
    fn sub_u(self, a: u32x8, b: u32x8) -> u32x8 {
        a - b
    }
    #[inline(always)]
    fn xor(self, a: u32x8, b: u32x8) -> u32x8 {
        a ^ b
    }
    #[inline(always)]
    fn and(self, a: u32x8, b: u32x8) -> u32x8 {
        a & b
    }
    #[inline(always)]
    fn or(self, a: u32x8, b: u32x8) -> u32x8 {
        a | b
    }
    #[inline(always)]
    fn shl<const N: u32>(self, a: u32x8) -> u32x8 {
        a << N
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: u32x8) -> u32x8 {
        a >> N
    }
    #[inline(always)]
    fn mul_even(self, a: u32x8, b: u32x8) -> u32x8 {
        let (a, b) = (a.to_array(), b.to_array());
        let product = |lane: usize| u64::from(a[lane & !1]) * u64::from(b[lane & !1]);
        u32x8::new(std::array::from_fn(|lane| (product(lane) >> (32 * (lane % 2))) as u32))
    }
    #[inline(always)]
    fn high_halves(self, a: u32x8) -> u32x8 {
        let a = a.to_array();
        u32x8::new(std::array::from_fn(|lane| if lane % 2 == 0 { a[lane + 1] } else { 0 }))
    }
    #[inline(always)]
    fn pair(self, even: u32x8, odd: u32x8) -> u32x8 {
        let (even, odd) = (even.to_array(), odd.to_array());
        u32x8::new(std::array::from_fn(|lane| if lane % 2 == 0 { even[lane] } else { odd[lane - 1] }))
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> f32x8 {
        // SAFETY: the caller promises eight readable bytes.
        f32x8::new(unsafe { p.cast::<[u8; 8]>().read_unaligned() }.map(f32::from))
    }
    #[inline(always)]
    fn ge_u(self, a: u32x8, b: u32x8) -> f32x8 {
        mask(a.max(b).simd_eq(a))
    }
    #[inline(always)]
    fn from_bits(self, a: u32x8) -> f32x8 {
        mask(a)
    }
    #[inline(always)]
    fn to_bits(self, a: f32x8) -> u32x8 {
        u32x8::new(a.to_array().map(f32::to_bits))
    }
    #[inline(always)]
    fn to_int(self, a: f32x8) -> u32x8 {
        u32x8::new(a.fast_round_int().to_array().map(|x| x as u32))
    }
    #[inline(always)]
    fn interleave(self, a: f32x8, b: f32x8) -> (f32x8, f32x8) {
        let (a, b) = (a.to_array(), b.to_array());
        (
            f32x8::new([a[0], b[0], a[1], b[1], a[2], b[2], a[3], b[3]]),
            f32x8::new([a[4], b[4], a[5], b[5], a[6], b[6], a[7], b[7]]),
        )
    }
    #[inline(always)]
    fn prefetch(self, _: *const f32) {}
    #[inline(always)]
    fn store_u(self, x: &mut [u32], v: u32x8) {
        let n = x.len().min(8);
        x[..n].copy_from_slice(&v.to_array()[..n]);
    }

    #[inline(never)]
    fn call<O: Op>(self, op: O) -> O::Output {
        op.run(self)
    }
}
