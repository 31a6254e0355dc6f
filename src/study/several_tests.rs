//! Studies with several objectives and with constraints: what is best, and what is pruned.

use super::*;
use crate::history::{Direction, State};
use crate::pruner::{Asha, Hyperband, Percentile, Pruner, Settings};
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
    assert_eq!(best(&study), [3, 0, 4, 1], "equal trials both stay, what is not a number failed");
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
    assert_eq!(best(&two), [2, 1]);
}

#[test]
fn what_is_reported_of_all_objectives_is_kept() {
    let study = study(&[Direction::Minimize, Direction::Maximize]);
    let number = study.ask(&RandomSampler, 0).unwrap().unwrap().number;
    study.report_values(number, 1, &[0.5, 100.0]).unwrap();
    study.report(number, 2, 0.4).unwrap();
    study.report_values(number, 3, &[f64::INFINITY, f64::NAN]).unwrap();
    study.report_values(number, 4, &[0.3, 1.0]).unwrap();
    study.report(number, 4, 0.2).unwrap();
    for wrong in [&[0.5][..], &[], &[1.0, 2.0, 3.0]] {
        let message = study.report_values(number, 5, wrong).unwrap_err().to_string();
        assert!(message.contains("for 2 objectives"), "{message}");
    }
    // In memory, read again, and in a copy of the finished trial.
    let again = Study::open(study.storage(), Some("a")).unwrap();
    study.tell(number, Outcome::Complete(vec![0.2, 1.0])).unwrap();
    let copy = study.copy_to(study.storage(), "b").unwrap();
    for study in [&study, &again, &copy] {
        let trial = &study.trials().unwrap()[0];
        assert_eq!(trial.report_at(1), Some(&[0.5, 100.0][..]));
        assert_eq!((trial.report_at(2), trial.report_at(5)), (Some(&[0.4][..]), None));
        let broken = trial.report_at(3).unwrap();
        assert!(broken[0] == f64::INFINITY && broken[1].is_nan(), "{broken:?}");
        assert_eq!(trial.intermediate.keys().copied().collect::<Vec<_>>(), [1, 2, 3, 4]);
        // Optuna's own table has the first objective; nothing of the rest is among the other attributes.
        assert_eq!(trial.intermediate[&1], 0.5);
        assert!(trial.system.keys().all(|key| !key.starts_with("hpt:values")), "{:?}", trial.system);
    }
    // A report of the first alone takes the place of all; the file keeps what it replaced out of memory as well.
    assert_eq!(study.trials().unwrap()[0].report_at(4), Some(&[0.2][..]));
    assert_eq!(copy.trials().unwrap()[0].report_at(4), Some(&[0.2][..]));
}

#[test]
fn all_objectives_are_judged_and_one_alone_is_not() {
    let study = study(&[Direction::Minimize, Direction::Minimize]);
    let reported = |values: &[f64]| {
        let number = study.ask(&RandomSampler, 0).unwrap().unwrap().number;
        match values {
            [one] => study.report(number, 1, *one).unwrap(),
            all => study.report_values(number, 1, all).unwrap(),
        }
        (number, study.should_prune(number, &MEDIAN).unwrap())
    };
    for values in [[0.1, 100.0], [0.1, 90.0]] {
        let (number, stops) = reported(&values);
        assert!(!stops);
        study.tell(number, Outcome::Complete(values.to_vec())).unwrap();
    }
    let (number, stops) = reported(&[0.9, 100.0]);
    assert!(stops, "worse in one, no better in the other");
    let pruned = study.tell(number, Outcome::Pruned).unwrap();
    assert_eq!((pruned.state, pruned.values.len()), (State::Pruned, 0));
    assert!(!reported(&[0.9, 10.0]).1, "nothing is as cheap");
    assert!(!reported(&[0.9]).1, "it may be better in what it did not report");
}

#[test]
fn a_study_that_runs_keeps_the_front() {
    let hyperband = Hyperband::new(&Settings { max_resource: Some(3), ..Settings::default() });
    for pruner in [&MEDIAN as &dyn Pruner, &Asha { min_resource: 1, reduction: 3 }, &hyperband] {
        let study = study(&[Direction::Maximize, Direction::Minimize]);
        let spec = OptimizeSpec { trials: Some(60), ..OptimizeSpec::new(&RandomSampler, pruner) };
        // Of each four one is dear and good, one cheap and bad; the other two are dear and bad.
        let of = |slot: u64, x: f64| match slot % 4 {
            0 => (100.0 + x, x),
            1 => (1.0 + x, x - 10.0),
            _ => (110.0 + x, x - 20.0),
        };
        let summary = study
            .optimize(&spec, |context| {
                let (cost, good) = of(context.slot(), context.params()["x"].as_f64().unwrap_or(0.0));
                for step in 1..=3 {
                    match context.report_values(step, &[good, cost]) {
                        Verdict::Continue => {}
                        Verdict::Prune => return Err(ObjectiveEnd::Pruned),
                        Verdict::Stop => return Err(ObjectiveEnd::Stopped),
                    }
                }
                Ok(vec![good, cost])
            })
            .unwrap();
        let ended = |kind: u64, state: State| {
            let trials = study.trials().unwrap();
            trials.iter().filter(|trial| trial.number % 4 == kind && trial.state == state).count()
        };
        let what = pruner.describe();
        assert!(summary.counts.pruned >= 20, "{what}: {summary:?}");
        assert!(ended(0, State::Complete) >= 2 && ended(1, State::Complete) >= 2, "{what}: both ends go on");
        let dominated = ended(2, State::Complete) + ended(3, State::Complete);
        assert!(dominated <= 12, "{what}: {dominated} of 30 that are worse in both went on");
    }
}

