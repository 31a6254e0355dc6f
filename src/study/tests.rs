//! The study in one process: ask and tell, the loop, resuming, several connections, what is refused.

use super::*;
use crate::Error;
use crate::history::{Direction, State, Trial};
use crate::pruner::{Never, Percentile, Pruner};
use crate::sampler::{GridSampler, RandomSampler};
use crate::space::{Condition, Domain, Parameter, Params, Space, Test, Value};
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Condvar, Mutex};
use std::time::{Duration, Instant};

fn parameter(name: &str, domain: Domain) -> Parameter {
    Parameter { name: name.into(), domain, when: Vec::new() }
}

fn words(words: &[&str]) -> Domain {
    Domain::Choice(words.iter().map(|&word| Value::Text(word.into())).collect())
}

/// A rate, a width, an optimizer, and a momentum that only one optimizer has.
fn space() -> Space {
    let when = Condition { parent: "optimizer".into(), test: Test::In(vec![Value::Text("momentum".into())]) };
    let float = |low, high, log| Domain::Float { low, high, log, step: None };
    Space::new(vec![
        parameter("rate", float(1e-4, 1e-1, true)),
        parameter("width", Domain::Int { low: 16, high: 64, log: false, step: 16 }),
        parameter("optimizer", words(&["adam", "momentum"])),
        Parameter { when: vec![when], ..parameter("momentum", float(0.5, 0.99, false)) },
    ])
    .unwrap()
}

fn config(name: &str) -> StudyConfig {
    StudyConfig::new(name, Direction::Minimize, space())
}

/// A function of the parameters alone.
fn value(params: &Params) -> f64 {
    let number = |name: &str| params.get(name).and_then(Value::as_f64).unwrap_or(1.0);
    number("rate").ln().abs() + number("width") * number("momentum")
}

fn objective(context: &mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> {
    Ok(vec![value(context.params())])
}

fn spec(trials: u64) -> OptimizeSpec<'static> {
    OptimizeSpec { trials: Some(trials), ..OptimizeSpec::new(&RandomSampler, &Never) }
}

/// What each slot of the plan came to, whichever trial it was.
fn by_slot(trials: &[Trial]) -> BTreeMap<u64, (Params, Vec<u64>)> {
    let bits = |trial: &Trial| trial.values.iter().map(|value| value.to_bits()).collect();
    let counted = trials.iter().filter(|trial| trial.state == State::Complete);
    counted.map(|trial| (trial.slot(), (trial.params.clone(), bits(trial)))).collect()
}

#[test]
fn what_is_told_is_read_back_from_the_file() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    let study = Study::create_or_open(&Storage::open_or_create(&path).unwrap(), &config("a")).unwrap();
    let trial = study.ask(&RandomSampler, 3).unwrap().unwrap();
    for (step, value) in [(1, 0.5), (2, f64::NAN), (3, f64::INFINITY), (1, 0.25)] {
        study.report(trial.number, step, value).unwrap();
    }
    study.set_trial_user(trial.number, "note", &json!({"a": [1, null]})).unwrap();
    let told = study.tell(trial.number, Outcome::Complete(vec![0.1 + 0.2])).unwrap();
    let lost = study.ask(&RandomSampler, 3).unwrap().unwrap();
    study.tell(lost.number, Outcome::Failed("out of luck".into())).unwrap();

    let again = Study::open(&Storage::open(&path).unwrap(), None).unwrap();
    let trials = again.trials().unwrap();
    assert_eq!(again.space(), Some(&space()));
    assert_eq!(trials[0].params, trial.params);
    assert_eq!(trials[0].domains, trial.domains);
    assert_eq!(trials[0].value(), Some(0.1 + 0.2));
    assert_eq!(format!("{:?}", trials[0].intermediate), "{1: 0.25, 2: NaN, 3: inf}");
    assert_eq!(trials[0].user["note"], json!({"a": [1, null]}));
    assert_eq!((trials[0].started, trials[0].finished), (told.started, told.finished));
    assert_eq!(format!("{:?}", trials[0]), format!("{told:?}"), "memory and file agree");
    assert_eq!((trials[1].state, &trials[1].system["hpt:reason"]), (State::Failed, &json!("out of luck")));
    assert_eq!(again.best().unwrap()[0].number, 0);
}

#[test]
fn the_loop_reaches_its_total_and_no_more() {
    let study = Study::in_memory(&config("a")).unwrap();
    let summary = study.optimize(&OptimizeSpec { jobs: 3, ..spec(20) }, objective).unwrap();
    assert_eq!((summary.finished, summary.counts.complete, summary.stopped), (20, 20, Stopped::Reached));
    let summary = study.optimize(&spec(25), objective).unwrap();
    assert_eq!((summary.finished, summary.counts.complete), (5, 25));
    let summary = study.optimize(&spec(25), objective).unwrap();
    assert_eq!((summary.finished, summary.stopped), (0, Stopped::Reached));
    let numbers: Vec<u64> = study.trials().unwrap().iter().map(|trial| trial.number).collect();
    assert_eq!(numbers, (0..25).collect::<Vec<_>>());
}

