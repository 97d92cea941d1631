//! What is generated from the command line and the report: completions, manual page, schema.

use std::io::Write;

use anyhow::Result;
use clap::CommandFactory;

use crate::cli::Cli;
use crate::engine::Exit;
use crate::report::json::schema as report_schema;

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

pub fn schema() -> Result<Exit> {
    let text = serde_json::to_string_pretty(&report_schema())?;
    writeln!(std::io::stdout(), "{text}")?;
    Ok(Exit::Fine)
}
