//! The entries of a legacy table. Base chains lie between a hook's entry and its underflow, which is
//! the policy; every other chain begins with an ERROR target that has its name.

use std::collections::BTreeMap;

use anyhow::{Context, Result, ensure};

use crate::linux::socket::c_string;
use crate::linux::xt::{HOOKS, bound, kind, label, network, word};
use crate::model::facts::{Chain, Rule};

pub(crate) const INFO_LEN: usize = 84;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Family {
    V4,
    V6,
}

impl Family {
    pub fn name(self) -> &'static str {
        match self {
            Family::V4 => "ip",
            Family::V6 => "ip6",
        }
    }
}

const TARGET_LEN: usize = 32;
const LINK_LEN: usize = 16;

/// Where the fields of an entry are: struct ipt_entry, struct ip6t_entry.
struct Layout {
    address: usize,
    links: usize,
    protocol: usize,
    flags: usize,
    goto: u8,
    offsets: usize,
    length: usize,
}

impl Family {
    fn layout(self) -> Layout {
        match self {
            Family::V4 => Layout {
                address: 4,
                links: 16,
                protocol: 80,
                flags: 82,
                goto: 2,
                offsets: 88,
                length: 112,
            },
            Family::V6 => Layout {
                address: 16,
                links: 64,
                protocol: 128,
                flags: 131,
                goto: 4,
                offsets: 140,
                length: 168,
            },
        }
    }
}

fn half(bytes: &[u8], at: usize) -> Option<usize> {
    let found = bytes.get(at..at.checked_add(2)?)?;
    Some(usize::from(u16::from_ne_bytes(found.try_into().ok()?)))
}

struct Entry<'a> {
    bytes: &'a [u8],
    target: &'a [u8],
    matches: Vec<&'a [u8]>,
}

impl<'a> Entry<'a> {
    /// The one at the beginning of `bytes`.
    fn first(layout: &Layout, bytes: &'a [u8]) -> Option<Self> {
        let (target, next) = (half(bytes, layout.offsets)?, half(bytes, layout.offsets + 2)?);
        if target < layout.length || next < target + TARGET_LEN {
            return None;
        }
        let bytes = bytes.get(..next)?;
        let mut matches = Vec::new();
        let mut at = layout.length;
        while at < target {
            let size = half(bytes, at).filter(|size| *size >= TARGET_LEN && at + size <= target)?;
            matches.push(&bytes[at..at + size]);
            at += size;
        }
        Some(Entry { bytes, target: &bytes[target..], matches })
    }

    /// The chain that begins here.
    fn head(&self) -> Option<String> {
        let named = name(self.target) == "ERROR";
        named.then(|| c_string(self.target.get(TARGET_LEN..).unwrap_or_default()))
    }

    fn verdict(&self) -> Option<i32> {
        let standard = name(self.target).is_empty();
        word(self.target, TARGET_LEN).filter(|_| standard).map(|v| v as i32)
    }
}

/// Of a match or a target.
fn name(extension: &[u8]) -> String {
    c_string(extension.get(2..TARGET_LEN - 1).unwrap_or_default())
}

fn data(extension: &[u8]) -> (u32, &[u8]) {
    let revision = extension.get(TARGET_LEN - 1).copied().unwrap_or(0);
    (u32::from(revision), extension.get(TARGET_LEN..).unwrap_or_default())
}

/// `info` is a struct ipt_getinfo, as read with the entries.
pub fn parse(family: Family, table: &str, info: &[u8], bytes: &[u8]) -> Result<Vec<Chain>> {
    let layout = family.layout();
    let told =
        info.len() == INFO_LEN && word(info, INFO_LEN - 4) == u32::try_from(bytes.len()).ok();
    ensure!(told, "the kernel's answer has another length");
    let mut entries = BTreeMap::new();
    let mut at = 0;
    while at < bytes.len() {
        let entry = Entry::first(&layout, &bytes[at..])
            .with_context(|| format!("the entry at {at} is none that is known here"))?;
        let length = entry.bytes.len();
        entries.insert(at, entry);
        at += length;
    }
    // By the offset that jumps name: that of the first rule.
    let heads: BTreeMap<usize, (usize, String)> = entries
        .iter()
        .filter_map(|(at, entry)| Some((at + entry.bytes.len(), (*at, entry.head()?))))
        .filter(|(first, _)| *first < bytes.len())
        .collect();
    let mut chains = Vec::new();
    let valid = word(info, 32).unwrap_or(0);
    for (index, hook) in HOOKS.iter().enumerate().filter(|(index, _)| valid & (1 << index) != 0) {
        let place = |at: usize| word(info, at + index * 4).map(|w| w as usize);
        let (first, last) = place(36).zip(place(56)).context("no entry of a hook")?;
        let policy = entries.get(&last).and_then(Entry::verdict).context("no policy of a hook")?;
        ensure!(first <= last && entries.contains_key(&first), "no first entry of a hook");
        let mut chain = chain(family, table, &hook.to_ascii_uppercase());
        chain.kind = if table == "nat" { "nat" } else { "filter" }.to_string();
        chain.hook = hook.to_string();
        chain.priority = priority(table, hook);
        chain.drops = policy != ACCEPT;
        fill(&mut chain, &layout, entries.range(first..last), &heads);
        chains.push(chain);
    }
    let ends = heads.values().map(|(at, _)| *at).chain(entries.keys().next_back().copied());
    let ends: Vec<usize> = ends.collect();
    for (index, (first, (_, name))) in heads.iter().enumerate() {
        let end = ends.get(index + 1).copied().unwrap_or(bytes.len());
        ensure!(*first <= end, "a chain without an end");
        let mut chain = chain(family, table, name);
        // Its last entry is the return that every chain ends with.
        let last = entries.range(*first..end).next_back().map_or(*first, |(at, _)| *at);
        fill(&mut chain, &layout, entries.range(*first..last), &heads);
        chains.push(chain);
    }
    bound(&mut chains);
    Ok(chains)
}

