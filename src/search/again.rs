//! Trials that a time limit had ended, run to their end when the search goes on: what becomes of their results.

use super::Progress;
use super::trial::{FOLDS_SEEN, is_cut};
use crate::Result;
use crate::history::{Direction, State, Trial};
use crate::study::{Study, is_repetition};
use serde_json::Value as Json;

/// Whether a repetition that was cut again is behind what it came to before: by its constraints, by how many folds it
/// has seen (the same ones first), else by the first objective.
fn is_behind(direction: Direction, again: &Trial, before: &Trial) -> bool {
    let folds = |trial: &Trial| trial.user.get(FOLDS_SEEN).and_then(Json::as_u64);
    let loss = |trial: &Trial| trial.values.first().map_or(f64::INFINITY, |value| direction.loss(*value));
    // Of two zeros neither is less.
    let order = |again: f64, before: f64| (again + 0.0).total_cmp(&(before + 0.0));
    let order = order(again.violation(), before.violation())
        .then_with(|| folds(before).cmp(&folds(again)))
        .then_with(|| order(loss(again), loss(before)));
    is_cut(again) && order.is_gt()
}

/// Gives what an earlier limit ended its result again where it has not come to another, and says so of what does not go
/// on.
pub(super) fn restore_cut(study: &Study, progress: &dyn Progress) -> Result<()> {
    let restored = study.restore(|again, before| is_behind(study.directions()[0], again, before))?;
    let trials = study.trials()?;
    for trial in trials.iter().filter(|trial| restored.contains(&trial.number)) {
        if let Some(again) = trial.system.get("hpt:stands") {
            let number = trial.number;
            progress.note(&format!("trial {again}, which went on with trial {number}, came to no result: that of trial {number}, which a time limit had ended, stays"));
        }
    }
    Ok(())
}

/// Says where a trial that a time limit had ended comes to less now that it has run to its end: that counts.
pub(super) fn note_less(study: &Study, trial: &Trial, progress: &dyn Progress) {
    let is_whole = trial.state == State::Complete && is_repetition(trial) && !is_cut(trial);
    let repeated = if is_whole { study.repeated().unwrap_or_default() } else { Vec::new() };
    let Some(before) = repeated.iter().find(|before| before.slot() == trial.slot()) else { return };
    if let (Some(own), Some(earlier)) = (trial.values.first(), before.values.first())
        && study.directions()[0].better(*earlier, *own)
    {
        progress.note(&format!(
            "trial {} has run to its end, with {own:.4}: that counts now, and not the {earlier:.4} of trial {}, which a time limit \
             had ended",
            trial.number, before.number
        ));
    }
}

/// Whether a search that goes on runs this trial, which has a result, to its end: a time limit had ended it.
pub fn goes_on(trial: &Trial) -> bool {
    trial.state == State::Complete && is_cut(trial) && !trial.system.contains_key("hpt:stands")
}

/// Where this call has room for trials, those that the time limit of an earlier one ended wait to go on: the study is
/// as if it had not been ended.
pub(super) fn repeat_cut(study: &Study, trials: Option<u64>, progress: &dyn Progress) -> Result<()> {
    let cut = study.trials()?.iter().filter(|trial| goes_on(trial)).count();
    let whole = study.counts()?.finished().saturating_sub(cut as u64);
    if trials.is_some_and(|trials| whole >= trials) {
        return Ok(());
    }
    let cut = study.repeat("a time limit of the search ended it", goes_on)?;
    if !cut.is_empty() {
        let numbers = cut.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        progress.note(&format!("what an earlier time limit ended is run to its end: trial {numbers}"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::super::trial::{ENDED, SEARCH_LIMIT};
    use super::*;
    use serde_json::json;

    #[test]
    fn what_is_cut_again_is_compared_by_constraints_folds_and_value() {
        let cut = |violation: f64, folds: Option<u64>, value: f64| {
            let mut trial = Trial::blank(0, State::Complete);
            trial.user.insert(ENDED.into(), json!(format!("{} of 3 s", SEARCH_LIMIT)));
            trial.system.insert("constraints".into(), json!([violation]));
            folds.map(|folds| trial.user.insert(FOLDS_SEEN.into(), json!(folds)));
            trial.values = vec![value];
            trial
        };
        let before = cut(-0.5, Some(2), 0.5);
        for (again, expected) in [
            (cut(-0.1, Some(2), 0.5), false),
            (cut(-0.1, Some(2), 0.4), true),
            (cut(-0.1, Some(1), 0.9), true),
            (cut(-0.1, Some(3), 0.4), false),
            (cut(0.1, Some(3), 0.9), true),
        ] {
            assert_eq!(is_behind(Direction::Maximize, &again, &before), expected, "{again:?}");
        }
        let broken = cut(0.2, None, 0.5);
        assert!(!is_behind(Direction::Maximize, &cut(0.1, None, 0.4), &broken), "nearer to what it must keep");
        let mut whole = cut(0.0, None, 0.4);
        whole.user.clear();
        assert!(!is_behind(Direction::Maximize, &whole, &before), "it has run to its end");
    }
}
