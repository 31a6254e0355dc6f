//! Any program as an objective: each trial runs a command, and what it prints is its result.
//!
//! - The last line of standard output is the value, or the values with spaces or commas between them.
//! - A line `step value` before it is an intermediate value: it is stored, and the pruner may end the trial by it. With
//!   several objectives that is a line of the step and one value each, with spaces or commas between them; `step value`
//!   is then stored as the first's alone.
//! - A line `constraint NAME VALUE` says what a constraint is about. Samplers and pruners know it from the next report
//!   on, and a trial that is pruned keeps what it had said by then; what is unknown so far counts as kept (0).
//! - Any other line is the program's own business. Standard error is kept for the reason of a failure.
//! - An exit code other than 0, a value that is no number, and a last line that is none fail the trial, with the
//!   reason.
//!
//! Parameters come as `{placeholders}` ([`template`]) and as environment variables; [`process`] starts and ends the
//! program. What it does is not known here, so nothing is retrained or saved: the result is the study.

mod process;
mod template;

pub use process::kill_all as kill_commands;

use super::method::choose;
use super::trial::{ENDED, SEARCH_LIMIT};
use super::{COMMAND, Constraint, Progress, SETTINGS_OF, WarmStart};
use crate::history::{CONSTRAINTS, Direction, Trial};
use crate::random::{Purpose, Stream};
use crate::sampler::Sampler;
use crate::space::{Params, Space};
use crate::study::{
    Context, Method, ObjectiveEnd, OptimizeSpec, Regret, StopRules, Stopped, Storage, Study, StudyConfig, Summary,
    Told, Verdict, objective_names,
};
use crate::{Error, Result, sampler};
use process::{End, Job, Listener};
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};
use template::{About, Template};

/// Exit codes of a shell that could not start what it was told to.
const NOT_STARTED: [i32; 2] = [126, 127];

/// A search whose objective is a command.
#[derive(Clone, Debug)]
pub struct CommandSpec {
    /// What a trial runs in a shell, with `{name}` for the value of a parameter.
    pub command: String,
    /// What varies.
    pub space: Space,
    /// One an objective.
    pub directions: Vec<Direction>,
    /// What the values are called; empty or one an objective.
    pub metrics: Vec<String>,
    /// What a trial must keep to be among the best: of a value that has that name, or of what the program says in a
    /// line `constraint NAME VALUE`.
    pub constraints: Vec<Constraint<String>>,
    /// Sampler and pruner with their options. What is left out is as the study was begun; of a new study the sampler
    /// `auto` and the pruner `asha` (`hyperband` for `bohb`).
    pub told: Told,
    /// The total number of trials that the study should reach; none for no limit.
    pub trials: Option<u64>,
    /// Wall-clock time of everything. Where no trial is complete by then, what those under way reported last is their
    /// result.
    pub time_limit: Option<Duration>,
    /// When that time began; none: with the search.
    pub began: Option<Instant>,
    /// Wall-clock time of one trial: its processes are then killed, and what it reported last is its result.
    pub trial_time_limit: Option<Duration>,
    /// Resident bytes of a trial's processes together: they are then killed. Needs `/proc`.
    pub trial_memory_limit: Option<u64>,
    /// Trials at once, at least 1.
    pub jobs: usize,
    /// Seed of the proposals and of `HPT_TRIAL_SEED`.
    pub seed: u64,
    /// The study's file.
    pub storage: PathBuf,
    /// The study's name; none takes the program's.
    pub study: Option<String>,
    /// Configurations to try first; parameters left out are proposed by the sampler.
    pub enqueue: Vec<Params>,
    /// Tell results in the order of the plan, seen so many places later: the same study with any number of jobs
    /// ([`OptimizeSpec::deterministic`]).
    pub deterministic: Option<u64>,
    /// What ends the search beside the number of trials and the time.
    pub rules: StopRules,
    /// Another study to learn from.
    pub warm_start: Option<WarmStart>,
}

impl CommandSpec {
    /// One job, 100 trials, everything else by default.
    pub fn new(command: impl Into<String>, direction: Direction, space: Space) -> Self {
        CommandSpec {
            command: command.into(),
            space,
            directions: vec![direction],
            metrics: Vec::new(),
            constraints: Vec::new(),
            told: Told::default(),
            trials: Some(100),
            time_limit: None,
            began: None,
            trial_time_limit: None,
            trial_memory_limit: None,
            jobs: 1,
            seed: 0,
            storage: PathBuf::from("hpt-study.db"),
            study: None,
            enqueue: Vec::new(),
            deterministic: None,
            rules: StopRules::default(),
            warm_start: None,
        }
    }