fn chain(family: Family, table: &str, name: &str) -> Chain {
    Chain {
        family: family.name().to_string(),
        table: format!("{table} (legacy)"),
        chain: name.to_string(),
        detail: Some(Vec::new()),
        ..Chain::default()
    }
}

fn priority(table: &str, hook: &str) -> i32 {
    match (table, hook) {
        ("raw", _) => -300,
        ("mangle", _) => -150,
        ("nat", "prerouting" | "output") => -100,
        ("nat", _) => 100,
        ("security", _) => 50,
        _ => 0,
    }
}

fn fill<'a>(
    chain: &mut Chain,
    layout: &Layout,
    entries: impl Iterator<Item = (&'a usize, &'a Entry<'a>)>,
    heads: &BTreeMap<usize, (usize, String)>,
) {
    for (at, entry) in entries {
        let rule = rule(layout, *at, entry, heads);
        chain.rules += 1;
        chain.expressions.extend(entry.matches.iter().map(|m| kind("match", &name(m), data(m))));
        chain.expressions.extend(match entry.verdict() {
            Some(_) => rule.expressions.last().filter(|e| !e.starts_with("xt ")).cloned(),
            None => Some(kind("target", &name(entry.target), data(entry.target))),
        });
        if let Some(detail) = &mut chain.detail {
            detail.push(rule);
        }
    }
    chain.expressions.sort_unstable();
    chain.expressions.dedup();
}

// What the kernel keeps of a verdict: its negative, less one.
const DROP: i32 = -1;
const ACCEPT: i32 = -2;
const RETURN: i32 = -5;

fn rule(
    layout: &Layout,
    at: usize,
    entry: &Entry,
    heads: &BTreeMap<usize, (usize, String)>,
) -> Rule {
    let mut rule = Rule::default();
    let byte = |at: usize| entry.bytes.get(at).copied().unwrap_or(0);
    let (flags, inverted) = (byte(layout.flags), byte(layout.flags + 1));
    for found in &entry.matches {
        let label = label("match", &name(found), data(found));
        rule.further |= label != "xt match comment";
        rule.expressions.push(label);
    }
    match entry.verdict() {
        // The next entry: a rule without a target.
        Some(next) if usize::try_from(next) == Ok(at + entry.bytes.len()) => {}
        Some(to) if to >= 0 => {
            let goes = if flags & layout.goto != 0 { "goto" } else { "jump" };
            rule.expressions.push(goes.to_string());
            rule.to = heads.get(&(to as usize)).map(|(_, name)| name.clone());
        }
        Some(verdict) => {
            let word = match verdict {
                ACCEPT => "accept",
                DROP => "drop",
                RETURN => "return",
                _ => "queue",
            };
            rule.expressions.push(word.to_string());
        }
        None => rule.expressions.push(label("target", &name(entry.target), data(entry.target))),
    }
    // Protocol, fragments, type of service.
    rule.further |= half(entry.bytes, layout.protocol) != Some(0);
    rule.further |= flags & !layout.goto != 0 || inverted & !0x1b != 0;
    let width = layout.address;
    let part = |index: usize, width: usize| {
        entry.bytes.get(index * width..(index + 1) * width).unwrap_or_default()
    };
    for (index, field, bit) in [(0, &mut rule.source, 0x08), (1, &mut rule.destination, 0x10)] {
        let (mask, inverted) = (part(index + 2, width), inverted & bit != 0);
        if mask.iter().all(|b| *b == 0) {
            rule.further |= inverted;
            continue;
        }
        match network(part(index, width), mask) {
            Some((text, true)) => *field = Some(if inverted { format!("!{text}") } else { text }),
            found => {
                *field = found.filter(|_| !inverted).map(|(text, _)| text);
                rule.further = true;
            }
        }
    }
    for (index, field, bit) in [(0, &mut rule.input, 0x01), (1, &mut rule.output, 0x02)] {
        let at = |index: usize| {
            let start = layout.links + index * LINK_LEN;
            entry.bytes.get(start..start + LINK_LEN).unwrap_or_default()
        };
        let (link, mask) = (c_string(at(index)), at(index + 2));
        let sign = if inverted & bit != 0 { "!" } else { "" };
        let compared = mask.iter().take_while(|b| **b == 0xff).count();
        if mask.iter().all(|b| *b == 0) {
            rule.further |= !sign.is_empty();
        } else if mask[compared..].iter().any(|b| *b != 0) {
            rule.further = true;
        } else {
            // A name that is compared with its end is whole; the "+" of a beginning is stored too.
            let (name, wild) = match link.get(..compared) {
                Some(beginning) => (beginning, "*"),
                None => (link.as_str(), ""),
            };
            *field = Some(format!("{sign}{name}{wild}"));
        }
    }
    rule
}

#[cfg(test)]
mod tests;
