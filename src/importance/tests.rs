//! Functions whose decomposition is known exactly.

use super::*;
use crate::history::Record;
use crate::random::{Purpose, Stream};
use crate::space::{Expand, Params};
use std::f64::consts::PI;
use std::sync::Arc;

fn space(text: &str) -> Space {
    Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap()
}

/// Complete trials at independent random points.
fn study(space: &Space, n: u64, f: impl Fn(&Params) -> f64) -> Vec<Trial> {
    let trial = |number| {
        let params = space.sample(&mut Stream::new(5, number, Purpose::Propose, 0));
        let domains = params.keys().map(|name| (name.clone(), space.get(name).unwrap().domain.clone()));
        Trial::from(Record {
            values: vec![f(&params)],
            domains: Arc::new(domains.collect()),
            params,
            ..Record::blank(number, State::Complete)
        })
    };
    (0..n).map(trial).collect()
}

fn number(params: &Params, name: &str) -> f64 {
    params.get(name).and_then(crate::space::Value::as_f64).unwrap()
}

fn found(space: &Space, trials: &[Trial], spec: &ImportanceSpec) -> Importance {
    importance(space, &[Direction::Minimize], trials, spec).unwrap()
}

fn share(found: &Importance, name: &str) -> f64 {
    found.parameters.iter().find(|single| single.name == name).unwrap().share
}

fn pair(found: &Importance, a: &str, b: &str) -> f64 {
    found.pairs.iter().find(|pair| pair.names == [a, b]).unwrap().share
}

const PAIRS: ImportanceSpec = ImportanceSpec {
    method: Method::Fanova,
    target: Target::Value(0),
    seed: 0,
    rounds: 24,
    quantile: 0.1,
    region: 1.0,
    uniform: false,
    pairs: true,
    pruned: false,
};

#[test]
fn an_additive_function_has_the_shares_of_its_terms() {
    // Variances: x/12, (2u)²/12 in the logarithm's unit interval, choices 0, 1, 2: 2/3 · ¼.
    let space = space(
        "x = { float = [0, 1] }\nu = { log = [1e-4, 1] }\nc = { choice = [\"a\", \"b\", \"c\"] }\nk = { int = [1, 3] }",
    );
    let trials = study(&space, 3000, |params| {
        let c = ["a", "b", "c"].iter().position(|c| params["c"].as_str() == Some(c)).unwrap();
        number(params, "x") + 0.5 * number(params, "u").log10() + 0.5 * c as f64 + 0.25 * number(params, "k")
    });
    let variances = [1.0 / 12.0, 4.0 / 12.0, 2.0 / 3.0 / 4.0, 2.0 / 3.0 / 16.0];
    let total: f64 = variances.iter().sum();
    let found = found(&space, &trials, &PAIRS);
    for (name, variance) in ["x", "u", "c", "k"].iter().zip(variances) {
        let (share, expected) = (share(&found, name), variance / total);
        // Trees of 3000 points leave a few percent to steps between them.
        assert!((share - expected).abs() < 0.02, "{name}: {share} {expected}");
    }
    assert_eq!(found.parameters[0].name, "u");
    assert!(found.pairs.iter().all(|pair| pair.share < 0.01), "{:?}", found.pairs);
    let sum: f64 = found.parameters.iter().map(|single| single.importance).sum();
    assert!((sum - 1.0).abs() < 1e-12);
    assert!(found.parameters.iter().all(|single| single.spread > 0.0 && single.spread < 0.03));
}

#[test]
fn a_product_has_the_shares_of_its_factors() {
    // f = x·y: Var(x/2) = 1/48 for each alone, Var(x)·Var(y) = 1/144 together.
    let space = space("x = { float = [0, 1] }\ny = { float = [0, 1] }\nz = { float = [0, 1] }");
    let trials = study(&space, 3000, |params| number(params, "x") * number(params, "y"));
    let found = found(&space, &trials, &PAIRS);
    for (share, expected) in [
        (share(&found, "x"), 3.0 / 7.0),
        (share(&found, "y"), 3.0 / 7.0),
        (share(&found, "z"), 0.0),
        (pair(&found, "x", "y"), 1.0 / 7.0),
        (pair(&found, "x", "z"), 0.0),
    ] {
        assert!((share - expected).abs() < 0.02, "{share} {expected}");
    }
}