#[test]
fn random_and_grid_trials_are_the_same_with_one_job_and_with_two() {
    for sampler in [&RandomSampler as &dyn crate::sampler::Sampler, &GridSampler { resolution: 3, trials: None }] {
        let run = |jobs| {
            let study = Study::in_memory(&config("a")).unwrap();
            study.optimize(&OptimizeSpec { jobs, sampler, seed: 7, ..spec(30) }, objective).unwrap();
            by_slot(&study.trials().unwrap())
        };
        let one = run(1);
        assert_eq!(one.keys().copied().collect::<Vec<_>>(), (0..one.len() as u64).collect::<Vec<_>>());
        assert_eq!(one, run(2));
        assert_eq!(one, run(5));
    }
}

#[test]
fn a_grid_ends_the_study_by_itself() {
    let study = Study::in_memory(&config("a")).unwrap();
    let sampler = GridSampler { resolution: 2, trials: None };
    let spec = OptimizeSpec { jobs: 2, trials: None, sampler: &sampler, ..spec(0) };
    let summary = study.optimize(&spec, objective).unwrap();
    // 2 rates, 4 widths, and an optimizer without or with one of 2 momenta.
    assert_eq!((summary.counts.complete, summary.stopped), (2 * 4 * 3, Stopped::Exhausted));
    assert_eq!(study.optimize(&spec, objective).unwrap().finished, 0);
}

#[test]
fn the_last_trials_know_that_others_are_done() {
    let study = Study::in_memory(&config("a")).unwrap();
    let seen = Mutex::new(Vec::new());
    let (first_is_done, done) = (Mutex::new(false), Condvar::new());
    let objective = |context: &mut Context<'_>| {
        let sharers = context.sharers();
        if context.slot() == 0 {
            // Until the other worker has done all others and gone home.
            let over = first_is_done.lock().unwrap();
            drop(done.wait_while(over, |over| !*over).unwrap());
            while sharers.workers() > 1 {
                std::thread::yield_now();
            }
        } else if context.slot() == 4 {
            *first_is_done.lock().unwrap() = true;
            done.notify_all();
        }
        seen.lock().unwrap().push(sharers.workers());
        Ok(vec![0.0])
    };
    study.optimize(&OptimizeSpec { jobs: 2, ..spec(5) }, objective).unwrap();
    assert_eq!(*seen.lock().unwrap(), [2, 2, 2, 2, 1]);
}

#[test]
fn every_way_a_trial_ends_is_stored() {
    let study = Study::in_memory(&config("a")).unwrap();
    let ends = |context: &mut Context<'_>| match context.slot() {
        0 => Ok(vec![f64::NAN]),
        1 => Ok(vec![f64::INFINITY]),
        2 => {
            context.report(1, 4.0);
            context.report(2, 3.0);
            context.set_user("epochs", json!(2));
            Err(ObjectiveEnd::Pruned)
        }
        3 => Err(ObjectiveEnd::Failed("no convergence".into())),
        4 => Err(Error::Diverged { epoch: 1, learning_rate: 0.1, loss: f64::NAN }.into()),
        5 => panic!("lost my mind"),
        6 => Err(ObjectiveEnd::Stopped),
        7 => {
            context.report(1, f64::NAN);
            Err(ObjectiveEnd::Pruned)
        }
        _ => Ok(vec![1.0]),
    };
    let summary = study.optimize(&spec(9), ends).unwrap();
    let counts = summary.counts;
    assert_eq!((counts.complete, counts.pruned, counts.failed, counts.lost), (2, 2, 5, 0));
    let trials = study.trials().unwrap();
    let reason = |i: usize| trials[i].system["hpt:reason"].as_str().unwrap().to_owned();
    assert_eq!((trials[0].state, trials[0].value()), (State::Failed, None));
    assert!(reason(0).contains("not a number"));
    assert_eq!((trials[1].state, trials[1].value()), (State::Complete, Some(f64::INFINITY)));
    assert_eq!((trials[2].state, trials[2].value()), (State::Pruned, Some(3.0)));
    assert_eq!(trials[2].user["epochs"], json!(2));
    assert_eq!(reason(3), "no convergence");
    assert!(reason(4).contains("epoch 1"));
    assert!(reason(5).contains("lost my mind"));
    assert!(reason(6).contains("stopped by itself"));
    assert_eq!((trials[7].state, trials[7].value()), (State::Pruned, None));
    assert_eq!(study.best().unwrap()[0].number, 8);
}

