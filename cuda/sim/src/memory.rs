//! Device memory: allocations with gaps between them, and what has been written to each byte.
//!
//! Every byte has a state beside it, so that one comparison of a few bytes answers "all there?"; addresses are
//! never used twice, so that an access after `free` is recognised for ever.

use crate::fault::{FaultKind, Outcome, Trouble};
use crate::race::GlobalCell;

/// Between variables: nothing may touch it.
pub(crate) const OUTSIDE: u8 = 0;
/// Allocated, not written.
pub(crate) const RAW: u8 = 1;
/// A `cp.async` is on its way here.
pub(crate) const PENDING: u8 = 2;
/// Written.
pub(crate) const SET: u8 = 3;

/// Data with a state a byte.
#[derive(Clone, Debug, Default)]
pub(crate) struct Bytes {
    pub data: Vec<u8>,
    pub state: Vec<u8>,
}

impl Bytes {
    pub fn new(size: usize, state: u8) -> Self {
        // The pattern makes a use of what was never written visible even where it is not a fault.
        Self { data: vec![0xcd; size], state: vec![state; size] }
    }
}

/// Words of one page of the shadow.
pub(crate) const PAGE: usize = 256;

/// One allocation.
#[derive(Debug)]
pub(crate) struct Allocation {
    pub base: u64,
    pub size: usize,
    /// Empty once freed.
    pub bytes: Bytes,
    pub freed: bool,
    /// `.const` memory: kernels only read it.
    pub constant: bool,
    /// Who touched each word, a page at a time.
    pub cells: Vec<Option<Box<[GlobalCell; PAGE]>>>,
}

impl Allocation {
    #[inline(always)]
    pub fn cell(&mut self, word: usize) -> &mut GlobalCell {
        let page = self.cells[word / PAGE].get_or_insert_with(|| Box::new([GlobalCell::default(); PAGE]));
        &mut page[word % PAGE]
    }
}

/// The first address, far from 0 and above what 32 bits hold.
const FIRST: u64 = 0x7_0000_0000;
const ALIGN: u64 = 256;
const GAP: u64 = 4096;

/// All allocations in the order of their addresses.
#[derive(Debug, Default)]
pub(crate) struct Memory {
    pub allocations: Vec<Allocation>,
    next: u64,
    last: usize,
}

impl Memory {
    pub fn alloc(&mut self, size: usize) -> u64 {
        let base = self.next.max(FIRST);
        self.next = (base + size as u64 + GAP).next_multiple_of(ALIGN);
        let cells = (0..size.div_ceil(4 * PAGE)).map(|_| None).collect();
        let bytes = Bytes::new(size, RAW);
        self.allocations.push(Allocation { base, size, bytes, freed: false, constant: false, cells });
        base
    }

    pub fn free(&mut self, address: u64) -> Outcome<()> {
        let index = self.position(address);
        match self.allocations.get_mut(index) {
            Some(found) if found.base == address && !found.freed => {
                found.freed = true;
                found.bytes = Bytes::default();
                found.cells = Vec::new();
                Ok(())
            }
            Some(found) if found.base == address => {
                Err(Trouble::new(FaultKind::UseAfterFree, 0, format!("{address:#x} was freed before")))
            }
            _ => Err(Trouble::new(FaultKind::OutOfBounds, 0, format!("{address:#x} is no allocation's address"))),
        }
    }

    /// Index of the last allocation that starts at or before `address`; past the end if there is none.
    fn position(&self, address: u64) -> usize {
        self.allocations.partition_point(|found| found.base <= address).wrapping_sub(1)
    }

    /// Index of the allocation that holds `bytes` from `address` on.
    #[inline(always)]
    pub fn find(&mut self, address: u64, bytes: usize, lane: u32) -> Outcome<usize> {
        if let Some(found) = self.allocations.get(self.last) {
            let offset = address.wrapping_sub(found.base);
            if offset < found.size as u64 && bytes as u64 <= found.size as u64 - offset && !found.freed {
                return Ok(self.last);
            }
        }
        self.last = self.search(address, bytes, lane)?;
        Ok(self.last)
    }

    /// The same without the memory of what was found last.
    fn search(&self, address: u64, bytes: usize, lane: u32) -> Outcome<usize> {
        let index = self.position(address);
        let Some(found) = self.allocations.get(index) else {
            return Err(Trouble::new(FaultKind::OutOfBounds, lane, format!("{address:#x} is before every allocation")));
        };
        let (offset, size) = (address - found.base, found.size as u64);
        if offset >= size || bytes as u64 > size - offset {
            let place = if offset > size {
                format!("{} bytes behind the end of {:#x} ({size} bytes)", offset - size, found.base)
            } else {
                format!("offset {offset} of {:#x} ({size} bytes)", found.base)
            };
            return Err(Trouble::new(FaultKind::OutOfBounds, lane, format!("{bytes} bytes at {address:#x}: {place}")));
        }
        if found.freed {
            let detail = format!("{bytes} bytes at {address:#x}: freed allocation {:#x} ({size} bytes)", found.base);
            return Err(Trouble::new(FaultKind::UseAfterFree, lane, detail));
        }
        Ok(index)
    }

    pub fn write(&mut self, address: u64, bytes: &[u8]) -> Outcome<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        let index = self.find(address, bytes.len(), 0)?;
        let found = &mut self.allocations[index];
        let at = (address - found.base) as usize;
        found.bytes.data[at..at + bytes.len()].copy_from_slice(bytes);
        found.bytes.state[at..at + bytes.len()].fill(SET);
        Ok(())
    }

    /// Copies out; with `checked`, bytes that nothing wrote are a fault.
    pub fn read(&self, address: u64, out: &mut [u8], checked: bool) -> Outcome<()> {
        if out.is_empty() {
            return Ok(());
        }
        let found = &self.allocations[self.search(address, out.len(), 0)?];
        let (found, at) = (&found.bytes, (address - found.base) as usize);
        let raw = found.state[at..at + out.len()].iter().position(|&state| state != SET);
        if let (true, Some(raw)) = (checked, raw) {
            let detail = format!("byte {raw} of {} at {address:#x} was never written", out.len());
            return Err(Trouble::new(FaultKind::Uninitialised, 0, detail));
        }
        out.copy_from_slice(&found.data[at..at + out.len()]);
        Ok(())
    }

    pub fn copy(&mut self, to: u64, from: u64, bytes: usize) -> Outcome<()> {
        if bytes == 0 {
            return Ok(());
        }
        let found = &self.allocations[self.search(from, bytes, 0)?];
        let (found, at) = (&found.bytes, (from - found.base) as usize);
        let (data, state) = (found.data[at..at + bytes].to_vec(), found.state[at..at + bytes].to_vec());
        let target = self.find(to, bytes, 0)?;
        let found = &mut self.allocations[target];
        let at = (to - found.base) as usize;
        found.bytes.data[at..at + bytes].copy_from_slice(&data);
        found.bytes.state[at..at + bytes].copy_from_slice(&state);
        Ok(())
    }

    /// Fills a module's variable: `bytes`, then zeros.
    pub fn initialise(&mut self, address: u64, bytes: &[u8], constant: bool) {
        if let Some(found) = self.allocations.iter_mut().rfind(|found| found.base == address) {
            found.bytes.data.fill(0);
            found.bytes.data[..bytes.len()].copy_from_slice(bytes);
            found.bytes.state.fill(SET);
            found.constant = constant;
        }
    }

    /// Forgets who touched what.
    pub fn forget(&mut self) {
        self.allocations.iter_mut().flat_map(|found| &mut found.cells).for_each(|page| *page = None);
    }
}
