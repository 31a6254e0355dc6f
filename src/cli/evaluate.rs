//! `evaluate`: a saved model's metrics on a file with targets.

use super::console::Console;
use super::failure::Failure;
use super::options::Options;
use super::predict::{Loaded, arguments};
use super::{Verb, table};
use clap::{Arg, ArgAction, ArgMatches};
use hpt_engine::data::ReadTargets;
use serde_json::{Map, json};
use std::sync::Arc;

pub const VERB: Verb = Verb {
    name: "evaluate",
    about: "Measure a saved model on data with targets",
    arguments: |command| {
        let target = Arg::new("target").long("target").value_name("NAMES").action(ArgAction::Append);
        let target = target.help("Target column, where it has another name than in training; several with commas");
        arguments(command).arg(target.help_heading("Data"))
    },
    run,
};

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let loaded = Loaded::open(matches)?;
    let mut options = Options::default();
    if let Some(names) = matches.get_many::<String>("target") {
        options.set("target", "--target".to_owned(), names.cloned().collect::<Vec<_>>().into());
    }
    let names = options.list("target")?;
    let targets = if names.is_empty() { ReadTargets::Yes } else { ReadTargets::Named(&names) };
    let (source, notes) = loaded.pipeline.read(&loaded.data, loaded.delimiter, targets)?;
    notes.iter().for_each(|note| console.note(note));
    let rows: Vec<usize> = (0..source.rows()).collect();
    let dataset = Arc::new(loaded.pipeline.transform(&source, &rows)?);
    let scores = loaded.engine.scores(&loaded.model, &dataset)?;
    let mut document = Map::from_iter([("rows".to_owned(), json!(dataset.rows))]);
    document.extend(scores.0.iter().map(|(name, value)| (name.clone(), json!(value))));
    let seen = loaded.model.training.seen.share(&dataset);
    document.insert("training_rows".to_owned(), json!(seen));
    // Below that rows of other people may well look alike.
    if let Some(share) = seen.filter(|share| *share >= 0.01) {
        console.note(&format!(
            "{:.0} % of these rows are rows that the model was trained on: its metrics on them say little about new ones",
            100.0 * share
        ));
    }
    let name = table::plural(dataset.rows, "row");
    console.result(&document, || table::scores(&[(&name, &scores)]))
}
