//! The brigade binary, as it is, with its failpoints built in. Never shipped.

use std::process::ExitCode;

fn main() -> ExitCode {
    brigade_tools::sandbox::launcher_main_if_asked();
    brigade_cli::main(std::env::args_os()).into()
}
