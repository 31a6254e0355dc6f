//! `search` from end to end.

use super::*;
use std::collections::HashSet;

#[test]
fn digits_are_tuned_tested_and_saved() {
    let folder = Folder::new();
    let found = folder.json("search --trials 6 --epochs 6 --json");
    #[rustfmt::skip]
    let expected = [
        "study", "storage", "direction", "metric", "trials", "put_back", "seconds", "trials_per_second", "stopped_by",
        "best", "retrained", "default", "interrupted", "validation", "test", "model", "top",
    ];
    assert_eq!(keys(&found), expected);
    assert_eq!((&found["study"], &found["storage"]), (&Json::from("digits"), &Json::from("hpt-study.db")));
    assert_eq!((&found["direction"], &found["metric"]), (&Json::from("maximize"), &Json::from("accuracy")));
    assert_eq!(keys(&found["trials"]), ["complete", "pruned", "failed", "deleted", "lost", "running", "waiting"]);
    let counts = ["complete", "pruned", "failed"].map(|state| found["trials"][state].as_u64().unwrap());
    assert_eq!((counts.iter().sum::<u64>(), counts[2]), (6, 0));
    assert_eq!(keys(&found["best"]), ["number", "value", "params", "model"]);
    assert_eq!(found["best"], found["top"][0]);
    assert_eq!(found["validation"]["accuracy"], found["best"]["value"]);
    let test = found["test"]["accuracy"].as_f64().unwrap();
    assert!(test > 0.9, "{test}");
    let interval = found["test"]["intervals"]["accuracy"].as_array().unwrap();
    assert!(interval[0].as_f64().unwrap() <= test && test <= interval[1].as_f64().unwrap(), "{interval:?}");
    let model = found["model"].as_str().unwrap();
    assert!(folder.json(&format!("evaluate --model {model} --data digits --json"))["accuracy"].as_f64().unwrap() > 0.9);
    assert_eq!(folder.json("best --json"), found["best"]);
    let all = trials(&folder, "hpt-study.db");
    assert!(all.iter().all(|trial| trial["params"].get("epochs").is_none()), "what is fixed is no parameter");
    assert!(all.iter().all(|trial| !trial["intermediate"].as_object().unwrap().is_empty()), "{all:?}");
    // The total is reached: nothing is left to do but the last training.
    let again = folder.json("search --trials 6 --epochs 6 --json");
    assert_eq!((&again["best"], &again["test"]), (&found["best"], &found["test"]));
    assert_eq!(trials(&folder, "hpt-study.db"), all);
}

#[test]
fn the_last_screen_says_what_was_found_and_what_comes_next() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(90));
    let ran = folder.run("search --data t.csv --trials 5 --epochs 3").ok();
    for part in ["best: trial", "95 % interval", "the best trials", "5 trials", "0 failed"] {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
    assert!(ran.out.contains("next:  hpt-engine predict --model t/model.safetensors --data t.csv"), "{}", ran.out);
    assert!(ran.err.contains("space, sized from the data"), "{}", ran.err);
    let lines: Vec<&str> = ran.err.lines().filter(|line| line.starts_with("trial ")).collect();
    assert_eq!(lines.len(), 5, "one line a trial: {}", ran.err);
    assert!(folder.path("t/model.safetensors").is_file());
    let verbose = folder.run("search --data t.csv --trials 6 --epochs 3 -v").ok();
    assert!(verbose.err.contains("5 of 6 trials are finished"), "{}", verbose.err);
    let more = folder.run("search --data t.csv --trials 2 --epochs 3").ok();
    assert!(more.err.contains("goes on: 6 trials are finished"), "{}", more.err);
    assert!(verbose.err.contains("trial 5 starts: learning_rate=") && verbose.err.contains("trial 5 epoch 1:"));
    let quiet = folder.run("search --data t.csv --trials 6 --epochs 3 -q").ok();
    assert_eq!(quiet.err, "");
}

