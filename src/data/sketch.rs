//! Which rows a model learned from, small enough to be kept with it.
//!
//! Of the rows' 32-bit digests the [`KEPT`] least are kept (Broder, "On the resemblance and containment of documents",
//! 1997): a sample of the rows that depends on nothing but their content. Other rows whose digests are as small are in
//! the same sample if they are the same rows, so the share of those is an estimate of the share of all; up to [`KEPT`]
//! rows it is exact. Digests are of features alone, as a pipeline encodes them.

use super::{Dataset, Features};
use serde::{Deserialize, Serialize};

/// Digests that are kept.
const KEPT: usize = 1024;

/// See the module.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Sketch {
    /// The least digests in order, none twice.
    least: Vec<u32>,
    /// Whether these are all there are.
    whole: bool,
}

impl Sketch {
    /// Of the rows of a dataset.
    pub fn of(data: &Dataset) -> Self {
        let mut least: Vec<u32> = digests(data).collect();
        least.sort_unstable();
        least.dedup();
        let whole = least.len() <= KEPT;
        least.truncate(KEPT);
        Sketch { least, whole }
    }

    /// True where nothing was kept.
    pub fn is_empty(&self) -> bool {
        self.least.is_empty()
    }

    /// The share of these rows, from 0 to 1, that the sketch was made of; none where none of them can be looked up.
    pub fn share(&self, data: &Dataset) -> Option<f64> {
        let last = if self.whole { u32::MAX } else { *self.least.last()? };
        let (mut looked, mut found) = (0u64, 0u64);
        for digest in digests(data).filter(|digest| *digest <= last) {
            looked += 1;
            found += u64::from(self.least.binary_search(&digest).is_ok());
        }
        (looked > 0 && !self.is_empty()).then(|| found as f64 / looked as f64)
    }
}

/// One digest a row.
fn digests(data: &Dataset) -> impl Iterator<Item = u32> {
    (0..data.rows).map(|row| {
        let cells = row * data.inputs..(row + 1) * data.inputs;
        match &data.features {
            Features::F32(values) => digest(values[cells].iter().map(|value| value.to_bits())),
            Features::U8 { values, .. } => digest(values[cells].iter().map(|value| u32::from(*value))),
        }
    })
}

/// FNV-1a over words, its bits mixed at the end so that the order of digests is that of a random number.
fn digest(words: impl Iterator<Item = u32>) -> u32 {
    let hash =
        words.fold(0xcbf2_9ce4_8422_2325_u64, |hash, word| (hash ^ u64::from(word)).wrapping_mul(0x0100_0000_01b3));
    let mixed = (hash ^ (hash >> 33)).wrapping_mul(0xff51_afd7_ed55_8ccd);
    ((mixed ^ (mixed >> 33)) >> 16) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use ndarray::Array2;

    fn rows(from: usize, count: usize) -> Dataset {
        Dataset::from_array(Array2::from_shape_fn((count, 3), |(i, j)| ((from + i) * (j + 1)) as f32 * 0.37).view())
            .unwrap()
    }

    #[test]
    fn the_share_of_known_rows_is_found() {
        let small = Sketch::of(&rows(0, 500));
        assert_eq!(small.share(&rows(0, 500)), Some(1.0));
        assert_eq!(small.share(&rows(400, 400)), Some(0.25));
        assert_eq!(small.share(&rows(1000, 50)), Some(0.0));
        let large = Sketch::of(&rows(0, 20_000));
        assert_eq!((large.least.len(), large.share(&rows(0, 20_000))), (KEPT, Some(1.0)));
        let half = large.share(&rows(10_000, 20_000)).unwrap();
        assert!((half - 0.5).abs() < 0.06, "{half}");
        assert_eq!(large.share(&rows(50_000, 20_000)), Some(0.0));
        assert_eq!(Sketch::default().share(&rows(0, 5)), None);
    }
}
