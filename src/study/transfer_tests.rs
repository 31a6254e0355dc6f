//! Warm starts do no harm: what a source says counts as far as it is true here.

use super::*;
use crate::history::Direction;
use crate::sampler::{Sampler, Settings, by_name};
use crate::space::{Condition, Domain, Parameter, Params, Space, Test};

/// The value of a quadratic with its optimum there.
fn value(params: &Params, (x, y): (f64, f64)) -> f64 {
    (params["x"].as_f64().unwrap() - x).powi(2) + (params["y"].as_f64().unwrap() - y).powi(2)
}

fn study() -> Study {
    let domain = Domain::Float { low: -5.0, high: 5.0, log: false, step: None };
    let parameter = |name: &str| Parameter { name: name.into(), domain: domain.clone(), when: Vec::new() };
    let space = Space::new(vec![parameter("x"), parameter("y")]).unwrap();
    Study::in_memory(&StudyConfig::new("a", Direction::Minimize, space)).unwrap()
}

fn made(name: &str) -> Box<dyn Sampler> {
    by_name(name, &Settings { trials: Some(30), ..Settings::default() }).unwrap()
}

/// Runs up to so many trials and returns their configurations.
fn search(study: &Study, name: &str, seed: u64, trials: usize, of: impl Fn(&Params) -> f64) -> Vec<Params> {
    let sampler = made(name);
    while study.trials().unwrap().iter().filter(|trial| trial.state.is_finished()).count() < trials {
        let trial = study.ask(&*sampler, seed).unwrap().unwrap();
        study.tell(trial.number, Outcome::Complete(vec![of(&trial.params)])).unwrap();
    }
    study.trials().unwrap().iter().map(|trial| trial.params.clone()).collect()
}

/// Forty trials around (2, -3), on another scale.
fn source() -> Study {
    let source = study();
    search(&source, "tpe", 7, 40, |params| 10.0 * value(params, (2.0, -3.0)) + 100.0);
    source
}

fn warm(source: &Study) -> Study {
    let study = study();
    let taken = study.warm_start(source).unwrap().unwrap();
    assert_eq!((taken.enqueued, taken.data), (3, 40));
    study
}

/// Without a source all are below 1e-4 with `gp` after 30 trials, and their mean below 0.1 with `tpe`.
#[test]
fn a_source_whose_optimum_is_elsewhere_does_no_harm() {
    let source = source();
    for optimum in [(2.2, -2.9), (-2.0, 3.0)] {
        let found = |name: &str, seed: u64| {
            let tried = search(&warm(&source), name, seed, 30, |params| value(params, optimum));
            tried.iter().map(|params| value(params, optimum)).fold(f64::INFINITY, f64::min)
        };
        let gp: Vec<f64> = (0..3).map(|seed| found("gp", seed)).collect();
        assert!(gp.iter().all(|found| *found < 1e-3), "{optimum:?}: {gp:?}");
        let tpe: Vec<f64> = (0..3).map(|seed| found("tpe", seed)).collect();
        assert!(tpe.iter().sum::<f64>() < 1.0, "{optimum:?}: {tpe:?}");
    }
}

/// On the same function the process of the source leads to the optimum while a cold start still spreads points.
#[test]
fn a_source_that_agrees_is_used_from_the_start() {
    let source = source();
    for seed in 0..3 {
        let same = |params: &Params| value(params, (2.0, -3.0));
        let tried = search(&warm(&source), "gp", seed, 10, same);
        let (first, all) = (tried[..3].iter(), tried.iter());
        let best = |of: std::slice::Iter<'_, Params>| of.map(same).fold(f64::INFINITY, f64::min);
        assert!(best(all.clone()) < 0.7 * best(first.clone()), "{seed}: {} {}", best(all), best(first));
    }
}

#[test]
fn warm_starts_repeat_themselves_with_a_seed_and_differ_with_another() {
    let source = source();
    let value = |params: &Params| value(params, (2.2, -2.9));
    for name in ["gp", "tpe", "auto", "cmaes", "random"] {
        let [a, b, c] = [1, 1, 2].map(|seed| search(&warm(&source), name, seed, 14, value));
        assert_eq!(a, b, "{name}");
        assert_eq!(a[..3], c[..3], "{name}: the best of the source come first");
        assert!(a[3..].iter().zip(&c[3..]).all(|(a, c)| a != c), "{name}");
        // Opened again, it goes on as it would have.
        let begun = warm(&source);
        search(&begun, name, 1, 11, value);
        let opened = Study::open(begun.storage(), Some("a")).unwrap();
        assert_eq!(search(&opened, name, 1, 14, value), a, "{name}");
    }
}

/// The first three are the source's, then all is as without one: the same points in the same slots.
#[test]
fn a_source_is_no_start_up() {
    let source = source();
    let tried = search(&warm(&source), "tpe", 5, 10, |params| value(params, (-2.0, 3.0)));
    let enqueued = study();
    tried[..3].iter().for_each(|params| assert!(enqueued.enqueue(params).is_ok()));
    assert_eq!(search(&enqueued, "tpe", 5, 10, |params| value(params, (-2.0, 3.0))), tried);
    let spread: Vec<Params> = search(&study(), "qmc", 5, 10, |_| 0.0);
    assert_eq!(tried[3..], spread[3..]);
}

/// The parent is not in the source, so its trials have both children.
#[test]
fn of_parameters_that_exclude_each_other_here_the_first_is_taken() {
    let child = |name: &str, of: &str| {
        let when = vec![Condition { parent: "kind".into(), test: Test::In(vec![of.into()]) }];
        let domain = Domain::Float { low: -5.0, high: 5.0, log: false, step: None };
        Parameter { name: name.into(), domain, when }
    };
    let domain = Domain::Choice(vec!["a".into(), "b".into()]);
    let kind = Parameter { name: "kind".into(), domain, when: Vec::new() };
    let space = Space::new(vec![kind, child("x", "a"), child("y", "b")]).unwrap();
    let study = Study::in_memory(&StudyConfig::new("b", Direction::Minimize, space)).unwrap();
    let taken = study.warm_start(&source()).unwrap().unwrap();
    assert_eq!((taken.enqueued, taken.data), (3, 40));
    for params in search(&study, "gp", 0, 3, |_| 1.0) {
        assert!(params["kind"] == "a".into() && params.contains_key("x") && params.len() == 2, "{params:?}");
    }
}
