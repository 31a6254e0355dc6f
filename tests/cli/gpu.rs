//! `--device cuda` through a driver library whose GPUs are an interpreter of the kernels: what a user with a GPU meets,
//! and what one without.

use super::{Folder, Ran, classes, interrupts, keys};
use serde_json::Value as Json;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;

/// The library that stands in for the driver's, built with these tests.
fn library() -> PathBuf {
    let tests = std::env::current_exe().unwrap();
    tests.parent().unwrap().join("libhpt_simdriver.so")
}

/// A folder with a table, and with a driver in `driver/`.
fn folder() -> Folder {
    let folder = Folder::new();
    folder.write("t.csv", &classes(90));
    std::fs::create_dir(folder.path("driver")).unwrap();
    std::os::unix::fs::symlink(library(), folder.path("driver/libcuda.so")).unwrap();
    folder
}

impl Folder {
    /// Runs the program where there are GPUs, as the environment describes them.
    fn with_gpu(&self, environment: &[(&str, &str)], words: &str) -> Ran {
        let words: Vec<&str> = words.split_whitespace().collect();
        let mut command = self.command(&words);
        command.env("LD_LIBRARY_PATH", self.path("driver")).envs(environment.iter().copied());
        Ran::of(command.output().unwrap())
    }
}

const TRAIN: &str =
    "train --data t.csv --hidden 12,12 --dropout 0.1 --batch-size 16 --epochs 3 --json --out m.safetensors";

#[test]
fn devices_lists_gpus_with_what_would_run_on_them() {
    let folder = folder();
    let document = folder.with_gpu(&[("HPT_SIM_GPUS", "2")], "devices --json").json();
    let gpus = document["gpus"].as_array().unwrap();
    assert_eq!(gpus.len(), 2);
    assert_eq!(keys(&gpus[1]), ["index", "name", "memory", "compute_capability", "driver", "module"]);
    let text = |key: &str| gpus[1][key].as_str().unwrap_or("none").to_owned();
    assert_eq!([text("name"), text("compute_capability"), text("driver")], ["Simulated GPU", "9.0", "12.4"]);
    assert_eq!(text("module"), "wgmma90a");
    // Hopper's module is for Hopper and drivers from CUDA 12.0 on.
    for look in [("HPT_SIM_DRIVER", "11080"), ("HPT_SIM_CAPABILITY", "100"), ("HPT_SIM_CAPABILITY", "80")] {
        let document = folder.with_gpu(&[look], "devices --json").json();
        assert_eq!(document["gpus"][0]["module"], "mma80", "{look:?}");
    }
    let human = folder.with_gpu(&[], "devices").ok().out;
    assert!(human.contains("cuda:0  Simulated GPU, 1.0 GiB, compute capability 9.0, CUDA 12.4; kernels "), "{human}");
    let old = folder.with_gpu(&[("HPT_SIM_CAPABILITY", "61")], "devices").ok().out;
    assert!(old.contains("compute capability 6.1, CUDA 12.4; no kernels for it"), "{old}");
}

/// The driver takes seconds to translate a module.
#[test]
fn modules_are_loaded_when_they_are_wanted() {
    let folder = folder();
    let loaded = |words: &str| {
        let ran = folder.with_gpu(&[("HPT_SIM_TELLS", "1")], words).ok();
        let lines = ran.err.lines().filter_map(|line| line.strip_prefix("simulated GPU: a module for "));
        lines.map(|line| line.trim_end_matches(" is loaded").to_owned()).collect::<Vec<String>>()
    };
    let train = |more: &str| loaded(&format!("train --data t.csv --epochs 1 --device cuda --out m {more}"));
    assert_eq!(train("--precision highest --hidden 8"), ["sm_75"]);
    // What fits one multiprocessor needs no products of their own.
    assert_eq!(train("--precision high --hidden 8"), ["sm_75"]);
    let mut two = train("--precision high --hidden 200,200");
    two.sort();
    assert_eq!(two, ["sm_75", "sm_80"]);
    assert_eq!(loaded("check --device cuda --only linear"), ["sm_75"]);
    assert_eq!(loaded("check --device cuda --only 1030-2 --only nothing").len(), 3);
}

