//! The bridge from end to end on built-in data: trials, resuming, reproducibility, kept models, the last training.

mod limits;
mod stopped;

use hpt_engine::Error;
use hpt_engine::backend::{Precision, cores};
use hpt_engine::data::{DataSpec, Features, Folds, Preprocess, ReadTargets, SplitSpec};
use hpt_engine::engine::{Device, Engine, Fit, useful_threads};
use hpt_engine::history::{State, Trial};
use hpt_engine::model::{Activation, Model, ModelSpec, Plan};
use hpt_engine::prepared::Prepared;
use hpt_engine::search::{Constraint, Measure, Progress, SearchOutcome, SearchSpec, search};
use hpt_engine::space::{Domain, Parameter, Space, Value};
use hpt_engine::study::{Stopped, Storage, Study, Told, ToldOption};
use hpt_engine::train::{Control, Metric, TrainSpec};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn space() -> Space {
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: vec![] };
    Space::new(vec![
        parameter("learning_rate", Domain::Float { low: 1e-3, high: 1e-2, log: true, step: None }),
        parameter("units", Domain::Int { low: 8, high: 128, log: false, step: 8 }),
    ])
    .unwrap()
}

fn spec(folder: &Path, trials: u64) -> SearchSpec {
    let mut spec = SearchSpec::new(DataSpec::new("digits"));
    spec.space = Some(space());
    spec.told.sampler = Some("random".into());
    spec.told.pruner = Some("none".into());
    spec.trials = Some(trials);
    spec.storage = folder.join("study.db");
    spec.out = Some(folder.join("models"));
    spec.fixed.set("epochs", "epochs", &Value::Int(2)).unwrap();
    spec
}

fn run(spec: &SearchSpec) -> SearchOutcome {
    search(spec, &(), &Arc::default()).unwrap()
}

/// What must not depend on when and by whom a trial was run.
fn numbers(study: &Study) -> Vec<(u64, String)> {
    let mut rows: Vec<_> = study
        .trials()
        .unwrap()
        .iter()
        .filter(|trial| trial.state.is_finished() && !trial.system.contains_key("hpt:lost"))
        .map(|t| (t.slot(), format!("{:?} {:?} {:?} {:?}", t.state, t.params, t.values, t.intermediate)))
        .collect();
    rows.sort_by_key(|row| row.0);
    rows
}

/// Whoever is alone has the threads that its network makes use of, and comes to the same.
#[test]
fn fewer_trials_than_cores_take_several_threads() {
    let folder = tempfile::tempdir().unwrap();
    let (wide, narrow) = ("256,256", "8");
    let of = |name: &str, hidden: &str, trials: u64, threads: usize| {
        let folder = folder.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        let mut spec = SearchSpec { device: Device::Cpu, threads, retrain: false, ..spec(&folder, trials) };
        let rate = spec.space.as_ref().unwrap().parameters().iter().find(|one| one.name == "learning_rate").cloned();
        spec.space = Some(Space::new(rate.into_iter().collect()).unwrap());
        spec.fixed.set("hidden", "hidden", &Value::Text(hidden.into())).unwrap();
        spec.fixed.set("batch_size", "batch_size", &Value::Int(256)).unwrap();
        run(&spec).study
    };
    let threads = |study: &Study| -> Vec<f64> {
        study.trials().unwrap().iter().map(|trial| trial.user["threads"].as_f64().unwrap()).collect()
    };
    let useful = |hidden: &[usize]| {
        let sets = Prepared::load(&DataSpec::new("digits"), &SplitSpec::default()).unwrap();
        let sets = sets.sets(Preprocess::default()).unwrap();
        let model = ModelSpec::uniform(hidden, Activation::Relu, 0.0);
        let train = TrainSpec { batch_size: 256, ..TrainSpec::default() };
        useful_threads(&Plan::new(&model, 64, 10).unwrap(), &train, &sets.train)
    };
    assert_eq!(useful(&[256, 256]) > 1, cores() > 1, "a network that several threads are for");
    let alone = of("alone", wide, 1, 0);
    assert_eq!(threads(&alone), [useful(&[256, 256]) as f64]);
    assert_eq!(threads(&of("narrow", narrow, 1, 0)), [1.0]);
    // One more than cores: the last ones have more threads from when the first have ended.
    let trials = cores() as u64 + 1;
    let (shared, by_one) = (of("shared", wide, trials, 0), of("by one", wide, trials, 1));
    assert!(threads(&shared).iter().all(|&mean| (1.0..=useful(&[256, 256]) as f64).contains(&mean)));
    assert_eq!(threads(&by_one), vec![1.0; trials as usize]);
    assert_eq!(numbers(&shared), numbers(&by_one));
    assert_eq!(numbers(&alone)[0], numbers(&by_one)[0]);
}

