//! The contract of every sampler in the list, over spaces of every kind.

use super::*;
use crate::history::{Record, State};
use crate::random::{Purpose, Stream};
use crate::space::{Expand, Value, fingerprint};
use std::collections::HashSet;

const MIXED: &str = r#"
rate = { log = [1e-5, 1.0] }
drop = { float = [0.0, 0.5], step = 0.1 }
layers = { int = [0, 3] }
units = { int = [16, 256], log = true, each = "layers" }
kind = { choice = ["a", "b", "c"] }
extra = { float = [-1.0, 1.0], when = { kind = ["b"] } }
"#;
const FINITE: &str = r#"
n = { int = [0, 2] }
u = { choice = ["s", "m", "l"], each = "n" }
x = { float = [0.0, 1.0], step = 0.5 }
"#;
const CONTINUUM: &str = "x = { float = [-2.0, 3.0] }\ny = { log = [1e-3, 1e3] }";

fn space(text: &str) -> Space {
    Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap()
}

fn samplers() -> Vec<(&'static str, Box<dyn Sampler>)> {
    let settings = Settings { trials: Some(38), ..Settings::default() };
    SAMPLERS.iter().map(|entry| (entry.name, by_name(entry.name, &settings).unwrap())).collect()
}

/// A smooth function of the configuration with its optimum inside.
fn objective(params: &Params) -> f64 {
    let value = |(i, value): (usize, &Value)| match value {
        Value::Text(text) => text.len() as f64 + f64::from(text.as_bytes()[0]) / 100.0,
        other => (other.as_f64().unwrap_or(0.0).abs().ln_1p() - 0.3 * (i + 1) as f64).powi(2),
    };
    params.values().enumerate().map(value).sum()
}

fn finished(number: u64, params: Params, state: State, value: f64) -> Trial {
    let values = if state == State::Complete { vec![value] } else { Vec::new() };
    Trial::from(Record { values, params, ..Record::blank(number, state) })
}

fn ask_at(sampler: &dyn Sampler, space: &Space, history: &[Trial], seed: u64, slot: u64) -> Proposal {
    sampler.ask(&Ask { space, directions: &[Direction::Minimize], history, seed, slot, source: &[] })
}

/// Trials from slot 0 until `n` or exhausted.
fn run(sampler: &dyn Sampler, space: &Space, n: u64, seed: u64) -> Vec<Trial> {
    go_on(sampler, space, Vec::new(), n, seed)
}

fn go_on(sampler: &dyn Sampler, space: &Space, mut history: Vec<Trial>, n: u64, seed: u64) -> Vec<Trial> {
    for slot in history.len() as u64..n {
        let Proposal::Params(params) = ask_at(sampler, space, &history, seed, slot) else { break };
        space.contains(&params).unwrap();
        let value = objective(&params);
        history.push(finished(slot, params, State::Complete, value));
    }
    history
}

fn params(trials: &[Trial]) -> Vec<&Params> {
    trials.iter().map(|trial| &trial.params).collect()
}

