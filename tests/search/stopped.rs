//! Trials that are stopped, by an interrupt or a limit, and go on where they were: to the same numbers as without.

use super::*;
use hpt_engine::sampler::RandomSampler;
use std::path::PathBuf;
use std::thread;

/// Where a stopped trial of that slot waits.
fn unfinished(folder: &Path, slot: u64) -> PathBuf {
    folder.join("models/unfinished").join(format!("digits-{slot}.safetensors"))
}

/// Sets the stop flag at an epoch, and remembers what is said.
struct StopAt(u64, Arc<AtomicBool>, Mutex<String>);

impl Progress for StopAt {
    fn note(&self, text: &str) {
        self.2.lock().unwrap().push_str(text);
    }
    fn started(&self, _: &Study, _: Option<u64>, _: u64) {}
    fn trial_started(&self, _: &Trial) {}
    fn epoch(&self, _: u64, epoch: u64, _: f64) {
        self.1.fetch_or(epoch == self.0, Ordering::Relaxed);
    }
    fn trial_finished(&self, _: &Trial, _: Option<f64>) {}
    fn retraining(&self, _: usize, _: usize) {}
}

#[test]
fn what_is_interrupted_before_there_is_a_result_leaves_a_model_and_goes_on() {
    let whole = tempfile::tempdir().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let spec = |folder: &Path| {
        let mut spec = spec(folder, 2);
        spec.fixed.set("epochs", "epochs", &Value::Int(4)).unwrap();
        spec.jobs = 1;
        spec
    };
    let expected = run(&spec(whole.path()));
    let spec = spec(folder.path());
    let stop = Arc::new(AtomicBool::new(false));
    let stops = StopAt(3, stop.clone(), Mutex::default());
    let error = search(&spec, &stops, &stop).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    let said = stops.2.lock().unwrap();
    assert!(said.contains("trial 0 was interrupted after 3 of its epochs"), "{said}");
    let path = folder.path().join("models/interrupted.safetensors");
    let model = Model::load(&path).unwrap();
    let prepared = Prepared::load(&spec.data, &SplitSpec { seed: spec.seed, ..spec.split.clone() }).unwrap();
    let sets = prepared.sets(Preprocess::Standard).unwrap();
    let engine = Engine::new(Device::Cpu, 1).unwrap();
    let scores = engine.scores(&model, sets.validation.as_ref().unwrap()).unwrap();
    let first = &expected.study.trials().unwrap()[0];
    assert_eq!(scores.0["accuracy"], first.intermediate[&3], "as it was after that epoch");
    assert!(unfinished(folder.path(), 0).exists());
    let ends = Ends::default();
    let resumed = search(&spec, &ends, &Arc::default()).unwrap();
    let said = ends.1.lock().unwrap();
    assert!(said.contains("trial 1 goes on where it was stopped: after 3 epochs"), "{said}");
    assert_eq!(numbers(&resumed.study), numbers(&expected.study));
    let again = &resumed.study.trials().unwrap()[1];
    let own = again.finished.unwrap().seconds_since(again.started.unwrap());
    assert!(again.slot() == 0 && again.seconds() > Some(own), "what it took before is its time too: {again:?}");
    assert!(!path.exists(), "there is a result");
    assert!(!folder.path().join("models/unfinished").exists(), "nothing is left of what was under way");
}

/// Sets the stop flag some time after the first epoch, and counts what goes on.
struct StopSoon(Duration, Arc<AtomicBool>, AtomicU64);

impl Progress for StopSoon {
    fn note(&self, text: &str) {
        self.2.fetch_add(u64::from(text.contains(" goes on where it was stopped: ")), Ordering::Relaxed);
    }
    fn started(&self, _: &Study, _: Option<u64>, _: u64) {
        let (after, stop) = (self.0, self.1.clone());
        thread::spawn(move || {
            thread::park_timeout(after);
            stop.store(true, Ordering::Relaxed);
        });
    }
    fn trial_started(&self, _: &Trial) {}
    fn epoch(&self, _: u64, _: u64, _: f64) {}
    fn trial_finished(&self, _: &Trial, _: Option<f64>) {}
    fn retraining(&self, _: usize, _: usize) {}
}

