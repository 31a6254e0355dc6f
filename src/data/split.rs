//! Division of rows into training, validation and test, and into folds.
//!
//! A pure function of (targets, fractions, seed): classes keep their proportions by the method of the largest
//! remainder, and every class has at least one row in every part. Rows come out in ascending order; which rows
//! they are is random, the order in which training visits them is the training loop's business.

use super::source::{Source, TargetValues, Task};
use crate::random::{Purpose, Stream};
use crate::{Error, Result};

/// Whether rows that are not for the test are validation rows in turn.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Folds {
    /// No: some are validation rows, the others training rows.
    #[default]
    None,
    /// Divided into so many, at least 2.
    Count(usize),
    /// As the fold column of the data says.
    Column,
}

/// How to divide rows.
#[derive(Clone, Debug, PartialEq)]
pub struct SplitSpec {
    /// Fraction of all rows for the test, in [0, 1); 0 for no test.
    pub test: f64,
    /// Fraction of the remaining rows for validation, in [0, 1); 0 for none. Folds take its place.
    pub validation: f64,
    /// k-fold cross-validation of the remaining rows.
    pub folds: Folds,
    /// Which of the possible divisions.
    pub seed: u64,
}

impl Default for SplitSpec {
    /// 0.2, 0.2 of the rest, seed 0.
    fn default() -> Self {
        SplitSpec { test: 0.2, validation: 0.2, folds: Folds::None, seed: 0 }
    }
}

/// Row numbers of each part, ascending; the parts share no row and together hold all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Split {
    /// What statistics and weights are learned from.
    pub train: Vec<usize>,
    /// What decides when to stop and which trial is best.
    pub validation: Vec<usize>,
    /// What is looked at once, at the end.
    pub test: Vec<usize>,
}

impl Split {
    /// Training and validation rows together, ascending.
    pub fn development(&self) -> Vec<usize> {
        let mut rows = [self.train.as_slice(), self.validation.as_slice()].concat();
        rows.sort_unstable();
        rows
    }
}

/// Divides the rows of a source, stratified by class for a classification.
///
/// With a test file of its own (`has_test_file`) no row becomes a test row. Errors: a fraction outside [0, 1),
/// fewer rows (or rows of one class) than there are parts.
pub fn split(source: &Source, has_test_file: bool, spec: &SplitSpec) -> Result<Split> {
    for (name, fraction) in [("test", spec.test), ("validation", spec.validation)] {
        if !(0.0..1.0).contains(&fraction) {
            return Err(Error::input(format!(
                "{name} split: {fraction} is not a fraction of the rows; at least 0 and less than 1 is expected"
            )));
        }
    }
    let test_fraction = if has_test_file { 0.0 } else { spec.test };
    let validation = if spec.folds == Folds::None { spec.validation } else { 0.0 };
    let parts = 1 + usize::from(test_fraction > 0.0) + usize::from(validation > 0.0);
    let mut groups = strata(source, 0..source.rows());
    check_sizes(source, &groups, parts)?;
    let mut stream = Stream::new(spec.seed, 0, Purpose::Split, 0);
    for group in &mut groups {
        stream.shuffle(group);
    }
    let after_test = if validation > 0.0 { 2 } else { 1 };
    let test = take(&mut groups, test_fraction, after_test);
    let validation = take(&mut groups, validation, 1);
    let mut train = groups.concat();
    train.sort_unstable();
    Ok(Split { train, validation, test })
}

/// How many folds there are by that choice; 0 for none.
///
/// # Errors
/// Fewer than two; a fold column that says something else, or is asked for and was not named.
pub fn fold_count(source: &Source, folds: Folds) -> Result<usize> {
    let given = source.given_folds().map(|folds| folds.iter().max().map_or(0, |&last| last as usize + 1));
    match (folds, given) {
        (Folds::None, _) => Ok(0),
        (Folds::Column, None) => Err(Error::input("folds: no column of the data was named that says them")),
        (Folds::Column, Some(given)) => Ok(given),
        (Folds::Count(k), _) if k < 2 => Err(Error::input(format!("folds: at least 2 are needed, found {k}"))),
        (Folds::Count(k), Some(given)) if k != given => Err(Error::input(format!(
            "folds: {k} are asked for, and the fold column has {given}; leave their number out"
        ))),
        (Folds::Count(k), _) => Ok(k),
    }
}

/// k pairs of (training rows, held-out rows) of `rows`, ascending; every row is held out exactly once.
///
/// Stratified by class for a classification; each repetition is another division. A fold column that was named
/// when the source was loaded decides alone: one pair a distinct value, in their order, `k` and the rest unused.
///
/// # Errors
/// Too few rows, of a class or of a given fold.
pub fn folds(source: &Source, rows: &[usize], k: usize, seed: u64, repetition: u64) -> Result<Vec<Fold>> {
    let (fold_of, k) = match source.given_folds() {
        Some(given) => (given.to_vec(), fold_count(source, Folds::Column)?),
        None => (deal(source, rows, k, seed, repetition)?, k),
    };
    let pair = |fold: usize| rows.iter().partition(|&&row| fold_of[row] as usize != fold);
    let pairs: Vec<Fold> = (0..k).map(pair).collect();
    match pairs.iter().position(|(_, held)| held.is_empty()) {
        Some(empty) => Err(Error::input(format!(
            "{}: fold {} of the {k} of the fold column has no row that is not a test row; give a smaller test split, or test \
             rows of their own",
            source.origin(),
            empty + 1
        ))),
        None => Ok(pairs),
    }
}

