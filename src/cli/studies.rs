//! `studies`, `trials`, `best`: what a storage holds.

use super::console::{Console, columns, print};
use super::failure::Failure;
use super::{Verb, screen, storage, table};
use clap::{Arg, ArgAction, ArgMatches};
use hpt_engine::history::{State, Trial};
use hpt_engine::report::trials::{best_json, reason, studies_json, trials_csv, trials_json};
use hpt_engine::study::{Storage, Study};

/// The longest reason that a table shows; --json and --csv have all of them.
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
        Ok(rows) => table::table(
            &["study", "direction", "metric", "complete", "pruned", "failed", "running", "waiting", "best"],
            &rows,
        ),
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
        let failed = counts.failed + counts.lost + counts.deleted;
        row.extend([counts.complete, counts.pruned, failed, counts.running, counts.waiting].map(table::count));
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
        let value = if study.directions().len() == 1 { "value" } else { "values" };
        let rows: Vec<Vec<String>> = trials.iter().map(row).collect();
        let counts = study.counts().unwrap_or_default();
        format!(
            "{}\n{}: {} complete, {} pruned, {} failed, {} deleted, {} lost and repeated, {} running, {} waiting",
            table::table_within(columns(), &["trial", "state", value, "time", "parameters"], &rows),
            study.name(),
            counts.complete,
            counts.pruned,
            counts.failed,
            counts.deleted,
            counts.lost,
            counts.running,
            counts.waiting
        )
    })
}

fn row(trial: &Trial) -> Vec<String> {
    let values: Vec<String> = trial.values.iter().copied().map(table::number).collect();
    let is = |key: &str| trial.state == State::Failed && trial.system.contains_key(key);
    let state = match trial.state.name() {
        _ if is("hpt:deleted") => "deleted",
        _ if is("hpt:lost") => "lost",
        name => name,
    };
    let why = reason(trial).filter(|why| why.chars().count() <= SHORT && !why.contains('\n'));
    vec![
        trial.number.to_string(),
        why.map_or(state.to_owned(), |why| format!("{state}: {why}")),
        values.join(", "),
        trial.seconds().map(table::seconds).unwrap_or_default(),
        parameters(trial),
    ]
}

fn parameters(trial: &Trial) -> String {
    let pair = |(name, value)| format!("{name}={}", screen::value(value));
    trial.params.iter().map(pair).collect::<Vec<_>>().join(" ")
}

fn best(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let study = storage::open(matches)?;
    let best = study.best()?;
    console.result(&best_json(&study)?, || {
        if let several @ 2.. = study.directions().len() {
            let names = match study.metric_names() {
                [] => (0..several).map(|i| format!("value {i}")).collect(),
                names => names.to_vec(),
            };
            return screen::front(&best, &names);
        }
        let rows: Vec<Vec<String>> = best.iter().map(row).collect();
        table::table_within(columns(), &["trial", "state", "value", "time", "parameters"], &rows)
    })
}
