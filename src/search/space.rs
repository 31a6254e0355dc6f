//! The space that is searched where the user gives none, sized from the data.

use crate::Result;
use crate::settings::Settings;
use crate::space::{Condition, Domain, Parameter, Params, Space, Test, Value};

fn texts(values: &[&str]) -> Domain {
    Domain::Choice(values.iter().map(|&value| Value::Text(value.to_owned())).collect())
}

/// A space for `rows` training rows: what pays on tables and flattened images, without what `fixed` already sets.
///
/// Narrow rates around Adam's usual ones, one width for all layers, batches that leave some hundred updates an
/// epoch where the rows allow it.
///
/// # Errors
/// None for any `fixed` that [`Settings`] accepted.
pub fn default_space(rows: usize, fixed: &Settings) -> Result<Space> {
    let batches: &[i64] = match rows {
        0..2_000 => &[16, 32, 64],
        2_000..20_000 => &[32, 64, 128],
        _ => &[64, 128, 256],
    };
    let log = |low, high| Domain::Float { low, high, log: true, step: None };
    let float = |low, high| Domain::Float { low, high, log: false, step: None };
    let int = |low, high, log| Domain::Int { low, high, log, step: 1 };
    let mut rows_of = vec![
        ("learning_rate", log(3e-4, 1e-2)),
        ("batch_size", Domain::Choice(batches.iter().map(|&b| Value::Int(b)).collect())),
        ("layers", int(1, 4, false)),
        ("units", int(32, if rows < 2_000 { 256 } else { 512 }, true)),
        ("activation", texts(&["relu", "silu", "tanh"])),
        ("dropout", float(0.0, 0.4)),
        ("optimizer", texts(&["adam", "adamw"])),
        ("weight_decay", log(1e-4, 1e-1)),
        ("schedule", texts(&["constant", "cosine"])),
    ];
    let sized = fixed.get("hidden").is_some() || fixed.get("layers").is_some();
    rows_of.retain(|(name, _)| fixed.get(name).is_none() && !(sized && matches!(*name, "layers" | "units")));
    let searched = rows_of.iter().any(|(name, _)| *name == "optimizer");
    let decays = searched || fixed.get("optimizer").and_then(Value::as_str) == Some("adamw");
    rows_of.retain(|(name, _)| *name != "weight_decay" || decays);
    let parameters = rows_of.into_iter().map(|(name, domain)| {
        let when = match name {
            "weight_decay" if searched => {
                let test = Test::In(vec![Value::Text("adamw".to_owned())]);
                vec![Condition { parent: "optimizer".to_owned(), test }]
            }
            _ => Vec::new(),
        };
        Parameter { name: name.to_owned(), domain, when }
    });
    Space::new(parameters.collect())
}

/// The configuration that `train` would use by default, as a point of `space`; none where it is not in it.
pub fn default_point(space: &Space) -> Option<Params> {
    let default = |name: &str| match name {
        "learning_rate" => Some(Value::Float(1e-3)),
        "batch_size" => Some(Value::Int(128)),
        "layers" => Some(Value::Int(2)),
        "activation" => Some(Value::Text("relu".to_owned())),
        "dropout" | "input_dropout" => Some(Value::Float(0.0)),
        "optimizer" => Some(Value::Text("adam".to_owned())),
        "schedule" => Some(Value::Text("constant".to_owned())),
        name if name == "units" || name.starts_with("units_") => Some(Value::Int(128)),
        name if name.starts_with("activation_") => Some(Value::Text("relu".to_owned())),
        name if name.starts_with("dropout_") => Some(Value::Float(0.0)),
        _ => None,
    };
    // A default that the domain lacks is replaced by the nearest value that it has.
    let nearest = |parameter: &Parameter, value: Value| match (&parameter.domain, value.as_f64()) {
        (Domain::Choice(values), Some(wanted)) => values
            .iter()
            .filter(|value| value.as_f64().is_some())
            .min_by(|a, b| {
                let distance = |v: &Value| (v.as_f64().unwrap_or(f64::INFINITY) - wanted).abs();
                distance(a).total_cmp(&distance(b))
            })
            .cloned(),
        _ => Some(value),
    };
    let mut missing = false;
    let point = space.build(|_, parameter| {
        let value = default(&parameter.name).and_then(|value| nearest(parameter, value));
        match value.and_then(|value| parameter.domain.accept(&value)) {
            Some(value) => value,
            None => {
                missing = true;
                parameter.domain.from_unit(0.5)
            }
        }
    });
    (!missing && space.contains(&point).is_ok()).then_some(point)
}
