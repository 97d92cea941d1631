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
mod tests {
    use super::*;
    use crate::model::{Impact, Resource};

    fn setting(resource: &str, key: Option<&str>, value: Option<&str>) -> Setting {
        Setting {
            agent: "systemd-sysctl".into(),
            file: "/etc/sysctl.d/90.conf".into(),
            line: 3,
            resource: resource.into(),
            key: key.map(str::to_string),
            value: value.map(str::to_string),
        }
    }

    fn of(want: Want, settings: &[Setting]) -> Vec<String> {
        let resource: Resource = "sysctl:net.core.somaxconn".parse().unwrap();
        let wish = [Desired::new(resource, want, Impact::None)];
        conflicts(&wish, settings.iter()).into_iter().map(|c| c.text).collect()
    }

    #[test]
    fn only_what_is_not_wished_is_a_conflict() {
        let low = [setting("sysctl:net.core.somaxconn", None, Some("128"))];
        let at_least = || Want::AtLeast("4096".into());
        assert_eq!(
            of(at_least(), &low),
            ["systemd-sysctl sets sysctl:net.core.somaxconn to 128 at boot and whenever it is \
              restarted (/etc/sysctl.d/90.conf:3)"]
        );
        let high = [setting("sysctl:net.core.somaxconn", None, Some("8192"))];
        assert!(of(at_least(), &high).is_empty());
        let floor = [setting("sysctl:net.core.somaxconn", None, Some(">2048"))];
        assert!(of(at_least(), &floor).is_empty());
        assert_eq!(of(Want::is("1024"), &floor).len(), 1);
        assert!(of(Want::is("4096"), &floor).is_empty());
        let most = [setting("sysctl:net.core.somaxconn", None, Some("<2048"))];
        assert_eq!(
            (of(at_least(), &most).len(), of(Want::AtMost("64".into()), &most).len()),
            (1, 0)
        );
        let quoted = [setting("sysctl:net.core.somaxconn", None, Some(">1 2"))];
        assert!(of(Want::is("1"), &quoted).is_empty());
        let any = [setting("sysctl:net.core.*", None, None)];
        assert_eq!(of(at_least(), &any).len(), 1);
        assert!(of(at_least(), &[setting("sysctl:net.core.rmem_max", None, None)]).is_empty());
    }

    #[test]
    fn a_named_key_is_left_out_of_a_pattern() {
        let pattern = || setting("sysctl:net.core.*", None, Some("128"));
        let named = setting("sysctl:net.core.somaxconn", None, Some("4096"));
        assert!(of(Want::is("4096"), &[pattern(), named]).is_empty());
        assert_eq!(of(Want::is("4096"), &[pattern()]).len(), 1);
    }

    #[test]
    fn a_flush_takes_away() {
        let flush = Setting {
            agent: "nftables.service".into(),
            file: "/etc/nftables.conf".into(),
            line: 2,
            resource: "nft:nettune-*".into(),
            ..Setting::default()
        };
        let resource: Resource = "nft:nettune-notrack".parse().unwrap();
        let wish = [Desired::new(resource, Want::is("x"), Impact::None)];
        let told = conflicts(&wish, [flush].iter());
        assert_eq!(
            told[0].text,
            "nftables.service takes away nft:nettune-notrack when it starts or reloads \
             (/etc/nftables.conf:2)"
        );
    }

    #[test]
    fn keys_of_a_group_are_told_apart() {
        let resource: Resource = "ethtool:eth0/rings".parse().unwrap();
        let want = Want::field("rx", Want::AtLeast("4096".into()));
        let wish = [Desired::new(resource, want, Impact::None)];
        let one = |key| [setting("ethtool:eth0/rings", Some(key), Some("512"))];
        assert_eq!(conflicts(&wish, one("rx").iter()).len(), 1);
        assert_eq!(conflicts(&wish, one("tx").iter()).len(), 0);
    }
}
