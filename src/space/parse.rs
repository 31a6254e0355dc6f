//! From the `[space]` table of a study file to a [`Space`].
//!
//! One key a parameter: `{ float = [a, b], step = s }`, `{ log = [a, b] }`, `{ int = [a, b], step = s, log = true }` or
//! `{ choice = […] }`; each may carry `when = { parent = value }` (or a list of values, or `{ at_least = n }`) and
//! `each = "layers"`, which stands for `name_0 … name_{max−1}`, the i-th of which exists where `layers ≥ i + 1`.
//! A parent may also be fixed outside the space: its conditions are then decided here, once.

use super::{Condition, Domain, Parameter, Space, Test, Value};
use crate::{Error, Result};
use std::collections::BTreeMap;
use toml::Value as Toml;

/// What the table cannot know: where it stands and which names are fixed elsewhere.
#[derive(Clone, Debug)]
pub struct Expand {
    /// What error messages start with, such as `study.toml: [space]`.
    pub place: String,
    /// Names outside the space with one value (the `[train]` table) that `when` and `each` may refer to.
    pub fixed: BTreeMap<String, Value>,
}

impl Default for Expand {
    fn default() -> Self {
        Expand { place: "[space]".to_owned(), fixed: BTreeMap::new() }
    }
}

/// Keys of a parameter's table.
const KEYS: [&str; 7] = ["float", "log", "int", "choice", "step", "when", "each"];
/// Most copies that `each` makes.
const MOST_COPIES: i64 = 1000;

impl Space {
    /// Reads the `[space]` table of a study file.
    ///
    /// # Errors
    /// [`Error::Input`] that starts with the place and the parameter's name: what [`Space::new`] refuses, an unknown
    /// key, more than one domain or none, ends that are not two numbers, an `each` or `when` that refers to nothing.
    pub fn from_toml(table: &toml::Table, expand: &Expand) -> Result<Space> {
        let mut entries = Vec::with_capacity(table.len());
        for (name, entry) in table {
            let at = format!("{} {name}", expand.place);
            entries.push(Entry::read(name, entry, &at)?);
        }
        let mut parameters = Vec::with_capacity(entries.len());
        for entry in &entries {
            entry.expand(&entries, expand, &mut parameters)?;
        }
        settle_fixed(&mut parameters, expand)?;
        Space::checked(parameters, &expand.place)
    }
}

/// A range whose step misses its upper end.
#[derive(Clone, Debug, PartialEq)]
pub struct MissedEnd {
    /// The parameter, as the table names it.
    pub name: String,
    /// The upper end.
    pub high: Value,
    /// The last value, which the steps reach.
    pub last: Value,
}

/// The ranges of a `[space]` table whose step misses their upper end; what is wrong with the table is passed over.
pub fn missed_ends(table: &toml::Table) -> Vec<MissedEnd> {
    let high = |domain: Domain| match domain {
        Domain::Float { high, step: Some(_), .. } => Some(Value::Float(high)),
        Domain::Int { high, .. } => Some(Value::Int(high)),
        _ => None,
    };
    let missed = |(name, entry): (&String, &Toml)| {
        let domain = read_domain(entry.as_table()?, "").ok()?;
        let (high, last) = (high(domain.clone())?, high(domain.checked().ok()?)?);
        (high != last).then(|| MissedEnd { name: name.clone(), high, last })
    };
    table.iter().filter_map(missed).collect()
}

/// One key of the table, before `each` is written out.
struct Entry {
    parameter: Parameter,
    each: Option<String>,
}

impl Entry {
    fn read(name: &str, entry: &Toml, at: &str) -> Result<Entry> {
        let table = entry.as_table().ok_or_else(|| {
            Error::input(format!(
                "{at}: found {}; expected a domain such as {{ float = [0.0, 1.0] }} or {{ choice = [\"a\", \"b\"] }}",
                describe(entry)
            ))
        })?;
        if let Some(key) = table.keys().find(|key| !KEYS.contains(&key.as_str())) {
            return Err(Error::unknown(&format!("{at}: key"), key, KEYS));
        }
        let domain = read_domain(table, at)?;
        let each = match table.get("each") {
            None => None,
            Some(Toml::String(parent)) => Some(parent.clone()),
            Some(other) => {
                return Err(Error::input(format!(
                    "{at}: each is {}; expected the name of a whole-number parameter, as in each = \"layers\"",
                    describe(other)
                )));
            }
        };
        let when = match table.get("when") {
            None => Vec::new(),
            Some(Toml::Table(when)) => when
                .iter()
                .map(|(parent, test)| Ok(Condition { parent: parent.clone(), test: read_test(parent, test, at)? }))
                .collect::<Result<_>>()?,
            Some(other) => {
                return Err(Error::input(format!(
                    "{at}: when is {}; expected the parents and their values, as in when = {{ optimizer = [\"sgd\"] }}",
                    describe(other)
                )));
            }
        };
        Ok(Entry { parameter: Parameter { name: name.to_owned(), domain, when }, each })
    }

