//! The `perennial` program: arguments in, exit code out.

use std::process::ExitCode;

fn main() -> ExitCode {
    perennial::cli::main()
}
