//! Trainings in pieces and populations of them: pieces are the whole bit for bit; a population's numbers depend neither
//! on the number of jobs nor on where it was interrupted; what does not combine is refused.

use hpt_engine::data::{DataSpec, Dataset, Folds};
use hpt_engine::engine::{Device, Engine, Fit};
use hpt_engine::history::Trial;
use hpt_engine::model::{Activation, Model, ModelSpec};
use hpt_engine::search::{PopulationSpec, Progress, SearchOutcome, SearchSpec, search};
use hpt_engine::space::{Domain, Parameter, Space, Value};
use hpt_engine::study::Study;
use hpt_engine::train::{Checkpoint, Control, Epoch, Optimizer, ScheduleKind, TrainSpec, Trained};
use hpt_engine::{Error, Result};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

fn data() -> Arc<Dataset> {
    let x = ndarray::Array2::from_shape_fn((211, 5), |(i, j)| ((i * (31 + 14 * j)) % 97) as f32 / 48.0 - 1.0);
    let labels = ndarray::Array1::from_shape_fn(211, |i| u32::from(x[[i, 0]] * x[[i, 1]] > x[[i, 2]]));
    Arc::new(Dataset::from_classes(x.view(), labels.view(), 2).unwrap())
}

fn piece(
    engine: &Engine,
    data: &Arc<Dataset>,
    train: &TrainSpec,
    from: Option<&Checkpoint>,
    last: usize,
) -> Result<(Trained, Checkpoint)> {
    let network = ModelSpec::uniform(&[17, 9], Activation::Tanh, 0.2);
    let fit = Fit { seed: 3, slot: 7, last_epoch: Some(last), ..Fit::new(data, &network, train) };
    engine.resume(&fit, from, &mut |_| Control::Continue)
}

fn bits(weights: &[f32]) -> Vec<u32> {
    weights.iter().map(|w| w.to_bits()).collect()
}

#[test]
fn pieces_of_a_training_are_the_whole_bit_for_bit() {
    let (data, folder) = (data(), tempfile::tempdir().unwrap());
    for (i, optimizer) in Optimizer::all().enumerate() {
        let mut train = TrainSpec { optimizer, epochs: 6, batch_size: 32, learning_rate: 0.02, ..TrainSpec::default() };
        train.schedule.kind = ScheduleKind::Cosine;
        train.clip_norm = (i % 2 == 1).then_some(1.0);
        let engine = Engine::new(Device::Cpu, 1 + i % 2).unwrap();
        let network = ModelSpec::uniform(&[17, 9], Activation::Tanh, 0.2);
        let fit = Fit { seed: 3, slot: 7, ..Fit::new(&data, &network, &train) };
        let whole = engine.fit(&fit, &mut |_| Control::Continue).unwrap();
        let (_, first) = piece(&engine, &data, &train, None, 1).unwrap();
        let path = folder.path().join("checkpoint.safetensors");
        first.save(&path).unwrap();
        let read = Checkpoint::load(&path).unwrap();
        assert_eq!((read.fingerprint(), &read), (first.fingerprint(), &first), "{}", optimizer.name());
        let (_, second) = piece(&engine, &data, &train, Some(&read), 4).unwrap();
        let (last, end) = piece(&engine, &data, &train, Some(&second), 6).unwrap();
        assert_eq!(bits(&last.weights), bits(&whole.weights), "{}", optimizer.name());
        assert_eq!(last.history.iter().map(|e| e.epoch).collect::<Vec<_>>(), [5, 6]);
        let rates = |history: &[Epoch]| history.iter().map(|e| (e.learning_rate, e.train_loss)).collect::<Vec<_>>();
        assert_eq!(rates(&last.history), rates(&whole.history[4..]));
        assert_eq!((last.epoch, end.epochs, end.moments.len()), (6, 6, optimizer.slots()));
        // The optimizer's memory is part of it.
        let forgetful = Checkpoint { moments: Vec::new(), ..second };
        let (other, _) = piece(&engine, &data, &train, Some(&forgetful), 6).unwrap();
        assert_eq!(bits(&other.weights) == bits(&whole.weights), optimizer.slots() == 0, "{}", optimizer.name());
    }
}

