//! Pruners with several objectives: with one they are what they were, and with several the front goes on.

use super::several::Field;
use super::*;
use crate::history::{Direction, Record, State, Trial};
use crate::random::{Purpose, Stream};
use Direction::{Maximize, Minimize};

const BOTH: [Direction; 2] = [Minimize, Minimize];

/// A trial that reported these from step 1 on.
fn trial(number: u64, state: State, reports: &[&[f64]]) -> Trial {
    let mut trial = Trial::from(Record::blank(number, state));
    (1..).zip(reports).for_each(|(step, values)| trial.take_report(step, values));
    if state == State::Complete {
        trial.values = reports.last().map(|values| values.to_vec()).unwrap_or_default();
    }
    trial
}

/// Complete trials that had these at each of three steps.
fn field(points: &[[f64; 2]]) -> Vec<Trial> {
    (0..).zip(points).map(|(number, point)| trial(number, State::Complete, &[point.as_slice(); 3])).collect()
}

/// Those that rank by other trials' reports.
fn ranking() -> Vec<(&'static str, Box<dyn Pruner>)> {
    let settings = Settings { max_resource: Some(1), ..Settings::default() };
    ["median", "percentile", "asha", "hyperband"].map(|name| (name, by_name(name, &settings).unwrap())).into()
}

fn draw(stream: &mut Stream, levels: u64) -> f64 {
    if stream.below(25) == 0 { f64::NAN } else { stream.below(levels) as f64 }
}

#[test]
fn with_one_objective_the_rules_are_those_of_its_values() {
    let mut stream = Stream::new(5, 0, Purpose::Bootstrap, 0);
    let asha = Asha { min_resource: 1, reduction: 3 };
    let mut counts = [0; 4];
    for round in 0..600 {
        let others = stream.below(20);
        let random = |stream: &mut Stream, number: u64, state: State| {
            let values: Vec<[f64; 1]> = (0..1 + stream.below(9)).map(|_| [draw(stream, 12)]).collect();
            trial(number, state, &values.iter().map(|value| value.as_slice()).collect::<Vec<_>>())
        };
        let history: Vec<Trial> = (0..others).map(|i| random(&mut stream, i, State::Complete)).collect();
        let own = random(&mut stream, 99, State::Running);
        for direction in [Minimize, Maximize] {
            let one = [direction];
            let (step, last) = own.last_intermediate().unwrap();
            if last.is_nan() {
                continue;
            }
            let rung = [1, 3, 9].into_iter().rfind(|rung| *rung <= step).unwrap();
            if rung == step {
                let reached = history.iter().filter_map(|other| Some((other, asha::first_report(other, rung)?)));
                let general = asha.is_behind_by_several(&one, reached, &own, step);
                assert_eq!(general, asha.is_behind(&one, history.iter(), &own), "round {round}: {own:?}");
                counts[0] += usize::from(general);
            }
            let patience = Patience { patience: 1 + stream.below(3), min_delta: stream.below(2) as f64, then: None };
            let general = patience.stands_still_by_several(&one, &own);
            assert_eq!(general, patience.should_prune(&one, &[], &own), "round {round}: {own:?}");
            counts[1] += usize::from(general);
            // Without interpolation: a percentile that falls on a value.
            let at_step = history.iter().filter(|other| other.intermediate.contains_key(&step)).count();
            let percentile = if at_step % 2 == 1 { 50.0 } else { 100.0 };
            let rule = Percentile { percentile, startup: 1, warmup: 0 };
            let general = rule.is_behind_by_several(&one, &history, &own, step);
            assert_eq!(general, rule.should_prune(&one, &history, &own), "round {round}: {own:?}");
            counts[2] += usize::from(general);
            let wilcoxon = Wilcoxon { p_threshold: 0.3, startup_steps: 2 };
            let loss = |trial: &Trial| trial.value().map_or(f64::INFINITY, |value| direction.loss(value));
            let finished = history.iter().filter(|other| !loss(other).is_nan());
            if let Some(best) = finished.min_by(|a, b| loss(a).total_cmp(&loss(b)).then(a.number.cmp(&b.number))) {
                let constant =
                    |trial: &Trial| trial.intermediate.values().all(|value| Some(value) == trial.values.first());
                // A value that is always the same is a size with several objectives, and a measurement with one.
                if !(constant(best) && constant(&own)) {
                    let general = wilcoxon.is_beaten(&one, &own, best);
                    assert_eq!(general, wilcoxon.should_prune(&one, &history, &own), "round {round}: {own:?}");
                    counts[3] += usize::from(general);
                }
            }
        }
    }
    assert!(counts.iter().all(|stopped| *stopped > 20), "{counts:?}");
}

