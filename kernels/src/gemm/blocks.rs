//! The loops around the tile: which part of A, B and C is worked on while it lies in which cache.
//!
//! From the outside in: `NC` columns and `STRIPS` strips of rows, or the other way round, of which C stays in L2 until
//! its last k and its epilogue are done; `KC` of the sum, for which a panel and a strip stay in L1 or L2; panels;
//! strips. Rows are cut into strips as even as possible rather than into whole tiles and a rest. Operands are read
//! where they lie unless their strides forbid it or enough work shares the copy; a panel of B is packed just before its
//! first use. None of these choices shows in the result, see [`super`].

use super::pack::Panels;
use super::parts::Parts;
use super::tile::{Ask, Kernel, Left, Strips, kernel};
use super::{Beta, Gemm, Method, PANEL_VECTORS, Right, bf16};
use crate::epilogue::Epilogue;
use crate::isa::{Isa, Op, Simd};
use crate::matrix::{Matrix, MatrixMut};
use std::ops::Range;

// Measured on Zen 5 (48 KiB L1d, 1 MiB L2), AVX-512 and AVX2, one thread, operands in and out of the caches. All are
// flat optima: half or twice the value costs a few percent.

/// Most steps of k at a time. Longer blocks read and write C less often; a panel of KC · 2 vectors need not fit L1,
/// because L2 delivers a row of it long before the tile has used it.
pub(super) const KC: usize = 512;
/// Most columns at a time.
pub(super) const NC: usize = 1024;
/// Most strips at a time: A's block is STRIPS · rows · KC.
pub(super) const STRIPS: usize = 16;
/// B with contiguous rows is packed where at least so many strips use it; before, reading it in place is faster.
const PACK_B_STRIPS: usize = 40;
/// From one step of k to the next so far in memory, every step is in another page and the sets of L1 and L2 fill
/// unevenly (measured on an Intel Xeon; with 2,048 columns packing A made dW 1.7 times as fast there) …
const FAR: usize = 512;
/// … so that B is packed where so many strips use it.
const PACK_FAR_B_STRIPS: usize = 10;
/// Rows of A so far apart fall into the same few sets of L1 and L2.
const CONFLICT: usize = 1024;
/// A that is far apart or conflicts is packed where more than so many panels use it.
const PACK_A_PANELS: usize = 4;

/// So many elements of all operands do not stay in L2 from one product to the next …
const FAR_OPERANDS: usize = 1 << 18;
/// … and a result of so many is not there when it is written: asking for its lines costs 2 % where it is.
pub(super) const FAR_RESULT: usize = 1 << 17;

/// Whether so many strips use B's packed panels in more than one block, so that they are all kept; else each makes room
/// for the next in a near cache.
fn keeps(strips: usize) -> bool {
    strips > STRIPS
}

/// Memory that starts at a cache line.
#[derive(Debug, Default)]
pub(super) struct Buffer(Vec<Line>);

#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line(#[expect(dead_code, reason = "reached through pointers alone")] [f32; 16]);

impl Buffer {
    pub(super) fn grow(&mut self, elements: usize) {
        let lines = elements.div_ceil(16);
        if self.0.len() < lines {
            self.0.resize(lines, Line([0.0; 16]));
        }
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        size_of_val(&self.0[..])
    }

    #[inline(always)]
    pub(super) fn as_mut_ptr(&mut self) -> *mut f32 {
        self.0.as_mut_ptr().cast()
    }
}

/// Working memory of [`gemm`](super::gemm): grows to what the largest product so far needed.
#[derive(Debug, Default)]
pub struct Scratch {
    a: Buffer,
    b: Buffer,
    pub(super) tile: Buffer,
    pub(super) part: Buffer,
    pub(super) bf16: bf16::Memory,
}

