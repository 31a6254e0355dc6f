//! Studies over several processes: a process that is killed, two at once, one that takes over from another.
//!
//! The other processes are this very test binary, started with [`PATH`] set: the test `child` then is the work and no
//! test. What a child does is told by words on its standard input and output, so nothing waits for a clock.

use hpt_engine::history::{Direction, State, Trial};
use hpt_engine::pruner::Never;
use hpt_engine::sampler::RandomSampler;
use hpt_engine::space::{Domain, Parameter, Params, Space, Value};
use hpt_engine::study::{Context, ObjectiveEnd, OptimizeSpec, Storage, Study, StudyConfig};
use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Mutex;

/// Environment of a child: the study file, how many trials, and from which slot on trials block (none: never).
const PATH: &str = "HPT_TEST_STUDY";
const TRIALS: &str = "HPT_TEST_TRIALS";
const BLOCK: &str = "HPT_TEST_BLOCK";

fn open(path: &Path) -> Study {
    let float = |low, high, log| Domain::Float { low, high, log, step: None };
    let parameter = |name: &str, domain| Parameter { name: name.into(), domain, when: Vec::new() };
    let choices = Domain::Choice(["adam", "sgd"].map(|name| Value::Text(name.into())).to_vec());
    let space = Space::new(vec![parameter("rate", float(1e-4, 1e-1, true)), parameter("optimizer", choices)]).unwrap();
    let config = StudyConfig::new("a", Direction::Minimize, space);
    Study::create_or_open(&Storage::open_or_create(path).unwrap(), &config).unwrap()
}

fn spec(trials: u64) -> OptimizeSpec<'static> {
    OptimizeSpec { trials: Some(trials), jobs: 2, seed: 11, ..OptimizeSpec::new(&RandomSampler, &Never) }
}

fn objective(context: &mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> {
    let rate = context.params()["rate"].as_f64().unwrap();
    context.report(1, 2.0 * rate);
    Ok(vec![rate.ln()])
}

/// What each slot of the plan came to.
fn by_slot(study: &Study) -> BTreeMap<u64, (Params, u64)> {
    let trials = study.trials().unwrap();
    let complete: Vec<&Trial> = trials.iter().filter(|trial| trial.state == State::Complete).collect();
    let found: BTreeMap<_, _> =
        complete.iter().map(|trial| (trial.slot(), (trial.params.clone(), trial.values[0].to_bits()))).collect();
    assert_eq!(found.len(), complete.len(), "a slot was finished twice");
    found
}

fn start(path: &Path, trials: u64, block: Option<u64>) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.args(["--exact", "child", "--nocapture", "--test-threads=1"]).env(PATH, path);
    command.env(TRIALS, trials.to_string()).env(BLOCK, block.map(|slot| slot.to_string()).unwrap_or_default());
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap()
}

/// Reads the child's output up to the `times`-th line that says `word`.
fn hear(child: &mut Child, word: &str, times: usize) {
    let lines = BufReader::new(child.stdout.as_mut().unwrap()).lines();
    let heard = lines.map_while(Result::ok).filter(|line| line.ends_with(word)).take(times).count();
    assert_eq!(heard, times, "the child ended early");
}

#[test]
fn child() {
    let Ok(path) = std::env::var(PATH) else { return };
    let study = open(Path::new(&path));
    let block: Option<u64> = std::env::var(BLOCK).unwrap().parse().ok();
    let mut word = [0];
    println!("\nready");
    std::io::stdin().read_exact(&mut word).unwrap();
    let input = Mutex::new(());
    let trials = std::env::var(TRIALS).unwrap().parse().unwrap();
    study
        .optimize(&spec(trials), |context| {
            if block.is_some_and(|block| context.slot() >= block) {
                context.report(1, 0.0);
                println!("\nblocked");
                // Until this process is killed: its input neither says anything nor ends.
                let _turn = input.lock().unwrap();
                std::io::stdin().read_exact(&mut [0]).unwrap();
            }
            objective(context)
        })
        .unwrap();
    println!("\ndone");
}

#[test]
fn a_killed_study_ends_where_it_would_have_ended() {
    let folder = tempfile::tempdir().unwrap();
    let whole = open(&folder.path().join("whole.db"));
    whole.optimize(&spec(20), objective).unwrap();

    let path = folder.path().join("killed.db");
    for block in [6, 9] {
        let mut process = start(&path, 20, Some(block));
        hear(&mut process, "ready", 1);
        process.stdin.as_mut().unwrap().write_all(b"g").unwrap();
        hear(&mut process, "blocked", 2);
        process.kill().unwrap();
        process.wait().unwrap();
        let study = open(&path);
        assert_eq!(study.counts().unwrap().complete, block);
        assert_eq!(study.counts().unwrap().running, 2, "nobody has looked after them yet");
    }
    let before = open(&path).trials().unwrap();
    let summary = open(&path).optimize(&spec(20), objective).unwrap();
    assert_eq!((summary.counts.complete, summary.counts.lost, summary.counts.failed), (20, 4, 0));
    let study = open(&path);
    assert_eq!(by_slot(&study), by_slot(&whole));
    for (old, new) in before.iter().zip(study.trials().unwrap().iter()) {
        if old.state.is_finished() {
            assert_eq!(old, new, "a finished trial changed");
        }
    }
    let files: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|file| file.unwrap().file_name()).collect();
    drop((study, whole));
    assert!(files.iter().all(|name| name.to_str().unwrap().ends_with(".db")), "one plain file each: {files:?}");
}

#[test]
fn two_processes_share_one_study() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    open(&path);
    let mut processes = [start(&path, 60, None), start(&path, 60, None)];
    processes.iter_mut().for_each(|process| hear(process, "ready", 1));
    processes.iter_mut().for_each(|process| process.stdin.as_mut().unwrap().write_all(b"g").unwrap());
    for mut process in processes {
        hear(&mut process, "done", 1);
        assert!(process.wait().unwrap().success());
    }
    let study = open(&path);
    let trials = study.trials().unwrap();
    assert_eq!(trials.iter().map(|trial| trial.number).collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    assert_eq!(by_slot(&study).keys().copied().collect::<Vec<_>>(), (0..60).collect::<Vec<_>>());
    let whole = open(&folder.path().join("whole.db"));
    whole.optimize(&spec(60), objective).unwrap();
    assert_eq!(by_slot(&study), by_slot(&whole));
}

#[test]
fn the_trials_of_a_process_that_dies_are_taken_over() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("study.db");
    open(&path);
    let mut process = start(&path, 8, Some(0));
    hear(&mut process, "ready", 1);
    process.stdin.as_mut().unwrap().write_all(b"g").unwrap();
    hear(&mut process, "blocked", 2);
    let study = open(&path);
    let finished = Mutex::new(0);
    let process = Mutex::new(process);
    let on_trial = |_: &Trial| {
        let mut finished = finished.lock().unwrap();
        *finished += 1;
        // All that is left for this process are the two that the other one holds.
        if *finished == 6 {
            let mut process = process.lock().unwrap();
            process.kill().unwrap();
            process.wait().unwrap();
        }
    };
    let summary = study.optimize(&OptimizeSpec { on_trial: Some(&on_trial), ..spec(8) }, objective).unwrap();
    assert_eq!((summary.counts.complete, summary.counts.lost, summary.finished), (8, 2, 8));
    assert_eq!(by_slot(&study).keys().copied().collect::<Vec<_>>(), (0..8).collect::<Vec<_>>());
}
