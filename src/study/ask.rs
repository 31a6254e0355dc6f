//! Which trial is next: one that waits (put back, or enqueued), else a new one from the sampler; and putting back the
//! trials of processes that died.
//!
//! A proposal may take long, so it is made outside of the transaction, for the slot that is next as far as is known;
//! if inside it turns out that another process was faster, the proposal is made again. Samplers are pure functions, so
//! nothing but time is lost.

use super::cache::{Cache, DELETED, FIXED, OWNER, SLOT};
use super::codec;
use super::handle::Study;
use super::optimize::Run;
use super::order::View;
use super::owner::{Life, Owner};
use super::rows::{self, Stored, Table};
use super::storage::Fault;
use crate::history::{State, Timestamp, Trial};
use crate::random::{Purpose, Stream};
use crate::sampler::{Ask, Proposal, Sampler};
use crate::space::{Params, Space, Value};
use crate::{Error, Result};
use rusqlite::{Connection, OptionalExtension};
use serde::Deserialize;
use serde_json::{Value as Json, json};
use std::sync::{Arc, PoisonError};

/// How old the heartbeat of a process that cannot be looked up may be, in seconds.
const STALE: f64 = 60.0;
/// Step of the random numbers for parameters that an enqueued trial leaves open, away from the samplers' steps.
const OPEN_PARAMETERS: u64 = 1 << 32;
/// Why a trial is lost whose process is gone; other reasons (an interrupt, a time limit) put it back on purpose.
pub(super) const DIED: &str = "its process died";
/// The numbers of a trial's earlier attempts, in Optuna's own words.
pub(super) const ATTEMPTS: &str = "retry_history";

/// Who runs a trial that is asked for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Runner {
    /// This process: if it dies the trial is put back.
    Process,
    /// Somebody outside, who will tell the result from any process.
    Outside,
}

/// On which terms a trial is asked for.
#[derive(Clone, Copy)]
pub(super) struct Terms<'a> {
    /// The total that the study should reach.
    pub limit: Option<u64>,
    /// Who runs it.
    pub runner: Runner,
    /// Looked at once the next trial is known: true hands out none. So what a stop puts back waits for the next run.
    pub stopping: &'a dyn Fn() -> bool,
    /// The loop that asks, which may want results in a fixed order.
    pub run: Option<&'a Run<'a>>,
}

impl Terms<'static> {
    /// Any next trial, whatever the total.
    fn any(runner: Runner) -> Self {
        Terms { limit: None, runner, stopping: &|| false, run: None }
    }
}

/// The answer to an ask.
pub(super) enum Asked {
    /// This trial is running now.
    Trial(Box<Trial>),
    /// The sampler has nothing left.
    Exhausted,
    /// As many trials as were wanted are finished or run.
    Enough,
    /// The terms say that no trial should start any more.
    Stopping,
}

/// What an ask would hand out.
#[derive(Clone, Debug, PartialEq)]
enum Next {
    /// The waiting trial with this id.
    Waiting(i64),
    /// A new one in this slot.
    New(u64),
    Enough,
}

impl Study {
    /// The next trial, which this process runs from now on: one that waits, else a new one of the sampler. None where
    /// the sampler has nothing left.
    ///
    /// If the process dies before [`Study::tell`], the next [`Study::optimize`] or [`Study::reclaim`] puts the trial
    /// back.
    ///
    /// # Errors
    /// The study has no space; the storage fails.
    pub fn ask(&self, sampler: &dyn Sampler, seed: u64) -> Result<Option<Trial>> {
        self.ask_on(sampler, seed, Terms::any(Runner::Process)).map(Asked::trial)
    }

    /// As [`Study::ask`], for a trial that is run elsewhere and told later, perhaps by another process: it stays
    /// running until somebody tells it.
    ///
    /// # Errors
    /// As [`Study::ask`].
    pub fn ask_detached(&self, sampler: &dyn Sampler, seed: u64) -> Result<Option<Trial>> {
        self.ask_on(sampler, seed, Terms::any(Runner::Outside)).map(Asked::trial)
    }

    /// Queues a configuration to be tried before new ones; parameters that are not given are the sampler's. Returns its
    /// number.
    ///
    /// # Errors
    /// A name that is not in the space, a value outside its domain.
    pub fn enqueue(&self, params: &Params) -> Result<u64> {
        self.check_given(params)?;
        let queue = |connection: &Connection| {
            self.refresh_in(connection)?;
            self.queue(connection, params)
        };
        self.inner.storage.write_then(queue, |stored| self.keep(stored).number)
    }

