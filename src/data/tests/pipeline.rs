//! Encoding: against plain formulas, on training rows alone, exact through JSON, safe with damaged JSON.

use super::*;
use crate::data::encoder::{normal_quantile, quantile};
use proptest::prelude::*;

fn features(data: &Dataset) -> Vec<Vec<f32>> {
    let Features::F32(values) = &data.features else { panic!("32-bit features are expected") };
    values.chunks(data.inputs).map(<[f32]>::to_vec).collect()
}

fn fit(text: &str, rows: std::ops::Range<usize>, preprocess: Preprocess) -> (Source, Pipeline, Vec<String>) {
    let source = table(text, &["y"]).unwrap().source;
    let (pipeline, notes) = Pipeline::fit(&source, &rows.collect::<Vec<_>>(), preprocess).unwrap();
    pipeline.validate().unwrap();
    (source, pipeline, notes)
}

fn close(found: &[f32], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (f, e) in found.iter().zip(expected) {
        assert!((f64::from(*f) - e).abs() < 1e-6, "{found:?} against {expected:?}");
    }
}

#[test]
fn standard_uses_training_rows_alone() {
    let (source, pipeline, notes) = fit("x,y\n1,0\n2,1\n6,0\n1000,1\n", 0..3, Preprocess::Standard);
    let deviation = (14.0f64 / 3.0).sqrt();
    let data = pipeline.transform(&source, &all(&source)).unwrap();
    let Features::F32(values) = &data.features else { panic!() };
    close(&values[..3], &[-2.0 / deviation, -1.0 / deviation, 3.0 / deviation]);
    assert!((f64::from(values[3]) - 997.0 / deviation).abs() < 1e-4);
    assert!(notes.is_empty());
    assert_eq!(data.targets, Targets::Classes { labels: vec![0, 1, 0, 1], classes: 2 });
}

#[test]
fn robust_and_none() {
    let text = "x,s,y\n0,0,0\n1,0,1\n2,0,0\n3,0,1\n100,5,0\n";
    let (source, pipeline, _) = fit(text, 0..5, Preprocess::Robust);
    let found = features(&pipeline.transform(&source, &all(&source)).unwrap());
    // Median 2, quartiles 1 and 3. Column s has quartiles 0 and 0: mean 1, deviation 2.
    let unit = 2.0 / 1.3489795003921634;
    close(&found[0], &[-2.0 / unit, -0.5]);
    close(&found[4][1..], &[2.0]);
    let (source, pipeline, _) = fit(text, 0..5, Preprocess::None);
    close(&features(&pipeline.transform(&source, &[4]).unwrap())[0], &[100.0, 5.0]);
}

#[test]
fn quantile_scores() {
    let (source, pipeline, _) = fit("x,y\n1,0\n2,1\n2,0\n9,1\n", 0..4, Preprocess::Quantile);
    let found: Vec<f32> = features(&pipeline.transform(&source, &all(&source)).unwrap()).concat();
    // Mid-ranks 1/8, 1/2, 1/2, 7/8; Python: statistics.NormalDist().inv_cdf(7 / 8)
    let score = 1.1503493803760083;
    close(&found, &[-score, 0.0, 0.0, score]);
    let other = table("x,y\n-50,0\n5.5,1\n50,0\n", &["y"]).unwrap().source;
    let outside = features(&pipeline.transform(&other, &[0, 1, 2]).unwrap()).concat();
    close(&outside, &[-score, score / 2.0, score]);
    let rows: String = (0..5000).map(|i| format!("{},{}\n", f64::from(i).powi(2), i % 2)).collect();
    let (source, pipeline, _) = fit(&format!("x,y\n{rows}"), 0..5000, Preprocess::Quantile);
    let scores: Vec<f64> =
        features(&pipeline.transform(&source, &all(&source)).unwrap()).concat().iter().map(|&v| f64::from(v)).collect();
    let (mean, deviation) = crate::data::dataset::moments(scores.iter().copied());
    assert!(mean.abs() < 0.01 && (deviation - 1.0).abs() < 0.02, "{mean} {deviation}");
}

