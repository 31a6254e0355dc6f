//! `bench`: what this machine reaches in products, passes, training steps and evaluations, beside what it could.

mod cohorts;

use super::console::Console;
use super::failure::Failure;
use super::{Verb, output, table};
use clap::{Arg, ArgMatches, value_parser};
use hpt_engine::Error;
use hpt_engine::backend::{Cpu, Precision, cores, method, natively};
use hpt_engine::bench::{
    Kind, Mark, PRODUCTS, Product, Rate, Roofs, STEPS, StepRow, Timer, Units, evaluations, passes, svg,
};
use hpt_engine::engine::Device;
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::Isa;
use indicatif::{ProgressBar, ProgressStyle};
use serde::Serialize;
use std::path::{Path, PathBuf};

pub const VERB: Verb = Verb {
    name: "bench",
    about: "Measure this machine's throughput: products, passes, training steps and evaluations",
    arguments: |command| {
        command
            .arg(
                Arg::new("filter")
                    .value_name("TEXT")
                    .num_args(0..)
                    .help("Only what has one of these texts in its name: `step`, `784-512`, `adam`, `128×512`"),
            )
            .arg(
                Arg::new("threads")
                    .long("threads")
                    .value_name("N")
                    .value_parser(value_parser!(u16).range(1..))
                    .help("Threads to compare with one [default: all cores]"),
            )
            .arg(Arg::new("device").long("device").value_name("DEVICE").help(
                "Measure cohorts of networks trained at once, and products, on this device (cuda, cuda:1, cpu) instead",
            ))
            .arg(Arg::new("precision").long("precision").value_name("NAME").help(
                "Precision of products: highest, high, medium, bf16 [default: all that the CPU has; with --device highest]",
            ))
            .arg(
                Arg::new("roofline")
                    .long("roofline")
                    .value_name("FILE.svg")
                    .value_parser(value_parser!(PathBuf))
                    .conflicts_with("device")
                    .help("Draw every measurement against the limits of one core"),
            )
    },
    run,
};

#[derive(Serialize)]
struct Report {
    isa: &'static str,
    /// Threads that one thread is compared with.
    threads: usize,
    #[serde(flatten)]
    roofs: Roofs,
    products: Vec<Row>,
    passes: Vec<Row>,
    steps: Vec<Row>,
    evaluations: Vec<Row>,
    /// What the precisions below `highest` that this machine has for themselves change.
    lower: Vec<Lower>,
}

/// A product or training at a lower precision; products only where it is chosen for their shape.
#[derive(Serialize)]
struct Lower {
    precision: &'static str,
    name: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    unit: &'static str,
    one_thread: f64,
    /// Of the rate at `highest` by one thread.
    of_highest: f64,
    #[serde(skip_serializing_if = "Option::is_none")]
    all_threads: Option<f64>,
    /// Trainings side by side, one thread each, all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    side_by_side: Option<f64>,
    /// As of a [`Row`].
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_peak: Option<f64>,
    #[serde(skip)]
    point: Point,
}

/// One measurement; rates of the products and passes in 10⁹ a second, of steps and evaluations in samples a second.
#[derive(Serialize)]
struct Row {
    name: String,
    /// Rows a step.
    #[serde(skip_serializing_if = "Option::is_none")]
    batch: Option<usize>,
    /// `GFLOP/s`, `GB/s` or `samples/s`.
    unit: &'static str,
    one_thread: f64,
    /// The same work on all threads together.
    #[serde(skip_serializing_if = "Option::is_none")]
    all_threads: Option<f64>,
    /// Trainings side by side, one thread each, all together.
    #[serde(skip_serializing_if = "Option::is_none")]
    side_by_side: Option<f64>,
    /// Of the peak of one core, by one thread: that of multiply-adds, and of bf16 over how many of its products stand
    /// for one. Measured in turn with the rate, but of passes, which have the peak of the start; absent where units are
    /// emulated.
    #[serde(skip_serializing_if = "Option::is_none")]
    share_of_peak: Option<f64>,
    #[serde(skip)]
    point: Point,
}

/// Where a measurement lies in the plot.
#[derive(Clone, Copy)]
struct Point {
    /// Operations a byte.
    intensity: f64,
    gflops: f64,
    units: Units,
}

/// Rates of the same work by one thread, by all together, and many times side by side.
struct Rates {
    one: f64,
    share: Option<f64>,
    all: Option<f64>,
    beside: Option<f64>,
}