#[test]
fn a_checkpoint_that_does_not_fit_is_refused() {
    let (data, engine) = (data(), Engine::new(Device::Cpu, 1).unwrap());
    let train = TrainSpec { epochs: 3, ..TrainSpec::default() };
    let (_, end) = piece(&engine, &data, &train, None, 3).unwrap();
    let message =
        |train: &TrainSpec, from: &Checkpoint| piece(&engine, &data, train, Some(from), 3).unwrap_err().to_string();
    assert!(message(&train, &end).contains("nothing is left up to epoch 3"));
    let short = Checkpoint { epochs: 1, weights: vec![0.0; 4], ..end.clone() };
    assert!(message(&train, &short).contains("4 parameters"));
    let patient = TrainSpec { early_stopping: Some(2), ..train.clone() };
    assert!(message(&patient, &Checkpoint { epochs: 1, ..end.clone() }).contains("early_stopping"));
    let mut bytes = Vec::new();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("c");
    end.save(&path).unwrap();
    bytes.extend(std::fs::read(&path).unwrap());
    for cut in [0, 5, bytes.len() / 2, bytes.len() - 1] {
        std::fs::write(&path, &bytes[..cut]).unwrap();
        assert!(Checkpoint::load(&path).is_none(), "{cut} bytes");
    }
}

fn space() -> Space {
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: vec![] };
    Space::new(vec![
        parameter("learning_rate", Domain::Float { low: 1e-4, high: 3e-2, log: true, step: None }),
        parameter("units", Domain::Int { low: 8, high: 64, log: false, step: 8 }),
        parameter("optimizer", Domain::Choice(["adam", "momentum"].map(|s| Value::Text(s.into())).to_vec())),
        parameter("dropout", Domain::Float { low: 0.0, high: 0.4, log: false, step: Some(0.1) }),
    ])
    .unwrap()
}

fn spec(folder: &Path, jobs: usize) -> SearchSpec {
    let mut spec = SearchSpec::new(DataSpec::new("digits"));
    spec.space = Some(space());
    spec.population = Some(PopulationSpec { exploit: 0.34, ..PopulationSpec::new(6) });
    spec.jobs = jobs;
    spec.threads = 1;
    spec.storage = folder.join("study.db");
    spec.out = Some(folder.join("models"));
    spec.fixed.set("epochs", "epochs", &Value::Int(4)).unwrap();
    spec
}

fn run(spec: &SearchSpec) -> SearchOutcome {
    search(spec, &(), &Arc::default()).unwrap()
}

#[test]
fn where_no_member_ends_its_generation_in_time_the_best_by_then_is_the_result() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 2);
    spec.fixed.set("epochs", "epochs", &Value::Int(1_000_000)).unwrap();
    spec.population = Some(PopulationSpec { generation_epochs: 1_000_000, ..PopulationSpec::new(6) });
    spec.time_limit = Some(std::time::Duration::from_secs(3));
    let outcome = run(&spec);
    let why = outcome.best.user["ended_by"].as_str().unwrap();
    assert!(why == "the search's time limit of 3 s" && !outcome.retrained, "{why}");
    let last = *outcome.best.intermediate.keys().last().unwrap();
    assert_eq!(outcome.found.schedule[0]["epochs"], serde_json::json!([1, last]), "as far as it was trained");
    let name = format!("models/trial-{}.safetensors", outcome.best.number);
    let own = Model::load(&folder.path().join(name)).unwrap();
    assert_eq!(bits(&Model::load(&outcome.model).unwrap().weights), bits(&own.weights));
}

/// What must not depend on when and by whom a trial was run.
fn numbers(study: &Study) -> Vec<(u64, String)> {
    let trials = study.trials().unwrap();
    let whole = trials.iter().filter(|trial| trial.state.is_finished() && !trial.system.contains_key("hpt:lost"));
    let user = |trial: &Trial| ["generation", "member", "checkpoint"].map(|key| trial.user[key].clone());
    let row = |t: &Trial| {
        (t.slot(), format!("{:?} {:?} {:?} {:?} {:?}", t.state, t.params, t.values, t.intermediate, user(t)))
    };
    let mut rows: Vec<_> = whole.map(row).collect();
    rows.sort_by_key(|row| row.0);
    rows
}

