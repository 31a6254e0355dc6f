//! `importance`: what matters in a study, and what is said where nothing can be.

use super::*;

/// A study of 12 trials, all complete, and two without any.
fn studies() -> Folder {
    let folder = Folder::new();
    folder.write("data.csv", &numbers(90)).write("space.toml", "[space]\nx = { float = [0, 1] }\n");
    folder.run("search --data data.csv --epochs 2 --trials 12 --pruner none --storage s.db --study one -q").ok();
    folder.run("create-study --storage s.db --study two --direction minimize --space space.toml").ok();
    folder.run("create-study --storage s.db --study both --direction minimize,maximize --space space.toml").ok();
    folder
}

#[test]
fn shares_are_printed_sorted_with_bars_or_as_json() {
    let folder = studies();
    let found = folder.json("importance --storage s.db --study one --pairs --json");
    assert_eq!(keys(&found), ["study", "method", "target", "trials", "parameters", "pairs"]);
    assert_eq!(
        (&found["method"], &found["target"], &found["trials"]["used"]),
        (&"fanova".into(), &"rmse".into(), &12.into())
    );
    let shares: Vec<f64> =
        found["parameters"].as_array().unwrap().iter().map(|row| row["share"].as_f64().unwrap()).collect();
    assert!(shares.len() > 3 && shares.is_sorted_by(|a, b| a >= b) && shares[0] > 0.0, "{shares:?}");
    assert_eq!(keys(&found["parameters"][0]), ["name", "importance", "share", "spread"]);
    assert_eq!(keys(&found["pairs"][0]), ["names", "share", "spread"]);
    assert_eq!(folder.json("importance --storage s.db --study one --pairs --json"), found, "the same seed");

    let top = folder.run("importance --storage s.db --study one --pairs --top 2").ok().out;
    assert_eq!((top.lines().count(), top.matches('×').count()), (9, 2), "{top}");
    assert!(
        top.contains("importance for rmse, fANOVA with 64 trees; 12 of 12 trials used") && top.contains('█'),
        "{top}"
    );
    let best = folder.run("importance --storage s.db --study one --method ped-anova --quantile 0.25 --region 0.5").ok();
    assert!(best.out.contains("PED-ANOVA of the best 25 % against the best 50 %"), "{}", best.out);
    assert!(best.err.contains("the best 25 % are 3 of 12 trials"), "{}", best.err);
    let time = folder.json("importance --storage s.db --study one --target seconds --json");
    assert_eq!(time["target"], "seconds");
}

#[test]
fn what_is_wrong_is_said() {
    let folder = studies();
    for (words, parts) in [
        ("--study one --method fnova", vec!["did you mean `fanova`?"]),
        ("--study one --target rmsse", vec!["--target", "did you mean `rmse`?"]),
        ("--study one --quantile 0", vec!["0 < quantile < region"]),
        ("--study one --region 1.5", vec!["--region is `1.5`"]),
        ("--study one --trees 0", vec!["--trees is `0`"]),
        ("--study one --top 0", vec!["--top is `0`"]),
        ("--study two", vec!["at least 4 trials", "0 of 0 trials used"]),
        ("--study both", vec!["2 objectives", "--target", "value_0, value_1"]),
        ("--study both --target 2", vec!["--target", "`2`", "value_1"]),
        ("--study three", vec!["`three` is not known"]),
        ("", vec!["several studies"]),
    ] {
        folder.run(&format!("importance --storage s.db {words}")).fails(2, &parts);
    }
}
