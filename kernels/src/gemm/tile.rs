//! The innermost loops: a register tile of `C`, for all of one block of k.
//!
//! A strip is MR rows of A; a panel is NV vectors of columns of B. One call multiplies several strips of the same
//! height, one under the other, with one panel, so that the panel stays in L1 while strips stream by. The tile's
//! MR·NV sums stay in registers; a row of B is loaded once and each element of A broadcast once a step. The body is
//! one; [`table`] holds it for every height, width and layout.

#![allow(clippy::needless_range_loop, reason = "rows and vectors of a tile are its coordinates")]

use crate::isa::{Op, Simd};

/// Most rows of any tile: the length of the table.
pub(super) const MAX_ROWS: usize = 14;

/// How A lies.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Left {
    /// The rows of a strip are contiguous (packed, or a transposed operand); `a_step` leads from p to p + 1.
    Down,
    /// A row is contiguous along k; `a_step` leads from row to row.
    Along,
}

/// Strips of one height times one panel.
#[derive(Clone, Copy, Debug)]
pub(super) struct Strips {
    /// Length of the sums.
    pub k: usize,
    /// Element (0, 0) of the first strip.
    pub a: *const f32,
    /// See [`Left`].
    pub a_step: usize,
    /// From strip to strip.
    pub a_next: usize,
    /// Element (0, 0) of the panel.
    pub b: *const f32,
    /// From row to row of the panel.
    pub b_step: usize,
    /// Element (0, 0) of the first tile of C.
    pub c: *mut f32,
    /// That of the tile after the last, where tiles of C are to be asked for before they are needed, a line of each of
    /// its rows at the beginning and in the middle of the sums. k is at least four times the rows then.
    pub c_after: Option<*mut f32>,
    /// From row to row of C; its columns are contiguous.
    pub c_step: usize,
    /// Columns of C, above (NV − 1)·LANES and at most NV·LANES.
    pub cols: usize,
    /// Strips.
    pub count: usize,
    /// For each strip what is asked for meanwhile: one, or two where tiles of C are asked for.
    pub asks: *const Ask,
    /// Whether the sums begin with what C holds.
    pub add: bool,
}

/// Memory that will be needed later, of which a step of k asks for a line: the loop has room for one such instruction,
/// where many at once would wait for each other.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ask {
    pub from: *const f32,
    /// Bytes to the next step. Less than a line where there is time: a line is asked for by several steps then, which
    /// costs nothing, and lines come no faster than they are needed.
    pub step: usize,
}

/// The inner loops for one height and layout.
///
/// # Safety of a call
/// The memory that [`Strips`] describes is readable, C writable; a panel that is not masked is readable for whole
/// vectors.
pub(super) type Kernel<S> = unsafe fn(S, &Strips);

struct Tile<'a, const MR: usize, const NV: usize, const ALONG: bool, const MASKED: bool>(&'a Strips);

/// `MASKED`: no lane of B beyond the columns of C is read.
unsafe fn tile<S: Simd, const MR: usize, const NV: usize, const ALONG: bool, const MASKED: bool>(s: S, args: &Strips) {
    if const { MR <= S::TILE_ROWS } {
        s.call(Tile::<MR, NV, ALONG, MASKED>(args));
    }
}

/// The kernel for strips of `rows` rows and `vectors` (1 or 2) vectors of columns.
#[inline(always)]
pub(super) fn kernel<S: Simd>(rows: usize, vectors: usize, left: Left, masked: bool) -> Kernel<S> {
    let layout = 2 * usize::from(left == Left::Along) + usize::from(masked);
    debug_assert!(rows <= S::TILE_ROWS && S::TILE_ROWS <= MAX_ROWS);
    let kernels: &'static [[[Kernel<S>; 4]; 2]; MAX_ROWS] = const { &table::<S>() };
    kernels[rows - 1][vectors - 1][layout]
}

const fn table<S: Simd>() -> [[[Kernel<S>; 4]; 2]; MAX_ROWS] {
    macro_rules! rows {
        ($($mr:literal)*) => {[$(
            [
                [tile::<S, $mr, 1, false, false>, tile::<S, $mr, 1, false, true>,
                 tile::<S, $mr, 1, true, false>, tile::<S, $mr, 1, true, true>],
                [tile::<S, $mr, 2, false, false>, tile::<S, $mr, 2, false, true>,
                 tile::<S, $mr, 2, true, false>, tile::<S, $mr, 2, true, true>],
            ],
        )*]};
    }
    rows!(1 2 3 4 5 6 7 8 9 10 11 12 13 14)
}

/// Rows whose addresses are one pointer plus 0, 1 or 2 strides, as x86 addresses can be.
const GROUP: usize = 3;

/// One pointer a group of rows.
type RowPointers = [*const f32; MAX_ROWS.div_ceil(GROUP)];

/// The statement once for each row of the tile. The compiler leaves a loop of many rows a loop, and the sums in memory.
macro_rules! each_row {
    ($mr:ident, $r:ident => $body:block) => {
        each_row!(@ $mr $r $body 0 1 2 3 4 5 6 7 8 9 10 11 12 13)
    };
    (@ $mr:ident $r:ident $body:block $($row:literal)*) => {$(
        if const { $row < $mr } {
            let $r = $row;
            $body
        }
    )*};
}

pub(super) use each_row;

