//! `search --population` as a user meets it.

use super::*;

#[test]
fn a_population_is_trained_from_flags_and_from_a_study_file() {
    let folder = Folder::new();
    let found = folder.json("search --population 4 --epochs 3 --generation-epochs 2 --json");
    assert_eq!(found["trials"]["complete"], 8, "two generations, the second of one epoch");
    let schedule = found["schedule"].as_array().unwrap();
    assert_eq!(schedule[0]["epochs"], serde_json::json!([1, 2]));
    assert_eq!(schedule.last().unwrap()["trial"], found["best"]["number"]);
    let steps = |trial: &Json| trial["intermediate"].as_object().unwrap().keys().cloned().collect::<Vec<_>>();
    let all = trials(&folder, "hpt-study.db");
    assert!(all[..4].iter().all(|trial| steps(trial) == ["1", "2"]));
    assert!(all[4..].iter().all(|trial| steps(trial) == ["3"]));
    // Where each stands in the population.
    for (place, trial) in all.iter().enumerate() {
        assert_eq!(trial["generation"], place as u64 / 4, "{trial}");
        assert!(trial["member"].as_u64() < Some(4) && trial["parent"].is_u64() == (place >= 4), "{trial}");
    }
    folder.write(
        "p.toml",
        "study = \"p\"\n[data]\npath = \"digits\"\n[train]\nepochs = 2\n[search]\npopulation = 3\nexploit = 0.4\n\
         [space]\nlearning_rate = { log = [1e-4, 1e-2] }\n",
    );
    assert_eq!(folder.json("search p.toml --json")["trials"]["complete"], 6);
    let again = folder.json("search p.toml --json");
    assert_eq!(again["trials"]["complete"], 6);
}

#[test]
fn what_a_population_replaces_is_refused() {
    let folder = Folder::new();
    let refused = [
        ("--population 4 --sampler tpe", "--population and --sampler exclude each other"),
        ("--population 4 --trials 9", "--population and --trials exclude each other"),
        ("--population 4 --pruner asha", "--population and --pruner exclude each other"),
        ("--population 1", "--population is `1`; a whole number from 2 on is expected"),
        ("--population 4 --exploit 0.7", "exploit is 0.7; a share above 0, at most 0.5, is expected"),
        ("--exploit 0.3", "--exploit belongs to a population; give --population K as well"),
        ("--population 4 --early-stopping 2", "early_stopping does not combine with a population"),
        ("--population 4 --command true --direction minimize", "--population belongs to the built-in training"),
    ];
    for (flags, message) in refused {
        let ran = folder.run(&format!("search --storage s.db {flags}"));
        assert_eq!(ran.code, Some(2), "{flags}: {}", ran.err);
        assert!(ran.err.contains(message), "{flags}: {}", ran.err);
    }
}

#[cfg(unix)]
#[test]
fn an_interrupt_in_the_first_generation_leaves_a_model() {
    let folder = Folder::new();
    let words = "search --data digits --population 2 --epochs 1000000 --generation-epochs 1000000 --jobs 1 --json -v";
    let mut child = folder.start(words);
    let rest = interrupts::wait_for(&mut child, "trial 0 epoch", "", 2);
    interrupts::signal(&child, "-INT");
    let ran = interrupts::finish(child, rest);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let found: Json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    let left = &found["interrupted"];
    assert!(left["trial"] == 0 && left["epoch"].as_u64() >= Some(2), "{found}");
    assert!(folder.path(left["model"].as_str().unwrap()).is_file());
    assert_eq!((&found["put_back"], &found["best"]), (&serde_json::json!([1]), &Json::Null));
}
