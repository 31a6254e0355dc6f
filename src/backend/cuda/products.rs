//! Which kernel computes a product: the shape of its tiles and the arithmetic, from the product alone.
//!
//! So a model's bits depend neither on its companions nor on the number of multiprocessors.

use super::driver::Driver;
use crate::backend::Precision;

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
}

impl Shape {
    /// Rows and columns of a tile.
    pub fn size(self) -> (usize, usize) {
        match self {
            Shape::Small => (64, 64),
            Shape::Large => (128, 128),
            Shape::Narrow => (128, 16),
        }
    }

    /// The shape for an m × n product over k: narrow tiles where wider ones would be mostly empty, large ones where
    /// there are enough of them to keep a GPU busy with one model.
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
}

const METHODS: [Method; 3] = [Method::F32, Method::Tf32x3, Method::Tf32];

/// Names of the kernels: by pass, method, shape.
const NAMES: [[[&str; 3]; 3]; 3] = [
    [
        ["forward_s", "forward_l", "forward_n"],
        ["forward_tf32x3_s", "forward_tf32x3_l", "forward_tf32x3_n"],
        ["forward_tf32_s", "forward_tf32_l", "forward_tf32_n"],
    ],
    [
        ["backward_s", "backward_l", "backward_n"],
        ["backward_tf32x3_s", "backward_tf32x3_l", "backward_tf32x3_n"],
        ["backward_tf32_s", "backward_tf32_l", "backward_tf32_n"],
    ],
    [
        ["learn_s", "learn_l", "learn_n"],
        ["learn_tf32x3_s", "learn_tf32x3_l", "learn_tf32x3_n"],
        ["learn_tf32_s", "learn_tf32_l", "learn_tf32_n"],
    ],
];

/// The kernels of products that a device's modules have.
#[derive(Clone, Debug)]
pub struct Products {
    /// By pass, method, shape.
    there: [[[bool; 3]; 3]; 3],
    epoch: bool,
}

impl Products {
    /// Those of the driver's module.
    pub fn of(driver: &dyn Driver) -> Self {
        let there = NAMES.map(|methods| methods.map(|shapes| shapes.map(|name| driver.has(name))));
        Products { there, epoch: driver.has("epoch") }
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
            Some(Method::Tf32) => Precision::Medium,
            Some(Method::Tf32x3) => Precision::High,
            _ => Precision::Highest,
        }
    }

    /// The kernel for an m × n product over k, and the size of its tiles: the least exact one that is exact enough, and
    /// f32 where there is no such kernel for the shape.
    pub fn kernel(&self, pass: Pass, [m, n, k]: [usize; 3], wanted: Precision) -> (&'static str, (usize, usize)) {
        let shape = Shape::of(m, n, k);
        let there =
            |method: Method| method == Method::F32 || self.there[pass as usize][method as usize][shape as usize];
        let fitting = METHODS.into_iter().rev().find(|&method| method <= lowest(wanted) && there(method));
        (NAMES[pass as usize][fitting.unwrap_or(Method::F32) as usize][shape as usize], shape.size())
    }
}

/// The least exact method that a precision allows.
fn lowest(precision: Precision) -> Method {
    match precision {
        Precision::Highest => Method::F32,
        Precision::High => Method::Tf32x3,
        Precision::Medium => Method::Tf32,
    }
}
