//! A journal that is damaged, or that others may have written, is never taken for another one:
//! whatever becomes of its bytes, it reads as it was, lacks only what was cut off at its end, or is
//! refused, and then nothing at all is written.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod repair;
#[path = "../support/mod.rs"]
mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, chown, symlink};
use std::path::Path;
use std::time::Duration;

use nettune::engine::folder::Folder;
use nettune::engine::lines::Lines;
use nettune::engine::repair::Repair;
use nettune::engine::store::{Lock, Store};
use nettune::engine::{Exit, Observe, Refusal};
use nettune::model::{Resource, State, Want};
use nettune::tweaks::TWEAKS;
use support::{Memory, Wants, apply, rollback, selected, tempdir, verify, want, world};

const SOMAXCONN: &str = "sysctl:net.core.somaxconn";
const RMEM: &str = "sysctl:net.core.rmem_max";

fn sets(key: &str, value: &str) -> Vec<nettune::engine::row::Selected> {
    let name = TWEAKS.iter().find(|t| t.name == "tcp").unwrap().name;
    vec![selected(name, Some(Wants(vec![want(key, Want::is(value))])))]
}

fn value(host: &Memory, key: &str) -> String {
    host.get(&key.parse::<Resource>().unwrap()).text().unwrap().to_string()
}

/// Two applies: four records, without the empty one that it begins with.
fn journal(dir: &Path) -> (Memory, Vec<u8>) {
    let mut host = world();
    apply(&mut host, dir, &sets(SOMAXCONN, "8192")).unwrap();
    apply(&mut host, dir, &sets(SOMAXCONN, "16384")).unwrap();
    let text = fs::read(dir.join("journal.jsonl")).unwrap();
    let records = lines(&text);
    assert_eq!(records.len(), 5);
    let text = records[1..].concat();
    put(dir, &text);
    (host, text)
}

/// Recorded by the nettune of commit ad56d14 with a wish of each kind: before any checksum, and before kinds had
/// their rows. Whole, it is verified and rolled back; without its last line it died in its second stage.
#[test]
fn what_an_older_nettune_did_is_undone() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/journals/ad56d14");
    let states = |name: &str| -> BTreeMap<Resource, State> {
        let table: toml::Table = fs::read_to_string(folder.join(name)).unwrap().parse().unwrap();
        table.iter().map(|(r, s)| (r.parse().unwrap(), State::is(s.as_str().unwrap()))).collect()
    };
    let text = fs::read(folder.join("journal.jsonl")).unwrap();
    let records = lines(&text);
    for kept in [records.len(), records.len() - 1] {
        let (dir, mut host) = (tempdir(), world());
        host.states = states("after.toml");
        let kinds: BTreeSet<&str> = host.states.keys().map(|r| r.kind().name).collect();
        assert_eq!(kinds.len(), 26, "{kinds:?}");
        put(dir.path(), &records[..kept].concat());
        fs::set_permissions(dir.path().join("journal.jsonl"), Permissions::from_mode(0o600))
            .unwrap();
        if kept == records.len() {
            let answer = verify(&host, dir.path());
            assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
        }
        let answer = rollback(&mut host, dir.path()).unwrap();
        assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
        host.states.retain(|_, state| *state != State::Absent);
        assert_eq!(host.states, states("before.toml"), "{kept} records");
    }
}

/// A line of an older nettune has no checksum: a change whose baseline is not there is no change from nothing.
#[test]
fn a_change_without_its_baseline_is_damaged() {
    let text = include_str!("../journals/ad56d14/journal.jsonl");
    assert!(said(text.as_bytes()).is_some());
    for key in ["before", "after", "now", "mac", "bus"] {
        let name = format!("\"{key}\":");
        assert!(text.contains(&name), "{key}");
        assert!(said(text.replacen(&name, "\"x\":", 1).as_bytes()).is_none(), "{key}");
    }
}

/// As lines, what a journal says; None when it is damaged.
fn said(text: &[u8]) -> Option<Vec<String>> {
    let lines = Lines::of(text).all;
    lines.into_iter().map(|l| l.read.ok().map(|r| format!("{r:?}"))).collect()
}

fn lines(text: &[u8]) -> Vec<Vec<u8>> {
    text.split_inclusive(|b| *b == b'\n').map(<[u8]>::to_vec).collect()
}

