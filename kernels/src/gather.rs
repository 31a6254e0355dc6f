//! Rows of a dataset into a batch: the copy that a shuffled step begins with. Bytes become f32 on the way.

use crate::isa::{Isa, Op, Simd};

/// Row-major features of a dataset.
#[derive(Clone, Copy, Debug)]
pub enum Rows<'a> {
    /// As they are.
    F32(&'a [f32]),
    /// Bytes that stand for `byte · scale`.
    U8 {
        /// The bytes.
        values: &'a [u8],
        /// What a byte is multiplied by.
        scale: f32,
    },
}

/// `out[i] ← features[rows[i]]` for rows of `width` values; `out` is `rows.len() × width`.
pub fn gather(isa: Isa, features: Rows<'_>, width: usize, rows: &[u32], out: &mut [f32]) {
    assert_eq!(out.len(), rows.len() * width);
    match features {
        Rows::F32(values) => {
            for (out, &row) in out.chunks_exact_mut(width).zip(rows) {
                out.copy_from_slice(&values[row as usize * width..][..width]);
            }
        }
        Rows::U8 { values, scale } => isa.run(Bytes { values, scale, width, rows, out }),
    }
}

/// `out[i] ← values[rows[i]]` for rows of `width` bytes; `out` is `rows.len() × width`.
pub fn gather_bytes(isa: Isa, values: &[u8], width: usize, rows: &[u32], out: &mut [u8]) {
    assert_eq!(out.len(), rows.len() * width);
    isa.run(Copies { values, width, rows, out });
}

/// Rows that are asked for before they are needed: shuffled rows come from anywhere in memory, one by one.
const AHEAD: usize = 4;
/// Bytes of a cache line.
const LINE: usize = 64;

/// Asks for the row after `AHEAD` others.
#[inline(always)]
fn ask<S: Simd>(s: S, values: &[u8], width: usize, rows: &[u32], i: usize) {
    if let Some(&row) = rows.get(i + AHEAD) {
        let bytes = values.as_ptr().wrapping_add(row as usize * width);
        for line in (0..width).step_by(LINE) {
            s.prefetch(bytes.wrapping_add(line).cast());
        }
    }
}

struct Copies<'a> {
    values: &'a [u8],
    width: usize,
    rows: &'a [u32],
    out: &'a mut [u8],
}

impl Op for Copies<'_> {
    type Output = ();

    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, (out, &row)) in self.out.chunks_exact_mut(self.width).zip(self.rows).enumerate() {
            ask(s, self.values, self.width, self.rows, i);
            out.copy_from_slice(&self.values[row as usize * self.width..][..self.width]);
        }
    }
}

struct Bytes<'a> {
    values: &'a [u8],
    scale: f32,
    width: usize,
    rows: &'a [u32],
    out: &'a mut [f32],
}

impl Op for Bytes<'_> {
    type Output = ();

    // The inner loop is plain: compilers widen and convert bytes by vectors of the set it is compiled for.
    #[inline(always)]
    fn run<S: Simd>(self, s: S) {
        for (i, (out, &row)) in self.out.chunks_exact_mut(self.width).zip(self.rows).enumerate() {
            ask(s, self.values, self.width, self.rows, i);
            let bytes = &self.values[row as usize * self.width..][..self.width];
            for (out, &byte) in out.iter_mut().zip(bytes) {
                *out = f32::from(byte) * self.scale;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_are_copied_and_bytes_converted_in_every_set() {
        for isa in Isa::available() {
            for width in [1, 7, 16, 33] {
                let bytes: Vec<u8> = (0..5 * width).map(|i| (i * 37 % 256) as u8).collect();
                let floats: Vec<f32> = bytes.iter().map(|&b| f32::from(b) * 0.5).collect();
                let rows = [4, 0, 0, 2];
                let expected: Vec<f32> =
                    rows.iter().flat_map(|&r| floats[r as usize * width..][..width].to_vec()).collect();
                let mut out = vec![f32::NAN; rows.len() * width];
                gather(isa, Rows::F32(&floats), width, &rows, &mut out);
                assert_eq!(out, expected);
                out.fill(f32::NAN);
                gather(isa, Rows::U8 { values: &bytes, scale: 0.5 }, width, &rows, &mut out);
                assert_eq!(out, expected);
                let mut whole = vec![0; out.len()];
                gather_bytes(isa, &bytes, width, &rows, &mut whole);
                assert_eq!(whole.iter().map(|&byte| f32::from(byte) * 0.5).collect::<Vec<_>>(), expected);
            }
        }
    }
}
