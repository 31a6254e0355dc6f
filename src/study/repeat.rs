//! Trials that are run again: those that were lost or stopped, and those that a limit ended with less than they come
//! to.
//!
//! A repetition is a new trial with the parameters and the slot of the old one, which is marked failed (`hpt:lost`).
//! One that had values keeps them aside (`hpt:was`) until the repetition has ended: they are what there is.

use super::ask::{ATTEMPTS, DIED, explicit_slot};
use super::cache::{Cache, DELETED, FIXED, LOST, REASON, SLOT, WAS, is_put_aside};
use super::handle::Study;
use super::rows::{self, Stored, Table};
use super::storage::Fault;
use crate::Result;
use crate::history::pareto::{dominates, losses};
use crate::history::{Direction, State, Timestamp, Trial};
use rusqlite::Connection;
use serde_json::{Value as Json, json};
use std::cmp::Ordering;
use std::collections::BTreeMap;

/// System attribute of a trial that a limit ended and that is not repeated any more: the repetition that came to
/// nothing.
const STANDS: &str = "hpt:stands";
/// How many processes may die with the same trial: more deaths say that the trial kills them.
const DEATHS: usize = 3;

impl Study {
    /// Puts back the complete trials of which `is_cut` says that they were ended before their time: their values no
    /// longer count, and each waits to be run again with its slot, so to the same numbers as if it had not been ended;
    /// the best by the first objective is the first. Returns their numbers; `why` is kept with them.
    ///
    /// Until a repetition has ended the values are what there is: [`Study::restore`] gives them back.
    ///
    /// # Errors
    /// The storage fails.
    pub fn repeat(&self, why: &str, is_cut: impl Fn(&Trial) -> bool) -> Result<Vec<u64>> {
        self.lose_all(|_| {
            let cache = self.cache();
            let is_cut =
                |trial: &&Trial| trial.state == State::Complete && !trial.system.contains_key(STANDS) && is_cut(trial);
            let mut cut: Vec<&Trial> = cache.all().filter(is_cut).collect();
            let loss = |trial: &Trial| trial.values.first().map_or(f64::INFINITY, |&v| self.directions()[0].loss(v));
            cut.sort_by(|a, b| loss(a).total_cmp(&loss(b)));
            let cut = cut.into_iter().filter_map(|trial| cache.get(trial.number));
            Ok(cut.map(|(id, trial)| (Stored { id, trial: trial.clone() }, why)).collect())
        })
    }

    /// Gives the trials that [`Study::repeat`] put back their values again where the repetition has come to nothing: it
    /// waits still, or it is complete and `is_behind` the earlier trial, and is withdrawn; or it has failed for good,
    /// or was pruned while no complete trial is as good as the earlier one, which is then not repeated any more.
    /// Returns their numbers.
    ///
    /// # Errors
    /// The storage fails.
    pub fn restore(&self, is_behind: impl Fn(&Trial, &Trial) -> bool) -> Result<Vec<u64>> {
        let write = |connection: &Connection| {
            self.refresh_in(connection)?;
            let (mut changed, repeated) = (Vec::new(), repeated(&self.cache(), self.directions()));
            for Repeated { before, last, stands } in repeated {
                let is_over = stands || last.state == State::Complete && is_behind(&last, &before);
                let id = |trial: &Trial| self.cache().get(trial.number).map(|(id, _)| id);
                if let (true, Some(had), Some(again)) = (is_over, id(&before), id(&last)) {
                    let (had, again) = (Stored { id: had, trial: before }, Stored { id: again, trial: last });
                    changed.extend(give_back(connection, had, again)?);
                }
            }
            Ok(changed)
        };
        self.inner.storage.write_then(write, |changed| {
            let kept = changed.into_iter().map(|stored| self.keep(stored));
            kept.filter(|trial| trial.state == State::Complete).map(|trial| trial.number).collect()
        })
    }

    /// The trials that [`Study::repeat`] put back and whose repetition has not come to another result yet, each with
    /// the values that it had: what there is of them until then.
    ///
    /// # Errors
    /// The storage fails.
    pub fn put_aside(&self) -> Result<Vec<Trial>> {
        self.refresh()?;
        Ok(self.aside(&self.cache()))
    }

