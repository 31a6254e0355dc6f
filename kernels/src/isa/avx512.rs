//! AVX-512 (F, DQ, BW, VL): 16 lanes, 32 registers, masked tails.

use super::{Op, Simd};
use std::arch::x86_64::*;

/// Proof that the machine has AVX-512 F, DQ, BW and VL, AVX2 and FMA.
#[derive(Clone, Copy, Debug)]
pub struct Avx512(());

pub(super) fn available() -> bool {
    is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512dq")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vl")
        && super::avx2::available()
}

/// Runs `op` compiled for AVX-512.
///
/// # Safety
/// [`available`] is true.
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
pub(super) unsafe fn enter<O: Op>(op: O) -> O::Output {
    op.run(Avx512(()))
}

/// As [`enter`], but never inlined.
///
/// # Safety
/// [`available`] is true.
#[inline(never)]
#[target_feature(enable = "avx512f,avx512dq,avx512bw,avx512vl,avx2,fma,bmi1,bmi2,lzcnt,popcnt")]
unsafe fn outlined<O: Op>(op: O) -> O::Output {
    op.run(Avx512(()))
}

/// Bits of 2⁻¹⁰⁰ and 2¹²⁷: between them no step of [`Simd::sqrt`] leaves the range of normal numbers. Zeros aside,
/// other numbers go to the unit.
const ROOT_LEAST: i32 = (127 - 100) << 23;
const ROOT_MOST: i32 = (127 + 127) << 23;

#[inline(always)]
fn first(n: usize) -> __mmask16 {
    if n >= 16 { !0 } else { (1u16 << n) - 1 }
}

/// The lanes as `f64`.
#[inline(always)]
fn halves(a: __m512) -> [__m512d; 2] {
    // SAFETY: the token's methods alone call this, inside `enter`.
    unsafe { [_mm512_cvtps_pd(_mm512_castps512_ps256(a)), _mm512_cvtps_pd(_mm512_extractf32x8_ps::<1>(a))] }
}

// SAFETY (every block here): the token exists only inside `enter`, so the instructions are there; masked
// loads and stores touch only the lanes of their mask, which the slice or the caller's promise covers.
#[allow(clippy::undocumented_unsafe_blocks, reason = "one SAFETY comment above holds for every block")]
impl Simd for Avx512 {
    type F = __m512;
    type U = __m512i;
    type M = __mmask16;
    type W = [__m512d; 2];
    const LANES: usize = 16;
    const TILE_ROWS: usize = 14;