#[test]
fn normal_quantiles_are_those_of_python() {
    // statistics.NormalDist().inv_cdf(p)
    for (p, z) in [
        (0.5, 0.0),
        (0.075, -1.4395314709384572),
        (0.1, -1.2815515655446004),
        (0.975, 1.9599639845400536),
        (1e-4, -3.719016485455709),
        (1e-13, -7.348796102800682),
    ] {
        assert!((normal_quantile(p) - z).abs() < 1e-6 * (1.0 + z.abs()), "{p}: {}", normal_quantile(p));
    }
}

#[test]
fn missing_cells_are_filled_and_marked() {
    let (source, pipeline, _) = fit("x,z,y\n1,5,0\n,6,1\n2,7,0\n9,8,1\n", 0..4, Preprocess::Standard);
    assert_eq!(pipeline.inputs(), 3);
    let found = features(&pipeline.transform(&source, &[0, 1]).unwrap());
    // Mean 4 and deviation of 1, 2, 9; the median is 2.
    let deviation = (38.0f64 / 3.0).sqrt();
    close(&found[0][..2], &[-3.0 / deviation, 0.0]);
    close(&found[1][..2], &[-2.0 / deviation, 1.0]);
    // Missing where no training row was: the median, no indicator.
    let other = table("x,z,y\n1,,0\n1,2,1\n", &["y"]).unwrap().source;
    assert_eq!(features(&pipeline.transform(&other, &[0]).unwrap())[0][2], 0.0);
}

#[test]
fn categories_missing_and_unseen() {
    let (source, pipeline, _) = fit("c,y\nb,0\na,1\n,0\nb,1\nz,0\n", 0..4, Preprocess::Standard);
    // a, b, missing, unseen
    let found = features(&pipeline.transform(&source, &all(&source)).unwrap());
    assert_eq!(
        found,
        [[0.0, 1.0, 0.0, 0.0], [1.0, 0.0, 0.0, 0.0], [0.0, 0.0, 1.0, 0.0], [0.0, 1.0, 0.0, 0.0], [0.0, 0.0, 0.0, 1.0]]
    );
    let (source, pipeline, _) = fit("c,y\nb,0\na,1\n,0\n", 0..2, Preprocess::Standard);
    assert_eq!(features(&pipeline.transform(&source, &[2]).unwrap())[0], [0.0, 0.0, 1.0]);
}

#[test]
fn integers_named_categorical() {
    let folder = folder();
    let path = write(folder.path(), "t.csv", "c,x,y\n10,1,0\n2,2,1\n10,3,0\n");
    let loaded = load(&DataSpec { categorical: vec!["c".into()], ..DataSpec::new(path) }).unwrap();
    let (pipeline, _) = Pipeline::fit(&loaded.source, &[0, 1, 2], Preprocess::None).unwrap();
    let found = features(&pipeline.transform(&loaded.source, &[0, 1]).unwrap());
    assert_eq!(found, [[0.0, 1.0, 0.0, 1.0], [1.0, 0.0, 0.0, 2.0]]);
    // Other spellings of the same numbers are the same categories.
    let path = write(folder.path(), "p.csv", "c,x\n10.0,5\n3,5\n");
    let (source, notes) = pipeline.read(&path, None, ReadTargets::No).unwrap();
    assert_eq!(features(&pipeline.features(&source).unwrap()), [[0.0, 1.0, 0.0, 5.0], [0.0, 0.0, 1.0, 5.0]]);
    assert_eq!(notes, ["column `c`: 1 of 2 rows have a category that was not met in training"]);
}

#[test]
fn columns_without_use_are_left_out_with_a_note() {
    let rows: String = (0..60).map(|i| format!("7,{i},only,,remark {i},{}\n", i % 2)).collect();
    let (_, pipeline, notes) = fit(&format!("k,x,t,e,free,y\n{rows}"), 0..60, Preprocess::Standard);
    assert_eq!(pipeline.inputs(), 1);
    assert_eq!(
        notes,
        [
            "column `free` is left out: 60 different texts in 60 training rows look like names or remarks (`--categorical free` takes them as categories)",
            "left out, the same value in every training row: `k`, `t`",
            "left out, no value in any training row: `e`",
        ]
    );
    let source = table("k,y\n7,0\n7,1\n", &["y"]).unwrap().source;
    let text = message(Pipeline::fit(&source, &[0, 1], Preprocess::Standard));
    assert!(text.contains("no column to learn from: left out, the same value in every training row: `k`"), "{text}");
}