#[test]
fn a_search_ends_with_a_tested_saved_model() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&spec(folder.path(), 5));
    let counts = outcome.study.counts().unwrap();
    assert_eq!((counts.complete, counts.finished()), (5, 5));
    let test = outcome.test.unwrap();
    let accuracy = test.scores.0["accuracy"];
    assert!(accuracy > 0.7, "{accuracy}");
    let interval = test.intervals["accuracy"];
    assert!(interval.low < accuracy && accuracy < interval.high);
    assert_eq!(outcome.top[0].number, outcome.best.number);
    assert!(outcome.found.default_value.is_some(), "the default configuration is in this space");
    let model = Model::load(&outcome.model).unwrap();
    assert_eq!(model.training.rows, 1438, "training and validation rows together");
    let kept = std::fs::read_dir(folder.path().join("models")).unwrap().count();
    assert_eq!(kept, 4, "three trials and the last training");
    let stored = outcome.study.attribute("test").unwrap().unwrap();
    let confusion = stored["diagnostics"]["classes"]["confusion"].as_array().unwrap();
    let total: u64 = confusion.iter().flat_map(|row| row.as_array().unwrap()).map(|n| n.as_u64().unwrap()).sum();
    assert_eq!(total, 359, "every test row is in the confusion matrix");
    for trial in outcome.study.trials().unwrap().iter() {
        let attributes = outcome.study.attributes_of(trial.number).unwrap();
        assert_eq!(attributes["history"].as_array().unwrap().len(), 2);
        assert_eq!(trial.intermediate.len(), 2);
    }
}

#[test]
fn a_kept_model_gives_the_value_of_its_trial() {
    let folder = tempfile::tempdir().unwrap();
    let outcome = run(&spec(folder.path(), 4));
    let path = folder.path().join("models").join(format!("trial-{}.safetensors", outcome.best.number));
    let model = Model::load(&path).unwrap();
    let spec = spec(folder.path(), 4);
    let prepared = hpt_engine::prepared::Prepared::load(&spec.data, &spec.split).unwrap();
    let sets = prepared.sets(hpt_engine::data::Preprocess::default()).unwrap();
    assert_eq!(model.pipeline.as_ref(), Some(&sets.pipeline));
    let engine = Engine::new(Device::Cpu, 1).unwrap();
    let scores = engine.scores(&model, sets.validation.as_ref().unwrap()).unwrap();
    assert_eq!(Some(scores.0["accuracy"]), outcome.best.value());
    assert_eq!(scores, outcome.found.validation);
}