impl Scratch {
    /// Memory for every product of at most those sizes, so that none of them allocates.
    pub fn with_capacity_for(isa: Isa, max_m: usize, max_k: usize, max_n: usize) -> Self {
        let mut scratch = Scratch::default();
        // A result by columns is computed as its transpose.
        let side = max_m.max(max_n);
        scratch.reserve_for(isa, side, max_k, side);
        scratch
    }

    /// More memory where a product m × k × n of which C has contiguous columns needs it.
    pub fn reserve_for(&mut self, isa: Isa, m: usize, k: usize, n: usize) {
        isa.run(Reserve { scratch: self, m, k, n, kept: NC });
        self.tile.grow(super::TILE.0 * super::TILE.1);
    }

    /// As `reserve_for`, for a product by that method.
    pub fn reserve_by(&mut self, isa: Isa, method: Method, m: usize, k: usize, n: usize) {
        self.reserve_for(isa, m, k, n);
        bf16::reserve(isa, method, &mut self.bf16, m, k, n);
    }

    /// Memory for [`gemm_parts`](super::gemm_parts) too.
    pub fn reserve_parts(&mut self, isa: Isa, method: Method, m: usize, k: usize, n: usize) {
        self.reserve_by(isa, method, m, k, n);
        isa.run(Reserve { scratch: self, m, k, n, kept: n });
        self.part.grow(super::parts::part_len(isa, m, k, n));
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        [&self.a, &self.b, &self.tile, &self.part].iter().map(|buffer| buffer.size()).sum::<usize>() + self.bf16.size()
    }

    #[inline(always)]
    fn reserve<S: Simd>(&mut self, m: usize, k: usize, n: usize, kept: usize) {
        self.a.grow(m.div_ceil(S::TILE_ROWS).min(STRIPS) * k.min(KC) * S::LANES);
        let cols = if keeps(m.div_ceil(S::TILE_ROWS)) { kept } else { PANEL_VECTORS * S::LANES };
        self.b.grow(n.min(cols).next_multiple_of(S::LANES) * k);
    }
}

struct Reserve<'a> {
    scratch: &'a mut Scratch,
    m: usize,
    k: usize,
    n: usize,
    /// Columns of B that are kept where any are.
    kept: usize,
}

impl Op for Reserve<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.scratch.reserve::<S>(self.m, self.k, self.n, self.kept);
    }
}

/// A product of which C has contiguous columns and m, n ≥ 1.
pub(super) struct Product<'a, 's> {
    pub args: Gemm<'a>,
    pub scratch: &'s mut Scratch,
}

/// A product whose result is used up part by part, m, n ≥ 1.
pub(super) struct PartsProduct<'a, 's> {
    pub a: Matrix<'a>,
    pub b: Right<'a>,
    pub c: Parts<'a>,
    pub scratch: &'s mut Scratch,
}

/// Where a result goes.
trait Target {
    /// Whether all columns of a block of rows come before the next rows, and B's panels are kept for all columns.
    const ROWS_FIRST: bool = false;
    /// Whether a large result is far from the caches, so that its lines are asked for before they are written.
    const FAR: bool = true;
    /// Whether what takes the result needs more memory.
    const NEEDS: bool = false;
    /// Most columns at a time of so many rows; `once`: their sums are not added to later.
    fn columns<S: Simd>(_rows: usize, _once: bool) -> usize {
        NC
    }
    /// The next rows and columns, until they are finished.
    fn begin(&mut self, _rows: Range<usize>, _cols: Range<usize>, _once: bool) {}
    /// The pointer to (row, col), which begins a panel, and the distance to the next row.
    fn at(&mut self, row: usize, col: usize) -> (*mut f32, usize);
    /// What will be needed when that panel of the block is done.
    fn near(&self, _panel: Range<usize>) -> [Region; 3] {
        [Region::NOTHING; 3]
    }
    /// The sums of that panel are final.
    fn panel_done(&mut self, _panel: Range<usize>) {}
    /// The finished rows of those columns, for an epilogue.
    fn finish<S: Simd>(&mut self, s: S, rows: Range<usize>, cols: Range<usize>);
}

