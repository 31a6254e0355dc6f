//! How a study proposes and stops trials: the names and options of its sampler and pruner, kept with the study.
//!
//! Whoever goes on with a study in another process (`ask`, `tell`, a second search) finds here what it was begun with, so
//! that a model is not exchanged for another one unnoticed. They are attributes (`hpt:sampler`, `hpt:acquisition`,
//! `hpt:pruner`, `hpt:pruner_options`), not part of what makes the study this study: each may be changed at any time, and
//! what nobody names stays ([`Told`]).

use super::handle::{self, Study};
use super::storage::{Fault, Storage};
use crate::pruner::{self, Pruner};
use crate::sampler::{self, Acquisition, Sampler};
use crate::{Error, Result};
use rusqlite::Connection;
use serde_json::{Value as Json, json};

/// See the module.
#[derive(Clone, Debug, PartialEq)]
pub struct Method {
    /// Name of the sampler.
    pub sampler: String,
    /// What a Gaussian process maximises, where the sampler has one.
    pub acquisition: Acquisition,
    /// Name of the pruner.
    pub pruner: String,
    /// What it is told; the names of objectives are the study's.
    pub pruner_settings: pruner::Settings,
}

impl Default for Method {
    /// The sampler `auto`, no pruner.
    fn default() -> Self {
        Method {
            sampler: "auto".to_owned(),
            acquisition: Acquisition::default(),
            pruner: "none".to_owned(),
            pruner_settings: pruner::Settings::default(),
        }
    }
}

impl Method {
    /// The sampler, for a study whose total of trials is not known.
    ///
    /// # Errors
    /// There is none of that name.
    pub fn sampler(&self) -> Result<Box<dyn Sampler>> {
        let settings = sampler::Settings { acquisition: self.acquisition, ..sampler::Settings::default() };
        sampler::by_name(&self.sampler, &settings)
    }

    /// The pruner.
    ///
    /// # Errors
    /// There is none of that name, or it needs what it was not told.
    pub fn pruner(&self) -> Result<Box<dyn Pruner>> {
        pruner::by_name(&self.pruner, &self.pruner_settings)
    }

    /// What is kept: key, value.
    fn attributes(&self) -> [(&'static str, Json); 4] {
        [
            ("sampler", json!(self.sampler)),
            ("acquisition", json!(self.acquisition.name())),
            ("pruner", json!(self.pruner)),
            ("pruner_options", json!(self.pruner_settings.told(&self.pruner))),
        ]
    }

    /// The sampler in words, with the acquisition where that is not the usual one.
    fn sampler_in_words(&self) -> String {
        match self.acquisition == Acquisition::default() {
            true => self.sampler.clone(),
            false => format!("{} with {}", self.sampler, self.acquisition.name()),
        }
    }

    fn pruner_in_words(&self) -> String {
        let told = self.pruner_settings.told(&self.pruner);
        if told.is_empty() { self.pruner.clone() } else { format!("{} with {}", self.pruner, told.join(", ")) }
    }

    /// What changes where a study goes on with this after `before`, in words for a person.
    pub fn changes_from(&self, before: &Method) -> Vec<String> {
        let pairs = [
            ("sampler", before.sampler_in_words(), self.sampler_in_words()),
            ("pruner", before.pruner_in_words(), self.pruner_in_words()),
        ];
        let changed = pairs.into_iter().filter(|(_, before, now)| before != now);
        changed.map(|(what, before, now)| format!("the {what} of this study was {before}; it is {now} now")).collect()
    }
}

/// What somebody says of how a study should propose and stop trials; what is left out stays as it was.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Told {
    /// Name of the sampler.
    pub sampler: Option<String>,
    /// What a Gaussian process maximises.
    pub acquisition: Option<Acquisition>,
    /// Name of the pruner. Options of another pruner that was told before mean nothing to it.
    pub pruner: Option<String>,
    /// Options of the pruner.
    pub options: Vec<ToldOption>,
}

/// An option of a pruner that somebody has given.
#[derive(Clone, Debug, PartialEq)]
pub struct ToldOption {
    /// Where it was given, for messages.
    pub place: String,
    /// Its name; of one with several objectives also `NAME.OBJECTIVE`.
    pub name: String,
    /// Its value.
    pub value: f64,
}

impl Told {
    /// A sampler and a pruner by their names, and nothing more.
    pub fn of(sampler: &str, pruner: &str) -> Self {
        Told { sampler: Some(sampler.to_owned()), pruner: Some(pruner.to_owned()), ..Told::default() }
    }

    /// BOHB is a sampler with Hyperband: that is its pruner unless another is named.
    pub fn with_hyperband_for_bohb(mut self) -> Self {
        if self.sampler.as_deref() == Some("bohb") {
            self.pruner.get_or_insert_with(|| "hyperband".to_owned());
        }
        self
    }

