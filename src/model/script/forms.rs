//! The shell form of what is one text as a whole: a qdisc, a profile of TuneD, a unit, a table, a file.

use sha2::{Digest, Sha256};

use crate::model::bpf::Hook;
use crate::model::hex;
use crate::model::state::fields;
use crate::model::{State, UnitAspect};

/// One word of shell, whatever is in it.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// "default mq fq_codel quantum=1514", "fq horizon-us=2000000", "mq fq".
pub fn qdisc(link: &str, text: &str) -> String {
    if let Some(words) = by_default(text) {
        return format!("default_qdisc \"${link}\" {words}");
    }
    let (multi, leaf) = match text.strip_prefix("mq ") {
        Some(leaf) => (true, leaf),
        None => (false, text),
    };
    let mut words = "fq".to_string();
    for (key, value) in fields(leaf) {
        match (key, value.parse::<u32>()) {
            ("horizon-us", Ok(us)) => words.push_str(&format!(" horizon {us}us")),
            ("buckets-log", Ok(log)) => {
                words.push_str(&format!(" buckets {}", 1u64.checked_shl(log).unwrap_or(0)));
            }
            _ => {}
        }
    }
    let bad = format!("bad \"qdisc of ${link}:\" {}", quote(text));
    if !multi {
        return format!("tc qdisc replace dev \"${link}\" root {words} || {bad}");
    }
    format!(
        "tc qdisc replace dev \"${link}\" root handle 4e54: mq || {bad}\n\
         queue=0\n\
         for _ in $(ls \"/sys/class/net/${link}/queues\" | grep tx-); do\n    \
         queue=$((queue + 1))\n    \
         tc qdisc replace dev \"${link}\" parent \"4e54:$(printf %x $queue)\" {words} || {bad}\n\
         done"
    )
}

pub fn tuned(to: &State) -> String {
    match to.field("profile") {
        Some(profile) if to.field("mode") == Some("manual") => {
            let words: Vec<String> = profile.split('+').map(quote).collect();
            format!("tuned-adm profile {} || bad 'profile of TuneD'", words.join(" "))
        }
        Some(_) => "tuned-adm auto_profile || bad 'profile of TuneD'".to_string(),
        None => "tuned-adm off || bad 'profile of TuneD'".to_string(),
    }
}

pub fn unit(name: &str, aspect: UnitAspect, text: &str) -> String {
    let verb = match (aspect, text) {
        (UnitAspect::Active, "active") => "start",
        (UnitAspect::Active, _) => "stop",
        (UnitAspect::Enabled, "enabled") => "enable",
        (UnitAspect::Enabled, "masked") => "mask",
        (UnitAspect::Enabled, _) => "disable",
    };
    let name = quote(name);
    format!("systemctl {verb} {name} || bad {name}")
}

pub fn flow(link: &str, to: &State) -> String {
    let verb = if *to == State::Absent { "delete" } else { "add" };
    format!(
        "nft \"{verb} flowtable inet nettune-flow f {{ hook ingress priority 0; devices = {{ \\\"${link}\\\" }}; }}\" \
         2> /dev/null || true  # gone with its table"
    )
}

pub fn bpf(link: &str, hook: Hook, to: &State) -> String {
    let pins = format!("/sys/fs/bpf/nettune/{hook}-{}", link.trim_start_matches('L'));
    match (to, hook) {
        (State::Absent, Hook::Xdp) => format!("rm -rf {pins}"),
        (State::Absent, Hook::Ingress) => format!("ingress \"${link}\" {pins}"),
        _ => format!(
            "say \"nettune attaches a program to ${link} at {hook}:\" {}",
            quote(&to.to_string())
        ),
    }
}

/// A table that somebody has put a rule into is left alone.
pub fn nft(table: &str, to: &State, ours: &[State]) -> String {
    let name = quote(table);
    let body = |text: &str| format!("table inet {table} {{\n{}}}\nNETTUNE_END", lines(text));
    let write = match to.text() {
        None => format!("nft delete table inet {name} || bad {name}"),
        Some(text) => format!("nft -f - <<'NETTUNE_END' || bad {name}\n{}", body(text)),
    };
    let is = |text: &str| format!("nft_is {name} <<'NETTUNE_END' && mine=1\n{}\n", body(text));
    let mine: String = ours.iter().filter_map(State::text).map(is).collect();
    let there = format!("nft list table inet {name} > /dev/null 2>&1");
    let gone = if *to == State::Absent { format!("! {there}") } else { "false".to_string() };
    let new = if mine.is_empty() { "mine=1\n".to_string() } else { mine };
    format!(
        "mine=${{FORCE:-}}\n{new}{there} || mine=1\n\
         if {gone}; then\n:\nelif [ -n \"$mine\" ]; then\n{write}\n\
         else\nbad {name} 'holds what is not ours (FORCE=1 all the same)'\nfi"
    )
}

/// Our canonical lines in nft's own words.
pub fn lines(text: &str) -> String {
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

/// Left alone where somebody has edited it since.
pub fn file(path: &str, from: &State, to: &State) -> String {
    let wrote = from.text().and_then(|t| t.split_once('\n')).map(|(_, content)| content);
    let text = file_text(path, to);
    let Some(content) = wrote else { return text };
    let path = quote(path);
    let sum: String = hex(&Sha256::digest(content));
    format!(
        "if [ -n \"${{FORCE:-}}\" ] || [ \"$(sha256sum < {path} | cut -c 1-64)\" = {sum} ]; then\n\
         {text}\nelif [ -e {path} ]; then\n    bad {path} 'was edited since (FORCE=1 all the same)'\nfi"
    )
}

pub fn file_text(path: &str, to: &State) -> String {
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

/// The kind and the quantum, where it is one of an earlier MTU, of "default mq fq_codel quantum=1514".
pub fn by_default(text: &str) -> Option<String> {
    let kind = text.strip_prefix("default ")?;
    let (kind, quantum) = kind.split_once(" quantum=").map_or((kind, None), |(k, q)| (k, Some(q)));
    let leaf = quote(kind.strip_prefix("mq ").unwrap_or(kind));
    Some(quantum.map_or(leaf.clone(), |q| format!("{leaf} {}", quote(q))))
}
