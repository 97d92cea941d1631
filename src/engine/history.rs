//! The runs of the past, for people: what the journal has of them, and what it had before it was made short. Nothing that
//! undo needs is here: what cannot be read is left out.

use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::io::Cursor;

use anyhow::Result;
use sha2::{Digest, Sha256};

use super::folder::Folder;
use super::journal::{self, Journal};
use super::lines::{self, Line};
use super::record::{Begin, By, End, Record};
use crate::model::{Change, Facts, Outcome, Resource, State, hex};

pub const NAME: &str = "history.jsonl";
const MOST_RUNS: usize = 200;
const MOST_BYTES: usize = 4 << 20;

/// One call of a verb that wrote: its stages, in their order.
#[derive(Debug, Clone)]
pub struct Run {
    /// When it began, which is its name in the journal.
    pub time: String,
    pub stages: Vec<(Begin, Option<End>)>,
}

/// Eight hexadecimal digits for a run's time.
pub fn id(time: &str) -> String {
    hex(&Sha256::digest(time)[..4])
}

impl Run {
    /// Eight hexadecimal digits, for people to type.
    pub fn id(&self) -> String {
        id(&self.time)
    }

    pub fn first(&self) -> &Begin {
        &self.stages[0].0
    }

    pub fn by(&self) -> By {
        self.stages.iter().find_map(|(begin, _)| begin.by.as_deref().cloned()).unwrap_or_default()
    }

    /// Where it ended; None where it died.
    pub fn ended(&self) -> Option<&str> {
        let ends: Option<Vec<&End>> = self.stages.iter().map(|(_, end)| end.as_ref()).collect();
        ends?.last()?.time.as_deref()
    }

    pub fn died(&self) -> bool {
        self.stages.iter().any(|(_, end)| end.is_none())
    }

    /// Each change with what became of it; None where the run died before it said so.
    pub fn changes(&self) -> impl Iterator<Item = (&Change, Option<Outcome>)> {
        self.stages.iter().flat_map(|(begin, end)| {
            let done: BTreeMap<&Resource, Outcome> = end
                .iter()
                .flat_map(|end| &end.outcomes)
                .map(|done| (&done.resource, done.outcome))
                .collect();
            begin.changes.iter().map(move |c| (c, done.get(&c.resource).copied()))
        })
    }

    /// What it left otherwise than it found it: resource, value before it, value after it. What a stage of it undid again is
    /// no change.
    pub fn net(&self) -> BTreeMap<&Resource, (&State, &State)> {
        let mut net: BTreeMap<&Resource, (&State, &State)> = BTreeMap::new();
        let made = |outcome| matches!(outcome, None | Some(Outcome::Written));
        for (c, _) in self.changes().filter(|(_, outcome)| made(*outcome)) {
            net.entry(&c.resource).or_insert((&c.before, &c.after)).1 = &c.after;
        }
        net.retain(|_, (before, after)| before != after);
        net
    }

    fn given_back(&self) -> BTreeSet<&Resource> {
        let gone = |outcome| matches!(outcome, None | Some(Outcome::Written | Outcome::Released));
        let back = self.changes().filter(|(c, outcome)| c.back() && gone(*outcome));
        back.map(|(c, _)| &c.resource).collect()
    }

    /// By the name that its link has now, which had its own in this run; None where that link is gone.
    pub fn here(&self, resource: &Resource, facts: &Facts) -> Option<Resource> {
        let Some(name) = resource.link() else { return Some(resource.clone()) };
        let mut links = self.stages.iter().flat_map(|(begin, _)| &begin.links);
        match links.find(|id| id.name == name) {
            Some(id) => facts.links.iter().find(|l| id.is(l)).map(|l| resource.renamed(&l.name)),
            None => facts.link(name).map(|_| resource.clone()),
        }
    }
}

/// The runs that stand, by their place: what was taken back, to its end, does not, nor does the taking back, but for
/// that of one that had not stood. What left the node as it was is none.
pub fn standing(runs: &[Run]) -> Vec<usize> {
    let mut stand: Vec<usize> = Vec::new();
    for (at, run) in runs.iter().enumerate() {
        let back = run.by().takes_back;
        let of = |other: &usize| back.as_ref().is_some_and(|id| runs[*other].id() == *id);
        match stand.iter().position(of) {
            Some(place) if !run.died() => drop(stand.remove(place)),
            // It is tried again: the one that it takes back stands until it is done.
            Some(_) => {}
            None => {
                if back.is_none() && run.first().verb == "rollback" {
                    // Of a run that all of went back nothing stands either, whoever put it there.
                    let given = run.given_back();
                    stand.retain(|other| !runs[*other].net().keys().all(|r| given.contains(r)));
                }
                if !run.net().is_empty() {
                    stand.push(at);
                }
            }
        }
    }
    stand
}

