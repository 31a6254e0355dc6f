//! `wgmma`: products that four warps queue and that read shared memory by a way of their own.
//!
//! A warp computes its 16 rows when it queues them: nobody can tell, since its registers are not touched before the
//! wait (`decode/group.rs`) and a store to shared memory that a product under way reads is a fault. What ordinary
//! instructions stored must have been fenced by its warp (`fence.proxy.async`) before the barrier that orders it before
//! the product.

use super::Core;
use crate::block::View;
use crate::fault::{FaultKind, Outcome, Trouble};
use crate::instr::{Element, GroupA, GroupProduct, LANES, Plane, Product, SHARED_START, Slot};
use crate::memory::{OUTSIDE, PENDING, SET};
use crate::ops::mma::{self, Generation, Mma};
use crate::warp::lanes;

/// A matrix in shared memory, by k, as its descriptor has it: fields in units of 16 bytes ("Matrix descriptor format").
#[derive(Clone, Copy, Debug)]
struct Described {
    start: u64,
    /// Bytes to the next 16 bytes along k, without swizzle.
    leading: u64,
    /// Bytes to the next eight rows.
    stride: u64,
    /// Bytes of a row of a swizzled pattern; 16: none.
    width: u64,
}

impl Described {
    fn new(bits: u64) -> Option<Self> {
        let field = |at: u32| (bits >> at & 0x3fff) << 4;
        let width = match bits >> 62 {
            0 => 16,
            1 => 128,
            2 => 64,
            _ => 32,
        };
        // A base offset, and what is reserved, is not supported.
        let rest = bits & !(0x3fff | 0x3fff << 16 | 0x3fff << 32 | 3 << 62);
        (rest == 0).then_some(Self { start: field(0), leading: field(16), stride: field(32), width })
    }

    /// Where byte `along` of a row begins in shared memory.
    fn address(self, row: usize, along: usize) -> u64 {
        let (row, along) = (row as u64, along as u64);
        if self.width == 16 {
            return self.start + row / 8 * self.stride + row % 8 * 16 + along / 16 * self.leading + along % 16;
        }
        let plain = self.start + row / 8 * self.stride + row % 8 * self.width + along;
        // Bits 4 and up are changed by those from bit 7 on, as many as a row has pieces of 16 bytes.
        plain ^ (plain >> 7 & (self.width / 16 - 1)) << 4
    }
}