#[test]
fn a_wrong_number_of_values_stops_the_study() {
    let study = study(&[Direction::Maximize, Direction::Minimize]);
    let spec = OptimizeSpec { trials: Some(3), ..OptimizeSpec::new(&RandomSampler, &MEDIAN) };
    let error = study.optimize(&spec, |context| {
        assert_eq!(context.report_values(1, &[1.0, 2.0, 3.0]), Verdict::Stop);
        Err(ObjectiveEnd::Stopped)
    });
    let message = error.unwrap_err().to_string();
    assert!(message.contains("trial 0: 3 values for 2 objectives"), "{message}");
    assert_eq!(study.counts().unwrap().waiting, 1, "the trial waits");
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
            *self.0.lock().unwrap() = ask.source.iter().map(|t| t.values.clone()).collect();
            assert!(ask.history.iter().all(|trial| trial.state != State::Complete), "they are no trials of this study");
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

#[test]
fn constraints_count_from_the_report_on_and_stay_with_the_pruned() {
    let asha = Asha { min_resource: 1, reduction: 3 };
    for deterministic in [None, Some(1)] {
        let study = study(&[Direction::Minimize]);
        let spec = OptimizeSpec { trials: Some(24), deterministic, ..OptimizeSpec::new(&RandomSampler, &asha) };
        let objective = |context: &mut Context<'_>| {
            // Good and broken; worse and kept; the worst, and broken.
            let kind = context.number() as usize % 3;
            let value = [0.1, 0.5, 9.0][kind];
            for step in 1..=3 {
                // The first report comes before anything is known.
                if step == 2 {
                    context.set_constraints(vec![[1.0, -1.0, 2.0][kind], 0.0]);
                }
                // The rung at which the last kind stops is the second.
                let value = if step == 1 { 1.0 } else { value };
                match context.report(step, value) {
                    Verdict::Prune => return Err(ObjectiveEnd::Pruned),
                    Verdict::Stop => return Err(ObjectiveEnd::Stopped),
                    Verdict::Continue => {}
                }
            }
            Ok(vec![value])
        };
        study.optimize(&spec, objective).unwrap();
        for trial in Study::open(study.storage(), Some("a")).unwrap().trials().unwrap().iter() {
            let kind = trial.number % 3;
            assert_eq!(trial.state == State::Pruned, kind == 2, "{trial:?}");
            assert_eq!(trial.constraints(), [[1.0, -1.0, 2.0][kind as usize], 0.0], "{trial:?}");
        }
    }
}

#[test]
fn a_process_that_serves_decides_as_one_that_looks_at_all() {
    let asha = Asha { min_resource: 1, reduction: 3 };
    for directions in [&[Direction::Minimize][..], &[Direction::Minimize, Direction::Maximize]] {
        let folder = tempfile::tempdir().unwrap();
        let storage = Storage::open_or_create(folder.path().join("s.db")).unwrap();
        let study = Study::create_or_open(&storage, &config(directions)).unwrap();
        let (serving, mut stopped) = (study.serve(&asha), 0);
        for i in 0..60_u64 {
            let number = study.ask_detached(&RandomSampler, 0).unwrap().unwrap().number;
            for step in 1..=4 {
                let value = |k: u64| ((i * 7 + k * 5 + step * 3) % 11) as f64;
                let values: Vec<f64> = (0..directions.len() as u64).map(value).collect();
                study.report_values(number, step, &values).unwrap();
                let stops = serving.should_prune(number).unwrap();
                assert_eq!(stops, study.should_prune(number, &asha).unwrap(), "{number} {step}");
                stopped += usize::from(stops);
            }
            if i % 3 == 0 {
                study.tell(number, Outcome::Failed("so".to_owned())).unwrap();
            }
        }
        assert!((10..230).contains(&stopped), "{stopped}");
        assert!(serving.should_prune(99).is_err() && folder.path().join("s.db-wal").exists());
        drop(serving);
        assert!(!folder.path().join("s.db-wal").exists(), "one plain file is left");
    }
}
