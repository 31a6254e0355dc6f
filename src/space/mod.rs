//! Search spaces: what a study varies, within which bounds, and when a parameter exists at all.
//!
//! A [`Space`] is an ordered list of [`Parameter`]s; a parameter with a [`Condition`] exists only in
//! configurations where the condition holds, so a configuration ([`Params`]) holds the active parameters and
//! nothing else. Nothing here knows what the parameters mean.

mod domain;
mod grid;
mod parse;
#[cfg(test)]
mod tests;
mod value;
mod write;

pub use grid::Grid;
pub use parse::{Expand, MissedEnd, missed_ends};
pub use value::Value;

use crate::random::Stream;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;

/// The active parameters of one configuration, in the order of the space.
pub type Params = indexmap::IndexMap<String, Value>;

/// The set that a parameter's values come from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Domain {
    /// Real numbers in `[low, high]`; uniform in the logarithm where `log`; on the grid `low + i·step` where given.
    Float {
        /// Smallest value.
        low: f64,
        /// Largest value.
        high: f64,
        /// Search the logarithm (then `low > 0` and no step).
        log: bool,
        /// Distance of neighbouring values.
        step: Option<f64>,
    },
    /// Whole numbers `low, low + step, … ≤ high`; uniform in the logarithm where `log` (then the step is 1).
    Int {
        /// Smallest value.
        low: i64,
        /// Largest value, a multiple of `step` above `low`.
        high: i64,
        /// Search the logarithm (then `low ≥ 1`).
        log: bool,
        /// Distance of neighbouring values, at least 1.
        step: i64,
    },
    /// One of the listed values, without order.
    Choice(Vec<Value>),
}

/// When a parameter exists: its parent is active and has one of these values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Condition {
    /// The parent, which stands before the parameter in the space.
    pub parent: String,
    /// What the parent's value must be.
    pub test: Test,
}

/// What a [`Condition`] asks of the parent's value.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Test {
    /// One of these values.
    In(Vec<Value>),
    /// A number at least this (from `each = "layers"`: `units_2` exists where `layers ≥ 3`).
    AtLeast(f64),
}

impl Test {
    /// True where the parent's value passes.
    pub fn holds(&self, value: &Value) -> bool {
        match self {
            Test::In(values) => values.iter().any(|other| other.same(value)),
            Test::AtLeast(least) => value.as_f64().is_some_and(|value| value >= *least),
        }
    }
}

/// One parameter of a space.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Parameter {
    /// Its name, unique in the space.
    pub name: String,
    /// Where its values come from.
    pub domain: Domain,
    /// When it exists; all must hold, none means always.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<Condition>,
}

/// An ordered list of parameters, parents before children.
///
/// In JSON it is the list of its parameters; reading validates it.
#[derive(Clone, Debug, PartialEq, Default, Serialize, Deserialize)]
#[serde(try_from = "Vec<Parameter>", into = "Vec<Parameter>")]
pub struct Space {
    parameters: Vec<Parameter>,
}

impl Parameter {
    /// The value in the domain's own type.
    fn accept(&self, value: &Value) -> Result<Value> {
        let Parameter { name, domain, .. } = self;
        domain.accept(value).ok_or_else(|| {
            let is_number = value.as_f64().is_some();
            let what = match domain {
                Domain::Float { .. } | Domain::Int { .. } if !is_number => "is no number",
                Domain::Int { .. } if value.as_i64().is_none() => "is no whole number",
                _ => "is outside its domain",
            };
            Error::input(format!("parameter {name}: `{value}` {what} ({domain})"))
        })
    }

    /// That it was given where it does not exist.
    fn excluded(&self) -> Error {
        let reasons: Vec<String> = self.when.iter().map(ToString::to_string).collect();
        let name = &self.name;
        Error::input(format!(
            "parameter {name}: it does not exist in this configuration, only when {}",
            reasons.join(" and ")
        ))
    }
}

impl TryFrom<Vec<Parameter>> for Space {
    type Error = Error;

    fn try_from(parameters: Vec<Parameter>) -> Result<Self> {
        Space::new(parameters)
    }
}

impl From<Space> for Vec<Parameter> {
    fn from(space: Space) -> Self {
        space.parameters
    }
}

impl Space {
    /// Checks the parameters and puts parents before children (otherwise the order stays).
    ///
    /// The upper end of a stepped range is lowered to the last multiple of the step, as Optuna does.
    ///
    /// # Errors
    /// [`Error::Input`] that names the parameter: a name that is empty or used twice, an inverted or infinite range, a
    /// log range that is not positive or has a step, a step that is not positive, an empty choice or one with a value
    /// twice, a condition on a parameter that does not exist, that can never hold, or that leads in a circle.
    pub fn new(parameters: Vec<Parameter>) -> Result<Self> {
        Self::checked(parameters, "space")
    }

