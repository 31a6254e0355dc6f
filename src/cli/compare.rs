//! `compare`: samplers against each other on data, a table of results, or a function.

use super::console::{Console, bold};
use super::failure::Failure;
use super::options::{DATA, FOLDS, Opt, Options, RUN, add, add_settings, many, one_of, opt, settings};
use super::search::space_of;
use super::{Verb, chart, interrupt, storage, table};
use clap::ArgMatches;
use hpt_engine::Error;
use hpt_engine::backend::cores;
use hpt_engine::compare::{CompareSpec, FUNCTIONS, Grid, Problem, Report, Run, function, run as compare};
use hpt_engine::pruner::PRUNERS;
use hpt_engine::sampler::SAMPLERS;
use hpt_engine::search::{DataProblem, SearchSpec};
use hpt_engine::study::{Stopped, Storage, Told};
use serde_json::{Value as Json, json};
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};

pub const VERB: Verb = Verb {
    name: "compare",
    about: "Compare samplers on data, a table of results or a function",
    arguments: |command| {
        let command = add(add(command, OPTIONS, "Comparison"), DATA, "Data");
        let command = running().into_iter().fold(command, |command, table| add(command, table, "Running"));
        add_settings(command).after_help(HELP)
    },
    run,
};

#[rustfmt::skip]
const OPTIONS: &[Opt] = &[
    many("samplers", "NAMES", "Samplers, with commas [default: random,qmc,tpe,gp]"),
    opt("seeds", "N", "Runs of each sampler, with the seeds 0, 1, … [default: 20]"),
    opt("trials", "N", "Trials of each run [default: 50]"),
    one_of("function", "Compare on a function to minimise", || FUNCTIONS.to_vec()),
    opt("table", "FILE", "Compare on a complete grid of results: CSV, plain or gzip, one row a configuration"),
    opt("value", "NAME", "Column of the table's results [default: the last]"),
    opt("direction", "NAME", "minimize or maximize the table's results"),
    opt("space", "FILE", "Compare on data: file whose [space] table says what varies [default: sized from the data]"),
    one_of("pruner", "Compare on data: how hopeless trials are stopped [default: none]", || PRUNERS.iter().map(|entry| entry.name).collect()),
    many("pruner_option", "NAME=X", "Option of the pruner, as in reduction=4; several may be given"),
    FOLDS,
    opt("jobs", "N", "Runs at once, or auto [default: auto]"),
    opt("storage", "FILE", "Keep the runs as studies; the same command goes on after an interrupt [default: nowhere]"),
    opt("out", "FILE", "Write the curves: .csv, or .json with every run"),
];

const HELP: &str = "\
Every sampler runs with the same seeds; all figures are over the seeds that every sampler has finished. Areas are means of the \
best value so far: over the trials, and over the seconds until the slowest run ends, both from the first value of any run on; a \
run that has none yet counts with the worst first value of its seed. Friedman's test asks whether any sampler \
differs (with Iman and Davenport's F), Wilcoxon's signed-rank test which pairs do, its p adjusted by Holm for all pairs \
together. Regret is the distance to the optimum as a share of the median's.

On data a seed also divides the rows anew, for all samplers alike, and every run has one thread; flags of a training fix \
values. After an interrupt what is finished is printed.

Examples:
  hpt-engine compare --function branin --samplers random,tpe,gp --seeds 20 --trials 50
  hpt-engine compare --table results.csv.gz --direction maximize --out curves.csv
  hpt-engine compare --data table.csv --target price --epochs 10 --seeds 5 --storage compare.db";

