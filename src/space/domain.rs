//! What a single domain can do: check itself, count, list and convert its values.
//!
//! Samplers see every domain as the unit interval. [`Domain::from_unit`] maps `[0, 1]` onto the values (ends
//! included, logarithms and steps respected, every grid value the same share of the interval) and
//! [`Domain::to_unit`] maps a value back to the middle of its share, so that one inverts the other. Choices are
//! mapped too, by their place in the list; a model that must not see an order there uses
//! [`Domain::index_of`] instead.

use super::{Domain, Test, Value};

/// How far a value may lie from a multiple of the step, in steps (Optuna allows as much).
const STEP_TOLERANCE: f64 = 1e-8;

impl Domain {
    /// The domain with its bounds in order: `high` is lowered to a multiple of the step above `low`, as Optuna does.
    ///
    /// The error says what is wrong, without naming the parameter.
    pub(super) fn checked(self) -> Result<Domain, String> {
        match self {
            Domain::Float { low, high, log, step } => {
                check_bounds(low, high)?;
                if log && low <= 0.0 {
                    return Err(format!(
                        "the log range starts at {low:?}; a logarithmic range needs a lower bound above 0"
                    ));
                }
                match step {
                    Some(_) if log => Err("a logarithmic range cannot have a step".to_owned()),
                    Some(step) if !(step > 0.0 && step.is_finite()) => {
                        Err(format!("the step is {step:?}; it must be above 0"))
                    }
                    Some(step) => {
                        let last = ((high - low) / step + STEP_TOLERANCE).floor();
                        let on_grid = (low + last * step - high).abs() <= STEP_TOLERANCE * step;
                        let high = if on_grid { high } else { tidy(low + last * step) };
                        Ok(Domain::Float { low, high, log, step: Some(step) })
                    }
                    None => Ok(Domain::Float { low, high, log, step }),
                }
            }
            Domain::Int { low, high, log, step } => {
                if low > high {
                    return Err(format!("the range [{low}, {high}] is inverted; write the smaller value first"));
                }
                if step < 1 {
                    return Err(format!("the step is {step}; it must be at least 1"));
                }
                if log && low < 1 {
                    return Err(format!(
                        "the log range starts at {low}; a logarithmic range needs a lower bound above 0"
                    ));
                }
                if log && step != 1 {
                    return Err("a logarithmic range cannot have a step".to_owned());
                }
                let last = (i128::from(high) - i128::from(low)) / i128::from(step);
                Ok(Domain::Int { low, high: (i128::from(low) + last * i128::from(step)) as i64, log, step })
            }
            Domain::Choice(values) => {
                if values.is_empty() {
                    return Err("the choice is empty; list at least one value".to_owned());
                }
                for (i, value) in values.iter().enumerate() {
                    if let Value::Float(number) = value
                        && !number.is_finite()
                    {
                        return Err(format!("the choice holds {number}; numbers must be finite"));
                    }
                    if values[..i].iter().any(|other| other.same(value)) {
                        return Err(format!("the choice lists `{value}` twice"));
                    }
                }
                Ok(Domain::Choice(values))
            }
        }
    }

    /// Number of values; none where they are a continuum.
    pub fn size(&self) -> Option<u64> {
        match *self {
            Domain::Float { low, high, step: Some(step), .. } => Some(((high - low) / step).round() as u64 + 1),
            Domain::Float { low, high, step: None, .. } => (low == high).then_some(1),
            Domain::Int { low, high, step, .. } => {
                u64::try_from((i128::from(high) - i128::from(low)) / i128::from(step) + 1).ok()
            }
            Domain::Choice(ref values) => Some(values.len() as u64),
        }
    }

    /// The value in place `index` of a finite domain, in rising order (choices: as listed); the last one beyond.
    pub fn nth(&self, index: u64) -> Value {
        match *self {
            Domain::Float { low, step: Some(_), .. } if index == 0 => Value::Float(low),
            Domain::Float { high, step: Some(_), .. } if self.size().is_none_or(|n| index + 1 >= n) => {
                Value::Float(high)
            }
            Domain::Float { low, step: Some(step), .. } => Value::Float(tidy(low + index as f64 * step)),
            Domain::Float { low, .. } => Value::Float(low),
            Domain::Int { low, high, step, .. } => {
                Value::Int((i128::from(low) + i128::from(index) * i128::from(step)).min(i128::from(high)) as i64)
            }
            Domain::Choice(ref values) => values[(index as usize).min(values.len() - 1)].clone(),
        }
    }

    /// The place of a value in a finite domain; none where it is not a value of the domain, or the domain is a
    /// continuum.
    pub fn index_of(&self, value: &Value) -> Option<u64> {
        match (self, value) {
            (&Domain::Float { low, high, step: Some(step), .. }, value) => {
                let value = value.as_f64()?;
                let place = (value - low) / step;
                let near = (place - place.round()).abs() <= STEP_TOLERANCE.max(1e-12 * place.abs());
                (near && value >= low - STEP_TOLERANCE * step && value <= high + STEP_TOLERANCE * step)
                    .then_some(place.round() as u64)
            }
            (&Domain::Float { low, high, .. }, value) => (low == high && value.as_f64()? == low).then_some(0),
            (&Domain::Int { low, high, step, .. }, value) => {
                let value = value.as_i64()?;
                let offset = i128::from(value) - i128::from(low);
                ((low..=high).contains(&value) && offset % i128::from(step) == 0)
                    .then_some((offset / i128::from(step)) as u64)
            }
            (Domain::Choice(values), value) => values.iter().position(|other| other.same(value)).map(|i| i as u64),
        }
    }