    /// As [`Study::enqueue`], unless a trial with exactly these given parameters was enqueued before, whatever became
    /// of it: then nothing happens and the answer is none. Looking and writing are one transaction, so that a program
    /// that does so at every start enqueues once, killed between or not, and two programs at a time enqueue once
    /// together.
    ///
    /// Values are compared as the space has them (`1` is `1.0` for a float). A trial that a sampler proposed with the
    /// same parameters was not enqueued and does not count.
    ///
    /// # Errors
    /// As [`Study::enqueue`].
    pub fn enqueue_once(&self, params: &Params) -> Result<Option<u64>> {
        let space = self.needed_space()?;
        self.check_given(params)?;
        let wanted = in_space(space, params);
        let same = |trial: &Trial| {
            let given = trial.system.get(FIXED).and_then(|given| Params::deserialize(given).ok());
            given.is_some_and(|given| in_space(space, &given) == wanted)
        };
        let queue = |connection: &Connection| {
            self.refresh_in(connection)?;
            let known = self.cache().all().any(same);
            if known { Ok(None) } else { self.queue(connection, params).map(Some) }
        };
        self.inner.storage.write_then(queue, |stored| stored.map(|stored| self.keep(stored).number))
    }

    /// Refuses parameters that no trial can have.
    fn check_given(&self, params: &Params) -> Result<()> {
        self.needed_space()?.accepts_part(params)
    }

    /// Writes a waiting trial with these parameters in the next slot.
    fn queue(&self, connection: &Connection, params: &Params) -> Result<Stored, Fault> {
        let mut trial = Trial::blank(0, State::Waiting);
        trial.system.insert(SLOT.into(), self.cache().next_slot.into());
        trial.system.insert(FIXED.into(), json!(params));
        rows::insert(connection, self.inner.id, trial)
    }

    /// Puts back the running trials whose process is dead: each is marked failed and waits again with the same
    /// parameters and the same slot. Returns the numbers of the dead ones.
    ///
    /// The third process that dies with the same trial is the last: that trial failed for good (`hpt:reason`) and
    /// counts as failed. What merely ran beside it in the same process is counted in the same way.
    ///
    /// # Errors
    /// The storage fails.
    pub fn reclaim(&self) -> Result<Vec<u64>> {
        self.refresh()?;
        let abandoned = |trial: &Trial| self.abandoned().contains(&trial.number);
        if !self.cache().open().any(|(_, trial)| self.foreign(trial).is_some() || abandoned(trial)) {
            return Ok(Vec::new());
        }
        let lost = self.put_back(|connection, id, trial| match self.foreign(trial) {
            Some(owner) => {
                let dead = match owner.life(&self.inner.owner) {
                    Life::Alive => false,
                    Life::Dead => true,
                    Life::Unknown => silence(connection, id, trial)? > STALE,
                };
                Ok(dead.then_some(DIED))
            }
            None => Ok(abandoned(trial).then_some("its end could not be written")),
        })?;
        self.abandoned().clear();
        Ok(lost)
    }

