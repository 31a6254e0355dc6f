//! Keyed randomness: every number is a pure function of (seed, slot, purpose, step, element).
//!
//! A [`Stream`] is a generator for `rand` and `rand_distr` over Philox4x32-10 whose counter starts at zero for
//! its (seed, slot, purpose, step); nothing is shared between workers, so the order in which they draw never
//! matters. Dropout draws from the same function inside the kernels (`hpt_kernels::dropout`).

use hpt_kernels::philox::{Key, philox4x32_10};
use std::convert::Infallible;

/// What random numbers are for; purposes never share numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Purpose {
    /// Initial weights; the step is the layer.
    Init = 1 << 24,
    /// Order of the training rows; the step is the epoch.
    Shuffle = 2 << 24,
    /// Division of rows into training, validation and test.
    Split = 3 << 24,
    /// Folds of a cross-validation; the step is the repetition.
    Folds = 4 << 24,
    /// Proposals of a sampler; the step is the attempt.
    Propose = 5 << 24,
    /// Dropout; the layer is added (0 is the input), the step is the training step.
    Dropout = 6 << 24,
    /// Resampling for intervals and tests.
    Bootstrap = 7 << 24,
}

/// A generator of its own for one (seed, slot, purpose, step).
#[derive(Clone, Debug)]
pub struct Stream {
    key: Key,
    purpose: Purpose,
    step: u64,
    block: u64,
    words: [u32; 4],
    used: usize,
}

impl Stream {
    /// The stream of this seed, slot (place of a trial in the plan), purpose and step.
    pub fn new(seed: u64, slot: u64, purpose: Purpose, step: u64) -> Self {
        Stream { key: Key::new(seed).derive(slot), purpose, step, block: 0, words: [0; 4], used: 4 }
    }

    fn next_word(&mut self) -> u32 {
        if self.used == 4 {
            let (low, high) = (self.block as u32, (self.block >> 32) as u32 & 0xffff);
            let step_high = (self.step >> 32) as u32 & 0xffff;
            self.words =
                philox4x32_10([low, self.step as u32, step_high | high << 16, self.purpose as u32], self.key.0);
            self.block += 1;
            self.used = 0;
        }
        self.used += 1;
        self.words[self.used - 1]
    }

    /// Uniform in [0, 1), 53 bits.
    pub fn uniform(&mut self) -> f64 {
        let bits = (u64::from(self.next_word()) << 32 | u64::from(self.next_word())) >> 11;
        bits as f64 * (1.0 / (1u64 << 53) as f64)
    }

    /// Uniform in 0..n, without bias. `n` is at least 1.
    pub fn below(&mut self, n: u64) -> u64 {
        rand::RngExt::random_range(self, 0..n)
    }

    /// Standard normal.
    pub fn normal(&mut self) -> f64 {
        rand::RngExt::sample(self, rand_distr::StandardNormal)
    }

    /// Shuffles in place (Fisher–Yates).
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        rand::seq::SliceRandom::shuffle(items, self);
    }
}

impl rand::TryRng for Stream {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.next_word())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(u64::from(self.next_word()) | u64::from(self.next_word()) << 32)
    }

    fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
        for chunk in dst.chunks_mut(4) {
            chunk.copy_from_slice(&self.next_word().to_le_bytes()[..chunk.len()]);
        }
        Ok(())
    }
}
