//! Where a search trains: the device, how many trials go there at once, and what the study remembers of it.

use super::{Bridge, Progress, SAMPLES, SearchSpec, ready};
use crate::backend::cores;
use crate::engine::{Device, Engine, Fit, Work};
use crate::prepared::Sets;
use crate::random::{Purpose, Stream};
use crate::settings::Config;
use crate::space::Space;
use crate::{Error, Result};
use serde_json::{Value, json};
use std::sync::Arc;

/// Samplers that propose without a look at results: all trials may be asked for at once.
const BLIND: &[&str] = &["random", "grid", "qmc", "halton", "lhs"];

/// Most trials that a GPU gets at once unasked.
const COHORT: u64 = 512;

/// The device of a search.
pub(super) fn open(spec: &SearchSpec, progress: &dyn Progress) -> Result<Arc<Engine>> {
    if let Some(engine) = &spec.engine {
        return Ok(Arc::clone(engine));
    }
    let (engine, note) = Engine::choose(spec.device, 1, Work::Search)?;
    if let Some(note) = note {
        progress.note(&note);
    }
    if spec.cohort > 0 && !engine.makes_cohorts() {
        progress.note("cohort is for GPUs; on the CPU the number of trials at once is jobs");
    }
    Ok(Arc::new(engine))
}

/// Trials at once, and most threads of each. Where the threads are not given, a trial has its share of the cores, from
/// run to run of steps: one while as many trials are at work as there are cores, more when the last ones are.
pub(super) fn workers(
    spec: &SearchSpec,
    sampler: &str,
    engine: &Engine,
    space: &Space,
    sets: &Sets,
) -> Result<(usize, usize)> {
    let all = spec.population.map(|population| population.members).or(spec.trials);
    if engine.makes_cohorts() {
        let jobs = match (spec.cohort, spec.jobs) {
            (0, 0) => cohort(spec, sampler, engine, space, sets)?,
            (0, jobs) => jobs,
            (cohort, _) => cohort,
        };
        // More than there are trials would only wait.
        return Ok((all.map_or(jobs, |all| jobs.min(all.max(1) as usize)), 1));
    }
    Ok(on_cores(cores(), spec.jobs, spec.threads, all))
}

/// The same on a CPU; 0 is what is not said.
fn on_cores(cores: usize, jobs: usize, threads: usize, trials: Option<u64>) -> (usize, usize) {
    let jobs = match (jobs, threads) {
        (0, 0) => trials.map_or(cores, |trials| cores.min(trials.max(1) as usize)),
        (0, threads) => (cores / threads).max(1),
        (jobs, _) => jobs,
    };
    (jobs, if threads == 0 { cores } else { threads })
}

/// Trials at once on a GPU: all members of a population; all trials of a sampler that does not look at results, a
/// quarter (at least 16) of one that learns from them, so that it has something to learn from; as many as fit the
/// memory.
fn cohort(spec: &SearchSpec, sampler: &str, engine: &Engine, space: &Space, sets: &Sets) -> Result<usize> {
    let most = COHORT * engine.gpus().max(1) as u64;
    let wanted = match (spec.population, spec.trials) {
        (Some(population), _) => population.members,
        (None, trials) if BLIND.contains(&sampler) => trials.unwrap_or(most).min(most),
        (None, trials) => (trials.unwrap_or(COHORT / 2) / 4).clamp(16, most),
    };
    let drawn = |i: u64| space.sample(&mut Stream::new(spec.seed, i, Purpose::Bootstrap, 0));
    let config = |i: u64| ready::settings_of(&spec.fixed, &drawn(i))?.resolve();
    let configs = (0..SAMPLES / 4).map(config).collect::<Result<Vec<Config>>>()?;
    let fits: Vec<Fit<'_>> = configs.iter().map(|config| fit_of(config, sets)).collect();
    Ok(engine.room(&fits)?.map_or(1, |room| room.min(wanted as usize)).max(1))
}

/// The training of a configuration.
fn fit_of<'a>(config: &'a Config, sets: &'a Sets) -> Fit<'a> {
    Fit { validation: sets.validation.as_ref(), ..Fit::new(&sets.train, &config.model, &config.train) }
}

