//! The tables that kernels read: models, layers, runs and tiles, in the layout of `cuda/descriptor.cuh`.
//!
//! What a field means stands there, field by field; the names are the same. A test asks the kernel `layout` for the
//! sizes and offsets that the CUDA compiler gave and compares.

/// An address in device memory; 0 is none.
pub type Address = u64;

/// Elements of the arena that one block of the kernels `norms`, `turn` and `update` has.
pub const CHUNK: usize = 4096;

/// Rows of a batch that one block of the kernels `gather`, `loss` and `link` has.
pub const ROWS: usize = 64;

/// Columns of the outputs that one block of the kernel `count` has.
pub const COLUMNS: usize = 8;

/// A struct that goes to the device as its bytes.
///
/// # Safety
/// `#[repr(C)]`, no padding, every field plain numbers.
pub unsafe trait Plain: Copy {}

/// The bytes of a table.
pub fn bytes_of<T: Plain>(table: &[T]) -> &[u8] {
    // SAFETY: `Plain` promises that every byte is initialised.
    unsafe { std::slice::from_raw_parts(table.as_ptr().cast(), size_of_val(table)) }
}

/// The bytes of numbers that are to be written.
pub fn bytes_of_mut<T: Plain>(table: &mut [T]) -> &mut [u8] {
    // SAFETY: `Plain` promises that every byte is initialised and may have any value.
    unsafe { std::slice::from_raw_parts_mut(table.as_mut_ptr().cast(), size_of_val(table)) }
}

// SAFETY: plain numbers.
unsafe impl Plain for f32 {}
// SAFETY: as above.
unsafe impl Plain for f64 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}

macro_rules! table {
    ($(#[doc = $doc:literal])* $name:ident { $($field:ident: $type:ty,)* }) => {
        $(#[doc = $doc])*
        #[repr(C)]
        #[derive(Clone, Copy, Debug, Default, PartialEq)]
        #[allow(missing_docs)]
        pub struct $name { $(pub $field: $type,)* }

        impl $name {
            /// Size of the struct, then the offset of each field: what the kernel `layout` reports.
            pub const LAYOUT: &[usize] = &[size_of::<$name>(), $(std::mem::offset_of!($name, $field),)*];
            /// Sum of the sizes of the fields: the size, if nothing is padding.
            const FIELDS: usize = 0 $(+ size_of::<$type>())*;
        }

        const _: () = assert!(size_of::<$name>() == $name::FIELDS, "padding");
        // SAFETY: repr(C), numbers only, and no padding by the line above.
        unsafe impl Plain for $name {}
    };
}

table! {
    /// One model, for as long as it stays on the device.
    Model {
        features: Address, targets: Address, class_weights: Address, x0: Address, outputs: Address, row_losses: Address,
        row_hits: Address, weights: Address, slots: [Address; 2], gradient: Address, partials: Address, direction: Address, offset: Address,
        beta: f64, parameters: u64, bytes: u32, scale: f32, inputs: u32, width: u32, layers: u32, first: u32,
        key: [u32; 2], input_threshold: u32, input_scale: f32, loss: u32, delta: f32, smoothing: f32, weight_sum: f32,
        optimizer: u32, constants: [f32; 4], weight_decay: f32, l1: f32, clip_norm: f32,
        stride: u32, unused: u32,
    }
}

table! {
    /// One layer of one model.
    Layer {
        x: Address, y: Address, z: Address, dz: Address, dy: Address, weights: Address, slots: [Address; 2],
        gradient: Address, inputs: u32, outputs: u32, model: u32, activation: u32, threshold: u32, kept: f32,
        purpose: u32, flags: u32, shared: u32, pitch: u32,
    }
}

table! {
    /// What depends on a step alone.
    Rate { rate: f32, shrink: f32, corrected: f32, root: f32, inverse: f32, rest: [f32; 3], }
}

table! {
    /// The steps of one model in a round.
    Run {
        rows: Address, rates: Address, losses: Address, first_step: u64, row_count: u32, steps: u32, batch: u32,
        unused: u32,
    }
}

table! {
    /// What a block does.
    Tile { subject: u32, place: u32, }
}

table! {
    /// The parameter of every kernel.
    Tables { models: Address, layers: Address, runs: Address, tiles: Address, tick: Address, }
}

/// Bits of [`Layer::flags`].
pub mod flags {
    /// x is added to y.
    pub const RESIDUAL: u32 = 1;
    /// The first layer of its model.
    pub const FIRST: u32 = 2;
    /// The last layer of its model.
    pub const LAST: u32 = 4;
    /// y is as long as the dataset and advances with the steps (evaluation).
    pub const STEPPING: u32 = 8;
}
