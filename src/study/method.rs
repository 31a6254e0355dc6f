//! How a study proposes and stops trials: the names and options of its sampler and pruner, kept with the study.
//!
//! Whoever goes on with a study in another process (`ask`, `tell`, a second search) finds here what it was begun with, so
//! that a model is not exchanged for another one unnoticed. They are attributes (`hpt:sampler`, `hpt:acquisition`,
//! `hpt:pruner`, `hpt:pruner_options`), not part of what makes the study this study: each may be changed at any time.

use super::handle::Study;
use crate::Result;
use crate::pruner::{self, Pruner};
use crate::sampler::{self, Acquisition, Sampler};
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

impl Study {
    /// How the study proposes and stops trials; none where nobody has said ([`Study::set_method`]).
    ///
    /// # Errors
    /// The storage fails; what was kept names what this version has not.
    pub fn method(&self) -> Result<Option<Method>> {
        let text =
            |key: &str| Ok::<_, crate::Error>(self.attribute(key)?.and_then(|kept| kept.as_str().map(str::to_owned)));
        let (sampler, pruner) = (text("sampler")?, text("pruner")?);
        if sampler.is_none() && pruner.is_none() {
            return Ok(None);
        }
        let usual = Method::default();
        let mut method = Method {
            sampler: sampler.unwrap_or(usual.sampler),
            acquisition: text("acquisition")?.map_or(Ok(usual.acquisition), |name| Acquisition::by_name(&name))?,
            pruner: pruner.unwrap_or(usual.pruner),
            pruner_settings: pruner::Settings { objectives: self.metric_names().to_vec(), ..usual.pruner_settings },
        };
        let told = self.attribute("pruner_options")?.and_then(|told| serde_json::from_value::<Vec<String>>(told).ok());
        let place = format!("study `{}`: hpt:pruner_options", self.name());
        for text in told.unwrap_or_default() {
            method.pruner_settings.tell(&place, &method.pruner, &text)?;
        }
        Ok(Some(method))
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
