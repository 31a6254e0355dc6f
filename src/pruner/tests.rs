//! The contract of every pruner, and the rules of each.

use super::*;
use crate::history::{Direction, Record, State, Trial};
use crate::random::{Purpose, Stream};

fn trial(number: u64, state: State, values: &[f64]) -> Trial {
    Trial::from(Record {
        values: values.last().copied().into_iter().collect(),
        intermediate: values.iter().enumerate().map(|(i, &value)| (i as u64 + 1, value)).collect(),
        ..Record::blank(number, state)
    })
}

/// Those that compare with others.
fn pruners() -> Vec<(&'static str, Box<dyn Pruner>)> {
    let names = PRUNERS.iter().map(|entry| entry.name).filter(|name| *name != "threshold");
    names.map(|name| (name, by_name(name, &Settings::default()).unwrap())).collect()
}

/// Forty falling curves with distinct ends.
fn curves() -> Vec<Trial> {
    let curve = |i: u64| {
        let end = Stream::new(1, i, Purpose::Propose, 0).uniform();
        let values: Vec<f64> = (1..=27).map(|step| end + 1.0 / f64::from(step)).collect();
        trial(i, State::Complete, &values)
    };
    (0..40).map(curve).collect()
}

fn negated(trials: &[Trial]) -> Vec<Trial> {
    let mut trials = trials.to_vec();
    for trial in &mut trials {
        trial.values.iter_mut().for_each(|value| *value = -*value);
        trial.intermediate.values_mut().for_each(|value| *value = -*value);
    }
    trials
}

/// The trial as it stood after `steps` reports.
fn until(trial: &Trial, steps: u64) -> Trial {
    let mut cut = trial.clone();
    cut.state = State::Running;
    cut.intermediate.retain(|step, _| *step <= steps);
    cut
}

#[test]
fn the_best_so_far_always_goes_on() {
    let history = curves();
    let best = (1..=27).map(|step| 1.0 / f64::from(step) - 0.01).collect::<Vec<_>>();
    for (name, pruner) in pruners() {
        for steps in 1..=27 {
            let trial = until(&trial(99, State::Running, &best), steps);
            assert!(!pruner.should_prune(&[Direction::Minimize], &history, &trial), "{name} at {steps}");
        }
    }
}

#[test]
fn the_worst_is_stopped_by_all_but_none() {
    let history = curves();
    for (name, pruner) in pruners() {
        let worst = trial(99, State::Running, &[9.0; 27]);
        let stopped =
            (1..=27).any(|steps| pruner.should_prune(&[Direction::Minimize], &history, &until(&worst, steps)));
        assert_eq!(stopped, name != "none", "{name}");
    }
}

#[test]
fn both_directions_and_any_order_decide_alike() {
    let history = curves();
    let (mirrored, reversed) = (negated(&history), history.iter().rev().cloned().collect::<Vec<_>>());
    for (name, pruner) in pruners() {
        for (i, steps) in (0..40).flat_map(|i| [1, 2, 3, 9, 27].map(|steps| (i, steps))) {
            let (own, mirror) = (until(&history[i], steps), until(&mirrored[i], steps));
            let decision = pruner.should_prune(&[Direction::Minimize], &history, &own);
            assert_eq!(pruner.should_prune(&[Direction::Maximize], &mirrored, &mirror), decision, "{name}");
            assert_eq!(pruner.should_prune(&[Direction::Minimize], &reversed, &own), decision, "{name}");
        }
    }
}

#[test]
fn not_a_number_is_stopped_and_never_helps_the_others() {
    for (name, pruner) in pruners() {
        let broken = trial(99, State::Running, &[0.5, f64::NAN]);
        assert_eq!(pruner.should_prune(&[Direction::Minimize], &curves(), &broken), name != "none", "{name}");
        // Against a history of NaN every number is the best.
        let history: Vec<Trial> = (0..20).map(|i| trial(i, State::Complete, &[f64::NAN; 27])).collect();
        let own = trial(99, State::Running, &[100.0]);
        for direction in [Direction::Minimize, Direction::Maximize] {
            assert!(!pruner.should_prune(&[direction], &history, &own), "{name}");
        }
    }
}

