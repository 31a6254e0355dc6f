//! The space that is searched where the user gives none, sized from the data.

use crate::Result;
use crate::settings::Settings;
use crate::space::{Condition, Domain, Parameter, Params, Space, Test, Value};

fn texts(values: &[&str]) -> Domain {
    Domain::Choice(values.iter().map(|&value| Value::Text(value.to_owned())).collect())
}

/// A space for `rows` training rows: what pays on tables and flattened images, without what `fixed` already sets or
/// excludes (an optimizer that a fixed schedule or constant is not for).
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
    rows_of.iter_mut().for_each(|(name, domain)| keep_possible(name, domain, fixed));
    // What is left with its default alone does not vary.
    rows_of.retain(|(name, domain)| !is_default_alone(name, domain));
    let takes = |value: &str| rows_of.iter().any(|(name, domain)| *name == "optimizer" && has(domain, value));
    let searched = takes("adamw");
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

/// Takes the values out of a choice that no training with these fixed settings can have; where that is all of them, the
/// settings contradict themselves, and whoever tries them says so.
fn keep_possible(name: &str, domain: &mut Domain, fixed: &Settings) {
    let Domain::Choice(values) = domain else { return };
    let possible = |value: &&Value| {
        let mut own = Settings::default();
        own.set(name, name, value).and_then(|()| fixed.with(&own).resolve()).is_ok()
    };
    let left: Vec<Value> = values.iter().filter(possible).cloned().collect();
    if !left.is_empty() {
        *values = left;
    }
}

fn has(domain: &Domain, value: &str) -> bool {
    matches!(domain, Domain::Choice(values) if values.iter().any(|known| known.as_str() == Some(value)))
}

/// Whether only the value is left that a training has anyway.
fn is_default_alone(name: &str, domain: &Domain) -> bool {
    let Domain::Choice(values) = domain else { return false };
    values.len() == 1 && values.first() == default_value(name).as_ref()
}

/// What `train` has for a setting by default, of those that spaces usually vary.
fn default_value(name: &str) -> Option<Value> {
    match name {
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
    }
}

/// The configuration that `train` would use by default, as a point of `space`; none where it is not in it.
pub fn default_point(space: &Space) -> Option<Params> {
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
        let value = default_value(&parameter.name).and_then(|value| nearest(parameter, value));
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

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};

    /// Every sample of the default space beside these fixed settings makes a training.
    fn space(fixed: &[(&str, &str)]) -> Space {
        let mut settings = Settings::default();
        for (name, value) in fixed {
            settings.set(name, name, &Value::Text((*value).to_owned())).unwrap();
        }
        let space = default_space(1_000, &settings).unwrap();
        for i in 0..100 {
            let params = space.sample(&mut Stream::new(0, i, Purpose::Propose, 0));
            super::super::ready::settings_of(&settings, &params)
                .and_then(|all| all.resolve())
                .unwrap_or_else(|error| panic!("{fixed:?} {params:?}: {error}"));
        }
        space
    }

    #[test]
    fn the_default_space_leaves_out_what_fixed_settings_exclude() {
        let plain = space(&[]);
        assert!(has(&plain.get("optimizer").unwrap().domain, "adamw") && plain.get("weight_decay").is_some());
        // Of adam and adamw only the default is left: nothing varies, and nothing decays.
        for fixed in
            [&[("schedule", "hypergradient")][..], &[("hypergradient_rate", "1e-4"), ("schedule", "hypergradient")]]
        {
            let space = space(fixed);
            assert!(space.get("optimizer").is_none() && space.get("weight_decay").is_none(), "{fixed:?}");
            assert!(space.get("schedule").is_none() && space.get("learning_rate").is_some());
        }
        // Decay over steps is for cosine, not for the constant rate.
        let cosine = space(&[("decay_steps", "100")]);
        assert_eq!(cosine.get("schedule").unwrap().domain, texts(&["cosine"]));
        assert!(space(&[("optimizer", "adamw")]).get("weight_decay").is_some());
        assert!(space(&[("optimizer", "sgd")]).get("weight_decay").is_none());
    }
}
