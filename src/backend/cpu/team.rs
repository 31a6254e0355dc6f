//! A team of workers inside a run of steps: who takes which part, and a barrier that spins.
//!
//! The regions between two barriers last tens of microseconds, less than it takes the operating system to wake a
//! thread; so a worker spins for a while before it lets others run.

use std::ops::Range;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::*};
use std::time::{Duration, Instant};

/// How long a waiting worker spins before it lets others run.
const SPIN: Duration = Duration::from_micros(20);
/// How often it looks between two looks at the clock.
const LOOKS: u32 = 32;

/// Rows that are enough for a worker: two strips or groups of the products, more or less.
const ROWS: usize = 32;
/// Elements of a right operand that every worker may well read whole, since what others wrote of it comes in some
/// microseconds (256 KiB, half of them at 20 GB/s in 6): on two cores of a Xeon 256 × 256 was better read than divided,
/// 784 × 128 was not.
const SMALL: usize = 1 << 16;

/// The most workers that find enough of a result of `m` rows and `n` columns: rows, or two panels each. Two at the
/// least, whatever there is, as the constants of `cost.rs` were fitted to.
pub(super) fn most_parts((m, n): (usize, usize), panel: usize) -> usize {
    (m / ROWS).max(n / (2 * panel)).max(2)
}

/// Where the workers of a team meet. A worker that panics poisons it, so that the others do not wait for ever.
#[derive(Debug, Default)]
pub(super) struct Barrier {
    arrived: AtomicUsize,
    generation: AtomicUsize,
    poisoned: AtomicBool,
}

/// How a matrix is divided among the workers.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Split {
    Rows,
    Columns,
}

/// One worker of a team, as `Cpu::team` hands it out.
#[derive(Debug)]
pub struct Worker<'t> {
    /// Its number, from 0.
    pub index: usize,
    /// How many there are.
    pub size: usize,
    barrier: &'t Barrier,
}

impl<'t> Worker<'t> {
    pub(super) fn new(index: usize, size: usize, barrier: &'t Barrier) -> Self {
        Worker { index, size, barrier }
    }

    /// Waits until every worker is here: what they wrote before, all may read after.
    pub fn wait(&self) {
        if self.size == 1 {
            return;
        }
        let barrier = self.barrier;
        let generation = barrier.generation.load(Acquire);
        if barrier.arrived.fetch_add(1, AcqRel) + 1 == self.size {
            barrier.arrived.store(0, Relaxed);
            barrier.generation.store(generation.wrapping_add(1), Release);
            return;
        }
        let (mut looks, mut since, mut patient) = (0, None, true);
        while barrier.generation.load(Acquire) == generation {
            assert!(!barrier.poisoned.load(Relaxed), "another worker of the team failed");
            looks += 1;
            if looks % LOOKS == 0 && patient {
                patient = since.get_or_insert_with(Instant::now).elapsed() < SPIN;
            }
            if patient { std::hint::spin_loop() } else { std::thread::yield_now() }
        }
    }

    /// This worker's part of `0..n`, in whole granules: the parts of all workers cover it and do not overlap.
    pub fn share(&self, n: usize, granule: usize) -> Range<usize> {
        let granules = n.div_ceil(granule);
        let end = |i: usize| (granules * i / self.size * granule).min(n);
        end(self.index)..end(self.index + 1)
    }

    /// How the result of a product m × k × n is divided. By rows every worker reads the whole right operand, and, with
    /// rows of its own from layer to layer, little else that others wrote; by columns every worker reads the whole left
    /// one, and writes parts of rows of which others write the rest. Such neighbours hinder each other: what one core
    /// fetches ahead along a row is what another is about to write. So by rows where these are enough for every worker
    /// and either no fewer than those of the right operand or that is [`SMALL`], or where the columns are too few; else
    /// by columns.
    pub(super) fn split(&self, (m, k, n): (usize, usize, usize), panel: usize) -> Split {
        let (tall, wide) = (m >= ROWS * self.size && (m >= k || k * n <= SMALL), n >= 2 * panel * self.size);
        if self.size > 1 && wide && !tall { Split::Columns } else { Split::Rows }
    }

    /// This worker's block of the result.
    pub fn block(&self, (m, k, n): (usize, usize, usize), panel: usize) -> (Range<usize>, Range<usize>) {
        match self.split((m, k, n), panel) {
            Split::Columns => (0..m, self.share(n, panel)),
            Split::Rows => (self.share(m, 1), 0..n),
        }
    }
}

impl Drop for Worker<'_> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            self.barrier.poisoned.store(true, Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shares_cover_everything_once() {
        let barrier = Barrier::default();
        for (n, granule, size) in [(0, 1, 3), (1, 4, 2), (10, 1, 3), (100, 16, 4), (33, 32, 2), (5, 1, 8)] {
            let mut next = 0;
            for index in 0..size {
                let part = Worker::new(index, size, &barrier).share(n, granule);
                assert_eq!(part.start, next);
                assert!(part.start.is_multiple_of(granule) || part.start == n);
                next = part.end;
            }
            assert_eq!(next, n);
        }
    }

    #[test]
    fn rows_are_divided_where_they_are_many() {
        let barrier = Barrier::default();
        let block = |size, product| Worker::new(size - 1, size, &barrier).block(product, 32);
        assert_eq!(block(1, (256, 784, 512)), (0..256, 0..512));
        assert_eq!(block(2, (256, 54, 256)), (128..256, 0..256), "more rows than the right operand has");
        assert_eq!(block(2, (64, 256, 256)), (32..64, 0..256), "a small right operand");
        assert_eq!(block(2, (256, 257, 256)), (0..256, 128..256), "neither");
        assert_eq!(block(2, (63, 256, 256)), (0..63, 128..256), "too few rows");
        assert_eq!(block(16, (256, 54, 1024)), (0..256, 960..1024), "too few for sixteen");
        assert_eq!(block(2, (8, 784, 64)), (4..8, 0..64), "too few columns");
    }

    #[test]
    fn a_barrier_orders_writes_before_reads() {
        let (barrier, cells) = (Barrier::default(), [const { AtomicUsize::new(0) }; 3]);
        std::thread::scope(|scope| {
            for index in 0..3 {
                let (barrier, cells) = (&barrier, &cells);
                scope.spawn(move || {
                    let worker = Worker::new(index, 3, barrier);
                    for round in 1..=500 {
                        cells[index].store(round, Relaxed);
                        worker.wait();
                        assert!(cells.iter().all(|cell| cell.load(Relaxed) == round));
                        worker.wait();
                    }
                });
            }
        });
    }

    #[test]
    fn a_worker_that_fails_fails_the_team() {
        let barrier = Barrier::default();
        let outcome = std::thread::scope(|scope| {
            let waiting = scope.spawn(|| Worker::new(0, 2, &barrier).wait());
            let failing = scope.spawn(|| {
                let _worker = Worker::new(1, 2, &barrier);
                panic!("on purpose");
            });
            (waiting.join().is_err(), failing.join().is_err())
        });
        assert_eq!(outcome, (true, true));
    }
}