/// Runs a search that is interrupted again and again, each time a little later; how many trials went on.
fn interrupted(spec: &SearchSpec) -> (SearchOutcome, u64) {
    let mut went_on = 0;
    for parts in 1.. {
        let stop = Arc::new(AtomicBool::new(false));
        let progress = StopSoon(parts * Duration::from_millis(7), stop.clone(), AtomicU64::new(0));
        let outcome = search(spec, &progress, &stop);
        went_on += progress.2.load(Ordering::Relaxed);
        match outcome {
            Err(Error::Interrupted) => {}
            outcome => return (outcome.unwrap(), went_on),
        }
    }
    unreachable!("an interrupt comes too late some day")
}

#[test]
fn a_search_that_is_interrupted_anywhere_goes_on_to_the_same_end() {
    type Change = fn(&mut SearchSpec);
    let cases: [(&str, Change); 7] = [
        ("one training", |spec| spec.jobs = 1),
        ("early stopping", |spec| {
            spec.fixed.set("early_stopping", "early_stopping", &Value::Int(5)).unwrap();
            spec.repeats = 2;
        }),
        ("checkpoints", |spec| {
            (spec.checkpoint_every, spec.repeats) = (Duration::from_micros(1), 2);
            spec.fixed.set("early_stopping", "early_stopping", &Value::Int(5)).unwrap();
            spec.told.pruner = Some("threshold".into());
            spec.told.options = vec![ToldOption { place: "here".into(), name: "lower".into(), value: 1e-3 }];
        }),
        ("in order", |spec| {
            (spec.jobs, spec.deterministic, spec.trials) = (2, Some(2), Some(6));
            spec.told.pruner = Some("median".into());
            spec.told.options = vec![ToldOption { place: "here".into(), name: "startup".into(), value: 1.0 }];
        }),
        ("folds", |spec| spec.split.folds = Folds::Count(4)),
        ("folds that are compared", |spec| {
            (spec.split.folds, spec.jobs) = (Folds::Count(6), 1);
            spec.told.pruner = Some("wilcoxon".into());
        }),
        ("several objectives", |spec| {
            let names = ["accuracy", "log_loss", "parameters"];
            spec.objectives = names.iter().map(|name| Measure::by_name("", name).unwrap()).collect();
        }),
    ];
    for (name, change) in cases {
        let spec = |folder: &Path| {
            let mut spec = spec(folder, 3);
            spec.fixed.set("epochs", "epochs", &Value::Int(30)).unwrap();
            change(&mut spec);
            spec
        };
        let (whole, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let expected = run(&SearchSpec { checkpoint_every: Duration::MAX, ..spec(whole.path()) });
        let (resumed, went_on) = interrupted(&spec(folder.path()));
        assert!(went_on > 0, "{name}");
        assert_eq!(numbers(&resumed.study), numbers(&expected.study), "{name}");
        assert_eq!(resumed.found.validation, expected.found.validation, "{name}");
        assert_eq!(resumed.found.parts, expected.found.parts, "{name}");
        let weights = |outcome: &SearchOutcome| Model::load(&outcome.model).unwrap().weights;
        assert!(weights(&resumed) == weights(&expected), "{name}");
        // The models that were kept on the way too, whatever their trials' numbers.
        for trial in expected.top {
            let number = resumed.top.iter().find(|other| other.slot() == trial.slot()).unwrap().number;
            let model = |folder: &Path, number: u64| {
                Model::load(&folder.join(format!("models/trial-{number}.safetensors"))).unwrap().weights
            };
            assert!(model(whole.path(), trial.number) == model(folder.path(), number), "{name}");
        }
        assert!(!folder.path().join("models/unfinished").exists(), "{name}");
    }
}

/// Files that were damaged, or are another trial's, are not looked at: the trial begins again.
#[test]
fn what_does_not_belong_to_the_trial_is_not_gone_on_with() {
    let whole = tempfile::tempdir().unwrap();
    let expected = run(&spec(whole.path(), 1));
    let damages: [fn(&mut SearchSpec, &Path); 4] = [
        |_, file| {
            let mut bytes = std::fs::read(file).unwrap();
            let last = bytes.len() - 2;
            bytes[last] ^= 1;
            std::fs::write(file, bytes).unwrap();
        },
        |_, file| std::fs::write(file, &std::fs::read(file).unwrap()[..1000]).unwrap(),
        |_, file| std::fs::write(file, "no model").unwrap(),
        // The same name and slot in another file of studies, with another seed.
        |spec, _| (spec.storage, spec.seed) = (spec.storage.with_file_name("other.db"), 77),
    ];
    for (i, damage) in damages.into_iter().enumerate() {
        let folder = tempfile::tempdir().unwrap();
        let mut spec = spec(folder.path(), 1);
        let stop = Arc::new(AtomicBool::new(false));
        search(&spec, &StopAt(1, stop.clone(), Mutex::default()), &stop).unwrap_err();
        let file = unfinished(folder.path(), 0);
        assert!(file.exists());
        damage(&mut spec, &file);
        let ends = Ends::default();
        let outcome = search(&spec, &ends, &Arc::default()).unwrap();
        assert!(!ends.1.lock().unwrap().contains("goes on"), "{i}");
        assert_eq!(numbers(&outcome.study) == numbers(&expected.study), spec.seed == 0, "{i}");
    }
}

/// What a pruner let pass is not judged again by what is known since.
#[test]
fn what_a_pruner_let_pass_goes_on() {
    let (whole, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let spec = |folder: &Path| {
        let mut spec = spec(folder, 1);
        spec.fixed.set("epochs", "epochs", &Value::Int(4)).unwrap();
        spec
    };
    let expected = run(&spec(whole.path()));
    let values = &expected.study.trials().unwrap()[0].intermediate;
    let mut spec = spec(folder.path());
    let stop = Arc::new(AtomicBool::new(false));
    search(&spec, &StopAt(3, stop.clone(), Mutex::default()), &stop).unwrap_err();
    // One that would have stopped it after its first epoch, and not later.
    let lower = (values[&1] + values[&4]) / 2.0;
    assert!(values[&1] < lower && lower < values[&4], "{values:?}");
    spec.told.pruner = Some("threshold".into());
    spec.told.options = vec![ToldOption { place: "here".into(), name: "lower".into(), value: lower }];
    assert_eq!(numbers(&run(&spec).study), numbers(&expected.study));
}

/// What a limit ended stays the result until it has come to another.
#[test]
fn what_was_delivered_is_there_until_its_trial_has_ended() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 2);
    spec.fixed.set("epochs", "epochs", &Value::Int(1_000_000)).unwrap();
    (spec.trials, spec.retrain, spec.time_limit) = (None, false, Some(Duration::from_secs(3)));
    let first = run(&spec);
    assert!(first.best.user.contains_key("ended_by"));
    let delivered = std::fs::read(&first.model).unwrap();
    // Stopped while both are under way again.
    let stop = Arc::new(AtomicBool::new(false));
    let progress = StopSoon(Duration::from_millis(50), stop.clone(), AtomicU64::new(0));
    let error = search(&SearchSpec { time_limit: None, ..spec.clone() }, &progress, &stop).unwrap_err();
    assert!(matches!(error, Error::Interrupted), "{error}");
    let study = Study::open(&Storage::open(&spec.storage).unwrap(), None).unwrap();
    let best = study.top(1).unwrap().remove(0);
    assert_eq!((best.number, &best.values, &best.user), (first.best.number, &first.best.values, &first.best.user));
    let own = folder.path().join(format!("models/trial-{}.safetensors", best.number));
    assert_eq!(std::fs::read(own).unwrap(), delivered);
    let counts = study.counts().unwrap();
    assert_eq!((counts.complete, counts.waiting), (2, 0), "{counts:?}");
    assert!(!folder.path().join("models/interrupted.safetensors").exists(), "there is a result");
    // One job, and little time: the better one goes on first, and the other is there still.
    spec.jobs = 1;
    let short = run(&SearchSpec { time_limit: Some(Duration::from_secs(2)), ..spec.clone() });
    assert_eq!(short.study.counts().unwrap().complete, 2);
    assert!(short.best.value() >= first.best.value(), "{:?} {:?}", short.best, first.best);
    // Files of attempts that are over are gone.
    let files = std::fs::read_dir(folder.path().join("models")).unwrap();
    let files = files.filter(|file| file.as_ref().unwrap().file_name().to_str().unwrap().starts_with("trial-"));
    assert_eq!(files.count(), 2);
}