/// Counts what is trained once more, and remembers what is said.
#[derive(Default)]
struct Ends(AtomicU64, Mutex<String>);
impl Progress for Ends {
    fn note(&self, text: &str) {
        self.1.lock().unwrap().push_str(text);
    }
    fn started(&self, _: &Study, _: Option<u64>, _: u64) {}
    fn trial_started(&self, _: &Trial) {}
    fn epoch(&self, _: u64, _: u64, _: f64) {}
    fn trial_finished(&self, _: &Trial, _: Option<f64>) {}
    fn retraining(&self, _: usize, _: usize) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

/// The unit of bf16, of machines whose sets have different ones, is part of what a study was made with; one that was
/// stored before does not say it and hears nothing.
#[test]
fn a_study_remembers_the_unit_that_its_bits_depend_on() {
    let engine = Engine::new(Device::Cpu, 1).unwrap();
    for precision in [Precision::Highest, Precision::Medium] {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = SearchSpec { device: Device::Cpu, retrain: false, ..spec(folder.path(), 1) };
        spec.fixed.set("precision", "precision", &Value::Text(precision.name().into())).unwrap();
        let go_on = |spec: &SearchSpec| {
            let ends = Ends::default();
            let study = search(spec, &ends, &Arc::default()).unwrap().study;
            let heard = ends.1.lock().unwrap().contains("this study began on");
            (study.attribute("tier").unwrap().unwrap(), study, heard)
        };
        let (tier, study, heard) = go_on(&spec);
        assert_eq!((tier.get("unit").and_then(|unit| unit.as_str()), heard), (engine.unit(precision), false));
        assert!(precision != Precision::Highest || engine.unit(precision).is_none());
        for (unit, warned) in [(None, false), (Some("another"), engine.unit(precision).is_some())] {
            let mut before = tier.clone();
            before.as_object_mut().unwrap().remove("unit");
            if let (Some(unit), true) = (unit, warned) {
                before["unit"] = unit.into();
            }
            study.set_attribute("tier", &before).unwrap();
            spec.trials = spec.trials.map(|trials| trials + 1);
            let (after, _, heard) = go_on(&spec);
            assert_eq!((after, heard), (tier.clone(), warned), "{precision:?}, {before}");
        }
    }
}

#[test]
fn without_a_last_training_the_best_trials_own_model_is_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 4);
    spec.retrain = false;
    let ends = Ends::default();
    let outcome = search(&spec, &ends, &Arc::default()).unwrap();
    assert_eq!((ends.0.load(Ordering::Relaxed), outcome.retrained), (0, false));
    let own = folder.path().join("models").join(format!("trial-{}.safetensors", outcome.best.number));
    assert_eq!(std::fs::read(&outcome.model).unwrap(), std::fs::read(&own).unwrap());
    assert!(outcome.test.unwrap().scores.0["accuracy"] > 0.7);
    assert_eq!(outcome.study.attribute("final").unwrap().unwrap()["trial"], outcome.best.number);

    // The file is gone: the study alone cannot give it back.
    std::fs::remove_file(&own).unwrap();
    let outcome = search(&spec, &ends, &Arc::default()).unwrap();
    assert!(outcome.retrained);
    assert_eq!(ends.0.load(Ordering::Relaxed), 3, "its beginning and two epochs");
    let said = ends.1.lock().unwrap();
    assert!(said.contains(&format!("the model of trial {} is not in", outcome.best.number)), "{said}");
}

#[test]
fn random_and_grid_give_the_same_trials_with_any_number_of_jobs() {
    for sampler in ["random", "grid"] {
        let mut all = Vec::new();
        for jobs in [1, 2] {
            let folder = tempfile::tempdir().unwrap();
            let mut spec = spec(folder.path(), 6);
            spec.told.sampler = Some(sampler.into());
            spec.jobs = jobs;
            all.push(numbers(&run(&spec).study));
        }
        assert_eq!(all[0], all[1], "{sampler}");
        assert_eq!(all[0].len(), 6);
    }
}

/// Sets the stop flag after some trials.
struct StopAfter(u64, AtomicU64, Arc<AtomicBool>);

impl Progress for StopAfter {
    fn note(&self, _: &str) {}
    fn started(&self, _: &Study, _: Option<u64>, _: u64) {}
    fn trial_started(&self, _: &Trial) {}
    fn epoch(&self, _: u64, _: u64, _: f64) {}
    fn trial_finished(&self, _: &Trial, _: Option<f64>) {
        if self.1.fetch_add(1, Ordering::Relaxed) + 1 == self.0 {
            self.2.store(true, Ordering::Relaxed);
        }
    }
    fn retraining(&self, _: usize, _: usize) {}
}

#[test]
fn an_interrupted_search_goes_on_to_the_same_end() {
    let whole = tempfile::tempdir().unwrap();
    let expected = run(&spec(whole.path(), 8));
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), 8);
    for _ in 0..2 {
        let stop = Arc::new(AtomicBool::new(false));
        let error = search(&spec, &StopAfter(2, AtomicU64::new(0), stop.clone()), &stop).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
    }
    let resumed = run(&spec);
    assert_eq!(numbers(&resumed.study), numbers(&expected.study));
    let weights = |outcome: &SearchOutcome| Model::load(&outcome.model).unwrap().weights;
    assert_eq!(weights(&resumed), weights(&expected));
    // Once more: nothing is left to do but the last training.
    let again = run(&spec);
    assert_eq!(again.finished, 0);
    assert_eq!(weights(&again), weights(&expected));
}

