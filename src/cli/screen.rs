//! The last screen of a search: what it found, how it got there, how good that is, what to type next.

use super::console::bold;
use super::{document, table};
use hpt_engine::history::{Direction, State, Trial};
use hpt_engine::search::{SearchOutcome, goes_on, models_of};
use hpt_engine::space::Value;
use hpt_engine::study::{Study, Summary};
use std::fmt::Write;
use std::path::PathBuf;

/// Lines of the chart.
const HEIGHT: usize = 8;

/// Trials a second.
pub fn rate(outcome: &SearchOutcome) -> f64 {
    if outcome.trial_seconds > 0.0 { outcome.finished as f64 / outcome.trial_seconds } else { 0.0 }
}

/// The screen; `data` is for the next command.
pub fn of(outcome: &SearchOutcome, data: &str) -> String {
    let names: Vec<String> = outcome.objectives.iter().map(ToString::to_string).collect();
    let (metric, direction) = (outcome.objectives[0], outcome.study.directions()[0]);
    let mut parts = Vec::new();
    if let Ok(trials) = outcome.study.trials() {
        parts.extend(
            chart(&trials, direction)
                .map(|chart| format!("best {metric} on the validation rows against trials\n{chart}")),
        );
    }
    parts.push(found(outcome));
    parts.push(match names.len() {
        1 => format!("the best trials:\n{}", configurations(&outcome.top, &names)),
        _ => format!("the front, by {metric}:\n{}", front(&outcome.study, &outcome.top, &names)),
    });
    parts.extend(tested(outcome));
    let model = outcome.model.display().to_string();
    parts.push(format!(
        "model: {model}\nnext:  hpt-engine predict --model {} --data {} --out predictions.csv",
        table::quoted(&model),
        table::quoted(data)
    ));
    parts.join("\n\n")
}

/// What was done, how fast and why it ended, and what came of it.
pub fn tally(study: &Study, summary: &Summary, rate: f64, best: &str) -> String {
    let Summary { counts, finished, seconds, stopped } = summary;
    format!(
        "{}: {} ({} complete, {} pruned, {} failed); {} in {}, {rate:.1} a second\nended because {stopped}{}\n{}",
        study.name(),
        table::plural(counts.finished() as usize, "trial"),
        counts.complete,
        counts.pruned,
        counts.failed,
        table::plural(*finished as usize, "new trial"),
        table::seconds(*seconds),
        put_back(study).map(|text| format!("; {text}")).unwrap_or_default(),
        bold(best),
    )
}

/// How many trials were under way and wait; none where there are none.
pub fn put_back(study: &Study) -> Option<String> {
    let numbers = document::put_back(study).unwrap_or_default();
    (!numbers.is_empty()).then(|| {
        let list = numbers.iter().map(u64::to_string).collect::<Vec<_>>().join(", ");
        match numbers.len() {
            1 => format!("a trial that was under way waits for the search to go on, as trial {list}"),
            n => format!("{n} trials that were under way wait for the search to go on, as trials {list}"),
        }
    })
}

/// The same, or which trials that have a result go on too: a time limit had ended them.
pub fn what_goes_on(study: &Study) -> Option<String> {
    let trials = study.trials().ok()?;
    let cut: Vec<String> = trials.iter().filter(|trial| goes_on(trial)).map(|trial| trial.number.to_string()).collect();
    put_back(study).or_else(|| match cut.as_slice() {
        [] => None,
        [one] => Some(format!("trial {one}, which a time limit ended, goes on with the search")),
        several => Some(format!("trials {}, which a time limit ended, go on with the search", several.join(", "))),
    })
}

/// Counts, time, the best trial, the gain over the default configuration.
fn found(outcome: &SearchOutcome) -> String {
    let counts = outcome.study.counts().unwrap_or_default();
    let value = outcome.best.value().unwrap_or(f64::NAN);
    let metric = outcome.objectives[0];
    let best = match outcome.front.len() {
        _ if outcome.objectives.len() == 1 => {
            let spread = spread(&outcome.found.parts);
            format!("best: trial {}, validation {metric} {}{spread}", outcome.best.number, table::number(value))
        }
        n => format!(
            "front: {}; trial {} has the best {metric}, {}, and is the one that was {}",
            table::plural(n, "trial"),
            outcome.best.number,
            table::number(value),
            if outcome.retrained { "retrained" } else { "tested" }
        ),
    };
    let (finished, seconds, stopped) = (outcome.finished, outcome.seconds, outcome.stopped);
    let mut text = tally(&outcome.study, &Summary { counts, finished, seconds, stopped }, rate(outcome), &best);
    if let Some(why) = outcome.best.user.get("ended_by").and_then(|why| why.as_str()) {
        let _ = write!(text, "\ntrial {} was cut short by {why}", outcome.best.number);
    }
    if let Some(default) = outcome.found.default_value {
        let gain = match outcome.study.directions()[0] {
            Direction::Maximize => value - default,
            Direction::Minimize => default - value,
        };
        let share = if default == 0.0 { String::new() } else { format!(" ({:.1} %)", 100.0 * gain / default.abs()) };
        let default = format!("{metric} {}", table::number(default));
        text.push_str(&match gain > 0.0 {
            true => format!("\ngain over the default configuration, {default}: {}{share}", table::number(gain)),
            false => format!("\nthe default configuration is as good: {default}"),
        });
    }
    text
}

