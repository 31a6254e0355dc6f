//! `predict`: a saved model's predictions for a file, as CSV.
//!
//! Columns: `prediction` and `probability_CLASS` for classes, `prediction` (in its own units) for a number; for several
//! labels or numbers one `prediction_NAME` (and `probability_NAME`) each.

use super::console::{Console, print};
use super::failure::Failure;
use super::options::{DELIMITER, DEVICE, Opt, Options, PATH, THREADS, add};
use super::{Verb, output, table};
use clap::{Arg, ArgMatches, Command};
use hpt_engine::Error;
use hpt_engine::data::{Pipeline, ReadTargets, Task};
use hpt_engine::engine::{Engine, Predictions, Work};
use hpt_engine::model::Model;
use serde_json::{Map, Value as Json, json};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;

pub const VERB: Verb = Verb {
    name: "predict",
    about: "Predict with a saved model, as CSV",
    arguments: |command| {
        let out = Arg::new("out").long("out").value_name("FILE").help_heading("Output");
        arguments(command).arg(out.help("File for the predictions [default: standard output]"))
    },
    run,
};

/// The options that a saved model's verbs share.
pub const MODEL_TABLES: &[&[Opt]] = &[WHERE, RUNNING];
const WHERE: &[Opt] = &[PATH, DELIMITER];
const RUNNING: &[Opt] = &[DEVICE, THREADS];

/// Adds `--model`, `--data` and where to run.
pub fn arguments(command: Command) -> Command {
    let model = Arg::new("model").long("model").value_name("FILE").required(true).help_heading("Data");
    let command = command.arg(model.help("Model that `train` or `search` saved"));
    let command = add(add(command, WHERE, "Data"), RUNNING, "Running");
    command.mut_arg("data", |arg| arg.required(true))
}

/// A model that came with its pipeline, and a device for it.
pub struct Loaded {
    pub model: Model,
    pub pipeline: Pipeline,
    pub engine: Engine,
    pub data: String,
    pub delimiter: Option<u8>,
}

impl Loaded {
    /// Reads the model that the arguments name.
    pub fn open(matches: &ArgMatches) -> Result<Self, Failure> {
        let options = Options::from_flags(matches, MODEL_TABLES);
        let path = matches.get_one::<String>("model").map_or("", String::as_str);
        let model = Model::load(Path::new(path))?;
        let Some(pipeline) = model.pipeline.clone() else {
            return Err(Failure::input(format!(
                "{path}: the model was trained on arrays; it knows no columns of a file"
            )));
        };
        Ok(Loaded {
            model,
            pipeline,
            engine: Engine::choose(options.device()?, options.auto("threads")?, Work::Outputs)?.0,
            data: options.text("data")?.unwrap_or_default().to_owned(),
            delimiter: options.delimiter()?,
        })
    }
}

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    // `-` is standard output, as for other programs.
    let out = matches.get_one::<String>("out").filter(|path| *path != "-");
    out.map_or(Ok(()), |path| output::file(path))?;
    let loaded = Loaded::open(matches)?;
    let (source, notes) = loaded.pipeline.read(&loaded.data, loaded.delimiter, ReadTargets::No)?;
    notes.iter().for_each(|note| console.note(note));
    let dataset = Arc::new(loaded.pipeline.features(&source)?);
    let predictions = loaded.engine.predict(&loaded.model, &dataset)?;
    let columns = Columns::new(loaded.pipeline.task());
    let csv = || columns.csv(&predictions);
    match out {
        Some(path) => {
            replace(path, csv()?.as_bytes())?;
            let document = json!({"rows": dataset.rows, "columns": columns.header(), "out": path});
            console.result(&document, || format!("{path}: {} predictions", table::count(dataset.rows as u64)))
        }
        None if console.json => {
            let document = json!({"rows": dataset.rows, "predictions": columns.json(&predictions)});
            console.result(&document, String::new)
        }
        None => print(&csv()?),
    }
}

/// What the columns of the output are.
struct Columns<'a> {
    task: &'a Task,
}

