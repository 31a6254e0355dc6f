//! Parses PTX files and lists their kernels: `cargo run -p hpt-ptxsim --example kernels FILE…`.

use hpt_ptxsim::Module;

fn main() {
    for path in std::env::args().skip(1) {
        match std::fs::read_to_string(&path).map(|text| Module::parse(&text)) {
            Ok(Ok(module)) => {
                let (major, minor) = module.version();
                println!("{path}: PTX {major}.{minor} for {}", module.target());
                for kernel in module.kernels() {
                    let (name, count) = (kernel.name(), kernel.instructions());
                    let (shared, local) = (kernel.static_shared_bytes(), kernel.local_bytes());
                    println!(
                        "    {name}: {count} instructions, {shared} B shared, {local} B local, {} B parameters",
                        kernel.param_bytes()
                    );
                }
            }
            Ok(Err(error)) => println!("{path}: {error}"),
            Err(error) => println!("{path}: {error}"),
        }
    }
}
