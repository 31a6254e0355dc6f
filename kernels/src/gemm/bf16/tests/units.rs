//! The emulated tiles against the manual's words, and real ones against them.

use super::*;

/// Words of any bits but those of NaN and infinity, biased to small exponents, so that sums are flushed too.
fn tile(seed: u32) -> Vec<u32> {
    let (low, high) = (noise(seed), noise(seed + 100));
    let number = |x: f32, y: f32| (x * 2f32.powi((y * 60.0) as i32 - 40)).to_bits() >> 16;
    (0..16 * WORDS).map(|i| number(low(i, 0), low(i, 1)) | number(high(i, 0), high(i, 1)) << 16).collect()
}

/// The same, but for one number in forty: zeros, subnormals, the smallest and the largest, infinities, NaN.
fn strange(seed: u32) -> Vec<u32> {
    const NUMBERS: [u32; 12] = [0, 0x8000, 1, 0x8001, 0x7f, 0x807f, 0x80, 0x8080, 0x7f7f, 0x7f80, 0xff80, 0x7fc0];
    let place = noise(seed + 200);
    let half = |i: usize, half: usize, number: u32| {
        let turn = (place(i, half) + 1.0) * 20.0 * NUMBERS.len() as f32;
        NUMBERS.get(turn as usize).copied().unwrap_or(number)
    };
    let words = tile(seed).into_iter().enumerate();
    words.map(|(i, word)| half(i, 0, word & 0xffff) | half(i, 1, word >> 16) << 16).collect()
}

/// C, A and B through `count` products and out again.
fn dots<T: Tiles>(t: &mut T, [c, a, b]: [&[u32]; 3], count: usize) -> Vec<u32> {
    let mut out = vec![0; 16 * WORDS];
    // SAFETY: the vectors hold a tile each.
    unsafe {
        t.load::<0>(c.as_ptr(), WORDS);
        t.load::<1>(a.as_ptr(), WORDS);
        t.load::<2>(b.as_ptr(), WORDS);
        for _ in 0..count {
            t.dot::<0, 1, 2>();
        }
        t.store::<0>(out.as_mut_ptr(), WORDS);
    }
    out
}

/// The pseudo-code of TDPBF16PS element by element, in f64 with explicit rounding, against the emulation.
#[test]
fn the_emulation_follows_the_pseudo_code() {
    let flush = |x: f32| if x.abs() < f32::MIN_POSITIVE { 0.0 } else { x };
    for seed in 0..50 {
        let (c, a, b) = (tile(seed), tile(seed + 1), tile(seed + 2));
        let out = dots(&mut Emulated::new(Portable::new()), [&c, &a, &b], 1);
        for i in 0..16 {
            for j in 0..16 {
                let mut sums = [0.0f32; 2];
                for q in 0..WORDS {
                    for (half, sum) in sums.iter_mut().enumerate() {
                        let number = |word: u32| flush(f32::from_bits(word >> (16 * half) << 16));
                        let (x, y) = (number(a[i * WORDS + q]), number(b[q * WORDS + j]));
                        *sum = flush(x.mul_add(y, *sum));
                    }
                }
                let expected = flush(flush(f32::from_bits(c[i * WORDS + j])) + flush(sums[0] + sums[1]));
                let got = f32::from_bits(out[i * WORDS + j]);
                assert!(got == expected, "seed {seed} ({i}, {j}): {got:e} {expected:e}");
            }
        }
    }
}

/// A result just below 2⁻¹²⁶ that f32's spacing there rounds up is subnormal all the same; one that has 24 bits is not.
#[test]
fn results_at_the_edge_of_the_range() {
    let run = |a: f32, b: f32| {
        let mut t = Emulated::new(Portable::new());
        let word = |x: f32| x.to_bits() >> 16;
        let (mut x, mut y) = (vec![0; 256], vec![0; 256]);
        // The first product makes 2⁻¹²⁶, the second takes something off.
        (x[0], y[0]) = (word(2f32.powi(-63)), word(2f32.powi(-63)));
        (x[1], y[WORDS]) = (word(a), word(b));
        let mut out = vec![0; 256];
        // SAFETY: the vectors hold a tile each.
        unsafe {
            t.load::<1>(x.as_ptr(), WORDS);
            t.load::<2>(y.as_ptr(), WORDS);
            t.dot::<0, 1, 2>();
            t.store::<0>(out.as_mut_ptr(), WORDS);
        }
        f32::from_bits(out[0])
    };
    assert_eq!(run(-2f32.powi(-75), 2f32.powi(-77)), f32::MIN_POSITIVE, "2⁻¹²⁶ − 2⁻¹⁵² rounds to 2⁻¹²⁶");
    assert_eq!(run(-2f32.powi(-75), 2f32.powi(-76)), f32::MIN_POSITIVE, "the middle rounds to even");
    assert_eq!(run(-1.5 * 2f32.powi(-75), 2f32.powi(-76)), 0.0, "2⁻¹²⁶ − 1.5 · 2⁻¹⁵¹ has 25 bits and rounds down");
    assert_eq!(run(-2f32.powi(-75), 2f32.powi(-74)), 0.0, "2⁻¹²⁶ − 2⁻¹⁴⁹ is subnormal");
}

