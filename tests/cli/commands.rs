//! `search --command`: programs of others as objectives.

use super::*;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::PermissionsExt;
use std::time::{Duration, Instant};

const SPACE: &str = "[space]\nx = { float = [-4.0, 4.0] }\nkind = { choice = [\"a b\", \"it's; exit 9\"] }\n\
                     depth = { int = [1, 3], when = { kind = \"a b\" } }\n";

/// A folder with the space and a script, `o.sh`.
fn script(text: &str) -> Folder {
    let folder = Folder::new();
    folder.write("space.toml", SPACE).write("o.sh", &format!("#!/bin/sh\n{text}"));
    std::fs::set_permissions(folder.path("o.sh"), std::fs::Permissions::from_mode(0o755)).unwrap();
    folder
}

/// The words of a search with this command.
fn words<'a>(command: &'a str, more: &'a str) -> Vec<&'a str> {
    let mut words = vec!["search", "--space", "space.toml", "--direction", "minimize", "--command", command];
    words.extend(more.split_whitespace());
    words
}

fn study(folder: &Folder) -> Vec<Json> {
    trials(folder, "hpt-study.db")
}

#[test]
fn a_script_is_tuned_and_the_document_has_the_keys_of_a_search() {
    // Each word as it came, and what the environment says, for every trial; one write, since two trials run at once.
    let folder = script(
        "words=$(printf '%s|' \"$@\"); printf '%s%s|%s|%s\\n' \"$words\" \"$HPT_X\" \"$HPT_KIND\" \"$HPT_DEPTH\" >> said\n\
         echo working; awk -v x=\"$1\" 'BEGIN { print (x - 1) ^ 2 }'\n",
    );
    let command = "./o.sh {x} '{kind}' \"<{depth}>\"";
    let found = folder.run_words(&words(command, "--trials 20 --sampler random --jobs 2 --json")).json();
    let expected = [
        "study",
        "storage",
        "direction",
        "metric",
        "command",
        "trials",
        "put_back",
        "seconds",
        "trials_per_second",
        "stopped_by",
        "best",
        "retrained",
        "validation",
        "test",
        "model",
        "top",
    ];
    assert_eq!((keys(&found), &found["retrained"]), (expected.to_vec(), &Json::Null));
    assert_eq!((&found["study"], &found["trials"]["complete"]), (&Json::from("o"), &Json::from(20)));
    assert_eq!((&found["stopped_by"], &found["direction"]), (&Json::from("trials"), &Json::from("minimize")));
    let all = study(&folder);
    let said = std::fs::read_to_string(folder.path("said")).unwrap();
    for trial in &all {
        let params = &trial["params"];
        let x = params["x"].as_f64().unwrap();
        assert!((trial["value"].as_f64().unwrap() - (x - 1.0).powi(2)).abs() < 1e-3 * (1.0 + x * x), "{trial}");
        let kind = params["kind"].as_str().unwrap();
        let depth = params.get("depth").map(Json::to_string).unwrap_or_default();
        let line = said.lines().filter(|line| line.contains(&format!("|{kind}|<{depth}>|"))).find(|line| {
            let mut parts = line.split('|');
            let (first, fourth) = (parts.next().unwrap(), parts.nth(2).unwrap());
            first == fourth && first.parse() == Ok(x)
        });
        assert!(line.is_some_and(|line| line.ends_with(&format!("|{kind}|{depth}"))), "{trial}\n{said}");
    }
    // The total is reached: nothing more is run, and the screen says what to type next.
    let again = folder.run_words(&words(command, "--trials 20 --sampler random")).ok();
    assert!(again.out.contains("0 new trials") && again.out.contains("the study has all its trials"), "{}", again.out);
    assert_eq!(study(&folder).len(), 20);
}

#[test]
fn intermediate_lines_are_stored_and_end_what_is_hopeless() {
    // After the first six, what lies far out sleeps longer than this test may take, unless it is ended.
    let folder = script(
        "for i in 1 2 3; do awk -v x=\"$1\" -v i=$i 'BEGIN { print i, x * x + 1 / i }'; done\n\
         [ \"$HPT_TRIAL_NUMBER\" -lt 6 ] || awk -v x=\"$1\" 'BEGIN { exit (x * x > 9) }' || sleep 900\n\
         awk -v x=\"$1\" 'BEGIN { print x * x }'\n",
    );
    let more = "--trials 16 --sampler random --pruner median --json";
    let found = folder.run_words(&words("./o.sh {x}", more)).json();
    let all = study(&folder);
    let pruned = in_state(&all, "pruned");
    assert_eq!(found["trials"]["pruned"].as_u64(), Some(pruned.len() as u64));
    let far =
        |trial: &&&Json| trial["number"].as_u64().unwrap() > 5 && trial["params"]["x"].as_f64().unwrap().abs() > 3.0;
    let asleep: Vec<&Json> = all.iter().filter(|trial| far(&trial)).collect();
    assert!(!asleep.is_empty() && asleep.iter().all(|trial| trial["state"] == "pruned"), "{all:?}");
    assert_eq!(keys(&in_state(&all, "complete")[0]["intermediate"]), ["1", "2", "3"]);
}

