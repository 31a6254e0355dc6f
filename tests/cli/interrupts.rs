//! Signals and crashes: what is finished stays, and the same command goes on.

use super::*;
use std::io::{BufRead, BufReader, Read};
use std::time::{Duration, Instant};

/// A search that takes a while: small trials, many of them.
const SEARCH: &str =
    "search --data digits --trials 24 --epochs 12 --pruner none --sampler random --jobs 2 --keep-models 1";

/// Waits until the program has said `times` lines that start with `start` and hold `part`; returns its standard error.
pub fn wait_for(child: &mut Child, start: &str, part: &str, times: usize) -> impl Read + use<> {
    let mut reader = BufReader::new(child.stderr.take().unwrap());
    let (mut said, mut seen) = (String::new(), 0);
    while seen < times {
        let mut line = String::new();
        assert!(reader.read_line(&mut line).unwrap() > 0, "it ended early: {said}");
        seen += usize::from(line.starts_with(start) && line.contains(part));
        said.push_str(&line);
    }
    reader
}

pub fn signal(child: &Child, name: &str) {
    let status = Command::new("kill").args([name, &child.id().to_string()]).status().unwrap();
    assert!(status.success());
}

/// How the program ended, with what it said after `rest` was left.
pub fn finish(child: Child, mut rest: impl Read) -> Ran {
    let mut err = String::new();
    rest.read_to_string(&mut err).unwrap();
    let output = child.wait_with_output().unwrap();
    Ran { err, ..Ran::of(output) }
}

/// Trials that were finished before are as they were, the study reaches its total, and it is the study that an
/// uninterrupted run makes.
fn assert_goes_on(folder: &Folder, before: &[Json]) {
    let found = folder.json(&format!("{SEARCH} --json"));
    let counts = ["complete", "pruned", "failed"].map(|state| found["trials"][state].as_u64().unwrap());
    assert_eq!(counts, [24, 0, 0]);
    let after = trials(folder, "hpt-study.db");
    for trial in in_state(before, "complete") {
        assert!(after.contains(trial), "{trial} is as it was");
    }
    let whole = Folder::new();
    whole.json(&format!("{SEARCH} --json"));
    let outcome = |trials: &[Json]| {
        let complete = in_state(trials, "complete");
        let mut list: Vec<String> = complete.iter().map(|t| format!("{} {}", t["params"], t["value"])).collect();
        list.sort();
        list
    };
    assert_eq!(outcome(&after), outcome(&trials(&whole, "hpt-study.db")));
}

#[test]
fn a_search_that_was_killed_goes_on() {
    let folder = Folder::new();
    let mut child = folder.start(SEARCH);
    let _rest = wait_for(&mut child, "trial", "complete", 3);
    child.kill().unwrap();
    child.wait().unwrap();
    let before = trials(&folder, "hpt-study.db");
    let complete = in_state(&before, "complete").len();
    assert!((3..24).contains(&complete), "{complete}");
    assert_goes_on(&folder, &before);
}

/// The trial itself goes on from its last checkpoint, to the same numbers.
#[test]
fn a_trial_that_was_killed_goes_on() {
    const LONG: &str = "search --data digits --trials 1 --epochs 500 --pruner none --sampler random --seed 3";
    let folder = Folder::new();
    let mut child = folder.start(&format!("{LONG} --checkpoint-every 20ms"));
    let checkpoint = folder.path("digits/unfinished/digits-0.safetensors");
    while !checkpoint.exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    child.kill().unwrap();
    child.wait().unwrap();
    let ran = folder.run(&format!("{LONG} --json")).ok();
    assert!(ran.err.contains("trial 1 goes on where it was stopped: "), "{}", ran.err);
    assert!(!checkpoint.exists());
    let whole = Folder::new().json(&format!("{LONG} --json"));
    let found = ran.json();
    assert_eq!((&found["best"]["value"], &found["test"]), (&whole["best"]["value"], &whole["test"]));
}

