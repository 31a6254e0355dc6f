//! Trials as JSON and CSV, the best of them, and the list of studies: the shapes that other programs rely on.
//!
//! Numbers that JSON does not have are the texts `nan`, `inf` and `-inf`; times are UTC, ISO 8601.

use crate::Result;
use crate::history::{Timestamp, Trial};
use crate::space::Value;
pub use crate::study::objective_names;
use crate::study::{Storage, Study, datetime};
use crate::{Error, history::State};
use serde_json::{Map, Value as Json, json};

/// `{"study", "trials": [{"number", "state", "value" or "values", "params", "intermediate", "seconds", "started",
/// "finished"}]}`; what is not there yet is null. Where they are known also `failed_because`, `pruned_because` or (of a
/// complete trial that a limit cut short) `ended_by`, `constraints` (above 0 what is broken), `intermediate_values`
/// (with several objectives all of them, by step), `parts` (the value of each fold or repetition), and `generation`,
/// `parent` and `member` of a population.
///
/// # Errors
/// The storage fails, or holds what cannot be read.
pub fn trials_json(study: &Study) -> Result<Json> {
    let single = study.directions().len() == 1;
    let trials: Vec<Json> = study.trials()?.iter().map(|trial| trial_json(trial, single)).collect();
    Ok(json!({"study": study.name(), "trials": trials}))
}

/// One trial of [`trials_json`]; `single` where the study has one objective.
pub fn trial_json(trial: &Trial, single: bool) -> Json {
    let mut fields = outline(trial, single);
    let intermediate: Map<String, Json> =
        trial.intermediate.iter().map(|(step, &value)| (step.to_string(), number(value))).collect();
    fields.insert("intermediate".into(), intermediate.into());
    if !trial.reported.is_empty() {
        let all = |values: &Vec<f64>| values.iter().copied().map(number).collect::<Json>();
        let reported: Map<String, Json> =
            trial.reported.iter().map(|(step, values)| (step.to_string(), all(values))).collect();
        fields.insert("intermediate_values".into(), reported.into());
    }
    fields.insert("seconds".into(), trial.seconds().map_or(Json::Null, number));
    fields.insert("started".into(), trial.started.map(iso).into());
    fields.insert("finished".into(), trial.finished.map(iso).into());
    if let Some(why) = reason(trial) {
        let key = match trial.state {
            State::Pruned => "pruned_because",
            State::Complete => "ended_by",
            _ => "failed_because",
        };
        fields.insert(key.into(), why.into());
    }
    if let Some(constraints) = trial.system.get("constraints").filter(|constraints| constraints.is_array()) {
        fields.insert("constraints".into(), constraints.clone());
    }
    if let Some(parts) = trial.system.get(crate::study::PARTS).filter(|parts| parts.is_array()) {
        fields.insert("parts".into(), parts.clone());
    }
    for key in ["generation", "parent", "member"] {
        if let Some(value) = trial.user.get(key) {
            fields.insert(key.into(), value.clone());
        }
    }
    // The state stands after the number, where a reader looks for it.
    fields.shift_insert(1, "state".into(), trial.state.name().into());
    fields.into()
}

/// Why a trial failed, was lost or was pruned, or what ended it before its time, where that was written down.
pub fn reason(trial: &Trial) -> Option<&str> {
    let system = |keys: &[&str]| keys.iter().find_map(|key| trial.system.get(*key)).and_then(Json::as_str);
    let user = |key: &str| trial.user.get(key).and_then(Json::as_str);
    match trial.state {
        State::Failed => system(&["hpt:reason", "hpt:lost"]),
        State::Pruned => user("pruned_because").or_else(|| system(&["hpt:reason"])),
        State::Complete => user("ended_by"),
        State::Running | State::Waiting => None,
    }
}

/// `{"number", "value", "params"}` of the best complete trial; for several objectives the list of those no other beats,
/// each `{"number", "values", "params", "objectives": {name: value}}`.
///
/// # Errors
/// [`Error::Input`] where no trial is complete; the storage fails.
pub fn best_json(study: &Study) -> Result<Json> {
    let best = study.best()?;
    match (study.directions().len(), best.as_slice()) {
        (_, []) => Err(Error::input(format!(
            "study `{}`: no trial is complete yet, or none keeps the constraints",
            study.name()
        ))),
        (1, [best, ..]) => Ok(outline(best, true).into()),
        (objectives, front) => {
            let names = objective_names(study.metric_names(), objectives);
            let named = |trial: &Trial| {
                let values = names.iter().cloned().zip(trial.values.iter().copied().map(number));
                let mut fields = outline(trial, false);
                fields.insert("objectives".into(), values.collect::<Map<String, Json>>().into());
                Json::from(fields)
            };
            Ok(front.iter().map(named).collect())
        }
    }
}

