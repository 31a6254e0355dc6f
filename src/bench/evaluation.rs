//! Outputs, loss and accuracy of many rows, as a validation has them: forward alone, as exact as f32.

use super::steps::{ROWS, STEPS, StepRow};
use super::{ROUNDS, Rate, Units, Work, in_turn};
use crate::Result;
use crate::backend::{Backend, Cpu, Precision, evaluation_products};
use crate::data::Dataset;
use crate::train::Metric;
use hpt_kernels::isa::Isa;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

/// A network that is evaluated.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Evaluation(StepRow);

/// What is measured: every network of [`STEPS`] once.
pub fn evaluations() -> Vec<Evaluation> {
    let mut all: Vec<Evaluation> = Vec::new();
    for row in STEPS {
        if !all.iter().any(|other| other.0.network() == row.network()) {
            all.push(Evaluation(*row));
        }
    }
    all
}

impl Evaluation {
    /// `evaluation 784-512-512-10`.
    pub fn name(&self) -> String {
        format!("evaluation {}", self.0.network())
    }

    /// Additions and multiplications of a sample's products.
    pub fn flops(&self) -> f64 {
        2.0 * self.0.weights() as f64
    }

    /// Bytes that a sample costs at least: its features, its outputs, and its share of one reading of the weights.
    pub fn bytes(&self) -> f64 {
        self.0.feature_bytes() + 4.0 * self.0.classes as f64 + 4.0 * self.0.weights() as f64 / self.rows() as f64
    }

    /// What its products are made by.
    ///
    /// # Errors
    /// The network has no plan.
    pub fn units(&self, isa: Isa) -> Result<Units> {
        Ok(Units::of_all(evaluation_products(isa, &self.0.plan()?, self.0.of_bytes())))
    }

    /// Rows of its data: as many as a training's, fewer where they would take more than some 100 ms.
    fn rows(&self) -> usize {
        ((2e10 / self.flops()) as usize).clamp(1024, ROWS)
    }

    /// Data of its shape.
    pub fn data(&self) -> Arc<Dataset> {
        self.0.data_of(self.rows())
    }

    /// Samples a second on each of these devices, in turn; rounds take some 50 ms.
    ///
    /// # Errors
    /// A device failed.
    pub fn rates(&self, data: &Arc<Dataset>, cpus: &[&Cpu]) -> Result<Vec<Rate>> {
        let Some(isa) = cpus.first().map(|cpu| cpu.isa()) else { return Ok(Vec::new()) };
        let begin = |cpu: &&Cpu| self.0.begin(data, cpu, Precision::Highest);
        let mut begun = cpus.iter().map(begin).collect::<Result<Vec<_>>>()?;
        let mut outputs = vec![0.0; data.rows * self.0.classes];
        let times = ((5e9 / (self.flops() * data.rows as f64)) as usize).max(1);
        let mut round = |cpu: &Cpu, cohort: &mut <Cpu as Backend>::Cohort| -> Result<f64> {
            let start = Instant::now();
            for _ in 0..times {
                let loss = cpu.evaluate(cohort, 0, data, &mut outputs)?;
                black_box(Metric::Accuracy.score(&outputs, &data.targets, loss));
            }
            Ok(start.elapsed().as_secs_f64())
        };
        let count = (times * data.rows) as f64;
        let work = Work { count, flops: count * self.flops(), units: self.units(isa)? };
        in_turn(isa, work, ROUNDS.1, || cpus.iter().zip(&mut begun).map(|(cpu, (_, one))| round(cpu, one)).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_network_of_the_steps_is_evaluated_once() {
        let names: Vec<String> = evaluations().iter().map(Evaluation::name).collect();
        for row in STEPS {
            let name = format!("evaluation {}", row.network());
            assert_eq!(names.iter().filter(|other| **other == name).count(), 1, "{name}");
        }
    }
}