#[test]
fn a_search_that_was_interrupted_says_how_to_go_on() {
    let folder = Folder::new();
    let mut child = folder.start(SEARCH);
    let rest = wait_for(&mut child, "trial", "complete", 3);
    signal(&child, "-INT");
    let ran = finish(child, rest);
    assert_eq!((ran.code, ran.out.as_str()), (Some(130), ""), "{}", ran.err);
    assert!(ran.err.contains("to go on:") && ran.err.contains(SEARCH), "{}", ran.err);
    assert!(!ran.err.contains("error"), "{}", ran.err);
    let before = trials(&folder, "hpt-study.db");
    assert!(in_state(&before, "complete").len() >= 3);
    assert_eq!(in_state(&before, "running").len(), 0, "nothing is left running");
    assert!(!folder.path("hpt-study.db-wal").exists(), "one plain file is left");
    assert_goes_on(&folder, &before);
}

#[test]
fn an_interrupted_search_prints_its_document_all_the_same() {
    let folder = Folder::new();
    let mut child = folder.start(&format!("{SEARCH} --json"));
    let rest = wait_for(&mut child, "trial", "complete", 3);
    signal(&child, "-INT");
    let ran = finish(child, rest);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let found: Json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    let all = trials(&folder, "hpt-study.db");
    let complete = in_state(&all, "complete");
    assert_eq!(found["trials"]["complete"], complete.len());
    let again: Vec<&Json> = in_state(&all, "waiting").into_iter().map(|trial| &trial["number"]).collect();
    assert_eq!((&found["trials"]["waiting"], &found["trials"]["lost"]), (&again.len().into(), &again.len().into()));
    assert_eq!(found["put_back"], serde_json::json!(again));
    assert!(!again.is_empty() && ran.err.contains("under way wait"), "{}", ran.err);
    let value = |trial: &Json| trial["value"].as_f64().unwrap();
    let best = complete.iter().map(|trial| value(trial)).fold(f64::NEG_INFINITY, f64::max);
    assert_eq!((value(&found["best"]), &found["stopped_by"]), (best, &Json::from("interrupt")));
    assert_eq!((&found["model"], &found["test"], &found["study"]), (&Json::Null, &Json::Null, &Json::from("digits")));
    assert_eq!(found["top"][0], found["best"]);
    assert!(found["validation"]["accuracy"].as_f64() == Some(best) && found["seconds"].as_f64().unwrap() > 0.0);
    let default = complete.iter().find(|trial| trial["number"] == 0).map_or(&Json::Null, |trial| &trial["value"]);
    assert_eq!(&found["default"], default);
    // The keys of one that ran to its end.
    let whole = folder.json(&format!("{SEARCH} --json"));
    assert_eq!(keys(&found), keys(&whole));
    assert_eq!(whole["default"], trials(&folder, "hpt-study.db")[0]["value"]);

    assert_eq!((&whole["put_back"], &whole["interrupted"]), (&serde_json::json!([]), &Json::Null));
    assert_eq!((&whole["trials"]["lost"], &whole["trials"]["waiting"]), (&again.len().into(), &0.into()));

    // With folds it says what each came to.
    let words =
        "search --data digits --study folds --folds 3 --trials 500 --epochs 2 --pruner none --sampler random --json";
    let mut child = folder.start(words);
    let rest = wait_for(&mut child, "trial", "complete", 2);
    signal(&child, "-INT");
    let ran = finish(child, rest);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let found: Json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    let parts: Vec<f64> = found["parts"].as_array().unwrap().iter().map(|part| part.as_f64().unwrap()).collect();
    assert_eq!(parts.len(), 3);
    assert!((parts.iter().sum::<f64>() / 3.0 - value(&found["best"])).abs() < 1e-12, "{parts:?} {}", found["best"]);

    // A command, and nothing finished yet.
    folder.write("space.toml", "[space]\nx = { float = [0, 1] }\n");
    let words = [
        "search",
        "-v",
        "--json",
        "--command",
        "sleep 60; echo {x}",
        "--space",
        "space.toml",
        "--direction",
        "minimize,maximize",
    ];
    let mut command = folder.command(&words);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let rest = wait_for(&mut child, "trial 0 starts", "", 1);
    signal(&child, "-INT");
    let ran = finish(child, rest);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let found: Json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    assert_eq!((&found["best"], &found["direction"][1]), (&Json::from(Vec::<Json>::new()), &Json::from("maximize")));
    assert_eq!((&found["command"], &found["trials"]["complete"]), (&Json::from(words[4]), &Json::from(0)));
    assert_eq!((&found["put_back"], &found["trials"]["waiting"]), (&serde_json::json!([1]), &1.into()));
}