/// As it was written before there were checksums.
fn without_sum(line: &[u8]) -> Vec<u8> {
    let text = std::str::from_utf8(line).unwrap();
    let (content, sum) = text.split_once(",\"sum\":").unwrap();
    assert_eq!(sum.len(), 20, "{sum}");
    format!("{content}}}\n").into_bytes()
}

fn config(error: &anyhow::Error) {
    let refusal = error.downcast_ref::<Refusal>().unwrap_or_else(|| panic!("{error:#}"));
    assert_eq!(refusal.exit, Exit::Config, "{error:#}");
    assert_eq!(error.to_string().lines().count(), 1, "{error:#}");
}

fn put(dir: &Path, text: &[u8]) {
    fs::write(dir.join("journal.jsonl"), text).unwrap();
}

/// Every verb that writes refuses, in one line that says `why`, and leaves everything as it is.
fn refused(host: &mut Memory, dir: &Path, why: &str) {
    let files = |dir: &Path| -> Vec<(String, Vec<u8>)> {
        let entries = fs::read_dir(dir).unwrap().map(|e| e.unwrap());
        let name = |e: &fs::DirEntry| e.file_name().into_string().unwrap();
        let entries = entries.filter(|e| name(e) != "lock" && e.file_type().unwrap().is_file());
        let mut all: Vec<_> = entries.map(|e| (name(&e), fs::read(e.path()).unwrap())).collect();
        all.sort();
        all
    };
    let (before, states, writes) = (files(dir), host.states.clone(), host.writes);
    for error in [
        apply(host, dir, &sets(RMEM, "4194304")).unwrap_err(),
        apply(host, dir, &[]).unwrap_err(),
        rollback(host, dir).unwrap_err(),
    ] {
        config(&error);
        assert!(error.to_string().contains(why), "{error:#}");
    }
    assert_eq!(files(dir), before, "{why}");
    assert_eq!((&host.states, host.writes), (&states, writes), "{why}");
}

fn unknown(host: &Memory, dir: &Path) {
    let store = Store::read(dir, &host.facts().unwrap()).unwrap();
    let why = store.trouble.clone().unwrap();
    assert!(store.unreadable && store.ledger.owned.is_empty(), "{why}");
    assert!(store.journal.warnings.contains(&why), "{why}");
}

#[test]
fn every_flipped_bit_is_found() {
    let dir = tempdir();
    let (mut host, text) = journal(dir.path());
    for bit in 0..text.len() * 8 {
        let mut flipped = text.clone();
        flipped[bit / 8] ^= 1 << (bit % 8);
        assert_eq!(said(&flipped), None, "bit {bit}: {:?}", String::from_utf8_lossy(&flipped));
        if bit % 997 == 0 {
            put(dir.path(), &flipped);
            refused(&mut host, dir.path(), "journal.jsonl:");
            unknown(&host, dir.path());
        }
    }
    put(dir.path(), &text);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(value(&host, SOMAXCONN), "4096");
}

#[test]
fn no_byte_makes_it_another_journal() {
    let dir = tempdir();
    let (_, text) = journal(dir.path());
    let text = lines(&text)[2..].concat();
    let whole = said(&text);
    for at in 0..text.len() {
        for byte in [0, b'\n', b'\r', b' ', b'"', b'\\', b'{', b'}', b',', b'0', 0x80, 0xff] {
            let mut other = text.clone();
            other[at] = byte;
            if other == text {
                continue;
            }
            let said = said(&other);
            // The last line's end alone can be gone as if it had been cut off.
            let ends = at == text.len() - 1 && byte == 0 && said == whole;
            assert!(said.is_none() || ends, "byte {at} as {byte:?}");
        }
    }
}

#[test]
fn cut_at_any_byte_it_lacks_what_was_cut_off() {
    let dir = tempdir();
    let (_, text) = journal(dir.path());
    let whole = said(&text).unwrap();
    for at in 0..=text.len() {
        let cut = &text[..at];
        let ends = cut.iter().filter(|b| **b == b'\n').count();
        // A record that lacks only its line end is whole.
        let count = if at < text.len() && text[at] == b'\n' { ends + 1 } else { ends };
        assert_eq!(said(cut).unwrap(), whole[..count], "cut at {at}");
        assert_eq!(
            Lines::of(cut).torn(cut),
            at > 0 && text[at - 1] != b'\n' && count == ends,
            "{at}"
        );
    }
}

