//! What the rules of nf_tables and those of legacy iptables have in common: hooks, extensions and the
//! way they are told.

use std::collections::BTreeMap;
use std::net::IpAddr;

use crate::model::facts::Chain;

pub const HOOKS: [&str; 5] = ["prerouting", "input", "forward", "output", "postrouting"];
/// Of one table.
pub const MOST_RULES: usize = 512;

/// A table of kube-proxy may have a hundred thousand rules: those are told by their kinds alone.
pub fn bound(chains: &mut [Chain]) {
    let mut rules: BTreeMap<(String, String), usize> = BTreeMap::new();
    for chain in chains.iter() {
        *rules.entry((chain.family.clone(), chain.table.clone())).or_default() +=
            chain.rules as usize;
    }
    rules.retain(|_, count| *count > MOST_RULES);
    for chain in chains {
        if rules.contains_key(&(chain.family.clone(), chain.table.clone())) {
            chain.detail = None;
        }
    }
}

/// In the byte order of this machine.
pub fn word(bytes: &[u8], at: usize) -> Option<u32> {
    Some(u32::from_ne_bytes(bytes.get(at..at.checked_add(4)?)?.try_into().ok()?))
}

/// Of an extension: "xt match conntrack". The target that makes packets untracked has a name of its
/// own, since the other uses of CT are about connections.
pub fn kind(what: &str, name: &str, (_, data): (u32, &[u8])) -> String {
    const CT_NOTRACK: u16 = 1;
    let flags = data.first_chunk::<2>().map_or(0, |b| u16::from_ne_bytes(*b));
    match (what, name) {
        ("target", "CT") if flags & CT_NOTRACK != 0 => "xt target NOTRACK".to_string(),
        _ => format!("xt {what} {name}"),
    }
}

/// [`kind`], with the connection states that it asks for.
pub fn label(what: &str, name: &str, extension: (u32, &[u8])) -> String {
    let kind = kind(what, name, extension);
    let (revision, data) = extension;
    let half =
        |at: usize| Some(u32::from(u16::from_ne_bytes(data.get(at..at + 2)?.try_into().ok()?)));
    const CT_STATE: u32 = 1;
    /// Given as `-m state`.
    const CT_STATE_BY_ALIAS: u32 = CT_STATE | 1 << 13;
    // struct xt_conntrack_mtinfo3, that of revision 2 alike up to there.
    let states = match (what, name, revision) {
        ("match", "conntrack", 2 | 3) => match (half(146), half(148), half(150)) {
            (Some(CT_STATE | CT_STATE_BY_ALIAS), Some(0), Some(states)) => Some((states, 256)),
            _ => None,
        },
        ("match", "state", _) => word(data, 0).map(|states| (states, 64)),
        _ => None,
    };
    states.map_or(kind.clone(), |(states, untracked)| with_states(&kind, states, untracked))
}

/// `untracked` is the bit of that state, which the interfaces number differently.
pub fn with_states(label: &str, states: u32, untracked: u32) -> String {
    let names =
        [(1, "invalid"), (2, "established"), (4, "related"), (8, "new"), (untracked, "untracked")];
    let told: u32 = names.iter().map(|(bit, _)| bit).sum();
    if states == 0 || states & !told != 0 {
        return label.to_string();
    }
    let words = names.iter().filter(|(bit, _)| states & bit != 0).map(|(_, name)| *name);
    format!("{label} {}", words.collect::<Vec<_>>().join(","))
}

/// The network of an address and a mask, and whether it is told whole: of a mask with gaps the
/// leading ones are a larger network.
pub fn network(address: &[u8], mask: &[u8]) -> Option<(String, bool)> {
    let ones: u32 = mask.iter().map(|b| b.count_ones()).sum();
    let mut length = 0;
    for byte in mask {
        length += byte.leading_ones();
        if *byte != 0xff {
            break;
        }
    }
    let kept: Vec<u8> = (0..address.len() as u32)
        .map(|i| address[i as usize] & !(0xff_u16 >> length.saturating_sub(i * 8).min(8)) as u8)
        .collect();
    let address = match kept.len() {
        4 => IpAddr::from(<[u8; 4]>::try_from(kept).ok()?),
        _ => IpAddr::from(<[u8; 16]>::try_from(kept).ok()?),
    };
    (length > 0).then(|| (format!("{address}/{length}"), length == ones))
}