impl<const MR: usize, const NV: usize, const ALONG: bool, const MASKED: bool> Op for Tile<'_, MR, NV, ALONG, MASKED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let t = *self.0;
        let tail = t.cols - (NV - 1) * S::LANES;
        let (mut a, mut c) = (t.a, t.c);
        for strip in 0..t.count {
            let mut sums = [[s.splat(0.0); NV]; MR];
            // SAFETY: the caller of the kernel promises the memory of every strip.
            unsafe {
                if t.add {
                    let mut row = c.wrapping_sub(t.c_step);
                    each_row!(MR, r => {
                        row = opaque(row.wrapping_add(t.c_step)).cast_mut();
                        for v in 0..NV - 1 {
                            sums[r][v] = s.load_ptr(row.add(v * S::LANES));
                        }
                        sums[r][NV - 1] = s.load_first(row.add((NV - 1) * S::LANES), tail);
                    });
                }
                let next = (strip + 1 < t.count).then(|| c.wrapping_add(MR * t.c_step));
                self.sum(s, a, strip, next, tail, &mut sums);
                let mut row = c.wrapping_sub(t.c_step);
                each_row!(MR, r => {
                    row = opaque(row.wrapping_add(t.c_step)).cast_mut();
                    for v in 0..NV - 1 {
                        s.store_ptr(row.add(v * S::LANES), sums[r][v]);
                    }
                    let last = row.add((NV - 1) * S::LANES);
                    if tail == S::LANES {
                        s.store_ptr(last, sums[r][NV - 1]);
                    } else {
                        s.store_first(last, tail, sums[r][NV - 1]);
                    }
                });
            }
            a = a.wrapping_add(t.a_next);
            c = c.wrapping_add(MR * t.c_step);
        }
    }
}

impl<const MR: usize, const NV: usize, const ALONG: bool, const MASKED: bool> Tile<'_, MR, NV, ALONG, MASKED> {
    /// Adds the product of the strip at `a` and the panel to the sums, and asks meanwhile; `next` is the tile
    /// of C after this, if this strip is not the last.
    ///
    /// # Safety
    /// As for [`Kernel`].
    #[inline(always)]
    unsafe fn sum<S: Simd>(
        &self,
        s: S,
        a: *const f32,
        strip: usize,
        next: Option<*mut f32>,
        tail: usize,
        sums: &mut [[S::F; NV]; MR],
    ) {
        let t = self.0;
        let (a_step, by) = if ALONG { (t.a_step, 1) } else { (1, t.a_step) };
        let b_step = t.b_step;
        let group = |g: usize| a.wrapping_add(g * GROUP * t.a_step);
        let mut rows = if ALONG { [a, group(1), group(2), group(3), group(4)] } else { [a; 5] };
        let mut b = t.b;
        let (mut left, mut turn) = (t.k, 0);
        while left > 0 {
            let (Ask { from: mut ahead, step: ahead_step }, steps) = match t.c_after {
                // SAFETY: there are as many asks.
                None => (unsafe { *t.asks.add(strip) }, t.k),
                // SAFETY: as above.
                Some(_) if turn % 2 == 1 => (unsafe { *t.asks.add(2 * strip + turn / 2) }, (t.k + turn / 2) / 2 - MR),
                Some(after) => {
                    let line = next.unwrap_or(after).wrapping_add(turn / 2 * (NV - 1) * S::LANES);
                    (Ask { from: line, step: t.c_step * size_of::<f32>() }, MR)
                }
            };
            (turn, left) = (turn + 1, left - steps);
            for _ in 0..steps {
                let mut w = [s.splat(0.0); NV];
                // SAFETY: as the caller promises; a masked panel is read up to its last column.
                unsafe {
                    if NV > 1 {
                        s.prefetch(ahead);
                    }
                    for v in 0..NV {
                        let at = b.add(v * S::LANES);
                        w[v] = if MASKED && v == NV - 1 { s.load_first(at, tail) } else { s.load_ptr(at) };
                    }
                    each_row!(MR, r => {
                        let x = if ALONG { *rows[r / GROUP].add(r % GROUP * a_step) } else { *rows[0].add(r) };
                        let x = s.splat(x);
                        for v in 0..NV {
                            sums[r][v] = s.mul_add(x, w[v], sums[r][v]);
                        }
                    });
                }
                rows = advance::<MR, ALONG>(rows, by);
                b = opaque(b.wrapping_add(b_step));
                ahead = opaque(ahead.wrapping_byte_add(ahead_step));
            }
        }
    }
}

/// Moves the row pointers on; written out for the reason of [`each_row`].
#[inline(always)]
fn advance<const MR: usize, const ALONG: bool>([r0, r1, r2, r3, r4]: RowPointers, by: usize) -> RowPointers {
    let on = |g: usize, p: *const f32| {
        if g == 0 || (ALONG && g < MR.div_ceil(GROUP)) { opaque(p.wrapping_add(by)) } else { p }
    };
    [on(0, r0), on(1, r1), on(2, r2), on(3, r3), on(4, r4)]
}

/// The same pointer, of which the compiler knows nothing: it would otherwise keep a pointer of its own for every row
/// and spill them, instead of adding strides within the address.
#[inline(always)]
#[allow(clippy::pointers_in_nomem_asm_block, reason = "the pointer itself passes, nothing is read through it")]
fn opaque(p: *const f32) -> *const f32 {
    #[cfg(all(target_arch = "x86_64", not(miri)))]
    {
        let mut p = p;
        // SAFETY: no instruction.
        unsafe { std::arch::asm!("/* {0} */", inout(reg) p, options(pure, nomem, nostack, preserves_flags)) };
        p
    }
    #[cfg(any(not(target_arch = "x86_64"), miri))]
    p
}
