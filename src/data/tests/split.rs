//! Splits and folds: complete, disjoint, in proportion, and the same every time.

use super::*;
use crate::data::{Folds, balanced_weights, fold_count, folds, split};
use proptest::prelude::*;

/// A source of these class labels (or of one stratum, a regression).
fn source(labels: &[u32], regression: bool) -> Source {
    let rows = labels.len();
    let classes = labels.iter().max().map_or(0, |&most| most + 1);
    let (task, target) = if regression {
        let values = labels.iter().map(|&label| f64::from(label)).collect();
        (Task::Regression { targets: vec!["y".into()] }, TargetValues::Real(values))
    } else {
        let classes = (0..classes).map(|class| format!("c{class}")).collect();
        (Task::Classification { classes }, TargetValues::Classes(labels.to_vec()))
    };
    let values = Values::Numbers(Numbers::new((0..rows).map(|row| row as f64).collect()));
    let columns = vec![Column { name: "x".into(), values, declared: false }];
    let target_names = vec!["y".into()];
    Source { origin: "made".into(), rows, content: Content::Table(columns), task, target_names, target, folds: None }
}

fn count(labels: &[u32], rows: &[usize], class: u32) -> usize {
    rows.iter().filter(|&&row| labels[row] == class).count()
}

proptest! {
    #[test]
    fn parts_are_disjoint_complete_and_in_proportion(
        sizes in proptest::collection::vec(3usize..60, 1..6),
        test in 0.0..0.6f64, validation in 0.0..0.6f64, seed: u64, regression: bool,
    ) {
        let labels: Vec<u32> = sizes.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c as u32, n)).collect();
        let source = source(&labels, regression);
        let spec = SplitSpec { test, validation, seed, ..SplitSpec::default() };
        let found = split(&source, false, &spec).unwrap();
        prop_assert_eq!(&found, &split(&source, false, &spec).unwrap());
        let mut together = [found.train.clone(), found.validation.clone(), found.test.clone()].concat();
        for part in [&found.train, &found.validation, &found.test] {
            prop_assert!(part.is_sorted());
        }
        together.sort_unstable();
        prop_assert_eq!(together, (0..labels.len()).collect::<Vec<_>>());
        let strata = if regression { 1 } else { sizes.len() };
        let near = |found: usize, quota: f64| (found as f64 - quota).abs() < 1.0 + strata as f64;
        prop_assert!(near(found.test.len(), labels.len() as f64 * test));
        if !regression {
            for (class, &size) in sizes.iter().enumerate() {
                let in_test = count(&labels, &found.test, class as u32);
                prop_assert!(near(in_test, size as f64 * test), "class {} of {}: {}", class, size, in_test);
                for (part, fraction) in [(&found.train, 1.0), (&found.test, test), (&found.validation, validation)] {
                    prop_assert_eq!(count(&labels, part, class as u32) > 0, fraction > 0.0);
                }
            }
        }
    }

    #[test]
    fn folds_hold_every_row_out_once(n in 4usize..80, k in 2usize..5, classes in 1u32..4, apart in 0usize..20, seed: u64) {
        let labels: Vec<u32> = (0..n * classes as usize + apart).map(|i| i as u32 % classes).collect();
        // The first rows are somebody else's, the test's say.
        let rows: Vec<usize> = (apart..labels.len()).collect();
        let found = folds(&source(&labels, false), &rows, k, seed, 0).unwrap();
        prop_assert_eq!(found.len(), k);
        let mut held: Vec<usize> = found.iter().flat_map(|(_, held)| held.clone()).collect();
        held.sort_unstable();
        prop_assert_eq!(held, rows.clone());
        for (train, held) in &found {
            prop_assert!(train.is_sorted() && held.is_sorted());
            prop_assert_eq!(train.len() + held.len(), rows.len());
            prop_assert!(held.iter().all(|row| train.binary_search(row).is_err()));
            prop_assert!(held.len().abs_diff(rows.len() / k) <= 1);
            for class in 0..classes {
                prop_assert!(count(&labels, held, class).abs_diff(n / k) <= 1);
            }
        }
    }
}

#[test]
fn exact_proportions() {
    // 700, 250 and 50 rows: 0.2 of each is whole, and so is 0.2 of what remains.
    let labels: Vec<u32> = (0..1000)
        .map(|i| {
            if i < 700 {
                0
            } else if i < 950 {
                1
            } else {
                2
            }
        })
        .collect();
    let found = split(&source(&labels, false), false, &SplitSpec::default()).unwrap();
    for (part, expected) in
        [(&found.test, [140, 50, 10]), (&found.validation, [112, 40, 8]), (&found.train, [448, 160, 32])]
    {
        assert_eq!([0, 1, 2].map(|class| count(&labels, part, class)), expected);
    }
    assert_eq!(found.development().len(), 800);
    let other = split(&source(&labels, false), false, &SplitSpec { seed: 1, ..SplitSpec::default() }).unwrap();
    assert_ne!(found.test, other.test);
}