    /// Appends the parameter, or its copies where it has `each`.
    fn expand(&self, entries: &[Entry], expand: &Expand, out: &mut Vec<Parameter>) -> Result<()> {
        let Some(parent) = &self.each else {
            out.push(self.parameter.clone());
            return Ok(());
        };
        let Parameter { name, domain, when } = &self.parameter;
        let at = format!("{} {name}: each = \"{parent}\"", expand.place);
        let varied = entries.iter().find(|entry| entry.parameter.name == *parent).map(|entry| &entry.parameter);
        let (copies, always) = match (varied, expand.fixed.get(parent)) {
            // Where the parent itself may be missing no copy exists always.
            (Some(Parameter { domain, when, .. }), _) => {
                most(domain).zip(if when.is_empty() { least(domain) } else { Some(0) })
            }
            (None, Some(fixed)) => fixed.as_i64().map(|n| (n, n)),
            (None, None) => {
                let names = entries.iter().map(|entry| entry.parameter.name.as_str());
                let known = names.filter(|other| other != name).chain(expand.fixed.keys().map(String::as_str));
                return Err(Error::unknown(&format!("{} {name}: each", expand.place), parent, known));
            }
        }
        .ok_or_else(|| Error::input(format!("{at}: {parent} must be a whole number (int, or a choice of them)")))?;
        if copies > MOST_COPIES {
            return Err(Error::input(format!(
                "{at}: {parent} goes up to {copies}; at most {MOST_COPIES} are possible"
            )));
        }
        for i in 0..copies {
            let mut when = when.clone();
            if i + 1 > always {
                when.insert(0, Condition { parent: parent.clone(), test: Test::AtLeast((i + 1) as f64) });
            }
            out.push(Parameter { name: format!("{name}_{i}"), domain: domain.clone(), when });
        }
        Ok(())
    }
}

/// Decides the conditions on names that are fixed outside: they vanish, or their parameter does.
fn settle_fixed(parameters: &mut Vec<Parameter>, expand: &Expand) -> Result<()> {
    let names: Vec<String> = parameters.iter().map(|parameter| parameter.name.clone()).collect();
    for parameter in parameters.iter() {
        for Condition { parent, .. } in &parameter.when {
            if !names.contains(parent) && !expand.fixed.contains_key(parent) {
                let known = names.iter().chain(expand.fixed.keys()).map(String::as_str);
                let known = known.filter(|other| *other != parameter.name);
                return Err(Error::unknown(&format!("{} {}: when", expand.place, parameter.name), parent, known));
            }
        }
    }
    let is_fixed = |parent: &String| !names.contains(parent);
    loop {
        let before = parameters.len();
        let here: Vec<String> = parameters.iter().map(|parameter| parameter.name.clone()).collect();
        parameters.retain(|parameter| {
            parameter.when.iter().all(|Condition { parent, test }| match expand.fixed.get(parent) {
                Some(value) if is_fixed(parent) => test.holds(value),
                // A parent that has vanished takes its children with it.
                _ => here.contains(parent),
            })
        });
        if parameters.len() == before {
            break;
        }
    }
    for parameter in parameters {
        parameter.when.retain(|condition| !is_fixed(&condition.parent));
    }
    Ok(())
}

