//! How a study proposes and stops trials: the names and options of its sampler and pruner, kept with the study.
//!
//! Whoever goes on with a study in another process (`ask`, `tell`, a second search) finds here what it was begun with,
//! so that a model is not exchanged for another one unnoticed. They are attributes (`hpt:sampler`, `hpt:acquisition`,
//! `hpt:pruner`, `hpt:pruner_options`), not part of what makes the study this study: each may be changed at any time,
//! what nobody names stays ([`Told`]), and what nobody has named yet is for each to choose ([`Begun`]): `ask` and
//! `tell` go by [`Method::default`], a search by what is usual there.

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

    /// What is kept of each half: key, value.
    fn attributes(&self) -> [[(&'static str, Json); 2]; 2] {
        let options = self.pruner_settings.told(&self.pruner);
        [
            [("sampler", json!(self.sampler)), ("acquisition", json!(self.acquisition.name()))],
            [("pruner", json!(self.pruner)), ("pruner_options", json!(options))],
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

    /// What changes where a study that was begun so goes on with this, in words for a person.
    pub fn changes_from(&self, begun: &Begun) -> Vec<String> {
        let before = &begun.method;
        let pairs = [
            (begun.sampler, "sampler", before.sampler_in_words(), self.sampler_in_words()),
            (begun.pruner, "pruner", before.pruner_in_words(), self.pruner_in_words()),
        ];
        let changed = pairs.into_iter().filter(|(said, _, before, now)| *said && before != now);
        changed
            .map(|(_, what, before, now)| format!("the {what} of this study was {before}; it is {now} now"))
            .collect()
    }
}

/// How a study was begun: what somebody has said of it, by now, and for the rest what is usual.
#[derive(Clone, Debug, PartialEq)]
pub struct Begun {
    /// Both together.
    pub method: Method,
    /// Whether somebody has said the sampler, or its acquisition.
    pub sampler: bool,
    /// Whether somebody has said the pruner.
    pub pruner: bool,
}

impl Begun {
    /// Nobody has said anything.
    pub fn unsaid(usual: Method) -> Self {
        Begun { method: usual, sampler: false, pruner: false }
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
    /// A name that there is not, an acquisition for a sampler that has none, an option that the pruner does not heed,
    /// or a pruner that was not told what it needs.
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
    /// How the study of that name was begun, without reading its trials; `usual` is what counts where nobody has said,
    /// or where there is no such study.
    ///
    /// # Errors
    /// As [`Study::begun`].
    pub fn begun(&self, study: &str, usual: Method) -> Result<Begun> {
        self.read(|connection| match handle::find(connection, study)? {
            Some(id) => read(connection, id, study, usual),
            None => Ok(Begun::unsaid(usual)),
        })
    }

    /// What the objectives of the study of that name are called; none where there is no such study or they have no
    /// names.
    ///
    /// # Errors
    /// The storage cannot be read.
    pub fn metrics_of(&self, study: &str) -> Result<Vec<String>> {
        self.read(|connection| match handle::find(connection, study)? {
            Some(id) => handle::metric_names(connection, id),
            None => Ok(Vec::new()),
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
fn read(connection: &Connection, id: i64, name: &str, usual: Method) -> Result<Begun, Fault> {
    let attribute = |key: &str| handle::attribute(connection, id, key);
    let text = |key: &str| Ok::<_, Fault>(attribute(key)?.and_then(|kept| kept.as_str().map(str::to_owned)));
    let (sampler, pruner) = (text("sampler")?, text("pruner")?);
    let mut begun = Begun { sampler: sampler.is_some(), pruner: pruner.is_some(), method: usual };
    let method = &mut begun.method;
    if let Some(sampler) = sampler {
        method.sampler = sampler;
        method.acquisition =
            text("acquisition")?.map_or(Ok(Acquisition::default()), |name| Acquisition::by_name(&name))?;
    }
    let Some(pruner) = pruner else { return Ok(begun) };
    method.pruner = pruner;
    method.pruner_settings =
        pruner::Settings { objectives: handle::metric_names(connection, id)?, ..pruner::Settings::default() };
    let told = attribute("pruner_options")?.and_then(|told| serde_json::from_value::<Vec<String>>(told).ok());
    let place = format!("study `{name}`: hpt:pruner_options");
    for text in told.unwrap_or_default() {
        method.pruner_settings.tell(&place, &method.pruner, &text)?;
    }
    Ok(begun)
}

impl Study {
    /// How the study was begun; what nobody has said ([`Study::set_method`]) is as in [`Method::default`].
    ///
    /// # Errors
    /// The storage fails; what was kept names what this version has not.
    pub fn begun(&self) -> Result<Begun> {
        let usual = Method::default();
        self.inner.storage.read(|connection| read(connection, self.inner.id, self.name(), usual))
    }

    /// Keeps how the study proposes and stops trials; returns what has changed ([`Method::changes_from`]).
    ///
    /// # Errors
    /// As [`Study::begun`].
    pub fn set_method(&self, method: &Method) -> Result<Vec<String>> {
        self.set_halves(method, [true; 2])
    }

    /// The same of what somebody has said, now (`told`, which `method` is by) or before; the rest stays unsaid.
    ///
    /// # Errors
    /// As [`Study::begun`].
    pub fn set_told(&self, told: &Told, method: &Method) -> Result<Vec<String>> {
        let sampler = told.sampler.is_some() || told.acquisition.is_some();
        self.set_halves(method, [sampler, told.pruner.is_some() || !told.options.is_empty()])
    }

    /// Keeps the sampler's half, the pruner's, or both.
    fn set_halves(&self, method: &Method, told: [bool; 2]) -> Result<Vec<String>> {
        let begun = self.begun()?;
        for (i, said) in [begun.sampler, begun.pruner].into_iter().enumerate() {
            let (before, now) = (&begun.method.attributes()[i], &method.attributes()[i]);
            if told[i] && (!said || before != now) {
                now.iter().try_for_each(|(key, value)| self.set_attribute(key, value))?;
            }
        }
        Ok(method.changes_from(&begun))
    }
}