impl Core<'_> {
    /// An ordinary store to shared memory: no product may be reading there, and none sees it before a fence.
    #[inline(always)]
    pub(super) fn stored(&mut self, at: usize, bytes: usize, lane: usize) -> Outcome<()> {
        if self.code.grouped { self.stored_in_view(at, bytes, lane) } else { Ok(()) }
    }

    fn stored_in_view(&mut self, at: usize, bytes: usize, lane: usize) -> Outcome<()> {
        let (first, end) = (at / 4, (at + bytes).div_ceil(4));
        let writer = self.warp.index;
        for view in &mut self.block.views[first..end] {
            if view.readers > 0 {
                let address = SHARED_START as usize + at;
                let detail = format!("a wgmma that reads shared address {address:#x} has not been waited for");
                return Err(Trouble::new(FaultKind::Asynchronous, lane as u32, detail));
            }
            (view.writer, view.fenced) = (writer, View::UNFENCED);
        }
        match self.warp.groups.unfenced.last_mut() {
            Some(last) if last.1 == first => last.1 = end,
            _ => self.warp.groups.unfenced.push((first, end)),
        }
        Ok(())
    }

    pub(super) fn fence_proxy(&mut self) {
        for (first, end) in std::mem::take(&mut self.warp.groups.unfenced) {
            for view in &mut self.block.views[first..end] {
                if view.writer == self.warp.index && view.fenced == View::UNFENCED {
                    view.fenced = self.warp.clock;
                }
            }
        }
    }

    pub(super) fn commit_group(&mut self) {
        let open = std::mem::take(&mut self.warp.groups.open);
        self.warp.groups.committed.push_back(open);
    }

    /// All groups but the latest `open` are done.
    pub(super) fn wait_groups(&mut self, open: usize) -> Outcome<()> {
        while self.warp.groups.committed.len() > open {
            for (first, end) in self.warp.groups.committed.pop_front().unwrap_or_default() {
                self.block.views[first..end].iter_mut().for_each(|view| view.readers -= 1);
                // It has read until now.
                self.read_words(first, end)?;
            }
        }
        Ok(())
    }

    /// Nothing may be under way when a warp ends.
    pub(super) fn leave_groups(&mut self, mask: u32) -> Outcome<()> {
        let groups = &self.warp.groups;
        if mask == 0 || groups.open.is_empty() && groups.committed.iter().all(Vec::is_empty) {
            return Ok(());
        }
        let detail = "the warp ends before its wgmma have been waited for";
        Err(Trouble::new(FaultKind::Asynchronous, mask.trailing_zeros(), detail))
    }

    fn read_words(&mut self, first: usize, end: usize) -> Outcome<()> {
        if !self.options.races {
            return Ok(());
        }
        let who = self.warp.who(false);
        for word in first..end {
            let cell = &mut self.block.cells[word];
            let met = cell.read(who, 0, 0xf);
            cell.many_lanes();
            if let Some(other) = met {
                let address = u64::from(SHARED_START) + 4 * word as u64;
                return Err(self.race(other, 0, "shared", address, false));
            }
        }
        Ok(())
    }

    /// A descriptor, which all lanes have to agree on.
    fn described(&self, slot: Slot, what: &str) -> Outcome<Described> {
        let vague = self.warp.vague(slot);
        if vague != 0 {
            return Err(self.uninitialised(vague, what));
        }
        let values = self.warp.wide(slot);
        if let Some(lane) = (0..LANES).find(|&lane| values[lane] != values[0]) {
            let detail = format!("{what} is {:#x} in lane 0 and {:#x} here", values[0], values[lane]);
            return Err(Trouble::new(FaultKind::BarrierDivergence, lane as u32, detail));
        }
        Described::new(values[0]).ok_or_else(|| {
            let detail = format!("{what} is {:#x}: its fields are start, two offsets and a swizzle", values[0]);
            Trouble::new(FaultKind::OutOfBounds, 0, detail)
        })
    }

    /// The 16 bytes of a row at `along`: their words, and which of the four were written. Joins the words to those that
    /// the product reads.
    fn sixteen(&mut self, matrix: Described, row: usize, along: usize) -> Outcome<([u32; 4], u32)> {
        let address = matrix.address(row, along);
        let out = |detail: String| Err(Trouble::new(FaultKind::OutOfBounds, 0, detail));
        let size = self.block.shared.data.len() as u64;
        let Some(at) = address.checked_sub(u64::from(SHARED_START)).filter(|at| at + 16 <= size) else {
            return out(format!("16 bytes of a matrix at shared address {address:#x}: the block has {size} bytes"));
        };
        let at = at as usize;
        let state = &self.block.shared.state[at..at + 16];
        if state.contains(&OUTSIDE) {
            return out(format!("a matrix at shared address {address:#x}, which lies between two variables"));
        }
        if state.contains(&PENDING) {
            let detail = format!("a cp.async to shared address {address:#x} has not been waited for");
            return Err(Trouble::new(FaultKind::Asynchronous, 0, detail));
        }
        let data = &self.block.shared.data[at..at + 16];
        let words = std::array::from_fn(|i| u32::from_le_bytes([0, 1, 2, 3].map(|byte| data[4 * i + byte])));
        let known = |i: usize| state[4 * i..4 * i + 4].iter().all(|&state| state == SET);
        let vague = (0..4).fold(0, |vague, i| vague | u32::from(!known(i)) << i);
        for view in &mut self.block.views[at / 4..at / 4 + 4] {
            let seen = view.writer == self.warp.index || view.fenced < self.warp.seen[view.writer as usize];
            if view.fenced == View::UNFENCED || view.fenced != 0 && !seen {
                let detail = format!(
                    "shared address {address:#x} was stored by warp {} without a fence.proxy.async before the barrier",
                    view.writer
                );
                return Err(Trouble::new(FaultKind::Unfenced, 0, detail));
            }
            view.readers += 1;
        }
        match self.warp.groups.open.last_mut() {
            Some(last) if last.1 == at / 4 => last.1 += 4,
            _ => self.warp.groups.open.push((at / 4, at / 4 + 4)),
        }
        self.read_words(at / 4, at / 4 + 4)?;
        Ok((words, vague))
    }

    /// Words of `rows` rows of a matrix, eight of k a row, and which of them nothing wrote.
    fn rows(&mut self, matrix: Described, first: usize, rows: usize) -> Outcome<Vec<([u32; 8], u32)>> {
        let mut found = vec![([0; 8], 0); rows];
        for half in 0..2 {
            for (row, (words, vague)) in found.iter_mut().enumerate() {
                let (four, unknown) = self.sixteen(matrix, first + row, 16 * half)?;
                words[4 * half..4 * half + 4].copy_from_slice(&four);
                *vague |= unknown << (4 * half);
            }
        }
        Ok(found)
    }

    pub(super) fn group_product(&mut self, product: &GroupProduct) -> Outcome<()> {
        self.counters.products += 1;
        let warps = self.block.at.size.iter().product::<u32>().div_ceil(LANES as u32);
        if self.warp.index / 4 * 4 + 4 > warps {
            let detail = format!("a warpgroup is four warps side by side; the block has {warps}");
            return Err(Trouble::new(FaultKind::BarrierDivergence, 0, detail));
        }
        self.warp.groups.trail = self.warp.groups.trail.wrapping_mul(31).wrapping_add(u64::from(self.warp.pc) + 1);
        let (adds, unknown) = self.warp.guard(product.adds);
        if unknown != 0 || adds != 0 && adds != u32::MAX {
            let detail = "the predicate that says whether to add differs, or was not written";
            return Err(Trouble::new(FaultKind::BarrierDivergence, 0, detail));
        }
        let a = match &product.a {
            GroupA::Registers(slots) => {
                slots.iter().map(|&slot| (*self.warp.plane(slot), self.warp.vague(slot))).collect()
            }
            GroupA::Shared(slot) => {
                let matrix = self.described(*slot, "the descriptor of A")?;
                let rows = self.rows(matrix, 16 * (self.warp.index as usize % 4), 16)?;
                fragment_a(&rows)
            }
        };
        let matrix = self.described(product.b, "the descriptor of B")?;
        let columns = self.rows(matrix, 0, product.columns)?;
        self.multiply_group(product, a, &columns, adds != 0);
        Ok(())
    }

    fn multiply_group(
        &mut self,
        product: &GroupProduct,
        mut a: Vec<(Plane, u32)>,
        columns: &[([u32; 8], u32)],
        adds: bool,
    ) {
        let signs = match product.element {
            Element::Tf32 => 1 << 31,
            _ => 1 << 31 | 1 << 15,
        };
        if product.negated[0] != product.negated[1] {
            a.iter_mut().flat_map(|(plane, _)| plane).for_each(|word| *word ^= signs);
        }
        // wgmma is Hopper's.
        let how = match self.options.mma {
            Mma::Exact => Mma::Exact,
            Mma::Bits(_) => Mma::Bits(Generation::Hopper),
        };
        let small = Product {
            k: product.k,
            element: product.element,
            half: false,
            d: vec![Slot::ZERO; 4],
            a: Vec::new(),
            b: Vec::new(),
            c: Vec::new(),
        };
        let (a, vague_a): (Vec<Plane>, Vec<u32>) = a.into_iter().unzip();
        for (block, slots) in columns.chunks(8).zip(product.d.chunks(4)) {
            // Lane 4n + t has k = t and t + 4 (of pairs) of column n.
            let b: [Plane; 2] =
                std::array::from_fn(|half| std::array::from_fn(|lane| block[lane / 4].0[4 * half + lane % 4]));
            let vague_b: [u32; 2] = std::array::from_fn(|half| {
                (0..LANES).fold(0, |all, lane| all | (block[lane / 4].1 >> (4 * half + lane % 4) & 1) << lane)
            });
            let start =
                |&slot: &Slot| if adds { (*self.warp.plane(slot), self.warp.vague(slot)) } else { ([0; LANES], 0) };
            let (c, vague_c): (Vec<Plane>, Vec<u32>) = slots.iter().map(start).unzip();
            let values = mma::multiply(&small, how, &a, &b, &c);
            let vague = mma::vague(&small, &vague_a, &vague_b, &vague_c);
            for ((&slot, values), vague) in slots.iter().zip(&values).zip(vague) {
                self.warp.put(slot, values, u32::MAX, vague);
            }
        }
    }
}

/// A warp's fragments of its 16 rows.
fn fragment_a(rows: &[([u32; 8], u32)]) -> Vec<(Plane, u32)> {
    let of = |i: usize| {
        let place = |lane: usize| (lane / 4 + 8 * (i % 2), lane % 4 + 4 * (i / 2));
        let plane = std::array::from_fn(|lane| rows[place(lane).0].0[place(lane).1]);
        let vague = lanes(u32::MAX).fold(0, |all, lane| all | (rows[place(lane).0].1 >> place(lane).1 & 1) << lane);
        (plane, vague)
    };
    (0..4).map(of).collect()
}
