//! `nettune`: see the library for what it does.

use std::process::ExitCode;

fn main() -> ExitCode {
    nettune::commands::main()
}
