//! What a node says of itself in one file, for somebody who is not there: only what nettune itself reads and answers, without what
//! nobody else should have.

use std::collections::BTreeMap;
use std::io::Read;

use anyhow::{Context, Result, bail};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde::{Deserialize, Serialize};
use serde_json::Value;
use tar::{Archive, Builder, EntryType, Header};

use crate::engine::recorded::Recorded;
use crate::model::{Facts, Resource, State, hex};
use crate::open;
use sha2::{Digest, Sha256};

/// Of a report that is read back.
const MOST_BYTES: u64 = 64 << 20;
const MOST_ENTRIES: usize = 1000;

/// Parameters of the kernel's command line that nettune goes by, or whose effect it shows. Of all others the name alone is taken: an
/// installer's may hold a password.
const PARAMETERS: &[&str] = &[
    "preempt",
    "isolcpus",
    "nohz_full",
    "rcu_nocbs",
    "irqaffinity",
    "intel_pstate",
    "amd_pstate",
    "processor.max_cstate",
    "intel_idle.max_cstate",
    "cpufreq.default_governor",
    "cpuidle.off",
    "idle",
    "mitigations",
    "iommu",
    "intel_iommu",
    "amd_iommu",
    "lockdown",
    "hugepages",
    "transparent_hugepage",
    "net.ifnames",
    "biosdevname",
    "systemd.unified_cgroup_hierarchy",
    "ipv6.disable",
    "nosmt",
    "maxcpus",
    "nr_cpus",
    "pci",
    "pcie_aspm",
    "quiet",
    "ro",
    "rw",
];

/// What nettune could set, and what of the kernel's it shows beside that; of all others the name alone is taken.
const SYSCTLS: &[&str] = &["net.", "vm.", "kernel.numa_balancing", "kernel.sched", "kernel.timer"];
/// Sysctls that are keys.
const SECRET: &[&str] = &["stable_secret", "tcp_fastopen_key"];
const LEFT_OUT: &str = "left out";

#[derive(Debug, Serialize, Deserialize)]
pub struct About {
    pub schema: u32,
    pub version: String,
    pub commit: String,
    pub arch: String,
    /// UTC.
    pub time: String,
    pub profile: String,
}

