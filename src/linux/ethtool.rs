//! Channels, rings, coalescing, flow control and features over the ethtool netlink family. Numbers are those of
//! linux/ethtool_netlink.h.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};
use netlink_sys::protocols::NETLINK_GENERIC;

use super::socket::{Attrs, Conn, Message, attributes, attrs, c_bytes, c_string, errno, nla, nlas};
use crate::engine::Wrote;
use crate::model::facts::{Features, Link};
use crate::model::{AUTO, Group, State, state};

const GENL_ID_CTRL: u16 = 16;
const CTRL_GETFAMILY: u8 = 3;
const STRSET_GET: u8 = 1;
const NESTED: u16 = 0x8000;
const COMPACT_BITSETS: u32 = 1;
const SET_FEATURES: u32 = 4;

/// (GET command, then name and attribute of each number, then of its maximum).
pub(crate) struct Numbers {
    get: u8,
    values: &'static [(&'static str, u16)],
    maxima: &'static [(&'static str, u16)],
    /// Attributes of one byte instead of four.
    bytes: &'static [u16],
}

const CHANNELS: Numbers = Numbers {
    get: 17,
    values: &[("rx", 6), ("tx", 7), ("other", 8), ("combined", 9)],
    maxima: &[("rx-max", 2), ("tx-max", 3), ("other-max", 4), ("combined-max", 5)],
    bytes: &[],
};
const RINGS: Numbers = Numbers {
    get: 15,
    values: &[("rx", 6), ("rx-mini", 7), ("rx-jumbo", 8), ("tx", 9)],
    maxima: &[("rx-max", 2), ("rx-mini-max", 3), ("rx-jumbo-max", 4), ("tx-max", 5)],
    bytes: &[],
};
const COALESCE: Numbers = Numbers {
    get: 19,
    values: &[
        ("adaptive-rx", 11),
        ("adaptive-tx", 12),
        ("rx-usecs", 2),
        ("rx-frames", 3),
        ("tx-usecs", 6),
        ("tx-frames", 7),
        ("cqe-rx", 25),
        ("cqe-tx", 24),
    ],
    maxima: &[],
    bytes: &[11, 12, 24, 25],
};
const PAUSE: Numbers = Numbers {
    get: 21,
    values: &[("autoneg", 2), ("rx", 3), ("tx", 4)],
    maxima: &[],
    bytes: &[2, 3, 4],
};
const FEATURES_GET: u8 = 11;
const RSS_GET: u8 = 38;
const RSS_CONTEXT: u16 = 2;

/// What a driver answers that does not take a value.
const REFUSALS: [i32; 6] = [
    nix::libc::EINVAL,
    nix::libc::EOPNOTSUPP,
    nix::libc::ERANGE,
    nix::libc::EBUSY,
    nix::libc::ENOMEM,
    nix::libc::EIO,
];

pub(crate) fn numbers(group: Group) -> Option<&'static Numbers> {
    match group {
        Group::Channels => Some(&CHANNELS),
        Group::Rings => Some(&RINGS),
        Group::Coalesce => Some(&COALESCE),
        Group::Pause => Some(&PAUSE),
        Group::Features => None,
    }
}

/// One socket for a whole run, opened at the first question.
#[derive(Default)]
pub struct Ethtool(OnceCell<Family>);

struct Family {
    conn: Conn,
    id: u16,
    /// Of all features, by bit.
    names: OnceCell<Vec<String>>,
}

impl Ethtool {
    fn family(&self) -> Result<&Family> {
        if let Some(family) = self.0.get() {
            return Ok(family);
        }
        let family = Family::open()?;
        Ok(self.0.get_or_init(|| family))
    }
}

impl Family {
    fn open() -> Result<Self> {
        let conn = Conn::open(NETLINK_GENERIC)?;
        let body = nla(2, &c_bytes("ethtool"));
        let message = Message { message_type: GENL_ID_CTRL, head: [CTRL_GETFAMILY, 1, 0, 0], body };
        let reply = conn.request(NLM_F_ACK, message, "find the ethtool family")?;
        let id = reply.first().and_then(|m| {
            attrs(&m.body)
                .get(&1)
                .and_then(|v| <[u8; 2]>::try_from(*v).ok())
                .map(u16::from_ne_bytes)
        });
        let id = id.context("the kernel has no ethtool netlink family")?;
        Ok(Family { conn, id, names: OnceCell::new() })
    }

