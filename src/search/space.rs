//! The space that is searched where the user gives none, sized from the data.

use crate::Result;
use crate::settings::{Settings, find};
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
    rows_of.retain(|(name, domain)| !is_default_alone(name, domain, fixed));
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
fn is_default_alone(name: &str, domain: &Domain, fixed: &Settings) -> bool {
    let Domain::Choice(values) = domain else { return false };
    values.len() == 1 && values.first() == fixed.defaults_of(name).first()
}

/// The value of the parameter's domain that is next to a default: of numbers to choose from, or on a grid, the nearest;
/// none where the default is outside of the range.
fn nearest(parameter: &Parameter, default: &Value) -> Option<Value> {
    let value = match (&parameter.domain, default.as_f64()) {
        (Domain::Choice(values), Some(wanted)) => {
            let distance = |value: &&Value| value.as_f64().map_or(f64::INFINITY, |x| (x - wanted).abs());
            let numbers = values.iter().filter(|value| value.as_f64().is_some());
            numbers.min_by(|a, b| distance(a).total_cmp(&distance(b))).cloned()
        }
        // A name may be written in more than one way.
        (Domain::Choice(values), None) => {
            let setting = find(&parameter.name)?.0;
            values.iter().find(|value| setting.accept("", value).is_ok_and(|value| value == *default)).cloned()
        }
        // The ends of a range are on its grid.
        (Domain::Float { low, high, step: Some(step), .. }, Some(wanted)) if (*low..=*high).contains(&wanted) => {
            Some(Value::Float(low + ((wanted - low) / step).round() * step))
        }
        (Domain::Int { low, high, step, .. }, Some(wanted)) if (*low as f64..=*high as f64).contains(&wanted) => {
            let place = ((wanted - *low as f64) / *step as f64).round() as i64;
            Some(Value::Int(low.saturating_add(place.saturating_mul(*step))))
        }
        _ => Some(default.clone()),
    };
    value.and_then(|value| parameter.domain.accept(&value))
}