#[test]
fn a_training_on_the_gpu_is_that_of_the_cpu() {
    let folder = folder();
    let cpu = folder.json(&format!("{TRAIN} --device cpu --precision highest"));
    let gpu = folder.with_gpu(&[], &format!("{TRAIN} --device cuda --precision highest")).json();
    assert_eq!((gpu["device"].as_str(), gpu["precision"].as_str()), (Some("cuda:0"), Some("highest")));
    for (a, b) in gpu["history"].as_array().unwrap().iter().zip(cpu["history"].as_array().unwrap()) {
        for key in ["train_loss", "validation_loss"] {
            let (a, b) = (a[key].as_f64().unwrap(), b[key].as_f64().unwrap());
            assert!((a - b).abs() < 1e-4, "{key}: {a} {b}");
        }
    }
    // Less shared memory, other modules, memory without pools: the same bits, as long as products are in f32. What fits
    // one multiprocessor of a new GPU is made by launches on an old one.
    let wide = TRAIN.replace("12,12", "60,64").replace("m.s", "w.s").replace("3 --json", "2 --json");
    let losses = |look: &[(&str, &str)]| {
        let ran = folder.with_gpu(look, &format!("{wide} --device cuda --precision highest")).json();
        ran["history"].as_array().unwrap().iter().map(|epoch| epoch["train_loss"].to_string()).collect::<Vec<_>>()
    };
    let newest = losses(&[]);
    for look in ["75", "80", "86", "120"] {
        assert_eq!(losses(&[("HPT_SIM_CAPABILITY", look), ("HPT_SIM_DRIVER", "11040")]), newest, "{look}");
    }
    assert_eq!(losses(&[("HPT_SIM_POOLS", "0")]), newest);
    // The model that it saved gives the same answers on both.
    let rows = |ran: Ran| ran.json()["predictions"].as_array().unwrap().clone();
    let predict = "predict --model m.safetensors --data t.csv --json";
    let on_gpu = rows(folder.with_gpu(&[], &format!("{predict} --device cuda:0")));
    for (a, b) in on_gpu.iter().zip(rows(folder.run(predict))) {
        let of = |row: &Json| row["probability_yes"].as_f64().unwrap();
        assert!((of(a) - of(&b)).abs() < 1e-5, "{a} {b}");
    }
    let measure = "evaluate --model m.safetensors --data t.csv --json";
    let scores = folder.with_gpu(&[], &format!("{measure} --device cuda")).json();
    assert!((scores["loss"].as_f64().unwrap() - folder.json(measure)["loss"].as_f64().unwrap()).abs() < 1e-5);
}

#[test]
fn a_search_goes_to_the_gpu_by_itself_and_goes_on_without_it() {
    let folder = folder();
    let search =
        "search --data t.csv --hidden 8 --epochs 2 --batch-size 16 --seed 1 --storage s.db --out models --json";
    let two = [("HPT_SIM_GPUS", "2")];
    let ran = folder.with_gpu(&two, &format!("{search} --trials 4 --cohort 4 --sampler random")).ok();
    assert!(!ran.err.contains("the CPU is used"), "{}", ran.err);
    let document: Json = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(document["trials"]["complete"].as_u64().unwrap() + document["trials"]["pruned"].as_u64().unwrap(), 4);
    let ran = folder.run(&format!("{search} --trials 5 --sampler random --cohort 2")).ok();
    assert!(ran.err.contains("this study began on cuda:0+cuda:1/"), "{}", ran.err);
    assert!(ran.err.contains("cohort is for GPUs"), "{}", ran.err);
    let ran = folder.with_gpu(&[], "search --data t.csv --hidden 8 --epochs 2 --batch-size 16 --population 3 --storage p.db --out p --json --device cuda");
    assert_eq!(ran.json()["trials"]["complete"], 6);
}