#[test]
fn a_study_is_not_continued_with_other_data_or_another_space() {
    let folder = tempfile::tempdir().unwrap();
    run(&spec(folder.path(), 1));
    let mut other = spec(folder.path(), 2);
    other.split.test = 0.3;
    other.study = Some("digits".into());
    let message = search(&other, &(), &Arc::default()).unwrap_err().to_string();
    assert!(message.contains("digits") && message.contains("rows"), "{message}");
    let mut other = spec(folder.path(), 2);
    let rate = Domain::Float { low: 1e-3, high: 0.5, log: true, step: None };
    let rate = Parameter { name: "learning_rate".into(), domain: rate, when: vec![] };
    other.space = Some(Space::new(vec![rate]).unwrap());
    let message = search(&other, &(), &Arc::default()).unwrap_err().to_string();
    assert!(message.contains("learning_rate") || message.contains("units"), "{message}");
    // Without one it goes on with its own.
    let outcome = run(&SearchSpec { space: None, ..spec(folder.path(), 2) });
    assert_eq!((outcome.finished, outcome.study.space()), (1, spec(folder.path(), 2).space.as_ref()));
}

#[test]
fn changed_data_of_the_same_shape_and_another_metric_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    let write = |scale: usize| {
        let rows: String = (0..100).map(|i| format!("{},{},{}\n", i % 7 * scale, i % 11, i % 2)).collect();
        std::fs::write(&path, format!("a,b,y\n{rows}")).unwrap();
    };
    write(1);
    let mut spec = spec(folder.path(), 2);
    spec.data = DataSpec::new(path.to_str().unwrap());
    run(&spec);
    write(3);
    spec.trials = Some(3);
    let message = search(&spec, &(), &Arc::default()).unwrap_err().to_string();
    assert!(message.contains("fingerprint"), "{message}");
    write(1);
    spec.objectives = vec![hpt_engine::train::Metric::Auc.into()];
    let message = search(&spec, &(), &Arc::default()).unwrap_err().to_string();
    assert!(message.contains("accuracy") && message.contains("auc"), "{message}");
}

#[test]
fn a_space_that_contradicts_itself_is_refused_before_there_is_a_study() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 2);
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: vec![] };
    let optimizers = ["adam", "momentum"].map(|name| Value::Text(name.into())).to_vec();
    let momentum = Domain::Float { low: 0.5, high: 0.9, log: false, step: None };
    spec.space = Some(
        Space::new(vec![parameter("optimizer", Domain::Choice(optimizers)), parameter("momentum", momentum)]).unwrap(),
    );
    let error = search(&spec, &(), &Arc::default()).unwrap_err();
    assert_eq!(error.exit_code(), 2);
    assert!(error.to_string().contains("`when`"), "{error}");
    assert!(!spec.storage.exists());
}

#[test]
fn a_grid_that_auto_chooses_is_the_whole_grid() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 6);
    spec.told.sampler = Some("auto".into());
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: vec![] };
    let texts = |names: &[&str]| Domain::Choice(names.iter().map(|&name| Value::Text(name.into())).collect());
    spec.space = Some(
        Space::new(vec![
            parameter("activation", texts(&["relu", "tanh", "silu"])),
            parameter("optimizer", texts(&["adam", "adamw"])),
        ])
        .unwrap(),
    );
    let outcome = run(&spec);
    let mut seen: Vec<String> = outcome.study.trials().unwrap().iter().map(|t| format!("{:?}", t.params)).collect();
    seen.sort();
    seen.dedup();
    assert_eq!(seen.len(), 6);
}

#[test]
fn a_missing_model_file_of_an_earlier_trial_stops_nothing() {
    struct Remove(std::path::PathBuf);
    impl Progress for Remove {
        fn note(&self, _: &str) {}
        fn started(&self, _: &Study, _: Option<u64>, _: u64) {}
        fn trial_started(&self, _: &Trial) {}
        fn epoch(&self, _: u64, _: u64, _: f64) {}
        fn trial_finished(&self, _: &Trial, _: Option<f64>) {
            for file in std::fs::read_dir(&self.0).unwrap() {
                let _ = std::fs::remove_file(file.unwrap().path());
            }
        }
        fn retraining(&self, _: usize, _: usize) {}
    }
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 12);
    spec.keep_models = 1;
    let outcome = search(&spec, &Remove(folder.path().join("models")), &Arc::default()).unwrap();
    assert_eq!(outcome.study.counts().unwrap().complete, 12);
}

#[test]
fn repetitions_are_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 2);
    spec.repeats = 3;
    let outcome = run(&spec);
    for trial in outcome.study.trials().unwrap().iter() {
        let values: Vec<f64> = serde_json::from_value(trial.user["values"].clone()).unwrap();
        assert_eq!(values.len(), 3);
        assert!(values[0] != values[1] || values[1] != values[2], "the seeds differ");
        let mean = values.iter().sum::<f64>() / 3.0;
        assert!((trial.value().unwrap() - mean).abs() < 1e-12);
    }
}

