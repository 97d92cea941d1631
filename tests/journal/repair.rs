//! What a person does with a damaged journal, and where nothing is written at all.

use super::*;

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

#[test]
fn a_state_that_is_no_folder_and_a_lock_that_is_one() {
    let dir = tempdir();
    let state = dir.path().join("state");
    let (mut host, _) = journal(&state);
    let file = dir.path().join("file");
    fs::write(&file, "").unwrap();
    for verb in [apply(&mut host, &file, &sets(SOMAXCONN, "1")), rollback(&mut host, &file)] {
        let error = verb.unwrap_err();
        config(&error);
        assert!(error.to_string().contains("it is no folder"), "{error}");
    }
    unknown(&host, &file);
    fs::remove_file(state.join("lock")).unwrap();
    fs::create_dir(state.join("lock")).unwrap();
    refused(&mut host, &state, "it is no regular file");
}