#[test]
fn a_study_file_says_everything_and_flags_win() {
    let folder = Folder::new();
    folder.write("t.csv", &numbers(120)).write(
        "study.toml",
        r#"
study = "prices"
direction = "minimize"
metric = "mae"

[data]
path = "t.csv"
target = "price"
task = "regression"
test_split = 0.25

[train]
epochs = 4
batch_size = 16

[search]
sampler = "random"
pruner = "none"
trials = 7
seed = 2
storage = "prices.db"
out = "models"
keep_models = 1
enqueue = [{ learning_rate = 0.01, layers = 1, units_0 = 8, optimizer = "adam" }]

[space]
learning_rate = { log = [1e-4, 1e-1] }
layers = { int = [0, 2] }
units = { int = [4, 16], step = 4, each = "layers" }
optimizer = { choice = ["sgd", "momentum", "adam"] }
momentum = { float = [0.5, 0.9], when = { optimizer = "momentum" } }
"#,
    );
    let found = folder.json("search study.toml --trials 4 --json");
    assert_eq!((&found["study"], &found["metric"]), (&Json::from("prices"), &Json::from("mae")));
    let finished = found["trials"]["complete"].as_u64().unwrap() + found["trials"]["failed"].as_u64().unwrap();
    assert_eq!(finished, 4, "the flag wins over 7, and nothing is pruned: {}", found["trials"]);
    assert!(found["model"].as_str().unwrap().starts_with("models/"), "{}", found["model"]);
    assert_eq!(folder.names(), ["models", "prices.db", "study.toml", "t.csv"]);
    assert_eq!(std::fs::read_dir(folder.path("models")).unwrap().count(), 2, "the model and one trial's");
    let all = trials(&folder, "prices.db");
    let wanted = serde_json::json!({"learning_rate": 0.01, "layers": 1, "units_0": 8, "optimizer": "adam"});
    let wanted = wanted.as_object().unwrap();
    let is_wanted = |trial: &Json| wanted.iter().all(|(name, value)| trial["params"][name] == *value);
    assert!(all.iter().any(is_wanted), "the enqueued trial is there: {all:?}");
    for trial in in_state(&all, "complete") {
        let params = &trial["params"];
        let layers = params["layers"].as_u64().unwrap() as usize;
        let units = params.as_object().unwrap().keys().filter(|key| key.starts_with("units_")).count();
        assert_eq!(units, layers, "{params}");
        assert_eq!(params["momentum"].is_number(), params["optimizer"] == "momentum", "{params}");
        assert_eq!(trial["intermediate"].as_object().unwrap().len(), 4, "{trial}");
    }
    // What a flag fixes does not vary.
    let found =
        folder.json("search study.toml --optimizer adam --study adam --trials 2 --out adam --enqueue {} --json");
    assert!(found["best"]["params"].get("optimizer").is_none(), "{found}");
    assert!(found["best"]["params"].get("learning_rate").is_some(), "{found}");
}

#[test]
fn the_same_name_with_another_space_is_refused() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(60)).write("a.toml", "[space]\nlearning_rate = { log = [1e-3, 1e-2] }\n");
    folder.write("b.toml", "[space]\nlearning_rate = { log = [1e-3, 1e-1] }\n");
    folder.run("search a.toml --data t.csv --epochs 1 --trials 2").ok();
    let before = trials(&folder, "hpt-study.db");
    let ran = folder.run("search b.toml --data t.csv --epochs 1 --trials 3");
    ran.fails(2, &["`t`", "another space", "0.01", "0.1"]);
    folder.run("search a.toml --data t.csv --epochs 2 --trials 3").fails(2, &["`t`", "settings"]);
    assert_eq!(trials(&folder, "hpt-study.db"), before);
    folder.run("search --space a.toml --data t.csv --epochs 1 --trials 3").ok();
}

