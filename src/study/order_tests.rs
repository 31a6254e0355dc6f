//! Several jobs: the same study with any number of them where results have a fixed order, and no configuration twice.

use super::*;
use crate::history::{Direction, State, Trial};
use crate::pruner;
use crate::sampler;
use crate::space::{Domain, Parameter, Params, Space, Value};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};

fn space() -> Space {
    let float = |low, high, log| Domain::Float { low, high, log, step: None };
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: Vec::new() };
    Space::new(vec![
        parameter("x", float(-5.0, 5.0, false)),
        parameter("y", float(1e-3, 1e3, true)),
        parameter("kind", Domain::Choice(vec![Value::Int(1), Value::Int(2), Value::Int(3)])),
    ])
    .unwrap()
}

/// Nine reports that fall towards a value of the parameters; how long one takes depends on slot and `pace`, and on
/// nothing that counts.
fn objective(context: &mut Context<'_>, pace: u64) -> Result<Vec<f64>, ObjectiveEnd> {
    let number = |name: &str| context.params()[name].as_f64().unwrap();
    let end = number("x").powi(2) + number("y").ln().abs() + number("kind");
    for step in 1..=9 {
        let length = 20_000 * ((context.slot() * 7 + step * 3 + pace) % 5);
        std::hint::black_box((0..length).fold(0.0, |sum, i| sum + (i as f64).sqrt()));
        match context.report(step, end + 5.0 / step as f64) {
            Verdict::Continue => {}
            Verdict::Prune => return Err(ObjectiveEnd::Pruned),
            Verdict::Stop => return Err(ObjectiveEnd::Stopped),
        }
    }
    if context.slot() == 5 {
        return Err(ObjectiveEnd::Failed("the sixth".into()));
    }
    Ok(vec![end])
}

/// What each slot came to.
type Plan = BTreeMap<u64, (Params, State, Vec<u64>, Vec<(u64, u64)>)>;

fn study() -> Study {
    let study = Study::in_memory(&StudyConfig::new("order", Direction::Minimize, space())).unwrap();
    study.enqueue(&[("x".to_owned(), 2.0.into())].into_iter().collect()).unwrap();
    study
}

