//! Instructions of threads per second, with and without the search for races:
//! `cargo run -p hpt-ptxsim --example speed`.
//!
//! On one core of an AMD Zen 5, in millions, with and without: f32 product 324 and 449, bf16 product by tensor cores
//! 108 and 188, Philox 851 and 1176, AdamW 438 and 552.

use hpt_ptxsim::{Launch, Machine, Module, Options};
use std::time::Instant;

const SIZE: u32 = 192;

fn main() {
    let simt = Module::parse(include_str!("../tests/kernels/simt.ptx")).expect("a module that is tested");
    let mma80 = Module::parse(include_str!("../tests/kernels/mma80.ptx")).expect("a module that is tested");
    let words = SIZE * SIZE;
    // Kernel, grid, block, and the values of its numbers in order.
    let cases = [
        (&simt, "gemm", [6, 6, 1], [32, 8, 1], vec![SIZE; 3]),
        (&mma80, "gemm_bf16", [6, 3, 1], [128, 1, 1], vec![SIZE; 3]),
        (&simt, "random_words", [36, 1, 1], [256, 1, 1], vec![words / 4]),
        (&simt, "adamw", [36, 1, 1], [256, 1, 1], vec![1, words]),
    ];
    for (module, name, grid, block, numbers) in &cases {
        for races in [true, false] {
            let mut machine = Machine::new(Options { races, ..Options::default() });
            let kernel = module.kernel(name).expect("a kernel of the module");
            let (mut params, mut numbers) = (vec![0; kernel.param_bytes()], numbers.iter());
            for param in kernel.params() {
                let value = match param.size {
                    8 => {
                        let buffer = machine.alloc(4 * words as usize);
                        machine.fill(buffer, 4 * words as usize, 0).expect("inside its allocation");
                        buffer
                    }
                    4 => u64::from(*numbers.next().expect("a value for each number")),
                    _ => continue,
                };
                params[param.offset..param.offset + param.size].copy_from_slice(&value.to_le_bytes()[..param.size]);
            }
            let launch = Launch { grid: *grid, block: *block, shared_bytes: 0, params: &params };
            let (start, mut lanes, mut warps) = (Instant::now(), 0, 0);
            while start.elapsed().as_secs_f64() < 0.8 {
                let counters = machine.launch(kernel, launch).expect("a kernel without faults");
                lanes += counters.lane_instructions;
                warps += counters.instructions;
            }
            let seconds = start.elapsed().as_secs_f64();
            let (rate, each) = (lanes as f64 / seconds / 1e6, seconds * 1e9 / warps as f64);
            println!("{name:12} races {races:5}: {rate:6.0} M thread instructions/s, {each:4.0} ns a warp instruction");
        }
    }
}
