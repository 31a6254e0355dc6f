//! The JSON document of a search: what its study says, whether it ran to its end or was interrupted, trained networks
//! or ran a command. What only an end has (the test, the model) is null until whoever ends it says more.

use hpt_engine::Error;
use hpt_engine::history::{State, Trial};
use hpt_engine::report::trials::{number as number_json, objective_names};
use hpt_engine::search::{Found, models_of};
use hpt_engine::study::{Counts, Stopped, Study, is_repetition};
use serde_json::{Map, Value as Json, json};

/// How long a search took, and why it ended.
#[derive(Clone, Copy)]
pub struct Course {
    /// Seconds of everything.
    pub seconds: f64,
    /// Trials a second.
    pub rate: f64,
    pub stopped: Stopped,
}

/// The document of a search whose study is open; `best` is the trial that the result is about, where there is one.
pub fn of(study: &Study, best: Option<&Trial>, course: Course) -> Result<Json, Error> {
    let directions: Vec<&str> = study.directions().iter().map(|direction| direction.name()).collect();
    let single = directions.len() == 1;
    let names = objective_names(study.metric_names(), directions.len());
    let one_or_all = |list: Vec<&str>| if single { json!(list.first()) } else { json!(list) };
    let outlines = |trials: &[Trial]| {
        let mut all = trials.iter().map(|trial| outline(trial, &names)).collect();
        add_models(study, trials, &mut all).map(|()| all)
    };
    let shown = if single { best.into_iter().cloned().collect() } else { study.best()? };
    let counts = study.counts()?;
    let (command, found) = (study.attribute("command")?, Found::of(study, best)?);
    let mut fields = Map::new();
    let mut add = |key: &str, value: Json| drop(fields.insert(key.to_owned(), value));
    add("study", json!(study.name()));
    add("storage", json!(study.storage().path().display().to_string()));
    add("direction", one_or_all(directions.clone()));
    add(
        "metric",
        match study.metric_names() {
            [] => Json::Null,
            metrics => one_or_all(metrics.iter().map(String::as_str).collect()),
        },
    );
    let is_command = command.is_some();
    if let Some(command) = command {
        add("command", command);
    }
    add("trials", by_state(counts));
    add("put_back", json!(put_back(study)?));
    add("seconds", json!(course.seconds));
    add("trials_per_second", json!(course.rate));
    add("stopped_by", json!(course.stopped.name()));
    let outlined = outlines(&shown)?;
    add("best", if single { json!(outlined.get(0)) } else { outlined });
    add("retrained", Json::Null);
    if !is_command {
        add("default", json!(found.default_value));
        add("interrupted", json!(found.interrupted));
    }
    let has_scores = !found.validation.0.is_empty();
    add("validation", if has_scores { json!(found.validation) } else { Json::Null });
    add("test", Json::Null);
    add("model", Json::Null);
    add("top", outlines(&study.top(if single { TOP } else { shown.len() })?)?);
    if !found.parts.is_empty() {
        add("parts", json!(found.parts));
    }
    if !found.schedule.is_empty() {
        add("schedule", json!(found.schedule));
    }
    Ok(fields.into())
}

/// Adds to the outline of a trial, or to each of a list, the file of its own model; null where that was not kept, and
/// nothing where the study has no models.
pub fn add_models(study: &Study, trials: &[Trial], outlines: &mut Json) -> Result<(), Error> {
    let Some(models) = models_of(study, trials)? else { return Ok(()) };
    let mut models = models.into_iter().map(|model| json!(model.map(|model| model.display().to_string())));
    match outlines {
        Json::Array(all) => all.iter_mut().zip(models).for_each(|(outline, model)| outline["model"] = model),
        one => one["model"] = models.next().unwrap_or_default(),
    }
    Ok(())
}

/// Each count under its state's name.
fn by_state(counts: Counts) -> Json {
    counts.by_name().map(|(name, count)| (name.to_owned(), Json::from(count))).into_iter().collect::<Map<_, _>>().into()
}

/// The trials that wait for the search to go on: they were under way when it ended.
pub fn put_back(study: &Study) -> Result<Vec<u64>, Error> {
    let trials = study.trials()?;
    let waits = |trial: &&Trial| trial.state == State::Waiting && is_repetition(trial);
    Ok(trials.iter().filter(waits).map(|trial| trial.number).collect())
}

/// Trials of one objective that are shown.
const TOP: usize = 5;

/// The document of a search that was interrupted before its study was open.
pub fn blank(course: Course) -> Json {
    json!({
        "study": null, "storage": null, "direction": null, "metric": null, "trials": null, "put_back": [],
        "seconds": course.seconds,
        "trials_per_second": course.rate, "stopped_by": course.stopped.name(), "best": null, "retrained": null,
        "default": null, "interrupted": null, "validation": null, "test": null, "model": null, "top": [],
    })
}

/// `{"number", "value", "params"}`; where there are several `values`, and `objectives` with their names; `ended_by`
/// where a limit cut it short.
fn outline(trial: &Trial, names: &[String]) -> Json {
    let (number, values, params) = (trial.number, &trial.values, &trial.params);
    let mut outline = if names.len() == 1 {
        json!({"number": number, "value": trial.value().map(number_json), "params": params})
    } else {
        let named: Map<String, Json> = names.iter().cloned().zip(values.iter().copied().map(number_json)).collect();
        json!({"number": number, "values": values, "params": params, "objectives": named})
    };
    if let Some(why) = trial.user.get("ended_by") {
        outline["ended_by"] = why.clone();
    }
    outline
}
