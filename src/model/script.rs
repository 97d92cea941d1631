//! Changes as a POSIX shell script with the ordinary tools, for the reader who wants to see what is
//! done and for the node whose nettune is gone. nettune itself runs none of these commands.

use super::bpf::Hook;
use super::facts::Rss;
use super::state::fields;
use super::{AUTO, Change, Group, Resource, State, UnitAspect};

/// `plan --as script`.
pub fn plan_script(changes: &[Change]) -> String {
    let steps = changes.iter().map(|c| (c.resource.clone(), c.before.clone(), c.after.clone()));
    script("What nettune would do, with the ordinary tools.", steps)
}

/// `undo.sh`: from what we wrote back to the baseline.
pub fn undo_script(steps: &[(Resource, State, State)]) -> String {
    let title = "Puts back what nettune changed, for a node whose nettune is gone.\n\
                 # With nettune there, use: nettune rollback";
    script(title, steps.iter().cloned())
}

fn script(title: &str, steps: impl Iterator<Item = (Resource, State, State)>) -> String {
    let mut out = format!("#!/bin/sh\n# {title}\n# Run as root; each step stands alone.\nset -u\n");
    for (resource, from, to) in steps {
        let comment = format!("{resource}: {from} -> {to}");
        // A link or a file may hold anything: the comment must stay one line.
        out.push_str(&format!("\n# {}\n", comment.escape_debug()));
        out.push_str(&step(&resource, &to));
        out.push('\n');
    }
    out
}

/// One word of shell, whatever is in it.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

fn step(resource: &Resource, to: &State) -> String {
    let text = to.text().unwrap_or_default();
    let write = |path: &str| format!("printf '%s\\n' {} > {}", quote(text), quote(path));
    match resource {
        Resource::Sysctl { key } => match (text.strip_prefix("bytes="), key.strip_suffix("_ratio"))
        {
            (Some(bytes), Some(stem)) => {
                format!(
                    "printf '%s\\n' {} > {}",
                    quote(bytes),
                    quote(&format!("/proc/sys/{stem}_bytes"))
                )
            }
            _ => write(&format!("/proc/sys/{key}")),
        },
        Resource::Sysfs { path } => write(&format!("/sys/{path}")),
        Resource::Irq { vector, .. } => write(&format!("/proc/irq/{vector}/smp_affinity_list")),
        Resource::IrqDefault => write("/proc/irq/default_smp_affinity"),
        Resource::Mtu { link } => format!("ip link set dev {} mtu {}", quote(link), quote(text)),
        Resource::RouteMtu { link, route } => format!(
            "echo {} >&2",
            quote(&format!("route {route} of {link} had {text}: ip -6 route change ... {text}"))
        ),
        Resource::LinkSizes { link } => {
            let names = [
                ("gso", "gso_max_size"),
                ("gro", "gro_max_size"),
                ("gso_v4", "gso_ipv4_max_size"),
                ("gro_v4", "gro_ipv4_max_size"),
            ];
            let mut words = String::new();
            for (key, word) in names {
                if let Some(value) = to.field(key) {
                    words.push_str(&format!(" {word} {}", quote(value)));
                }
            }
            format!("ip link set dev {}{words}", quote(link))
        }
        Resource::Ethtool { link, group } => ethtool(link, *group, text),
        Resource::Rss { link } => rss(link, to),
        Resource::Qdisc { link } => qdisc(link, text),
        Resource::Unit { name, aspect } => unit(name, *aspect, text),
        Resource::Tuned => match to.field("profile") {
            Some(profile) if to.field("mode") == Some("manual") => {
                format!(
                    "tuned-adm profile {}",
                    profile.split('+').map(quote).collect::<Vec<_>>().join(" ")
                )
            }
            Some(_) => "tuned-adm auto_profile".to_string(),
            None => "tuned-adm off".to_string(),
        },
        Resource::IrqbalanceBans => {
            "systemctl try-restart irqbalance.service  # forgets the bans".into()
        }
        Resource::Nft { table } => match to {
            State::Absent => format!("nft delete table inet {}", quote(table)),
            _ => format!(
                "nft -f - <<'NETTUNE_END'\ntable inet {table} {{\n{}}}\nNETTUNE_END",
                nft(text)
            ),
        },
        Resource::Flow { link } => {
            let verb = if *to == State::Absent { "delete" } else { "add" };
            // A name between double quotes is a word of nft, whatever is in it.
            let link = format!("\"{}\"", link.replace('"', ""));
            let text = format!(
                "{verb} flowtable inet nettune-flow f {{ hook ingress priority 0; devices = {{ {link} }}; }}"
            );
            format!("nft {} 2> /dev/null || true  # gone with its table", quote(&text))
        }
        Resource::Bpf { link, hook } => bpf(link, *hook, to),
        Resource::File { path } => file(path, to),
    }
}

