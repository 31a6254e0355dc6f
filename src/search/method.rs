//! How a search proposes and stops trials: what the user says, over what the study was begun with, over what is usual.
//!
//! A study that is there already goes on as it was begun, whoever began it (`create-study`, another search); what is
//! named changes it, with a note, and is kept in turn.

use crate::Result;
use crate::study::{Begun, Method, Storage, Told};
use std::path::Path;

/// What a search goes by.
pub(super) struct Chosen {
    pub method: Method,
    /// Whether the first rung of successive halving was said, now or when the study was begun.
    pub rung_is_said: bool,
}

/// The method for the study of that name in `storage`, which need not exist; `pruner` is the usual one.
///
/// # Errors
/// Those of [`Told::over`]; the storage cannot be read.
pub(super) fn choose(
    storage: &Path,
    study: &str,
    told: &Told,
    pruner: &str,
    objectives: Vec<String>,
) -> Result<Chosen> {
    let usual = Method { pruner: pruner.to_owned(), ..Method::default() };
    let begun = match Storage::open_if_there(storage)? {
        Some(storage) => storage.begun(study, usual)?,
        None => Begun::unsaid(usual),
    };
    let mut method = begun.method;
    let before = if begun.pruner { method.pruner.clone() } else { String::new() };
    method.pruner_settings.objectives = objectives;
    let mut told = told.clone();
    // Where BOHB goes on, its pruner is the one that is kept.
    if method.sampler != "bohb" && pruner != "none" {
        told = told.with_hyperband_for_bohb();
    }
    let rung_is_told = told.has_option("min_resource");
    let method = told.over(method)?;
    Ok(Chosen { rung_is_said: rung_is_told || method.pruner == before, method })
}