#[test]
fn a_population_copies_its_best_and_depends_on_no_number_of_jobs() {
    let folders = [(); 2].map(|()| tempfile::tempdir().unwrap());
    let [alone, together] = [1, 4].map(|jobs| run(&spec(folders[jobs / 4].path(), jobs)));
    assert_eq!(numbers(&alone.study), numbers(&together.study));
    assert_eq!(alone.study.counts().unwrap().complete, 24, "6 members, 4 generations");
    let trials = alone.study.trials().unwrap();
    let mut copied = 0;
    for trial in trials.iter() {
        let generation = trial.slot() / 6;
        assert_eq!(trial.intermediate.keys().copied().collect::<Vec<_>>(), [generation + 1], "epochs go on");
        let Some(parent) = trial.user["parent"].as_u64() else {
            assert_eq!(generation, 0);
            continue;
        };
        let parent = &trials[parent as usize];
        assert_eq!(parent.slot() / 6, generation - 1);
        for name in ["units", "optimizer"] {
            assert_eq!(trial.params[name], parent.params[name], "{name} comes with the weights");
        }
        if parent.slot() + 6 == trial.slot() {
            assert_eq!(trial.params, parent.params, "who goes on goes on unchanged");
        } else {
            copied += 1;
            let better = trials.iter().filter(|t| t.slot() / 6 == generation - 1 && t.values > parent.values).count();
            assert!(better < 2, "only the best two are followed");
        }
    }
    assert_eq!(copied, 6, "two of six in each of three generations");
    // The schedule of the best is on record, and its last training has all development rows.
    let model = Model::load(&alone.model).unwrap();
    assert_eq!((model.training.rows, &model.training.schedule), (1438, &alone.found.schedule));
    let epochs = alone.found.schedule.iter().map(|piece| piece["epochs"][1].as_u64().unwrap()).collect::<Vec<_>>();
    assert_eq!(epochs, (1..=model.training.epoch as u64).collect::<Vec<_>>());
    assert_eq!(alone.found.schedule.last().unwrap()["trial"], alone.best.number);
    assert!(alone.test.unwrap().scores.0["accuracy"] > 0.85);
    assert!(!folders[0].path().join("models/population").exists(), "checkpoints are removed at the end");
    // A second call finds everything done.
    let again = run(&spec(folders[0].path(), 2));
    assert_eq!((again.finished, again.found.schedule, again.model), (0, alone.found.schedule, alone.model));
}

/// Interrupts a search after so many trials.
struct After(AtomicU64, Arc<AtomicBool>);

impl Progress for After {
    fn note(&self, _: &str) {}
    fn started(&self, _: &Study, _: Option<u64>, _: u64) {}
    fn trial_started(&self, _: &Trial) {}
    fn epoch(&self, _: u64, _: u64, _: f64) {}
    fn trial_finished(&self, _: &Trial, _: Option<f64>) {
        if self.0.fetch_sub(1, Ordering::Relaxed) == 1 {
            self.1.store(true, Ordering::Relaxed);
        }
    }
    fn retraining(&self, _: usize, _: usize) {}
}

#[test]
fn an_interrupted_population_goes_on_even_without_its_checkpoints() {
    let whole = tempfile::tempdir().unwrap();
    let expected = numbers(&run(&spec(whole.path(), 2)).study);
    for lose in ["nothing", "the files", "their contents"] {
        let folder = tempfile::tempdir().unwrap();
        for trials in [4, 11] {
            let listener = After(AtomicU64::new(trials), Arc::default());
            let error = search(&spec(folder.path(), 2), &listener, &listener.1).unwrap_err();
            assert!(matches!(error, Error::Interrupted), "{error}");
            let checkpoints = folder.path().join("models/population");
            for file in std::fs::read_dir(&checkpoints).unwrap().map(|entry| entry.unwrap().path()) {
                match lose {
                    "the files" => std::fs::remove_file(file).unwrap(),
                    "their contents" => {
                        // Another training's, whole but wrong.
                        let mut other = Checkpoint::load(&file).unwrap();
                        other.weights[0] += 1.0;
                        other.save(&file).unwrap();
                    }
                    _ => {}
                }
            }
        }
        assert_eq!(numbers(&run(&spec(folder.path(), 2)).study), expected, "lost: {lose}");
    }
}

