//! Which kernel computes a product: the shape of its tiles and the arithmetic, from the product alone.
//!
//! So a model's bits depend neither on its companions nor on the number of multiprocessors. Where a module has kernels
//! of warpgroups, large products are theirs; each has a twin of `mma.sync`, which `check` compares it with.

use super::driver::Driver;
use crate::backend::Precision;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// What of a layer is computed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// y = x·W: rows × outputs, over the inputs.
    Forward,
    /// dL/dx = dL/dz·Wᵀ: rows × inputs, over the outputs.
    Backward,
    /// dW = xᵀ·dL/dz: inputs × outputs, over the rows.
    Learn,
}

/// The shape of the tiles that blocks compute.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Shape {
    /// 64 × 64
    Small,
    /// 128 × 128
    Large,
    /// 128 × 16
    Narrow,
    /// What two warpgroups have at once: 128 × 256, and 128 × 128 of three products.
    Group,
}

impl Shape {
    /// Rows and columns of a tile.
    fn size(self, method: Method) -> (usize, usize) {
        match (self, method) {
            (Shape::Small, _) => (64, 64),
            (Shape::Narrow, _) => (128, 16),
            (Shape::Group, Method::Tf32) => (128, 256),
            (Shape::Large | Shape::Group, _) => (128, 128),
        }
    }

    /// The shape for an m × n product over k: narrow tiles where wider ones would be mostly empty, large ones where
    /// there are enough of them to keep a GPU busy with one model. For those, [`Shape::Group`] goes before.
    ///
    /// The limits are guesses until a GPU has seen them. `hpt-engine bench shapes --device cuda` (a part of
    /// `cuda/check`) decides them: it times every shape on products around both limits, of one network and of as many
    /// as fill a GPU. 32 is to become the largest n at which narrow tiles are the fastest with 512 networks; 512 and
    /// 2²⁰ the least size at which large ones are, with one network, as long as they lose nothing with many.
    pub fn of(m: usize, n: usize, _k: usize) -> Self {
        match n {
            ..=32 => Shape::Narrow,
            _ if m >= 512 && n >= 512 && m * n >= 1 << 20 => Shape::Large,
            _ => Shape::Small,
        }
    }
}

/// The arithmetic of a product, the most exact first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Method {
    F32,
    Tf32x3,
    Tf32,
    Bf16,
}

const METHODS: [Method; 4] = [Method::F32, Method::Tf32x3, Method::Tf32, Method::Bf16];

/// Names of the kernels: by pass, method, shape.
const NAMES: [[[&str; 4]; 4]; 3] = [
    [
        ["forward_s", "forward_l", "forward_n", "forward_g"],
        ["forward_tf32x3_s", "forward_tf32x3_l", "forward_tf32x3_n", "forward_tf32x3_g"],
        ["forward_tf32_s", "forward_tf32_l", "forward_tf32_n", "forward_tf32_g"],
        ["forward_bf16_s", "forward_bf16_l", "forward_bf16_n", "forward_bf16_g"],
    ],
    [
        ["backward_s", "backward_l", "backward_n", "backward_g"],
        ["backward_tf32x3_s", "backward_tf32x3_l", "backward_tf32x3_n", "backward_tf32x3_g"],
        ["backward_tf32_s", "backward_tf32_l", "backward_tf32_n", "backward_tf32_g"],
        ["backward_bf16_s", "backward_bf16_l", "backward_bf16_n", "backward_bf16_g"],
    ],
    [
        ["learn_s", "learn_l", "learn_n", "learn_g"],
        ["learn_tf32x3_s", "learn_tf32x3_l", "learn_tf32x3_n", "learn_tf32x3_g"],
        ["learn_tf32_s", "learn_tf32_l", "learn_tf32_n", "learn_tf32_g"],
        ["learn_bf16_s", "learn_bf16_l", "learn_bf16_n", "learn_bf16_g"],
    ],
];