/// T. Ishigami, T. Homma (1990), a = 7, b = 0.1, over [−π, π]³.
fn ishigami([a, b, c]: [f64; 3]) -> f64 {
    a.sin() + 7.0 * b.sin().powi(2) + 0.1 * c.powi(4) * a.sin()
}

#[test]
fn boxes_have_ishigamis_shares() {
    // V₁ = ½(1 + bπ⁴/5)², V₂ = a²/8, V₁₃ = b²π⁸·8/225, V₃ = V₁₂ = V₂₃ = 0.
    let space = space("x1 = { float = [0, 1] }\nx2 = { float = [0, 1] }\nx3 = { float = [0, 1] }");
    let n = 32;
    let side = |i: usize| axes::Side::Interval(i as f64 / n as f64, (i + 1) as f64 / n as f64);
    let middle = |i: usize| PI * (2.0 * (i as f64 + 0.5) / n as f64 - 1.0);
    let leaf = |i: usize| {
        let place = [i % n, i / n % n, i / n / n];
        partition::Leaf { value: ishigami(place.map(middle)), cell: place.map(side).to_vec() }
    };
    let leaves: Vec<_> = (0..n * n * n).map(leaf).collect();
    let shares = partition::decompose(&axes::of(&space), &leaves, true).unwrap();
    let (one, two, both) = (0.5 * (1.0 + 0.1 * PI.powi(4) / 5.0).powi(2), 49.0 / 8.0, 0.01 * PI.powi(8) * 8.0 / 225.0);
    let total = one + two + both;
    // Of the middles of 32 cells: their sums are off by about the square of a cell's width.
    for (share, expected) in shares.iter().zip([one, two, 0.0, 0.0, both, 0.0]) {
        assert!((share - expected / total).abs() < 0.003, "{shares:?} {expected}");
    }
}

#[test]
fn a_forest_finds_ishigamis_interaction() {
    let range = "{ float = [-3.141592653589793, 3.141592653589793] }";
    let space = space(&format!("x1 = {range}\nx2 = {range}\nx3 = {range}"));
    let trials = study(&space, 2000, |params| ishigami(["x1", "x2", "x3"].map(|name| number(params, name))));
    let found = found(&space, &trials, &PAIRS);
    // Trees of so many trials leave a fifth of the second term to chance (scikit-learn's do too), but not the order.
    let order: Vec<&str> = found.parameters.iter().map(|single| single.name.as_str()).collect();
    assert_eq!((order, &found.pairs[0].names), (vec!["x2", "x1", "x3"], &["x1", "x3"].map(String::from)));
    assert!(share(&found, "x3") < 0.02 && found.pairs[0].share > 5.0 * found.pairs[1].share, "{found:?}");
}

#[test]
fn a_conditional_parameter_counts_where_it_exists() {
    // f = 2[kind = b] + [kind = b]·m with m uniform in [−1, 1]; kind is b with chance p = 1/2.
    // kind: 4·¼ = 1; m: Var(½ m) = 1/12; both: Var(m)·(½ − ¼) = 1/12.
    let text = "kind = { choice = [\"a\", \"b\"] }\nm = { float = [-1, 1], when = { kind = \"b\" } }\nn = { float = [0, 1], when = { kind = \"a\" } }";
    let space = space(text);
    let f = |params: &Params| if params["kind"].as_str() == Some("b") { 2.0 + number(params, "m") } else { 0.0 };
    let trials = study(&space, 2000, f);
    let total = 1.0 + 2.0 / 12.0;
    let found = found(&space, &trials, &PAIRS);
    for (share, expected) in [
        (share(&found, "kind"), 1.0 / total),
        (share(&found, "m"), 1.0 / 12.0 / total),
        (pair(&found, "kind", "m"), 1.0 / 12.0 / total),
        (share(&found, "n"), 0.0),
        (pair(&found, "m", "n"), 0.0),
    ] {
        assert!((share - expected).abs() < 0.005, "{share} {expected}");
    }
    // Without the space, the condition is found in the trials.
    let (inferred, notes) = infer_space(&trials).unwrap();
    assert_eq!((inferred.get("m").unwrap(), notes), (space.get("m").unwrap(), Vec::new()));
}

