//! Our values ↔ what Optuna's tables hold: distributions as JSON, parameters as one number, datetimes as text.
//!
//! The judge is Optuna itself (`optuna/distributions.py`, `optuna/storages/_rdb/models.py`, 4.9 and 5.0), which is
//! asked in `tests/python`. Nothing here touches a database. Python writes bare `NaN` and `Infinity` into JSON, which
//! JSON does not have; [`json`] reads them as null.

use crate::history::{Direction, State, Timestamp};
use crate::space::{Domain, Value};
use serde_json::{Value as Json, json};

/// The distribution of Optuna that this domain is, as `distribution_to_json` would write it. Optuna wants the upper end
/// on the grid of the step, where a [`crate::space::Space`] has it.
pub(crate) fn distribution(domain: &Domain) -> String {
    let (name, attributes) = match domain {
        Domain::Float { low, high, log, step } => {
            ("FloatDistribution", json!({"step": step, "low": low, "high": high, "log": log}))
        }
        Domain::Int { low, high, log, step } => {
            ("IntDistribution", json!({"log": log, "step": step, "low": low, "high": high}))
        }
        Domain::Choice(choices) => ("CategoricalDistribution", json!({"choices": choices})),
    };
    json!({"name": name, "attributes": attributes}).to_string()
}

/// The domain behind a distribution of Optuna; an error says what is not known about it.
pub(crate) fn domain(text: &str) -> Result<Domain, String> {
    let distribution: Json =
        serde_json::from_str(text).map_err(|error| format!("its distribution is not JSON ({error})"))?;
    let name = distribution["name"].as_str().or(distribution["type"].as_str()).unwrap_or_default();
    let fields = if distribution["name"].is_string() { &distribution["attributes"] } else { &distribution };
    let float = |key: &str| fields[key].as_f64().ok_or_else(|| format!("its {name} has no number `{key}`"));
    let int = |key: &str| fields[key].as_i64().ok_or_else(|| format!("its {name} has no whole number `{key}`"));
    let log = fields["log"].as_bool().unwrap_or(name.contains("Log"));
    Ok(match name {
        "FloatDistribution"
        | "UniformDistribution"
        | "LogUniformDistribution"
        | "DiscreteUniformDistribution"
        | "float" => {
            let step = fields["step"].as_f64().or(fields["q"].as_f64());
            Domain::Float { low: float("low")?, high: float("high")?, log, step }
        }
        "IntDistribution" | "IntUniformDistribution" | "IntLogUniformDistribution" | "int" => {
            Domain::Int { low: int("low")?, high: int("high")?, log, step: fields["step"].as_i64().unwrap_or(1).max(1) }
        }
        "CategoricalDistribution" | "categorical" => {
            let choices = fields["choices"].as_array().ok_or_else(|| format!("its {name} has no list `choices`"))?;
            let choice = |choice: &Json| {
                serde_json::from_value(choice.clone())
                    .map_err(|_| format!("its choice {choice} is neither a truth value, a number nor a text"))
            };
            Domain::Choice(choices.iter().map(choice).collect::<Result<_, _>>()?)
        }
        "" => return Err("its distribution has no name".into()),
        other => return Err(format!("its distribution `{other}` is not one of Float, Int and Categorical")),
    })
}

/// The number that stands for a value in `trial_params` (a choice: its index); `None` where it is not in the domain.
pub(crate) fn internal(domain: &Domain, value: &Value) -> Option<f64> {
    match (domain, value) {
        (Domain::Choice(choices), value) => choices.iter().position(|choice| choice == value).map(|at| at as f64),
        (Domain::Float { low, high, .. }, Value::Float(x)) => (*low <= *x && *x <= *high).then_some(*x),
        (Domain::Float { low, high, .. }, Value::Int(i)) => {
            let x = *i as f64;
            (*low <= x && x <= *high).then_some(x)
        }
        (Domain::Int { low, high, step, .. }, Value::Int(i)) => {
            (low <= i && i <= high && (i - low) % step == 0).then_some(*i as f64)
        }
        (Domain::Int { .. }, Value::Float(x)) if x.fract() == 0.0 => internal(domain, &Value::Int(*x as i64)),
        _ => None,
    }
}

