//! Cilium's rows of `check`: what is live, what is wanted, and the Helm values that lead there.

use super::grid::Grid;
use super::reasons::{fix, text};
use super::text::{Style, clean, wrap};
use super::view::View;
use crate::cilium::diff::{Diff, Finding, Kind};
use crate::cilium::version::{DEFAULT, Version};
use crate::engine::reason::Reason;
use crate::engine::row::{Cni, Row, Status};
use crate::model::facts::Cilium;

/// Rows that stand among Cilium's: what cannot be had here stands with its like.
pub fn shown(row: &Row) -> bool {
    row.ciliums
        && matches!(row.status, Status::Cilium | Status::Ok | Status::Blocked | Status::Unknown)
}

/// The version that values are for: the profile's, else that of the agent, else the newest.
pub fn version(view: &View) -> Version {
    let named = view.profile.and_then(|p| p.cilium("version"));
    let agent = view.facts.agents.cilium.as_ref().and_then(|c| c.version.as_deref());
    let parsed = named.or(agent).and_then(|text| Version::parse(text).ok());
    parsed.map_or(DEFAULT, |v| Version { patch: None, ..v })
}

/// Neither Cilium nor a kubelet is here, and nobody says that Cilium will be.
pub fn foreign(view: &View) -> bool {
    let agents = &view.facts.agents;
    let told = view.profile.is_some_and(|p| p.cni() == Cni::Cilium);
    agents.cilium.is_none() && !view.facts.kubernetes() && !told
}

/// What the row goes by, and where each was read.
pub fn sources(row: &Row) -> Vec<String> {
    let said = row.cluster.iter().flat_map(|share| &share.sources);
    said.map(|(name, s)| clean(&format!("by {name} {} ({})", s.value, s.source))).collect()
}

/// The command that leads on; none while its agent is starting.
pub fn next(view: &View) -> String {
    match view.facts.agents.cilium.as_ref().is_some_and(|c| c.starting) {
        true => String::new(),
        false => format!("nettune cilium values --cilium {}", version(view)),
    }
}

pub fn brief(cilium: &Cilium) -> String {
    let version = cilium.version.as_deref().map(|v| format!(" {v}")).unwrap_or_default();
    let refused = |why: &String| why.contains("Connection refused");
    let agent = match (cilium.agent_up, &cilium.unread[..]) {
        (true, _) if cilium.starting => "starting",
        (true, _) => "up",
        (false, []) => "down",
        (false, unread) if unread.iter().any(refused) => "down",
        (false, _) => "unknown",
    };
    let ipam = cilium.key("ipam").map(|i| format!("{i}, ")).unwrap_or_default();
    let managed = cilium.managed.as_deref().map(|m| format!(", managed: {m}")).unwrap_or_default();
    format!("Cilium{version} ({ipam}agent {agent}{managed})")
}

pub fn advice(row: &Row, version: Version) -> Option<String> {
    if !matches!(row.status, Status::Cilium) {
        return None;
    }
    let values: Vec<_> = row.advice.iter().filter(|v| version.within(v.cilium)).collect();
    if values.is_empty() {
        return None;
    }
    let pairs: Vec<String> =
        values.iter().map(|v| format!("{}={}", v.key, clean(&v.value))).collect();
    let mut line = format!("-> {}", pairs.join(" "));
    if values.iter().any(|v| v.new_node_only) {
        line.push_str("; new nodes only");
    } else if values.iter().any(|v| v.drops) {
        line.push_str("; cuts open connections");
    }
    Some(line)
}

