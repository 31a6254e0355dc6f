//! Every optimizer of the table on every instruction set, ten steps long.

use crate::tolerance::OPTIMIZER;
use crate::{LENGTHS, uniform, widen};
use hpt_kernels::isa::Isa;
use hpt_kernels::optimizer::{Optimizer, Scalars, Update, update};
use hpt_kernels::reference::optimizer::Step;

/// The table, and RMSprop's other form.
fn optimizers() -> Vec<Optimizer> {
    Optimizer::all().chain([Optimizer::RmsProp { alpha: 0.9, epsilon: 1e-6, momentum: 0.8 }]).collect()
}

/// Learning rate, decay, L1, scale of the gradient.
const SETTINGS: [[f32; 4]; 4] =
    [[1e-2, 0.0, 0.0, 1.0], [1e-2, 0.125, 0.0, 1.0], [0.05, 0.0, 0.0625, 0.5], [1e-3, 0.25, 0.125, 0.25]];

/// Weights and state after ten steps.
fn train(isa: Isa, optimizer: Optimizer, setting: [f32; 4], n: usize, cuts: &[usize]) -> [Vec<f32>; 3] {
    let [learning_rate, weight_decay, l1, gradient_scale] = setting;
    let len = |slot| if slot < optimizer.slots() { n } else { 0 };
    let (mut w, mut a, mut b) = (uniform(5, n, -1.0, 1.0), vec![0.0; len(0)], vec![0.0; len(1)]);
    for step in 1..=10 {
        let g = uniform(100 + step as u32, n, -2.0, 2.0);
        for range in cuts.windows(2).map(|c| c[0]..c[1]) {
            let part = |x: &std::ops::Range<usize>, len: usize| x.start.min(len)..x.end.min(len);
            let slots = [&mut a[part(&range, len(0))], &mut b[part(&range, len(1))]];
            let (weights, gradients) = (&mut w[range.clone()], &g[range.clone()]);
            let scalars = Scalars::new(optimizer, weight_decay, learning_rate, step);
            update(isa, Update { optimizer, scalars, weight_decay, l1, gradient_scale, weights, gradients, slots });
        }
    }
    [w, a, b]
}

fn exact(optimizer: Optimizer, setting: [f32; 4], n: usize) -> Vec<f64> {
    let [learning_rate, weight_decay, l1, gradient_scale] = setting.map(f64::from);
    let (mut w, mut a, mut b) = (widen(&uniform(5, n, -1.0, 1.0)), vec![0.0; n], vec![0.0; n]);
    for step in 1..=10 {
        let rule = Step { optimizer, learning_rate, weight_decay, l1, gradient_scale, step };
        for (i, &g) in uniform(100 + step as u32, n, -2.0, 2.0).iter().enumerate() {
            rule.update(&mut w[i], f64::from(g), [&mut a[i], &mut b[i]]);
        }
    }
    w
}

#[test]
fn names_are_found_again() {
    for o in Optimizer::all() {
        assert_eq!(Optimizer::by_name(o.name()), Some(o));
    }
    assert_eq!(Optimizer::by_name("adamax"), None);
}

#[test]
fn ten_steps_agree_with_the_oracle() {
    for isa in Isa::available() {
        for optimizer in optimizers() {
            for setting in SETTINGS {
                for &n in LENGTHS {
                    let [w, ..] = train(isa, optimizer, setting, n, &[0, n]);
                    let what = || format!("{optimizer:?} with {setting:?} on {}", isa.name());
                    OPTIMIZER.check_all(&w, &exact(optimizer, setting, n), &what);
                }
            }
        }
    }
}

#[test]
fn any_split_gives_the_same_bits() {
    for isa in Isa::available() {
        for optimizer in optimizers() {
            let whole = train(isa, optimizer, SETTINGS[3], 131, &[0, 131]);
            assert_eq!(train(isa, optimizer, SETTINGS[3], 131, &[0, 1, 9, 25, 60, 128, 131]), whole, "{optimizer:?}");
        }
    }
}

#[test]
fn a_zero_weight_has_no_l1_gradient_and_a_nan_gradient_shows() {
    for isa in Isa::available() {
        let mut w = [0.0, -0.0, 1.0, -1.0, 0.5];
        let args = Update {
            optimizer: Optimizer::Sgd,
            scalars: Scalars::new(Optimizer::Sgd, 0.0, 0.5, 1),
            weight_decay: 0.0,
            l1: 0.25,
            gradient_scale: 1.0,
            weights: &mut w,
            gradients: &[0.0, 0.0, 0.0, 0.0, f32::NAN],
            slots: [&mut [], &mut []],
        };
        update(isa, args);
        assert_eq!(w[..4], [0.0, 0.0, 0.875, -0.875]);
        assert!(w[4].is_nan());
    }
}