/// A member that a time limit ended in the middle of its generation is trained again, not gone on from.
#[test]
fn a_population_that_a_time_limit_cut_goes_on_as_if_it_had_not() {
    let (whole, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let expected = numbers(&run(&spec(whole.path(), 2)).study);
    let stop_after = |trials| {
        let listener = After(AtomicU64::new(trials), Arc::default());
        let error = search(&spec(folder.path(), 2), &listener, &listener.1).unwrap_err();
        assert!(matches!(error, Error::Interrupted), "{error}");
    };
    stop_after(3);
    // As a time limit leaves a member: complete, without a checkpoint, here with a value that all would follow.
    let base = rusqlite::Connection::open(folder.path().join("study.db")).unwrap();
    let cut = "trial_id = (SELECT MIN(trial_id) FROM trials WHERE state = 'COMPLETE')";
    let changed = |sql: &str| base.execute(&format!("{sql} {cut}"), []).unwrap();
    assert_eq!(changed("UPDATE trial_values SET value = 0.999 WHERE"), 1);
    assert_eq!(changed("DELETE FROM trial_user_attributes WHERE key = 'checkpoint' AND"), 1);
    let said = "INSERT INTO trial_user_attributes (trial_id, key, value_json)
                SELECT trial_id, 'ended_by', '\"the search''s time limit of 3 s\"' FROM trials WHERE";
    assert_eq!(changed(said), 1);
    drop(base);
    // Once more in the middle of the second generation.
    stop_after(5);
    let resumed = run(&spec(folder.path(), 2));
    assert_eq!(numbers(&resumed.study), expected);
    assert!(resumed.found.schedule.iter().all(|piece| piece["epochs"][0] == piece["epochs"][1]), "one epoch each");
}

#[test]
fn what_does_not_combine_with_a_population_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let refusal = |change: &dyn Fn(&mut SearchSpec)| {
        let mut spec = spec(folder.path(), 1);
        change(&mut spec);
        match search(&spec, &(), &Arc::default()) {
            Err(Error::Input(message)) => message,
            other => panic!("{:?}", other.map(|outcome| outcome.best)),
        }
    };
    let fix = |spec: &mut SearchSpec, name: &str, value: Value| spec.fixed.set(name, name, &value).unwrap();
    let population = |spec: &mut SearchSpec, change: &dyn Fn(&mut PopulationSpec)| {
        change(spec.population.as_mut().unwrap());
    };
    assert!(refusal(&|s| s.told.sampler = Some("tpe".into())).contains("sampler tpe does not combine"));
    assert!(refusal(&|s| s.told.pruner = Some("hyperband".into())).contains("pruner hyperband does not combine"));
    assert!(refusal(&|s| s.trials = Some(7)).contains("members × generations"));
    assert!(refusal(&|s| s.repeats = 2).contains("repeats does not combine"));
    assert!(refusal(&|s| s.split.folds = Folds::Count(5)).contains("cross-validation does not combine"));
    assert!(refusal(&|s| fix(s, "early_stopping", Value::Int(2))).contains("early_stopping does not combine"));
    assert!(refusal(&|s| fix(s, "schedule", Value::Text("plateau".into()))).contains("plateau does not combine"));
    assert!(refusal(&|s| population(s, &|p| p.members = 1)).contains("population is 1"));
    assert!(refusal(&|s| population(s, &|p| p.exploit = 0.6)).contains("exploit is 0.6"));
    assert!(refusal(&|s| population(s, &|p| p.explore_factor = 1.0)).contains("explore_factor is 1"));
    assert!(refusal(&|s| population(s, &|p| p.explore_resample = f64::NAN)).contains("explore_resample is NaN"));
    assert!(refusal(&|s| population(s, &|p| p.generation_epochs = 0)).contains("generation_epochs is 0"));
    let fixed_shape = |s: &mut SearchSpec| {
        let units = space().parameters()[1].clone();
        s.space = Some(Space::new(vec![units]).unwrap());
    };
    assert!(refusal(&fixed_shape).contains("nothing that a population may change"));
    run(&spec(folder.path(), 1));
    assert!(refusal(&|s| s.population = None).contains("trains a population"));
    assert!(refusal(&|s| population(s, &|p| p.members = 8)).contains("another `population`"));
}
