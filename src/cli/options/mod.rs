//! The options of data, devices and searches: one table, from which the flags and the keys of a study file follow.
//!
//! A flag and a key of the same name are the same option: both come to [`Options`], where each value keeps the place
//! it came from, and are read and checked by the same code (`values.rs`). The settings of a training have a table of
//! their own, [`SETTINGS`].

mod values;

pub use values::Options;

use clap::{Arg, ArgAction, ArgMatches, Command, ValueHint};
use hpt_engine::Error;
use hpt_engine::data::TaskChoice;
use hpt_engine::pruner::{self, OPTIONS, PRUNERS};
use hpt_engine::sampler::{Acquisition, SAMPLERS};
use hpt_engine::settings::{Kind, SETTINGS, Settings};
use hpt_engine::space::Value;
use hpt_engine::train::Metric;

/// One option.
pub struct Opt {
    /// Its key; as a flag, with `-` for `_`.
    pub name: &'static str,
    /// What stands for its value in the help.
    value: &'static str,
    help: &'static str,
    /// May be given several times.
    many: bool,
    /// Its value may be left out.
    bare: bool,
    /// The words it takes, where they are few.
    words: fn() -> Vec<&'static str>,
}

/// An option with one value.
pub const fn opt(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { name, value, help, many: false, bare: false, words: Vec::new }
}

/// One that may be given several times.
pub const fn many(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { many: true, ..opt(name, value, help) }
}

/// One whose value may be left out: it is then 1. A value needs `=`.
pub const fn flagged(name: &'static str, value: &'static str, help: &'static str) -> Opt {
    Opt { bare: true, ..opt(name, value, help) }
}

/// One that takes one of a few words.
pub const fn one_of(name: &'static str, help: &'static str, words: fn() -> Vec<&'static str>) -> Opt {
    Opt { words, ..opt(name, "NAME", help) }
}

/// Help with the words that may be given, before the default.
fn described(help: &str, words: &[&str]) -> String {
    let (help, default) = help.split_at(help.find(" [default:").unwrap_or(help.len()));
    if words.is_empty() { format!("{help}{default}") } else { format!("{help}: {}{default}", words.join(", ")) }
}

