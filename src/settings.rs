//! The names that a training's settings have everywhere: flags of `train`, keys of `[train]`, parameters of
//! `[space]`, the record in a model file.
//!
//! One table, [`SETTINGS`]; from it follow the command line's flags, the checks of a study file and what a search
//! may tune. [`Settings::resolve`] turns named values into a network's description and a training's.

use crate::data::Preprocess;
use crate::model::{Activation, Init, LayerSpec, ModelSpec};
use crate::space::{Domain, Space, Value};
use crate::train::{ClassWeights, Loss, Optimizer, Precision, Schedule, ScheduleKind, TrainSpec};
use crate::{Error, Result};
use indexmap::IndexMap;

/// What values a setting takes.
#[derive(Clone, Copy, Debug)]
pub enum Kind {
    /// True or false.
    Flag,
    /// A whole number from this on.
    Count(u64),
    /// A number of layers: 0 to [`MOST_LAYERS`].
    Layers,
    /// A number above 0.
    Positive,
    /// A number from 0 on.
    NotNegative,
    /// A number from 0 up to but not including 1.
    Fraction,
    /// One of these words.
    Name(fn() -> Vec<&'static str>),
    /// Whole numbers above 0 with commas between, or `none`.
    Widths,
}

/// More layers than this are a slip of the pen: nothing that deep and dense learns.
pub const MOST_LAYERS: u64 = 10_000;

/// One setting.
pub struct Setting {
    /// Its key; as a flag, with `-` for `_`.
    pub name: &'static str,
    /// What it takes.
    pub kind: Kind,
    /// Its default, for people; empty for off.
    pub default: &'static str,
    /// What it does.
    pub help: &'static str,
    /// May be given for each hidden layer (`units_0`, `units_1`, …).
    pub each_layer: bool,
}

impl std::fmt::Debug for Setting {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.name)
    }
}

const fn one(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    Setting { name, kind, default, help, each_layer: false }
}

const fn each(name: &'static str, kind: Kind, default: &'static str, help: &'static str) -> Setting {
    Setting { name, kind, default, help, each_layer: true }
}

/// Every setting.
#[rustfmt::skip]
pub const SETTINGS: &[Setting] = &[
    one("hidden", Kind::Widths, "128,128", "Widths of the hidden layers, with commas; `none` for a linear model"),
    one("layers", Kind::Layers, "2", "Number of hidden layers, with `units` for their width, instead of `hidden`"),
    each("units", Kind::Count(1), "128", "Width of every hidden layer, where `layers` gives their number"),
    each("activation", Kind::Name(|| Activation::ALL.iter().map(|a| a.name()).collect()), "relu", "Function applied to every hidden unit"),
    each("dropout", Kind::Fraction, "0", "Share of hidden units dropped in training"),
    one("input_dropout", Kind::Fraction, "0", "Share of input features dropped in training"),
    one("residual", Kind::Flag, "false", "Skip connections between hidden layers of equal widths"),
    one("init", Kind::Name(|| Init::NAMES.iter().map(|row| row.0).collect()), "torch", "How weights start"),
    one("optimizer", Kind::Name(|| Optimizer::names().collect()), "adam", "Update rule"),
    one("learning_rate", Kind::Positive, "0.001", "Learning rate, the largest of its schedule"),
    one("momentum", Kind::Fraction, "0.9", "What remains of the velocity (momentum, nesterov; sgd and rmsprop where given)"),
    one("nesterov", Kind::Flag, "false", "Nesterov's form of momentum"),
    one("beta1", Kind::Fraction, "0.9", "Decay of Adam's first moment"),
    one("beta2", Kind::Fraction, "0.999", "Decay of Adam's second moment"),
    one("alpha", Kind::Fraction, "0.99", "Decay of RMSprop's mean square"),
    one("epsilon", Kind::Positive, "1e-8", "Added to the root in Adam, AdamW and RMSprop"),
    one("weight_decay", Kind::NotNegative, "0; adamw 0.01", "L2 of all parameters (decoupled for adamw)"),
    one("l1", Kind::NotNegative, "0", "L1 of all parameters"),
    one("clip_norm", Kind::Positive, "", "Largest global norm of the gradient"),
    one("schedule", Kind::Name(|| ScheduleKind::NAMES.iter().map(|row| row.0).collect()), "constant", "How the learning rate changes"),
    one("decay_rate", Kind::Positive, "", "Factor of the schedule's decay [default: step and plateau 0.1, exponential 0.96, inverse-time 1]"),
    one("decay_steps", Kind::Count(1), "", "Steps (updates) that the decay takes [default: an epoch; polynomial and cosine: the whole training]"),
    one("staircase", Kind::Flag, "false", "Decay in stairs instead of smoothly (exponential, inverse-time)"),
    one("power", Kind::Positive, "1", "Exponent of the polynomial schedule"),
    one("plateau_patience", Kind::Count(0), "10", "Epochs without improvement before the plateau schedule acts"),
    one("hypergradient_rate", Kind::Positive, "", "Learning rate of the learning rate, for the hypergradient schedule [default: 0.001; adam 1e-7]"),
    one("warmup_steps", Kind::Count(0), "0", "Steps over which the learning rate first rises"),
    one("batch_size", Kind::Count(1), "128", "Rows of an update"),
    one("epochs", Kind::Count(1), "20", "Passes over the training rows, at most"),
    one("early_stopping", Kind::Count(1), "", "Stop after this many epochs without improvement, and take the best epoch's weights"),
    one("loss", Kind::Name(|| Loss::NAMES.to_vec()), "", "What is minimised [default: cross-entropy for classes, binary-cross-entropy for labels, mse for numbers]"),
    one("huber_delta", Kind::Positive, "1", "Where the Huber loss becomes linear, in deviations of the target"),
    one("label_smoothing", Kind::Fraction, "0", "Label smoothing of the cross-entropy"),
    one("class_weights", Kind::Name(|| vec!["none", "balanced"]), "none", "How classes count in the loss"),
    one("preprocess", Kind::Name(|| Preprocess::ALL.iter().map(|row| row.0).collect()), "standard", "What is done to numeric columns"),
    one("precision", Kind::Name(|| Precision::NAMES.iter().map(|row| row.0).collect()), "high", "How products are computed, where the machine is faster so: as exactly as by f32; with errors of up to 3e-5 of the sum of |a·b|; by one product of TF32 on GPUs (up to 1e-3), of bf16 on CPUs (up to 8e-3); of bf16 everywhere"),
];

