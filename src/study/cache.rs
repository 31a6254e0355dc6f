//! The study's trials in memory, so that asking and telling do not read the file again.
//!
//! Readers share one list (`Arc<Vec<Trial>>`). What changes while somebody reads is laid beside the list until nobody
//! does, so a slow proposal costs no copy; only who asks for the whole list while another still holds it makes one, of
//! pointers: trials are shared. User attributes that are long stay in the file, and trials with the same domains share
//! them. A pruner that follows the study is told of each change here, under the lock; one that does not borrows the
//! list.
//!
//! SQLite's `data_version` tells whether another connection has written since the last look; if so, new trials are
//! read and those not finished are read again (finished ones never change). What this process writes it puts here
//! itself. Counts and the next slot are kept up to date with each change instead of being counted anew.

use super::rows::{self, Scope, Stored, Which};
use super::storage::Fault;
use crate::history::{Direction, State, Trial};
use crate::pruner::{Follower, Pruner};
use crate::space::Domain;
use rusqlite::Connection;
use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

/// System attribute: the place in the plan.
pub(super) const SLOT: &str = "hpt:slot";
/// System attribute: the process that runs the trial.
pub(super) const OWNER: &str = "hpt:owner";
/// System attribute of a failed trial that is tried again: why.
pub(super) const LOST: &str = "hpt:lost";
/// System attribute of a lost trial that was complete: its values.
pub(super) const WAS: &str = "hpt:was";
/// System attribute of a failed trial: why.
pub(super) const REASON: &str = "hpt:reason";
/// System attribute of a failed trial that somebody deleted: what it was, and why.
pub(super) const DELETED: &str = "hpt:deleted";
/// System attribute, Optuna's: the values of which a trial's value is the mean.
pub const PARTS: &str = "terminator:cv_scores";
/// The token of a pruner that does not follow.
pub(super) const NOBODY: u64 = 0;
/// System attribute, Optuna's: parameters that somebody gave for a waiting trial.
pub(super) const FIXED: &str = "fixed_params";

/// How many trials are in which state. `failed` does not count trials that were lost with their process and tried
/// again.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Finished with a value.
    pub complete: u64,
    /// Stopped early.
    pub pruned: u64,
    /// Failed by their own objective.
    pub failed: u64,
    /// Deleted by somebody; none of the others.
    pub deleted: u64,
    /// Lost with their process, or put back by an interrupt; each is tried again.
    pub lost: u64,
    /// Some worker is at them.
    pub running: u64,
    /// Enqueued or put back, not started.
    pub waiting: u64,
}

impl Counts {
    /// Trials that count towards the total a study should reach.
    pub fn finished(&self) -> u64 {
        self.complete + self.pruned + self.failed
    }

    /// Each with its name.
    pub fn by_name(&self) -> [(&'static str, u64); 7] {
        [
            ("complete", self.complete),
            ("pruned", self.pruned),
            ("failed", self.failed),
            ("deleted", self.deleted),
            ("lost", self.lost),
            ("running", self.running),
            ("waiting", self.waiting),
        ]
    }

    fn of(&mut self, trial: &Trial) -> &mut u64 {
        match trial.state {
            State::Complete => &mut self.complete,
            State::Pruned => &mut self.pruned,
            State::Failed if trial.system.contains_key(DELETED) => &mut self.deleted,
            State::Failed if trial.system.contains_key(LOST) => &mut self.lost,
            State::Failed => &mut self.failed,
            State::Running => &mut self.running,
            State::Waiting => &mut self.waiting,
        }
    }
}

/// True for a trial that says nothing: it was lost and is tried again, or somebody deleted it.
pub(super) fn is_put_aside(trial: &Trial) -> bool {
    trial.state == State::Failed && (trial.system.contains_key(LOST) || trial.system.contains_key(DELETED))
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Cache {
    trials: Arc<Vec<Trial>>,
    /// What was put while somebody was reading, by place; it counts instead of what `trials` has there.
    beside: BTreeMap<usize, Trial>,
    /// The database's id of each.
    ids: Vec<i64>,
    by_number: HashMap<u64, usize>,
    /// Places of the trials that are not finished.
    open: BTreeSet<usize>,
    /// Of the study; none in a cache that nobody asks for the best.
    directions: Vec<Direction>,
    /// Place of the complete trial that keeps its constraints and is the best in the first objective, of those in the
    /// second and so on; of equals the first.
    best: Option<usize>,
    pub(super) counts: Counts,
    pub(super) next_slot: u64,
    version: Option<i64>,
    /// Reports (place, step, values) that came while somebody was reading.
    late: Vec<(usize, u64, Vec<f64>)>,
    followed: Followed,
    /// Domains of trials so far, each kind once.
    domains: Vec<Arc<BTreeMap<String, Domain>>>,
}

/// Most kinds of domains that are remembered: a conditional space has a kind for each set of active parameters.
const KINDS: usize = 256;

/// The pruner that follows the study, and for whose sake.
#[derive(Default)]
struct Followed {
    follower: Option<Box<dyn Follower>>,
    /// Counts the followers there have been: a token says whose this one is.
    token: u64,
}

impl std::fmt::Debug for Followed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Followed").field("token", &self.token).finish_non_exhaustive()
    }
}

