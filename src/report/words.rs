//! Changes as an operator says them. JSON, the journal, `plan` and -v have the canonical text.

use std::collections::BTreeSet;

use super::text::clean;
use crate::model::cpulist::{self, CpuSet};
use crate::model::{Change, Group, Impact, Resource, State, UnitAspect};

/// What it does to traffic.
pub fn impact(impact: Impact) -> &'static str {
    match impact {
        Impact::None => "no packet notices",
        Impact::NewFlows => "only new sockets or pods see it",
        Impact::Node => "how the whole machine is scheduled",
        Impact::LinkReset => "the link or its queues stop for a moment",
        Impact::Path => "the fabric must agree",
        Impact::Bypass => "packets go around netfilter",
    }
}

/// One change: "eth0 MTU 1500 -> 9000".
pub fn change(c: &Change) -> String {
    let (before, after) = c.resource.shown_both(&c.before, &c.after);
    let to = |what: &str| format!("{what} {before} -> {after}");
    let there = |what: &str, made: &str, gone: &str| match (&c.before, &c.after) {
        (_, State::Absent) => format!("{what} {gone}"),
        (State::Absent, _) => format!("{what} {made}"),
        _ => format!("{what} changed"),
    };
    let text = match &c.resource {
        Resource::Sysctl { .. } => to(&sysctl(&c.resource.to_string())),
        Resource::Sysfs { path } => to(&sysfs(path)),
        Resource::Mtu { link } => to(&format!("{link} MTU")),
        Resource::RouteMtu { link, route } => to(&format!("{link} MTU of route {route}")),
        Resource::LinkSizes { link } => pairs(&format!("{link} sizes"), &before, &after),
        Resource::Ethtool { link, group } => {
            let plain = group.name();
            pairs(
                &format!("{link} {}", if *group == Group::Features { "offloads" } else { plain }),
                &before,
                &after,
            )
        }
        Resource::Rss { link } => there(&format!("{link} RSS"), "set", "gone"),
        Resource::Qdisc { link } => to(&format!("{link} qdisc")),
        Resource::Irq { link, vector } => to(&format!("{link} vector {vector}, CPUs")),
        Resource::IrqDefault => to("CPUs of later vectors"),
        Resource::IrqbalanceBans => format!("irqbalance leaves alone {after}"),
        Resource::Tuned => match c.after.field("profile") {
            Some(profile) => format!("TuneD profile {}", profile.replace('+', " ")),
            None => to("TuneD profile"),
        },
        Resource::Unit { name, aspect: UnitAspect::Active | UnitAspect::Enabled } => to(name),
        Resource::Nft { table } => there(&format!("table {table}"), "made", "taken away"),
        Resource::Flow { link } => there(&format!("{link}: flows by the flowtable"), "on", "off"),
        Resource::Bpf { link, hook } => there(&format!("{link} program at {hook}"), "on", "off"),
        Resource::File { path } => there(path, "written", "taken away"),
    };
    clean(&text)
}

/// Without the folders that everybody knows.
fn sysctl(name: &str) -> String {
    let key = name.trim_start_matches("sysctl:");
    let short = ["net.core.", "net.ipv4."].iter().find_map(|folder| key.strip_prefix(folder));
    short.filter(|rest| !rest.contains('.')).unwrap_or(key).to_string()
}

fn sysfs(path: &str) -> String {
    let parts: Vec<&str> = path.split('/').collect();
    match parts[..] {
        ["class", "net", link, "queues", queue, file] => format!("{link} {queue} {file}"),
        ["class", "net", link, file] => format!("{link} {file}"),
        [.., cpu, "cpufreq", file] => format!("{cpu} {file}"),
        _ => format!("/sys/{path}"),
    }
}

/// "eth0 channels combined 8 -> 4, rx 0 -> 2" of pairs that differ.
fn pairs(what: &str, before: &str, after: &str) -> String {
    let all = |text: &str| -> Vec<(String, String)> {
        let pairs = text.split_whitespace().filter_map(|pair| pair.split_once('='));
        pairs.map(|(key, value)| (key.to_string(), value.to_string())).collect()
    };
    let (before_all, after_all) = (all(before), all(after));
    let same = before_all.len() == after_all.len() && !after_all.is_empty();
    if !same {
        return format!("{what} {before} -> {after}");
    }
    let one = |((key, was), (_, is)): (&(String, String), &(String, String))| match is.as_str() {
        "on" | "off" => format!("{key} {is}"),
        _ => format!("{key} {was} -> {is}"),
    };
    let both = before_all.iter().zip(&after_all).filter(|(was, is)| was != is);
    let words: Vec<String> = both.map(one).collect();
    format!("{what} {}", words.join(", "))
}