    /// Looks at the command: its placeholders, its braces, and whether a shell can read it. `place` is where it stands,
    /// for errors.
    ///
    /// # Errors
    /// [`Error::Input`]: what is wrong, and where.
    pub fn check_command(&self, place: &str) -> Result<()> {
        self.template(place).map(drop)
    }

    fn template(&self, place: &str) -> Result<Template> {
        let template = Template::new(place, &self.command, &self.space)?;
        let said = process::unreadable(&template.line).map_err(|error| Error::io("sh", error))?;
        match said {
            Some(said) => Err(Error::input(format!("{place}: a shell cannot read `{}`: {said}", self.command))),
            None => Ok(template),
        }
    }

    fn sampler(&self, method: &Method) -> Result<Box<dyn Sampler>> {
        let settings = sampler::Settings {
            trials: self.trials,
            acquisition: method.acquisition,
            // Told in order a study has as many under way as its width says, with any number of jobs.
            at_once: self.deterministic.map_or(self.jobs, |width| width as usize),
            ..sampler::Settings::default()
        };
        sampler::by_name(&method.sampler, &settings)
    }

    /// How this search proposes and stops trials.
    fn method(&self) -> Result<Method> {
        let objectives = objective_names(&self.metrics, self.directions.len());
        Ok(choose(&self.storage, &self.study_name(), &self.told, "asha", objectives)?.method)
    }

    /// The study's name: the given one, or that of the first file among the command's words.
    pub fn study_name(&self) -> String {
        self.study.clone().unwrap_or_else(|| self.name())
    }

    /// The study's name where none is given: that of the first file among the command's words, without its ending, else
    /// the first word.
    fn name(&self) -> String {
        let words = || self.command.split_whitespace();
        let file = words().map(Path::new).find(|path| path.is_file()).or_else(|| words().next().map(Path::new));
        let stem = file.and_then(Path::file_stem).map(|stem| stem.to_string_lossy().into_owned());
        stem.filter(|stem| !stem.is_empty()).unwrap_or_else(|| "command".to_owned())
    }
}

/// What a search by command came to.
#[derive(Clone, Debug)]
pub struct CommandOutcome {
    /// The study, still open.
    pub study: Study,
    /// What this call did, and why it ended.
    pub summary: Summary,
    /// The best trial; with several objectives those that no other beats.
    pub best: Vec<Trial>,
    /// With one objective the best five trials, best first; else the front.
    pub top: Vec<Trial>,
}