impl Bridge<'_> {
    /// The device for one training, on the CPU with so many threads; a CPU in place of a GPU that was not asked for by
    /// name and that the training does not fit.
    pub(super) fn engine_for(&self, fit: &Fit<'_>, threads: usize) -> Result<Engine> {
        if self.engine.makes_cohorts()
            && self.spec.device == Device::Auto
            && self.spec.engine.is_none()
            && let Err(Error::TooLarge(why)) = self.engine.check(fit)
        {
            self.progress.note(&format!("a trial is trained on the CPU: {why}"));
            return Engine::new(Device::Cpu, threads);
        }
        self.engine.with_threads(threads)
    }

    /// Stores what products are computed with, and warns where an earlier part of the study used something else.
    pub(super) fn remember_device(&self) -> Result<()> {
        let (engine, wanted) = (&self.engine, self.spec.fixed.resolve()?.train.precision);
        let caps = engine.caps();
        let mut now = json!({ "device": caps.device, "isa": caps.isa, "precision": engine.precision(wanted).name() });
        if let Some(unit) = engine.unit(wanted) {
            now["unit"] = json!(unit);
        }
        let before = self.study.attribute("tier")?;
        if before.as_ref() == Some(&now) {
            return Ok(());
        }
        if let Some(warning) = before.and_then(|before| other_bits(&before, &now)) {
            self.progress.note(&warning);
        }
        self.study.set_attribute("tier", &now)
    }
}

/// A warning where a study goes on with something else than what it says it was made with. What it does not say, as one
/// that was made before units were stored, is taken to be the same.
fn other_bits(before: &Value, now: &Value) -> Option<String> {
    let keys = ["device", "isa", "precision", "unit"];
    let text = |tier: &Value| keys.iter().filter_map(|key| tier[key].as_str()).collect::<Vec<_>>().join("/");
    keys.iter().any(|key| before.get(key).is_some_and(|was| *was != now[key])).then(|| {
        let (before, now) = (text(before), text(now));
        format!("this study began on {before}; now it goes on with {now}: values may differ in the last digits")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn trials_come_before_threads() {
        assert_eq!(on_cores(8, 0, 0, None), (8, 8), "a trial a core, until they are fewer");
        assert_eq!(on_cores(8, 0, 0, Some(100)), (8, 8));
        assert_eq!(on_cores(8, 0, 0, Some(3)), (3, 8), "no job without a trial");
        assert_eq!(on_cores(8, 0, 0, Some(0)), (1, 8));
        assert_eq!(on_cores(1, 0, 0, Some(3)), (1, 1));
    }

    #[test]
    fn what_is_said_holds() {
        assert_eq!(on_cores(8, 2, 0, Some(100)), (2, 8), "each takes its share of the cores");
        assert_eq!(on_cores(8, 20, 3, Some(1)), (20, 3));
        assert_eq!(on_cores(8, 0, 3, None), (2, 3), "as many as have cores");
        assert_eq!(on_cores(8, 0, 9, None), (1, 9));
    }

    #[test]
    fn a_study_hears_of_what_changes_its_bits() {
        let of = |isa: &str, precision: &str| json!({ "device": "cpu", "isa": isa, "precision": precision });
        let with = |unit: &str| json!({ "device": "cpu", "isa": "avx512", "precision": "medium", "unit": unit });
        let (whole, halves, unsaid) = (with("whole"), with("halves"), of("avx512", "medium"));
        let warning = other_bits(&halves, &whole).expect("a warning");
        assert!(warning.contains("began on cpu/avx512/medium/halves; now"), "{warning}");
        assert!(warning.contains("goes on with cpu/avx512/medium/whole:"), "{warning}");
        for (before, now) in [
            (&of("avx2", "highest"), &of("avx512", "highest")),
            (&of("avx512", "highest"), &halves),
            (&halves, &of("avx512", "highest")),
            (&json!({ "device": "cuda:0", "isa": "avx512", "precision": "medium" }), &unsaid),
        ] {
            assert!(other_bits(before, now).is_some(), "{before} {now}");
        }
        for (before, now) in [(&unsaid, &whole), (&unsaid, &halves), (&halves, &halves), (&unsaid, &unsaid)] {
            assert_eq!(other_bits(before, now), None, "{before} {now}");
        }
    }
}
