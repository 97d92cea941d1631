//! The root qdisc of a link: the kernel's default, fq, or mq with fq leaves. Anything else is
//! somebody's work and foreign.

use std::collections::BTreeMap;

use anyhow::{Context, Result, bail};
use netlink_packet_core::{DefaultNla, NLM_F_CREATE, NLM_F_REPLACE, Nla};
use netlink_packet_route::RouteNetlinkMessage;
use netlink_packet_route::tc::{
    TcAttribute, TcHandle, TcHeader, TcMessage, TcOption, TcQdiscFqCodelOption,
};

use super::files::{read_sysctl, write_sysctl};
use super::link::Links;
use super::root::Root;
use crate::engine::Wrote;
use crate::model::State;
use crate::model::typed::qdisc::{Options, Qdisc as Wanted};

const TCA_FQ_BUCKETS_LOG: u16 = 8;
const TCA_FQ_HORIZON: u16 = 14;
/// What a fq made without options has: they are left out of the text, so that "fq" is the plain one.
const DEFAULT_BUCKETS_LOG: u32 = 10;
const DEFAULT_HORIZON_US: u32 = 10_000_000;
/// The quantum is the MTU and the link's header: 14 bytes of Ethernet, 18 with a tag, 24 of InfiniBand.
const LONGEST_HEADER: u32 = 32;
const DEFAULT_QDISC: &str = "net/core/default_qdisc";

#[derive(Debug, Clone)]
pub struct Qdisc {
    kind: String,
    handle: TcHandle,
    parent: TcHandle,
    buckets_log: Option<u32>,
    horizon_us: Option<u32>,
    /// Of fq_codel: bytes.
    quantum: Option<u32>,
}

/// By ifindex.
pub fn dump(links: &Links) -> Result<BTreeMap<u32, Vec<Qdisc>>> {
    let mut all: BTreeMap<u32, Vec<Qdisc>> = BTreeMap::new();
    for message in links.qdiscs()? {
        all.entry(message.header.index as u32).or_default().push(parse(&message));
    }
    Ok(all)
}

pub(crate) fn parse(message: &TcMessage) -> Qdisc {
    let mut qdisc = Qdisc {
        kind: String::new(),
        handle: message.header.handle,
        parent: message.header.parent,
        buckets_log: None,
        horizon_us: None,
        quantum: None,
    };
    for attribute in &message.attributes {
        match attribute {
            TcAttribute::Kind(kind) => qdisc.kind = kind.clone(),
            TcAttribute::Options(options) => {
                for option in options {
                    if let TcOption::FqCodel(TcQdiscFqCodelOption::Quantum(bytes)) = option {
                        qdisc.quantum = Some(*bytes);
                    }
                    let TcOption::Other(nla) = option else { continue };
                    let mut value = vec![0; nla.value_len()];
                    nla.emit_value(&mut value);
                    let number = value.try_into().ok().map(u32::from_ne_bytes);
                    match nla.kind() {
                        TCA_FQ_BUCKETS_LOG => qdisc.buckets_log = number,
                        TCA_FQ_HORIZON => qdisc.horizon_us = number,
                        _ => {}
                    }
                }
            }
            _ => {}
        }
    }
    qdisc
}

/// Whether filters may be there.
pub fn has_clsact(qdiscs: &[Qdisc]) -> bool {
    qdiscs.iter().any(|q| !is_leaf(q))
}

