//! Matrix products of the shapes that training steps have, on one thread or divided as a step divides them.

use super::{ROUNDS, Rate, Units, Work, calls, in_turn, values};
use crate::Result;
use crate::backend::{Cpu, Precision, method};
use hpt_kernels::epilogue::Epilogue;
use hpt_kernels::gemm::{Beta, Gemm, Left, Method, Packed, Right, Scratch, gemm_by, pack, packed_len, panel_width};
use hpt_kernels::isa::Isa;
use hpt_kernels::matrix::{Matrix, MatrixMut};
use std::sync::Mutex;
use std::time::Instant;

/// The products that a step consists of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Y = X·W
    Forward,
    /// The same with W packed before the clock starts.
    Packed,
    /// dW = Xᵀ·dZ, with X stored k × m.
    Dw,
    /// dX = dZ·Wᵀ, with W stored n × k.
    Dx,
    /// Y = X·W of bytes where units of bf16 multiply; chains of f32 have their numbers instead.
    ForwardBytes,
    /// The same of dW.
    DwBytes,
}

impl Kind {
    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Kind::Forward => "forward",
            Kind::Packed => "packed",
            Kind::Dw => "dW",
            Kind::Dx => "dX",
            Kind::ForwardBytes => "forward of bytes",
            Kind::DwBytes => "dW of bytes",
        }
    }

    /// Whether A may be bytes.
    pub fn of_bytes(self) -> bool {
        matches!(self, Kind::ForwardBytes | Kind::DwBytes)
    }

    fn turned(self) -> bool {
        matches!(self, Kind::Dw | Kind::DwBytes)
    }
}

/// C (m × n) ← A (m × k) · B (k × n).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Product {
    /// Which operands are transposed or packed.
    pub kind: Kind,
    /// Rows of A and C.
    pub m: usize,
    /// Length of the sums.
    pub k: usize,
    /// Columns of B and C.
    pub n: usize,
}

const fn product(kind: Kind, m: usize, k: usize, n: usize) -> Product {
    Product { kind, m, k, n }
}

/// What is measured: shapes of libraries' comparisons, and those of the steps in [`STEPS`](super::STEPS).
pub const PRODUCTS: &[Product] = &[
    product(Kind::Forward, 32, 54, 64),
    product(Kind::Forward, 128, 54, 128),
    product(Kind::Forward, 128, 784, 512),
    product(Kind::Forward, 128, 512, 512),
    product(Kind::Forward, 512, 784, 512),
    product(Kind::Forward, 1024, 512, 512),
    product(Kind::Forward, 256, 1024, 1024),
    product(Kind::Forward, 512, 512, 512),
    product(Kind::Forward, 2048, 2048, 2048),
    product(Kind::Forward, 1, 784, 64),
    product(Kind::Forward, 8, 784, 64),
    product(Kind::Forward, 32, 784, 64),
    product(Kind::Forward, 64, 784, 64),
    product(Kind::Forward, 4096, 784, 64),
    product(Kind::Forward, 32, 784, 512),
    product(Kind::Forward, 32, 64, 64),
    product(Kind::Forward, 128, 512, 10),
    product(Kind::Forward, 256, 256, 7),
    product(Kind::Packed, 32, 54, 64),
    product(Kind::Packed, 32, 64, 64),
    product(Kind::Packed, 32, 784, 64),
    product(Kind::Packed, 128, 54, 128),
    product(Kind::Packed, 128, 512, 512),
    product(Kind::Packed, 512, 512, 512),
    product(Kind::Dw, 784, 128, 512),
    product(Kind::Dw, 512, 128, 512),
    product(Kind::Dw, 54, 256, 256),
    product(Kind::Dw, 784, 8, 64),
    product(Kind::Dw, 784, 32, 64),
    product(Kind::Dw, 784, 4096, 64),
    product(Kind::Dw, 64, 32, 10),
    product(Kind::Dw, 512, 128, 10),
    product(Kind::Dx, 128, 512, 512),
    product(Kind::Dx, 256, 256, 256),
    product(Kind::Dx, 32, 64, 64),
    product(Kind::Dx, 128, 10, 512),
    product(Kind::Dx, 256, 7, 256),
    product(Kind::ForwardBytes, 32, 784, 64),
    product(Kind::ForwardBytes, 128, 784, 512),
    product(Kind::ForwardBytes, 4096, 784, 64),
    product(Kind::DwBytes, 784, 32, 64),
    product(Kind::DwBytes, 784, 128, 512),
    product(Kind::DwBytes, 784, 4096, 64),
];

impl Product {
    /// Its shape in tables.
    pub fn shape(&self) -> String {
        format!("{}×{}×{}", self.m, self.k, self.n)
    }

    /// Additions and multiplications.
    pub fn flops(&self) -> f64 {
        2.0 * (self.m * self.k * self.n) as f64
    }

    /// Bytes of the three matrices, each moved once.
    pub fn bytes(&self) -> f64 {
        let a = self.m * self.k * if self.kind.of_bytes() { 1 } else { 4 };
        (a + 4 * (self.k * self.n + self.m * self.n)) as f64
    }

    /// How trainings compute it.
    pub fn method(&self, isa: Isa, precision: Precision) -> Method {
        method(precision).choose(isa, self.kind.of_bytes(), self.m, self.k, self.n)
    }

    /// Products of a round of some two milliseconds.
    pub fn calls(&self) -> usize {
        calls(2e-3, self.flops(), self.bytes())
    }
}

