//! Studies changed by hand, warm starts, and the rules that end a study.

use super::*;
use serde_json::json;

/// A folder with a study `mine` of some trials of x², x in −4 … 4.
fn folder(trials: u64) -> Folder {
    let folder = Folder::new();
    folder.write("space.toml", "[space]\nx = { float = [-4.0, 4.0] }\nkind = { choice = [\"a\", \"b\"] }\n");
    folder.write("o.sh", "echo $1 | awk '{print $1 * $1}'\n");
    search(&folder, "s.db", &format!("--study mine --trials {trials}"));
    folder
}

fn search(folder: &Folder, storage: &str, more: &str) -> (Json, String) {
    let mut words = vec!["search", "--storage", storage, "--space", "space.toml", "--direction", "minimize", "--json"];
    words.extend(["--sampler", "random", "--command", "sh o.sh {x}"]);
    words.extend(more.split_whitespace().filter(|_| !more.is_empty()));
    let ran = folder.run_words(&words);
    let said = ran.err.clone();
    (ran.json(), said)
}

/// How many trials a search counts as complete, pruned and failed.
fn finished(found: &Json) -> [u64; 3] {
    ["complete", "pruned", "failed"].map(|state| found["trials"][state].as_u64().unwrap())
}

#[test]
fn results_are_added_and_configurations_enqueued() {
    let folder = folder(3);
    let add = |params: &str, more: &str| {
        let mut words = vec!["add-trial", "--storage", "s.db", "--params", params];
        words.extend(more.split_whitespace());
        folder.run_words(&words)
    };
    let added = add("{\"x\": 0.5, \"kind\": \"b\"}", "--value 0.01 --intermediate {\"1\":0.3} --json").json();
    assert_eq!(
        (&added["number"], &added["state"], &added["intermediate"]),
        (&json!(3), &json!("complete"), &json!({"1": 0.3}))
    );
    assert_eq!(folder.json("best --storage s.db --json")["number"], 3);
    add("{\"x\": 1, \"kind\": \"b\"}", "--state fail").ok();
    assert_eq!(trials(&folder, "s.db")[4]["state"], "failed");
    folder.run_words(&["enqueue", "--storage", "s.db", "--params", "{\"x\": 2}"]).ok();
    // Three of its own, two added: one more is the total of six, and that is the one that waits.
    let (found, _) = search(&folder, "s.db", "--study mine --trials 6");
    assert_eq!(finished(&found), [5, 0, 1]);
    let last = &trials(&folder, "s.db")[5];
    assert_eq!((&last["params"]["x"], &last["value"]), (&json!(2.0), &json!(4.0)));
    for (params, more, parts) in [
        ("{\"x\": 0.5}", "--value 1", ["parameter kind", "no value is given"]),
        ("{\"x\": 9, \"kind\": \"a\"}", "--value 1", ["parameter x", "outside its domain"]),
        ("{\"y\": 9}", "--value 1", ["`y` is not known", "x"]),
        ("{x}", "--value 1", ["--params is `{x}`", "as in"]),
        ("{\"x\": 1, \"kind\": \"a\"}", "", ["--value", "missing"]),
        ("{\"x\": 1, \"kind\": \"a\"}", "--state complete", ["--state complete", "needs --value"]),
        ("{\"x\": 1, \"kind\": \"a\"}", "--state fail --value 1", ["--state fail", "exclude each other"]),
        ("{\"x\": 1, \"kind\": \"a\"}", "--values 1,2", ["2 values", "1 objective"]),
    ] {
        add(params, more).fails(2, &parts);
    }
    let said = add("{\"x\": 1, \"kind\": \"a\"}", "--state complete --value 2 --json").json();
    assert_eq!((&said["state"], &said["value"]), (&json!("complete"), &json!(2.0)));
    folder.run("add-trial --storage s.db --value 1").fails(2, &["--params", "--params-of"]);
    folder.run("add-trial --storage s.db --params-of 77 --value 1").fails(2, &["no such trial", "7 trials"]);
}

