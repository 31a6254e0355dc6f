//! Configurations as points with one coordinate a parameter, and as the columns that a kernel compares.
//!
//! A point has a coordinate for every parameter, active or not (an inactive one waits until its parents call it back):
//! a choice's place in its list, otherwise the place in the unit interval, in the middle of the cell for steps and
//! whole numbers. In the columns an inactive number stands at ½ with a mark in a second column, and an inactive choice
//! is a value of its own, so that configurations with different structure are apart and their idle coordinates do not
//! count.

use crate::space::{Domain, Params, Space, Value};

/// Longest domain of a parent whose conditions are decided in advance.
const LONGEST_TABLE: u64 = 4096;
/// Distance that the mark of an inactive number adds.
const MARK: f64 = 0.5;
/// The value of an inactive choice.
const ABSENT: f64 = -1.0;

/// One coordinate a parameter; see the module.
pub(super) type Point = Vec<f64>;

/// What a coordinate means.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Kind {
    /// The place in a list of that many values.
    Choice(u64),
    /// One of that many cells of the unit interval.
    Steps(u64),
    /// Anywhere in the unit interval.
    Real,
}

/// A column of the kernel's input.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Column {
    /// The parameter whose length scale it has.
    pub(super) parameter: usize,
    /// Equal or not, instead of a squared distance.
    pub(super) by_equality: bool,
    /// True for the column that holds a number's own coordinate.
    pub(super) is_coordinate: bool,
}

/// Translates between the three forms.
#[derive(Clone, Debug)]
pub(super) struct Codec<'a> {
    space: &'a Space,
    kinds: Vec<Kind>,
    /// For each parameter: its parents and, where they are short, which of their values call it into being.
    parents: Vec<Vec<(usize, Option<Vec<bool>>)>>,
    columns: Vec<Column>,
}

impl<'a> Codec<'a> {
    pub(super) fn new(space: &'a Space) -> Self {
        let parameters = space.parameters();
        let kinds: Vec<Kind> = parameters
            .iter()
            .map(|parameter| match (parameter.domain.is_choice(), parameter.domain.size()) {
                (true, size) => Kind::Choice(size.unwrap_or(1)),
                (false, Some(size)) => Kind::Steps(size),
                (false, None) => Kind::Real,
            })
            .collect();
        let parents = parameters.iter().map(|parameter| {
            let conditions = parameter.when.iter().filter_map(|condition| {
                let place = parameters.iter().position(|parent| parent.name == condition.parent)?;
                let domain = &parameters[place].domain;
                let table = domain.size().filter(|size| *size <= LONGEST_TABLE);
                Some((place, table.map(|n| (0..n).map(|i| condition.test.holds(&domain.nth(i))).collect())))
            });
            conditions.collect()
        });
        let parents: Vec<Vec<(usize, Option<Vec<bool>>)>> = parents.collect();
        let mut columns = Vec::new();
        for (parameter, kind) in kinds.iter().enumerate() {
            let by_equality = matches!(kind, Kind::Choice(_));
            let is_single = matches!(kind, Kind::Choice(1) | Kind::Steps(1));
            if !is_single {
                columns.push(Column { parameter, by_equality, is_coordinate: !by_equality });
                if !by_equality && !parents[parameter].is_empty() {
                    columns.push(Column { parameter, by_equality: false, is_coordinate: false });
                }
            }
        }
        Codec { space, kinds, parents, columns }
    }

    pub(super) fn kinds(&self) -> &[Kind] {
        &self.kinds
    }

    pub(super) fn columns(&self) -> &[Column] {
        &self.columns
    }

    /// The value that a coordinate stands for.
    fn value(&self, parameter: usize, coordinate: f64) -> Value {
        let domain = &self.space.parameters()[parameter].domain;
        match self.kinds[parameter] {
            Kind::Choice(_) => domain.nth(coordinate as u64),
            _ => domain.from_unit(coordinate),
        }
    }

    /// Which parameters exist at that point.
    pub(super) fn active(&self, point: &[f64]) -> Vec<bool> {
        let mut active: Vec<bool> = Vec::with_capacity(point.len());
        for parameter in 0..self.parents.len() {
            active.push(self.exists(parameter, |parent| active[parent].then_some(point[parent])));
        }
        active
    }