#[test]
fn nothing_reported_or_nobody_to_compare_with_goes_on() {
    for (name, pruner) in pruners() {
        assert!(!pruner.should_prune(&[Direction::Minimize], &curves(), &trial(99, State::Running, &[])), "{name}");
        let alone = trial(0, State::Running, &[1.0]);
        assert!(!pruner.should_prune(&[Direction::Minimize], &[], &alone), "{name}");
        assert!(!pruner.should_prune(&[Direction::Minimize], std::slice::from_ref(&alone), &alone), "{name}");
        assert!(!pruner.describe().is_empty());
    }
}

#[test]
fn the_median_waits_for_startup_and_warmup() {
    let settings = Settings { warmup: 2, ..Settings::default() };
    let median = by_name("median", &settings).unwrap();
    let five: Vec<Trial> = (1..=5).map(|i| trial(i, State::Complete, &[i as f64; 4])).collect();
    let stops = |history: &[Trial], value: f64, steps: u64| {
        median.should_prune(&[Direction::Minimize], history, &until(&trial(9, State::Running, &[value; 4]), steps))
    };
    assert!(stops(&five, 3.5, 3) && !stops(&five, 3.0, 3), "the median of 1 … 5 is 3");
    assert!(!stops(&five, 9.0, 2), "warm-up");
    assert!(!stops(&five[..4], 9.0, 3), "startup");
    let quarter = by_name("percentile", &Settings::default()).unwrap();
    let own = |value: f64| trial(9, State::Running, &[value]);
    assert!(quarter.should_prune(&[Direction::Minimize], &five, &own(2.5)), "the 25th percentile of 1 … 5 is 2");
    assert!(!quarter.should_prune(&[Direction::Minimize], &five, &own(2.0)));
}

#[test]
fn the_median_forgives_what_was_good_before() {
    let median = by_name("median", &Settings::default()).unwrap();
    let five: Vec<Trial> = (1..=5).map(|i| trial(i, State::Complete, &[i as f64; 4])).collect();
    assert!(!median.should_prune(&[Direction::Minimize], &five, &trial(9, State::Running, &[1.0, 8.0])));
}

#[test]
fn halving_keeps_one_in_three_at_its_rungs_alone() {
    let asha = Asha::new(&Settings::default());
    // Eleven trials with the values 1 … 11 are at the first rung; the twelfth is among the best four or not.
    let history: Vec<Trial> = (1..=11).map(|i| trial(i, State::Pruned, &[i as f64])).collect();
    let stops =
        |values: &[f64]| asha.should_prune(&[Direction::Minimize], &history, &trial(99, State::Running, values));
    assert!(!stops(&[3.5]) && stops(&[4.5]));
    assert!(!stops(&[3.5, 100.0]), "step 2 is no rung");
    assert!(!stops(&[3.5, 100.0, 100.0]), "nobody else has reached step 3");
    let finished = [trial(50, State::Complete, &[1.0, 1.0, 1.0]), trial(51, State::Failed, &[0.0, 0.0, 0.0])];
    let second = trial(99, State::Running, &[1.0, 1.0, 2.0]);
    assert!(asha.should_prune(&[Direction::Minimize], &finished, &second));
    assert!(!asha.should_prune(&[Direction::Minimize], &finished[1..], &second), "failed trials do not count");
}

#[test]
fn halving_accepts_reports_between_the_rungs() {
    let asha = Asha::new(&Settings { min_resource: 2, ..Settings::default() });
    let at = |number: u64, reports: &[(u64, f64)]| {
        let mut trial = trial(number, State::Running, &[]);
        trial.intermediate = reports.iter().copied().collect();
        trial
    };
    let history = [at(1, &[(5, 1.0)]), at(2, &[(2, 1.5)])];
    assert!(
        asha.should_prune(&[Direction::Minimize], &history, &at(3, &[(5, 2.0)])),
        "step 5 is the arrival at rung 2"
    );
    assert!(!asha.should_prune(&[Direction::Minimize], &history, &at(3, &[(1, 2.0)])), "before the first rung");
    assert!(!asha.should_prune(&[Direction::Minimize], &history, &at(3, &[(2, 0.5), (5, 2.0)])), "rung 2 is behind it");
}

