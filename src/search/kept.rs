//! The models of the best trials so far, one file each, as the study goes on and after it was interrupted.

use super::ready::settings_of;
use super::trial::WEIGHTS;
use crate::history::pareto::{Merit, best_first, distinct_first};
use crate::history::{Direction, State, Trial};
use crate::model::Model;
use crate::settings::Settings;
use crate::study::{Storage, Study};
use crate::train::hash_of;
use crate::{Error, Result};
use serde::{Deserialize, Serialize};
use serde_json::{Value as Json, json};
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The file of a training that was interrupted before there was any result.
const UNFINISHED: &str = "interrupted.safetensors";
/// Attribute of a study: the folder of its trials' models, from that of the study's file on where it lies in it.
const FOLDER: &str = "models";
/// Attribute of a study: its name, beside that folder. A copy has the folder without being the study whose models those
/// are.
const FOLDER_OF: &str = "models_of";
/// Attribute of a study: what that file holds ([`Interrupted`]); null where there is none any more.
const INTERRUPTED: &str = "interrupted";

/// The models of the best trials so far, one file each.
pub(super) struct Kept {
    folder: PathBuf,
    count: usize,
    directions: Vec<Direction>,
    best: Mutex<Vec<Entry>>,
    /// Of trials that were repeated since; whether they count is known at the end.
    repeated: Mutex<Vec<Entry>>,
    /// The best model since the start where no file is kept and one may be needed.
    held: Mutex<Option<(Merit, u64, Model)>>,
    holds: bool,
    /// What trainings that were interrupted had come to.
    unfinished: Mutex<Option<Unfinished>>,
}

/// A trial whose model is kept.
#[derive(Clone)]
struct Entry {
    merit: Merit,
    number: u64,
    slot: u64,
}

fn file_of(folder: &Path, number: u64) -> PathBuf {
    folder.join(format!("trial-{number}.safetensors"))
}

/// The model of a trial, where it is in the folder; a file of that name may be another study's.
fn load(folder: &Path, trial: &Trial, study: &Study) -> Option<Model> {
    let model = Model::load(&file_of(folder, trial.number)).ok()?;
    let training = &model.training;
    // A study of that name may be in another file.
    let own = settings_of(&Settings::default(), &trial.params).ok()?.to_json();
    let is_same = own.iter().all(|(name, value)| training.settings.get(name) == Some(value));
    let is_ours = training.study.as_deref() == Some(study.name()) && training.slot == trial.slot();
    // Trials of earlier versions do not say.
    let weights = trial.user.get(WEIGHTS).is_none_or(|hash| *hash == hash_of(&model.weights));
    (is_ours && is_same && weights).then_some(model)
}

/// A folder as a study keeps it: from that of its file on where it lies in it.
fn kept_folder(storage: &Storage, folder: &Path) -> Result<Json> {
    let absolute = |path: &Path| std::path::absolute(path).map_err(|e| Error::io(path, e));
    let (all, file) = (absolute(folder)?, absolute(storage.path())?);
    let place = file.parent().unwrap_or(Path::new("/"));
    Ok(json!(all.strip_prefix(place).unwrap_or(&all).display().to_string()))
}

/// Whether a study of that name keeps its models there.
fn owns(storage: &Storage, name: &str, folder: &Json) -> Result<bool> {
    let attribute = |key: &str| storage.attribute_of(name, key);
    Ok(attribute(FOLDER)?.is_some_and(|known| known == *folder)
        && attribute(FOLDER_OF)?.is_none_or(|known| known == json!(name)))
}

/// Refuses a folder in which another study of the file keeps its models: they would be replaced. What to say where the
/// study is new to the folder and somebody's models are in it.
///
/// # Errors
/// [`Error::Input`] where it is another study's; the storage fails.
pub(super) fn claim(storage: &Storage, name: &str, folder: &Path) -> Result<Option<String>> {
    let (kept, shown) = (kept_folder(storage, folder)?, folder.display());
    if !folder.is_dir() || owns(storage, name, &kept)? {
        return Ok(None);
    }
    for other in storage.studies()?.iter().filter(|other| *other != name) {
        if owns(storage, other, &kept)? {
            return Err(Error::input(format!(
                "{shown}: the study `{other}` keeps its models there, and those of `{name}` would replace them; name another \
                 folder with --out"
            )));
        }
    }
    // One that has been somewhere else meanwhile finds its own.
    let is_new = storage.attribute_of(name, FOLDER)?.is_none();
    let files = std::fs::read_dir(folder).map_err(|e| Error::io(folder, e))?;
    let is_other = |path: &Path| {
        let is_model = path.extension().is_some_and(|ending| ending == "safetensors");
        is_model && (is_new || Model::load(path).is_ok_and(|model| model.training.study.as_deref() != Some(name)))
    };
    Ok(files
        .flatten()
        .any(|file| is_other(&file.path()))
        .then(|| format!("{shown} has models that are not of this study: where a name is the same they are replaced")))
}

