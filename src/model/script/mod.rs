//! A plan as a POSIX shell script with the ordinary tools, for the reader who wants to see what is
//! done and for the node whose nettune is gone. nettune itself runs none of these commands. The
//! order, what is disturbed and what is ours come from the engine, as for its own writes.

mod forms;
mod step;
mod words;

use std::fmt::Write;

use super::Resource;
use super::facts::{LinkId, Node};

pub use forms::quote;
pub use step::{Disturbed, Step};

const PRELUDE: &str = include_str!("prelude.sh");
const STEPS: &str = "# Steps: ";

/// How many steps a script says that it has.
pub fn steps(script: &str) -> usize {
    let said = script.lines().take(8).find_map(|line| line.strip_prefix(STEPS));
    said.and_then(|n| n.parse().ok()).unwrap_or_default()
}

pub struct Script<'a> {
    pub title: &'a str,
    pub node: &'a Node,
    /// Those that steps speak of.
    pub links: Vec<LinkId>,
    pub steps: Vec<Step>,
    pub notes: Vec<String>,
}

impl Script<'_> {
    pub fn text(&self) -> String {
        let mut out = format!("#!/bin/sh\n# {}\n# Run as root.\n", self.title);
        let _ = writeln!(out, "{STEPS}{}", self.steps.len());
        self.notes.iter().for_each(|note| comment(&mut out, note));
        out.push_str(PRELUDE);
        self.places(&mut out);
        let mut files = Vec::new();
        for step in &self.steps {
            out.push('\n');
            comment(&mut out, &format!("{}: {} -> {}", step.resource, step.from, step.to));
            let lines = words::step(step, |resource| self.variable(resource));
            let text = self.guarded(&step.resource, &lines);
            if lines.iter().all(|l| l.starts_with("put ")) {
                files.push(text.clone());
            }
            out.push_str(&text);
        }
        if !files.is_empty() {
            out.push_str(
                "\n# What was missing may be back with its channels, or written anew.\nlast=1\n",
            );
            files.iter().for_each(|text| out.push_str(text));
        }
        if self.steps.iter().any(|s| matches!(s.resource, Resource::Bpf { .. })) {
            out.push('\n');
            out.push_str(words::NO_PROGRAMS);
        }
        out.push_str("\nexit \"$status\"\n");
        out
    }

    /// Where this is: what a boot, a namespace or a link had dies with it.
    fn places(&self, out: &mut String) {
        if self.node.netns != 0 {
            let here = quote(&format!("net:[{}]", self.node.netns));
            let _ = writeln!(
                out,
                "\n[ \"$(readlink /proc/self/ns/net)\" = {here} ] || {{\n    \
                 say 'not the network namespace of these changes: nothing is written'\n    exit 78\n}}"
            );
        }
        let boot = quote(&self.node.boot_id);
        let _ = writeln!(
            out,
            "here=\n[ \"$(cat /proc/sys/kernel/random/boot_id)\" != {boot} ] || here=1\n\
             [ -n \"$here\" ] || say 'booted since: only what outlives a boot is put back'"
        );
        for id in &self.links {
            let device = id.bus.as_deref().and_then(|b| b.split_once('/')).map(|(_, at)| at);
            let word = |text: Option<&str>| quote(text.unwrap_or_default());
            let _ = writeln!(
                out,
                "L{}=\n[ -z \"$here\" ] || L{0}=$(link {0} {} {} {})",
                id.index,
                quote(&id.name),
                word(device),
                word(id.mac.as_deref())
            );
        }
    }

    /// The shell's word for the link of a resource.
    fn variable(&self, resource: &Resource) -> String {
        let id = resource.link().and_then(|name| self.links.iter().find(|id| id.name == name));
        id.map_or_else(String::new, |id| format!("L{}", id.index))
    }

    fn guarded(&self, resource: &Resource, lines: &[String]) -> String {
        // Our drop-in brings its sysctls at each boot.
        let brought = matches!(resource, Resource::Sysctl { .. })
            && self.steps.iter().any(|s| s.resource.sysctl_file());
        let variable = match resource.link() {
            Some(_) => self.variable(resource),
            None if resource.runtime() && !brought => "here".to_string(),
            None => String::new(),
        };
        match lines {
            [line] if !variable.is_empty() && !line.contains('\n') => {
                format!("[ -z \"${variable}\" ] || {line}\n")
            }
            _ if variable.is_empty() => format!("{}\n", lines.join("\n")),
            _ => format!("if [ -n \"${variable}\" ]; then\n{}\nfi\n", lines.join("\n")),
        }
    }
}

/// A link or a file may hold anything: it must stay one line.
fn comment(out: &mut String, text: &str) {
    let _ = writeln!(out, "# {}", text.escape_debug());
}

#[cfg(test)]
mod tests;
