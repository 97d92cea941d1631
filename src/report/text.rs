//! Words: what is no table.

use super::json::bake::BakeJson;
use super::json::runs::WaitingJson;
use super::view::Applied;
use super::when::when;
use crate::engine::row::Status;
use crate::model::bpf::{Coverage, Deep};
use crate::model::facts::Fact;
use crate::tweaks::{self, Entry};

pub struct Style {
    pub colour: bool,
    /// Columns of the terminal, or 100.
    pub width: usize,
}

impl Style {
    /// One colour for each status.
    pub fn status(&self, status: Status, word: &str) -> String {
        let code = match status {
            Status::Applied | Status::Ok => 32,
            Status::Ready => 36,
            Status::Held | Status::Blocked => 33,
            Status::Drifted | Status::Failed => 31,
            Status::Unknown => 35,
            Status::Cilium => 34,
            Status::Unsupported | Status::Off | Status::Later => 90,
        };
        self.paint(word, &code.to_string())
    }

    pub fn bold(&self, text: &str) -> String {
        self.paint(text, "1")
    }

    fn paint(&self, text: &str, code: &str) -> String {
        if self.colour { format!("\u{1b}[{code}m{text}\u{1b}[0m") } else { text.to_string() }
    }
}

pub fn status_name(status: Status) -> &'static str {
    match status {
        Status::Applied => "applied",
        Status::Ok => "ok",
        Status::Ready => "ready",
        Status::Held => "held",
        Status::Blocked => "blocked",
        Status::Unsupported => "unsupported",
        Status::Unknown => "unknown",
        Status::Cilium => "cilium",
        Status::Off => "off",
        Status::Drifted => "drifted",
        Status::Failed => "failed",
        Status::Later => "later",
    }
}

/// Names and values come from the node: what is no printable character is shown escaped.
pub fn clean(text: &str) -> String {
    if !text.chars().any(char::is_control) {
        return text.to_string();
    }
    text.chars()
        .map(|c| if c.is_control() { c.escape_default().to_string() } else { c.to_string() })
        .collect()
}

pub fn values(count: usize) -> String {
    if count == 1 { "1 value".to_string() } else { format!("{count} values") }
}

/// Breaks at white space, and a word that is longer than a line behind one of `/:,=`.
pub fn wrap(text: &str, width: usize, indent: &str) -> String {
    let mut out = String::new();
    let mut column = 0;
    let room = width.saturating_sub(indent.chars().count()).max(8);
    for word in text.split_whitespace().flat_map(|word| pieces(word, room)) {
        let length = word.chars().count();
        if column > 0 && column + 1 + length > width {
            out.push('\n');
            column = 0;
        }
        if column == 0 {
            out.push_str(indent);
            column = indent.chars().count();
        } else {
            out.push(' ');
            column += 1;
        }
        out.push_str(word);
        column += length;
    }
    out
}

/// None longer than `room`, where it has a place to break at.
fn pieces(word: &str, room: usize) -> Vec<&str> {
    let (mut all, mut rest) = (Vec::new(), word);
    while rest.chars().count() > room {
        let end = rest.char_indices().nth(room).map_or(rest.len(), |(at, _)| at);
        let Some(at) = rest[..end].rfind(['/', ':', ',', '=']).filter(|at| *at > 0) else { break };
        let (piece, more) = rest.split_at(at + 1);
        all.push(piece);
        rest = more;
    }
    all.push(rest);
    all
}