fn ethtool(link: &str, group: Group, text: &str) -> String {
    let flag = match group {
        Group::Channels => "-L",
        Group::Rings => "-G",
        Group::Features => "-K",
        Group::Coalesce => "-C",
    };
    let words: Vec<String> = fields(text)
        .filter(|(k, v)| !k.ends_with("-max") && *v != AUTO)
        .map(|(k, v)| format!("{} {}", quote(k), quote(v)))
        .collect();
    format!("ethtool {flag} {} {}", quote(link), words.join(" "))
}

/// A table of its own has no word of its own in ethtool: what it was is shown.
fn rss(link: &str, to: &State) -> String {
    let key: Vec<u8> = to.field("key").unwrap_or_default().bytes().collect();
    let pairs: Vec<String> =
        key.chunks(2).map(|pair| String::from_utf8_lossy(pair).into_owned()).collect();
    let link = quote(link);
    let mut set = format!("ethtool -X {link}");
    if !pairs.is_empty() {
        set.push_str(&format!(" hkey {}", quote(&pairs.join(":"))));
    }
    match to.field("table") {
        None | Some(Rss::DEFAULT) => format!("{set} default"),
        Some(Rss::RUNS) => {
            let ones = format!("$(printf '1 %.0s' /sys/class/net/{link}/queues/rx-*)");
            format!("{set} weight {ones}")
        }
        Some(table) => {
            let said = quote(&format!("RSS table of {link} was {table}"));
            match pairs.is_empty() {
                true => format!("echo {said} >&2"),
                false => format!("{set}\necho {said} >&2"),
            }
        }
    }
}

/// "default fq_codel", "fq horizon=2s", "mq fq".
fn qdisc(link: &str, text: &str) -> String {
    let dev = quote(link);
    match text.strip_prefix("default") {
        Some(_) => format!("tc qdisc delete dev {dev} root"),
        None => {
            let kind = text.split_whitespace().next().unwrap_or("fq");
            let mut out = format!("tc qdisc replace dev {dev} root {}", quote(kind));
            if kind == "mq" {
                out.push_str("  # its leaves are of today's net.core.default_qdisc");
            }
            out
        }
    }
}

fn unit(name: &str, aspect: UnitAspect, text: &str) -> String {
    let verb = match (aspect, text) {
        (UnitAspect::Active, "active") => "start",
        (UnitAspect::Active, _) => "stop",
        (UnitAspect::Enabled, "enabled") => "enable",
        (UnitAspect::Enabled, "masked") => "mask",
        (UnitAspect::Enabled, _) => "disable",
    };
    format!("systemctl {verb} {}", quote(name))
}

