//! The progress of a search: a bar on a terminal, one line a trial elsewhere.

use super::console::Console;
use super::{screen, table};
use hpt_engine::history::{State, Trial};
use hpt_engine::report::trials::{objective_names, reason};
use hpt_engine::search::Progress;
use hpt_engine::study::Study;
use indicatif::{ProgressBar, ProgressState, ProgressStyle};
use std::fmt::Write;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Listens to a search and shows it.
pub struct Bars {
    console: Console,
    started: Instant,
    time_limit: Option<Duration>,
    /// The space is one the user has not seen.
    show_space: bool,
    finished: Arc<AtomicU64>,
    shown: Mutex<Shown>,
}

#[derive(Default)]
struct Shown {
    study: Option<Study>,
    /// How many of its trials were finished before, and when its trials began.
    before: u64,
    began: Option<Instant>,
    metrics: Vec<String>,
    /// Counts trials, or seconds where the number of trials is open.
    bar: Option<ProgressBar>,
    total: Option<u64>,
    retraining: bool,
}

impl Shown {
    /// The first metric.
    fn metric(&self) -> &str {
        self.metrics.first().map_or("value", String::as_str)
    }
}

// Within 80 columns.
const TRIALS: &str = "{bar:20} {pos}/{len} trials  {rate}  {msg}  {eta} left";
const TIME: &str = "{bar:20} {pos} of {len} s  {rate}  {msg}";

impl Bars {
    /// For a search with this time limit.
    pub fn new(console: &Console, time_limit: Option<Duration>, show_space: bool) -> Self {
        Bars {
            console: *console,
            started: Instant::now(),
            time_limit,
            show_space,
            finished: Arc::default(),
            shown: Mutex::default(),
        }
    }

    /// How many trials of the study are finished.
    pub fn finished(&self) -> u64 {
        self.finished.load(Ordering::Relaxed)
    }

    /// The study, once it is open.
    pub fn study(&self) -> Option<Study> {
        self.shown().study.clone()
    }

    /// Seconds since the start of everything, and trials a second since that of the trials.
    pub fn pace(&self) -> (f64, f64) {
        let shown = self.shown();
        let trials = self.finished().saturating_sub(shown.before) as f64;
        let seconds = shown.began.map_or(0.0, |began| began.elapsed().as_secs_f64());
        (self.started.elapsed().as_secs_f64(), if seconds > 0.0 { trials / seconds } else { 0.0 })
    }

    /// Takes the bar away.
    pub fn end(&self) {
        if let Some(bar) = self.shown().bar.take() {
            bar.finish_and_clear();
        }
    }

    fn shown(&self) -> std::sync::MutexGuard<'_, Shown> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A line that the bar does not overwrite.
    fn line(&self, shown: &Shown, text: &str) {
        match &shown.bar {
            Some(bar) => bar.suspend(|| self.console.line(text)),
            None => self.console.line(text),
        }
    }

    fn bar(&self, template: &str, length: u64) -> Option<ProgressBar> {
        (self.console.terminal && !self.console.quiet).then(|| {
            let bar = ProgressBar::new(length);
            let style = ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar());
            let (before, finished, started) = (self.finished(), self.finished.clone(), self.started);
            let rate = move |_: &ProgressState, out: &mut dyn Write| {
                let done = finished.load(Ordering::Relaxed).saturating_sub(before) as f64;
                // Nothing to be done where a line of progress cannot be written.
                let _ = write!(out, "{:.1}/s", done / started.elapsed().as_secs_f64().max(1e-3));
            };
            bar.set_style(style.with_key("rate", rate));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        })
    }
}

impl Progress for Bars {
    fn note(&self, text: &str) {
        self.line(&self.shown(), &format!("note: {text}"));
    }

