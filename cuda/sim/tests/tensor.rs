//! Tensor cores through ldmatrix and cp.async, as nvcc compiles them, against naive products in f64.

mod common;

use common::Arg::{Pointer, U32};
use common::{Bench, noise};
use hpt_ptxsim::{Counters, Fault, FaultKind, Generation, Mma, Options};

const MMA80: &str = include_str!("kernels/mma80.ptx");

fn bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn wide(x: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(x) << 16))
}

struct Product {
    got: Vec<f32>,
    expected: Vec<f64>,
    counters: Counters,
}

/// A product of noise by a kernel of the fixture, and the naive one.
fn product(kernel: &str, [m, n, k]: [usize; 3], options: Options) -> Result<Product, Fault> {
    let a: Vec<u16> = noise(1, m * k).into_iter().map(bf16).collect();
    let b: Vec<u16> = noise(2, k * n).into_iter().map(bf16).collect();
    let mut bench = Bench::new(MMA80, options);
    let (pa, pb) = (bench.upload(&a, u16::to_le_bytes), bench.upload(&b, u16::to_le_bytes));
    let pc = bench.machine.alloc(4 * m * n);
    let args = [Pointer(pa), Pointer(pb), Pointer(pc), U32(m as u32), U32(n as u32), U32(k as u32)];
    let counters = bench.launch(kernel, [n.div_ceil(32) as u32, m.div_ceil(64) as u32, 1], [128, 1, 1], &args)?;
    let mut expected = vec![0.0; m * n];
    for row in 0..m {
        for col in 0..n {
            expected[row * n + col] = (0..k).map(|at| wide(a[row * k + at]) * wide(b[at * n + col])).sum();
        }
    }
    Ok(Product { got: bench.read_floats(pc, m * n), expected, counters })
}

fn worst(product: &Product) -> f64 {
    product
        .got
        .iter()
        .zip(&product.expected)
        .map(|(&got, expected)| (f64::from(got) - expected).abs())
        .fold(0.0, f64::max)
}

#[test]
fn bf16_products_of_all_edges() {
    for shape in [[64, 32, 32], [1, 8, 8], [63, 40, 72], [65, 24, 96], [128, 64, 40]] {
        for seed in 0..2 {
            for mma in [Mma::Exact, Mma::Bits(Generation::Ampere), Mma::Bits(Generation::Hopper)] {
                let product = product("gemm_bf16", shape, Options { seed, mma, ..Options::default() }).unwrap();
                assert!(worst(&product) < 2e-5, "{shape:?} {mma:?}: {}", worst(&product));
                assert!(product.counters.products > 0 && product.counters.asynchronous > 0);
            }
        }
    }
}

#[test]
fn the_generations_differ_in_the_last_bits() {
    let run = |mma| product("gemm_bf16", [64, 32, 128], Options { mma, ..Options::default() }).unwrap().got;
    let (ampere, hopper) = (run(Mma::Bits(Generation::Ampere)), run(Mma::Bits(Generation::Hopper)));
    assert_ne!(ampere, hopper);
    assert_eq!(ampere, run(Mma::Bits(Generation::Ada)));
    assert_ne!(run(Mma::Exact), hopper);
}

/// The line of the fixture that holds the n-th instruction starting with `opcode` in `kernel`, and of the last one.
fn lines(kernel: &str, opcode: &str) -> Vec<u32> {
    let inside = MMA80.lines().enumerate().skip_while(|(_, line)| !line.contains(&format!(".entry {kernel}(")));
    let body = inside.take_while(|(_, line)| *line != "}");
    body.filter(|(_, line)| line.trim_start().starts_with(opcode)).map(|(at, _)| at as u32 + 1).collect()
}

#[test]
fn a_copy_that_is_not_waited_for_is_found() {
    for seed in 0..4 {
        let fault = product("no_wait", [64, 32, 64], Options { seed, ..Options::default() }).err().unwrap();
        assert_eq!(fault.kind, FaultKind::Asynchronous, "{fault}");
        assert!(lines("no_wait", "ldmatrix").contains(&fault.line), "{fault}");
    }
}

#[test]
fn a_missing_barrier_behind_the_wait_is_found() {
    for seed in 0..8 {
        let fault = product("no_barrier", [64, 32, 64], Options { seed, ..Options::default() }).err().unwrap();
        let either = [FaultKind::Race, FaultKind::Asynchronous, FaultKind::Uninitialised];
        assert!(either.contains(&fault.kind), "{fault}");
    }
}

