//! `bench`: what this machine reaches in products, passes and training steps, beside what it could.

use super::console::Console;
use super::failure::Failure;
use super::{Verb, table};
use clap::{Arg, ArgMatches, value_parser};
use hpt_engine::Error;
use hpt_engine::backend::cuda::{Pace, Shape};
use hpt_engine::backend::{Cpu, Precision, cores, method, natively};
use hpt_engine::bench::{COHORTS, CohortRow, Kind, Mark, PASSES, PRODUCTS, Roofs, STEPS, Timer, svg};
use hpt_engine::engine::{Device, Engine};
use hpt_kernels::gemm::Method;
use hpt_kernels::isa::Isa;
use serde::Serialize;
use serde_json::json;
use std::path::PathBuf;

pub const VERB: Verb = Verb {
    name: "bench",
    about: "Measure this machine's throughput: products, passes and training steps",
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
            .arg(
                Arg::new("precision")
                    .long("precision")
                    .value_name("NAME")
                    .requires("device")
                    .help("Precision of the cohorts' products: highest, high, medium, bf16 [default: highest]"),
            )
            .arg(
                Arg::new("roofline")
                    .long("roofline")
                    .value_name("FILE.svg")
                    .value_parser(value_parser!(PathBuf))
                    .help("Draw every measurement against the limits of one core in f32"),
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
}

/// One measurement; rates of the products and passes in 10⁹ a second, of steps in samples a second.
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
    /// Of the FMA peak of one core, by one thread.
    share_of_peak: f64,
    /// How a product is computed.
    #[serde(skip)]
    method: Option<Method>,
    #[serde(skip)]
    intensity: f64,
    #[serde(skip)]
    gflops: f64,
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

fn run(matches: &ArgMatches, console: &Console) -> Result<(), Failure> {
    let isa = Isa::detect().map_err(Error::Input)?;
    let threads = matches.get_one::<u16>("threads").map_or_else(cores, |&n| usize::from(n));
    let wanted = Selection(matches.get_many::<String>("filter").unwrap_or_default().cloned().collect());
    if let Some(device) = matches.get_one::<String>("device") {
        let precision = matches.get_one::<String>("precision").map_or("highest", String::as_str);
        return cohorts(Device::by_name(device)?, Precision::by_name(precision)?, threads, &wanted, console);
    }
    let roofs = Roofs::measure(isa);
    let mut report = Report {
        isa: isa.name(),
        threads,
        roofs,
        products: products(isa, threads, &roofs, &wanted, console)?,
        passes: passes(isa, &roofs, &wanted, console),
        steps: steps(isa, threads, &roofs, &wanted, console)?,
        lower: Vec::new(),
    };
    if report.products.is_empty() && report.passes.is_empty() && report.steps.is_empty() {
        let known = "`product`, `pass`, `step` and the names that `hpt-engine bench` prints";
        return Err(Failure::new(2, format!("nothing to measure has that in its name; known: {known}")));
    }
    report.lower = lower(isa, threads, &report, &wanted, console)?;
    if let Some(path) = matches.get_one::<PathBuf>("roofline") {
        let title = format!("hpt-engine on one core ({})", isa.name());
        std::fs::write(path, svg(&title, &roofs, &marks(&report)))
            .map_err(|error| Failure::new(1, format!("{}: {error}", path.display())))?;
        console.note(&format!("the roofline is {}", path.display()));
    }
    console.result(&report, || text(&report))
}

/// What an epoch of a cohort took.
#[derive(Serialize)]
struct Cohort {
    name: &'static str,
    models: usize,
    seconds: f64,
    /// Steps of all networks together.
    steps: u64,
    steps_per_second: f64,
    gflops: f64,
    /// Mean loss of the first step and of the last.
    loss: [f64; 2],
}

/// Cohorts on one device, and products on a GPU: what `benches/peers/gpu` has too.
fn cohorts(
    device: Device,
    precision: Precision,
    threads: usize,
    wanted: &Selection,
    console: &Console,
) -> Result<(), Failure> {
    let rows: Vec<&CohortRow> = COHORTS.iter().filter(|row| wanted.takes("cohorts", row.name)).collect();
    let named = |size: usize| (size, format!("{size}×{size}×{size}"));
    let sizes = [512, 1024, 2048, 4096].into_iter().map(named).filter(|(_, name)| wanted.takes("products", name));
    let sizes: Vec<(usize, String)> = sizes.collect();
    let shapes = SHAPES.iter().map(|&(shape, models)| (shape, models, shape.map(|n| n.to_string()).join("×")));
    let shapes: Vec<_> = shapes.filter(|(_, _, name)| wanted.takes("shapes", name)).collect();
    // Those whose steps are launches, and those that one block makes.
    let legs: Vec<&CohortRow> = LEGS.iter().filter_map(|name| COHORTS.iter().find(|row| row.name == *name)).collect();
    let legs = if wanted.takes("legs", "legs") { legs } else { Vec::new() };
    if rows.is_empty() && sizes.is_empty() && shapes.is_empty() && legs.is_empty() {
        let known: Vec<&str> = COHORTS.iter().map(|row| row.name).collect();
        let known = known.join(", ");
        return Err(Failure::input(format!(
            "nothing has that in its name; known: {known}, and `product`, `shapes` and `legs` on a GPU"
        )));
    }
    let engine = Engine::new(device, threads)?;
    let (mut products, mut errors) = (serde_json::Map::new(), serde_json::Map::new());
    for (size, name) in sizes {
        progress(console, &name);
        if let Some((flops, error)) = engine.product_rate([size; 3], precision)? {
            errors.insert(name.clone(), json!(error));
            products.insert(name, json!(flops / 1e12));
        }
    }
    let mut tiles = Vec::new();
    for (shape, models, name) in shapes {
        progress(console, &name);
        let rates = engine.tile_rates(shape, models, precision)?;
        if !rates.is_empty() {
            let tflops: serde_json::Map<_, _> =
                rates.iter().map(|(name, rate)| ((*name).to_owned(), json!(rate / 1e12))).collect();
            let taken = format!("{:?}", Shape::of(shape[0], shape[1], shape[2])).to_lowercase();
            tiles.push(json!({ "product": name, "networks": models, "tflops": tflops, "taken": taken }));
        }
    }
    let measure = |row: &CohortRow| -> Result<Cohort, Error> {
        progress(console, row.name);
        let rate = engine.measure(row, precision, 2)?;
        Ok(Cohort {
            name: row.name,
            models: row.models,
            seconds: rate.seconds,
            steps: rate.steps,
            steps_per_second: rate.steps as f64 / rate.seconds,
            gflops: rate.flops / rate.seconds / 1e9,
            loss: [rate.before, rate.after],
        })
    };
    let cohorts = rows.into_iter().map(measure).collect::<Result<Vec<Cohort>, Error>>()?;
    let mut lengths = Vec::new();
    for row in legs {
        progress(console, &format!("legs of {}", row.name));
        let paces = paces();
        let rates = engine.pace_rates(row, precision, &paces.iter().map(|(_, pace)| *pace).collect::<Vec<_>>())?;
        for ((what, _), [together, apart]) in paces.iter().zip(rates) {
            lengths.push(
                json!({ "cohort": row.name, "length": what, "steps_per_second": together, "with_one_away": apart }),
            );
        }
    }
    let caps = engine.caps();
    let precision = engine.precision(precision).name();
    let document = json!({
        "device": caps.device,
        "isa": caps.isa,
        "precision": precision,
        "cohorts": cohorts,
        "products_tflops": products,
        "products_errors": errors,
        "shapes": tiles,
        "legs": lengths,
    });
    console.result(&document, || {
        let cells = |row: &Cohort| {
            vec![
                row.name.to_owned(),
                row.models.to_string(),
                format!("{:.2} s", row.seconds),
                table::count(row.steps_per_second as u64),
                table::count(row.gflops as u64),
            ]
        };
        let header = ["cohort", "networks", "an epoch", "steps/s", "GFLOP/s"];
        let rows = cohorts.iter().map(cells).collect::<Vec<_>>();
        let mut parts = vec![format!("{} ({}), {precision}", caps.device, caps.isa)];
        if !rows.is_empty() {
            parts.push(table::table(&header, &rows));
        }
        let number = |value: &serde_json::Value| value.as_f64().unwrap_or(0.0);
        let product = |(name, rate): (&String, &serde_json::Value)| {
            format!("{name}: {:.2} TFLOP/s, error {:.1e}", number(rate), number(&errors[name]))
        };
        parts.extend(products.iter().map(product));
        if !tiles.is_empty() {
            parts.push(of_tiles(&tiles));
        }
        if !lengths.is_empty() {
            parts.push(of_lengths(&lengths));
        }
        parts.join("\n\n")
    })
}

/// Cohorts whose rates decide [`Pace`].
const LEGS: [&str; 2] = ["cohort-256-128", "cohort-64-64"];

/// The lengths of rounds and legs as they are, and each of them shorter and longer, with what is other than usual.
fn paces() -> Vec<(String, Pace)> {
    let usual = Pace::default();
    let mib = |bytes: usize| format!("{} MiB", bytes as f64 / f64::from(1 << 20));
    let mut paces = vec![("as trainings have it".to_owned(), usual)];
    paces.extend([4, 64, 256].map(|short| (format!("short rounds of {short} steps"), Pace { short, ..usual })));
    paces.extend(
        [64, 1024].map(|steps| {
            (format!("short rounds of {steps} steps in a block"), Pace { short_resident: steps, ..usual })
        }),
    );
    let first =
        [256 << 10, 4 << 20].map(|bytes| (format!("first leg {}", mib(bytes)), Pace { first_leg: bytes, ..usual }));
    let leg = [4 << 20, 64 << 20].map(|bytes| (format!("legs {}", mib(bytes)), Pace { leg: bytes, ..usual }));
    let piece = [16 << 10, 256 << 10].map(|bytes| (format!("pieces {}", mib(bytes)), Pace { piece: bytes, ..usual }));
    paces.extend(first.into_iter().chain(leg).chain(piece));
    paces
}

fn of_lengths(rows: &[serde_json::Value]) -> String {
    let rate = |value: &serde_json::Value| table::count(value.as_f64().unwrap_or(0.0) as u64);
    let text = |value: &serde_json::Value| value.as_str().unwrap_or("").to_owned();
    let cells = |row: &serde_json::Value| {
        vec![text(&row["cohort"]), rate(&row["steps_per_second"]), rate(&row["with_one_away"]), text(&row["length"])]
    };
    let header = ["cohort", "steps/s", "with one away", "lengths"];
    table::table(&header, &rows.iter().map(cells).collect::<Vec<_>>())
}

/// Products around the limits of [`Shape::of`], m × n over k, and how many networks have one each.
const SHAPES: [([usize; 3], usize); 13] = [
    ([128, 16, 256], 512),
    ([128, 24, 256], 512),
    ([128, 32, 256], 512),
    ([128, 40, 256], 512),
    ([128, 48, 256], 512),
    ([128, 64, 256], 512),
    ([512, 512, 512], 1),
    ([512, 512, 512], 64),
    ([1024, 1024, 1024], 1),
    ([1024, 1024, 1024], 16),
    ([512, 2048, 1024], 1),
    ([256, 4096, 1024], 1),
    ([2048, 2048, 2048], 1),
];

/// The rates of all shapes of tiles, the one that trainings take marked.
fn of_tiles(rows: &[serde_json::Value]) -> String {
    let cells = |row: &serde_json::Value| {
        let rate = |name: &str| match row["tflops"][name].as_f64() {
            Some(rate) => format!("{rate:.2}{}", if row["taken"] == name { " *" } else { "" }),
            None => "-".to_owned(),
        };
        let mut cells = vec![row["product"].as_str().unwrap_or("").to_owned(), row["networks"].to_string()];
        cells.extend(["narrow", "small", "large", "group"].map(rate));
        cells
    };
    let header = ["product, TFLOP/s", "networks", "narrow", "small", "large", "group"];
    let rows: Vec<Vec<String>> = rows.iter().map(cells).collect();
    format!(
        "{}\n* the tiles that trainings take; large ones are groups where there are groups",
        table::table(&header, &rows)
    )
}

/// Two devices: one thread, and all of them.
fn devices(isa: Isa, threads: usize) -> Result<(Cpu, Cpu), Failure> {
    Ok((Cpu::with_isa(isa, 1)?, Cpu::with_isa(isa, threads)?))
}

fn products(
    isa: Isa,
    threads: usize,
    roofs: &Roofs,
    wanted: &Selection,
    console: &Console,
) -> Result<Vec<Row>, Failure> {
    let (one, all) = devices(isa, threads)?;
    let rows = PRODUCTS.iter().map(|product| (product, format!("{} {}", product.kind.name(), product.shape())));
    let rows = rows.filter(|(_, name)| wanted.takes("products", name));
    let measure = |(product, name): (&hpt_engine::bench::Product, String)| {
        progress(console, &name);
        let timer = Timer::new(isa, *product);
        let rate = |cpu: &Cpu| product.flops() / timer.median(cpu) / 1e9;
        let gflops = rate(&one);
        Row {
            name,
            batch: None,
            unit: "GFLOP/s",
            one_thread: gflops,
            all_threads: (threads > 1 && product.kind != Kind::Packed).then(|| rate(&all)),
            side_by_side: None,
            share_of_peak: gflops / roofs.peak_gflops,
            method: Some(timer.method()),
            intensity: product.flops() / product.bytes(),
            gflops,
        }
    };
    Ok(rows.map(measure).collect())
}

fn passes(isa: Isa, roofs: &Roofs, wanted: &Selection, console: &Console) -> Vec<Row> {
    let rows = PASSES.iter().map(|pass| {
        let size =
            if pass.rows == 1 { table::count(pass.width as u64) } else { format!("{}×{}", pass.rows, pass.width) };
        (pass, format!("{} {size}", pass.name))
    });
    let rows = rows.filter(|(_, name)| wanted.takes("passes", name));
    let measure = |(pass, name): (&hpt_engine::bench::Pass, String)| {
        progress(console, &name);
        let rate = pass.elements() as f64 / pass.seconds(isa) / 1e9;
        let gflops = rate * pass.flops;
        Row {
            name,
            batch: None,
            unit: "GB/s",
            one_thread: rate * pass.bytes,
            all_threads: None,
            side_by_side: None,
            share_of_peak: gflops / roofs.peak_gflops,
            method: None,
            intensity: pass.flops / pass.bytes,
            gflops,
        }
    };
    rows.map(measure).collect()
}

fn steps(isa: Isa, threads: usize, roofs: &Roofs, wanted: &Selection, console: &Console) -> Result<Vec<Row>, Failure> {
    let (one, all) = devices(isa, threads)?;
    let mut rows = Vec::new();
    for step in STEPS.iter().filter(|step| wanted.takes("steps", &step.name())) {
        progress(console, &step.name());
        let data = step.data();
        let rate = step.rate(&data, &one)?;
        let gflops = rate * step.flops() / 1e9;
        let (all_threads, side_by_side) = match threads {
            1 => (None, None),
            _ => (Some(step.rate(&data, &all)?), Some(step.rate_side_by_side(&data, isa, threads)?)),
        };
        rows.push(Row {
            name: step.name(),
            batch: Some(step.batch),
            unit: "samples/s",
            one_thread: rate,
            all_threads,
            side_by_side,
            share_of_peak: gflops / roofs.peak_gflops,
            method: None,
            intensity: step.flops() / step.bytes(),
            gflops,
        });
    }
    Ok(rows)
}

/// The rows of `report` again, at each precision below `highest` that the tier has.
fn lower(
    isa: Isa,
    threads: usize,
    report: &Report,
    wanted: &Selection,
    console: &Console,
) -> Result<Vec<Lower>, Failure> {
    let (one, all) = devices(isa, threads)?;
    let mut rows = Vec::new();
    for (precision, method) in [Precision::High, Precision::Medium].map(|precision| (precision, method(precision))) {
        if natively(precision, isa) != precision {
            continue;
        }
        let mut add = |row: &Row, one_thread: f64, all_threads: Option<f64>| {
            let of_highest = one_thread / row.one_thread;
            let (precision, name) = (precision.name(), row.name.clone());
            let (batch, unit) = (row.batch, row.unit);
            rows.push(Lower { precision, name, batch, unit, one_thread, of_highest, all_threads });
        };
        for product in PRODUCTS {
            let name = format!("{} {}", product.kind.name(), product.shape());
            let Some(row) = report.products.iter().find(|row| row.name == name) else { continue };
            if product.kind == Kind::Packed || method.choose(isa, product.m, product.k, product.n) != method {
                continue;
            }
            progress(console, &format!("{name} at {}", precision.name()));
            let timer = Timer::new(isa, *product).by(method);
            let rate = |cpu: &Cpu| product.flops() / timer.median(cpu) / 1e9;
            add(row, rate(&one), (threads > 1).then(|| rate(&all)));
        }
        let steps = STEPS.iter().filter(|step| wanted.takes("steps", &step.name()));
        for (step, row) in steps.zip(&report.steps) {
            progress(console, &format!("{} at {}", row.name, precision.name()));
            let data = step.data();
            let many = if threads > 1 { Some(step.rate_at(&data, &all, precision)?) } else { None };
            add(row, step.rate_at(&data, &one, precision)?, many);
        }
    }
    Ok(rows)
}

fn progress(console: &Console, name: &str) {
    if console.verbose {
        console.line(&format!("measuring {name}"));
    }
}

/// The marks of the plot.
fn marks(report: &Report) -> Vec<Mark> {
    let groups = [("product", &report.products), ("step", &report.steps), ("pass", &report.passes)];
    let mark = |group: &'static str, row: &Row| {
        let batch = row.batch.map_or_else(String::new, |batch| format!(", batch {batch}"));
        Mark { name: format!("{}{batch}", row.name), group, intensity: row.intensity, gflops: row.gflops }
    };
    groups.iter().flat_map(|(group, rows)| rows.iter().map(move |row| mark(group, row))).collect()
}