#[test]
fn a_gpu_that_is_not_there_or_cannot_is_said_in_words() {
    let folder = folder();
    let cuda = |environment: &[(&str, &str)], device: &str| {
        folder.with_gpu(environment, &format!("train --data t.csv --epochs 1 --device {device}"))
    };
    folder.run("train --data t.csv --device cuda").fails(2, &["no CUDA driver is on this machine", "use cpu or auto"]);
    folder.run("train --data t.csv --device cuda:x").fails(2, &["`cuda:x`", "cuda:0"]);
    cuda(&[], "cuda:7").fails(2, &["device cuda:7", "there is one GPU, cuda:0"]);
    cuda(&[("HPT_SIM_GPUS", "3")], "cuda:3").fails(2, &["there are 3 GPUs, cuda:0 to cuda:2"]);
    cuda(&[("HPT_SIM_GPUS", "0")], "cuda").fails(2, &["the CUDA driver knows no GPU"]);
    cuda(&[("HPT_SIM_DRIVER", "10020")], "cuda").fails(1, &["version 10.2", "at least 11.4"]);
    cuda(&[("HPT_SIM_CAPABILITY", "60")], "cuda").fails(2, &["Simulated GPU is too old", "7.5"]);
    cuda(&[("HPT_SIM_CAPABILITY", "60")], "cuda:0").fails(1, &["compute capability 6.0 is not supported"]);
    let failing =
        cuda(&[("HPT_SIM_FAILS", "12")], "cuda").fails(1, &["cuda:0 (Simulated GPU)", "CUDA_ERROR_LAUNCH_FAILED"]);
    assert!(failing.err.contains("unspecified launch failure"), "{}", failing.err);
    let busy = [("HPT_SIM_BUSY", "1")];
    cuda(&busy, "cuda")
        .fails(1, &["cuda:0: cannot be used", "CUDA_ERROR_DEVICE_UNAVAILABLE", "another program has it"]);
    let on_cpu = "search --data t.csv --hidden 8 --epochs 1 --trials 2 --storage busy.db --out busy";
    let ran = folder.with_gpu(&busy, on_cpu).ok();
    assert!(ran.err.contains("the CPU is used, no GPU") && ran.err.contains("another program has it"), "{}", ran.err);
    let wide = "train --data t.csv --epochs 1 --hidden 3000,3000 --batch-size 64";
    let small = [("HPT_SIM_MEMORY", "96")];
    folder.with_gpu(&small, &format!("{wide} --device cuda")).fails(2, &["parameters needs", "cuda:0 (Simulated GPU)"]);
    let fallback = folder.with_gpu(&small, &format!("{wide} --device auto --json"));
    assert!(fallback.err.contains("the CPU is used, no GPU"), "{}", fallback.err);
    assert_eq!(fallback.json()["device"], "cpu");
}

/// The comparisons that `cuda/check` makes on a real one.
#[test]
fn check_compares_everything_with_the_oracle() {
    let document = folder().with_gpu(&[], "check --device cuda --json").json();
    assert_eq!((document["agrees"].as_bool(), document["device"].as_str()), (Some(true), Some("cuda:0")));
    let findings = document["findings"].as_array().unwrap();
    let of = |name: &str| findings.iter().filter(|finding| finding["name"].as_str().unwrap().contains(name)).count();
    assert!(findings.len() > 30 && of("medium") > 9 && of("bf16") > 9 && of("high, both kinds") == 2, "{findings:?}");
    assert_eq!((document["comparisons"].as_u64(), &document["next"]), (Some(findings.len() as u64), &Json::Null));
    let on_cpu = Folder::new().run("check").ok();
    assert!(on_cpu.out.contains("cpu: ") && on_cpu.out.contains("agree"), "{}", on_cpu.out);
}

/// A kernel that fails takes the device from its process: what was found stays, and the next process goes on.
#[test]
fn check_goes_on_after_a_kernel_that_fails() {
    let folder = folder();
    let check = |fails: &str, words: &str| {
        folder.with_gpu(&[("HPT_SIM_FAILS", fails)], &format!("check --device cuda --json {words}"))
    };
    let ran = check("40", "");
    assert_eq!(ran.code, Some(1));
    let document: Json = serde_json::from_str(&ran.out).unwrap();
    let findings = document["findings"].as_array().unwrap();
    let (last, before) = findings.split_last().unwrap();
    assert!(last["error"].as_str().unwrap().contains("CUDA_ERROR_LAUNCH_FAILED") && last["agrees"] == false, "{last}");
    assert!(!before.is_empty() && before.iter().all(|finding| finding["agrees"] == true && finding["error"].is_null()));
    assert_eq!(document["next"], findings.len());
    assert!(ran.err.lines().any(|line| line.starts_with(&format!("{} FAILED ", before.len()))), "{}", ran.err);
    let rest = check("100000", &format!("--from {} --only tanh --only gelu", findings.len())).json();
    let names: Vec<&str> = rest["findings"].as_array().unwrap().iter().map(|f| f["name"].as_str().unwrap()).collect();
    assert!(
        names.contains(&"gelu") && names.iter().all(|name| name.contains("gelu") || name.contains("tanh")),
        "{names:?}"
    );
    check("100000", "--only nothing-of-that-name").fails(2, &["no comparison has such a name"]);
}

