//! What others will set on this node, from their own files, and where that fights a wish of the
//! profile.

use std::collections::BTreeMap;

use super::facts::Setting;
use super::glob;
use super::{Desired, State, Want};

/// A wish of the profile, and who will write something else.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Conflict {
    pub text: String,
    pub fix: String,
}

/// When an agent writes, and so when it wins: whoever writes last does.
fn when(agent: &str) -> &'static str {
    match agent {
        "systemd-sysctl" => "at boot and whenever it is restarted",
        // systemd-sysctl does not read that file: other inits and people do.
        "sysctl --system" => "when somebody runs it, or TuneD starts",
        "systemd-udevd" => "when the link appears",
        "systemd-networkd" => "when it configures the link",
        "ifupdown" | "network-scripts" | "wicked" => "when it brings the link up",
        "NetworkManager" => "when it activates the connection",
        "TuneD" => "when it starts or switches its profile",
        "CRI-O" => "when a pod asks for CPUs without interrupts",
        "nftables.service" => "when it starts or reloads",
        "firewalld" => "when it reloads",
        "bpftune" => "while it runs, until it sees somebody else write that",
        "saptune" => "when it applies its notes",
        "kubelet" => "when a pod gets CPUs of its own",
        _ => "when it runs",
    }
}

/// One conflict for each file that fights a wish, with the first line that does.
pub fn conflicts<'a>(
    desired: &[Desired],
    settings: impl Iterator<Item = &'a Setting>,
) -> Vec<Conflict> {
    let mut exact: BTreeMap<&str, Vec<&Setting>> = BTreeMap::new();
    let mut patterns = Vec::new();
    for setting in settings {
        match setting.resource.contains('*') {
            true => patterns.push(setting),
            false => exact.entry(&setting.resource).or_default().push(setting),
        }
    }
    if exact.is_empty() && patterns.is_empty() {
        return Vec::new();
    }
    let mut found: BTreeMap<(&str, &str), (&Setting, String, usize)> = BTreeMap::new();
    for wish in desired {
        let name = wish.resource.to_string();
        let named: &[&Setting] = exact.get(name.as_str()).map_or(&[], Vec::as_slice);
        // sysctl.d(5): a key that is named is left out of every pattern.
        let outdone =
            |s: &Setting| s.agent == "systemd-sysctl" && named.iter().any(|n| n.agent == s.agent);
        let matching = patterns.iter().filter(|s| glob(&s.resource, &name) && !outdone(s));
        for setting in named.iter().chain(matching).filter(|s| fights(s, &wish.want)) {
            found
                .entry((&setting.agent, &setting.file))
                .and_modify(|(_, _, more)| *more += 1)
                .or_insert((setting, name.clone(), 0));
        }
    }
    found.into_values().map(|(setting, name, more)| describe(setting, &name, more)).collect()
}

/// Whether what it sets is not what is wished.
fn fights(setting: &Setting, want: &Want) -> bool {
    let want = match (want, &setting.key) {
        (Want::Fields(fields), Some(key)) => match fields.get(key) {
            Some(want) => want,
            None => return false,
        },
        (want, _) => want,
    };
    match setting.value.as_deref() {
        None => true,
        Some(value) => match (value.strip_prefix('>'), value.strip_prefix('<')) {
            (Some(value), _) => bound(want, value, u64::max),
            (_, Some(value)) => bound(want, value, u64::min),
            _ => !want.met_by(&State::is(value)),
        },
    }
}

/// TuneD's ">2048": raised to that where it is less, and "<" the other way: whether what we wrote is moved. It
/// compares single numbers alone.
fn bound(want: &Want, value: &str, pick: fn(u64, u64) -> u64) -> bool {
    let ours = match want {
        Want::Exactly(state) => state.text(),
        Want::AtLeast(text) | Want::AtMost(text) => Some(text.as_str()),
        Want::Includes(_) | Want::Fields(_) => None,
    };
    let number = |text: &str| text.trim().parse::<u64>().ok();
    match (ours.and_then(number), number(value)) {
        (Some(ours), Some(value)) => !want.met_by(&State::is(pick(ours, value).to_string())),
        _ => false,
    }
}

fn describe(setting: &Setting, name: &str, more: usize) -> Conflict {
    let Setting { agent, file, line, .. } = setting;
    let key = setting.key.as_ref().map(|k| format!(" {k}")).unwrap_or_default();
    let to = match &setting.value {
        Some(value) => format!(" to {}", value.trim_start_matches(['>', '<'])),
        None => String::new(),
    };
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let place = if *line == 0 { file.clone() } else { format!("{file}:{line}") };
    let fix = match (line, agent.as_str()) {
        (_, "TuneD") => "nettune writes after TuneD's switch; a restart of TuneD undoes it".into(),
        (0, _) => format!("switch that off in {agent}, or verify reports drift after it"),
        _ => format!("take the line out of {file}, or verify reports drift after it"),
    };
    // All rules are flushed, and ours with them.
    let gone = setting.value.is_none() && (name.starts_with("nft:") || name.starts_with("flow:"));
    let sets = if gone { "takes away" } else { "sets" };
    let text = format!("{agent} {sets} {name}{key}{to}{more} {} ({place})", when(agent));
    Conflict { text, fix }
}

#[cfg(test)]
mod tests;