/// Rows of contiguous columns, each given to the epilogue.
struct Rows<'a> {
    c: MatrixMut<'a>,
    epilogue: Epilogue<'a>,
}

impl Target for Rows<'_> {
    #[inline(always)]
    fn at(&mut self, row: usize, col: usize) -> (*mut f32, usize) {
        let step = self.c.row_stride();
        (self.c.as_mut_ptr().wrapping_add(row * step + col), step)
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, s: S, rows: Range<usize>, cols: Range<usize>) {
        if !matches!(self.epilogue, Epilogue::None) {
            for i in rows {
                self.epilogue.apply_row(s, i, cols.start, &mut self.c.row_mut(i)[cols.clone()]);
            }
        }
    }
}

impl Target for Parts<'_> {
    const ROWS_FIRST: bool = true;
    const FAR: bool = false;
    const NEEDS: bool = true;

    #[inline(always)]
    fn columns<S: Simd>(rows: usize, once: bool) -> usize {
        if once { usize::MAX } else { super::parts::columns(rows, PANEL_VECTORS * S::LANES) }
    }

    #[inline(always)]
    fn begin(&mut self, rows: Range<usize>, cols: Range<usize>, once: bool) {
        self.begin(rows, cols, once);
    }

    #[inline(always)]
    fn at(&mut self, row: usize, col: usize) -> (*mut f32, usize) {
        self.at(row, col)
    }

    #[inline(always)]
    fn near(&self, panel: Range<usize>) -> [Region; 3] {
        self.near(panel).map(|memory| Region::new(memory.as_ptr(), memory.len()))
    }

    #[inline(always)]
    fn panel_done(&mut self, panel: Range<usize>) {
        self.end(panel);
    }

    #[inline(always)]
    fn finish<S: Simd>(&mut self, _: S, _: Range<usize>, _: Range<usize>) {}
}

/// Memory that will be needed soon: chunks of so many elements.
#[derive(Clone, Copy)]
struct Region {
    from: *const f32,
    len: usize,
    chunks: usize,
    /// Elements from chunk to chunk.
    next: usize,
}

impl Region {
    const NOTHING: Region = Region::new(std::ptr::null(), 0);

    const fn new(from: *const f32, len: usize) -> Self {
        Region { from, len, chunks: 1, next: 0 }
    }

    /// Divides the time of all asks, so many steps each, among regions by their size.
    #[inline(always)]
    fn ask(regions: &[Region], mut asks: &mut [Ask], steps: usize) {
        const LINE: usize = 64;
        let mut left = regions.iter().map(|region| region.len * region.chunks).sum::<usize>();
        for &Region { from, len, chunks, next } in regions {
            if len == 0 || asks.is_empty() {
                continue;
            }
            let mine = if left == len * chunks { asks.len() } else { (asks.len() * len * chunks).div_ceil(left) };
            left -= len * chunks;
            let (now, later) = asks.split_at_mut(mine);
            asks = later;
            let each = if chunks == 1 { mine } else { (mine / chunks).max(1) };
            let step = (len * size_of::<f32>()).div_ceil(each * steps).min(LINE);
            for (c, asks) in now.chunks_mut(each).take(chunks).enumerate() {
                for (i, ask) in asks.iter_mut().enumerate() {
                    *ask = Ask { from: from.wrapping_add(c * next).wrapping_byte_add(i * steps * step), step };
                }
            }
        }
    }
}

/// How `m` rows are cut: `tall` strips of `rows + 1` rows, then the others of `rows`.
#[derive(Clone, Copy)]
pub(super) struct Cut {
    pub strips: usize,
    rows: usize,
    tall: usize,
}

impl Cut {
    #[inline(always)]
    pub fn new(m: usize, most: usize) -> Self {
        let strips = m.div_ceil(most);
        Cut { strips, rows: m / strips, tall: m % strips }
    }

    /// First row of strip `t`.
    #[inline(always)]
    pub fn start(&self, t: usize) -> usize {
        t * self.rows + t.min(self.tall)
    }
}

