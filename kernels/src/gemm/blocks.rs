//! The loops around the tile: which part of A, B and C is worked on while it lies in which cache.
//!
//! From the outside in: `NC` columns; `KC` of the sum, for which B is packed (or read in place) so that a panel stays
//! in L1; `STRIPS` strips of rows, for which A is packed (or read in place) and stays in L2; panels; strips. When a
//! block of rows has had its last k, its epilogue runs. Rows are cut into strips as even as possible rather than
//! into whole tiles and a rest. None of these choices shows in the result, see [`super`].

use super::pack::Panels;
use super::tile::{Kernel, Left, Strips, kernel};
use super::{Beta, Gemm, PANEL_VECTORS, Right};
use crate::epilogue::Epilogue;
use crate::isa::{Isa, Op, Simd};
use crate::matrix::Matrix;

/// Most steps of k at a time: the panel (KC · 2 vectors) and a strip share L1.
pub(super) const KC: usize = 256;
/// Most columns at a time: the packed block is KC · NC.
pub(super) const NC: usize = 1024;
/// Most strips at a time: the packed block is STRIPS · KC vectors.
pub(super) const STRIPS: usize = 16;
/// B is packed where at least so many strips use it.
const PACK_B_STRIPS: usize = 4;
/// A is packed where at least so many panels use it.
const PACK_A_PANELS: usize = 4;

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
}

impl Scratch {
    /// Memory for every product of at most those sizes, so that none of them allocates.
    pub fn with_capacity_for(isa: Isa, max_m: usize, max_k: usize, max_n: usize) -> Self {
        let mut scratch = Scratch::default();
        // A result by columns is computed as its transpose.
        let side = max_m.max(max_n);
        isa.run(Reserve { scratch: &mut scratch, m: side, k: max_k, n: side });
        scratch.tile.grow(super::TILE.0 * super::TILE.1);
        scratch
    }

    /// Bytes held.
    #[cfg(test)]
    pub(super) fn size(&self) -> usize {
        [&self.a, &self.b, &self.tile].iter().map(|buffer| size_of_val(&buffer.0[..])).sum()
    }

    #[inline(always)]
    fn reserve<S: Simd>(&mut self, m: usize, k: usize, n: usize) {
        self.a.grow(m.div_ceil(S::TILE_ROWS).min(STRIPS) * k.min(KC) * S::LANES);
        self.b.grow(n.min(NC).next_multiple_of(S::LANES) * k.min(KC));
    }
}

struct Reserve<'a> {
    scratch: &'a mut Scratch,
    m: usize,
    k: usize,
    n: usize,
}

impl Op for Reserve<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, _: S) {
        self.scratch.reserve::<S>(self.m, self.k, self.n);
    }
}

/// A product of which C has contiguous columns and m, n ≥ 1.
pub(super) struct Product<'a, 's> {
    pub args: Gemm<'a>,
    pub scratch: &'s mut Scratch,
}

/// How `m` rows are cut: `tall` strips of `rows + 1` rows, then the others of `rows`.
#[derive(Clone, Copy)]
struct Cut {
    strips: usize,
    rows: usize,
    tall: usize,
}

impl Cut {
    #[inline(always)]
    fn new(m: usize, most: usize) -> Self {
        let strips = m.div_ceil(most);
        Cut { strips, rows: m / strips, tall: m % strips }
    }

    /// First row of strip `t`.
    #[inline(always)]
    fn start(&self, t: usize) -> usize {
        t * self.rows + t.min(self.tall)
    }
}