#[test]
fn more_categories_than_a_dense_row_can_hold() {
    let folder = folder();
    let rows: String = (0..66_000).map(|i| format!("{i},{}\n", i % 2)).collect();
    let path = write(folder.path(), "t.csv", format!("id,y\n{rows}"));
    let source = load(&DataSpec { categorical: vec!["id".into()], ..DataSpec::new(path) }).unwrap().source;
    let text = message(Pipeline::fit(&source, &all(&source), Preprocess::None));
    assert!(text.contains("the columns become 66001 inputs, 66001 of them from `id`"), "{text}");
}

#[test]
fn a_constant_column_with_missing_cells_keeps_its_indicator() {
    let (source, pipeline, _) = fit("k,y\n7,0\n,1\n7,0\n", 0..3, Preprocess::Standard);
    assert_eq!(features(&pipeline.transform(&source, &[0, 1]).unwrap()), [[0.0], [1.0]]);
}

#[test]
fn regression_targets_are_standardised_and_come_back() {
    let (source, pipeline, _) = fit("x,y\n1,100.5\n2,300.5\n3,-7000\n", 0..2, Preprocess::Standard);
    let data = pipeline.transform(&source, &all(&source)).unwrap();
    let Targets::Real { values, width, mean, deviation } = &data.targets else { panic!("real targets are expected") };
    assert_eq!((values[..2].to_vec(), *width, mean[0], deviation[0]), (vec![-1.0, 1.0], 1, 200.5, 100.0));
    assert_eq!(pipeline.unscale_target(0, 1.0), 300.5);
    let text =
        message(Pipeline::fit(&table("x,y\n1,2.5\n2,2.5\n3,7\n", &[]).unwrap().source, &[0, 1], Preprocess::None));
    assert_eq!(text, "t.csv: target `y` is 2.5 in every training row; there is nothing to learn");
}

#[test]
fn training_rows_of_one_class_are_refused() {
    let source = table("x,y\n1,a\n2,a\n3,b\n", &[]).unwrap().source;
    assert!(message(Pipeline::fit(&source, &[0, 1], Preprocess::None)).contains("one class only"));
    assert!(message(Pipeline::fit(&source, &[], Preprocess::None)).contains("no rows to train on"));
}

#[test]
fn prediction_reads_by_name() {
    let (_, pipeline, _) = fit("age,city,y\n1,Rome,0\n2,Bern,1\n4,Rome,0\n", 0..3, Preprocess::Standard);
    let folder = folder();
    let read = |text: &str, targets| pipeline.read(&write(folder.path(), "t.csv", text), None, targets);
    let (source, notes) = read("y;city;id;age\nwhat;Rome;9;2\never;Oslo;8;\n", ReadTargets::No).unwrap();
    assert_eq!(notes.len(), 3, "{notes:?}");
    assert!(notes[0].ends_with("ignored columns: `y`, `id`"), "{notes:?}");
    assert_eq!(
        notes[1],
        "column `age`: 1 of 2 rows have no value, though every training row had one; the median is taken"
    );
    assert_eq!(notes[2], "column `city`: 1 of 2 rows have a category that was not met in training");
    let data = pipeline.features(&source).unwrap();
    assert_eq!((data.rows, data.inputs, &data.targets), (2, 4, &Targets::None));
    assert!(pipeline.transform(&source, &[0]).is_err());
    assert_eq!(
        message(read("Age,city\n1,Rome\n", ReadTargets::No)),
        "t.csv: column `age`, needed by the model, is missing; did you mean `Age`? (columns: `Age`, `city`)"
    );
    assert!(
        message(read("age,city\n1,Rome\n", ReadTargets::Yes)).contains("target `y`, needed by the model, is missing")
    );
    let names = ["age".to_owned(), "b".to_owned()];
    let input = read("age,city\n1,Rome\n", ReadTargets::Named(&names[..1]));
    assert!(message(input).contains("column `age` is an input of the model"));
    let two = read("age,city\n1,Rome\n", ReadTargets::Named(&names));
    assert_eq!(message(two), "target: 1 columns are expected (`y`), found 2");
    let names = ["answer".to_owned()];
    let (source, _) = read("age,city,answer\n1,Rome,1\n", ReadTargets::Named(&names)).unwrap();
    assert_eq!(pipeline.transform(&source, &[0]).unwrap().targets, Targets::Classes { labels: vec![1], classes: 2 });
    assert_eq!(
        message(read("age,city\nold,Rome\n", ReadTargets::No)),
        "t.csv:2: column `age`: a number is expected, found `old`"
    );
}