/// "default KIND", "default mq KIND", "fq [options]", "mq fq [options]", for a link of this MTU. A
/// default fq_codel has the quantum of the MTU that it was made under; of another one, it says so.
pub fn state(qdiscs: &[Qdisc], mtu: u32) -> State {
    let Some(root) = qdiscs.iter().find(|q| q.parent == TcHandle::ROOT) else {
        let (kind, options) = ("noqueue".into(), Options::default());
        return Wanted { by_default: true, multi: false, kind, options }.into();
    };
    let leaves: Vec<&Qdisc> = qdiscs
        .iter()
        .filter(|q| q.parent.major == root.handle.major && q.parent != TcHandle::ROOT && is_leaf(q))
        .collect();
    let by_default = root.handle.major == 0;
    let foreign = |what: String| State::Foreign { what: format!("qdisc {what}"), owner: None };
    let first = match (root.kind.as_str(), leaves.first()) {
        ("mq", Some(leaf)) => *leaf,
        _ => root,
    };
    let differs = |l: &&Qdisc| l.kind != first.kind || options_of(l) != options_of(first);
    if root.kind == "mq" && leaves.iter().any(differs) {
        return foreign("mq with leaves of several kinds".into());
    }
    let multi = root.kind == "mq" && !leaves.is_empty();
    let options = match by_default {
        true => {
            let stale = leaves.iter().copied().chain([root]).find_map(|q| stale_quantum(q, mtu));
            Options { quantum: stale, ..Options::default() }
        }
        false => options_of(first),
    };
    let found = Wanted { by_default, multi, kind: first.kind.clone(), options };
    match by_default || first.kind == "fq" {
        true => found.into(),
        false => foreign(format!("{found} set by hand")),
    }
}

fn stale_quantum(qdisc: &Qdisc, mtu: u32) -> Option<u32> {
    qdisc.quantum.filter(|q| !(mtu..=mtu + LONGEST_HEADER).contains(q))
}

fn is_leaf(qdisc: &Qdisc) -> bool {
    !matches!(qdisc.kind.as_str(), "clsact" | "ingress")
}

/// What differs from an fq made without options.
fn options_of(qdisc: &Qdisc) -> Options {
    let fq = qdisc.kind == "fq";
    Options {
        quantum: None,
        horizon_us: qdisc.horizon_us.filter(|h| fq && *h != DEFAULT_HORIZON_US),
        buckets_log: qdisc.buckets_log.filter(|l| fq && *l != DEFAULT_BUCKETS_LOG),
    }
}

pub fn write(root: &Root, links: &Links, name: &str, wanted: &State) -> Result<Wrote> {
    let link = links.one(name)?.with_context(|| format!("link {name} is gone"))?;
    let Some(text) = wanted.text() else { bail!("a qdisc cannot be made {wanted}") };
    let wanted: Wanted = text.parse().map_err(anyhow::Error::msg)?;
    if wanted.by_default {
        to_default(root, links, link.index, name, &wanted.kind)?;
        let now = dump(links)?.remove(&link.index).unwrap_or_default();
        let had = |wanted: u32| now.iter().any(|q| q.quantum == Some(wanted));
        return Ok(match wanted.options.quantum {
            Some(wanted) if !had(wanted) => Wrote::LeftToOthers(format!(
                "its quantum was {wanted}, of an earlier MTU, and is of MTU {} now",
                link.mtu
            )),
            _ => Wrote::Yes,
        });
    }
    if wanted.kind != "fq" {
        bail!("qdisc {text:?} is not one that nettune makes");
    }
    if !wanted.multi {
        new(links, link.index, TcHandle::ROOT, "fq", told(wanted.options), name)?;
        return Ok(Wrote::Yes);
    }
    let own_mq = |all: &[Qdisc]| {
        all.iter()
            .find(|q| q.parent == TcHandle::ROOT && q.kind == "mq" && q.handle.major != 0)
            .cloned()
    };
    let find = || Ok::<_, anyhow::Error>(dump(links)?.get(&link.index).and_then(|all| own_mq(all)));
    if find()?.is_none() {
        new(links, link.index, TcHandle::ROOT, "mq", Vec::new(), name)?;
    }
    let mq = find()?.with_context(|| format!("{name} did not keep its mq"))?;
    for queue in 1..=link.tx_queues {
        let parent = TcHandle { major: mq.handle.major, minor: queue as u16 };
        new(links, link.index, parent, "fq", told(wanted.options), name)?;
    }
    Ok(Wrote::Yes)
}