#[test]
fn a_deleted_trial_is_passed_over_and_its_place_stays_taken() {
    let folder = folder(6);
    let before = trials(&folder, "s.db");
    let best = folder.json("best --storage s.db --json")["number"].as_u64().unwrap();
    folder.run(&format!("delete-trial --storage s.db --number {best} --reason wrong")).ok();
    let next = folder.json("best --storage s.db --json");
    assert_ne!(next["number"], best);
    let table = folder.run("trials --storage s.db").ok().out;
    assert!(table.contains("1 deleted") && table.contains("deleted: wrong "), "{table}");
    assert!(!table.contains("deleted: deleted"), "{table}");
    // Two more than the five that count, in new places: nothing is repeated.
    let (found, _) = search(&folder, "s.db", "--study mine --trials 7");
    assert_eq!((finished(&found), &found["trials"]["deleted"]), ([7, 0, 0], &json!(1)));
    let after = trials(&folder, "s.db");
    assert_eq!(after.len(), 8);
    let x = |trial: &Json| trial["params"]["x"].as_f64().unwrap();
    assert!(after[6..].iter().all(|new| before.iter().all(|old| x(old) != x(new))));
    assert_eq!((&after[best as usize]["state"], &after[best as usize]["value"]), (&json!("failed"), &Json::Null));
    let added = folder.json(&format!("add-trial --storage s.db --params-of {best} --value -7 --json"));
    assert_eq!((&added["params"], &added["value"]), (&before[best as usize]["params"], &json!(-7.0)));
    folder.run(&format!("delete-trial --storage s.db --number {best}")).fails(2, &["deleted already"]);
    folder.run("delete-trial --storage s.db --number 99").fails(2, &["no trial 99"]);
}