/// Keeps with the study where its models are, so that they are found from any folder, and when all has been moved.
fn remember_folder(study: &Study, folder: &Path) -> Result<()> {
    let folder = kept_folder(study.storage(), folder)?;
    if owns(study.storage(), study.name(), &folder)? {
        return Ok(());
    }
    study.set_attribute(FOLDER, &folder)?;
    study.set_attribute(FOLDER_OF, &json!(study.name()))
}

/// The file of each trial's own model, none where it was not kept. None for a study that has no models: of a program,
/// or by an earlier version.
///
/// # Errors
/// The storage fails.
pub fn models_of(study: &Study, trials: &[Trial]) -> Result<Option<Vec<Option<PathBuf>>>> {
    let Some(folder) = study.attribute(FOLDER)?.and_then(|folder| folder.as_str().map(PathBuf::from)) else {
        return Ok(None);
    };
    let folder = study.storage().path().parent().unwrap_or(Path::new("")).join(folder);
    let file = |trial: &Trial| load(&folder, trial, study).map(|_| file_of(&folder, trial.number));
    Ok(Some(trials.iter().map(file).collect()))
}

/// What an interrupted training had come to.
pub(super) struct Unfinished {
    pub trial: u64,
    pub epoch: usize,
    /// What was watched, and the same as a loss.
    pub value: f64,
    pub loss: f64,
    pub model: Model,
}

/// The model of a training that the user interrupted before there was any result.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Interrupted {
    /// The trial, which is lost now: another one repeats it.
    pub trial: u64,
    /// Epochs that it had trained.
    pub epoch: usize,
    /// The metric that is watched, on the validation rows.
    pub value: f64,
    /// The file.
    pub model: PathBuf,
}

impl Interrupted {
    /// What an interrupt left of a study; none where the file is gone.
    pub(super) fn of(study: &Study) -> Result<Option<Self>> {
        let left: Option<Self> = study.attribute(INTERRUPTED)?.and_then(|left| serde_json::from_value(left).ok());
        Ok(left.filter(|left| left.model.is_file()))
    }
}

impl Kept {
    /// Finds the models that an earlier part of the study left. Where none are kept and a time limit may make the best
    /// one the result (`holds`), that stays in memory.
    pub fn new(folder: &Path, count: usize, study: &Study, holds: bool) -> Result<Self> {
        if folder.exists() && !folder.is_dir() {
            let name = folder.display();
            return Err(Error::input(format!("{name}: is a file, and the models need a folder; name one with --out")));
        }
        std::fs::create_dir_all(folder).map_err(|e| Error::io(folder, e))?;
        remember_folder(study, folder)?;
        let directions = study.directions().to_vec();
        let (best, repeated, held, unfinished) =
            (Mutex::default(), Mutex::default(), Mutex::default(), Mutex::default());
        let holds = holds && count == 0;
        let kept = Kept { folder: folder.to_owned(), count, directions, best, repeated, held, holds, unfinished };
        let trials = study.trials()?;
        let complete = trials.iter().filter(|trial| trial.state == State::Complete);
        kept.best.lock().unwrap_or_else(PoisonError::into_inner).extend(kept.found(complete, study));
        // Whoever repeated them may have been killed.
        kept.repeated().extend(kept.found(&study.repeated()?, study));
        Ok(kept)
    }