impl Rates {
    /// By one thread and, if there is a second rate, by all.
    fn of(rates: &[Rate], scale: f64) -> Self {
        let (one, all) = (rates[0], rates.get(1).map(|rate| rate.per_second * scale));
        Rates { one: one.per_second * scale, share: one.share, all, beside: None }
    }
}

impl Row {
    fn new(name: String, unit: &'static str, rates: Rates, point: Point) -> Self {
        let Rates { one, share, all, beside } = rates;
        let (one_thread, share_of_peak, all_threads, side_by_side) = (one, share, all, beside);
        Row { name, batch: None, unit, one_thread, all_threads, side_by_side, share_of_peak, point }
    }
}

/// What was asked for.
struct Selection(Vec<String>);

impl Selection {
    fn takes(&self, group: &str, name: &str) -> bool {
        // People type the letter x.
        let fits = |text: &String| group.contains(text.as_str()) || name.contains(&text.replace('x', "×"));
        let plain = |text: &String| name.contains(text.as_str());
        self.0.is_empty() || self.0.iter().any(|text| fits(text) || plain(text))
    }
}

/// What is being measured: one line that is rewritten on a terminal, lines with `--verbose`.
struct Meter {
    console: Console,
    bar: Option<ProgressBar>,
}

impl Meter {
    fn new(console: &Console) -> Self {
        let bar = (console.terminal && !console.quiet && !console.verbose).then(|| {
            let style = ProgressStyle::with_template("{pos:>3} measured; now {wide_msg}");
            ProgressBar::no_length().with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
        });
        Meter { console: *console, bar }
    }

    /// The measurement of `name` begins. Nothing redraws the line while it lasts: that would be measured too.
    fn now(&self, name: &str) {
        if self.console.verbose {
            self.console.line(&format!("measuring {name}"));
        }
        if let Some(bar) = &self.bar {
            // The first is under way, none is done.
            if !bar.message().is_empty() {
                bar.inc(1);
            }
            bar.set_message(name.to_owned());
            bar.tick();
        }
    }
}

impl Drop for Meter {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let isa = Isa::detect().map_err(Error::Input)?;
    let threads = matches.get_one::<u16>("threads").map_or_else(cores, |&n| usize::from(n));
    let wanted = Selection(matches.get_many::<String>("filter").unwrap_or_default().cloned().collect());
    let precision = matches.get_one::<String>("precision").map(|name| Precision::by_name(name)).transpose()?;
    if let Some(device) = matches.get_one::<String>("device") {
        return cohorts::run(Device::by_name(device)?, isa, precision, threads, &wanted, console);
    }
    let precisions = precisions(isa, precision)?;
    let plot = matches.get_one::<PathBuf>("roofline");
    plot.map_or(Ok(()), |path| output::existing_place("--roofline", path))?;
    let report = measure(isa, threads, &precisions, wanted, console)?;
    let printed = console.result(&report, || text(&report));
    // The table is there whatever becomes of the plot, and the plot where nobody reads the table.
    plot.map_or(Ok(()), |path| draw(&report, path, console))?;
    printed
}

/// The precisions to measure on an instruction set: the one that was asked for, or all that it has.
fn precisions(isa: Isa, asked: Option<Precision>) -> Result<Vec<Precision>, Failure> {
    let all = [Precision::Highest, Precision::High, Precision::Medium];
    let own: Vec<Precision> = all.into_iter().filter(|&precision| natively(precision, isa) == precision).collect();
    let Some(asked) = asked else { return Ok(own) };
    // One product of bf16 is what medium is on a CPU.
    let meant = if asked == Precision::Bf16 { Precision::Medium } else { asked };
    if own.contains(&meant) {
        return Ok(vec![meant]);
    }
    let names: Vec<&str> = own.iter().map(|precision| precision.name()).collect();
    Err(Failure::input(format!(
        "--precision {}: on {} that is computed as {}; it has {}",
        asked.name(),
        isa.name(),
        natively(asked, isa).name(),
        names.join(", ")
    )))
}