const DEFAULT_SAMPLERS: [&str; 4] = ["random", "qmc", "tpe", "gp"];

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let options = Options::from_flags(matches, &[&[OPTIONS, DATA], &running()[..]].concat());
    let listed = options.list("samplers")?;
    let samplers = if listed.is_empty() { DEFAULT_SAMPLERS.map(str::to_owned).to_vec() } else { listed };
    for name in &samplers {
        if !SAMPLERS.iter().any(|entry| entry.name == name) {
            return Err(Error::unknown("--samplers", name, SAMPLERS.iter().map(|entry| entry.name)).into());
        }
    }
    let out = options.text("out")?.map(writable).transpose()?;
    // Data may take a while to be read: from here on a signal is answered by a document.
    let stop = interrupt::catch()?;
    let problem = problem(matches, &options, console)?;
    let kept = options.text("storage")?.map(Storage::open_or_create).transpose()?;
    let mut spec = CompareSpec::new(&samplers);
    spec.seeds = options.count("seeds", 1)?.unwrap_or(spec.seeds);
    spec.trials = options.count("trials", 1)?.unwrap_or(spec.trials);
    spec.jobs = match options.auto("jobs")? {
        0 => cores(),
        jobs => jobs,
    };
    spec.storage = kept.as_ref();
    spec.stop = stop;
    let (done, all) = (AtomicU64::new(0), spec.seeds * samplers.len() as u64);
    let on_run = |run: &Run| {
        let done = done.fetch_add(1, Ordering::Relaxed) + 1;
        console.line(&line(run, done, all));
    };
    spec.on_run = Some(&on_run);
    let stop = spec.stop.clone();
    let runs = compare(problem.as_ref(), &spec)?;
    let interrupted = stop.load(Ordering::Relaxed);
    let report = match Report::new(problem.as_ref(), &runs) {
        Ok(report) => Some(report),
        Err(_) if interrupted => None,
        Err(error) => return Err(error.into()),
    };
    // Without a finished seed there are no curves, and those of an earlier call stay.
    if let (Some(path), Some(report)) = (out, &report) {
        write(path, report, &runs)?;
    }
    let stopped = if interrupted { Stopped::Interrupted } else { Stopped::Reached };
    match &report {
        Some(report) => console.result(&document(report, stopped)?, || text(report))?,
        None if console.json => console.result(&document(&Report::blank(problem.as_ref()), stopped)?, String::new)?,
        None => {}
    }
    if interrupted {
        let further = match &spec.storage {
            Some(storage) => format!("the same command goes on from {}", storage.path().display()),
            None => "with --storage FILE the same command would go on".to_owned(),
        };
        let seeds = report.map_or(0, |report| report.seeds.len());
        console.note(&format!("interrupted with {seeds} of {} seeds finished; {further}", spec.seeds));
        return Err(Failure::interrupted());
    }
    Ok(())
}

/// The report as JSON, with why it has no more seeds, as a search says it.
fn document(report: &Report, stopped: Stopped) -> Result<Json, Failure> {
    let wrong = |error: serde_json::Error| Failure::new(1, format!("the result is no JSON: {error}"));
    let mut document = serde_json::to_value(report).map_err(wrong)?;
    document["stopped_by"] = stopped.name().into();
    Ok(document)
}

/// What a training needs here: seeds and threads are the comparison's.
fn running() -> Vec<&'static [Opt]> {
    RUN.iter().filter(|opt| matches!(opt.name, "metric" | "device")).map(std::slice::from_ref).collect()
}

/// What is compared on.
fn problem(matches: &ArgMatches, options: &Options, console: &Console) -> Result<Box<dyn Problem>, Failure> {
    let (name, path) = (options.text("function")?, options.text("table")?);
    let data = options.data()?;
    let given = [("--function", name.is_some()), ("--table", path.is_some()), ("--data", data.is_some())];
    let given: Vec<&str> = given.iter().filter(|(_, given)| *given).map(|(flag, _)| *flag).collect();
    if given.len() > 1 {
        return Err(Failure::input(format!("{} exclude each other", given.join(" and "))));
    }
    for (option, of) in
        [("value", "--table"), ("direction", "--table"), ("space", "--data"), ("pruner", "--data"), ("folds", "--data")]
    {
        if let Some(place) = options.place(option).filter(|_| given.first() != Some(&of)) {
            return Err(Failure::input(format!("{place} goes with {of} alone")));
        }
    }
    if let (Some((setting, _)), Some(of)) =
        (settings(matches)?.iter().next(), given.first().filter(|of| **of != "--data"))
    {
        let flag = setting.replace('_', "-");
        return Err(Failure::input(format!("--{flag} goes with --data alone; nothing is trained with {of}")));
    }
    if let Some(name) = name {
        let known = FUNCTIONS.contains(&name).then(|| function(name));
        return Ok(Box::new(known.unwrap_or_else(|| Err(Error::unknown("--function", name, FUNCTIONS)))?));
    }
    if let Some(path) = path {
        let Some(direction) = options.text("direction")? else {
            return Err(Failure::input(format!(
                "--direction is missing: are small values of {path} good (minimize) or large ones (maximize)?"
            )));
        };
        let value = options.text("value")?.map(str::to_owned);
        let table = Grid { direction: storage::direction("--direction", direction)?, value }.read(path)?;
        if let Some(known) = table.known {
            let all = table.space.size().map_or("more than can be counted".to_owned(), |size| size.to_string());
            console
                .note(&format!("{path}: {known} of {all} points of the grid have a value; trials of the others fail"));
        }
        return Ok(Box::new(table));
    }
    let Some((data, split)) = data else {
        return Err(Failure::input("compare on what? --data, --table or --function is missing"));
    };
    let split = options.in_folds(split)?;
    let fixed = settings(matches)?;
    let space = options.text("space")?.map(|path| space_of(path, &fixed, console)).transpose()?;
    let told = storage::told_by(options)?;
    let told = Told { pruner: told.pruner.or_else(|| Some("none".to_owned())), ..told };
    let default = SearchSpec::new(data);
    let spec = SearchSpec {
        split,
        fixed,
        space,
        objectives: options.objectives()?,
        told,
        device: options.device()?,
        ..default
    };
    Ok(Box::new(DataProblem::new(spec)?))
}