impl Cache {
    /// All trials, as they are now; later changes are not seen through it. What running trials of this process have
    /// reported in the last moment may be missing.
    pub(super) fn trials(&mut self) -> Arc<Vec<Trial>> {
        self.catch_up();
        if !self.beside.is_empty() {
            let trials = Arc::make_mut(&mut self.trials);
            merge(trials, &mut self.beside);
        }
        Arc::clone(&self.trials)
    }

    /// All trials for a quick look, never copied: what has changed since somebody began to read may be missing.
    pub(super) fn glance(&mut self) -> &[Trial] {
        self.catch_up();
        &self.trials
    }

    /// Takes over what lies beside and late reports, unless somebody is reading still.
    fn catch_up(&mut self) {
        if let Some(trials) = Arc::get_mut(&mut self.trials) {
            merge(trials, &mut self.beside);
            for (at, step, values) in self.late.drain(..) {
                if trials[at].state == State::Running {
                    trials[at].take_report(step, &values);
                }
            }
        }
    }

    /// The trial at that place.
    fn at(&self, at: usize) -> &Trial {
        self.beside.get(&at).unwrap_or_else(|| &self.trials[at])
    }

    /// All trials, oldest first.
    pub(super) fn all(&self) -> impl Iterator<Item = &Trial> {
        (0..self.len()).map(|at| self.at(at))
    }

    /// That of a study with these directions.
    pub(super) fn of(directions: &[Direction]) -> Self {
        Cache { directions: directions.to_vec(), ..Cache::default() }
    }

    /// The best complete trial, with several objectives the one of the front that is the best in the first of them.
    pub(super) fn best(&self) -> Option<&Trial> {
        self.best.map(|at| self.at(at))
    }

    /// Remembers a trial that is complete now if it is the best.
    fn offer(&mut self, at: usize) {
        let trial = self.at(at);
        if trial.state != State::Complete || trial.values.is_empty() || !trial.is_feasible() {
            return;
        }
        let better = self.best.is_none_or(|best| {
            let values = trial.values.iter().zip(&self.at(best).values);
            let order = self.directions.iter().zip(values).find_map(|(direction, (own, known))| {
                let (better, worse) = (direction.better(*own, *known), direction.better(*known, *own));
                (better || worse).then_some(better)
            });
            order.unwrap_or(at < best)
        });
        if better {
            self.best = Some(at);
        }
    }

    /// How many trials there are.
    pub(super) fn len(&self) -> usize {
        self.ids.len()
    }

    /// The trial with that number, with its id.
    pub(super) fn get(&self, number: u64) -> Option<(i64, &Trial)> {
        self.by_number.get(&number).map(|&at| (self.ids[at], self.at(at)))
    }

    /// The trials that are not finished, with their ids, oldest first.
    pub(super) fn open(&self) -> impl Iterator<Item = (i64, &Trial)> {
        self.open.iter().map(|&at| (self.ids[at], self.at(at)))
    }

    /// Takes over a trial that was written, new or changed; one that was finished already stays as it is, unless it is
    /// deleted or put back.
    pub(super) fn put(&mut self, Stored { id, trial }: Stored) {
        let known = self.ids.binary_search(&id);
        let aside = is_put_aside(&trial);
        // What was put aside may come back.
        let stays = |known: &Trial| known.state.is_finished() && !is_put_aside(known);
        if known.is_ok_and(|at| stays(self.at(at))) && !aside {
            return;
        }
        let mut trial = self.slimmed(trial);
        if let Some(slot) = trial.system.get(SLOT).and_then(serde_json::Value::as_u64) {
            self.next_slot = self.next_slot.max(slot + 1);
        }
        *self.counts.of(&trial) += 1;
        let finished = trial.state.is_finished();
        let at = match known {
            Ok(at) => {
                let before = self.beside.get(&at).unwrap_or_else(|| &self.trials[at]);
                *self.counts.of(before) -= 1;
                at
            }
            // Ids only grow, others' trials are read before one is written, and commits come here in their order (see
            // `Study::keep`), so a new trial is the last.
            Err(_) => {
                self.by_number.insert(trial.number, self.ids.len());
                self.ids.push(id);
                self.ids.len() - 1
            }
        };
        if trial.state == State::Running {
            // Whoever changed it may have seen it without its last reports.
            let late = self.late.iter().filter(|(of, ..)| *of == at);
            late.for_each(|(_, step, values)| trial.take_report(*step, values));
        }
        if let Some(follower) = &mut self.followed.follower {
            follower.take(&trial);
        }
        self.beside.insert(at, trial);
        self.catch_up();
        if aside && self.best == Some(at) {
            self.best = None;
            (0..self.len()).for_each(|at| self.offer(at));
        } else if finished {
            self.offer(at);
        }
        if finished {
            self.open.remove(&at)
        } else {
            self.open.insert(at)
        };
    }