fn measure(
    isa: Isa,
    threads: usize,
    precisions: &[Precision],
    wanted: Selection,
    console: &Console,
) -> Result<Report, Failure> {
    let roofs = Roofs::measure(isa);
    let meter = Meter::new(console);
    let (one, all) = (Cpu::with_isa(isa, 1)?, Cpu::with_isa(isa, threads)?);
    let bench = Bench { isa, threads, one, all, roofs, wanted, meter };
    let mut report = Report {
        isa: isa.name(),
        threads,
        roofs,
        products: Vec::new(),
        passes: Vec::new(),
        steps: Vec::new(),
        evaluations: Vec::new(),
        lower: Vec::new(),
    };
    for &precision in precisions {
        if precision == Precision::Highest {
            report.products = bench.products()?;
            report.passes = bench.passes();
            report.steps = bench.steps()?;
            report.evaluations = bench.evaluations()?;
        } else {
            let lower = bench.lower(precision, &report)?;
            report.lower.extend(lower);
        }
    }
    let rows = [&report.products, &report.passes, &report.steps, &report.evaluations];
    if rows.iter().all(|rows| rows.is_empty()) && report.lower.is_empty() {
        let known = match precisions {
            [precision] if *precision != Precision::Highest => format!(
                "`step`, and those of `product` that are faster at {0}; passes and evaluations are the same at every precision",
                precision.name()
            ),
            _ => "`product`, `pass`, `step`, `evaluation` and the names that `hpt-engine bench` prints".to_owned(),
        };
        return Err(Failure::input(format!("nothing to measure has that in its name; known: {known}")));
    }
    Ok(report)
}

/// What measures.
struct Bench {
    isa: Isa,
    threads: usize,
    one: Cpu,
    all: Cpu,
    roofs: Roofs,
    wanted: Selection,
    meter: Meter,
}

impl Bench {
    /// One thread and, where there is something to divide, all.
    fn cpus(&self, divided: bool) -> Vec<&Cpu> {
        if divided && self.threads > 1 { vec![&self.one, &self.all] } else { vec![&self.one] }
    }

    fn products(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for product in PRODUCTS {
            let name = name_of(product);
            // Chains of f32 multiply no bytes.
            let numbers = product.kind.of_bytes() && product.method(self.isa, Precision::Highest) == Method::F32;
            if !numbers && self.wanted.takes("products", &name) {
                self.meter.now(&name);
                let (rates, point) = self.product_rates(product, &Timer::new(self.isa, *product))?;
                rows.push(Row::new(name, "GFLOP/s", rates, point));
            }
        }
        Ok(rows)
    }

    /// In 10⁹ operations a second.
    fn product_rates(&self, product: &Product, timer: &Timer) -> Result<(Rates, Point), Failure> {
        let rates = Rates::of(&timer.rates(&self.cpus(product.kind != Kind::Packed))?, 1e-9);
        let intensity = product.flops() / product.bytes();
        let point = Point { intensity, gflops: rates.one, units: timer.work(1).units };
        Ok((rates, point))
    }

    fn passes(&self) -> Vec<Row> {
        let mut rows = Vec::new();
        for pass in passes() {
            let count = || table::count(pass.width as u64);
            let size = if pass.rows == 1 { count() } else { format!("{}×{}", pass.rows, pass.width) };
            let name = format!("{} {size}", pass.name);
            if self.wanted.takes("passes", &name) {
                self.meter.now(&name);
                let rate = pass.elements() as f64 / pass.seconds(self.isa) / 1e9;
                let (intensity, gflops) = (pass.flops / pass.bytes, rate * pass.flops);
                let share = Some(gflops / self.roofs.peak_gflops);
                let rates = Rates { one: rate * pass.bytes, share, all: None, beside: None };
                let point = Point { intensity, gflops, units: Units::F32 };
                rows.push(Row::new(name, "GB/s", rates, point));
            }
        }
        rows
    }

    fn steps(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for step in self.wanted_steps() {
            self.meter.now(&step.name());
            let (rates, point) = self.step_rates(step, Precision::Highest)?;
            let row = Row::new(step.name(), "samples/s", rates, point);
            rows.push(Row { batch: Some(step.batch), ..row });
        }
        Ok(rows)
    }

