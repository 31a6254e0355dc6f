//! How long a search may go on: its time limit with what its end needs, and the user's wish to stop.
//!
//! Nothing here is a guess: what the end takes is what its parts took when they were measured in this search (the test
//! rehearsed on a share of the rows, the encoding of the data, the best trial's training and scoring), and whoever
//! measures says so here. Where the last training no longer fits, the time is for trials, and the best trial's own
//! model is the result.

use std::cell::Cell;
use std::sync::Arc;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// A pause is forgotten by this part with each trial.
const FORGETS: u64 = 8;

thread_local! {
    /// When this thread last looked at the clock, and of which search.
    static LAST_LOOK: Cell<Option<(u64, Instant)>> = const { Cell::new(None) };
}

/// Number of the next search in this process.
static SEARCHES: AtomicU64 = AtomicU64::new(0);

/// What the end of a search takes, in seconds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Costs {
    /// Testing and saving the best trial's own model.
    pub own: f64,
    /// The same with a last training before: as it may take, and as it takes at the least. None where none is wanted.
    pub retrained: Option<[f64; 2]>,
}

/// Wall-clock limits, the time kept back for the end, and the user's wish to stop.
pub(super) struct Budget {
    search: u64,
    deadline: Option<Instant>,
    /// In seconds, for messages.
    pub limit: f64,
    /// Of one trial.
    pub trial_limit: Option<Duration>,
    /// Nanoseconds that are kept back.
    reserve: AtomicU64,
    /// Whether that is for a last training too.
    retrains: AtomicBool,
    /// The longest that a thread lately took from one look at the clock to the next, in nanoseconds: so late trials
    /// stop.
    pause: AtomicU64,
    /// The user's.
    asked: Arc<AtomicBool>,
    /// The study's: set when either the user or the clock says so.
    stop: Arc<AtomicBool>,
    /// A trial is there whose configuration can be the result.
    has_result: AtomicBool,
    /// Known when time is up: whether trials under way end with what they came to.
    delivers: OnceLock<bool>,
}

impl Budget {
    /// Counts from `started`.
    pub fn new(
        started: Instant,
        limit: Option<Duration>,
        trial_limit: Option<Duration>,
        asked: Arc<AtomicBool>,
    ) -> Self {
        Budget {
            search: SEARCHES.fetch_add(1, Relaxed),
            deadline: limit.and_then(|limit| started.checked_add(limit)),
            limit: limit.unwrap_or_default().as_secs_f64(),
            trial_limit,
            reserve: AtomicU64::new(0),
            retrains: AtomicBool::new(false),
            pause: AtomicU64::new(0),
            asked,
            stop: Arc::default(),
            has_result: AtomicBool::new(false),
            delivers: OnceLock::new(),
        }
    }

    pub fn stop_flag(&self) -> Arc<AtomicBool> {
        self.stop.clone()
    }

    /// Whether the clock may end this search.
    pub fn is_limited(&self) -> bool {
        self.deadline.is_some()
    }

    /// Whether trials should stop now.
    pub fn spent(&self) -> bool {
        let now = Instant::now();
        if let Some((_, before)) =
            LAST_LOOK.replace(Some((self.search, now))).filter(|(search, _)| *search == self.search)
        {
            self.pause.fetch_max(nanoseconds((now - before).as_secs_f64()), Relaxed);
        }
        let kept_back = self.reserve.load(Relaxed).saturating_add(self.pause.load(Relaxed));
        let late = self.deadline.is_some_and(|deadline| now + Duration::from_nanos(kept_back) >= deadline);
        if late {
            // Known once, for all trials under way alike: the first of them to end is a result.
            self.delivers.get_or_init(|| !self.has_result.load(Relaxed));
        }
        if late || self.asked() {
            self.stop.store(true, Relaxed);
        }
        self.stop.load(Relaxed)
    }

    /// A trial has ended: pauses of long ago count less and less.
    pub fn trial_ended(&self) {
        let _ = self.pause.fetch_update(Relaxed, Relaxed, |pause| Some(pause - pause / FORGETS));
        self.spent();
    }

    /// Whether the user wants an end.
    pub fn asked(&self) -> bool {
        self.asked.load(Relaxed)
    }

    /// Whether the clock, not the user, ended the search.
    pub fn is_late(&self) -> bool {
        !self.asked() && self.delivers.get().is_some()
    }

    /// Whether time is up and there is no result: trials under way then end with what they came to.
    pub fn delivers(&self) -> bool {
        self.is_late() && self.delivers.get() == Some(&true)
    }

    /// Whether a trial that is stopped now may have to give what it came to.
    pub fn may_deliver(&self) -> bool {
        !self.has_result.load(Relaxed)
    }