#[test]
fn printed_spaces_are_a_start() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(60));
    let space = folder.run("search --data t.csv --print-space").ok().out;
    assert!(space.starts_with("[space]\nlearning_rate = { log = "), "{space}");
    assert_eq!(folder.names(), ["t.csv"], "nothing is left behind");
    folder.write("s.toml", &space);
    folder.run("search s.toml --data t.csv --epochs 1 --trials 2").ok();
    // A study goes on with the space that it has.
    folder.write("own.toml", "[space]\nunits = { int = [2, 4] }\n");
    folder.run("search own.toml --data t.csv --epochs 1 --trials 2 --study mine").ok();
    let again = folder.run("search --data t.csv --epochs 1 --trials 3 --study mine").ok();
    assert!(!again.err.contains("sized from the data"), "{}", again.err);
    assert_eq!(
        folder.run("search --data t.csv --epochs 1 --study mine --print-space").ok().out,
        "[space]\nunits = { int = [2, 4] }\n"
    );
    let fixed = folder.run("search --data t.csv --print-space --learning-rate 0.01 --hidden 8").ok().out;
    assert!(!fixed.contains("learning_rate") && !fixed.contains("units"), "{fixed}");
}

#[test]
fn a_time_limit_ends_the_search_with_a_model() {
    let folder = Folder::new();
    let found = folder.json("search --data digits --time-limit 6s --json");
    assert_eq!(found["stopped_by"], "time", "{found}");
    assert!(found["test"]["accuracy"].as_f64().unwrap() > 0.9, "{found}");
    assert!(folder.path("digits/model.safetensors").is_file());
}

#[test]
fn a_network_above_the_memory_limit_of_a_trial_is_not_begun() {
    let folder = Folder::new();
    folder.write("s.toml", "[space]\nhidden = { choice = [\"8\", \"900,900\"] }\n");
    let search = "search s.toml --data digits --epochs 2 --trials 2 --sampler grid --trial-memory-limit 4MiB";
    let ran = folder.run(search).ok();
    assert!(
        ran.err.contains("not started:") && ran.err.contains("above the trial's memory limit of 4.0 MiB"),
        "{}",
        ran.err
    );
    let all = trials(&folder, "hpt-study.db");
    assert_eq!((in_state(&all, "failed").len(), in_state(&all, "complete").len()), (1, 1));
}

#[test]
fn a_table_of_trials_says_where_each_was_stopped() {
    let folder = Folder::new();
    let search = "search --data digits --epochs 9 --trials 12 --sampler random -q --storage";
    folder.run(&format!("{search} a.db")).ok();
    folder.run(&format!("{search} w.db --pruner wilcoxon --folds 6 --trial-time-limit 5m")).ok();
    for (storage, what) in [("a.db", "step"), ("w.db", "part")] {
        let all = trials(&folder, storage);
        let pruned = in_state(&all, "pruned");
        assert!(!pruned.is_empty(), "{all:?}");
        let table = folder.run(&format!("trials --storage {storage}")).ok().out;
        for trial in pruned {
            let last = trial["intermediate"].as_object().unwrap().keys().map(|step| step.parse::<u64>().unwrap()).max();
            let line = format!("{:<5}  pruned: after {what} {} ", trial["number"].to_string(), last.unwrap());
            assert!(table.contains(&line), "{line} in {table}");
        }
    }
}