    fn request(&self, flags: u16, command: u8, body: Vec<u8>, what: &str) -> Result<Vec<Message>> {
        let message = Message { message_type: self.id, head: [command, 1, 0, 0], body };
        self.conn.request(flags, message, what)
    }

    fn send(&self, index: u32, group: Group, pairs: &[(&str, &str)], what: &str) -> Result<()> {
        let mut body = header(index, 0);
        let Some(numbers) = numbers(group) else {
            let mut list = Vec::new();
            for (name, value) in pairs {
                let mut bit = nla(2, &c_bytes(name));
                if *value == "on" {
                    bit.extend(nla(3, &[]));
                }
                list.extend(nla(1 | NESTED, &bit));
            }
            body.extend(nla(3 | NESTED, &attributes(&[(3 | NESTED, &list)])));
            return self.request(NLM_F_ACK, FEATURES_GET + 1, body, what).map(drop);
        };
        for (name, value) in pairs {
            let kind = numbers.values.iter().find(|(n, _)| n == name).map(|(_, kind)| *kind);
            let kind = kind.with_context(|| format!("{name} is not a setting"))?;
            let value: u32 = value.parse().with_context(|| format!("{value:?} is not a number"))?;
            let bytes = value.to_ne_bytes();
            let one = [value as u8];
            body.extend(nla(kind, if numbers.bytes.contains(&kind) { &one } else { &bytes }));
        }
        self.request(NLM_F_ACK, numbers.get + 1, body, what).map(drop)
    }

    fn feature_names(&self) -> Result<&[String]> {
        if let Some(names) = self.names.get() {
            return Ok(names);
        }
        let set = nla(1 | NESTED, &nla(1, &SET_FEATURES.to_ne_bytes()));
        let body = [nla(1 | NESTED, &[]), nla(2 | NESTED, &set)].concat();
        let reply = self.request(NLM_F_ACK, STRSET_GET, body, "get the names of features")?;
        let Some(message) = reply.first() else { bail!("get the names of features: no reply") };
        Ok(self.names.get_or_init(|| names_of(&message.body)))
    }
}

pub(crate) fn names_of(body: &[u8]) -> Vec<String> {
    let mut names: Vec<(u32, String)> = Vec::with_capacity(64);
    for (_, sets) in nlas(body).filter(|(kind, _)| kind & !NESTED == 2) {
        for (_, set) in nlas(sets) {
            for (_, strings) in nlas(set).filter(|(kind, _)| kind & !NESTED == 3) {
                for (_, string) in nlas(strings) {
                    let of = |kind| nlas(string).find(|(k, _)| *k == kind).map(|(_, value)| value);
                    let index = of(1).and_then(|bytes| bytes.first_chunk().copied());
                    if let (Some(index), Some(name)) = (index.map(u32::from_ne_bytes), of(2)) {
                        names.push((index, c_string(name)));
                    }
                }
            }
        }
    }
    names.sort_unstable();
    names.dedup_by_key(|(index, _)| *index);
    names.into_iter().map(|(_, name)| name).collect()
}

/// Native order: ethtool is not a network protocol.
fn number(attrs: &Attrs, kind: u16) -> Option<u32> {
    let value = attrs.get(&kind)?;
    match value.len() {
        1 => Some(u32::from(value[0])),
        _ => Some(u32::from_ne_bytes((*value).try_into().ok()?)),
    }
}

/// Attributes without the flag that says that they are nested.
pub(crate) fn plain(body: &[u8]) -> Attrs<'_> {
    nlas(body).map(|(kind, value)| (kind & !NESTED, value)).collect()
}

fn header(index: u32, flags: u32) -> Vec<u8> {
    let mut parts = Vec::new();
    if index != 0 {
        parts.extend(nla(1, &index.to_ne_bytes()));
    }
    if flags != 0 {
        parts.extend(nla(3, &flags.to_ne_bytes()));
    }
    nla(1 | NESTED, &parts)
}