/// A result is not lost to a pruner, nor to whoever kills its repetition.
#[test]
fn what_was_delivered_is_there_whatever_its_repetition_comes_to() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 1);
    spec.fixed.set("epochs", "epochs", &Value::Int(1_000_000)).unwrap();
    (spec.jobs, spec.retrain, spec.time_limit) = (1, false, Some(Duration::from_secs(3)));
    let first = run(&spec);
    assert!(first.best.user.contains_key("ended_by"));
    let delivered = std::fs::read(&first.model).unwrap();
    // As a process leaves it that is killed in the repetition.
    assert_eq!(first.study.repeat("a test", |_| true).unwrap(), [0]);
    let own = folder.path().join("models/trial-0.safetensors");
    assert!(own.exists());
    spec.time_limit = None;
    spec.told.pruner = Some("threshold".into());
    spec.told.options = vec![ToldOption { place: "here".into(), name: "lower".into(), value: 2.0 }];
    let ends = Ends::default();
    let second = search(&spec, &ends, &Arc::default()).unwrap();
    let said = ends.1.lock().unwrap();
    assert!(said.contains("came to no result: that of trial 0, which a time limit had ended, stays"), "{said}");
    assert_eq!((second.best.number, &second.best.values), (0, &first.best.values));
    assert!(std::fs::read(&own).unwrap() == delivered && std::fs::read(&second.model).unwrap() == delivered);
    let counts = second.study.counts().unwrap();
    assert_eq!((counts.complete, counts.finished()), (1, 1), "{counts:?}");
    let ends = Ends::default();
    search(&spec, &ends, &Arc::default()).unwrap();
    assert!(!ends.1.lock().unwrap().contains("run to its end"), "that would be the same again");
}