    /// [`Space::new`] with the place that error messages start with.
    fn checked(mut parameters: Vec<Parameter>, place: &str) -> Result<Self> {
        for i in 0..parameters.len() {
            let Parameter { name, domain, .. } = &parameters[i];
            if name.is_empty() {
                return Err(Error::input(format!("{place}: a parameter has an empty name")));
            }
            if parameters[..i].iter().any(|other| other.name == *name) {
                return Err(Error::input(format!("{place} {name}: the name is used twice")));
            }
            parameters[i].domain =
                domain.clone().checked().map_err(|message| Error::input(format!("{place} {name}: {message}")))?;
        }
        for parameter in &parameters {
            for condition in &parameter.when {
                check_condition(&parameters, parameter, condition, place)?;
            }
        }
        Ok(Space { parameters: parents_first(parameters, place)? })
    }

    /// The parameters, parents before children.
    pub fn parameters(&self) -> &[Parameter] {
        &self.parameters
    }

    /// Number of parameters.
    pub fn len(&self) -> usize {
        self.parameters.len()
    }

    /// True where there is nothing to vary.
    pub fn is_empty(&self) -> bool {
        self.parameters.is_empty()
    }

    /// The parameter of that name.
    pub fn get(&self, name: &str) -> Option<&Parameter> {
        self.parameters.iter().find(|parameter| parameter.name == name)
    }

    /// True where `parameter` exists in a configuration that holds these values (all its parents exist and match).
    pub fn is_active(&self, parameter: &Parameter, params: &Params) -> bool {
        parameter.when.iter().all(|condition| params.get(&condition.parent).is_some_and(|v| condition.test.holds(v)))
    }

    /// The configuration whose active parameters are chosen one after the other, parents first.
    ///
    /// `choose` gets the parameter's place and the parameter.
    pub fn build(&self, mut choose: impl FnMut(usize, &Parameter) -> Value) -> Params {
        let mut params = Params::with_capacity(self.parameters.len());
        for (i, parameter) in self.parameters.iter().enumerate() {
            if self.is_active(parameter, &params) {
                params.insert(parameter.name.clone(), choose(i, parameter));
            }
        }
        params
    }

    /// A configuration drawn at random: every active parameter uniform over its domain (in the logarithm where asked).
    pub fn sample(&self, stream: &mut Stream) -> Params {
        self.build(|_, parameter| parameter.domain.from_unit(stream.uniform()))
    }

    /// The configuration at a point of the unit cube, one coordinate a parameter; inactive ones are ignored.
    pub fn at_unit(&self, point: &[f64]) -> Params {
        self.build(|i, parameter| parameter.domain.from_unit(point[i]))
    }

    /// Says what is wrong with a configuration, if anything: every active parameter must be there with a value of its
    /// domain, and nothing else.
    pub fn contains(&self, params: &Params) -> Result<()> {
        self.complete(params, |parameter| {
            Err(Error::input(format!("parameter {}: no value is given ({})", parameter.name, parameter.domain)))
        })
        .map(|_| ())
    }

    /// The configuration with values in the domains' own types (`1` becomes `1.0` for a float), in the order of the
    /// space, and with `missing` asked for the active parameters that are not given.
    ///
    /// # Errors
    /// A name that is not in the space, one that is not active, a value outside its domain; what `missing` returns.
    pub fn complete(&self, params: &Params, mut missing: impl FnMut(&Parameter) -> Result<Value>) -> Result<Params> {
        for name in params.keys() {
            if self.get(name).is_none() {
                let known = self.parameters.iter().map(|parameter| parameter.name.as_str());
                return Err(Error::unknown("parameter", name, known));
            }
        }
        let mut full = Params::with_capacity(params.len());
        for parameter in &self.parameters {
            let name = &parameter.name;
            let given = params.get(name);
            if !self.is_active(parameter, &full) {
                if given.is_some() {
                    return Err(parameter.excluded());
                }
                continue;
            }
            let value = match given {
                Some(value) => parameter.accept(value)?,
                None => missing(parameter)?,
            };
            full.insert(name.clone(), value);
        }
        Ok(full)
    }

    /// What the parents of `given` parameters, and theirs, must be so that all given ones exist; names that the space
    /// has not ask nothing.
    pub(crate) fn demands(&self, given: &Params) -> BTreeMap<&str, Vec<&Test>> {
        let mut demands: BTreeMap<&str, Vec<&Test>> = BTreeMap::new();
        // Children stand behind their parents.
        for parameter in self.parameters.iter().rev() {
            if given.contains_key(&parameter.name) || demands.contains_key(parameter.name.as_str()) {
                for condition in &parameter.when {
                    demands.entry(&condition.parent).or_default().push(&condition.test);
                }
            }
        }
        demands
    }

