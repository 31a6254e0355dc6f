//! `importance`: what matters in a study, each parameter and pairs of them.

use super::console::{Console, bold, columns};
use super::failure::Failure;
use super::options::{Opt, Options, add, one_of, opt};
use super::{Verb, storage, table};
use clap::{Arg, ArgAction, ArgMatches};
use hpt_engine::Error;
use hpt_engine::importance::{Importance, ImportanceSpec, Method, Target, describe, importance, infer_space};
use hpt_engine::report::trials::objective_names;
use hpt_engine::study::Study;
use serde_json::json;

pub const VERB: Verb = Verb {
    name: "importance",
    about: "Say which parameters of a study matter, alone and in pairs",
    arguments: |command| {
        let flag = |name: &'static str, help: &'static str| {
            Arg::new(name).long(name).action(ArgAction::SetTrue).help(help).help_heading("Importance")
        };
        add(storage::arguments(command), OPTIONS, "Importance")
            .arg(flag("pairs", "Pairs too: what two parameters do together and neither does alone"))
            .arg(flag("pruned", "Use pruned trials too, with their last value"))
            .arg(flag("uniform", "ped-anova: compare with the whole space instead of the trials in it"))
            .after_help(HELP)
    },
    run,
};

#[rustfmt::skip]
const OPTIONS: &[Opt] = &[
    one_of("method", "How importance is measured [default: fanova]", || Method::ALL.iter().map(|row| row.0).collect()),
    opt("target", "WHAT", "What is explained: value, seconds, or an objective by its place (from 0) or name [default: value]"),
    opt("top", "K", "Show the K most important ones [default: all parameters, 10 pairs]"),
    opt("trees", "N", "fanova: trees of the forest; ped-anova: resamples for the spread [default: 64]"),
    opt("quantile", "SHARE", "ped-anova: share of the trials that are the best [default: 0.1]"),
    opt("region", "SHARE", "ped-anova: share of the trials that they are compared with, for what matters among good ones [default: 1]"),
    opt("seed", "N", "Seed of the trees and resamples [default: 0]"),
];

const HELP: &str = "\
fanova explains the target over the whole space: a share is the part of its variance that a parameter (or a pair, beyond \
both) explains, the spread is over the trees. It sees what the trials saw: a sampler that stayed near the best knows little of \
the rest.
ped-anova explains what the best trials have in common: a share is the part of the variance of \"is among the best\", the \
spread is over resampled trials. It is fast and fits samplers that learn.
Shares alone lack to 100 % what pairs and more explain; importance divides them by their sum. Failed, running and pruned \
trials are left out, which is said. A parameter with a condition counts where it exists.

Examples:
  hpt-engine importance --storage study.db --study covertype --pairs
  hpt-engine importance --method ped-anova --quantile 0.05 --region 0.5
  hpt-engine importance --target seconds --json";

/// Best trials below which PED-ANOVA's shares are said to be rough.
const FEW: usize = 4;
/// Pairs that are shown unless it is said.
const PAIRS: usize = 10;
/// Characters of the longest bar.
const BAR: f64 = 30.0;

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let options = Options::from_flags(matches, &[OPTIONS]);
    let study = storage::open(matches)?;
    let (target, label) = target(&study, options.text("target")?)?;
    let default = ImportanceSpec::default();
    let spec = ImportanceSpec {
        method: options.text("method")?.map_or(Ok(default.method), Method::by_name)?,
        target,
        seed: options.seed()?,
        rounds: options.count("trees", 1)?.map_or(default.rounds, |n| n as usize),
        quantile: options.share("quantile")?.unwrap_or(default.quantile),
        region: options.share("region")?.unwrap_or(default.region),
        uniform: matches.get_flag("uniform"),
        pairs: matches.get_flag("pairs"),
        pruned: matches.get_flag("pruned"),
    };
    let trials = study.trials()?;
    let space = match study.space() {
        Some(space) => space.clone(),
        None => {
            let (space, notes) = infer_space(&trials)?;
            notes.iter().for_each(|note| console.note(note));
            space
        }
    };
    let mut found = importance(&space, study.directions(), &trials, &spec)?;
    let best = (spec.quantile * found.trials.used as f64).ceil() as usize;
    if spec.method == Method::PedAnova && best < FEW {
        console.note(&format!(
            "the best {} are {} of {}: shares of so few are rough; a larger --quantile compares more",
            share(spec.quantile),
            best,
            table::plural(found.trials.used, "trial")
        ));
    }
    let top = options.count("top", 1)?.map(|top| top as usize);
    if let Some(top) = top {
        found.parameters.truncate(top);
        found.pairs.truncate(top);
    }
    let document = json!({
        "study": study.name(),
        "method": spec.method.name(),
        "target": label,
        "trials": found.trials,
        "parameters": found.parameters,
        "pairs": found.pairs,
    });
    console.result(&document, || text(&study, &label, &spec, &found, top.unwrap_or(PAIRS)))
}

