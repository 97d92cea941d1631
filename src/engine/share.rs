//! The cluster's side of a lever: what this node's share in it is, what Cilium does here now, and
//! which levers fall with one that cannot be had.

use super::reason::Reason;
use super::row::{Cni, Owner, Row, Selected, Share, Status, verdict};
use crate::model::facts::Cilium;
use crate::model::{Context, Side, Tweak};

pub fn share(selected: &Selected, tweak: &dyn Tweak, cni: Cni, cx: &Context) -> Option<Share> {
    if selected.side == Side::Node {
        return None;
    }
    let cilium = cx.facts.agents.cilium.as_ref();
    // What asks for nothing here stands on nothing.
    let asks = !tweak.advice(cx).is_empty();
    let stands_on = if asks { tweak.stands_on() } else { &[] };
    let unseen = |status, reason| {
        let reasons = vec![reason];
        Some(Share { status, reasons, live: None, sources: Vec::new(), stands_on })
    };
    if selected.owner == Owner::Unwanted {
        return unseen(Status::Off, Reason::Unwanted(selected.name));
    }
    if cilium.is_none() && matches!(cni, Cni::Other | Cni::None) {
        return unseen(Status::Off, Reason::OtherCni);
    }
    if cilium.is_some_and(|c| c.starting) {
        return unseen(Status::Unknown, Reason::Starting);
    }
    let said = |name| Some((name, cilium?.said.get(name)?.clone()));
    let sources = selected.told.iter().copied().filter_map(said).collect();
    let (status, live) = (Status::Cilium, tweak.live(cx));
    let mut share = Share { status, reasons: Vec::new(), live, sources, stands_on };
    let (found, mut reasons) = verdict(&tweak.cluster_needs(cx));
    if share.holds() && cilium.is_some() {
        share.status = Status::Ok;
        // It runs, whatever this kernel is said to lack; what can be mended is told all the same.
        reasons.retain(Reason::can_be_mended);
    } else if found != Status::Ready {
        share.status = found;
    }
    let seen = share.live.as_ref().is_some_and(|l| l.now.is_some());
    if share.status != Status::Unsupported || seen {
        share.reasons.push(shown(selected, &share, cilium, cx));
    }
    share.reasons.extend(reasons);
    share.reasons.extend(tweak.warnings(cx).into_iter().map(Reason::from));
    let managed = cilium.and_then(|c| c.managed.clone());
    share.reasons.extend(managed.map(Reason::Managed));
    Some(share)
}

/// What Cilium does here beside what is wanted of it.
fn shown(selected: &Selected, share: &Share, cilium: Option<&Cilium>, cx: &Context) -> Reason {
    let Some(live) = &share.live else { return Reason::Decided(selected.name) };
    let (wanted, because) = (live.wanted.clone(), live.because.clone());
    match (cilium, live.now.clone()) {
        (None, _) => Reason::NoneHere { wanted },
        (Some(_), Some(now)) => Reason::Live { now, wanted, because },
        (Some(cilium), None) => {
            let why = cilium.unread.first().cloned();
            Reason::LiveUnknown { why, wanted, root: cx.facts.node.root }
        }
    }
}

/// What stands on a lever that cannot be had cannot be had either. The missing stone is named once,
/// with all that falls with it.
pub fn fall(rows: &mut [Row]) {
    loop {
        let falls = rows.iter().find_map(|row| {
            let share = row.cluster.as_ref().filter(|s| s.can() && !s.holds())?;
            let stone = share.stands_on.iter().find(|name| missing(rows, name))?;
            Some((row.name.clone(), root_of(rows, stone)))
        });
        let Some((name, stone)) = falls else { break };
        for row in rows.iter_mut() {
            let Some(share) = &mut row.cluster else { continue };
            if row.name == name {
                share.status = Status::Blocked;
                share.reasons.push(Reason::StandsOn(stone.clone()));
            }
        }
    }
    let fallen: Vec<(String, String)> = rows
        .iter()
        .filter_map(|r| Some((stands_on(r.cluster.as_ref()?)?.to_string(), r.name.clone())))
        .collect();
    for row in rows.iter_mut() {
        let with: Vec<String> =
            fallen.iter().filter(|(s, _)| *s == row.name).map(|(_, n)| n.clone()).collect();
        if let (Some(share), false) = (&mut row.cluster, with.is_empty()) {
            share.reasons.push(Reason::Falls(with));
        }
    }
}

/// The stone that it falls with.
fn stands_on(share: &Share) -> Option<&str> {
    share.reasons.iter().find_map(|reason| match reason {
        Reason::StandsOn(stone) => Some(stone.as_str()),
        _ => None,
    })
}

fn missing(rows: &[Row], name: &str) -> bool {
    let row = rows.iter().find(|r| r.name == name);
    row.and_then(|r| r.cluster.as_ref()).is_some_and(|s| !s.can() && !s.holds())
}

/// The stone below that is missing by itself.
fn root_of(rows: &[Row], stone: &str) -> String {
    let row = rows.iter().find(|r| r.name == stone);
    let below = row.and_then(|r| stands_on(r.cluster.as_ref()?));
    below.unwrap_or(stone).to_string()
}