/// The options of all pruners, for the end of a help.
pub fn pruner_options() -> String {
    let line = |option: &pruner::PrunerOption| {
        let of = if option.of.is_empty() { "all".to_owned() } else { option.of.join(", ") };
        format!("  {:<14} {} ({of})", option.name, option.help)
    };
    format!("Options of pruners:\n{}", OPTIONS.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// Where data are.
#[rustfmt::skip]
pub const PATH: Opt = opt("data", "PATH", "CSV or TSV file (plain or gzip), folder with IDX files, .npz file, or a built-in set: digits, california-housing");
pub const DELIMITER: Opt =
    opt("delimiter", "CHAR", "What separates cells: one character, or `tab` [default: found out]");
/// Where to run.
pub const DEVICE: Opt = opt(
    "device",
    "DEVICE",
    "auto, cpu, cuda (all GPUs) or cuda:1; auto is the GPU for searches and large networks, if there is one that computes as the CPU does [default: auto]",
);
/// Cross-validation.
pub const FOLDS: Opt = opt(
    "folds",
    "K",
    "Cross-validation in place of --validation-split: the rows that are not for the test are divided into K folds, and a trial trains once for each, validates on it, and has the mean as its value; epochs are pruned in the first",
);
pub const THREADS: Opt = opt("threads", "N", "Threads of one training, or auto [default: auto]");

/// Which data, and how they are divided.
#[rustfmt::skip]
pub const DATA: &[Opt] = &[
    PATH,
    many("target", "NAMES", "Target column, or several with commas [default: the last column]"),
    DELIMITER,
    opt("test", "PATH", "File of test rows, instead of --test-split"),
    opt("test_split", "SHARE", "Share of the rows for the test, 0 for none [default: 0.2]"),
    opt("validation_split", "SHARE", "Share of the other rows for validation, 0 for none [default: 0.2]"),
    one_of("task", "What the target means [default: auto]", || TaskChoice::ALL.iter().map(|row| row.0).collect()),
    many("categorical", "NAMES", "Columns of numbers to be taken as categories, with commas"),
    opt("fold_column", "NAME", "Column that says to which fold a row belongs; it is no input. A search validates on each fold in turn"),
];

/// What a training needs beside its settings.
#[rustfmt::skip]
pub const RUN: &[Opt] = &[
    one_of("metric", "What early stopping and a search look at; a search takes several with commas, also parameters, training_seconds, inference_seconds (of 1,000 rows) [default: accuracy, or rmse]", || Metric::names().collect()),
    opt("seed", "N", "Seed of splits, weights, shuffling, dropout and proposals [default: 0, of a study that has begun its own]"),
    DEVICE,
    THREADS,
];

/// What a search needs beside that.
#[rustfmt::skip]
pub const SEARCH: &[Opt] = &[
    one_of("sampler", "How configurations are proposed [default: as the study was begun; of a new one auto]", || SAMPLERS.iter().map(|entry| entry.name).collect()),
    one_of("acquisition", "What the Gaussian process of gp and auto maximises [default: as the study was begun; of a new one logei]", || Acquisition::ALL.map(Acquisition::name).to_vec()),
    one_of("pruner", "How hopeless trials are stopped [default: as the study was begun; of a new one asha, hyperband for the sampler bohb, none where no objective is a metric]", || PRUNERS.iter().map(|entry| entry.name).collect()),
    many("pruner_option", "NAME=X", "Option of the pruner; several may be given. See the end of this help"),
    opt("trials", "N", "Trials that the study should reach in all [default: 100; none with --time-limit]"),
    opt("time_limit", "TIME", "Time for everything, as in 90s, 10m or 1h30m; with no trial complete by then, what those under way came to is the result"),
    opt("checkpoint_every", "TIME", "What a trial has come to is written after so long each time, so that a crash loses no more of it [default: 60s]"),
    opt("trial_time_limit", "TIME", "Time for one trial: what it has learned, or a command has reported, by then is its result; with folds, one that has not seen all of them is pruned"),
    opt("trial_memory_limit", "SIZE", "Memory of one trial, as in 500MiB or 2GiB; what needs more fails"),
    opt("command", "COMMAND", "Program to run as a trial instead of a training, as in './objective.sh {learning_rate}'"),
    many("direction", "NAMES", "minimize or maximize the command's value; one each for several, with commas [default: as the study was begun]"),
    many("constraint", "NAME<=X", "What a trial must keep to be among the best, as in 'parameters <= 100000' or 'accuracy >= 0.9'; several may be given. A command prints `constraint NAME VALUE`"),
    opt("jobs", "N", "Trials at once, or auto [default: auto; 1 for a command]"),
    opt("cohort", "N", "Trials at once on a GPU, or auto: by its memory, and fewer for samplers that learn from trials [default: auto]"),
    flagged("deterministic", "WIDTH", "Make the same study with any number of jobs: results are told in order, and a trial sees those before it. With =4, those four places before it, so that a sampler that learns may have four trials under way. A time limit still ends it anywhere"),
    opt("storage", "FILE", "File of studies [default: hpt-study.db]"),
    opt("study", "NAME", "Name of the study [default: the data's or the command's name]"),
    FOLDS,
    opt("repeats", "N", "Trainings of each trial with different seeds, averaged; with folds, other divisions into them [default: 1]"),
    opt("keep_models", "N", "Models of the best trials to keep [default: 3]"),
    one_of("retrain", "What is trained once more, on training and validation rows together; with none the best trial's own model is the result [default: best]", || vec!["best", "none"]),
    opt("stop_at", "X", "Value that is good enough: the study ends when its best has reached it; of several objectives all, with commas"),
    opt("patience_trials", "N", "The study ends after so many trials in a row that brought nothing better; with several objectives, nothing by which the volume that the front dominates grew by a thousandth"),
    opt("stop_regret_bound", "X", "The study ends when, by a Gaussian process, the best there is can hardly be better than the best so far by more than X; `auto` takes the error of that value, from --folds or --repeats"),
    opt("warm_start", "FILE[:STUDY]", "Study to learn from: its best are tried first, and gp and auto learn from the others while they agree"),
    opt("population", "K", "Population-based training: K members train in generations, the worst copy weights of the best"),
    opt("generation_epochs", "N", "Epochs of a population's generation [default: 1]"),
    opt("exploit", "SHARE", "Share of a population that copies one of as many best [default: 0.2]"),
    opt("explore_factor", "X", "What the copy multiplies or divides its hyperparameters by [default: 1.2]"),
    opt("explore_resample", "SHARE", "Probability that it draws one anew instead [default: 0.25]"),
    many("enqueue", "JSON", "Configuration to try first, as in '{\"learning_rate\": 0.001}'"),
    opt("space", "FILE", "File whose [space] table says what varies [default: the study's own; of a new one, sized from the data]"),
    opt("out", "DIR", "Folder for the models [default: named after the study]"),
];

/// The flag of a key.
pub fn flag(name: &str) -> String {
    format!("--{}", name.replace('_', "-"))
}

fn arg(name: &'static str, value: &'static str, help: String, heading: &'static str) -> Arg {
    // `--learning_rate`, as in a study file, is understood too.
    let arg = Arg::new(name).help(help).help_heading(heading).value_name(value).long(name.replace('_', "-"));
    let arg = if name.contains('_') { arg.alias(name) } else { arg };
    // `-3e-2` is a number, though it looks like an option.
    arg.allow_hyphen_values(matches!(value, "X" | "N" | "SHARE")).value_hint(match value {
        "PATH" => ValueHint::AnyPath,
        "FILE" => ValueHint::FilePath,
        "DIR" => ValueHint::DirPath,
        _ => ValueHint::Other,
    })
}

/// Adds the flags of a table.
pub fn add(command: Command, table: &'static [Opt], heading: &'static str) -> Command {
    command.args(table.iter().map(|opt| {
        let arg = arg(opt.name, opt.value, described(opt.help, &(opt.words)()), heading);
        match opt {
            Opt { many: true, .. } => arg.action(ArgAction::Append),
            Opt { bare: true, .. } => arg.num_args(0..=1).require_equals(true).default_missing_value("1"),
            _ => arg,
        }
    }))
}

/// Adds a flag for every setting of a training.
pub fn add_settings(command: Command) -> Command {
    command.args(SETTINGS.iter().map(|setting| {
        let help = match setting.default {
            "" if setting.help.contains("[default: ") => setting.help.to_owned(),
            "" | "false" => format!("{} [default: off]", setting.help),
            default => format!("{} [default: {default}]", setting.help),
        };
        let (value, words) = match setting.kind {
            Kind::Flag => ("BOOL", Vec::new()),
            Kind::Count(_) => ("N", Vec::new()),
            Kind::Name(names) => ("NAME", names()),
            Kind::Widths => ("WIDTHS", Vec::new()),
            _ => ("X", Vec::new()),
        };
        let arg = arg(setting.name, value, described(&help, &words), "Training");
        match setting.kind {
            // `--nesterov` alone is true; a value needs `=`, since a word after it may be something else.
            Kind::Flag => arg.num_args(0..=1).require_equals(true).default_missing_value("true"),
            _ => arg,
        }
    }))
}

/// The settings that flags give.
pub fn settings(matches: &ArgMatches) -> Result<Settings, Error> {
    let mut settings = Settings::default();
    for setting in SETTINGS {
        if let Some(text) = matches.get_one::<String>(setting.name) {
            settings.set(&flag(setting.name), setting.name, &Value::Text(text.clone()))?;
        }
    }
    Ok(settings)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_option_has_the_name_of_a_setting() {
        let names: Vec<&str> = [DATA, RUN, SEARCH].into_iter().flatten().map(|opt| opt.name).collect();
        for (i, name) in names.iter().enumerate() {
            assert!(!names[..i].contains(name), "{name} twice");
            assert!(SETTINGS.iter().all(|setting| setting.name != *name), "{name} is a setting");
        }
    }
}