    /// Says what is wrong with a part of a configuration, if anything: each value must be one of its domain, and no
    /// parameter may be one that the others exclude, whatever is left open.
    ///
    /// # Errors
    /// A name that is not in the space, one that cannot be active, alone or together with the others, a value outside
    /// its domain.
    pub fn accepts_part(&self, params: &Params) -> Result<()> {
        let known = || self.parameters.iter().map(|parameter| parameter.name.as_str());
        let mut given = Params::with_capacity(params.len());
        for (name, value) in params {
            let parameter = self.get(name).ok_or_else(|| Error::unknown("parameter", name, known()))?;
            given.insert(name.clone(), parameter.accept(value)?);
        }
        // Parents come first. What is open may still become any of its values, where it may exist.
        let mut possible: Vec<&str> = Vec::with_capacity(self.parameters.len());
        for parameter in &self.parameters {
            let may_hold = |condition: &Condition| {
                let holds = given.get(&condition.parent).is_none_or(|value| condition.test.holds(value));
                holds && possible.contains(&condition.parent.as_str())
            };
            if parameter.when.iter().all(may_hold) {
                possible.push(&parameter.name);
            } else if given.contains_key(&parameter.name) {
                return Err(parameter.excluded());
            }
        }
        for (parent, tests) in self.demands(&given) {
            let parent = self.get(parent).filter(|parent| !given.contains_key(&parent.name));
            if let Some(parent) = parent.filter(|parent| parent.domain.within(&tests, 0.0).is_none()) {
                let together: Vec<&str> = given.keys().map(String::as_str).collect();
                return Err(Error::input(format!(
                    "parameters {}: no value of {} ({}) lets all of them exist",
                    together.join(", "),
                    parent.name,
                    parent.domain
                )));
            }
        }
        Ok(())
    }

    /// The number of configurations; none where they are infinitely many (or 2⁶⁴ and more).
    pub fn size(&self) -> Option<u64> {
        if self.parameters.iter().any(|parameter| parameter.domain.size().is_none()) {
            return None;
        }
        Grid::new(self, usize::MAX).size()
    }
}

/// A text that two configurations share exactly where they are the same.
pub fn fingerprint(params: &Params) -> String {
    let mut pairs: Vec<String> = params.iter().map(|(name, value)| format!("{name}={value}")).collect();
    pairs.sort_unstable();
    pairs.join("\u{1f}")
}

fn check_condition(all: &[Parameter], child: &Parameter, condition: &Condition, place: &str) -> Result<()> {
    let (name, parent) = (&child.name, &condition.parent);
    let Some(found) = all.iter().find(|parameter| parameter.name == *parent) else {
        let known = all.iter().map(|parameter| parameter.name.as_str()).filter(|other| other != name);
        return Err(Error::unknown(&format!("{place} {name}: when"), parent, known));
    };
    let possible = match &condition.test {
        Test::In(values) => {
            if let Some(value) = values.iter().find(|value| found.domain.index_of(value).is_none()) {
                // A continuum has no place numbers: its values are held against the bounds.
                if found.domain.accept(value).is_none() {
                    return Err(Error::input(format!(
                        "{place} {name}: when {parent} is `{value}`: that is no value of {parent} ({})",
                        found.domain
                    )));
                }
            }
            !values.is_empty()
        }
        Test::AtLeast(least) => match &found.domain {
            Domain::Float { high, .. } => *high >= *least,
            Domain::Int { high, .. } => *high as f64 >= *least,
            Domain::Choice(values) => values.iter().any(|value| condition.test.holds(value)),
        },
    };
    if possible {
        return Ok(());
    }
    Err(Error::input(format!("{place} {name}: the condition {condition} never holds ({parent}: {})", found.domain)))
}

/// A stable order with every parent before its children.
fn parents_first(mut rest: Vec<Parameter>, place: &str) -> Result<Vec<Parameter>> {
    let mut sorted: Vec<Parameter> = Vec::with_capacity(rest.len());
    while !rest.is_empty() {
        let ready = rest.iter().position(|parameter| {
            parameter.when.iter().all(|condition| sorted.iter().any(|other| other.name == condition.parent))
        });
        let Some(ready) = ready else {
            let names: Vec<&str> = rest.iter().map(|parameter| parameter.name.as_str()).collect();
            return Err(Error::input(format!(
                "{place}: the conditions (`when`) of {} lead in a circle",
                names.join(", ")
            )));
        };
        sorted.push(rest.remove(ready));
    }
    Ok(sorted)
}