/// The kernels of products that a device's modules have.
#[derive(Clone, Debug)]
pub struct Products {
    /// By pass, method, shape.
    there: [[[bool; 4]; 4]; 3],
    epoch: bool,
    /// Whether kernels of warpgroups are taken by models that begin now.
    groups: Arc<AtomicBool>,
}

impl Products {
    /// Those of the driver's module.
    pub fn of(driver: &dyn Driver) -> Self {
        let there = NAMES.map(|methods| methods.map(|shapes| shapes.map(|name| driver.has(name))));
        Products { there, epoch: driver.has("epoch"), groups: Arc::new(AtomicBool::new(true)) }
    }

    /// Whether there are kernels of warpgroups.
    pub fn has_groups(&self) -> bool {
        self.there.iter().flatten().any(|shapes| shapes[Shape::Group as usize])
    }

    /// Says whether kernels of warpgroups are taken, for all clones.
    pub fn take_groups(&self, taken: bool) {
        self.groups.store(taken, Ordering::SeqCst);
    }

    /// Whether there is the kernel that makes all steps of a small model by one block.
    pub fn has_epoch(&self) -> bool {
        self.epoch
    }

    /// The precision that products run in where `wanted` is asked for.
    pub fn precision(&self, wanted: Precision) -> Precision {
        let any = |method: Method| self.there.iter().any(|methods| methods[method as usize].contains(&true));
        let lowest = METHODS.into_iter().rev().find(|&method| method <= lowest(wanted) && any(method));
        match lowest {
            Some(Method::Bf16) => Precision::Bf16,
            Some(Method::Tf32) => Precision::Medium,
            Some(Method::Tf32x3) => Precision::High,
            _ => Precision::Highest,
        }
    }

    /// The shapes that there are.
    pub const SHAPES: [(&'static str, Shape); 4] =
        [("small", Shape::Small), ("large", Shape::Large), ("narrow", Shape::Narrow), ("group", Shape::Group)];

    /// As [`Products::kernel`], where `tiles` are given with those or none.
    pub fn kernel_of(
        &self,
        pass: Pass,
        shape: [usize; 3],
        wanted: Precision,
        tiles: Option<Shape>,
    ) -> Option<(&'static str, (usize, usize))> {
        let Some(tiles) = tiles else { return Some(self.kernel(pass, shape, wanted)) };
        let mut methods = METHODS.into_iter().rev().filter(|&method| method <= lowest(wanted));
        let method = methods.find(|&method| self.there[pass as usize][method as usize][tiles as usize])?;
        Some((NAMES[pass as usize][method as usize][tiles as usize], tiles.size(method)))
    }

    /// The kernel for an m × n product over k, and the size of its tiles: the least exact one that is exact enough, and
    /// f32 where there is no such kernel for the shape.
    pub fn kernel(&self, pass: Pass, [m, n, k]: [usize; 3], wanted: Precision) -> (&'static str, (usize, usize)) {
        let shape = Shape::of(m, n, k);
        let shapes = match shape {
            Shape::Large if self.groups.load(Ordering::SeqCst) => [Shape::Group, shape],
            _ => [shape, shape],
        };
        let there = |method: Method, shape: Shape| self.there[pass as usize][method as usize][shape as usize];
        let methods = METHODS.into_iter().rev().filter(|&method| method <= lowest(wanted));
        let mut choices = methods.flat_map(|method| shapes.map(|shape| (method, shape)));
        let (method, shape) = choices.find(|&(method, shape)| there(method, shape)).unwrap_or((Method::F32, shape));
        (NAMES[pass as usize][method as usize][shape as usize], shape.size(method))
    }
}

/// The least exact method that a precision allows.
fn lowest(precision: Precision) -> Method {
    match precision {
        Precision::Highest => Method::F32,
        Precision::High => Method::Tf32x3,
        Precision::Medium => Method::Tf32,
        Precision::Bf16 => Method::Bf16,
    }
}
