//! Limits of time, and what an interrupt leaves: a model in hand, and a study that goes on as if it had not stopped.

use super::*;

/// Longer than anything here takes on a machine that others keep busy; what does not stop would take longer still.
const SOON: f64 = 120.0;

#[test]
fn time_limits_are_kept() {
    let folder = tempfile::tempdir().unwrap();
    let mut limited = spec(folder.path(), 1);
    limited.trials = None;
    limited.time_limit = Some(Duration::from_secs(4));
    let outcome = run(&limited);
    assert!(outcome.stopped == Stopped::TimeLimit && outcome.seconds < SOON, "{} s", outcome.seconds);
    assert!(outcome.study.counts().unwrap().complete > 0);

    // A resumed study knows from its start what the last training takes: where that is more than there is, the best
    // trial's own model is the result.
    let folder = tempfile::tempdir().unwrap();
    let mut slow = spec(folder.path(), 1);
    let rate = Domain::Float { low: 1e-3, high: 1e-2, log: true, step: None };
    let rate = Parameter { name: "learning_rate".into(), domain: rate, when: vec![] };
    slow.space = Some(Space::new(vec![rate]).unwrap());
    slow.fixed.set("epochs", "epochs", &Value::Int(60)).unwrap();
    slow.fixed.set("batch_size", "batch_size", &Value::Int(1)).unwrap();
    slow.jobs = 1;
    let first = run(&slow);
    let training = first.best.user["train_seconds"].as_f64().unwrap();
    // It would stand.
    std::fs::remove_file(&first.model).unwrap();
    slow.trials = None;
    slow.time_limit = Some(Duration::from_secs_f64(training / 4.0));
    let ends = Ends::default();
    let second = search(&slow, &ends, &Arc::default()).unwrap();
    assert_eq!((second.stopped, second.retrained, second.best.number), (Stopped::TimeLimit, false, 0));
    assert_eq!(ends.0.load(Ordering::Relaxed), 0, "no last training was begun");
    let said = ends.1.lock().unwrap();
    assert!(said.contains("no time for a last training: the result is the own model of trial 0"), "{said}");
    let own = folder.path().join("models/trial-0.safetensors");
    assert_eq!(std::fs::read(&second.model).unwrap(), std::fs::read(own).unwrap());

    let folder = tempfile::tempdir().unwrap();
    let mut hung = spec(folder.path(), 2);
    hung.fixed.set("epochs", "epochs", &Value::Int(100_000_000)).unwrap();
    hung.trial_time_limit = Some(Duration::from_millis(300));
    hung.trial_time_limit = Some(Duration::from_nanos(1));
    let message = search(&hung, &(), &Arc::default()).unwrap_err().to_string();
    assert!(message.contains("no trial was completed") && message.contains("in its first epoch"), "{message}");
}

#[test]
fn what_a_trial_has_learned_when_its_time_is_up_is_its_result() {
    for (repeats, early_stopping) in [(1, None), (3, None), (1, Some(100_000))] {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), 2);
        spec.fixed.set("epochs", "epochs", &Value::Int(1_000_000)).unwrap();
        if let Some(patience) = early_stopping {
            spec.fixed.set("early_stopping", "early_stopping", &Value::Int(patience)).unwrap();
        }
        spec.trial_time_limit = Some(Duration::from_secs(2));
        spec.repeats = repeats;
        let outcome = run(&spec);
        let trials = outcome.study.trials().unwrap();
        assert_eq!(trials.len(), 2);
        let prepared = Prepared::load(&spec.data, &SplitSpec { seed: spec.seed, ..spec.split.clone() }).unwrap();
        let sets = prepared.sets(Preprocess::Standard).unwrap();
        for trial in trials.iter() {
            assert_eq!(trial.state, State::Complete, "{trial:?}");
            let why = trial.user["ended_by"].as_str().unwrap();
            assert!(why.contains("time limit of 2 s") && why.contains("1 of 3") == (repeats == 3), "{why}");
            let best = trial.user["best_epoch"].as_u64().unwrap();
            assert_eq!(trial.value(), trial.intermediate.get(&best).copied(), "the value of an epoch that was whole");
            assert!(early_stopping.is_some() || trial.last_intermediate().unwrap().0 == best);
            // The model that is kept has that value: weights of the epoch that was cut off are not in it.
            let path = folder.path().join("models").join(format!("trial-{}.safetensors", trial.number));
            let model = Model::load(&path).unwrap();
            let engine = Engine::new(Device::Cpu, 1).unwrap();
            let scores = engine.scores(&model, sets.validation.as_ref().unwrap()).unwrap();
            assert_eq!(Some(scores.0["accuracy"]), trial.value());
        }
    }
}

