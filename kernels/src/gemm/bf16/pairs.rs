//! Blocks of C on AVX-512's dot products of pairs of bf16 (VDPBF16PS): a register tile as the f32 kernel's, at twice
//! its rate where the processor has two such units (measured on Zen 5: 505 GFLOP/s where FMA does 250).
//!
//! On a Xeon products of 512³ by it have half the rate of f32 and no shape more than 0.9: there trainings take f32
//! ([`fast`]).
//!
//! Only one term: three of these products for the two terms of [`Bf16x3`](super::Method::Bf16x3) would run at two
//! thirds of the rate of f32, before any packing.

#![allow(clippy::needless_range_loop, reason = "rows and vectors of a tile are its coordinates")]

use super::pack::{PANEL, Terms, WORDS};
use super::peak::WORD;
use super::ring::Ring;
use super::{Block, Unit};
use crate::gemm::tile::each_row;
use crate::isa::Simd;
use std::arch::x86_64::*;
use std::hint::black_box;
use std::sync::OnceLock;
use std::time::Instant;

/// Most rows of a block, as many as leave registers for B and a broadcast.
const MAX_ROWS: usize = 14;
/// Independent sums of the measurement: enough to hide the latency on two ports.
const SUMS: usize = 12;

/// Whether these instructions pay, which goes by the maker: seen on AMD's Zen 4 and 5, and on Intel's Xeons that they
/// do not.
pub(super) fn fast() -> bool {
    static FAST: OnceLock<bool> = OnceLock::new();
    *FAST.get_or_init(|| {
        let maker = __cpuid(0);
        [maker.ebx, maker.edx, maker.ecx].map(u32::to_le_bytes).as_flattened() == b"AuthenticAMD"
    })
}

/// Whether vectors of 512 bits are made in two halves, as by the fourth generation of AMD's Zen, all of family 25.
pub(super) fn in_halves() -> bool {
    static HALVES: OnceLock<bool> = OnceLock::new();
    *HALVES.get_or_init(|| fast() && family(__cpuid(1).eax) == 25)
}

/// The family of one of AMD's processors: extended and base (AMD64 Architecture Programmer's Manual, volume 3, E.3.2).
pub(super) fn family(version: u32) -> u32 {
    (version >> 8 & 0xf) + (version >> 20 & 0xff)
}

/// The instructions are there.
pub(super) struct Pairs(());

impl Pairs {
    /// # Safety
    /// The machine has AVX-512 F and BF16.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        Pairs(())
    }
}

impl Unit for Pairs {
    const ROWS: usize = MAX_ROWS;
    const GROUPS: usize = 1;
    const LEFT: usize = 1 << 16;
    const CHUNKS: usize = 64;
    /// Dot products take the vectors' own time.
    const BESIDE: bool = false;

    #[inline(always)]
    unsafe fn block<S: Simd>(&mut self, _: S, block: &Block, ring: Option<&mut Ring>) {
        debug_assert!(block.terms == Terms::One && block.groups == 1 && ring.is_none());
        // SAFETY: the instructions are there, since `self` is; the memory by the caller's promise.
        unsafe { KERNELS[block.rows - 1][block.panels - 1](block) }
    }
}

type Kernel = unsafe fn(&Block);

macro_rules! kernels {
    ($($rows:literal)*) => { [$([sum::<$rows, 1>, sum::<$rows, 2>]),*] };
}

static KERNELS: [[Kernel; 2]; MAX_ROWS] = kernels!(1 2 3 4 5 6 7 8 9 10 11 12 13 14);

/// MR rows by NV panels.
///
/// # Safety
/// The machine has AVX-512 F and BF16, and the memory of the block is as [`Unit::block`] wants it.
#[target_feature(enable = "avx512f,avx512bf16,avx512bw,avx512dq,avx512vl")]
unsafe fn sum<const MR: usize, const NV: usize>(block: &Block) {
    let mut sums = [[_mm512_setzero_ps(); NV]; MR];
    let place = |r: usize, v: usize| block.sums.wrapping_add(r * block.step + v * PANEL);
    // SAFETY: by the caller's promise.
    unsafe {
        if block.add {
            each_row!(MR, r => {
                for v in 0..NV {
                    sums[r][v] = _mm512_loadu_ps(place(r, v));
                }
            });
        }
        let (mut a, mut b) = (block.a, block.b);
        for _ in 0..block.chunks {
            for q in 0..WORDS {
                let mut w = [_mm512_setzero_si512(); NV];
                for v in 0..NV {
                    w[v] = _mm512_loadu_si512(b.add(v * block.b_next + q * PANEL).cast());
                }
                each_row!(MR, r => {
                    let x = _mm512_set1_epi32(*a.add(r * WORDS + q) as i32);
                    for v in 0..NV {
                        sums[r][v] = dot(sums[r][v], x, w[v]);
                    }
                });
            }
            a = a.add(MAX_ROWS * WORDS);
            b = b.add(WORDS * PANEL);
        }
        each_row!(MR, r => {
            for v in 0..NV {
                _mm512_storeu_ps(place(r, v), sums[r][v]);
            }
        });
    }
}

/// Operations a second of dot products on registers.
///
/// # Safety
/// The machine has AVX-512 F and BF16.
#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) unsafe fn multiply_adds() -> f64 {
    let (steps, word) = (20_000, _mm512_set1_epi32(black_box(WORD) as i32));
    let mut sums = [_mm512_setzero_ps(); SUMS];
    let start = Instant::now();
    for _ in 0..steps {
        for sum in &mut sums {
            *sum = dot(*sum, word, word);
        }
    }
    black_box(sums);
    (steps * SUMS * 2 * 2 * PANEL) as f64 / start.elapsed().as_secs_f64()
}

/// `c + x.low·w.low + x.high·w.high`, lane by lane.
#[inline]
#[target_feature(enable = "avx512f,avx512bf16")]
fn dot(c: __m512, x: __m512i, w: __m512i) -> __m512 {
    // SAFETY: the types are two names for 512 bits.
    let (x, w) = unsafe { (std::mem::transmute::<__m512i, __m512bh>(x), std::mem::transmute::<__m512i, __m512bh>(w)) };
    _mm512_dpbf16_ps(c, x, w)
}