    fn wanted_steps(&self) -> impl Iterator<Item = &'static StepRow> {
        STEPS.iter().filter(|step| self.wanted.takes("steps", &step.name()))
    }

    /// In samples a second.
    fn step_rates(&self, step: &StepRow, precision: Precision) -> Result<(Rates, Point), Failure> {
        let data = step.data();
        let mut rates = Rates::of(&step.rates(&data, &self.cpus(true), precision)?, 1.0);
        if self.threads > 1 {
            rates.beside = Some(step.rate_side_by_side(&data, self.isa, self.threads, precision)?);
        }
        let (intensity, units) = (step.flops() / step.bytes(), step.units(self.isa, precision)?);
        let gflops = rates.one * step.flops() / 1e9;
        Ok((rates, Point { intensity, gflops, units }))
    }

    fn evaluations(&self) -> Result<Vec<Row>, Failure> {
        let mut rows = Vec::new();
        for evaluation in evaluations() {
            let name = evaluation.name();
            if self.wanted.takes("evaluations", &name) {
                self.meter.now(&name);
                let rates = Rates::of(&evaluation.rates(&evaluation.data(), &self.cpus(true))?, 1.0);
                let gflops = rates.one * evaluation.flops() / 1e9;
                let (intensity, units) = (evaluation.flops() / evaluation.bytes(), evaluation.units(self.isa)?);
                let point = Point { intensity, gflops, units };
                rows.push(Row::new(name, "samples/s", rates, point));
            }
        }
        Ok(rows)
    }

    /// Products and steps at a precision below `highest` that the tier has, beside the rows of `report` at `highest`,
    /// which are measured by one thread where they are not there.
    fn lower(&self, precision: Precision, report: &Report) -> Result<Vec<Lower>, Failure> {
        let method = method(precision);
        let mut rows = Vec::new();
        let measured = |rows: &[Row], name: &str, batch: Option<usize>| {
            rows.iter().find(|row| row.name == name && row.batch == batch).map(|row| row.one_thread)
        };
        for product in PRODUCTS {
            let name = name_of(product);
            let chosen = product.method(self.isa, precision) == method;
            if product.kind == Kind::Packed || !chosen || !self.wanted.takes("products", &name) {
                continue;
            }
            self.meter.now(&format!("{name} at {}", precision.name()));
            let timer = Timer::new(self.isa, *product);
            let highest = match measured(&report.products, &name, None) {
                Some(rate) => rate,
                None => timer.rates(&[&self.one])?[0].per_second / 1e9,
            };
            let (rates, point) = self.product_rates(product, &timer.by(method))?;
            rows.push(Lower::new(precision, (name, None, "GFLOP/s"), rates, highest, point));
        }
        for step in self.wanted_steps() {
            let (name, batch) = (step.name(), Some(step.batch));
            self.meter.now(&format!("{name} at {}", precision.name()));
            let highest = match measured(&report.steps, &name, batch) {
                Some(rate) => rate,
                None => step.rates(&step.data(), &[&self.one], Precision::Highest)?[0].per_second,
            };
            let (rates, point) = self.step_rates(step, precision)?;
            rows.push(Lower::new(precision, (name, batch, "samples/s"), rates, highest, point));
        }
        Ok(rows)
    }
}

impl Lower {
    fn new(
        precision: Precision,
        (name, batch, unit): (String, Option<usize>, &'static str),
        rates: Rates,
        highest: f64,
        point: Point,
    ) -> Self {
        let Rates { one, share, all, beside } = rates;
        let (precision, of_highest) = (precision.name(), one / highest);
        let (one_thread, share_of_peak, all_threads, side_by_side) = (one, share, all, beside);
        Lower { precision, name, batch, unit, one_thread, of_highest, all_threads, side_by_side, share_of_peak, point }
    }
}

fn name_of(product: &Product) -> String {
    format!("{} {}", product.kind.name(), product.shape())
}

fn draw(report: &Report, path: &Path, console: &Console) -> Result<(), Failure> {
    let title = format!("hpt-engine on one core ({})", report.isa);
    std::fs::write(path, svg(&title, &report.roofs, &marks(report)))
        .map_err(|error| Failure::new(1, format!("{}: {error}", path.display())))?;
    console.note(&format!("the roofline is {}", path.display()));
    Ok(())
}

/// The marks of the plot.
fn marks(report: &Report) -> Vec<Mark> {
    let mark = |group: &'static str, name: &str, batch: Option<usize>, at: &str, point: Point| {
        let batch = batch.map_or_else(String::new, |batch| format!(", batch {batch}"));
        let Point { intensity, gflops, units } = point;
        Mark { name: format!("{name}{batch}{at}"), group, intensity, gflops, units }
    };
    let groups = [
        ("product", &report.products),
        ("step", &report.steps),
        ("evaluation", &report.evaluations),
        ("pass", &report.passes),
    ];
    let highest = groups
        .into_iter()
        .flat_map(|(group, rows)| rows.iter().map(move |row| mark(group, &row.name, row.batch, "", row.point)));
    let lower = report
        .lower
        .iter()
        .map(|row| mark(row.precision, &row.name, row.batch, &format!(", {}", row.precision), row.point));
    highest.chain(lower).collect()
}