fn read_domain(table: &toml::Table, at: &str) -> Result<Domain> {
    // `log = true` beside `int` (or `float`) is a flag; `log = [a, b]` is a domain of its own.
    let log_flag = table.get("log").and_then(Toml::as_bool);
    let kinds: Vec<&str> = ["float", "log", "int", "choice"]
        .into_iter()
        .filter(|kind| table.contains_key(*kind) && !(*kind == "log" && log_flag.is_some()))
        .collect();
    let [kind] = kinds[..] else {
        return Err(Error::input(match kinds.len() {
            0 => format!("{at}: no domain; expected one of float, log, int, choice"),
            _ => format!("{at}: both {} are given; expected one of them", kinds.join(" and ")),
        }));
    };
    let refuse = |key: &str| Err(Error::input(format!("{at}: `{key}` does not go with `{kind}`")));
    match kind {
        "choice" if table.contains_key("step") => refuse("step"),
        "choice" | "log" if log_flag.is_some() => refuse("log"),
        "log" if table.contains_key("step") => refuse("step"),
        "choice" => {
            let Some(values) = table["choice"].as_array() else {
                return Err(Error::input(format!(
                    "{at}: choice is {}; expected a list of values",
                    describe(&table["choice"])
                )));
            };
            Ok(Domain::Choice(values.iter().map(|value| read_value(value, at)).collect::<Result<_>>()?))
        }
        "int" => {
            let [low, high] = read_ends(&table["int"], kind, at)?;
            let whole = |value: &Toml, what: &str| {
                value.as_integer().ok_or_else(|| {
                    Error::input(format!("{at}: {what} is {}; int needs whole numbers", describe(value)))
                })
            };
            let step = table.get("step").map_or(Ok(1), |step| whole(step, "step"))?;
            let (low, high) = (whole(low, "the lower end")?, whole(high, "the upper end")?);
            Ok(Domain::Int { low, high, log: log_flag.unwrap_or(false), step })
        }
        _ => {
            let [low, high] = read_ends(&table[kind], kind, at)?;
            let number = |value: &Toml, what: &str| {
                read_number(value)
                    .ok_or_else(|| Error::input(format!("{at}: {what} is {}; a number is expected", describe(value))))
            };
            let step = table.get("step").map(|step| number(step, "step")).transpose()?;
            let (low, high) = (number(low, "the lower end")?, number(high, "the upper end")?);
            Ok(Domain::Float { low, high, log: kind == "log" || log_flag == Some(true), step })
        }
    }
}

fn read_ends<'a>(ends: &'a Toml, kind: &str, at: &str) -> Result<[&'a Toml; 2]> {
    match ends.as_array().map(Vec::as_slice) {
        Some([low, high]) => Ok([low, high]),
        Some(list) => {
            Err(Error::input(format!("{at}: {kind} has {} numbers; expected two: [lowest, highest]", list.len())))
        }
        None => Err(Error::input(format!("{at}: {kind} is {}; expected [lowest, highest]", describe(ends)))),
    }
}

fn read_test(parent: &str, test: &Toml, at: &str) -> Result<Test> {
    match test {
        Toml::Array(values) if values.is_empty() => {
            Err(Error::input(format!("{at}: when {parent} has an empty list; name at least one value")))
        }
        Toml::Array(values) => Ok(Test::In(values.iter().map(|value| read_value(value, at)).collect::<Result<_>>()?)),
        Toml::Table(table) => match (table.len(), table.get("at_least").and_then(read_number)) {
            (1, Some(least)) => Ok(Test::AtLeast(least)),
            _ => Err(Error::input(format!("{at}: when {parent}: expected values or {{ at_least = number }}"))),
        },
        single => Ok(Test::In(vec![read_value(single, at)?])),
    }
}

fn read_value(value: &Toml, at: &str) -> Result<Value> {
    match value {
        Toml::Boolean(value) => Ok(Value::Bool(*value)),
        Toml::Integer(value) => Ok(Value::Int(*value)),
        Toml::Float(value) => Ok(Value::Float(*value)),
        Toml::String(value) => Ok(Value::Text(value.clone())),
        other => Err(Error::input(format!(
            "{at}: found {}; a value is true, false, a number or a text (write a list as a text)",
            describe(other)
        ))),
    }
}

fn read_number(value: &Toml) -> Option<f64> {
    value.as_float().or_else(|| value.as_integer().map(|value| value as f64))
}

/// The value and its kind, for messages.
fn describe(value: &Toml) -> String {
    match value {
        Toml::String(text) => format!("the text \"{text}\""),
        Toml::Integer(number) => format!("the whole number {number}"),
        Toml::Float(number) => format!("the number {number:?}"),
        Toml::Boolean(flag) => format!("`{flag}`"),
        Toml::Datetime(time) => format!("the time {time}"),
        Toml::Array(_) => "a list".to_owned(),
        Toml::Table(_) => "a table".to_owned(),
    }
}

/// The largest whole number of a domain of whole numbers.
fn most(domain: &Domain) -> Option<i64> {
    match domain {
        Domain::Int { high, .. } => Some(*high),
        Domain::Float { .. } => None,
        Domain::Choice(values) => values.iter().map(whole).collect::<Option<Vec<_>>>()?.into_iter().max(),
    }
}

/// The smallest whole number of a domain of whole numbers.
fn least(domain: &Domain) -> Option<i64> {
    match domain {
        Domain::Int { low, .. } => Some(*low),
        Domain::Float { .. } => None,
        Domain::Choice(values) => values.iter().map(whole).collect::<Option<Vec<_>>>()?.into_iter().min(),
    }
}

fn whole(value: &Value) -> Option<i64> {
    match value {
        Value::Int(value) => Some(*value),
        _ => None,
    }
}