    /// Puts back the running trials for which `why` has a reason.
    pub(super) fn put_back<'a>(
        &self,
        why: impl Fn(&Connection, i64, &Trial) -> Result<Option<&'a str>, Fault>,
    ) -> Result<Vec<u64>> {
        self.lose_all(|connection| {
            let running: Vec<Stored> = self
                .cache()
                .open()
                .filter(|(_, trial)| trial.state == State::Running)
                .map(|(id, trial)| Stored { id, trial: trial.clone() })
                .collect();
            let mut lost = Vec::new();
            for stored in running {
                if let Some(why) = why(connection, stored.id, &stored.trial)? {
                    lost.push((stored, why));
                }
            }
            Ok(lost)
        })
    }

    /// The owner of a running trial of another process.
    pub(super) fn foreign(&self, trial: &Trial) -> Option<Owner> {
        owner(trial).filter(|owner| trial.state == State::Running && *owner != self.inner.owner)
    }

    pub(super) fn ask_on(&self, sampler: &dyn Sampler, seed: u64, terms: Terms<'_>) -> Result<Asked> {
        let Terms { limit, runner, stopping, run } = terms;
        let _one_at_a_time = self.inner.asking.lock().unwrap_or_else(PoisonError::into_inner);
        let space = self.needed_space()?;
        loop {
            self.refresh()?;
            let next = next(&self.cache(), limit);
            // After the look at what is next: whoever puts a trial back because of a stop has seen the stop, so one who
            // sees that trial sees the stop too.
            if stopping() {
                return Ok(Asked::Stopping);
            }
            let (slot, waiting) = match next {
                Next::Enough => return Ok(Asked::Enough),
                Next::New(slot) => (slot, None),
                Next::Waiting(id) => {
                    let trial = self.cache().open().find(|(open, _)| *open == id).map(|(_, trial)| trial.clone());
                    let slot = trial.as_ref().and_then(explicit_slot);
                    (slot.unwrap_or(self.cache().next_slot), trial)
                }
            };
            let view = run.filter(|_| sampler.learns()).and_then(|run| run.view(slot));
            if let (Some(run), Some(view)) = (run, view)
                && !run.wait_for_view(view)?
            {
                // It stops, which is found out above, or another trial is next.
                continue;
            }
            let history = self.known_to_samplers(&mut self.cache(), view);
            let (directions, source) = (self.directions(), self.source());
            let propose = || sampler.ask(&Ask { space, directions, history: &history, seed, slot, source: &source });
            let params = match &waiting {
                Some(trial) if !trial.params.is_empty() => trial.params.clone(),
                Some(trial) => completed(space, trial, propose(), seed, slot)?,
                None => match propose() {
                    Proposal::Params(params) => params,
                    Proposal::Exhausted => return Ok(Asked::Exhausted),
                },
            };
            drop(history);
            if let Some(trial) = self.start(&next, limit, waiting, params, slot, runner)? {
                return Ok(Asked::Trial(Box::new(trial)));
            }
        }
    }

    /// Writes the trial as running; none where `next` is no longer what is next.
    fn start(
        &self,
        next_known: &Next,
        limit: Option<u64>,
        waiting: Option<Trial>,
        params: Params,
        slot: u64,
        runner: Runner,
    ) -> Result<Option<Trial>> {
        let space = self.needed_space()?;
        let write = |connection: &Connection| {
            self.refresh_in(connection)?;
            if next(&self.cache(), limit) != *next_known {
                return Ok(None);
            }
            let has_params = waiting.as_ref().is_some_and(|trial| !trial.params.is_empty());
            let mut trial = waiting.unwrap_or_else(|| Trial::blank(0, State::Running));
            trial.state = State::Running;
            trial.started = Some(Timestamp::now());
            trial.system.insert(SLOT.into(), slot.into());
            if runner == Runner::Process {
                trial.system.insert(OWNER.into(), json!(self.inner.owner));
            }
            if !has_params {
                trial.domains = Arc::new(domains(space, &params)?);
                trial.params = params;
            }
            let Next::Waiting(id) = *next_known else {
                return rows::insert(connection, self.inner.id, trial).map(Some);
            };
            let now = trial.started.unwrap_or_else(Timestamp::now);
            if !rows::transition(connection, id, State::Waiting, State::Running, now)? {
                // The file knows better than memory: another handle on this very connection wrote.
                self.cache().doubt();
                return Ok(None);
            }
            if !has_params {
                rows::parameters(connection, id, &trial)?;
            }
            for key in [SLOT, OWNER] {
                if let Some(value) = trial.system.get(key) {
                    rows::attribute(connection, Table::TrialSystem, id, key, value)?;
                }
            }
            Ok(Some(Stored { id, trial }))
        };
        self.inner.storage.write_then(write, |stored| stored.map(|stored| self.keep(stored)))
    }

    /// The trials that a sampler learns from: without those that somebody deleted, as the view shows them.
    fn known_to_samplers(&self, cache: &mut Cache, view: Option<View>) -> Arc<Vec<Trial>> {
        let all = cache.trials();
        let trials = view.map_or(Arc::clone(&all), |view| Arc::new(view.of(&all)));
        if cache.counts.deleted == 0 {
            return trials;
        }
        Arc::new(trials.iter().filter(|trial| !trial.system.contains_key(DELETED)).cloned().collect())
    }

    pub(super) fn needed_space(&self) -> Result<&Space> {
        self.space().ok_or_else(|| {
            let directions: Vec<&str> = self.directions().iter().map(|direction| direction.name()).collect();
            Error::input(format!(
                "{0}: the study `{1}` has no space, and without one nothing can be asked for or queued, nor added before it has a trial; this \
                 command gives it one, with the directions that it has: hpt-engine create-study --storage {0} --study {1} \
                 --direction {2} --space FILE.toml",
                self.path(),
                self.name(),
                directions.join(",")
            ))
        })
    }
}

