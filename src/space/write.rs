//! Spaces as text: for messages, as the TOML of a study file, and what differs between two of them.

use super::{Condition, Domain, Parameter, Space, Test, Value};
use std::fmt::{self, Write};
use toml::Value as Toml;

impl Space {
    /// The `[space]` table of a study file, without its header: one line a parameter, `each` written as such again.
    pub fn to_toml(&self) -> String {
        let mut text = String::new();
        let mut i = 0;
        while i < self.parameters.len() {
            let (parameter, family) = self.family(i);
            let extra = family.as_ref().map(|(parent, _)| format!(", each = {}", quote(parent))).unwrap_or_default();
            let name = match &family {
                Some((_, base)) => base,
                None => &parameter.name,
            };
            let conditions: Vec<String> =
                parameter.when.iter().filter_map(|condition| self.condition_toml(condition, &family)).collect();
            let when =
                if conditions.is_empty() { String::new() } else { format!(", when = {{ {} }}", conditions.join(", ")) };
            // Writing to a string cannot fail.
            let _ = writeln!(text, "{} = {{ {}{extra}{when} }}", key(name), parameter.domain);
            i += match &family {
                Some((parent, base)) => self.copies(i, parent, base),
                None => 1,
            };
        }
        text
    }

    /// What differs between this space and `other`, one line a parameter; none where nothing does.
    pub fn difference(&self, other: &Space) -> Option<String> {
        let mut lines = Vec::new();
        for parameter in &self.parameters {
            match other.get(&parameter.name) {
                None => lines.push(format!("{parameter}: only here")),
                Some(theirs) if theirs != parameter => lines.push(format!("{parameter}: there {theirs}")),
                Some(_) => {}
            }
        }
        let missing = other.parameters.iter().filter(|theirs| self.get(&theirs.name).is_none());
        lines.extend(missing.map(|theirs| format!("{theirs}: only there")));
        (!lines.is_empty()).then(|| lines.join("\n"))
    }

    /// The parameter in place `i` and, where it is the first copy of an `each`, (parent, name without the number).
    fn family(&self, i: usize) -> (&Parameter, Option<(String, String)>) {
        let first = &self.parameters[i];
        let base = first.name.strip_suffix("_0").unwrap_or_default();
        let parents = self.parameters[..i].iter().filter(|parent| match parent.domain {
            Domain::Int { low, high, .. } => {
                // As they are read: of a parent that may be missing each copy asks for it.
                let low = if parent.when.is_empty() { low } else { 0 };
                let copies = self.parameters[i..].iter().enumerate().take_while(|(k, copy)| {
                    copy.name == format!("{base}_{k}")
                        && copy.domain == first.domain
                        && is_copy(copy, first, &parent.name, *k, low)
                });
                !base.is_empty() && high > low.max(0) && copies.count() as i64 == high
            }
            _ => false,
        });
        (first, parents.map(|parent| (parent.name.clone(), base.to_owned())).next())
    }

    fn copies(&self, i: usize, parent: &str, base: &str) -> usize {
        match self.get(parent).map(|parent| &parent.domain) {
            Some(Domain::Int { high, .. }) => *high as usize,
            _ => self.parameters[i..].iter().take_while(|copy| copy.name.starts_with(base)).count(),
        }
    }

    fn condition_toml(&self, condition: &Condition, family: &Option<(String, String)>) -> Option<String> {
        let parent = &condition.parent;
        match &condition.test {
            Test::AtLeast(_) if family.as_ref().is_some_and(|(name, _)| name == parent) => None,
            Test::AtLeast(least) => Some(format!("{} = {{ at_least = {} }}", key(parent), number(*least))),
            Test::In(values) => Some(format!("{} = [{}]", key(parent), list(values))),
        }
    }
}

/// True where `copy` is the k-th copy beside `first`: its extra condition is `parent ≥ k + 1`, left out where it always
/// holds.
fn is_copy(copy: &Parameter, first: &Parameter, parent: &str, k: usize, low: i64) -> bool {
    let own = |parameter: &Parameter| -> Vec<Condition> {
        let on_parent = |c: &&Condition| !(c.parent == parent && matches!(c.test, Test::AtLeast(_)));
        parameter.when.iter().filter(on_parent).cloned().collect()
    };
    let least: Vec<f64> = copy
        .when
        .iter()
        .filter(|condition| condition.parent == parent)
        .filter_map(|condition| if let Test::AtLeast(least) = condition.test { Some(least) } else { None })
        .collect();
    let expected = if k as i64 + 1 > low { vec![(k + 1) as f64] } else { Vec::new() };
    least == expected && own(copy) == own(first)
}

/// The domain as a study file writes it, without the braces.
impl fmt::Display for Domain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Domain::Float { low, high, log, step } => {
                let kind = if *log { "log" } else { "float" };
                write!(f, "{kind} = [{}, {}]", real(*low), real(*high))?;
                step.map_or(Ok(()), |step| write!(f, ", step = {}", real(step)))
            }
            Domain::Int { low, high, log, step } => {
                write!(f, "int = [{low}, {high}]")?;
                if *log {
                    f.write_str(", log = true")?;
                }
                if *step == 1 { Ok(()) } else { write!(f, ", step = {step}") }
            }
            Domain::Choice(values) => write!(f, "choice = [{}]", list(values)),
        }
    }
}

/// As in `layers ≥ 3` and `optimizer is sgd or momentum`.
impl fmt::Display for Condition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.test {
            Test::AtLeast(least) => write!(f, "{} ≥ {least}", self.parent),
            Test::In(values) => {
                let values: Vec<String> = values.iter().map(ToString::to_string).collect();
                write!(f, "{} is {}", self.parent, values.join(" or "))
            }
        }
    }
}

/// As in `momentum { float = [0.5, 0.99] } when optimizer is momentum`.
impl fmt::Display for Parameter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {{ {} }}", self.name, self.domain)?;
        for (i, condition) in self.when.iter().enumerate() {
            write!(f, " {} {condition}", if i == 0 { "when" } else { "and" })?;
        }
        Ok(())
    }
}

fn list(values: &[Value]) -> String {
    let value = |value: &Value| match value {
        Value::Text(text) => quote(text),
        Value::Float(value) => real(*value),
        other => other.to_string(),
    };
    values.iter().map(value).collect::<Vec<_>>().join(", ")
}

/// A real number that TOML reads back as one.
fn real(value: f64) -> String {
    Value::Float(value).to_string()
}

fn number(value: f64) -> String {
    if value.fract() == 0.0 && value.abs() < 9e15 { (value as i64).to_string() } else { real(value) }
}

/// A key of TOML: bare where that is allowed.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || c == '-');
    if bare { name.to_owned() } else { quote(name) }
}

fn quote(text: &str) -> String {
    Toml::String(text.to_owned()).to_string()
}
