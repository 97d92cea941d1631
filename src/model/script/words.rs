//! The shell's words for one change, by kind.

use super::forms::{bpf, by_default, file, flow, nft, qdisc, quote, tuned, unit};
use super::step::{Disturbed, Step};
use crate::model::bpf::Hook;
use crate::model::facts::Rss;
use crate::model::state::{field, fields};
use crate::model::typed::qdisc::Qdisc;
use crate::model::typed::tuned::Profile;
use crate::model::{AUTO, Group, Resource, State, typed};

/// Once the last program is gone, what they shared.
pub const NO_PROGRAMS: &str = "set +f
set -- /sys/fs/bpf/nettune/ingress-* /sys/fs/bpf/nettune/xdp-*
set -f
[ -e \"$1\" ] || [ -e \"${2:-}\" ] || rm -rf /sys/fs/bpf/nettune
";

/// `variable` holds the present name of a resource's link.
pub fn step(step: &Step, variable: impl Fn(&Resource) -> String) -> Vec<String> {
    let link = variable(&step.resource);
    let mut lines = before(step, &link, &variable);
    lines.push(words(step, &link));
    lines.extend(after(step, &link, variable));
    lines
}

/// What the shell itself keeps before a change that makes queues anew, and gives back after it.
fn queues(resource: &Resource) -> bool {
    matches!(
        resource,
        Resource::Ethtool { group: Group::Channels, .. } | Resource::Bpf { hook: Hook::Xdp, .. }
    )
}

fn before(step: &Step, link: &str, variable: impl Fn(&Resource) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    // Asked before the change, which may write it as well.
    for (at, disturbed) in step.disturbed.iter().enumerate().filter(|(_, d)| asked(d)) {
        let other = variable(&disturbed.resource);
        let Some(file) = one_value(&disturbed.resource, &other) else { continue };
        let line = format!("held {at} {file}{}", all(&disturbed.ours));
        lines.push(elsewhere(link, &other, line));
    }
    if queues(&step.resource) {
        lines.push(format!("queues \"${link}\""));
    }
    let kept = |d: &&Disturbed| d.to.is_none() && link_less_file(&d.resource);
    let files = step.disturbed.iter().filter(kept).filter_map(|d| path(&d.resource, link));
    lines.extend(files.map(|file| format!("keep {file}")));
    lines
}

/// A file that is no queue's: the default qdisc is seen to where a qdisc is made.
fn link_less_file(resource: &Resource) -> bool {
    match resource {
        Resource::Sysfs { .. } => resource.link().is_none(),
        Resource::Sysctl { key } => resource.link().is_none() && key != "net/core/default_qdisc",
        _ => false,
    }
}

/// Whether it is asked if what is disturbed is still as we left it.
fn asked(disturbed: &Disturbed) -> bool {
    disturbed.to.is_some() && !disturbed.ours.is_empty()
}

/// Only where the other link is there.
fn elsewhere(link: &str, other: &str, line: String) -> String {
    if other != link && !other.is_empty() { format!("[ -z \"${other}\" ] || {line}") } else { line }
}

/// As [`path`], and a link's MTU.
fn one_value(resource: &Resource, link: &str) -> Option<String> {
    match resource {
        Resource::Mtu { .. } => Some(format!("\"/sys/class/net/${link}/mtu\"")),
        _ => path(resource, link),
    }
}

fn all(states: &[State]) -> String {
    states.iter().filter_map(State::text).map(|text| format!(" {}", quote(text))).collect()
}

fn after(step: &Step, link: &str, variable: impl Fn(&Resource) -> String) -> Vec<String> {
    let mut lines = Vec::new();
    let held = |d: &Disturbed| asked(d) && one_value(&d.resource, "").is_some();
    let keeps = queues(&step.resource)
        || step.disturbed.iter().any(held)
        || step.disturbed.iter().any(|d| d.to.is_none() && link_less_file(&d.resource));
    if keeps {
        lines.push("again".to_string());
    }
    for (at, disturbed) in step.disturbed.iter().enumerate() {
        match (&disturbed.to, &disturbed.resource, disturbed.now.text()) {
            (Some(to), resource, _) => {
                let other = variable(resource);
                // The change itself has just written the file: what is there now is nobody's edit.
                let now = match resource {
                    Resource::File { .. } => State::Absent,
                    _ => disturbed.now.clone(),
                };
                let (resource, to, none) = (resource.clone(), to.clone(), Vec::new());
                let back = Step { resource, from: now, to, ours: Vec::new(), disturbed: none };
                let line = words(&back, &other);
                let line = match held(disturbed) {
                    true => format!("[ -z \"${{mine{at}:-}}\" ] || {line}"),
                    false => line,
                };
                lines.push(elsewhere(link, &other, line));
            }
            (None, Resource::Qdisc { .. }, Some(text)) => {
                if let Some(words) = by_default(text).filter(|words| words != "'noqueue'") {
                    lines.push(format!("fresh_qdisc \"${link}\" {words}"));
                }
            }
            (None, Resource::Rss { .. }, Some(_)) => lines.push(rss(link, &disturbed.now)),
            (None, Resource::Ethtool { group: Group::Coalesce, .. }, Some(text)) => {
                lines.extend(ethtool(link, Group::Coalesce, "", text));
            }
            _ => {}
        }
    }
    lines
}

/// Where a value is a file, its path as one word.
fn path(resource: &Resource, link: &str) -> Option<String> {
    /// No name of a link holds it.
    const MARK: &str = "/";
    let named = resource.renamed(MARK);
    let full = match &named {
        Resource::Sysctl { key } => format!("/proc/sys/{key}"),
        Resource::Sysfs { path } => format!("/sys/{path}"),
        Resource::Irq { vector, .. } => format!("/proc/irq/{vector}/smp_affinity_list"),
        Resource::IrqDefault => "/proc/irq/default_smp_affinity".to_string(),
        _ => return None,
    };
    Some(match full.split_once("///") {
        Some((head, tail)) => {
            format!("{}\"${link}\"{}", quote(&format!("{head}/")), quote(&format!("/{tail}")))
        }
        None => quote(&full),
    })
}

fn words(step: &Step, link: &str) -> String {
    let (resource, to) = (&step.resource, &step.to);
    let text = to.text().unwrap_or_default();
    let ours = all(&step.ours);
    if let Some(path) = path(resource, link) {
        if let Some((path, text)) = either_or(resource, to) {
            return format!("put {path} {}", quote(text));
        }
        // irqbalance may have moved it since.
        let ours = if matches!(resource, Resource::Irq { .. }) { "" } else { &ours };
        return format!("put {path} {}{ours}", quote(text));
    }
    match resource {
        Resource::Mtu { .. } => format!("mtu \"${link}\" {}{ours}", quote(text)),
        Resource::RouteMtu { route, .. } => {
            let words: Vec<String> = route.split(' ').map(quote).collect();
            format!("route_mtu \"${link}\" {} {}", quote(text), words.join(" "))
        }
        Resource::LinkSizes { .. } => asking(sizes_ours(link, &step.ours), sizes(link, to)),
        Resource::Ethtool { group, .. } => {
            let from = step.from.text().unwrap_or_default();
            let written = ethtool(link, *group, from, text).unwrap_or_else(|| ":".into());
            asking(ethtool_ours(link, *group, from, text, &step.ours), written)
        }
        Resource::Rss { .. } => rss(link, to),
        Resource::Qdisc { .. } => asking(qdisc_ours(link, &step.ours), qdisc(link, text)),
        Resource::Unit { name, aspect } => unit(name, *aspect, text),
        Resource::Tuned => asking(tuned_ours(&step.ours), tuned(to)),
        Resource::IrqbalanceBans => {
            "systemctl try-restart irqbalance.service  # forgets the bans".into()
        }
        Resource::Nft { table } => nft(table, to, &step.ours),
        Resource::Flow { .. } => flow(link, to),
        Resource::Bpf { hook, .. } => bpf(link, *hook, to),
        Resource::File { path } => file(path, &step.from, to),
        Resource::Sysctl { .. }
        | Resource::Sysfs { .. }
        | Resource::Irq { .. }
        | Resource::IrqDefault => String::new(),
    }
}

/// Nothing is overwritten that is not ours.
fn asking(ours: Option<String>, write: String) -> String {
    match ours {
        Some(ours) => format!("if {ours}; then\n{write}\nfi"),
        None => write,
    }
}

/// Each key that is written with all values of ours.
fn keys_ours<'a>(
    written: impl Iterator<Item = &'a str>,
    ours: &[State],
    word: impl Fn(&'a str, &str) -> (String, String),
) -> Option<String> {
    let mut words = String::new();
    for key in written {
        let values: Vec<(String, String)> =
            ours.iter().filter_map(|state| state.field(key)).map(|v| word(key, v)).collect();
        let Some((name, _)) = values.first() else { continue };
        let values: Vec<&str> = values.iter().map(|(_, value)| value.as_str()).collect();
        words += &format!(" {} {}", quote(name), quote(&values.join(" ")));
    }
    (!words.is_empty()).then_some(words)
}

fn ethtool_ours(link: &str, group: Group, from: &str, to: &str, ours: &[State]) -> Option<String> {
    let words = keys_ours(differing(from, to).map(|(key, _)| key), ours, |key, value| {
        let (key, value) = ethtool_words(group, key, value);
        (key.to_string(), value.to_string())
    })?;
    Some(format!("ethtool_ours {} \"${link}\"{words}", group.row().options[0]))
}

fn sizes_ours(link: &str, ours: &[State]) -> Option<String> {
    let name = |key: &str| SIZES.iter().find(|(ours, _)| *ours == key).map_or("", |(_, ips)| *ips);
    let words = keys_ours(SIZES.iter().map(|(key, _)| *key), ours, |key, value| {
        (name(key).to_string(), value.to_string())
    })?;
    Some(format!("sizes_ours \"${link}\"{words}"))
}

fn tuned_ours(ours: &[State]) -> Option<String> {
    let profiles = ours.iter().filter_map(typed::of::<Profile>);
    let profiles: Vec<String> = profiles.map(|p| quote(&p.spaced())).collect();
    (!profiles.is_empty()).then(|| format!("tuned_ours {}", profiles.join(" ")))
}

/// By the kind at the root: the options of one of ours are nobody's to change but ours.
fn qdisc_ours(link: &str, ours: &[State]) -> Option<String> {
    let root = |state: &State| {
        let qdisc = typed::of::<Qdisc>(state)?;
        Some(quote(if qdisc.multi { "mq" } else { &qdisc.kind }))
    };
    let kinds: Vec<String> = ours.iter().filter_map(root).collect();
    (!kinds.is_empty()).then(|| format!("qdisc_ours \"${link}\" {}", kinds.join(" ")))
}

const SIZES: [(&str, &str); 4] = [
    ("gso", "gso_max_size"),
    ("gro", "gro_max_size"),
    ("gso_v4", "gso_ipv4_max_size"),
    ("gro_v4", "gro_ipv4_max_size"),
];

/// Of the two keys of which the kernel zeroes the other, the one that counts.
fn either_or<'a>(resource: &Resource, to: &'a State) -> Option<(String, &'a str)> {
    let Resource::Sysctl { key } = resource else { return None };
    let (bytes, stem) = (to.field("bytes")?, key.strip_suffix("_ratio")?);
    Some((quote(&format!("/proc/sys/{stem}_bytes")), bytes))
}

