//! Tests and tails against SciPy's (`tests/golden/comparisons.json`).

use hpt_engine::statistics::distribution::{chi_square_tail, f_tail, normal_below};
use hpt_engine::statistics::{friedman, holm, wilcoxon};
use serde_json::Value;

/// Relative distance to SciPy's f64.
const CLOSE: f64 = 1e-11;

fn golden() -> Value {
    let path = format!("{}/tests/golden/comparisons.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap()
}

fn numbers(value: &Value) -> Vec<f64> {
    value.as_array().unwrap().iter().map(|x| x.as_f64().unwrap()).collect()
}

#[track_caller]
fn close(ours: f64, theirs: &Value, of: &Value) {
    let theirs = theirs.as_f64().unwrap();
    assert!((ours - theirs).abs() <= CLOSE * theirs.abs(), "{ours} here, {theirs} in SciPy: {of}");
}

#[test]
fn tails_are_scipys() {
    let golden = golden();
    for row in golden["chi_square"].as_array().unwrap() {
        let x = numbers(row);
        close(chi_square_tail(x[0], x[1]), &row[2], row);
    }
    for row in golden["f"].as_array().unwrap() {
        let x = numbers(row);
        close(f_tail(x[0], x[1], x[2]), &row[3], row);
    }
    for row in golden["normal"].as_array().unwrap() {
        close(normal_below(row[0].as_f64().unwrap()), &row[1], row);
    }
}

#[test]
fn wilcoxons_test_is_scipys() {
    let golden = golden();
    let (mut exact, mut approximate) = (0, 0);
    for case in golden["wilcoxon"].as_array().unwrap() {
        let differences = numbers(&case["differences"]);
        let found = wilcoxon(&differences, &vec![0.0; differences.len()]);
        assert_eq!(found.n as u64, case["n"].as_u64().unwrap());
        close(found.positive.min(found.negative), &case["least"], case);
        close(found.p, &case["p"], case);
        if found.exact { exact += 1 } else { approximate += 1 }
    }
    assert!(exact >= 8 && approximate >= 3, "{exact} exact, {approximate} approximate");
}

#[test]
fn friedmans_test_and_holms_adjustment_are_scipys() {
    let golden = golden();
    for case in golden["friedman"].as_array().unwrap() {
        let losses: Vec<Vec<f64>> = case["losses"].as_array().unwrap().iter().map(numbers).collect();
        let found = friedman(&losses).unwrap();
        for (ours, key) in
            [(found.chi_square, "chi_square"), (found.p, "p"), (found.f, "f"), (found.f_p.unwrap(), "f_p")]
        {
            close(ours, &case[key], case);
        }
        for (ours, theirs) in found.mean_ranks.iter().zip(case["mean_ranks"].as_array().unwrap()) {
            close(*ours, theirs, case);
        }
    }
    for case in golden["holm"].as_array().unwrap() {
        for (ours, theirs) in holm(&numbers(&case["p"])).iter().zip(case["adjusted"].as_array().unwrap()) {
            close(*ours, theirs, case);
        }
    }
}