    /// Those of the trials whose model is in the folder.
    fn found<'a>(&self, trials: impl IntoIterator<Item = &'a Trial>, study: &Study) -> Vec<Entry> {
        let ours = trials.into_iter().filter(|trial| self.model(trial, study).is_some());
        let entry = |trial: &Trial| {
            let merit = Merit::of(&self.directions, trial)?;
            Some(Entry { merit, number: trial.number, slot: trial.slot() })
        };
        ours.filter_map(entry).collect()
    }

    /// The model of a trial, where it is there; a file of that name may be another study's.
    pub fn model(&self, trial: &Trial, study: &Study) -> Option<Model> {
        if let Some((_, number, model)) = self.held().as_ref()
            && *number == trial.number
        {
            return Some(model.clone());
        }
        load(&self.folder, trial, study)
    }

    fn held(&self) -> MutexGuard<'_, Option<(Merit, u64, Model)>> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Remembers what a training had come to when it was interrupted, if none beside it had come further.
    pub fn interrupted(&self, unfinished: Unfinished) {
        let mut best = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner);
        if best.as_ref().is_none_or(|best| unfinished.loss < best.loss) {
            *best = Some(unfinished);
        }
    }

    /// Saves the best of what was interrupted, and says where; the study remembers it.
    pub fn save_interrupted(&self, study: &Study) -> Result<Option<Interrupted>> {
        let unfinished = self.unfinished.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(unfinished) = unfinished else { return Ok(None) };
        let Unfinished { trial, epoch, value, model, .. } = unfinished;
        let left = Interrupted { trial, epoch, value, model: self.folder.join(UNFINISHED) };
        model.save(&left.model)?;
        study.set_attribute(INTERRUPTED, &json!(left))?;
        Ok(Some(left))
    }

    /// Removes what an interrupt left: there is a result.
    pub fn forget_interrupted(&self, study: &Study) -> Result<()> {
        // What stays behind takes a little room, no more.
        let _ = std::fs::remove_file(self.folder.join(UNFINISHED));
        match study.attribute(INTERRUPTED)? {
            Some(left) if !left.is_null() => study.set_attribute(INTERRUPTED, &Json::Null),
            _ => Ok(()),
        }
    }

    fn path(&self, number: u64) -> PathBuf {
        file_of(&self.folder, number)
    }

    /// Saves a trial's model if it is among the best, in place of the worst of them. With several objectives the front
    /// comes first, its different points before those that are there already, and among these the first objective
    /// decides. What an earlier attempt in the trial's slot came to takes none of the places any more.
    pub fn offer(&self, number: u64, values: &[f64], violation: f64, model: &Model) -> Result<()> {
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        let losses = self.directions.iter().zip(values).map(|(direction, value)| direction.loss(*value) + 0.0);
        let merit = Merit { losses: losses.collect(), violation };
        if self.holds {
            let mut held = self.held();
            let is_better =
                |(before, _, _): &(Merit, u64, Model)| best_first(&[before.clone(), merit.clone()]).first() == Some(&1);
            if held.as_ref().is_none_or(is_better) {
                *held = Some((merit, number, model.clone()));
            }
            return Ok(());
        }
        let slot = model.training.slot;
        self.repeated().extend(best.extract_if(.., |entry| entry.slot == slot && entry.number != number));
        best.push(Entry { merit, number, slot });
        best.sort_by_key(|entry| entry.number);
        let merits: Vec<Merit> = best.iter().map(|entry| entry.merit.clone()).collect();
        let order = distinct_first(&merits);
        let count = self.count.min(best.len());
        if !order[..count].iter().any(|place| best[*place].number == number) {
            best.retain(|entry| entry.number != number);
            return Ok(());
        }
        model.save(&self.path(number))?;
        *best = order.into_iter().map(|place| best[place].clone()).collect();
        for dropped in best.drain(count..) {
            self.remove(dropped.number)?;
        }
        Ok(())
    }

    fn remove(&self, number: u64) -> Result<()> {
        let path = self.path(number);
        match std::fs::remove_file(&path) {
            // Another process of the same study may have been first.
            Err(e) if e.kind() != std::io::ErrorKind::NotFound => Err(Error::io(&path, e)),
            _ => Ok(()),
        }
    }

    /// Removes the models of trials that have no value any more: each was repeated, and nobody is at it still. Then
    /// those beyond the best of the study, some of which another process may have found.
    pub fn tidy(&self, study: &Study) -> Result<()> {
        let (trials, aside) = (study.trials()?, study.put_aside()?);
        let complete = trials.iter().filter(|trial| trial.state == State::Complete);
        let complete: BTreeSet<u64> = complete.chain(&aside).map(|trial| trial.number).collect();
        let mut best = self.best.lock().unwrap_or_else(PoisonError::into_inner);
        best.append(&mut self.repeated());
        let gone: Vec<Entry> = best.extract_if(.., |entry| !complete.contains(&entry.number)).collect();
        gone.iter().try_for_each(|entry| self.remove(entry.number))?;
        if self.count == 0 {
            return Ok(());
        }
        let others = trials.iter().filter(|trial| trial.state == State::Complete);
        let others = others.filter(|trial| best.iter().all(|entry| entry.number != trial.number));
        let others = self.found(others, study);
        best.extend(others);
        best.sort_by_key(|entry| entry.number);
        let order = distinct_first(&best.iter().map(|entry| entry.merit.clone()).collect::<Vec<Merit>>());
        order.into_iter().skip(self.count).try_for_each(|place| self.remove(best[place].number))
    }

    fn repeated(&self) -> MutexGuard<'_, Vec<Entry>> {
        self.repeated.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::Sketch;
    use crate::model::{Criterion, Head, Loss, ModelSpec, Plan, Training};
    use crate::sampler::RandomSampler;
    use crate::space::{Domain, Parameter, Space};
    use crate::study::{Outcome, StudyConfig};

    fn study(directions: &[Direction]) -> Study {
        let domain = Domain::Float { low: 0.0, high: 1.0, log: false, step: None };
        let space = Space::new(vec![Parameter { name: "x".into(), domain, when: vec![] }]).unwrap();
        let config = StudyConfig { directions: directions.to_vec(), ..StudyConfig::new("s", directions[0], space) };
        Study::in_memory(&config).unwrap()
    }

    fn model() -> Model {
        let spec = ModelSpec { hidden: Vec::new(), ..ModelSpec::default() };
        let plan = Plan::new(&spec, 1, 1).unwrap();
        Model {
            weights: vec![0.5; plan.parameters],
            plan,
            spec,
            pipeline: None,
            head: Head::Binary(1),
            criterion: Criterion { loss: Loss::BinaryCrossEntropy, label_smoothing: 0.0, class_weights: None },
            training: Training {
                version: String::new(),
                seed: 0,
                slot: 0,
                epoch: 1,
                rows: 1,
                settings: serde_json::Map::new(),
                study: Some("s".into()),
                schedule: Vec::new(),
                seen: Sketch::default(),
            },
        }
    }

    /// The trials of which a file is left, after these values were offered in turn.
    fn left(directions: &[Direction], count: usize, values: &[&[f64]]) -> BTreeSet<usize> {
        let folder = tempfile::tempdir().unwrap();
        let kept = Kept::new(folder.path(), count, &study(directions), false).unwrap();
        for (number, values) in values.iter().enumerate() {
            let mut model = model();
            model.training.slot = number as u64;
            kept.offer(number as u64, values, 0.0, &model).unwrap();
        }
        (0..values.len()).filter(|number| file_of(folder.path(), *number as u64).is_file()).collect()
    }

    #[test]
    fn files_of_a_front_are_of_different_points_first() {
        use Direction::{Maximize, Minimize};
        let points: [&[f64]; 6] = [&[0.9, 3.0], &[0.9, 3.0], &[0.9, 3.0], &[0.5, 1.0], &[0.7, 2.0], &[0.9, 3.0]];
        assert_eq!(left(&[Maximize, Minimize], 3, &points), BTreeSet::from([0, 3, 4]));
        assert_eq!(left(&[Maximize, Minimize], 4, &points), BTreeSet::from([0, 1, 3, 4]));
        // Equal values of one objective are different networks, the earlier the better.
        assert_eq!(left(&[Maximize], 3, &[&[0.5], &[0.9], &[0.4], &[0.9], &[0.5]]), BTreeSet::from([0, 1, 3]));
    }

    #[test]
    fn two_processes_of_a_study_leave_the_best_of_both() {
        let domain = Domain::Float { low: 0.001, high: 0.1, log: true, step: None };
        let space = Space::new(vec![Parameter { name: "learning_rate".into(), domain, when: vec![] }]).unwrap();
        let study = Study::in_memory(&StudyConfig::new("s", Direction::Maximize, space)).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let kept = [0, 1].map(|_| Kept::new(folder.path(), 2, &study, false).unwrap());
        for (i, value) in [0.3, 0.9, 0.1, 0.8, 0.2, 0.7].into_iter().enumerate() {
            let trial = study.ask(&RandomSampler, 0).unwrap().unwrap();
            let mut model = model();
            model.training.slot = trial.slot();
            model.training.settings = settings_of(&Settings::default(), &trial.params).unwrap().to_json();
            kept[i % 2].offer(trial.number, &[value], 0.0, &model).unwrap();
            study.tell(trial.number, Outcome::Complete(vec![value])).unwrap();
        }
        let left = || (0..6).filter(|number| file_of(folder.path(), *number).is_file()).collect::<Vec<u64>>();
        assert_eq!(left(), [0, 1, 3, 4]);
        kept[0].tidy(&study).unwrap();
        assert_eq!(left(), [1, 3]);
        kept[1].tidy(&study).unwrap();
        assert_eq!(left(), [1, 3]);
    }
}
