//! Several objectives from the command line: programs that report all of them, `ask` and `tell`, names, reasons, counts.

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
    folder.run_words(&[&add[..], &["{\"1\": [1, 2], \"2\": 0.5}"]].concat()).ok();
    folder.run_words(&[&add[..], &["{\"1\": [1, 2, 3]}"]].concat()).fails(2, &["3 values for 2 objectives"]);
    let all = trials(&folder, "s.db");
    assert_eq!(all[0]["intermediate_values"], json!({"1": [1.0, 5.0], "2": [1.0, 1.0]}));
    assert_eq!(all[1]["intermediate_values"], json!({"1": [1.0, 2.0]}));
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