#[test]
fn evaluation_sets_of_every_task() {
    let folder = folder();
    let real = table("x,y\n1,0.5\n2,1.5\n", &["y"]).unwrap().source;
    let (pipeline, _) = Pipeline::fit(&real, &[0, 1], Preprocess::Standard).unwrap();
    let path = write(folder.path(), "t.csv", "x,y\n1,1.5\n");
    let (source, _) = pipeline.read(&path, None, ReadTargets::Yes).unwrap();
    assert!(
        matches!(pipeline.transform(&source, &[0]).unwrap().targets, Targets::Real { values, .. } if values == [1.0])
    );
    let labels = table("x,p,q\n1,0,1\n2,1,1\n", &["p", "q"]).unwrap().source;
    let (pipeline, _) = Pipeline::fit(&labels, &[0, 1], Preprocess::Standard).unwrap();
    let (source, _) = pipeline.read(&write(folder.path(), "t.csv", "x,q,p\n1,0,1\n"), None, ReadTargets::Yes).unwrap();
    assert_eq!(
        pipeline.transform(&source, &[0]).unwrap().targets,
        Targets::Binary { values: vec![1.0, 0.0], width: 2 }
    );
    let bad = pipeline.read(&write(folder.path(), "t.csv", "x,q,p\n1,0,2\n"), None, ReadTargets::Yes);
    assert_eq!(message(bad), "t.csv:2: target `p`: 0 or 1 is expected, found `2`");
}

#[test]
fn chunks_do_not_show() {
    // More rows than one task encodes, in an order of their own.
    let rows: String = (0..1031).map(|i| format!("{},c{},{}\n", i * 37 % 1009, i % 5, i % 3)).collect();
    let (source, pipeline, _) = fit(&format!("x,c,y\n{rows}"), 0..1031, Preprocess::Standard);
    let order: Vec<usize> = (0..1031).map(|i| i * 7 % 1031).collect();
    let together = features(&pipeline.transform(&source, &order).unwrap());
    for (place, &row) in order.iter().enumerate() {
        assert_eq!(together[place], features(&pipeline.transform(&source, &[row]).unwrap())[0]);
    }
    assert!(pipeline.transform(&source, &[1031]).is_err());
}

#[test]
fn damaged_pipelines_are_refused() {
    let (_, pipeline, _) = fit("x,c,y\n1,a,0.5\n2,b,1.5\n,a,2.5\n", 0..3, Preprocess::Standard);
    let json = serde_json::to_string(&pipeline).unwrap();
    for (from, to) in [
        ("\"x\"", "\"c\""),
        ("[\"a\",\"b\"]", "[\"a\",\"a\"]"),
        ("\"target_mean\":[1.5]", "\"target_mean\":[]"),
        ("\"target_names\":[\"y\"]", "\"target_names\":[\"y\",\"z\"]"),
        ("\"targets\":[\"y\"]", "\"targets\":[]"),
        ("\"scale\":0.5", "\"scale\":0.0"),
        ("\"scale\":0.5", "\"scale\":-0.5"),
        ("\"scale\":0.5", "\"scale\":1e-310"),
        ("\"fill\":1.5", "\"fill\":1e301"),
    ] {
        let broken = json.replacen(from, to, 1);
        assert_ne!(broken, json, "{from} is not in {json}");
        let read: Pipeline = serde_json::from_str(&broken).unwrap();
        assert!(message(read.validate()).starts_with("the pipeline of the model is damaged"), "{to}");
    }
    let curve = fit("x,y\n1,0\n2,1\n3,0\n", 0..3, Preprocess::Quantile).1;
    let json = serde_json::to_string(&curve).unwrap();
    for (from, to) in
        [("\"values\":[1.0,2.0,3.0]", "\"values\":[1.0,1.0,3.0]"), ("\"values\":[1.0,2.0,3.0]", "\"values\":[1.0,2.0]")]
    {
        let broken = json.replacen(from, to, 1);
        assert_ne!(broken, json, "{from} is not in {json}");
        assert!(serde_json::from_str::<Pipeline>(&broken).unwrap().validate().is_err(), "{to}");
    }
}