/// The model of a trial whose repetition ended in another process than it began in is not forgotten.
#[test]
fn models_of_what_was_repeated_go() {
    let folder = tempfile::tempdir().unwrap();
    let spec = spec(folder.path(), 1);
    let first = run(&spec);
    let files = || {
        let files = std::fs::read_dir(folder.path().join("models")).unwrap();
        let names = files.map(|file| file.unwrap().file_name().into_string().unwrap());
        names.filter(|name| name.starts_with("trial-")).collect::<Vec<String>>()
    };
    assert_eq!(files(), ["trial-0.safetensors"]);
    first.study.repeat("a test", |_| true).unwrap();
    run(&spec);
    assert_eq!(files(), ["trial-1.safetensors"]);
    // While somebody else is at it the earlier one is all there is.
    let study = first.study;
    study.repeat("a test", |_| true).unwrap();
    let elsewhere = study.ask(&RandomSampler, 0).unwrap().unwrap();
    let outcome = run(&SearchSpec { retrain: false, ..spec });
    assert_eq!((elsewhere.number, outcome.best.number, files()), (2, 1, vec!["trial-1.safetensors".to_owned()]));
    assert_eq!(outcome.study.counts().unwrap().running, 1);
}

/// A last training that would come out the same is not made again, and a short limit does not take its model away.
#[test]
fn a_result_that_stands_is_not_made_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut spec = spec(folder.path(), 3);
    let first = run(&spec);
    let model = std::fs::read(&first.model).unwrap();
    let ends = Ends::default();
    let again = search(&spec, &ends, &Arc::default()).unwrap();
    assert!(again.retrained && ends.0.load(Ordering::Relaxed) == 0, "no last training");
    assert!(ends.1.lock().unwrap().contains("is still the best: its model is in "));
    assert_eq!(again.test, first.test);
    spec.time_limit = Some(Duration::from_nanos(1));
    assert!(run(&spec).retrained);
    assert_eq!(std::fs::read(&first.model).unwrap(), model);
    // One that was changed is, and so is one in whose place another study of that name has put its own.
    spec.time_limit = None;
    let mut damaged = model.clone();
    let last = damaged.len() - 5;
    damaged[last] ^= 1;
    std::fs::write(&first.model, damaged).unwrap();
    run(&spec);
    assert_eq!(std::fs::read(&first.model).unwrap(), model);
    run(&SearchSpec { storage: folder.path().join("other.db"), seed: 5, ..spec.clone() });
    assert_ne!(std::fs::read(&first.model).unwrap(), model);
    assert!(run(&spec).retrained);
    assert_eq!(std::fs::read(&first.model).unwrap(), model);
}