fn text(report: &Report) -> String {
    let Report { roofs, threads, .. } = report;
    let mut parts = vec![format!(
        "{}: FMA peak {:.0} GFLOP/s a core; {:.0} GB/s in L1, {:.0} in L2, {:.0} from memory; medians of 9 rounds or more",
        report.isa, roofs.peak_gflops, roofs.l1_gbytes, roofs.l2_gbytes, roofs.memory_gbytes
    )];
    let many = format!("{threads} threads");
    let beside = format!("{threads} trainings");
    if !report.products.is_empty() {
        let header = ["product m×k×n", "GFLOP/s", "of peak", &many, "ratio"];
        let cells = |row: &Row| {
            let mut cells = line(row, 1);
            cells[0] += if row.method == Some(Method::F32) { "" } else { " *" };
            cells
        };
        let rows: Vec<_> = report.products.iter().map(cells).collect();
        let by_terms = report.products.iter().any(|row| row.method != Some(Method::F32));
        let note = "\n* by six bf16 products as exact as f32, which the FMA peak does not bound";
        parts.push(table::table(&header, &rows) + if by_terms { note } else { "" });
    }
    if !report.passes.is_empty() {
        let cells = |row: &Row| vec![row.name.clone(), format!("{:.1}", row.one_thread), format!("{:.1}", row.gflops)];
        let rows: Vec<_> = report.passes.iter().map(cells).collect();
        parts.push(table::table(&["pass", "GB/s", "GFLOP/s"], &rows));
    }
    if !report.steps.is_empty() {
        let header = ["training with Adam", "batch", "samples/s", "of peak", &many, "ratio", &beside, "ratio"];
        let cells = |row: &Row| {
            let mut cells = line(row, 0);
            cells.insert(1, row.batch.unwrap_or_default().to_string());
            cells.extend(against(row.side_by_side, row.one_thread, 0));
            cells
        };
        parts.push(table::table(&header, &report.steps.iter().map(cells).collect::<Vec<_>>()));
    }
    if !report.lower.is_empty() {
        let header = ["lower precision", "batch", "", "", "one thread", "of highest", &many, "ratio"];
        let cells = |row: &Lower| {
            let digits = usize::from(row.batch.is_none());
            let batch = row.batch.map_or_else(String::new, |batch| batch.to_string());
            let mut cells = vec![row.name.clone(), batch, row.precision.to_owned(), row.unit.to_owned()];
            cells.extend([rate(row.one_thread, digits), format!("{:.2}", row.of_highest)]);
            cells.extend(against(row.all_threads, row.one_thread, digits));
            cells
        };
        parts.push(table::table(&header, &report.lower.iter().map(cells).collect::<Vec<_>>()));
    }
    parts.join("\n\n")
}