#[test]
fn an_interrupt_before_there_is_a_result_names_the_model_that_it_leaves() {
    let folder = Folder::new();
    let words = "search --data digits --epochs 1000000 --sampler random --jobs 1 --json";
    let mut child = folder.start(&format!("{words} -v --trials 2"));
    let rest = wait_for(&mut child, "trial 0 epoch", "", 2);
    signal(&child, "-INT");
    let ran = finish(child, rest);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let found: Json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    let left = &found["interrupted"];
    assert_eq!(keys(left), ["trial", "epoch", "value", "model"]);
    assert_eq!((&left["trial"], &found["put_back"]), (&0.into(), &serde_json::json!([1])), "{found}");
    assert!(left["epoch"].as_u64() >= Some(2) && left["value"].as_f64() > Some(0.0), "{left}");
    let model = left["model"].as_str().unwrap();
    let again = folder.json(&format!("evaluate --model {model} --data digits --json"));
    assert!(again["accuracy"].as_f64() > Some(0.0), "{again}");
    // Once there is a result it is gone.
    let whole = folder.json(&format!("{} --trials 1", words.replace("1000000", "1 --study other")));
    assert_eq!(keys(&whole), keys(&found));
    let limited = folder.json(&format!("{words} --trials 1 --trial-time-limit 2s --study digits"));
    assert_eq!((&limited["interrupted"], &limited["put_back"]), (&Json::Null, &serde_json::json!([])), "{limited}");
    assert!(!folder.path(model).exists());
}

#[test]
fn an_interrupt_of_what_goes_on_from_a_result_says_so() {
    let folder = Folder::new();
    let words =
        "search --data digits --epochs 1000000 --sampler random --pruner none --jobs 1 --trials 1 --storage s.db";
    folder.run(&format!("{words} --time-limit 3s")).ok();
    let best = folder.json("best --storage s.db --json");
    let mut child = folder.start(&format!("{words} -v"));
    let rest = wait_for(&mut child, "trial 1 epoch", "", 2);
    assert_eq!(folder.json("best --storage s.db --json"), best, "while the repetition runs");
    signal(&child, "-INT");
    let ran = finish(child, rest);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert!(ran.err.contains("trial 0, which a time limit ended, goes on with the search; to go on:"), "{}", ran.err);
    assert!(!folder.path("digits/interrupted.safetensors").exists());
    // Killed, it cannot give back what it took.
    let mut child = folder.start(&format!("{words} -v"));
    let rest = wait_for(&mut child, "trial 3 epoch", "", 2);
    signal(&child, "-KILL");
    finish(child, rest);
    assert_eq!(folder.json("best --storage s.db --json"), best);
    assert!(folder.path(best["model"].as_str().unwrap()).is_file());
    // Whoever does not want it does not want its repetition.
    let deleted = folder.run("delete-trial --storage s.db --number 0").ok().out;
    assert!(deleted.contains("trial 0 of `digits` is deleted, and so is its repetition"), "{deleted}");
    let again = folder.run("trials --storage s.db").ok().out;
    assert!(again.contains("0 running, 0 waiting"), "{again}");
}

#[test]
fn a_training_that_was_interrupted_saves_nothing_half() {
    let folder = Folder::new();
    for name in ["-INT", "-TERM"] {
        let mut child = folder.start("train --data digits --epochs 100000 --hidden 512,512");
        let rest = wait_for(&mut child, "    2", "", 1);
        signal(&child, name);
        let ran = finish(child, rest);
        assert_eq!((ran.code, ran.out.as_str()), (Some(130), ""), "{}", ran.err);
        assert!(ran.err.contains("no model was saved"), "{}", ran.err);
    }
    assert_eq!(folder.names(), [""; 0]);
}

#[test]
fn a_second_signal_stops_at_once() {
    let folder = Folder::new();
    let words = "search --data california-housing --trials 50 --epochs 200 --hidden 1024,1024 --jobs 2";
    let mut child = folder.start(words);
    let rest = wait_for(&mut child, "study", "", 1);
    let start = Instant::now();
    signal(&child, "-INT");
    // It may have ended by the first already.
    let _ = Command::new("kill").args(["-INT", &child.id().to_string()]).status();
    let ran = finish(child, rest);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    // To its end it takes an hour.
    assert!(start.elapsed() < Duration::from_secs(120), "{:?}", start.elapsed());
    let left = trials(&folder, "hpt-study.db");
    assert!(!left.is_empty() && in_state(&left, "complete").is_empty(), "the study can be read: {left:?}");
}