#[test]
fn a_stage_refilled_too_early_is_found() {
    for seed in 0..8 {
        let fault = product("early_refill", [64, 32, 128], Options { seed, ..Options::default() }).err().unwrap();
        assert!([FaultKind::Race, FaultKind::Asynchronous].contains(&fault.kind), "{fault}");
    }
}

#[test]
fn a_swapped_fragment_gives_wrong_numbers() {
    let product = product("swapped", [64, 32, 32], Options::default()).unwrap();
    assert!(worst(&product) > 0.1);
}

/// One tile in tf32: (result, expected with operands cut, expected with operands rounded).
fn tile(rounded: bool, mma: Mma) -> (Vec<f32>, Vec<f64>) {
    let (a, b, c) = (noise(3, 128), noise(4, 64), noise(5, 128));
    let mut bench = Bench::new(MMA80, Options { mma, ..Options::default() });
    let (pa, pb, pc) = (bench.floats(&a), bench.floats(&b), bench.floats(&c));
    bench
        .launch("tile_tf32", [1, 1, 1], [32, 1, 1], &[Pointer(pa), Pointer(pb), Pointer(pc), U32(u32::from(rounded))])
        .unwrap();
    let half = if rounded { 0x1000 } else { 0 };
    let cut = |x: f32| f64::from(f32::from_bits((x.to_bits() + half) & !0x1fff));
    let mut expected = vec![0.0; 128];
    for row in 0..16 {
        for col in 0..8 {
            let sum: f64 = (0..8).map(|k| cut(a[row * 8 + k]) * cut(b[k * 8 + col])).sum();
            expected[row * 8 + col] = sum + f64::from(c[row * 8 + col]);
        }
    }
    (bench.read_floats(pc, 128), expected)
}

#[test]
fn tf32_operands_are_cut_by_the_hardware_and_rounded_by_cvt() {
    for rounded in [false, true] {
        let (got, expected) = tile(rounded, Mma::Exact);
        assert_eq!(got, expected.iter().map(|&x| x as f32).collect::<Vec<_>>());
        for generation in [Generation::Ampere, Generation::Ada, Generation::Hopper] {
            let (got, expected) = tile(rounded, Mma::Bits(generation));
            assert!(got.iter().zip(&expected).all(|(&got, expected)| (f64::from(got) - expected).abs() < 1e-6));
        }
    }
}

#[test]
fn pairs_of_bf16() {
    let mut x = noise(6, 60);
    x.extend([f32::INFINITY, -0.0, 1e-40, f32::MAX, 1.0 + 1.0 / 256.0, 1.0 + 3.0 / 256.0]);
    let mut bench = Bench::new(MMA80, Options::default());
    let (px, out, back) = (bench.floats(&x), bench.machine.alloc(132), bench.machine.alloc(264));
    bench.launch("pack", [1, 1, 1], [64, 1, 1], &[Pointer(px), Pointer(out), Pointer(back), U32(33)]).unwrap();
    let expected: Vec<u32> = x.iter().map(|&x| u32::from(bf16(x)) << 16).collect();
    assert_eq!(bench.read_words(back, 66), expected);
    let packed: Vec<u32> = expected.chunks(2).map(|pair| pair[0] >> 16 | pair[1]).collect();
    assert_eq!(bench.read_words(out, 33), packed);
}

#[test]
fn lanes_exchange_and_vote() {
    let x: Vec<u32> = (0..32).map(|i| (i * 11 + 5) % 64).collect();
    let mut bench = Bench::new(MMA80, Options::default());
    let (px, out) = (bench.words(&x), bench.machine.alloc(4 * 320));
    bench.launch("warp_integers", [1, 1, 1], [32, 1, 1], &[Pointer(px), Pointer(out)]).unwrap();
    let got = bench.read_words(out, 320);
    let odd = x.iter().enumerate().filter(|(_, x)| *x & 1 == 1).fold(0u32, |bits, (lane, _)| bits | 1 << lane);
    for lane in 0..32usize {
        let equal = (0..32).filter(|&other| x[other] % 3 == x[lane] % 3).fold(0, |bits, other| bits | 1 << other);
        let down = if lane % 16 + 5 < 16 { lane + 5 } else { lane };
        let expected = [
            x.iter().sum(),
            *x.iter().max().unwrap(),
            odd,
            equal,
            x[lane.checked_sub(3).unwrap_or(lane)],
            x[down],
            x[lane / 8 * 8 + x[lane] as usize % 8],
            1,
            u32::from(x.iter().any(|&x| x > 60)),
            odd.count_ones(),
        ];
        let found: Vec<u32> = (0..10).map(|i| got[32 * i + lane]).collect();
        assert_eq!(found, expected, "lane {lane}");
    }
}