/// How far the trainings lie apart whose mean the value is.
fn spread(parts: &[f64]) -> String {
    let n = parts.len() as f64;
    if parts.len() < 2 {
        return String::new();
    }
    let mean = parts.iter().sum::<f64>() / n;
    let deviation = (parts.iter().map(|part| (part - mean).powi(2)).sum::<f64>() / (n - 1.0)).sqrt();
    format!(" (mean of {n} trainings, standard deviation {})", table::number(deviation))
}

/// One line a trial: its number, its values, the file of its model where the study has such, its parameters.
pub fn front(study: &Study, trials: &[Trial], metrics: &[String]) -> String {
    let models = models_of(study, trials).ok().flatten();
    let row = |(at, trial): (usize, &Trial)| {
        let values = trial.values.iter().copied().map(table::number);
        let params =
            trial.params.iter().map(|(name, of)| format!("{name}={}", value(of))).collect::<Vec<_>>().join(" ");
        let file = |models: &Vec<Option<PathBuf>>| {
            models[at].as_ref().map_or("-".to_owned(), |model| model.display().to_string())
        };
        let cells = std::iter::once(trial.number.to_string()).chain(values).chain(models.as_ref().map(file));
        cells.chain([params]).collect::<Vec<String>>()
    };
    let rows: Vec<Vec<String>> = trials.iter().enumerate().map(row).collect();
    let names = metrics.iter().map(String::as_str).chain(models.as_ref().map(|_| "model"));
    let header: Vec<&str> = std::iter::once("trial").chain(names).chain(["configuration"]).collect();
    table::table_with_notes(super::console::columns(), &header, &rows, &[])
}

/// One column a trial, one line a metric and a parameter; empty where a parameter is not active.
pub fn configurations(top: &[Trial], metrics: &[String]) -> String {
    let mut names: Vec<&str> = Vec::new();
    for name in top.iter().flat_map(|trial| trial.params.keys()) {
        if !names.contains(&name.as_str()) {
            names.push(name);
        }
    }
    let line = |name: &str, cell: &dyn Fn(&Trial) -> String| {
        std::iter::once(name.to_owned()).chain(top.iter().map(cell)).collect::<Vec<String>>()
    };
    let cell = |trial: &Trial, i: usize| trial.values.get(i).copied().map_or(String::new(), table::number);
    let mut rows: Vec<_> = metrics.iter().enumerate().map(|(i, name)| line(name, &|trial| cell(trial, i))).collect();
    rows.extend(names.iter().map(|name| line(name, &|trial| trial.params.get(*name).map_or(String::new(), value))));
    let header: Vec<String> = top.iter().map(|trial| format!("trial {}", trial.number)).collect();
    let header: Vec<&str> = std::iter::once("").chain(header.iter().map(String::as_str)).collect();
    table::turned(&header, &rows)
}

/// A parameter's value, numbers with the digits that matter.
pub fn value(value: &Value) -> String {
    match value {
        Value::Float(x) => table::number(*x),
        other => other.to_string(),
    }
}

/// The test metrics with their intervals.
fn tested(outcome: &SearchOutcome) -> Option<String> {
    let test = outcome.test.as_ref()?;
    let rows = test.scores.0.iter().map(|(name, &value)| {
        let interval = test.intervals.get(name);
        let interval = interval.map(|i| format!("{} to {}", table::number(i.low), table::number(i.high)));
        vec![name.clone(), table::number(value), interval.unwrap_or_default()]
    });
    let rows: Vec<Vec<String>> = rows.collect();
    let units = if test.scores.0.contains_key("rmse") { table::OWN_UNITS } else { "" };
    let what = match outcome.retrained {
        true => "retrained on training and validation rows".to_owned(),
        false if outcome.found.parts.is_empty() => {
            format!("trial {}, as it was trained on the training rows", outcome.best.number)
        }
        false => format!("trial {}, the first of its {} trainings", outcome.best.number, outcome.found.parts.len()),
    };
    Some(format!("{what}, tested once:\n{}{units}", table::table(&["test", "value", "95 % interval"], &rows)))
}