/// The configuration that `train` would use by default beside these fixed settings, as a point of `space`; none where
/// it is not in it, or where what a parameter has by default is off (`clip_norm`) or follows from the data
/// (`decay_steps`).
pub fn default_point(space: &Space, fixed: &Settings) -> Option<Params> {
    let mut missing = false;
    let point = space.build(|_, parameter| {
        let defaults = fixed.defaults_of(&parameter.name);
        let value = defaults.iter().find_map(|default| nearest(parameter, default));
        value.unwrap_or_else(|| {
            missing = true;
            parameter.domain.from_unit(0.5)
        })
    });
    (!missing && space.contains(&point).is_ok()).then_some(point)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Loss;
    use crate::random::{Purpose, Stream};
    use crate::settings::{Config, Kind, SETTINGS, Setting};
    use crate::space::Expand;
    use crate::train::{Optimizer, ScheduleKind};

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

    /// Settings that are off by default, or follow from the data.
    const WITHOUT: [&str; 3] = ["clip_norm", "early_stopping", "decay_steps"];

    /// A domain with more than this value; none for what has no other.
    fn around(setting: &Setting, value: &Value) -> Domain {
        let texts = |names: Vec<&str>| Domain::Choice(names.iter().map(|&name| Value::Text(name.to_owned())).collect());
        match (setting.kind, value) {
            (Kind::Flag, _) => Domain::Choice(vec![Value::Bool(true), Value::Bool(false)]),
            (Kind::Name(names), _) => texts(names()),
            (Kind::Widths, _) => texts(vec!["64", "128,128"]),
            (_, Value::Int(n)) => Domain::Int { low: *n, high: n + 5, log: false, step: 1 },
            (_, value) => {
                let x = value.as_f64().unwrap();
                Domain::Float { low: x * 0.5, high: if x == 0.0 { 0.5 } else { x * 1.001 }, log: false, step: None }
            }
        }
    }

    /// The settings with what is left open made plain.
    fn plain(settings: &Settings, loss: Loss) -> Config {
        let mut config = settings.resolve().unwrap();
        config.train.loss.get_or_insert(loss);
        let schedule = &mut config.train.schedule;
        schedule.decay_rate = Some(schedule.decay_rate());
        config.train.schedule.hypergradient_rate = config.train.hypergradient().unwrap();
        config
    }

    #[test]
    fn every_setting_has_its_default_in_a_space_that_holds_it() {
        let schedules = ScheduleKind::NAMES.iter().map(|row| row.0);
        let pairs: Vec<(&str, &str)> =
            schedules.flat_map(|schedule| Optimizer::names().map(move |optimizer| (schedule, optimizer))).collect();
        for setting in SETTINGS {
            let name = if setting.each_layer { format!("{}_1", setting.name) } else { setting.name.to_owned() };
            let mut tried = 0;
            for (schedule, optimizer) in &pairs {
                for loss in Loss::NAMES {
                    let given = [("schedule", *schedule), ("optimizer", *optimizer), ("loss", *loss)];
                    let mut fixed = Settings::default();
                    for (name, value) in given.into_iter().filter(|(name, _)| *name != setting.name) {
                        fixed.set(name, name, &Value::Text(value.to_owned())).unwrap();
                    }
                    let Some(default) = fixed.defaults_of(&name).into_iter().next() else { continue };
                    let domain = around(setting, &default);
                    let parameter = |domain| vec![Parameter { name: name.clone(), domain, when: vec![] }];
                    let space = Space::new(parameter(domain)).unwrap();
                    let point = default_point(&space, &fixed).unwrap_or_else(|| panic!("{name} {given:?} {default:?}"));
                    assert_eq!(point[&name], default, "{name} {given:?}");
                    let mut own = fixed.clone();
                    own.set(&name, &name, &point[&name]).unwrap();
                    // What a setting does not belong to refuses it.
                    if fixed.resolve().is_err() || own.resolve().is_err() {
                        continue;
                    }
                    let loss = Loss::by_name(default.as_str().filter(|_| name == "loss").unwrap_or("mse")).unwrap();
                    assert_eq!(plain(&own, loss), plain(&fixed, loss), "{name} {given:?}: it changes nothing");
                    tried += 1;
                }
            }
            assert_eq!(tried == 0, WITHOUT.contains(&setting.name), "{name}: a setting without a default");
        }
    }

    #[test]
    fn a_default_is_taken_where_the_range_has_it() {
        let point = |text: &str, fixed: &Settings| {
            default_point(&Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap(), fixed)
        };
        let plain = Settings::default();
        let value = |text: &str| point(text, &plain).and_then(|point| point.values().next().cloned());
        assert_eq!(value("epochs = { int = [5, 50] }"), Some(Value::Int(20)));
        assert_eq!(value("epochs = { int = [5, 50], step = 10 }"), Some(Value::Int(25)), "the nearest of the grid");
        assert_eq!(value("epochs = { int = [30, 50] }"), None, "none where it is outside");
        assert_eq!(value("batch_size = { choice = [64, 256, 512] }"), Some(Value::Int(64)));
        assert_eq!(value("dropout = { float = [0.0, 0.5], step = 0.1 }"), Some(Value::Float(0.0)));
        assert_eq!(value("clip_norm = { float = [0.1, 10.0] }"), None);
        assert_eq!(value("loss = { choice = [\"mse\", \"huber\"] }"), Some(Value::Text("mse".to_owned())));
        let mut fixed = Settings::default();
        fixed.set("", "schedule", &Value::Text("exponential".to_owned())).unwrap();
        fixed.set("", "units", &Value::Int(32)).unwrap();
        let text = "decay_rate = { float = [0.5, 0.99] }\nunits_0 = { int = [16, 64] }";
        let found = point(text, &fixed).unwrap();
        assert_eq!((&found["decay_rate"], &found["units_0"]), (&Value::Float(0.96), &Value::Int(32)));
    }
}