/// What settings come to.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The network.
    pub model: ModelSpec,
    /// The training.
    pub train: TrainSpec,
    /// What is done to numeric columns.
    pub preprocess: Preprocess,
}

/// Named values, each with the place it came from (a flag, a key of a file) for messages.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Settings(IndexMap<String, (Value, String)>);

/// The setting that a name stands for, and the layer where the name has a number: `units_2` is layer 2's units.
pub fn find(name: &str) -> Option<(&'static Setting, Option<usize>)> {
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == name) {
        return Some((setting, None));
    }
    let (base, layer) = name.rsplit_once('_')?;
    let setting = SETTINGS.iter().find(|setting| setting.each_layer && setting.name == base)?;
    Some((setting, Some(layer.parse().ok()?)))
}

impl Setting {
    /// Checks a value, and reads numbers and flags from text where the value came from a command line.
    ///
    /// # Errors
    /// The value is of another kind or outside the range; the message starts with `place`.
    pub fn accept(&self, place: &str, value: &Value) -> Result<Value> {
        let number = || match value {
            Value::Text(text) => text.trim().parse().ok(),
            other => other.as_f64(),
        };
        let wrong = |expected: &str| Err(Error::input(format!("{place} is `{value}`; {expected} is expected")));
        match self.kind {
            Kind::Flag => match (value.as_bool(), value.as_str()) {
                (Some(flag), _) => Ok(Value::Bool(flag)),
                (_, Some("true")) => Ok(Value::Bool(true)),
                (_, Some("false")) => Ok(Value::Bool(false)),
                _ => wrong("true or false"),
            },
            Kind::Count(least) => match number() {
                Some(x) if x.fract() == 0.0 && x >= least as f64 && x < 9e15 => Ok(Value::Int(x as i64)),
                _ => wrong(&format!("a whole number from {least} on")),
            },
            Kind::Layers => match number() {
                Some(x) if x.fract() == 0.0 && (0.0..=MOST_LAYERS as f64).contains(&x) => Ok(Value::Int(x as i64)),
                _ => wrong(&format!("a whole number from 0 to {MOST_LAYERS}")),
            },
            Kind::Positive => match number() {
                Some(x) if x as f32 > 0.0 && (x as f32).is_finite() => Ok(Value::Float(x)),
                _ => wrong("a number above 0 (and within single precision)"),
            },
            Kind::NotNegative => match number() {
                Some(x) if x >= 0.0 && (x as f32).is_finite() => Ok(Value::Float(x)),
                _ => wrong("0 or a number above"),
            },
            Kind::Fraction => match number() {
                Some(x) if x >= 0.0 && (x as f32) < 1.0 => Ok(Value::Float(x)),
                _ => wrong("a number from 0 up to but not including 1 (in single precision)"),
            },
            Kind::Name(names) => match value.as_str() {
                Some(text) => {
                    let names = names();
                    let known = names.iter().find(|name| **name == text || **name == text.replace('_', "-"));
                    let known = known.or_else(|| names.iter().find(|name| **name == text.replace('-', "_")));
                    known.map(|name| Value::Text((*name).to_owned())).ok_or_else(|| Error::unknown(place, text, names))
                }
                None => wrong(&format!("one of {}", names().join(", "))),
            },
            Kind::Widths => match value {
                Value::Int(width) if *width > 0 => Ok(Value::Text(width.to_string())),
                Value::Text(text) if widths(text).is_some() => Ok(value.clone()),
                _ => wrong("widths above 0 with commas between, as in 512,256, or `none`"),
            },
        }
    }
}