#[test]
fn folds_are_validated_in_turn_and_averaged() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 3);
    spec.split.folds = Folds::Count(3);
    spec.repeats = 2;
    spec.fixed.set("preprocess", "preprocess", &Value::Text("standard".into())).unwrap();
    let outcome = run(&spec);
    let prepared = Prepared::load(&spec.data, &SplitSpec { seed: spec.seed, ..spec.split.clone() }).unwrap();
    let engine = Engine::new(Device::Cpu, 1).unwrap();
    let sets: Vec<_> = (0..6).map(|part| prepared.sets_of(Preprocess::Standard, part).unwrap()).collect();
    let held = |part: usize| sets[part].validation.as_ref().unwrap();
    for repetition in [0, 3] {
        assert_eq!(
            (0..3).map(|fold| held(repetition + fold).rows).sum::<usize>(),
            prepared.rows().0 + prepared.rows().1
        );
    }
    assert_ne!(sets[0].pipeline, sets[1].pipeline, "statistics are those of a fold's own training rows");
    assert_ne!(held(0).features, held(3).features, "each repetition is another division");
    for trial in outcome.study.trials().unwrap().iter() {
        let mut settings = spec.fixed.clone();
        trial.params.iter().for_each(|(name, value)| settings.set(name, name, value).unwrap());
        let config = settings.resolve().unwrap();
        let mut values = Vec::new();
        for (part, sets) in sets.iter().enumerate() {
            let fit = Fit {
                validation: sets.validation.as_ref(),
                seed: spec.seed,
                slot: trial.slot() + ((part as u64) << 40),
                ..Fit::new(&sets.train, &config.model, &config.train)
            };
            values.push(engine.train(&fit, &mut |_| Control::Continue).unwrap().1.metric.unwrap());
        }
        let stored: Vec<f64> = serde_json::from_value(trial.user["values"].clone()).unwrap();
        assert_eq!(stored, values, "trial {}", trial.number);
        assert!((trial.value().unwrap() - values.iter().sum::<f64>() / 6.0).abs() < 1e-12);
    }
    // The best trial's scores are means too, and every row that is not for the test was trained on in the end.
    assert_eq!(outcome.found.parts.len(), 6);
    assert!((outcome.found.validation.0["accuracy"] - outcome.best.value().unwrap()).abs() < 1e-12);
    let last = outcome.study.attribute("final").unwrap().unwrap();
    assert_eq!(last["rows"], prepared.rows().0 + prepared.rows().1);

    spec.trials = Some(4);
    spec.split.folds = Folds::Count(4);
    let text = search(&spec, &(), &Arc::default()).unwrap_err().to_string();
    assert!(text.contains("another `"), "{text}");
}

#[test]
fn a_trial_that_has_not_seen_all_folds_has_no_value() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 2);
    spec.split.folds = Folds::Count(3);
    spec.fixed.set("epochs", "epochs", &Value::Int(1_000_000)).unwrap();
    spec.trial_time_limit = Some(Duration::from_millis(300));
    let text = search(&spec, &(), &Arc::default()).unwrap_err().to_string();
    assert!(text.contains("2 were stopped, and each may take 0.3 s"), "{text}");
    let study = Study::open(&Storage::open(&spec.storage).unwrap(), None).unwrap();
    for trial in study.trials().unwrap().iter() {
        let why = trial.user["pruned_because"].as_str().unwrap();
        assert!(trial.state == State::Pruned && why.contains("in training 1 of 3"), "{why}");
    }
}

#[test]
fn a_constraint_is_no_objective() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 2);
    spec.constraints = vec![Constraint::parse("--constraint", "log_loss <= 5").unwrap()];
    let outcome = run(&spec);
    assert_eq!(outcome.objectives, [Measure::Metric(Metric::by_name("accuracy").unwrap())]);
    assert!(outcome.best.system.contains_key("constraints") && outcome.best.value().unwrap() > 0.5);
    // Trials that were judged by it, and others that were not, are not of one study.
    spec.constraints.clear();
    let text = search(&spec, &(), &Arc::default()).unwrap_err().to_string();
    assert!(text.contains("another `constraints`") && text.contains("log_loss <= 5"), "{text}");
}

