//! `create-study`, `ask`, `tell`: an objective outside of the program.

use super::*;

const SPACE: &str = "[space]\nx = { float = [-4.0, 4.0] }\nkind = { choice = [\"a\", \"b\"] }\n\
                     depth = { int = [1, 3], when = { kind = \"b\" } }\n";

fn study(folder: &Folder, more: &str) {
    folder.write("space.toml", SPACE);
    let words = format!("create-study --storage s.db --study mine --direction minimize --space space.toml {more}");
    folder.run(&words).ok();
}

#[test]
fn a_loop_from_the_shell() {
    let folder = Folder::new();
    study(&folder, "--seed 5");
    let mut best = f64::INFINITY;
    for number in 0..12 {
        let trial = folder.json("ask --storage s.db --study mine --json");
        assert_eq!(keys(&trial), ["number", "params"]);
        assert_eq!(trial["number"], number);
        let params = &trial["params"];
        assert_eq!(params.get("depth").is_some(), params["kind"] == "b", "only active parameters: {params}");
        let x = params["x"].as_f64().unwrap();
        let value = x * x + params.get("depth").and_then(Json::as_f64).unwrap_or(0.0);
        best = best.min(value);
        let told = folder.json(&format!("tell --storage s.db --study mine --number {number} --value {value} --json"));
        assert_eq!((&told["state"], told["value"].as_f64()), (&Json::from("complete"), Some(value)));
    }
    let found = folder.json("best --storage s.db --study mine --json");
    assert_eq!(keys(&found), ["number", "value", "params"]);
    assert_eq!(found["value"].as_f64(), Some(best));
    let all = trials(&folder, "s.db");
    assert_eq!(in_state(&all, "complete").len(), 12);
    let expected = ["number", "state", "value", "params", "intermediate", "seconds", "started", "finished"];
    assert_eq!(keys(&all[0]), expected);
    let csv = folder.run("trials --storage s.db --csv").ok().out;
    assert!(csv.starts_with("number,state,value,") && csv.lines().count() == 13, "{csv}");
    let studies = folder.json("studies --storage s.db --json");
    assert_eq!((&studies[0]["study"], &studies[0]["trials"]["complete"]), (&Json::from("mine"), &Json::from(12)));
    for (words, part) in [("studies", "mine"), ("trials", "complete"), ("best", "complete")] {
        assert!(folder.run(&format!("{words} --storage s.db")).ok().out.contains(part), "{words}");
    }
}

