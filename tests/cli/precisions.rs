//! `--precision` and the tiers that `HPT_ISA` names.

use super::*;

const TRAIN: [&str; 10] =
    ["train", "--data", "digits", "--hidden", "192,192", "--epochs", "2", "--json", "--seed", "1"];

/// A training of that tier and precision.
fn train(folder: &Folder, isa: &str, precision: Option<&str>) -> Json {
    let mut words = TRAIN.to_vec();
    words.extend(precision.iter().flat_map(|name| ["--precision", name]));
    Ran::of(folder.command(&words).env("HPT_ISA", isa).output().unwrap()).json()
}

#[test]
fn the_precision_in_force_is_reported() {
    let folder = Folder::new();
    let exact = train(&folder, "amx-emulated", Some("highest"));
    assert_eq!((&exact["precision"], &exact["isa"]), (&Json::from("highest"), &Json::from("amx-emulated")));
    for (isa, asked, expected) in [
        ("amx-emulated", Some("high"), "high"),
        ("amx-emulated", Some("medium"), "medium"),
        ("amx-emulated", None, "high"),
        ("portable", Some("medium"), "highest"),
        ("portable", None, "highest"),
    ] {
        let trained = train(&folder, isa, asked);
        assert_eq!(trained["precision"], expected, "{isa} {asked:?}");
        let loss = |trained: &Json| trained["history"][1]["train_loss"].as_f64().unwrap();
        let ratio = loss(&trained) / loss(&exact) - 1.0;
        assert!(ratio.abs() < 0.02, "{isa} {asked:?}: {ratio}");
        assert!(isa == "portable" || ratio != 0.0, "{isa} {asked:?} did what highest does");
    }
}

#[test]
fn a_tier_that_is_not_there_is_refused() {
    let folder = Folder::new();
    let wrong = |isa| Ran::of(folder.command(&TRAIN).env("HPT_ISA", isa).output().unwrap());
    wrong("amx512").fails(2, &["HPT_ISA", "amx512", "known: portable"]);
    if !folder.json("devices --json")["cpu"]["tiers"].as_array().unwrap().iter().any(|tier| tier["isa"] == "amx") {
        wrong("amx").fails(2, &["HPT_ISA", "this machine has no amx"]);
    }
    folder.run("train --data digits --precision hihg").fails(2, &["hihg", "high"]);
}

#[test]
fn a_study_warns_when_its_precision_changes() {
    let folder = Folder::new();
    let search = |isa: &str, trials: &str| {
        let words = ["search", "--data", "digits", "--epochs", "1", "--trials", trials, "--precision", "medium"];
        Ran::of(folder.command(&words).env("HPT_ISA", isa).output().unwrap()).ok().err
    };
    assert!(!search("portable", "1").contains("this study began"));
    let warned = search("amx-emulated", "2");
    assert!(warned.contains("cpu/portable/highest") && warned.contains("cpu/amx-emulated/medium"), "{warned}");
}