impl Op for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gemm { a, b, c, beta, epilogue } = self.args;
        let a = a.numbers();
        multiply(s, a, b, beta, self.scratch, Rows { c, epilogue });
    }
}

impl Op for PartsProduct<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        multiply(s, self.a, self.b, Beta::Zero, self.scratch, self.c);
    }
}

#[inline(always)]
fn multiply<S: Simd, C: Target>(s: S, a: Matrix, b: Right, beta: Beta, scratch: &mut Scratch, mut c: C) {
    let (m, k, n) = (a.rows(), a.cols(), b.cols());
    let plan = Plan::new::<S, C>(a, b, scratch);
    let cut = plan.cut;
    // All blocks as even as possible, so that no few strips are left to stream all of B for; one of k, of none, where
    // k = 0.
    let even = |n: usize, most: usize| n.div_ceil(n.div_ceil(most).max(1));
    let (depth, height) = (even(k, KC), even(cut.strips, STRIPS));
    let once = depth == k;
    let width = even(n, C::columns::<S>(height * S::TILE_ROWS, once)).next_multiple_of(PANEL_VECTORS * S::LANES);
    let (down, across) = (cut.strips.div_ceil(height), n.div_ceil(width));
    // The block of A that is packed: its first strip and its first step of k.
    let mut packed = None;
    for i in 0..down * across {
        let (t, j) = if C::ROWS_FIRST { (i / across, i % across) } else { (i % down, i / down) };
        let strips = t * height..cut.strips.min((t + 1) * height);
        let (rows, cols) = (cut.start(strips.start)..cut.start(strips.end), j * width..n.min((j + 1) * width));
        c.begin(rows.clone(), cols.clone(), once);
        let mut p = 0..depth;
        loop {
            let there = packed.replace((t, p.start)) == packed;
            let tall = cut.tall.clamp(strips.start, strips.end) - strips.start;
            let block = Block {
                left: plan.left(s, strips.clone(), p.clone(), there),
                right: plan.right::<S>(p.clone(), cols.clone(), t == 0),
                strips: [(tall, cut.rows + 1), (strips.len() - tall, cut.rows)],
                k: p.len(),
                row: rows.start,
                cols: cols.clone(),
                add: p.start > 0 || beta == Beta::One,
                last: p.end == k,
                far: m * k + k * n + m * n >= FAR_OPERANDS,
                c_far: C::FAR && m * n >= FAR_RESULT,
            };
            block.run(s, &mut c);
            if p.end == k {
                break;
            }
            p = p.end..k.min(p.end + depth);
        }
        c.finish(s, rows, cols);
    }
    debug_assert_eq!(cut.start(cut.strips), m);
}

/// The operands and how they are read.
struct Plan<'a> {
    a: Matrix<'a>,
    b: Right<'a>,
    cut: Cut,
    layout: Left,
    pack_a: bool,
    pack_b: bool,
    a_buffer: *mut f32,
    b_buffer: *mut f32,
    /// Whether B's buffer holds all its columns, else those of one block.
    all_columns: bool,
}

/// A block of A: `step` as [`Strips::a_step`], `next` elements from a strip of so many rows to the next.
#[derive(Clone, Copy)]
struct LeftBlock {
    layout: Left,
    from: *const f32,
    step: usize,
    packed: bool,
}