#[test]
fn where_no_trial_is_complete_in_time_those_under_way_are_the_result() {
    let epochs = |spec: &mut SearchSpec| spec.fixed.set("epochs", "epochs", &Value::Int(1_000_000)).unwrap();
    for (repeats, keep_models, objectives) in
        [(1, 3, &["accuracy"][..]), (3, 3, &["accuracy"]), (1, 0, &["log_loss", "parameters"])]
    {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), 1);
        epochs(&mut spec);
        // Without kept models there is a last training, if only for want of another; it may fit, of few epochs, or not.
        (spec.repeats, spec.keep_models, spec.retrain) = (repeats, keep_models, keep_models == 0);
        spec.trials = None;
        spec.objectives = objectives.iter().map(|name| Measure::by_name("", name).unwrap()).collect();
        spec.time_limit = Some(Duration::from_secs(3));
        let outcome = run(&spec);
        assert_eq!(outcome.stopped, Stopped::TimeLimit);
        assert!(outcome.seconds < SOON);
        let best = &outcome.best;
        let why = best.user["ended_by"].as_str().unwrap();
        assert!(why.contains("the search's time limit of 3 s") && why.contains("1 of 3") == (repeats == 3), "{why}");
        let last = best.user["best_epoch"].as_u64().unwrap();
        assert_eq!(best.last_intermediate().unwrap().0, last, "the epochs that were whole");
        assert_eq!(best.state, State::Complete);
        // The model that is delivered has that value.
        let prepared = Prepared::load(&spec.data, &SplitSpec { seed: spec.seed, ..spec.split.clone() }).unwrap();
        let prepared = if objectives.contains(&"parameters") { prepared.aligned() } else { prepared };
        let sets = prepared.sets(Preprocess::Standard).unwrap();
        let model = Model::load(&outcome.model).unwrap();
        let engine = Engine::new(Device::Cpu, 1).unwrap();
        let scores = engine.scores(&model, sets.validation.as_ref().unwrap()).unwrap();
        assert!(outcome.retrained && spec.retrain || Some(&scores.0[objectives[0]]) == best.values.first());
        let files = std::fs::read_dir(folder.path().join("models")).unwrap();
        let files = files.filter(|file| file.as_ref().unwrap().path().is_file()).count();
        assert!(files <= 1 + keep_models && (files == 1) == (keep_models == 0), "{files}");
    }

    // Of folds as many as there are, or a part of the first.
    for epochs in [1_000_000, 200] {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), 1);
        spec.fixed.set("epochs", "epochs", &Value::Int(epochs)).unwrap();
        (spec.split.folds, spec.trials, spec.retrain) = (Folds::Count(100), None, false);
        spec.time_limit = Some(Duration::from_secs(3));
        let outcome = run(&spec);
        let best = &outcome.best;
        let why = best.user["ended_by"].as_str().unwrap();
        assert!(why.contains("the search's time limit of 3 s in training ") && why.ends_with(" of 100"), "{why}");
        let values = outcome.found.parts.len();
        assert_eq!(epochs == 1_000_000, why.contains(" 1 of ") && values == 0, "{why}, {values}");
        let mean = outcome.found.parts.iter().sum::<f64>() / values as f64;
        assert!(values == 0 || (best.value().unwrap() - mean).abs() < 1e-12, "{best:?}");
    }
}