/// The value that a number in `trial_params` stands for; `None` where a choice has no such index.
pub(crate) fn external(domain: &Domain, number: f64) -> Option<Value> {
    match domain {
        Domain::Float { .. } => Some(Value::Float(number)),
        Domain::Int { .. } => Some(Value::Int(number as i64)),
        Domain::Choice(choices) => (number >= 0.0).then(|| choices.get(number as usize).cloned()).flatten(),
    }
}

/// Number and type of a stored value: a value that is not finite is its type alone.
pub(crate) fn stored(value: f64) -> (Option<f64>, &'static str) {
    match value {
        x if x.is_nan() => (None, "NAN"),
        f64::INFINITY => (None, "INF_POS"),
        f64::NEG_INFINITY => (None, "INF_NEG"),
        x => (Some(x), "FINITE"),
    }
}

/// The value of a stored number and type.
pub(crate) fn restored(number: Option<f64>, kind: &str) -> f64 {
    match kind {
        "INF_POS" => f64::INFINITY,
        "INF_NEG" => f64::NEG_INFINITY,
        "NAN" => f64::NAN,
        _ => number.unwrap_or(f64::NAN),
    }
}

/// Values of a report as JSON, which has no infinities and nothing that is not a number: those are texts.
pub(crate) fn report_json(values: &[f64]) -> Json {
    let one = |&value: &f64| if value.is_finite() { json!(value) } else { json!(value.to_string()) };
    values.iter().map(one).collect()
}

/// The values of [`report_json`]; `None` where it is something else.
pub(crate) fn report_values(json: &Json) -> Option<Vec<f64>> {
    let one = |value: &Json| value.as_f64().or_else(|| value.as_str()?.parse().ok());
    json.as_array()?.iter().map(one).collect()
}

/// Optuna's name of a state.
pub(crate) fn state_name(state: State) -> &'static str {
    match state {
        State::Waiting => "WAITING",
        State::Running => "RUNNING",
        State::Complete => "COMPLETE",
        State::Pruned => "PRUNED",
        State::Failed => "FAIL",
    }
}

/// The state of that name.
pub(crate) fn state(name: &str) -> Option<State> {
    [State::Waiting, State::Running, State::Complete, State::Pruned, State::Failed]
        .into_iter()
        .find(|state| state_name(*state) == name)
}

/// Optuna's name of a direction.
pub(crate) fn direction_name(direction: Direction) -> &'static str {
    match direction {
        Direction::Minimize => "MINIMIZE",
        Direction::Maximize => "MAXIMIZE",
    }
}

/// The direction of that name; a direction that was never set is Optuna's default, to minimize.
pub(crate) fn direction(name: &str) -> Direction {
    if name == "MAXIMIZE" { Direction::Maximize } else { Direction::Minimize }
}

/// `YYYY-MM-DD HH:MM:SS.ffffff`, UTC.
pub(crate) fn datetime(time: Timestamp) -> String {
    let (seconds, micros) = (time.0.div_euclid(1_000_000), time.0.rem_euclid(1_000_000));
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    let (year, month, day) = civil(days);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02} {hour:02}:{minute:02}:{second:02}.{micros:06}")
}

/// The point in time of such a text, with or without a fraction; `None` where it is no datetime.
pub(crate) fn timestamp(text: &str) -> Option<Timestamp> {
    if let Some(time) = plain(text.as_bytes()) {
        return Some(time);
    }
    let (date, time) = text.split_once([' ', 'T'])?;
    let mut date = date.splitn(3, '-').map(|part| part.parse::<i64>().ok());
    let (year, month, day) = (date.next()??, date.next()??, date.next()??);
    let (clock, fraction) = time.split_once('.').unwrap_or((time, ""));
    let mut clock = clock.splitn(3, ':').map(|part| part.parse::<i64>().ok());
    let (hour, minute, second) = (clock.next()??, clock.next()??, clock.next()??);
    let digits = fraction.get(..fraction.len().min(6))?;
    let micros = if digits.is_empty() { 0 } else { digits.parse::<i64>().ok()? * 10i64.pow(6 - digits.len() as u32) };
    let seconds = days(year, month, day) * 86_400 + hour * 3600 + minute * 60 + second;
    Some(Timestamp(seconds * 1_000_000 + micros))
}

