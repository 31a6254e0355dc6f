//! What nvcc makes of ordinary CUDA C, against Rust: products, reductions, Philox, optimizers, libdevice's curves.

mod common;

use common::Arg::{F32, Pointer, U32};
use common::{Bench, noise};
use hpt_ptxsim::{Launch, Options};

const SIMT: &str = include_str!("kernels/simt.ptx");

fn bench(seed: u64) -> Bench {
    Bench::new(SIMT, Options { seed, ..Options::default() })
}

#[test]
fn axpy_of_any_length_is_exact() {
    for n in [1, 31, 32, 33, 255, 256, 257, 1000] {
        let (x, y) = (noise(1, n), noise(2, n));
        let mut bench = bench(n as u64);
        let (px, py) = (bench.floats(&x), bench.floats(&y));
        let args = [Pointer(px), Pointer(py), F32(0.3), U32(n as u32)];
        let counters = bench.launch("axpy", [n.div_ceil(256) as u32, 1, 1], [256, 1, 1], &args).unwrap();
        let expected: Vec<f32> = x.iter().zip(&y).map(|(x, y)| 0.3f32.mul_add(*x, *y)).collect();
        assert_eq!(bench.read_floats(py, n), expected);
        // Two loads and a store a warp, four sectors for each full warp.
        assert_eq!(counters.global_requests, 3 * n.div_ceil(32) as u64);
        assert_eq!(counters.global_sectors, 3 * n.div_ceil(8) as u64);
    }
}

#[test]
fn tiled_product_is_the_naive_one_in_order_of_k() {
    for (m, n, k) in [(1, 1, 1), (31, 33, 32), (64, 32, 65), (37, 70, 100)] {
        let (a, b) = (noise(3, m * k), noise(4, k * n));
        let mut expected = vec![0f32; m * n];
        for row in 0..m {
            for col in 0..n {
                expected[row * n + col] = (0..k).fold(0f32, |sum, at| a[row * k + at].mul_add(b[at * n + col], sum));
            }
        }
        for seed in 0..3 {
            let mut bench = bench(seed);
            let (pa, pb, pc) = (bench.floats(&a), bench.floats(&b), bench.machine.alloc(4 * m * n));
            let grid = [n.div_ceil(32) as u32, m.div_ceil(32) as u32, 1];
            let args = [Pointer(pa), Pointer(pb), Pointer(pc), U32(m as u32), U32(n as u32), U32(k as u32)];
            let counters = bench.launch("gemm", grid, [32, 8, 1], &args).unwrap();
            assert_eq!(bench.read_floats(pc, m * n), expected, "{m} {n} {k}");
            assert_eq!(counters.shared_conflicts, 0);
        }
    }
}

#[test]
fn rows_are_summed_by_blocks() {
    for (rows, width, threads) in [(1, 1, 32), (3, 700, 256), (5, 33, 64), (2, 1023, 1024)] {
        let x: Vec<f32> = (0..rows * width).map(|i| (i % 17) as f32 - 8.0).collect();
        let mut bench = bench(width as u64);
        let (px, out) = (bench.floats(&x), bench.machine.alloc(4 * rows));
        bench
            .launch("row_sum", [rows as u32, 1, 1], [threads, 1, 1], &[Pointer(px), Pointer(out), U32(width as u32)])
            .unwrap();
        let expected: Vec<f32> = x.chunks(width).map(|row| row.iter().sum()).collect();
        assert_eq!(bench.read_floats(out, rows), expected);
    }
}

#[test]
fn softmax_is_close_to_f64() {
    for (rows, classes) in [(1, 1), (3, 7), (9, 10), (4, 33), (8, 100)] {
        let z = noise(5, rows * classes);
        let labels: Vec<u32> = (0..rows).map(|row| (row * 7 % classes) as u32).collect();
        let mut bench = bench(rows as u64);
        let (pz, pl, losses) = (bench.floats(&z), bench.words(&labels), bench.machine.alloc(4 * rows));
        let args = [Pointer(pz), Pointer(pl), Pointer(losses), U32(rows as u32), U32(classes as u32)];
        bench.launch("softmax", [rows.div_ceil(4) as u32, 1, 1], [128, 1, 1], &args).unwrap();
        let (got, losses) = (bench.read_floats(pz, rows * classes), bench.read_floats(losses, rows));
        for row in 0..rows {
            let z: Vec<f64> = z[row * classes..][..classes].iter().map(|&z| f64::from(z)).collect();
            let sum: f64 = z.iter().map(|z| z.exp()).sum();
            let label = labels[row] as usize;
            assert!((f64::from(losses[row]) - (sum.ln() - z[label])).abs() < 1e-5);
            for class in 0..classes {
                let expected = z[class].exp() / sum - f64::from(u8::from(class == label));
                assert!((f64::from(got[row * classes + class]) - expected).abs() < 1e-6);
            }
        }
    }
}