/// Names and contents, in this order.
#[derive(Default)]
pub struct Parts(Vec<(&'static str, Vec<u8>)>);

impl Parts {
    /// Without secrets.
    pub fn json(&mut self, name: &'static str, value: &impl Serialize) -> Result<()> {
        let mut value = serde_json::to_value(value)?;
        redact(&mut value);
        self.0.push((name, serde_json::to_vec_pretty(&value)?));
        Ok(())
    }

    pub fn states(&mut self, states: &BTreeMap<Resource, State>) -> Result<()> {
        let value: BTreeMap<String, State> =
            states.iter().map(|(r, s)| (r.to_string(), without(r, s))).collect();
        self.0.push(("states.json", serde_json::to_vec_pretty(&value)?));
        Ok(())
    }

    /// Lines of a profile.
    pub fn text(&mut self, name: &'static str, text: &str) {
        let lines = text.lines().filter(|line| !tells(line));
        self.0.push((name, lines.flat_map(|line| [line, "\n"]).collect::<String>().into_bytes()));
    }

    pub fn names(&self) -> Vec<(&'static str, usize)> {
        self.0.iter().map(|(name, bytes)| (*name, bytes.len())).collect()
    }

    pub fn pack(&self) -> Result<Vec<u8>> {
        let mut tar = Builder::new(GzEncoder::new(Vec::new(), Compression::default()));
        for (name, bytes) in &self.0 {
            let mut header = Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o600);
            header.set_entry_type(EntryType::Regular);
            tar.append_data(&mut header, format!("nettune-doctor/{name}"), &bytes[..])?;
        }
        Ok(tar.into_inner()?.finish()?)
    }
}

/// Of a file what is in it stays on the node, and of a key its value.
fn without(resource: &Resource, state: &State) -> State {
    match state {
        State::Is(text) if hides(&resource.to_string()) => State::is(digest(text)),
        other => other.clone(),
    }
}

fn hides(resource: &str) -> bool {
    let foreign = |name: &str| !SYSCTLS.iter().any(|known| name.starts_with(known));
    resource.starts_with("file:")
        || resource.strip_prefix("sysctl:").is_some_and(foreign)
        || SECRET.iter().any(|secret| resource.contains(secret))
}

fn tells(text: &str) -> bool {
    SECRET.iter().any(|secret| text.contains(secret)) && text.contains([' ', '='])
}

fn digest(text: &str) -> String {
    let sum = hex(&Sha256::digest(text)[..8]);
    format!("{LEFT_OUT}: {} bytes, sha256 begins with {sum}", text.len())
}

/// Wherever in the value a file's content or a secret stands.
fn redact(value: &mut Value) {
    match value {
        Value::Array(all) => all.iter_mut().for_each(redact),
        Value::Object(map) => {
            let text = |key: &str| map.get(key).and_then(Value::as_str).unwrap_or_default();
            if hides(text("resource")) || hides(text("key")) {
                for key in ["before", "after", "now", "value", "baseline", "present"] {
                    if let Some(hidden) = map.get_mut(key).filter(|v| !v.is_null()) {
                        *hidden = LEFT_OUT.into();
                    }
                }
            }
            if let Some(Value::String(line)) = map.get_mut("cmdline") {
                *line = parameters(line);
            }
            for (key, inner) in map.iter_mut() {
                match inner {
                    Value::String(text) if hides(key) => *text = LEFT_OUT.to_string(),
                    inner => redact(inner),
                }
            }
        }
        // A command line or a sentence that has more of a key than its name.
        Value::String(text) if tells(text) => *text = LEFT_OUT.to_string(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn parameters(line: &str) -> String {
    let shown = |word: &str| match word.split_once('=') {
        Some((name, _)) if !PARAMETERS.contains(&name) => format!("{name}=..."),
        None if !PARAMETERS.contains(&word) => String::new(),
        _ => word.to_string(),
    };
    let words: Vec<String> = line.split_whitespace().map(shown).filter(|w| !w.is_empty()).collect();
    words.join(" ")
}

/// A report as it is read back.
pub struct Reported {
    pub about: About,
    pub node: Recorded,
    pub profile: String,
}

/// In memory and within bounds; whatever is no file of ours in it is not looked at.
pub fn unpack(bytes: &[u8]) -> Result<Reported> {
    let mut input = Archive::new(GzDecoder::new(bytes).take(MOST_BYTES));
    let mut found: BTreeMap<String, Vec<u8>> = BTreeMap::new();
    let mut left = MOST_BYTES;
    for (at, entry) in input.entries().context("it is no report of nettune doctor")?.enumerate() {
        if at >= MOST_ENTRIES {
            bail!("it has more than {MOST_ENTRIES} entries");
        }
        let mut entry = entry.context("it is no report of nettune doctor")?;
        if entry.header().entry_type() != EntryType::Regular {
            continue;
        }
        let path =
            entry.path().context("a name in it cannot be read")?.to_string_lossy().into_owned();
        let Some(name) = path.strip_prefix("nettune-doctor/") else { continue };
        if !["about.json", "facts.json", "states.json", "profile.toml"].contains(&name) {
            continue;
        }
        let content = open::all(&mut entry, left).with_context(|| format!("read {name} of it"))?;
        left -= content.len() as u64;
        found.insert(name.to_string(), content);
    }
    let part = |name: &str| found.get(name).with_context(|| format!("it has no {name}"));
    let wrong = |name: &str| format!("{name} of it cannot be read");
    let facts: Facts =
        serde_json::from_slice(part("facts.json")?).with_context(|| wrong("facts.json"))?;
    let states =
        serde_json::from_slice(part("states.json")?).with_context(|| wrong("states.json"))?;
    Ok(Reported {
        about: serde_json::from_slice(part("about.json")?).with_context(|| wrong("about.json"))?,
        node: Recorded { facts, states },
        profile: String::from_utf8_lossy(part("profile.toml")?).into_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_command_line_what_is_known_and_names() {
        let line =
            "ro quiet preempt=full ks=http://u:secret@h/ks root=UUID=1 rd.luks.key=abc token";
        assert_eq!(parameters(line), "ro quiet preempt=full ks=... root=... rd.luks.key=...");
    }

    #[test]
    fn what_is_in_a_file_stays_there() {
        let mut value = serde_json::json!({"changes": [
            {"resource": "file:/etc/x", "before": "PSK", "after": {"state": "PSK"}},
            {"resource": "sysctl:net.ipv6.conf.all.stable_secret", "before": "PSK"},
            {"resource": "mtu:eth0", "before": "1500"},
            {"claims": {"file:/etc/y": "PSK"}},
            {"command": "apply --set tcp.sysctl={\"net.ipv4.tcp_fastopen_key\"=\"PSK\"}"},
            {"text": "sysctl:net.ipv4.tcp_fastopen_key is PSK; nettune wrote PSK"},
        ]});
        redact(&mut value);
        let text = value.to_string();
        assert!(!text.contains("PSK") && text.contains("1500"), "{text}");
    }

    #[test]
    fn a_report_is_read_back_within_bounds() {
        let mut parts = Parts::default();
        assert!(unpack(b"no archive").is_err());
        let about = About {
            schema: 1,
            version: "0".into(),
            commit: String::new(),
            arch: String::new(),
            time: String::new(),
            profile: "p".into(),
        };
        parts.json("about.json", &about).unwrap();
        parts.json("facts.json", &Facts::default()).unwrap();
        let states = BTreeMap::from([("mtu:eth0".parse().unwrap(), State::is("1500"))]);
        parts.states(&states).unwrap();
        assert!(
            format!("{:#}", unpack(&parts.pack().unwrap()).err().unwrap()).contains("profile.toml")
        );
        parts.text("profile.toml", "[tcp]\n\"net.ipv4.tcp_fastopen_key\" = \"PSK\"\n");
        let read = unpack(&parts.pack().unwrap()).unwrap();
        assert_eq!((read.node.states, read.profile.as_str()), (states, "[tcp]\n"));
        // Cut anywhere it is an error, but where only the archive's end is lost, and never a panic.
        let whole = parts.pack().unwrap();
        for at in (0..whole.len()).step_by(7) {
            let cut = unpack(&whole[..at]);
            assert!(cut.is_err() || at > whole.len() - 64, "{at} of {}", whole.len());
        }
        // A bomb is not unpacked.
        let mut bomb = GzEncoder::new(Vec::new(), Compression::best());
        std::io::copy(&mut std::io::repeat(0).take(MOST_BYTES + 1), &mut bomb).unwrap();
        assert!(unpack(&bomb.finish().unwrap()).is_err());
    }
}
