//! Models under pruners that stop trials at rungs: what they learn there must be worth more than chance.
//!
//! Trainings of 27 steps whose early values mislead a little; budgets are steps, and only complete trials count.

use hpt_engine::compare;
use hpt_engine::history::pareto::hypervolume;
use hpt_engine::history::{Direction, Record, State, Trial};
use hpt_engine::pruner;
use hpt_engine::sampler::{self, Ask, Proposal};
use hpt_engine::space::{Params, Space};

const STEPS: u64 = 27;

/// What a training with these parameters has at a step, one value an objective.
type Training<'a> = &'a dyn Fn(&Params, u64) -> Vec<f64>;

/// The trials of one study that spends so many steps.
fn study(sampler: &str, pruner: &str, space: &Space, training: Training, steps: u64, seed: u64) -> Vec<Trial> {
    let settings = pruner::Settings { max_resource: Some(STEPS), ..pruner::Settings::default() };
    let pruner = pruner::by_name(pruner, &settings).unwrap();
    let sampler = sampler::by_name(sampler, &sampler::Settings::default()).unwrap();
    let objectives = training(&space.sample(&mut stream()), 1).len();
    let directions = vec![Direction::Minimize; objectives];
    let (mut history, mut spent): (Vec<Trial>, u64) = (Vec::new(), 0);
    while spent < steps {
        let slot = history.len() as u64;
        let ask = Ask { space, directions: &directions, history: &history, seed, slot, source: &[] };
        let Proposal::Params(params) = sampler.ask(&ask) else { break };
        let mut trial = Trial::from(Record { params, ..Record::blank(slot, State::Running) });
        for step in 1..=STEPS {
            let values = training(&trial.params, step);
            trial.take_report(step, &values);
            spent += 1;
            if step == STEPS {
                (trial.state, trial.values) = (State::Complete, values);
            } else if pruner.should_prune(&directions, &history, &trial) {
                trial.state = State::Pruned;
                break;
            }
        }
        history.push(trial);
    }
    history
}

fn stream() -> hpt_engine::random::Stream {
    hpt_engine::random::Stream::new(0, 0, hpt_engine::random::Purpose::Propose, 0)
}

/// How far from its end a training is at a step.
fn left(step: u64) -> f64 {
    (step as f64).powf(-0.6) - (STEPS as f64).powf(-0.6)
}

#[test]
fn a_process_of_the_rung_beats_chance_under_hyperband_and_asha() {
    let function = compare::function("hartmann3").unwrap();
    let training = |params: &Params, step: u64| {
        let x: Vec<f64> = params.values().filter_map(|value| value.as_f64()).collect();
        vec![function.evaluate(params).unwrap() + (0.5 + 0.5 * (5.0 * x[0] + 3.0 * x[1]).sin()) * left(step)]
    };
    let regret = |sampler: &str, pruner: &str, seed: u64| {
        let trials = study(sampler, pruner, &function.space, &training, 30 * STEPS, seed);
        assert!(trials.iter().filter(|trial| trial.state == State::Pruned).count() > 3, "something was stopped");
        trials.iter().filter_map(Trial::value).fold(f64::INFINITY, f64::min) - function.optimum
    };
    // ASHA alone stops more of what begins badly and ends well, whoever proposed it.
    for (pruner, most) in [("hyperband", 0.4), ("asha", 0.6)] {
        let mean = |sampler: &str| (0..4).map(|seed| regret(sampler, pruner, seed)).sum::<f64>() / 4.0;
        let (by_model, by_chance) = (mean("gp"), mean("random"));
        println!("{pruner}: {by_model} {by_chance}");
        assert!(by_model < most * by_chance, "{pruner}: {by_model} {by_chance}");
    }
}

/// ZDT1 whose second objective falls with the steps, the faster the smaller the last parameter.
#[test]
fn models_of_the_rung_beat_chance_with_several_objectives() {
    let text = (0..4).map(|i| format!("x{i} = {{ float = [0.0, 1.0] }}\n")).collect::<String>();
    let space = Space::from_toml(&text.parse().unwrap(), &hpt_engine::space::Expand::default()).unwrap();
    let training = |params: &Params, step: u64| {
        let x: Vec<f64> = params.values().filter_map(|value| value.as_f64()).collect();
        let g = 1.0 + 3.0 * x[1..].iter().sum::<f64>();
        vec![x[0], g * (1.0 - (x[0] / g).sqrt()) + (0.5 + x[3]) * left(step)]
    };
    let volume = |sampler: &str, seed: u64| {
        let trials = study(sampler, "hyperband", &space, &training, 20 * STEPS, seed);
        let ends = trials.iter().filter(|trial| trial.state == State::Complete);
        hypervolume(&ends.map(|trial| trial.values.clone()).collect::<Vec<_>>(), &[1.1, 6.0])
    };
    let mean = |sampler: &str| (0..3).map(|seed| volume(sampler, seed)).sum::<f64>() / 3.0;
    // Below the reference, all but ∫ (1 − √f) df = 1/3 can be dominated.
    let whole = 1.1 * 6.0 - 1.0 / 3.0;
    let [by_chance, bohb, gp] = ["random", "bohb", "gp"].map(|sampler| whole - mean(sampler));
    println!("missed: {by_chance} by chance, {bohb} by bohb, {gp} by gp");
    assert!(
        bohb < 0.7 * by_chance && gp < 0.4 * by_chance,
        "missed: {by_chance} by chance, {bohb} by bohb, {gp} by gp"
    );
}
