//! How trainings that are at work at the same time divide the cores.
//!
//! Each gets an equal share, but none more than it has use for: what small networks leave, large ones get. No core is
//! idle that a training has use for: of eight, three trainings have two, three and three.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicUsize, Ordering::*};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Workers that share the cores, and what their trainings have use for.
#[derive(Debug, Default)]
pub struct Sharers {
    workers: AtomicUsize,
    /// The most cores of each training, by its number.
    trainings: Mutex<BTreeMap<u64, usize>>,
}

impl Sharers {
    /// So many workers, none of which trains yet.
    pub fn new(workers: usize) -> Arc<Self> {
        Arc::new(Sharers { workers: AtomicUsize::new(workers), trainings: Mutex::default() })
    }

    /// How many workers are at work.
    pub fn workers(&self) -> usize {
        self.workers.load(Acquire)
    }

    /// One worker more.
    pub fn enter(&self) {
        self.workers.fetch_add(1, AcqRel);
    }

    /// One worker fewer: it has ended, or waits for others.
    pub fn leave(&self) {
        self.workers.fetch_sub(1, AcqRel);
    }

    fn trainings(&self) -> MutexGuard<'_, BTreeMap<u64, usize>> {
        self.trainings.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The place of one training among the workers, until it is dropped.
#[derive(Debug)]
pub struct Place {
    sharers: Arc<Sharers>,
    number: u64,
}

impl Place {
    /// A place for a training that has use for at most so many cores; its worker is one that the sharers count.
    pub fn new(sharers: Arc<Sharers>, most: usize) -> Self {
        let mut trainings = sharers.trainings();
        let number = trainings.last_key_value().map_or(0, |(last, _)| last + 1);
        trainings.insert(number, most.max(1));
        drop(trainings);
        Place { sharers, number }
    }

    /// Its share of so many cores at this moment: at least one. A worker that does not train has one core too, and
    /// where some that train wait meanwhile, nobody knows which: those that do not have equal shares then.
    pub fn share(&self, cores: usize) -> usize {
        let (workers, trainings) = (self.sharers.workers().max(1), self.sharers.trainings());
        let Some(others) = workers.checked_sub(trainings.len()) else { return (cores / workers).max(1) };
        let mut needs: Vec<(usize, u64)> = trainings.iter().map(|(number, most)| (*most, *number)).collect();
        needs.sort_unstable();
        let mut rest = cores.saturating_sub(others);
        for (i, &(most, number)) in needs.iter().enumerate() {
            let part = (rest / (needs.len() - i)).clamp(1, most);
            if number == self.number {
                return part;
            }
            rest = rest.saturating_sub(part);
        }
        1
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.sharers.trainings().remove(&self.number);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The shares of trainings that have use for so many cores, of workers that train or not.
    fn shares(cores: usize, workers: usize, most: &[usize]) -> Vec<usize> {
        let sharers = Sharers::new(workers);
        let places: Vec<Place> = most.iter().map(|&most| Place::new(Arc::clone(&sharers), most)).collect();
        places.iter().map(|place| place.share(cores)).collect()
    }

    #[test]
    fn no_core_is_idle_that_somebody_has_use_for() {
        assert_eq!(shares(8, 3, &[8, 8, 8]), [2, 3, 3]);
        assert_eq!(shares(8, 5, &[8; 5]), [1, 1, 2, 2, 2]);
        assert_eq!(shares(8, 4, &[1, 8, 1, 2]), [1, 4, 1, 2], "the large one has what the small ones leave");
        assert_eq!(shares(2, 1, &[2]), [2], "the last of two has both");
        for cores in 1..=20 {
            for most in [[1, 1, 1], [1, 2, 9], [3, 4, 20], [20, 20, 20]] {
                let used: usize = shares(cores, 3, &most).iter().sum();
                assert_eq!(used, cores.clamp(3, most.iter().sum::<usize>().max(3)), "{cores} cores, {most:?}");
            }
        }
    }

    #[test]
    fn everyone_has_a_core_at_least() {
        assert_eq!(shares(2, 5, &[2; 5]), [1; 5]);
        assert_eq!(shares(8, 9, &[8]), [1], "eight others may begin to train at any moment");
        assert_eq!(shares(8, 0, &[8]), [8], "nobody counts the one that asks: it has left");
    }

    #[test]
    fn workers_that_do_not_train_have_a_core_each() {
        assert_eq!(shares(8, 4, &[8, 8]), [3, 3]);
    }

    #[test]
    fn who_waits_or_ends_leaves_its_cores() {
        let sharers = Sharers::new(3);
        let mut places: Vec<Place> = (0..3).map(|_| Place::new(Arc::clone(&sharers), 8)).collect();
        sharers.leave();
        assert_eq!(places[0].share(8), 4, "of the two that do not wait");
        sharers.enter();
        assert_eq!(places[0].share(8), 2);
        drop(places.pop());
        assert_eq!([places[0].share(8), places[1].share(8)], [3, 4], "the worker may begin another training");
        sharers.leave();
        assert_eq!([places[0].share(8), places[1].share(8)], [4, 4]);
        // Numbers of trainings that have ended do not come back while later ones are there.
        let first = places.swap_remove(0);
        drop(first);
        let new = Place::new(Arc::clone(&sharers), 2);
        assert_eq!([places[0].share(8), new.share(8)], [6, 2]);
    }
}