#[test]
fn brackets_are_compared_within_themselves_and_begin_one_rung_apart() {
    let hyperband = Hyperband::new(&Settings { max_resource: Some(9), ..Settings::default() });
    // Thirty trials with the values 0 … 29 have run to their ends.
    let history: Vec<Trial> = (0..30).map(|i| trial(i, State::Complete, &[i as f64; 9])).collect();
    let stops_at = |number: u64, others: &[Trial]| {
        let bad = trial(number, State::Running, &[50.0; 9]);
        (1..=9).find(|steps| hyperband.should_prune(&[Direction::Minimize], others, &until(&bad, *steps)))
    };
    let firsts: Vec<Option<u64>> = (30..60).map(|number| stops_at(number, &history)).collect();
    for step in [1, 3, 9] {
        assert!(firsts.contains(&Some(step)), "no bracket begins at step {step}: {firsts:?}");
    }
    assert!(firsts.iter().all(|step| matches!(step, Some(1 | 3 | 9))), "{firsts:?}");
    // Without the trials of its own bracket there is nobody to compare with; a slot inherited counts, not the number.
    let others = |number: u64| {
        let differs = |other: &&Trial| stops_at(other.number, &history) != stops_at(number, &history);
        history.iter().filter(differs).cloned().collect::<Vec<_>>()
    };
    let first = (30..60).find(|number| firsts[*number as usize - 30] == Some(1)).unwrap();
    let last = (30..60).find(|number| firsts[*number as usize - 30] == Some(9)).unwrap();
    assert_eq!((stops_at(first, &others(first)), stops_at(last, &others(last))), (None, None));
    let mut repeated = trial(99, State::Running, &[50.0]);
    for (slot, stopped) in [(first, true), (last, false)] {
        repeated.system.insert("hpt:slot".to_owned(), slot.into());
        assert_eq!(hyperband.should_prune(&[Direction::Minimize], &history, &repeated), stopped, "slot {slot}");
    }
}

/// The trial as one that breaks its constraint by so much, or keeps it.
fn limited(mut trial: Trial, violation: f64) -> Trial {
    trial.system.insert("constraints".to_owned(), serde_json::json!([-1.0, violation]));
    trial
}

#[test]
fn who_breaks_constraints_is_nobodys_rival() {
    let settings = Settings { max_resource: Some(1), ..Settings::default() };
    for name in ["asha", "hyperband", "median", "percentile", "wilcoxon"] {
        let pruner = by_name(name, &settings).unwrap();
        let history = |count: u64, violation: f64| -> Vec<Trial> {
            let value = |i: u64| 1.0 + i as f64 / 100.0;
            (0..count).map(|i| limited(trial(i, State::Complete, &[value(i); 6]), violation)).collect()
        };
        let own = |value: f64, steps: u64| {
            // The first rung of halving is the first step; Wilcoxon wants parts.
            let steps = if name == "wilcoxon" { 6 } else { steps };
            until(&trial(99, State::Running, &[value; 6]), steps)
        };
        for direction in [Direction::Minimize, Direction::Maximize] {
            let sign = if direction == Direction::Minimize { 1.0 } else { -1.0 };
            let stops = |history: &[Trial], own: &Trial| {
                let mirrored = |trials: &[Trial]| if sign < 0.0 { negated(trials) } else { trials.to_vec() };
                pruner.should_prune(&[direction], &mirrored(history), &mirrored(std::slice::from_ref(own))[0])
            };
            let (kept, broken) = (history(20, 0.0), history(20, 0.5));
            assert!(stops(&kept, &own(2.0, 1)), "{name}");
            assert!(!stops(&broken, &own(2.0, 1)), "{name}: all that are better break constraints");
            assert!(!stops(&broken, &limited(own(2.0, 1), -0.5)), "{name}: known to keep them");
            assert!(stops(&broken, &limited(own(2.0, 1), 0.5)), "{name}: one of them is judged against all");
            assert!(stops(&kept, &limited(own(2.0, 1), 0.5)) && !stops(&kept, &limited(own(0.5, 1), 0.5)), "{name}");
            // Among the others those count that keep theirs.
            let mixed: Vec<Trial> =
                broken.iter().cloned().chain((30..50).map(|i| trial(i, State::Complete, &[3.0; 6]))).collect();
            assert!(!stops(&mixed, &own(2.0, 1)) && stops(&mixed, &own(4.0, 1)), "{name}");
        }
    }
}

