//! How long a search may go on: its time limit with what the last training needs, and the user's wish to stop.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Milliseconds for encoding, testing and saving at most, and the share of the time limit that they are at most.
const END: f64 = 1000.0;
const SHARE: f64 = 0.25;

/// Wall-clock limits, the time kept back for the last training, and the user's wish to stop.
pub(super) struct Budget {
    deadline: Option<Instant>,
    /// Of one trial.
    pub trial_limit: Option<Duration>,
    /// Milliseconds that the last training of the best trial so far will take, and what comes after it.
    reserve: AtomicU64,
    /// Milliseconds for encoding, testing and saving.
    end: f64,
    /// The user's.
    asked: Arc<AtomicBool>,
    /// The study's: set when either the user or the clock says so.
    stop: Arc<AtomicBool>,
}

impl Budget {
    pub fn new(
        started: Instant,
        limit: Option<Duration>,
        trial_limit: Option<Duration>,
        asked: Arc<AtomicBool>,
    ) -> Self {
        let deadline = limit.and_then(|limit| started.checked_add(limit));
        // A second, but some of a short time is for trials.
        let end = limit.map_or(END, |limit| END.min(SHARE * 1000.0 * limit.as_secs_f64()));
        Budget { deadline, trial_limit, reserve: AtomicU64::new(end as u64), end, asked, stop: Arc::default() }
    }

    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Whether trials should stop now.
    pub fn spent(&self) -> bool {
        let reserve = Duration::from_millis(self.reserve.load(Ordering::Relaxed));
        let late = self.deadline.is_some_and(|deadline| Instant::now() + reserve >= deadline);
        if late || self.asked.load(Ordering::Relaxed) {
            self.stop.store(true, Ordering::Relaxed);
        }
        self.stop.load(Ordering::Relaxed)
    }

    /// Keeps back what the last training is expected to take, and what comes after it.
    pub fn keep_back(&self, seconds: f64) {
        self.reserve.store((self.end + 1000.0 * seconds) as u64, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_time_of_the_last_training_is_kept_back() {
        // Limits that no test lives to see.
        let budget = |limit| Budget::new(Instant::now(), limit, None, Arc::default());
        let long = budget(Some(Duration::from_secs(1_000_000)));
        assert!(!long.spent(), "a second is kept back");
        long.keep_back(900_000.0);
        assert!(!long.spent() && !long.stop_flag().load(Ordering::Relaxed));
        long.keep_back(999_999.5);
        assert!(long.spent() && long.stop_flag().load(Ordering::Relaxed), "and a second for the rest");
        long.keep_back(0.0);
        assert!(long.spent(), "what has stopped stays so");
        assert!(budget(Some(Duration::ZERO)).spent());
        let short = budget(Some(Duration::from_secs(1)));
        assert_eq!(short.reserve.load(Ordering::Relaxed), 250, "of a short time most is for trials");
        short.keep_back(0.0);
        assert_eq!(short.reserve.load(Ordering::Relaxed), 250);
        short.keep_back(1.0);
        assert!(short.spent());
        let endless = budget(None);
        endless.keep_back(1e9);
        assert!(!endless.spent());
        endless.asked.store(true, Ordering::Relaxed);
        assert!(endless.spent());
    }
}