#[test]
fn philox_gives_the_published_words() {
    // Random123's known answers: key and counter zero, and all ones.
    let cases = [(0u64, 0u64, 0, [0x6627_e8d5u32, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8])];
    for (key, step, index, expected) in cases {
        let mut bench = bench(1);
        let out = bench.machine.alloc(16 * 40);
        let mut params = out.to_le_bytes().to_vec();
        params.extend(key.to_le_bytes());
        params.extend(step.to_le_bytes());
        params.extend(40u32.to_le_bytes());
        let kernel = bench.module.kernel("random_words").unwrap();
        assert_eq!((kernel.param_bytes(), kernel.params()[1].size), (28, 16));
        let launch = Launch { grid: [1, 1, 1], block: [64, 1, 1], shared_bytes: 0, params: &params };
        bench.machine.launch(kernel, launch).unwrap();
        assert_eq!(bench.read_words(out + 16 * index, 4), expected);
    }
}

#[test]
fn adamw_follows_its_formula() {
    let n = 300;
    let (w, g, m, v) = (noise(1, n), noise(2, n), noise(3, n), noise(4, n).iter().map(|x| x * x).collect::<Vec<_>>());
    let mut bench = bench(2);
    let (pw, pg, pm, pv, rate) =
        (bench.floats(&w), bench.floats(&g), bench.floats(&m), bench.floats(&v), bench.floats(&[0.01]));
    let args = [Pointer(pw), Pointer(pg), Pointer(pm), Pointer(pv), Pointer(rate), U32(3), U32(n as u32)];
    bench.launch("adamw", [2, 1, 1], [64, 1, 1], &args).unwrap();
    let got = bench.read_floats(pw, n);
    for i in 0..n {
        let [w, g, m, v] = [w[i], g[i], m[i], v[i]].map(f64::from);
        let (b1, b2) = (f64::from(0.9f32), f64::from(0.999f32));
        let (m, v) = (b1 * m + (1.0 - b1) * g, b2 * v + (1.0 - b2) * g * g);
        let step = (m / (1.0 - b1.powi(3))) / ((v / (1.0 - b2.powi(3))).sqrt() + 1e-8);
        let expected = w * (1.0 - 0.01 * 0.01) - 0.01 * step;
        assert!((f64::from(got[i]) - expected).abs() < 2e-5, "{i}: {} {expected}", got[i]);
    }
}

#[test]
fn curves_of_libdevice_are_close_to_f64() {
    let mut x: Vec<f32> = noise(6, 200).iter().map(|x| x * 12.0).collect();
    x.extend([0.0, -0.0, 1e-30, -1e-7, 88.0, -104.0, 30.0]);
    let n = x.len();
    let mut bench = bench(3);
    let (px, out) = (bench.floats(&x), bench.machine.alloc(20 * n));
    bench.launch("curves", [4, 1, 1], [64, 1, 1], &[Pointer(px), Pointer(out), U32(n as u32)]).unwrap();
    let got = bench.read_floats(out, 5 * n);
    let close = |got: f32, expected: f64, what: &str, x: f64| {
        let error = (f64::from(got) - expected).abs();
        assert!(error <= 1e-6 + 4e-7 * expected.abs(), "{what}({x}) = {got}, expected {expected}");
    };
    for (i, x) in x.iter().map(|&x| f64::from(x)).enumerate() {
        close(got[n + i], x.tanh(), "tanh", x);
        if x < 80.0 {
            close(got[2 * n + i], x.exp(), "exp", x);
            close(got[3 * n + i], x.exp().ln_1p(), "softplus", x);
        }
        close(got[4 * n + i], x.sin() + x.cos(), "sin+cos", x);
    }
    assert_eq!(got[199], got[199]);
}

#[test]
fn calls_switches_and_local_arrays() {
    let kinds: Vec<u32> = (0..70).map(|i| i % 13).collect();
    let x: Vec<f32> = noise(7, 70).iter().map(|x| x.abs() * 4.0 + 0.1).collect();
    let mut bench = bench(4);
    let (px, pk, out) = (bench.floats(&x), bench.words(&kinds), bench.machine.alloc(280));
    let counters =
        bench.launch("oddities", [1, 1, 1], [96, 1, 1], &[Pointer(px), Pointer(pk), Pointer(out), U32(70)]).unwrap();
    let horner = |x: f32, degree: i32| (0..=degree).rev().fold(0f32, |sum, i| sum.mul_add(x, (i + 1) as f32));
    let expected = |y: f32, kind: u32| match kind {
        0 => horner(y, 3),
        1 => y.sqrt(),
        2 => {
            if y > 1.0 {
                y
            } else {
                -y
            }
        }
        3 => y.floor(),
        4 => y.abs() + 1.0,
        5 => 1.0 / y,
        6 => y.round_ties_even(),
        7 => horner(y, 5),
        _ => y * (kind & 7) as f32,
    };
    let expected: Vec<f32> = x.iter().zip(&kinds).map(|(&x, &kind)| expected(x, kind)).collect();
    assert_eq!(bench.read_floats(out, 70), expected);
    assert!(counters.divergences > 0 && counters.local_requests > 0);
    assert!(bench.module.kernel("oddities").unwrap().local_bytes() > 0);
}