#[test]
fn nul_bytes_at_the_end_are_a_power_cut_and_anywhere_else_damage() {
    let dir = tempdir();
    let (mut host, text) = journal(dir.path());
    // One record is as good as four, and quicker four thousand times.
    let first = &lines(&text)[0][..];
    let whole = said(first);
    for length in 1..=4096 {
        let nuls = vec![0; length];
        let after = [first, &nuls].concat();
        assert_eq!(said(&after), whole, "{length}");
        assert!(Lines::of(&after).torn(&after), "{length}");
        if length % 256 < 2 {
            let record = [first, b"{\"schema\":1,\"ty", &nuls].concat();
            assert_eq!(said(&record), whole, "{length}");
            assert_eq!(said(&[first, &nuls, b"\n"].concat()), None, "{length}");
            assert_eq!(said(&[&nuls, first].concat()), None, "{length}");
        }
    }
    put(dir.path(), &[&text[..], &[0; 512]].concat());
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::Fine);
    assert!(answer.notes.iter().any(|n| n.contains("cut off while written")), "{:?}", answer.notes);
    assert_eq!(value(&host, SOMAXCONN), "4096");
    let text = fs::read(dir.path().join("journal.jsonl")).unwrap();
    assert!(!text.contains(&0) && said(&text).unwrap().len() == 6);
}

#[test]
fn what_is_no_line_of_ours_is_refused() {
    let dir = tempdir();
    let (mut host, text) = journal(dir.path());
    let all = lines(&text);
    let with = |at: usize, line: &[u8]| {
        let mut all = all.clone();
        all[at] = line.to_vec();
        all.concat()
    };
    let string = String::from_utf8(text.clone()).unwrap();
    let renamed = String::from_utf8(all[0].clone()).unwrap().replace("\"sum\"", "\"rum\"");
    let mut swapped = all.clone();
    swapped.swap(0, 1);
    let cases: [(&str, Vec<u8>, &str); 13] = [
        ("CRLF", string.replace('\n', "\r\n").into_bytes(), "checksum is not whole"),
        ("glued", string.replacen('\n', "", 1).into_bytes(), "checksum is wrong"),
        ("twice", [&text[..], &all[3]].concat(), "it is line 4 once more"),
        ("a run again", [&text[..], &all[0], &all[1]].concat(), "it is line 1 once more"),
        ("BOM", [b"\xef\xbb\xbf", &text[..]].concat(), "journal.jsonl:1 cannot be read"),
        ("blanks", with(1, b"   \n"), "journal.jsonl:2 cannot be read"),
        ("Latin-1", with(2, b"{\"schema\":1,\"type\":\"\xe9\"}\n"), "it is not UTF-8"),
        ("no record", with(2, b"{\"schema\":1,\"type\":\"spell\"}\n"), "it is no record"),
        ("no JSON", with(0, b"schema\n"), "it is no JSON"),
        ("another field", with(0, renamed.as_bytes()), "checksum is not whole"),
        // The two records of a run are one process's.
        ("one sum gone", with(3, &without_sum(&all[3])), "only one has a checksum"),
        ("a line gone", all[1..].concat(), "whose beginning is not there"),
        ("another order", swapped.concat(), "whose beginning is not there"),
    ];
    for (name, text, why) in cases {
        put(dir.path(), &text);
        eprintln!("with {name}:");
        refused(&mut host, dir.path(), why);
        unknown(&host, dir.path());
    }
    // Nothing can be lost between two line ends.
    put(dir.path(), string.replace('\n', "\n\n").as_bytes());
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    put(dir.path(), &vec![b'\n'; (64 << 20) + 1]);
    refused(&mut host, dir.path(), "is longer than 67108864 bytes");
}

#[test]
fn a_journal_of_before_there_were_checksums_is_read() {
    let dir = tempdir();
    let (mut host, text) = journal(dir.path());
    let all = lines(&text);
    let old: Vec<u8> = all.iter().flat_map(|l| without_sum(l)).collect();
    assert_eq!(said(&old), said(&text));
    // An older nettune was put in its place for a run, and taken out again.
    let between: Vec<u8> =
        [&all[0][..], &all[1], &without_sum(&all[2]), &without_sum(&all[3])].concat();
    assert_eq!(said(&between), said(&text));
    put(dir.path(), &old);
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(value(&host, SOMAXCONN), "4096");
    let text = fs::read(dir.path().join("journal.jsonl")).unwrap();
    assert!(text.starts_with(&old) && said(&text).unwrap().len() == 6);
}
