//! Slices to and from a machine, and blocks of parameters.

#![allow(dead_code)]

use hpt_ptxsim::{Counters, Fault, Launch, Machine, Module, Options};

/// A machine with a module.
pub struct Bench {
    pub machine: Machine,
    pub module: Module,
}

/// A value that a kernel takes.
#[derive(Clone, Copy, Debug)]
pub enum Arg {
    Pointer(u64),
    U32(u32),
    F32(f32),
}

impl Bench {
    pub fn new(text: &str, options: Options) -> Self {
        Self { machine: Machine::new(options), module: Module::parse(text).unwrap() }
    }

    pub fn upload<T: Copy, const N: usize>(&mut self, values: &[T], bytes: impl Fn(T) -> [u8; N]) -> u64 {
        let address = self.machine.alloc(values.len() * N);
        let flat: Vec<u8> = values.iter().flat_map(|&value| bytes(value)).collect();
        self.machine.write(address, &flat).unwrap();
        address
    }

    pub fn floats(&mut self, values: &[f32]) -> u64 {
        self.upload(values, f32::to_le_bytes)
    }

    pub fn words(&mut self, values: &[u32]) -> u64 {
        self.upload(values, u32::to_le_bytes)
    }

    pub fn read_words(&self, address: u64, count: usize) -> Vec<u32> {
        let mut bytes = vec![0; 4 * count];
        self.machine.read(address, &mut bytes).unwrap();
        bytes.chunks(4).map(|four| u32::from_le_bytes(four.try_into().unwrap())).collect()
    }

    pub fn read_floats(&self, address: u64, count: usize) -> Vec<f32> {
        self.read_words(address, count).into_iter().map(f32::from_bits).collect()
    }

    pub fn launch(&mut self, kernel: &str, grid: [u32; 3], block: [u32; 3], args: &[Arg]) -> Result<Counters, Fault> {
        self.launch_with(kernel, grid, block, 0, args)
    }

    pub fn launch_with(
        &mut self,
        kernel: &str,
        grid: [u32; 3],
        block: [u32; 3],
        shared_bytes: u32,
        args: &[Arg],
    ) -> Result<Counters, Fault> {
        let kernel = self.module.kernel(kernel).unwrap();
        let mut params = vec![0; kernel.param_bytes()];
        for (param, arg) in kernel.params().iter().zip(args) {
            let bytes = match *arg {
                Arg::Pointer(address) => address.to_le_bytes().to_vec(),
                Arg::U32(value) => value.to_le_bytes().to_vec(),
                Arg::F32(value) => value.to_le_bytes().to_vec(),
            };
            params[param.offset..param.offset + bytes.len()].copy_from_slice(&bytes);
        }
        self.machine.launch(kernel, Launch { grid, block, shared_bytes, params: &params })
    }
}

/// Numbers in [−1, 1) that depend on the seed alone.
pub fn noise(seed: u64, count: usize) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = move || {
        state = state.wrapping_mul(0x5851_f42d_4c95_7f2d).wrapping_add(0x1405_7b7e_f767_814f);
        ((state >> 40) as f32) / (1u64 << 23) as f32 - 1.0
    };
    (0..count).map(|_| next()).collect()
}