    /// The trial with its domains shared with others that have the same, and without an owner once nobody runs it.
    fn slimmed(&mut self, mut trial: Trial) -> Trial {
        if trial.state.is_finished() && trial.system.contains_key(OWNER) {
            trial.system.remove(OWNER);
        }
        match self.domains.iter().position(|known| Arc::ptr_eq(known, &trial.domains) || *known == trial.domains) {
            Some(at) => {
                trial.domains = Arc::clone(&self.domains[at]);
                // Kinds of trials that come often are found soon.
                self.domains.swap(at, at / 2);
            }
            None if self.domains.len() < KINDS => self.domains.push(Arc::clone(&trial.domains)),
            None => {}
        }
        trial
    }

    /// Notes what a running trial reported.
    pub(super) fn report(&mut self, number: u64, step: u64, values: &[f64]) {
        if let Some(&at) = self.by_number.get(&number) {
            if let Some(mut follower) = self.followed.follower.take() {
                follower.report(self.at(at), step, values);
                self.followed.follower = Some(follower);
            }
            self.late.push((at, step, values.to_vec()));
            self.catch_up();
        }
    }

    /// Lets a pruner follow from now on, in place of another; the token is for [`Cache::should_prune`].
    pub(super) fn follow(&mut self, pruner: &dyn Pruner, directions: &[Direction]) -> u64 {
        let mut follower = pruner.follow(directions);
        if let Some(follower) = &mut follower {
            self.all().for_each(|trial| follower.take(trial));
        }
        self.followed = Followed { follower, token: self.followed.token + 1 };
        self.followed.token
    }

    /// Whether `trial` should stop, by a pruner that may have been let to follow under this token.
    pub(super) fn should_prune(
        &mut self,
        pruner: &dyn Pruner,
        token: u64,
        directions: &[Direction],
        trial: &Trial,
    ) -> bool {
        match &self.followed.follower {
            Some(follower) if self.followed.token == token && trial.is_feasible() => follower.should_prune(trial),
            _ => pruner.should_prune(directions, self.glance(), trial),
        }
    }

    /// Whether nothing of the study has been read yet.
    pub(super) fn is_unread(&self) -> bool {
        self.version.is_none() && self.ids.is_empty()
    }

    /// Makes the next [`Cache::refresh`] read the open trials again, whoever wrote them.
    pub(super) fn doubt(&mut self) {
        self.version = None;
    }

    /// Reads what other connections have written since the last time. Call inside a transaction.
    pub(super) fn refresh(&mut self, connection: &Connection, path: &str, study: i64) -> Result<(), Fault> {
        let version = connection.pragma_query_value(None, "data_version", |row| row.get(0))?;
        if self.version == Some(version) {
            return Ok(());
        }
        for at in self.open.clone() {
            for mut stored in rows::read(connection, path, study, Which::One(self.ids[at]), Scope::Memory)? {
                if stored.trial.state == State::Running {
                    // What was reported here may not be in the file yet.
                    let known = self.at(at);
                    stored.trial.intermediate.extend(&known.intermediate);
                    stored.trial.reported.extend(known.reported.clone());
                    stored.trial.forget_replaced();
                }
                self.put(stored);
            }
        }
        let last = self.ids.last().copied().unwrap_or(-1);
        for stored in rows::read(connection, path, study, Which::After(last), Scope::Memory)? {
            self.put(stored);
        }
        self.version = Some(version);
        Ok(())
    }
}