    /// Whether so many seconds are left.
    pub fn fits(&self, seconds: f64) -> bool {
        let needed = Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX);
        self.deadline.is_none_or(|deadline| Instant::now().checked_add(needed).is_some_and(|end| end <= deadline))
    }

    /// While there is no result, at least so many seconds are kept back for what trials under way came to.
    pub fn keep_back(&self, seconds: f64) {
        if self.may_deliver() {
            self.reserve.fetch_max(nanoseconds(seconds), Relaxed);
        }
    }

    /// There is a result, whose end takes so long. A last training for which the time is too short already gets none.
    pub fn plan(&self, costs: Costs) {
        self.has_result.store(true, Relaxed);
        let last_training = costs.retrained.filter(|[_, least]| self.fits(*least));
        self.retrains.store(last_training.is_some(), Relaxed);
        self.reserve.store(nanoseconds(last_training.map_or(costs.own, |[may_take, _]| may_take)), Relaxed);
    }

    /// Whether time was kept back for a last training.
    pub fn retrains(&self) -> bool {
        self.retrains.load(Relaxed)
    }
}

fn nanoseconds(seconds: f64) -> u64 {
    // A conversion saturates: 500 years are without end.
    (1e9 * seconds) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Limits that no test lives to see.
    const LONG: f64 = 1e6;

    fn budget(limit: Option<f64>) -> Budget {
        Budget::new(Instant::now(), limit.map(Duration::from_secs_f64), None, Arc::default())
    }

    #[test]
    fn what_the_end_takes_is_kept_back() {
        let costs = |least: f64| Costs { own: 1.0, retrained: Some([1.1 * least, least]) };
        let long = budget(Some(LONG));
        long.plan(costs(0.8 * LONG));
        assert!(!long.spent() && !long.stop_flag().load(Relaxed));
        long.plan(costs(0.95 * LONG));
        assert!(
            long.spent() && long.stop_flag().load(Relaxed),
            "time for the last training at its fastest, and no more"
        );
        long.plan(costs(0.0));
        assert!(long.spent(), "what has stopped stays so");
        // Too late for a last training: trials go on until the test.
        let late = budget(Some(LONG));
        late.plan(costs(2.0 * LONG));
        assert!(!late.spent() && !late.fits(2.0 * LONG) && late.fits(1.0));
        late.plan(Costs { own: LONG, retrained: None });
        assert!(late.spent());
        assert!(budget(Some(0.0)).spent());
        let endless = budget(None);
        endless.plan(costs(1e30));
        assert!(!endless.spent() && endless.fits(1e30) && !endless.is_limited());
        endless.asked.store(true, Relaxed);
        assert!(endless.spent() && !endless.delivers(), "who asked goes on later");
    }

    #[test]
    fn trials_stop_as_much_earlier_as_they_look_late() {
        let slow = budget(Some(LONG));
        slow.plan(Costs { own: 0.25 * LONG, retrained: Some([0.5 * LONG, 0.4 * LONG]) });
        assert!(slow.retrains() && !slow.spent());
        slow.pause.store(nanoseconds(0.75 * LONG), Relaxed);
        let ended = |budget: &Budget| {
            budget.trial_ended();
            budget.stop.load(Relaxed)
        };
        assert!(ended(&slow), "half for the end, and most of the other half until somebody looks");
        let faster = budget(Some(LONG));
        faster.plan(Costs { own: 2.0 * LONG, retrained: Some([2.0 * LONG; 2]) });
        assert!(!faster.retrains());
        faster.plan(Costs { own: 0.25 * LONG, retrained: None });
        faster.pause.store(nanoseconds(0.8 * LONG), Relaxed);
        assert!(!ended(&faster), "an eighth of a pause is forgotten");
        // What a thread did before it came here is no pause.
        let second = budget(Some(LONG));
        LAST_LOOK.set(Some((faster.search, Instant::now())));
        assert!(!second.spent() && second.pause.load(Relaxed) == 0);
        assert!(!second.spent() && second.pause.load(Relaxed) > 0);
    }

    #[test]
    fn trials_under_way_deliver_where_nothing_else_is_there() {
        let early = budget(Some(LONG));
        assert!(!early.spent() && !early.delivers() && early.may_deliver());
        early.keep_back(2.0 * LONG);
        early.keep_back(1.0);
        assert!(early.spent() && early.delivers(), "the largest need counts");
        // The first of them is a result now; those beside it end in the same way.
        early.plan(Costs::default());
        assert!(early.delivers());
        early.asked.store(true, Relaxed);
        assert!(!early.delivers(), "an interrupt puts them back");

        let later = budget(Some(LONG));
        later.plan(Costs { own: 2.0, retrained: None });
        later.keep_back(2.0 * LONG);
        assert!(!later.spent(), "once there is a result its own end counts");
        later.plan(Costs { own: LONG, retrained: None });
        assert!(!later.is_late() && later.spent() && later.is_late() && !later.delivers());
    }
}
