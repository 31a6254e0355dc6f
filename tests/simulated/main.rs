//! The CUDA backend as a whole, from a training down to the kernels that ship, on an interpreter: it follows the
//! oracle, gives the same bits alone and among others, and goes on from a checkpoint as if nothing had happened.

mod device;
mod search;
mod training;

use device::{Look, is_used, kernels, simulated};
use hpt_engine::backend::Precision;
use hpt_engine::backend::cuda::{Pace, Products, Shape, Timed};
use hpt_engine::bench::{COHORTS, CohortRow};
use hpt_engine::check::{self, Case, Choice, End, cases, edges};
/// All comparisons with the oracle and the CPU that `hpt-engine check` makes on a GPU, and each kernel is used.
#[test]
fn the_gpu_follows_the_oracle() {
    let cuda = simulated(&[Look::default()]);
    let found = check::all(&cuda, Choice::default(), &mut |_, _| {});
    assert!(found.list.len() == found.comparisons && found.lost.is_none());
    for finding in &found.list {
        assert!(finding.agrees, "{finding:?}");
    }
    check::quick(&cuda).unwrap();
    let unused: Vec<_> = kernels().filter(|kernel| !is_used(kernel)).collect();
    assert_eq!(unused, ["layout"], "no comparison uses these kernels");
}

/// The same where products have tensor cores, at every precision below f32.
#[test]
fn tensor_cores_follow_the_oracle() {
    let cuda = simulated(&[Look { plain: false, ..Look::default() }]);
    let only = ["high", "medium", "bf16"].map(str::to_owned);
    let findings = check::all(&cuda, Choice { only: &only, ..Choice::default() }, &mut |_, _| {}).list;
    for finding in &findings {
        assert!(finding.agrees, "{finding:?}");
    }
    for precision in ["high", "medium", "bf16"] {
        assert!(findings.iter().any(|finding| finding.name.contains(precision)), "nothing was compared at {precision}");
    }
    assert!(is_used("forward_tf32x3_s") && is_used("learn_tf32_s") && is_used("backward_bf16_s"));
    // Both kinds of the large ones, for every product.
    for product in ["forward", "backward", "learn"] {
        for kind in ["tf32_g", "tf32x3_g", "tf32_l", "tf32x3_l", "bf16_l"] {
            assert!(is_used(&format!("{product}_{kind}")), "{product}_{kind} is not used");
        }
    }
    assert!(findings.iter().any(|finding| finding.name.contains("both kinds")));
}

/// The same model alone, among others of other shapes that come and go in any order, on another schedule of blocks, and
/// in runs of other lengths.
#[test]
fn companions_change_no_bit() {
    let cases = cases();
    let chosen: Vec<&Case> = cases.iter().step_by(7).take(7).collect();
    let alone: Vec<End> = chosen.iter().map(|case| case.steps(&simulated(&[Look::default()]), 6, 6).unwrap()).collect();
    for (seed, order) in [(2, [0, 1, 2, 3, 4, 5, 6]), (3, [6, 3, 1, 5, 0, 2, 4])] {
        let cuda = &simulated(&[Look { seed, ..Look::default() }]);
        let together: Vec<(usize, End)> = std::thread::scope(|scope| {
            let run = |i: usize| (i, chosen[i].steps(cuda, 6, 1 + i % 4).unwrap());
            let threads: Vec<_> = order.into_iter().map(|i| scope.spawn(move || run(i))).collect();
            threads.into_iter().map(|thread| thread.join().unwrap()).collect()
        });
        for (i, end) in together {
            assert!(end == alone[i], "{} has other bits among others (seed {seed})", chosen[i].name);
        }
    }
}

#[test]
fn products_are_timed() {
    let cuda = simulated(&[Look::default()]);
    let shape = [65, 33, 17];
    let timed = |precision, models, tiles| Timed { shape, precision, times: 2, models, tiles };
    let took = cuda.time_product(timed(Precision::Highest, 1, None)).unwrap().unwrap();
    assert!(took.seconds > 0.0 && took.error < 2e-7, "{took:?}");
    // A wrong product would show: TF32's error does.
    let tensor = simulated(&[Look { plain: false, ..Look::default() }]);
    let error = |precision| tensor.time_product(timed(precision, 1, None)).unwrap().unwrap().error;
    let (high, medium) = (error(Precision::High), error(Precision::Medium));
    assert!(high < 1e-6 && (1e-5..1e-3).contains(&medium), "{high} {medium}");
    // Every shape of tiles, of several networks at once, has the same product; without tensor cores there are no
    // groups.
    for (name, tiles) in Products::SHAPES {
        let took = tensor.time_product(timed(Precision::Medium, 3, Some(tiles))).unwrap().unwrap();
        assert!((1e-5..1e-3).contains(&took.error), "{name}: {took:?}");
    }
    assert_eq!(cuda.time_product(timed(Precision::Medium, 3, Some(Shape::Group))).unwrap(), None);
}

/// What is measured of lengths of rounds and legs, of a cohort of launches and one of blocks.
#[test]
fn lengths_are_measured_and_change_nothing() {
    let cuda = simulated(&[Look::default()]);
    for (hidden, models) in [(&[90, 9][..], 2), (&[8][..], 3)] {
        let row =
            CohortRow { models, inputs: 20, hidden: Some(hidden), classes: 4, rows: 300, batch: 64, ..COHORTS[0] };
        let paces = [Pace::default(), Pace { short: 2, short_resident: 2, ..Pace::default() }];
        let rates = row.paces(&cuda, Precision::Highest, &paces).unwrap();
        assert!(rates.len() == 2 && rates.iter().flatten().all(|rate| *rate > 0.0), "{rates:?}");
    }
}

#[test]
fn no_step_has_a_race() {
    let cuda = simulated(&[Look { races: true, seed: 9, ..Look::default() }]);
    let wanted = ["gelu", "adam", "adam, clipped", "weights of labels", "130-70-10, batch 19"];
    for case in cases().into_iter().chain(edges()).filter(|case| wanted.iter().any(|name| case.name.contains(name))) {
        case.steps(&cuda, 2, 2).unwrap();
    }
}