/// Goes on with a study by that sampler and pruner.
fn go_on(
    study: &Study,
    of: (&str, &str),
    change: impl FnOnce(&mut OptimizeSpec<'_>),
    objective: impl Fn(&mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> + Sync,
) -> Stopped {
    let sampler = sampler::by_name(of.0, &sampler::Settings { startup: 6, ..Default::default() }).unwrap();
    let settings = pruner::Settings { max_resource: Some(9), startup: 4, ..Default::default() };
    let pruner = pruner::by_name(of.1, &settings).unwrap();
    let mut spec = OptimizeSpec { trials: Some(30), seed: 3, ..OptimizeSpec::new(&*sampler, &*pruner) };
    change(&mut spec);
    study.optimize(&spec, objective).unwrap().stopped
}

fn plan_of(study: &Study) -> Plan {
    let trials = study.trials().unwrap();
    let kept = trials.iter().filter(|trial| trial.state.is_finished() && !trial.system.contains_key("hpt:lost"));
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
    let curve = |trial: &Trial| trial.intermediate.iter().map(|(k, v)| (*k, v.to_bits())).collect();
    kept.map(|t| (t.slot(), (t.params.clone(), t.state, bits(&t.values), curve(t)))).collect()
}

fn plan(of: (&str, &str), jobs: usize, deterministic: Option<u64>, rules: &StopRules) -> (Plan, Stopped) {
    let study = study();
    let change = |spec: &mut OptimizeSpec<'_>| {
        (spec.jobs, spec.deterministic, spec.rules) = (jobs, deterministic, rules.clone());
    };
    let stopped = go_on(&study, of, change, |context| objective(context, jobs as u64));
    (plan_of(&study), stopped)
}

#[test]
fn several_jobs_make_the_study_of_one() {
    for of in [("tpe", "asha"), ("gp", "median"), ("random", "hyperband"), ("qmc", "none"), ("cmaes", "percentile")] {
        let (alone, _) = plan(of, 1, None, &StopRules::default());
        assert_eq!(alone.len(), 30);
        assert_eq!(of.1 != "none", alone.values().any(|slot| slot.1 == State::Pruned), "{of:?}");
        for jobs in [1, 2, 4] {
            assert!(plan(of, jobs, Some(1), &StopRules::default()).0 == alone, "{of:?} with {jobs} jobs");
        }
    }
}

#[test]
fn a_wider_plan_is_the_same_for_all_jobs_too() {
    for of in [("tpe", "asha"), ("gp", "none")] {
        let (alone, _) = plan(of, 1, Some(3), &StopRules::default());
        assert!(alone != plan(of, 1, None, &StopRules::default()).0, "it sees results later");
        for jobs in [2, 3, 5] {
            assert!(plan(of, jobs, Some(3), &StopRules::default()).0 == alone, "{of:?} with {jobs} jobs");
        }
    }
}

#[test]
fn rules_stop_where_they_would_with_one_job() {
    let rules = StopRules { patience: Some(5), ..StopRules::default() };
    for of in [("random", "none"), ("tpe", "median")] {
        let (alone, stopped) = plan(of, 1, None, &rules);
        assert_eq!(stopped, Stopped::NoImprovement);
        assert!(alone.len() < 30);
        for jobs in [2, 3] {
            assert_eq!(plan(of, jobs, Some(1), &rules), (alone.clone(), stopped), "{of:?} with {jobs} jobs");
        }
    }
}

/// The value of `objective`, at once.
fn value(context: &Context<'_>) -> f64 {
    let number = |name: &str| context.params()[name].as_f64().unwrap();
    number("x").powi(2) + number("y").ln().abs() + number("kind")
}

/// How many trials somebody has been told of.
#[derive(Default)]
struct Told(Mutex<u64>, Condvar);

impl Told {
    fn one_more(&self) {
        *self.0.lock().unwrap() += 1;
        self.1.notify_all();
    }

    fn wait_while(&self, waits: impl Fn(u64) -> bool) {
        drop(self.1.wait_while(self.0.lock().unwrap(), |told| waits(*told)).unwrap());
    }
}

#[test]
fn what_ends_when_a_rule_has_spoken_is_not_told() {
    let rules = StopRules { patience: Some(5), ..StopRules::default() };
    let whole = |context: &mut Context<'_>| Ok(vec![value(context)]);
    let alone = study();
    let stopped = go_on(&alone, ("random", "none"), |spec| spec.rules = rules.clone(), whole);
    assert_eq!(stopped, Stopped::NoImprovement);
    let (study, told) = (study(), Told::default());
    let on_trial = |_: &Trial| told.one_more();
    let sampler = sampler::by_name("random", &sampler::Settings::default()).unwrap();
    let spec = OptimizeSpec {
        trials: Some(30),
        seed: 3,
        jobs: 3,
        deterministic: Some(1),
        rules: rules.clone(),
        on_trial: Some(&on_trial),
        ..OptimizeSpec::new(&*sampler, &pruner::Never)
    };
    // Each trial ends once the one before it has been told: the last ones when the rule has spoken already.
    let last = |context: &mut Context<'_>| {
        told.wait_while(|told| told < context.slot() && !context.should_stop());
        whole(context)
    };
    assert_eq!(study.optimize(&spec, last).unwrap().stopped, Stopped::NoImprovement);
    assert_eq!(plan_of(&study), plan_of(&alone));
}

/// Interrupts three jobs when the last of the first nine has ended, while the two before it are under way.
fn interrupt(study: &Study, of: (&str, &str), width: u64, rules: &StopRules, value: fn(&Context<'_>) -> f64) {
    let stop = Arc::default();
    let change = |spec: &mut OptimizeSpec<'_>| {
        (spec.jobs, spec.deterministic, spec.rules) = (3, Some(width), rules.clone());
        spec.stop = Arc::clone(&stop);
    };
    let stopped = go_on(study, of, change, |context| match context.slot() {
        8 => {
            stop.store(true, Ordering::Relaxed);
            Ok(vec![value(context)])
        }
        slot if slot > 5 => {
            while !context.should_stop() {
                std::thread::yield_now();
            }
            Err(ObjectiveEnd::Stopped)
        }
        _ => Ok(vec![value(context)]),
    });
    assert_eq!(stopped, Stopped::Interrupted);
}