#[test]
fn an_interrupted_study_goes_on_as_if_nothing_had_happened() {
    let whole = Study::in_memory(&config("a")).unwrap();
    whole.optimize(&spec(12), objective).unwrap();

    let study = Study::in_memory(&config("a")).unwrap();
    let stop = std::sync::Arc::new(AtomicBool::new(false));
    let interrupted = OptimizeSpec { jobs: 2, stop: stop.clone(), ..spec(12) };
    let summary = study.optimize(&interrupted, |context| {
        if context.slot() < 5 {
            return objective(context);
        }
        stop.store(true, Ordering::Relaxed);
        match context.report(1, 0.0) {
            Verdict::Stop => Err(ObjectiveEnd::Stopped),
            verdict => panic!("{verdict:?} after the stop flag"),
        }
    });
    let summary = summary.unwrap();
    assert_eq!((summary.stopped, summary.counts.failed), (Stopped::Interrupted, 0));
    assert!(summary.counts.lost >= 1 && summary.counts.lost == summary.counts.waiting, "{summary:?}");

    let summary = study.optimize(&OptimizeSpec { jobs: 2, ..spec(12) }, objective).unwrap();
    assert_eq!((summary.counts.complete, summary.counts.waiting, summary.stopped), (12, 0, Stopped::Reached));
    assert_eq!(by_slot(&study.trials().unwrap()), by_slot(&whole.trials().unwrap()));
    let trials = study.trials().unwrap();
    let again = trials.iter().find(|trial| trial.system.contains_key("retry_history")).unwrap();
    let first = again.system["failed_trial"].as_u64().unwrap();
    assert_eq!(again.params, trials[first as usize].params);
}

#[test]
fn time_runs_out_inside_a_trial_too() {
    let study = Study::in_memory(&config("a")).unwrap();
    let spec = OptimizeSpec { time_limit: Some(Duration::from_millis(30)), trials: None, ..spec(0) };
    let started = Instant::now();
    let summary = study.optimize(&spec, |context| {
        let mut step = 0;
        loop {
            step += 1;
            match context.report(step, 1.0) {
                Verdict::Stop => return Err(ObjectiveEnd::Stopped),
                _ => std::thread::yield_now(),
            }
            assert!(context.deadline().is_some() && started.elapsed() < Duration::from_secs(120));
        }
    });
    let summary = summary.unwrap();
    assert_eq!((summary.stopped, summary.counts.lost, summary.counts.waiting), (Stopped::TimeLimit, 1, 1));
}

#[test]
fn a_fatal_error_stops_the_study_and_loses_nothing() {
    let study = Study::in_memory(&config("a")).unwrap();
    let fatal = |context: &mut Context<'_>| match context.slot() {
        4 => Err(ObjectiveEnd::Fatal(Error::input("no such column"))),
        _ => objective(context),
    };
    let error = study.optimize(&spec(10), fatal).unwrap_err();
    assert_eq!(error.to_string(), "no such column");
    let counts = study.counts().unwrap();
    assert_eq!((counts.complete, counts.lost, counts.waiting), (4, 1, 1));
    assert_eq!(study.optimize(&spec(10), objective).unwrap().counts.complete, 10);

    let error = study.optimize(&spec(12), |_| Ok(vec![1.0, 2.0])).unwrap_err();
    assert!(error.to_string().contains("2 values"), "{error}");
}

#[test]
fn a_pruner_sees_the_other_trials() {
    let study = Study::in_memory(&config("a")).unwrap();
    let median = Percentile { percentile: 50.0, startup: 3, warmup: 0 };
    let spec = OptimizeSpec { pruner: &median as &dyn Pruner, ..spec(6) };
    let worse_and_worse = |context: &mut Context<'_>| match context.report(1, context.slot() as f64) {
        Verdict::Prune => Err(ObjectiveEnd::Pruned),
        _ => Ok(vec![context.slot() as f64]),
    };
    let summary = study.optimize(&spec, worse_and_worse).unwrap();
    assert_eq!((summary.counts.complete, summary.counts.pruned), (3, 3));

    let trial = study.ask(&RandomSampler, 0).unwrap().unwrap();
    study.report(trial.number, 1, 9.0).unwrap();
    assert!(study.should_prune(trial.number, &median).unwrap());
    assert!(study.should_prune(99, &median).unwrap_err().to_string().contains("no trial 99"));
}

#[test]
fn reports_reach_the_file_while_the_trial_runs() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    let study = Study::create_or_open(&Storage::open_or_create(&path).unwrap(), &config("a")).unwrap();
    let reader = Study::open(&Storage::open(&path).unwrap(), None).unwrap();
    study
        .optimize(&spec(1), |context| {
            let reported = Instant::now();
            context.report(1, 0.5);
            while reader.trials().unwrap()[0].intermediate.is_empty() {
                assert!(reported.elapsed() < Duration::from_secs(120), "never written");
                std::thread::yield_now();
            }
            objective(context)
        })
        .unwrap();
    assert_eq!(reader.trials().unwrap()[0].state, State::Complete);
    drop((study, reader));
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    assert_eq!(files, ["study.db"], "one plain file at the end");
}

