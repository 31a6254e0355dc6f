//! The space of a study that has none (Optuna's own): domains and conditions from what its trials had.

use crate::Result;
use crate::history::Trial;
use crate::space::{Condition, Domain, Parameter, Space, Test, Value};
use std::collections::BTreeMap;

/// Longest domain of a parameter that others may depend on.
const LONGEST: u64 = 64;

/// A space in which the trials lie, with a note for every parameter that had to be left out.
///
/// Domains are those of the latest trial that has the parameter. A parameter that only some trials have gets the
/// condition that explains all trials: it exists where an earlier one, which more trials have, takes certain values.
/// One that no such condition explains is left out.
///
/// # Errors
/// [`crate::Error::Input`] where a domain of the storage is none (an inverted range).
pub fn infer_space(trials: &[Trial]) -> Result<(Space, Vec<String>)> {
    let trials: Vec<&Trial> = trials.iter().filter(|trial| !trial.params.is_empty()).collect();
    let mut names: Vec<&str> = Vec::new();
    let mut domains: BTreeMap<&str, &Domain> = BTreeMap::new();
    for trial in &trials {
        for name in trial.params.keys().map(String::as_str) {
            let Some(domain) = trial.domains.get(name) else { continue };
            if domains.insert(name, domain).is_none() {
                names.push(name);
            }
        }
    }
    let presence = |name: &str| trials.iter().filter(|trial| trial.params.contains_key(name)).count();
    let counts: BTreeMap<&str, usize> = names.iter().map(|name| (*name, presence(name))).collect();
    let (mut parameters, mut notes): (Vec<Parameter>, Vec<String>) = (Vec::new(), Vec::new());
    // Those that more trials have come first: a parent is in the space before its children are looked at.
    names.sort_by_key(|name| std::cmp::Reverse(counts[name]));
    for name in names {
        let mut when = Vec::new();
        if counts[name] < trials.len() {
            let parents = parameters.iter().filter(|parent| counts[parent.name.as_str()] > counts[name]);
            // The closest one: among several that explain it, the one with the fewest trials that do not have it.
            let found = parents.filter_map(|parent| {
                condition(&trials, name, parent).map(|found| (counts[parent.name.as_str()], found))
            });
            match found.min_by_key(|(count, _)| *count) {
                Some((_, found)) => when.push(found),
                None => {
                    notes.push(format!(
                        "`{name}` is left out: {} of {} trials have it, and no other parameter says when",
                        counts[name],
                        trials.len()
                    ));
                    continue;
                }
            }
        }
        parameters.push(Parameter { name: name.to_owned(), domain: domains[name].clone(), when });
    }
    Ok((Space::new(parameters)?, notes))
}

/// The condition on `parent` that holds in the trials with `child` and in no other.
fn condition(trials: &[&Trial], child: &str, parent: &Parameter) -> Option<Condition> {
    let size = parent.domain.size().filter(|size| *size <= LONGEST)?;
    let mut holds: Vec<Option<bool>> = vec![None; size as usize];
    for trial in trials {
        let has = trial.params.contains_key(child);
        let Some(value) = trial.params.get(&parent.name) else { if has { return None } else { continue } };
        let place = parent.domain.index_of(value)? as usize;
        if *holds[place].get_or_insert(has) != has {
            return None;
        }
    }
    let values = || (0..size).filter(|&i| holds[i as usize] == Some(true));
    let first = values().next()?;
    // Numbers from one value on, as far as anybody has seen.
    let rising = !parent.domain.is_choice() && (first..size).all(|i| holds[i as usize] != Some(false));
    let test = match parent.domain.nth(first).as_f64().filter(|_| rising) {
        Some(least) => Test::AtLeast(least),
        None => Test::In(values().map(|i| parent.domain.nth(i)).collect::<Vec<Value>>()),
    };
    Some(Condition { parent: parent.name.clone(), test })
}