/// Runs a search by command to its end. `stop`, set from elsewhere, ends the programs that run; their trials wait for
/// the next call.
///
/// # Errors
/// Input that is wrong; a command that the shell cannot start; no trial that completed; a storage that fails;
/// [`Error::Interrupted`].
pub fn search_command(spec: &CommandSpec, progress: &dyn Progress, stop: &Arc<AtomicBool>) -> Result<CommandOutcome> {
    let started = spec.began.unwrap_or_else(Instant::now);
    let template = spec.template("command")?;
    if spec.trial_memory_limit.is_some() && !process::can_watch_memory() {
        return Err(Error::input("a memory limit for a command needs /proc, which this system has not"));
    }
    let method = spec.method()?;
    let (sampler, pruner) = (spec.sampler(&method)?, method.pruner()?);
    spec.rules.check(&spec.directions)?;
    if spec.rules.regret == Some(Regret::Error) {
        return Err(Error::input("a command's value has no error that is known; give the regret bound as a number"));
    }
    for params in &spec.enqueue {
        spec.space.accepts_part(params).map_err(|error| error.at("enqueue"))?;
    }
    let study = open(spec, progress)?;
    study.set_method(&method)?.iter().for_each(|change| progress.note(change));
    if let Some(source) = &spec.warm_start {
        source.apply(&study, &*sampler, progress)?;
    }
    for params in &spec.enqueue {
        study.enqueue_once(params)?;
    }
    let unnamed: Vec<String> =
        template.unnamed().iter().map(|(name, variable)| format!("{name} ({variable})")).collect();
    if !unnamed.is_empty() {
        progress.note(&format!("the command does not name {}; a program may read them there", unnamed.join(", ")));
    }
    progress.note(&format!("sampler {}", sampler.describe(&spec.space, &spec.directions)));
    super::repeat_cut(&study, spec.trials, progress)?;
    progress.started(&study, spec.trials, study.counts()?.finished());
    let on_trial = |trial: &Trial| {
        let best = if spec.directions.len() == 1 { study.top(1).ok() } else { None };
        progress.trial_finished(trial, best.and_then(|best| best.first().and_then(Trial::value)));
        super::note_less(&study, trial, progress);
    };
    let on_start = |trial: &Trial| progress.trial_started(trial);
    let on_report = |trial: u64, step: u64, values: &[f64]| {
        if let Some(first) = values.first() {
            progress.epoch(trial, step, *first);
        }
    };
    let mut optimize = OptimizeSpec::new(sampler.as_ref(), pruner.as_ref());
    optimize.trials = spec.trials;
    optimize.rules = spec.rules.clone();
    optimize.jobs = spec.jobs;
    optimize.seed = spec.seed;
    optimize.deterministic = spec.deterministic;
    optimize.stop = stop.clone();
    optimize.on_start = Some(&on_start);
    optimize.on_report = Some(&on_report);
    optimize.on_trial = Some(&on_trial);
    let (template, study_of, delivers) = (&template, &study, OnceLock::new());
    let (stray, cut) = (AtomicU64::new(0), AtomicBool::new(false));
    let trials = Search { spec, template, study: study_of, progress, stop, stray, delivers, cut };
    // The limit is that of everything.
    optimize.time_limit = spec.time_limit.map(|limit| limit.saturating_sub(started.elapsed()));
    let mut summary = study.optimize(&optimize, |context| run(&trials, context))?;
    // The last of the trials was.
    if summary.stopped == Stopped::Reached && trials.cut.into_inner() {
        summary.stopped = Stopped::TimeLimit;
    }
    super::restore_cut(&study, progress)?;
    let stray = trials.stray.into_inner();
    if stray > 0 {
        let form = match spec.directions.len() {
            1 => "`step value`".to_owned(),
            several => format!("`step {}`", (1..=several).map(|i| format!("v{i}")).collect::<Vec<_>>().join(" ")),
        };
        let lines = match stray {
            1 => "1 line of numbers was no intermediate value".to_owned(),
            several => format!("{several} lines of numbers were no intermediate values"),
        };
        progress.note(&format!("{lines}: the form is {form}, the step a whole number from 0 on"));
    }
    if summary.stopped == Stopped::Interrupted {
        return Err(Error::Interrupted);
    }
    outcome(spec, study, summary)
}

fn open(spec: &CommandSpec, progress: &dyn Progress) -> Result<Study> {
    let mut config = StudyConfig {
        name: spec.study_name(),
        directions: spec.directions.clone(),
        metric_names: spec.metrics.clone(),
        space: Some(spec.space.clone()),
        attributes: [("seed".to_owned(), json!(spec.seed))].into_iter().collect(),
    };
    // None is said too, as in a search of trainings.
    let constraints: Vec<String> = spec.constraints.iter().map(ToString::to_string).collect();
    config.attributes.insert(CONSTRAINTS.to_owned(), constraints.into());
    let storage = Storage::open_or_create(&spec.storage)?;
    if storage.attribute_of(&config.name, SETTINGS_OF)?.is_some() {
        return Err(Error::input(format!(
            "{}: the trials of the study `{}` are trainings: go on with it without --command, or give another --study",
            spec.storage.display(),
            config.name
        )));
    }
    let study = Study::create_or_open(&storage, &config)?;
    // Another path or flag may well compute the same: only its user knows.
    match study.attribute(COMMAND)? {
        Some(before) if before == json!(spec.command) => {}
        before => {
            if let Some(before) = before {
                progress.note(&format!("this study began with another command: {before}"));
            }
            study.set_attribute(COMMAND, &json!(spec.command))?;
        }
    }
    Ok(study)
}

