//! `train`, `evaluate` and `predict` from end to end.

use super::*;

#[test]
fn a_training_is_described_saved_evaluated_and_used() {
    let folder = Folder::new();
    let trained = folder.json("train --data digits --hidden 64 --epochs 8 --seed 3 --learning-rate 3e-3 --json");
    #[rustfmt::skip]
    let expected = [
        "task", "rows", "features", "classes", "class_names", "parameters", "device", "isa", "threads", "precision",
        "epochs_run", "epoch", "seconds", "samples_per_second", "train", "validation", "test", "history", "model",
    ];
    assert_eq!(keys(&trained), expected);
    assert_eq!(keys(&trained["rows"]), ["train", "validation", "test"]);
    let rows: u64 = ["train", "validation", "test"].iter().map(|part| trained["rows"][*part].as_u64().unwrap()).sum();
    assert_eq!((rows, trained["classes"].as_u64()), (1797, Some(10)));
    assert_eq!((&trained["task"], &trained["device"]), (&Json::from("classification"), &Json::from("cpu")));
    for set in ["train", "validation", "test"] {
        for metric in ["loss", "accuracy", "macro_f1", "auc"] {
            assert!(trained[set][metric].as_f64().unwrap() > 0.0, "{metric} of {set}");
        }
    }
    assert!(trained["test"]["accuracy"].as_f64().unwrap() > 0.9, "{}", trained["test"]);
    let history = trained["history"].as_array().unwrap();
    assert_eq!(history.len(), 8);
    assert_eq!(keys(&history[0]), ["epoch", "learning_rate", "train_loss", "validation_loss", "metric", "seconds"]);
    assert_eq!(trained["model"], "model.safetensors");

    let scores = folder.json("evaluate --model model.safetensors --data digits --json");
    assert_eq!(scores["rows"], 1797);
    assert!(scores["accuracy"].as_f64().unwrap() > 0.93, "{scores}");

    // Which rows it was trained on is known: 1,150 of these, and those that look just like them.
    let share = scores["training_rows"].as_f64().unwrap();
    assert!((share - 0.64).abs() < 0.06, "{share}");
    let said = folder.run("evaluate --model model.safetensors --data digits").ok().err;
    assert!(said.contains("% of these rows are rows that the model was trained on"), "{said}");

    let csv = folder.run("predict --model model.safetensors --data digits -q").ok();
    assert_eq!(csv.err, "");
    let dash = folder.run("predict --model model.safetensors --data digits -q --out -").ok();
    assert!(dash.out == csv.out && !folder.path("-").exists(), "`-` is standard output");
    let mut lines = csv.out.lines();
    let header: Vec<&str> = lines.next().unwrap().split(',').collect();
    assert_eq!(header.len(), 11);
    assert_eq!((header[0], header[1], header[10]), ("prediction", "probability_0", "probability_9"));
    for line in lines.clone() {
        let cells: Vec<&str> = line.split(',').collect();
        let probabilities: Vec<f64> = cells[1..].iter().map(|cell| cell.parse().unwrap()).collect();
        assert!((probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-5, "{line}");
        let class: usize = cells[0].parse().unwrap();
        assert!(probabilities.iter().all(|p| *p <= probabilities[class]), "{line}");
    }
    assert_eq!(lines.count(), 1797);
    folder.run("predict --model model.safetensors --data digits --out new/folder/p.csv").ok();
    assert_eq!(std::fs::read_to_string(folder.path("new/folder/p.csv")).unwrap(), csv.out);
    let document = folder.json("predict --model model.safetensors --data digits --json");
    let first = csv.out.lines().nth(1).unwrap().split(',').next();
    assert_eq!(document["predictions"][0]["prediction"].as_str(), first);
}

#[test]
fn the_same_seed_gives_the_same_file_for_any_number_of_threads() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(120));
    for (threads, out) in [("1", "a.st"), ("2", "b.st")] {
        folder.run(&format!("train --data t.csv --epochs 3 --threads {threads} --out {out}")).ok();
    }
    folder.run("train --data t.csv --epochs 3 --seed 1 --out c.st").ok();
    let bytes = |name: &str| std::fs::read(folder.path(name)).unwrap();
    assert_eq!(bytes("a.st"), bytes("b.st"));
    assert_ne!(bytes("a.st"), bytes("c.st"));
}

#[test]
fn extra_columns_are_ignored_with_a_note_and_missing_ones_are_an_error() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(60)).write("more.csv", "id,answer,colour,x\n7,no,red,0.1\n8,yes,purple,1.2\n");
    folder.write("less.csv", "x,color\n1,red\n");
    folder.run("train --data t.csv --epochs 40 --learning-rate 0.01").ok();
    let ran = folder.run("predict --model model.safetensors --data more.csv").ok();
    assert!(ran.err.contains("ignored columns: `id`, `answer`"), "{}", ran.err);
    assert!(ran.err.contains("not met in training"), "{}", ran.err);
    let predictions: Vec<&str> = ran.out.lines().map(|line| line.split(',').next().unwrap()).collect();
    assert_eq!(predictions, ["prediction", "no", "yes"]);
    let wrong = folder.run("predict --model model.safetensors --data less.csv");
    wrong.fails(2, &["less.csv", "`colour`", "did you mean `color`?"]);
    folder.run("evaluate --model model.safetensors --data less.csv").fails(2, &["less.csv"]);
}