pub fn group(rows: &[&Row], view: &View, style: &Style, width: usize, verbose: bool) -> String {
    let version = version(view);
    let mut grid = Grid::new(style, width);
    let mut own = 0;
    let brief =
        |r: &Row| r.status == Status::Ok || fallen(r) || r.reasons.contains(&Reason::Starting);
    let whole = |r: &Row| verbose || !brief(r);
    for row in rows.iter().filter(|r| whole(r)) {
        let mut lines = Vec::new();
        for reason in &row.reasons {
            lines.push(clean(&text(reason)));
            lines.extend(fix(reason).map(|fix| format!("-> {}", clean(&fix))));
        }
        lines.extend(advice(row, version));
        if verbose {
            lines.extend(sources(row));
        }
        grid.push(row, &lines);
        own += 1;
    }
    let mut out = if own > 0 { grid.render() } else { String::new() };
    let names = |of: &dyn Fn(&Row) -> bool| -> Vec<&str> {
        rows.iter().filter(|r| of(r) && !whole(r)).map(|r| r.name.as_str()).collect()
    };
    let mut line = |title: &str, names: Vec<&str>| {
        if !names.is_empty() {
            let text = wrap(&names.join(" "), style.width, "                  ");
            out.push_str(&format!("  {title:<16}{}\n", text.trim_start()));
        }
    };
    line("fall with these", names(&fallen));
    let starting = names(&|r| r.reasons.contains(&Reason::Starting));
    let any_starting = !starting.is_empty();
    line("starting", starting);
    line("as wanted", names(&|r| r.status == Status::Ok));
    if any_starting {
        out.push_str("                  the agent is still starting: ask again\n");
    }
    for row in rows.iter().filter(|r| r.status == Status::Ok && !whole(r)) {
        // Known trouble of what runs is shown all the same.
        let known = |r: &&Reason| !matches!(r, Reason::Live { .. } | Reason::Managed(_));
        for reason in row.reasons.iter().filter(known) {
            let then = fix(reason).map(|f| format!(" -> {f}")).unwrap_or_default();
            let line = format!("{}: {}{}", row.name, clean(&text(reason)), clean(&then));
            let line = wrap(&line, style.width, "                  ");
            out.push_str(&format!("{line}\n"));
        }
    }
    out
}

/// Nothing is missing of its own: what it stands on is.
fn fallen(row: &Row) -> bool {
    row.status == Status::Blocked && row.reasons.iter().any(|r| matches!(r, Reason::StandsOn(_)))
}

/// What contradicts first, then what is missing, then what is as it should be.
pub fn diff(diff: &Diff, style: &Style) -> String {
    let title = format!("cilium-config against {} nodes, Cilium {}", diff.nodes, diff.cilium);
    let mut out = format!("{}\n", style.bold(&title));
    let groups =
        [(Kind::Contradictory, "CONTRADICTORY"), (Kind::Missing, "MISSING"), (Kind::Set, "SET")];
    let indent = "      ";
    for (kind, title) in groups {
        let of: Vec<&Finding> = diff.findings.iter().filter(|f| f.kind == kind).collect();
        if of.is_empty() {
            continue;
        }
        out.push_str(&format!("{}\n", style.bold(title)));
        for finding in of {
            let keys = finding.keys.iter().map(|k| match (&k.now, &finding.wanted) {
                (Some(now), Some(wanted)) if kind == Kind::Missing => {
                    format!("{}: {now} -> {wanted}", k.key)
                }
                (None, Some(wanted)) if kind == Kind::Missing => {
                    format!("{}: absent -> {wanted}", k.key)
                }
                (Some(now), _) => format!("{}={now}", k.key),
                (None, _) => format!("{} absent", k.key),
            });
            let line = format!("{}  {}", finding.code, keys.collect::<Vec<_>>().join(", "));
            out.push_str(&format!("{}\n", wrap(&clean(&line), style.width, "  ")));
            if kind != Kind::Set {
                let text = wrap(&clean(&finding.consequence), style.width, indent);
                out.push_str(&format!("{text}\n"));
            }
        }
    }
    for left in &diff.left_out {
        let Some(why) = left.why.first() else { continue };
        let names = if why.examples.is_empty() {
            String::new()
        } else {
            format!(", e.g. {}", why.examples.join(", "))
        };
        let line = format!(
            "not asked for: {}: {} of {} nodes{names}: {}",
            left.lever, left.nodes, diff.nodes, why.text
        );
        out.push_str(&format!("{}\n", wrap(&clean(&line), style.width, "  ")));
    }
    for note in &diff.notes {
        out.push_str(&format!("{}\n", wrap(&clean(note), style.width, "")));
    }
    out
}
