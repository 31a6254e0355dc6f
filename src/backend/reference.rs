//! The oracle of training: f64, one formula after the other, in the order of the textbook.
//!
//! Slow on purpose and never optimised. It draws the same dropout masks as the other backends and is what they
//! are held against, step by step; it is itself held against finite differences and PyTorch.

use super::{Backend, Caps, Member, Precision, Run, UpdateRule};
use crate::Result;
use crate::data::{Dataset, Features, Targets};
use crate::model::{Criterion, Layer, Loss, Plan};
use crate::random::Purpose;
use hpt_kernels::dropout::Dropout;
use hpt_kernels::loss::PointwiseLoss;
use hpt_kernels::optimizer::Optimizer;
use hpt_kernels::philox::Key;
use hpt_kernels::reference::loss::{SoftmaxRow, pointwise, softmax, softmax_cross_entropy};
use hpt_kernels::reference::optimizer::Step;
use hpt_kernels::reference::{View, activation, column_sums, dropout_factor, gemm};
use std::sync::Arc;

/// The oracle as a device.
#[derive(Clone, Copy, Debug, Default)]
pub struct Reference;

/// Models in training, in f64.
#[derive(Debug)]
pub struct Cohort {
    /// The models, in the order of the members.
    pub nets: Vec<Net>,
}

/// One model in training, in f64.
#[derive(Debug)]
pub struct Net {
    plan: Plan,
    criterion: Criterion,
    rule: UpdateRule,
    key: Key,
    /// The weights, in the order of the plan.
    pub weights: Vec<f64>,
    state: [Vec<f64>; 2],
    /// β of hypergradient descent, 0 for none; what it has added to the rates; the last step's direction.
    adapt: (f64, f64, Vec<f64>),
    kept: Vec<f64>,
}

/// What a forward pass leaves for the backward pass.
struct Tape {
    /// h[0] is the batch, h[l + 1] the output of layer l.
    h: Vec<Vec<f64>>,
    /// Pre-activations of each layer.
    z: Vec<Vec<f64>>,
    /// What dropout multiplied each output by.
    factors: Vec<Vec<f64>>,
}

impl Net {
    fn new(member: &Member<'_>) -> Self {
        let weights: Vec<f64> = member.weights.iter().map(|&w| f64::from(w)).collect();
        let zeros = vec![0.0; weights.len()];
        Net {
            plan: member.plan.clone(),
            criterion: member.criterion.clone(),
            rule: member.update,
            key: Key::new(member.seed).derive(member.slot),
            adapt: (member.update.hypergradient.unwrap_or(0.0), 0.0, zeros.clone()),
            state: [zeros.clone(), zeros],
            kept: weights.clone(),
            weights,
        }
    }

    /// Factors of dropout over a batch × width matrix: all 1 outside training (`step` is none).
    fn factors(&self, l: usize, probability: f32, batch: usize, width: usize, step: Option<u64>) -> Vec<f64> {
        let Some(step) = step.filter(|_| probability > 0.0) else { return vec![1.0; batch * width] };
        let purpose = Purpose::Dropout as u32 + l as u32;
        let dropout = Dropout { key: self.key, step, purpose, probability, row: 0, col: 0, width };
        (0..batch * width).map(|i| dropout_factor(&dropout, i / width, i % width)).collect()
    }