    /// The same of what is in memory.
    pub(super) fn aside(&self, cache: &Cache) -> Vec<Trial> {
        let counts = |of: &Repeated| of.stands || of.last.state == State::Running;
        repeated(cache, self.directions()).into_iter().filter(counts).map(|of| of.before).collect()
    }

    /// All trials that [`Study::repeat`] put back and whose values are kept aside, as they were, whatever their
    /// repetitions came to: of each slot the last.
    ///
    /// # Errors
    /// The storage fails.
    pub fn repeated(&self) -> Result<Vec<Trial>> {
        self.refresh()?;
        Ok(repeated(&self.cache(), self.directions()).into_iter().map(|of| of.before).collect())
    }

    /// Puts back the trials that `chosen` gives, each for its reason; returns their numbers.
    pub(super) fn lose_all<'a>(
        &self,
        chosen: impl Fn(&Connection) -> Result<Vec<(Stored, &'a str)>, Fault>,
    ) -> Result<Vec<u64>> {
        let write = |connection: &Connection| {
            self.refresh_in(connection)?;
            let mut changed = Vec::new();
            for (stored, why) in chosen(connection)? {
                changed.extend(self.lose(connection, stored, why)?);
            }
            Ok(changed)
        };
        self.inner.storage.write_then(write, |changed| {
            let kept = changed.into_iter().map(|stored| self.keep(stored));
            kept.filter(|trial| trial.state == State::Failed).map(|trial| trial.number).collect()
        })
    }

    /// Marks a running or complete trial as lost and queues its repetition; returns both. A trial that too many
    /// processes died with has failed instead and is returned alone.
    fn lose(&self, connection: &Connection, stored: Stored, why: &str) -> Result<Vec<Stored>, Fault> {
        let Stored { id, mut trial } = stored;
        let now = trial.finished.unwrap_or_else(Timestamp::now);
        if !rows::transition(connection, id, trial.state, State::Failed, now)? {
            return Ok(Vec::new());
        }
        if !trial.values.is_empty() {
            connection.execute("DELETE FROM trial_values WHERE trial_id = ?1", [id])?;
            let values = json!(std::mem::take(&mut trial.values));
            rows::attribute(connection, Table::TrialSystem, id, WAS, &values)?;
            trial.system.insert(WAS.into(), values);
        }
        (trial.state, trial.finished) = (State::Failed, Some(now));
        // The first of the line, and all of them.
        let first = trial.system.get("failed_trial").cloned().unwrap_or(trial.number.into());
        let mut line = trial.system.get(ATTEMPTS).and_then(Json::as_array).cloned().unwrap_or_default();
        let deaths = 1 + self.deaths(&line);
        let (key, why) = match why {
            DIED if deaths >= DEATHS => (REASON, json!(format!("its process died {deaths} times"))),
            why => (LOST, json!(why)),
        };
        rows::attribute(connection, Table::TrialSystem, id, key, &why)?;
        trial.system.insert(key.into(), why);
        if key == REASON {
            return Ok(vec![Stored { id, trial }]);
        }
        let mut again = Trial::blank(0, State::Waiting);
        (again.params, again.domains) = (trial.params.clone(), trial.domains.clone());
        for key in [SLOT, FIXED] {
            if let Some(value) = trial.system.get(key) {
                again.system.insert(key.into(), value.clone());
            }
        }
        line.push(trial.number.into());
        again.system.insert("failed_trial".into(), first);
        again.system.insert(ATTEMPTS.into(), line.into());
        let again = rows::insert(connection, self.inner.id, again)?;
        Ok(vec![Stored { id, trial }, again])
    }

    /// How many of these attempts ended with the death of their process.
    fn deaths(&self, attempts: &[Json]) -> usize {
        let cache = self.cache();
        let attempts = attempts.iter().filter_map(|number| cache.get(number.as_u64()?));
        attempts.filter(|(_, trial)| trial.system.get(LOST).is_some_and(|why| why == DIED)).count()
    }
}

/// A trial that was put back although it had values.
struct Repeated {
    /// The trial as it was: complete.
    before: Trial,
    /// The last attempt in its slot.
    last: Trial,
    /// Whether that has come to nothing, so that the values from before are what there is.
    stands: bool,
}

