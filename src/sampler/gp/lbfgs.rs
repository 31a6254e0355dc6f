//! Minimises a smooth function in a box: limited-memory BFGS on the coordinates that are free.
//!
//! Nocedal and Wright, "Numerical Optimization", algorithm 7.4 for the direction; coordinates at a bound whose slope
//! points outwards are held, and the step is halved along the path projected into the box until it gains enough.

use std::collections::VecDeque;

/// Pairs of steps and slope changes that are remembered.
const MEMORY: usize = 8;

/// The box and the effort.
#[derive(Clone, Copy, Debug)]
pub(super) struct Bounded<'a> {
    pub(super) low: &'a [f64],
    pub(super) high: &'a [f64],
    /// Evaluations of the function at most.
    pub(super) evaluations: usize,
    /// The first step's largest change of a coordinate.
    pub(super) first_step: f64,
    /// Ends where an iteration gains less than this.
    pub(super) gain: f64,
}

/// (point, value) of a local minimum near `start`; `f` gives value and gradient, infinite where it is undefined.
pub(super) fn minimize(
    start: &[f64],
    bounded: &Bounded,
    mut f: impl FnMut(&[f64]) -> (f64, Vec<f64>),
) -> (Vec<f64>, f64) {
    let project = |x: f64, i: usize| x.clamp(bounded.low[i], bounded.high[i]);
    let mut x: Vec<f64> = start.iter().enumerate().map(|(i, &x)| project(x, i)).collect();
    let (mut value, mut gradient) = f(&x);
    let mut used = 1;
    let mut pairs: VecDeque<Pair> = VecDeque::new();
    while used < bounded.evaluations && value.is_finite() {
        let held: Vec<bool> = (0..x.len())
            .map(|i| (x[i] <= bounded.low[i] && gradient[i] > 0.0) || (x[i] >= bounded.high[i] && gradient[i] < 0.0))
            .collect();
        let mut direction = descent(&gradient, &held, &pairs);
        let slope = |direction: &[f64]| -> f64 { direction.iter().zip(&gradient).map(|(d, g)| d * g).sum() };
        if slope(&direction) >= 0.0 {
            pairs.clear();
            direction = descent(&gradient, &held, &pairs);
        }
        let largest = direction.iter().fold(0.0, |m: f64, d| m.max(d.abs()));
        if largest == 0.0 || slope(&direction) >= 0.0 {
            break;
        }
        let mut length = if pairs.is_empty() { bounded.first_step / largest } else { 1.0 };
        let (before, mut moved) = (value, false);
        while used < bounded.evaluations {
            let next: Vec<f64> = (0..x.len()).map(|i| project(x[i] + length * direction[i], i)).collect();
            let (next_value, next_gradient) = f(&next);
            used += 1;
            let step: Vec<f64> = next.iter().zip(&x).map(|(a, b)| a - b).collect();
            let expected: f64 = step.iter().zip(&gradient).map(|(s, g)| s * g).sum();
            if next_value <= value + 1e-4 * expected && next_value < value {
                let change: Vec<f64> = next_gradient.iter().zip(&gradient).map(|(a, b)| a - b).collect();
                remember(&mut pairs, step, change);
                (x, value, gradient, moved) = (next, next_value, next_gradient, true);
                break;
            }
            length *= if next_value.is_finite() { 0.4 } else { 0.1 };
            if length * largest < 1e-9 {
                break;
            }
        }
        if !moved || before - value < bounded.gain {
            break;
        }
    }
    (x, value)
}

struct Pair {
    step: Vec<f64>,
    change: Vec<f64>,
    /// 1/(step·change).
    rho: f64,
}

fn remember(pairs: &mut VecDeque<Pair>, step: Vec<f64>, change: Vec<f64>) {
    let product: f64 = step.iter().zip(&change).map(|(s, c)| s * c).sum();
    let size: f64 = change.iter().map(|c| c * c).sum();
    // Without positive curvature the pair would spoil the direction.
    if product > 1e-10 * size && product.is_finite() {
        if pairs.len() == MEMORY {
            pairs.pop_front();
        }
        pairs.push_back(Pair { step, change, rho: 1.0 / product });
    }
}

/// −H·gradient over the free coordinates.
fn descent(gradient: &[f64], held: &[bool], pairs: &VecDeque<Pair>) -> Vec<f64> {
    let dot = |a: &[f64], b: &[f64]| -> f64 {
        a.iter().zip(b).zip(held).filter(|(_, held)| !**held).map(|((a, b), _)| a * b).sum()
    };
    let mut q: Vec<f64> = gradient.iter().zip(held).map(|(g, held)| if *held { 0.0 } else { *g }).collect();
    let mut alphas = Vec::with_capacity(pairs.len());
    for pair in pairs.iter().rev() {
        let alpha = pair.rho * dot(&pair.step, &q);
        q.iter_mut().zip(&pair.change).for_each(|(q, c)| *q -= alpha * c);
        alphas.push(alpha);
    }
    if let Some(last) = pairs.back() {
        let scale = 1.0 / (last.rho * last.change.iter().map(|c| c * c).sum::<f64>());
        q.iter_mut().for_each(|q| *q *= scale);
    }
    for (pair, alpha) in pairs.iter().zip(alphas.into_iter().rev()) {
        let beta = pair.rho * dot(&pair.change, &q);
        q.iter_mut().zip(&pair.step).for_each(|(q, s)| *q += (alpha - beta) * s);
    }
    q.iter().zip(held).map(|(q, held)| if *held { 0.0 } else { -q }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rosenbrock(x: &[f64]) -> (f64, Vec<f64>) {
        let (a, b) = (1.0 - x[0], x[1] - x[0] * x[0]);
        (a * a + 100.0 * b * b, vec![-2.0 * a - 400.0 * x[0] * b, 200.0 * b])
    }

    #[test]
    fn the_valley_and_the_box() {
        let bounded = Bounded { low: &[-2.0; 2], high: &[2.0; 2], evaluations: 200, first_step: 0.1, gain: 1e-14 };
        let (x, value) = minimize(&[-1.2, 1.0], &bounded, rosenbrock);
        assert!(value < 1e-9 && (x[0] - 1.0).abs() < 1e-4, "{x:?} {value}");
        // With x ≤ ½ the minimum is at (½, ¼).
        let bounded = Bounded { high: &[0.5, 2.0], ..bounded };
        let (x, _) = minimize(&[-1.2, 1.0], &bounded, rosenbrock);
        assert!((x[0] - 0.5).abs() < 1e-9 && (x[1] - 0.25).abs() < 1e-4, "{x:?}");
    }

    #[test]
    fn it_keeps_to_its_evaluations_and_survives_undefined_values() {
        let mut count = 0;
        let bounded = Bounded { low: &[0.0], high: &[9.0], evaluations: 7, first_step: 5.0, gain: 0.0 };
        let (x, _) = minimize(&[4.0], &bounded, |x| {
            count += 1;
            if x[0] < 2.0 { (f64::INFINITY, vec![f64::NAN]) } else { (x[0], vec![1.0]) }
        });
        assert!(count <= 7 && x[0] >= 2.0 && x[0] < 4.0, "{count} {x:?}");
    }
}
