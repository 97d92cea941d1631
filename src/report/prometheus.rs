//! What is applied, in the text form of Prometheus: node_exporter's textfile collector reads it.

use super::view::Applied;

pub fn text(applied: &Applied) -> String {
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

    #[test]
    fn nothing_applied_and_something() {
        let text = text(&Applied { unknown: Some("why".into()), ..Applied::default() });
        assert!(text.ends_with("nettune_journal_unreadable 1\n"), "{text}");
        let text = super::text(&Applied::default());
        assert!(text.contains("nettune_journal_unreadable 0\n"));
        assert!(text.contains("nettune_applied 0\n") && text.contains("nettune_pending_runs 0\n"));
        let mut applied = Applied { profile: Some("a\"b\\c".into()), ..Applied::default() };
        applied.since = Some("2026-01-02T03:04:05Z".into());
        applied.tweaks.insert("tcp".into(), 5);
        let text = super::text(&applied);
        assert!(text.contains("nettune_applied{profile=\"a\\\"b\\\\c\"} 1\n"), "{text}");
        assert!(text.contains("nettune_tweak_resources{tweak=\"tcp\"} 5\n"));
        assert!(text.contains("nettune_applied_since_seconds 1767323045\n"));
    }
}
