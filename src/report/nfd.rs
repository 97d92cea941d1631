//! Node Feature Discovery's local feature file: a label a line, which NFD puts on the node, so that a
//! cluster gets them without nettune having any right in it.

use super::text::status_name;
use super::view::View;
use crate::cilium::render;
use crate::engine::row::Status;

const MOST: usize = 63;

pub fn labels(view: &View) -> String {
    let mut out = String::new();
    let mut label = |name: &str, text: &str| {
        if let Some(text) = value(text) {
            out.push_str(&format!("{name}={text}\n"));
        }
    };
    if let Some(profile) = view.profile {
        label("nettune.io/profile", &profile.name);
    }
    if let Some(cilium) = &view.facts.agents.cilium {
        label("nettune.io/cilium-version", cilium.version.as_deref().unwrap_or("unknown"));
        label("nettune.io/cilium-managed", cilium.managed.as_deref().unwrap_or_default());
    }
    for row in &view.answer.rows {
        label(&format!("nettune.io/{}", row.name), status_name(row.status));
        if let Some(share) = &row.cluster {
            let can = match share.status {
                Status::Ok | Status::Cilium => "can",
                Status::Unknown => "unknown",
                Status::Off => "unwanted",
                _ => "cannot",
            };
            label(&render::label(&row.name), can);
        }
    }
    out
}

/// As Kubernetes allows the value of a label: at most 63 of letters, digits, `-`, `_`, `.`, and a
/// letter or digit at both ends. Nothing when nothing is left.
fn value(text: &str) -> Option<String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let mapped: String = text.chars().map(|c| if fits(c) { c } else { '-' }).collect();
    let ends = |c: char| !c.is_ascii_alphanumeric();
    let cut: String = mapped.trim_start_matches(ends).chars().take(MOST).collect();
    let cut = cut.trim_end_matches(ends);
    (!cut.is_empty()).then(|| cut.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_labels() {
        assert_eq!(value("cilium-max").as_deref(), Some("cilium-max"));
        assert_eq!(
            value("/etc/nettune/my profile.toml").as_deref(),
            Some("etc-nettune-my-profile.toml")
        );
        assert_eq!(value("EKS Auto Mode").as_deref(), Some("EKS-Auto-Mode"));
        assert_eq!(value("\n=x\u{1b}[").as_deref(), Some("x"));
        assert_eq!(value("--"), None);
        assert_eq!(value(&"a".repeat(90)).map(|v| v.len()), Some(63));
    }
}
