//! The two sets in the binary, against what their publishers say of them.

use super::*;

#[test]
fn digits_are_those_of_scikit_learn() {
    let loaded = load(&DataSpec::new("digits")).unwrap();
    let source = &loaded.source;
    assert_eq!((loaded.name.as_str(), source.rows(), source.columns()), ("digits", 1797, 64));
    assert_eq!(source.target_names(), ["digit"]);
    let Task::Classification { classes } = source.task() else { panic!("classes are expected") };
    assert_eq!(classes.join(" "), "0 1 2 3 4 5 6 7 8 9");
    let mut counts = [0; 10];
    for row in 0..source.rows() {
        counts[source.label(row).unwrap() as usize] += 1;
    }
    // numpy.bincount(load_digits().target)
    assert_eq!(counts, [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]);
    let Content::Table(columns) = source.content() else { panic!("a table is expected") };
    let total: f64 = columns
        .iter()
        .map(|column| match &column.values {
            Values::Numbers(numbers) => (0..numbers.len()).map(|row| numbers.get(row)).sum::<f64>(),
            Values::Text(_) => panic!("numbers are expected"),
        })
        .sum();
    assert_eq!(total, 561_718.0); // load_digits().data.sum()
    let (pipeline, notes) = Pipeline::fit(source, &all(source), Preprocess::Standard).unwrap();
    // Three pixels are 0 in all images.
    assert_eq!((pipeline.inputs(), pipeline.outputs()), (61, 10));
    assert_eq!(notes, ["left out, the same value in every training row: `pixel_0_0`, `pixel_4_0`, `pixel_4_7`"]);
}

#[test]
fn california_housing_has_text_and_missing_cells() {
    let loaded = load(&DataSpec::new("california-housing")).unwrap();
    let source = &loaded.source;
    assert_eq!((source.rows(), source.columns()), (20640, 9));
    assert_eq!(source.task(), &Task::Regression { targets: vec!["median_house_value".into()] });
    let Content::Table(columns) = source.content() else { panic!("a table is expected") };
    let Values::Numbers(bedrooms) = &columns[4].values else { panic!("numbers are expected") };
    assert_eq!((0..20640).filter(|&row| bedrooms.get(row).is_nan()).count(), 207);
    let Values::Text(ocean) = &columns[8].values else { panic!("text is expected") };
    assert_eq!(ocean.names.len(), 5);
    let (pipeline, notes) = Pipeline::fit(source, &all(source), Preprocess::Standard).unwrap();
    // 8 numbers, one indicator of missing, 5 categories and unseen.
    assert_eq!((pipeline.inputs(), notes.len()), (8 + 1 + 6, 0));
    let data = pipeline.transform(source, &all(source)).unwrap();
    let Targets::Real { mean, deviation, .. } = &data.targets else { panic!("real targets are expected") };
    assert!((mean[0] - 206_855.816_909).abs() < 1e-5, "{}", mean[0]);
    assert!((deviation[0] - 115_392.820_404).abs() < 1e-5, "{}", deviation[0]); // Python: statistics.pstdev
}
