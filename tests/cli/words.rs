//! Help, versions, completions, unknown words, closed pipes.

use super::*;

#[rustfmt::skip]
const VERBS: [&str; 20] = [
    "search", "train", "evaluate", "predict", "studies", "trials", "best", "importance", "compare", "create-study", "copy-study", "delete-study",
    "ask", "tell", "enqueue", "add-trial", "delete-trial", "devices", "bench", "completions",
];

#[test]
fn without_arguments_it_says_what_it_does() {
    let ran = Folder::new().run("").ok();
    assert_eq!(ran.err, "");
    for verb in VERBS {
        assert!(ran.out.contains(&format!("  {verb} ")), "{verb} in {}", ran.out);
    }
    assert!(ran.out.contains("hpt-engine search"), "{}", ran.out);
    let wide = ran.out.lines().map(|line| line.chars().count()).max();
    assert!(wide <= Some(100), "{wide:?} columns");
}

#[test]
fn every_verb_has_help_in_both_forms() {
    let folder = Folder::new();
    for verb in VERBS {
        let (a, b) = (folder.run(&format!("help {verb}")).ok(), folder.run(&format!("{verb} --help")).ok());
        assert!(a.out.contains(&format!("Usage: hpt-engine {verb}")), "{}", a.out);
        assert!(a.out.contains("--json") && b.out.contains("--json"), "{}", a.out);
        assert_eq!(a.err + &b.err, "");
    }
    assert_eq!(folder.run("--version").ok().out, format!("hpt-engine {}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn every_setting_is_a_flag_of_train_and_search() {
    let folder = Folder::new();
    for verb in ["train", "search"] {
        let help = folder.run(&format!("help {verb}")).ok().out;
        for setting in hpt_engine::settings::SETTINGS {
            let flag = format!("--{}", setting.name.replace('_', "-"));
            let at = help.find(&format!("{flag} ")).or_else(|| help.find(&format!("{flag}[=")));
            let own = &help[at.unwrap_or_else(|| panic!("{flag} in {verb}"))..];
            let own = own.split("\n      --").next().unwrap();
            assert!(own.contains("[default: ") || own.contains("[default:\n"), "what {flag} is by default: {own}");
        }
    }
}

#[test]
fn unknown_words_are_answered_with_the_nearest_known_one() {
    let folder = Folder::new();
    for (words, parts) in [
        ("trian", vec!["`trian` is not known", "did you mean `train`?"]),
        ("dance", vec!["`dance` is not known", "search, train"]),
        ("help trian", vec!["did you mean `train`?"]),
        (
            "train --lerning-rate 1 --data digits",
            vec!["--lerning-rate", "did you mean `--learning-rate`?", "help train"],
        ),
        ("search --trails 5", vec!["--trails", "did you mean `--trials`?"]),
        ("search --sampler randm", vec!["did you mean `random`?"]),
        ("search --acquisition logie", vec!["did you mean `logei`?"]),
        ("create-study --study s --direction minimize --acquisition ie", vec!["did you mean `ei`?"]),
        ("search --pruner medain", vec!["did you mean `median`?"]),
        ("search --metric acuracy", vec!["did you mean `accuracy`?"]),
        ("train --data digts", vec!["did you mean `digits`?"]),
        ("train --data digits --optimizer adm", vec!["--optimizer", "did you mean `adam`?"]),
        ("train --data digits --device gpu", vec!["device", "`gpu`"]),
        ("train", vec!["--data", "missing"]),
        ("train digits", vec!["--data digits"]),
        ("train --data", vec!["--data", "value"]),
        ("train --data digits --seed 1 --seed 1", vec!["--seed", "twice"]),
        ("train --data digits --nesterov true", vec!["--nesterov=true"]),
        ("train --data digits --learning-rate -1", vec!["--learning-rate is `-1`", "above 0"]),
        ("train --data digits --hidden 12,x", vec!["--hidden is `12,x`"]),
        ("train --data digits --test-split 1.5", vec!["--test-split is `1.5`"]),
        ("train --data digits --threads many", vec!["--threads is `many`", "auto"]),
        ("train --data digits --delimiter ;;", vec!["--delimiter is `;;`"]),
        ("train --data digits --units 5 --hidden 5", vec!["--units", "hidden"]),
        ("train --data digits --momentum 0.5", vec!["--momentum", "adam"]),
        ("train --data digits --hidden 9000000,9000000 --epochs 1", vec!["parameters", "GiB are free", "fewer units"]),
        ("train --data digits -q -v", vec!["exclude each other"]),
        ("search --time-limit 10x", vec!["--time-limit is `10x`", "1h30m"]),
        ("search --trials 0", vec!["--trials is `0`"]),
        ("search --enqueue {lr:1}", vec!["--enqueue is `{lr:1}`"]),
        ("completions elvish", vec!["bash, zsh, fish"]),
    ] {
        folder.run(words).fails(2, &parts);
    }
    assert_eq!(folder.names(), [""; 0], "nothing is left behind");
}

#[test]
fn completions_name_every_verb() {
    let folder = Folder::new();
    for shell in ["bash", "zsh", "fish"] {
        let script = folder.run(&format!("completions {shell}")).ok().out;
        for verb in VERBS {
            assert!(script.contains(verb), "{verb} for {shell}");
        }
        assert!(script.contains("learning-rate"), "{shell}");
    }
}

#[test]
fn devices_measure_the_machine() {
    let folder = Folder::new();
    let devices = folder.json("devices --json");
    assert_eq!(keys(&devices), ["cpu", "gpus"]);
    assert_eq!(keys(&devices["cpu"]), ["model", "isa", "cores", "tiers", "caches"]);
    let tiers = devices["cpu"]["tiers"].as_array().unwrap();
    assert_eq!(tiers[0]["isa"], "portable");
    assert_eq!(tiers[0]["precisions"], serde_json::json!(["highest"]));
    assert!(tiers.iter().all(|tier| tier["peak_gflops"].as_f64().unwrap() > 0.1), "{tiers:?}");
    assert!(folder.run("devices").ok().out.contains("GFLOP/s"));
    let wrong = folder.command(&["devices"]).env("HPT_ISA", "avx9").output().unwrap();
    Ran::of(wrong).fails(2, &["HPT_ISA", "avx9", "portable"]);
}

#[cfg(unix)]
#[test]
fn a_reader_that_leaves_is_no_error_and_a_full_disk_is_one() {
    let folder = Folder::new();
    let mut child = folder.start("help search");
    drop(child.stdout.take());
    let ran = Ran::of(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (Some(0), ""));
    let full = std::fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let ran = Ran::of(folder.command(&["devices"]).stdout(full).output().unwrap());
    ran.fails(1, &["standard output", "No space left"]);
}

#[cfg(unix)]
#[test]
fn words_that_are_no_text_are_refused() {
    use std::os::unix::ffi::OsStrExt;
    let folder = Folder::new();
    let strange = std::ffi::OsStr::from_bytes(b"\xff.csv");
    for words in [&[][..], &["train", "--data"], &["search"]] {
        Ran::of(folder.command(words).arg(strange).output().unwrap()).fails(2, &[]);
    }
}

#[test]
fn bench_measures_what_is_named() {
    let folder = Folder::new();
    let report = folder.json("bench 32x64x64 13,000 54-64 --threads 2 --roofline roofline.svg --json");
    let names = |group: &str| -> Vec<String> {
        let rows = report[group].as_array().expect("a list");
        assert!(rows.iter().all(|row| row["one_thread"].as_f64().is_some_and(|rate| rate > 0.0)), "{rows:?}");
        rows.iter().map(|row| row["name"].as_str().unwrap_or_default().to_owned()).collect()
    };
    assert_eq!(names("products"), ["forward 32×64×64", "packed 32×64×64", "dX 32×64×64"]);
    assert_eq!(names("passes"), ["adam 13,000"]);
    assert_eq!(names("steps"), ["54-64-64-7"]);
    assert_eq!(names("evaluations"), ["evaluation 54-64-64-7"]);
    let plot = std::fs::read_to_string(folder.path("roofline.svg")).expect("the plot was written");
    // What lower precisions come to is drawn beside it.
    let lower = report["lower"].as_array().expect("a list");
    assert_eq!(plot.matches("<title>").count(), 6 + lower.len(), "{plot}");
    for row in lower {
        let precision = row["precision"].as_str().expect("a name");
        assert!(plot.contains(&format!("● {precision}")) && plot.contains(&format!(", {precision}<")), "{plot}");
        let beside = row["side_by_side"].as_f64();
        assert_eq!(beside.is_some_and(|rate| rate > 0.0), row["unit"] == "samples/s", "{row}");
        // What is made by units of bf16 has a share of their peak, where there is one.
        assert_eq!(row["share_of_peak"].is_number(), report["bf16_peak_gflops"].is_number(), "{row}");
    }
    folder.run("bench nothing-like-that").fails(2, &["nothing to measure", "`product`"]);

    // Whatever the tier has below `highest` has rows of its own.
    let lower = |report: &Json| {
        let rows = report["lower"].as_array().expect("a list").clone();
        rows.iter()
            .filter(|row| row["batch"] == 128)
            .map(|row| format!("{} {}", row["name"], row["precision"]))
            .collect::<Vec<_>>()
    };
    let cpu = folder.json("devices --json")["cpu"].clone();
    let used =
        cpu["tiers"].as_array().expect("a list").iter().find(|tier| tier["isa"] == cpu["isa"]).expect("it is there");
    let own = used["precisions"].as_array().expect("a list").iter().filter(|name| *name != "highest");
    assert_eq!(lower(&report), own.map(|name| format!("\"54-64-64-7\" {name}")).collect::<Vec<_>>());
    let words = ["bench", "54-64-64", "--threads", "1", "--json"];
    let plain = Ran::of(folder.command(&words).env("HPT_ISA", "portable").output().unwrap()).json();
    assert!(lower(&plain).is_empty(), "{plain}");
}

#[test]
fn a_pass_without_arithmetic_has_no_rate_of_it() {
    let ran = Folder::new().run("bench gather --threads 1").ok();
    let line = |name: &str| ran.out.lines().find(|line| line.starts_with(name)).expect("it is there").to_owned();
    assert!(line("gather of f32").ends_with('–') && !line("gather of bytes").contains('–'), "{}", ran.out);
}

#[test]
fn bench_knows_where_it_can_draw_before_it_measures() {
    let folder = Folder::new();
    folder.write("file", "kept");
    for place in ["nowhere/x.svg", "file/x.svg", "."] {
        let ran = folder.run(&format!("bench sigmoid --threads 1 --roofline {place}"));
        ran.fails(2, &["--roofline", place]);
    }
    folder.run("bench sigmoid --threads 1 --roofline file/x.svg").fails(2, &["file is no folder"]);
    let unnamed = folder.command(&["bench", "sigmoid", "--roofline", ""]).output().unwrap();
    Ran::of(unnamed).fails(2, &["--roofline", "a value is missing"]);
    assert_eq!(folder.names(), ["file"]);
    folder.run("bench nothing-like-that --roofline x.svg").fails(2, &["nothing to measure"]);
    folder.run("bench nothing-like-that --roofline file").fails(2, &["nothing to measure"]);
    assert_eq!(folder.names(), ["file"]);
    assert_eq!(std::fs::read_to_string(folder.path("file")).unwrap(), "kept");
    folder.run("bench --device cpu 512 --roofline x.svg").fails(2, &["--roofline", "--device", "exclude"]);
}

#[cfg(target_os = "linux")]
#[test]
fn the_table_is_printed_where_the_plot_cannot_be_written() {
    let ran = Folder::new().run("bench sigmoid --threads 1 --roofline /dev/full");
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert!(ran.out.contains("GB/s") && ran.out.contains("bias + sigmoid"), "{}", ran.out);
    assert!(ran.err.contains("/dev/full"), "{}", ran.err);
}

#[test]
fn bench_on_a_named_cpu_has_cohorts_alone() {
    // A product's size: on a GPU there is one.
    Folder::new()
        .run("bench --device cpu 512")
        .fails(2, &["nothing has that in its name", "cohort-mixed", "without --device"]);
}

#[test]
fn a_precision_chooses_the_rows_of_bench() {
    let highest = Folder::new().json("bench 54-64-64 --threads 1 --precision highest --json");
    assert_eq!(highest["steps"].as_array().map(Vec::len), Some(1), "{highest}");
    assert_eq!(highest["lower"].as_array().map(Vec::len), Some(0), "{highest}");
    let run = |name: &str, isa: Option<&str>| {
        let folder = Folder::new();
        let words = ["bench", "54-64-64", "--threads", "1", "--json", "--precision", name];
        let mut command = folder.command(&words);
        isa.map(|isa| command.env("HPT_ISA", isa));
        Ran::of(command.output().unwrap())
    };
    run("medium", Some("portable")).fails(2, &["--precision medium", "portable", "it has highest"]);
    let on_device = ["bench", "--device", "cpu", "cohort", "--precision", "high"];
    let ran = Folder::new().command(&on_device).env("HPT_ISA", "portable").output().unwrap();
    Ran::of(ran).fails(2, &["--precision high", "portable", "it has highest"]);
    run("lowest", None).fails(2, &["precision", "lowest"]);
    let cpu = Folder::new().json("devices --json")["cpu"].clone();
    let used = cpu["tiers"].as_array().unwrap().iter().find(|tier| tier["isa"] == cpu["isa"]).unwrap();
    for name in used["precisions"].as_array().unwrap().iter().filter(|name| *name != "highest") {
        let report = run(name.as_str().unwrap(), None).json();
        let lower = report["lower"].as_array().unwrap();
        assert!(lower.len() == 1 && lower[0]["precision"] == *name, "{report}");
        assert!(lower[0]["of_highest"].as_f64().is_some_and(|share| share > 0.0), "{report}");
        assert!(
            ["products", "passes", "steps", "evaluations"]
                .iter()
                .all(|group| report[group].as_array().is_some_and(Vec::is_empty))
        );
    }
}

#[test]
fn one_thread_is_compared_with_nothing() {
    let ran = Folder::new().run("bench 54-64-64 32x64x64 --threads 1").ok();
    assert!(!ran.out.contains("threads") && !ran.out.contains("trainings") && !ran.out.contains('–'), "{}", ran.out);
    assert!(ran.out.contains("evaluation 54-64-64-7"), "{}", ran.out);
    assert!(ran.err.is_empty(), "{}", ran.err);
}
