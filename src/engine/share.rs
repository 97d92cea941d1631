//! The cluster's side of a lever: what this node's share in it is, what Cilium does here now, and
//! which levers fall with one that cannot be had.

use super::row::{Cni, Owner, Reason, Row, Selected, Share, Status, verdict};
use crate::model::facts::Cilium;
use crate::model::{Context, Side, Tweak};

const STANDS_ON: &str = "stands-on";

pub fn share(selected: &Selected, tweak: &dyn Tweak, cni: Cni, cx: &Context) -> Option<Share> {
    if selected.side == Side::Node {
        return None;
    }
    let cilium = cx.facts.agents.cilium.as_ref();
    // What asks for nothing here stands on nothing.
    let asks = !tweak.advice(cx).is_empty();
    let stands_on = if asks { tweak.stands_on() } else { &[] };
    let unseen = |status, code, text: &str| {
        let reasons = vec![Reason::new(code, text)];
        Some(Share { status, reasons, live: None, sources: Vec::new(), stands_on })
    };
    if selected.owner == Owner::Unwanted {
        let text = format!("cilium.want.{} is false", selected.name);
        return unseen(Status::Off, "unwanted", &text);
    }
    if cilium.is_none() && matches!(cni, Cni::Other | Cni::None) {
        let text = "the profile says that this node's CNI is not Cilium";
        return unseen(Status::Off, "cni", text);
    }
    if cilium.is_some_and(|c| c.starting) {
        let text = "the agent is still starting: ask again";
        return unseen(Status::Unknown, "starting", text);
    }
    let said = |name| Some((name, cilium?.said.get(name)?.clone()));
    let sources = selected.told.iter().copied().filter_map(said).collect();
    let (status, live) = (Status::Cilium, tweak.live(cx));
    let mut share = Share { status, reasons: Vec::new(), live, sources, stands_on };
    let (found, mut reasons) = verdict(&tweak.cluster_needs(cx));
    if share.holds() && cilium.is_some() {
        share.status = Status::Ok;
        // It runs, whatever this kernel is said to lack; what can be mended is told all the same.
        reasons.retain(|r| r.fix.is_some());
    } else if found != Status::Ready {
        share.status = found;
    }
    let seen = share.live.as_ref().is_some_and(|l| l.now.is_some());
    if share.status != Status::Unsupported || seen {
        share.reasons.push(shown(selected, &share, cilium, cx));
    }
    share.reasons.extend(reasons);
    for warning in tweak.warnings(cx) {
        let mut reason = Reason::new(warning.code, warning.text);
        reason.fix = warning.fix;
        share.reasons.push(reason);
    }
    if let Some(cloud) = cilium.and_then(|c| c.managed.as_ref()) {
        let text = format!("{cloud} owns Cilium's configuration here");
        share.reasons.push(Reason::new("managed", text));
    }
    Some(share)
}

/// "Legacy -> BPF, because ...".
fn shown(selected: &Selected, share: &Share, cilium: Option<&Cilium>, cx: &Context) -> Reason {
    let Some(live) = &share.live else {
        let text = "Cilium decides this here; nettune leaves it alone";
        return Reason::new("cilium-owns", text).fix(format!(
            "set it in Cilium's Helm values, or owner = \"nettune\" in [{}]",
            selected.name
        ));
    };
    let wanted = &live.wanted;
    let because = live.because.as_ref().map(|b| format!(", because {b}")).unwrap_or_default();
    match (cilium, &live.now) {
        (None, _) => Reason::new("none-here", format!("no Cilium here: wants {wanted}")),
        (Some(_), Some(now)) if now == wanted => Reason::new("live", format!("{now}{because}")),
        (Some(_), Some(now)) => Reason::new("live", format!("{now} -> {wanted}{because}")),
        (Some(cilium), None) => {
            let why = cilium.unread.first().map(String::as_str);
            let why = why.unwrap_or("neither the agent nor its files tell");
            let reason = Reason::new("live-unknown", format!("unknown ({why}) -> {wanted}"));
            if cx.facts.node.root { reason } else { reason.fix("sudo nettune check") }
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
                let text = format!("falls with {stone}");
                share.reasons.push(Reason::new(STANDS_ON, text).of([stone.clone()]));
            }
        }
    }
    let fallen: Vec<(String, String)> = rows
        .iter()
        .flat_map(|r| {
            let reasons = r.cluster.iter().flat_map(|s| &s.reasons).filter(|x| x.code == STANDS_ON);
            reasons.flat_map(|x| &x.of).map(|stone| (stone.clone(), r.name.clone()))
        })
        .collect();
    for row in rows.iter_mut() {
        let with: Vec<&str> =
            fallen.iter().filter(|(s, _)| *s == row.name).map(|(_, n)| n.as_str()).collect();
        if let (Some(share), false) = (&mut row.cluster, with.is_empty()) {
            let text = format!("with it fall {}", with.join(", "));
            share.reasons.push(Reason::new("falls", text).of(with));
        }
    }
}

fn missing(rows: &[Row], name: &str) -> bool {
    let row = rows.iter().find(|r| r.name == name);
    row.and_then(|r| r.cluster.as_ref()).is_some_and(|s| !s.can() && !s.holds())
}

/// The stone below that is missing by itself.
fn root_of(rows: &[Row], stone: &str) -> String {
    let row = rows.iter().find(|r| r.name == stone);
    let reasons = row.and_then(|r| r.cluster.as_ref()).map(|s| &s.reasons);
    let below = reasons.into_iter().flatten().find(|r| r.code == STANDS_ON);
    below.and_then(|r| r.of.first().map(String::as_str)).unwrap_or(stone).to_string()
}