    /// True where the parameter's conditions hold; `parent` gives the coordinate of an earlier one that exists.
    fn exists(&self, parameter: usize, parent: impl Fn(usize) -> Option<f64>) -> bool {
        self.parents[parameter].iter().enumerate().all(|(c, (place, table))| match (parent(*place), table) {
            (None, _) => false,
            (Some(coordinate), Some(table)) => table[self.place(*place, coordinate) as usize],
            (Some(coordinate), None) => {
                self.space.parameters()[parameter].when[c].test.holds(&self.value(*place, coordinate))
            }
        })
    }

    /// The place of a coordinate's value among the parameter's values.
    pub(super) fn place(&self, parameter: usize, coordinate: f64) -> u64 {
        match (self.kinds[parameter], &self.space.parameters()[parameter].domain) {
            (Kind::Choice(n), _) => (coordinate as u64).min(n - 1),
            (Kind::Steps(_), domain @ Domain::Int { log: true, .. }) => {
                domain.index_of(&domain.from_unit(coordinate)).unwrap_or(0)
            }
            (Kind::Steps(n), _) => ((coordinate * n as f64) as u64).min(n - 1),
            (Kind::Real, _) => 0,
        }
    }

    /// The coordinate of the value in that place.
    pub(super) fn coordinate(&self, parameter: usize, place: u64) -> f64 {
        match (self.kinds[parameter], &self.space.parameters()[parameter].domain) {
            (Kind::Choice(_), _) => place as f64,
            (_, domain @ Domain::Int { log: true, .. }) => domain.to_unit(&domain.nth(place)),
            (Kind::Steps(n), _) => (place as f64 + 0.5) / n as f64,
            (Kind::Real, _) => 0.5,
        }
    }

    /// A coordinate from anywhere in the unit interval: a choice's place, a step's middle.
    pub(super) fn settle(&self, parameter: usize, u: f64) -> f64 {
        match self.kinds[parameter] {
            Kind::Choice(n) => ((u * n as f64) as u64).min(n - 1) as f64,
            Kind::Steps(_) => self.coordinate(parameter, self.place(parameter, u)),
            Kind::Real => u.clamp(0.0, 1.0),
        }
    }

    /// The configuration at a point.
    pub(super) fn params(&self, point: &[f64]) -> Params {
        self.space.build(|parameter, _| self.value(parameter, point[parameter]))
    }

    /// The point of a configuration; none where it does not belong to the space.
    pub(super) fn point(&self, params: &Params) -> Option<Point> {
        self.space.contains(params).ok()?;
        let coordinate = |(i, parameter): (usize, &crate::space::Parameter)| match params.get(&parameter.name) {
            Some(value) if parameter.domain.is_choice() => parameter.domain.index_of(value).unwrap_or(0) as f64,
            Some(value) => parameter.domain.to_unit(value),
            None => self.settle(i, 0.5),
        };
        Some(self.space.parameters().iter().enumerate().map(coordinate).collect())
    }

    /// The point of a configuration, with no number where a parameter does not exist; none where it does not belong to
    /// the space. As [`Codec::point`], without building the configuration anew.
    pub(super) fn observed(&self, params: &Params) -> Option<Point> {
        let parameters = self.space.parameters();
        let mut point = Point::with_capacity(parameters.len());
        let mut given = params.iter().peekable();
        let mut found = 0;
        for parameter in parameters {
            // Configurations usually are in the order of the space.
            let value = match given.next_if(|(name, _)| **name == parameter.name) {
                Some((_, value)) => Some(value),
                None => params.get(&parameter.name),
            };
            let is_active = self.exists(point.len(), |parent| Some(point[parent]).filter(|x| !x.is_nan()));
            point.push(match value.filter(|_| is_active) {
                Some(value) => self.coordinate_of(point.len(), value)?,
                None if is_active => return None,
                None => f64::NAN,
            });
            found += usize::from(is_active);
        }
        (found == params.len()).then_some(point)
    }

