//! What is left of a damaged journal, in words and as JSON.

use schemars::JsonSchema;
use serde::Serialize;

use super::json::envelope::envelope;
use super::json::rows::StateJson;
use super::text::clean;
use crate::engine::Exit;
use crate::engine::folder::Folder;
use crate::engine::journal::NAME;
use crate::engine::repair::{Lost, Repair};
use crate::engine::verbs::pending;

/// `journal`, `journal repair`.
#[derive(Serialize, JsonSchema)]
pub struct RepairJson {
    pub journal: String,
    pub lines: usize,
    /// How many records are whole.
    pub records: usize,
    /// The last one was cut off while it was written, and was never acted upon.
    pub torn: bool,
    /// Lines that are damaged, and nothing is lost with them.
    pub mended: Vec<usize>,
    pub lost: Vec<LostJson>,
    /// What is ours by what is left.
    pub owned: Vec<OwnedJson>,
    /// Runs of what is left that the next apply or rollback finishes.
    pub pending: Vec<String>,
    /// Whether lines were left out now.
    pub written: bool,
    /// Where the journal and undo.sh are kept as they were.
    pub copies: Vec<String>,
}

/// A line that is lost, and what can be read in it, for which nobody vouches.
#[derive(Serialize, JsonSchema)]
pub struct LostJson {
    pub line: usize,
    pub why: String,
    /// "begin", "end" or "owned".
    pub record: Option<String>,
    pub verb: Option<String>,
    pub profile: Option<String>,
    pub run: Option<String>,
    pub time: Option<String>,
    pub resources: Vec<NamedJson>,
}

#[derive(Serialize, JsonSchema)]
pub struct NamedJson {
    pub resource: String,
    /// Left out where it cannot be read.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub before: Option<StateJson>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub after: Option<StateJson>,
}

#[derive(Serialize, JsonSchema)]
pub struct OwnedJson {
    pub resource: String,
    /// What rollback puts back.
    pub before: StateJson,
    pub after: StateJson,
    pub tweaks: Vec<String>,
    /// A lost line may know an older value than `before`.
    pub doubtful: bool,
}

impl RepairJson {
    /// `copies` once it was carried out.
    pub fn of(folder: &Folder, repair: &Repair, copies: Option<Vec<String>>) -> Self {
        let owned = repair.owned().map(|(resource, owned)| OwnedJson {
            resource: resource.to_string(),
            before: (&owned.baseline).into(),
            after: owned.present().into(),
            tweaks: owned.claims.keys().cloned().collect(),
            doubtful: repair.doubtful(resource),
        });
        RepairJson {
            journal: folder.path(NAME).display().to_string(),
            lines: repair.lines,
            records: repair.records,
            torn: repair.torn,
            mended: repair.mended.clone(),
            lost: repair.lost.iter().map(LostJson::of).collect(),
            owned: owned.collect(),
            pending: pending(&repair.ledger),
            written: copies.as_ref().is_some_and(|c| !c.is_empty()),
            copies: copies.unwrap_or_default(),
        }
    }
}

impl LostJson {
    fn of(lost: &Lost) -> Self {
        let word = |key: &str| lost.words.get(key).cloned();
        let named = lost.named.iter().map(|n| NamedJson {
            resource: n.resource.clone(),
            before: n.before.as_ref().map(Into::into),
            after: n.after.as_ref().map(Into::into),
        });
        LostJson {
            line: lost.line,
            why: lost.why.clone(),
            record: word("type"),
            verb: word("verb"),
            profile: word("profile"),
            run: word("run"),
            time: word("time"),
            resources: named.collect(),
        }
    }

    fn lines(&self) -> Vec<String> {
        let known = [
            ("record", &self.record),
            ("verb", &self.verb),
            ("profile", &self.profile),
            ("time", &self.time),
        ];
        let known = known.iter().filter_map(|(k, v)| Some(format!("{k} {}", v.as_ref()?)));
        let known: Vec<String> = known.collect();
        let known = if known.is_empty() { "nothing".into() } else { known.join(", ") };
        let mut lines = vec![
            format!("line {} is lost: {}", self.line, self.why),
            format!("  still to be read in it: {known}"),
        ];
        lines.extend(self.resources.iter().map(|r| {
            let state = |s: &Option<StateJson>| s.as_ref().map_or("?".into(), shown);
            format!("    {}: {} -> {}", r.resource, state(&r.before), state(&r.after))
        }));
        lines
    }
}

fn shown(state: &StateJson) -> String {
    serde_json::to_string(state).unwrap_or_default()
}

pub fn json(repair: &RepairJson, exit: Exit) -> impl Serialize {
    envelope("journal", repair, exit)
}

pub fn text(repair: &RepairJson) -> String {
    let mut lines = vec![format!(
        "{}: {} lines, {} whole records",
        repair.journal, repair.lines, repair.records
    )];
    if repair.torn {
        lines.push("the last record was cut off while written; it was never acted upon".into());
    }
    lines.extend(repair.lost.iter().flat_map(LostJson::lines));
    for line in &repair.mended {
        lines.push(format!("line {line} is damaged; its records are whole and are kept"));
    }
    let damaged = !repair.lost.is_empty() || !repair.mended.is_empty();
    let left = if damaged { "by what is left, these are nettune's:" } else { "nettune's are:" };
    match repair.owned.is_empty() {
        true if damaged => lines.push("by what is left, nothing is nettune's".into()),
        true => lines.push("nothing is nettune's".into()),
        false => lines.push(left.into()),
    }
    for owned in &repair.owned {
        let doubt = if owned.doubtful { " (or what a lost line says)" } else { "" };
        lines.push(format!(
            "  {}: {}, rollback puts back {}{doubt}",
            owned.resource,
            shown(&owned.after),
            shown(&owned.before)
        ));
    }
    lines.extend(repair.pending.iter().cloned());
    if repair.written {
        lines.push(format!("kept as they were: {}", repair.copies.join(" ")));
        lines.push(
            "undo.sh is as it was; the next apply or rollback writes it anew from what is left: what is \
             lost is put back by its copy, or by hand"
                .into(),
        );
    } else if damaged {
        lines.push(
            "nothing was written: nettune journal repair --write leaves out what is lost, and keeps this \
             journal and undo.sh as they are under other names"
                .into(),
        );
    }
    lines.iter().map(|line| clean(line) + "\n").collect()
}