fn index_of(body: &Attrs) -> Option<u32> {
    number(&plain(body.get(&1)?), 1)
}

fn pairs(body: &Attrs, names: &[(&str, u16)]) -> Vec<String> {
    let found = names.iter().filter_map(|(name, kind)| number(body, *kind).map(|n| (name, n)));
    found.map(|(name, n)| format!("{name}={n}")).collect()
}

/// The state in the form in which it is compared.
pub(crate) fn values(group: Group, numbers: &Numbers, body: &Attrs) -> String {
    group.canonical(&pairs(body, numbers.values).join(" "))
}

/// Bits that are on, by name.
pub(crate) fn bits(set: &[u8], names: &[String]) -> BTreeSet<String> {
    let set = plain(set);
    let Some(value) = set.get(&4) else { return BTreeSet::new() };
    let words = value.chunks_exact(4).map(|w| u32::from_ne_bytes([w[0], w[1], w[2], w[3]]));
    let mut on = BTreeSet::new();
    for (w, word) in words.enumerate() {
        for bit in (0..32).filter(|b| word >> b & 1 == 1) {
            if let Some(name) = names.get(w * 32 + bit) {
                on.insert(name.clone());
            }
        }
    }
    on
}

/// Fills in channels, rings, coalesce and features of all links, with one dump each. A group that
/// the kernel does not answer for stays unset.
pub fn fill(ethtool: &Ethtool, links: &mut [Link]) -> Result<()> {
    let ethtool = match ethtool.family() {
        // No such family: a kernel before 5.6, or built without it.
        Err(e) if errno(&e) == Some(nix::libc::ENOENT) => return Ok(()),
        other => other?,
    };
    let by_index: BTreeMap<u32, usize> =
        links.iter().enumerate().map(|(at, link)| (link.index, at)).collect();
    let dump = |command, flags: u32, what| -> Result<Vec<Message>> {
        ethtool.request(NLM_F_DUMP, command, header(0, flags), what)
    };
    for group in [Group::Channels, Group::Rings, Group::Coalesce] {
        let Some(numbers) = numbers(group) else { continue };
        for message in dump(numbers.get, 0, "list ethtool settings").unwrap_or_default() {
            let body = plain(&message.body);
            let Some(at) = index_of(&body).and_then(|i| by_index.get(&i)) else { continue };
            let mut text = vec![values(group, numbers, &body)];
            text.extend(pairs(&body, numbers.maxima));
            text.retain(|part| !part.is_empty());
            let slot = match group {
                Group::Channels => &mut links[*at].channels,
                Group::Rings => &mut links[*at].rings,
                Group::Coalesce => &mut links[*at].coalesce,
                Group::Features | Group::Pause => continue,
            };
            *slot = Some(text.join(" ")).filter(|t| !t.is_empty());
        }
    }
    // With one message a context; the first has no number. Before 6.11 there is no such dump.
    if let Ok(contexts) = dump(RSS_GET, 0, "list RSS contexts") {
        for message in contexts {
            let body = plain(&message.body);
            let Some(at) = index_of(&body).and_then(|i| by_index.get(&i)) else { continue };
            let more = u32::from(number(&body, RSS_CONTEXT).is_some_and(|n| n > 0));
            *links[*at].rss_contexts.get_or_insert(0) += more;
        }
    }
    let names = ethtool.feature_names()?;
    let mut met: BTreeMap<Vec<u8>, Arc<Features>> = BTreeMap::new();
    for message in dump(FEATURES_GET, COMPACT_BITSETS, "list features").unwrap_or_default() {
        let body = plain(&message.body);
        let Some(at) = index_of(&body).and_then(|i| by_index.get(&i)) else { continue };
        let list = |kind| -> Vec<String> {
            body.get(&kind).map(|set| bits(set, names)).unwrap_or_default().into_iter().collect()
        };
        let raw = [2, 3, 4].map(|kind| *body.get(&kind).unwrap_or(&&[][..])).concat();
        let new = || Features { changeable: list(2), wanted: list(3), active: list(4) };
        links[*at].features = Some(met.entry(raw).or_insert_with(|| Arc::new(new())).clone());
    }
    Ok(())
}

