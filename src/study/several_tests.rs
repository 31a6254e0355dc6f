//! Studies with several objectives and with constraints: what is best, and what is pruned.

use super::*;
use crate::history::{Direction, State};
use crate::pruner::{Asha, Percentile, Pruner};
use crate::sampler::RandomSampler;
use crate::space::{Domain, Parameter, Space};

const MEDIAN: Percentile = Percentile { percentile: 50.0, startup: 2, warmup: 0 };

fn config(directions: &[Direction]) -> StudyConfig {
    let domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
    let space = Space::new(vec![Parameter { name: "x".into(), domain, when: Vec::new() }]).unwrap();
    StudyConfig { directions: directions.to_vec(), ..StudyConfig::new("a", Direction::Minimize, space) }
}

fn study(directions: &[Direction]) -> Study {
    Study::in_memory(&config(directions)).unwrap()
}

/// The next trial, with these constraints and values.
fn told(study: &Study, constraints: &[f64], values: &[f64]) -> u64 {
    let number = study.ask(&RandomSampler, 0).unwrap().unwrap().number;
    if !constraints.is_empty() {
        study.set_constraints(number, constraints).unwrap();
    }
    study.tell(number, Outcome::Complete(values.to_vec())).unwrap();
    number
}

fn best(study: &Study) -> Vec<u64> {
    study.best().unwrap().iter().map(|trial| trial.number).collect()
}

#[test]
fn several_objectives_have_a_front() {
    let mut config = config(&[Direction::Minimize, Direction::Maximize]);
    config.metric_names = vec!["loss".into(), "speed".into()];
    let study = Study::in_memory(&config).unwrap();
    for values in [[1.0, 1.0], [2.0, 2.0], [2.0, 1.0], [0.5, f64::NEG_INFINITY], [1.0, 1.0], [f64::NAN, 9.0]] {
        told(&study, &[], &values);
    }
    assert_eq!(best(&study), [0, 1, 3, 4], "equal trials both stay, what is not a number failed");
    assert_eq!(Study::open(study.storage(), Some("a")).unwrap().metric_names(), ["loss", "speed"]);
}

#[test]
fn what_breaks_a_constraint_is_not_best() {
    let one = study(&[Direction::Maximize]);
    told(&one, &[0.5], &[9.0]);
    assert_eq!(best(&one), [0; 0]);
    told(&one, &[-0.5, 0.0], &[1.0]);
    told(&one, &[f64::NAN], &[8.0]);
    told(&one, &[f64::NEG_INFINITY], &[0.5]);
    assert_eq!(best(&one), [1]);
    // What is stored is read again as it was meant.
    assert_eq!(best(&Study::open(one.storage(), Some("a")).unwrap()), [1]);
    assert!(one.trials().unwrap()[2].violation() > 1e300);
    let two = study(&[Direction::Maximize, Direction::Maximize]);
    told(&two, &[1.0], &[9.0, 9.0]);
    told(&two, &[], &[1.0, 2.0]);
    told(&two, &[0.0], &[2.0, 1.0]);
    assert_eq!(best(&two), [1, 2]);
}

#[test]
fn the_first_objective_is_judged_among_what_costs_no_more() {
    let study = study(&[Direction::Minimize, Direction::Minimize]);
    let reported = |cost: Option<f64>, value: f64| {
        let number = study.ask(&RandomSampler, 0).unwrap().unwrap().number;
        if let Some(cost) = cost {
            study.set_cost(number, cost).unwrap();
        }
        study.report(number, 1, value).unwrap();
        (number, study.should_prune(number, &MEDIAN).unwrap())
    };
    let complete = |(number, stops): (u64, bool)| {
        assert!(!stops);
        study.tell(number, Outcome::Complete(vec![0.1, 1.0])).unwrap();
    };
    complete(reported(Some(100.0), 0.1));
    complete(reported(Some(90.0), 0.1));
    let (number, stops) = reported(Some(100.0), 0.9);
    assert!(stops, "worse than what costs no more");
    let pruned = study.tell(number, Outcome::Pruned).unwrap();
    assert_eq!((pruned.state, pruned.values.len()), (State::Pruned, 0));
    assert!(!reported(Some(95.0), 0.9).1, "one cheaper trial is too few");
    assert!(!reported(Some(10.0), 0.9).1, "nothing is as cheap");
    assert!(reported(None, 0.9).1, "without a cost all are compared");
}