/// The best value so far, trial by trial, as a staircase of characters; none for fewer than two values.
pub fn chart(trials: &[Trial], direction: Direction) -> Option<String> {
    let mut best = None;
    let mut steps: Vec<f64> = Vec::with_capacity(trials.len());
    for trial in trials.iter().filter(|trial| trial.state.is_finished()) {
        if let (State::Complete, Some(value)) = (trial.state, trial.value().filter(|value| value.is_finite())) {
            best = Some(best.map_or(value, |best| if direction.better(value, best) { value } else { best }));
        }
        steps.extend(best);
    }
    let (low, high) =
        steps.iter().fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), &x| (low.min(x), high.max(x)));
    if steps.len() < 2 || low == high {
        return None;
    }
    let width = super::chart::most_columns().min(steps.len());
    let level = |column: usize| {
        let step = steps[(column + 1) * steps.len() / width - 1];
        ((step - low) / (high - low) * (HEIGHT - 1) as f64).round() as usize
    };
    let levels: Vec<usize> = (0..width).map(level).collect();
    let mut lines: Vec<String> = Vec::new();
    let label = |line: usize| match line {
        line if line == HEIGHT - 1 => table::number(high),
        0 => table::number(low),
        _ => String::new(),
    };
    for line in (0..HEIGHT).rev() {
        let cells: String = (0..width).map(|column| cell(&levels, column, line)).collect();
        lines.push(format!("{:>10} │{}", label(line), cells.trim_end()));
    }
    lines.push(format!("{:>10} └{}", "", "─".repeat(width)));
    let last = trials.len().saturating_sub(1).to_string();
    lines.push(format!("{:>10}  0{last:>1$}", "", width.saturating_sub(1)));
    Some(lines.join("\n"))
}

/// The character of the staircase in a column and line (0 is the lowest).
fn cell(levels: &[usize], column: usize, line: usize) -> char {
    let here = levels[column];
    let before = if column == 0 { here } else { levels[column - 1] };
    match line {
        _ if line == here && here == before => '─',
        _ if line == here && here > before => '╭',
        _ if line == here => '╰',
        _ if line == before && here > before => '╯',
        _ if line == before => '╮',
        _ if (before.min(here)..before.max(here)).contains(&line) => '│',
        _ => ' ',
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use hpt_engine::history::Record;

    /// Finished trials with these values; none for a failed one.
    fn trials(values: &[Option<f64>]) -> Vec<Trial> {
        let trial = |(number, value): (usize, &Option<f64>)| {
            let state = if value.is_some() { State::Complete } else { State::Failed };
            Trial::from(Record { values: value.iter().copied().collect(), ..Record::blank(number as u64, state) })
        };
        values.iter().enumerate().map(trial).collect()
    }

    #[test]
    fn the_chart_is_the_best_so_far() {
        let rising = chart(&trials(&[Some(0.5), None, Some(0.4), Some(0.9), Some(0.7)]), Direction::Maximize).unwrap();
        let lines: Vec<&str> = rising.lines().collect();
        assert_eq!(lines.len(), HEIGHT + 2);
        assert_eq!(lines[0], "    0.9000 │   ╭─");
        assert_eq!(lines[3], "           │   │");
        assert_eq!(lines[HEIGHT - 1], "    0.5000 │───╯");
        assert_eq!(lines[HEIGHT + 1], "            0   4");
        let falling = chart(&trials(&[Some(3.0), Some(4.0), Some(1.0)]), Direction::Minimize).unwrap();
        let lines: Vec<&str> = falling.lines().collect();
        assert_eq!(lines[0], "    3.0000 │──╮");
        assert_eq!(lines[HEIGHT - 1], "    1.0000 │  ╰");
    }

    #[test]
    fn nothing_is_drawn_without_a_change() {
        assert_eq!(chart(&trials(&[Some(0.5), Some(0.4)]), Direction::Maximize), None);
        assert_eq!(chart(&trials(&[Some(0.5)]), Direction::Maximize), None);
        assert_eq!(chart(&[], Direction::Minimize), None);
    }
}
