//! A journal that is damaged, or that others may have written, is never taken for another one:
//! whatever becomes of its bytes, it reads as it was, lacks only what was cut off at its end, or is
//! refused, and then nothing at all is written.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

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
    let text = include_str!("journals/ad56d14/journal.jsonl");
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

fn repair(host: &Memory, dir: &Path) -> Repair {
    let folder = Folder::open(dir, true).unwrap().unwrap();
    Repair::of(&folder, &host.facts().unwrap()).unwrap()
}

#[test]
fn repair_keeps_every_record_that_is_whole() {
    let dir = tempdir();
    let (host, text) = journal(dir.path());
    let string = String::from_utf8(text.clone()).unwrap();
    let all = lines(&text);
    for other in [
        string.replace('\n', "\r\n").into_bytes(),
        string.replace('\n', "").into_bytes(),
        string.replacen('\n', "\u{b}", 2).into_bytes(),
        [b"\xef\xbb\xbf", &text[..]].concat(),
        [&text[..], &all[3], &all[0]].concat(),
    ] {
        put(dir.path(), &other);
        let repair = repair(&host, dir.path());
        assert!(repair.damaged() && repair.lost.is_empty(), "{:?}", repair.lost);
        let folder = Folder::open(dir.path(), true).unwrap().unwrap();
        let copies = repair.write(&folder, "now").unwrap();
        assert_eq!(fs::read(dir.path().join("journal.jsonl")).unwrap(), text);
        assert_eq!(fs::read(&copies[0]).unwrap(), other);
        for copy in copies {
            fs::remove_file(copy).unwrap();
        }
    }
    put(dir.path(), &text);
    assert!(!repair(&host, dir.path()).damaged());
}

#[test]
fn repair_says_what_is_lost_and_rollback_works_with_the_rest() {
    let dir = tempdir();
    let mut host = world();
    apply(&mut host, dir.path(), &sets(SOMAXCONN, "8192")).unwrap();
    let both = |rmem: &str| {
        let wants = [want(SOMAXCONN, Want::is("8192")), want(RMEM, Want::is(rmem))];
        [selected("tcp", Some(Wants(wants.into())))]
    };
    apply(&mut host, dir.path(), &both("4194304")).unwrap();
    let mut text = fs::read(dir.path().join("journal.jsonl")).unwrap();
    let undo = fs::read(dir.path().join("undo.sh")).unwrap();
    // In the second run's plan, where it says which run it is.
    let second = lines(&text)[..3].concat().len();
    let at = second + text[second..].windows(9).position(|w| w == b"\"version\"").unwrap();
    text[at + 1] ^= 1;
    put(dir.path(), &text);
    refused(&mut host, dir.path(), "journal.jsonl:4 cannot be read: its checksum is wrong");
    let found = repair(&host, dir.path());
    assert_eq!((found.lines, found.records, found.mended.len()), (5, 3, 0));
    let lost: Vec<usize> = found.lost.iter().map(|l| l.line).collect();
    assert_eq!(lost, [4, 5], "its end says nothing without it");
    assert_eq!(found.lost[0].words["verb"], "apply");
    assert_eq!(found.lost[0].words["type"], "begin");
    let named = &found.lost[0].named;
    let rmem = named.iter().find(|n| n.resource == RMEM).unwrap();
    assert_eq!(rmem.before.as_ref().unwrap().text(), Some("212992"));
    assert_eq!(rmem.after.as_ref().unwrap().text(), Some("4194304"));
    let owned: Vec<String> = found.owned().map(|(r, _)| r.to_string()).collect();
    assert_eq!(owned, [SOMAXCONN]);
    assert!(!found.doubtful(&"sysctl:net.core.wmem_max".parse().unwrap()));
    assert!(found.doubtful(&RMEM.parse().unwrap()));
    // Looking changed nothing.
    assert_eq!(fs::read(dir.path().join("journal.jsonl")).unwrap(), text);

    let folder = Folder::open(dir.path(), true).unwrap().unwrap();
    let copies = found.write(&folder, "now").unwrap();
    let mode = |path: &str| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(copies.len(), 2);
    assert_eq!((fs::read(&copies[0]).unwrap(), mode(&copies[0])), (text, 0o600));
    assert_eq!((fs::read(&copies[1]).unwrap(), mode(&copies[1])), (undo.clone(), 0o700));
    assert_eq!(fs::read(dir.path().join("undo.sh")).unwrap(), undo);
    assert!(found.write(&folder, "now").is_err(), "a copy is never written over");
    assert!(!repair(&host, dir.path()).damaged());
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!((value(&host, SOMAXCONN), value(&host, RMEM)), ("4096".into(), "4194304".into()));
}

#[test]
fn an_end_that_is_lost_leaves_a_run_that_is_finished() {
    let dir = tempdir();
    let (mut host, text) = journal(dir.path());
    let mut all = lines(&text);
    all[3][9] ^= 4;
    put(dir.path(), &all.concat());
    let found = repair(&host, dir.path());
    assert_eq!((found.lost.len(), found.ledger.open.len()), (1, 1));
    found.write(&Folder::open(dir.path(), true).unwrap().unwrap(), "now").unwrap();
    assert_eq!(verify(&host, dir.path()).exit, Exit::Drift, "it did not end");
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(value(&host, SOMAXCONN), "4096");
}