impl Asked {
    fn trial(self) -> Option<Trial> {
        match self {
            Asked::Trial(trial) => Some(*trial),
            Asked::Exhausted | Asked::Enough | Asked::Stopping => None,
        }
    }
}

/// The process that runs a trial.
pub(super) fn owner(trial: &Trial) -> Option<Owner> {
    serde_json::from_value(trial.system.get(OWNER)?.clone()).ok()
}

pub(super) fn explicit_slot(trial: &Trial) -> Option<u64> {
    trial.system.get(SLOT).and_then(Json::as_u64)
}

/// What an ask would hand out now: the waiting trial that comes first in the plan, else the next slot.
fn next(cache: &Cache, limit: Option<u64>) -> Next {
    // Trials that somebody outside holds may never be told: they count once they are.
    let running = || cache.open().filter(|(_, trial)| trial.state == State::Running && owner(trial).is_some()).count();
    if limit.is_some_and(|limit| cache.counts.finished() + running() as u64 >= limit) {
        return Next::Enough;
    }
    let waiting = cache.open().filter(|(_, trial)| trial.state == State::Waiting);
    match waiting.min_by_key(|(id, trial)| (explicit_slot(trial).unwrap_or(u64::MAX), *id)) {
        Some((id, _)) => Next::Waiting(id),
        None => Next::New(cache.next_slot),
    }
}

/// Whether the trial repeats one that was under way when its search ended, or that died with its process.
pub fn is_repetition(trial: &Trial) -> bool {
    trial.system.contains_key(ATTEMPTS)
}

/// The given parameters of an enqueued trial with the open ones filled in: from the proposal where it has them and they
/// let the given ones exist, else at random among those that do. Given values that the space does not know or that
/// cannot be active together are left out (Optuna does the same).
fn completed(space: &Space, trial: &Trial, proposal: Proposal, seed: u64, slot: u64) -> Result<Params> {
    let known = |(name, value): (&String, &Json)| {
        let value = space.get(name)?.domain.accept(&Value::deserialize(value).ok()?)?;
        Some((name.clone(), value))
    };
    let given: Params =
        trial.system.get(FIXED).and_then(Json::as_object).into_iter().flatten().filter_map(known).collect();
    let demands = space.demands(&given);
    let proposed = match proposal {
        Proposal::Params(params) => params,
        Proposal::Exhausted => Params::new(),
    };
    let mut stream = Stream::new(seed, slot, Purpose::Propose, OPEN_PARAMETERS);
    Ok(space.build(|_, parameter| {
        let tests = demands.get(parameter.name.as_str()).map_or(&[][..], Vec::as_slice);
        let proposed =
            || proposed.get(&parameter.name).filter(|value| tests.iter().all(|test| test.holds(value))).cloned();
        given.get(&parameter.name).cloned().or_else(proposed).unwrap_or_else(|| {
            let u = stream.uniform();
            parameter.domain.within(tests, u).unwrap_or_else(|| parameter.domain.from_unit(u))
        })
    }))
}

pub(super) fn domains(
    space: &Space,
    params: &Params,
) -> Result<std::collections::BTreeMap<String, crate::space::Domain>, Fault> {
    let domain = |name: &String| match space.get(name) {
        Some(parameter) => Ok((name.clone(), parameter.domain.clone())),
        None => Err(Error::input(format!("the sampler proposed `{name}`, which is not in the space")).into()),
    };
    params.keys().map(domain).collect()
}

/// The parameters with their values in the types of the space; those that it does not know stay as they are.
fn in_space(space: &Space, params: &Params) -> Params {
    let value = |name: &str, value: &Value| space.get(name).and_then(|parameter| parameter.domain.accept(value));
    params.iter().map(|(name, given)| (name.clone(), value(name, given).unwrap_or_else(|| given.clone()))).collect()
}

/// Seconds since a running trial was last heard of.
fn silence(connection: &Connection, id: i64, trial: &Trial) -> Result<f64, Fault> {
    let sql = "SELECT heartbeat FROM trial_heartbeats WHERE trial_id = ?1";
    let heartbeat: Option<String> = connection.query_row(sql, [id], |row| row.get(0)).optional()?;
    let last = heartbeat.as_deref().and_then(codec::timestamp).or(trial.started);
    Ok(last.map_or(f64::INFINITY, |last| Timestamp::now().seconds_since(last)))
}
