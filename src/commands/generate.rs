//! What is generated from the command line and the report: completions, manual page, schema.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::Cli;
use crate::engine::Exit;

pub fn completions(shell: clap_complete::Shell) -> Result<Exit> {
    let mut out = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "nettune", &mut out);
    std::io::stdout().write_all(&out)?;
    Ok(Exit::Fine)
}

pub fn man() -> Result<Exit> {
    let mut out = Vec::new();
    clap_mangen::Man::new(Cli::command()).render(&mut out)?;
    for command in Cli::command().get_subcommands().filter(|c| !c.is_hide_set()) {
        let section = clap_mangen::Man::new(command.clone());
        section.render_synopsis_section(&mut out)?;
        section.render_description_section(&mut out)?;
        section.render_options_section(&mut out)?;
    }
    std::io::stdout().write_all(&out)?;
    Ok(Exit::Fine)
}

/// As it was made from the types (report::json::schema), which a test holds the file to: what makes it would be larger than it is.
pub fn schema() -> Result<Exit> {
    std::io::stdout().write_all(include_bytes!("../../docs/schema.json"))?;
    Ok(Exit::Fine)
}