/// Training rows and held-out rows.
pub type Fold = (Vec<usize>, Vec<usize>);

/// The fold of every one of `rows`; 0 for others.
fn deal(source: &Source, rows: &[usize], k: usize, seed: u64, repetition: u64) -> Result<Vec<u32>> {
    fold_count(source, Folds::Count(k))?;
    let mut groups = strata(source, rows.iter().copied());
    check_sizes(source, &groups, k)?;
    let mut stream = Stream::new(seed, 0, Purpose::Folds, repetition);
    let mut fold_of = vec![0u32; source.rows()];
    // One deal through all classes, so that folds differ by at most one row in all and in every class.
    let mut next = 0;
    for group in &mut groups {
        stream.shuffle(group);
        for &mut row in group {
            fold_of[row] = next as u32;
            next = (next + 1) % k;
        }
    }
    Ok(fold_of)
}

/// Rows by class; all rows in one group where there are no classes. Every group has a row.
fn strata(source: &Source, rows: impl Iterator<Item = usize>) -> Vec<Vec<usize>> {
    match (source.target(), source.task()) {
        (TargetValues::Classes(labels), Task::Classification { classes }) => {
            let mut groups = vec![Vec::new(); classes.len()];
            for row in rows {
                groups[labels[row] as usize].push(row);
            }
            groups.retain(|group| !group.is_empty());
            groups
        }
        _ => vec![rows.collect()],
    }
}

fn check_sizes(source: &Source, groups: &[Vec<usize>], parts: usize) -> Result<()> {
    let Some(small) = groups.iter().find(|group| group.len() < parts) else { return Ok(()) };
    let what = match (source.label(small.first().copied().unwrap_or(0)), source.task()) {
        (Some(label), Task::Classification { classes }) => {
            format!("class `{}` of target `{}`", classes[label as usize], source.target_names.join(","))
        }
        _ => "the table".to_owned(),
    };
    let rows = if small.len() == 1 { "1 row".to_owned() } else { format!("{} rows", small.len()) };
    Err(Error::input(format!(
        "{}: {what} has {rows}, fewer than a division into {parts} parts needs; \
         add rows, merge or remove rare classes, or divide into fewer parts (a test split of 0, fewer folds)",
        source.origin()
    )))
}

/// Takes `fraction` of the rows away from the ends of the groups: at least one row a group, and at least `keep`
/// rows a group stay. Returned ascending.
fn take(groups: &mut [Vec<usize>], fraction: f64, keep: usize) -> Vec<usize> {
    if fraction == 0.0 {
        return Vec::new();
    }
    let sizes: Vec<usize> = groups.iter().map(Vec::len).collect();
    let counts = apportion(&sizes, fraction, keep);
    let mut rows: Vec<usize> = Vec::new();
    for (group, count) in groups.iter_mut().zip(counts) {
        rows.extend(group.split_off(group.len() - count));
    }
    rows.sort_unstable();
    rows
}

/// How many rows each group gives: `fraction` of all rows in total, in proportion to the groups by the largest
/// remainder, within 1 ..= size − keep for each group.
fn apportion(sizes: &[usize], fraction: f64, keep: usize) -> Vec<usize> {
    let quotas: Vec<f64> = sizes.iter().map(|&size| size as f64 * fraction).collect();
    let total = (sizes.iter().sum::<usize>() as f64 * fraction).round() as usize;
    let most = |group: usize| sizes[group] - keep;
    let mut counts: Vec<usize> =
        quotas.iter().enumerate().map(|(group, quota)| (*quota as usize).clamp(1, most(group))).collect();
    let remainder = |counts: &[usize], group: usize| quotas[group] - counts[group] as f64;
    loop {
        let given: usize = counts.iter().sum();
        let groups = 0..sizes.len();
        // Ties go to the first group, so that the result is one and the same everywhere.
        let chosen = if given < total {
            groups
                .filter(|&g| counts[g] < most(g))
                .max_by(|&a, &b| remainder(&counts, a).total_cmp(&remainder(&counts, b)).then(b.cmp(&a)))
        } else if given > total {
            groups
                .filter(|&g| counts[g] > 1)
                .min_by(|&a, &b| remainder(&counts, a).total_cmp(&remainder(&counts, b)).then(a.cmp(&b)))
        } else {
            None
        };
        match chosen {
            Some(group) if given < total => counts[group] += 1,
            Some(group) => counts[group] -= 1,
            None => return counts,
        }
    }
}

/// Weights of classes that make every class count the same: n / (k · count), as scikit-learn's `balanced`.
///
/// `labels` are classes in 0..`classes`; a class without rows has weight 0.
pub fn balanced_weights(labels: &[u32], classes: usize) -> Vec<f32> {
    let mut counts = vec![0usize; classes];
    for &label in labels {
        counts[label as usize] += 1;
    }
    let share = labels.len() as f64 / classes as f64;
    counts.iter().map(|&count| if count == 0 { 0.0 } else { (share / count as f64) as f32 }).collect()
}