#[test]
fn proposals_lie_in_the_space_and_hold_active_parameters_alone() {
    for (name, sampler) in samplers() {
        for text in [MIXED, FINITE, CONTINUUM] {
            let space = space(text);
            // `run` checks every proposal with `contains`, which refuses inactive parameters.
            let history = run(&*sampler, &space, 40, 1);
            assert!(history.len() >= if name == "grid" { 25 } else { 39 }, "{name}: {} trials", history.len());
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_points_and_another_seed_others() {
    for (name, sampler) in samplers() {
        let space = space(MIXED);
        let (a, b, c) = (run(&*sampler, &space, 25, 1), run(&*sampler, &space, 25, 1), run(&*sampler, &space, 25, 2));
        assert_eq!(a, b, "{name}");
        assert_ne!(params(&a), params(&c), "{name}");
    }
}

#[test]
fn interrupted_and_resumed_equals_uninterrupted() {
    for (name, sampler) in samplers() {
        let space = space(MIXED);
        let whole = run(&*sampler, &space, 24, 3);
        for cut in [1, 7, 12, 17] {
            let (_, fresh) = samplers().into_iter().find(|(other, _)| *other == name).unwrap();
            assert_eq!(go_on(&*fresh, &space, whole[..cut].to_vec(), 24, 3), whole, "{name} from {cut}");
        }
    }
}

#[test]
fn the_order_of_the_history_does_not_matter() {
    for (name, sampler) in samplers() {
        let space = space(MIXED);
        let mut history = run(&*sampler, &space, 20, 4);
        let expected = ask_at(&*sampler, &space, &history, 4, 20);
        for seed in 0..3 {
            Stream::new(seed, 0, Purpose::Shuffle, 0).shuffle(&mut history);
            assert_eq!(ask_at(&*sampler, &space, &history, 4, 20), expected, "{name}");
        }
    }
}

#[test]
fn a_finite_space_is_tried_once_and_then_exhausted() {
    for (name, sampler) in samplers() {
        let space = space(FINITE);
        let size = space.size().unwrap();
        assert_eq!(size, 39);
        let history = run(&*sampler, &space, 100, 5);
        let distinct: HashSet<String> = history.iter().map(|trial| fingerprint(&trial.params)).collect();
        assert_eq!((history.len(), distinct.len()), (39, 39), "{name}");
    }
}

/// Whatever brought them: enqueued, added, or proposed by another sampler.
#[test]
fn trials_from_elsewhere_are_not_tried_again() {
    let space = space(FINITE);
    for (name, sampler) in samplers() {
        for marker in ["fixed_params", "hpt:added", "nothing"] {
            let mut history = run(&*by_name("random", &Settings::default()).unwrap(), &space, 9, 11);
            history.iter_mut().for_each(|trial| drop(trial.system.insert(marker.into(), serde_json::json!({}))));
            let history = go_on(&*sampler, &space, history, 100, 5);
            let distinct: HashSet<String> = history.iter().map(|trial| fingerprint(&trial.params)).collect();
            assert_eq!((history.len(), distinct.len()), (39, 39), "{name} {marker}");
        }
    }
}

#[test]
fn failed_running_and_broken_trials_do_no_harm() {
    for (name, sampler) in samplers() {
        for text in [MIXED, FINITE] {
            let space = space(text);
            let mut history = run(&*sampler, &space, 18, 6);
            for (i, state) in [State::Failed, State::Running, State::Waiting, State::Pruned].into_iter().enumerate() {
                history[i].state = state;
                history[i].values.clear();
            }
            history[4].values = vec![f64::NAN];
            history[5].values = vec![f64::INFINITY];
            history[6].values = vec![f64::NEG_INFINITY];
            // A trial whose parameters somebody else chose, outside the space.
            history[7].params = [("elsewhere".to_owned(), Value::Int(1))].into_iter().collect();
            let more = go_on(&*sampler, &space, history, 24, 6);
            assert_eq!(more.len(), 24, "{name}");
            // Nothing but failures.
            let mut failures = run(&*sampler, &space, 18, 6);
            failures
                .iter_mut()
                .for_each(|trial| *trial = finished(trial.number, trial.params.clone(), State::Failed, 0.0));
            assert_eq!(go_on(&*sampler, &space, failures, 20, 6).len(), 20, "{name}");
        }
    }
}

#[test]
fn the_ends_of_steps_and_choices_are_reached() {
    for (name, sampler) in samplers() {
        let space =
            space("a = { int = [1, 3] }\nb = { float = [0.0, 1.0], step = 0.5 }\nc = { choice = [true, false] }");
        let history = run(&*sampler, &space, 200, 7);
        let ends: [(&str, [Value; 2]); 3] = [
            ("a", [Value::Int(1), Value::Int(3)]),
            ("b", [Value::Float(0.0), Value::Float(1.0)]),
            ("c", [Value::Bool(true), Value::Bool(false)]),
        ];
        for (parameter, end) in ends.iter().flat_map(|(parameter, ends)| ends.iter().map(move |end| (*parameter, end)))
        {
            assert!(history.iter().any(|trial| trial.params[parameter] == *end), "{name}: {parameter} = {end}");
        }
    }
}

#[test]
fn an_empty_or_single_space_has_one_configuration() {
    for (name, sampler) in samplers() {
        for text in ["", "x = { choice = [\"only\"] }\ny = { float = [2.0, 2.0] }"] {
            assert_eq!(run(&*sampler, &space(text), 5, 0).len(), 1, "{name}: {text}");
        }
    }
}

#[test]
fn several_objectives_are_no_reason_to_stop() {
    let directions = [Direction::Minimize, Direction::Maximize];
    for (name, sampler) in samplers() {
        let space = space(MIXED);
        let mut history: Vec<Trial> = Vec::new();
        for slot in 0..16 {
            let ask = Ask { space: &space, directions: &directions, history: &history, seed: 1, slot, source: &[] };
            let Proposal::Params(params) = sampler.ask(&ask) else { panic!("{name}") };
            let value = objective(&params);
            let mut trial = finished(slot, params, State::Complete, value);
            trial.values.push(value.sin());
            history.push(trial);
        }
    }
}

/// Three proposals, one after the other, after a history of 16 trials of which `spoil` may change what it likes.
fn go_on_with(name: &str, directions: &[Direction], spoil: &dyn Fn(&mut [Trial])) -> Vec<Params> {
    let settings = Settings { trials: Some(40), ..Settings::default() };
    let (sampler, space) = (by_name(name, &settings).unwrap(), space(MIXED));
    let mut history = run(&RandomSampler, &space, 16, 11);
    for trial in &mut history {
        let value = trial.values[0];
        trial.values = (0..directions.len()).map(|k| (value + k as f64).sin()).collect();
    }
    spoil(&mut history);
    let mut proposals = Vec::new();
    for slot in 16..19 {
        let Proposal::Params(params) =
            sampler.ask(&Ask { space: &space, directions, history: &history, seed: 11, slot, source: &[] })
        else {
            panic!("{name}")
        };
        space.contains(&params).unwrap();
        history.push(finished(slot, params.clone(), State::Running, 0.0));
        proposals.push(params);
    }
    proposals
}

#[test]
fn several_objectives_may_be_broken_equal_or_constant() {
    let constrained = |trial: &mut Trial, by: [f64; 2]| {
        trial.system.insert("constraints".into(), serde_json::json!(by));
    };
    type Spoil<'a> = (&'a str, &'a dyn Fn(&mut [Trial]));
    let spoils: [Spoil<'_>; 9] = [
        ("as they are", &|_| {}),
        ("not numbers", &|trials| {
            trials[0].values[1] = f64::NAN;
            trials[1].values[0] = f64::INFINITY;
            trials[2].values[1] = f64::NEG_INFINITY;
            trials[3].values[0] = 1e300;
        }),
        ("states", &|trials| {
            for (i, state) in [State::Failed, State::Running, State::Waiting, State::Pruned].into_iter().enumerate() {
                trials[i].state = state;
                trials[i].values.clear();
            }
            trials[3].intermediate = [(1, 0.3)].into_iter().collect();
            trials[4].params = [("elsewhere".to_owned(), Value::Int(1))].into_iter().collect();
            trials[5].values.truncate(1);
        }),
        ("equal", &|trials| trials.iter_mut().for_each(|trial| trial.values[1] = trial.values[0])),
        ("constant", &|trials| trials.iter_mut().for_each(|trial| trial.values[0] = 2.0)),
        ("all the same", &|trials| trials.iter_mut().for_each(|trial| trial.values.fill(1.0))),
        ("one dominates", &|trials| trials[5].values = trials[5].values.iter().map(|_| -50.0).collect()),
        ("constraints", &|trials| {
            (0..16).for_each(|i| constrained(&mut trials[i], [i as f64 - 9.0, 0.0]));
            trials[7].system.clear();
            trials[8].system.insert("constraints".into(), serde_json::json!([null, -1.0]));
        }),
        ("nothing keeps its constraints", &|trials| {
            for (i, trial) in trials.iter_mut().enumerate() {
                constrained(trial, [1.0 + i as f64, 0.5]);
                trial.state = State::Pruned;
                trial.values.clear();
            }
        }),
    ];
    for name in ["gp", "tpe", "nsga2", "auto"] {
        for objectives in [2, 3, 5] {
            for (what, spoil) in &spoils {
                let directions = vec![Direction::Minimize; objectives];
                let found = go_on_with(name, &directions, spoil);
                assert_eq!(found, go_on_with(name, &directions, spoil), "{name}, {objectives}, {what}");
                let distinct: HashSet<String> = found.iter().map(fingerprint).collect();
                assert_eq!(distinct.len(), 3, "{name}, {objectives}, {what}: {found:?}");
            }
        }
    }
}

/// A larger value is better: the mirrored objective has the same proposals.
#[test]
fn directions_are_respected() {
    let mirror = |trials: &mut [Trial]| trials.iter_mut().for_each(|trial| trial.values[1] *= -1.0);
    for name in ["gp", "tpe"] {
        let plain = go_on_with(name, &[Direction::Minimize; 2], &|_| {});
        assert_eq!(go_on_with(name, &[Direction::Minimize, Direction::Maximize], &mirror), plain, "{name}");
        assert_ne!(go_on_with(name, &[Direction::Minimize; 2], &mirror), plain, "{name}");
    }
}

/// An optimum in a corner is proposed once, unless there is noise that another look would lessen.
#[test]
fn a_continuum_is_not_tried_twice_in_one_place() {
    let space = space("x = { float = [0.0, 1.0] }\ny = { float = [0.0, 1.0] }");
    let gp = GpSampler::new(&Settings::default());
    let run = |noise: f64| {
        let mut history: Vec<Trial> = Vec::new();
        for slot in 0..40 {
            let Proposal::Params(params) = ask_at(&gp, &space, &history, 3, slot) else { panic!("{slot}") };
            let number = |name: &str| params[name].as_f64().unwrap();
            let drawn = Stream::new(3, slot, Purpose::Bootstrap, 0).normal();
            let value = number("x") + 2.0 * number("y") + noise * drawn;
            history.push(finished(slot, params, State::Complete, value));
        }
        let distinct: HashSet<String> = history.iter().map(|trial| fingerprint(&trial.params)).collect();
        let corner = |trial: &&Trial| trial.params.values().all(|value| value.as_f64() == Some(0.0));
        (history.iter().filter(corner).count(), distinct.len())
    };
    assert_eq!(run(0.0), (1, 40));
    assert!(run(0.5).0 > 1, "{:?}", run(0.5));
}

#[test]
fn every_sampler_says_what_it_does() {
    for (name, sampler) in samplers() {
        for text in [MIXED, FINITE, CONTINUUM] {
            let line = sampler.describe(&space(text), &[Direction::Minimize]);
            assert!(line.starts_with(name) && line.lines().count() == 1, "{line}");
        }
    }
}

#[test]
fn the_grid_counts_slots_and_passes_over_enqueued_trials() {
    let space = space("a = { int = [0, 9] }");
    let grid = GridSampler { resolution: 5, trials: None };
    let value = |history: &[Trial], slot: u64| match ask_at(&grid, &space, history, 0, slot) {
        Proposal::Params(params) => params["a"].as_i64(),
        Proposal::Exhausted => None,
    };
    let order: Vec<i64> = run(&grid, &space, 20, 0).iter().map(|trial| trial.params["a"].as_i64().unwrap()).collect();
    assert_eq!(order.iter().collect::<HashSet<_>>().len(), 10, "{order:?}");
    assert_ne!(order, (0..10).collect::<Vec<_>>());
    // Two jobs at once: the history does not hold slot 3 yet when slot 4 asks.
    let mut history = run(&grid, &space, 3, 0);
    assert_eq!((value(&history, 4), value(&history, 3)), (Some(order[4]), Some(order[3])));
    // Slot 1 has the point of place 7, which the last one stands in for.
    history[1].params = [("a".into(), order[7].into())].into_iter().collect();
    history[1].system.insert("fixed_params".into(), serde_json::json!({ "a": order[7] }));
    history[2].params = [("a".into(), order[1].into())].into_iter().collect();
    assert_eq!(value(&history, 3), Some(order[2]));
    assert_eq!((value(&history, 8), value(&history, 10)), (Some(order[9]), Some(order[9])));
    // A repeated trial stands in its predecessor's slot and does not count.
    let mut again = history[0].clone();
    again.number = 40;
    again.system.insert("hpt:slot".into(), 0.into());
    again.system.insert("fixed_params".into(), serde_json::json!({ "a": 0 }));
    history.insert(0, again);
    assert_eq!(value(&history, 3), Some(order[2]));
}

#[test]
fn the_grid_says_what_part_of_it_the_trials_see() {
    let settings = Settings { trials: Some(7), ..Settings::default() };
    let line = by_name("grid", &settings).unwrap().describe(&space(FINITE), &[Direction::Minimize]);
    assert_eq!(line, "grid: all 39 configurations, of which 7 trials see 7, drawn by the seed");
}

#[test]
fn auto_takes_the_grid_where_it_fits() {
    let auto = |trials: Option<u64>| Auto::new(&Settings { trials, ..Settings::default() });
    let line = |text: &str, trials| auto(trials).describe(&space(text), &[Direction::Minimize]);
    assert!(line(FINITE, Some(39)).starts_with("auto: grid: all 39 configurations"));
    assert!(line(FINITE, Some(38)).starts_with("auto: gp"));
    assert!(line(CONTINUUM, Some(10)).starts_with("auto: qmc"));
    assert!(!line(FINITE, None).contains("grid"));
    assert!(!line(CONTINUUM, Some(1000)).contains("grid"));
    let two = |trials| auto(trials).describe(&space(CONTINUUM), &[Direction::Minimize; 2]);
    assert!(
        two(Some(200)).starts_with("auto: gp: Gaussian process and expected improvement of the front's hypervolume")
    );
    assert!(!two(Some(200)).contains("tpe") && two(None).contains("from trial 250 on tpe"), "{}", two(None));
    assert!(two(Some(2000)).starts_with("auto: gp"), "{}", two(Some(2000)));
    assert!(two(Some(2000)).contains("from trial 250 on nsga2"), "{}", two(Some(2000)));
    let many = |n, trials| auto(Some(trials)).describe(&space(CONTINUUM), &vec![Direction::Minimize; n]);
    assert!(many(4, 300).contains("from trial 125 on tpe"), "{}", many(4, 300));
    assert!(many(5, 200).starts_with("auto: tpe") && many(5, 2000).starts_with("auto: nsga2"));
    assert!(line(CONTINUUM, Some(1000)).contains("from trial 500 on tpe"));
    assert!(!line(CONTINUUM, Some(500)).contains("tpe"));
    let wide: String = (0..61).map(|i| format!("x{i} = {{ float = [0.0, 1.0] }}\n")).collect();
    assert!(line(&wide, None).starts_with("auto: tpe"));
    let beside = |at_once| Auto::new(&Settings { at_once, ..Settings::default() });
    let beside = |at_once| beside(at_once).describe(&space(CONTINUUM), &[Direction::Minimize]);
    assert!(beside(127).starts_with("auto: gp") && beside(128).starts_with("auto: tpe"), "{}", beside(128));
    // Room for more than there are trials or configurations is not used.
    let roomy = |trials, text: &str| {
        let auto = Auto::new(&Settings { at_once: 1_000, trials, ..Settings::default() });
        auto.describe(&space(text), &[Direction::Minimize])
    };
    assert!(
        roomy(Some(127), CONTINUUM).starts_with("auto: gp") && roomy(Some(128), CONTINUUM).starts_with("auto: tpe")
    );
    let finite = |size| roomy(None, &format!("n = {{ int = [1, {size}] }}"));
    assert!(finite(127).starts_with("auto: gp") && finite(128).starts_with("auto: tpe"), "{}", finite(127));
}

#[test]
fn auto_hands_over_to_tpe() {
    let space = space(CONTINUUM);
    let (auto, tpe) = (by_name("auto", &Settings::default()).unwrap(), by_name("tpe", &Settings::default()).unwrap());
    let history = run(&RandomSampler, &space, 500, 9);
    assert_eq!(ask_at(&*auto, &space, &history, 9, 500), ask_at(&*tpe, &space, &history, 9, 500));
    assert_ne!(ask_at(&*auto, &space, &history[1..], 9, 500), ask_at(&*tpe, &space, &history[1..], 9, 500));
}

/// Also where so much has been tried that drawing does not find the rest.
#[test]
fn the_last_configurations_of_a_large_space_are_found() {
    let space = space("a = { int = [0, 59] }\nb = { int = [0, 49] }");
    let all = crate::space::Grid::new(&space, usize::MAX);
    let size = all.size().unwrap();
    let missing = [7, 2_000, size - 1];
    let places = (0..size).filter(|place| !missing.contains(place));
    let mut history: Vec<Trial> =
        places.map(|place| finished(place, all.nth(place).unwrap(), State::Complete, 0.0)).collect();
    let mut found = Vec::new();
    for slot in size..size + 3 {
        let Proposal::Params(params) = ask_at(&RandomSampler, &space, &history, 1, slot) else { panic!("{slot}") };
        found.push(params.clone());
        history.push(finished(slot, params, State::Complete, 0.0));
    }
    assert!(missing.iter().all(|place| found.contains(&all.nth(*place).unwrap())), "{found:?}");
    assert_eq!(ask_at(&RandomSampler, &space, &history, 1, size + 3), Proposal::Exhausted);
}

/// The least of a bowl with a ridge, over both choices, that a sampler finds in `n` trials.
fn least(sampler: &dyn Sampler, n: u64, seed: u64) -> f64 {
    let space = space(
        "x = { float = [0.0, 1.0] }\ny = { log = [1e-4, 1.0] }\nk = { int = [1, 50] }\nc = { choice = [\"a\", \"b\"] }",
    );
    let bowl = |params: &Params| {
        let number = |name: &str| params[name].as_f64().unwrap();
        let (x, y, k) = (number("x"), 1.0 + number("y").log10() / 4.0, number("k") / 50.0);
        (x - 0.7).powi(2)
            + (y - x).powi(2)
            + 0.5 * (k - 0.2).powi(2)
            + if params["c"] == "a".into() { 0.3 } else { 0.0 }
    };
    let mut history = Vec::new();
    for slot in 0..n {
        let Proposal::Params(params) = ask_at(sampler, &space, &history, seed, slot) else { break };
        let value = bowl(&params);
        history.push(finished(slot, params, State::Complete, value));
    }
    history.iter().filter_map(Trial::value).fold(f64::INFINITY, f64::min)
}

#[test]
fn models_find_what_random_points_do_not() {
    let (gp, tpe) = (GpSampler::new(&Settings::default()), TpeSampler::new(&Settings::default()));
    for seed in 0..3 {
        let (by_model, by_chance) = (least(&gp, 30, seed), least(&RandomSampler, 30, seed));
        assert!(by_model < 2e-3 && by_model < 0.2 * by_chance, "gp, seed {seed}: {by_model} {by_chance}");
        let (by_model, by_chance) = (least(&tpe, 100, seed), least(&RandomSampler, 100, seed));
        assert!(by_model < 5e-3 && by_model < 0.5 * by_chance, "tpe, seed {seed}: {by_model} {by_chance}");
    }
}

#[test]
fn every_acquisition_finds_what_random_points_do_not() {
    for acquisition in Acquisition::ALL {
        let gp = GpSampler::new(&Settings { acquisition, ..Settings::default() });
        let (by_model, by_chance) = (least(&gp, 30, 1), least(&RandomSampler, 30, 1));
        assert!(by_model < 5e-3 && by_model < 0.3 * by_chance, "{acquisition:?}: {by_model} {by_chance}");
        let line = gp.describe(&space(CONTINUUM), &[Direction::Minimize]);
        assert!(line.contains(acquisition.words()), "{line}");
    }
}

/// Two objectives of a configuration, both to be small.
type Objectives = fn(&Space, &Params) -> Vec<f64>;

/// The first of the functions of Zitzler, Deb and Thiele (Evol. Comput. 8, 2000): the front is f2 = 1 − √f1.
fn zdt1(space: &Space, params: &Params) -> Vec<f64> {
    let x: Vec<f64> = space.parameters().iter().map(|p| p.domain.to_unit(&params[&p.name])).collect();
    let g = 1.0 + 9.0 * x[1..].iter().sum::<f64>() / (x.len() - 1) as f64;
    vec![x[0], g * (1.0 - (x[0] / g).sqrt())]
}

/// A size and an error that falls with it, of a mixed and conditional space.
fn trade_off(_: &Space, params: &Params) -> Vec<f64> {
    let number = |name: &str| params.get(name).and_then(Value::as_f64).unwrap_or(0.0);
    let size = (number("depth") * number("units") + 1.0).ln() / 9.0;
    let rate = (number("rate").log10() + 2.5).powi(2)
        + if params["kind"] == "b".into() { number("extra").powi(2) } else { 0.4 };
    vec![size, (1.0 - size).powi(2) + 0.3 * rate]
}

/// The volume that `n` trials dominate.
fn dominated(
    sampler: &dyn Sampler,
    space: &Space,
    objectives: Objectives,
    reference: &[f64],
    n: u64,
    seed: u64,
) -> f64 {
    let directions = [Direction::Minimize; 2];
    let mut history: Vec<Trial> = Vec::new();
    for slot in 0..n {
        let Proposal::Params(params) =
            sampler.ask(&Ask { space, directions: &directions, history: &history, seed, slot, source: &[] })
        else {
            break;
        };
        let values = objectives(space, &params);
        let mut trial = finished(slot, params, State::Complete, 0.0);
        trial.values = values;
        history.push(trial);
    }
    let losses: Vec<Vec<f64>> = history.iter().map(|trial| trial.values.clone()).collect();
    crate::history::pareto::hypervolume(&losses, reference)
}

#[test]
fn fronts_grow_faster_than_by_chance() {
    let continuum = (0..6).map(|i| format!("x{i} = {{ float = [0.0, 1.0] }}\n")).collect::<String>();
    let mixed = "depth = { int = [1, 6] }\nunits = { int = [8, 512], log = true }\nrate = { log = [1e-5, 1.0] }\n\
                 kind = { choice = [\"a\", \"b\", \"c\"] }\nextra = { float = [-1.0, 1.0], when = { kind = \"b\" } }";
    let problems: [(&str, String, Objectives, [f64; 2]); 2] =
        [("zdt1", continuum, zdt1, [1.1, 6.0]), ("trade-off", mixed.to_owned(), trade_off, [1.0, 1.5])];
    let settings = Settings { trials: Some(120), ..Settings::default() };
    for (problem, text, objectives, reference) in problems {
        let space = space(&text);
        let mean = |name: &str| {
            let sampler = by_name(name, &settings).unwrap();
            (0..5).map(|seed| dominated(&*sampler, &space, objectives, &reference, 120, seed)).sum::<f64>() / 5.0
        };
        let (chance, nsga2, tpe) = (mean("random"), mean("nsga2"), mean("tpe"));
        let gp = dominated(&*by_name("gp", &settings).unwrap(), &space, objectives, &reference, 50, 0);
        eprintln!("{problem}: random {chance:.4}, nsga2 {nsga2:.4}, tpe {tpe:.4}, gp after 50 {gp:.4}");
        let all = reference[0] * reference[1];
        for (name, found) in [("nsga2", nsga2), ("tpe", tpe)] {
            assert!(all - found < 0.97 * (all - chance), "{problem}: {name} {found}, random {chance}");
        }
        assert!(gp > nsga2 && gp > tpe, "{problem}: after 50 trials {gp}, others after 120 {nsga2} {tpe}");
    }
}

#[test]
fn models_keep_away_from_trials_under_way() {
    let space = space(CONTINUUM);
    let unit = |params: &Params| -> Vec<f64> {
        space.parameters().iter().map(|p| p.domain.to_unit(&params[&p.name])).collect()
    };
    for name in ["gp", "tpe"] {
        let sampler = by_name(name, &Settings::default()).unwrap();
        let mut history = run(&*sampler, &space, 14, 8);
        let propose = |history: &[Trial]| match ask_at(&*sampler, &space, history, 8, 14) {
            Proposal::Params(params) => params,
            Proposal::Exhausted => panic!("a continuum has no end"),
        };
        let alone = propose(&history);
        history.push(finished(14, alone.clone(), State::Running, 0.0));
        let beside = propose(&history);
        let apart = unit(&alone).iter().zip(unit(&beside)).map(|(a, b)| (a - b).powi(2)).sum::<f64>().sqrt();
        assert!(apart > 0.02, "{name}: {alone:?} {beside:?}");
    }
}

#[test]
fn unknown_names_list_the_known_ones() {
    let message = by_name("gird", &Settings::default()).err().unwrap().to_string();
    assert!(message.contains("did you mean `grid`") && message.contains("random"), "{message}");
}

/// Trials of another study change nothing for samplers that take no advice, and something for those that do.
#[test]
fn what_another_study_found_is_advice_and_no_trial() {
    let minimize = [Direction::Minimize];
    for (name, sampler) in samplers() {
        let space = space(MIXED);
        let source = run(&RandomSampler, &space, 40, 9);
        let mut differs = false;
        for n in [0, 3, 6, 8, 30] {
            let history = run(&RandomSampler, &space, n, 4);
            let ask = |source| {
                let ask = Ask { space: &space, directions: &minimize, history: &history, seed: 4, slot: n, source };
                sampler.ask(&ask)
            };
            let advised = ask(&source);
            let Proposal::Params(params) = &advised else { panic!("{name}") };
            space.contains(params).unwrap();
            assert_eq!(advised, ask(&source), "{name}");
            differs |= advised != ask(&[]);
        }
        assert_eq!(differs, sampler.transfers(&space, &minimize), "{name}");
    }
}

/// What no trial of this space can have says nothing about it, so it does not shorten the start.
#[test]
fn trials_of_another_space_do_not_count_as_start_up() {
    let (space, spread) = (space(CONTINUUM), QmcSampler);
    let strange = |trial: Trial| {
        let mut params = trial.params.clone();
        params.insert("other".to_owned(), 1.into());
        finished(trial.number, params, State::Complete, 1.0)
    };
    let history: Vec<Trial> = run(&spread, &space, 20, 1).into_iter().map(strange).collect();
    for name in ["gp", "tpe", "auto"] {
        let sampler = by_name(name, &Settings { trials: Some(38), ..Settings::default() }).unwrap();
        let expected = ask_at(&spread, &space, &history, 3, 20);
        assert_eq!(ask_at(&*sampler, &space, &history, 3, 20), expected, "{name}");
    }
}

#[test]
fn advice_counts_with_several_objectives_too() {
    let (space, directions) = (space(CONTINUUM), [Direction::Minimize, Direction::Maximize]);
    let both = |history: Vec<Trial>| -> Vec<Trial> {
        let value = |mut trial: Trial| {
            let x = trial.params["x"].as_f64().unwrap();
            trial.values = vec![objective(&trial.params), x.sin() * 3.0];
            trial
        };
        history.into_iter().map(value).collect()
    };
    let (source, history) = (both(run(&QmcSampler, &space, 40, 9)), both(run(&RandomSampler, &space, 10, 4)));
    let sampler = by_name("gp", &Settings::default()).unwrap();
    let ask = |source| {
        sampler.ask(&Ask { space: &space, directions: &directions, history: &history, seed: 4, slot: 10, source })
    };
    let Proposal::Params(params) = ask(&source) else { panic!("a continuum has no end") };
    space.contains(&params).unwrap();
    assert_eq!(ask(&source), ask(&source));
    assert_ne!(ask(&source), ask(&[]));
}