#[test]
fn what_is_delivered_keeps_the_number_of_parameters() {
    // A category that only the second fold has: the first fold's training rows have a column more than the second's,
    // and the last training has all.
    let folder = tempfile::tempdir().unwrap();
    let row =
        |i: usize| format!("{},{},{},{}\n", ["a", "b", "c"][(i % 2) + usize::from(i % 10 == 1)], i % 7, i % 2, i % 5);
    let rows: String = (0..200).map(row).collect();
    let path = folder.path().join("t.csv");
    std::fs::write(&path, format!("kind,x,fold,y\n{rows}")).unwrap();
    let mut spec = spec(folder.path(), 3);
    spec.data = DataSpec {
        target: vec!["y".into()],
        fold_column: Some("fold".into()),
        ..DataSpec::new(path.to_str().unwrap())
    };
    spec.split.folds = Folds::Column;
    spec.objectives = vec![Measure::Metric(Metric::by_name("accuracy").unwrap()), Measure::Parameters];
    let outcome = run(&spec);
    let model = Model::load(&outcome.model).unwrap();
    let weights = model.plan.parameters as f64;
    assert_eq!(outcome.best.values[1], weights, "parameters are those of the network that is delivered");
    let out = outcome.model.parent().unwrap();
    let kept = |trial: &Trial| Model::load(&out.join(format!("trial-{}.safetensors", trial.number))).unwrap();
    assert!(!outcome.front.is_empty());
    for trial in outcome.front.iter() {
        let model = kept(trial);
        assert_eq!(
            (model.plan.parameters as f64, trial.values[1]),
            (trial.values[1], trial.user["parameters"].as_f64().unwrap())
        );
        let table = [("kind", "a"), ("kind", "c"), ("kind", "?")].map(|(_, kind)| format!("{kind},3,0,1\n")).concat();
        let path = folder.path().join("new.csv");
        std::fs::write(&path, format!("kind,x,fold,y\n{table}")).unwrap();
        let pipeline = model.pipeline.as_ref().unwrap();
        let (source, _) = pipeline.read(path.to_str().unwrap(), None, ReadTargets::No).unwrap();
        let features = pipeline.features(&source).unwrap();
        assert_eq!(features.inputs, model.plan.inputs);
        let Features::F32(values) = &features.features else { panic!("a table") };
        assert_eq!(values[features.inputs - 1], 0.0, "its rows have no `a`: the spare input says nothing");
    }
    let sets = |part| Prepared::load(&spec.data, &spec.split).unwrap().sets_of(Preprocess::Standard, part).unwrap();
    assert!(sets(0).train.inputs != sets(1).train.inputs, "the folds have other columns");
}

#[test]
fn wilcoxon_compares_folds() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 8);
    spec.split.folds = Folds::Count(6);
    spec.told.pruner = Some("wilcoxon".into());
    spec.jobs = 1;
    // The default learning rate first, then one that learns nothing.
    let bad = [("learning_rate".to_owned(), Value::Float(1e-3)), ("units".to_owned(), Value::Int(8))];
    spec.enqueue = vec![bad.into_iter().collect()];
    let outcome = run(&spec);
    let trials = outcome.study.trials().unwrap();
    let pruned: Vec<&Trial> = trials.iter().filter(|trial| trial.state == State::Pruned).collect();
    assert!(!pruned.is_empty(), "the smallest network is worse on every fold");
    for trial in pruned {
        let steps: Vec<u64> = trial.intermediate.keys().copied().collect();
        assert!(steps.len() >= 4 && steps.len() < 6 && steps == (1..=steps.len() as u64).collect::<Vec<_>>());
        // Its value is the mean of the folds that it has seen, and it says what each came to.
        let parts: Vec<f64> = trial.intermediate.values().copied().collect();
        let mean = parts.iter().sum::<f64>() / parts.len() as f64;
        assert!((trial.value().unwrap() - mean).abs() < 1e-12 && mean != *parts.last().unwrap(), "{trial:?}");
        assert_eq!(trial.system["terminator:cv_scores"], serde_json::json!(parts));
        assert!(trial.user.contains_key("epochs_run"), "{trial:?}");
    }
}

/// Counts the epochs that are trained.
#[derive(Default)]
struct Epochs(AtomicU64);