    fn layer_weights(&self, layer: &Layer) -> View<'_> {
        View::row_major(&self.weights[layer.weights.clone()], layer.inputs, layer.outputs)
    }

    fn forward(&self, x: &[f64], batch: usize, step: Option<u64>) -> Tape {
        let factors = self.factors(0, self.plan.input_dropout, batch, self.plan.inputs, step);
        let mut tape =
            Tape { h: vec![x.iter().zip(factors).map(|(x, f)| x * f).collect()], z: vec![], factors: vec![] };
        for (l, layer) in self.plan.layers.iter().enumerate() {
            let x = View::row_major(&tape.h[l], batch, layer.inputs);
            let mut z = gemm(x, self.layer_weights(layer));
            let bias = &self.weights[layer.bias.clone()];
            z.iter_mut().enumerate().for_each(|(i, z)| *z += bias[i % layer.outputs]);
            let factors = self.factors(l + 1, layer.dropout, batch, layer.outputs, step);
            let a = z.iter().zip(&factors).map(|(&z, f)| activation::forward(layer.activation, z) * f);
            let h = match layer.residual {
                true => a.zip(&tape.h[l]).map(|(a, x)| a + x).collect(),
                false => a.collect(),
            };
            tape.h.push(h);
            tape.z.push(z);
            tape.factors.push(factors);
        }
        tape
    }

    /// The mean loss over `rows` and its gradient with respect to the outputs.
    fn loss(&self, outputs: &[f64], data: &Dataset, rows: &[u32]) -> (f64, Vec<f64>) {
        let width = self.plan.outputs;
        let weights: Option<Vec<f64>> =
            self.criterion.class_weights.as_ref().map(|w| w.iter().map(|&w| f64::from(w)).collect());
        let (mut total, mut gradient) = (0.0, Vec::with_capacity(outputs.len()));
        let mut batch_labels = Vec::new();
        for (logits, &row) in outputs.chunks_exact(width).zip(rows) {
            let row = row as usize;
            match &data.targets {
                Targets::Classes { labels, .. } => {
                    batch_labels.push(labels[row]);
                    let (label, smoothing) = (labels[row] as usize, f64::from(self.criterion.label_smoothing));
                    let args = SoftmaxRow { logits, label, smoothing, class_weights: weights.as_deref() };
                    let (loss, slope) = softmax_cross_entropy(args);
                    total += loss;
                    gradient.extend(slope);
                }
                Targets::Binary { values, .. } | Targets::Real { values, .. } => {
                    let kind = pointwise_kind(self.criterion.loss);
                    for (j, (&y, &t)) in logits.iter().zip(&values[row * width..]).enumerate() {
                        let (loss, slope) = pointwise(kind, y, f64::from(t), weights.as_ref().map_or(1.0, |w| w[j]));
                        total += loss;
                        gradient.push(slope);
                    }
                }
                Targets::None => gradient.extend(vec![0.0; width]),
            }
        }
        let scale = self.criterion.scale(&batch_labels, rows.len(), width);
        gradient.iter_mut().for_each(|g| *g *= scale);
        (total * scale, gradient)
    }

    /// The mean loss over `rows` and its gradient with respect to every weight, with the dropout of `step`.
    pub fn loss_and_gradient(&self, data: &Dataset, rows: &[u32], step: Option<u64>) -> (f64, Vec<f64>) {
        let batch = rows.len();
        let tape = self.forward(&batch_of(data, rows), batch, step);
        let last = self.plan.layers.len();
        let (loss, mut dh) = self.loss(&tape.h[last], data, rows);
        let mut gradient = vec![0.0; self.plan.parameters];
        for (l, layer) in self.plan.layers.iter().enumerate().rev() {
            let through = tape.z[l].iter().zip(&tape.factors[l]);
            let slopes = through.map(|(&z, f)| activation::derivative(layer.activation, z) * f);
            let dz: Vec<f64> = dh.iter().zip(slopes).map(|(d, slope)| d * slope).collect();
            let dz = View::row_major(&dz, batch, layer.outputs);
            let x = View::row_major(&tape.h[l], batch, layer.inputs);
            gradient[layer.weights.clone()].copy_from_slice(&gemm(x.t(), dz));
            gradient[layer.bias.clone()].copy_from_slice(&column_sums(dz));
            let mut dx = gemm(dz, self.layer_weights(layer).t());
            if layer.residual {
                dx.iter_mut().zip(&dh).for_each(|(dx, dh)| *dx += dh);
            }
            dh = dx;
        }
        (loss, gradient)
    }

    fn step(&mut self, data: &Dataset, rows: &[u32], step: u64, rate: f32) -> f64 {
        let (loss, gradient) = self.loss_and_gradient(data, rows, Some(step));
        let gradient_scale = match self.rule.clip_norm {
            None => 1.0,
            Some(limit) => (f64::from(limit) / (gradient.iter().map(|g| g * g).sum::<f64>().sqrt() + 1e-6)).min(1.0),
        };
        let learning_rate = match self.adapt.0 {
            0.0 => f64::from(rate),
            _ => self.adapt(&gradient, rate),
        };
        let update = Step {
            optimizer: self.rule.optimizer,
            learning_rate,
            weight_decay: f64::from(self.rule.weight_decay),
            l1: f64::from(self.rule.l1),
            gradient_scale,
            step: step + 1,
        };
        let [first, second] = &mut self.state;
        for (((w, g), a), b) in self.weights.iter_mut().zip(gradient).zip(first).zip(second) {
            update.update(w, g, [a, b]);
        }
        if self.adapt.0 != 0.0 {
            self.directions(step);
        }
        loss
    }

    /// L1 and L2 of the weights, as they join the gradient.
    fn penalty(&self, w: f64) -> f64 {
        let sign = if w == 0.0 { 0.0 } else { w.signum() };
        f64::from(self.rule.weight_decay) * w + f64::from(self.rule.l1) * sign
    }

    /// The learning rate of hypergradient descent at this gradient, which takes the direction's place.
    fn adapt(&mut self, gradient: &[f64], rate: f32) -> f64 {
        let whole: Vec<f64> = gradient.iter().zip(&self.weights).map(|(g, &w)| g + self.penalty(w)).collect();
        let (beta, offset, direction) = &mut self.adapt;
        *offset += *beta * whole.iter().zip(&*direction).map(|(g, d)| g * d).sum::<f64>();
        *offset = offset.max(-f64::from(rate));
        *direction = whole;
        f64::from(rate) + *offset
    }

    /// The direction of the step that has just been made: the gradient stands there already.
    fn directions(&mut self, step: u64) {
        let t = (step + 1) as f64;
        for (i, d) in self.adapt.2.iter_mut().enumerate() {
            let (a, b) = (self.state[0][i], self.state[1][i]);
            *d = match self.rule.optimizer {
                Optimizer::Momentum { .. } => a,
                Optimizer::Nesterov { momentum } => *d + f64::from(momentum) * a,
                Optimizer::Adam { beta1, beta2, epsilon } => {
                    let m = a / (1.0 - f64::from(beta1).powf(t));
                    let v = b / (1.0 - f64::from(beta2).powf(t));
                    m / (v.sqrt() + f64::from(epsilon))
                }
                _ => *d,
            };
        }
    }
}