/// A front of ten, and behind each of its points two that it dominates.
fn layers() -> Vec<[f64; 2]> {
    let front = (0..10).map(f64::from).map(|x| [x, 9.0 - x]);
    front.flat_map(|[x, y]| [[x, y], [x + 10.0, y + 10.0], [x + 20.0, y + 20.0]]).collect()
}

#[test]
fn what_is_dominated_stops_and_the_front_goes_on() {
    let history = field(&layers());
    for (name, pruner) in ranking() {
        let stops = |point: [f64; 2]| pruner.should_prune(&BOTH, &history, &trial(99, State::Running, &[&point]));
        for on_front in [[-1.0, 50.0], [50.0, -1.0], [3.5, 5.0], [4.0, 5.0], [0.0, 0.0]] {
            assert!(!stops(on_front), "{name} {on_front:?}");
        }
        for behind in [[30.0, 30.0], [22.5, 27.5], [40.0, 15.0]] {
            assert!(stops(behind), "{name} {behind:?}");
        }
    }
}

#[test]
fn who_breaks_constraints_is_nobodys_rival() {
    let limited = |mut trial: Trial, violation: f64| {
        trial.system.insert("constraints".to_owned(), serde_json::json!([violation]));
        trial
    };
    let all = |violation: f64| -> Vec<Trial> {
        field(&layers()).into_iter().map(|trial| limited(trial, violation)).collect()
    };
    let (kept, broken) = (all(-1.0), all(1.0));
    let mixed: Vec<Trial> = field(&[[50.0, 50.0]; 10])
        .into_iter()
        .chain(broken.iter().cloned().zip(10..).map(|(mut trial, number)| {
            trial.number = number;
            trial
        }))
        .collect();
    let own = |point: [f64; 2]| trial(99, State::Running, &[&point]);
    for (name, pruner) in ranking() {
        let stops = |history: &[Trial], own: &Trial| pruner.should_prune(&BOTH, history, own);
        assert!(stops(&kept, &own([30.0, 30.0])), "{name}");
        assert!(!stops(&broken, &own([30.0, 30.0])) && !stops(&broken, &limited(own([30.0, 30.0]), 0.0)), "{name}");
        assert!(stops(&broken, &limited(own([30.0, 30.0]), 1.0)), "{name}: one of them is judged against all");
        assert!(!stops(&mixed, &own([30.0, 30.0])) && stops(&mixed, &own([60.0, 60.0])), "{name}");
    }
    let wilcoxon = by_name("wilcoxon", &Settings::default()).unwrap();
    let parts = |x: f64| [[x, x], [x + 1.0, x + 1.0], [x + 2.0, x + 2.0], [x + 3.0, x + 3.0], [x + 4.0, x + 4.0]];
    let of = |number: u64, state: State, x: f64| {
        trial(number, state, &parts(x).iter().map(|part| part.as_slice()).collect::<Vec<_>>())
    };
    let stops = |violation: f64| {
        wilcoxon.should_prune(&BOTH, &[limited(of(0, State::Complete, 0.0), violation)], &of(1, State::Running, 0.5))
    };
    assert!(stops(0.0) && !stops(1.0));
}