#[test]
fn what_was_interrupted_goes_on_as_if_it_had_not_been() {
    let whole = |context: &mut Context<'_>| Ok(vec![value(context)]);
    let never = StopRules::default();
    let patience = |trials| StopRules { patience: Some(trials), ..StopRules::default() };
    for (of, width, rules) in [
        (("tpe", "none"), 3, &never),
        (("cmaes", "none"), 3, &never),
        (("random", "none"), 1, &patience(5)),
        (("random", "none"), 1, &patience(8)),
    ] {
        let alone = study();
        let change = |spec: &mut OptimizeSpec<'_>| (spec.deterministic, spec.rules) = (Some(width), rules.clone());
        let stopped = go_on(&alone, of, change, whole);
        let study = study();
        interrupt(&study, of, width, rules, value);
        // The ninth result belongs to the study only if no rule could have stopped it before.
        assert_eq!(plan_of(&study).contains_key(&8), *rules == never, "{of:?}");
        let change = |spec: &mut OptimizeSpec<'_>| {
            (spec.jobs, spec.deterministic, spec.rules) = (2, Some(width), rules.clone());
        };
        assert_eq!(go_on(&study, of, change, whole), stopped, "{of:?}");
        assert_eq!(plan_of(&study), plan_of(&alone), "{of:?} {rules:?}");
    }
}

#[test]
fn rules_that_come_later_count_in_the_order_of_the_plan() {
    // The seventh, which is repeated, is the last that is better than those before it.
    fn value(context: &Context<'_>) -> f64 {
        if context.slot() < 7 { -(context.slot() as f64) } else { 1.0 }
    }
    let rules = StopRules { patience: Some(4), ..StopRules::default() };
    let study = study();
    interrupt(&study, ("random", "none"), 1, &StopRules::default(), value);
    let change = |spec: &mut OptimizeSpec<'_>| (spec.deterministic, spec.rules) = (Some(1), rules.clone());
    let whole = |context: &mut Context<'_>| Ok(vec![value(context)]);
    assert_eq!(go_on(&study, ("random", "none"), change, whole), Stopped::NoImprovement);
    // 7, 8, 9 and 10 brought nothing.
    assert_eq!(plan_of(&study).keys().max(), Some(&10));
}

#[test]
fn a_trial_gives_way_to_one_before_it_that_has_to_be_repeated() {
    let of = ("random", "median");
    let alone = study();
    go_on(&alone, of, |spec| spec.trials = Some(12), |context| objective(context, 0));
    let (study, calls) = (study(), AtomicU64::new(0));
    let sampler = sampler::by_name("random", &sampler::Settings::default()).unwrap();
    let change = |spec: &mut OptimizeSpec<'_>| (spec.trials, spec.deterministic) = (Some(12), Some(1));
    go_on(&study, of, |spec| spec.trials = Some(6), |context| objective(context, 0));
    // Somebody else has the seventh trial, and loses it while the eighth runs.
    let lost = study.ask(&*sampler, 3).unwrap().unwrap();
    go_on(&study, of, change, |context| {
        calls.fetch_add(1, Ordering::Relaxed);
        if context.slot() == 7 {
            study.put_back(|_, _, trial| Ok((trial.number == lost.number).then_some("lost"))).unwrap();
        }
        objective(context, 0)
    });
    assert_eq!(calls.into_inner(), 7, "the eighth twice");
    assert_eq!(plan_of(&study), plan_of(&alone));
}

#[test]
fn no_sampler_repeats_itself_in_a_finite_space_with_two_jobs() {
    let choice = |values: &[i64]| Domain::Choice(values.iter().map(|value| Value::Int(*value)).collect());
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: Vec::new() };
    let steps = Domain::Int { low: 1, high: 5, log: false, step: 1 };
    let space = Space::new(vec![parameter("a", choice(&[1, 2, 3])), parameter("b", steps)]).unwrap();
    for entry in sampler::SAMPLERS {
        for seed in 0..3 {
            let study = Study::in_memory(&StudyConfig::new("finite", Direction::Minimize, space.clone())).unwrap();
            let sampler =
                sampler::by_name(entry.name, &sampler::Settings { startup: 4, ..Default::default() }).unwrap();
            let fixed =
                OptimizeSpec { trials: Some(40), seed, jobs: 2, ..OptimizeSpec::new(&*sampler, &pruner::Never) };
            let sum = |context: &Context<'_>| context.params().values().filter_map(Value::as_f64).sum::<f64>();
            let summary = study.optimize(&fixed, |context| Ok(vec![sum(context)])).unwrap();
            let trials = study.trials().unwrap();
            let different: std::collections::BTreeSet<String> =
                trials.iter().map(|trial| crate::space::fingerprint(&trial.params)).collect();
            assert_eq!((different.len(), trials.len()), (15, 15), "{} seed {seed}", entry.name);
            assert_eq!(summary.stopped, Stopped::Exhausted, "{}", entry.name);
        }
    }
}