fn outcome(spec: &CommandSpec, study: Study, summary: Summary) -> Result<CommandOutcome> {
    let best = study.best()?;
    let trials = study.trials()?;
    if best.is_empty() {
        let reason = trials.iter().find_map(|trial| trial.system.get("hpt:reason")).and_then(|reason| reason.as_str());
        let why = match reason {
            Some(reason) => format!("the first failure: {reason}"),
            None if summary.counts.complete > 0 => "all that were break the constraints".to_owned(),
            None if summary.counts.pruned > 0 => format!("{} were pruned", summary.counts.pruned),
            None => "the time was too short for one".to_owned(),
        };
        return Err(Error::Storage(format!(
            "study `{}`: no trial was completed{} ({why})",
            study.name(),
            if spec.constraints.is_empty() { "" } else { " that keeps its constraints" }
        )));
    }
    let top = match study.directions().len() {
        1 => study.top(5)?,
        _ => best.clone(),
    };
    Ok(CommandOutcome { study, summary, best, top })
}

/// What trials need.
struct Search<'a> {
    spec: &'a CommandSpec,
    template: &'a Template,
    study: &'a Study,
    progress: &'a dyn Progress,
    /// The user's wish.
    stop: &'a AtomicBool,
    /// Lines of numbers that are nearly reports.
    stray: AtomicU64,
    /// Known when time is up: whether there is no result, so that all trials under way end with what they reported.
    delivers: OnceLock<bool>,
    /// Whether the time limit of the whole has ended a trial with a result.
    cut: AtomicBool,
}

impl Search<'_> {
    /// Whether a trial that time has stopped ends with what it reported: where there is no result, or none as good.
    fn delivers(&self, context: &Context<'_>, reported: Option<&[f64]>) -> bool {
        let late = context.deadline().is_some_and(|deadline| Instant::now() >= deadline);
        let nothing = || self.study.best().is_ok_and(|best| best.is_empty());
        let best = || self.study.best().ok().and_then(|best| best.first()?.values.first().copied());
        let leads = || match (self.study.directions(), reported) {
            ([direction], Some([own])) => best().is_some_and(|best| direction.better(*own, best)),
            _ => false,
        };
        late && !self.stop.load(Ordering::Relaxed) && (*self.delivers.get_or_init(nothing) || leads())
    }
}

/// One trial.
fn run(search: &Search<'_>, context: &mut Context<'_>) -> Result<Vec<f64>, ObjectiveEnd> {
    let Search { spec, template, study, progress, ref stray, .. } = *search;
    let seed = Stream::new(spec.seed, context.slot(), Purpose::Bootstrap, 0).below(1 << 31) as u32;
    let about = About { number: context.number(), seed, study: study.name() };
    let job = Job {
        line: template.line.clone(),
        environment: template.environment(context.params(), about),
        time_limit: spec.trial_time_limit,
        memory_limit: spec.trial_memory_limit,
    };
    let objectives = spec.directions.len();
    let mut talk = Talk {
        context,
        progress,
        constraints: &spec.constraints,
        objectives,
        verdict: Verdict::Continue,
        last: String::new(),
        steps: 0,
        reported: None,
        stray: 0,
        measured: BTreeMap::new(),
    };
    let (end, errors) = process::run(&job, &mut talk)
        .map_err(|error| ObjectiveEnd::Failed(format!("the command could not be started: {error}")))?;
    let Talk { verdict, last, steps, reported, stray: own, measured, context, .. } = talk;
    stray.fetch_add(own, Ordering::Relaxed);
    if !errors.is_empty() && !matches!(end, End::Exited(status) if status.success()) {
        context.set_user("stderr", json!(errors.join("\n")));
    }
    let said = errors.iter().rev().find(|line| !line.trim().is_empty());
    let because = |what: String| match said {
        Some(line) => format!("{what}: {}", line.trim()),
        None => what,
    };
    match end {
        End::Exited(status) if status.success() => {
            let values = values(&last, objectives).map_err(|why| ObjectiveEnd::Failed(because(why)))?;
            let violations = violations(spec, &measured, &values).map_err(|why| ObjectiveEnd::Failed(because(why)))?;
            if !violations.is_empty() {
                context.set_constraints(violations);
            }
            Ok(values)
        }
        // Whatever ended it then, it did not fail by itself.
        End::Exited(_) if context.should_stop() => Err(ObjectiveEnd::Stopped),
        End::Exited(status) => Err(match status.code() {
            Some(code) if NOT_STARTED.contains(&code) && steps == 0 => {
                ObjectiveEnd::Fatal(Error::input(because(format!("--command: `{}` cannot be run", spec.command))))
            }
            // A shell's way to say that a signal ended its program.
            Some(code @ 129..=192) => {
                ObjectiveEnd::Failed(because(format!("exit code {code}, ended by signal {}", code - 128)))
            }
            Some(code) => ObjectiveEnd::Failed(because(format!("exit code {code}"))),
            None => ObjectiveEnd::Failed(because(format!("ended by a signal ({status})"))),
        }),
        End::Stopped if verdict == Verdict::Prune => Err(ObjectiveEnd::Pruned),
        End::Stopped if steps == 0 || !search.delivers(context, reported.as_deref()) => Err(ObjectiveEnd::Stopped),
        End::Stopped | End::Late => {
            let (whose, limit) = match end {
                End::Stopped => (SEARCH_LIMIT, spec.time_limit),
                _ => ("the trial's time limit", spec.trial_time_limit),
            };
            let late = format!("{whose} of {} s", limit.unwrap_or_default().as_secs_f64());
            let fails = |why: &str| Err(ObjectiveEnd::Failed(format!("killed at {late}, {why}")));
            match reported {
                None if steps == 0 => fails("with nothing reported"),
                None => fails("with values of the first objective alone"),
                // As in a training of our own: what it has shown by then is its result.
                Some(values) => match violations(spec, &measured, &values) {
                    Err(why) => fails(&why),
                    Ok(violations) => {
                        if !violations.is_empty() {
                            context.set_constraints(violations);
                        }
                        search.cut.fetch_or(whose == SEARCH_LIMIT, Ordering::Relaxed);
                        context.set_user(ENDED, json!(late));
                        Ok(values)
                    }
                },
            }
        }
        End::Large(used) => Err(ObjectiveEnd::Failed(format!(
            "killed with {} MiB, above the trial's memory limit of {} MiB",
            used >> 20,
            spec.trial_memory_limit.unwrap_or(0) >> 20
        ))),
    }
}

