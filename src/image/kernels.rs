//! What an image is, from its files alone: its kernels, its architecture, who will run in it.

use std::io::Read;

use anyhow::Result;
use schemars::JsonSchema;
use serde::Serialize;

use crate::engine::evaluate::evaluate;
use crate::engine::reason::Reason;
use crate::engine::row::{Row, Selection, Status};
use crate::engine::{Exit, Refusal};
use crate::linux::facts::{agents, kernel};
use crate::linux::root::Root;
use crate::model::Facts;
use crate::model::facts::{Fact, Node};
use crate::tweaks::TWEAKS;

/// Needs that a kernel meets or does not, whatever the machine it will run on.
const KERNEL_NEEDS: [&str; 6] =
    ["sch-fq", "tcp-bbr", "nf-tables", "nf-tables-inet", "preempt-mode", "preempt-switch"];
/// ELF e_machine of the architectures that nettune is built for, as the kernel names them.
const MACHINES: [(u16, &str); 6] = [
    (62, "x86_64"),
    (183, "aarch64"),
    (3, "x86"),
    (22, "s390x"),
    (21, "powerpc64"),
    (243, "riscv64"),
];

/// One kernel of the image, as this profile meets it.
pub struct Kernel {
    pub facts: Facts,
    pub rows: Vec<Row>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, JsonSchema)]
pub struct Finding {
    /// Release of the kernel.
    pub kernel: String,
    pub tweak: String,
    pub status: Status,
    pub text: String,
}

fn bad(text: String) -> anyhow::Error {
    Refusal::with(Exit::Config, text)
}

/// Refuses what is no root file system of a system that nettune can be started in.
pub fn root_file_system(root: &Root) -> Result<String> {
    let here = root.full("");
    for folder in ["etc", "usr"] {
        if root.list(folder).is_err() {
            return Err(bad(format!("{here} is no root file system: it has no folder {folder}")));
        }
    }
    if !["etc/os-release", "usr/lib/os-release"].iter().any(|f| root.exists(f)) {
        return Err(bad(format!("{here} is no root file system: it has no os-release")));
    }
    let programs = ["usr/lib/systemd/systemd", "lib/systemd/systemd"];
    let Some(systemd) = programs.iter().find(|p| root.exists(p)) else {
        return Err(bad(format!("{here} has no systemd, which is to start nettune at boot")));
    };
    let mut head = [0; 20];
    let read = root.file(systemd).and_then(|mut f| f.read_exact(&mut head));
    match read.ok().and_then(|()| machine(&head)) {
        Some(arch) => Ok(arch.to_string()),
        None => Err(bad(format!("{} is no program of a known architecture", root.full(systemd)))),
    }
}

/// The architecture of an ELF file by its first bytes, in the file's own byte order.
pub fn machine(head: &[u8]) -> Option<&'static str> {
    let magic = head.get(..4)? == b"\x7fELF";
    let bytes = [*head.get(18)?, *head.get(19)?];
    let number = match head.get(5)? {
        1 => u16::from_le_bytes(bytes),
        2 => u16::from_be_bytes(bytes),
        _ => return None,
    };
    MACHINES.iter().find(|(n, _)| magic && *n == number).map(|(_, name)| *name)
}

/// Releases that have modules, sorted.
pub fn releases(root: &Root) -> Vec<String> {
    let mut all = Vec::new();
    for top in ["lib/modules", "usr/lib/modules"] {
        for name in root.list(top).unwrap_or_default() {
            let has = |file: &str| root.exists(&format!("{top}/{name}/{file}"));
            if (has("modules.dep") || has("modules.builtin") || has("kernel"))
                && !all.contains(&name)
            {
                all.push(name);
            }
        }
    }
    all.sort();
    all
}

/// The profile on each kernel. There are no links and no CPUs to speak of: what depends on them is
/// decided at boot.
pub fn meet(root: &Root, arch: &str, releases: &[String], selection: &Selection) -> Vec<Kernel> {
    let mut agents = agents::of_image(root);
    // It will run by the time that the profile is applied.
    agents.tuned.pid = agents.tuned.installed.then_some(1);
    let meet = |release: &String| {
        let facts = Facts {
            node: Node { first_netns: true, root: true, ..Node::default() },
            kernel: kernel::of_image(root, release, arch),
            agents: agents.clone(),
            ..Facts::default()
        };
        let rows = evaluate(selection, &facts, None);
        Kernel { facts, rows }
    };
    releases.iter().map(meet).collect()
}

/// What this profile wants and a kernel of the image does not have, or cannot be seen to have.
pub fn findings(kernels: &[Kernel]) -> Vec<Finding> {
    let mut findings = Vec::new();
    for kernel in kernels.iter().filter(|k| !k.facts.kernel.release.is_empty()) {
        for row in &kernel.rows {
            for reason in &row.reasons {
                let Reason::Lever { code, text, .. } = reason else { continue };
                if KERNEL_NEEDS.contains(code) {
                    findings.push(Finding {
                        kernel: kernel.facts.kernel.release.clone(),
                        tweak: row.name.clone(),
                        status: row.status,
                        text: text.clone(),
                    });
                }
            }
        }
    }
    findings
}

/// Modules that some kernel has as modules and a wanted row needs.
pub fn modules(kernels: &[Kernel]) -> Vec<String> {
    let loadable = |kernel: &Kernel, tweak: &str, module: &str| {
        let wanted = kernel.rows.iter().any(|r| r.name == tweak && r.status == Status::Ready);
        let state = kernel.facts.kernel.modules.get(module);
        wanted && matches!(state, Some(Fact::Known(crate::model::facts::Module::Loadable)))
    };
    let of = TWEAKS.iter().flat_map(|t| t.more.modules.iter().map(|module| (t.name, *module)));
    of.filter(|(tweak, module)| kernels.iter().any(|k| loadable(k, tweak, module)))
        .map(|(_, module)| module.to_string())
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn architectures_in_either_byte_order() {
        let head = |order: u8, machine: [u8; 2]| {
            let mut bytes = vec![0; 20];
            bytes[..4].copy_from_slice(b"\x7fELF");
            bytes[5] = order;
            bytes[18..].copy_from_slice(&machine);
            bytes
        };
        assert_eq!(machine(&head(1, [62, 0])), Some("x86_64"));
        assert_eq!(machine(&head(1, [183, 0])), Some("aarch64"));
        assert_eq!(machine(&head(2, [0, 22])), Some("s390x"));
        assert_eq!(machine(b"#!/bin/sh\nexec somewhere"), None);
        assert_eq!(machine(b""), None);
    }
}
