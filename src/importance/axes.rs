//! The axes of a space: where a value lies, where a threshold may lie, and when a parameter exists.
//!
//! A number lies in the unit interval, in the middle of its cell where its values are steps; thresholds lie on the
//! edges of cells, so that a volume is exactly the chance of the values inside. A choice is the place in its list. A
//! parameter with conditions may be split only inside a box where all of them hold: elsewhere its coordinate is idle,
//! and nothing may depend on it. With idle coordinates taken as uniform too, the space is a product, and boxes have
//! exact volumes.

use crate::space::{Condition, Domain, Space, Value};

/// Longest domain of a parent whose conditions are decided in advance.
const LONGEST: u64 = 4096;

/// Part of an axis.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Side {
    /// Numbers between two edges.
    Interval(f64, f64),
    /// Which values of a choice.
    Set(Vec<bool>),
}

impl Side {
    /// Its share of the axis.
    pub(super) fn volume(&self) -> f64 {
        match self {
            Side::Interval(low, high) => high - low,
            Side::Set(members) => members.iter().filter(|member| **member).count() as f64 / members.len() as f64,
        }
    }
}

/// One parameter; see the module.
#[derive(Clone, Debug)]
pub(super) struct Axis {
    pub(super) domain: Domain,
    /// Parents with what is asked of them.
    parents: Vec<(usize, Holds)>,
    /// Edges where a condition on this parameter begins or ends to hold.
    turns: Vec<f64>,
}

/// Where on its parent a condition holds.
#[derive(Clone, Debug)]
enum Holds {
    /// By place of the value.
    Table(Vec<bool>),
    /// From this edge on.
    From(f64),
    /// At single points of a continuum: in no box.
    Nowhere,
}

/// The axes of a space, one a parameter.
pub(super) fn of(space: &Space) -> Vec<Axis> {
    let parameters = space.parameters();
    let axis = |domain: &Domain| Axis { domain: domain.clone(), parents: Vec::new(), turns: Vec::new() };
    let mut axes: Vec<Axis> = parameters.iter().map(|parameter| axis(&parameter.domain)).collect();
    for (child, parameter) in parameters.iter().enumerate() {
        for condition in &parameter.when {
            let Some(parent) = parameters.iter().position(|other| other.name == condition.parent) else { continue };
            let holds = axes[parent].holds(condition);
            let turns = match &holds {
                Holds::Table(table) if !axes[parent].domain.is_choice() => (1..table.len())
                    .filter(|&i| table[i - 1] != table[i])
                    .map(|i| axes[parent].edge(i as u64))
                    .collect(),
                Holds::From(edge) => vec![*edge],
                _ => Vec::new(),
            };
            axes[parent].turns.extend(turns);
            axes[child].parents.push((parent, holds));
        }
    }
    axes
}

/// The box of the whole space.
pub(super) fn whole(axes: &[Axis]) -> Vec<Side> {
    let side = |axis: &Axis| match &axis.domain {
        Domain::Choice(values) => Side::Set(vec![true; values.len()]),
        _ => Side::Interval(0.0, 1.0),
    };
    axes.iter().map(side).collect()
}

impl Axis {
    /// True where it has one value.
    pub(super) fn is_single(&self) -> bool {
        self.domain.size() == Some(1)
    }

    /// The coordinate of a value.
    pub(super) fn place(&self, value: &Value) -> f64 {
        match self.domain.is_choice() {
            true => self.domain.index_of(value).unwrap_or(0) as f64,
            false => self.domain.to_unit(value),
        }
    }

    /// The threshold between two neighbouring coordinates `a < b`: where a condition turns, else the cells' edge
    /// nearest to the middle.
    pub(super) fn threshold(&self, a: f64, b: f64) -> f64 {
        let middle = 0.5 * (a + b);
        let turn = self.turns.iter().copied().filter(|turn| a < *turn && *turn <= b);
        if let Some(turn) = turn.min_by(|s, t| (s - middle).abs().total_cmp(&(t - middle).abs())) {
            return turn;
        }
        let edge = match self.domain.size() {
            None => middle,
            Some(_) => {
                let place = self.domain.index_of(&self.domain.from_unit(middle)).unwrap_or(0);
                let (below, above) = (self.edge(place), self.edge(place + 1));
                if middle - below < above - middle { below } else { above }
            }
        };
        if a < edge && edge <= b { edge } else { b }
    }

    /// The lower edge of the cell of the value in that place.
    fn edge(&self, place: u64) -> f64 {
        match self.domain {
            Domain::Int { low, high, log: true, .. } => {
                let ln = |value: f64| (value - 0.5).ln();
                let (from, to) = (ln(low as f64), ln(high as f64 + 1.0));
                (ln(low as f64 + place as f64) - from) / (to - from)
            }
            _ => place as f64 / self.domain.size().unwrap_or(1) as f64,
        }
    }

    /// Where on this axis a child's condition holds.
    fn holds(&self, condition: &Condition) -> Holds {
        use crate::space::Test;
        match (self.domain.size().filter(|size| *size <= LONGEST), &condition.test) {
            (Some(size), test) => Holds::Table((0..size).map(|i| test.holds(&self.domain.nth(i))).collect()),
            (None, Test::AtLeast(least)) => {
                let exact = Value::Float(*least);
                let place = self.domain.index_of(&exact);
                let place = place.or_else(|| self.domain.index_of(&Value::Int(least.ceil() as i64)));
                Holds::From(place.map_or_else(|| self.domain.to_unit(&exact), |place| self.edge(place)))
            }
            (None, Test::In(_)) => Holds::Nowhere,
        }
    }

    /// Whether the parameter exists everywhere in a box.
    pub(super) fn exists(&self, axes: &[Axis], cell: &[Side]) -> bool {
        self.parents.iter().all(|(parent, holds)| {
            let axis = &axes[*parent];
            let here = match (holds, &cell[*parent]) {
                (Holds::Table(table), Side::Set(members)) => {
                    members.iter().zip(table).all(|(here, holds)| !here || *holds)
                }
                (Holds::Table(table), Side::Interval(low, high)) => table.iter().enumerate().all(|(i, holds)| {
                    let place = axis.domain.to_unit(&axis.domain.nth(i as u64));
                    *holds || place < *low || place > *high
                }),
                (Holds::From(edge), Side::Interval(low, _)) => low >= edge,
                _ => false,
            };
            here && axis.exists(axes, cell)
        })
    }
}
