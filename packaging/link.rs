//! The build script: how the released binary is linked. With panic = "abort" nothing unwinds, and the tables for it, std's and the C
//! library's too, would be a twelfth of the file. Tests unwind, and keep theirs.

#![allow(clippy::print_stdout, reason = "a build script speaks to cargo by it")]

use std::path::Path;

/// What the C compiler's own start and end files have of it is a label and a zero, which their code names: GNU ld links nothing without.
const SCRIPT: &str = "SECTIONS { /DISCARD/ : { *(EXCLUDE_FILE(*crtbegin*.o *crtend*.o) .eh_frame) } } INSERT AFTER .text;\n";

fn main() -> std::io::Result<()> {
    println!("cargo:rerun-if-changed=packaging/link.rs");
    let var = |name| std::env::var(name).unwrap_or_default();
    if var("PROFILE") == "release" {
        let script = Path::new(&var("OUT_DIR")).join("link.ld");
        std::fs::write(&script, SCRIPT)?;
        println!("cargo:rustc-link-arg-bins=-Wl,--no-eh-frame-hdr,-T,{}", script.display());
    }
    Ok(())
}