#[test]
fn decisions_depend_on_order_alone() {
    let mut stream = Stream::new(9, 0, Purpose::Bootstrap, 0);
    let mut stopped = [0; 4];
    for round in 0..300 {
        let points: Vec<[f64; 2]> =
            (0..5 + stream.below(30)).map(|_| [stream.below(15) as f64, stream.below(15) as f64]).collect();
        let own = [stream.below(15) as f64, stream.below(15) as f64];
        // Other units, other directions, the objectives the other way round, and any order of the trials.
        let scaled = |[x, y]: [f64; 2]| [(x / 3.0).exp(), y.powi(3) - 100.0];
        let negated = |[x, y]: [f64; 2]| [x, -y];
        let swapped = |[x, y]: [f64; 2]| [y, x];
        for (at, (name, pruner)) in ranking().into_iter().enumerate() {
            let decide = |directions: [Direction; 2], map: &dyn Fn([f64; 2]) -> [f64; 2], backwards: bool| {
                let mut history = field(&points.iter().map(|point| map(*point)).collect::<Vec<_>>());
                if backwards {
                    history.reverse();
                }
                pruner.should_prune(&directions, &history, &trial(99, State::Running, &[&map(own)]))
            };
            let decision = decide(BOTH, &|point| point, false);
            stopped[at] += usize::from(decision);
            for (directions, map) in
                [(BOTH, &scaled as &dyn Fn([f64; 2]) -> [f64; 2]), ([Minimize, Maximize], &negated), (BOTH, &|p| p)]
            {
                for backwards in [false, true] {
                    assert_eq!(decide(directions, map, backwards), decision, "{name}, round {round}");
                }
            }
            // Which end of a front counts first is the order of the objectives, which matters only to who covers it.
            if ["median", "percentile"].contains(&name) {
                assert_eq!(decide(BOTH, &swapped, false), decision, "{name}, round {round}");
            }
        }
    }
    assert!(stopped.iter().all(|stopped| *stopped > 60), "{stopped:?}");
}

#[test]
fn what_nobody_dominates_always_goes_on() {
    // Four at the rung, one in three goes on: that is one, but the front is larger.
    let history = field(&[[1.0, 9.0], [9.0, 1.0], [5.0, 5.0]]);
    let asha = by_name("asha", &Settings::default()).unwrap();
    let stops = |point: [f64; 2]| asha.should_prune(&BOTH, &history, &trial(99, State::Running, &[&point]));
    assert!(!stops([0.5, 20.0]) && !stops([20.0, 0.5]) && !stops([1.0, 9.0]), "the ends, and who equals one");
    assert!(!stops([4.0, 6.0]) && !stops([5.0, 1.0]), "between them, or in the place of one");
    assert!(stops([6.0, 6.0]) && stops([9.0, 9.0]));
}

#[test]
fn those_that_go_on_cover_the_front() {
    let point = |x: f64| vec![x, 8.0 - x];
    // One that dominates all of it makes it the second front.
    let kept = |room: usize| -> Vec<usize> {
        let on = |place: &usize| {
            let others = (0..9).filter(|other| other != place).map(|other| point(other as f64));
            Field::new(others.chain([vec![-1.0, -1.0]])).is_among(&point(*place as f64), 1 + room)
        };
        (0..9).filter(on).collect()
    };
    assert_eq!(kept(0), [0; 0]);
    assert_eq!((kept(1), kept(2)), (vec![0], vec![0, 8]));
    assert_eq!(kept(3), [0, 4, 8]);
    // Each of two that are as far from all says that it is the next.
    assert_eq!(kept(4), [0, 2, 4, 6, 8]);
    assert_eq!(kept(9).len(), 9);
    let dominated = Field::new((0..9).map(|x| point(f64::from(x))));
    assert!(!dominated.is_among(&[8.0, 8.0], 9) && dominated.is_among(&[8.0, 8.0], 10));
    assert!(dominated.is_among(&[3.5, 3.5], 0), "nobody dominates it");
    assert_eq!((dominated.ahead(&[8.0, 8.0]), dominated.ahead(&[4.0, 4.0]), dominated.len()), (9, 0, 9));
}