/// All that is known of, the oldest first, with the records they are from: of a long journal the end.
pub fn runs(journal: &Journal) -> Result<(Vec<Run>, Vec<Record>)> {
    let mut kept = Kept { snapshots: true, ..Kept::default() };
    if let Some(folder) = journal.folder() {
        each(&read(folder), |line| kept.take(line));
        journal::records(folder, |line| kept.take(line))?;
    }
    // Together: an end is read only behind its beginning.
    let text: Vec<u8> = kept.lines.into_iter().flat_map(|(_, line)| line).collect();
    let mut records = Vec::new();
    each(&text, |line| records.extend(line.read));
    let mut runs: Vec<Run> = Vec::new();
    let mut seen = BTreeSet::new();
    for record in &records {
        match record {
            // A crash may have left what went into the history in the journal as well.
            Record::Begin(begin) if seen.insert(begin.run.clone()) => {
                let stage = (begin.clone(), None);
                match runs.iter_mut().rev().find(|run| run.time == begin.time) {
                    Some(run) => run.stages.push(stage),
                    None => runs.push(Run { time: begin.time.clone(), stages: vec![stage] }),
                }
            }
            Record::End(end) => {
                let stages = runs.iter_mut().rev().flat_map(|run| &mut run.stages);
                let stage = stages.into_iter().find(|(begin, _)| begin.run == end.run);
                stage.into_iter().for_each(|(_, place)| *place = Some(end.clone()));
            }
            Record::Begin(_) | Record::Owned(_) => {}
        }
    }
    // What was let go of or found met is no run of its own where nothing was changed.
    runs.retain(|run| run.stages.iter().any(|(begin, _)| !begin.changes.is_empty()));
    Ok((runs, records))
}

/// Takes over what the journal has of runs, before a snapshot replaces it.
pub fn keep(folder: &Folder) -> Result<()> {
    let mut kept = Kept::default();
    let old = read(folder);
    each(&old, |line| kept.take(line));
    journal::records(folder, |line| kept.take(line))?;
    let text: Vec<u8> = kept.lines.into_iter().flat_map(|(_, line)| line).collect();
    if text == old { Ok(()) } else { folder.replace(NAME, &text, 0o600) }
}

fn read(folder: &Folder) -> Vec<u8> {
    folder.read(NAME, MOST_BYTES as u64 * 2).ok().flatten().unwrap_or_default()
}

/// The last runs, within the bounds.
#[derive(Default)]
struct Kept {
    /// With what stands in place of earlier records.
    snapshots: bool,
    lines: VecDeque<(String, Vec<u8>)>,
    /// Lines of each run.
    runs: BTreeMap<String, usize>,
    seen: BTreeSet<[u8; 32]>,
    bytes: usize,
}

impl Kept {
    fn take(&mut self, line: Line) {
        match &line.read {
            Ok(Record::Begin(begin)) => self.push(&begin.run, line.bytes),
            Ok(Record::End(end)) => self.push(&end.run, line.bytes),
            Ok(Record::Owned(_)) if self.snapshots => {
                self.lines.push_back((String::new(), [line.bytes, b"\n"].concat()));
            }
            Ok(Record::Owned(_)) | Err(_) => {}
        }
    }

    fn push(&mut self, stage: &str, line: &[u8]) {
        if !self.seen.insert(Sha256::digest(line).into()) {
            return;
        }
        // "TIME 1", "TIME 2", "TIME undo" are one.
        let run = stage.split(' ').next().unwrap_or(stage).to_string();
        *self.runs.entry(run.clone()).or_default() += 1;
        self.bytes += line.len() + 1;
        self.lines.push_back((run, [line, b"\n"].concat()));
        while self.runs.len() > MOST_RUNS || self.bytes > MOST_BYTES {
            let Some((run, line)) = self.lines.pop_front() else { break };
            if let Some(left) = self.runs.get_mut(&run) {
                self.bytes -= line.len();
                *left -= 1;
                if *left == 0 {
                    self.runs.remove(&run);
                }
            }
        }
    }
}

fn each(text: &[u8], take: impl FnMut(Line)) {
    // Memory is read without an error.
    let _ = lines::each(Cursor::new(text), take);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn line(run: usize, stage: &str) -> Vec<u8> {
        let begin = Begin {
            run: format!("t{run} {stage}"),
            time: format!("t{run}"),
            boot: "b".into(),
            ..Begin::default()
        };
        lines::write(&Record::Begin(begin)).unwrap()
    }

    #[test]
    fn the_last_runs_are_kept_once() {
        let dir = tempfile::tempdir().unwrap();
        let folder = Folder::make(&dir.path().join("s")).unwrap();
        let keep = |journal: Vec<u8>| {
            folder.replace(journal::NAME, &journal, 0o600).unwrap();
            keep(&folder).unwrap();
        };
        keep((0..150).flat_map(|run| [line(run, "1"), line(run, "2")].concat()).collect());
        // The process died before the snapshot: the same once more, and more of it.
        keep((100..250).flat_map(|run| [line(run, "1"), line(run, "2")].concat()).collect());
        let text = folder.read(NAME, 1 << 20).unwrap().unwrap();
        let mut runs = Vec::new();
        each(&text, |line| match line.read {
            Ok(Record::Begin(begin)) => runs.push(begin.run),
            _ => panic!(),
        });
        assert_eq!(runs.len(), 400);
        assert_eq!((runs[0].as_str(), runs[399].as_str()), ("t50 1", "t249 2"));
        // What is no journal is no history, and does no harm.
        folder.replace(NAME, b"{\n\xff\n", 0o600).unwrap();
        keep(line(7, "1"));
        assert_eq!(folder.read(NAME, 1 << 20).unwrap().unwrap(), line(7, "1"));
    }
}
