//! What another study found, as far as it ranks this one's good trials as they are ranked here.
//!
//! The source's trials give a density of good configurations and one of the others, as this study's do, and ln of their ratio
//! is added to that of this study's, times an agreement between 0 and 1.

use super::parzen::{Form, Parzen, recency};
use super::{divide, gamma};
use crate::history::Trial;
use crate::sampler::codec::{Codec, Point};
use crate::sampler::outcome::{Rank, ranked};
use crate::sampler::{Ask, several};

/// Most trials whose ranks are compared.
const MOST_COMPARED: usize = 100;

/// See the module.
#[derive(Debug)]
pub(super) struct Source {
    good: Parzen,
    others: Parzen,
    agreement: f64,
}

impl Source {
    /// None where nothing is known, or where it does not agree with the `trials` of this study.
    pub(super) fn new(ask: &Ask, codec: &Codec, trials: &[(&Trial, Rank)], form: Form) -> Option<Self> {
        if ask.source.is_empty() {
            return None;
        }
        let view = Ask { history: ask.source, ..*ask };
        let known = if ask.directions.len() == 1 { ranked(&view) } else { several::ranked(&view, gamma) };
        let points: Vec<Option<Point>> = known.iter().map(|(trial, _)| codec.observed(&trial.params)).collect();
        let ranks: Vec<Rank> = known.iter().map(|(_, rank)| *rank).collect();
        let (good, others) = divide(&ranks, |place| points[place].is_some());
        let density = |places: Vec<usize>| {
            let points: Vec<Point> = places.into_iter().filter_map(|place| points[place].clone()).collect();
            Parzen::new(codec, &points, recency(points.len()), form)
        };
        let mut source = Source { good: density(good), others: density(others), agreement: 1.0 };
        source.agreement = source.agreement_with(codec, trials);
        (source.agreement > 0.0).then_some(source)
    }

    /// Spearman's correlation between what the source says of the better half of the trials and their order, less its
    /// standard error: chance agrees with nothing. The better half, since the worse one is easily told from it.
    fn agreement_with(&self, codec: &Codec, trials: &[(&Trial, Rank)]) -> f64 {
        let measured = trials.iter().filter(|(_, rank)| rank.is_measured());
        let mut known: Vec<(&Rank, Point)> =
            measured.filter_map(|(trial, rank)| Some((rank, codec.observed(&trial.params)?))).collect();
        known.sort_by(|(a, _), (b, _)| a.order(b));
        known.truncate(known.len().div_ceil(2).min(MOST_COMPARED));
        if known.len() < 3 {
            return 0.0;
        }
        let advice = |point: &Point| self.advice(codec, point, &point.iter().map(|x| !x.is_nan()).collect::<Vec<_>>());
        let advices: Vec<f64> = known.iter().map(|(_, point)| advice(point)).collect();
        let mut order: Vec<usize> = (0..known.len()).collect();
        order.sort_by(|a, b| advices[*b].total_cmp(&advices[*a]));
        let apart: f64 = order.iter().enumerate().map(|(place, own)| (place as f64 - *own as f64).powi(2)).sum();
        let n = known.len() as f64;
        (1.0 - 6.0 * apart / (n * (n * n - 1.0)) - 1.0 / (n - 1.0).sqrt()).max(0.0)
    }

    /// What is added to ln l/g at a point whose existing parameters are `active`.
    pub(super) fn advice(&self, codec: &Codec, point: &[f64], active: &[bool]) -> f64 {
        let ratio = self.good.log_density(codec, point, active) - self.others.log_density(codec, point, active);
        self.agreement * ratio
    }
}
