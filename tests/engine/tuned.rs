//! TuneD keeps what it finds, and puts it back over whatever is there then.

use super::*;

/// A node whose TuneD runs `a` and knows `b`, which set the same and something more.
pub fn with_tuned() -> Memory {
    let mut host = world();
    let of = |pairs: &[(&str, &str)]| {
        pairs.iter().map(|(r, s)| (r.parse().unwrap(), State::is(*s))).collect()
    };
    let (max, thp) = ("sysctl:net.core.somaxconn", "sysfs:kernel/mm/transparent_hugepage/enabled");
    host.set(thp, "never");
    host.tuned_profiles.insert("a".into(), of(&[(max, "300")]));
    host.tuned_profiles.insert("b".into(), of(&[(max, "500"), (thp, "always")]));
    for (name, values) in &host.tuned_profiles {
        let sets = |(r, s): (&nettune::model::Resource, &State)| Setting {
            agent: "TuneD".into(),
            resource: r.to_string(),
            value: Some(s.to_string()),
            ..Setting::default()
        };
        host.facts.tuned_profiles.insert(name.clone(), values.iter().map(sets).collect());
    }
    host.set("tuned:profile", "profile=none mode=auto");
    host.set("file:/etc/tuned/bootcmdline", "mode=0644 owner=0:0\nold\n");
    let (tuned, a) = ("tuned:profile".parse().unwrap(), State::is("profile=a mode=manual"));
    host.write(&tuned, &a).unwrap();
    host.writes = 0;
    host
}

fn tuned() -> Selected {
    let wants = Wants(vec![want("tuned:profile", Want::is("profile=b mode=manual"))]);
    selected("tuned", Some(wants))
}

/// Whoever applies last, and whatever is taken back first: all is as it was, and nothing of ours is
/// kept by TuneD for the machine's own.
#[test]
fn tuned_and_values_of_ours_come_and_go_in_any_order() {
    let tcp = || {
        let wants = vec![
            want("sysctl:net.core.somaxconn", Want::AtLeast("9000".into())),
            want("sysfs:kernel/mm/transparent_hugepage/enabled", Want::is("madvise")),
            want(
                "file:/etc/sysctl.d/zzz-nettune.conf",
                Want::is("mode=0644 owner=0:0\nnet.core.somaxconn = 9000\n"),
            ),
        ];
        selected("tcp", Some(Wants(wants)))
    };
    let no = |name| selected(name, None);
    let before = with_tuned();
    let ours = |host: &Memory, text: &str| {
        assert_eq!(host.get(&"sysctl:net.core.somaxconn".parse().unwrap()), State::is(text));
    };
    type Profiles = Vec<Vec<Selected>>;
    let ways: Vec<Profiles> = vec![
        vec![vec![tuned(), tcp()]],
        vec![vec![tcp()], vec![tuned(), tcp()]],
        vec![vec![tuned()], vec![tuned(), tcp()]],
        vec![vec![tuned(), tcp()], vec![no("tuned"), tcp()]],
        vec![vec![tuned(), tcp()], vec![tuned(), no("tcp")], vec![tuned(), tcp()]],
        vec![vec![tcp()], vec![tuned(), tcp()], vec![no("tuned"), tcp()], vec![tuned(), tcp()]],
    ];
    for (n, way) in ways.into_iter().enumerate() {
        for taken in [&["tuned", "tcp"][..], &["tcp", "tuned"], &[]] {
            let (dir, mut host) = (tempdir(), with_tuned());
            for profile in &way {
                let answer = apply(&mut host, dir.path(), profile).unwrap();
                assert_eq!(answer.exit, Exit::Fine, "way {n}: {answer:#?}");
                assert_eq!(verify(&host, dir.path()).exit, Exit::Fine, "way {n}");
                let has_tcp = profile.iter().any(|s| s.name == "tcp" && s.enable);
                ours(&host, if has_tcp { "9000" } else { "500" });
            }
            for tweak in taken {
                let answer = rollback_as(&mut host, dir.path(), only(&[tweak]), false).unwrap();
                assert_eq!(answer.exit, Exit::Fine, "way {n}, {tweak}: {answer:#?}");
                assert!(matches!(verify(&host, dir.path()).exit, Exit::Fine | Exit::Nothing));
            }
            rollback(&mut host, dir.path()).unwrap();
            assert_eq!(host.states, before.states, "way {n}, then {taken:?}");
            assert_eq!(host.tuned_found, before.tuned_found, "way {n}, then {taken:?}");
        }
    }
}

/// TuneD starts anew while a value of ours is there and takes it for the machine's own.
#[test]
fn what_tuned_took_for_the_machines_own_is_put_back_too() {
    let max: nettune::model::Resource = "sysctl:net.core.somaxconn".parse().unwrap();
    let tcp =
        || selected("tcp", Some(Wants(vec![want("sysctl:net.core.somaxconn", Want::is("9000"))])));
    for taken in [&["tuned", "tcp"][..], &["tcp", "tuned"], &["tuned"], &[]] {
        let (dir, mut host) = (tempdir(), with_tuned());
        let before = host.states.clone();
        apply(&mut host, dir.path(), &[tuned(), tcp()]).unwrap();
        host.tuned_found.insert(max.clone(), host.get(&max));
        for tweak in taken {
            let answer = rollback_as(&mut host, dir.path(), only(&[tweak]), false).unwrap();
            assert_eq!(answer.exit, Exit::Fine, "{tweak}: {answer:#?}");
            assert!(matches!(verify(&host, dir.path()).exit, Exit::Fine | Exit::Nothing));
        }
        rollback(&mut host, dir.path()).unwrap();
        assert_eq!(host.states, before, "{taken:?}");
    }
}

