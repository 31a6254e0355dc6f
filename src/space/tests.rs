//! Domains, conditions, the grid, and the study file's `[space]` table.

use super::*;
use crate::random::Purpose;
use proptest::prelude::*;

fn parse(text: &str) -> Result<Space> {
    parse_with(text, &Expand::default())
}

fn parse_with(text: &str, expand: &Expand) -> Result<Space> {
    Space::from_toml(&text.parse::<toml::Table>().expect("valid TOML"), expand)
}

fn refusal(text: &str) -> String {
    match parse(text) {
        Err(Error::Input(message)) => message,
        other => panic!("expected a refusal, found {other:?}"),
    }
}

/// The example of the command line's contract.
const EXAMPLE: &str = r#"
learning_rate  = { log = [1e-4, 1e-1] }
batch_size     = { choice = [64, 128, 256, 512] }
layers         = { int = [1, 5] }
units          = { int = [32, 512], step = 32, each = "layers" }
activation     = { choice = ["relu", "tanh", "gelu", "silu"] }
dropout        = { float = [0.0, 0.5] }
optimizer      = { choice = ["sgd", "momentum", "adam", "adamw", "rmsprop"] }
momentum       = { float = [0.5, 0.99], when = { optimizer = ["momentum"] } }
weight_decay   = { log = [1e-6, 1e-2], when = { optimizer = ["adamw", "sgd"] } }
residual       = { choice = [true, false] }
"#;

fn draws(space: &Space, n: u64) -> Vec<Params> {
    (0..n).map(|i| space.sample(&mut Stream::new(7, i, Purpose::Propose, 0))).collect()
}

#[test]
fn the_example_holds_only_active_parameters() {
    let space = parse(EXAMPLE).unwrap();
    let names: Vec<&str> = space.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names[3..8], ["units_0", "units_1", "units_2", "units_3", "units_4"]);
    let mut seen_layers = std::collections::HashSet::new();
    for params in draws(&space, 500) {
        space.contains(&params).unwrap();
        let layers = params["layers"].as_i64().unwrap();
        seen_layers.insert(layers);
        for i in 0..5 {
            assert_eq!(params.contains_key(&format!("units_{i}")), i < layers, "{params:?}");
        }
        let optimizer = params["optimizer"].as_str().unwrap();
        assert_eq!(params.contains_key("momentum"), optimizer == "momentum");
        assert_eq!(params.contains_key("weight_decay"), optimizer == "adamw" || optimizer == "sgd");
    }
    assert_eq!(seen_layers.len(), 5);
}