#[test]
fn layers_called_into_being_by_a_number_are_inferred_and_used() {
    let space = space(
        "layers = { int = [1, 4] }\nunits = { int = [16, 512], log = true, each = \"layers\" }\nlate = { float = [0, 1] }",
    );
    let trials = study(&space, 1500, |params| {
        let units = |i: usize| params.get(&format!("units_{i}")).and_then(crate::space::Value::as_f64);
        units(0).unwrap().log2() + units(2).map_or(0.0, |units| 2.0 * units.log2() - 14.0)
    });
    let (inferred, notes) = infer_space(&trials).unwrap();
    assert!(notes.is_empty(), "{notes:?}");
    for parameter in space.parameters() {
        assert_eq!(inferred.get(&parameter.name).unwrap().when, parameter.when, "{}", parameter.name);
    }
    let found = found(&space, &trials, &PAIRS);
    let [first, third] = ["units_0", "units_2"].map(|name| share(&found, name));
    // With v the variance of log₂ units: v for the first; half of the time 4v for the third, v of it alone and v with
    // layers.
    assert!((first - third).abs() < 0.1 && first > 0.2, "{first} {third}");
    assert!(pair(&found, "layers", "units_2") > 0.15, "{:?}", found.pairs);
    assert!(["units_1", "units_3", "late"].iter().all(|name| share(&found, name) < 0.03), "{:?}", found.parameters);
}

#[test]
fn densities_of_the_best_find_what_makes_them_good() {
    let space = space("x = { float = [0, 1] }\ny = { float = [0, 1] }\nz = { int = [1, 8] }");
    let trials = study(&space, 1000, |params| (number(params, "x") - 0.5).abs() + 0.01 * number(params, "y"));
    let spec = ImportanceSpec { method: Method::PedAnova, quantile: 0.2, ..PAIRS };
    for uniform in [false, true] {
        let found = found(&space, &trials, &ImportanceSpec { uniform, ..spec.clone() });
        // The best are all trials within 0.1 of the middle: being among them is a function of x alone.
        assert!((0.75..=1.05).contains(&share(&found, "x")), "{:?}", found.parameters);
        assert!(share(&found, "y") < 0.05 && share(&found, "z") < 0.05, "{:?}", found.parameters);
        assert!(found.pairs.iter().all(|pair| pair.share < 0.1), "{:?}", found.pairs);
    }
    // The best are in two opposite quarters: neither parameter says so alone.
    let trials = study(&space, 1000, |params| {
        let [x, y] = ["x", "y"].map(|name| number(params, name) - 0.5);
        -(x * y)
    });
    let found = found(&space, &trials, &spec);
    assert_eq!(found.pairs[0].names, ["x", "y"]);
    assert!(found.pairs[0].share > 4.0 * found.pairs[1].share, "{:?}", found.pairs);
}

/// Shares of the variance of "is among the best" over all 4 × 4 × 4 points, from the definition: the variance of the
/// mean over the other axes, of pairs less that of both singles.
fn by_definition(best: impl Fn([usize; 3]) -> bool) -> ([f64; 3], [f64; 3]) {
    let points: Vec<[usize; 3]> = (0..64).map(|i| [i / 16, i / 4 % 4, i % 4]).collect();
    let mean = |keep: &dyn Fn(&[usize; 3]) -> bool| {
        let kept: Vec<f64> = points.iter().filter(|p| keep(p)).map(|p| f64::from(u8::from(best(*p)))).collect();
        kept.iter().sum::<f64>() / kept.len() as f64
    };
    let all = mean(&|_| true);
    let total = all * (1.0 - all);
    let marginal = |axes: &[usize]| {
        let squares = points.iter().map(|at| (mean(&|p| axes.iter().all(|a| p[*a] == at[*a])) - all).powi(2));
        squares.sum::<f64>() / 64.0 / total
    };
    let singles = [0, 1, 2].map(|axis| marginal(&[axis]));
    (singles, [[0, 1], [0, 2], [1, 2]].map(|[a, b]| marginal(&[a, b]) - singles[a] - singles[b]))
}