/// A block of B.
#[derive(Clone, Copy)]
enum RightBlock<'a> {
    /// Packed by the caller; the block begins at this row and column.
    Packed(super::Packed<'a>, usize, usize),
    /// In scratch memory at `to`, where they are kept (`keep`) one after the other, else each in the place of the one
    /// before; where `fill`, each panel is packed from the source before its first use.
    Scratch { to: *mut f32, from: Source<'a>, keep: bool, fill: bool },
    /// As B lies, with its row stride.
    InPlace(*const f32, usize),
}

/// What a panel is packed from.
#[derive(Clone, Copy)]
enum Source<'a> {
    /// A block at this pointer with these strides of rows and columns.
    Strided(*const f32, (usize, usize)),
    /// The transpose of a packed matrix; the block begins at this row and column of the transpose.
    Transposed(super::Packed<'a>, usize, usize),
}

impl<'a> Plan<'a> {
    #[inline(always)]
    fn new<S: Simd, C: Target>(a: Matrix<'a>, b: Right<'a>, scratch: &mut Scratch) -> Self {
        let (m, k, n) = (a.rows(), a.cols(), b.cols());
        let cut = Cut::new(m, S::TILE_ROWS);
        let along = a.col_stride() == 1 || k <= 1;
        let spread = if along { a.row_stride().is_multiple_of(CONFLICT) } else { a.col_stride() >= FAR };
        let shared = n > PACK_A_PANELS * PANEL_VECTORS * S::LANES;
        let pack_a = m > 1 && ((!along && a.row_stride() != 1) || (spread && shared));
        let pack_b = match b {
            Right::Packed(_) => false,
            Right::Transposed(_) => true,
            Right::Strided(b) => {
                let strips = if b.row_stride() >= FAR { PACK_FAR_B_STRIPS } else { PACK_B_STRIPS };
                (b.col_stride() != 1 && n > 1) || cut.strips >= strips
            }
        };
        if pack_a || pack_b {
            scratch.reserve::<S>(m, k, n, if C::ROWS_FIRST { n } else { NC });
        }
        let layout = if along && !pack_a { Left::Along } else { Left::Down };
        let (a_buffer, b_buffer) = (scratch.a.as_mut_ptr(), scratch.b.as_mut_ptr());
        Plan { a, b, cut, layout, pack_a, pack_b, a_buffer, b_buffer, all_columns: C::ROWS_FIRST }
    }

    /// Those strips of A, those steps of k; packed now where that is the plan and they are not `there`.
    #[inline(always)]
    fn left<S: Simd>(&self, s: S, strips: Range<usize>, p: Range<usize>, there: bool) -> LeftBlock {
        let (row_stride, col_stride) = (self.a.row_stride(), self.a.col_stride());
        let at = |t: usize| self.a.as_ptr().wrapping_add(self.cut.start(t) * row_stride + p.start * col_stride);
        if !self.pack_a {
            let step = if self.layout == Left::Along { row_stride } else { col_stride };
            return LeftBlock { layout: self.layout, from: at(strips.start), step, packed: false };
        }
        for t in if there { 0..0 } else { strips.clone() } {
            s.call(Panels {
                from: at(t),
                row_stride: col_stride,
                col_stride: row_stride,
                k: p.len(),
                n: self.cut.start(t + 1) - self.cut.start(t),
                width: S::LANES,
                to: self.a_buffer.wrapping_add((t - strips.start) * p.len() * S::LANES),
            });
        }
        LeftBlock { layout: Left::Down, from: self.a_buffer, step: S::LANES, packed: true }
    }

    /// Those steps of k, those columns of B; `first`: no strips have used the block before.
    #[inline(always)]
    fn right<S: Simd>(&self, p: Range<usize>, cols: Range<usize>, first: bool) -> RightBlock<'a> {
        let from = match self.b {
            Right::Packed(b) => return RightBlock::Packed(b, p.start, cols.start),
            Right::Transposed(b) => Source::Transposed(b, p.start, cols.start),
            Right::Strided(b) => {
                let from = b.as_ptr().wrapping_add(p.start * b.row_stride() + cols.start * b.col_stride());
                if !self.pack_b {
                    return RightBlock::InPlace(from, b.row_stride());
                }
                Source::Strided(from, (b.row_stride(), b.col_stride()))
            }
        };
        let keep = keeps(self.cut.strips);
        let kept = if self.all_columns { cols.start * self.a.cols() } else { 0 };
        let before = if keep { kept + p.start * cols.len().next_multiple_of(S::LANES) } else { 0 };
        RightBlock::Scratch { to: self.b_buffer.wrapping_add(before), from, keep, fill: first }
    }
}