#[test]
fn several_metrics_give_a_front() {
    let folder = Folder::new();
    folder.write(
        "study.toml",
        "direction = [\"maximize\", \"minimize\"]\nmetric = [\"accuracy\", \"parameters\"]\n\
         constraints = [\"parameters <= 12000\"]\n[train]\nepochs = 3\n[search]\nsampler = \"random\"\ntrials = 12\n\
         [space]\nunits = { int = [8, 128] }\nlearning_rate = { log = [1e-3, 1e-2] }\n",
    );
    let found = folder.json("search study.toml --json");
    assert_eq!(found["direction"], serde_json::json!(["maximize", "minimize"]));
    assert_eq!(found["metric"], serde_json::json!(["accuracy", "parameters"]));
    let front = found["best"].as_array().unwrap();
    let expected = ["number", "values", "params", "objectives", "model"];
    assert!(!front.is_empty() && front.iter().all(|trial| keys(trial) == expected));
    assert!(front.iter().all(|trial| trial["values"][1].as_f64().unwrap() <= 12_000.0), "{front:?}");
    assert!(front.iter().any(|trial| trial["number"] == found["retrained"]));
    assert!(found["trials"]["pruned"].as_u64() > Some(0), "some are too large to be trained: {}", found["trials"]);
    let same = folder.json("best --storage hpt-study.db --json");
    let numbers = |list: &Json| list.as_array().unwrap().iter().map(|t| t["number"].as_u64()).collect::<HashSet<_>>();
    assert_eq!(numbers(&same), numbers(&found["best"]));
    let screen = folder.run("search study.toml --metric accuracy,parameters").ok().out;
    assert!(screen.contains("the front, by accuracy:") && screen.contains("the one that was retrained"), "{screen}");
    let table = folder.run("best").ok().out;
    assert!(table.contains("accuracy") && table.contains("parameters"), "{table}");
}

#[test]
fn wrong_objectives_and_constraints_are_answered_in_words() {
    let folder = Folder::new();
    for (words, parts) in [
        ("--metric accuracy,paramters", ["--metric: `paramters`", "did you mean `parameters`"]),
        ("--metric accuracy,accuracy", ["accuracy is named twice", "place 2"]),
        ("--metric accuracy,rmse", ["rmse", "not defined"]),
        (
            "--metric parameters,training-seconds --pruner asha",
            ["no objective (parameters, training_seconds) is one", "--pruner none"],
        ),
        ("--metric accuracy,parameters --direction maximize", ["--direction has 1 entry", "one direction each"]),
        ("--metric accuracy,parameters --direction maximize,maximize", ["the metric parameters", "minimize"]),
        ("--metric accuracy,parameters --stop-at 0.9", ["--stop-at has 1 value", "2 objectives"]),
        ("--constraint parameters<5", ["--constraint is `parameters<5`", "NAME <= X"]),
        ("--constraint params<=5", ["--constraint: `params`", "inference_seconds"]),
        ("--retrain worst", ["--retrain: ", "`worst` is not known (known: best, none)"]),
        ("--retrain none --keep-models 0", ["--keep-models is 0", "keep at least 1"]),
        ("--retrain none --command true --direction minimize", ["--retrain", "means nothing to a command"]),
        ("--keep-models 5 --command true --direction minimize", ["--keep-models", "means nothing to a command"]),
    ] {
        folder.run(&format!("search --trials 2 {words}")).fails(2, &parts);
    }
}

#[test]
fn a_search_may_end_with_a_trials_own_model() {
    let folder = Folder::new();
    let ran = folder.run("search --epochs 2 --trials 3 --retrain none").ok();
    let screen = &ran.out;
    assert!(screen.contains("as it was trained on the training rows, tested once"), "{screen}");
    assert!(!screen.contains("retrained") && !ran.err.contains("once more"), "{screen}");
    let found = folder.json("search --epochs 2 --trials 3 --retrain none --json");
    assert!(found["retrained"].is_null() && found["test"]["accuracy"].is_number(), "{found}");
    let number = &found["best"]["number"];
    let model = folder.path(found["model"].as_str().unwrap());
    let own = model.with_file_name(format!("trial-{number}.safetensors"));
    assert_eq!(std::fs::read(&model).unwrap(), std::fs::read(own).unwrap());
}

