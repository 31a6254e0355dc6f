//! The grid over a space: which configurations it holds, how many, and which one stands in which place.
//!
//! The last parameter varies fastest. A conditional parameter is spread out only where it exists, so the grid is a
//! tree, not a box: the number of leaves below a value is counted once for each combination of the parents that
//! later parameters ask about, which makes a place number lead to its configuration without listing the others.

use super::{Params, Space, Value};
use std::collections::HashMap;

/// A finite set of configurations of a space in a fixed order.
#[derive(Clone, Debug)]
pub struct Grid<'a> {
    space: &'a Space,
    /// The grid points of each parameter where they are not simply all its values.
    spread: Vec<Option<Vec<Value>>>,
    /// For each parameter: the conditions of later ones that ask about it or about an earlier one, as
    /// (parent's place, test's place in that child).
    open: Vec<Vec<(usize, usize, usize)>>,
    size: Option<u64>,
}

/// A parent with more values than this is not walked through to count what lies below each of them.
const MOST_PARENT_VALUES: u64 = 1 << 20;

/// Number of configurations below a partial one, by the parameter's place and the outcome of the open conditions.
type Memo = HashMap<(usize, Vec<bool>), Option<u64>>;

impl<'a> Grid<'a> {
    /// The grid with all values of choices, steps and whole numbers and with `resolution` points, ends included, of
    /// every continuum and of every longer logarithmic range; `usize::MAX` for the whole of a finite space.
    pub fn new(space: &'a Space, resolution: usize) -> Self {
        let parameters = space.parameters();
        let spread = parameters.iter().map(|parameter| parameter.domain.spread(resolution)).collect();
        let place = |name: &str| parameters.iter().position(|parameter| parameter.name == name).unwrap_or(0);
        let open = (0..=parameters.len())
            .map(|i| {
                let later = parameters.iter().enumerate().skip(i);
                let asked = later.flat_map(|(child, parameter)| {
                    parameter.when.iter().enumerate().map(move |(c, condition)| (place(&condition.parent), child, c))
                });
                asked.filter(|(parent, _, _)| *parent < i).collect()
            })
            .collect();
        let mut grid = Grid { space, spread, open, size: None };
        grid.size = grid.count(0, &Params::new(), &mut Memo::new());
        grid
    }

    /// Number of configurations; none for 2⁶⁴ and more (and below a parent of over a million values).
    pub fn size(&self) -> Option<u64> {
        self.size
    }

    /// The configuration in place `index`, counted from 0; none beyond the end.
    pub fn nth(&self, index: u64) -> Option<Params> {
        if self.size.is_some_and(|size| index >= size) {
            return None;
        }
        let mut memo = Memo::new();
        let mut params = Params::new();
        let mut left = index;
        for (i, parameter) in self.space.parameters().iter().enumerate() {
            if !self.space.is_active(parameter, &params) {
                continue;
            }
            let mut place = 0;
            if self.is_asked_about(i) {
                while let Some(below) = self.below(i, place, &mut params, &mut memo).filter(|below| left >= *below) {
                    left -= below;
                    place += 1;
                }
            } else if let Some(below) = self.below(i, 0, &mut params, &mut memo) {
                place = left / below;
                left %= below;
            }
            params.insert(parameter.name.clone(), self.value(i, place));
        }
        Some(params)
    }

    /// Configurations that share the values of the first `i` parameters.
    fn count(&self, i: usize, params: &Params, memo: &mut Memo) -> Option<u64> {
        let Some(parameter) = self.space.parameters().get(i) else { return Some(1) };
        let key = (i, self.outcomes(i, params));
        if let Some(&known) = memo.get(&key) {
            return known;
        }
        let count = if self.space.is_active(parameter, params) {
            let mut inner = params.clone();
            match self.points(i) {
                Some(points) if points > MOST_PARENT_VALUES && self.is_asked_about(i) => None,
                Some(points) if self.is_asked_about(i) => {
                    (0..points).try_fold(0u64, |sum, place| sum.checked_add(self.below(i, place, &mut inner, memo)?))
                }
                // Nobody asks about this value: all have as many configurations below them.
                Some(points) => self.below(i, 0, &mut inner, memo).and_then(|below| below.checked_mul(points)),
                None => None,
            }
        } else {
            self.count(i + 1, params, memo)
        };
        memo.insert(key, count);
        count
    }

    /// Configurations that share the first `i` parameters of `params` and have the value in that place next.
    fn below(&self, i: usize, place: u64, params: &mut Params, memo: &mut Memo) -> Option<u64> {
        params.insert(self.space.parameters()[i].name.clone(), self.value(i, place));
        self.count(i + 1, params, memo)
    }

    /// Number of grid points of parameter `i`.
    fn points(&self, i: usize) -> Option<u64> {
        match &self.spread[i] {
            Some(values) => Some(values.len() as u64),
            None => self.space.parameters()[i].domain.size(),
        }
    }

    fn value(&self, i: usize, place: u64) -> Value {
        match &self.spread[i] {
            Some(values) => values[(place as usize).min(values.len() - 1)].clone(),
            None => self.space.parameters()[i].domain.nth(place),
        }
    }

    /// True where a later parameter's existence depends on parameter `i`.
    fn is_asked_about(&self, i: usize) -> bool {
        self.open[i + 1].iter().any(|(parent, _, _)| *parent == i)
    }

    fn outcomes(&self, i: usize, params: &Params) -> Vec<bool> {
        let parameters = self.space.parameters();
        let outcome = |&(parent, child, c): &(usize, usize, usize)| {
            params.get(&parameters[parent].name).is_some_and(|value| parameters[child].when[c].test.holds(value))
        };
        self.open[i].iter().map(outcome).collect()
    }
}
