//! The brigade binary.

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    brigade_tools::sandbox::launcher_main_if_asked();
    brigade_cli::main(std::env::args_os()).into()
}