#[test]
fn densities_have_the_shares_of_their_definition() {
    let space = space("x = { int = [0, 3] }\ny = { int = [0, 3] }\nz = { int = [0, 3] }");
    let spec = ImportanceSpec { method: Method::PedAnova, rounds: 1, ..PAIRS };
    // Losses 0 and 1, so that the best are all the zeros: of one axis, of a sum, of corners, of a pure interaction.
    let functions: [fn([usize; 3]) -> bool; 5] = [
        |[x, ..]| x < 2,
        |[x, y, z]| x + y + z < 4,
        |[x, y, _]| x < 2 && y < 2,
        |[x, y, _]| (x < 2) != (y < 2),
        |[x, y, z]| (x < 2) != (y < 2) || z == 0,
    ];
    for (case, best) in functions.into_iter().enumerate() {
        // Every point as often as any other.
        let trial = |i: u64| {
            let at = [i / 16 % 4, i / 4 % 4, i % 4];
            let params: Params =
                ["x", "y", "z"].into_iter().zip(at).map(|(n, v)| (n.to_owned(), (v as i64).into())).collect();
            let domains = params.keys().map(|name| (name.clone(), space.get(name).unwrap().domain.clone()));
            Trial::from(Record {
                values: vec![f64::from(u8::from(!best(at.map(|v| v as usize))))],
                domains: Arc::new(domains.collect()),
                params,
                ..Record::blank(i, State::Complete)
            })
        };
        let trials: Vec<Trial> = (0..64 * 40).map(trial).collect();
        let found = found(&space, &trials, &spec);
        let (singles, pairs) = by_definition(best);
        for (name, exact) in ["x", "y", "z"].into_iter().zip(singles) {
            let share = share(&found, name);
            assert!((share - exact).abs() < 0.02 + 0.2 * exact, "case {case} {name}: {share}, by definition {exact}");
        }
        for ((a, b), exact) in [("x", "y"), ("x", "z"), ("y", "z")].into_iter().zip(pairs) {
            let share = pair(&found, a, b);
            assert!((share - exact).abs() < 0.02 + 0.3 * exact, "case {case} {a}, {b}: {share}, by definition {exact}");
        }
        if case == 3 {
            assert!(found.parameters.iter().all(|single| single.share < 0.01) && pair(&found, "x", "y") > 0.7);
        }
    }
}

#[test]
fn a_region_says_what_matters_among_the_good() {
    // Far from the optimum only x matters; among the better half, where x is settled, y does.
    let space = space("x = { float = [0, 1] }\ny = { float = [0, 1] }");
    let trials = study(&space, 2000, |params| {
        let x = number(params, "x");
        if x > 0.5 { 10.0 + x } else { number(params, "y") }
    });
    let spec = ImportanceSpec { method: Method::PedAnova, quantile: 0.45, ..PAIRS };
    let all = found(&space, &trials, &spec);
    let good = found(&space, &trials, &ImportanceSpec { quantile: 0.1, region: 0.45, ..spec });
    assert!(share(&all, "x") > 5.0 * share(&all, "y"), "{:?}", all.parameters);
    assert!(share(&good, "y") > 5.0 * share(&good, "x"), "{:?}", good.parameters);
}

#[test]
fn it_is_a_function_of_trials_and_seed_and_says_what_it_left_out() {
    let space = space("x = { float = [0, 1] }\none = { choice = [\"only\"] }");
    let mut trials = study(&space, 30, |params| number(params, "x"));
    for method in [Method::Fanova, Method::PedAnova] {
        let spec = ImportanceSpec { method, ..PAIRS };
        let first = found(&space, &trials, &spec);
        assert_eq!(first, found(&space, &trials, &spec));
        assert_ne!(first, found(&space, &trials, &ImportanceSpec { seed: 1, ..spec }));
        assert_eq!((share(&first, "one"), first.parameters[0].importance), (0.0, 1.0));
        assert_eq!(first.parameters.len(), 2);
    }
    trials[3].state = State::Pruned;
    trials[4].state = State::Failed;
    trials[5].state = State::Running;
    trials[6].values = vec![f64::NAN];
    trials[7].params.insert("x".to_owned(), 2.0.into());
    let used = Used { used: 25, pruned: 1, failed: 1, unfinished: 1, without_target: 1, outside: 1 };
    assert_eq!(found(&space, &trials, &PAIRS).trials, used);
    assert!(describe(&used).starts_with("25 of 30 trials used, left out: 1 pruned, 1 failed, 1 not finished"));
    assert_eq!(found(&space, &trials, &ImportanceSpec { pruned: true, ..PAIRS }).trials.used, 26);
}