/// Puts each trial in its place; new ones come at the end, in their order.
fn merge(trials: &mut Vec<Trial>, beside: &mut BTreeMap<usize, Trial>) {
    while let Some((at, trial)) = beside.pop_first() {
        match trials.get_mut(at) {
            Some(known) => *known = trial,
            None => trials.push(trial),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_is_known_without_looking_at_all() {
        use Direction::{Maximize, Minimize};
        let put = |cache: &mut Cache, id: i64, state: State, values: &[f64]| {
            let mut trial = Trial::blank(id as u64, state);
            trial.values = if state == State::Complete { values.to_vec() } else { Vec::new() };
            if state == State::Failed {
                trial.system.insert(DELETED.into(), true.into());
            }
            cache.put(Stored { id, trial });
        };
        for (directions, values, expected) in [
            (&[Minimize][..], [&[2.0][..], &[2.0], &[1.0], &[1.0]], [2, 3]),
            (&[Maximize], [&[2.0], &[2.0], &[1.0], &[1.0]], [0, 1]),
            (&[Minimize, Maximize], [&[1.0, 5.0], &[1.0, 7.0], &[2.0, 9.0], &[1.0, 7.0]], [1, 3]),
        ] {
            let mut cache = Cache::of(directions);
            assert!(cache.best().is_none());
            (0..4).for_each(|id| put(&mut cache, id, State::Running, &[]));
            // They end in another order; of equal ones the first counts.
            [3, 1, 2, 0].iter().for_each(|id| put(&mut cache, *id, State::Complete, values[*id as usize]));
            assert_eq!(cache.best().map(|trial| trial.number), Some(expected[0]), "{directions:?}");
            put(&mut cache, expected[0] as i64, State::Failed, &[]);
            assert_eq!(cache.best().map(|trial| trial.number), Some(expected[1]), "{directions:?}");
        }
    }

    #[test]
    fn a_follower_forgets_who_breaks_constraints_even_while_somebody_reads() {
        let asha = crate::pruner::Asha { min_resource: 1, reduction: 3 };
        let mut cache = Cache::default();
        (0..3).for_each(|id| cache.put(stored(id, State::Running)));
        let token = cache.follow(&asha, &[Direction::Minimize]);
        let reader = cache.trials();
        cache.report(0, 1, &[0.5]);
        let mut own = Trial::blank(2, State::Running);
        own.take_report(1, &[1.0]);
        cache.report(2, 1, &[1.0]);
        let stops = |cache: &mut Cache| cache.should_prune(&asha, token, &[Direction::Minimize], &own);
        assert!(stops(&mut cache));
        for (violation, expected) in [(1.0, false), (-1.0, true), (2.0, false)] {
            let mut changed = Stored { id: 0, trial: cache.get(0).unwrap().1.clone() };
            changed.trial.system.insert("constraints".into(), serde_json::json!([violation]));
            cache.put(changed);
            assert_eq!(stops(&mut cache), expected, "{violation}");
        }
        cache.report(0, 3, &[0.5]);
        own.take_report(3, &[1.0]);
        cache.report(2, 3, &[1.0]);
        assert!(!cache.should_prune(&asha, token, &[Direction::Minimize], &own));
        // It breaks them itself: the pure function answers, which sees all.
        own.system.insert("constraints".into(), serde_json::json!([1.0]));
        drop(reader);
        assert!(cache.should_prune(&asha, token, &[Direction::Minimize], &own));
    }

    fn stored(id: i64, state: State) -> Stored {
        Stored { id, trial: Trial::blank(id as u64, state) }
    }

    #[test]
    fn changes_while_somebody_reads_copy_nothing() {
        let mut cache = Cache::default();
        (0..3).for_each(|id| cache.put(stored(id, State::Running)));
        let reader = cache.trials();
        let list = reader.as_ptr();
        cache.put(stored(1, State::Complete));
        cache.put(stored(3, State::Running));
        cache.report(2, 1, &[0.5]);
        cache.put(stored(4, State::Waiting));
        cache.put(stored(4, State::Running));
        // The reader's list is as it was; everybody else sees the present.
        assert!(reader.len() == 3 && reader.iter().all(|trial| trial.state == State::Running));
        assert_eq!((cache.glance().as_ptr(), cache.len()), (list, 5));
        assert_eq!(cache.get(1).map(|(id, trial)| (id, trial.state)), Some((1, State::Complete)));
        assert_eq!(cache.open().map(|(id, _)| id).collect::<Vec<_>>(), [0, 2, 3, 4]);
        assert_eq!(cache.counts, Counts { complete: 1, running: 4, ..Counts::default() });
        drop(reader);
        let now = cache.glance();
        let states: Vec<State> = now.iter().map(|trial| trial.state).collect();
        use State::{Complete, Running};
        assert_eq!(states, [Running, Complete, Running, Running, Running]);
        assert_eq!(now[2].intermediate.get(&1), Some(&0.5));

        // Who asks for the whole list meanwhile gets the present too.
        let reader = cache.trials();
        cache.put(stored(0, State::Failed));
        assert_eq!((cache.trials()[0].state, reader[0].state), (State::Failed, Running));
        drop(reader);
        cache.put(stored(0, State::Complete));
        assert_eq!(cache.trials()[0].state, State::Failed, "what is finished stays as it is");
    }
}