    /// The coordinate of a value; none where it is not one of the domain.
    fn coordinate_of(&self, parameter: usize, value: &Value) -> Option<f64> {
        let domain = &self.space.parameters()[parameter].domain;
        if self.kinds[parameter] == Kind::Real {
            return domain.accept(value).map(|value| domain.to_unit(&value));
        }
        domain.index_of(value).map(|place| self.coordinate(parameter, place))
    }

    /// True where the cells of a stepped parameter are equally wide.
    pub(super) fn is_even(&self, parameter: usize) -> bool {
        !matches!(self.space.parameters()[parameter].domain, Domain::Int { log: true, .. })
    }

    /// The columns of a point, in the order of [`Codec::columns`].
    pub(super) fn embed(&self, point: &[f64]) -> Vec<f64> {
        let active = self.active(point);
        let value = |column: &Column| match (active[column.parameter], column.by_equality, column.is_coordinate) {
            (true, _, true) | (true, true, _) => point[column.parameter],
            (false, true, _) => ABSENT,
            (false, false, true) => 0.5,
            (true, false, false) => MARK,
            (false, false, false) => 0.0,
        };
        self.columns.iter().map(value).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Purpose, Stream};
    use crate::space::Expand;

    fn space() -> Space {
        let text = r#"
rate = { log = [1e-5, 1.0] }
layers = { int = [0, 3] }
units = { int = [16, 256], log = true, each = "layers" }
kind = { choice = ["a", "b", "c"] }
only = { choice = ["x"] }
sub = { choice = [1, 2], when = { kind = "b", rate = { at_least = 0.01 } } }
"#;
        Space::from_toml(&text.parse().unwrap(), &Expand::default()).unwrap()
    }

    #[test]
    fn points_and_configurations_lead_to_each_other() {
        let space = space();
        let codec = Codec::new(&space);
        for i in 0..200 {
            let params = space.sample(&mut Stream::new(2, i, Purpose::Propose, 0));
            let point = codec.point(&params).unwrap();
            let back = codec.params(&point);
            assert!(params.keys().eq(back.keys()), "{params:?} {back:?}");
            for (value, other) in params.values().zip(back.values()) {
                match (value, other) {
                    (Value::Float(a), Value::Float(b)) => assert!((a / b - 1.0).abs() < 1e-12),
                    _ => assert_eq!(value, other),
                }
            }
            let active = codec.active(&point);
            for (parameter, active) in space.parameters().iter().zip(&active) {
                assert_eq!(params.contains_key(&parameter.name), *active, "{}", parameter.name);
            }
            let mut shuffled = params.clone();
            shuffled.reverse();
            for observed in [codec.observed(&params).unwrap(), codec.observed(&shuffled).unwrap()] {
                for ((x, y), active) in point.iter().zip(observed).zip(&active) {
                    assert!(if *active { *x == y } else { y.is_nan() }, "{params:?}");
                }
            }
            for (j, kind) in codec.kinds().iter().enumerate().filter(|(_, kind)| **kind != Kind::Real) {
                assert_eq!(codec.coordinate(j, codec.place(j, point[j])), point[j], "{kind:?}");
            }
        }
        assert_eq!(codec.point(&Params::new()), None);
        assert_eq!(codec.observed(&Params::new()), None);
        let mut more = space.sample(&mut Stream::new(2, 0, Purpose::Propose, 0));
        more.insert("other".to_owned(), 1.into());
        assert_eq!(codec.observed(&more), None);
    }

    #[test]
    fn idle_coordinates_do_not_count_and_structure_does() {
        let space = space();
        let codec = Codec::new(&space);
        let mut point: Point = vec![0.1, codec.coordinate(1, 1), 0.5, 0.5, 0.5, 0.0, 0.0, 0.0];
        let one_layer = codec.embed(&point);
        point[4] = 0.9;
        point[7] = 1.0;
        assert_eq!(codec.embed(&point), one_layer, "the third layer and `sub` do not exist");
        point[1] = codec.coordinate(1, 2);
        let apart = codec.embed(&point).iter().zip(&one_layer).filter(|(a, b)| a != b).count();
        assert_eq!(apart, 2, "the number of layers and the mark of the second one");
        assert!(codec.columns().iter().all(|column| column.parameter != 6), "a single value has no column");
    }
}