/// The folder is named by the link's number, which the shell asks for.
fn bpf(link: &str, hook: Hook, to: &State) -> String {
    let pins = format!(
        "/sys/fs/bpf/nettune/{hook}-\"$(cat {})\"",
        quote(&format!("/sys/class/net/{link}/ifindex"))
    );
    match (to, hook) {
        (State::Absent, Hook::Xdp) => format!("rm -rf {pins}"),
        (State::Absent, Hook::Ingress) => format!(
            "rm -rf {pins}; tc filter delete dev {link} ingress pref 50000 2> /dev/null || true",
            link = quote(link)
        ),
        _ => format!(
            "echo {} >&2",
            quote(&format!("nettune attaches a program to {link} at {hook}: {to}"))
        ),
    }
}

/// Our canonical lines in nft's own words.
fn nft(text: &str) -> String {
    let mut out = String::new();
    let mut chains: Vec<(&str, String)> = Vec::new();
    for line in text.lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            ["chain", name, "hook", hook, "priority", priority, ..] => chains.push((
                name,
                format!("    type filter hook {hook} priority {priority}; policy accept;\n"),
            )),
            ["flowtable", name, "hook", hook, "priority", priority] => out.push_str(&format!(
                "  flowtable {name} {{\n    hook {hook} priority {priority};\n  }}\n"
            )),
            ["rule", chain, ..] => {
                if let Some((_, body)) = chains.iter_mut().find(|(name, _)| *name == chain) {
                    body.push_str(&format!("    {}\n", words[2..].join(" ")));
                }
            }
            _ => {}
        }
    }
    for (name, body) in chains {
        out.push_str(&format!("  chain {name} {{\n{body}  }}\n"));
    }
    out
}

fn file(path: &str, to: &State) -> String {
    let path = quote(path);
    if to.text().is_some_and(|t| t.starts_with("folder ")) {
        return format!("mkdir -p {path}");
    }
    match to {
        State::Is(text) => {
            let (head, content) = text.split_once('\n').unwrap_or((text, ""));
            if let Some(target) = head.strip_prefix("link ") {
                return format!("ln -sfn {} {path}", quote(target));
            }
            let get = |key: &str| fields(head).find(|(k, _)| *k == key).map(|(_, v)| v);
            let mode = quote(get("mode").unwrap_or("0644"));
            let owner = quote(get("owner").unwrap_or("0:0"));
            format!(
                "printf '%s' {} > {path} && chmod {mode} {path} && chown {owner} {path}",
                quote(content)
            )
        }
        _ => {
            format!("if [ -d {path} ] && [ ! -L {path} ]; then rmdir {path}; else rm -f {path}; fi")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hostile_link_name_stays_one_word() {
        let mtu = Resource::Mtu { link: "a;$(id)'\n".into() };
        let text = undo_script(&[(mtu, State::is("9000"), State::is("1500"))]);
        assert!(text.contains("ip link set dev 'a;$(id)'\\''\n' mtu '1500'"), "{text}");
        let comments = text.lines().filter(|l| l.starts_with("# mtu:")).count();
        assert_eq!(comments, 1);
    }

    #[test]
    fn steps_use_the_ordinary_tools() {
        let step = |r: &str, s: State| step(&r.parse().unwrap(), &s);
        assert_eq!(
            step("sysctl:net.core.somaxconn", State::is("4096")),
            "printf '%s\\n' '4096' > '/proc/sys/net/core/somaxconn'"
        );
        assert_eq!(
            step("nft:nettune-notrack", State::Absent),
            "nft delete table inet 'nettune-notrack'"
        );
        assert_eq!(
            step("qdisc:eth0", State::is("default fq_codel")),
            "tc qdisc delete dev 'eth0' root"
        );
        assert_eq!(
            step("bpf:eth0/xdp", State::Absent),
            "rm -rf /sys/fs/bpf/nettune/xdp-\"$(cat '/sys/class/net/eth0/ifindex')\""
        );
        assert_eq!(
            step("sysctl:vm.dirty_ratio", State::is("bytes=4096")),
            "printf '%s\\n' '4096' > '/proc/sys/vm/dirty_bytes'"
        );
    }
}