/// Of each slot the last trial whose values are kept aside, and the last of all.
fn repeated(cache: &Cache, directions: &[Direction]) -> Vec<Repeated> {
    if cache.counts.lost == 0 {
        return Vec::new();
    }
    let mut slots: BTreeMap<u64, (Option<&Trial>, &Trial)> = BTreeMap::new();
    for trial in cache.all().filter(|trial| explicit_slot(trial).is_some()) {
        let (had, last) = slots.entry(trial.slot()).or_insert((None, trial));
        // What was complete before has taken the place of what is older still.
        let older = had.filter(|_| last.state != State::Complete);
        let has = is_put_aside(trial) && trial.system.contains_key(WAS) && !trial.system.contains_key(DELETED);
        (*had, *last) = (if has { Some(trial) } else { older }, trial);
    }
    let known = |(had, last): (Option<&Trial>, &Trial)| {
        let mut before = had?.clone();
        let values = before.system.remove(WAS)?;
        before.system.remove(LOST);
        (before.state, before.values) = (State::Complete, serde_json::from_value(values).ok()?);
        let stands = last.state == State::Waiting || last.state == State::Failed && !is_put_aside(last);
        Some(Repeated { before, last: last.clone(), stands })
    };
    let mut all: Vec<Repeated> = slots.into_values().filter_map(known).collect();
    judge_pruned(&mut all, cache, directions);
    all
}

/// What was pruned when it was repeated stands where nothing is nowhere worse: no complete trial, nor another one that
/// is put aside and may come back.
fn judge_pruned(all: &mut [Repeated], cache: &Cache, directions: &[Direction]) {
    let losses_of = |trial: &Trial| losses(directions, trial).filter(|_| trial.is_feasible());
    let (mut pruned, others): (Vec<&mut Repeated>, Vec<&mut Repeated>) =
        all.iter_mut().partition(|of| of.last.state == State::Pruned);
    if pruned.is_empty() {
        return;
    }
    let may_come_back = others.iter().filter(|of| of.stands || of.last.state == State::Running);
    let rivals = cache.all().chain(may_come_back.map(|of| &of.before));
    let mut rivals: Vec<Vec<f64>> = rivals.filter_map(losses_of).collect();
    // Who beats another is before it in this order.
    let loss = |of: &Repeated| losses_of(&of.before).unwrap_or_default();
    pruned.sort_by(|a, b| loss(a).partial_cmp(&loss(b)).unwrap_or(Ordering::Equal));
    for of in pruned {
        let Some(own) = losses_of(&of.before) else { continue };
        of.stands = !rivals.iter().any(|losses| *losses == own || dominates(losses, &own));
        rivals.push(own);
    }
}

/// Makes a lost trial what it was, in place of its repetition.
fn give_back(connection: &Connection, had: Stored, again: Stored) -> Result<Vec<Stored>, Fault> {
    let (Stored { id, mut trial }, mut again, now) = (had, again, Timestamp::now());
    if matches!(again.trial.state, State::Failed | State::Pruned) {
        rows::attribute(connection, Table::TrialSystem, id, STANDS, &json!(again.trial.number))?;
        trial.system.insert(STANDS.into(), again.trial.number.into());
    }
    let ended = again.trial.finished.unwrap_or(now);
    if again.trial.state != State::Failed
        && !rows::transition(connection, again.id, again.trial.state, State::Failed, ended)?
    {
        return Ok(Vec::new());
    }
    connection.execute("DELETE FROM trial_values WHERE trial_id = ?1", [again.id])?;
    again.trial.values.clear();
    // A slot counts once.
    let pruned = if again.trial.state == State::Pruned { "pruned; " } else { "" };
    let why = json!(format!("{pruned}trial {} has a result, or a better one", trial.number));
    rows::attribute(connection, Table::TrialSystem, again.id, LOST, &why)?;
    again.trial.system.insert(LOST.into(), why);
    (again.trial.state, again.trial.finished) = (State::Failed, Some(ended));
    let finished = trial.finished.unwrap_or(now);
    if !rows::transition(connection, id, State::Failed, State::Complete, finished)? {
        return Ok(vec![again]);
    }
    rows::values(connection, id, &trial.values)?;
    for key in [LOST, WAS] {
        let sql = "DELETE FROM trial_system_attributes WHERE trial_id = ?1 AND key = ?2";
        connection.execute(sql, (id, key))?;
    }
    trial.finished = Some(finished);
    Ok(vec![again, Stored { id, trial }])
}
