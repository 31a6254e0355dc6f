//! Which instruction sets the other tests of this crate ran on. They run on those that the machine has; here the ones
//! it lacks are named, and `HPT_REQUIRE_ISA` (names with commas between) makes a missing one a failure.

use hpt_kernels::isa::{Isa, Op, Simd, peak};

#[test]
fn sets_that_are_missing_are_named() {
    let here: Vec<_> = Isa::available().map(Isa::name).collect();
    eprintln!("instruction sets tested: {}", here.join(", "));
    for name in ["portable", "avx2", "avx512", "amx"].into_iter().filter(|name| !here.contains(name)) {
        eprintln!("SKIPPED: {name} (this machine does not have it)");
    }
    for required in std::env::var("HPT_REQUIRE_ISA").unwrap_or_default().split(',').filter(|name| !name.is_empty()) {
        assert!(here.contains(&required), "HPT_REQUIRE_ISA asks for {required}; this machine has {}", here.join(", "));
    }
}

#[test]
fn names_and_sets_agree() {
    for isa in Isa::available() {
        assert_eq!(Isa::by_name(isa.name()), Ok(isa));
        assert!([8, 16].contains(&isa.lanes()));
        assert!(peak(isa) > 1e8, "{} does {} operations a second", isa.name(), peak(isa));
    }
    assert!(Isa::by_name("mmx").unwrap_err().contains("known: portable"));
}

/// Vector operations whose meaning the trait states to the bit.
struct Basics;

impl Op for Basics {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let lanes = |v: S::F| {
            let mut out = [f32::NAN; 16];
            s.store(&mut out[..S::LANES], v);
            out[..S::LANES].to_vec()
        };
        let short = s.load(&[1.0, 2.0, 3.0]);
        let expected: Vec<f32> = (0..S::LANES).map(|i| if i < 3 { i as f32 + 1.0 } else { 0.0 }).collect();
        assert_eq!(lanes(short), expected, "missing lanes are zero");
        let mut partial = [9.0; 5];
        s.store(&mut partial[..2], s.splat(4.0));
        assert_eq!(partial, [4.0, 4.0, 9.0, 9.0, 9.0], "only what is there is written");
        let nan = s.splat(f32::NAN);
        assert_eq!(lanes(s.max(nan, s.splat(2.0)))[0], 2.0, "the second where one is NaN");
        assert!(lanes(s.max(s.splat(2.0), nan))[0].is_nan());
        assert_eq!(lanes(s.min(nan, s.splat(2.0)))[0], 2.0);
        assert_eq!(lanes(s.round(s.splat(2.5)))[0], 2.0, "halves to even");
        assert_eq!(lanes(s.round(s.splat(-3.5)))[0], -4.0);
        assert!(lanes(s.neg(s.splat(0.0)))[0].is_sign_negative());
        let words = |v| {
            let mut words = [0; 16];
            s.store_u(&mut words[..S::LANES], v);
            words
        };
        let bytes: Vec<u8> = (0..S::LANES as u8).map(|i| 255 - 17 * (i % 16)).collect();
        // SAFETY: there are as many as lanes.
        let numbers = lanes(unsafe { s.load_bytes(bytes.as_ptr()) });
        assert_eq!(numbers, bytes.iter().map(|&byte| f32::from(byte)).collect::<Vec<_>>());
        let (many, all) = (s.iota(0xffff_fff0), s.splat_u(0xffff_ffff));
        let products = words(s.mul_even(all, many));
        let (high, pair) = (words(s.high_halves(many)), words(s.pair(many, s.iota(7))));
        for i in (0..S::LANES as u32).step_by(2) {
            let (at, product) = (i as usize, 0xffff_ffffu64 * u64::from(0xffff_fff0 + i));
            assert_eq!(products[at..at + 2], [product as u32, (product >> 32) as u32]);
            assert_eq!(high[at], 0xffff_fff1 + i);
            assert_eq!(pair[at..at + 2], [0xffff_fff0 + i, 7 + i]);
        }
        for (x, kept) in [(1e-39, 0.0), (-1e-45, 0.0), (f32::MIN_POSITIVE, f32::MIN_POSITIVE), (-2.0, -2.0), (0.0, 0.0)]
        {
            assert_eq!(lanes(s.flush(s.splat(x)))[0], kept, "{x:e} without what is subnormal");
        }
        assert!(lanes(s.flush(nan))[0].is_nan());
        let picked = s.select(s.ge_u(s.iota(0x7fff_fffe), s.splat_u(0x8000_0000)), s.splat(1.0), s.splat(0.0));
        assert_eq!(lanes(picked)[..4], [0.0, 0.0, 1.0, 1.0], "comparison without sign");
    }
}

#[test]
fn vectors_do_what_the_trait_says() {
    Isa::available().for_each(|isa| isa.run(Basics));
}

/// Square roots, of lanes from `from` on, by that distance of bits; `zeros`: with zeros of both signs among them.
struct Roots {
    from: u32,
    step: u32,
    vectors: usize,
    zeros: bool,
}

impl Op for Roots {
    type Output = ();
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        let mut bits = self.from;
        for _ in 0..self.vectors {
            let (mut x, mut roots) = ([0.0; 16], [0.0; 16]);
            for x in &mut x[..S::LANES] {
                *x = f32::from_bits(bits);
                bits = bits.wrapping_add(self.step);
            }
            if self.zeros {
                (x[1], x[6]) = (0.0, -0.0);
            }
            s.store(&mut roots[..S::LANES], s.sqrt(s.load(&x[..S::LANES])));
            for (x, root) in x.iter().zip(roots).take(S::LANES) {
                let expected = x.sqrt();
                assert!(
                    root.to_bits() == expected.to_bits() || (root.is_nan() && expected.is_nan()),
                    "√{x:e}: {root:e}"
                );
            }
        }
    }
}

#[test]
fn square_roots_are_rounded_as_ieee_754_demands() {
    for isa in Isa::available() {
        let roots = |from: f32, step: u32, vectors: usize, zeros: bool| {
            isa.run(Roots { from: from.to_bits(), step, vectors, zeros });
        };
        // Every mantissa of two neighbouring exponents; the same where sets may change their method; every mantissa
        // once more beside zeros.
        let binades = (2 << 23) / isa.lanes();
        roots(1.0, 1, binades, false);
        for power in [-127, -101, 125] {
            roots(2f32.powi(power), 1, binades, false);
        }
        roots(1.0, 1, binades, true);
        // All exponents, signs, infinities and NaN; and every kind of number beside every other.
        roots(0.0, 1021, (u32::MAX / 1021) as usize / isa.lanes() + 1, false);
        roots(0.0, 0x0ec4_ec4f, 100_000, false);
    }
}