fn text(report: &Report) -> String {
    let Report { roofs, threads, .. } = report;
    let bf16 = roofs.bf16_peak_gflops.map_or_else(String::new, |peak| format!(", of bf16 {peak:.0}"));
    let mut parts = vec![format!(
        "{}: FMA peak {:.0} GFLOP/s a core{bf16}; {:.0} GB/s in L1, {:.0} in L2, {:.0} from memory; medians of 9 rounds or \
         more",
        report.isa, roofs.peak_gflops, roofs.l1_gbytes, roofs.l2_gbytes, roofs.memory_gbytes
    )];
    // With one thread there is nothing to compare it with.
    let many = [format!("{threads} threads"), "ratio".to_owned()];
    let beside = [format!("{threads} trainings"), "ratio".to_owned()];
    let (many, beside): (&[String], &[String]) = if *threads > 1 { (&many, &beside) } else { (&[], &[]) };
    let header = |fixed: &[&'static str], more: &[&[String]]| -> Vec<String> {
        fixed.iter().map(|&name| name.to_owned()).chain(more.concat()).collect()
    };
    let mut add = |header: Vec<String>, rows: Vec<Vec<String>>, note: &str| {
        let header: Vec<&str> = header.iter().map(String::as_str).collect();
        if !rows.is_empty() {
            parts.push(table::table(&header, &rows) + note);
        }
    };
    let note = |rows: &[Row]| {
        let by_terms = rows.iter().any(|row| row.point.units.by_bf16());
        if by_terms {
            "\n* by six bf16 products as exact as f32 (three of bytes), which share the peak of bf16"
        } else {
            ""
        }
    };
    let more = |many: Option<f64>, one: f64, digits: usize| -> Vec<String> {
        if *threads > 1 { against(many, one, digits).to_vec() } else { Vec::new() }
    };
    // Name, rate, share, rate of all threads and its ratio.
    let line = |row: &Row, digits: usize| -> Vec<String> {
        let star = if row.point.units.by_bf16() { " *" } else { "" };
        let cells = vec![format!("{}{star}", row.name), rate(row.one_thread, digits), share(row.share_of_peak)];
        [cells, more(row.all_threads, row.one_thread, digits)].concat()
    };
    let rows: Vec<_> = report.products.iter().map(|row| line(row, 1)).collect();
    add(header(&["product m×k×n", "GFLOP/s", "of peak"], &[many]), rows, note(&report.products));

    let cells = |row: &Row| {
        let none = row.point.gflops == 0.0;
        let gflops = if none { "–".to_owned() } else { format!("{:.1}", row.point.gflops) };
        vec![row.name.clone(), format!("{:.1}", row.one_thread), gflops]
    };
    add(header(&["pass", "GB/s", "GFLOP/s"], &[]), report.passes.iter().map(cells).collect(), "");

    let cells = |row: &Row| {
        let mut cells = line(row, 0);
        cells.insert(1, row.batch.unwrap_or_default().to_string());
        [cells, more(row.side_by_side, row.one_thread, 0)].concat()
    };
    let names = header(&["training with Adam", "batch", "samples/s", "of peak"], &[many, beside]);
    add(names, report.steps.iter().map(cells).collect(), note(&report.steps));

    let rows: Vec<_> = report.evaluations.iter().map(|row| line(row, 0)).collect();
    add(header(&["loss and accuracy", "samples/s", "of peak"], &[many]), rows, "");

    let cells = |row: &Lower| {
        let digits = usize::from(row.batch.is_none());
        let batch = row.batch.map_or_else(String::new, |batch| batch.to_string());
        let mut cells = vec![row.name.clone(), batch, row.precision.to_owned(), row.unit.to_owned()];
        cells.extend([rate(row.one_thread, digits), share(row.share_of_peak), format!("{:.2}", row.of_highest)]);
        let all = more(row.all_threads, row.one_thread, digits);
        [cells, all, more(row.side_by_side, row.one_thread, digits)].concat()
    };
    let names = header(&["lower precision", "batch", "", "", "one thread", "of peak", "of highest"], &[many, beside]);
    add(names, report.lower.iter().map(cells).collect(), "");
    parts.join("\n\n")
}

fn against(many: Option<f64>, one: f64, digits: usize) -> [String; 2] {
    match many {
        Some(many) => [rate(many, digits), format!("{:.2}", many / one)],
        None => ["–".to_owned(), "–".to_owned()],
    }
}

fn share(of_peak: Option<f64>) -> String {
    of_peak.map_or("–".to_owned(), |share| format!("{:.0} %", 100.0 * share))
}

fn rate(value: f64, digits: usize) -> String {
    if digits == 0 { table::count(value.round() as u64) } else { format!("{value:.digits$}") }
}