/// Several in one line: alike ones by their number, else the first.
pub fn changes(all: &[&Change]) -> Option<String> {
    let (first, rest) = all.split_first()?;
    if rest.is_empty() {
        return Some(change(first));
    }
    let links: BTreeSet<&str> = all.iter().filter_map(|c| c.resource.link()).collect();
    let of = || match links.iter().collect::<Vec<_>>()[..] {
        [one] => one.to_string(),
        ref several => format!("{} links", several.len()),
    };
    let cpus = || {
        let sets = all.iter().filter_map(|c| cpulist::parse(c.after.text()?));
        sets.fold(CpuSet::default(), |all, set| all.or(&set))
    };
    let alike = |is: fn(&Resource) -> bool| all.iter().all(|c| is(&c.resource));
    let queue =
        |r: &Resource, file: &str| matches!(r, Resource::Sysfs { path } if path.ends_with(file));
    Some(if alike(|r| matches!(r, Resource::Irq { .. })) {
        let cpus = cpulist::format(cpus().iter());
        clean(&format!("{} vectors of {} on CPUs {cpus}", all.len(), of()))
    } else if all.iter().all(|c| queue(&c.resource, "/xps_cpus")) {
        clean(&format!("XPS of {} queues of {}", all.len(), of()))
    } else if alike(|r| matches!(r, Resource::Mtu { .. })) {
        let sizes: BTreeSet<&str> = all.iter().filter_map(|c| c.after.text()).collect();
        let sizes = sizes.into_iter().collect::<Vec<_>>().join(", ");
        clean(&format!("MTU {sizes} on {}", of()))
    } else {
        // Many of one kind say more than whichever is the first.
        let is_irq = |c: &&&Change| matches!(c.resource, Resource::Irq { .. });
        let (irqs, others): (Vec<&Change>, Vec<&Change>) = all.iter().partition(is_irq);
        let many = (irqs.len() > others.len()).then(|| changes(&irqs)).flatten();
        match many {
            Some(many) if !others.is_empty() => format!("{many}, and {} more", others.len()),
            _ => format!("{}, and {} more", change(first), rest.len()),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Claims;

    fn of(resource: &str, before: State, after: State) -> Change {
        Change {
            resource: resource.parse().unwrap(),
            before,
            after,
            impact: Impact::None,
            claims: Claims::new(),
            tweaks: Vec::new(),
        }
    }

    #[test]
    fn one_change_as_it_is_said() {
        let is = |resource, before: &str, after: &str| {
            change(&of(resource, State::is(before), State::is(after)))
        };
        assert_eq!(is("mtu:eth0", "1500", "9000"), "eth0 MTU 1500 -> 9000");
        assert_eq!(
            is("ethtool:eth0/channels", "rx=0 combined=8", "rx=0 combined=4"),
            "eth0 channels combined 8 -> 4"
        );
        assert_eq!(
            is("ethtool:eth0/features", "tso=on lro=on", "tso=on lro=off"),
            "eth0 offloads lro off"
        );
        assert_eq!(is("sysctl:net.ipv4.tcp_fastopen", "1", "3"), "tcp_fastopen 1 -> 3");
        assert_eq!(
            is("sysctl:net.ipv6.conf.all.forwarding", "0", "1"),
            "net.ipv6.conf.all.forwarding 0 -> 1"
        );
        assert_eq!(
            is("sysfs:class/net/eth0/queues/tx-0/xps_cpus", "0", "3"),
            "eth0 tx-0 xps_cpus 0 -> 3"
        );
        assert_eq!(
            is("tuned:profile", "profile=a mode=manual", "profile=b+c mode=manual"),
            "TuneD profile b c"
        );
        let on = of("bpf:eth0/ingress", State::Absent, State::is("object=host_routing"));
        assert_eq!(change(&on), "eth0 program at ingress on");
        let gone = of("nft:nettune-notrack", State::is("chain"), State::Absent);
        assert_eq!(change(&gone), "table nettune-notrack taken away");
    }

    #[test]
    fn many_alike_are_a_number() {
        let irq =
            |n: u32, cpu: &str| of(&format!("irq:eth0/{n}"), State::is("0-3"), State::is(cpu));
        let all = [irq(30, "0"), irq(31, "1"), irq(32, "3")];
        let all: Vec<&Change> = all.iter().collect();
        assert_eq!(changes(&all).unwrap(), "3 vectors of eth0 on CPUs 0-1,3");
        let two = [
            of("mtu:a", State::is("1500"), State::is("9000")),
            of("mtu:b", State::is("1400"), State::is("9000")),
        ];
        assert_eq!(changes(&two.iter().collect::<Vec<_>>()).unwrap(), "MTU 9000 on 2 links");
        let mixed = [irq(30, "0"), two[0].clone()];
        assert_eq!(
            changes(&mixed.iter().collect::<Vec<_>>()).unwrap(),
            "eth0 vector 30, CPUs 0-3 -> 0, and 1 more"
        );
        assert_eq!(changes(&[]), None);
    }
}