fn widths(text: &str) -> Option<Vec<usize>> {
    if text.trim() == "none" {
        return Some(Vec::new());
    }
    text.split(',').map(|width| width.trim().parse().ok().filter(|&width| width > 0)).collect()
}

impl Settings {
    /// Sets one value; `place` is the flag or the file and key that it came from.
    ///
    /// # Errors
    /// The name is unknown or the value does not fit it.
    pub fn set(&mut self, place: &str, name: &str, value: &Value) -> Result<()> {
        let Some((setting, _)) = find(name) else {
            return Err(Error::unknown(place, name, SETTINGS.iter().map(|setting| setting.name)));
        };
        let value = setting.accept(place, value)?;
        self.0.insert(name.to_owned(), (value, place.to_owned()));
        Ok(())
    }

    /// These settings, with those of `other` winning.
    #[must_use]
    pub fn with(&self, other: &Settings) -> Settings {
        let mut both = self.clone();
        // How the hidden layers are described is one choice: the stronger side's description replaces the other's.
        let describes = |s: &Settings, names: &[&str]| s.0.keys().any(|key| names.contains(&key.as_str()));
        if describes(other, &["layers"]) {
            both.0.shift_remove("hidden");
        } else if describes(other, &["hidden"]) {
            both.0.retain(|key, _| key != "layers" && key != "units" && !key.starts_with("units_"));
        }
        both.0.extend(other.0.iter().map(|(key, value)| (key.clone(), value.clone())));
        both
    }

    /// The value of a name, where it was set.
    pub fn get(&self, name: &str) -> Option<&Value> {
        self.0.get(name).map(|(value, _)| value)
    }

