//! `studies`, `trials`, `best`: what a storage holds.

use super::console::{Console, columns, print};
use super::document::add_models;
use super::failure::Failure;
use super::{Verb, screen, storage, table};
use clap::{Arg, ArgAction, ArgMatches};
use hpt_engine::history::{State, Trial};
use hpt_engine::report::trials::{best_json, objective_names, reason, studies_json, trials_csv, trials_json};
use hpt_engine::study::{Counts, Storage, Study};

/// The longest reason that stands beside the state; a longer one has lines of its own under its trial.
const SHORT: usize = 32;

pub const STUDIES: Verb = Verb {
    name: "studies",
    about: "List the studies of a storage",
    arguments: |command| command.arg(storage::storage_argument()),
    run: studies,
};

pub const TRIALS: Verb = Verb {
    name: "trials",
    about: "List the trials of a study: a table, --json or --csv",
    arguments: |command| {
        let csv = Arg::new("csv").long("csv").action(ArgAction::SetTrue).conflicts_with("json");
        storage::arguments(command).arg(csv.help("Print CSV").help_heading("Output"))
    },
    run: trials,
};

pub const BEST: Verb = Verb {
    name: "best",
    about: "Show the best trial of a study, or the front of several objectives",
    arguments: storage::arguments,
    run: best,
};

fn studies(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let storage = Storage::open(storage::path(matches))?;
    console.result(&studies_json(&storage)?, || match study_rows(&storage) {
        Ok(rows) if rows.is_empty() => format!("{}: no studies", storage.path().display()),
        Ok(rows) => {
            let counted = Counts::default().by_name().map(|(name, _)| name);
            let header: Vec<&str> =
                ["study", "direction", "metric"].into_iter().chain(counted).chain(["best"]).collect();
            // Most storages have none of these.
            let shown = |at: &usize| {
                !["deleted", "lost"].contains(&header[*at]) || rows.iter().any(|row| row[*at] != table::count(0))
            };
            let shown: Vec<usize> = (0..header.len()).filter(shown).collect();
            let rows: Vec<Vec<String>> =
                rows.iter().map(|row| shown.iter().map(|at| row[*at].clone()).collect()).collect();
            table::table(&shown.iter().map(|at| header[*at]).collect::<Vec<_>>(), &rows)
        }
        Err(error) => error.to_string(),
    })
}

fn study_rows(storage: &Storage) -> Result<Vec<Vec<String>>, hpt_engine::Error> {
    let row = |name: &String| {
        let study = Study::open(storage, Some(name))?;
        let counts = study.counts()?;
        let directions: Vec<&str> = study.directions().iter().map(|direction| direction.name()).collect();
        let best = study.best()?;
        let best = if directions.len() == 1 { best.first().and_then(Trial::value) } else { None };
        let mut row = vec![name.clone(), directions.join(","), study.metric_names().join(",")];
        row.extend(counts.by_name().map(|(_, count)| table::count(count)));
        row.push(best.map(table::number).unwrap_or_default());
        Ok(row)
    };
    storage.studies()?.iter().map(row).collect()
}

fn trials(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let study = storage::open(matches)?;
    if matches.get_flag("csv") {
        return print(&trials_csv(&study)?);
    }
    let trials = study.trials()?;
    console.result(&trials_json(&study)?, || {
        let objectives = match study.directions().len() {
            1 => objective_names(&[], 1),
            several => objective_names(study.metric_names(), several),
        };
        let (rows, notes) = rows(&trials, objectives.len());
        let counts = study.counts().unwrap_or_default();
        // `parameters` may be an objective.
        let last = if objectives.len() == 1 { "parameters" } else { "configuration" };
        let values = objectives.iter().map(String::as_str);
        let header: Vec<&str> = ["trial", "state"].into_iter().chain(values).chain(["time", last]).collect();
        format!(
            "{}\n{}: {}",
            table::table_with_notes(columns(), &header, &rows, &notes),
            study.name(),
            counts.by_name().map(|(name, count)| format!("{count} {name}")).join(", ")
        )
    })
}

/// The rows of a table of trials, and what stands under each of them.
fn rows(trials: &[Trial], objectives: usize) -> (Vec<Vec<String>>, Vec<String>) {
    trials.iter().map(|trial| row(trial, objectives)).unzip()
}

/// Number, state, one value an objective, time and configuration; and the reason of the state where it is long.
fn row(trial: &Trial, objectives: usize) -> (Vec<String>, String) {
    // What was pruned has what it had come to.
    let last = || trial.reached().unwrap_or_default();
    let is_pruned = trial.values.is_empty() && trial.state == State::Pruned;
    let values = if is_pruned { last() } else { trial.values.as_slice().into() };
    let value = |place: usize| values.get(place).copied().map(table::number).unwrap_or_default();
    let is = |key: &str| trial.state == State::Failed && trial.system.contains_key(key);
    let state = match trial.state.name() {
        _ if is("hpt:deleted") => "deleted",
        _ if is("hpt:lost") => "lost",
        name => name,
    };
    // What was written down may begin with the state itself.
    let why = match (reason(trial), trial.last_intermediate()) {
        (Some(why), _) => why.strip_prefix(state).unwrap_or(why).trim_start_matches(": ").to_owned(),
        // By the pruner.
        (None, Some((step, _))) if trial.state == State::Pruned => {
            format!("after {} {step}", if trial.is_of_parts() { "part" } else { "step" })
        }
        _ => String::new(),
    };
    let why = why.as_str();
    let (short, long) = if why.chars().count() <= SHORT && !why.contains('\n') { (why, "") } else { ("", why) };
    let state = if short.is_empty() { state.to_owned() } else { format!("{state}: {short}") };
    let mut cells = vec![trial.number.to_string(), state];
    cells.extend((0..objectives).map(value));
    cells.extend([trial.seconds().map(table::seconds).unwrap_or_default(), parameters(trial)]);
    (cells, long.to_owned())
}

fn parameters(trial: &Trial) -> String {
    let pair = |(name, value)| format!("{name}={}", screen::value(value));
    trial.params.iter().map(pair).collect::<Vec<_>>().join(" ")
}

fn best(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let study = storage::open(matches)?;
    let best = study.best()?;
    let mut outlines = best_json(&study)?;
    add_models(&study, &best, &mut outlines)?;
    console.result(&outlines, || {
        if let several @ 2.. = study.directions().len() {
            return screen::front(&study, &best, &objective_names(study.metric_names(), several));
        }
        let (rows, notes) = rows(&best, 1);
        table::table_with_notes(columns(), &["trial", "state", "value", "time", "parameters"], &rows, &notes)
    })
}