/// Strips × panels, for one block of k.
struct Block<'a> {
    left: LeftBlock,
    right: RightBlock<'a>,
    /// Strips of two heights, given as count and rows, one kind under the other.
    strips: [(usize, usize); 2],
    k: usize,
    /// The first row and the columns of C.
    row: usize,
    cols: Range<usize>,
    add: bool,
    /// Whether no more is added.
    last: bool,
    /// Whether what is needed next may be far from the near caches, and whether C may.
    far: bool,
    c_far: bool,
}

/// Where a panel is read, its row stride, and what of the next one can be asked for.
struct Panel(*const f32, usize, Next);

/// Memory of the panel after this.
enum Next {
    /// All of it.
    Whole(*const f32),
    /// What it is packed from.
    Region(Region),
    /// Its rows at this pointer and this distance.
    Rows(*const f32, usize),
}

impl Block<'_> {
    #[inline(always)]
    fn run<S: Simd, C: Target>(self, s: S, target: &mut C) {
        let width = PANEL_VECTORS * S::LANES;
        let LeftBlock { layout, from, step: a_step, packed } = self.left;
        let (k, add) = (self.k, self.add);
        let count = self.strips[0].0 + self.strips[1].0;
        let rows = self.strips[usize::from(self.strips[0].0 == 0)].1;
        // A turn is a strip's k, or half of it but for the rows of C.
        let c_far = self.c_far && k >= 4 * rows;
        let (each, steps) = if c_far { (2, k / 2 - rows) } else { (1, k) };
        let needs = C::NEEDS && self.far && self.last;
        let several = needs || c_far;
        // Where all strips take as much of a panel.
        let even = (width * size_of::<f32>()).div_ceil(count);
        let mut asks = [Ask { from, step: 0 }; 2 * STRIPS];
        for j in (0..self.cols.len()).step_by(width) {
            let cols = width.min(self.cols.len() - j);
            let panel = self.cols.start + j..self.cols.start + j + cols;
            let Panel(b, b_step, next) = self.panel(s, j, cols);
            let asks = &mut asks[..count * each];
            match next {
                Next::Whole(from) if panel.end < self.cols.end && !several => {
                    for (i, ask) in asks.iter_mut().enumerate() {
                        *ask = Ask { from: from.wrapping_byte_add(i * k * even), step: even };
                    }
                }
                next => {
                    asks.fill(Ask { from: b, step: 0 });
                    let next = (panel.end < self.cols.end).then_some(next);
                    let near = if needs { target.near(panel.clone()) } else { [Region::NOTHING; 3] };
                    self.ask::<S>(next, near, asks, steps, each);
                }
            }
            let masked = matches!(self.right, RightBlock::InPlace(..)) && !cols.is_multiple_of(S::LANES);
            let (mut a, (mut c, c_step)) = (from, target.at(self.row, panel.start));
            let c_next = if panel.end < self.cols.end { target.at(self.row, panel.end).0 } else { c };
            let mut done = 0;
            for (count, rows) in self.strips {
                if count == 0 {
                    continue;
                }
                let a_next = match layout {
                    Left::Down if packed => k * S::LANES,
                    Left::Down => rows,
                    Left::Along => rows * a_step,
                };
                let kernel: Kernel<S> = kernel(rows, cols.div_ceil(S::LANES), layout, masked);
                let c_below = c.wrapping_add(count * rows * c_step);
                let c_after = c_far.then_some(if done == 0 && self.strips[1].0 > 0 { c_below } else { c_next });
                let asks = asks[done * each..].as_ptr();
                let args = Strips { k, a, a_step, a_next, b, b_step, c, c_step, c_after, cols, count, asks, add };
                // SAFETY: the operands are readable and C writable by the contract of `Gemm`; packed panels and
                // strips hold whole vectors, and a panel in place that is narrower is masked.
                unsafe { kernel(s, &args) };
                done += count;
                a = a.wrapping_add(count * a_next);
                c = c_below;
            }
            if self.last {
                target.panel_done(panel);
            }
        }
    }

    /// What strips ask for meanwhile, in turns of so many steps, `each` a strip: the next panel, and `near`, if there
    /// is time for all of it.
    #[inline(always)]
    fn ask<S: Simd>(&self, next: Option<Next>, near: [Region; 3], asks: &mut [Ask], steps: usize, each: usize) {
        const LINE: usize = 64 / size_of::<f32>();
        let mut regions = [Region::NOTHING; 4];
        let lines = near.iter().map(|region| region.len).sum::<usize>() / LINE;
        if lines > 0 && 3 * (lines + self.k * PANEL_VECTORS) <= asks.len() * steps {
            regions[1..].copy_from_slice(&near);
        }
        let mut rows = 0;
        match next {
            None => {}
            Some(Next::Whole(from)) => regions[0] = Region::new(from, self.k * PANEL_VECTORS * S::LANES),
            Some(Next::Region(region)) => regions[0] = region,
            Some(Next::Rows(from, step)) => {
                // The turns of a strip take a line of every row.
                rows = (each * (PANEL_VECTORS * S::LANES).div_ceil(LINE)).min(asks.len());
                for (i, ask) in asks[..rows].iter_mut().enumerate() {
                    let from = from.wrapping_add(i / each * LINE + i % each * steps * step);
                    *ask = Ask { from, step: step * size_of::<f32>() };
                }
            }
        }
        if regions.iter().any(|region| region.len > 0) {
            Region::ask(&regions, &mut asks[rows..], steps);
        }
    }

    /// The panel that begins at column `j`, packed now where that is due.
    #[inline(always)]
    fn panel<S: Simd>(&self, s: S, j: usize, cols: usize) -> Panel {
        let (k, width) = (self.k, PANEL_VECTORS * S::LANES);
        match self.right {
            RightBlock::Packed(b, p0, j0) => {
                let (at, step) = b.panel(p0, j0 + j);
                Panel(at, step, Next::Whole(at.wrapping_add(b.next_panel())))
            }
            RightBlock::InPlace(b, step) => Panel(b.wrapping_add(j), step, Next::Rows(b.wrapping_add(j + width), step)),
            RightBlock::Scratch { to, from, keep, fill } => {
                let to = if keep { to.wrapping_add(j * k) } else { to };
                let at = to.cast_const();
                let stored = cols.next_multiple_of(S::LANES);
                if !fill {
                    return Panel(at, stored, Next::Whole(at.wrapping_add(k * width)));
                }
                let mut next = Next::Region(Region::NOTHING);
                match from {
                    Source::Strided(from, (row_stride, col_stride)) => {
                        let from = from.wrapping_add(j * col_stride);
                        s.call(Panels { from, row_stride, col_stride, k, n: cols, width, to });
                        if col_stride == 1 {
                            next = Next::Rows(from.wrapping_add(width), row_stride);
                        }
                    }
                    Source::Transposed(b, p0, j0) => {
                        // A panel of the source holds `width` rows of the transpose.
                        let mut p = p0;
                        while p < p0 + k {
                            let first = p / width * width;
                            let rows = (first + width).min(p0 + k) - p;
                            let (from, step) = b.panel(j0 + j, first);
                            let (from, to) = (from.wrapping_add(p - first), to.wrapping_add((p - p0) * stored));
                            s.call(Panels { from, row_stride: 1, col_stride: step, k: rows, n: cols, width, to });
                            p += rows;
                        }
                        if self.far && k > 0 && j + width < self.cols.len() {
                            let (from, step) = b.panel(j0 + j + width, p0 / width * width);
                            let (len, chunks) = (width * step, k.div_ceil(width));
                            next = Next::Region(Region { from, len, chunks, next: b.next_panel() });
                        }
                    }
                }
                Panel(at, stored, next)
            }
        }
    }
}
