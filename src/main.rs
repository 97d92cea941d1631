//! `nettune`: see the library for what it does.

use std::process::ExitCode;

/// A release has neither names nor the tables that a stack is walked by (packaging/link.rs), and libgcc aborts without them: no
/// backtrace is begun, which an error would do wherever one of these is set.
#[allow(unsafe_code, reason = "safe while there is one thread")]
fn no_backtrace() {
    for name in ["RUST_BACKTRACE", "RUST_LIB_BACKTRACE"] {
        unsafe { std::env::remove_var(name) };
    }
}

fn main() -> ExitCode {
    if cfg!(not(debug_assertions)) {
        no_backtrace();
    }
    nettune::commands::main()
}