/// The IPv6 pair first: the kernel lets it overwrite the other where it changes and is 65536 or less.
/// Versions of ip before 6.3 do not know the IPv4 pair and refuse the whole line with it.
fn sizes(link: &str, to: &State) -> String {
    let [gso, gro, gso_v4, gro_v4] = SIZES;
    let (pair_v6, pair_v4) = ([gso, gro], [gso_v4, gro_v4]);
    let number = |key: &str| to.field(key).and_then(|v| v.parse::<u32>().ok());
    let pair = |names: [(&str, &str); 2], less: u32| -> String {
        let word = |(key, word): (&str, &str)| {
            number(key).map(|value| format!(" {word} '{}'", value.saturating_sub(less)))
        };
        names.into_iter().filter_map(word).collect()
    };
    let set = |words: &str| format!("ip link set dev \"${link}\"{words}");
    let bad = |words: &str| format!("bad \"sizes of ${link}:\" {}", quote(words.trim()));
    let (v6, v4) = (pair(pair_v6, 0), pair(pair_v4, 0));
    let mut out = format!("{} || {}", set(&v6), bad(&v6));
    if !v4.is_empty() {
        let follows =
            |a: &str, b: &str| number(a) == number(b) && number(a).is_some_and(|v| v <= 65536);
        let or = match follows("gso", "gso_v4") && follows("gro", "gro_v4") {
            // A change and its way back take the other pair along.
            true => format!("{{ {} && {}; }} || {}", set(&pair(pair_v6, 1)), set(&v6), bad(&v4)),
            false => bad(&format!("{v4} (ip from 6.3 on can)")),
        };
        out.push_str(&format!("\n{} 2> /dev/null ||\n    {or}", set(&v4)));
    }
    out
}

