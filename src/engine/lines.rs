//! The lines of a journal: a record each, with a checksum over what is before it. Only what follows
//! the last line end can have been cut off while it was written; any other line that cannot be read
//! is damaged.

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::io::{self, BufRead};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::record::{Record, SCHEMA};
use crate::model::hex;

/// What ends a line, the checksum between. An older nettune reads over it.
const BEFORE: &[u8] = br#","sum":""#;
const AFTER: &[u8] = br#""}"#;
/// The first half of SHA-256's hexadecimal digits is plenty against chance.
const DIGITS: usize = 16;

#[derive(Serialize, Deserialize)]
struct Content {
    schema: u32,
    #[serde(flatten)]
    record: Record,
}

pub enum Bad {
    /// Of a newer schema.
    Newer(u32),
    /// A copy of the line with that number.
    Twice(usize),
    Damaged(String),
}

pub struct Line<'a> {
    pub number: usize,
    /// Without its line end.
    pub bytes: &'a [u8],
    pub read: Result<Record, Bad>,
    /// Has a checksum, and it is right.
    summed: bool,
}

pub struct Lines<'a> {
    pub all: Vec<Line<'a>>,
    /// Where what was cut off begins.
    pub whole: usize,
}

/// Where a journal ends.
pub struct End {
    pub length: u64,
    /// Where what was cut off begins.
    pub whole: u64,
    /// The last line is whole but for its line end.
    pub open: bool,
}

/// A record as a line, with its end.
pub fn write(record: &Record) -> serde_json::Result<Vec<u8>> {
    let mut line = serde_json::to_vec(&Content { schema: SCHEMA, record: record.clone() })?;
    line.pop();
    let sum = sum(&line);
    for part in [BEFORE, sum.as_bytes(), AFTER, b"\n"] {
        line.extend_from_slice(part);
    }
    Ok(line)
}

fn sum(bytes: &[u8]) -> String {
    hex(&Sha256::digest(bytes)[..DIGITS / 2])
}

/// Hands out the lines of a journal as they are read: it may be long, and what it makes of the node is short.
pub fn each(mut input: impl BufRead, mut take: impl FnMut(Line)) -> io::Result<End> {
    let (mut fit, mut bytes) = (Fit::default(), Vec::new());
    let (mut length, mut number) = (0, 0);
    loop {
        bytes.clear();
        let read = input.read_until(b'\n', &mut bytes)?;
        number += 1;
        let mut hand_out = |bytes: &[u8]| {
            let mut line = Line::of(number, bytes);
            fit.fit(&mut line);
            take(line);
        };
        match bytes.split_last() {
            None => return Ok(End { length, whole: length, open: false }),
            Some((b'\n', rest)) => {
                if !rest.is_empty() {
                    hand_out(rest);
                }
                length += read as u64;
            }
            Some(_) => {
                let whole = without_end(&bytes);
                whole.into_iter().for_each(hand_out);
                let (end, open) = (whole.map_or(0, <[u8]>::len), whole.is_some());
                return Ok(End { length: length + read as u64, whole: length + end as u64, open });
            }
        }
    }
}

/// What is behind the last line end, where it is a whole record that had its own once: anything but NUL may follow
/// it. A file system may have given the file its length and not its bytes: they are NUL then.
fn without_end(rest: &[u8]) -> Option<&[u8]> {
    let length = rest.iter().rposition(|b| *b != 0).map_or(0, |at| at + 1);
    let rest = &rest[..length];
    let mut value = serde_json::Deserializer::from_slice(rest).into_iter::<serde_json::Map<_, _>>();
    matches!(value.next(), Some(Ok(_))).then_some(rest)
}

impl<'a> Lines<'a> {
    pub fn of(text: &'a [u8]) -> Self {
        let end = text.iter().rposition(|b| *b == b'\n').map_or(0, |at| at + 1);
        let mut all: Vec<Line> = text[..end]
            .split(|b| *b == b'\n')
            .enumerate()
            .filter(|(_, bytes)| !bytes.is_empty())
            .map(|(at, bytes)| Line::of(at + 1, bytes))
            .collect();
        let mut lines = Lines { all: Vec::new(), whole: end };
        if let Some(rest) = without_end(&text[end..]) {
            let number = text[..end].iter().filter(|b| **b == b'\n').count() + 1;
            all.push(Line::of(number, rest));
            lines.whole = end + rest.len();
        }
        lines.all = fitted(all);
        lines
    }

    pub fn torn(&self, text: &[u8]) -> bool {
        self.whole < text.len()
    }
}

pub fn fitted(mut all: Vec<Line>) -> Vec<Line> {
    let mut fit = Fit::default();
    all.iter_mut().for_each(|line| fit.fit(line));
    all
}

/// Marks what cannot stand where it is: the same line twice, the end of a run that is not open.
#[derive(Default)]
struct Fit {
    /// By their hash: there may be a hundred thousand.
    seen: HashMap<u64, usize>,
    open: BTreeMap<String, bool>,
}

impl Fit {
    fn fit(&mut self, line: &mut Line) {
        let Ok(record) = &line.read else { return };
        // Its checksum is a hash of it.
        let summed = line.bytes.rsplit(|b| *b == b'"').nth(1).filter(|_| line.summed);
        let mut hash = DefaultHasher::new();
        summed.unwrap_or(line.bytes).hash(&mut hash);
        if let Some(first) = self.seen.insert(hash.finish(), line.number) {
            line.read = Err(Bad::Twice(first));
            return;
        }
        match record {
            Record::Begin(begin) => {
                self.open.insert(begin.run.clone(), line.summed);
            }
            Record::Owned(_) => self.open.clear(),
            Record::End(end) => {
                let why = match self.open.remove(&end.run) {
                    None => "it ends a run whose beginning is not there",
                    // One process wrote both.
                    Some(summed) if summed != line.summed => {
                        "of it and the beginning of its run only one has a checksum"
                    }
                    Some(_) => return,
                };
                line.read = Err(Bad::Damaged(why.to_string()));
            }
        }
    }
}

