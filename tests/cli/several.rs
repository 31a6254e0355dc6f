//! Several objectives from the command line: programs that report all of them, `ask` and `tell`, names, reasons,
//! counts.

use super::*;
use serde_json::json;

const SPACE: &str = "[space]\nx = { float = [0.0, 1.0] }\nkind = { choice = [\"good\", \"bad\"] }\n";

/// Two values to minimise of which `x` trades one for the other, and both are 2 worse for a bad kind; what is bad then
/// sleeps longer than a test may take, unless it is ended.
const TRADE: &str = "awk -v x=$1 -v k=$2 'BEGIN { w = k == \"bad\" ? 2 : 0; for (i = 1; i <= 3; i++) print i, x + w, 1 - x + w }'\n\
                     [ $2 = good ] || [ $HPT_TRIAL_NUMBER -lt 6 ] || sleep 900\n\
                     awk -v x=$1 -v k=$2 'BEGIN { w = k == \"bad\" ? 2 : 0; print x + w, 1 - x + w }'\n";

fn script(text: &str) -> Folder {
    let folder = Folder::new();
    folder.write("space.toml", SPACE).write("o.sh", text);
    folder
}

fn search(folder: &Folder, more: &str) -> Ran {
    let words = "search --space space.toml --storage s.db --direction minimize,minimize --sampler random";
    let mut words: Vec<&str> = words.split(' ').chain(more.split_whitespace()).collect();
    words.extend(["--command", "sh o.sh {x} {kind}"]);
    folder.run_words(&words)
}

#[test]
fn a_program_that_reports_all_its_values_is_judged_by_all() {
    let folder = script(TRADE);
    let ran = search(&folder, "--metric loss,size --trials 20").ok();
    assert!(ran.err.contains("loss") && ran.err.contains("size"), "{}", ran.err);
    let all = trials(&folder, "s.db");
    let pruned = in_state(&all, "pruned");
    assert!(pruned.len() >= 4, "{all:?}");
    assert!(pruned.iter().all(|trial| trial["params"]["kind"] == "bad" && trial["values"].is_null()), "{pruned:?}");
    let good: Vec<&Json> = all.iter().filter(|trial| trial["params"]["kind"] == "good").collect();
    assert!(good.len() >= 4 && good.iter().all(|trial| trial["state"] == "complete"), "the front goes on: {good:?}");
    for trial in &good {
        assert_eq!(keys(&trial["intermediate"]), ["1", "2", "3"]);
        assert_eq!(trial["intermediate"]["2"], trial["intermediate_values"]["2"][0]);
        assert_eq!(trial["intermediate_values"]["3"], trial["values"]);
    }
    let front = folder.json("best --storage s.db --json");
    for trial in front.as_array().unwrap() {
        assert_eq!(keys(trial), ["number", "values", "params", "objectives"]);
        assert_eq!(trial["objectives"], json!({"loss": trial["values"][0], "size": trial["values"][1]}));
    }
}

#[test]
fn lines_of_the_first_value_alone_are_stored_and_not_judged() {
    // The line before the last may be the values, which shows only when another follows.
    let folder = script("echo 1 $HPT_TRIAL_NUMBER; echo 2 $HPT_TRIAL_NUMBER; echo 7 7\n");
    search(&folder, "--trials 8").ok();
    for trial in trials(&folder, "s.db") {
        assert_eq!((&trial["state"], &trial["values"]), (&json!("complete"), &json!([7.0, 7.0])));
        assert_eq!(keys(&trial["intermediate"]), ["1", "2"]);
        assert!(trial.get("intermediate_values").is_none(), "{trial}");
    }
}

#[test]
fn what_was_reported_last_is_the_result_when_the_time_is_up() {
    let folder = script(
        "case $HPT_TRIAL_NUMBER in 0) echo 1 0.5 3; echo 2 0.25 4;; 1) echo 1 0.5; echo more;; *) echo constraint n 9; echo 1 2 3;; esac\nsleep 900\n",
    );
    search(&folder, "--trials 2 --pruner none --trial-time-limit 3s").ok();
    let all = trials(&folder, "s.db");
    let late = "the trial's time limit of 3 s";
    assert_eq!((&all[0]["values"], &all[0]["ended_by"]), (&json!([0.25, 4.0]), &json!(late)));
    assert_eq!(all[1]["failed_because"], format!("killed at {late}, with values of the first objective alone"));
    assert!(folder.run("trials --storage s.db").ok().out.contains(&format!("complete: {late}")));
    let words = "--study c --trials 3 --pruner none --trial-time-limit 3s --constraint m<=5";
    let said = search(&folder, words).fails(1, &["no trial was completed"]).err;
    assert!(said.contains("it says nothing of `m`"), "{said}");
}