#[test]
fn an_enqueued_trial_is_popped_once_and_completed() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    let open = || Study::create_or_open(&Storage::open_or_create(&path).unwrap(), &config("a")).unwrap();
    let (a, b) = (open(), open());
    let given = |rate: f64| Params::from_iter([("rate".to_owned(), Value::Float(rate))]);
    let rates = [0.01, 0.02, 0.03, 0.04];
    for rate in rates {
        a.enqueue(&given(rate)).unwrap();
    }
    let both = |study: &Study| study.optimize(&OptimizeSpec { jobs: 2, ..spec(12) }, objective).map(drop);
    std::thread::scope(|scope| {
        let other = scope.spawn(|| both(&b));
        both(&a).unwrap();
        other.join().unwrap().unwrap();
    });
    let trials = a.trials().unwrap();
    assert_eq!(a.counts().unwrap(), Counts { complete: 12, ..Counts::default() });
    for rate in rates {
        let with_it = trials.iter().filter(|trial| trial.params["rate"] == Value::Float(rate));
        assert_eq!(with_it.count(), 1);
    }
    let slots: std::collections::BTreeSet<u64> = trials.iter().map(Trial::slot).collect();
    assert_eq!(slots, (0..12).collect(), "no slot twice");
    for trial in trials.iter() {
        space().contains(&trial.params).unwrap();
    }
    let of = |name: &str, value: Value| Params::from_iter([(name.to_owned(), value)]);
    let wrong = a.enqueue(&of("rates", Value::Float(0.1))).unwrap_err().to_string();
    assert!(wrong.contains("did you mean `rate`"), "{wrong}");
    assert!(a.enqueue(&of("width", Value::Int(17))).is_err(), "off the grid");
    let mut inactive = of("momentum", Value::Float(0.9));
    inactive.insert("optimizer".into(), Value::Text("adam".into()));
    assert!(a.enqueue(&inactive).is_err(), "adam has no momentum");
    assert!(matches!(a.enqueue(&of("momentum", Value::Float(0.9))), Ok(12)), "the optimizer is open");
}

#[test]
fn a_full_disk_loses_no_stored_trial() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    let storage = Storage::open_or_create(&path).unwrap();
    let study = Study::create_or_open(&storage, &config("a")).unwrap();
    study.optimize(&spec(5), objective).unwrap();
    let pages = |limit: Option<i64>| {
        storage.with(|connection| {
            let used: i64 = connection.pragma_query_value(None, "page_count", |row| row.get(0)).unwrap();
            let limit = limit.unwrap_or(used + 4);
            connection.pragma_update_and_check(None, "max_page_count", limit, |_| Ok(())).unwrap();
        })
    };
    pages(None);
    let error = study.optimize(&spec(5000), objective).unwrap_err();
    assert!(matches!(&error, Error::Storage(message) if message.contains("disk is full")), "{error}");
    assert_eq!(error.exit_code(), 1);
    let known = study.counts().unwrap().complete;
    let stored = Study::open(&Storage::open(&path).unwrap(), None).unwrap().counts().unwrap().complete;
    assert!(known >= 5 && known == stored, "{known} told, {stored} stored");

    pages(Some(1 << 30));
    let summary = study.optimize(&spec(known + 10), objective).unwrap();
    assert_eq!((summary.counts.complete, summary.counts.running), (known + 10, 0));
    let whole = Study::in_memory(&config("a")).unwrap();
    whole.optimize(&spec(known + 10), objective).unwrap();
    assert_eq!(by_slot(&study.trials().unwrap()), by_slot(&whole.trials().unwrap()));
}