/// What a running command says, and what the study answers.
struct Talk<'a, 'b> {
    context: &'a mut Context<'b>,
    progress: &'a dyn Progress,
    constraints: &'a [Constraint<String>],
    objectives: usize,
    verdict: Verdict,
    /// The last line that is not empty.
    last: String,
    /// Reports.
    steps: u64,
    /// The values of the last report of all objectives.
    reported: Option<Vec<f64>>,
    /// Lines of numbers that are nearly reports.
    stray: u64,
    /// What it said of its constraints.
    measured: BTreeMap<String, f64>,
}

impl Talk<'_, '_> {
    /// Reports the line if it is `step value`; false where the study says that it is enough.
    fn report(&mut self, line: &str) -> bool {
        match report(line) {
            Some((step, values)) if values.len() == self.objectives => {
                self.steps += 1;
                self.show_constraints();
                self.verdict = self.context.report_values(step, &values);
                self.reported = Some(values);
            }
            Some((step, values)) if values.len() == 1 => {
                self.steps += 1;
                self.show_constraints();
                self.verdict = self.context.report(step, values[0]);
            }
            _ => self.stray += u64::from(is_stray(line, self.objectives)),
        }
        self.verdict == Verdict::Continue
    }

    /// Keeps what is known of the constraints by now. One of a reported value is not: early values say little of the
    /// last.
    fn show_constraints(&mut self) {
        let said = |limit: &Constraint<String>| self.measured.get(&limit.measure).map(|value| limit.violation(*value));
        let known: Vec<Option<f64>> = self.constraints.iter().map(said).collect();
        if known.iter().any(Option::is_some) {
            self.context.set_constraints(known.into_iter().map(Option::unwrap_or_default).collect());
        }
    }
}

impl Listener for Talk<'_, '_> {
    fn output(&mut self, line: &str) -> bool {
        if line.trim().is_empty() {
            return true;
        }
        if let Some((name, value)) = constraint(line) {
            self.measured.insert(name.to_owned(), value);
            return true;
        }
        let before = std::mem::replace(&mut self.last, line.to_owned());
        // As many numbers as objectives may be their values: that shows when another line follows.
        let is_open = |line: &str| self.objectives >= 2 && words(line).count() == self.objectives;
        let (held, new) = (is_open(&before), !is_open(line));
        (!held || self.report(&before)) && (!new || self.report(line))
    }

    fn error(&mut self, line: &str) {
        self.progress.said(self.context.number(), line);
    }

    fn stopping(&self) -> bool {
        self.context.should_stop()
    }
}