/// ethtool's own words for what its netlink family calls otherwise; booleans are on and off to it.
fn ethtool_words<'a>(group: Group, key: &'a str, value: &'a str) -> (&'a str, &'a str) {
    let row = group.row();
    let spelled = row.spelled.iter().find(|(ours, _)| *ours == key).map_or(key, |(_, its)| *its);
    match (row.switches.contains(&key), value) {
        (true, "1") => (spelled, "on"),
        (true, "0") => (spelled, "off"),
        _ => (spelled, value),
    }
}

/// Only what differs, as the driver may refuse a line that names what it does not have.
fn differing<'a>(from: &'a str, to: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
    fields(to).filter(move |(k, v)| !k.ends_with("-max") && *v != AUTO && field(from, k) != Some(v))
}

fn ethtool(link: &str, group: Group, from: &str, to: &str) -> Option<String> {
    let flag = group.row().options[0];
    let words: Vec<String> = differing(from, to)
        .map(|(k, v)| ethtool_words(group, k, v))
        .map(|(k, v)| format!("{} {}", quote(k), quote(v)))
        .collect();
    (!words.is_empty()).then(|| format!("ethtool_set {flag} \"${link}\" {}", words.join(" ")))
}

fn rss(link: &str, to: &State) -> String {
    let Some(rss) = typed::of::<Rss>(to) else {
        return format!("bad \"RSS of ${link}\" 'what it was is not known'");
    };
    let pairs: Vec<String> = rss
        .key
        .as_bytes()
        .chunks(2)
        .map(|pair| String::from_utf8_lossy(pair).into_owned())
        .collect();
    format!("rss \"${link}\" {} {}", quote(&pairs.join(":")), quote(&rss.table))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn step(resource: &str, from: State, to: State) -> String {
        let resource = resource.parse().unwrap();
        words(&Step { resource, from, to, ours: Vec::new(), disturbed: Vec::new() }, "L2")
    }

    #[test]
    fn steps_use_the_ordinary_tools() {
        let to = |r: &str, s: State| step(r, State::Absent, s);
        assert_eq!(
            to("sysctl:net.core.somaxconn", State::is("4096")),
            "put '/proc/sys/net/core/somaxconn' '4096'"
        );
        assert_eq!(
            to("sysctl:net/ipv6/conf/e0.100/mtu", State::is("1400")),
            "put '/proc/sys/net/ipv6/conf/'\"$L2\"'/mtu' '1400'"
        );
        assert_eq!(
            to("qdisc:eth0", State::is("default mq fq_codel quantum=1514")),
            "default_qdisc \"$L2\" 'fq_codel' '1514'"
        );
        assert_eq!(
            to("qdisc:eth0", State::is("default fq_codel")),
            "default_qdisc \"$L2\" 'fq_codel'"
        );
        assert_eq!(to("bpf:eth0/xdp", State::Absent), "rm -rf /sys/fs/bpf/nettune/xdp-2");
        assert_eq!(
            to("sysctl:vm.dirty_ratio", State::is("bytes=4096")),
            "put '/proc/sys/vm/dirty_bytes' '4096'"
        );
    }

    #[test]
    fn a_table_that_a_driver_makes_anew_is_put_back() {
        let rss = "rss:eth0".parse().unwrap();
        let now = State::is("hash=1 key=0a0b table=default");
        let disturbed = vec![Disturbed { resource: rss, now, to: None, ours: Vec::new() }];
        let resource = "ethtool:eth0/channels".parse().unwrap();
        let (from, to) = (State::is("combined=2"), State::is("combined=8"));
        let lines =
            super::step(&Step { resource, from, to, ours: Vec::new(), disturbed }, |_| "L2".into());
        assert_eq!(lines.last().unwrap(), "rss \"$L2\" '0a:0b' 'default'");
    }

    #[test]
    fn a_file_that_the_change_itself_writes_is_nobodys_edit() {
        let file = |text: &str| State::is(format!("mode=0644 owner=0:0\n{text}"));
        let resource = "file:/etc/tuned/bootcmdline".parse().unwrap();
        let (now, to, ours) = (file("b\n"), Some(file("a\n")), Vec::new());
        let disturbed = vec![Disturbed { resource, now, to, ours }];
        let (from, to) = (State::is("profile=x mode=manual"), State::is("profile=y mode=manual"));
        let tuned = Step { resource: Resource::Tuned, from, to, ours: Vec::new(), disturbed };
        let lines = super::step(&tuned, |_| String::new());
        assert!(lines.last().unwrap().starts_with("printf '%s' 'a\n' > '/etc/tuned"), "{lines:?}");
    }

    #[test]
    fn ethtool_is_told_what_differs_in_its_own_words() {
        let told = |group: &str, from: &str, to: &str| {
            step(&format!("ethtool:eth0/{group}"), State::is(from), State::is(to))
        };
        assert_eq!(
            told(
                "coalesce",
                "adaptive-rx=1 rx-usecs=auto cqe-rx=1 tx-usecs=8",
                "adaptive-rx=0 rx-usecs=3 cqe-rx=0 tx-usecs=8"
            ),
            "ethtool_set -C \"$L2\" 'adaptive-rx' 'off' 'rx-usecs' '3' 'cqe-mode-rx' 'off'"
        );
        assert_eq!(
            told("rings", "rx=1024 tx=512", "rx=256 tx=512"),
            "ethtool_set -G \"$L2\" 'rx' '256'"
        );
        assert_eq!(
            told("pause", "autoneg=0 rx=1 tx=0", "autoneg=1 rx=0 tx=1"),
            "ethtool_set -A \"$L2\" 'autoneg' 'on' 'rx' 'off' 'tx' 'on'"
        );
        assert_eq!(told("features", "tso=on", "tso=on"), ":");
    }

    #[test]
    fn the_ipv4_sizes_have_a_line_of_their_own() {
        let text = step(
            "sizes:eth0",
            State::Absent,
            State::is("gso=65536 gro=65536 gso_v4=65536 gro_v4=65536"),
        );
        let lines: Vec<&str> = text.lines().collect();
        assert!(lines[0].starts_with(
            "ip link set dev \"$L2\" gso_max_size '65536' gro_max_size '65536' || bad"
        ));
        assert!(lines[1].contains("gro_ipv4_max_size '65536' 2> /dev/null ||"), "{text}");
        assert!(
            lines[2].contains("gso_max_size '65535' gro_max_size '65535' && ip link"),
            "{text}"
        );
        let text = step(
            "sizes:eth0",
            State::Absent,
            State::is("gso=65536 gro=65536 gso_v4=1000 gro_v4=65536"),
        );
        assert!(text.lines().nth(2).unwrap().contains("6.3"), "{text}");
    }
}
