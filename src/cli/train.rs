//! `train`: one configuration, from flags to a saved model.

use super::console::{Console, bold};
use super::failure::Failure;
use super::options::{DATA, Opt, Options, RUN, add, add_settings, settings};
use super::{Verb, interrupt, output, table};
use clap::{Arg, ArgMatches};
use hpt_engine::Error;
use hpt_engine::data::Task;
use hpt_engine::engine::{Device, Engine, Fit, Work, useful_threads};
use hpt_engine::model::{Model, Plan};
use hpt_engine::prepared::{Prepared, Sets};
use hpt_engine::settings::Config;
use hpt_engine::train::{Control, Epoch, Metric, Scores, Stopped, Trained};
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

pub const VERB: Verb = Verb {
    name: "train",
    about: "Train one configuration and save the model",
    arguments: |command| {
        let command = add(command, DATA, "Data");
        let command = add_settings(add(command, RUN, "Running"));
        command.arg(out()).mut_arg("data", |arg| arg.required(true)).after_help(HELP)
    },
    run,
};

const HELP: &str = "\
The data are divided into training, validation and test rows; what is learned from, encoders included, is the training \
rows alone. The model file holds all that `predict` needs.

Example:
  hpt-engine train --data digits --hidden 256,128 --dropout 0.2 --schedule cosine --epochs 30";

const MODEL: &str = "model.safetensors";

fn out() -> Arg {
    let help = format!("File for the model; folders are made [default: {MODEL}]");
    Arg::new("out").long("out").value_name("FILE").help(help).help_heading("Output")
}

/// The options of this verb that are not settings.
const TABLES: &[&[Opt]] = &[DATA, RUN];

/// What a finished training is described by.
struct Done {
    model: Model,
    trained: Trained,
    train: Scores,
    validation: Option<Scores>,
    test: Option<Scores>,
}

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let options = Options::from_flags(matches, TABLES);
    let settings = settings(matches)?;
    let mut config = settings.resolve()?;
    config.train.metric = options.metric()?;
    let (device, threads, seed) = (options.device()?, options.auto("threads")?, options.seed()?);
    let Some((data, split)) = options.data()? else { return Err(Failure::input("--data is missing")) };
    let out = matches.get_one::<String>("out").map_or(MODEL, String::as_str);
    output::file(out)?;
    let stop = interrupt::catch()?;

    // A device that is not there is said before the data are read.
    let named = if device == Device::Auto { None } else { Some(Engine::new(device, 1)?) };
    let prepared = Prepared::load(&data, &split)?;
    let sets = prepared.sets(config.preprocess)?;
    let plan = Plan::new(&config.model, sets.train.inputs, sets.train.targets.outputs())?;
    let batch = config.train.batch_size.min(sets.train.rows);
    let threads = if threads == 0 { useful_threads(&plan, &config.train, &sets.train) } else { threads };
    let engine = match named {
        Some(engine) => engine.with_threads(threads)?,
        None => choose(console, &sets, &config, plan.step_flops(batch), threads)?,
    };
    prepared.notes().iter().chain(&sets.notes).for_each(|note| console.note(note));
    let metric = config.train.metric_for(&sets.train.targets)?;
    introduce(console, &prepared, &sets, &engine);
    let mut done = fit(console, &engine, &sets, &config, metric, seed, &stop)?;
    done.model.training.settings = settings.to_json();
    if stop.load(Ordering::Relaxed) {
        console.line("interrupted: no model was saved; the same command starts again");
        return Err(Failure::interrupted());
    }
    let folder = output::folder_of(Path::new(out));
    std::fs::create_dir_all(folder).map_err(|error| Error::io(folder, error))?;
    done.model.save(Path::new(out))?;
    let document = document(&prepared, &sets, &engine, &config, &done, out);
    console.result(&document, || report(&prepared, &engine, &done, metric, out, &data.path))
}

/// The device for `auto`: a GPU where it is worth it and the training fits.
fn choose(console: &Console, sets: &Sets, config: &Config, flops: f64, threads: usize) -> Result<Engine, Error> {
    let (engine, note) = Engine::choose(Device::Auto, threads, Work::Training(flops))?;
    if let Some(note) = note {
        console.note(&note);
    }
    let fit = Fit { validation: sets.validation.as_ref(), ..Fit::new(&sets.train, &config.model, &config.train) };
    match engine.check(&fit) {
        Err(Error::TooLarge(why)) if engine.makes_cohorts() => {
            console.note(&format!("the CPU is used, no GPU: {why}"));
            Engine::new(Device::Cpu, threads)
        }
        checked => checked.map(|()| engine),
    }
}

/// What is about to happen.
fn introduce(console: &Console, prepared: &Prepared, sets: &Sets, engine: &Engine) {
    let (train, validation, test) = prepared.rows();
    let [train, validation, test] = [train, validation, test].map(|n| table::count(n as u64));
    let caps = engine.caps();
    console.line(&format!(
        "{}: {}; {train} training, {validation} validation, {test} test rows; {} features",
        prepared.name(),
        table::task(prepared.task()),
        table::count(sets.train.inputs as u64),
    ));
    console.line(&format!("{} ({}), {}", caps.device, caps.isa, table::plural(caps.threads, "thread")));
}