/// What stands between spaces or commas.
fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| c.is_whitespace() || c == ',').filter(|word| !word.is_empty())
}

/// `step value`, or `step` and several values.
fn report(line: &str) -> Option<(u64, Vec<f64>)> {
    let mut words = words(line);
    let step = words.next()?.parse().ok()?;
    let values: Option<Vec<f64>> = words.map(|word| word.parse().ok()).collect();
    values.filter(|values| !values.is_empty()).map(|values| (step, values))
}

/// A step with another number of values than a report has, or as many numbers as a report has, the first of which is no
/// whole number from 0 on.
fn is_stray(line: &str, objectives: usize) -> bool {
    match report(line) {
        Some((_, values)) => values.len() != 1 && values.len() != objectives,
        None => {
            let numbers: Option<Vec<f64>> = words(line).map(|word| word.parse().ok()).collect();
            numbers.is_some_and(|numbers| numbers.len() == objectives + 1)
        }
    }
}

/// `constraint NAME VALUE`.
fn constraint(line: &str) -> Option<(&str, f64)> {
    let mut words = line.split_whitespace();
    match (words.next()?, words.next()?, words.next()?.parse(), words.next()) {
        ("constraint", name, Ok(value), None) => Some((name, value)),
        _ => None,
    }
}

/// By how much each constraint is broken.
fn violations(spec: &CommandSpec, measured: &BTreeMap<String, f64>, values: &[f64]) -> Result<Vec<f64>, String> {
    let violation = |limit: &Constraint<String>| {
        let name = &limit.measure;
        let missing = || format!("it says nothing of `{name}`; a line `constraint {name} VALUE` is expected ({limit})");
        limit.violation_among(measured, &spec.metrics, values).ok_or_else(missing)
    };
    spec.constraints.iter().map(violation).collect()
}

/// The values in the last line of the output, or what is wrong with it.
fn values(line: &str, objectives: usize) -> Result<Vec<f64>, String> {
    let expected = match objectives {
        1 => "the value".to_owned(),
        n => format!("{n} values, with spaces or commas between them,"),
    };
    if line.is_empty() {
        return Err(format!("it printed nothing; {expected} is expected in the last line"));
    }
    let values: Option<Vec<f64>> = words(line).map(|word| word.parse().ok()).collect();
    values
        .filter(|values| values.len() == objectives)
        .ok_or_else(|| format!("its last line is `{line}`; {expected} is expected there"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_reports_values_or_neither() {
        assert_eq!(report("3 0.5"), Some((3, vec![0.5])));
        assert_eq!(report("  10\t-1e-3 "), Some((10, vec![-1e-3])));
        assert_eq!(report("3 0.5 0.6"), Some((3, vec![0.5, 0.6])));
        assert!(report("7 nan").is_some_and(|(step, values)| step == 7 && values[0].is_nan()));
        for line in ["0.5", "3", "epoch 3", "3 0.5 x", "-1 0.5", "1.5 0.5", ""] {
            assert_eq!(report(line), None, "{line}");
            assert_eq!(is_stray(line, 1), ["-1 0.5", "1.5 0.5"].contains(&line), "{line}");
        }
        assert!(is_stray("1.5 0.5 2", 2) && !is_stray("1.5 0.5", 2));
        for line in ["1 0.5 0.2 0.1", "1 0.5,0.2,0.1"] {
            assert!(is_stray(line, 1) && is_stray(line, 2) && !is_stray(line, 3), "{line}");
        }
        assert_eq!(report("1 0.5,0.3"), Some((1, vec![0.5, 0.3])));
        assert_eq!(report("1, 0.5, 0.3"), Some((1, vec![0.5, 0.3])));
        assert!(!is_stray("1 0.5", 3) && is_stray("1 0.5 0.2", 3), "the first's alone, and one too few");
        assert_eq!(values("0.25", 1), Ok(vec![0.25]));
        assert_eq!(values("1, 2", 2), Ok(vec![1.0, 2.0]));
        assert_eq!(values("1 -inf", 2), Ok(vec![1.0, f64::NEG_INFINITY]));
        for (line, objectives) in [("", 1), ("done", 1), ("3 0.5", 1), ("1", 2), ("loss: 0.5", 1)] {
            let why = values(line, objectives).unwrap_err();
            assert!(why.contains("expected") && why.contains(line), "{why}");
        }
    }
}