/// Runs where AMX is; elsewhere it says so, and `HPT_REQUIRE_ISA=amx` forbids that.
#[test]
fn tiles_match_their_emulation_to_the_bit() {
    let (Ok(amx), Ok(emulated)) = (Isa::by_name("amx"), Isa::by_name("amx-emulated")) else {
        let required = std::env::var("HPT_REQUIRE_ISA").unwrap_or_default();
        assert!(!required.split(',').any(|name| name == "amx"), "HPT_REQUIRE_ISA asks for amx; this machine has none");
        eprintln!("SKIPPED: AMX against its emulation (this machine has no AMX)");
        return;
    };
    #[cfg(target_arch = "x86_64")]
    for (seed, numbers) in (0..200).flat_map(|seed| [tile, strange].map(|numbers| (seed, numbers))) {
        let tiles = [numbers(seed), numbers(seed + 1), numbers(seed + 2)];
        let tiles = tiles.each_ref().map(Vec::as_slice);
        // SAFETY: `by_name` says that the machine has AMX.
        let there = dots(&mut unsafe { amx::Amx::new() }, tiles, 3);
        let here = dots(&mut Emulated::new(Portable::new()), tiles, 3);
        let nan = |word: u32| f32::from_bits(word).is_nan();
        let same = |(&x, &y): (&u32, &u32)| x == y || (nan(x) && nan(y));
        let wrong = there.iter().zip(&here).position(|pair| !same(pair));
        assert!(wrong.is_none(), "seed {seed}, element {wrong:?}");
    }
    for method in Method::ALL.into_iter().skip(1) {
        for (m, k, n) in [(1, 1, 1), (16, 32, 16), (33, 300, 47), (130, 700, 70), (17, 31, 1_051)] {
            let (a, b) = (Stored::new(Layout::Rows, m, k, noise(1)), Stored::new(Layout::Columns, k, n, noise(2)));
            let case = Case { a: &a, b: &b, beta: Beta::One };
            let there = multiply((amx, method), &case, Layout::Rows, noise(3));
            let here = multiply((emulated, method), &case, Layout::Rows, noise(3));
            assert_eq!(bits(&there), bits(&here), "{method:?} {m}×{k}×{n}");
        }
    }
}

/// Every product of the measurement is made: each adds 32 squares to every sum, here exactly.
#[test]
fn the_peak_of_tiles_counts_what_is_multiplied() {
    let half = 0x3f00_3f00;
    let sums = tiles::on_tiles(&mut Emulated::new(Portable::new()), half, 5);
    assert!(sums.iter().all(|&sum| f32::from_bits(sum) == 5.0 * 32.0 * 0.25), "{sums:?}");
}

#[test]
fn a_peak_is_measured_where_there_is_a_unit() {
    for isa in Isa::available() {
        let (rate, peak) = (bf16_multiply_adds(isa), bf16_peak(isa));
        assert_eq!(rate.is_some(), Method::Bf16.is_available(isa), "{}", isa.name());
        assert!(rate.is_none_or(|rate| rate > 1e9) && peak.is_none_or(|peak| peak > 1e9), "{rate:?} {peak:?}");
    }
    let emulated = Isa::by_name("amx-emulated").expect("every machine can emulate");
    assert_eq!((bf16_multiply_adds(emulated), bf16_peak(emulated)), (None, None));
}

#[test]
fn products_of_bf16_are_counted() {
    assert_eq!(Method::ALL.map(|method| method.products(false)), [0, 6, 3, 1]);
    assert_eq!(Method::ALL.map(|method| method.products(true)), [0, 3, 2, 1]);
}