#[test]
fn who_breaks_constraints_stops_nobody_and_the_pruned_keep_theirs() {
    // The best break the constraint, what keeps it is worse, and the worst break it and are stopped: they would sleep.
    let folder = script(
        "case $((HPT_TRIAL_NUMBER % 3)) in\n0) echo constraint g 1; echo 1 0.1;;\n1) echo constraint g -1; echo 1 0.5;;\n\
         *) echo constraint g 3; echo constraint g 2; echo 1 9; sleep 900;;\nesac\necho constraint h 4; echo 0.5\n",
    );
    let search = words("./o.sh", "--sampler random --trials 18 --constraint g<=0 --constraint h<=5 --json --pruner");
    for (pruner, option) in [("asha", "reduction=3"), ("median", "startup=1")] {
        let storage = format!("{pruner}.db");
        let mut words = search.clone();
        words.extend([pruner, "--storage", &storage, "--pruner-option", option]);
        let found = folder.run_words(&words).json();
        assert_eq!(found["trials"]["pruned"], 6, "{pruner}");
        for trial in trials(&folder, &storage) {
            let kind = trial["number"].as_u64().unwrap() as usize % 3;
            assert_eq!(trial["state"], ["complete", "complete", "pruned"][kind], "{pruner} {trial}");
            let expected = [[1.0, -0.2], [-1.0, -0.2], [2.0, 0.0]][kind];
            assert_eq!(trial["constraints"], serde_json::json!(expected), "{pruner} {trial}");
        }
    }
}

#[test]
fn failures_have_reasons_and_do_not_end_the_study() {
    let folder = script(
        "case $HPT_TRIAL_NUMBER in\n0) echo no luck >&2; exit 3;;\n1) echo nan;;\n2) echo done;;\n3) ;;\n4) kill -9 $$;;\n\
         5) echo warned >&2; echo 1.5;;\n6) sleep 900;;\n7) echo 1 0.5; sleep 900;;\n*) echo 2;; esac\n",
    );
    // Limits for those alone that sleep; the longer one leaves a busy machine time to print a line.
    let said = ["6", "7 --trial-time-limit 1s", "8 --trial-time-limit 8s", "9"].map(|more| {
        folder.run_words(&words("./o.sh", &format!("--sampler random --pruner none --trials {more}"))).ok()
    });
    let said: String = said.into_iter().map(|ran| ran.err).collect();
    for reason in [
        "exit code 3: no luck",
        "not a number",
        "its last line is `done`",
        "printed nothing",
        "ended by signal 9",
        "killed at the trial's time limit of 1 s",
    ] {
        assert!(said.contains(reason), "{reason}\n{said}");
    }
    let all = study(&folder);
    let states: Vec<&str> = all.iter().map(|trial| trial["state"].as_str().unwrap()).collect();
    assert_eq!(
        states,
        ["failed", "failed", "failed", "failed", "failed", "complete", "failed", "complete", "complete"]
    );
    assert_eq!(
        (&all[7]["value"], &all[7]["ended_by"]),
        (&Json::from(0.5), &Json::from("the trial's time limit of 8 s"))
    );
    let folder = script("exit 1");
    folder.run_words(&words("./o.sh", "--trials 2")).fails(1, &["no trial was completed", "exit code 1"]);
}

