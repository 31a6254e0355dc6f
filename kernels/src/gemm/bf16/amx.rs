//! The tiles of the processor, by inline assembly.
//!
//! Tile registers live from one statement to the next: the compiler never uses them itself, and nothing else that
//! uses them runs between [`Amx::new`] and the drop, which are both in one call of the product on one thread.
//! The bits are those of `emulated.rs`, on a processor and under Bochs, whose tiles others wrote from the manual
//! (`.ci/amx`). Instructions: Intel SDM, volumes 2A to 2D, LDTILECFG, TILELOADD, TILESTORED,
//! TILEZERO, TDPBF16PS, TILERELEASE.

use super::pack::{CHUNK, PANEL};
use super::peak::WORD;
use super::tiles::{ROWS, SUMS, Tiles, on_tiles};
use std::arch::asm;
use std::hint::black_box;
use std::time::Instant;

/// Eight tiles of 16 rows of 64 bytes, configured.
pub(super) struct Amx(());

/// Palette 1: bytes a row from byte 16 on, two each, and rows from byte 48 on, one each (Intel SDM, LDTILECFG).
#[repr(align(64))]
struct Configuration([u8; 64]);

static WHOLE: Configuration = {
    let mut bytes = [0; 64];
    bytes[0] = 1;
    let mut tile = 0;
    while tile < 8 {
        bytes[16 + 2 * tile] = 64;
        bytes[48 + tile] = 16;
        tile += 1;
    }
    Configuration(bytes)
};

impl Amx {
    /// Configures the tiles of this thread.
    ///
    /// # Safety
    /// The machine has AMX-BF16 and the system has permitted it, and no other value of this type lives on the thread.
    #[inline(always)]
    pub unsafe fn new() -> Self {
        // SAFETY: the instruction is there, and reads 64 bytes.
        unsafe { asm!("ldtilecfg [{}]", in(reg) WHOLE.0.as_ptr(), options(nostack, preserves_flags)) };
        Amx(())
    }
}

impl Drop for Amx {
    /// Gives the tiles back, so that the system need not save them.
    #[inline(always)]
    fn drop(&mut self) {
        // SAFETY: the instructions are there, since a value of this type is.
        unsafe { asm!("tilerelease", options(nomem, nostack, preserves_flags)) };
    }
}

impl Tiles for Amx {
    #[inline(always)]
    fn zero<const T: usize>(&mut self) {
        // SAFETY: as above; the tile is configured.
        unsafe { asm!("tilezero tmm{t}", t = const T, options(nomem, nostack, preserves_flags)) };
    }

    #[inline(always)]
    unsafe fn load<const T: usize>(&mut self, from: *const u32, step: usize) {
        // SAFETY: as above; the memory is readable by the caller's promise.
        unsafe {
            asm!(
                "tileloadd tmm{t}, [{from} + {step}]",
                t = const T,
                from = in(reg) from,
                step = in(reg) 4 * step,
                options(readonly, nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    unsafe fn store<const T: usize>(&self, to: *mut u32, step: usize) {
        // SAFETY: as above; the memory is writable by the caller's promise.
        unsafe {
            asm!(
                "tilestored [{to} + {step}], tmm{t}",
                t = const T,
                to = in(reg) to,
                step = in(reg) 4 * step,
                options(nostack, preserves_flags)
            );
        }
    }

    #[inline(always)]
    fn dot<const C: usize, const A: usize, const B: usize>(&mut self) {
        // SAFETY: as above.
        unsafe {
            asm!(
                "tdpbf16ps tmm{c}, tmm{a}, tmm{b}",
                c = const C,
                a = const A,
                b = const B,
                options(nomem, nostack, preserves_flags)
            );
        }
    }
}

/// Operations a second of products of loaded tiles.
///
/// # Safety
/// As [`Amx::new`].
pub(super) unsafe fn multiply_adds() -> f64 {
    let steps = 1_500;
    // SAFETY: by the caller's promise.
    let mut unit = unsafe { Amx::new() };
    let start = Instant::now();
    black_box(on_tiles(&mut unit, WORD, steps));
    (steps * SUMS * 2 * ROWS * CHUNK * PANEL) as f64 / start.elapsed().as_secs_f64()
}
