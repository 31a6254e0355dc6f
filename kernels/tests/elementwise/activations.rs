//! Every activation of the table on every instruction set.

use crate::{LENGTHS, tolerance, uniform};
use hpt_kernels::activation::{Activation, derivative, forward};
use hpt_kernels::isa::Isa;
use hpt_kernels::reference::activation as oracle;

type Fast = fn(Isa, Activation, &[f32], &mut [f32]);
type Exact = fn(Activation, f64) -> f64;
const BOTH: [(Fast, Exact, &str); 2] = [(forward, oracle::forward, ""), (derivative, oracle::derivative, "'")];

fn apply(f: Fast, isa: Isa, a: Activation, z: &[f32]) -> Vec<f32> {
    let mut out = vec![f32::NAN; z.len()];
    f(isa, a, z, &mut out);
    out
}

#[test]
fn names_are_found_again() {
    for &a in Activation::ALL {
        assert_eq!(Activation::from_name(a.name()), Some(a));
    }
    assert_eq!(Activation::from_name("Relu"), None);
}

#[test]
fn values_and_derivatives_agree_with_the_oracle() {
    let mut z: Vec<f32> = (-60_000..=60_000).map(|i| i as f32 * 5.1e-4).collect();
    z.extend([0.0, -0.0, 1e-30, -1e-30, 1e-40, -1e-40, 100.0, -100.0, 1e4, -1e4, 3e38, -3e38]);
    for isa in Isa::available() {
        for &a in Activation::ALL {
            for (k, (fast, exact, prime)) in BOTH.into_iter().enumerate() {
                for (&z, got) in z.iter().zip(apply(fast, isa, a, &z)) {
                    let what = || format!("{}{prime}({z:e}) on {}", a.name(), isa.name());
                    tolerance::activation(a)[k].check(got, exact(a, f64::from(z)), &what);
                }
            }
        }
    }
}

#[test]
fn pytorchs_conventions_at_zero() {
    let at_zero = |a| apply(derivative, Isa::available().next().expect("portable"), a, &[0.0, -0.0]);
    assert_eq!(at_zero(Activation::Relu), [0.0, 0.0]);
    assert_eq!(at_zero(Activation::LeakyRelu), [0.01, 0.01]);
    assert_eq!(at_zero(Activation::Elu), [1.0, 1.0]);
    assert_eq!(at_zero(Activation::Selu), [1.758_099_4, 1.758_099_4]);
}

#[test]
fn infinities_and_nan_are_kept() {
    for isa in Isa::available() {
        for &a in Activation::ALL {
            let [up, down, nan] = [f32::INFINITY, f32::NEG_INFINITY, f32::NAN].map(|z| apply(forward, isa, a, &[z])[0]);
            let what = format!("{} on {}", a.name(), isa.name());
            assert!(nan.is_nan(), "{what} loses a NaN");
            tolerance::PRODUCT.check(up, oracle::forward(a, f64::INFINITY), &|| what.clone());
            tolerance::PRODUCT.check(down, oracle::forward(a, f64::NEG_INFINITY), &|| what.clone());
        }
    }
}

#[test]
fn an_element_does_not_depend_on_its_place() {
    let z = uniform(1, 300, -9.0, 9.0);
    for isa in Isa::available() {
        for &a in Activation::ALL {
            for (fast, ..) in BOTH {
                let whole = apply(fast, isa, a, &z);
                for &n in LENGTHS {
                    for start in [0, 1, 3, 8, 13, 16, 43] {
                        assert_eq!(apply(fast, isa, a, &z[start..start + n]), whole[start..start + n], "{}", a.name());
                    }
                }
            }
        }
    }
}