#[test]
fn where_nothing_is_complete_in_time_what_was_reported_is_the_result() {
    // Without an end of its own: the limit leaves a busy machine time to print a line.
    let folder = script("echo 1 0.5; sleep 900");
    let found = folder.run_words(&words("./o.sh", "--sampler random --jobs 2 --time-limit 4s --json")).json();
    assert_eq!((&found["best"]["value"], &found["stopped_by"]), (&Json::from(0.5), &Json::from("time")), "{found}");
    let all = study(&folder);
    assert!(in_state(&all, "complete").iter().all(|trial| trial["ended_by"] == "the search's time limit of 4 s"));
    // Where those are all trials that are wanted, it was the time that ended them.
    let folder = script("echo 1 0.5; sleep 900");
    let found = folder.run_words(&words("./o.sh", "--sampler random --trials 1 --time-limit 4s --json")).json();
    assert_eq!((&found["trials"]["complete"], &found["stopped_by"]), (&Json::from(1), &Json::from("time")), "{found}");
    // Beside a better result it is put back.
    let folder = script("[ $HPT_TRIAL_NUMBER = 0 ] || { echo 1 3.5; sleep 900; }; echo 2");
    let found = folder.run_words(&words("./o.sh", "--sampler random --time-limit 4s --json")).json();
    assert_eq!((&found["best"]["value"], &found["trials"]["complete"]), (&Json::from(2.0), &Json::from(1)), "{found}");
    // Ahead of all it is the result, until the search goes on.
    let folder = script("[ $HPT_TRIAL_NUMBER != 1 ] || { echo 1 0.5; sleep 900; }; echo 2");
    let found = folder.run_words(&words("./o.sh", "--sampler random --time-limit 4s --json")).json();
    assert_eq!((&found["best"]["value"], &found["trials"]["complete"]), (&Json::from(0.5), &Json::from(2)), "{found}");
    let ran = folder.run_words(&words("./o.sh", "--sampler random --trials 3 --json")).ok();
    assert!(ran.err.contains("what an earlier time limit ended is run to its end: trial 1"), "{}", ran.err);
    let all = study(&folder);
    assert_eq!((in_state(&all, "complete").len(), &all[1]["state"]), (3, &Json::from("failed")), "{all:?}");
}

#[test]
fn a_study_of_commands_is_none_of_trainings() {
    let folder = script("echo 1");
    folder.run_words(&words("./o.sh 'a b'", "--trials 1 --study of")).ok();
    let said = ["of", "run a command", r"--command './o.sh '\''a b'\'''", "--study"];
    folder.run("search --study of --trials 2 --epochs 1").fails(2, &said);
    folder.run("search --study nets --trials 1 --epochs 1").ok();
    let ran = folder.run_words(&["search", "--command", "./o.sh", "--study", "nets", "--trials", "2"]);
    ran.fails(2, &["nets", "are trainings", "without --command"]);
}

#[test]
fn a_memory_limit_ends_the_processes_of_a_trial() {
    let hungry = "x=$(head -c 30000000 /dev/zero | tr '\\0' x); sleep 900";
    let folder = script(&format!("[ $HPT_TRIAL_NUMBER = 0 ] && sh -c \"{}\"; echo 1\n", hungry.replace('$', "\\$")));
    let ran = folder.run_words(&words("./o.sh", "--trials 2 --trial-memory-limit 20MiB")).ok();
    assert!(ran.err.contains("above the trial's memory limit of 20 MiB"), "{}", ran.err);
}

#[test]
fn what_is_wrong_is_said_before_anything_runs() {
    let folder = script("echo 1");
    folder.write(
        "c.toml",
        "[search]\ncommand = \"./o.sh {y}\"\ndirection = \"minimize\"\n[space]\nx = { float = [0, 1] }\n",
    );
    folder.write("t.toml", "direction = \"minimize\"\n[train]\nepochs = 3\n[search]\ncommand = \"./o.sh\"\n[space]\nx = { float = [0, 1] }\n");
    for (words, parts) in [
        (words("./o.sh {z}", ""), ["placeholder: `z` is not known", "known: x, kind, depth"]),
        (words("echo 1 {x", ""), ["--command: character 8: a { without its } (at `{x`)", "{{ or }}"]),
        (words("echo 1 {}", ""), ["--command: character 8: `{}`", "a placeholder has a name"]),
        (words("echo 1 {x:.2f}", ""), ["`{x:.2f}`", "the value is written {x}"]),
        (words("echo 1 {X}", ""), ["placeholder: `X` is not known", "did you mean `x`?"]),
        (words("echo 'a {x}", ""), ["--command: a shell cannot read `echo 'a {x}`", "nterminated"]),
        (words("./missing {x}", ""), ["`./missing {x}` cannot be run", "not found"]),
        (words("./o.sh", "--epochs 3"), ["--epochs", "built-in training"]),
        (words("./o.sh", "--data digits"), ["--data", "built-in training"]),
        (words("./o.sh", "--metric a,b"), ["--metric has 2 names", "directions are 1"]),
        (words("./o.sh", "--trial-memory-limit lots"), ["--trial-memory-limit is `lots`", "a size above 0"]),
        (vec!["search", "--command", "./o.sh", "--direction", "minimize"], ["needs a space", "--space"]),
        (vec!["search", "--command", "./o.sh", "--space", "space.toml"], ["--direction is missing", "maximize"]),
        (vec!["search", "c.toml"], ["c.toml:2:11: [search] command: placeholder: `y` is not known", "known: x"]),
        (vec!["search", "t.toml"], ["[train] epochs", "built-in training"]),
    ] {
        folder.run_words(&words).fails(2, &parts);
    }
}