#[test]
fn without_boot_id_or_namespace_nothing_is_written() {
    for (boot, netns, what) in
        [("", 1, "boot id"), ("b", 0, "network namespace"), ("", 0, "boot id")]
    {
        let dir = tempdir();
        let mut host = world();
        let known = (host.facts.node.boot_id.clone(), host.facts.node.netns);
        let blind = |host: &mut Memory| {
            (host.facts.node.boot_id, host.facts.node.netns) = (boot.into(), netns);
        };
        blind(&mut host);
        refused(&mut host, dir.path(), what);
        assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
        // With a journal: whether it is of this boot is unknown, and that is not nothing.
        (host.facts.node.boot_id, host.facts.node.netns) = known.clone();
        apply(&mut host, dir.path(), &sets(SOMAXCONN, "8192")).unwrap();
        blind(&mut host);
        refused(&mut host, dir.path(), what);
        unknown(&host, dir.path());
        (host.facts.node.boot_id, host.facts.node.netns) = known;
        assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Fine);
        assert_eq!(value(&host, SOMAXCONN), "4096");
    }
}

fn chmod(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

#[test]
fn what_others_may_write_is_not_believed() {
    let root = nix::unistd::geteuid().is_root();
    let dir = tempdir();
    let above = dir.path().join("above");
    let state = above.join("state");
    fs::create_dir(&above).unwrap();
    chmod(&above, 0o755);
    let (mut host, text) = journal(&state);
    assert_eq!(fs::metadata(&state).unwrap().permissions().mode() & 0o777, 0o700);
    let file = state.join("journal.jsonl");
    // (what, its mode, what is said)
    let modes = [
        (&state, 0o777, "state is refused"),
        (&state, 0o1777, "state is refused"),
        (&state, 0o720, "state is refused"),
        (&state, 0o702, "state is refused"),
        (&file, 0o620, "journal.jsonl is refused"),
        (&file, 0o602, "journal.jsonl is refused"),
        (&state.join("lock"), 0o622, "lock is refused"),
        (&above, 0o777, "above it"),
        (&above, 0o775, "above it"),
    ];
    let mut believed = 0;
    for (path, mode, why) in modes {
        let before = fs::metadata(path).unwrap().permissions();
        chmod(path, mode);
        refused(&mut host, &state, why);
        if root && !path.ends_with("lock") {
            unknown(&host, &state);
        } else {
            // Who is not root looks at folders of his own as he likes.
            assert_eq!(verify(&host, &state).exit, Exit::Fine, "{why}");
            believed += 1;
        }
        fs::set_permissions(path, before).unwrap();
    }
    assert_eq!(believed, if root { 1 } else { 9 });
    chmod(&above, 0o1777);
    assert_eq!(verify(&host, &state).exit, Exit::Fine);
    if root {
        for path in [&state, &file, &above] {
            chown(path, Some(1234), None).unwrap();
            refused(&mut host, &state, "is refused");
            unknown(&host, &state);
            chown(path, Some(0), None).unwrap();
        }
    }

    // A link, another name, and what is no file.
    let link = above.join("link");
    symlink(&state, &link).unwrap();
    for named in [link.clone(), link.join(""), link.join(".")] {
        let facts = host.facts().unwrap();
        config(&Lock::take(&named, Duration::ZERO).err().unwrap());
        assert_eq!(Store::read(&named, &facts).unwrap().unreadable, root, "{}", named.display());
    }
    let other = above.join("other");
    fs::hard_link(&file, &other).unwrap();
    refused(&mut host, &state, "another name");
    fs::rename(&other, &file).unwrap();
    fs::remove_file(&other).unwrap();
    fs::rename(&file, &other).unwrap();
    symlink(&other, &file).unwrap();
    refused(&mut host, &state, "symbolic link");
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    refused(&mut host, &state, "no regular file");
    unknown(&host, &state);
    fs::remove_dir(&file).unwrap();
    nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
    refused(&mut host, &state, "no regular file");
    unknown(&host, &state);
    fs::remove_file(&file).unwrap();
    // undo.sh is replaced, never written through.
    fs::rename(&other, &file).unwrap();
    let victim = above.join("victim");
    fs::write(&victim, "his").unwrap();
    fs::remove_file(state.join("undo.sh")).unwrap();
    symlink(&victim, state.join("undo.sh")).unwrap();
    symlink(&victim, state.join("undo.tmp")).unwrap();
    assert_eq!(fs::read(&file).unwrap(), text);
    assert_eq!(rollback(&mut host, &state).unwrap().exit, Exit::Fine);
    assert_eq!(value(&host, SOMAXCONN), "4096");
    assert_eq!(fs::read(&victim).unwrap(), b"his");
    assert!(fs::symlink_metadata(state.join("undo.sh")).unwrap().is_file());
}

/// Only undo.sh knows then what was before, so it is neither written anew nor passed over.
#[test]
fn a_journal_that_vanished_beside_a_full_undo_script_is_no_empty_one() {
    for left in [None, Some(&b""[..]), Some(b"\0\0\0\0"), Some(b"{\"schema\":1,\"ty")] {
        let dir = tempdir();
        let (mut host, _) = journal(dir.path());
        match left {
            None => fs::remove_file(dir.path().join("journal.jsonl")).unwrap(),
            Some(text) => put(dir.path(), text),
        }
        refused(&mut host, dir.path(), "still undoes 1 of nettune's changes");
        unknown(&host, dir.path());
        let folder = Folder::open(dir.path(), true).unwrap().unwrap();
        config(&Repair::of(&folder, &host.facts().unwrap()).unwrap_err());
        // As the sentence says.
        fs::remove_file(dir.path().join("undo.sh")).unwrap();
        apply(&mut host, dir.path(), &sets(RMEM, "4194304")).unwrap();
        rollback(&mut host, dir.path()).unwrap();
        // One that has nothing to undo keeps nobody.
        put(dir.path(), b"");
        apply(&mut host, dir.path(), &sets(RMEM, "4194304")).unwrap();
    }
}
