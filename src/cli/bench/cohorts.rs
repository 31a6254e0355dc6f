//! `bench --device`: cohorts of networks trained at once on one device, and on a GPU products and the lengths that
//! rounds have.

use super::super::console::Console;
use super::super::failure::Failure;
use super::super::table;
use super::{Meter, Selection, precisions};
use hpt_engine::Error;
use hpt_engine::backend::Precision;
use hpt_engine::backend::cuda::{Pace, Shape};
use hpt_engine::bench::{COHORTS, CohortRow};
use hpt_engine::engine::{Device, Engine};
use hpt_kernels::isa::Isa;
use serde::Serialize;
use serde_json::json;

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
pub fn run(
    device: Device,
    isa: Isa,
    precision: Option<Precision>,
    threads: usize,
    wanted: &Selection,
    console: &Console,
) -> Result<(), Failure> {
    let engine = Engine::new(device, threads)?;
    if engine.gpus() == 0 {
        precisions(isa, precision)?;
    }
    let precision = precision.unwrap_or(Precision::Highest);
    // Of what only a GPU measures there is nothing on a CPU.
    let on_gpu = |group: &str, name: &str| engine.gpus() > 0 && wanted.takes(group, name);
    let rows: Vec<&CohortRow> = COHORTS.iter().filter(|row| wanted.takes("cohorts", row.name)).collect();
    let named = |size: usize| (size, format!("{size}×{size}×{size}"));
    let sizes = [512, 1024, 2048, 4096].into_iter().map(named).filter(|(_, name)| on_gpu("products", name));
    let sizes: Vec<(usize, String)> = sizes.collect();
    let shapes = SHAPES.iter().map(|&(shape, models)| (shape, models, shape.map(|n| n.to_string()).join("×")));
    let shapes: Vec<_> = shapes.filter(|(_, _, name)| on_gpu("shapes", name)).collect();
    // Those whose steps are launches, and those that one block makes.
    let legs: Vec<&CohortRow> = LEGS.iter().filter_map(|name| COHORTS.iter().find(|row| row.name == *name)).collect();
    let legs = if on_gpu("legs", "legs") { legs } else { Vec::new() };
    if rows.is_empty() && sizes.is_empty() && shapes.is_empty() && legs.is_empty() {
        let known: Vec<&str> = COHORTS.iter().map(|row| row.name).collect();
        let known = known.join(", ");
        let more = match engine.gpus() {
            0 => "; products, passes, steps and evaluations on this CPU are measured without --device",
            _ => ", and `product`, `shapes` and `legs`",
        };
        let device = engine.caps().device;
        return Err(Failure::input(format!("on {device} nothing has that in its name; known: {known}{more}")));
    }
    let meter = Meter::new(console);
    let (mut products, mut errors) = (serde_json::Map::new(), serde_json::Map::new());
    for (size, name) in sizes {
        meter.now(&name);
        if let Some((flops, error)) = engine.product_rate([size; 3], precision)? {
            errors.insert(name.clone(), json!(error));
            products.insert(name, json!(flops / 1e12));
        }
    }
    let mut tiles = Vec::new();
    for (shape, models, name) in shapes {
        meter.now(&name);
        let rates = engine.tile_rates(shape, models, precision)?;
        if !rates.is_empty() {
            let tflops: serde_json::Map<_, _> =
                rates.iter().map(|(name, rate)| ((*name).to_owned(), json!(rate / 1e12))).collect();
            let taken = format!("{:?}", Shape::of(shape[0], shape[1], shape[2])).to_lowercase();
            tiles.push(json!({ "product": name, "networks": models, "tflops": tflops, "taken": taken }));
        }
    }
    let measure = |row: &CohortRow| -> Result<Cohort, Error> {
        meter.now(row.name);
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
        meter.now(&format!("legs of {}", row.name));
        let paces = paces();
        let rates = engine.pace_rates(row, precision, &paces.iter().map(|(_, pace)| *pace).collect::<Vec<_>>())?;
        for ((what, _), [together, apart]) in paces.iter().zip(rates) {
            lengths.push(
                json!({ "cohort": row.name, "length": what, "steps_per_second": together, "with_one_away": apart }),
            );
        }
    }
    drop(meter);
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
