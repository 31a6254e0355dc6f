//! The innermost loops: a register tile of `C`, for all of one block of k.
//!
//! A strip is MR rows of A; a panel is NV vectors of columns of B. One call multiplies several strips of the same
//! height, one under the other, with one panel, so that the panel stays in L1 while strips stream by. The tile's
//! MR·NV sums stay in registers; a row of B is loaded once and each element of A broadcast once a step. The body is
//! one; [`table`] holds it for every height, width and layout.

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
    /// From row to row of C; its columns are contiguous.
    pub c_step: usize,
    /// Columns of C, above (NV − 1)·LANES and at most NV·LANES.
    pub cols: usize,
    /// Strips.
    pub count: usize,
    /// Whether the sums begin with what C holds.
    pub add: bool,
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
    const { table::<S>() }
    [rows - 1][vectors - 1][layout]
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

impl<const MR: usize, const NV: usize, const ALONG: bool, const MASKED: bool> Op for Tile<'_, MR, NV, ALONG, MASKED> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let t = *self.0;
        let tail = t.cols - (NV - 1) * S::LANES;
        let (mut a, mut c) = (t.a, t.c);
        for _ in 0..t.count {
            // SAFETY: the caller of the kernel promises the memory of every strip.
            unsafe {
                let mut sums = [[s.splat(0.0); NV]; MR];
                if t.add {
                    for r in 0..MR {
                        for v in 0..NV - 1 {
                            sums[r][v] = s.load_ptr(c.add(r * t.c_step + v * S::LANES));
                        }
                        sums[r][NV - 1] = s.load_first(c.add(r * t.c_step + (NV - 1) * S::LANES), tail);
                    }
                }
                let mut rows = [a; MAX_ROWS.div_ceil(GROUP)];
                if ALONG {
                    for g in 1..MR.div_ceil(GROUP) {
                        rows[g] = a.add(g * GROUP * t.a_step);
                    }
                }
                let mut b = t.b;
                let mut p = 0;
                while p + 4 <= t.k {
                    for u in 0..4 {
                        step::<S, MR, NV, ALONG, MASKED>(s, &t, &rows, u, b.add(u * t.b_step), tail, &mut sums);
                    }
                    advance::<MR, ALONG>(&mut rows, t.a_step, 4);
                    b = b.add(4 * t.b_step);
                    p += 4;
                }
                while p < t.k {
                    step::<S, MR, NV, ALONG, MASKED>(s, &t, &rows, 0, b, tail, &mut sums);
                    advance::<MR, ALONG>(&mut rows, t.a_step, 1);
                    b = b.add(t.b_step);
                    p += 1;
                }
                for r in 0..MR {
                    for v in 0..NV - 1 {
                        s.store_ptr(c.add(r * t.c_step + v * S::LANES), sums[r][v]);
                    }
                    let last = c.add(r * t.c_step + (NV - 1) * S::LANES);
                    if tail == S::LANES {
                        s.store_ptr(last, sums[r][NV - 1]);
                    } else {
                        s.store_first(last, tail, sums[r][NV - 1]);
                    }
                }
            }
            a = a.wrapping_add(t.a_next);
            c = c.wrapping_add(MR * t.c_step);
        }
    }
}

/// Adds the outer product of column `u` of the strip (counted from `rows`) and the row of B at `b`.
#[inline(always)]
unsafe fn step<S: Simd, const MR: usize, const NV: usize, const ALONG: bool, const MASKED: bool>(
    s: S,
    t: &Strips,
    rows: &[*const f32; MAX_ROWS.div_ceil(GROUP)],
    u: usize,
    b: *const f32,
    tail: usize,
    sums: &mut [[S::F; NV]; MR],
) {
    // SAFETY: the caller's promise, as in `run`.
    unsafe {
        let mut w = [s.splat(0.0); NV];
        for (v, w) in w.iter_mut().enumerate() {
            let at = b.add(v * S::LANES);
            *w = if MASKED && v == NV - 1 { s.load_first(at, tail) } else { s.load_ptr(at) };
        }
        for r in 0..MR {
            let x = if ALONG { *rows[r / GROUP].add(r % GROUP * t.a_step + u) } else { *rows[0].add(u * t.a_step + r) };
            let x = s.splat(x);
            for v in 0..NV {
                sums[r][v] = s.mul_add(x, w[v], sums[r][v]);
            }
        }
    }
}

/// Moves the row pointers by `by` steps of k.
#[inline(always)]
unsafe fn advance<const MR: usize, const ALONG: bool>(
    rows: &mut [*const f32; MAX_ROWS.div_ceil(GROUP)],
    a_step: usize,
    by: usize,
) {
    if ALONG {
        for row in &mut rows[..MR.div_ceil(GROUP)] {
            *row = row.wrapping_add(by);
        }
    } else {
        rows[0] = rows[0].wrapping_add(by * a_step);
    }
}