#[test]
fn numbers_come_back_in_their_own_units() {
    let folder = Folder::new();
    folder.write("t.csv", &numbers(200));
    let trained = folder.json("train --data t.csv --epochs 60 --learning-rate 0.01 --task regression --json");
    assert_eq!((&trained["task"], &trained["classes"]), (&Json::from("regression"), &Json::Null));
    for metric in ["rmse", "mae", "r2"] {
        assert!(trained["test"][metric].is_number(), "{}", trained["test"]);
    }
    assert!(trained["test"]["rmse"].as_f64().unwrap() < 60.0, "{}", trained["test"]);
    let csv = folder.run("predict --model model.safetensors --data t.csv").ok().out;
    let mut lines = csv.lines();
    assert_eq!(lines.next(), Some("prediction"));
    let prices: Vec<f64> = lines.map(|line| line.parse().unwrap()).collect();
    assert_eq!(prices.len(), 200);
    assert!(prices.iter().all(|price| (850.0..1750.0).contains(price)), "{prices:?}");
}

#[test]
fn labels_have_a_column_each() {
    let folder = Folder::new();
    let rows: String = (0..80).map(|i| format!("{},{},{},{}\n", i % 4, i % 9, i % 2, u8::from(i % 4 > 1))).collect();
    folder.write("t.csv", &format!("x,y,odd,large\n{rows}"));
    let trained = folder.json("train --data t.csv --target odd,large --epochs 3 --class-weights balanced --json");
    assert_eq!(trained["classes"], 2);
    let csv = folder.run("predict --model model.safetensors --data t.csv").ok().out;
    assert_eq!(csv.lines().next(), Some("prediction_odd,prediction_large,probability_odd,probability_large"));
    assert_eq!(csv.lines().count(), 81);
}

#[test]
fn options_of_the_data_and_the_training_are_obeyed() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(100).replace(',', ";")).write("test.csv", &classes(30).replace(',', ";"));
    let words = "train --data t.csv --delimiter ; --test test.csv --validation-split 0.1 --hidden none --optimizer sgd \
                 --learning-rate 0.1 --momentum 0.9 --nesterov --schedule cosine --early-stopping 9 --epochs 5 --json";
    let trained = folder.json(words);
    assert_eq!(trained["rows"], serde_json::json!({"train": 90, "validation": 10, "test": 30}));
    let history = trained["history"].as_array().unwrap();
    let rates: Vec<f64> = history.iter().map(|e| e["learning_rate"].as_f64().unwrap()).collect();
    assert!(rates.len() == 5 && rates.windows(2).all(|pair| pair[1] < pair[0]), "{rates:?}");
    let none = folder.json("train --data t.csv --test-split 0 --validation-split 0 --epochs 1 --json");
    assert_eq!((&none["validation"], &none["test"]), (&Json::Null, &Json::Null));
    assert_eq!(none["history"][0]["metric"], Json::Null);
    let both = folder.run("train --data t.csv --test test.csv --test-split 0.3");
    both.fails(2, &["--test", "--test-split"]);
}

#[test]
fn what_people_see_names_units_and_the_next_command() {
    let folder = Folder::new();
    folder.write("my data.csv", &classes(60));
    let ran = folder.run_words(&["train", "--data", "my data.csv", "--epochs", "2", "--out", "m.st"]).ok();
    assert!(ran.out.contains("next:  hpt-engine predict --model m.st --data 'my data.csv'"), "{}", ran.out);
    assert!(ran.out.contains("rows a second") && ran.out.contains("test accuracy"), "{}", ran.out);
    assert!(ran.err.contains("learning rate") && !ran.err.contains('\x1b'), "{}", ran.err);
    let quiet = folder.run_words(&["train", "--data", "my data.csv", "--epochs", "2", "-q"]).ok();
    assert_eq!(quiet.err, "");
}

#[test]
fn options_of_another_schedule_are_refused() {
    let folder = Folder::new();
    folder.write("t.csv", &classes(60));
    for (flags, parts) in [
        ("--decay-rate 0.5", ["--decay-rate", "schedule step, exponential, inverse-time, plateau"]),
        ("--schedule cosine --power 2", ["--power", "schedule polynomial"]),
        ("--schedule step --staircase", ["--staircase", "schedule exponential, inverse-time"]),
        ("--schedule one-cycle --decay-steps 9", ["--decay-steps", "belongs to schedule"]),
    ] {
        folder.run(&format!("train --data t.csv --epochs 1 {flags}")).fails(2, &parts);
    }
    for flags in ["--schedule step --decay-rate 0.5 --decay-steps 3", "--schedule cosine --staircase=false"] {
        folder.run(&format!("train --data t.csv --epochs 1 {flags}")).ok();
    }
}