/// A replaced fq keeps what it is not told, so both are always told.
fn told(options: Options) -> Vec<TcOption> {
    let of =
        |kind, value: u32| TcOption::Other(DefaultNla::new(kind, value.to_ne_bytes().to_vec()));
    vec![
        of(TCA_FQ_BUCKETS_LOG, options.buckets_log.unwrap_or(DEFAULT_BUCKETS_LOG)),
        of(TCA_FQ_HORIZON, options.horizon_us.unwrap_or(DEFAULT_HORIZON_US)),
    ]
}

fn message(index: u32, parent: TcHandle) -> TcMessage {
    let header = TcHeader { index: index as i32, parent, ..TcHeader::default() };
    TcMessage::from_parts(header, Vec::new())
}

fn new(
    links: &Links,
    index: u32,
    parent: TcHandle,
    kind: &str,
    options: Vec<TcOption>,
    name: &str,
) -> Result<()> {
    let mut message = message(index, parent);
    message.attributes.push(TcAttribute::Kind(kind.to_string()));
    if !options.is_empty() {
        message.attributes.push(TcAttribute::Options(options));
    }
    let what = format!("set qdisc of {name} to {kind}");
    links.send(
        RouteNetlinkMessage::NewQueueDiscipline(message),
        NLM_F_CREATE | NLM_F_REPLACE,
        &what,
    )
}

/// Deleting the root makes the default of today's default_qdisc; where it was made under another
/// one, that one is set for the moment of the delete. The engine journals default_qdisc beside us.
fn to_default(root: &Root, links: &Links, index: u32, name: &str, kind: &str) -> Result<()> {
    // A default cannot be deleted: another one goes away under one of our own.
    let now = dump(links)?.remove(&index).unwrap_or_default();
    let default = |q: &&Qdisc| q.parent == TcHandle::ROOT && q.handle.major == 0;
    if let Some(root) = now.iter().find(default) {
        new(links, index, TcHandle::ROOT, &root.kind, Vec::new(), name)?;
    }
    let today = read_sysctl(root, DEFAULT_QDISC)?;
    let other = today.text().is_some_and(|t| t != kind) && kind != "noqueue";
    if other {
        write_sysctl(root, DEFAULT_QDISC, &State::is(kind))?;
    }
    let what = format!("delete root qdisc of {name}");
    let message = message(index, TcHandle::ROOT);
    let deleted = links.send(RouteNetlinkMessage::DelQueueDiscipline(message), 0, &what);
    if other {
        write_sysctl(root, DEFAULT_QDISC, &today)?;
    }
    deleted
}

#[cfg(test)]
mod tests {
    use super::*;

    fn qdisc(kind: &str, parent: TcHandle, quantum: Option<u32>) -> Qdisc {
        let (kind, handle) = (kind.to_string(), TcHandle::default());
        Qdisc { kind, handle, parent, buckets_log: None, horizon_us: None, quantum }
    }

    #[test]
    fn a_default_made_under_another_mtu_is_told_apart() {
        let queue = |minor| TcHandle { major: 0, minor };
        let of = |quantum| {
            let leaf = |minor| qdisc("fq_codel", queue(minor), Some(quantum));
            vec![qdisc("mq", TcHandle::ROOT, None), leaf(1), leaf(2)]
        };
        assert_eq!(state(&of(1514), 1500), State::is("default mq fq_codel"));
        assert_eq!(state(&of(9014), 1500), State::is("default mq fq_codel quantum=9014"));
        assert_eq!(state(&of(1514), 9000), State::is("default mq fq_codel quantum=1514"));
        let alone = [qdisc("fq_codel", TcHandle::ROOT, Some(1514))];
        assert_eq!(state(&alone, 9000), State::is("default fq_codel quantum=1514"));
        let pfifo = [qdisc("pfifo_fast", TcHandle::ROOT, None)];
        assert_eq!(state(&pfifo, 9000), State::is("default pfifo_fast"));
    }
}