#[test]
fn trials_are_cross_validated() {
    let folder = Folder::new();
    let ran = folder.run("search --folds 5 --pruner wilcoxon --trials 4 --epochs 3 --storage w.db").ok();
    assert!(ran.out.contains("(mean of 5 trainings, standard deviation 0.0"), "{}", ran.out);
    let complete: Vec<Json> =
        trials(&folder, "w.db").into_iter().filter(|trial| trial["state"] == "complete").collect();
    assert!(!complete.is_empty() && complete.iter().all(|t| keys(&t["intermediate"]) == ["1", "2", "3", "4", "5"]));
    // Folds of the user's own: three of different sizes, one a region.
    let rows: String =
        (0..60).map(|i| format!("{},{},{}\n", i % 7, (i % 7) * 3 + i % 2, ["n", "s", "s", "w"][i % 4])).collect();
    std::fs::write(folder.path("t.csv"), format!("x,y,region\n{rows}")).unwrap();
    std::fs::write(folder.path("s.toml"), "[data]\npath = \"t.csv\"\ntarget = \"y\"\nfold_column = \"region\"\n")
        .unwrap();
    let words = "search s.toml --task regression --metric rmse --trials 3 --epochs 2 --storage f.db --json";
    let found = folder.json(words);
    assert_eq!(found["parts"].as_array().unwrap().len(), 3);
    let mean = found["parts"].as_array().unwrap().iter().map(|part| part.as_f64().unwrap()).sum::<f64>() / 3.0;
    assert!((found["best"]["value"].as_f64().unwrap() - mean).abs() < 1e-9 * mean, "{found}");
    assert_eq!(found["validation"]["rmse"], found["best"]["value"]);
    assert!(folder.run(&words.replace("f.db", "g.db").replace("--json", "")).ok().err.contains("drawn from all folds"));
    for (more, parts) in [
        ("--folds 3 --validation-split 0.1", ["--validation-split and --folds exclude each other", "once"]),
        ("--folds 1", ["--folds is `1`", "from 2 on"]),
        ("--folds many", ["--folds is `many`", "whole number"]),
        ("--folds 2000", ["fewer than a division into 2000 parts needs", "fewer folds"]),
        ("--folds 3 --population 4", ["cross-validation", "one training"]),
        ("--fold-column region", ["fold column: `region` is not known", "digits"]),
    ] {
        folder.run(&format!("search --data digits {more}")).fails(2, &parts);
    }
    let command = "search --command ./o.sh --direction minimize --folds 3";
    folder.run(command).fails(2, &["--folds belongs to the built-in training"]);
    folder.run("search s.toml --folds 4").fails(2, &["4 are asked for", "the fold column has 3"]);
    folder
        .run("search s.toml --validation-split 0.3")
        .fails(2, &["--validation-split", "fold_column", "exclude each other"]);
    folder.run("compare --function branin --folds 3").fails(2, &["--folds goes with --data alone"]);
    let words = "compare --data t.csv --target y --fold-column region --task regression --samplers random,tpe --seeds 2 --trials 3";
    folder.run(&format!("{words} --epochs 1")).ok();
}

#[test]
fn deterministic_searches_are_the_same_with_any_number_of_jobs() {
    let folder = Folder::new();
    let run = |jobs: usize, more: &str| {
        let storage = format!("{jobs}{}.db", more.len());
        let words = "search --epochs 9 --trials 14 --seed 4 --keep-models 0 --out models --json";
        let found = folder.run(&format!("{words} --jobs {jobs} --storage {storage} {more}")).ok().json();
        let mut trials = folder.run(&format!("trials --storage {storage} --json")).ok().json()["trials"].clone();
        for trial in trials.as_array_mut().unwrap() {
            for key in ["seconds", "started", "finished"] {
                trial[key] = Json::Null;
            }
        }
        (found["best"].clone(), found["test"].clone(), trials)
    };
    let alone = run(1, "");
    assert!(alone.2.as_array().unwrap().iter().any(|trial| trial["state"] == "pruned"), "{:?}", alone.2);
    assert_eq!(run(2, "--deterministic"), alone);
    // As many at once as would have `auto` choose another sampler, if they did not go in order.
    assert_eq!(run(40, "--deterministic"), alone);
    let wide = run(1, "--deterministic=2 --sampler tpe");
    assert_eq!(run(2, "--deterministic=2 --sampler tpe"), wide);
    folder.run("search --deterministic=0").fails(2, &["--deterministic is `0`", "from 1 on"]);
}