#[test]
fn a_study_file_and_python_and_two_values() {
    let folder = Folder::new();
    folder.write(
        "s.toml",
        "study = \"two\"\ndirection = [\"minimize\", \"maximize\"]\nmetric = [\"loss\", \"speed\"]\n[search]\n\
         command = \"python3 o.py --x {x}\"\ntrials = 8\njobs = 2\n[space]\nx = { float = [0.0, 1.0] }\n",
    );
    let program = "import json, os, sys\nx = float(sys.argv[2])\nassert json.loads(os.environ['HPT_PARAMS']) == {'x': x}\n\
                   print(1, x)\nprint(f'{x * x}, {x}', flush=True)\n";
    folder.write("o.py", program);
    let found = folder.json("search s.toml --json");
    assert_eq!(found["metric"], serde_json::json!(["loss", "speed"]));
    assert_eq!(found["best"].as_array().map(Vec::len), Some(8), "each is better at something");
    let all = study(&folder);
    assert!(all.iter().all(|trial| trial["values"][1] == trial["params"]["x"]), "{all:?}");
    assert!(all.iter().all(|trial| trial["intermediate"]["1"] == trial["params"]["x"]), "{all:?}");
    assert!(folder.run("search s.toml").ok().out.contains("8 trials that no other beats"));
}

/// Whether any process runs with this word in its command line.
fn runs(word: &str) -> bool {
    let entries = std::fs::read_dir("/proc").unwrap().flatten();
    entries
        .map(|entry| std::fs::read(entry.path().join("cmdline")).unwrap_or_default())
        .any(|line| line.split(|byte| *byte == 0).any(|part| part == word.as_bytes()))
}

#[test]
fn an_interrupt_ends_the_programs_and_says_how_to_go_on() {
    for signals in [1, 2] {
        // A number that no other process sleeps for.
        let nap = format!("{}.{signals}", 900_000 + std::process::id());
        let folder = script(&format!("[ \"$HPT_TRIAL_NUMBER\" = 0 ] || (trap '' TERM; sleep {nap})\necho 1\n"));
        let mut child = folder.command(&words("./o.sh {x}", "--trials 3 --sampler random"));
        let mut child = child.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut reader = BufReader::new(child.stderr.take().unwrap());
        let mut said = String::new();
        while !said.contains("complete") {
            assert!(reader.read_line(&mut said).unwrap() > 0, "{said}");
        }
        let deadline = Instant::now() + Duration::from_secs(120);
        while !runs(&nap) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(runs(&nap));
        for _ in 0..signals {
            assert!(Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap().success());
            while !said.contains("stopping;") {
                assert!(reader.read_line(&mut said).unwrap() > 0, "{said}");
            }
        }
        reader.read_to_string(&mut said).unwrap();
        let code = child.wait().unwrap().code();
        assert_eq!(code, Some(130), "{said}");
        while runs(&nap) && Instant::now() < deadline {
            std::thread::yield_now();
        }
        assert!(!runs(&nap), "its programs are gone");
        if signals == 1 {
            assert!(said.contains("to go on:") && said.contains("--command './o.sh {x}'"), "{said}");
            assert_eq!(in_state(&study(&folder), "running").len(), 0);
        }
        assert_eq!(in_state(&study(&folder), "complete").len(), 1);
        folder.write("o.sh", "#!/bin/sh\necho 2\n");
        let found = folder.run_words(&words("./o.sh {x}", "--trials 3 --sampler random --json")).json();
        assert_eq!(found["trials"]["complete"], 3);
    }
}