    /// Whether an option of the pruner is among it.
    pub fn has_option(&self, name: &str) -> bool {
        self.options.iter().any(|option| option.name == name)
    }

    /// `method` with what is told in its place.
    ///
    /// # Errors
    /// A name that there is not, an acquisition for a sampler that has none, an option that the pruner does not heed, or a
    /// pruner that was not told what it needs.
    pub fn over(&self, mut method: Method) -> Result<Method> {
        if let Some(sampler) = &self.sampler {
            method.sampler.clone_from(sampler);
        }
        method.sampler()?;
        match self.acquisition {
            Some(_) if !has_acquisition(&method.sampler) => {
                let sampler = &method.sampler;
                return Err(Error::input(format!(
                    "acquisition: the sampler {sampler} has no acquisition; {} have",
                    ACQUIRING.join(" and ")
                )));
            }
            Some(acquisition) => method.acquisition = acquisition,
            // What another sampler was told.
            None if !has_acquisition(&method.sampler) => method.acquisition = Acquisition::default(),
            None => {}
        }
        if let Some(pruner) = self.pruner.as_ref().filter(|pruner| **pruner != method.pruner) {
            pruner::entry(pruner)?;
            let objectives = std::mem::take(&mut method.pruner_settings.objectives);
            method.pruner_settings = pruner::Settings { objectives, ..pruner::Settings::default() };
            method.pruner.clone_from(pruner);
        }
        for ToldOption { place, name, value } in &self.options {
            method.pruner_settings.set(place, &method.pruner, name, *value)?;
        }
        method.pruner()?;
        Ok(method)
    }
}

/// The samplers that have a Gaussian process, whose acquisition can be chosen.
const ACQUIRING: [&str; 2] = ["gp", "auto"];

/// Whether a sampler heeds an acquisition.
pub fn has_acquisition(sampler: &str) -> bool {
    ACQUIRING.contains(&sampler)
}

impl Storage {
    /// How the study of that name proposes and stops trials, without reading its trials; none where there is no such study,
    /// or nobody has said.
    ///
    /// # Errors
    /// As [`Study::method`].
    pub fn method_of(&self, study: &str) -> Result<Option<Method>> {
        self.read(|connection| match handle::find(connection, study)? {
            Some(id) => read(connection, id, study),
            None => Ok(None),
        })
    }

    /// An attribute of the study of that name; none where there is no such study or it has none.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub fn attribute_of(&self, study: &str, key: &str) -> Result<Option<Json>> {
        self.read(|connection| match handle::find(connection, study)? {
            Some(id) => handle::attribute(connection, id, key),
            None => Ok(None),
        })
    }
}

/// What is kept with a study.
fn read(connection: &Connection, id: i64, name: &str) -> Result<Option<Method>, Fault> {
    let attribute = |key: &str| handle::attribute(connection, id, key);
    let text = |key: &str| Ok::<_, Fault>(attribute(key)?.and_then(|kept| kept.as_str().map(str::to_owned)));
    let (sampler, pruner) = (text("sampler")?, text("pruner")?);
    if sampler.is_none() && pruner.is_none() {
        return Ok(None);
    }
    let usual = Method::default();
    let objectives = handle::metric_names(connection, id)?;
    let mut method = Method {
        sampler: sampler.unwrap_or(usual.sampler),
        acquisition: text("acquisition")?.map_or(Ok(usual.acquisition), |name| Acquisition::by_name(&name))?,
        pruner: pruner.unwrap_or(usual.pruner),
        pruner_settings: pruner::Settings { objectives, ..usual.pruner_settings },
    };
    let told = attribute("pruner_options")?.and_then(|told| serde_json::from_value::<Vec<String>>(told).ok());
    let place = format!("study `{name}`: hpt:pruner_options");
    for text in told.unwrap_or_default() {
        method.pruner_settings.tell(&place, &method.pruner, &text)?;
    }
    Ok(Some(method))
}

impl Study {
    /// How the study proposes and stops trials; none where nobody has said ([`Study::set_method`]).
    ///
    /// # Errors
    /// The storage fails; what was kept names what this version has not.
    pub fn method(&self) -> Result<Option<Method>> {
        self.inner.storage.read(|connection| read(connection, self.inner.id, self.name()))
    }

    /// Keeps how the study proposes and stops trials; returns what has changed ([`Method::changes_from`]).
    ///
    /// # Errors
    /// As [`Study::method`].
    pub fn set_method(&self, method: &Method) -> Result<Vec<String>> {
        let before = self.method()?;
        let changes = before.as_ref().map(|before| method.changes_from(before)).unwrap_or_default();
        if before.is_none() || !changes.is_empty() {
            method.attributes().iter().try_for_each(|(key, value)| self.set_attribute(key, value))?;
        }
        Ok(changes)
    }
}
