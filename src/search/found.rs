//! What a study of trainings has found, from the study alone: the same at the end of a search, after an interrupt, and
//! for whoever opens the study later.

use super::kept::Interrupted;
use super::population::{POPULATION, schedule_of};
use super::space::default_point;
use super::trial::{is_cut, parts_of, scores_of};
use crate::Result;
use crate::history::{State, Trial};
use crate::settings::Settings;
use crate::study::Study;
use crate::train::Scores;
use serde_json::Value as Json;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Found {
    /// The default configuration's value of the first objective, where the study has tried it.
    pub default_value: Option<f64>,
    /// A trial's metrics on the validation rows; of several trainings the mean.
    pub validation: Scores,
    /// What its trainings came to, one a fold or repetition, by the first metric; empty where there is one only.
    pub parts: Vec<f64>,
    /// Of a population, its hyperparameters from its first epoch on: `{"trial", "epochs": [from, to], "params"}` of
    /// each piece. Else empty.
    pub schedule: Vec<Json>,
    /// The model of a training that was interrupted before there was any result, until there is one.
    pub interrupted: Option<Interrupted>,
}

impl Found {
    /// Of a study, and of its best trial where there is one.
    ///
    /// # Errors
    /// The storage fails, or lacks what a trial goes on from.
    pub fn of(study: &Study, best: Option<&Trial>) -> Result<Self> {
        let (default_value, interrupted) = (default_value(study)?, Interrupted::of(study)?);
        let Some(best) = best else { return Ok(Found { default_value, interrupted, ..Found::default() }) };
        Ok(Found {
            default_value,
            validation: scores_of(study, best)?,
            parts: parts_of(study, best)?,
            schedule: schedule_of(study, best)?,
            interrupted,
        })
    }
}

fn default_value(study: &Study) -> Result<Option<f64>> {
    // Of a population's default member only a piece was trained with it.
    let space = if study.attribute(POPULATION)?.is_none() { study.space() } else { None };
    let fixed = match study.attribute("settings")? {
        Some(Json::Object(fields)) => Settings::from_json("hpt:settings", &fields)?,
        _ => Settings::default(),
    };
    let Some(default) = space.and_then(|space| default_point(space, &fixed)) else { return Ok(None) };
    let trials = study.trials()?;
    let is_whole = |trial: &&Trial| trial.state == State::Complete && !is_cut(trial);
    let trial = trials.iter().filter(is_whole).find(|trial| trial.params == default);
    Ok(trial.filter(|trial| trial.is_feasible()).and_then(Trial::value))
}