/// A file that can be written and whose ending says how.
fn writable(path: &str) -> Result<&Path, Failure> {
    let path = Path::new(path);
    match path.extension().and_then(|end| end.to_str()) {
        Some("csv" | "json") => {}
        _ => {
            return Err(Failure::input(format!(
                "--out is `{}`; a name that ends in .csv or .json is expected",
                path.display()
            )));
        }
    }
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty());
    match folder.filter(|folder| !folder.is_dir()) {
        Some(folder) => Err(Failure::input(format!("--out: {}: no such folder", folder.display()))),
        None => Ok(path),
    }
}

fn write(path: &Path, report: &Report, runs: &[Run]) -> Result<(), Failure> {
    let text = match path.extension().is_some_and(|end| end == "json") {
        true => json!({"report": report, "runs": runs}).to_string(),
        false => report.csv(),
    };
    Ok(std::fs::write(path, text).map_err(|e| Error::io(path, e))?)
}

fn line(run: &Run, done: u64, all: u64) -> String {
    let best = run.best.last().copied().flatten().map_or("no value".to_owned(), table::number);
    let seconds = table::seconds(run.seconds.last().copied().unwrap_or(0.0));
    let end = if run.ended { "" } else { ", interrupted" };
    let trials = table::plural(run.best.len(), "trial");
    format!("run {done} of {all}: {} seed {}: best {best} after {trials} in {seconds}{end}", run.sampler, run.seed)
}

fn text(report: &Report) -> String {
    let seeds = table::plural(report.seeds.len(), "seed");
    let head = format!(
        "{} ({}): {seeds} of {}{}",
        bold(&report.problem),
        report.direction,
        table::plural(report.trials, "trial"),
        report.optimum.map_or_else(String::new, |optimum| format!("; the optimum is {}", table::number(optimum)))
    );
    let mut parts = vec![head];
    parts.extend(chart::curves(&report.by_trials).map(|chart| format!("mean best so far against trials\n{chart}")));
    parts.push(standings(report));
    parts.push(tests(report));
    parts.join("\n\n")
}

fn standings(report: &Report) -> String {
    let with =
        |spread: hpt_engine::compare::Spread| format!("{} ± {}", table::number(spread.mean), table::number(spread.sd));
    let known = report.standings.iter().any(|standing| standing.regret.is_some());
    let rows: Vec<Vec<String>> = report
        .standings
        .iter()
        .map(|standing| {
            let mut cells = vec![
                standing.sampler.clone(),
                format!("{:.2}", standing.mean_rank),
                with(standing.best),
                table::number(standing.median),
            ];
            if known {
                cells.push(standing.regret.map_or_else(String::new, with));
            }
            let areas = [standing.area_trials, standing.area_seconds].map(|area| table::number(area.mean));
            cells.extend(areas);
            cells.push(table::seconds(standing.seconds.mean));
            cells
        })
        .collect();
    let mut header = vec!["sampler", "mean rank", "best ± sd", "median"];
    if known {
        header.push("regret ± sd");
    }
    header.extend(["area, trials", "area, time", "time a run"]);
    table::table(&header, &rows)
}

fn tests(report: &Report) -> String {
    let mut lines = Vec::new();
    if let Some(test) = &report.friedman {
        let [above, below] = test.degrees;
        let f = match test.f_p {
            Some(p) => format!("F({above}, {below}) = {:.2}, p = {}", test.f, chance(p)),
            None => "the ranks agree in all seeds, so that F is infinite and has no p".to_owned(),
        };
        let p = chance(test.p);
        lines.push(format!("Friedman: chi-square({above}) = {:.2}, p = {p}; Iman–Davenport: {f}", test.chi_square));
    }
    let rows: Vec<Vec<String>> = report
        .duels
        .iter()
        .map(|duel| {
            let [wins, losses, ties] = duel.wins;
            vec![
                duel.samplers.join(" – "),
                format!("{wins}:{losses}:{ties}"),
                table::number(duel.difference),
                chance(duel.p),
                chance(duel.p_holm),
            ]
        })
        .collect();
    if !rows.is_empty() {
        let header = ["pair (Wilcoxon)", "better:worse:equal", "median difference", "p", "p (Holm)"];
        lines.push(table::table(&header, &rows));
    }
    if lines.is_empty() { "one sampler: nothing to test".to_owned() } else { lines.join("\n\n") }
}

/// A p-value.
fn chance(p: f64) -> String {
    if p < 1e-4 { format!("{p:.1e}") } else { format!("{p:.4}") }
}