/// Name, rate, share, rate of all threads and its ratio.
fn line(row: &Row, digits: usize) -> Vec<String> {
    let mut cells = vec![row.name.clone(), rate(row.one_thread, digits), format!("{:.0} %", 100.0 * row.share_of_peak)];
    cells.extend(against(row.all_threads, row.one_thread, digits));
    cells
}

fn against(many: Option<f64>, one: f64, digits: usize) -> [String; 2] {
    match many {
        Some(many) => [rate(many, digits), format!("{:.2}", many / one)],
        None => ["–".to_owned(), "–".to_owned()],
    }
}

fn rate(value: f64, digits: usize) -> String {
    if digits == 0 { table::count(value.round() as u64) } else { format!("{value:.digits$}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tiles_that_trainings_take_are_marked() {
        let rates = json!({ "small": 12.5, "large": 20.25, "narrow": 1.0 });
        let row = json!({ "product": "1024×1024×7", "networks": 3, "tflops": rates, "taken": "large" });
        let text = of_tiles(&[row]);
        let line = text.lines().find(|line| line.contains("1024×1024×7")).unwrap();
        let cells: Vec<&str> = line.split_whitespace().collect();
        assert_eq!(cells, ["1024×1024×7", "3", "1.00", "12.50", "20.25", "*", "-"]);
        // Every name is that of a shape, or nothing would ever be marked.
        for ([m, n, k], _) in SHAPES {
            let taken = format!("{:?}", Shape::of(m, n, k)).to_lowercase();
            assert!(["narrow", "small", "large"].contains(&taken.as_str()), "{taken}");
        }
    }
}