/// The features of `rows`.
fn batch_of(data: &Dataset, rows: &[u32]) -> Vec<f64> {
    let inputs = data.inputs;
    let of = |row: usize, j: usize| match &data.features {
        Features::F32(values) => f64::from(values[row * inputs + j]),
        Features::U8 { values, scale } => f64::from(values[row * inputs + j]) * f64::from(*scale),
    };
    rows.iter().flat_map(|&row| (0..inputs).map(move |j| of(row as usize, j))).collect()
}

fn pointwise_kind(loss: Loss) -> PointwiseLoss {
    match loss {
        Loss::Mse => PointwiseLoss::MeanSquared,
        Loss::Huber { delta } => PointwiseLoss::Huber { delta: delta as f32 },
        Loss::CrossEntropy | Loss::BinaryCrossEntropy => PointwiseLoss::BinaryCrossEntropy,
    }
}

impl Backend for Reference {
    type Data = Arc<Dataset>;
    type Cohort = Cohort;

    fn caps(&self) -> Caps {
        Caps { device: "reference".to_owned(), isa: "f64".to_owned(), threads: 1 }
    }

    fn precision(&self, _wanted: Precision) -> Precision {
        Precision::Highest
    }

    fn upload(&self, dataset: Arc<Dataset>) -> Result<Arc<Dataset>> {
        Ok(dataset)
    }

    fn begin(&self, members: &[Member<'_>]) -> Result<Cohort> {
        Ok(Cohort { nets: members.iter().map(Net::new).collect() })
    }

    fn advance(&self, cohort: &mut Cohort, data: &Arc<Dataset>, runs: &mut [Run<'_>]) -> Result<()> {
        for (net, run) in cohort.nets.iter_mut().zip(runs) {
            for i in 0..run.rates.len() {
                run.losses[i] = net.step(data, run.step_rows(i), run.first_step + i as u64, run.rates[i]);
            }
        }
        Ok(())
    }

    fn evaluate(&self, cohort: &mut Cohort, member: usize, data: &Arc<Dataset>, outputs: &mut [f32]) -> Result<f64> {
        let net = &cohort.nets[member];
        let rows: Vec<u32> = (0..data.rows as u32).collect();
        let tape = net.forward(&batch_of(data, &rows), data.rows, None);
        let raw = &tape.h[net.plan.layers.len()];
        let loss = if matches!(data.targets, Targets::None) { 0.0 } else { net.loss(raw, data, &rows).0 };
        for (out, raw) in outputs.chunks_exact_mut(net.plan.outputs).zip(raw.chunks_exact(net.plan.outputs)) {
            let linked = match net.criterion.loss {
                Loss::CrossEntropy => softmax(raw),
                Loss::BinaryCrossEntropy => raw.iter().map(|&x| 1.0 / (1.0 + (-x).exp())).collect(),
                Loss::Mse | Loss::Huber { .. } => raw.to_vec(),
            };
            out.iter_mut().zip(linked).for_each(|(out, x)| *out = x as f32);
        }
        Ok(loss)
    }

    fn snapshot(&self, cohort: &mut Cohort, member: usize) -> Result<()> {
        let net = &mut cohort.nets[member];
        net.kept.copy_from_slice(&net.weights);
        Ok(())
    }

    fn restore(&self, cohort: &mut Cohort, member: usize) -> Result<()> {
        let net = &mut cohort.nets[member];
        net.weights.copy_from_slice(&net.kept);
        Ok(())
    }

    fn weights(&self, cohort: &Cohort, member: usize) -> Result<Vec<f32>> {
        Ok(cohort.nets[member].weights.iter().map(|&w| w as f32).collect())
    }

    fn moments(&self, cohort: &Cohort, member: usize) -> Result<Vec<Vec<f32>>> {
        let net = &cohort.nets[member];
        let slots = net.state[..net.rule.optimizer.slots()].iter();
        Ok(slots.map(|slot| slot.iter().map(|&x| x as f32).collect()).collect())
    }

    fn rate_offset(&self, cohort: &Cohort, member: usize) -> f64 {
        cohort.nets[member].adapt.1
    }

    fn set_moments(&self, cohort: &mut Cohort, member: usize, moments: &[Vec<f32>]) -> Result<()> {
        let net = &mut cohort.nets[member];
        for (i, slot) in net.state[..net.rule.optimizer.slots()].iter_mut().enumerate() {
            let given = moments.get(i);
            slot.iter_mut().enumerate().for_each(|(j, x)| *x = given.map_or(0.0, |given| f64::from(given[j])));
        }
        Ok(())
    }
}