/// Operands of a product: several copies of them where they are larger than a cache, used in turn.
#[derive(Debug)]
pub struct Timer {
    isa: Isa,
    product: Product,
    method: Method,
    copies: Vec<Operands>,
}

#[derive(Debug)]
struct Operands {
    a: Vec<f32>,
    /// A of bytes.
    bytes: Vec<u8>,
    b: Vec<f32>,
    packed: Vec<f32>,
}

impl Timer {
    /// Makes the operands of a product by the method that it has at [`Precision::Highest`].
    pub fn new(isa: Isa, product: Product) -> Self {
        let Product { m, k, n, .. } = product;
        let bytes = product.bytes() as usize;
        let copies = if bytes < 256 << 10 { 1 } else { (64usize << 20).div_ceil(bytes).clamp(2, 16) };
        let operands = |seed: usize| {
            let (a, b) = (values(m * k, 2 * seed as u64), values(k * n, 2 * seed as u64 + 1));
            let mut packed = vec![0.0; if product.kind == Kind::Packed { packed_len(isa, k, n) } else { 0 }];
            if product.kind == Kind::Packed {
                pack(isa, Matrix::row_major(&b, k, n), 0..n.div_ceil(panel_width(isa)), &mut packed);
            }
            let bytes = if product.kind.of_bytes() {
                a.iter().map(|x| (128.0 + 127.0 * x) as u8 | 1).collect()
            } else {
                Vec::new()
            };
            Operands { a, bytes, b, packed }
        };
        let method = product.method(isa, Precision::Highest);
        Timer { isa, product, method, copies: (0..copies).map(operands).collect() }
    }

    /// The same product by another method.
    #[must_use]
    pub fn by(self, method: Method) -> Self {
        Timer { method, ..self }
    }

    /// How it is computed.
    pub fn method(&self) -> Method {
        self.method
    }

    /// A round of so many products.
    pub fn work(&self, calls: usize) -> Work {
        let flops = calls as f64 * self.product.flops();
        Work { count: flops, flops, units: Units::of(self.method, self.product.kind.of_bytes()) }
    }

    /// Operations a second on each of these devices, in turn.
    ///
    /// # Errors
    /// There are none; rounds of trainings may fail.
    pub fn rates(&self, cpus: &[&Cpu]) -> Result<Vec<Rate>> {
        let calls = self.product.calls();
        let round = || Ok(cpus.iter().map(|cpu| self.run(cpu, calls)).collect());
        in_turn(self.isa, self.work(calls), ROUNDS.0, round)
    }

    /// Seconds that `calls` products take. The workers divide C as they do in a step, and meet after each product.
    pub fn run(&self, cpu: &Cpu, calls: usize) -> f64 {
        let (isa, Product { kind, m, k, n }) = (self.isa, self.product);
        let took = Mutex::new(0.0);
        cpu.team(|worker| {
            let width = panel_width(isa);
            let (rows, cols) =
                if kind.turned() { (0..m, worker.share(n, width)) } else { worker.block((m, k, n), width) };
            let mut c = vec![f32::NAN; rows.len() * cols.len()];
            let mut scratch = Scratch::with_capacity_for(isa, m, k, n);
            scratch.reserve_by(isa, self.method, m, k, n);
            let mut call = |i: usize| {
                let a = self.left(i).block(rows.clone());
                let b = match self.operands(i).1 {
                    Right::Strided(b) => Right::Strided(b.block(0..k, cols.clone())),
                    Right::Packed(b) => Right::Packed(b.cols(cols.clone())),
                    Right::Transposed(b) => Right::Transposed(b.rows(cols.clone())),
                };
                let c = MatrixMut::row_major(&mut c, rows.len(), cols.len());
                let args = Gemm { a, b, c, beta: Beta::Zero, epilogue: Epilogue::None };
                gemm_by(isa, self.method, args, &mut scratch);
                worker.wait();
            };
            call(0);
            let start = Instant::now();
            (0..calls).for_each(&mut call);
            if worker.index == 0 {
                *took.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = start.elapsed().as_secs_f64();
            }
        });
        took.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// The operands of call `i`, as A and B of the product: what another library multiplies, too.
    pub fn operands(&self, i: usize) -> (Matrix<'_>, Right<'_>) {
        let (Product { kind, m, k, n }, copy) = (self.product, &self.copies[i % self.copies.len()]);
        let a = if kind.turned() { Matrix::row_major(&copy.a, k, m).t() } else { Matrix::row_major(&copy.a, m, k) };
        let b = match kind {
            Kind::Packed => Right::Packed(Packed::new(self.isa, &copy.packed, k, n)),
            _ => Right::Strided(self.right(i)),
        };
        (a, b)
    }

    /// A of call `i` as the method takes it.
    fn left(&self, i: usize) -> Left<'_> {
        let (Product { kind, m, k, .. }, copy) = (self.product, &self.copies[i % self.copies.len()]);
        let bytes = |rows, cols| Left::Bytes(Matrix::row_major(&copy.bytes, rows, cols), 1.0 / 255.0);
        match kind {
            _ if self.method == Method::F32 || !kind.of_bytes() => self.operands(i).0.into(),
            Kind::DwBytes => bytes(k, m).t(),
            _ => bytes(m, k),
        }
    }

    /// B of call `i`, not packed.
    pub fn right(&self, i: usize) -> Matrix<'_> {
        let (Product { kind, k, n, .. }, copy) = (self.product, &self.copies[i % self.copies.len()]);
        if kind == Kind::Dx { Matrix::row_major(&copy.b, n, k).t() } else { Matrix::row_major(&copy.b, k, n) }
    }
}
