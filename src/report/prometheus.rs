//! What is applied, in the text form of Prometheus: node_exporter's textfile collector reads it.

use std::time::{SystemTime, UNIX_EPOCH};

use super::view::Applied;
use crate::VERSION;
use crate::engine::reason::Reason;
use crate::engine::row::Row;
use crate::engine::verbs::Answer;

pub fn text(applied: &Applied, verified: &Answer) -> String {
    let mut out = String::new();
    let mut metric = |name: &str, help: &str, samples: Vec<(String, f64)>| {
        if samples.is_empty() {
            return;
        }
        out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} gauge\n"));
        for (labels, value) in samples {
            out.push_str(&format!("{name}{labels} {value}\n"));
        }
    };
    let version = format!("{{version=\"{VERSION}\"}}");
    metric("nettune_build_info", "The nettune that wrote this.", vec![(version, 1.0)]);
    let unknown = applied.unknown.is_some();
    metric(
        "nettune_journal_unreadable",
        "Whether the journal cannot be read: what is applied is unknown then.",
        vec![(String::new(), f64::from(u8::from(unknown)))],
    );
    if unknown {
        return out;
    }
    let profile = applied.profile.as_deref().unwrap_or_default();
    let some = !applied.tweaks.is_empty();
    let labels = format!("{{profile=\"{}\"}}", escaped(profile));
    let now = if some { labels } else { String::new() };
    metric(
        "nettune_applied",
        "Whether a profile is applied on this node.",
        vec![(now, f64::from(u8::from(some)))],
    );
    let since = applied.since.as_deref().and_then(|t| humantime::parse_rfc3339_weak(t).ok());
    let since = since.and_then(|t| t.duration_since(std::time::UNIX_EPOCH).ok());
    let since = since.map(|t| (String::new(), t.as_secs() as f64));
    metric(
        "nettune_applied_since_seconds",
        "When the oldest value that is held was written.",
        since.into_iter().collect(),
    );
    let held = applied.tweaks.iter();
    let held = held.map(|(t, n)| (format!("{{tweak=\"{}\"}}", escaped(t)), *n as f64)).collect();
    metric("nettune_tweak_resources", "Values that a tweak holds on this node.", held);
    let known = |id: &Option<String>| escaped(id.as_deref().unwrap_or_default());
    let info = format!(
        "{{profile=\"{}\",profile_hash=\"{}\",plan_id=\"{}\"}}",
        escaped(profile),
        known(&applied.profile_hash),
        known(&applied.plan_id)
    );
    let info = applied.run.iter().filter(|_| some).map(|_| (info.clone(), 1.0)).collect();
    metric("nettune_applied_info", "The profile as it was resolved, and its plan.", info);
    let lost = |row: &Row| {
        let not_held = |r: &&Reason| r.code() == "drift" || r.code() == "unreadable";
        let labels = format!("{{tweak=\"{}\"}}", escaped(&row.name));
        (labels, row.reasons.iter().filter(not_held).count() as f64)
    };
    let drift = verified.rows.iter().map(lost).collect();
    metric("nettune_tweak_drift", "Values that are not as they were applied or met.", drift);
    let asked = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0.0, |t| t.as_secs() as f64);
    metric(
        "nettune_verify_timestamp_seconds",
        "When the node was asked whether it holds what was applied.",
        vec![(String::new(), asked)],
    );
    let pending = vec![(String::new(), applied.pending.len() as f64)];
    metric("nettune_pending_runs", "Runs that died and are not finished yet.", pending);
    out
}

fn escaped(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::Exit;
    use crate::engine::row::Status;
    use crate::model::Side;

    #[test]
    fn nothing_applied_and_something() {
        let none = Answer { rows: Vec::new(), notes: Vec::new(), exit: Exit::Fine };
        let text = text(&Applied { unknown: Some("why".into()), ..Applied::default() }, &none);
        assert!(text.ends_with("nettune_journal_unreadable 1\n"), "{text}");
        let text = super::text(&Applied::default(), &none);
        assert!(text.contains("nettune_journal_unreadable 0\n"));
        assert!(text.contains("nettune_applied 0\n") && text.contains("nettune_pending_runs 0\n"));
        let mut applied = Applied { profile: Some("a\"b\\c".into()), ..Applied::default() };
        applied.since = Some("2026-01-02T03:04:05Z".into());
        applied.tweaks.insert("tcp".into(), 5);
        applied.run = Some("r".into());
        let mut row = Row::new("tcp", Side::Node, Status::Drifted);
        let (resource, now) = ("sysctl:vm.x".parse().unwrap(), String::new());
        row.reasons.push(Reason::NoLonger { resource, now, wanted: String::new() });
        let text = super::text(&applied, &Answer { rows: vec![row], ..none });
        assert!(text.contains("nettune_tweak_drift{tweak=\"tcp\"} 1\n"), "{text}");
        assert!(
            text.contains("nettune_applied_info{profile=\"a\\\"b\\\\c\",profile_hash"),
            "{text}"
        );
        assert!(text.contains("nettune_applied{profile=\"a\\\"b\\\\c\"} 1\n"), "{text}");
        assert!(text.contains("nettune_tweak_resources{tweak=\"tcp\"} 5\n"));
        assert!(text.contains("nettune_applied_since_seconds 1767323045\n"));
    }
}
