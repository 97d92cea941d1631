//! The only place that prints results: tables for people, one JSON object for programs.
//! `table.rs` and `cilium.rs` are the rows of check and its like over `grid.rs`, `plan.rs` the changes of plan, `text.rs` the other verbs, `json/` the
//! contract, `prometheus.rs` and `nfd.rs` for those; `view.rs` is what all of them are given.
//! Uses the engine's answers and the model; knows no command and no command line.
//! Begin with `Report` here.

mod cilium;
pub mod doctor;
mod grid;
pub mod journal;
pub mod json;
pub mod log;
mod nfd;
pub mod page;
mod plan;
mod prometheus;
pub mod reasons;
mod rows;
mod table;
mod text;
mod verdict;
mod view;
mod when;
mod words;

use std::io::{IsTerminal, Write};
use std::path::Path;

use anyhow::{Context, Result};
use serde::Serialize;

pub use view::{Applied, Manner, View};

use crate::cilium::diff::Diff;
use crate::cilium::render;
use crate::cilium::values::Values;
use crate::cilium::version::Version;
use crate::engine::Exit;
use crate::engine::history::Run;
use crate::engine::verbs::Answer;
use crate::model::Facts;
use crate::model::bpf::Deep;
use crate::open;
use crate::profile::Profile;
use crate::replace::{new_file, replace};
use crate::tweaks::Entry;

/// How a result is printed.
pub struct Report {
    pub json: bool,
    /// As a page of that form.
    pub page: Option<page::Form>,
    pub manner: Manner,
    /// Without: as the terminal is.
    pub colour: Option<bool>,
    /// The verb, for an error.
    pub command: &'static str,
}

impl Report {
    fn style(&self) -> text::Style {
        let plain = || !std::io::stdout().is_terminal() || std::env::var_os("NO_COLOR").is_some();
        let columns = terminal_size::terminal_size().map(|(w, _)| usize::from(w.0));
        let colour = self.colour.unwrap_or_else(|| !plain());
        text::Style { colour, width: columns.unwrap_or(100).clamp(60, 120) }
    }

    fn print(&self, text: &str) -> Result<()> {
        let mut out = std::io::stdout().lock();
        out.write_all(text.as_bytes())?;
        Ok(out.flush()?)
    }

    fn print_json(&self, value: &impl Serialize) -> Result<()> {
        self.print(&(serde_json::to_string(value)? + "\n"))
    }

    pub fn text(&self, text: &str) -> Result<()> {
        self.print(text)
    }

    pub fn answer(&self, view: &View) -> Result<()> {
        if self.json {
            return self.print_json(&json::answer(view));
        }
        if let Some(form) = self.page {
            return self.print(&table::page(view, &self.manner).render(form));
        }
        self.print(&table::answer(view, &self.style(), &self.manner))?;
        self.notes(&view.answer.notes)
    }

    pub fn plan(&self, view: &View) -> Result<()> {
        if self.json {
            return self.print_json(&json::answer(view));
        }
        if let Some(form) = self.page {
            return self.print(&plan::page(view, &self.manner).render(form));
        }
        self.print(&plan::plan(view, &self.style(), &self.manner))?;
        self.notes(&view.answer.notes)
    }

    /// What a terminal of that width shows of it.
    pub fn shown(view: &View, colour: bool, width: usize, manner: &Manner) -> String {
        let style = text::Style { colour, width };
        match view.verb {
            "plan" => plan::plan(view, &style, manner),
            _ => table::answer(view, &style, manner),
        }
    }

    pub fn explain(&self, entry: &Entry, view: &View) -> Result<()> {
        if self.json {
            return self.print_json(&json::answer(view));
        }
        self.print(&text::explain(entry, &self.style()))?;
        self.print(&table::live(view, &self.style()))
    }

    pub fn facts(&self, facts: &Facts) -> Result<()> {
        if self.json {
            return self.print_json(&json::facts(facts));
        }
        self.print(&table::facts(facts, &self.style()))
    }

    pub fn status(
        &self,
        applied: &Applied,
        waiting: Option<&json::runs::WaitingJson>,
        facts: &Facts,
        exit: Exit,
    ) -> Result<()> {
        if self.json {
            return self.print_json(&json::status(applied, waiting, facts, exit));
        }
        self.print(&text::status(applied, waiting, self.manner.verbose))
    }

    pub fn confirmed(
        &self,
        confirmed: &json::runs::ConfirmedJson,
        text: &str,
        facts: &Facts,
        exit: Exit,
    ) -> Result<()> {
        if self.json {
            return self.print_json(&json::confirmed(confirmed, facts, exit));
        }
        self.print(&format!("{}\n", text::clean(text)))?;
        self.notes(&confirmed.notes)
    }

    pub fn log(&self, runs: &[Run]) -> Result<()> {
        if self.json {
            return self.print_json(&log::json(runs, Exit::Fine));
        }
        if let Some(form) = self.page {
            return self.print(&log::page(runs).render(form));
        }
        self.print(&log::text(runs, &self.style()))
    }

    /// One run, with its changes.
    pub fn run(&self, run: &Run) -> Result<()> {
        if self.json {
            return self.print_json(&log::json(std::slice::from_ref(run), Exit::Fine));
        }
        self.print(&log::whole(run, &self.style()))
    }

