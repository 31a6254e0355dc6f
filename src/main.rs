//! The program `hpt-engine`: everything it does is a verb in [`cli`], everything it computes is the library's.

mod cli;

fn main() -> std::process::ExitCode {
    cli::main()
}