pub fn explain(entry: &Entry, style: &Style) -> String {
    let side = format!("{:?}", entry.side).to_lowercase();
    let mut out = format!("{}  ({side})  {}\n\n", style.bold(entry.name), entry.summary);
    let doc = &entry.doc;
    for (title, text) in [
        ("What it does", doc.what),
        ("What it costs", doc.cost),
        ("Needs", doc.needs),
        ("Impact", doc.impact),
        ("Source", doc.source),
    ] {
        out.push_str(&format!("{}\n{}\n\n", style.bold(title), wrap(text, style.width, "  ")));
    }
    let keys = tweaks::keys(entry);
    if !keys.is_empty() {
        out.push_str(&format!("{}\n", style.bold(&format!("Keys of [{}]", entry.name))));
        for key in keys {
            let indent = " ".repeat(22);
            let about = wrap(&key.about, style.width, &indent);
            out.push_str(&format!("  {:<19} {}\n", key.name, about.trim_start()));
        }
        out.push('\n');
    }
    let drivers = tweaks::drivers(entry);
    if !drivers.is_empty() {
        out.push_str(&format!("{}\n", style.bold("Drivers")));
        for (name, known) in drivers {
            let known = wrap(&known, style.width, &" ".repeat(14));
            out.push_str(&format!("  {name:<11} {}\n", known.trim_start()));
        }
        out.push('\n');
    }
    out
}

pub fn baked(bake: &BakeJson) -> String {
    let mut out = String::new();
    let mut line = |text: String| {
        out.push_str(&clean(&text));
        out.push('\n');
    };
    if let Some(count) = bake.undone {
        line(format!("{}: {count} files and folders taken out again", bake.root));
    }
    if let (Some(profile), Some(arch)) = (&bake.profile, &bake.arch) {
        let kernels = if bake.kernels.is_empty() { "none".into() } else { bake.kernels.join(" ") };
        line(format!("{}: {profile}, {arch}, kernels {kernels}", bake.root));
    }
    for file in &bake.files {
        let mode = file.mode.as_deref().unwrap_or("link");
        let mark = if file.replaced { "  (changed)" } else { "" };
        line(format!("  {mode}  {}{mark}", file.path));
    }
    for finding in &bake.findings {
        let status = status_name(finding.status);
        line(format!("{}: {} is {status}: {}", finding.kernel, finding.tweak, finding.text));
    }
    for differs in &bake.differ {
        line(differs.clone());
    }
    out
}

fn confirm(waiting: &WaitingJson) -> String {
    let what = match &waiting.profile {
        Some(profile) => format!("{} of {profile}", waiting.verb),
        None => waiting.verb.clone(),
    };
    let line = match (&waiting.ended, waiting.seconds_left) {
        (Some(ended), _) => {
            format!("{what} ({}) was taken back at {}: {}", waiting.run, ended.time, ended.why)
        }
        (None, 0) => {
            format!("{what} ({}) was not confirmed in time and is to be taken back", waiting.run)
        }
        (None, left) => {
            format!(
                "{what} ({}) is taken back in {left} s unless you say: nettune confirm",
                waiting.run
            )
        }
    };
    let notes = waiting.ended.iter().flat_map(|e| &e.notes).map(|n| format!("  {}\n", clean(n)));
    format!("{}\n{}", clean(&line), notes.collect::<String>())
}

pub fn status(applied: &Applied, waiting: Option<&WaitingJson>, verbose: bool) -> String {
    let mut out = waiting.map(confirm).unwrap_or_default();
    for line in &applied.pending {
        out.push_str(&format!("{}\n", clean(line)));
    }
    if let Some(why) = &applied.unknown {
        out.push_str(&format!("what is applied is unknown: {}\n", clean(why)));
        return out;
    }
    if applied.tweaks.is_empty() {
        // A run that was cut off has said so already.
        if applied.pending.is_empty() {
            out.push_str("nothing is applied\n");
        }
        return out;
    }
    let profile = applied.profile.as_deref().unwrap_or("no profile");
    let since = applied.since.as_deref().map_or_else(|| "-".to_string(), when);
    out.push_str(&format!("profile {}, applied since {since}\n", clean(profile)));
    let told =
        [("profile", &applied.profile_hash), ("plan", &applied.plan_id), ("run", &applied.run)];
    let told: Vec<String> =
        told.iter().filter_map(|(what, id)| Some(format!("{what} {}", id.as_ref()?))).collect();
    if !told.is_empty() {
        out.push_str(&format!("by {}: nettune log has who and how\n", told.join(", ")));
    }
    for (tweak, count) in &applied.tweaks {
        out.push_str(&format!("  {tweak:<22} {}\n", values(*count)));
        for (_, resource, state) in applied.values.iter().filter(|v| verbose && v.0 == *tweak) {
            let line = format!("{resource}: {}", resource.shown(state));
            out.push_str(&format!("    {}\n", clean(&line)));
        }
    }
    if let Some(bpf) = &applied.bpf {
        out.push_str(&coverage(bpf));
    }
    out.push_str("nettune verify asks whether it still holds; nettune rollback puts it back\n");
    out
}