#[test]
fn a_study_that_runs_prunes_alike() {
    for pruner in [&MEDIAN as &dyn Pruner, &Asha { min_resource: 1, reduction: 3 }] {
        let study = study(&[Direction::Maximize, Direction::Minimize]);
        let spec = OptimizeSpec { trials: Some(40), ..OptimizeSpec::new(&RandomSampler, pruner) };
        let summary = study
            .optimize(&spec, |context| {
                let x = context.params()["x"].as_f64().unwrap_or(0.0);
                // The dear ones are better from the start, the cheap ones must be kept all the same.
                let (cost, bad) = if context.slot() % 2 == 0 { (100.0, 0.0) } else { (1.0, 10.0) };
                context.set_cost(cost).map_err(ObjectiveEnd::Fatal)?;
                for step in 1..=3 {
                    match context.report(step, x - bad) {
                        Verdict::Continue => {}
                        Verdict::Prune => return Err(ObjectiveEnd::Pruned),
                        Verdict::Stop => return Err(ObjectiveEnd::Stopped),
                    }
                }
                Ok(vec![x - bad, cost])
            })
            .unwrap();
        assert!(summary.counts.pruned > 5, "{summary:?}");
        let complete = |cost: f64| {
            let trials = study.trials().unwrap();
            trials.iter().filter(|trial| trial.values.get(1) == Some(&cost)).count()
        };
        assert!(complete(1.0) > 3 && complete(100.0) > 1, "{} {}", complete(1.0), complete(100.0));
    }
}

#[test]
fn a_warm_start_carries_every_objective_over() {
    let both = [Direction::Minimize, Direction::Maximize];
    let source = study(&both);
    // The front is trials 1 and 3, the first objective of 3 is better; 4 breaks a constraint.
    for (values, constraints) in [
        ([3.0, 1.0], vec![]),
        ([2.0, 5.0], vec![]),
        ([3.0, 4.0], vec![]),
        ([1.0, 2.0], vec![]),
        ([0.0, 9.0], vec![1.0]),
    ] {
        told(&source, &constraints, &values);
    }
    let params = |study: &Study, number: usize| study.trials().unwrap()[number].params.clone();
    let target = study(&both);
    let taken = target.warm_start(&source).unwrap().unwrap();
    assert_eq!((taken.enqueued, taken.data), (3, 5));
    let first: Vec<_> = (0..3).map(|_| target.ask(&RandomSampler, 0).unwrap().unwrap().params.clone()).collect();
    assert_eq!(first, [params(&source, 3), params(&source, 1), params(&source, 2)]);
    /// Proposes what the history it is shown says.
    struct Shown<'a>(&'a std::sync::Mutex<Vec<Vec<f64>>>);
    impl crate::sampler::Sampler for Shown<'_> {
        fn ask(&self, ask: &crate::sampler::Ask) -> crate::sampler::Proposal {
            *self.0.lock().unwrap() =
                ask.history.iter().filter(|t| t.number > 1 << 60).map(|t| t.values.clone()).collect();
            RandomSampler.ask(ask)
        }
        fn describe(&self, _: &Space, _: &[Direction]) -> String {
            String::new()
        }
    }
    let shown = std::sync::Mutex::default();
    target.ask(&Shown(&shown), 0).unwrap();
    // Standardised losses, as values: of the first objective 0 … 3 around 1.8, of the second 1 … 9 around 4.2.
    let mut values = shown.into_inner().unwrap();
    values.sort_by(|a, b| a[0].total_cmp(&b[0]));
    assert_eq!(values.len(), 5);
    assert!((values[0][0] - (0.0 - 1.8) / 1.36f64.sqrt()).abs() < 1e-12, "{values:?}");
    assert!((values[0][1] - (9.0 - 4.2) / 7.76f64.sqrt()).abs() < 1e-12, "{values:?}");
    let other = study(&[Direction::Minimize; 2]);
    // Values of other objectives say nothing, but what was best may be good here too.
    let taken = other.warm_start(&source).unwrap().unwrap();
    assert_eq!((taken.comparable, taken.data), (false, 0));
    assert!(taken.enqueued > 0 && other.counts().unwrap().waiting == taken.enqueued as u64);
}
