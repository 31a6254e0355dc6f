//! Instructions of threads per second, checks on and off: `cargo run -p hpt-ptxsim --example speed`.

use hpt_ptxsim::{Launch, Machine, Module, Options};
use std::time::Instant;

fn main() {
    let simt = Module::parse(include_str!("../tests/kernels/simt.ptx")).unwrap();
    let mma80 = Module::parse(include_str!("../tests/kernels/mma80.ptx")).unwrap();
    let only = std::env::args().nth(1);
    let size = 192u32;
    let cases = [
        (&simt, "gemm", 6, [6, 6, 1], [32, 8, 1]),
        (&mma80, "gemm_bf16", 6, [6, 3, 1], [128, 1, 1]),
        (&simt, "random_words", 3, [64, 1, 1], [256, 1, 1]),
        (&simt, "adamw", 7, [64, 1, 1], [256, 1, 1]),
    ];
    for (module, name, _, grid, block) in cases {
        if only.as_deref().is_some_and(|only| only != name) {
            continue;
        }
        for races in [true, false] {
            let mut machine = Machine::new(Options { races, ..Options::default() });
            let bytes = 4 * (size * size) as usize;
            let buffers: Vec<u64> = (0..5)
                .map(|_| {
                    let a = machine.alloc(bytes);
                    machine.fill(a, bytes, 0).unwrap();
                    a
                })
                .collect();
            let kernel = module.kernel(name).unwrap();
            let mut params = vec![0; kernel.param_bytes()];
            for (at, param) in kernel.params().iter().enumerate() {
                let value = if param.size == 8 { buffers[at.min(4)] } else { u64::from(size) };
                params[param.offset..param.offset + param.size.min(8)]
                    .copy_from_slice(&value.to_le_bytes()[..param.size.min(8)]);
            }
            if name == "random_words" {
                params[24..28].copy_from_slice(&9216u32.to_le_bytes());
            }
            if name == "adamw" {
                params[44..48].copy_from_slice(&36864u32.to_le_bytes());
            }
            let launch = Launch { grid, block, shared_bytes: 0, params: &params };
            let start = Instant::now();
            let (mut lanes, mut warps, mut runs) = (0, 0, 0);
            while start.elapsed().as_secs_f64() < 0.8 {
                let counters = machine.launch(kernel, launch).unwrap();
                lanes += counters.lane_instructions;
                warps += counters.instructions;
                runs += 1;
            }
            let seconds = start.elapsed().as_secs_f64();
            println!(
                "{name:14} races {races:5}: {:7.1} M lane-instructions/s, {:5.1} ns a warp instruction, {runs} launches",
                lanes as f64 / seconds / 1e6,
                seconds * 1e9 / warps as f64
            );
        }
    }
}
