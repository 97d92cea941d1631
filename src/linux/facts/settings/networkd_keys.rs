//! What the keys of systemd's network files set, in nettune's resources.

use std::collections::BTreeMap;

use super::spread::Set;
use super::text::{self, Line};

/// Which of the three a file is: each knows other keys.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Link,
    Device,
    Network,
}

/// Key of [Link], then resource kind and key of ours.
const KEYS: [(&str, &str, &str); 28] = [
    ("MTUBytes", "mtu", ""),
    ("RxBufferSize", "rings", "rx"),
    ("TxBufferSize", "rings", "tx"),
    ("RxMiniBufferSize", "rings", "rx-mini"),
    ("RxJumboBufferSize", "rings", "rx-jumbo"),
    ("RxChannels", "channels", "rx"),
    ("TxChannels", "channels", "tx"),
    ("OtherChannels", "channels", "other"),
    ("CombinedChannels", "channels", "combined"),
    ("UseAdaptiveRxCoalesce", "coalesce", "adaptive-rx"),
    ("UseAdaptiveTxCoalesce", "coalesce", "adaptive-tx"),
    ("RxCoalesceSec", "usecs", "rx-usecs"),
    ("TxCoalesceSec", "usecs", "tx-usecs"),
    ("RxMaxCoalescedFrames", "coalesce", "rx-frames"),
    ("TxMaxCoalescedFrames", "coalesce", "tx-frames"),
    ("AutoNegotiationFlowControl", "pause", "autoneg"),
    ("RxFlowControl", "pause", "rx"),
    ("TxFlowControl", "pause", "tx"),
    ("GenericReceiveOffload", "features", "rx-gro"),
    ("GenericReceiveOffloadHardware", "features", "rx-gro-hw"),
    ("LargeReceiveOffload", "features", "rx-lro"),
    ("TCPSegmentationOffload", "features", "tx-tcp-segmentation"),
    ("TCP6SegmentationOffload", "features", "tx-tcp6-segmentation"),
    ("GenericSegmentationOffload", "features", "tx-generic-segmentation"),
    ("ReceiveChecksumOffload", "features", "rx-checksum"),
    ("NTupleFilter", "features", "rx-ntuple-filter"),
    ("ReceivePacketSteeringCPUMask", "rps", ""),
    ("GenericSegmentOffloadMaxBytes", "sizes", "gso"),
];

/// Sections that make a qdisc: at the root unless Parent= says where.
const QDISCS: [&str; 20] = [
    "BFIFO",
    "CAKE",
    "ControlledDelay",
    "DeficitRoundRobinScheduler",
    "EnhancedTransmissionSelection",
    "FairQueueing",
    "FairQueueingControlledDelay",
    "FlowQueuePIE",
    "GenericRandomEarlyDetection",
    "HeavyHitterFilter",
    "HierarchyTokenBucket",
    "NetworkEmulator",
    "PFIFO",
    "PFIFOFast",
    "PFIFOHeadDrop",
    "PIE",
    "QuickFairQueueing",
    "StochasticFairBlue",
    "StochasticFairnessQueueing",
    "TokenBucketFilter",
];

/// What the lines of one file set. Of several for one key the last counts, an empty one takes it back.
pub fn sets(lines: &[Line], kind: Kind) -> Vec<Set> {
    let section = if kind == Kind::Device { "NetDev" } else { "Link" };
    let mut last: BTreeMap<&str, (usize, &Line)> = BTreeMap::new();
    for (at, line) in lines.iter().enumerate().filter(|(_, l)| l.section == section) {
        last.insert(&line.key, (at, line));
    }
    let says = |key: &str| last.get(key).map_or("", |(_, line)| line.value.as_str());
    // networkd sets a tap's MTU by its .network file alone.
    if text::boolean(says("Unmanaged")) == Some(true) || matches!(says("Kind"), "tun" | "tap") {
        return Vec::new();
    }
    let known = |key: &str| match kind {
        Kind::Link => true,
        Kind::Device | Kind::Network => key == "MTUBytes",
    };
    let mut found: Vec<(usize, Set)> = last
        .values()
        .filter(|(_, line)| known(&line.key))
        .filter_map(|(at, line)| Some((*at, key(line)?)))
        .collect();
    if kind == Kind::Network {
        found.extend(qdisc(lines));
    }
    found.sort_by_key(|(at, _)| *at);
    found.into_iter().map(|(_, set)| set).collect()
}

fn key(line: &Line) -> Option<Set> {
    let (_, kind, ours) = KEYS.iter().find(|(key, _, _)| *key == line.key)?;
    let value = line.value.as_str();
    // What systemd cannot read it warns of and leaves out.
    let number = |value: Option<u64>| value.map(|n| Some(n.to_string()));
    let (resource, value) = match *kind {
        "mtu" | "sizes" => (format!("{kind}:%"), number(text::bytes(value))?),
        "rps" => ("sysfs:class/net/%/queues/rx-*/rps_cpus".into(), None),
        "usecs" => ("ethtool:%/coalesce".into(), number(text::microseconds(value))?),
        group => (format!("ethtool:%/{group}"), text::field(group, ours, value).1),
    };
    if line.value.is_empty() {
        return None;
    }
    let key = (!ours.is_empty()).then(|| ours.to_string());
    Some(Set { file: line.file.clone(), line: line.line, resource, key, value })
}

/// The line that puts a qdisc at the root, if one does.
fn qdisc(lines: &[Line]) -> Option<(usize, Set)> {
    let heads = lines.iter().enumerate().filter(|(_, l)| l.key.is_empty());
    let mut roots =
        heads.filter(|(_, l)| QDISCS.contains(&l.section.as_str())).filter_map(|(at, head)| {
            let own = lines.iter().enumerate().skip(at + 1).take_while(|(_, l)| !l.key.is_empty());
            match own.filter(|(_, l)| l.key == "Parent").last() {
                None => Some((at, head)),
                Some((at, parent)) => (parent.value == "root").then_some((at, parent)),
            }
        });
    let (at, line) = roots.next()?;
    let (file, resource) = (line.file.clone(), "qdisc:%".to_string());
    Some((at, Set { file, line: line.line, resource, key: None, value: None }))
}

#[cfg(test)]
mod tests;
