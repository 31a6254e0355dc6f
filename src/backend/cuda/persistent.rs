//! Which models one multiprocessor can hold for a whole run of steps (the kernel `epoch`), and what of them lies where
//! in its shared memory.
//!
//! Weights and optimizer state must fit, and so must the batch's features; outputs and gradients of layers go there as
//! long as there is room, and stay in global memory else. A row in shared memory has an odd number of floats (the last
//! one may be unused), so that threads which read a column find it in different banks. The decision follows from the
//! model and the size of a block's shared memory alone.

use super::descriptor::{Address, Layer, Model, flags};

/// In the tables of a model in shared memory an address below this one is an offset there, in bytes.
pub const SHARED_ADDRESSES: Address = 1 << 18;

/// What the kernel has in shared memory beside what is placed here, and what the driver keeps of a block's.
const OVERHEAD: usize = 1024;

/// Floats from row to row of a matrix of that width.
fn pitch(width: u32) -> u32 {
    width | 1
}

/// Free room at the end of what has been given away, in bytes.
struct Room {
    used: usize,
    limit: usize,
}

impl Room {
    fn take(&mut self, bytes: usize) -> Option<Address> {
        let start = self.used;
        (start + bytes <= self.limit).then(|| {
            self.used += bytes;
            start as Address
        })
    }
}

/// Rewrites the entries of a model for the kernel `epoch` and returns the bytes of dynamic shared memory that it needs;
/// none, and the entries as they were, where the model does not fit or needs its whole gradient before it changes a
/// weight.
///
/// `slots` is the number of its optimizer's vectors of state, `batch` its largest number of rows a step, `limit` the
/// bytes of shared memory a block may have.
pub fn settle(model: &mut Model, layers: &mut [Layer], slots: usize, batch: usize, limit: usize) -> Option<u32> {
    if model.gradient != 0 {
        return None;
    }
    let arena: usize = layers.iter().map(|l| (l.inputs as usize + 1) * pitch(l.outputs) as usize).sum();
    let mut room = Room { used: 0, limit: limit.min(SHARED_ADDRESSES as usize).checked_sub(OVERHEAD)? };
    let rows = |width: u32| 4 * batch * pitch(width) as usize;
    room.take(4 * arena * (1 + slots))?;
    let x0 = room.take(rows(model.inputs))?;
    let row_losses = room.take(rows(1))?;
    (model.stride, model.x0, model.row_losses) = (arena as u32, x0, row_losses);
    let mut shared = 0;
    for layer in layers.iter_mut() {
        (layer.shared, layer.pitch) = (shared, pitch(layer.outputs));
        shared += (layer.inputs + 1) * layer.pitch;
    }
    let last = layers.len() - 1;
    let mut x = x0;
    for (l, layer) in layers.iter_mut().enumerate() {
        layer.x = x;
        layer.y = room.take(rows(layer.outputs)).unwrap_or(layer.y);
        if l == last {
            (layer.dz, model.outputs) = (layer.y, layer.y);
        }
        x = layer.y;
    }
    // The gradient by z of a layer takes the place of the next one's output, which nobody reads any more then.
    for l in (0..last).rev() {
        let (width, next) = (layers[l].outputs, &layers[l + 1]);
        let free = l + 1 < last && next.y < SHARED_ADDRESSES && pitch(width) <= next.pitch;
        let place = if free { Some(next.y) } else { room.take(rows(width)) };
        layers[l].dz = place.unwrap_or(layers[l].dz);
    }
    for layer in layers.iter_mut() {
        if layer.z != 0 {
            layer.z = room.take(rows(layer.outputs)).unwrap_or(layer.z);
        }
        if layer.flags & flags::RESIDUAL != 0 {
            layer.dy = room.take(rows(layer.outputs)).unwrap_or(layer.dy);
        }
    }
    Some(room.used as u32)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tables(widths: &[u32]) -> (Model, Vec<Layer>) {
        let of =
            |pair: &[u32]| Layer { inputs: pair[0], outputs: pair[1], y: 1 << 20, dz: 1 << 20, ..Layer::default() };
        let model = Model { inputs: widths[0], ..Model::default() };
        (model, widths.windows(2).map(of).collect())
    }

    /// The size that the kernel was made for: all of it, with Adam, in the shared memory of an H100.
    #[test]
    fn a_small_model_fits_whole() {
        let (mut model, mut layers) = tables(&[54, 64, 64, 7]);
        let bytes = settle(&mut model, &mut layers, 2, 128, 227 * 1024).unwrap();
        assert!(bytes <= 226 * 1024, "{bytes}");
        assert!(layers.iter().all(|l| l.y < SHARED_ADDRESSES && l.dz < SHARED_ADDRESSES));
        assert_eq!((layers[0].dz, layers[2].dz), (layers[1].y, layers[2].y));
        // Whatever fits leaves room for what the kernel and the driver have there.
        let fits = |width: u32| settle(&mut tables(&[9, width, 3]).0, &mut tables(&[9, width, 3]).1, 0, 7, 64 * 1024);
        let sizes: Vec<u32> = (1..3000).map_while(fits).collect();
        assert!(sizes.len() > 100 && sizes.len() < 2999);
        assert!(sizes.iter().all(|bytes| *bytes <= 63 * 1024) && sizes.iter().any(|bytes| *bytes > 62 * 1024));
        // In the shared memory of a T4 it does not.
        let (mut model, mut layers) = tables(&[54, 64, 64, 7]);
        let before = (model, layers.clone());
        assert_eq!(settle(&mut model, &mut layers, 2, 128, 64 * 1024), None);
        assert_eq!((model, layers), before);
        // What is larger keeps its weights there and what else fits.
        let (mut model, mut layers) = tables(&[54, 80, 64, 7]);
        settle(&mut model, &mut layers, 2, 128, 227 * 1024).unwrap();
        assert!(layers[0].y < SHARED_ADDRESSES && layers[1].dz == 1 << 20);
    }
}