impl Folder {
    /// `cuda/check` on this program, with a record in this folder.
    fn check_script(&self, environment: &[(&str, &str)], words: &str) -> std::process::Command {
        let mut command = std::process::Command::new("bash");
        command.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/cuda/check")).args(words.split_whitespace());
        command.args(["--record", "record.json"]).current_dir(self.path("."));
        command.env("HPT_CHECK_ENGINE", env!("CARGO_BIN_EXE_hpt-engine")).env("HPT_SIM_MEMORY", "512");
        command.env("LD_LIBRARY_PATH", self.path("driver")).envs(environment.iter().copied());
        command
    }

    fn record(&self) -> Json {
        serde_json::from_str(&std::fs::read_to_string(self.path("record.json")).unwrap()).unwrap()
    }
}

/// Where no GPU can be used each part says why, in words that help; a part that fails does not stop the next one.
#[test]
fn the_check_script_says_what_keeps_it() {
    let folder = folder();
    for (look, code, verdict, why) in [
        (("HPT_SIM_GPUS", "0"), 3, "not run", "there is no GPU"),
        (("HPT_SIM_DRIVER", "11020"), 3, "not run", "at least 11.4 is needed, which is NVIDIA's driver of branch 470"),
        (("HPT_SIM_CAPABILITY", "61"), 1, "failed", "compute capability 6.1 is not supported"),
        (("HPT_SIM_BUSY", "1"), 1, "failed", "another program has it"),
    ] {
        let ran = Ran::of(folder.check_script(&[look], "devices kernels memcheck").output().unwrap());
        assert_eq!(ran.code, Some(code), "{look:?}: {}", ran.err);
        let parts = &folder.record()["parts"];
        assert_eq!((&parts["devices"]["verdict"], &parts["kernels"]["verdict"]), (&verdict.into(), &"not run".into()));
        for part in ["devices", "kernels", "memcheck"] {
            assert!(parts[part]["why"].as_str().unwrap().contains(why), "{look:?}: {part}: {parts}");
        }
    }
    // The device is lost in every process, before it comes to a comparison's end.
    let ran = Ran::of(folder.check_script(&[("HPT_SIM_BUSY", "1")], "kernels load").output().unwrap());
    let parts = &folder.record()["parts"];
    assert!(parts["kernels"]["why"].as_str().unwrap().contains("no process comes to a comparison"), "{}", ran.err);
    assert_eq!((&parts["kernels"]["verdict"], &parts["load"]["verdict"]), (&"failed".into(), &"failed".into()));
    let help = Ran::of(folder.check_script(&[], "--help").output().unwrap());
    assert!(help.code == Some(0) && help.out.contains("--limit SECONDS"), "{}", help.out);
}

/// Whatever ends it, what was found until then is in the record.
#[test]
fn the_check_script_loses_nothing_when_it_is_killed() {
    let folder = folder();
    let mut script = folder.check_script(&[], "devices kernels");
    let mut child = script.stderr(std::process::Stdio::null()).process_group(0).spawn().unwrap();
    let seen = || {
        let text = std::fs::read_to_string(folder.path("record.json")).ok()?;
        let record: Json = serde_json::from_str(&text).ok()?;
        record["parts"]["kernels"]["result"]["made"].as_u64()
    };
    while seen().is_none_or(|made| made < 20) {
        assert!(child.try_wait().unwrap().is_none(), "it has ended before");
        std::thread::yield_now();
    }
    let group = format!("-{}", child.id());
    assert!(std::process::Command::new("kill").args(["-KILL", "--", &group]).status().unwrap().success());
    child.wait().unwrap();
    let parts = &folder.record()["parts"];
    assert_eq!((&parts["devices"]["verdict"], &parts["kernels"]["verdict"]), (&"passed".into(), &"under way".into()));
    let lines = parts["kernels"]["result"]["lines"].as_array().unwrap();
    assert!(lines.len() >= 20 && lines.iter().all(|line| line.as_str().unwrap().contains(" ok ")), "{lines:?}");
}

/// The bugs that compute-sanitizer's tools have to find are bugs.
#[test]
fn planted_bugs_are_found() {
    let folder = folder();
    let planted = |tool: &str| folder.with_gpu(&[("HPT_SIM_RACES", "1")], &format!("check --planted {tool}"));
    for (tool, what) in
        [("memcheck", "outofbounds"), ("initcheck", "uninitialised"), ("racecheck", "race in"), ("synccheck", "mask")]
    {
        let ran = planted(tool);
        assert!(ran.code == Some(1) && ran.err.to_lowercase().contains(what), "{tool}: {}", ran.err);
    }
    planted("memchek").fails(2, &["--planted", "did you mean `memcheck`?"]);
}

