//! What is generated from the command line and the report: completions, schema.

use std::io::Write;

use anyhow::Result;
use clap_complete::env::{CompleteEnv, Shells};

use crate::cli::dressed;
use crate::engine::Exit;

/// The variable that a shell sets which wants to know how a word goes on.
const ASKED: &str = "NETTUNE_COMPLETE";

/// What a shell asks nettune by (src/cli/complete.rs); for one that cannot, the words alone.
pub fn completions(shell: clap_complete::Shell) -> Result<Exit> {
    let mut out = Vec::new();
    match Shells::builtins().completer(&shell.to_string()) {
        Some(by) => by.write_registration(ASKED, "nettune", "nettune", "nettune", &mut out)?,
        None => clap_complete::generate(shell, &mut dressed(), "nettune", &mut out),
    }
    if shell == clap_complete::Shell::Zsh {
        // Loaded from a folder of $fpath at the first word that is to be completed, which it is, too.
        let first =
            "[ \"${funcstack[1]}\" = _nettune ] && _clap_dynamic_completer_nettune \"$@\"\n";
        out.extend_from_slice(first.as_bytes());
    }
    std::io::stdout().write_all(&out)?;
    Ok(Exit::Fine)
}

/// Whether it was a shell that asked.
pub fn completed() -> Result<bool, clap::Error> {
    let here = std::env::current_dir().ok();
    CompleteEnv::with_factory(dressed).var(ASKED).try_complete(std::env::args_os(), here.as_deref())
}

/// As it was made from the types (report::json::schema), which a test holds the file to: what makes it would be larger than it is.
pub fn schema() -> Result<Exit> {
    std::io::stdout().write_all(include_bytes!("../../docs/schema.json"))?;
    Ok(Exit::Fine)
}