    /// Names and values in the order in which they were set.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Value)> {
        self.0.iter().map(|(name, (value, _))| (name.as_str(), value))
    }

    /// What a training with these settings has for a name that they do not set: one value, or for the loss, which is
    /// that of the task, one for each; none for what is off by default or follows from the data.
    pub fn defaults_of(&self, name: &str) -> Vec<Value> {
        let (Some((setting, layer)), Ok(config)) = (find(name), self.resolve()) else { return Vec::new() };
        // A layer has what all layers have.
        if let Some(value) = layer.and_then(|_| self.get(setting.name)) {
            return vec![value.clone()];
        }
        // As decimals: 0.9, not its nearest number in single precision.
        let single = |x: f32| Some(x.to_string());
        let text = match (setting.name, config.train.optimizer) {
            ("layers", _) => Some(config.model.hidden.len().to_string()),
            ("weight_decay", _) => Some(config.train.weight_decay.to_string()),
            ("momentum", Optimizer::Momentum { momentum } | Optimizer::Nesterov { momentum }) => single(momentum),
            ("momentum", Optimizer::RmsProp { momentum, .. }) => single(momentum),
            ("momentum", _) => single(0.0),
            ("decay_rate", _) => Some(config.train.schedule.decay_rate().to_string()),
            ("hypergradient_rate", _) => config.train.hypergradient().ok().flatten().map(|rate| rate.to_string()),
            ("loss", _) => {
                let defaults = ["cross-entropy", "binary-cross-entropy", "mse"];
                return defaults.map(|name| Value::Text(name.to_owned())).into();
            }
            _ => Some(setting.default.to_owned()),
        };
        text.and_then(|text| setting.accept(name, &Value::Text(text)).ok()).into_iter().collect()
    }

    /// From [`Settings::to_json`]; `place` is where that was kept.
    ///
    /// # Errors
    /// As [`Settings::set`].
    pub fn from_json(place: &str, fields: &serde_json::Map<String, serde_json::Value>) -> Result<Self> {
        let mut settings = Settings::default();
        for (name, value) in fields {
            let value = serde_json::from_value(value.clone());
            settings.set(place, name, &value.map_err(|error| Error::input(format!("{place}: {name}: {error}")))?)?;
        }
        Ok(settings)
    }

    /// As JSON, for the record.
    pub fn to_json(&self) -> serde_json::Map<String, serde_json::Value> {
        let value = |value: &Value| serde_json::to_value(value).unwrap_or_default();
        self.iter().map(|(name, v)| (name.to_owned(), value(v))).collect()
    }

    fn number(&self, name: &str) -> Option<f64> {
        self.get(name).and_then(Value::as_f64)
    }

    fn count(&self, name: &str) -> Option<usize> {
        self.get(name).and_then(Value::as_i64).map(|n| n as usize)
    }

    fn text(&self, name: &str) -> Option<&str> {
        self.get(name).and_then(Value::as_str)
    }

    fn flag(&self, name: &str) -> bool {
        self.get(name).and_then(Value::as_bool).unwrap_or(false)
    }

    /// A layer's own value, or the one for all layers.
    fn layer<'a, T>(&'a self, name: &str, layer: usize, read: impl Fn(&'a Self, &str) -> Option<T>) -> Option<T> {
        read(self, &format!("{name}_{layer}")).or_else(|| read(self, name))
    }

    /// The network, training and preprocessing that these settings describe; defaults for the rest.
    ///
    /// # Errors
    /// Settings that exclude each other, or that name a layer there is not.
    pub fn resolve(&self) -> Result<Config> {
        let preprocess = match self.text("preprocess") {
            Some(name) => Preprocess::by_name("preprocess", name)?,
            None => Preprocess::default(),
        };
        let config = Config { model: self.model()?, train: self.train()?, preprocess };
        config.model.validate()?;
        config.train.validate()?;
        Ok(config)
    }

    fn model(&self) -> Result<ModelSpec> {
        let sized = self.0.iter().find(|(key, _)| *key == "layers" || key.starts_with("units"));
        let widths: Vec<usize> = match (self.text("hidden"), sized) {
            (Some(_), Some((_, (_, place)))) => {
                return Err(Error::input(format!("{place}: `hidden` already gives the widths; give one or the other")));
            }
            (Some(text), None) => widths(text).unwrap_or_default(),
            (None, _) => {
                let layers = self.count("layers").unwrap_or(2);
                (0..layers).map(|l| self.layer("units", l, Self::count).unwrap_or(128)).collect()
            }
        };
        for (key, (_, place)) in &self.0 {
            if let Some((_, Some(layer))) = find(key)
                && layer >= widths.len()
            {
                let layers = widths.len();
                return Err(Error::input(format!(
                    "{place}: there is no hidden layer {layer} (counted from 0) among {layers}"
                )));
            }
        }
        let hidden = widths.into_iter().enumerate().map(|(l, units)| LayerSpec {
            units,
            activation: self
                .layer("activation", l, Self::text)
                .and_then(Activation::from_name)
                .unwrap_or(Activation::Relu),
            dropout: self.layer("dropout", l, Self::number).unwrap_or(0.0),
        });
        Ok(ModelSpec {
            hidden: hidden.collect(),
            residual: self.flag("residual"),
            input_dropout: self.number("input_dropout").unwrap_or(0.0),
            init: self.text("init").map_or(Ok(Init::Torch), Init::by_name)?,
        })
    }

    /// Refuses what this kind of schedule would not look at.
    fn check_schedule(&self, kind: ScheduleKind) -> Result<()> {
        use ScheduleKind::{Cosine, Exponential, Hypergradient, InverseTime, Plateau, Polynomial, Step};
        let owners: [(&str, &[ScheduleKind]); 6] = [
            ("hypergradient_rate", &[Hypergradient]),
            ("decay_rate", &[Step, Exponential, InverseTime, Plateau]),
            ("decay_steps", &[Step, Exponential, InverseTime, Polynomial, Cosine]),
            ("staircase", &[Exponential, InverseTime]),
            ("power", &[Polynomial]),
            ("plateau_patience", &[Plateau]),
        ];
        // A switch that is off says nothing.
        let given = |name: &str| self.get(name).is_some_and(|value| value.as_bool() != Some(false));
        match owners.iter().find(|(name, kinds)| given(name) && !kinds.contains(&kind)) {
            Some((name, kinds)) => {
                let kinds: Vec<&str> = kinds.iter().map(|kind| kind.name()).collect();
                Err(self.conflict(name, &format!("it belongs to schedule {}", kinds.join(", "))))
            }
            None => Ok(()),
        }
    }

    fn train(&self) -> Result<TrainSpec> {
        let default = TrainSpec::default();
        let optimizer = self.optimizer()?;
        let decoupled = matches!(optimizer, Optimizer::AdamW { .. });
        let loss = self.text("loss").map(Loss::by_name).transpose()?;
        let loss = match (loss, self.number("huber_delta")) {
            (Some(Loss::Huber { .. }), Some(delta)) => Some(Loss::Huber { delta }),
            (_, Some(_)) => return Err(self.conflict("huber_delta", "it belongs to loss huber")),
            (loss, None) => loss,
        };
        let schedule = Schedule {
            kind: self.text("schedule").map_or(Ok(ScheduleKind::Constant), ScheduleKind::by_name)?,
            decay_rate: self.number("decay_rate"),
            decay_steps: self.count("decay_steps").map(|n| n as u64),
            staircase: self.flag("staircase"),
            power: self.number("power").unwrap_or(default.schedule.power),
            patience: self.count("plateau_patience").unwrap_or(default.schedule.patience),
            hypergradient_rate: self.number("hypergradient_rate"),
            warmup_steps: self.count("warmup_steps").unwrap_or(0) as u64,
        };
        self.check_schedule(schedule.kind)?;
        Ok(TrainSpec {
            loss,
            optimizer,
            learning_rate: self.number("learning_rate").unwrap_or(default.learning_rate),
            schedule,
            batch_size: self.count("batch_size").unwrap_or(default.batch_size),
            epochs: self.count("epochs").unwrap_or(default.epochs),
            // PyTorch's defaults.
            weight_decay: self.number("weight_decay").unwrap_or(if decoupled { 0.01 } else { 0.0 }),
            l1: self.number("l1").unwrap_or(0.0),
            label_smoothing: self.number("label_smoothing").unwrap_or(0.0),
            class_weights: match self.text("class_weights") {
                Some("balanced") => ClassWeights::Balanced,
                _ => ClassWeights::None,
            },
            clip_norm: self.number("clip_norm"),
            early_stopping: self.count("early_stopping"),
            metric: None,
            also: Vec::new(),
            keep_epochs: false,
            precision: self.text("precision").map_or(Ok(Precision::High), Precision::by_name)?,
        })
    }

    fn optimizer(&self) -> Result<Optimizer> {
        let name = self.text("optimizer").unwrap_or("adam");
        let unknown = || Error::unknown("optimizer", name, Optimizer::names());
        let mut optimizer = Optimizer::by_name(name).ok_or_else(unknown)?;
        let momentum_given = self.number("momentum").map(|momentum| momentum as f32);
        // As in PyTorch, SGD with a momentum is momentum, and with `nesterov` it is Nesterov's.
        let momentum = momentum_given.unwrap_or(0.9);
        if matches!(optimizer, Optimizer::Sgd) && momentum_given.is_some_and(|momentum| momentum > 0.0) {
            optimizer = Optimizer::Momentum { momentum };
        }
        if self.flag("nesterov") {
            optimizer = match optimizer {
                Optimizer::Momentum { .. } | Optimizer::Nesterov { .. } => Optimizer::Nesterov { momentum },
                _ => return Err(self.conflict("nesterov", "it belongs to optimizer momentum")),
            };
        }
        let given = |name: &str| self.number(name).map(|x| x as f32);
        let mut used = vec!["momentum"];
        match &mut optimizer {
            Optimizer::Sgd => {}
            Optimizer::Momentum { momentum: m } | Optimizer::Nesterov { momentum: m } => *m = momentum,
            Optimizer::Adam { beta1, beta2, epsilon } | Optimizer::AdamW { beta1, beta2, epsilon } => {
                *beta1 = given("beta1").unwrap_or(*beta1);
                *beta2 = given("beta2").unwrap_or(*beta2);
                *epsilon = given("epsilon").unwrap_or(*epsilon);
                used = vec!["beta1", "beta2", "epsilon"];
            }
            Optimizer::RmsProp { alpha, epsilon, momentum } => {
                *alpha = given("alpha").unwrap_or(*alpha);
                *epsilon = given("epsilon").unwrap_or(*epsilon);
                *momentum = momentum_given.unwrap_or(*momentum);
                used = vec!["alpha", "epsilon", "momentum"];
            }
        }
        let owned = ["momentum", "beta1", "beta2", "alpha", "epsilon"];
        if let Some(stray) = owned.iter().find(|key| self.get(key).is_some() && !used.contains(key)) {
            return Err(self.conflict(stray, &format!("optimizer {name} does not have it")));
        }
        Ok(optimizer)
    }

    fn conflict(&self, name: &str, why: &str) -> Error {
        let place = self.0.get(name).map_or(name, |(_, place)| place);
        Error::input(format!("{place}: {why}"))
    }
}

