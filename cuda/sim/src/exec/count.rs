//! What an access costs on a device: sectors of global memory, passes over the banks of shared memory.

use super::Core;
use super::memory::{Pattern, Request};
use crate::instr::LANES;
use crate::warp::lanes;

impl Core<'_> {
    /// Sectors of 32 bytes that a warp's access touches.
    pub(super) fn count_sectors(&mut self, request: &Request<'_>) {
        self.counters.global_requests += 1;
        let first = request.addresses[request.mask.trailing_zeros() as usize];
        match request.pattern {
            Pattern::Same => {
                self.counters.global_sectors += 1;
                return;
            }
            Pattern::Row => {
                let last = first + (LANES * request.width) as u64 - 1;
                self.counters.global_sectors += (last >> 5) - (first >> 5) + 1;
                return;
            }
            Pattern::Groups | Pattern::Any => {}
        }
        let mut sectors = [0; 2 * LANES];
        let (mut count, mut sorted) = (0, true);
        for lane in lanes(request.mask) {
            let sector = request.addresses[lane] >> 5;
            if count == 0 || sectors[count - 1] != sector {
                sorted &= count == 0 || sectors[count - 1] < sector;
                sectors[count] = sector;
                count += 1;
            }
        }
        if !sorted {
            sectors[..count].sort_unstable();
            let mut distinct = 1;
            for index in 1..count {
                distinct += usize::from(sectors[index] != sectors[index - 1]);
            }
            count = distinct;
        }
        self.counters.global_sectors += count as u64;
    }

    /// Passes over the 32 banks: lanes go in groups of as many as 128 bytes hold, and a bank gives one word a pass.
    pub(super) fn count_conflicts(&mut self, request: &Request<'_>) {
        self.counters.shared_requests += 1;
        if matches!(request.pattern, Pattern::Same | Pattern::Row) {
            return;
        }
        let group = match request.width {
            16 => 8,
            8 => 16,
            _ => 32,
        };
        for start in (0..LANES).step_by(group) {
            let part = request.mask & (((1u64 << group) - 1) << start) as u32;
            if part == 0 {
                continue;
            }
            self.counters.shared_conflicts += extra_passes(request, part);
        }
    }
}

/// Passes beyond the first that the lanes of a group need.
fn extra_passes(request: &Request<'_>, part: u32) -> u64 {
    // Accesses are aligned, so that each has a slot of as many banks as it is wide; a slot gives one place a pass.
    let (shift, slots) = match request.width {
        16 => (4, 7),
        8 => (3, 15),
        _ => (2, 31),
    };
    let mut places = [u64::MAX; 32];
    let clash = lanes(part).any(|lane| {
        let place = request.addresses[lane] >> shift;
        let slot = &mut places[(place & slots) as usize];
        let clash = *slot != u64::MAX && *slot != place;
        *slot = place;
        clash
    });
    if !clash {
        return 0;
    }
    let mut all: Vec<u64> = lanes(part).map(|lane| request.addresses[lane] >> shift).collect();
    all.sort_unstable();
    all.dedup();
    let most = (0..=slots).map(|slot| all.iter().filter(|&place| place & slots == slot).count()).max();
    most.unwrap_or(1) as u64 - 1
}