#[test]
fn unknown_names_list_the_known_ones() {
    let message = by_name("medain", &Settings::default()).err().unwrap().to_string();
    assert!(message.contains("did you mean `median`") && message.contains("asha"), "{message}");
}

#[test]
fn followers_decide_as_the_pure_function_does() {
    let patient = Settings { patience: Some(2), ..Settings::default() };
    let bounded = Settings { max_resource: Some(12), min_resource: 2, warmup: 1, ..Settings::default() };
    let mut followed = std::collections::BTreeSet::new();
    for (settings, (name, _)) in
        [Settings::default(), patient, bounded].iter().flat_map(|s| pruners().into_iter().map(move |p| (s, p)))
    {
        let pruner = by_name(name, settings).unwrap();
        use Direction::{Maximize, Minimize};
        for directions in [&[Minimize][..], &[Maximize], &[Minimize, Maximize], &[Maximize, Minimize, Minimize]] {
            let Some(mut follower) = pruner.follow(directions) else { continue };
            followed.insert((name, directions.len()));
            let mut draw = Stream::new(7, 0, Purpose::Propose, 0);
            let (mut trials, mut stopped): (Vec<Trial>, u64) = (Vec::new(), 0);
            for _ in 0..3000 {
                let running: Vec<usize> = (0..trials.len()).filter(|i| trials[*i].state == State::Running).collect();
                if running.len() < 4 {
                    trials.push(trial(trials.len() as u64, State::Running, &[]));
                    follower.take(trials.last().unwrap());
                    continue;
                }
                let at = running[draw.below(running.len() as u64) as usize];
                let own = &mut trials[at];
                match draw.below(13) {
                    // Ends in some way; what is complete may be deleted later.
                    0 => {
                        own.state = [State::Complete, State::Pruned, State::Failed][draw.below(3) as usize];
                        if own.state == State::Complete {
                            own.values = directions.iter().map(|_| draw.below(20) as f64).collect();
                        }
                    }
                    1 => {
                        let complete = trials.iter().position(|trial| trial.state == State::Complete);
                        let Some(first) = complete.filter(|_| draw.below(3) == 0) else { continue };
                        trials[first].state = State::Failed;
                        follower.take(&trials[first]);
                        continue;
                    }
                    // It becomes known whether it breaks a constraint, or that it does no longer.
                    2 => *own = limited(own.clone(), [0.5, -0.5, 0.0][draw.below(3) as usize]),
                    _ => {
                        // Steps are left out, come again, or come late; values are few, so that they tie.
                        let last = own.last_intermediate().map_or(0, |(step, _)| step);
                        let step = (last + draw.below(4)).max(1) - draw.below(2).min(last.saturating_sub(1));
                        let mut value = || if draw.below(30) == 0 { f64::NAN } else { draw.below(20) as f64 };
                        let mut values: Vec<f64> = directions.iter().map(|_| value()).collect();
                        // Of several objectives the first alone is reported now and then.
                        values.truncate(if draw.below(8) == 0 { 1 } else { values.len() });
                        own.take_report(step, &values);
                        let own = trials[at].clone();
                        follower.report(&own, step, &values);
                        if !own.is_feasible() {
                            continue;
                        }
                        let expected = pruner.should_prune(directions, &trials, &own);
                        assert_eq!(follower.should_prune(&own), expected, "{name} {directions:?} {settings:?} {own:?}");
                        stopped += u64::from(expected);
                        continue;
                    }
                }
                follower.take(&trials[at]);
            }
            assert!(stopped > 50, "{name} {directions:?}: {stopped}");
            // Told everything at once, in any order, it knows the same.
            let mut late = pruner.follow(directions).unwrap();
            trials.iter().rev().for_each(|trial| late.take(trial));
            for trial in trials.iter().filter(|trial| trial.state == State::Running && trial.is_feasible()) {
                assert_eq!(late.should_prune(trial), follower.should_prune(trial), "{name}");
            }
        }
    }
    let names = ["asha", "hyperband", "median", "percentile", "wilcoxon"];
    let expected: Vec<(&str, usize)> = names.into_iter().flat_map(|name| [1, 2, 3].map(|n| (name, n))).collect();
    assert_eq!(followed.into_iter().collect::<Vec<_>>(), expected);
}