/// A cell: a class or label by name, or a number.
enum Cell<'a> {
    Name(&'a str),
    Label(bool),
    Number(f64),
}

impl<'a> Columns<'a> {
    fn new(task: &'a Task) -> Self {
        Columns { task }
    }

    fn header(&self) -> Vec<String> {
        let named = |prefix: &str, names: &[String]| -> Vec<String> {
            names.iter().map(|name| format!("{prefix}_{name}")).collect()
        };
        match self.task {
            Task::Classification { classes } => [vec!["prediction".to_owned()], named("probability", classes)].concat(),
            Task::MultiLabel { labels } => [named("prediction", labels), named("probability", labels)].concat(),
            Task::Regression { targets } if targets.len() == 1 => vec!["prediction".to_owned()],
            Task::Regression { targets } => named("prediction", targets),
        }
    }

    fn cells(&self, row: &[f64], class: usize) -> Vec<Cell<'a>> {
        let numbers = row.iter().map(|&value| Cell::Number(value));
        match self.task {
            Task::Classification { classes } => {
                std::iter::once(Cell::Name(classes.get(class).map_or("", String::as_str))).chain(numbers).collect()
            }
            Task::MultiLabel { .. } => row.iter().map(|&p| Cell::Label(p > 0.5)).chain(numbers).collect(),
            Task::Regression { .. } => numbers.collect(),
        }
    }

    fn csv(&self, predictions: &Predictions) -> Result<String, Failure> {
        let failed = |error: csv::Error| Failure::new(1, format!("predictions as CSV: {error}"));
        let mut table = csv::Writer::from_writer(Vec::new());
        table.write_record(self.header()).map_err(failed)?;
        for (row, class) in predictions.rows().zip(predictions.classes()) {
            let cells = self.cells(row, class).into_iter().map(|cell| match cell {
                Cell::Name(name) => name.to_owned(),
                Cell::Label(label) => u8::from(label).to_string(),
                Cell::Number(value) => digits(value as f32),
            });
            table.write_record(cells).map_err(failed)?;
        }
        let bytes = table.into_inner().map_err(|error| Failure::new(1, format!("predictions as CSV: {error}")))?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn json(&self, predictions: &Predictions) -> Vec<Json> {
        let header = self.header();
        let row = |(row, class)| {
            let cells = self.cells(row, class).into_iter().map(|cell| match cell {
                Cell::Name(name) => json!(name),
                Cell::Label(label) => json!(u8::from(label)),
                Cell::Number(value) => json!(value),
            });
            Json::from(header.iter().cloned().zip(cells).collect::<Map<String, Json>>())
        };
        predictions.rows().zip(predictions.classes()).map(row).collect()
    }
}

/// As briefly as it can be read back. Networks compute in f32: more digits than it has would say nothing.
fn digits(x: f32) -> String {
    if x == 0.0 || (1e-4..1e9).contains(&x.abs()) { x.to_string() } else { format!("{x:e}") }
}

/// Writes a file as a whole: it is there completely or as it was before.
fn replace(path: &str, bytes: &[u8]) -> Result<(), Failure> {
    let place = Path::new(path);
    // A device or pipe (`/dev/stdout`) is written to, not replaced.
    if place.exists() && !place.is_file() {
        return Ok(std::fs::write(place, bytes).map_err(|error| Error::io(place, error))?);
    }
    let folder = output::folder_of(place);
    let failed = |error| Failure::from(Error::io(place, error));
    std::fs::create_dir_all(folder).map_err(failed)?;
    let mut builder = tempfile::Builder::new();
    // The permissions of any new file, before the user's mask; a temporary file would be private.
    #[cfg(unix)]
    builder.permissions(std::os::unix::fs::PermissionsExt::from_mode(0o666));
    let mut file = builder.tempfile_in(folder).map_err(failed)?;
    file.write_all(bytes).and_then(|()| file.as_file().sync_all()).map_err(failed)?;
    file.persist(place).map(drop).map_err(|error| failed(error.error))
}