impl<'a> Line<'a> {
    pub fn of(number: usize, bytes: &'a [u8]) -> Self {
        let summed = checksum(bytes);
        let read = match summed {
            Some(false) => Err(Bad::Damaged("its checksum is wrong".to_string())),
            _ => read(bytes, summed.is_some()),
        };
        Line { number, bytes, read, summed: summed == Some(true) }
    }

    /// The records in a damaged line that are whole by their own checksums, and what else it holds:
    /// a line end may be lost, or something have come before it or behind.
    pub fn salvage(&self) -> (Vec<Line<'a>>, Vec<&'a [u8]>) {
        const HEAD: &[u8] = br#"{"schema":"#;
        let starts = self.bytes.windows(HEAD.len()).enumerate();
        let starts: Vec<usize> = starts.filter(|(_, w)| *w == HEAD).map(|(at, _)| at).collect();
        let (mut records, mut rest, mut done) = (Vec::new(), Vec::new(), 0);
        for (at, &start) in starts.iter().enumerate() {
            // Within a record its quotes are escaped, so none goes beyond the next one's head.
            let next = starts.get(at + 1).copied().unwrap_or(self.bytes.len());
            let ends = self.bytes[start..next].windows(AFTER.len()).enumerate();
            let ends = ends.filter(|(_, w)| *w == AFTER).map(|(at, _)| start + at + AFTER.len());
            let whole = ends
                .map(|end| (end, &self.bytes[start..end]))
                .find(|(_, piece)| checksum(piece) == Some(true));
            if let Some((end, piece)) = whole.filter(|_| start >= done) {
                rest.push(&self.bytes[done..start]);
                records.push(Line::of(self.number, piece));
                done = end;
            }
        }
        rest.push(&self.bytes[done..]);
        // A line end, a mark or one byte in the place of a line end is nothing lost.
        rest.retain(|rest| {
            let rest = rest.strip_prefix(b"\xef\xbb\xbf").unwrap_or(rest).trim_ascii();
            rest.len() > 1 || records.is_empty() && !rest.is_empty()
        });
        (records, rest)
    }
}

/// Whether the checksum is right; None where a line does not end in one.
fn checksum(line: &[u8]) -> Option<bool> {
    let rest = line.strip_suffix(AFTER)?;
    let (rest, digits) = rest.split_at_checked(rest.len().checked_sub(DIGITS)?)?;
    let content = rest.strip_suffix(BEFORE)?;
    let lower = |b: &u8| matches!(b, b'0'..=b'9' | b'a'..=b'f');
    digits.iter().all(lower).then(|| sum(content).as_bytes() == digits)
}

fn read(bytes: &[u8], summed: bool) -> Result<Record, Bad> {
    let damaged = |why: String| Bad::Damaged(why);
    if bytes.contains(&0) {
        return Err(damaged("it holds NUL bytes".into()));
    }
    let text = std::str::from_utf8(bytes).map_err(|_| damaged("it is not UTF-8".into()))?;
    #[derive(Deserialize)]
    struct Head<'a> {
        schema: u32,
        #[serde(rename = "type")]
        kind: Option<&'a str>,
    }
    // As we write it; else it is looked for.
    let ours = text.strip_prefix(r#"{"schema":1,"type":""#).and_then(|rest| rest.split('"').next());
    let mut kind = ours;
    if ours.is_none()
        && let Ok(head) = serde_json::from_str::<Head>(text)
    {
        // A newer one may hold records that cannot even be parsed.
        if head.schema > SCHEMA {
            return Err(Bad::Newer(head.schema));
        }
        kind = head.kind;
    }
    // Told its kind it is read at once; as one of three it would first be kept as none of them.
    let record = match kind {
        Some("begin") => serde_json::from_str(text).map(Record::Begin),
        Some("end") => serde_json::from_str(text).map(Record::End),
        Some("owned") => serde_json::from_str(text).map(Record::Owned),
        _ => serde_json::from_str::<Content>(text).map(|content| content.record),
    };
    let record = record.map_err(|e| match e.is_data() {
        true => damaged(format!("it is no record: {e}")),
        false => damaged(format!("it is no JSON: {e}")),
    })?;
    // Before there were checksums a line had these fields and no other.
    if !summed {
        let fields: serde_json::Map<_, _> = serde_json::from_str(text).unwrap_or_default();
        let content = Content { schema: SCHEMA, record: record.clone() };
        let known = serde_json::to_value(&content).unwrap_or_default();
        if fields.keys().any(|key| known.get(key).is_none()) {
            return Err(damaged("its checksum is not whole".into()));
        }
    }
    Ok(record)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, Instant};

    use super::super::record::Begin;
    use super::*;

    #[test]
    fn damaged_records_in_one_line_are_tried_each_alone() {
        let record = |n: u32| {
            let begin = Begin { run: n.to_string(), verb: "x".repeat(200), ..Begin::default() };
            write(&Record::Begin(begin)).unwrap()
        };
        let whole: Vec<u8> = (0..3000).flat_map(record).filter(|b| *b != b'\n').collect();
        let damaged: Vec<u8> = whole.iter().map(|b| if *b == b'x' { b'y' } else { *b }).collect();
        let begin = Instant::now();
        for (line, had) in [(whole, 3000), (damaged, 0)] {
            assert_eq!(Line::of(1, &line).salvage().0.len(), had);
        }
        assert!(begin.elapsed() < Duration::from_secs(20), "{:?}", begin.elapsed());
    }
}
