//! `compare`: what is printed and written, wrong input, an interrupt.

use super::*;

const SMALL: &str = "--samplers random,qmc,tpe --seeds 3 --trials 12";

#[test]
fn a_function_is_compared_as_text_json_and_curves() {
    let folder = Folder::new();
    let ran = folder.run(&format!("compare --function branin {SMALL} --out curves.csv")).ok();
    for part in [
        "branin (minimize): 3 seeds of 12 trials; the optimum is 0.3979",
        "mean best so far",
        "mean rank",
        "Friedman: chi-square(2)",
        "F(2, 4)",
        "random – tpe",
        "p (Holm)",
        "a random, b qmc, c tpe",
    ] {
        assert!(ran.out.contains(part), "{part} in {}", ran.out);
    }
    assert!(ran.err.contains("run 9 of 9"), "{}", ran.err);
    let curves = std::fs::read_to_string(folder.path("curves.csv")).unwrap();
    assert!(curves.starts_with("curve,sampler,x,mean,") && curves.contains("\nseconds,tpe,"), "{curves}");
    let report = folder.json(&format!("compare --function branin {SMALL} --jobs 1 --out all.json --json -q"));
    #[rustfmt::skip]
    assert_eq!(keys(&report), ["problem", "direction", "optimum", "seeds", "trials", "standings", "friedman", "duels", "by_trials", "by_seconds", "stopped_by"]);
    #[rustfmt::skip]
    assert_eq!(keys(&report["standings"][0]), ["sampler", "best", "median", "regret", "mean_rank", "area_trials", "area_seconds", "seconds"]);
    assert_eq!(keys(&report["duels"][0]), ["samplers", "wins", "difference", "p", "p_holm", "exact"]);
    let all: Json = serde_json::from_slice(&std::fs::read(folder.path("all.json")).unwrap()).unwrap();
    assert_eq!((keys(&all), all["runs"].as_array().unwrap().len()), (vec!["report", "runs"], 9));
}

#[test]
fn ranks_that_agree_in_all_seeds_are_said_in_words() {
    let folder = Folder::new();
    let words = "compare --function branin --samplers random,qmc,gp --seeds 2 --trials 25";
    let ran = folder.run(words).ok();
    assert!(ran.out.contains("Iman–Davenport: the ranks agree in all seeds"), "{}", ran.out);
    assert!(!ran.out.contains("= inf") && !ran.out.contains("0.0e0"), "{}", ran.out);
    let test = &folder.json(&format!("{words} --json -q"))["friedman"];
    assert!(test["f"].is_null() && test["f_p"].is_null() && test["p"].is_number(), "{test}");
}

#[test]
fn tables_and_data_are_compared_too() {
    let folder = Folder::new();
    let rows = (0..40).map(|i| format!("{},{},{}\n", ["relu", "tanh"][i % 2], i / 2, (i * 13) % 40));
    folder.write("grid.csv", &("kind,width,error\n".to_owned() + &rows.collect::<String>()));
    let report =
        folder.json("compare --table grid.csv --direction minimize --samplers random,tpe --seeds 4 --trials 10 --json");
    assert_eq!((&report["problem"], report["optimum"].as_f64()), (&"grid".into(), Some(0.0)));
    folder.write("data.csv", &numbers(90)).write("s.toml", "[space]\nlearning_rate = { log = [1e-4, 1e-1] }\n");
    let words = "compare --data data.csv --epochs 1 --space s.toml --samplers random,qmc --seeds 2 --trials 3";
    let ran = folder.run(&format!("{words} --storage kept.db --pruner median")).ok();
    assert!(ran.out.contains("2 seeds of 3 trials") && !ran.out.contains("regret"), "{}", ran.out);
    assert_eq!(folder.json("studies --storage kept.db --json").as_array().unwrap().len(), 4);
    assert_eq!(folder.names(), ["data.csv", "grid.csv", "kept.db", "s.toml"], "models of runs are not kept");
}