#[test]
fn trials_of_the_dead_are_put_back_and_those_of_the_living_are_not() {
    let study = Study::in_memory(&config("a")).unwrap();
    let trials: Vec<Trial> = (0..4).map(|_| study.ask(&RandomSampler, 0).unwrap().unwrap()).collect();
    let detached = study.ask_detached(&RandomSampler, 0).unwrap().unwrap();
    // 0: a process of this machine that is gone. 1: of another machine, long silent. 2: of another machine, just heard.
    let set = |number: u64, change: &dyn Fn(&mut serde_json::Value)| {
        let mut owner = trials[number as usize].system["hpt:owner"].clone();
        change(&mut owner);
        study.inner.storage.with(|connection| {
            let sql = "UPDATE trial_system_attributes SET value_json = ?1 WHERE key = 'hpt:owner' AND trial_id = ?2";
            assert_eq!(connection.execute(sql, (owner.to_string(), number + 1)).unwrap(), 1);
            connection
                .execute("UPDATE trials SET datetime_start = '2020-01-01 00:00:00' WHERE trial_id = ?1", [number + 1])
                .unwrap();
        });
    };
    set(0, &|owner| owner["start"] = json!(owner["start"].as_u64().unwrap() + 1));
    set(1, &|owner| owner["boot"] = json!("another"));
    set(2, &|owner| owner["boot"] = json!("another"));
    let beat = "INSERT INTO trial_heartbeats (trial_id, heartbeat) VALUES (3, CURRENT_TIMESTAMP)";
    study.inner.storage.with(|connection| connection.execute(beat, []).unwrap());

    // A second handle on the same connection reads the rows afresh.
    let fresh = Study::open(study.storage(), None).unwrap();
    assert_eq!(fresh.reclaim().unwrap(), [0, 1]);
    let now = fresh.trials().unwrap();
    let states: Vec<State> = now.iter().map(|trial| trial.state).collect();
    use State::{Failed, Running, Waiting};
    assert_eq!(states, [Failed, Failed, Running, Running, Running, Waiting, Waiting]);
    assert_eq!((now[5].slot(), &now[5].params), (0, &trials[0].params));
    assert_eq!(now[0].system["hpt:lost"], json!("its process died"));
    assert_eq!(fresh.reclaim().unwrap(), [0; 0]);
    let next = fresh.ask(&RandomSampler, 0).unwrap().unwrap();
    assert_eq!((next.number, next.slot()), (5, 0));
    fresh.tell(detached.number, Outcome::Complete(vec![1.0])).unwrap();
}

#[test]
fn what_is_told_wrongly_is_refused() {
    let study = Study::in_memory(&config("a")).unwrap();
    let trial = study.ask(&RandomSampler, 0).unwrap().unwrap();
    let text = |result: crate::Result<Trial>| result.unwrap_err().to_string();
    assert!(text(study.tell(5, Outcome::Pruned)).contains("there is no trial 5"));
    assert!(text(study.tell(0, Outcome::Complete(vec![1.0, 2.0]))).contains("2 values for 1 objective"));
    study.tell(trial.number, Outcome::Complete(vec![1.0])).unwrap();
    assert!(text(study.tell(0, Outcome::Pruned)).contains("complete, not running"));
    assert!(study.report(0, 1, 1.0).unwrap_err().to_string().contains("never change"));
    let waiting = study.enqueue(&Params::new()).unwrap();
    assert!(text(study.tell(waiting, Outcome::Pruned)).contains("waiting, not running"));
}

#[test]
fn another_configuration_under_the_same_name_is_refused_with_the_difference() {
    let storage = Storage::in_memory().unwrap();
    let mut first = config("a");
    first.attributes.insert("data".into(), json!({"rows": 100}));
    let study = Study::create_or_open(&storage, &first).unwrap();
    Study::create_or_open(&storage, &first).unwrap();
    Study::create_or_open(&storage, &StudyConfig { space: None, ..first.clone() }).unwrap();
    let refused = |config: &StudyConfig| match Study::create_or_open(&storage, config) {
        Err(Error::Input(message)) => message,
        other => panic!("{other:?}"),
    };
    let message = refused(&StudyConfig { directions: vec![Direction::Maximize], ..first.clone() });
    assert!(message.contains("it has: minimize") && message.contains("asked for: maximize"), "{message}");
    let named = |name: &str| StudyConfig { metric_names: vec![name.into()], ..first.clone() };
    Study::create_or_open(&storage, &named("accuracy")).unwrap();
    let message = refused(&named("auc"));
    assert!(message.contains("it has: accuracy") && message.contains("asked for: auc"), "{message}");
    Study::create_or_open(&storage, &first).unwrap();
    assert_eq!(Study::open(&storage, None).unwrap().metric_names(), ["accuracy"], "one side without names");
    let mut parameters = space().parameters().to_vec();
    parameters[1].domain = Domain::Int { low: 16, high: 128, log: false, step: 16 };
    let message = refused(&StudyConfig { space: Some(Space::new(parameters).unwrap()), ..first.clone() });
    assert!(message.contains("width") && message.contains("128"), "{message}");
    let mut other = first.clone();
    other.attributes.insert("data".into(), json!({"rows": 101}));
    let message = refused(&other);
    assert!(message.contains("another `data`") && message.contains("100") && message.contains("101"), "{message}");
    assert!(refused(&StudyConfig { name: String::new(), ..first.clone() }).contains("name"));

    assert_eq!(study.attribute("data").unwrap(), Some(json!({"rows": 100})));
    study.set_attribute("result", &json!([1, "x"])).unwrap();
    assert_eq!(study.attribute("result").unwrap(), Some(json!([1, "x"])));
    Study::create_or_open(&storage, &config("b")).unwrap();
    assert_eq!(storage.studies().unwrap(), ["a", "b"]);
    let several = Study::open(&storage, None).unwrap_err().to_string();
    assert!(several.contains("several studies (a, b)"), "{several}");
    let nearest = Study::open(&storage, Some("aa")).unwrap_err().to_string();
    assert!(nearest.contains("did you mean `a`"), "{nearest}");
}