#[test]
fn the_seed_of_the_study_decides_what_is_asked() {
    let ask = |seed: &str| {
        let folder = Folder::new();
        study(&folder, &format!("--sampler random --seed {seed}"));
        (0..3).map(|_| folder.json("ask --storage s.db --json")["params"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(ask("1"), ask("1"));
    assert_ne!(ask("1"), ask("2"));
}

#[test]
fn intermediate_values_states_and_what_is_refused() {
    let folder = Folder::new();
    study(&folder, "--pruner median");
    folder.run("ask --storage s.db").ok();
    let told = folder.json("tell --storage s.db --number 0 --value -3e-2 --step 1 --json");
    assert_eq!((&told["state"], &told["should_prune"]), (&Json::from("running"), &Json::from(false)));
    folder.run("tell --storage s.db --number 0 --state prune").ok();
    folder.run("ask --storage s.db").ok();
    folder.run("tell --storage s.db --number 1 --state fail").ok();
    folder.run("ask --storage s.db").ok();
    // A value that is no number makes the trial failed.
    assert_eq!(folder.json("tell --storage s.db --number 2 --value nan --json")["state"], "failed");
    let all = trials(&folder, "s.db");
    assert_eq!((&all[0]["state"], &all[0]["value"]), (&Json::from("pruned"), &Json::from(-0.03)));
    assert_eq!(all[0]["intermediate"]["1"], -0.03);
    for (words, parts) in [
        ("--number 0 --value 1", ["trial 0 is pruned", "never change"]),
        ("--number 99 --value 1", ["no trial 99", "3"]),
        ("--number x --value 1", ["--number is `x`", "whole number"]),
        ("--number 0", ["--value", "missing"]),
        ("--number 0 --value one", ["--value is `one`", "a number"]),
        ("--number 0 --state pruned", ["--state: `pruned`", "did you mean `prune`?"]),
        ("--number 0 --value 1 --state fail", ["--value", "exclude each other"]),
        ("--value 1", ["--number", "missing"]),
    ] {
        folder.run(&format!("tell --storage s.db {words}")).fails(2, &parts);
    }
    folder.run("best --storage s.db").fails(2, &["no trial is complete"]);
    folder.run("trials --storage s.db --study minee").fails(2, &["`minee`", "did you mean `mine`?"]);
}

#[test]
fn several_objectives_have_a_front() {
    let folder = Folder::new();
    folder.write("space.toml", SPACE);
    let words = "create-study --storage s.db --study two --direction minimize,maximize --space space.toml";
    folder.run(words).ok();
    for values in ["1,1", "2,2", "3,0"] {
        let number = folder.json("ask --storage s.db --json")["number"].clone();
        folder.run(&format!("tell --storage s.db --number {number} --values {values}")).ok();
    }
    let front = folder.json("best --storage s.db --json");
    let values: Vec<&Json> = front.as_array().unwrap().iter().map(|trial| &trial["values"]).collect();
    assert_eq!(values, [&serde_json::json!([1.0, 1.0]), &serde_json::json!([2.0, 2.0])]);
    let table = folder.run("best --storage s.db").ok().out;
    assert!(table.contains("value_1") && table.contains("2.0000"), "{table}");
    folder.run("ask --storage s.db").ok();
    folder.run("tell --storage s.db --number 3 --values 0,9 --constraints 0.5,-1").ok();
    assert_eq!(folder.json("best --storage s.db --json"), front, "it breaks a constraint");
    folder.run("ask --storage s.db").ok();
    folder.run("tell --storage s.db --number 4 --values -1,x").fails(2, &["--values is `x`"]);
    folder.run("tell --storage s.db --number 4 --value 1").fails(2, &["trial 4", "2 objectives"]);
}

#[test]
fn a_finite_space_ends_and_an_existing_study_is_kept() {
    let folder = Folder::new();
    folder.write("space.toml", "a = { choice = [1, 2] }\nb = { choice = [true, false] }\n");
    let create = "create-study --storage s.db --study grid --direction maximize --space space.toml --sampler grid";
    folder.run(create).ok();
    for number in 0..4 {
        folder.run("ask --storage s.db").ok();
        folder.run(&format!("tell --storage s.db --number {number} --value 1")).ok();
    }
    folder.run("ask --storage s.db").fails(1, &["every configuration"]);
    assert_eq!(folder.json(&format!("{create} --json"))["trials"], 4);
    let other = create.replace("maximize", "minimize");
    folder.run(&other).fails(2, &["grid", "it has: maximize", "asked for: minimize"]);
    folder.write("space.toml", "a = { choice = [1, 2, 3] }\n");
    folder.run(create).fails(2, &["grid", "another space"]);
    folder.run("create-study --storage s.db --study x --direction sideways").fails(2, &["--direction: `sideways`"]);
    folder.write("bad.toml", "[space]\nx = { float = [1.0, -1.0] }\n");
    let bad = "create-study --storage s.db --study x --direction minimize --space bad.toml";
    folder.run(bad).fails(2, &["bad.toml:2:1", "inverted"]);
}

/// The names of the sampler and the pruner that a study keeps.
fn kept(folder: &Folder) -> [String; 2] {
    let storage = hpt_engine::study::Storage::open(folder.path("s.db")).unwrap();
    let method = hpt_engine::study::Study::open(&storage, None).unwrap().begun().unwrap().method;
    [method.sampler, method.pruner]
}

#[test]
fn a_study_goes_on_with_what_it_was_begun_with() {
    let folder = Folder::new();
    folder.write("space.toml", SPACE);
    let search = [
        "search",
        "--command",
        "echo 1 2; echo {x}",
        "--space",
        "space.toml",
        "--direction",
        "minimize",
        "--storage",
        "s.db",
        "--sampler",
        "random",
        "--pruner",
        "threshold",
        "--pruner-option",
        "upper=2.5",
        "--trials",
        "3",
        "--seed",
        "7",
    ];
    folder.run_words(&search).ok();
    assert_eq!(kept(&folder), ["random", "threshold"]);
    // What random proposes next depends on the seed and the slot alone.
    let asked = folder.json("ask --storage s.db --json");
    let other = Folder::new();
    study(&other, "--sampler random --seed 7");
    (0..3).for_each(|_| drop(other.run("ask --storage s.db").ok()));
    assert_eq!(asked, other.json("ask --storage s.db --json"));
    assert_eq!(folder.json("tell --storage s.db --number 3 --step 1 --value 2 --json")["should_prune"], false);
    assert_eq!(folder.json("tell --storage s.db --number 3 --step 2 --value 3 --json")["should_prune"], true);
    // Options win, for once.
    let ran = folder.run("tell --storage s.db --number 3 --step 3 --value 3 --pruner-option upper=4 --json").ok();
    assert!(
        ran.err.contains("the pruner of this study was threshold with upper=2.5; it is threshold with upper=4 now")
    );
    assert_eq!(serde_json::from_str::<Json>(&ran.out).unwrap()["should_prune"], false);
    let ran = folder.run("ask --storage s.db --sampler tpe").ok();
    assert!(
        ran.err.contains("the sampler of this study was random; it is tpe now, for this call alone"),
        "{}",
        ran.err
    );
    folder.run("ask --storage s.db --sampler tpee").fails(2, &["--sampler", "did you mean `tpe`?"]);
    folder.run("ask --storage s.db --acquisition ei --sampler tpe").fails(2, &["tpe has no acquisition"]);
    assert_eq!(kept(&folder), ["random", "threshold"]);
    assert!(!folder.run("ask --storage s.db").ok().err.contains("note"));
    // A search that goes on otherwise says so and is what the study goes on with.
    let words: Vec<&str> = search.iter().map(|word| if *word == "random" { "qmc" } else { word }).collect();
    let ran = folder.run_words(&words).ok();
    assert!(ran.err.contains("the sampler of this study was random; it is qmc now"), "{}", ran.err);
    assert!(!folder.run_words(&words).ok().err.contains("now"));
    assert_eq!(kept(&folder), ["qmc", "threshold"]);
    // The same through `create-study`, which leaves alone what it is not told.
    let create = "create-study --storage s.db --study sleep --direction minimize --space space.toml";
    let create = create.replace("sleep", "echo");
    assert!(!folder.run(&create).ok().err.contains("now"));
    let ran = folder.run(&format!("{create} --pruner median")).ok();
    assert!(ran.err.contains("the pruner of this study was threshold with upper=2.5; it is median now"), "{}", ran.err);
    assert_eq!(kept(&folder), ["qmc", "median"]);
    folder.run(&format!("{create} --seed 8")).fails(2, &["another `seed`", "it has: 7"]);
}

/// What the only study keeps of its pruner's options.
fn kept_options(folder: &Folder) -> Vec<String> {
    let storage = hpt_engine::study::Storage::open(folder.path("s.db")).unwrap();
    let method = hpt_engine::study::Study::open(&storage, None).unwrap().begun().unwrap().method;
    method.pruner_settings.told(&method.pruner)
}

#[test]
fn a_search_that_names_no_method_goes_on_with_that_of_the_study() {
    let folder = Folder::new();
    folder.write("space.toml", SPACE);
    study(&folder, "--sampler random --pruner threshold --pruner-option upper=2.5");
    let name = hpt_engine::study::Storage::open(folder.path("s.db")).unwrap().studies().unwrap().remove(0);
    let search = |more: &str| {
        let words = "search --space space.toml --direction minimize --storage s.db --trials 2 --study";
        let mut words: Vec<&str> = words.split_whitespace().chain([name.as_str()]).collect();
        words.extend(["--command", "echo {x}"].into_iter().chain(more.split_whitespace()));
        folder.run_words(&words)
    };
    let said = |more: &str| search(more).ok().err;
    assert!(!said("").contains(" now"));
    assert_eq!(
        (kept(&folder), kept_options(&folder)),
        (["random", "threshold"].map(String::from), vec!["upper=2.5".into()])
    );
    // An option without the pruner's name is one of the study's pruner.
    assert!(said("--pruner-option lower=-9").contains("it is threshold with lower=-9, upper=2.5 now"));
    assert_eq!(kept_options(&folder), ["lower=-9", "upper=2.5"]);
    search("--pruner-option reduction=2").fails(2, &["--pruner-option", "`reduction` is an option of asha, hyperband"]);
    search("--acquisition ei").fails(2, &["acquisition", "the sampler random has no acquisition"]);
    let err = said("--sampler gp --acquisition ei");
    assert!(err.contains("was random; it is gp with ei now") && !err.contains("pruner of"), "{err}");
    assert!(!said("").contains(" now"));
    // BOHB comes with its pruner, and stays where another one is named later.
    let err = said("--sampler bohb");
    assert!(err.contains("was gp with ei; it is bohb now") && err.contains("it is hyperband now"), "{err}");
    assert!(said("--pruner none").contains("was hyperband; it is none now"));
    assert!(!said("--sampler bohb").contains(" now"));
    assert_eq!(kept(&folder), ["bohb", "none"]);
    // The seed stays too, where none is named.
    search("--seed 8").fails(2, &["another `seed`"]);
    let folder = Folder::new();
    folder.write("space.toml", SPACE);
    study(&folder, "--sampler bohb --seed 5");
    assert_eq!(kept(&folder), ["bohb", "hyperband"]);
    let words = "search --space space.toml --direction minimize --storage s.db --trials 2 --study";
    let words: Vec<&str> = words.split_whitespace().chain([name.as_str(), "--command", "echo {x}"]).collect();
    folder.run_words(&words).ok();
}

#[test]
fn a_search_of_trainings_keeps_its_method_too() {
    let folder = Folder::new();
    let search = |more: &str| folder.run(&format!("search --storage s.db --epochs 2 --jobs 1 {more}")).ok().err;
    search("--trials 1 --sampler random --pruner-option min_resource=2 --pruner-option reduction=4");
    assert!(!search("--trials 2").contains(" now"));
    assert_eq!(
        (kept(&folder), kept_options(&folder)),
        (["random", "asha"].map(String::from), vec!["min_resource=2".into(), "reduction=4".into()])
    );
    // Another pruner begins with what is usual for it.
    assert!(
        search("--trials 3 --pruner hyperband").contains("was asha with min_resource=2, reduction=4; it is hyperband")
    );
    assert_eq!(
        (kept(&folder), kept_options(&folder)),
        (["random", "hyperband"].map(String::from), vec!["max_resource=2".into()])
    );
    assert!(!search("--trials 3 --pruner hyperband").contains(" now"));
}

#[test]
fn a_trial_that_is_stopped_between_parts_is_worth_their_mean() {
    let folder = Folder::new();
    study(&folder, "--sampler tpe --pruner wilcoxon");
    let tell = |words: &str| folder.run(&format!("tell --storage s.db {words} --json")).json();
    for number in 0..2 {
        folder.run("ask --storage s.db").ok();
        for step in 1..=5 {
            let value = 10.0 + 0.1 * f64::from(step) + f64::from(number);
            let said = tell(&format!("--number {number} --step {step} --value {value}"));
            assert_eq!(said["should_prune"], number == 1 && step > 3, "{said}");
        }
        let end = if number == 0 { "--value 10.3" } else { "--state prune" };
        tell(&format!("--number {number} {end}"));
    }
    let all = trials(&folder, "s.db");
    let value = all[1]["value"].as_f64().unwrap();
    assert!(all[1]["state"] == "pruned" && (value - 11.3).abs() < 1e-12, "{}", all[1]);
    folder.run("ask --storage s.db").ok();
}

#[test]
fn a_table_of_several_objectives_names_them() {
    let folder = Folder::new();
    folder.write("space.toml", SPACE);
    let create = "create-study --storage s.db --study two --direction maximize,minimize --space space.toml";
    folder.run(&format!("{create} --metric accuracy,parameters")).ok();
    (0..2).for_each(|_| drop(folder.run("ask --storage s.db").ok()));
    folder.run("tell --storage s.db --number 0 --values 0.5,900").ok();
    folder.run("tell --storage s.db --number 1 --step 1 --values 0.25,800").ok();
    folder.run("tell --storage s.db --number 1 --state prune").ok();
    let table = folder.run("trials --storage s.db").ok().out;
    let lines: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().collect()).collect();
    assert_eq!(lines[0], ["trial", "state", "accuracy", "parameters", "time", "configuration"]);
    assert_eq!(
        (&lines[1][..4], &lines[2][..7]),
        (&["0", "complete", "0.5000", "900"][..], &["1", "pruned:", "after", "step", "1", "0.2500", "800"][..])
    );
}

#[test]
fn an_acquisition_belongs_to_a_gaussian_process() {
    let folder = Folder::new();
    folder.write("space.toml", SPACE);
    folder.run("create-study --storage s.db --study t --direction minimize --space space.toml --sampler tpe").ok();
    let said = ["--acquisition", "the sampler tpe has no acquisition"];
    folder.run("ask --storage s.db --acquisition pi").fails(2, &said);
    folder.run("ask --storage s.db --sampler gp --acquisition pi").ok();
    assert_eq!(trials(&folder, "s.db").len(), 1, "what is refused takes no trial");
}

#[test]
fn what_a_study_has_need_not_be_said_again() {
    let folder = Folder::new();
    folder.write("space.toml", SPACE);
    let create = "create-study --storage s.db --study mine --direction maximize --metric gain --space space.toml";
    folder.run(create).ok();
    let search = ["search", "--command", "echo 1 2; echo {x}", "--storage", "s.db", "--study"];
    let with = |more: &[&'static str]| folder.run_words(&[&search[..], more].concat());
    let ran = with(&["mine", "--trials", "4", "--json"]);
    // Nobody had said a sampler or a pruner: those of a search.
    assert!(!ran.err.contains(" now"), "{}", ran.err);
    assert_eq!(kept(&folder), ["auto", "asha"]);
    let found = ran.json();
    assert_eq!((&found["direction"], &found["metric"]), (&"maximize".into(), &"gain".into()));
    assert_eq!(found["trials"]["complete"], 4);
    with(&["other", "--trials", "4"]).fails(2, &["a command needs a space"]);
    with(&["other", "--trials", "4", "--space", "space.toml"]).fails(2, &["--direction is missing"]);
    with(&["mine", "--direction", "minimize"]).fails(2, &["other directions"]);
}

#[test]
fn what_nobody_said_of_a_study_stays_unsaid() {
    let folder = Folder::new();
    folder.write("space.toml", SPACE);
    let create = "create-study --storage s.db --study mine --direction minimize --space space.toml";
    let attributes = || {
        let storage = hpt_engine::study::Storage::open(folder.path("s.db")).unwrap();
        let begun = hpt_engine::study::Study::open(&storage, None).unwrap().begun().unwrap();
        (begun.sampler, begun.pruner)
    };
    folder.run(create).ok();
    assert_eq!(attributes(), (false, false));
    folder.run("ask --storage s.db").ok();
    let told = folder.json("tell --storage s.db --number 0 --step 1 --value 9 --json");
    assert_eq!(told["should_prune"], false);
    folder.run("tell --storage s.db --number 0 --value 9").ok();
    assert!(!folder.run(&format!("{create} --sampler random")).ok().err.contains("now"), "nothing was said before");
    assert_eq!((attributes(), kept(&folder)), ((true, false), ["random", "none"].map(String::from)));
    let search = "search --storage s.db --study mine --trials 3 --command";
    let words: Vec<&str> = search.split(' ').chain(["echo 1 2; echo {x}"]).collect();
    let ran = folder.run_words(&words).ok();
    assert!(!ran.err.contains(" now"), "{}", ran.err);
    assert_eq!((attributes(), kept(&folder)), ((true, true), ["random", "asha"].map(String::from)));
}