#[test]
fn lines_with_commas_are_reports_and_those_of_another_length_are_counted() {
    let folder = script("echo 1 0.5,0.3; echo 2 0.5 0.2 0.1; echo 3, 0.4, 0.2; echo 7,7\n");
    let ran = search(&folder, "--trials 3 --pruner none").ok();
    let said = "3 lines of numbers were no intermediate values: the form is `step v1 v2`, the step a whole number";
    assert_eq!(ran.err.matches(said).count(), 1, "{}", ran.err);
    for trial in trials(&folder, "s.db") {
        assert_eq!(trial["values"], json!([7.0, 7.0]));
        assert_eq!(trial["intermediate_values"], json!({"1": [0.5, 0.3], "3": [0.4, 0.2]}));
    }
    // As many numbers as objectives are the values, where nothing follows.
    folder.write("o.sh", "echo 1 2 3 4; echo 1 2 3\n");
    let words = "search --space space.toml --storage t.db --direction minimize,minimize,minimize --trials 2 --command";
    let ran = folder.run_words(&[words.split(' ').collect(), vec!["sh o.sh {x}"]].concat()).ok();
    assert!(!ran.err.contains("lines of numbers"), "{}", ran.err);
    assert_eq!(trials(&folder, "t.db")[0]["intermediate_values"], json!({"1": [2.0, 3.0, 4.0]}));
}

#[test]
fn what_ends_a_study_and_what_it_is_called_fit_its_objectives() {
    let folder = script("echo 1 1\n");
    let both = |more: &str, parts: &[&str]| {
        search(&folder, more).fails(2, parts);
        folder.run(&format!("search --metric accuracy,parameters {more}")).fails(2, parts);
    };
    both("--stop-at 0.5", &["--stop-at has 1 value, and there are 2 objectives", "with commas"]);
    both("--stop-regret-bound 0.5", &["--stop-regret-bound goes with one objective alone", "leave it out"]);
    folder.run("search --stop-at 0.5,1").fails(2, &["--stop-at has 2 values, and there is 1 objective"]);
    folder.write("s.toml", "metric = [\"accuracy\", \"parameters\"]\n[search]\nstop_at = 0.5\n");
    folder.run("search s.toml").fails(2, &["s.toml:3:11: [search] stop_at has 1 value"]);
    let twice = "--metric: a is named twice (the second time in place 2)";
    search(&folder, "--metric a,a").fails(2, &[twice]);
    let create = "create-study --storage s.db --study two --direction minimize,maximize --metric";
    folder.run(&format!("{create} a,a")).fails(2, &[twice]);
    assert_eq!(folder.names(), ["o.sh", "s.toml", "space.toml"], "nothing is left behind");
    search(&folder, "--trials 4 --stop-at 2,2").ok();
    assert_eq!(trials(&folder, "s.db").len(), 1);
}

#[test]
fn a_search_names_its_objectives_as_best_does() {
    let folder = script(TRADE);
    let found = search(&folder, "--metric loss,size --trials 4 --pruner none --json").json();
    let front = folder.json("best --storage s.db --json");
    assert_eq!((&found["best"], &found["top"]), (&front, &front));
    let words = "search --data digits --epochs 1 --trials 3 --metric accuracy,parameters --storage d.db --json";
    let found = folder.json(words);
    assert_eq!(found["best"], folder.json("best --storage d.db --json"));
    for trial in found["top"].as_array().unwrap() {
        let named = json!({"accuracy": trial["values"][0], "parameters": trial["values"][1]});
        assert_eq!(trial["objectives"], named);
    }
}