#[test]
fn a_panic_in_a_callback_ends_the_loop() {
    let study = Study::in_memory(&config("a")).unwrap();
    let on_trial = |_: &Trial| panic!("nobody listens");
    let spec = OptimizeSpec { on_trial: Some(&on_trial), jobs: 2, ..spec(4) };
    let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| study.optimize(&spec, objective)));
    assert!(run.is_err(), "the panic is the caller's own and comes back to it");
    assert!(study.counts().unwrap().complete >= 1);
}

#[test]
fn memory_and_file_agree_after_many_reports_at_once() {
    let study = Study::in_memory(&config("a")).unwrap();
    let asha = crate::pruner::Asha::new(&crate::pruner::Settings::default());
    let spec = OptimizeSpec { pruner: &asha, jobs: 4, ..spec(60) };
    let reports = |context: &mut Context<'_>| {
        let value = value(context.params());
        for step in 1..=20 {
            if context.report(step, value + step as f64) == Verdict::Prune {
                return Err(ObjectiveEnd::Pruned);
            }
        }
        Ok(vec![value])
    };
    study.optimize(&spec, reports).unwrap();
    let counts = study.counts().unwrap();
    assert!(counts.pruned > 0 && counts.complete > 0, "{counts:?}");
    assert_eq!(*study.trials().unwrap(), *Study::open(study.storage(), None).unwrap().trials().unwrap());
}

#[test]
fn threads_that_share_a_study_see_one_order() {
    let study = Study::in_memory(&config("a")).unwrap();
    let given = |rate: f64| Params::from_iter([("rate".to_owned(), Value::Float(rate))]);
    let threads = |work: &(dyn Fn(u32) + Sync)| {
        std::thread::scope(|scope| (0..8).for_each(|thread| drop(scope.spawn(move || work(thread)))));
        // A waiting trial that memory has lost track of would be asked for without end.
        let file = Study::open(study.storage(), None).unwrap();
        assert_eq!(*study.trials().unwrap(), *file.trials().unwrap(), "memory and file agree");
    };
    let enqueue = |thread: u32, i: u32| study.enqueue(&given(0.001 + 1e-6 * f64::from(40 * thread + i))).unwrap();
    threads(&|thread| {
        (0..20).for_each(|i| {
            enqueue(thread, i);
        })
    });
    threads(&|thread| {
        for i in 20..40 {
            enqueue(thread, i);
            let trial = study.ask(&RandomSampler, 0).unwrap().unwrap();
            study.report(trial.number, 1, 0.5).unwrap();
            study.tell(trial.number, Outcome::Complete(vec![0.5])).unwrap();
        }
    });
    assert_eq!(study.counts().unwrap(), Counts { complete: 160, waiting: 160, ..Counts::default() });
    study.optimize(&OptimizeSpec { jobs: 4, ..spec(330) }, objective).unwrap();
    assert_eq!(study.counts().unwrap(), Counts { complete: 330, ..Counts::default() });
    let slots: std::collections::BTreeSet<u64> = study.trials().unwrap().iter().map(Trial::slot).collect();
    assert_eq!(slots, (0..330).collect(), "each slot once");
}

#[test]
fn a_waiting_trial_that_another_handle_took_is_read_again() {
    let study = Study::in_memory(&config("a")).unwrap();
    study.enqueue(&Params::new()).unwrap();
    let other = Study::open(study.storage(), None).unwrap();
    assert_eq!(other.ask(&RandomSampler, 0).unwrap().unwrap().number, 0);
    other.tell(0, Outcome::Complete(vec![1.0])).unwrap();
    assert_eq!(study.ask(&RandomSampler, 0).unwrap().unwrap().number, 1);
}

#[test]
fn a_trial_that_kills_its_process_fails_at_the_third_death() {
    let study = Study::in_memory(&config("a")).unwrap();
    // Another handle plays the process that is gone; each reads the rows afresh.
    let attempt = |dies: bool| {
        let own = Study::open(study.storage(), None).unwrap();
        let trial = own.ask(&RandomSampler, 0).unwrap().unwrap();
        if !dies {
            return own.put_back(|_, _, _| Ok(Some("interrupted"))).unwrap();
        }
        let mut owner = trial.system["hpt:owner"].clone();
        owner["start"] = json!(owner["start"].as_u64().unwrap() + 1);
        study.storage().with(|connection| {
            let sql = "UPDATE trial_system_attributes SET value_json = ?1 WHERE key = 'hpt:owner' AND trial_id = ?2";
            connection.execute(sql, (owner.to_string(), trial.number + 1)).unwrap();
            let sql = "UPDATE trials SET datetime_start = '2020-01-01 00:00:00' WHERE trial_id = ?1";
            connection.execute(sql, [trial.number + 1]).unwrap();
        });
        Study::open(study.storage(), None).unwrap().reclaim().unwrap()
    };
    for (number, dies) in [true, false, true, false, false, true].into_iter().enumerate() {
        assert_eq!(attempt(dies), [number as u64]);
    }
    let study = Study::open(study.storage(), None).unwrap();
    assert_eq!(study.counts().unwrap(), Counts { failed: 1, lost: 5, ..Counts::default() });
    let trials = study.trials().unwrap();
    assert_eq!(trials[5].system["hpt:reason"], json!("its process died 3 times"));
    assert!(trials.iter().all(|trial| trial.slot() == 0 && trial.params == trials[0].params));
    let summary = study.optimize(&spec(3), objective).unwrap();
    assert_eq!((summary.finished, summary.counts.finished()), (2, 3), "the failed one counts");
}