/// What is explained, and its name.
fn target(study: &Study, asked: Option<&str>) -> Result<(Target, String), Error> {
    let objectives = study.directions().len();
    let names = objective_names(study.metric_names(), objectives);
    let at = |i: usize| (Target::Value(i), names[i].clone());
    let place = |text: &str| text.parse().ok().filter(|i| *i < objectives);
    match asked {
        Some("seconds") => Ok((Target::Seconds, "seconds".to_owned())),
        None | Some("value") if objectives == 1 => Ok(at(0)),
        None | Some("value") => Err(Error::input(format!(
            "study `{}` has {objectives} objectives; choose one with --target: {} (or its place, from 0), or seconds",
            study.name(),
            names.join(", ")
        ))),
        Some(text) => match names.iter().position(|name| name == text).or_else(|| place(text)) {
            Some(i) => Ok(at(i)),
            None => {
                let known = ["value", "seconds"].into_iter().chain(names.iter().map(String::as_str));
                Err(Error::unknown("--target", text, known))
            }
        },
    }
}

fn text(study: &Study, label: &str, spec: &ImportanceSpec, found: &Importance, pairs: usize) -> String {
    let how = match spec.method {
        Method::Fanova => format!("fANOVA with {}", table::plural(spec.rounds, "tree")),
        Method::PedAnova => {
            let against = match (spec.uniform, spec.region) {
                (true, _) => "the whole space".to_owned(),
                (false, region) if region < 1.0 => format!("the best {}", share(region)),
                (false, _) => "all trials".to_owned(),
            };
            format!("PED-ANOVA of the best {} against {against}", share(spec.quantile))
        }
    };
    let head =
        format!("{}: {}, {how}; {}", study.name(), bold(&format!("importance for {label}")), describe(&found.trials));
    let percent = |x: f64| format!("{:.1} %", 100.0 * x);
    let rows = found.parameters.iter().map(|single| {
        let cells = [single.name.clone(), percent(single.importance), percent(single.share), percent(single.spread)];
        (cells.to_vec(), single.share)
    });
    let mut parts = vec![head, bars(&["parameter", "importance", "share", "± spread"], &rows.collect::<Vec<_>>())];
    if spec.pairs {
        let rows = found.pairs.iter().take(pairs).map(|pair| {
            let cells = [pair.names.join(" × "), percent(pair.share), percent(pair.spread)];
            (cells.to_vec(), pair.share)
        });
        parts.push(bars(&["pair, beyond both", "share", "± spread"], &rows.collect::<Vec<_>>()));
    }
    parts.join("\n\n")
}

/// `10 %`, `2.5 %`.
fn share(share: f64) -> String {
    format!("{} %", (1000.0 * share).round() / 10.0)
}

/// A table with a bar at the end of every row.
fn bars(header: &[&str], rows: &[(Vec<String>, f64)]) -> String {
    let cells: Vec<Vec<String>> = rows.iter().map(|(cells, _)| cells.clone()).collect();
    let text = table::grid(header, &cells);
    let width = table::width(&text);
    // Where there is no room for bars, the numbers say it.
    let room = columns().map_or(BAR, |columns| BAR.min(columns as f64 - width as f64 - 2.0));
    if room < 4.0 {
        return table::table(header, &cells);
    }
    let most = rows.iter().map(|(_, size)| *size).fold(0.0, f64::max);
    let sizes = std::iter::once(0.0).chain(rows.iter().map(|(_, size)| if most > 0.0 { size / most } else { 0.0 }));
    let line = |(line, size): (&str, f64)| {
        let bar = "█".repeat((room * size.max(0.0)).round() as usize);
        format!("{line}{}  {bar}", " ".repeat(width - line.chars().count())).trim_end().to_owned()
    };
    text.lines().zip(sizes).map(line).collect::<Vec<_>>().join("\n")
}
