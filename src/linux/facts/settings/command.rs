//! Commands of a shell that set what nettune could set, as hooks of ifupdown and ifcfg files have them.

use super::spread::Set;
use super::text;
use crate::model::Resource;
use crate::model::group::{GROUPS, Row};

/// `ip link`'s words for the sizes.
const SIZES: [(&str, &str); 4] = [
    ("gso_max_size", "gso"),
    ("gro_max_size", "gro"),
    ("gso_ipv4_max_size", "gso_v4"),
    ("gro_ipv4_max_size", "gro_v4"),
];

/// What the commands of one line set. `$IFACE` and its like are `link`.
pub fn sets(file: &str, line: u32, text: &str, link: &str) -> Vec<Set> {
    let mut found = Vec::new();
    let mut add = |resource: String, key: Option<String>, value: Option<String>| {
        // A variable is the shell's to work out.
        let value = value.filter(|v| !v.contains('$'));
        found.push(Set { file: file.to_string(), line, resource, key, value });
    };
    for command in words(text, link) {
        let program = |word: &String| word.rsplit('/').next().unwrap_or_default().to_string();
        let known = ["ethtool", "ip", "ifconfig", "sysctl", "tc", "nft", "echo"];
        let Some(at) = command.iter().position(|word| known.contains(&program(word).as_str()))
        else {
            continue;
        };
        let words: Vec<&str> = command[at + 1..].iter().map(String::as_str).collect();
        match program(&command[at]).as_str() {
            "ethtool" => ethtool(&words, &mut add),
            "ip" => ip(&words, &mut add),
            "ifconfig" => {
                if let (Some(link), Some(mtu)) = (words.first(), after(&words, "mtu")) {
                    add(format!("mtu:{link}"), None, Some(mtu.to_string()));
                }
            }
            "sysctl" => {
                for (key, value) in words.iter().filter_map(|word| word.split_once('=')) {
                    add(Resource::sysctl(key).to_string(), None, Some(text::numbers(value)));
                }
            }
            "tc" => {
                let sets = words.iter().any(|w| matches!(*w, "add" | "replace" | "change"));
                if let Some(link) = after(&words, "dev").filter(|_| sets && words.contains(&"root"))
                {
                    add(format!("qdisc:{link}"), None, None);
                }
            }
            "nft" if words.windows(2).any(|w| w == ["flush", "ruleset"]) => {
                for resource in super::nftables::OURS {
                    add(resource.to_string(), None, None);
                }
            }
            "echo" => {
                let to = after(&words, ">").or(after(&words, ">>"));
                let value =
                    words.iter().take_while(|w| !w.starts_with('>')).filter(|w| **w != "-n");
                let value = value.copied().collect::<Vec<_>>().join(" ");
                if let Some(resource) = to.and_then(resource) {
                    add(resource, None, Some(value));
                }
            }
            _ => {}
        }
    }
    found
}

/// The resource that is a file of /proc/sys or /sys.
fn resource(path: &str) -> Option<String> {
    match (path.strip_prefix("/proc/sys/"), path.strip_prefix("/sys/")) {
        (Some(key), _) => Some(Resource::sysctl(key).to_string()),
        (_, Some(path)) => Some(format!("sysfs:{path}")),
        _ => None,
    }
}

fn after<'a>(words: &[&'a str], word: &str) -> Option<&'a str> {
    words.iter().position(|w| *w == word).and_then(|at| words.get(at + 1)).copied()
}

fn ethtool(words: &[&str], add: &mut impl FnMut(String, Option<String>, Option<String>)) {
    let [flag, link, pairs @ ..] = words else { return };
    if matches!(*flag, "-X" | "--set-rxfh-indir" | "--rxfh") {
        return add(format!("rss:{link}"), None, None);
    }
    let sets = |row: &&&Row| row.options.iter().any(|option| option == flag);
    let Some(Row { name: group, .. }) = GROUPS.iter().find(sets) else { return };
    for pair in pairs.chunks_exact(2) {
        let (key, value) = text::field(group, pair[0], pair[1]);
        add(format!("ethtool:{link}/{group}"), Some(key), value);
    }
}

/// ip link set [dev] NAME mtu N ...
fn ip(words: &[&str], add: &mut impl FnMut(String, Option<String>, Option<String>)) {
    let link = words.iter().position(|w| matches!(*w, "link" | "l" | "li"));
    let Some(["set" | "s", rest @ ..]) = link.map(|at| &words[at + 1..]) else { return };
    let Some(link) = after(rest, "dev").or(rest.first().copied()) else { return };
    if let Some(mtu) = after(rest, "mtu") {
        add(format!("mtu:{link}"), None, Some(mtu.to_string()));
    }
    for (word, key) in SIZES {
        if let Some(size) = after(rest, word) {
            add(format!("sizes:{link}"), Some(key.to_string()), Some(size.to_string()));
        }
    }
}

