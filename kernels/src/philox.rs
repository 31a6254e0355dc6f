//! Philox4x32-10: random words that depend on a counter and a key alone.
//!
//! The generator of Salmon, Moraes, Dror and Shaw, "Parallel random numbers: as easy as 1, 2, 3" (SC 2011): ten
//! rounds of two 32×32→64-bit products turn any counter into four words that pass the usual test suites. Nothing is
//! shared and nothing advances, so any element of any step can be drawn by any thread, in any order, and drawn again
//! after a resume. [`philox4x32_10`] is the plain form; `Rounds` is the same on vectors of counters.

use crate::isa::Simd;

/// Multipliers of the first and the third counter word.
const MULTIPLIERS: [u32; 2] = [0xD251_1F53, 0xCD9E_8D57];
/// What is added to the key after each round (golden ratio, √3 − 1).
const WEYL: [u32; 2] = [0x9E37_79B9, 0xBB67_AE85];
const ROUNDS: u32 = 10;
/// The last counter word of [`Key::derive`]; no dropout has it as its purpose.
pub(crate) const DERIVE: u32 = u32::MAX;

/// The four words of that counter under that key.
pub fn philox4x32_10(counter: [u32; 4], key: [u32; 2]) -> [u32; 4] {
    let [mut a, mut b, mut c, mut d] = counter;
    for round in 0..ROUNDS {
        let k = [0, 1].map(|i| key[i].wrapping_add(WEYL[i].wrapping_mul(round)));
        let p = u64::from(MULTIPLIERS[0]) * u64::from(a);
        let q = u64::from(MULTIPLIERS[1]) * u64::from(c);
        [a, b, c, d] = [(q >> 32) as u32 ^ b ^ k[0], q as u32, (p >> 32) as u32 ^ d ^ k[1], p as u32];
    }
    [a, b, c, d]
}

/// [`philox4x32_10`] of vectors of counters under one key, whose rounds' keys are made once.
pub(crate) struct Rounds<S: Simd> {
    keys: [[S::U; 2]; ROUNDS as usize],
    multipliers: [S::U; 2],
}

impl<S: Simd> Rounds<S> {
    #[inline(always)]
    pub(crate) fn new(s: S, key: Key) -> Self {
        let of = |round: usize| [0, 1].map(|i| s.splat_u(key.0[i].wrapping_add(WEYL[i].wrapping_mul(round as u32))));
        Rounds { keys: std::array::from_fn(of), multipliers: MULTIPLIERS.map(|m| s.splat_u(m)) }
    }

    /// The words of `N` vectors of counters. Two take little longer than one, whose rounds wait for each other.
    ///
    /// The even and the odd counters go separately, each word in the low half of 64 bits, as a product leaves it; what
    /// stands in the high halves is never looked at.
    #[inline(always)]
    pub(crate) fn words<const N: usize>(&self, s: S, counters: [[S::U; 4]; N]) -> [[S::U; 4]; N] {
        // No `map`: the compiler leaves it a call, where vectors go through memory.
        let mut states = [counters; 2];
        for state in &mut states[1] {
            let [a, b, c, d] = *state;
            *state = [s.high_halves(a), s.high_halves(b), s.high_halves(c), s.high_halves(d)];
        }
        for [k0, k1] in self.keys {
            for state in states.as_flattened_mut() {
                let [a, b, c, d] = *state;
                let p = s.mul_even(a, self.multipliers[0]);
                let q = s.mul_even(c, self.multipliers[1]);
                let xor = |a, b, k| s.xor(s.xor(a, b), k);
                *state = [xor(s.high_halves(q), b, k0), q, xor(s.high_halves(p), d, k1), p];
            }
        }
        let [mut even, odd] = states;
        for (even, odd) in even.as_flattened_mut().iter_mut().zip(odd.as_flattened()) {
            *even = s.pair(*even, *odd);
        }
        even
    }
}

/// Under which key a stream of random words is drawn.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub struct Key(pub [u32; 2]);

impl Key {
    /// The key of a study's seed.
    pub fn new(seed: u64) -> Self {
        Key([seed as u32, (seed >> 32) as u32])
    }

    /// The key of the trial in that slot: the first two words of the slot's counter under this key.
    #[must_use]
    pub fn derive(self, slot: u64) -> Self {
        let [a, b, _, _] = philox4x32_10([slot as u32, (slot >> 32) as u32, 0, DERIVE], self.0);
        Key([a, b])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::{Isa, Op};

    /// Known answers that the authors publish with Random123 (`kat_vectors`): counter, key, words.
    const KNOWN: [([u32; 4], [u32; 2], [u32; 4]); 3] = [
        ([0; 4], [0; 2], [0x6627_e8d5, 0xe169_c58d, 0xbc57_ac4c, 0x9b00_dbd8]),
        ([u32::MAX; 4], [u32::MAX; 2], [0x408f_276d, 0x41c8_3b0e, 0xa20b_c7c6, 0x6d54_51fd]),
        (
            [0x243f_6a88, 0x85a3_08d3, 0x1319_8a2e, 0x0370_7344],
            [0xa409_3822, 0x299f_31d0],
            [0xd16c_fe09, 0x94fd_cceb, 0x5001_e420, 0x2412_6ea1],
        ),
    ];

    #[test]
    fn known_answers() {
        for (counter, key, words) in KNOWN {
            assert_eq!(philox4x32_10(counter, key), words);
        }
    }

    #[test]
    fn vectors_equal_scalars() {
        struct Draw {
            counter: [u32; 4],
            key: [u32; 2],
        }
        impl Op for Draw {
            type Output = Vec<[u32; 4]>;
            #[inline(always)]
            fn run<S: Simd>(self, s: S) -> Self::Output {
                let [a, b, c, d] = self.counter;
                let rounds = Rounds::new(s, Key(self.key));
                let [words] = rounds.words(s, [[s.iota(a), s.splat_u(b), s.splat_u(c), s.splat_u(d)]]);
                let mut out = vec![[0; 4]; S::LANES];
                for (w, v) in words.into_iter().enumerate() {
                    let mut lanes = [0; 16];
                    s.store_u(&mut lanes[..S::LANES], v);
                    out.iter_mut().zip(lanes).for_each(|(row, x)| row[w] = x);
                }
                out
            }
        }
        for isa in Isa::available() {
            for (counter, key, _) in KNOWN {
                for (lane, words) in isa.run(Draw { counter, key }).into_iter().enumerate() {
                    let [a, b, c, d] = counter;
                    let expected = philox4x32_10([a.wrapping_add(lane as u32), b, c, d], key);
                    assert_eq!(words, expected, "{} lane {lane}", isa.name());
                }
            }
        }
    }

    #[test]
    fn slots_have_keys_of_their_own() {
        let seed = Key::new(0x0123_4567_89ab_cdef);
        assert_eq!(seed, Key([0x89ab_cdef, 0x0123_4567]));
        let keys: std::collections::HashSet<_> = (0..1000).map(|slot| seed.derive(slot)).collect();
        assert_eq!(keys.len(), 1000);
        assert_ne!(Key::new(1).derive(0), Key::new(2).derive(0));
    }
}