fn fit(
    console: &Console,
    engine: &Engine,
    sets: &Sets,
    config: &Config,
    metric: Metric,
    seed: u64,
    stop: &AtomicBool,
) -> Result<Done, Error> {
    let cancelled = || stop.load(Ordering::Relaxed);
    let fit = Fit {
        validation: sets.validation.as_ref(),
        seed,
        cancelled: &cancelled,
        ..Fit::new(&sets.train, &config.model, &config.train)
    };
    let epochs = Epochs::new(console, config.train.epochs, metric);
    let (mut model, trained) = engine.train(&fit, &mut |epoch| {
        epochs.show(epoch);
        Control::Continue
    })?;
    epochs.end();
    if trained.stopped == Stopped::Early {
        let (run, best) = (trained.history.len(), trained.epoch);
        console.note(&format!("stopped early after epoch {run}: the weights are those of epoch {best}"));
    }
    model.pipeline = Some(sets.pipeline.clone());
    model.training.seen = sets.seen.clone();
    let scores = |data| engine.scores(&model, data);
    Ok(Done {
        train: scores(&sets.train)?,
        validation: sets.validation.as_ref().map(scores).transpose()?,
        test: sets.test.as_ref().map(scores).transpose()?,
        model,
        trained,
    })
}

/// The progress of the epochs: a bar on a terminal, a table elsewhere and with `-v`.
struct Epochs<'a> {
    console: &'a Console,
    metric: Metric,
    bar: Option<ProgressBar>,
}

impl<'a> Epochs<'a> {
    fn new(console: &'a Console, epochs: usize, metric: Metric) -> Self {
        let bar = (console.terminal && !console.quiet).then(|| {
            let bar = ProgressBar::new(epochs as u64);
            let template = "{bar:20} epoch {pos}/{len}  {msg}  {eta} left";
            bar.set_style(ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.enable_steady_tick(std::time::Duration::from_millis(100));
            bar
        });
        let epochs = Epochs { console, metric, bar };
        epochs.line(&format!(
            "{:>5}  {:>13}  {:>10}  {:>15}  {:>17}  {:>9}",
            "epoch",
            "learning rate",
            "train loss",
            "validation loss",
            metric.name(),
            "time"
        ));
        epochs
    }

    fn show(&self, epoch: &Epoch) {
        let number = |value: Option<f64>| value.map_or("-".to_owned(), table::number);
        if let Some(bar) = &self.bar {
            let value = epoch.metric.map(|value| format!(", {}", table::metric(self.metric, value)));
            // The place first: what comes right after is drawn with the next tick.
            bar.set_position(epoch.epoch as u64);
            bar.set_message(format!("loss {}{}", table::number(epoch.train_loss), value.unwrap_or_default()));
        }
        self.line(&format!(
            "{:>5}  {:>13}  {:>10}  {:>15}  {:>17}  {:>9}",
            epoch.epoch,
            table::number(epoch.learning_rate),
            table::number(epoch.train_loss),
            number(epoch.validation_loss),
            number(epoch.metric),
            table::seconds(epoch.seconds),
        ));
    }

    fn line(&self, text: &str) {
        match &self.bar {
            Some(bar) if self.console.verbose => bar.println(text),
            Some(_) => {}
            None => self.console.line(text),
        }
    }

    fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

impl Done {
    /// Training rows a second.
    fn rate(&self) -> f64 {
        let rows = self.model.training.rows * self.trained.history.len();
        if self.trained.seconds > 0.0 { rows as f64 / self.trained.seconds } else { 0.0 }
    }
}

fn document(prepared: &Prepared, sets: &Sets, engine: &Engine, config: &Config, done: &Done, out: &str) -> Json {
    let (train, validation, test) = prepared.rows();
    let caps = engine.caps();
    let (classes, names) = match prepared.task() {
        Task::Classification { classes: names } | Task::MultiLabel { labels: names } => {
            (Some(names.len()), Some(names))
        }
        Task::Regression { .. } => (None, None),
    };
    json!({
        "task": prepared.task().name(),
        "rows": {"train": train, "validation": validation, "test": test},
        "features": sets.train.inputs,
        "classes": classes,
        "class_names": names,
        "parameters": done.model.plan.parameters,
        "device": caps.device,
        "isa": caps.isa,
        "threads": caps.threads,
        "precision": engine.precision(config.train.precision).name(),
        "epochs_run": done.trained.history.len(),
        "epoch": done.trained.epoch,
        "seconds": done.trained.seconds,
        "samples_per_second": done.rate(),
        "train": done.train,
        "validation": done.validation,
        "test": done.test,
        "history": done.trained.history,
        "model": out,
    })
}

fn report(prepared: &Prepared, engine: &Engine, done: &Done, metric: Metric, out: &str, data: &str) -> String {
    let caps = engine.caps();
    let mut sets = vec![("training", &done.train)];
    sets.extend(done.validation.as_ref().map(|scores| ("validation", scores)));
    sets.extend(done.test.as_ref().map(|scores| ("test", scores)));
    let judged = sets.last().and_then(|(name, scores)| Some((name, scores.get(metric)?)));
    let headline = judged.map(|(name, value)| bold(&format!("{name} {}", table::metric(metric, value))));
    format!(
        "{}\n\n{}{} parameters, {} in {} on {} ({}, {}): {} rows a second\n\nmodel: {out}\nnext:  hpt-engine predict --model {} --data {} --out predictions.csv",
        table::scores(&sets),
        headline.map(|line| format!("{}: {line}\n", prepared.name())).unwrap_or_default(),
        table::count(done.model.plan.parameters as u64),
        table::plural(done.trained.history.len(), "epoch"),
        table::seconds(done.trained.seconds),
        caps.device,
        caps.isa,
        table::plural(caps.threads, "thread"),
        table::count(done.rate() as u64),
        table::quoted(out),
        table::quoted(data),
    )
}
