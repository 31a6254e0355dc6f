//! Functions as trainings: values at 27 steps of which early ones mislead a little, under a pruner that stops at rungs.
//!
//! v(t) = f + m·h·(t^−0.6 − 27^−0.6), m the median of f less its optimum and h a slow wave between 0 and 1 over the
//! space: at the first step what is good is told from what is bad, but not the good from the very good. Budgets are
//! steps, in units of whole trainings; what counts is the best of the complete trials.

use super::{Function, made};
use hpt_engine::history::{Direction, Record, State, Trial};
use hpt_engine::pruner;
use hpt_engine::sampler::{Ask, Proposal};
use hpt_engine::space::Params;

/// Steps of a whole training.
const STEPS: u64 = 27;
/// Budgets in whole trainings.
pub const WHOLE: [u64; 3] = [15, 30, 60];

/// Runs a sampler with every seed and prints the mean regret.
pub fn run(function: &Function, name: &str, pruner: &str, seeds: u64) {
    let most = WHOLE[WHOLE.len() - 1] * STEPS;
    let settings = pruner::Settings { max_resource: Some(STEPS), ..pruner::Settings::default() };
    let (sampler, pruner) = (made(name, most), pruner::by_name(pruner, &settings).expect("a pruner of the list"));
    let range = function.median - function.optimum;
    let (mut sums, mut trials) = ([0.0; WHOLE.len()], 0);
    for seed in 0..seeds {
        let (mut history, mut spent, mut best): (Vec<Trial>, u64, f64) = (Vec::new(), 0, function.median);
        while spent < most {
            let slot = history.len() as u64;
            let ask = Ask {
                space: &function.space,
                directions: &[Direction::Minimize],
                history: &history,
                seed,
                slot,
                source: &[],
            };
            let Proposal::Params(params) = sampler.ask(&ask) else { break };
            let (end, far) = ((function.evaluate)(&params), range * wave(function, &params));
            let mut trial = Trial::from(Record { params, ..Record::blank(slot, State::Running) });
            for step in 1..=STEPS {
                let left = (step as f64).powf(-0.6) - (STEPS as f64).powf(-0.6);
                trial.take_report(step, &[end + far * left]);
                spent += 1;
                for (sum, whole) in sums.iter_mut().zip(WHOLE) {
                    *sum += if spent == whole * STEPS { (best - function.optimum) / range / seeds as f64 } else { 0.0 };
                }
                if step < STEPS && pruner.should_prune(&[Direction::Minimize], &history, &trial) {
                    trial.state = State::Pruned;
                    break;
                }
            }
            if trial.state == State::Running {
                (trial.state, trial.values) = (State::Complete, vec![end]);
                best = best.min(end);
            }
            history.push(trial);
        }
        trials += history.len();
    }
    let text: Vec<String> = sums.iter().map(|regret| format!("{regret:8.4}")).collect();
    println!("{:34} {name:8} {}   {:.0}", function.name, text.join(" "), trials as f64 / seeds as f64);
}

/// Between 0 and 1, slowly over the whole space.
fn wave(function: &Function, params: &Params) -> f64 {
    let place = |(i, parameter): (usize, &hpt_engine::space::Parameter)| {
        let value = params.get(&parameter.name).map_or(0.5, |value| parameter.domain.to_unit(value));
        (1.0 + i as f64 * 0.7).sin() * value
    };
    let sum: f64 = function.space.parameters().iter().enumerate().map(place).sum();
    0.5 + 0.5 * (4.0 * sum + 1.0).sin()
}
