//! Manual pages: nettune(1), and one a verb.

use std::io::Write;

use anyhow::Result;
use clap_mangen::Man;
use clap_mangen::roff::{Roff, bold, roman};

use crate::VERSION;
use crate::cli::dressed;
use crate::cli::help::{self, EXITS, FILES, Page, page};
use crate::engine::{Exit, Refusal};

pub fn man(verb: Option<&str>, list: bool) -> Result<Exit> {
    let mut out = Vec::new();
    match verb {
        _ if list => {
            writeln!(out, "nettune")?;
            for page in help::PAGES {
                writeln!(out, "nettune-{}", page.verb)?;
            }
        }
        None => whole(&mut out)?,
        Some(verb) => match page(verb) {
            Some(page) => of(page, &mut out)?,
            None => {
                let verbs: Vec<&str> = help::PAGES.iter().map(|page| page.verb).collect();
                let text = format!("there is no page {verb:?}; there are {}", verbs.join(" "));
                return Err(Refusal::with(Exit::Usage, text));
            }
        },
    }
    std::io::stdout().write_all(&out)?;
    Ok(Exit::Fine)
}

/// Built: a verb knows by that whose it is.
fn built() -> clap::Command {
    let mut command = dressed();
    command.build();
    command
}

fn titled(name: &str, command: clap::Command) -> Man {
    Man::new(command).title(name).source(format!("nettune {VERSION}")).manual("nettune")
}

fn whole(out: &mut Vec<u8>) -> Result<()> {
    let command = built();
    let man = titled("nettune", command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    let mut roff = Roff::new();
    roff.control("SH", ["VERBS"]);
    for verb in command.get_subcommands().filter(|c| page(c.get_name()).is_some()) {
        let about = verb.get_about().map(|text| text.to_string()).unwrap_or_default();
        roff.control("TP", []);
        roff.text([bold(verb.get_name())]);
        roff.text([roman(about)]);
    }
    roff.to_writer(out)?;
    man.render_options_section(out)?;
    let names: Vec<&str> = help::PAGES.iter().map(|page| page.verb).collect();
    ends(out, &names)
}

fn of(page: &Page, out: &mut Vec<u8>) -> Result<()> {
    let command = built();
    let Some(command) = command.find_subcommand(page.verb) else { return Ok(()) };
    let man = titled(&format!("nettune-{}", page.verb), command.clone());
    man.render_title(out)?;
    man.render_name_section(out)?;
    man.render_synopsis_section(out)?;
    man.render_description_section(out)?;
    man.render_options_section(out)?;
    for sub in command.get_subcommands().filter(|c| c.get_name() != "help" && !c.is_hide_set()) {
        let sub = sub.clone();
        let title = format!("nettune {} {}", page.verb, sub.get_name()).to_uppercase();
        let mut roff = Roff::new();
        roff.control("SH", [title.as_str()]);
        roff.to_writer(out)?;
        let mut text = Vec::new();
        let own = Man::new(sub);
        own.render_description_section(&mut text)?;
        own.render_options_section(&mut text)?;
        // Beneath its own heading.
        out.extend(String::from_utf8_lossy(&text).replace("\n.SH ", "\n.SS ").into_bytes());
    }
    let mut roff = Roff::new();
    roff.control("SH", ["EXAMPLES"]);
    for (line, what) in page.examples {
        roff.control("TP", []);
        roff.text([bold(*line)]);
        roff.text([roman(*what)]);
    }
    roff.to_writer(out)?;
    ends(out, page.see)
}

fn ends(out: &mut Vec<u8>, see: &[&str]) -> Result<()> {
    let mut roff = Roff::new();
    for (title, rows) in [("FILES", FILES), ("EXIT STATUS", EXITS)] {
        roff.control("SH", [title]);
        for (name, what) in rows {
            roff.control("TP", []);
            roff.text([bold(*name)]);
            roff.text([roman(*what)]);
        }
    }
    roff.control("SH", ["SEE ALSO"]);
    let mut pages = vec!["nettune(1)".to_string()];
    pages.extend(see.iter().map(|verb| format!("nettune-{verb}(1)")));
    roff.text([roman(pages.join(", "))]);
    Ok(roff.to_writer(out)?)
}