#[test]
fn what_is_enqueued_once_is_there_once() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    let open = || Study::create_or_open(&Storage::open_or_create(&path).unwrap(), &config("a")).unwrap();
    let given =
        |width: Value| Params::from_iter([("width".to_owned(), width), ("rate".to_owned(), Value::Float(0.01))]);
    let counts: Vec<usize> = std::thread::scope(|scope| {
        let start = || (0..3).filter(|_| open().enqueue_once(&given(Value::Int(32))).unwrap().is_some()).count();
        let both = [scope.spawn(start), scope.spawn(start)];
        both.map(|thread| thread.join().unwrap()).into()
    });
    assert_eq!(counts.iter().sum::<usize>(), 1, "over two connections at once");
    let study = open();
    study.optimize(&spec(3), objective).unwrap();
    let turned: Params = given(Value::Float(32.0)).into_iter().rev().collect();
    assert_eq!(study.enqueue_once(&turned).unwrap(), None, "finished; other order and type of number");
    assert_eq!(study.enqueue_once(&given(Value::Int(48))).unwrap(), Some(3));
    let less = Params::from_iter([("width".to_owned(), Value::Int(48))]);
    assert_eq!(study.enqueue_once(&less).unwrap(), Some(4), "other parameters are open");
    let proposed = study.trials().unwrap()[1].params.clone();
    assert_eq!(study.enqueue_once(&proposed).unwrap(), Some(5), "it was proposed, not enqueued");
    assert_eq!(study.enqueue(&less).unwrap(), 6, "enqueueing twice is still possible");
    assert!(study.enqueue_once(&given(Value::Int(17))).is_err(), "off the grid");
}

#[test]
fn the_best_is_found_while_somebody_reads_and_nothing_is_copied() {
    let study = Study::in_memory(&config("a")).unwrap();
    let trial = study.ask(&RandomSampler, 0).unwrap().unwrap();
    let reader = study.trials().unwrap();
    study.tell(trial.number, Outcome::Complete(vec![0.5])).unwrap();
    assert_eq!(study.best().unwrap()[0].value(), Some(0.5));
    assert_eq!(study.cache().glance().as_ptr(), reader.as_ptr());
    assert_eq!((study.trials().unwrap()[0].state, reader[0].state), (State::Complete, State::Running));
}

/// What was put back although it had a value has it again where its repetition comes to nothing.
#[test]
fn values_that_were_taken_are_given_back() {
    let study = Study::in_memory(&config("s")).unwrap();
    study.optimize(&spec(3), objective).unwrap();
    let was: Vec<Trial> = study.trials().unwrap().to_vec();
    let never = |_: &Trial, _: &Trial| false;
    let repeat = |number: u64| study.repeat("a test", |trial| trial.number == number).unwrap();
    let values = |number: usize| study.trials().unwrap()[number].values.clone();
    let counts = || {
        let counts = study.counts().unwrap();
        [counts.complete, counts.lost, counts.waiting, counts.failed, counts.deleted]
    };
    // One that waits.
    assert_eq!((repeat(1), counts(), values(1)), (vec![1], [2, 1, 1, 0, 0], vec![]));
    assert_eq!((study.restore(never).unwrap(), counts()), (vec![1], [3, 1, 0, 0, 0]));
    assert_eq!((values(1), study.restore(never).unwrap()), (was[1].values.clone(), vec![]));
    assert!(!study.trials().unwrap()[1].system.contains_key("hpt:lost"));
    // One that has ended counts, unless it is behind: then it is as if it had not been.
    repeat(1);
    study.optimize(&spec(3), objective).unwrap();
    assert_eq!((study.restore(never).unwrap(), counts()), (vec![], [3, 2, 0, 0, 0]));
    repeat(0);
    study.optimize(&spec(3), |context| objective(context).map(|values| vec![values[0] + 1.0])).unwrap();
    let is_behind = |again: &Trial, before: &Trial| again.values[0] > before.values[0];
    assert_eq!((study.restore(is_behind).unwrap(), values(0)), (vec![0], was[0].values.clone()));
    // One that fails for good is the last, and one that somebody deleted does not come back.
    repeat(2);
    study.optimize(&spec(3), |_| Err(ObjectiveEnd::Failed("it broke".into()))).unwrap();
    assert_eq!((study.restore(never).unwrap(), values(2)), (vec![2], was[2].values.clone()));
    assert_eq!((counts(), study.counts().unwrap().finished()), ([3, 4, 0, 0, 0], 3), "no slot counts twice");
    assert_eq!(repeat(2), Vec::<u64>::new());
    repeat(0);
    study.delete_trial(0, "a test").unwrap();
    assert_eq!(counts()[2], 0, "the repetition goes with it");
    study.restore(never).unwrap();
    assert_eq!(values(0), Vec::<f64>::new());
    study.delete_trial(1, "lost, and its repetition is complete").unwrap();
    assert_eq!(counts(), [2, 3, 0, 0, 3]);
}