    pub fn taken_back(&self, back: &log::TakenBackJson, exit: Exit) -> Result<()> {
        if self.json {
            return self.print_json(&json::envelope::envelope("rollback --run", back, exit));
        }
        self.print(&log::taken_back(back))?;
        self.notes(&back.notes)
    }

    /// A report was written there.
    pub fn doctor(&self, path: &Path, size: usize, parts: &doctor::Parts) -> Result<()> {
        let names = parts.names();
        if self.json {
            let files: Vec<&str> = names.iter().map(|(name, _)| *name).collect();
            return self.print_json(&json::doctored(path, size, &files));
        }
        let mut text = format!("{}, {size} bytes, for its owner's eyes\n", path.display());
        for (name, bytes) in names {
            text.push_str(&format!("  {name:<14}{bytes:>9} bytes\n"));
        }
        text.push_str(
            "left out: what is in files, values of unknown kernel parameters, keys among the sysctls.\n\
             In it: names of links, addresses, hardware. nettune doctor --read FILE checks that node anywhere\n",
        );
        self.print(&text)
    }

    pub fn repair(&self, repair: &journal::RepairJson, exit: Exit) -> Result<()> {
        if self.json {
            return self.print_json(&journal::json(repair, exit));
        }
        self.print(&journal::text(repair))
    }

    pub fn deep(&self, deep: &Deep, facts: &Facts) -> Result<()> {
        if self.json {
            return self.print_json(&json::deep(deep, facts));
        }
        self.print(&text::deep(deep))
    }

    pub fn profile(&self, profile: &Profile) -> Result<()> {
        if self.json {
            return self.print_json(&json::profile(profile));
        }
        self.print(&table::profile(profile, &self.style()))
    }

    pub fn list(&self, key: &str, columns: &[&str], rows: &[Vec<String>]) -> Result<()> {
        if self.json {
            return self.print_json(&json::list(key, columns, rows));
        }
        self.print(&table::list(rows, &self.style()))
    }

    pub fn baked(&self, bake: &json::bake::BakeJson, exit: Exit) -> Result<()> {
        if self.json {
            return self.print_json(&json::baked(bake, exit));
        }
        self.print(&text::baked(bake))?;
        self.notes(&bake.notes)
    }

    /// One line about what was done instead of a result.
    pub fn say(&self, line: &str) -> Result<()> {
        self.notes(&[line.to_string()])
    }

    /// Labels of Node Feature Discovery.
    pub fn nfd(&self, view: &View, output: Option<&Path>) -> Result<()> {
        self.file(&nfd::labels(view), output)
    }

    /// Text of node_exporter's textfile collector.
    pub fn prometheus(
        &self,
        applied: &Applied,
        verified: &Answer,
        output: Option<&Path>,
    ) -> Result<()> {
        self.file(&prometheus::text(applied, verified), output)
    }

    /// Whoever reads the file sees the old one or the new one.
    fn file(&self, text: &str, output: Option<&Path>) -> Result<()> {
        match output {
            None => self.print(text),
            Some(path) => write(path, text).with_context(|| format!("write {}", path.display())),
        }
    }

    pub fn values(&self, values: &Values, form: ValuesForm, version: Version) -> Result<()> {
        if self.json {
            return self.print_json(&json::values(values));
        }
        let text = match form {
            ValuesForm::Yaml => render::yaml(values, &format!("nettune {}", crate::VERSION))?,
            ValuesForm::Command => render::command(values, version),
            ValuesForm::NodeConfigs => render::node_configs(&values.node_groups, version)?,
        };
        self.print(&text)
    }

    pub fn diff(&self, diff: &Diff, exit: Exit) -> Result<()> {
        if self.json {
            return self.print_json(&json::diff(diff, exit));
        }
        self.print(&cilium::diff(diff, &self.style()))
    }

    /// Everything that is no result goes to standard error.
    fn notes(&self, notes: &[String]) -> Result<()> {
        let mut err = std::io::stderr().lock();
        for note in notes {
            writeln!(err, "nettune: {}", text::clean(note))?;
        }
        Ok(())
    }

    /// One line; with --json the object as well, so that a program need not read standard error.
    pub fn error(&self, error: &anyhow::Error, exit: Exit) {
        let line = text::clean(&format!("{error:#}"));
        if self.json {
            let _ = self.print_json(&json::error(self.command, &line, exit));
        }
        let _ = writeln!(std::io::stderr(), "nettune: {line}");
    }
}

#[derive(Debug, Clone, Copy)]
pub enum ValuesForm {
    Yaml,
    Command,
    NodeConfigs,
}

fn write(path: &Path, text: &str) -> Result<()> {
    let folder = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let name = path.file_name().context("it is no file's name")?.to_string_lossy();
    let folder = open::folder(folder)?;
    // Hidden, so that no collector takes it for a finished one.
    let temporary = format!(".{name}.{}", std::process::id());
    replace(&folder, &temporary, &name, || {
        let mut file = new_file(&folder, &temporary, 0o666)?;
        file.write_all(text.as_bytes())?;
        Ok(file.sync_all()?)
    })
}