    fn started(&self, study: &Study, total: Option<u64>, finished: u64) {
        let mut shown = self.shown();
        self.finished.store(finished, Ordering::Relaxed);
        shown.metrics = objective_names(study.metric_names(), study.directions().len());
        shown.total = total;
        (shown.study, shown.before, shown.began) = (Some(study.clone()), finished, Some(Instant::now()));
        if let (true, Some(space)) = (self.show_space, study.space()) {
            let toml = space.to_toml();
            let indented = toml.lines().map(|line| format!("  {line}")).collect::<Vec<_>>().join("\n");
            self.console.line(&format!(
                "space, sized from the data (`--print-space` prints it as a start of your own):\n{indented}"
            ));
        }
        // A study may have more than this call asks for.
        let of = total.filter(|total| *total >= finished).map_or(String::new(), |total| format!(" of {total}"));
        let storage = study.storage().path().display().to_string();
        match finished {
            0 => self.console.line(&format!("study `{}` in {storage}", study.name())),
            _ => self
                .console
                .line(&format!("study `{}` in {storage} goes on: {finished}{of} trials are finished", study.name())),
        }
        shown.bar = match (total, self.time_limit) {
            (Some(total), _) => self.bar(TRIALS, total),
            (None, Some(limit)) => self.bar(TIME, limit.as_secs()),
            (None, None) => None,
        };
        if let (Some(bar), Some(_)) = (&shown.bar, total) {
            // What is finished already took none of this run's time.
            bar.set_position(finished);
            bar.reset_eta();
        }
    }

    fn trial_started(&self, trial: &Trial) {
        if self.console.verbose {
            let params: Vec<String> =
                trial.params.iter().map(|(name, value)| format!("{name}={}", screen::value(value))).collect();
            self.line(&self.shown(), &format!("trial {} starts: {}", trial.number, params.join(" ")));
        }
    }

    fn epoch(&self, trial: u64, epoch: u64, value: f64) {
        if self.console.verbose && !self.console.terminal {
            let shown = self.shown();
            let text = format!("trial {trial} epoch {epoch}: {} {}", shown.metric(), table::number(value));
            self.line(&shown, &text);
        }
    }

    fn said(&self, trial: u64, line: &str) {
        if self.console.verbose {
            self.line(&self.shown(), &format!("trial {trial} says: {line}"));
        }
    }

    fn trial_finished(&self, trial: &Trial, best: Option<f64>) {
        let shown = self.shown();
        let finished = self.finished.fetch_add(1, Ordering::Relaxed) + 1;
        let number = |value: Option<f64>| value.map_or("-".to_owned(), table::number);
        if let Some(bar) = &shown.bar {
            let best = format!("best {} {}", shown.metric(), number(best));
            match shown.total {
                Some(_) => {
                    bar.set_message(best);
                    bar.set_position(finished);
                }
                None => {
                    bar.set_message(format!("{finished} trials  {best}"));
                    bar.set_position(self.started.elapsed().as_secs());
                }
            }
        }
        if shown.bar.is_none() || self.console.verbose {
            let broken = || (trial.state == State::Pruned && !trial.is_feasible()).then_some("breaks a constraint");
            let reason = reason(trial).or_else(broken);
            // What was pruned has what it had come to.
            let last = || trial.reached().filter(|_| trial.state == State::Pruned).unwrap_or_default();
            let values = if trial.values.is_empty() { last() } else { trial.values.as_slice().into() };
            let named = |(place, name): (usize, &String)| format!("{name} {:>8}", number(values.get(place).copied()));
            let values: Vec<String> = shown.metrics.iter().enumerate().map(named).collect();
            // Of several objectives no trial is the best.
            let best = if shown.metrics.len() > 1 { String::new() } else { format!("  best {:>8}", number(best)) };
            let text = format!(
                "trial {:>4}  {:<8}  {}  {:>8}{best}{}",
                trial.number,
                trial.state.name(),
                values.join("  "),
                trial.seconds().map_or(String::new(), table::seconds),
                reason.map(|reason| format!("  {reason}")).unwrap_or_default(),
            );
            self.line(&shown, &text);
        }
    }

    fn retraining(&self, epoch: usize, of: usize) {
        let mut shown = self.shown();
        if !std::mem::replace(&mut shown.retraining, true) && shown.bar.is_none() {
            self.console.line("training the best configuration once more, on training and validation rows");
        }
        if let Some(bar) = &shown.bar {
            bar.set_style(ProgressStyle::with_template("{msg}").unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar.set_message(format!(
                "training the best once more, on training and validation rows: epoch {epoch}/{of}"
            ));
        }
    }
}