    #[inline(always)]
    fn splat(self, x: f32) -> __m512 {
        unsafe { _mm512_set1_ps(x) }
    }
    #[inline(always)]
    fn load(self, x: &[f32]) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(x.len()), x.as_ptr()) }
    }
    #[inline(always)]
    fn store(self, x: &mut [f32], v: __m512) {
        unsafe { _mm512_mask_storeu_ps(x.as_mut_ptr(), first(x.len()), v) }
    }
    #[inline(always)]
    unsafe fn load_ptr(self, p: *const f32) -> __m512 {
        unsafe { _mm512_loadu_ps(p) }
    }
    #[inline(always)]
    unsafe fn store_ptr(self, p: *mut f32, v: __m512) {
        unsafe { _mm512_storeu_ps(p, v) }
    }
    #[inline(always)]
    unsafe fn load_first(self, p: *const f32, n: usize) -> __m512 {
        unsafe { _mm512_maskz_loadu_ps(first(n), p) }
    }
    #[inline(always)]
    unsafe fn store_first(self, p: *mut f32, n: usize, v: __m512) {
        unsafe { _mm512_mask_storeu_ps(p, first(n), v) }
    }
    #[inline(always)]
    fn add(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_add_ps(a, b) }
    }
    #[inline(always)]
    fn sub(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_sub_ps(a, b) }
    }
    #[inline(always)]
    fn mul(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mul_ps(a, b) }
    }
    #[inline(always)]
    fn div(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_div_ps(a, b) }
    }
    #[inline(always)]
    fn mul_add(self, a: __m512, b: __m512, c: __m512) -> __m512 {
        unsafe { _mm512_fmadd_ps(a, b, c) }
    }
    #[inline(always)]
    fn min(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_min_ps(a, b) }
    }
    #[inline(always)]
    fn max(self, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_max_ps(a, b) }
    }
    #[inline(always)]
    fn sqrt(self, a: __m512) -> __m512 {
        // The optimizers divide by roots, and the unit that divides also takes roots, one after the other;
        // multiply-adds do it beside it. From y ≈ 1/√a, of 14 bits: one step of Goldschmidt's, which leaves s ≈ √a and
        // h ≈ 1/(2√a) of 23 bits and more, and s + h·(a − s²), whose rounding is that of √a (tested for every
        // mantissa).
        unsafe {
            let bits = _mm512_sub_epi32(_mm512_castps_si512(a), _mm512_set1_epi32(ROOT_LEAST));
            let usual = _mm512_cmplt_epu32_mask(bits, _mm512_set1_epi32(ROOT_MOST - ROOT_LEAST));
            if usual | _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, _mm512_setzero_ps()) != !0 {
                return _mm512_sqrt_ps(a);
            }
            let half = _mm512_set1_ps(0.5);
            let y = _mm512_maskz_rsqrt14_ps(usual, a);
            let (s, h) = (_mm512_mul_ps(a, y), _mm512_mul_ps(y, half));
            let rest = _mm512_fnmadd_ps(s, h, half);
            let (s, h) = (_mm512_fmadd_ps(s, rest, s), _mm512_fmadd_ps(h, rest, h));
            _mm512_fmadd_ps(_mm512_fnmadd_ps(s, s, a), h, s)
        }
    }
    #[inline(always)]
    fn abs(self, a: __m512) -> __m512 {
        unsafe { _mm512_abs_ps(a) }
    }
    #[inline(always)]
    fn neg(self, a: __m512) -> __m512 {
        unsafe { _mm512_xor_ps(a, _mm512_set1_ps(-0.0)) }
    }
    #[inline(always)]
    fn round(self, a: __m512) -> __m512 {
        unsafe { _mm512_roundscale_ps::<{ _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC }>(a) }
    }
    #[inline(always)]
    fn scale2(self, a: __m512, n: __m512) -> __m512 {
        unsafe { _mm512_scalef_ps(a, n) }
    }
    #[inline(always)]
    fn lt(self, a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LT_OQ>(a, b) }
    }
    #[inline(always)]
    fn le(self, a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_LE_OQ>(a, b) }
    }
    #[inline(always)]
    fn eq(self, a: __m512, b: __m512) -> __mmask16 {
        unsafe { _mm512_cmp_ps_mask::<_CMP_EQ_OQ>(a, b) }
    }
    #[inline(always)]
    fn select(self, m: __mmask16, a: __m512, b: __m512) -> __m512 {
        unsafe { _mm512_mask_blend_ps(m, b, a) }
    }
    #[inline(always)]
    fn flush(self, a: __m512) -> __m512 {
        // Of numbers without an exponent nothing is kept.
        unsafe {
            let exponent = _mm512_set1_epi32(f32::INFINITY.to_bits() as i32);
            _mm512_maskz_mov_ps(_mm512_test_epi32_mask(_mm512_castps_si512(a), exponent), a)
        }
    }
    #[inline(always)]
    fn sum(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_add_ps(a) }
    }
    #[inline(always)]
    fn max_lane(self, a: __m512) -> f32 {
        unsafe { _mm512_reduce_max_ps(a) }
    }

    #[inline(always)]
    fn zero_w(self) -> [__m512d; 2] {
        unsafe { [_mm512_setzero_pd(); 2] }
    }
    #[inline(always)]
    fn add_w(self, [low, high]: [__m512d; 2], a: __m512) -> [__m512d; 2] {
        let [a, b] = halves(a);
        unsafe { [_mm512_add_pd(low, a), _mm512_add_pd(high, b)] }
    }
    #[inline(always)]
    fn add_square_w(self, [low, high]: [__m512d; 2], a: __m512) -> [__m512d; 2] {
        let [a, b] = halves(a);
        unsafe { [_mm512_fmadd_pd(a, a, low), _mm512_fmadd_pd(b, b, high)] }
    }
    #[inline(always)]
    fn store_w(self, x: &mut [f64], [low, high]: [__m512d; 2]) {
        let x = &mut x[..16];
        unsafe {
            _mm512_storeu_pd(x.as_mut_ptr(), low);
            _mm512_storeu_pd(x.as_mut_ptr().add(8), high);
        }
    }

    #[inline(always)]
    fn splat_u(self, x: u32) -> __m512i {
        unsafe { _mm512_set1_epi32(x as i32) }
    }
    #[inline(always)]
    fn iota(self, start: u32) -> __m512i {
        unsafe {
            let lanes = _mm512_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15);
            _mm512_add_epi32(lanes, _mm512_set1_epi32(start as i32))
        }
    }
    #[inline(always)]
    fn add_u(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_add_epi32(a, b) }
    }
    #[inline(always)]
    fn sub_u(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_sub_epi32(a, b) }
    }
    #[inline(always)]
    fn xor(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_xor_si512(a, b) }
    }
    #[inline(always)]
    fn and(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_and_si512(a, b) }
    }
    #[inline(always)]
    fn or(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_or_si512(a, b) }
    }
    #[inline(always)]
    fn shl<const N: u32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_slli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn shr<const N: u32>(self, a: __m512i) -> __m512i {
        unsafe { _mm512_srli_epi32::<N>(a) }
    }
    #[inline(always)]
    fn mul_even(self, a: __m512i, b: __m512i) -> __m512i {
        unsafe { _mm512_mul_epu32(a, b) }
    }
    #[inline(always)]
    fn high_halves(self, a: __m512i) -> __m512i {
        // A copy of the odd lanes to the even ones: shifts and multiplications share a port.
        unsafe { _mm512_castps_si512(_mm512_movehdup_ps(_mm512_castsi512_ps(a))) }
    }
    #[inline(always)]
    fn pair(self, even: __m512i, odd: __m512i) -> __m512i {
        unsafe {
            let (even, odd) = (_mm512_castsi512_ps(even), _mm512_castsi512_ps(odd));
            _mm512_castps_si512(_mm512_mask_moveldup_ps(even, 0xaaaa, odd))
        }
    }
    #[inline(always)]
    unsafe fn load_bytes(self, p: *const u8) -> __m512 {
        unsafe { _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(_mm_loadu_si128(p.cast()))) }
    }
    #[inline(always)]
    fn ge_u(self, a: __m512i, b: __m512i) -> __mmask16 {
        unsafe { _mm512_cmpge_epu32_mask(a, b) }
    }
    #[inline(always)]
    fn from_bits(self, a: __m512i) -> __m512 {
        unsafe { _mm512_castsi512_ps(a) }
    }
    #[inline(always)]
    fn to_bits(self, a: __m512) -> __m512i {
        unsafe { _mm512_castps_si512(a) }
    }
    #[inline(always)]
    fn to_int(self, a: __m512) -> __m512i {
        unsafe { _mm512_cvtps_epi32(a) }
    }
    #[inline(always)]
    fn interleave(self, a: __m512, b: __m512) -> (__m512, __m512) {
        unsafe {
            let low = _mm512_setr_epi32(0, 16, 1, 17, 2, 18, 3, 19, 4, 20, 5, 21, 6, 22, 7, 23);
            let high = _mm512_setr_epi32(8, 24, 9, 25, 10, 26, 11, 27, 12, 28, 13, 29, 14, 30, 15, 31);
            (_mm512_permutex2var_ps(a, low, b), _mm512_permutex2var_ps(a, high, b))
        }
    }
    #[inline(always)]
    fn prefetch(self, p: *const f32) {
        unsafe { _mm_prefetch::<_MM_HINT_T0>(p.cast()) }
    }
    #[inline(always)]
    fn store_u(self, x: &mut [u32], v: __m512i) {
        unsafe { _mm512_mask_storeu_epi32(x.as_mut_ptr().cast(), first(x.len()), v) }
    }

    #[inline(always)]
    fn call<O: Op>(self, op: O) -> O::Output {
        unsafe { outlined(op) }
    }
}