#[test]
fn when_time_is_up_a_trial_that_leads_is_a_result_and_others_are_put_back() {
    for (learning_rate, leads) in [(1e-2, true), (1e-9, false)] {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), 1);
        let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: vec![] };
        let rates = Domain::Float { low: 1e-9, high: 1e-2, log: true, step: None };
        let epochs = Domain::Choice([2, 1_000_000].map(Value::Int).into());
        spec.space = Some(Space::new(vec![parameter("learning_rate", rates), parameter("epochs", epochs)]).unwrap());
        // One that ends soon, and one that runs for as long as it may.
        let trial = |rate: f64, epochs: i64| {
            [("learning_rate".to_owned(), Value::Float(rate)), ("epochs".to_owned(), Value::Int(epochs))].into()
        };
        (spec.enqueue, spec.jobs, spec.trials) = (vec![trial(1e-3, 2), trial(learning_rate, 1_000_000)], 1, None);
        spec.retrain = false;
        spec.time_limit = Some(Duration::from_secs(3));
        let outcome = run(&spec);
        assert_eq!(outcome.stopped, Stopped::TimeLimit);
        assert_eq!(outcome.best.user.contains_key("ended_by"), leads, "{:?}", outcome.best);
        assert_eq!(outcome.best.value() > outcome.study.trials().unwrap()[0].value(), leads);
        assert_eq!(outcome.study.counts().unwrap().complete, 1 + u64::from(leads));
        if leads {
            let prepared = Prepared::load(&spec.data, &SplitSpec { seed: spec.seed, ..spec.split.clone() }).unwrap();
            let sets = prepared.sets(Preprocess::Standard).unwrap();
            let engine = Engine::new(Device::Cpu, 1).unwrap();
            let model = Model::load(&outcome.model).unwrap();
            let scores = engine.scores(&model, sets.validation.as_ref().unwrap()).unwrap();
            assert_eq!(Some(scores.0["accuracy"]), outcome.best.value(), "the model has the value of its trial");
        }
    }
}

/// A study goes on as if it had never been short of time.
#[test]
fn what_a_time_limit_ended_begins_again() {
    let folder = tempfile::tempdir().unwrap();
    let whole = tempfile::tempdir().unwrap();
    let spec_of = |folder: &Path, trials| SearchSpec { jobs: 1, ..spec(folder, trials) };
    let expected = run(&spec_of(whole.path(), 3));
    let first = run(&spec_of(folder.path(), 2));
    // As a time limit leaves a trial.
    let base = rusqlite::Connection::open(folder.path().join("study.db")).unwrap();
    let values = "INSERT INTO trial_user_attributes (trial_id, key, value_json)
                  SELECT trial_id, 'ended_by', '\"the search''s time limit of 3 s\"' FROM trials WHERE number = 0";
    assert_eq!(base.execute(values, []).unwrap(), 1);
    base.execute(
        "UPDATE trial_values SET value = 0.999 WHERE trial_id = (SELECT trial_id FROM trials WHERE number = 0)",
        [],
    )
    .unwrap();
    drop((base, first));
    let all = run(&spec_of(folder.path(), 1));
    assert_eq!(all.best.value(), Some(0.999), "a study that has all its trials is left alone");
    assert_eq!(all.found.default_value, None, "what was cut says nothing of the default configuration");
    let ends = Ends::default();
    let outcome = search(&spec_of(folder.path(), 3), &ends, &Arc::default()).unwrap();
    let said = ends.1.lock().unwrap();
    assert!(said.contains("that counts now, and not the 0.9990 of trial 0, which a time limit had ended"), "{said}");
    assert_eq!(numbers(&outcome.study), numbers(&expected.study));
    let counts = outcome.study.counts().unwrap();
    assert_eq!((counts.complete, counts.lost, counts.failed), (3, 1, 0));
    assert_eq!(outcome.best.params, expected.best.params);
    let again = Study::open(&Storage::open(folder.path().join("study.db")).unwrap(), None).unwrap();
    assert_eq!(numbers(&again), numbers(&expected.study));
}