/// Checks that every parameter of a space is a setting and that all its values are ones the setting takes.
///
/// # Errors
/// An unknown name, with the nearest known one, or a value outside a setting's range.
pub fn check_space(place: &str, space: &Space) -> Result<()> {
    for parameter in space.parameters() {
        let name = &parameter.name;
        let Some((setting, _)) = find(name) else {
            return Err(Error::unknown(place, name, SETTINGS.iter().map(|setting| setting.name)));
        };
        let at = format!("{place} {name}");
        let ends = match &parameter.domain {
            Domain::Float { low, high, .. } => vec![Value::Float(*low), Value::Float(*high)],
            Domain::Int { low, high, .. } => vec![Value::Int(*low), Value::Int(*high)],
            Domain::Choice(values) => values.clone(),
        };
        for value in &ends {
            setting.accept(&at, value)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Result<Config> {
        let mut settings = Settings::default();
        for (name, value) in pairs {
            settings.set(&format!("--{name}"), name, &Value::Text((*value).to_owned()))?;
        }
        settings.resolve()
    }

    #[test]
    fn defaults_are_those_of_the_specs() {
        let config = settings(&[]).unwrap();
        assert_eq!(config.model, ModelSpec::default());
        assert_eq!(config.train, TrainSpec::default());
    }

    #[test]
    fn layers_are_described_in_two_ways() {
        let widths = |config: Config| config.model.hidden.iter().map(|l| l.units).collect::<Vec<_>>();
        assert_eq!(widths(settings(&[("hidden", "512, 64")]).unwrap()), [512, 64]);
        assert_eq!(widths(settings(&[("hidden", "none")]).unwrap()), [0usize; 0]);
        assert_eq!(widths(settings(&[("layers", "3"), ("units", "7"), ("units_1", "9")]).unwrap()), [7, 9, 7]);
        assert_eq!(widths(settings(&[("layers", "0")]).unwrap()), [0usize; 0]);
        assert!(settings(&[("hidden", "8"), ("layers", "2")]).is_err());
        assert!(settings(&[("layers", "1"), ("units_1", "9")]).is_err());
    }

    #[test]
    fn optimizers_take_their_own_constants_only() {
        let optimizer = |pairs: &[(&str, &str)]| settings(pairs).map(|config| config.train.optimizer);
        assert_eq!(
            optimizer(&[("optimizer", "sgd"), ("momentum", "0.5")]).unwrap(),
            Optimizer::Momentum { momentum: 0.5 }
        );
        assert_eq!(
            optimizer(&[("optimizer", "momentum"), ("nesterov", "true")]).unwrap(),
            Optimizer::Nesterov { momentum: 0.9 }
        );
        assert!(optimizer(&[("optimizer", "adam"), ("momentum", "0.5")]).is_err());
        assert!(optimizer(&[("optimizer", "adam"), ("nesterov", "true")]).is_err());
    }

    #[test]
    fn every_setting_refuses_nonsense_and_names_the_place() {
        let mut settings = Settings::default();
        for (name, value) in [
            ("dropout", "0.99999999"),
            ("beta1", "0.999999999"),
            ("learning_rate", "1e300"),
            ("l1", "1e39"),
            ("layers", "3000000000"),
        ] {
            assert!(settings.set("here", name, &Value::Text(value.to_owned())).is_err(), "{name} {value}");
        }
        for setting in SETTINGS {
            let wrong = Value::Text("-1e999x".to_owned());
            let message = setting.accept("here", &wrong).unwrap_err().to_string();
            assert!(message.starts_with("here"), "{message}");
        }
    }
}