#[test]
fn a_block_keeps_its_model_for_many_steps() {
    let (n, width, models) = (20, 5, 3);
    let (x, y, w) = (noise(8, n * width), noise(9, n), noise(10, models * width));
    let mut expected = w.clone();
    for weights in expected.chunks_mut(width) {
        for _ in 0..4 {
            let error: Vec<f32> =
                (0..n).map(|i| (0..width).fold(y[i], |e, j| (-weights[j]).mul_add(x[i * width + j], e))).collect();
            for j in 0..width {
                let g = (0..n).fold(0f32, |g, i| error[i].mul_add(x[i * width + j], g));
                weights[j] += 0.1f32 * g / n as f32;
            }
        }
    }
    let mut first = None;
    for seed in 0..4 {
        let mut bench = bench(seed);
        let (px, py, pw) = (bench.floats(&x), bench.floats(&y), bench.floats(&w));
        let args = [Pointer(px), Pointer(py), Pointer(pw), U32(n as u32), U32(width as u32), U32(4)];
        let shared = 4 * (n + width) as u32;
        let counters = bench.launch_with("persistent", [models as u32, 1, 1], [64, 1, 1], shared, &args).unwrap();
        let got = bench.read_floats(pw, models * width);
        assert!(got.iter().zip(&expected).all(|(got, expected)| (got - expected).abs() < 1e-6));
        assert_eq!(counters.blocks, models as u64);
        assert_eq!(*first.get_or_insert(got.clone()), got);
    }
}

#[test]
fn the_last_block_sees_what_the_others_published() {
    let x: Vec<f32> = (0..1000).map(|i| (i % 5) as f32).collect();
    for seed in 0..5 {
        let mut bench = bench(seed);
        let (px, part, ticket, out) =
            (bench.floats(&x), bench.machine.alloc(40), bench.words(&[0]), bench.machine.alloc(4));
        let args = [Pointer(px), Pointer(part), Pointer(ticket), Pointer(out), U32(1000)];
        let counters = bench.launch("last_block", [10, 1, 1], [32, 1, 1], &args).unwrap();
        assert_eq!(bench.read_floats(out, 1), [x.iter().sum::<f32>()]);
        assert_eq!((counters.integer_atomics, counters.float_atomics), (10, 0));
    }
}

#[test]
fn narrow_and_wide_types() {
    let n = 60;
    let bytes: Vec<u8> = (0..n).map(|i| (i * 37 % 256) as u8).collect();
    let shorts: Vec<i16> = (0..n).map(|i| (i * 1234 % 65536) as u16 as i16).collect();
    let d: Vec<f64> = noise(11, n as usize).iter().map(|&x| f64::from(x).abs() * 1000.0).collect();
    let mut bench = bench(5);
    let (pb, ps) = (bench.upload(&bytes, |byte| [byte]), bench.upload(&shorts, i16::to_le_bytes));
    let (pd, out, dd) =
        (bench.upload(&d, f64::to_le_bytes), bench.machine.alloc(8 * n as usize), bench.machine.alloc(8 * n as usize));
    let args = [Pointer(pb), Pointer(ps), Pointer(pd), Pointer(out), Pointer(dd), U32(n)];
    bench.launch("widths", [1, 1, 1], [64, 1, 1], &args).unwrap();
    let words = bench.read_words(out, 2 * n as usize);
    let doubles = bench.read_words(dd, 2 * n as usize);
    for i in 0..n as usize {
        let (b, s) = (i64::from(bytes[i]), i64::from(shorts[i]));
        let expected = s * b / 3 + s % 7 + i64::from(bytes[i].count_ones()) + (d[i] * 1e6) as i64;
        let pair = |words: &[u32]| u64::from(words[2 * i]) | u64::from(words[2 * i + 1]) << 32;
        assert_eq!(pair(&words) as i64, expected);
        assert_eq!(f64::from_bits(pair(&doubles)), d[i].sqrt() / 3.0 + d[i].mul_add(d[i], 1.0));
    }
}

#[test]
fn one_seed_is_one_run() {
    let run = |seed| {
        let mut bench = bench(seed);
        let x = noise(1, 4096);
        let (px, out) = (bench.floats(&x), bench.machine.alloc(64));
        bench.launch("row_sum", [16, 1, 1], [256, 1, 1], &[Pointer(px), Pointer(out), U32(256)]).unwrap()
    };
    assert_eq!(run(1), run(1));
}
