//! The limit of one core's unit, measured: products of what registers or loaded tiles hold.

use crate::isa::{Bf16, Isa, best};

/// The operands, two bf16 of some 1/75 each: sums of them end to grow long before they overflow.
#[cfg(target_arch = "x86_64")]
pub(super) const WORD: u32 = 0x3c5a_3c5a;

/// Products of bf16 on registers of one core: how many floating-point operations a second, two for each multiply-add.
/// The one measurement takes some 40 µs, for the clock of this moment. `None` where the set has no unit for them, or
/// emulates it.
pub fn bf16_multiply_adds(isa: Isa) -> Option<f64> {
    match isa.bf16()? {
        Bf16::EmulatedTiles => None,
        // SAFETY: `bf16` names tiles only where the system permits them, and nothing else uses them meanwhile.
        #[cfg(target_arch = "x86_64")]
        Bf16::Tiles => Some(unsafe { super::amx::multiply_adds() }),
        // SAFETY: `bf16` names pairs only where the machine has them.
        #[cfg(target_arch = "x86_64")]
        Bf16::Pairs => Some(unsafe { super::pairs::multiply_adds() }),
    }
}

/// The same at the highest clock that was seen: the best of thirty measurements.
pub fn bf16_peak(isa: Isa) -> Option<f64> {
    bf16_multiply_adds(isa)?;
    Some(best(|| bf16_multiply_adds(isa).unwrap_or(0.0)))
}