pub fn read(ethtool: &Ethtool, index: u32, group: Group) -> Result<State> {
    let ethtool = ethtool.family()?;
    let absent = |e: &anyhow::Error| {
        matches!(errno(e), Some(nix::libc::EOPNOTSUPP | nix::libc::ENODEV | nix::libc::ENOENT))
    };
    let get = |command, flags| {
        ethtool.request(NLM_F_ACK, command, header(index, flags), "get ethtool settings")
    };
    if let Some(numbers) = numbers(group) {
        return match get(numbers.get, 0) {
            Ok(reply) => {
                let text = reply.first().map(|m| values(group, numbers, &plain(&m.body)));
                Ok(text.filter(|t| !t.is_empty()).map_or(State::Absent, State::Is))
            }
            Err(e) if absent(&e) => Ok(State::Absent),
            Err(e) => Err(e),
        };
    }
    let names = ethtool.feature_names()?;
    match get(FEATURES_GET, COMPACT_BITSETS) {
        Ok(reply) => {
            let Some(message) = reply.first() else { return Ok(State::Absent) };
            let body = plain(&message.body);
            let set = |kind| body.get(&kind).map(|s| bits(s, names)).unwrap_or_default();
            // "hw" are those that can be changed at all; "wanted" is what was asked for, whether or
            // not something else (tx off, say) keeps it from being active.
            let (changeable, wanted) = (set(2), set(3));
            let word = |n: &String| if wanted.contains(n) { "on" } else { "off" };
            let text: Vec<String> = changeable.iter().map(|n| format!("{n}={}", word(n))).collect();
            Ok(if text.is_empty() { State::Absent } else { State::Is(text.join(" ")) })
        }
        Err(e) if absent(&e) => Ok(State::Absent),
        Err(e) => Err(e),
    }
}

/// Sends only what differs: a driver may refuse a message that names what it does not have. Where it
/// refuses all at once, key by key, so that one it does not take loses no other.
pub fn write(ethtool: &Ethtool, index: u32, group: Group, wanted: &State) -> Result<Wrote> {
    let text = wanted.text().context("ethtool settings cannot be taken away")?;
    let now = read(ethtool, index, group)?;
    let differs = |pair: &(&str, &str)| pair.1 != AUTO && now.field(pair.0) != Some(pair.1);
    let changed: Vec<(&str, &str)> = state::fields(text).filter(differs).collect();
    let ethtool = ethtool.family()?;
    let pairs: Vec<String> = changed.iter().map(|(key, value)| format!("{key}={value}")).collect();
    let what = format!("set {} to {}", group.name(), pairs.join(" "));
    let Err(e) = ethtool.send(index, group, &changed, &what) else { return Ok(Wrote::Yes) };
    // ENODEV and EPERM are about the link and the caller, not about a key.
    if !errno(&e).is_some_and(|n| REFUSALS.contains(&n)) {
        return Err(e);
    }
    let (mut refused, mut lasting) = (Vec::new(), true);
    let mut note = |name: &str, value: &str, e: &anyhow::Error| {
        lasting &= !matches!(errno(e), Some(nix::libc::EBUSY | nix::libc::ENOMEM));
        // Its outermost layer is what was asked; below are the driver's words and the errno.
        let words: Vec<String> = e.chain().skip(1).map(|c| c.to_string()).collect();
        refused.push(format!("{name}={value}: {}", words.join(": ")));
    };
    match changed[..] {
        [(name, value)] => note(name, value, &e),
        _ => {
            for (name, value) in &changed {
                if let Err(e) = ethtool.send(index, group, &[(name, value)], &what) {
                    note(name, value, &e);
                }
            }
        }
    }
    if refused.is_empty() {
        return Ok(Wrote::Yes);
    }
    Ok(Wrote::KernelKeeps { why: format!("the driver refuses {}", refused.join("; ")), lasting })
}
