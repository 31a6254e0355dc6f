//! Several jobs: the same study with any number of them where results have a fixed order, and no configuration twice.

use super::*;
use crate::history::{Direction, State};
use crate::pruner;
use crate::sampler;
use crate::space::{Domain, Parameter, Params, Space, Value};
use std::collections::BTreeMap;

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

/// Nine reports that fall towards a value of the parameters; how long one takes depends on slot and `pace`, and on nothing
/// that counts.
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

fn plan(of: (&str, &str), jobs: usize, deterministic: Option<u64>, rules: &StopRules) -> (Plan, Stopped) {
    let study = Study::in_memory(&StudyConfig::new("order", Direction::Minimize, space())).unwrap();
    study.enqueue(&[("x".to_owned(), 2.0.into())].into_iter().collect()).unwrap();
    let sampler = sampler::by_name(of.0, &sampler::Settings { startup: 6, ..Default::default() }).unwrap();
    let settings = pruner::Settings { max_resource: Some(9), startup: 4, ..Default::default() };
    let pruner = pruner::by_name(of.1, &settings).unwrap();
    let fixed = OptimizeSpec {
        trials: Some(30),
        seed: 3,
        jobs,
        deterministic,
        rules: rules.clone(),
        ..OptimizeSpec::new(&*sampler, &*pruner)
    };
    let summary = study.optimize(&fixed, |context| objective(context, jobs as u64)).unwrap();
    let trials = study.trials().unwrap();
    let kept = trials.iter().filter(|trial| trial.state.is_finished() && !trial.system.contains_key("hpt:lost"));
    let bits = |values: &[f64]| values.iter().map(|value| value.to_bits()).collect::<Vec<u64>>();
    let curve = |trial: &crate::history::Trial| trial.intermediate.iter().map(|(k, v)| (*k, v.to_bits())).collect();
    let of = |t: &crate::history::Trial| (t.slot(), (t.params.clone(), t.state, bits(&t.values), curve(t)));
    (kept.map(of).collect(), summary.stopped)
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