#[test]
fn toml_and_json_lead_back_to_the_same_space() {
    let tricky = r#"
"odd name" = { choice = [true, 1, 2.5, "a \"quote\"", "x"] }
layers = { int = [0, 3] }
units = { int = [1, 64], log = true, each = "layers" }
activation = { choice = ["relu", "tanh"], each = "layers", when = { "odd name" = "x" } }
small = { float = [1e-9, 1.5], step = 0.5 }
deep = { float = [-1.0, 1.0], when = { layers = { at_least = 2 } } }
some = { float = [0.0, 1.0], when = { layers = [1, 3], "odd name" = true } }
"#;
    for text in [EXAMPLE, tricky] {
        let space = parse(text).unwrap();
        assert_eq!(parse(&space.to_toml()).unwrap(), space, "{}", space.to_toml());
        let json = serde_json::to_string(&space).unwrap();
        assert_eq!(serde_json::from_str::<Space>(&json).unwrap(), space, "{json}");
        assert_eq!(space.difference(&space), None);
    }
    assert!(parse(EXAMPLE).unwrap().to_toml().contains("units = { int = [32, 512], step = 32, each = \"layers\" }"));
    assert!(serde_json::from_str::<Space>(r#"[{"name":"x","domain":{"choice":[]}}]"#).is_err());
}

#[test]
fn a_difference_names_the_parameters() {
    let a = parse("x = { float = [0.0, 1.0] }\ny = { int = [1, 3] }").unwrap();
    let b = parse("x = { float = [0.0, 2.0] }\nz = { choice = [1] }").unwrap();
    let text = a.difference(&b).unwrap();
    assert_eq!(text.lines().count(), 3, "{text}");
    assert!(text.contains("x { float = [0.0, 1.0] }: there x { float = [0.0, 2.0] }"), "{text}");
    assert!(
        text.contains("y { int = [1, 3] }: only here") && text.contains("z { choice = [1] }: only there"),
        "{text}"
    );
}

#[test]
fn bad_tables_are_refused_with_the_reason() {
    let cases = [
        ("x = { flaot = [0.0, 1.0] }", "did you mean `float`"),
        ("x = { float = [0.0, 1.0], setp = 0.1 }", "did you mean `step`"),
        ("x = { float = [0.0, 1.0], int = [0, 1] }", "both float and int are given"),
        ("x = { step = 1 }", "no domain; expected one of float, log, int, choice"),
        ("x = 3", "found the whole number 3"),
        ("x = { float = [1.0, 0.0] }", "the range [1.0, 0.0] is inverted"),
        ("x = { int = [5, 1] }", "the range [5, 1] is inverted"),
        ("x = { int = [1, 2.5] }", "int needs whole numbers"),
        ("x = { float = [0.0, inf] }", "is not finite"),
        ("x = { float = [1.0] }", "float has 1 numbers; expected two"),
        ("x = { float = 1.0 }", "expected [lowest, highest]"),
        ("x = { log = [0, 1] }", "a logarithmic range needs a lower bound above 0"),
        ("x = { int = [0, 9], log = true }", "a logarithmic range needs a lower bound above 0"),
        ("x = { log = [0.1, 1.0], step = 0.1 }", "`step` does not go with `log`"),
        ("x = { int = [1, 9], log = true, step = 2 }", "a logarithmic range cannot have a step"),
        ("x = { float = [0.0, 1.0], step = 0.0 }", "the step is 0.0; it must be above 0"),
        ("x = { int = [0, 4], step = 0 }", "the step is 0; it must be at least 1"),
        ("x = { choice = [] }", "the choice is empty"),
        ("x = { choice = [1, 1.0] }", "lists `1.0` twice"),
        ("x = { choice = [[1, 2]] }", "write a list as a text"),
        ("x = { choice = [1], when = { z = 1 } }\ny = { int = [1, 2] }", "`z` is not known"),
        ("y = { int = [1, 2] }\nx = { choice = [1], when = { y = 3 } }", "no value of y (int = [1, 2])"),
        ("y = { int = [1, 2] }\nx = { choice = [1], when = { y = { at_least = 3 } } }", "never holds"),
        ("y = { int = [1, 2] }\nx = { choice = [1], when = { y = [] } }", "empty list"),
        ("x = { choice = [1], when = { y = 1 } }\ny = { choice = [1], when = { x = 1 } }", "lead in a circle"),
        ("x = { int = [1, 2], each = \"layer\" }\nlayers = { int = [1, 2] }", "did you mean `layers`"),
        ("x = { int = [1, 2], each = \"d\" }\nd = { float = [1.0, 2.0] }", "must be a whole number"),
        ("x = { int = [1, 2], each = \"d\" }\nd = { int = [1, 5] }\nx_0 = { int = [1, 2] }", "used twice"),
        ("x = { int = [1, 2], each = \"d\" }\nd = { int = [1, 5000] }", "at most 1000"),
    ];
    for (text, reason) in cases {
        let message = refusal(text);
        assert!(message.contains(reason), "{text}: {message}");
        assert!(message.starts_with("[space]"), "{message}");
    }
    let place = Expand { place: "study.toml: [space]".into(), ..Expand::default() };
    let message = parse_with("learning_rate = { log = [0, 1] }", &place).unwrap_err().to_string();
    assert_eq!(
        message,
        "study.toml: [space] learning_rate: the log range starts at 0.0; a logarithmic range needs a lower bound above 0"
    );
}

#[test]
fn copies_exist_where_their_parent_does() {
    let text = "a = { choice = [\"p\", \"q\"] }\nb = { int = [1, 3], when = { a = \"q\" } }\n\
                u = { int = [8, 64], each = \"b\" }\n";
    let space = parse(text).unwrap();
    for params in draws(&space, 100) {
        let layers = params.get("b").map_or(0, |b| b.as_i64().unwrap());
        for i in 0..3 {
            assert_eq!(params.contains_key(&format!("u_{i}")), i < layers, "{params:?}");
        }
    }
    assert_eq!(space.to_toml().lines().last(), Some("u = { int = [8, 64], each = \"b\" }"));
    assert_eq!(parse(&space.to_toml()).unwrap(), space);
    // A parent that what is fixed outside forbids takes all of its copies with it.
    let fixed = [("a".to_owned(), "p".into())].into_iter().collect();
    let rest = "b = { int = [1, 3], when = { a = \"q\" } }\nu = { int = [8, 64], each = \"b\" }\n";
    assert_eq!(parse_with(rest, &Expand { fixed, ..Expand::default() }).unwrap().len(), 0);
}

#[test]
fn values_are_drawn_among_those_that_pass() {
    let space = parse(
        "n = { int = [1, 100] }\nl = { int = [1, 100], log = true }\nf = { log = [1e-3, 1.0] }\n\
         s = { float = [0.0, 1.0], step = 0.1 }\nc = { choice = [1, 2, 8] }\nd = { choice = [\"a\", \"b\"] }",
    )
    .unwrap();
    let domain = |name: &str| &space.get(name).unwrap().domain;
    for (name, least) in [("n", 41.0), ("l", 41.0), ("f", 0.3), ("s", 0.75), ("c", 2.0)] {
        let test = Test::AtLeast(least);
        let drawn: Vec<f64> =
            (0..=50).map(|i| domain(name).within(&[&test], f64::from(i) / 50.0).unwrap().as_f64().unwrap()).collect();
        assert!(drawn.iter().all(|x| *x >= least) && drawn.is_sorted(), "{name}: {drawn:?}");
        assert!(drawn[0] < 1.1 * least && drawn[50] > drawn[0], "{name}: {drawn:?}");
        assert_eq!(domain(name).within(&[&Test::AtLeast(101.0)], 0.5), None);
        for u in [0.0, 0.3, 1.0] {
            assert_eq!(domain(name).within(&[], u), Some(domain(name).from_unit(u)));
        }
    }
    let (few, none) = (Test::In(vec!["b".into()]), Test::In(vec!["a".into()]));
    assert_eq!(domain("d").within(&[&few], 0.0), Some("b".into()));
    assert_eq!(domain("d").within(&[&few, &none], 0.0), None);
    assert_eq!(domain("n").within(&[&Test::In(vec![7.into(), 50.into()]), &Test::AtLeast(9.0)], 0.0), Some(50.into()));
}

#[test]
fn names_fixed_outside_are_decided_once() {
    let text = "units = { int = [8, 64], each = \"layers\" }\n\
                momentum = { float = [0.5, 0.9], when = { optimizer = \"momentum\" } }\n\
                nesterov = { choice = [true, false], when = { momentum = 0.5 } }\n\
                decay = { float = [0.0, 1.0], when = { optimizer = [\"adam\", \"adamw\"] } }";
    let fixed = [("layers".to_owned(), Value::Int(2)), ("optimizer".to_owned(), "adam".into())].into();
    let space = parse_with(text, &Expand { fixed, ..Expand::default() }).unwrap();
    let names: Vec<&str> = space.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["units_0", "units_1", "decay"]);
    assert!(space.parameters().iter().all(|parameter| parameter.when.is_empty()));
}

#[test]
fn parents_come_before_children() {
    let space = parse("a = { choice = [1], when = { b = 2 } }\nc = { int = [0, 1] }\nb = { int = [1, 3] }").unwrap();
    let names: Vec<&str> = space.parameters().iter().map(|parameter| parameter.name.as_str()).collect();
    assert_eq!(names, ["c", "b", "a"]);
}

#[test]
fn steps_lower_the_upper_end_as_optuna_does() {
    let space = parse("a = { int = [1, 512], step = 32 }\nb = { float = [0.1, 0.35], step = 0.1 }").unwrap();
    assert_eq!(space.parameters()[0].domain, Domain::Int { low: 1, high: 481, log: false, step: 32 });
    assert_eq!(space.parameters()[1].domain, Domain::Float { low: 0.1, high: 0.3, log: false, step: Some(0.1) });
    let values: Vec<Value> = (0..3).map(|i| space.parameters()[1].domain.nth(i)).collect();
    assert_eq!(values, [0.1, 0.2, 0.3].map(Value::Float));
}

#[test]
fn contains_tells_what_is_wrong() {
    let space = parse(EXAMPLE).unwrap();
    let good = draws(&space, 1).remove(0);
    let wrong = |change: &dyn Fn(&mut Params)| {
        let mut params = good.clone();
        change(&mut params);
        space.contains(&params).unwrap_err().to_string()
    };
    assert!(wrong(&|p| drop(p.shift_remove("dropout"))).contains("dropout: no value"));
    assert!(wrong(&|p| drop(p.insert("dropuot".into(), 0.1.into()))).contains("did you mean `dropout`"));
    assert!(wrong(&|p| drop(p.insert("dropout".into(), 0.6.into()))).contains("outside its domain"));
    assert!(wrong(&|p| drop(p.insert("units_0".into(), 33.into()))).contains("outside its domain"));
    assert!(
        wrong(&|p| {
            p.insert("optimizer".into(), "adam".into());
            p.insert("momentum".into(), 0.9.into());
        })
        .contains("only when optimizer is momentum")
    );
    let mut params = good.clone();
    params.insert("dropout".into(), Value::Int(0));
    let full = space.complete(&params, |_| unreachable!()).unwrap();
    assert_eq!(full["dropout"], Value::Float(0.0));
    assert!(full.keys().eq(good.keys()));
}

#[test]
fn the_size_is_the_number_of_configurations_that_the_grid_lists() {
    let cases = [
        ("", 1),
        ("a = { int = [1, 3] }\nb = { choice = [\"x\", \"y\"] }", 6),
        // x: 1; y: 3 values of c.
        ("b = { choice = [\"x\", \"y\"] }\nc = { int = [1, 3], when = { b = \"y\" } }", 4),
        // n = 0, 1, 2: 1 + 2 + 4.
        ("n = { int = [0, 2] }\nu = { choice = [8, 16], each = \"n\" }", 7),
        ("n = { int = [0, 2] }\nu = { choice = [8, 16], each = \"n\" }\nz = { float = [0.0, 1.0], step = 0.5 }", 21),
        ("m = { int = [1, 2] }\na = { int = [1, 2], when = { m = 2 } }\nb = { int = [1, 5], when = { a = 1 } }", 7),
        ("k = { int = [1, 8], log = true }", 8),
    ];
    for (text, size) in cases {
        let space = parse(text).unwrap();
        assert_eq!(space.size(), Some(size), "{text}");
        let grid = Grid::new(&space, usize::MAX);
        let all: Vec<Params> = (0..size).map(|i| grid.nth(i).unwrap()).collect();
        all.iter().for_each(|params| space.contains(params).unwrap());
        let distinct: std::collections::HashSet<String> = all.iter().map(fingerprint).collect();
        assert_eq!(distinct.len() as u64, size, "{text}");
        assert_eq!(grid.nth(size), None);
    }
    assert_eq!(parse("x = { float = [0.0, 1.0] }").unwrap().size(), None);
    assert_eq!(parse("n = { int = [1, 9223372036854775807] }\nm = { int = [0, 9] }").unwrap().size(), None);
}

#[test]
fn the_grid_spreads_a_continuum_with_its_ends() {
    let space = parse("a = { log = [1e-4, 1.0] }\nb = { int = [1, 1000], log = true }").unwrap();
    let grid = Grid::new(&space, 3);
    assert_eq!(grid.size(), Some(9));
    let at = |i: u64| grid.nth(i).unwrap().values().map(|value| value.as_f64().unwrap()).collect::<Vec<_>>();
    assert_eq!((at(0), at(8)), (vec![1e-4, 1.0], vec![1.0, 1000.0]));
    assert!((at(4)[0] - 1e-2).abs() < 1e-12 && (15.0..40.0).contains(&at(4)[1]), "{:?}", at(4));
}

fn domains() -> impl Strategy<Value = Domain> {
    let float = (-1e6..1e6f64, 0.0..1e6f64, prop::option::of(1e-3..10.0f64))
        .prop_map(|(low, width, step)| Domain::Float { low, high: low + width, log: false, step });
    let log = (1e-9..1.0f64, 1.0..1e9f64).prop_map(|(low, ratio)| Domain::Float {
        low,
        high: low * ratio,
        log: true,
        step: None,
    });
    let int = (-1000..1000i64, 0..5000i64, 1..70i64).prop_map(|(low, width, step)| Domain::Int {
        low,
        high: low + width,
        log: false,
        step,
    });
    let log_int =
        (1..50i64, 0..5000i64).prop_map(|(low, width)| Domain::Int { low, high: low + width, log: true, step: 1 });
    let choice = (1..9i64).prop_map(|n| Domain::Choice((0..n).map(Value::Int).collect()));
    prop_oneof![float, log, int, log_int, choice].prop_map(|domain| domain.checked().unwrap())
}

proptest! {
    #[test]
    fn units_and_values_invert_each_other(domain in domains(), u in 0.0..=1.0f64) {
        let value = domain.from_unit(u);
        prop_assert_eq!(domain.accept(&value), Some(value.clone()), "{:?}", domain);
        let back = domain.from_unit(domain.to_unit(&value));
        match (value.as_f64(), back.as_f64(), domain.size()) {
            (Some(a), Some(b), None) => prop_assert!((a - b).abs() <= 1e-9 * (1.0 + a.abs()), "{a} {b}"),
            _ => prop_assert_eq!(&back, &value),
        }
        if let Some(index) = domain.index_of(&value) {
            prop_assert_eq!(domain.nth(index), value);
        }
    }

    #[test]
    fn the_ends_of_the_unit_interval_are_the_ends_of_the_domain(domain in domains()) {
        let ends = (domain.from_unit(0.0), domain.from_unit(1.0));
        match &domain {
            Domain::Float { low, high, .. } => prop_assert_eq!(ends, (Value::Float(*low), Value::Float(*high))),
            Domain::Int { low, high, .. } => prop_assert_eq!(ends, (Value::Int(*low), Value::Int(*high))),
            Domain::Choice(values) => prop_assert_eq!(ends, (values[0].clone(), values[values.len() - 1].clone())),
        }
    }
}

#[test]
fn samples_are_uniform_where_they_should_be() {
    let space = parse(
        "f = { float = [2.0, 4.0] }\nl = { log = [1e-4, 1.0] }\nk = { int = [0, 4] }\nc = { choice = [\"a\", \"b\"] }",
    )
    .unwrap();
    let n = 20_000;
    let sample = draws(&space, n);
    let share = |test: &dyn Fn(&Params) -> bool| sample.iter().filter(|p| test(p)).count() as f64 / n as f64;
    // Five standard deviations of a share of 20,000 draws are at most 0.018.
    assert!((share(&|p| p["f"].as_f64().unwrap() < 2.5) - 0.25).abs() < 0.018);
    assert!((share(&|p| p["l"].as_f64().unwrap() < 1e-3) - 0.25).abs() < 0.018);
    assert!((share(&|p| p["k"].as_i64().unwrap() == 0) - 0.2).abs() < 0.018);
    assert!((share(&|p| p["k"].as_i64().unwrap() == 4) - 0.2).abs() < 0.018);
    assert!((share(&|p| p["c"].as_str().unwrap() == "a") - 0.5).abs() < 0.018);
}
