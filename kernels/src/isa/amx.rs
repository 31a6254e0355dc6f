//! AMX: whether tiles of bf16 can be used. Vectors of this set are those of AVX-512; what the tiles do is
//! `gemm/bf16/amx.rs`'s.
//!
//! The processor must have the instructions, the system must save their registers, and Linux wants to be asked for
//! them by every process before the first use (Documentation/arch/x86/xstate.rst). Where anything is missing the set
//! is not there, and nothing else happens.

use std::arch::x86_64::__cpuid_count;
use std::sync::OnceLock;

/// Whether this process may use AMX-BF16. Asks the system once.
pub(super) fn available() -> bool {
    static AVAILABLE: OnceLock<bool> = OnceLock::new();
    *AVAILABLE.get_or_init(|| super::avx512::available() && instructions() && saved() && permitted())
}

/// CPUID leaf 7: AMX-BF16 is bit 22, AMX-TILE bit 24 of EDX (Intel SDM, volume 2A, CPUID).
fn instructions() -> bool {
    const BOTH: u32 = 1 << 22 | 1 << 24;
    let leaves = __cpuid_count(0, 0).eax;
    leaves >= 7 && __cpuid_count(7, 0).edx & BOTH == BOTH
}

/// XCR0: the system saves tile configuration (bit 17) and tile data (bit 18).
fn saved() -> bool {
    const BOTH: u32 = 1 << 17 | 1 << 18;
    let (low, _high): (u32, u32);
    // SAFETY: AVX-512 was found before, and it is reported only where the system has enabled XGETBV.
    unsafe {
        std::arch::asm!("xgetbv", in("ecx") 0, out("eax") low, out("edx") _high, options(nomem, nostack));
    }
    low & BOTH == BOTH
}

/// `arch_prctl(ARCH_REQ_XCOMP_PERM, XFEATURE_XTILEDATA)`
#[cfg(target_os = "linux")]
fn permitted() -> bool {
    const ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: a system call that takes two numbers and touches no memory of ours; it overwrites rcx and r11.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    result == 0
}

/// Other systems: unknown, so no.
#[cfg(not(target_os = "linux"))]
fn permitted() -> bool {
    false
}