#[test]
fn pruners_have_options_and_say_which() {
    let folder = script("for i in 1 2 3 4 5 6; do echo $i 5; done; [ $HPT_TRIAL_NUMBER = 9 ] || echo 5; sleep 0.2\n");
    let more = "--trials 2 --sampler random --pruner patience --pruner-option patience=2 --json";
    let found = folder.run_words(&words("./o.sh", "--trials 1 --sampler random --pruner none --json")).json();
    assert_eq!(found["trials"]["complete"], 1);
    let found = folder.run_words(&words("./o.sh", more)).json();
    assert_eq!((&found["trials"]["complete"], &found["trials"]["pruned"]), (&Json::from(1), &Json::from(1)));
    assert_eq!(study(&folder)[1]["intermediate"].as_object().unwrap().len(), 3);
    folder.write(
        "f.toml",
        "direction = \"minimize\"\n[search]\ncommand = \"echo 1\"\npruner = \"threshold\"\n\
                            pruner_option = { upper = 3.5, warmup = 1 }\n[space]\nx = { float = [0, 1] }\n",
    );
    folder.run("search f.toml --trials 2").ok();
    for (more, parts) in [
        ("--pruner threshold", ["needs a bound", "upper=X"]),
        (
            "--pruner median --pruner-option reduction=4",
            ["`reduction` is an option of asha, hyperband", "not of median"],
        ),
        ("--pruner median --pruner-option startup", ["--pruner-option is `startup`", "NAME=X"]),
        ("--pruner median --pruner-option startup=many", ["startup is `many`", "a number"]),
        ("--pruner median --pruner-option startupp=4", ["`startupp` is not known", "did you mean `startup`?"]),
    ] {
        folder.run_words(&words("./o.sh", more)).fails(2, &parts);
    }
    let help = folder.run("help search").ok().out;
    assert!(help.contains("Options of pruners:") && help.contains("p_threshold"), "{help}");
    // Three that are all worse have p = 1/8: nothing could be stopped.
    for repeats in ["", "--repeats 3", "--repeats 4"] {
        let words = format!("search --data digits --pruner wilcoxon {repeats}");
        folder.run(&words).fails(2, &["wilcoxon", "give at least 5 (--folds 5, or --repeats 5)", "p < 0.1"]);
    }
    let search = "search --data digits --pruner wilcoxon --repeats 3 --pruner-option p_threshold=0.3";
    let found = folder.json(&format!("{search} --epochs 2 --trials 4 --storage w.db --json"));
    assert!(found["trials"]["complete"].as_u64() > Some(0), "{found}");
    let repeated = trials(&folder, "w.db");
    let complete = in_state(&repeated, "complete");
    assert!(complete.iter().all(|trial| keys(&trial["intermediate"]) == ["1", "2", "3"]), "{complete:?}");
}

#[test]
fn a_table_of_trials_says_why_each_failed_however_long_the_reason_is() {
    let folder = script("echo 'no such file: /a/rather/long/path/to/all/the/rows/of/the/training.csv' >&2; exit 3\n");
    let ran = folder.run_words(&words("./o.sh {x}", "--trials 2 --sampler random"));
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    let table = folder.run("trials").ok().out;
    let why = "exit code 3: no such file: /a/rather/long/path/to/all/the/rows/of/the/training.csv";
    let lines: Vec<&str> = table.lines().collect();
    let states: Vec<&str> = [1, 3].iter().map(|at| lines[*at].split_whitespace().nth(1).unwrap()).collect();
    assert_eq!((states, lines[2].trim(), lines[4].trim()), (vec!["failed"; 2], why, why), "{table}");
    assert!(lines[2].starts_with("       ") && lines[5].starts_with("o: 0 complete"), "{table}");
}

#[test]
fn lines_whose_step_is_no_whole_number_are_counted_and_said_once() {
    let folder = script("echo 0.5 1.25; echo -1 2; echo 1 0.5; echo 7\n");
    let ran = folder.run_words(&words("./o.sh", "--trials 3 --sampler random")).ok();
    assert_eq!(
        ran.err.matches("6 lines of numbers were no intermediate values: the form is `step value`").count(),
        1,
        "{}",
        ran.err
    );
    assert!(study(&folder).iter().all(|trial| keys(&trial["intermediate"]) == ["1"]));
}