/// The same of `2026-11-21 18:18:02.178014`, which is what most are.
fn plain(text: &[u8]) -> Option<Timestamp> {
    let number = |range: std::ops::Range<usize>| {
        let digit = |number: i64, digit: &u8| digit.is_ascii_digit().then(|| 10 * number + i64::from(digit - b'0'));
        text[range].iter().try_fold(0, digit)
    };
    let marks = [(4, b'-'), (7, b'-'), (13, b':'), (16, b':'), (19, b'.')];
    if text.len() != 26 || !matches!(text[10], b' ' | b'T') || marks.iter().any(|(at, mark)| text[*at] != *mark) {
        return None;
    }
    let seconds = days(number(0..4)?, number(5..7)?, number(8..10)?) * 86_400;
    let seconds = seconds + number(11..13)? * 3600 + number(14..16)? * 60 + number(17..19)?;
    Some(Timestamp(seconds * 1_000_000 + number(20..26)?))
}

/// Days since 1970-01-01 of a date of the Gregorian calendar, whose years are counted from March here so that the
/// leap day is the last of its year.
fn days(year: i64, month: i64, day: i64) -> i64 {
    let (year, month) = if month > 2 { (year, month - 3) } else { (year - 1, month + 9) };
    let (era, of_era) = (year.div_euclid(400), year.rem_euclid(400));
    era * 146_097 + of_era * 365 + of_era / 4 - of_era / 100 + (153 * month + 2) / 5 + day - 1 - 719_468
}

/// Year, month and day of a number of days since 1970-01-01; the inverse of [`days`].
fn civil(days_since: i64) -> (i64, i64, i64) {
    let mut year = 1970 + days_since.div_euclid(365);
    while days(year, 1, 1) > days_since {
        year -= 1;
    }
    let month = (1..=12).rev().find(|&month| days(year, month, 1) <= days_since).unwrap_or(1);
    (year, month, days_since - days(year, month, 1) + 1)
}

/// JSON as Python writes it: `NaN`, `Infinity` and `-Infinity` outside of texts are read as null, and what is no JSON
/// at all is kept as a text.
pub(crate) fn json(text: &str) -> Json {
    serde_json::from_str(text).unwrap_or_else(|_| {
        let mut clean = String::with_capacity(text.len());
        for (i, piece) in split_texts(text).enumerate() {
            match i % 2 {
                0 => {
                    let piece = piece.replace("-Infinity", "null").replace("Infinity", "null").replace("NaN", "null");
                    clean.push_str(&piece);
                }
                _ => clean.push_str(piece),
            }
        }
        serde_json::from_str(&clean).unwrap_or_else(|_| Json::String(text.to_owned()))
    })
}