#[test]
fn fronts_are_the_same_however_points_came() {
    let mut stream = Stream::new(11, 0, Purpose::Bootstrap, 0);
    for (objectives, levels) in [(1, 9), (2, 6), (2, 40), (3, 5), (3, 1000), (4, 4)] {
        let (mut field, mut points): (Field, Vec<Vec<f64>>) = (Field::default(), Vec::new());
        for _ in 0..150 {
            if stream.below(4) == 0 && !points.is_empty() {
                let gone = points.swap_remove(stream.below(points.len() as u64) as usize);
                field.remove(&gone);
                field.remove(&vec![-1.0; objectives]);
            } else {
                // Also a chain, each point of which is a front.
                let x = stream.below(levels) as f64;
                let chain = stream.below(3) == 0;
                let point: Vec<f64> =
                    (0..objectives).map(|_| if chain { x } else { stream.below(levels) as f64 }).collect();
                points.push(point.clone());
                field.insert(point);
            }
            assert_eq!(field, Field::new(points.iter().cloned()), "{objectives} {levels}");
        }
        assert!(field.len() == points.len() && points.len() > 50);
    }
}

#[test]
fn who_reports_one_value_is_neither_judged_nor_compared_with() {
    let alone: Vec<Trial> = (0..20).map(|number| trial(number, State::Complete, &[&[0.0]])).collect();
    let all = field(&layers());
    for (name, pruner) in ranking() {
        let worst = trial(99, State::Running, &[&[90.0, 90.0]]);
        assert!(pruner.should_prune(&BOTH, &all, &worst), "{name}");
        assert!(!pruner.should_prune(&BOTH, &alone, &worst), "{name}");
        assert!(!pruner.should_prune(&BOTH, &all, &trial(99, State::Running, &[&[90.0]])), "{name}");
    }
}

#[test]
fn not_a_number_in_any_objective_is_stopped() {
    for entry in PRUNERS.iter().filter(|entry| entry.name != "threshold") {
        let pruner = by_name(entry.name, &Settings::default()).unwrap();
        for broken in [[0.0, f64::NAN], [f64::NAN, 0.0]] {
            let stops = pruner.should_prune(&BOTH, &[], &trial(0, State::Running, &[&[1.0, 1.0], &broken]));
            assert_eq!(stops, entry.name != "none", "{}", entry.name);
        }
    }
    // What others had of it counts as the worst.
    let history = field(&[[f64::NAN, f64::NAN]; 30]);
    for (name, pruner) in ranking() {
        assert!(!pruner.should_prune(&BOTH, &history, &trial(99, State::Running, &[&[1e9, 1e9]])), "{name}");
    }
}

#[test]
fn patience_waits_for_what_was_not_covered_before() {
    let stops = |min_delta: f64, reports: &[&[f64]]| {
        let settings = Settings { patience: Some(2), min_delta, ..Settings::default() };
        by_name("patience", &settings).unwrap().should_prune(&BOTH, &[], &trial(0, State::Running, reports))
    };
    assert!(stops(0.0, &[&[1.0, 5.0], &[1.0, 5.0], &[2.0, 5.0]]));
    assert!(!stops(0.0, &[&[1.0, 5.0], &[1.0, 4.0], &[2.0, 5.0]]), "better in one");
    assert!(!stops(0.0, &[&[1.0, 5.0], &[3.0, 3.0], &[9.0, 9.0]]), "a trade that nothing covered");
    assert!(!stops(0.0, &[&[1.0, 5.0], &[5.0, 1.0], &[2.0, 2.0], &[9.0, 9.0]]), "between two that were there");
    assert!(stops(1.0, &[&[1.0, 5.0], &[0.5, 4.5], &[0.0, 4.0]]), "by no more than min_delta");
    // A number that never changes is no improvement, and none is asked of it.
    assert!(
        !stops(0.0, &[&[3.0, 7.0], &[2.0, 7.0], &[1.0, 7.0]]) && stops(0.0, &[&[1.0, 7.0], &[1.0, 7.0], &[1.0, 7.0]])
    );
}

