//! The shell form of what is one text as a whole: a qdisc, a profile of TuneD, a unit, a table, a file.

use sha2::{Digest, Sha256};

use crate::model::bpf::Hook;
use crate::model::hex;
use crate::model::typed::file::File;
use crate::model::typed::qdisc::Qdisc;
use crate::model::typed::tuned::{Mode, Profile};
use crate::model::{State, UnitAspect, typed};

/// One word of shell, whatever is in it.
pub fn quote(word: &str) -> String {
    format!("'{}'", word.replace('\'', "'\\''"))
}

/// "default mq fq_codel quantum=1514", "fq horizon-us=2000000", "mq fq".
pub fn qdisc(link: &str, text: &str) -> String {
    if let Some(words) = by_default(text) {
        return format!("default_qdisc \"${link}\" {words}");
    }
    let bad = format!("bad \"qdisc of ${link}:\" {}", quote(text));
    let Some(qdisc) = text.parse::<Qdisc>().ok().filter(|q| q.kind == "fq") else { return bad };
    let mut words = "fq".to_string();
    if let Some(us) = qdisc.options.horizon_us {
        words.push_str(&format!(" horizon {us}us"));
    }
    if let Some(log) = qdisc.options.buckets_log {
        words.push_str(&format!(" buckets {}", 1u64.checked_shl(log).unwrap_or(0)));
    }
    if !qdisc.multi {
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
    let profile = typed::of::<Profile>(to);
    let names = || profile.iter().flat_map(|p| &p.names).map(|n| quote(n)).collect::<Vec<_>>();
    let verb = match profile.as_ref().map(|p| p.mode) {
        Some(Mode::Manual) => format!("profile {}", names().join(" ")),
        Some(Mode::Auto) => "auto_profile".to_string(),
        Some(Mode::Off) | None => "off".to_string(),
    };
    format!("tuned-adm {verb} || bad 'profile of TuneD'")
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
    let wrote = typed::of::<File>(from);
    let text = file_text(path, to);
    let Some(content) = wrote.as_ref().and_then(File::content) else { return text };
    let path = quote(path);
    let sum: String = hex(&Sha256::digest(content));
    format!(
        "if [ -n \"${{FORCE:-}}\" ] || [ \"$(sha256sum < {path} | cut -c 1-64)\" = {sum} ]; then\n\
         {text}\nelif [ -e {path} ]; then\n    bad {path} 'was edited since (FORCE=1 all the same)'\nfi"
    )
}

pub fn file_text(path: &str, to: &State) -> String {
    let path = quote(path);
    match (to, typed::of(to)) {
        (_, Some(File::Folder(_))) => format!("mkdir -p {path}"),
        (_, Some(File::Link(target))) => format!("ln -sfn {} {path}", quote(&target)),
        (_, Some(File::Text { meta, content })) => format!(
            "printf '%s' {} > {path} && chmod '{:04o}' {path} && chown '{}:{}' {path}",
            quote(&content),
            meta.mode,
            meta.uid,
            meta.gid
        ),
        (State::Absent, None) => {
            format!("if [ -d {path} ] && [ ! -L {path} ]; then rmdir {path}; else rm -f {path}; fi")
        }
        (State::Is(_) | State::Foreign { .. }, None) => {
            format!("bad {path} 'what was here is not known'")
        }
    }
}

/// The kind and the quantum, where it is one of an earlier MTU, of "default mq fq_codel quantum=1514".
pub fn by_default(text: &str) -> Option<String> {
    let qdisc = text.parse::<Qdisc>().ok().filter(|q| q.by_default)?;
    let kind = quote(&qdisc.kind);
    let quantum = qdisc.options.quantum.map(|q| format!(" {}", quote(&q.to_string())));
    Some(kind + &quantum.unwrap_or_default())
}