#[test]
fn wrong_input_is_answered_before_anything_runs() {
    let folder = Folder::new();
    folder.write("hole.csv", "a,b,v\n1,1,2\n2,1,3\n1,2,4\n");
    let holes = folder.run("compare --table hole.csv --direction minimize --samplers random --seeds 1 --trials 2").ok();
    assert!(holes.err.contains("hole.csv: 3 of 4 points of the grid have a value"), "{}", holes.err);
    std::fs::remove_file(folder.path("hole.csv")).unwrap();
    folder.write("grid.csv", "a,b\n1,2\n2,x\n");
    for (words, parts) in [
        ("", vec!["--data, --table or --function"]),
        ("--function brannin", vec!["--function", "did you mean `branin`?"]),
        ("--function branin --samplers random,tpee", vec!["--samplers", "did you mean `tpe`?"]),
        ("--function branin --samplers tpe,tpe", vec!["named twice"]),
        ("--function branin --data digits", vec!["--function and --data exclude each other"]),
        ("--function branin --direction maximize", vec!["--direction goes with --table alone"]),
        ("--function branin --pruner asha", vec!["--pruner goes with --data alone"]),
        ("--table grid.csv", vec!["--direction is missing"]),
        ("--table grid.csv --direction up", vec!["--direction", "minimize"]),
        ("--table grid.csv --direction minimize", vec!["grid.csv: line 3: b is `x`"]),
        ("--table none.csv --direction minimize", vec!["none.csv", "no such file"]),
        ("--table grid.csv --direction minimize --value c", vec!["`c` is not known"]),
        ("--function branin --seeds 0", vec!["--seeds is `0`"]),
        ("--function branin --out curves.png", vec![".csv or .json"]),
        ("--function branin --out none/curves.csv", vec!["no such folder"]),
        ("--data digits --pruner asha --pruner-option warmup", vec!["--pruner-option", "NAME=X"]),
        ("--data digits --pruner medain", vec!["did you mean `median`?"]),
    ] {
        folder.run(&format!("compare {words}")).fails(2, &parts);
    }
    assert_eq!(folder.names(), ["grid.csv"]);
}

#[cfg(unix)]
#[test]
fn an_interrupt_prints_what_is_there_and_the_same_command_goes_on() {
    use std::io::{BufRead, BufReader, Read};
    let folder = Folder::new();
    let words = "compare --function branin --samplers random,tpe --seeds 200 --trials 40 --jobs 1 --storage s.db";
    let interrupted = |words: &str| {
        let mut child = folder.start(words);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        // After the sixth run three seeds are finished.
        lines.by_ref().map_while(Result::ok).find(|line| line.starts_with("run 6 of 400")).unwrap();
        let killed = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
        assert!(killed.success());
        let said: Vec<String> = lines.map_while(Result::ok).collect();
        let mut out = String::new();
        child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
        assert_eq!(child.wait().unwrap().code(), Some(130));
        (out, said)
    };
    let (out, said) = interrupted(words);
    assert!(out.contains("branin (minimize)") && out.contains("random – tpe"), "{out}");
    assert!(
        said.iter().any(|line| line.contains("interrupted with") && line.contains("goes on from s.db")),
        "{said:?}"
    );
    let (out, _) = interrupted(&words.replace("--storage s.db", "--json"));
    let document: Json = serde_json::from_str(&out).unwrap();
    assert_eq!(document["stopped_by"], "interrupt", "{out}");
    let again = words.replace("--seeds 200", "--seeds 3");
    let whole = again.replace(" --storage s.db", "");
    let best = |words: &str| {
        let report = folder.json(&format!("{words} --json -q"));
        assert_eq!(report["stopped_by"], "trials");
        report["standings"].as_array().unwrap().iter().map(|row| row["best"].clone()).collect::<Vec<_>>()
    };
    assert_eq!(best(&again), best(&whole));
}

#[cfg(unix)]
#[test]
fn an_interrupt_before_a_seed_is_finished_prints_the_same_keys() {
    let folder = Folder::new();
    let words = "compare --function branin --samplers random,gp --seeds 9 --trials 100000 --jobs 1 --json";
    let whole = folder.json(&words.replace("100000", "3"));
    let mut child = folder.start(&format!("{words} --storage s.db --out curves.csv"));
    // The first study has begun when its file is there.
    while !folder.path("s.db").exists() {
        assert!(child.try_wait().unwrap().is_none(), "it ended early");
        std::thread::yield_now();
    }
    interrupts::signal(&child, "-INT");
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let found: Json = serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{error}: {}", ran.out));
    assert_eq!(keys(&found), keys(&whole));
    assert_eq!((&found["problem"], &found["optimum"]), (&whole["problem"], &whole["optimum"]));
    assert_eq!((&found["standings"], &found["stopped_by"]), (&serde_json::json!([]), &"interrupt".into()));
    assert!(ran.err.contains("interrupted with 0 of 9 seeds finished"), "{}", ran.err);
    assert!(!folder.path("curves.csv").exists(), "there are no curves");
}