#[test]
fn the_sampler_of_a_command_is_told_what_that_of_a_training_is() {
    let folder = script("echo $1\n");
    folder.write("s.toml", &format!("[search]\nacquisition = \"ucbb\"\n{SPACE}"));
    let run = |more: &str| folder.run_words(&words("./o.sh {x}", more));
    run("--acquisition ucbb").fails(2, &["--acquisition", "did you mean `ucb`?"]);
    run("--acquisition ucb --sampler tpe").fails(2, &["--acquisition", "tpe has no acquisition"]);
    let from_file = ["search", "s.toml", "--direction", "minimize", "--command", "./o.sh {x}"];
    folder.run_words(&from_file).fails(2, &["s.toml:2:15: [search] acquisition", "did you mean `ucb`?"]);
    let create = "create-study --study a --direction minimize --space space.toml --sampler";
    folder.run(&format!("{create} tpe --acquisition ucb")).fails(2, &["--acquisition", "tpe has no acquisition"]);
    assert_eq!(folder.names(), ["o.sh", "s.toml", "space.toml"], "nothing is left behind");
    // What it maximises changes what is proposed after the quasi-random trials, and is said.
    let values = |study: &str, more: &str| {
        let ran = run(&format!("--sampler gp --trials 14 --study {study} {more}")).ok();
        let document = folder.json(&format!("trials --study {study} --json"));
        let params = |trial: &Json| trial["params"].clone();
        (ran.err, document["trials"].as_array().unwrap().iter().map(params).collect::<Vec<Json>>())
    };
    let ((_, improvement), (said, bound)) = (values("a", ""), values("b", "--acquisition ucb"));
    assert!(said.contains("an optimistic bound"), "{said}");
    assert_eq!(improvement[..10], bound[..10]);
    assert_ne!(improvement[10..], bound[10..]);
    // Many programs at once would wait for a Gaussian process, but where a width says how many there are.
    let note = "150 trials at once would wait";
    let said = run("--trials 150 --jobs 200 --study c").ok().err;
    assert!(said.contains(note), "{said}");
    assert!(!run("--trials 15 --jobs 200 --study d --deterministic").ok().err.contains("at once"));
}

#[test]
fn what_is_tried_first_is_checked_before_anything_is_written() {
    let folder = script("echo $1\n");
    let enqueue = |texts: &[&str]| {
        let all: Vec<&str> = texts.iter().flat_map(|text| ["--enqueue", *text]).collect();
        folder.run_words(&[words("./o.sh {x}", "--trials 2"), all].concat())
    };
    for (text, parts) in [
        ("{\"x\": \"a\"}", ["--enqueue: parameter x: `a` is no number", "-4"]),
        ("{\"x\": 5}", ["--enqueue: parameter x: `5` is outside its domain", "4"]),
        ("{\"kind\": \"c\"}", ["--enqueue: parameter kind: `c` is outside its domain", "a b"]),
        ("{\"depth\": 1.5}", ["--enqueue: parameter depth: `1.5` is no whole number", "3"]),
        ("{\"x\": 9, \"depth\": 1}", ["--enqueue: parameter x: `9` is outside", "4"]),
        ("{\"kind\": \"it's; exit 9\", \"depth\": 1}", ["--enqueue: parameter depth: it does not exist", "a b"]),
    ] {
        enqueue(&["{\"x\": 1}", text]).fails(2, &parts);
    }
    folder.write("s.toml", &format!("[search]\nenqueue = [{{ x = 1 }}, {{ x = \"a\" }}]\n{SPACE}"));
    let from_file = ["search", "s.toml", "--direction", "minimize", "--command", "./o.sh {x}"];
    folder.run_words(&from_file).fails(2, &["s.toml:2:11: [search] enqueue: parameter x: `a` is no number"]);
    folder
        .run("search --enqueue {\"batch_size\":32} --enqueue {\"batch_size\":3}")
        .fails(2, &["--enqueue", "`3` is outside"]);
    assert_eq!(folder.names(), ["o.sh", "s.toml", "space.toml"], "nothing is left behind");
    enqueue(&["{\"x\": 1}", "{\"kind\": \"a b\", \"depth\": 2}"]).ok();
    assert_eq!(study(&folder)[0]["params"]["x"], 1.0);
    assert_eq!(study(&folder)[1]["params"]["depth"], 2);
}

#[test]
fn a_part_of_a_grid_is_spread_over_it_and_the_note_says_so() {
    let folder = script("echo 1\n");
    folder.write("space.toml", "[space]\na = { int = [0, 9] }\nb = { int = [0, 9] }\n");
    let ran = folder.run_words(&words("./o.sh", "--trials 20 --sampler grid --jobs 2")).ok();
    assert!(ran.err.contains("all 100 configurations, of which 20 trials see 20"), "{}", ran.err);
    let first: std::collections::BTreeSet<i64> =
        study(&folder).iter().map(|trial| trial["params"]["a"].as_i64().unwrap()).collect();
    assert!(first.len() >= 6, "{first:?}");
}