impl Progress for Epochs {
    fn note(&self, _: &str) {}
    fn started(&self, _: &Study, _: Option<u64>, _: u64) {}
    fn trial_started(&self, _: &Trial) {}
    fn epoch(&self, _: u64, _: u64, _: f64) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
    fn trial_finished(&self, _: &Trial, _: Option<f64>) {}
    fn retraining(&self, _: usize, _: usize) {}
}

#[test]
fn a_trial_that_passes_a_rung_goes_on_and_no_epoch_is_trained_twice() {
    for (sampler, pruner) in [("random", "asha"), ("random", "hyperband"), ("bohb", "hyperband")] {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), 30);
        spec.fixed.set("epochs", "epochs", &Value::Int(9)).unwrap();
        spec.told = Told::of(sampler, pruner);
        let trained = Epochs::default();
        let outcome = search(&spec, &trained, &Arc::default()).unwrap();
        let trials = outcome.study.trials().unwrap();
        let mut sum = 0;
        for trial in trials.iter() {
            let last = trial.last_intermediate().unwrap().0;
            let rungs: &[u64] = if trial.state == State::Complete { &[9] } else { &[1, 3, 9] };
            assert!(rungs.contains(&last), "{pruner}: trial {} ended at {last}", trial.number);
            assert_eq!(trial.intermediate.keys().copied().collect::<Vec<_>>(), (1..=last).collect::<Vec<_>>());
            sum += last;
        }
        assert_eq!(trained.0.into_inner(), sum, "{pruner}: each epoch of each trial once");
        assert!(sum < 30 * 9 && trials.iter().any(|t| t.state == State::Pruned), "{pruner}: {sum}");
    }
}

#[test]
fn several_objectives_end_in_a_front() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 12);
    spec.objectives = ["accuracy", "parameters", "inference_seconds", "log_loss"]
        .map(|name| Measure::by_name("", name).unwrap())
        .to_vec();
    spec.repeats = 2;
    spec.keep_models = 2;
    let outcome = run(&spec);
    let study = &outcome.study;
    let directions: Vec<&str> = study.directions().iter().map(|direction| direction.name()).collect();
    assert_eq!(directions, ["maximize", "minimize", "minimize", "minimize"]);
    assert_eq!(study.metric_names(), ["accuracy", "parameters", "inference_seconds", "log_loss"]);
    for trial in study.trials().unwrap().iter() {
        let units = trial.params["units"].as_f64().unwrap();
        // Two hidden layers between the 61 inputs that are not constant where all rows are trained on and ten classes.
        assert_eq!(trial.values[1], 62.0 * units + (units + 1.0) * units + 10.0 * (units + 1.0));
        assert!(trial.values[2] > 0.0 && trial.values[2] < 1.0, "{:?}", trial.values);
        assert!(trial.values[3] > 0.0);
        // What is known of all of them after every epoch, for pruners.
        assert_eq!(trial.reported.len(), trial.intermediate.len());
        for (step, reported) in &trial.reported {
            assert_eq!((reported[0], &reported[1..3]), (trial.intermediate[step], &trial.values[1..3]));
            assert!(reported[3] > 0.0 && reported[3] != trial.values[3]);
        }
    }
    let best = outcome.front.iter().map(|trial| trial.values[0]).fold(0.0, f64::max);
    assert_eq!(outcome.best.values[0], best, "the one with the best first objective is retrained");
    assert_eq!(outcome.top.len(), outcome.front.len());
    let smallest = study.trials().unwrap().iter().map(|trial| trial.values[1]).fold(f64::INFINITY, f64::min);
    assert!(outcome.front.iter().any(|trial| trial.values[1] == smallest));
    let kept = |number: u64| folder.path().join("models").join(format!("trial-{number}.safetensors")).exists();
    assert!(kept(outcome.top[0].number));
    assert_eq!(std::fs::read_dir(folder.path().join("models")).unwrap().count(), 3);
    assert_eq!(run(&spec).finished, 0, "the same call finds the study as it left it");
}

#[test]
fn with_several_objectives_the_dominated_are_stopped() {
    for (pruner, objectives) in [("asha", ["accuracy", "parameters"]), ("median", ["parameters", "log_loss"])] {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), 30);
        spec.objectives = objectives.map(|name| Measure::by_name("", name).unwrap()).to_vec();
        spec.told = Told::of("random", pruner);
        let outcome = run(&spec);
        let trials = outcome.study.trials().unwrap();
        let in_state = |state: State| trials.iter().filter(move |trial| trial.state == state);
        let (complete, pruned) = (in_state(State::Complete).count(), in_state(State::Pruned).count());
        assert!(pruned >= 5 && complete >= 5, "{pruner}: {pruned} pruned, {complete} complete");
        // One of the smallest networks is at the end of the front from its first epoch on, whatever it predicts.
        let size = |trial: &Trial| trial.params["units"].as_i64();
        let smallest = trials.iter().map(size).min().unwrap();
        assert!(in_state(State::Complete).any(|trial| size(trial) == smallest), "{pruner}");
        assert!(outcome.front.len() > 1, "{pruner}: {:?}", outcome.front);
    }
}

