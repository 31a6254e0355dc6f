//! The limits of one core, measured: what rates are shown as a share of.

use super::{Isa, Op, Simd};
use std::hint::black_box;
use std::time::Instant;

/// Independent sums: enough to hide the latency of an FMA on two ports.
const SUMS: usize = 12;

/// FMAs on registers alone.
struct Chain(usize);

impl Op for Chain {
    type Output = f32;
    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (x, y) = (s.splat(black_box(0.999)), s.splat(black_box(1e-3)));
        let mut sums = [s.splat(0.0); SUMS];
        for _ in 0..self.0 {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, x, y);
            }
        }
        sums.into_iter().fold(0.0, |total, sum| total + s.sum(sum))
    }
}

/// Multiply-adds on registers of one core: how many floating-point operations a second, two for each of them. The one
/// measurement takes some 40 µs, for the clock of this moment.
pub fn multiply_adds(isa: Isa) -> f64 {
    let steps = 20_000;
    let start = Instant::now();
    black_box(isa.run(Chain(steps)));
    (steps * SUMS * 2 * isa.lanes()) as f64 / start.elapsed().as_secs_f64()
}

/// Floating-point operations a second of one core with this set at the highest clock that it was seen to have: the best
/// of thirty measurements of [`multiply_adds`], which take a few milliseconds in all.
pub fn peak(isa: Isa) -> f64 {
    best(|| multiply_adds(isa))
}

/// The best of thirty measurements.
pub(crate) fn best(measure: impl Fn() -> f64) -> f64 {
    (0..30).map(|_| measure()).fold(0.0, f64::max)
}

/// `a ← a·s + b` over two slices.
struct Stream<'a> {
    a: &'a mut [f32],
    b: &'a [f32],
    passes: usize,
}

impl Op for Stream<'_> {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let scale = s.splat(black_box(0.5));
        for _ in 0..self.passes {
            for (a, b) in self.a.chunks_exact_mut(S::LANES).zip(self.b.chunks_exact(S::LANES)) {
                let sum = s.mul_add(s.load(a), scale, s.load(b));
                s.store(a, sum);
            }
            black_box(&mut *self.a);
        }
    }
}

/// Bytes a second of one core that reads two streams and writes one of them back, which together take `bytes`: the
/// best of ten measurements.
pub fn bandwidth(isa: Isa, bytes: usize) -> f64 {
    let count = (bytes / 8).next_multiple_of(64);
    let (mut a, b) = (vec![1.0f32; count], vec![1.0f32; count]);
    let passes = ((8usize << 20) / bytes.max(1)).max(1);
    let seconds = (0..10).map(|_| {
        let start = Instant::now();
        isa.run(Stream { a: &mut a, b: &b, passes });
        start.elapsed().as_secs_f64()
    });
    (passes * count * 12) as f64 / seconds.fold(f64::INFINITY, f64::min)
}