#[test]
fn studies_are_copied_and_deleted() {
    let folder = folder(4);
    folder.run("copy-study --storage s.db --to again").ok();
    folder.run("copy-study --storage s.db --study mine --to-storage other.db").ok();
    let names = |storage: &str| {
        let list = folder.json(&format!("studies --storage {storage} --json"));
        list.as_array().unwrap().iter().map(|study| study["study"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!(
        (names("s.db"), names("other.db")),
        (vec!["mine".to_owned(), "again".to_owned()], vec!["mine".to_owned()])
    );
    let of = |words: &str| folder.json(&format!("trials {words} --json"))["trials"].clone();
    let original = of("--storage s.db --study mine");
    assert_eq!((&of("--storage s.db --study again"), &of("--storage other.db")), (&original, &original));
    folder.run("copy-study --storage s.db --study mine --to again").fails(2, &["there is a study `again`"]);
    // A copy goes on as the original would have.
    search(&folder, "other.db", "--study mine --trials 6");
    search(&folder, "s.db", "--study mine --trials 6");
    let params = |list: &Json| list.as_array().unwrap().iter().map(|trial| trial["params"].clone()).collect::<Vec<_>>();
    assert_eq!(params(&of("--storage other.db")), params(&of("--storage s.db --study mine")));
    folder.run("delete-study --storage s.db --study again").fails(2, &["4 trials", "--yes"]);
    assert_eq!(names("s.db").len(), 2);
    folder.run("delete-study --storage s.db --study again --yes").ok();
    assert_eq!(names("s.db"), ["mine"]);
    assert_eq!(of("--storage s.db").as_array().unwrap().len(), 6);
}

#[test]
fn a_warm_start_tries_the_best_of_another_study_first() {
    let folder = folder(12);
    let best = folder.json("best --storage s.db --json")["params"].clone();
    folder.write("space.toml", "[space]\nx = { float = [-4.0, 4.0] }\nrate = { log = [0.1, 1.0] }\n");
    let (_, said) = search(&folder, "n.db", "--study new --trials 5 --warm-start s.db:mine");
    for part in [
        "from `mine`",
        "3 best are tried first",
        "does not learn from values",
        "in common: x",
        "left out: kind",
        "at random: rate",
    ] {
        assert!(said.contains(part), "{part}\n{said}");
    }
    let new = trials(&folder, "n.db");
    assert_eq!(new[0]["params"]["x"], best["x"]);
    // Again: nothing more is taken, and the source is not needed for what was.
    let (_, said) = search(&folder, "n.db", "--study new --trials 6 --warm-start s.db:mine");
    assert!(said.contains("has begun already"), "{said}");
    let words = "search --storage n.db --study b --direction minimize --space space.toml --command true --warm-start";
    folder.run(&format!("{words} none.db")).fails(2, &["none.db", "no such study file"]);
    folder.run(&format!("{words} s.db:other")).fails(2, &["`other` is not known", "mine"]);
}

#[test]
fn rules_end_a_study_and_are_named() {
    let folder = folder(2);
    let (found, _) = search(&folder, "a.db", "--trials 500 --stop-at 1.0");
    assert_eq!(found["stopped_by"], "target");
    assert!(found["best"]["value"].as_f64().unwrap() <= 1.0 && found["trials"]["complete"].as_u64().unwrap() < 100);
    let values =
        |storage: &str| trials(&folder, storage).iter().map(|t| t["value"].as_f64().unwrap()).collect::<Vec<_>>();
    let (last, others) = {
        let mut all = values("a.db");
        (all.pop().unwrap(), all)
    };
    assert!(last <= 1.0 && others.iter().all(|value| *value > 1.0));
    let (found, said) = search(&folder, "b.db", "--trials 500 --patience-trials 4");
    assert_eq!(found["stopped_by"], "no-improvement", "{said}");
    let all = values("b.db");
    let at = (0..all.len()).min_by(|a, b| all[*a].total_cmp(&all[*b])).unwrap();
    assert_eq!(all.len(), at + 5);
    // The built-in training has the same rules, and what ended it is on the screen.
    let ran = folder.run("search --data digits --epochs 2 --trials 50 --stop-at 0.1 --storage d.db").ok();
    assert!(ran.out.contains("ended because the value to stop at was reached"), "{}", ran.out);
    let (found, said) = search(&folder, "e.db", "--trials 500 --stop-regret-bound 0.5");
    assert_eq!(found["stopped_by"], "regret-bound", "{said}");
    assert!((20..200).contains(&found["trials"]["complete"].as_u64().unwrap()), "{found}");
    folder.run("search --stop-regret-bound auto").fails(2, &["--folds 5", "--repeats 3", "regret bound"]);
    folder.run("search --stop-regret-bound small").fails(2, &["--stop-regret-bound is `small`", "`auto`"]);
    folder.run("search --data digits --stop-at high").fails(2, &["--stop-at is `high`", "a number"]);
    folder.run("search --data digits --patience-trials 0").fails(2, &["--patience-trials is `0`", "from 1 on"]);
}

#[test]
fn commands_have_constraints() {
    let folder = Folder::new();
    folder.write("space.toml", "[space]\nx = { float = [-4.0, 4.0] }\n");
    // The smallest x² lies where the constraint forbids it; the line may come after the value, too.
    folder.write("o.sh", "echo $1 | awk '{print $1 * $1; print \"constraint distance\", -$1}'\n");
    let (found, _) = search(&folder, "c.db", "--trials 30 --constraint distance<=-1");
    let best = &found["best"];
    assert!(best["params"]["x"].as_f64().unwrap() >= 1.0 && best["value"].as_f64().unwrap() < 4.0, "{best}");
    assert!(found["top"].as_array().unwrap().iter().all(|trial| trial["params"]["x"].as_f64().unwrap() >= 1.0));
    // A value with a name needs no line of its own.
    let (found, _) = search(&folder, "m.db", "--trials 20 --metric loss --constraint loss>=4");
    assert!(found["best"]["value"].as_f64().unwrap() >= 4.0);
    let words = "search --storage f.db --space space.toml --direction minimize --trials 3 --constraint";
    let run = |constraint: &str| {
        let mut words: Vec<&str> = words.split(' ').collect();
        words.extend([constraint, "--command", "sh o.sh {x}"]);
        folder.run_words(&words)
    };
    run("memory <= 5").fails(1, &["constraint memory VALUE", "no trial was completed that keeps its constraints"]);
    run("memory < 5").fails(2, &["--constraint", "neither <= nor >="]);
    // The same study with other constraints is another study.
    run("distance <= 5").fails(2, &["constraints"]);
}

#[test]
fn a_study_without_a_space_says_which_command_gives_it_one() {
    let folder = Folder::new();
    folder.run("create-study --storage e.db --study bare --direction minimize").ok();
    let command = "hpt-engine create-study --storage e.db --study bare --direction minimize --space FILE.toml";
    let add = ["add-trial", "--storage", "e.db", "--params", "{\"x\": 1}", "--value", "2"];
    folder.run_words(&add).fails(2, &["has no space", command]);
    folder.run_words(&["enqueue", "--storage", "e.db", "--params", "{\"x\": 1}"]).fails(2, &[command]);
    folder.run("ask --storage e.db").fails(2, &[command]);
    folder.write("space.toml", "[space]\nx = { float = [-4.0, 4.0] }\n");
    folder.run(&command.replace("hpt-engine ", "").replace("FILE.toml", "space.toml")).ok();
    folder.run_words(&add).ok();
    let twice = "{\"x\": 1, \"x\": 2}";
    folder.run_words(&["enqueue", "--storage", "e.db", "--params", twice]).fails(2, &["`x` is given twice"]);
    folder.run_words(&["copy-study", "--storage", "e.db", "--to", ""]).fails(2, &["--to is empty"]);
}

#[test]
fn a_study_of_other_objectives_gives_its_best() {
    let folder = folder(6);
    let best = folder.json("best --storage s.db --json")["params"]["x"].clone();
    let words = ["search", "--storage", "n.db", "--space", "space.toml", "--direction", "maximize", "--json"];
    let more = ["--command", "sh o.sh {x}", "--trials", "4", "--sampler", "tpe", "--warm-start", "s.db"];
    let ran = folder.run_words(&[&words[..], &more[..]].concat()).ok();
    assert!(
        ran.err.contains("3 best are tried first, and no more, since its values are of other objectives"),
        "{}",
        ran.err
    );
    assert_eq!(trials(&folder, "n.db")[0]["params"]["x"], best);
}

#[test]
fn reasons_are_shown_wherever_trials_are() {
    let folder = Folder::new();
    folder.write("space.toml", "[space]\nx = { float = [-4.0, 4.0] }\n");
    folder.write("o.sh", "echo bad luck >&2; exit 3\n");
    let words = ["search", "--storage", "s.db", "--space", "space.toml", "--direction", "minimize", "--trials", "1"];
    folder.run_words(&[&words[..], &["--command", "sh o.sh"]].concat());
    let why = "exit code 3: bad luck";
    assert_eq!(trials(&folder, "s.db")[0]["failed_because"], why);
    assert!(folder.run("trials --storage s.db").ok().out.contains(&format!("failed: {why}")));
    let csv = folder.run("trials --storage s.db --csv").ok().out;
    assert!(csv.lines().next().unwrap().ends_with(",reason") && csv.contains(why), "{csv}");
}

/// What a study was created with need not be said again.
#[test]
fn a_search_goes_by_the_metrics_of_its_study() {
    let folder = Folder::new();
    folder.run("create-study --study e --direction minimize --metric log_loss").ok();
    let found = folder.json("search --data digits --study e --trials 1 --epochs 1 --json");
    assert_eq!((&found["metric"], &found["direction"]), (&"log_loss".into(), &"minimize".into()), "{found}");
    folder.run("create-study --study f --direction maximize,minimize --metric accuracy,parameters").ok();
    let found = folder.json("search --data digits --study f --trials 1 --epochs 1 --json");
    assert_eq!(found["best"][0]["values"].as_array().map(Vec::len), Some(2), "{found}");
}

/// A trial that says nothing of the constraints would be feasible, and the best.
#[test]
fn a_result_from_elsewhere_says_whether_it_keeps_the_constraints() {
    let folder = Folder::new();
    folder.write("space.toml", "[space]\nx = { float = [-4.0, 4.0] }\n");
    folder.write("o.sh", "echo $1 | awk '{print \"constraint distance\", -$1; print $1 * $1}'\n");
    search(&folder, "c.db", "--trials 8 --constraint distance<=-1");
    let number = |words: &str| folder.json(words)["number"].as_u64().unwrap();
    let best = number("best --storage c.db --json");
    let run = |verb: &str, more: &str| {
        let mut words = vec![verb, "--storage", "c.db"];
        words.extend(more.split_whitespace());
        folder.run_words(&words)
    };
    let add = |more: &str| run("add-trial", &format!("--params {{\"x\":-3}} {more}"));
    for (more, parts) in [
        ("--value -9", ["constraints (distance <= -1)", "--constraints distance=X"]),
        ("--value -9 --constraints 1,2", ["2 numbers", "1 constraint: distance <= -1"]),
        ("--value -9 --constraints distanse=3", ["--constraints", "did you mean `distance`"]),
        ("--value -9 --constraints distance=far", ["--constraints distance is `far`", "a number is expected"]),
        ("--value -9 --constraints distance=3,distance=-3", ["--constraints", "says twice what distance is"]),
    ] {
        add(more).fails(2, &parts);
    }
    let added = add("--value -9 --constraints distance=3 --json").json();
    assert_eq!(added["constraints"], json!([4.0]));
    add("--state fail").ok();
    let asked = number("ask --storage c.db --json");
    let tell = |more: &str| run("tell", &format!("--number {asked} {more}"));
    tell("--value -8").fails(2, &["--constraints distance=X"]);
    tell("--value -8 --constraints 0.5").ok();
    assert_eq!(number("best --storage c.db --json"), best);
    let added = add("--value -7 --constraints distance=-3 --json").json();
    assert_eq!(number("best --storage c.db --json"), added["number"].as_u64().unwrap());
    // A value of that name says it itself.
    search(&folder, "m.db", "--trials 3 --metric loss --constraint loss>=4");
    let words = ["add-trial", "--storage", "m.db", "--params", "{\"x\":1}", "--value", "1", "--json"];
    assert_eq!(folder.run_words(&words).json()["constraints"], json!([0.75]));
}

#[test]
fn a_search_goes_on_with_the_constraints_of_its_study() {
    let folder = Folder::new();
    folder.write("space.toml", "[space]\nx = { float = [-4.0, 4.0] }\n");
    folder.write("o.sh", "echo $1 | awk '{print \"constraint distance\", -$1; print $1 * $1}'\n");
    search(&folder, "c.db", "--trials 4 --constraint distance<=-1");
    let (found, _) = search(&folder, "c.db", "--trials 8");
    assert_eq!(finished(&found), [8, 0, 0]);
    assert!(
        trials(&folder, "c.db").iter().all(|trial| trial["constraints"].as_array().is_some_and(|all| all.len() == 1))
    );
    let words = "search --data digits --epochs 1 --storage d.db --json --trials";
    folder.run(&format!("{words} 1 --constraint parameters<=1e6")).ok();
    assert_eq!(folder.json(&format!("{words} 2"))["trials"]["complete"], 2);
    folder.run(&format!("{words} 3 --constraint parameters<=5e5")).fails(2, &["another `constraints`"]);
}

/// What was given is tried, whatever the sampler would have proposed for the rest.
#[test]
fn a_parameter_that_is_enqueued_exists() {
    let folder = Folder::new();
    let space = "[space]\nkind = { choice = [\"a\", \"b\", \"c\"] }\nm = { float = [0, 1], when = { kind = [\"b\", \"c\"] } }\n\
                 n = { int = [0, 9], when = { kind = \"a\" } }\nlayers = { int = [1, 6] }\n\
                 units = { int = [1, 8], each = \"layers\" }\n";
    folder.write("space.toml", space);
    folder.run("create-study --storage q.db --study q --direction minimize --space space.toml --seed 5").ok();
    let enqueue = |params: &str| folder.run_words(&["enqueue", "--storage", "q.db", "--params", params]);
    (0..6).for_each(|_| drop(enqueue("{\"m\": 0.75, \"units_4\": 3}").ok()));
    let mut kinds = std::collections::BTreeSet::new();
    for _ in 0..6 {
        let params = folder.json("ask --storage q.db --json")["params"].clone();
        assert_eq!((&params["m"], &params["units_4"]), (&json!(0.75), &json!(3)), "{params}");
        assert!(params["layers"].as_u64().unwrap() >= 5, "{params}");
        kinds.insert(params["kind"].to_string());
    }
    assert_eq!(kinds.len(), 2, "{kinds:?}");
    enqueue("{\"m\": 0.5, \"n\": 3}").fails(2, &["m, n", "no value of kind"]);
    enqueue("{\"kind\": \"a\", \"m\": 0.5}").fails(2, &["parameter m", "does not exist"]);
    let words = ["search", "--storage", "q.db", "--study", "q", "--command", "echo 1", "--trials", "2", "--enqueue"];
    folder.run_words(&[&words[..], &["{\"m\": 0.5, \"n\": 3}"]].concat()).fails(2, &["--enqueue", "no value of kind"]);
}

/// Samplers pass over what does not fit, so a study of trials that do not is refused.
#[test]
fn a_space_that_the_trials_of_a_study_do_not_fit_is_refused() {
    let folder = Folder::new();
    folder.write("full.toml", "[space]\nx = { float = [-4.0, 4.0] }\nz = { float = [0.0, 1.0] }\n");
    folder.write("less.toml", "[space]\nx = { float = [-4.0, 4.0] }\n");
    folder.write("more.toml", "[space]\nx = { float = [-4, 4] }\nz = { float = [0, 1] }\nw = { float = [0, 1] }\n");
    folder.write("narrow.toml", "[space]\nx = { float = [-4.0, 4.0] }\nz = { float = [0.0, 0.5] }\n");
    let create = |space: &str| {
        folder.run(&format!("create-study --storage s.db --study s --direction minimize --space {space}.toml"))
    };
    create("full").ok();
    let add = |z: f64, more: [&str; 2]| {
        let params = json!({"x": 1.0, "z": z}).to_string();
        folder.run_words(&[&["add-trial", "--storage", "s.db", "--params", &params][..], &more].concat()).ok();
    };
    add(0.25, ["--value", "1"]);
    add(0.75, ["--value", "2"]);
    add(0.8, ["--state", "fail"]);
    // As Optuna leaves a study.
    let file = rusqlite::Connection::open(folder.0.path().join("s.db")).unwrap();
    file.execute("DELETE FROM study_system_attributes WHERE key = 'hpt:space'", []).unwrap();
    for (space, parts) in [
        ("less", ["trial 0: parameter: `z` is not known", "0 of 2 trials with a result fit", "--warm-start s.db:s"]),
        ("more", ["trial 0: parameter w: no value", "0 of 2", "all their parameters"]),
        ("narrow", ["trial 1: parameter z: `0.75` is outside", "1 of 2", "all their parameters"]),
    ] {
        create(space).fails(2, &parts);
    }
    let words = "search --storage s.db --study s --direction minimize --trials 4 --space less.toml --command true";
    folder.run(words).fails(2, &["trial 0: parameter: `z`"]);
    // Nothing is kept of what was refused.
    create("full").ok();
}

#[test]
fn what_failed_shows_no_value_and_one_line_is_one() {
    let folder = Folder::new();
    folder.write("space.toml", "[space]\nx = { float = [-4.0, 4.0] }\n");
    let words = ["search", "--storage", "s.db", "--space", "space.toml", "--direction", "minimize", "--trials", "2"];
    let command = "echo 1.5 7; echo 1 5.0; test $HPT_TRIAL_NUMBER = 0 && echo 3 && exit 0; echo 1.5 7; exit 3";
    let said = folder.run_words(&[&words[..], &["--command", command]].concat()).ok().err;
    let failed = said.lines().find(|line| line.contains("failed")).unwrap();
    assert!(failed.contains("value        -") && !failed.contains("5.0"), "{said}");
    assert!(said.contains("3 lines of numbers were no"), "{said}");
    folder.run("delete-study --storage s.db --study echo --yes").ok();
    let said = folder.run_words(&[&words[..7], &["--trials", "1", "--command", command]].concat()).ok().err;
    assert!(said.contains("1 line of numbers was no intermediate value: the form"), "{said}");
}