#[test]
fn a_study_leaves_the_models_of_another_one_alone() {
    let folder = tempfile::tempdir().unwrap();
    let first = run(&spec(folder.path(), 1));
    let model = std::fs::read(&first.model).unwrap();
    let other = SearchSpec { study: Some("other".into()), ..spec(folder.path(), 1) };
    let message = search(&other, &(), &Arc::default()).unwrap_err().to_string();
    assert!(message.contains("the study `digits` keeps its models there") && message.contains("--out"), "{message}");
    assert_eq!(std::fs::read(&first.model).unwrap(), model);
    assert_eq!(Storage::open(&other.storage).unwrap().studies().unwrap(), ["digits"], "nothing was begun");
    // A copy has its own, and takes nothing from the original.
    first.study.copy_to(first.study.storage(), "copy").unwrap();
    let copy = SearchSpec { study: Some("copy".into()), ..spec(folder.path(), 2) };
    assert!(search(&copy, &(), &Arc::default()).is_err());
    run(&SearchSpec { out: Some(folder.path().join("of the copy")), ..copy });
    run(&spec(folder.path(), 2));
    // Another file may be of studies that are gone.
    let ends = Ends::default();
    let other = SearchSpec { storage: folder.path().join("other.db"), ..other };
    search(&other, &ends, &Arc::default()).unwrap();
    let said = ends.1.lock().unwrap();
    assert!(said.contains("has models that are not of this study"), "{said}");
    let ends = Ends::default();
    search(&other, &ends, &Arc::default()).unwrap();
    assert!(!ends.1.lock().unwrap().contains("not of this study"), "said once");
    run(&SearchSpec { out: Some(folder.path().join("elsewhere")), ..other.clone() });
    std::fs::remove_file(&first.model).unwrap();
    std::fs::remove_file(folder.path().join("models/trial-1.safetensors")).unwrap();
    let ends = Ends::default();
    search(&other, &ends, &Arc::default()).unwrap();
    assert!(!ends.1.lock().unwrap().contains("not of this study"), "its own");
}

#[test]
fn networks_that_are_too_large_are_not_trained() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 12);
    spec.constraints =
        vec![Constraint::parse("", "parameters <= 9000").unwrap(), Constraint::parse("", "log_loss <= 100").unwrap()];
    let outcome = run(&spec);
    let trials = outcome.study.trials().unwrap();
    let (kept, broken): (Vec<&Trial>, Vec<&Trial>) = trials.iter().partition(|t| t.params["units"].as_i64() < Some(65));
    assert!(kept.len() > 1 && broken.len() > 1);
    assert!(kept.iter().all(|trial| trial.state == State::Complete && trial.is_feasible()));
    for trial in broken {
        assert_eq!((trial.state, trial.intermediate.len()), (State::Pruned, 0));
        assert!(trial.constraints()[0] > 0.0 && trial.constraints()[1] == 0.0, "{:?}", trial.system);
        assert!(trial.user["pruned_because"].as_str().unwrap().contains("parameters <= 9000"));
    }
    assert!(outcome.best.params["units"].as_i64() < Some(65));
    let mut impossible = spec.clone();
    (impossible.study, impossible.out) = (Some("impossible".into()), Some(folder.path().join("impossible")));
    impossible.constraints = vec![Constraint::parse("", "accuracy >= 1.5").unwrap()];
    let message = search(&impossible, &(), &Arc::default()).unwrap_err().to_string();
    assert!(message.contains("no trial keeps the constraints (accuracy >= 1.5); trial"), "{message}");
    spec.constraints.clear();
    spec.objectives = vec![Measure::Parameters];
    spec.told.pruner = Some("asha".into());
    spec.study = Some("other".into());
    let message = search(&spec, &(), &Arc::default()).unwrap_err().to_string();
    assert!(message.contains("no objective (parameters) is one"), "{message}");
}