#[test]
fn the_largest_remainders_get_the_rows_left_over() {
    // Quotas 1.4, 1.4, 2.2 of 5 rows: the floors give 4, the first of the largest remainders gets the fifth.
    let sizes = [7, 7, 11];
    let labels: Vec<u32> = sizes.iter().enumerate().flat_map(|(c, &n)| std::iter::repeat_n(c as u32, n)).collect();
    let spec = SplitSpec { validation: 0.0, ..SplitSpec::default() };
    let found = split(&source(&labels, false), false, &spec).unwrap();
    assert_eq!([0, 1, 2].map(|class| count(&labels, &found.test, class)), [2, 1, 2]);
}

#[test]
fn a_test_file_leaves_all_rows_for_training_and_validation() {
    let source = source(&[0, 1].repeat(50), false);
    let found = split(&source, true, &SplitSpec::default()).unwrap();
    assert_eq!((found.train.len(), found.validation.len(), found.test.len()), (80, 20, 0));
    let none = SplitSpec { test: 0.0, validation: 0.0, ..SplitSpec::default() };
    assert_eq!(split(&source, false, &none).unwrap().train.len(), 100);
}

#[test]
fn too_few_rows_and_fractions_that_are_none() {
    let small = source(&[0, 0, 0, 0, 1, 1], false);
    let text = message(split(&small, false, &SplitSpec::default()));
    assert!(
        text.starts_with("made: class `c1` of target `y` has 2 rows, fewer than a division into 3 parts needs"),
        "{text}"
    );
    let text = message(folds(&small, &[0, 1, 2, 3, 4, 5], 3, 0, 0));
    assert!(text.contains("class `c1` of target `y` has 2 rows"), "{text}");
    let text = message(split(&source(&[0, 1], true), false, &SplitSpec::default()));
    assert!(text.starts_with("made: the table has 2 rows, fewer than"), "{text}");
    for fraction in [1.0, -0.1, f64::NAN] {
        let text = message(split(&small, false, &SplitSpec { test: fraction, ..SplitSpec::default() }));
        assert!(text.starts_with("test split:") && text.contains("is not a fraction"), "{text}");
    }
    assert!(message(folds(&small, &[0, 1, 2, 3, 4, 5], 1, 0, 0)).contains("at least 2 are needed, found 1"));
}

#[test]
fn repetitions_differ_and_given_folds_decide() {
    let labels = [0, 1].repeat(20);
    let made = source(&labels, false);
    let all: Vec<usize> = (0..labels.len()).collect();
    assert_ne!(folds(&made, &all, 4, 0, 0).unwrap(), folds(&made, &all, 4, 0, 1).unwrap());
    let folder = folder();
    let path = write(folder.path(), "t.csv", "x,y,fold\n1,0,10\n2,1,2\n3,0,2\n4,1,10\n5,1,1\n");
    let spec = DataSpec { fold_column: Some("fold".into()), ..DataSpec::new(path) };
    let loaded = load(&spec).unwrap();
    assert_eq!((loaded.source.target_names(), loaded.source.column_names()), (["y".to_owned()].as_slice(), vec!["x"]));
    let held: Vec<Vec<usize>> =
        folds(&loaded.source, &[0, 1, 2, 3, 4], 5, 0, 0).unwrap().into_iter().map(|(_, held)| held).collect();
    assert_eq!(held, [vec![4], vec![1, 2], vec![0, 3]]);
    let text = message(folds(&loaded.source, &[0, 1, 2, 3], 3, 0, 0));
    assert!(text.contains("fold 1 of the 3 of the fold column has no row that is not a test row"), "{text}");
    let others = write(folder.path(), "u.csv", "x,y,fold\n1,0,10\n2,1,2\n3,0,1\n4,1,10\n5,1,2\n");
    let others = load(&DataSpec { fold_column: Some("fold".into()), ..DataSpec::new(others) }).unwrap();
    assert_ne!(loaded.source.fingerprint(), others.source.fingerprint(), "other folds are other data");
    let count = |source: &Source, folds| fold_count(source, folds);
    assert_eq!(count(&loaded.source, Folds::Column).unwrap(), 3);
    assert_eq!((count(&loaded.source, Folds::Count(3)).unwrap(), count(&made, Folds::Count(9)).unwrap()), (3, 9));
    assert_eq!(count(&loaded.source, Folds::None).unwrap(), 0);
    assert!(message(count(&loaded.source, Folds::Count(4))).contains("4 are asked for, and the fold column has 3"));
    assert!(message(count(&made, Folds::Column)).contains("no column of the data was named"));
}

#[test]
fn balanced_weights_are_those_of_scikit_learn() {
    // compute_class_weight("balanced", classes=[0, 1, 2], y=[0, 0, 0, 1, 1, 2]) = [2/3, 1, 2]
    assert_eq!(balanced_weights(&[0, 0, 0, 1, 1, 2], 3), [2.0 / 3.0, 1.0, 2.0]);
    assert_eq!(balanced_weights(&[0, 0], 2), [0.5, 0.0]);
}