#[test]
fn what_was_pruned_counts_with_several_objectives_too() {
    let space = space("x = { float = [0, 1] }\ny = { float = [0, 1] }");
    let mut trials = study(&space, 40, |params| number(params, "x"));
    for (i, trial) in trials.iter_mut().enumerate() {
        let values = vec![trial.values[0], number(&trial.params, "y")];
        trial.take_report(1, &values);
        trial.values = values;
        // Pruned without values; one of them has told of its first objective alone.
        if i % 2 == 0 {
            (trial.state, trial.values) = (State::Pruned, Vec::new());
        }
    }
    trials[0].take_report(2, &[0.5]);
    let directions = [Direction::Minimize, Direction::Maximize];
    let spec = ImportanceSpec { pruned: true, target: Target::Value(1), ..PAIRS };
    let found = importance(&space, &directions, &trials, &spec).unwrap();
    assert_eq!(found.trials, Used { used: 39, without_target: 1, ..Used::default() });
    assert!(share(&found, "y") > 0.8, "{found:?}");
    let first = importance(&space, &directions, &trials, &ImportanceSpec { target: Target::Value(0), ..spec }).unwrap();
    assert_eq!(first.trials.used, 40);
}

#[test]
fn no_share_is_more_than_all() {
    let space = space("x = { float = [0, 1] }\ny = { float = [0, 1] }\nz = { log = [1e-4, 1] }");
    for n in 4..12 {
        let trials = study(&space, n, |params| number(params, "x"));
        let found = found(&space, &trials, &ImportanceSpec { method: Method::PedAnova, ..PAIRS });
        let most = found.parameters.iter().map(|single| single.share.max(single.spread));
        let most = most.chain(found.pairs.iter().map(|pair| pair.share.max(pair.spread))).fold(0.0, f64::max);
        assert!(most > 0.0 && most <= 1.0, "{n}: {found:?}");
    }
}

#[test]
fn what_cannot_be_said_is_an_error_in_words() {
    let known = space("x = { float = [0, 1] }");
    let trials = study(&known, 20, |params| number(params, "x"));
    let fails = |space: &Space, trials: &[Trial], spec: &ImportanceSpec, part: &str| {
        let error = importance(space, &[Direction::Minimize], trials, spec).unwrap_err().to_string();
        assert!(error.contains(part), "{error}");
    };
    fails(&known, &trials[..3], &PAIRS, "needs at least 4 trials that can be used; 3 of 3 trials used");
    fails(&known, &study(&known, 9, |_| 2.5), &PAIRS, "the target is 2.5 in all 9 trials");
    fails(&known, &trials, &ImportanceSpec { target: Target::Value(1), ..PAIRS }, "no objective 1");
    fails(&known, &trials, &ImportanceSpec { target: Target::Seconds, ..PAIRS }, "20 without a finite target");
    fails(&known, &trials, &ImportanceSpec { quantile: 0.5, region: 0.5, ..PAIRS }, "0 < quantile < region");
    fails(&known, &trials, &ImportanceSpec { rounds: 0, ..PAIRS }, "at least 1");
    let fixed = space("x = { choice = [1] }");
    let mut count = 0.0;
    let varied = study(&fixed, 9, |_| 0.0).into_iter().map(|mut trial| {
        count += 1.0;
        trial.values = vec![count];
        trial
    });
    fails(&fixed, &varied.collect::<Vec<_>>(), &PAIRS, "more than one value");
    assert!(Method::by_name("fnova").unwrap_err().to_string().contains("did you mean `fanova`"));
}

#[test]
fn a_parameter_that_comes_and_goes_without_reason_is_left_out() {
    let known = space("x = { float = [0, 1] }\ny = { float = [0, 1] }\nz = { float = [0, 1] }");
    let mut trials = study(&known, 20, |params| number(params, "x"));
    for trial in trials.iter_mut().step_by(3) {
        trial.params.shift_remove("y");
    }
    let (inferred, notes) = infer_space(&trials).unwrap();
    assert_eq!((inferred.len(), notes.len()), (2, 1));
    assert!(notes[0].contains("`y` is left out: 13 of 20"), "{notes:?}");
    assert_eq!(found(&inferred, &trials, &PAIRS).trials.used, 20);
}