/// The numbers of a JSON document, by reference.
fn numbers<'a>(value: &'a mut serde_json::Value, found: &mut Vec<&'a mut serde_json::Value>) {
    match value {
        serde_json::Value::Number(_) => found.push(value),
        serde_json::Value::Array(list) => list.iter_mut().for_each(|value| numbers(value, found)),
        serde_json::Value::Object(map) => map.values_mut().for_each(|value| numbers(value, found)),
        _ => {}
    }
}

proptest! {
    #[test]
    fn what_passes_validation_encodes_without_panic(kind in 0usize..4, which: usize, replacement in prop_oneof![
        Just(0.0), Just(-1.0), Just(1e308), Just(-1e299), Just(1e299), Just(1e-308), Just(1e-320), Just(2.5), -1e9..1e9f64
    ]) {
        let source = table("x,z,c,y\n1,5,a,0.5\n2,6,b,1.5\n,7,a,2.5\n9,8,,3.5\n", &["y"]).unwrap().source;
        let (pipeline, _) = Pipeline::fit(&source, &[0, 1, 2], Preprocess::ALL[kind].1).unwrap();
        let mut json = serde_json::to_value(&pipeline).unwrap();
        let mut places = Vec::new();
        numbers(&mut json, &mut places);
        let place = which % places.len();
        *places[place] = replacement.into();
        let Ok(read) = serde_json::from_value::<Pipeline>(json) else { return Ok(()) };
        if read.validate().is_ok() {
            let Features::F32(values) = read.transform(&source, &all(&source)).unwrap().features else { panic!() };
            prop_assert!(values.iter().all(|value| value.is_finite()));
        }
    }

    #[test]
    fn json_is_exact(cells in proptest::collection::vec(-1e30..1e30f64, 3..40), kind in 0usize..4) {
        let rows: String = cells.iter().enumerate().map(|(i, x)| format!("{x},k{},{}\n", i % 3, x / 3.0)).collect();
        let source = table(format!("x,c,y\n{rows}"), &["y"]).unwrap().source;
        let (pipeline, _) = Pipeline::fit(&source, &all(&source), Preprocess::ALL[kind].1).unwrap();
        let again: Pipeline = serde_json::from_str(&serde_json::to_string(&pipeline).unwrap()).unwrap();
        prop_assert_eq!(&pipeline, &again);
        prop_assert!(again.validate().is_ok());
        let data = pipeline.transform(&source, &all(&source)).unwrap();
        prop_assert_eq!(&data, &again.transform(&source, &all(&source)).unwrap());
        let Features::F32(values) = &data.features else { panic!() };
        prop_assert!(values.iter().all(|value| value.is_finite()));
    }

    #[test]
    fn quantiles_are_those_of_the_sorted_list(mut values in proptest::collection::vec(-100.0..100.0f64, 1..30), p in 0.0..=1.0f64) {
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let at = p * (sorted.len() - 1) as f64;
        let (below, above) = (sorted[at.floor() as usize], sorted[at.ceil() as usize]);
        let expected = below + (at - at.floor()) * (above - below);
        prop_assert!((quantile(&mut values, p) - expected).abs() < 1e-12);
    }
}

#[test]
fn a_column_of_numbers_with_a_stray_text_is_an_error_that_names_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("t.csv");
    let fit = |cell: &dyn Fn(usize) -> String| {
        let rows: String = (0..200).map(|i| format!("{},{}\n", cell(i), i % 2)).collect();
        std::fs::write(&path, format!("\"b\",\"y\"\n{rows}")).unwrap();
        let source = load(&DataSpec::new(path.to_str().unwrap())).unwrap().source;
        Pipeline::fit(&source, &(0..200).collect::<Vec<_>>(), Preprocess::Standard)
            .map(|_| ())
            .map_err(|e| e.to_string())
    };
    let stray = fit(&|i| if i == 150 { "abc".into() } else { format!("{}", i % 40) }).unwrap_err();
    assert!(stray.contains("`b`") && stray.contains("199 of 200") && stray.contains("`abc` (row 151"), "{stray}");
    let comma = fit(&|i| format!("\"{},5\"", i % 40)).unwrap_err();
    assert!(comma.contains("write 1.5 for 1,5"), "{comma}");
    fit(&|i| format!("{}", i % 40)).unwrap();
    fit(&|i| format!("n{}", i % 40)).unwrap();
}