/// The text cut at its JSON strings: pieces 1, 3, … are strings with their quotes.
fn split_texts(text: &str) -> impl Iterator<Item = &str> {
    let (mut cuts, mut inside, mut escaped) = (vec![0], false, false);
    for (i, byte) in text.bytes().enumerate() {
        match byte {
            b'"' if !inside => {
                cuts.push(i);
                inside = true;
            }
            b'"' if !escaped => {
                cuts.push(i + 1);
                inside = false;
            }
            _ => {}
        }
        escaped = inside && byte == b'\\' && !escaped;
    }
    cuts.push(text.len());
    (1..cuts.len()).map(move |i| &text[cuts[i - 1]..cuts[i]])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn domains_survive_the_way_to_optuna_and_back() {
        let domains = [
            Domain::Float { low: 1e-5, high: 0.1, log: true, step: None },
            Domain::Float { low: 0.1, high: 0.3, log: false, step: Some(0.1) },
            Domain::Int { low: 16, high: 256, log: false, step: 16 },
            Domain::Int { low: 1, high: 1 << 40, log: true, step: 1 },
            Domain::Choice(vec![Value::Text("relu".into()), Value::Bool(true), Value::Float(1.0), Value::Int(1)]),
        ];
        for domain in domains {
            assert_eq!(super::domain(&distribution(&domain)).unwrap(), domain);
        }
    }

    #[test]
    fn what_optuna_writes_is_read() {
        let old = r#"{"name": "DiscreteUniformDistribution", "attributes": {"low": 0.0, "high": 1.0, "q": 0.25}}"#;
        assert_eq!(domain(old).unwrap(), Domain::Float { low: 0.0, high: 1.0, log: false, step: Some(0.25) });
        let old = r#"{"name": "IntLogUniformDistribution", "attributes": {"low": 1, "high": 8, "step": 1}}"#;
        assert_eq!(domain(old).unwrap(), Domain::Int { low: 1, high: 8, log: true, step: 1 });
        let short = r#"{"type": "float", "low": 0.0, "high": 1.0}"#;
        assert_eq!(domain(short).unwrap(), Domain::Float { low: 0.0, high: 1.0, log: false, step: None });
        assert!(domain(r#"{"name": "BetaDistribution", "attributes": {}}"#).unwrap_err().contains("BetaDistribution"));
        assert!(domain(r#"{"name": "FloatDistribution", "attributes": {"low": 1.0}}"#).unwrap_err().contains("high"));
        assert!(domain("?").is_err() && domain("{}").is_err());
    }

    #[test]
    fn values_are_one_number() {
        let choice = Domain::Choice(vec![Value::Int(1), Value::Float(1.0), Value::Bool(true)]);
        assert_eq!(internal(&choice, &Value::Float(1.0)), Some(1.0));
        assert_eq!(external(&choice, 2.0), Some(Value::Bool(true)));
        assert_eq!((external(&choice, 3.0), external(&choice, -1.0)), (None, None));
        let int = Domain::Int { low: 1, high: 9, log: false, step: 4 };
        assert_eq!(internal(&int, &Value::Int(5)), Some(5.0));
        assert_eq!((internal(&int, &Value::Int(4)), internal(&int, &Value::Int(13))), (None, None));
        for value in [1.5, f64::INFINITY, f64::NEG_INFINITY] {
            let (number, kind) = stored(value);
            assert_eq!(restored(number, kind), value);
        }
        assert!(restored(None, stored(f64::NAN).1).is_nan());
    }

    #[test]
    fn datetimes_are_the_calendar() {
        for (micros, text) in [
            (0, "1970-01-01 00:00:00.000000"),
            (951_782_400_000_001, "2000-02-29 00:00:00.000001"),
            (4_107_542_399_999_999, "2100-02-28 23:59:59.999999"),
            (-1, "1969-12-31 23:59:59.999999"),
        ] {
            assert_eq!(datetime(Timestamp(micros)), text);
            assert_eq!(timestamp(text), Some(Timestamp(micros)));
        }
        for day in (-200_000..200_000).step_by(13) {
            let (year, month, dom) = civil(day);
            assert_eq!(days(year, month, dom), day);
        }
        assert_eq!(timestamp("2026-11-21 18:18:02"), timestamp("2026-11-21T18:18:02.0"));
        assert_eq!((timestamp("yesterday"), timestamp("2026-11 18:00:00")), (None, None));
    }

    #[test]
    fn json_of_python_is_read() {
        assert_eq!(
            json(r#"{"a": NaN, "b": [-Infinity, "NaN \" Infinity"]}"#),
            json!({"a": null, "b": [null, "NaN \" Infinity"]})
        );
        assert_eq!(json("0.1"), json!(0.1));
        assert_eq!(json("not json"), json!("not json"));
    }
}
