//! What a product costs by each method, to choose one from its shape: a model of work, not a measurement.
//!
//! Seconds of one core = operations, of whole tiles, over the unit's rate + elements packed + elements of C scaled
//! back + a fixed part. To the choice of a method only the order of the estimates matters, to that of a number of
//! threads their size as well.

use super::Method;
use super::pack::{CHUNK, PANEL};
use super::tiles;
use crate::isa::{Bf16, Isa};

/// A unit's part of the model.
pub(super) struct Unit {
    /// What the unit is, where machines of one set have different ones: methods are chosen by it, and so the last bits.
    pub kind: Option<&'static str>,
    /// f32 of a vector.
    lanes: usize,
    /// Operations a second in f32 on the same machine …
    f32_rate: f64,
    /// … and of one bf16 product of whole tiles.
    rate: f64,
    /// Seconds to pack an element as one term, two and three.
    pack: [f64; 3],
    /// Seconds to pack a byte.
    byte: f64,
    /// Seconds an element of C.
    finish: f64,
    /// Seconds a product.
    fixed: f64,
    /// Rows and columns of a tile, to which m and n are rounded up.
    rows: usize,
}

/// AMX, fitted on an Intel Xeon (FMA peak 190 to 236 GFLOP/s as the clock goes, tiles 2,450 with their loads) to 50
/// shapes of forward products, dW and dX: so that, of `high`, no method is chosen for a shape there on which it was
/// slower, but for dW 784×32×64, where it is slower alone and faster with the optimizer; of `highest`, for none at all;
/// of `medium` f32 would have been faster on dW 512×128×10.
const TILES: Unit = Unit {
    kind: None,
    lanes: 16,
    f32_rate: 152e9,
    rate: 2_000e9,
    pack: [0.14e-9, 0.185e-9, 0.26e-9],
    byte: 0.08e-9,
    finish: 0.22e-9,
    fixed: 250e-9,
    rows: tiles::ROWS,
};

/// AVX-512 BF16, fitted on Zen 5 to `cargo bench --bench precision`: so that the method is chosen for no shape there on
/// which it was slower.
#[cfg(target_arch = "x86_64")]
pub(super) const PAIRS: Unit = Unit {
    kind: Some("bf16 in 512 bits"),
    lanes: 16,
    f32_rate: 245e9,
    rate: 470e9,
    pack: [0.13e-9, f64::INFINITY, f64::INFINITY],
    byte: 0.08e-9,
    finish: 0.2e-9,
    fixed: 200e-9,
    rows: 1,
};

/// The same on Zen 4, which makes vectors of 512 bits in two halves, fitted to 37 products of
/// `cargo bench --bench precision`: the method is chosen for one on which it was slower, dW 784×4096×64, and blocks of
/// rows are not that long.
#[cfg(target_arch = "x86_64")]
pub(super) const HALVES: Unit = Unit {
    kind: Some("bf16 in 2 × 256 bits"),
    lanes: 16,
    f32_rate: 98e9,
    rate: 176e9,
    pack: [0.136e-9, f64::INFINITY, f64::INFINITY],
    byte: 0.08e-9,
    finish: 0.1e-9,
    fixed: 250e-9,
    rows: 1,
};

/// Seconds to make an f32 of a byte of a batch.
const WIDEN: f64 = 0.2e-9;

/// Operations a second of sets without a unit, roughly.
fn chains(isa: Isa) -> f64 {
    match isa.name() {
        "portable" => 15e9,
        "avx2" => 80e9,
        _ => 150e9,
    }
}

/// The costs of a set on this machine.
pub(super) fn of(isa: Isa) -> Unit {
    let unit = match isa.bf16() {
        #[cfg(target_arch = "x86_64")]
        Some(Bf16::Pairs) if super::pairs::in_halves() => HALVES,
        #[cfg(target_arch = "x86_64")]
        Some(Bf16::Pairs) => PAIRS,
        Some(_) => TILES,
        None => Unit { f32_rate: chains(isa), ..TILES },
    };
    Unit { lanes: isa.lanes(), ..unit }
}

impl Unit {
    /// The method of these that takes the least time; chains of f32 where there is none.
    pub fn fastest(&self, methods: impl Iterator<Item = Method>, bytes: bool, m: usize, k: usize, n: usize) -> Method {
        let seconds = |method: &Method| self.seconds(*method, bytes, m, k, n);
        methods.min_by(|a, b| seconds(a).total_cmp(&seconds(b))).unwrap_or(Method::F32)
    }

    /// Estimated seconds of a product m × k × n on one core.
    /// `bytes`: A are bytes, of one term each; for chains f32 numbers have to be made of them. A step makes them once
    /// for both products of a layer, each of which counts them here: no choice differs for it from 784 inputs to 8 to
    /// 512 outputs.
    pub fn seconds(&self, method: Method, bytes: bool, m: usize, k: usize, n: usize) -> f64 {
        let flops = |m: usize, k: usize, n: usize| 2.0 * m as f64 * k as f64 * n as f64;
        let tiled = flops(m.next_multiple_of(self.rows), k.next_multiple_of(CHUNK), n.next_multiple_of(PANEL));
        if method == Method::F32 {
            let made = if bytes { WIDEN * m as f64 * k as f64 } else { 0.0 };
            return flops(m, k, n.next_multiple_of(self.lanes)) / self.f32_rate + made;
        }
        let pack = self.pack[method.terms().count() - 1];
        let left = if bytes { self.byte } else { pack };
        let packed = (left * m as f64 + pack * n as f64) * k as f64;
        method.products(bytes) as f64 * tiled / self.rate + packed + self.finish * m as f64 * n as f64 + self.fixed
    }
}