impl Op for Product<'_, '_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let Gemm { a, b, mut c, beta, mut epilogue } = self.args;
        let (m, k, n) = (a.rows(), a.cols(), b.cols());
        let cut = Cut::new(m, S::TILE_ROWS);
        let c_step = c.row_stride();
        let pack_a = needs_packing(a) || n > PACK_A_PANELS * PANEL_VECTORS * S::LANES;
        let pack_b = matches!(b, Right::Strided(b) if b.col_stride() != 1 || cut.strips >= PACK_B_STRIPS);
        if pack_a || pack_b {
            self.scratch.reserve::<S>(m, k, n);
        }
        let (a_buffer, b_buffer) = (self.scratch.a.as_mut_ptr(), self.scratch.b.as_mut_ptr());
        let k_blocks = k.div_ceil(KC).max(1);
        let kc = k.div_ceil(k_blocks);
        for j0 in (0..n).step_by(NC) {
            let cols = NC.min(n - j0);
            for block in 0..k_blocks {
                let p0 = block * kc;
                let kc = kc.min(k - p0);
                let right = match b {
                    Right::Packed(b) => Panel::Packed(b, p0, j0),
                    Right::Strided(b) => {
                        let from = b.as_ptr().wrapping_add(p0 * b.row_stride() + j0 * b.col_stride());
                        if pack_b {
                            let (row_stride, col_stride) = (b.row_stride(), b.col_stride());
                            let width = PANEL_VECTORS * S::LANES;
                            s.call(Panels { from, row_stride, col_stride, k: kc, n: cols, width, to: b_buffer });
                            Panel::Scratch(b_buffer, kc)
                        } else {
                            Panel::InPlace(from, b.row_stride())
                        }
                    }
                };
                for t0 in (0..cut.strips).step_by(STRIPS) {
                    let strips = t0..cut.strips.min(t0 + STRIPS);
                    let i0 = cut.start(strips.start);
                    let from = a.as_ptr().wrapping_add(i0 * a.row_stride() + p0 * a.col_stride());
                    let left = if pack_a {
                        let to = a_buffer;
                        pack_strips(s, cut, strips.clone(), kc, from, (a.row_stride(), a.col_stride()), to);
                        (Left::Down, to.cast_const(), S::LANES)
                    } else if a.col_stride() == 1 {
                        (Left::Along, from, a.row_stride())
                    } else {
                        (Left::Down, from, a.col_stride())
                    };
                    let block = RowBlock {
                        cut,
                        strips: strips.clone(),
                        kc,
                        cols,
                        left: left.0,
                        a: left.1,
                        a_step: left.2,
                        pack_a,
                        right,
                        c: c.as_mut_ptr().wrapping_add(i0 * c_step + j0),
                        c_step,
                        add: p0 > 0 || beta == Beta::One,
                    };
                    block.run(s);
                    if p0 + kc == k && !matches!(epilogue, Epilogue::None) {
                        for i in i0..cut.start(strips.end) {
                            epilogue.apply_row(s, i, j0, &mut c.row_mut(i)[j0..j0 + cols]);
                        }
                    }
                }
            }
        }
    }
}

/// Whether the tile cannot, or should not, read A where it lies.
fn needs_packing(a: Matrix) -> bool {
    a.col_stride() != 1 && a.row_stride() != 1
}

/// Packs strips one after another, each kc steps of one vector.
#[inline(always)]
fn pack_strips<S: Simd>(
    s: S,
    cut: Cut,
    strips: std::ops::Range<usize>,
    kc: usize,
    from: *const f32,
    (row_stride, col_stride): (usize, usize),
    to: *mut f32,
) {
    let first = cut.start(strips.start);
    for t in strips.clone() {
        let (i, rows) = (cut.start(t) - first, cut.start(t + 1) - cut.start(t));
        s.call(Panels {
            from: from.wrapping_add(i * row_stride),
            row_stride: col_stride,
            col_stride: row_stride,
            k: kc,
            n: rows,
            width: S::LANES,
            to: to.wrapping_add((t - strips.start) * kc * S::LANES),
        });
    }
}

/// Where panels of B are read.
#[derive(Clone, Copy)]
enum Panel<'a> {
    Packed(super::Packed<'a>, usize, usize),
    /// Packed for this block of so many rows.
    Scratch(*const f32, usize),
    /// As B lies, with its row stride.
    InPlace(*const f32, usize),
}

/// Strips × panels, for one block of k.
struct RowBlock<'a> {
    cut: Cut,
    strips: std::ops::Range<usize>,
    kc: usize,
    cols: usize,
    left: Left,
    a: *const f32,
    a_step: usize,
    pack_a: bool,
    right: Panel<'a>,
    c: *mut f32,
    c_step: usize,
    add: bool,
}

impl RowBlock<'_> {
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let width = PANEL_VECTORS * S::LANES;
        let tall = self.cut.tall.clamp(self.strips.start, self.strips.end) - self.strips.start;
        let short = self.strips.len() - tall;
        let masked = matches!(self.right, Panel::InPlace(..));
        for j in (0..self.cols).step_by(width) {
            let cols = width.min(self.cols - j);
            let vectors = cols.div_ceil(S::LANES);
            let (b, b_step) = match self.right {
                Panel::Packed(b, p0, j0) => b.panel(p0, j0 + j),
                Panel::Scratch(b, k) => (b.wrapping_add(j * k), vectors * S::LANES),
                Panel::InPlace(b, step) => (b.wrapping_add(j), step),
            };
            let (mut a, mut c) = (self.a, self.c.wrapping_add(j));
            for (count, rows) in [(tall, self.cut.rows + 1), (short, self.cut.rows)] {
                if count == 0 {
                    continue;
                }
                let a_next = match (self.pack_a, self.left) {
                    (true, _) => self.kc * S::LANES,
                    (false, Left::Down) => rows,
                    (false, Left::Along) => rows * self.a_step,
                };
                let kernel: Kernel<S> = kernel(rows, vectors, self.left, masked);
                let (k, a_step, c_step, add) = (self.kc, self.a_step, self.c_step, self.add);
                // SAFETY: the operands are readable and C writable by the contract of `Gemm`; packed panels and
                // strips hold whole vectors, and a panel in place is masked.
                unsafe { kernel(s, &Strips { k, a, a_step, a_next, b, b_step, c, c_step, cols, count, add }) };
                a = a.wrapping_add(count * a_next);
                c = c.wrapping_add(count * rows * self.c_step);
            }
        }
    }
}