/// `[{"study", "directions", "metrics", "trials": {state: count}, "best": value, "started", "finished"}]`; `best` is
/// null with several objectives and while no trial is complete. Trials that were deleted, or lost and repeated, are
/// counted as such and not as failed.
///
/// # Errors
/// The storage fails, or holds what cannot be read.
pub fn studies_json(storage: &Storage) -> Result<Json> {
    let mut list = Vec::new();
    for name in storage.studies()? {
        let study = Study::open(storage, Some(&name))?;
        let (trials, counts) = (study.trials()?, study.counts()?);
        let best = if study.directions().len() == 1 { study.best()?.first().and_then(Trial::value) } else { None };
        let count = |(name, count): (&str, u64)| (name.to_owned(), Json::from(count));
        list.push(json!({
            "study": name,
            "directions": study.directions().iter().map(|direction| direction.name()).collect::<Vec<_>>(),
            "metrics": study.metric_names(),
            "trials": counts.by_name().into_iter().map(count).collect::<Map<String, Json>>(),
            "best": best.map(number),
            "started": trials.iter().filter_map(|trial| trial.started).min().map(iso),
            "finished": trials.iter().filter_map(|trial| trial.finished).max().map(iso),
        }));
    }
    Ok(list.into())
}

/// One line a trial: number, state, `value` (or `value_0`, `value_1`, …), seconds, started, finished, then one column a
/// parameter, empty where it is not active, and `reason` (as `failed_because` and so on of the JSON) where there is
/// any.
///
/// # Errors
/// The storage fails, or holds what cannot be read.
pub fn trials_csv(study: &Study) -> Result<String> {
    let trials = study.trials()?;
    let mut names: Vec<&str> = Vec::new();
    for name in trials.iter().flat_map(|trial| trial.params.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let objectives = study.directions().len();
    let value_names = (0..objectives).map(|i| if objectives == 1 { "value".into() } else { format!("value_{i}") });
    let mut header: Vec<String> = vec!["number".into(), "state".into()];
    header.extend(value_names);
    header.extend(["seconds", "started", "finished"].map(String::from));
    header.extend(names.iter().map(|name| format!("params_{name}")));
    let reasons = trials.iter().any(|trial| reason(trial).is_some());
    header.extend(reasons.then(|| "reason".to_owned()));
    let mut table = csv::Writer::from_writer(Vec::new());
    let failed = |error: csv::Error| Error::Storage(format!("trials as CSV: {error}"));
    table.write_record(&header).map_err(failed)?;
    for trial in trials.iter() {
        let mut row = vec![trial.number.to_string(), trial.state.name().to_owned()];
        row.extend((0..objectives).map(|i| trial.values.get(i).map(f64::to_string).unwrap_or_default()));
        row.push(trial.seconds().map(|seconds| seconds.to_string()).unwrap_or_default());
        row.extend([trial.started, trial.finished].map(|time| time.map(iso).unwrap_or_default()));
        row.extend(names.iter().map(|name| trial.params.get(*name).map(Value::to_string).unwrap_or_default()));
        row.extend(reasons.then(|| reason(trial).unwrap_or_default().to_owned()));
        table.write_record(&row).map_err(failed)?;
    }
    let bytes = table.into_inner().map_err(|error| Error::Storage(format!("trials as CSV: {error}")))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

/// Number, value(s) and parameters, and what cut it short.
fn outline(trial: &Trial, single: bool) -> Map<String, Json> {
    let mut fields = Map::new();
    fields.insert("number".into(), trial.number.into());
    if single {
        fields.insert("value".into(), trial.value().map_or(Json::Null, number));
    } else {
        let values: Vec<Json> = trial.values.iter().copied().map(number).collect();
        fields.insert("values".into(), if trial.state == State::Complete { values.into() } else { Json::Null });
    }
    fields.insert("params".into(), json!(trial.params));
    if let Some(why) = trial.user.get("ended_by").filter(|_| trial.state == State::Complete) {
        fields.insert("ended_by".into(), why.clone());
    }
    fields
}

/// A number, or the text that stands for one that JSON has not.
pub fn number(value: f64) -> Json {
    match value {
        value if value.is_nan() => "nan".into(),
        f64::INFINITY => "inf".into(),
        f64::NEG_INFINITY => "-inf".into(),
        value => value.into(),
    }
}

/// `2026-11-21T18:18:02.178014Z`.
fn iso(time: Timestamp) -> String {
    format!("{}Z", datetime(time).replace(' ', "T"))
}