/// Values of a study's trials by what was tried.
fn outcome(folder: &Folder, storage: &str) -> Vec<String> {
    let all = folder.json(&format!("trials --storage {storage} --json"));
    let complete = all["trials"].as_array().unwrap().iter().filter(|trial| trial["state"] == "complete");
    let mut list: Vec<String> = complete.map(|trial| format!("{} {}", trial["params"], trial["value"])).collect();
    list.sort();
    list
}

/// What one block makes all steps of, and what is made by launches, at the same time: each as it would be alone.
#[test]
fn networks_of_one_multiprocessor_train_beside_larger_ones() {
    let folder = folder();
    folder.write(
        "s.toml",
        "[space]\nhidden = { choice = [\"8\", \"140,140\"] }\nlearning_rate = { log = [1e-3, 1e-1] }\n",
    );
    let search = |cohort: usize| {
        let words = format!(
            "search --data t.csv --space s.toml --epochs 2 --batch-size 16 --trials 8 --sampler random --pruner none \
             --seed 3 --device cuda --cohort {cohort} --storage {cohort}.db --out {cohort}"
        );
        folder.with_gpu(&[], &words).ok();
        outcome(&folder, &format!("{cohort}.db"))
    };
    let (alone, together) = (search(1), search(8));
    assert!(alone.len() == 8 && ["\"8\"", "140,140"].iter().all(|size| alone.iter().any(|trial| trial.contains(size))));
    assert_eq!(alone, together);
}

/// Pruners, several objectives, constraints, repeats, time limits: the study's business, whatever trains.
#[test]
fn whatever_a_search_can_do_it_does_on_the_gpu() {
    let folder = folder();
    let search = |name: &str, more: &str| {
        let words = format!(
            "search --data t.csv --hidden 8 --batch-size 16 --seed 1 --device cuda --cohort 4 --storage {name}.db \
             --out {name} --json {more}"
        );
        folder.with_gpu(&[], &words).json()
    };
    let pruned = search("a", "--epochs 9 --trials 14 --pruner asha --sampler tpe");
    assert!(pruned["trials"]["pruned"].as_u64().unwrap() > 0, "{}", pruned["trials"]);
    search("b", "--epochs 2 --trials 6 --metric accuracy,parameters");
    let front = folder.json("best --storage b.db --json");
    assert!(front.as_array().is_some_and(|front| !front.is_empty()), "{front}");
    let bounded = search("c", "--epochs 2 --trials 5 --constraint parameters<=100");
    assert!(bounded["best"]["value"].is_number(), "{bounded}");
    let repeated = search("d", "--epochs 2 --trials 3 --repeats 2");
    assert_eq!(repeated["trials"]["complete"], 3);
    let start = std::time::Instant::now();
    let timed = search("e", "--epochs 3 --trials 100000 --time-limit 3s");
    assert!(timed["trials"]["complete"].as_u64().unwrap() > 0 && start.elapsed().as_secs() < 60);
}

/// A signal between two steps of many networks: nothing is half, and the same command makes the study of an undisturbed
/// one.
#[test]
fn a_search_on_the_gpu_that_was_interrupted_goes_on() {
    let (folder, whole) = (folder(), folder());
    let search = "search --data t.csv --hidden 8 --epochs 30 --batch-size 16 --trials 16 --seed 1 --sampler random \
                  --pruner none --device cuda --cohort 4 --storage s.db --out models";
    let words: Vec<&str> = search.split_whitespace().collect();
    let mut command = folder.command(&words);
    command.env("LD_LIBRARY_PATH", folder.path("driver")).stderr(std::process::Stdio::piped());
    let mut child = command.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let rest = interrupts::wait_for(&mut child, "trial", "complete", 2);
    interrupts::signal(&child, "-INT");
    let ran = interrupts::finish(child, rest);
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    let before = outcome(&folder, "s.db");
    assert!((2..16).contains(&before.len()), "{}", ran.err);
    folder.with_gpu(&[], search).ok();
    whole.with_gpu(&[], search).ok();
    let after = outcome(&folder, "s.db");
    assert!(before.iter().all(|trial| after.contains(trial)));
    assert_eq!(after, outcome(&whole, "s.db"));
}
