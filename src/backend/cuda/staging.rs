//! Pinned memory that uploads go through, in turns.
//!
//! The bytes of an upload are copied here and sent from here, so that the caller's may change at once. A part of the
//! memory is used again when what it sent has arrived, for which an event stands in the stream behind it: so whoever
//! uploads waits for nothing but his own uploads of long ago, and not for what was launched after those.

use super::descriptor::Address;
use cudarc::driver::result::{self, event};
use cudarc::driver::{DriverError, sys};
use std::ptr::null_mut;

/// Bytes of a part.
const PART: usize = 4 << 20;
/// Parts: of legs of steps (`steps.rs`), several.
const PARTS: usize = 16;

/// The memory and the events, once it is prepared.
#[derive(Debug)]
pub(super) struct Staging {
    start: *mut u8,
    /// Stands behind the last upload of a part.
    events: Vec<sys::CUevent>,
    /// Whether uploads of a part may be under way.
    sent: [bool; PARTS],
    /// The part that is being filled, and the bytes of it that are used.
    part: usize,
    used: usize,
}

impl Default for Staging {
    fn default() -> Self {
        Staging { start: null_mut(), events: Vec::new(), sent: [false; PARTS], part: 0, used: 0 }
    }
}

impl Staging {
    /// Reserves the memory, in the current context.
    pub fn prepare(&mut self) -> Result<(), DriverError> {
        const WRITE_COMBINED: u32 = 4;
        // SAFETY: freed by `free` and by nobody else.
        let pinned = |flags| unsafe { result::malloc_host(PART * PARTS, flags) };
        // Write-combined memory is a wish that not every system grants.
        self.start = pinned(WRITE_COMBINED).or_else(|_| pinned(0))?.cast();
        for _ in 0..PARTS {
            self.events.push(event::create(sys::CUevent_flags::CU_EVENT_DISABLE_TIMING)?);
        }
        Ok(())
    }

    /// Puts the upload of these bytes on the stream; always the same one.
    pub fn send(&mut self, to: Address, bytes: &[u8], stream: sys::CUstream) -> Result<(), DriverError> {
        let mut at = to;
        for piece in bytes.chunks(PART) {
            if self.used + piece.len() > PART {
                self.turn(stream)?;
            }
            // SAFETY: a part has PART bytes; from `used` on no transfer under way reads them.
            unsafe {
                let place = self.start.add(self.part * PART + self.used);
                std::ptr::copy_nonoverlapping(piece.as_ptr(), place, piece.len());
                let place = std::slice::from_raw_parts(place, piece.len());
                result::memcpy_htod_async(at, place, stream)?;
            }
            self.used = (self.used + piece.len()).next_multiple_of(64);
            at += piece.len() as Address;
        }
        Ok(())
    }

    /// Goes on to the next part, when what it sent has arrived.
    fn turn(&mut self, stream: sys::CUstream) -> Result<(), DriverError> {
        // SAFETY: the events were made by `prepare`, and the stream is live.
        unsafe {
            event::record(self.events[self.part], stream)?;
            self.sent[self.part] = true;
            (self.part, self.used) = ((self.part + 1) % PARTS, 0);
            if std::mem::take(&mut self.sent[self.part]) {
                event::synchronize(self.events[self.part])?;
            }
        }
        Ok(())
    }

    /// Everything has arrived.
    pub fn arrived(&mut self) {
        (self.sent, self.used) = ([false; PARTS], 0);
    }

    /// Gives everything back; nothing is under way.
    pub fn free(&mut self) {
        // SAFETY: made by `prepare`, freed once. Where the device is lost an error says nothing new.
        unsafe {
            for made in self.events.drain(..) {
                let _ = event::destroy(made);
            }
            if !self.start.is_null() {
                let _ = result::free_host(self.start.cast());
            }
        }
        self.start = null_mut();
    }
}