pub fn deep(deep: &Deep) -> String {
    let mut out = String::new();
    for probed in &deep.kernel {
        let answer = match &probed.answer {
            Fact::Known(true) => "yes".to_string(),
            Fact::Known(false) => format!("no (kernels from {} may have it)", probed.since),
            Fact::Unknown { unknown } => format!("could not tell: {}", clean(unknown)),
        };
        out.push_str(&format!("  {:<32} {answer}\n", probed.name));
    }
    let driver = deep.driver.as_deref().unwrap_or("no driver");
    let answer = match deep.native {
        Some(true) => "takes a program in native mode",
        Some(false) => "takes no program in native mode as it is",
        None => "was not asked",
    };
    out.push_str(&format!("{} ({}) {answer}\n", clean(&deep.link), clean(driver)));
    let mut line =
        |what: &str, text: String| out.push_str(&format!("  {what:<32} {}\n", clean(&text)));
    if let Some(said) = &deep.said {
        line("because", said.clone());
    }
    let limit = |n: u32| if n == 0 { "no limit".to_string() } else { n.to_string() };
    let with = deep.max_mtu_with_program.map(|m| format!(", with a program {}", limit(m)));
    line(
        "mtu",
        format!("{}, at most {}{}", deep.mtu, limit(deep.max_mtu), with.unwrap_or_default()),
    );
    if let Some(channels) = &deep.channels {
        let with = deep.channels_with_program.as_ref().filter(|c| *c != channels);
        let with = with.map(|c| format!(", with a program {c}")).unwrap_or_default();
        line("channels", format!("{channels}{with}"));
    }
    if let Some(known) = &deep.known {
        line("driver table", known.clone());
    }
    out
}

fn coverage(bpf: &Coverage) -> String {
    let packets = |counts: &std::collections::BTreeMap<String, u64>| {
        let mut all: Vec<(&String, &u64)> = counts.iter().collect();
        all.sort_by_key(|(_, n)| std::cmp::Reverse(**n));
        let words: Vec<String> = all.iter().map(|(why, n)| format!("{why} {n}")).collect();
        if words.is_empty() { "no packets yet".to_string() } else { words.join(", ") }
    };
    let mut out = String::new();
    if !bpf.host_routing.is_empty() {
        let others = match bpf.host_routing.len().saturating_sub(bpf.covered_pod_links) {
            0 => String::new(),
            others => format!(" and {others} other links"),
        };
        out.push_str(&format!(
            "  host routing covers {} of {} pod links{others}; {}\n",
            bpf.covered_pod_links,
            bpf.pod_links,
            packets(&bpf.host_routing_packets)
        ));
    }
    if !bpf.xdp.is_empty() {
        let links = bpf.xdp.iter().map(|l| clean(l)).collect::<Vec<_>>().join(", ");
        out.push_str(&format!("  XDP on {links}; {}\n", packets(&bpf.xdp_packets)));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn control_characters_are_shown_not_obeyed() {
        assert_eq!(clean("a\u{1b}[31mb\n"), "a\\u{1b}[31mb\\n");
    }

    #[test]
    fn wrapping_keeps_words_and_width() {
        let text = wrap("one two three four", 10, "  ");
        assert_eq!(text, "  one two\n  three\n  four");
    }
}
