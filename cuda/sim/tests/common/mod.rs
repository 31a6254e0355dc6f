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

/// Runs `statements` for each triple of words; operands in `%r1 %r2 %r3`, `%rd1 …`, `%f1 …`,
/// `%fd1 …` and `%rs1 …` (their low bits); the result is `%rd9`.
pub fn evaluate(statements: &str, triples: &[[u64; 3]]) -> Vec<u64> {
    let text = format!(
        ".version 7.8\n.target sm_90\n.address_size 64\n.visible .entry k(.param .u64 p, .param .u64 q, .param .u32 n) {{
        .reg .pred %p<9>; .reg .b16 %rs<9>; .reg .b32 %r<20>; .reg .b64 %rd<20>; .reg .f32 %f<9>; .reg .f64 %fd<9>;
        ld.param.u64 %rd10, [p]; ld.param.u64 %rd11, [q]; ld.param.u32 %r10, [n];
        mov.u32 %r11, %tid.x; mov.u32 %r12, %ctaid.x; mad.lo.u32 %r11, %r12, 64, %r11;
        setp.ge.u32 %p8, %r11, %r10; @%p8 bra END;
        mad.wide.u32 %rd10, %r11, 24, %rd10; mad.wide.u32 %rd11, %r11, 8, %rd11;
        ld.global.u64 %rd1, [%rd10]; ld.global.u64 %rd2, [%rd10+8]; ld.global.u64 %rd3, [%rd10+16];
        cvt.u32.u64 %r1, %rd1; cvt.u32.u64 %r2, %rd2; cvt.u32.u64 %r3, %rd3;
        cvt.u16.u64 %rs1, %rd1; cvt.u16.u64 %rs2, %rd2; cvt.u16.u64 %rs3, %rd3;
        mov.b32 %f1, %r1; mov.b32 %f2, %r2; mov.b32 %f3, %r3;
        mov.b64 %fd1, %rd1; mov.b64 %fd2, %rd2; mov.b64 %fd3, %rd3;
        {statements}
        st.global.u64 [%rd11], %rd9;
        END: ret; }}"
    );
    let mut bench = Bench::new(&text, Options::default());
    let p = bench.upload(&triples.concat(), u64::to_le_bytes);
    let q = bench.machine.alloc(8 * triples.len());
    let args = [Arg::Pointer(p), Arg::Pointer(q), Arg::U32(triples.len() as u32)];
    bench.launch("k", [triples.len().div_ceil(64) as u32, 1, 1], [64, 1, 1], &args).unwrap();
    let words = bench.read_words(q, 2 * triples.len());
    words.chunks(2).map(|pair| u64::from(pair[0]) | u64::from(pair[1]) << 32).collect()
}

/// Each value with each, and a third.
pub fn triples(values: &[u64]) -> Vec<[u64; 3]> {
    let n = values.len();
    (0..n * n).map(|i| [values[i % n], values[i / n], values[(i * 7 + i / n) % n]]).collect()
}

/// The result of `statements` for all triples of the values.
pub fn check(statements: &str, values: &[u64], expected: impl Fn(u64, u64, u64) -> u64) {
    let triples = triples(values);
    for (&[a, b, c], got) in triples.iter().zip(evaluate(statements, &triples)) {
        let expected = expected(a, b, c);
        assert_eq!(got, expected, "{statements}: {a:#x} {b:#x} {c:#x} gave {got:#x}, expected {expected:#x}");
    }
}