/// Of a slot with several results only the last comes back.
#[test]
fn what_has_come_to_another_result_stays_away() {
    let study = Study::in_memory(&config("s")).unwrap();
    let never = |_: &Trial, _: &Trial| false;
    study.optimize(&spec(1), objective).unwrap();
    study.repeat("a test", |_| true).unwrap();
    study.optimize(&spec(1), objective).unwrap();
    assert_eq!(study.repeat("a test", |_| true).unwrap(), [1]);
    study.optimize(&spec(1), |_| Err(ObjectiveEnd::Failed("it broke".into()))).unwrap();
    assert_eq!(study.restore(never).unwrap(), [1]);
    assert_eq!((study.restore(never).unwrap(), study.put_aside().unwrap()), (vec![], vec![]), "trial 0 is older");
    assert_eq!(study.counts().unwrap().complete, 1);
}

/// What was put back is what there is while its repetition waits or runs, in whichever process.
#[test]
fn values_that_were_put_aside_count_until_there_are_others() {
    let folder = tempfile::tempdir().unwrap();
    let storage = Storage::open_or_create(folder.path().join("study.db")).unwrap();
    for directions in [&[Direction::Minimize][..], &[Direction::Minimize, Direction::Maximize]] {
        let name = format!("{}", directions.len());
        let config = StudyConfig { directions: directions.to_vec(), ..config(&name) };
        let study = Study::create_or_open(&storage, &config).unwrap();
        let told = |value: f64| {
            let number = study.ask(&RandomSampler, 0).unwrap().unwrap().number;
            let values = vec![value; directions.len()];
            study.tell(number, Outcome::Complete(values)).unwrap().values.clone()
        };
        let was = told(0.5);
        let best = || {
            let other = Study::open(&Storage::open(folder.path().join("study.db")).unwrap(), Some(&name)).unwrap();
            let best = [&study, &other].map(|study| study.best().unwrap());
            assert_eq!(best[0], best[1]);
            best[0].iter().map(|trial| (trial.number, trial.values.clone())).collect::<Vec<_>>()
        };
        assert_eq!(study.repeat("a test", |_| true).unwrap(), [0]);
        assert_eq!((best(), study.put_aside().unwrap().len()), (vec![(0, was.clone())], 1));
        let again = study.ask(&RandomSampler, 0).unwrap().unwrap().number;
        assert_eq!((again, best(), study.counts().unwrap().complete), (1, vec![(0, was)], 0));
        let now = vec![0.75; directions.len()];
        study.tell(again, Outcome::Complete(now.clone())).unwrap();
        assert_eq!((best(), study.put_aside().unwrap().len()), (vec![(1, now)], 0));
    }
}

/// What a pruner ends says little of what there was before.
#[test]
fn values_stand_where_the_repetition_was_pruned_and_nothing_is_as_good() {
    let study = Study::in_memory(&config("s")).unwrap();
    study.optimize(&spec(2), objective).unwrap();
    let values: Vec<f64> = study.trials().unwrap().iter().map(|trial| trial.values[0]).collect();
    let [better, worse] = if values[0] < values[1] { [0, 1] } else { [1, 0] };
    let never = |_: &Trial, _: &Trial| false;
    let is = |number: u64| move |trial: &Trial| trial.number == number;
    let pruned = |number: u64| {
        assert_eq!(study.repeat("a test", is(number)).unwrap(), [number]);
        study.optimize(&spec(2), |_| Err(ObjectiveEnd::Pruned)).unwrap();
    };
    pruned(worse);
    assert_eq!(study.restore(never).unwrap(), [0; 0], "the other one is as good");
    pruned(better);
    assert_eq!(study.best().unwrap()[0].number, better, "whoever was killed by now loses nothing");
    let restored = study.restore(never).unwrap();
    assert_eq!((restored, study.best().unwrap()[0].number), (vec![better], better));
    let counts = study.counts().unwrap();
    assert_eq!((counts.complete, counts.pruned, counts.finished()), (1, 1, 2), "no slot counts twice");
    assert_eq!(study.repeat("a test", is(better)).unwrap(), [0; 0], "it would be pruned again");
}