/// undo.sh or somebody has TuneD leave our profile: TuneD puts the machine's own value where ours was, and
/// neither that profile's value nor ours is to be written again, also not by force.
#[test]
fn what_tuned_took_along_is_nobodys_to_undo() {
    let max: nettune::model::Resource = "sysctl:net.core.somaxconn".parse().unwrap();
    let tuned_is: nettune::model::Resource = "tuned:profile".parse().unwrap();
    let tcp =
        || selected("tcp", Some(Wants(vec![want("sysctl:net.core.somaxconn", Want::is("9000"))])));
    let (before, elsewhere) = (with_tuned().states, State::is("profile=none mode=manual"));
    for (to, force) in [(&before[&tuned_is], false), (&before[&tuned_is], true), (&elsewhere, true)]
    {
        let (dir, mut host) = (tempdir(), with_tuned());
        apply(&mut host, dir.path(), &[tuned(), tcp()]).unwrap();
        assert_eq!(host.get(&max), State::is("9000"));
        host.write(&tuned_is, to).unwrap();
        let answer = rollback_as(&mut host, dir.path(), Scope::default(), force).unwrap();
        assert_eq!(answer.exit, Exit::Fine, "{to}: {answer:#?}");
        assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
        assert_eq!(host.get(&max), before[&max], "{to}");
        assert_eq!(host.get(&tuned_is), before[&tuned_is], "{to}");

        // And an apply in between takes what is there for what is there.
        let (dir, mut host) = (tempdir(), with_tuned());
        apply(&mut host, dir.path(), &[tuned(), tcp()]).unwrap();
        host.write(&tuned_is, &before[&tuned_is]).unwrap();
        let answer = apply(&mut host, dir.path(), &[tuned(), tcp()]).unwrap();
        assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
        assert_eq!(host.get(&max), State::is("9000"));
        rollback(&mut host, dir.path()).unwrap();
        assert_eq!(host.get(&max), before[&max]);
    }
}

/// A run that is undone as a whole takes its switch back with what it had set after it.
#[test]
fn an_undone_run_leaves_what_an_earlier_one_set_around_tuned() {
    let tcp = |n: &str| {
        let wants = vec![want("sysctl:net.core.somaxconn", Want::is(n))];
        selected("tcp", Some(Wants(wants)))
    };
    let more = || {
        let wants = vec![
            want("sysctl:net.core.rmem_max", Want::is("1")),
            want("irq:eth0/30", Want::is("7")),
        ];
        selected("more", Some(Wants(wants)))
    };
    let mut undone = 0;
    // Not the write that sets again what stood aside: refused, that value is lost, and said to be.
    for at in [0, 1, 3, 4, 5, 6] {
        let (dir, mut host) = (tempdir(), with_tuned());
        let before = host.states.clone();
        apply(&mut host, dir.path(), &[tcp("7000")]).unwrap();
        let (states, found) = (host.states.clone(), host.tuned_found.clone());
        host.fault = Some((host.writes + at, Fault::Refuse));
        let tweaks = [tuned(), tcp("8000"), more()];
        let mut asked = ask(&tweaks);
        asked.atomic = true;
        let answer = apply_as(&mut host, dir.path(), &asked).unwrap();
        if answer.exit == Exit::Failed {
            undone += 1;
            assert_eq!(host.states, states, "at {at}: {answer:#?}");
            assert_eq!(host.tuned_found, found, "at {at}");
            assert_eq!(verify(&host, dir.path()).exit, Exit::Fine, "at {at}");
        }
        host.fault = None;
        rollback(&mut host, dir.path()).unwrap();
        assert_eq!(host.states, before, "at {at}");
    }
    // A key that is refused once is tried once more, and taken.
    assert!(undone >= 2, "{undone}");
}

/// The same with a death at every write of every step.
#[test]
fn dying_while_tuned_switches_leaves_a_way_back() {
    let tcp = || {
        let wants = vec![want("sysctl:net.core.somaxconn", Want::AtLeast("9000".into()))];
        selected("tcp", Some(Wants(wants)))
    };
    let before = with_tuned();
    for fault in [Fault::DieBefore, Fault::DieAfter] {
        for at in 0..12 {
            let (dir, mut host) = (tempdir(), with_tuned());
            apply(&mut host, dir.path(), &[tcp()]).unwrap();
            host.fault = Some((host.writes + at, fault));
            let died = dies(&mut host, |host| {
                drop(apply(host, dir.path(), &[tuned(), tcp()]));
                drop(apply(host, dir.path(), &[selected("tuned", None), tcp()]));
            });
            assert!(died || at >= 6, "only {at} writes");
            rollback(&mut host, dir.path()).unwrap();
            rollback(&mut host, dir.path()).ok();
            assert_eq!(host.states, before.states, "{fault:?} at {at}");
            assert_eq!(host.tuned_found, before.tuned_found, "{fault:?} at {at}");
        }
    }
}