#[test]
fn each_objective_has_bounds_of_its_own() {
    let mut settings = Settings { objectives: vec!["accuracy".into(), "loss".into()], ..Settings::default() };
    settings.set("--pruner-option", "threshold", "upper.loss", 2.0).unwrap();
    settings.set("--pruner-option", "threshold", "lower", 0.5).unwrap();
    let threshold = by_name("threshold", &settings).unwrap();
    let directions = [Maximize, Minimize];
    let stops = |values: &[f64]| threshold.should_prune(&directions, &[], &trial(0, State::Running, &[values]));
    assert!(stops(&[0.4, 1.0]) && stops(&[0.9, 3.0]) && !stops(&[0.9, 1.0]));
    assert!(stops(&[0.4]) && !stops(&[0.9]), "of what is reported");
    assert_eq!(threshold.describe(), "threshold: stops what is in accuracy below 0.5 or in loss above 2");
    settings.set("", "threshold", "lower.los", 0.0).unwrap();
    let message = by_name("threshold", &settings).err().unwrap().to_string();
    assert!(message.contains("lower.los") && message.contains("did you mean `loss`"), "{message}");
    for (name, value) in [("warmup.loss", 1.0), ("lower.loss", f64::NAN)] {
        let message = settings.set("--pruner-option", "threshold", name, value).unwrap_err().to_string();
        assert!(message.starts_with("--pruner-option: ") && message.contains(name), "{message}");
    }
}

#[test]
fn wilcoxon_stops_what_is_surely_no_better_than_one_of_the_front() {
    let wilcoxon = by_name("wilcoxon", &Settings::default()).unwrap();
    let size = 100.0;
    let parts = |shift: f64, size: f64| -> Vec<[f64; 2]> {
        [0.5, 0.6, 0.4, 0.55, 0.7].iter().map(|loss| [loss + shift, size]).collect()
    };
    let of = |number: u64, state: State, parts: &[[f64; 2]]| {
        trial(number, state, &parts.iter().map(|part| part.as_slice()).collect::<Vec<_>>())
    };
    let mut cheap = of(1, State::Complete, &parts(0.5, 10.0));
    cheap.values = vec![1.05, 10.0];
    let mut good = of(0, State::Complete, &parts(0.0, size));
    good.values = vec![0.55, size];
    let history = [good, cheap];
    let stops =
        |shift: f64, size: f64| wilcoxon.should_prune(&BOTH, &history, &of(2, State::Running, &parts(shift, size)));
    assert!(stops(0.1, size) && stops(0.1, 200.0), "worse, and no smaller");
    assert!(!stops(0.1, 50.0), "worse than one, smaller than that; better than the other");
    assert!(stops(0.6, 50.0), "worse than the cheap one, and larger");
    assert!(!stops(0.0, size) && !stops(-0.1, size));
    // Few parts prove nothing, also where they are all the same so far.
    let same = |number, state, count: usize, value: f64| of(number, state, &vec![[value, size]; count]);
    let mut zero = same(0, State::Complete, 6, 0.0);
    zero.values = vec![0.0, size];
    let stops_after =
        |count| wilcoxon.should_prune(&BOTH, std::slice::from_ref(&zero), &same(1, State::Running, count, 1.0));
    assert_eq!([1, 2, 3, 4].map(stops_after), [false, false, false, true], "2⁻⁴ is the first below 0.1");
    // Both objectives are measured: it must be worse in both.
    let measured =
        |x: f64, y: f64| -> Vec<[f64; 2]> { (0..6).map(|i| [x + f64::from(i), y - f64::from(i * i)]).collect() };
    let mut best = of(0, State::Complete, &measured(0.0, 0.0));
    best.values = vec![2.5, -9.0];
    let stops = |x: f64, y: f64| {
        wilcoxon.should_prune(&BOTH, std::slice::from_ref(&best), &of(1, State::Running, &measured(x, y)))
    };
    assert!(stops(0.1, 0.1) && !stops(0.1, -0.1) && !stops(-0.1, 0.1));
}