#[test]
fn ask_and_tell_take_all_values_of_a_step() {
    let folder = script("");
    let create =
        "create-study --storage s.db --study two --direction minimize,maximize --metric loss,speed --space space.toml";
    let pruner = "--pruner threshold --pruner-option";
    folder.run(&format!("{create} {pruner} upper.los=2")).fails(2, &["upper.los", "did you mean `loss`"]);
    folder.run(&format!("{create} {pruner} warmup.loss=2")).fails(2, &["only lower and upper"]);
    folder.run(&format!("{create} {pruner} lower.speed=2")).ok();
    folder.run("ask --storage s.db").ok();
    let tell = |more: &str| folder.run(&format!("tell --storage s.db --number 0 {more}"));
    let told = tell("--step 1 --values 1,5 --json").json();
    assert_eq!((&told["values"], &told["should_prune"]), (&json!([1.0, 5.0]), &json!(false)));
    assert_eq!(tell("--step 2 --values 1,1 --json").json()["should_prune"], true);
    let said = tell("--step 3 --value 0.5").ok().out;
    assert!(said.contains("pruners judge what is told of all objectives"), "{said}");
    tell("--step 4 --values 1").fails(2, &["trial 0: 1 value for 2 objectives"]);
    tell("--step 4").fails(2, &["--value", "missing"]);
    tell("--step 4 --state fail").fails(2, &["exclude each other"]);
    tell("--values 0.5,6").ok();
    let add = ["add-trial", "--storage", "s.db", "--params-of", "0", "--values", "1,2", "--intermediate"];
    folder.run_words(&[&add[..], &["{\"1\": [1, 2], \"2\": [0.5, 3]}"]].concat()).ok();
    for (wrong, said) in [("[1, 2, 3]", "step 7 has 3 values"), ("0.6", "step 7 has 1 value")] {
        let text = format!("{{\"1\": [1, 2], \"7\": {wrong}}}");
        let parts = ["--intermediate", said, "for 2 objectives", "'{\"7\": [0.1, 0.2]}'"];
        folder.run_words(&[&add[..], &[&text]].concat()).fails(2, &parts);
    }
    let all = trials(&folder, "s.db");
    assert_eq!(all[0]["intermediate_values"], json!({"1": [1.0, 5.0], "2": [1.0, 1.0]}));
    assert_eq!(all.len(), 2);
    assert_eq!(all[1]["intermediate_values"], json!({"1": [1.0, 2.0], "2": [0.5, 3.0]}));
    assert_eq!(all[1]["intermediate"], json!({"1": 1.0, "2": 0.5}));
    assert_eq!(folder.json("best --storage s.db --json")[0]["objectives"], json!({"loss": 0.5, "speed": 6.0}));
}

#[test]
fn deleted_trials_are_counted_alike_everywhere() {
    let folder = script("echo 1 1\n");
    search(&folder, "--trials 3").ok();
    let table = folder.run("studies --storage s.db").ok().out;
    assert!(!table.contains("deleted") && !table.contains("lost"), "{table}");
    folder.run("delete-trial --storage s.db --number 1").ok();
    let counted = folder.json("studies --storage s.db --json")[0]["trials"].clone();
    let expected =
        json!({"complete": 2, "pruned": 0, "failed": 0, "deleted": 1, "lost": 0, "running": 0, "waiting": 0});
    assert_eq!(counted, expected);
    let said = folder.run("trials --storage s.db").ok().out;
    assert!(said.contains("2 complete, 0 pruned, 0 failed, 1 deleted, 0 lost, 0 running, 0 waiting"), "{said}");
    assert!(folder.run("studies --storage s.db").ok().out.contains("deleted"));
}