/// The words of each command, without quotes.
fn words(text: &str, link: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let (mut word, mut quote, mut quoted) = (String::new(), None, false);
    let mut chars = text.chars().peekable();
    let end = |word: &mut String, quoted: &mut bool, commands: &mut Vec<Vec<String>>| {
        if !word.is_empty() || *quoted {
            let word = named(&std::mem::take(word), link);
            commands.last_mut().into_iter().for_each(|words| words.push(word.clone()));
        }
        *quoted = false;
    };
    while let Some(c) = chars.next() {
        match (c, quote) {
            (c, Some(open)) if c == open => quote = None,
            ('\\', None) => word.extend(chars.next()),
            (c, Some(_)) => word.push(c),
            ('"' | '\'', None) => (quote, quoted) = (Some(c), true),
            (';' | '&' | '|' | '\n', None) => {
                end(&mut word, &mut quoted, &mut commands);
                commands.push(Vec::new());
            }
            ('>', None) => {
                end(&mut word, &mut quoted, &mut commands);
                while chars.next_if_eq(&'>').is_some() {}
                commands.last_mut().into_iter().for_each(|words| words.push(">".into()));
            }
            (c, None) if c.is_whitespace() => end(&mut word, &mut quoted, &mut commands),
            (c, None) => word.push(c),
        }
    }
    end(&mut word, &mut quoted, &mut commands);
    commands
}

fn named(word: &str, link: &str) -> String {
    let of = |word: String, name: &str| {
        word.replace(&format!("${{{name}}}"), link).replace(&format!("${name}"), link)
    };
    // The longer names first: $DEV begins $DEVICE.
    ["REALDEVICE", "DEVICE", "IFACE", "INTERFACE", "DEV"]
        .iter()
        .fold(word.to_string(), |w, n| of(w, n))
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use proptest::prelude::*;

    pub fn told(sets: &[Set]) -> Vec<String> {
        let one = |s: &Set| {
            let key = s.key.as_ref().map(|k| format!(" {k}")).unwrap_or_default();
            format!("{} {}{key} = {}", s.line, s.resource, s.value.as_deref().unwrap_or("?"))
        };
        sets.iter().map(one).collect()
    }

    #[test]
    fn commands_that_tuning_guides_give() {
        let of = |text: &str| told(&sets("f", 1, text, "eth9"));
        assert_eq!(
            of("[ -x /sbin/ethtool ] && /sbin/ethtool -G \"$IFACE\" rx 512 tx max || true"),
            ["1 ethtool:eth9/rings rx = 512", "1 ethtool:eth9/rings tx = ?"]
        );
        assert_eq!(
            of("ethtool -K $DEVICE gro off lro on; ethtool -C ${DEVICE} adaptive-rx on rx-usecs 8"),
            [
                "1 ethtool:eth9/features rx-gro = off",
                "1 ethtool:eth9/features rx-lro = on",
                "1 ethtool:eth9/coalesce adaptive-rx = 1",
                "1 ethtool:eth9/coalesce rx-usecs = 8",
            ]
        );
        assert_eq!(
            of("ethtool -A eth9 autoneg off tx on"),
            ["1 ethtool:eth9/pause autoneg = 0", "1 ethtool:eth9/pause tx = 1"]
        );
        assert_eq!(
            of("ip link set dev bond0 mtu 9000 up; ip link set eth1 gso_max_size 65536"),
            ["1 mtu:bond0 = 9000", "1 sizes:eth1 gso = 65536"]
        );
        assert_eq!(
            of(
                "echo 0x80 > /proc/sys/net/core/somaxconn; echo ff>/sys/class/net/$IFACE/queues/rx-0/rps_cpus"
            ),
            [
                "1 sysctl:net.core.somaxconn = 0x80",
                "1 sysfs:class/net/eth9/queues/rx-0/rps_cpus = ff"
            ]
        );
        assert_eq!(
            of(
                "sysctl -w 'net.ipv4.tcp_rmem=4096 1 2' && tc qdisc replace dev eth9 root fq; nft flush ruleset"
            ),
            [
                "1 sysctl:net.ipv4.tcp_rmem = 4096 1 2",
                "1 qdisc:eth9 = ?",
                "1 nft:nettune-* = ?",
                "1 flow:* = ?"
            ]
        );
        assert_eq!(of("ip link set eth9 mtu $MTU"), ["1 mtu:eth9 = ?"]);
        assert!(
            of("ethtool -s eth9 speed 1000; ip addr add 10.0.0.1/24 dev eth9; ethtool -g eth9")
                .is_empty()
        );
    }

    proptest! {
        #[test]
        fn any_text_is_read(words in proptest::collection::vec("(ethtool|ip|link|set|-[AGKLCX]|mtu|echo|>|>>|/sys/|/proc/sys/a|sysctl|tc|dev|root|;|&&|[\"'\\\\$ -~é]{0,6})", 0..14)) {
            sets("f", 1, &words.join(" "), "e");
            sets("f", 1, &words.concat(), "");
        }
    }
}