#[test]
fn patience_waits_for_an_improvement() {
    let patience = by_name("patience", &Settings { patience: Some(3), min_delta: 0.1, ..Settings::default() }).unwrap();
    let stops = |values: &[f64]| patience.should_prune(&[Direction::Minimize], &[], &trial(0, State::Running, values));
    assert!(!stops(&[1.0, 2.0, 2.0]), "too few reports");
    assert!(stops(&[1.0, 2.0, 2.0, 2.0]) && stops(&[1.0, 1.0, 1.0, 1.0]));
    assert!(stops(&[1.0, 0.95, 0.92, 0.91]), "less than min_delta");
    assert!(!stops(&[1.0, 0.95, 0.85, 0.91]));
    assert!(!stops(&[f64::INFINITY, 5.0, 5.0, 5.0]) && stops(&[f64::INFINITY; 4]));
    // Before another pruner it lets that one speak only then.
    let settings = Settings { patience: Some(3), ..Settings::default() };
    let median = by_name("median", &settings).unwrap();
    let stops =
        |values: &[f64]| median.should_prune(&[Direction::Minimize], &curves(), &trial(99, State::Running, values));
    assert!(!stops(&[9.0, 8.0, 7.0, 6.0]) && stops(&[9.0, 9.0, 9.0, 9.0]));
    assert!(!stops(&[-1.0, -1.0, -1.0, -1.0]), "still, but the best of all");
}

#[test]
fn the_threshold_has_two_sides_and_a_warmup() {
    assert!(by_name("threshold", &Settings::default()).is_err());
    let settings = Settings { lower: Some(0.0), upper: Some(5.0), warmup: 2, ..Settings::default() };
    let threshold = by_name("threshold", &settings).unwrap();
    for direction in [Direction::Minimize, Direction::Maximize] {
        let stops = |values: &[f64]| threshold.should_prune(&[direction], &[], &trial(0, State::Running, values));
        assert!(!stops(&[9.0, 9.0]) && stops(&[9.0, 9.0, 9.0]) && stops(&[1.0, 1.0, -1.0]) && stops(&[f64::NAN]));
        assert!(!stops(&[9.0, 9.0, 5.0]) && !stops(&[]));
    }
}

#[test]
fn wilcoxon_compares_the_same_parts_with_the_best() {
    let wilcoxon = by_name("wilcoxon", &Settings::default()).unwrap();
    let mut best = trial(0, State::Complete, &[0.5, 0.6, 0.4, 0.5, 0.7]);
    best.values = vec![0.54];
    let history = [best, trial(1, State::Complete, &[9.0; 5])];
    let stops =
        |values: &[f64]| wilcoxon.should_prune(&[Direction::Minimize], &history, &trial(2, State::Running, values));
    // Worse on every part: p is 1/2ⁿ, below 0.1 from the fourth part on.
    assert!(!stops(&[0.6]) && !stops(&[0.6, 0.7, 0.5]) && stops(&[0.6, 0.7, 0.5, 0.6]));
    assert!(!stops(&[0.4, 0.5, 0.3, 0.4]), "better on every part");
    assert!(!stops(&[0.51, 0.59, 0.41, 0.49]), "now so, now so");
    assert!(!stops(&[f64::INFINITY; 4]), "not finite: nothing to compare");
}

#[test]
fn options_are_those_of_the_pruner() {
    let mut settings = Settings::default();
    settings.set("--pruner-option", "asha", "reduction", 4.0).unwrap();
    settings.set("--pruner-option", "asha", "patience", 2.0).unwrap();
    assert_eq!((settings.reduction, settings.patience), (4, Some(2)));
    for (pruner, name, value, part) in [
        ("asha", "reductoin", 4.0, "did you mean `reduction`?"),
        ("median", "reduction", 4.0, "is an option of asha, hyperband, not of median"),
        ("none", "patience", 4.0, "not of none"),
        ("asha", "reduction", 1.0, "a whole number from 2 on is expected"),
        ("percentile", "percentile", 101.0, "above 0 and up to 100"),
        ("median", "startup", 2.5, "a whole number"),
        ("threshold", "lower", f64::NAN, "a number is expected"),
    ] {
        let message = settings.set("--pruner-option", pruner, name, value).unwrap_err().to_string();
        assert!(message.starts_with("--pruner-option: ") && message.contains(part), "{message}");
    }
}