    /// The value in the domain's own type (`1` becomes `1.0` for a float, a stepped float its exact grid value);
    /// none where it is not a value of the domain.
    pub fn accept(&self, value: &Value) -> Option<Value> {
        match *self {
            Domain::Float { low, high, step: None, .. } => {
                value.as_f64().filter(|v| (low..=high).contains(v)).map(Value::Float)
            }
            _ => self.index_of(value).map(|index| self.nth(index)),
        }
    }

    /// The value at `u` of the unit interval: 0 is the low end, 1 the high end.
    pub fn from_unit(&self, u: f64) -> Value {
        let u = u.clamp(0.0, 1.0);
        match *self {
            Domain::Float { low, high, log: true, step: None } => {
                if u == 0.0 || u == 1.0 {
                    return Value::Float(if u == 0.0 { low } else { high });
                }
                Value::Float((low.ln() + u * (high.ln() - low.ln())).exp().clamp(low, high))
            }
            // Weighted ends instead of low + u·(high − low): that may overflow.
            Domain::Float { low, high, step: None, .. } => Value::Float((low * (1.0 - u) + high * u).clamp(low, high)),
            Domain::Int { low, high, log: true, .. } => {
                let (a, b) = log_ends(low, high);
                Value::Int(((a + u * (b - a)).exp().round() as i64).clamp(low, high))
            }
            _ => {
                let n = self.size().unwrap_or(u64::MAX);
                self.nth(((u * n as f64) as u64).min(n - 1))
            }
        }
    }

    /// The value at `u` of the unit interval among those that pass all tests; none where no value does.
    pub(crate) fn within(&self, tests: &[&Test], u: f64) -> Option<Value> {
        let holds = |value: &Value| tests.iter().all(|test| test.holds(value));
        let listed = tests.iter().find_map(|test| if let Test::In(values) = test { Some(values) } else { None });
        let list = match (self, listed) {
            (Domain::Choice(values), _) => Some(values),
            (_, listed) => listed,
        };
        if let Some(list) = list {
            let all: Vec<Value> = list.iter().filter_map(|value| self.accept(value)).filter(holds).collect();
            return all.get(((u * all.len() as f64) as usize).min(all.len().saturating_sub(1))).cloned();
        }
        // Numbers from one on: they pass from some place of the unit interval to its end.
        let passes = |u: f64| holds(&self.from_unit(u));
        if passes(0.0) || !passes(1.0) {
            return passes(1.0).then(|| self.from_unit(u));
        }
        let (mut fails, mut from) = (0.0, 1.0);
        for _ in 0..f64::MANTISSA_DIGITS {
            let middle = 0.5 * (fails + from);
            if passes(middle) { from = middle } else { fails = middle }
        }
        Some(self.from_unit(from + u * (1.0 - from)))
    }

    /// Where a value lies in the unit interval: [`Domain::from_unit`] leads back to it. Values outside are clamped.
    pub fn to_unit(&self, value: &Value) -> f64 {
        let ratio = |value: f64, low: f64, high: f64| {
            if high > low { ((value - low) / (high - low)).clamp(0.0, 1.0) } else { 0.5 }
        };
        match *self {
            Domain::Float { low, high, log: true, step: None } => {
                ratio(value.as_f64().unwrap_or(low).max(low).ln(), low.ln(), high.ln())
            }
            Domain::Float { low, high, step: None, .. } => ratio(value.as_f64().unwrap_or(low), low, high),
            Domain::Int { low, high, log: true, .. } => {
                let (a, b) = log_ends(low, high);
                ratio((value.as_f64().unwrap_or(0.0).max(low as f64)).ln(), a, b)
            }
            _ => {
                let n = self.size().unwrap_or(u64::MAX);
                (self.index_of(value).unwrap_or(0) as f64 + 0.5) / n as f64
            }
        }
    }

    /// True for a list of values without order.
    pub fn is_choice(&self) -> bool {
        matches!(self, Domain::Choice(_))
    }

    /// The points of a grid where they are not simply all values: `resolution` points, ends included, of a continuum;
    /// as many, spread evenly in the logarithm, of a logarithmic whole number with more values than that.
    pub(super) fn spread(&self, resolution: usize) -> Option<Vec<Value>> {
        let all = match self {
            Domain::Int { log: true, .. } => self.size().is_some_and(|size| size <= resolution as u64),
            _ => self.size().is_some(),
        };
        if all {
            return None;
        }
        let points = resolution.max(1);
        let at = |i: usize| if points == 1 { 0.5 } else { i as f64 / (points - 1) as f64 };
        let mut values: Vec<Value> = (0..points).map(|i| self.from_unit(at(i))).collect();
        values.dedup();
        Some(values)
    }
}

fn check_bounds(low: f64, high: f64) -> Result<(), String> {
    if !low.is_finite() || !high.is_finite() {
        return Err(format!("the range [{low:?}, {high:?}] is not finite"));
    }
    if low > high {
        return Err(format!("the range [{low:?}, {high:?}] is inverted; write the smaller value first"));
    }
    Ok(())
}

/// Logarithms of the ends, half a unit wider on both sides so that the ends get their share after rounding.
fn log_ends(low: i64, high: i64) -> (f64, f64) {
    ((low as f64 - 0.5).ln(), (high as f64 + 0.5).ln())
}

/// The nearest number with 15 digits: 0.1 + 2·0.1 is 0.3, not 0.30000000000000004.
fn tidy(x: f64) -> f64 {
    format!("{x:.14e}").parse().unwrap_or(x)
}