#[test]
fn what_breaks_a_constraint_says_so_wherever_it_is_shown() {
    let folder = Folder::new();
    let search =
        "search --data digits --epochs 1 --trials 10 --sampler random --metric accuracy,parameters --storage s.db";
    let words: Vec<&str> = search.split(' ').chain(["--constraint", "parameters <= 9000"]).collect();
    let ran = folder.run_words(&words).ok();
    let all = trials(&folder, "s.db");
    let broken = in_state(&all, "pruned");
    assert!(!broken.is_empty(), "{all:?}");
    for trial in broken {
        let why = trial["pruned_because"].as_str().unwrap();
        assert!(why.starts_with("not trained: it has") && why.ends_with("against parameters <= 9000"), "{why}");
        assert!(trial["constraints"][0].as_f64() > Some(0.0), "{trial}");
        assert!(ran.err.contains(why), "{}", ran.err);
        assert!(folder.run("trials --storage s.db --csv").ok().out.contains(why));
    }
    let kept = in_state(&all, "complete");
    assert!(kept.iter().all(|trial| trial["constraints"][0].as_f64() <= Some(0.0)), "{kept:?}");
    let line = ran.err.lines().find(|line| line.contains("complete")).unwrap();
    let after =
        |name: &str| line.split_whitespace().skip_while(|word| *word != name).nth(1).unwrap_or("-").replace(',', "");
    assert!(["accuracy", "parameters"].iter().all(|name| after(name).parse::<f64>().is_ok()), "{line}");
}

#[test]
fn what_is_too_slow_is_not_trained() {
    let folder = Folder::new();
    let search = "search --data digits --epochs 1 --trials 3 --sampler random --metric accuracy,inference_seconds";
    let words: Vec<&str> = search.split(' ').chain(["--constraint", "inference_seconds <= 1e-9"]).collect();
    let ran = folder.run_words(&words).fails(1, &["no trial keeps the constraints (inference_seconds <= 0.000000001)"]);
    let all = trials(&folder, "hpt-study.db");
    for trial in &all {
        let why = trial["pruned_because"].as_str().unwrap();
        assert!(why.starts_with("not trained: it takes ") && why.contains(" s for 1,000 rows, against"), "{why}");
        assert!(trial["constraints"][0].as_f64() > Some(0.0) && ran.err.contains(why), "{trial}");
        assert_eq!(trial["intermediate"], json!({}), "no epoch");
    }
    assert_eq!(all.len(), 3);
    // What keeps the limit is judged by the time that was measured then.
    let words: Vec<&str> =
        search.split(' ').chain(["--constraint", "inference_seconds <= 10", "--study", "b"]).collect();
    folder.run_words(&words).ok();
    let all = folder.json("trials --study b --json")["trials"].clone();
    let kept = in_state(all.as_array().unwrap(), "complete").len();
    assert!(kept > 0 && all.as_array().unwrap().iter().all(|trial| trial["pruned_because"].is_null()), "{all}");
}

#[test]
fn the_front_says_which_of_its_trials_have_a_model_file() {
    let folder = Folder::new();
    folder.write("few.csv", &classes(60));
    folder.write("s.toml", "[space]\nunits = { int = [1, 6] }\nlearning_rate = { log = [1e-4, 1e-1] }\n");
    let search = "search --data few.csv --space s.toml --layers 1 --epochs 1 --trials 60 --sampler random --pruner none \
                  --metric accuracy,parameters --keep-models 2 --storage s.db --json -q";
    let found = folder.json(search);
    let front = found["best"].as_array().unwrap();
    let kept: Vec<&Json> = front.iter().filter(|trial| !trial["model"].is_null()).collect();
    assert!(front.len() == 3 && (1..=2).contains(&kept.len()), "two files for a front of three: {front:?}");
    for trial in &kept {
        let model = trial["model"].as_str().unwrap();
        assert_eq!(model, format!("few/trial-{}.safetensors", trial["number"]));
        assert!(folder.path(model).is_file());
    }
    assert_eq!(&folder.json("best --storage s.db --json"), &found["best"]);
    // From another folder too, and once everything has moved.
    let other = Folder::new();
    for name in ["s.db", "few"] {
        std::fs::rename(folder.path(name), other.path(name)).unwrap();
    }
    let moved = other.path("s.db").display().to_string();
    let shown = folder.json(&format!("best --json --storage {moved}"));
    let model = shown.as_array().unwrap().iter().find_map(|trial| trial["model"].as_str()).unwrap();
    assert!(model.starts_with(&moved[..moved.len() - 4]) && std::path::Path::new(model).is_file(), "{model}");
    let table = folder.run(&format!("best --storage {moved}")).ok().out;
    assert!(table.contains("  model  ") && table.contains(model) && table.contains("  -  "), "{table}");
}
