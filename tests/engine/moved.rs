//! What moved since: values of others, a reboot, links that come, go and are renamed, another namespace.

use super::*;

#[test]
fn drift_is_reported_and_never_overwritten_unless_forced() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    host.set("sysctl:net.core.rmem_max", "999");
    let answer = verify(&host, dir.path());
    assert_eq!((answer.exit, status(&answer, "tcp")), (Exit::Drift, Status::Drifted));
    let answer = apply(&mut host, dir.path(), &profile_a()).unwrap();
    assert_eq!((answer.exit, status(&answer, "tcp")), (Exit::Drift, Status::Drifted));
    assert_eq!(rollback(&mut host, dir.path()).unwrap().exit, Exit::Drift);
    assert_eq!(host.get(&"sysctl:net.core.rmem_max".parse().unwrap()).text(), Some("999"));
    assert_eq!(
        rollback_as(&mut host, dir.path(), Scope::default(), true).unwrap().exit,
        Exit::Fine
    );
    assert_eq!(host.states, before);
}

#[test]
fn a_value_back_at_its_baseline_is_set_again() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    host.set("sysctl:net.core.rmem_max", "212992");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Drift);
    assert_eq!(apply(&mut host, dir.path(), &profile_a()).unwrap().exit, Exit::Fine);
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
}

#[test]
fn after_a_reboot_the_runtime_is_gone_and_nothing_is_put_back() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let mut booted = world();
    booted.facts.node.boot_id = "boot-2".into();
    booted.set("sysctl:net.core.somaxconn", "777");
    let fresh = booted.states.clone();
    assert_eq!(verify(&booted, dir.path()).exit, Exit::Nothing);
    assert_eq!(rollback(&mut booted, dir.path()).unwrap().exit, Exit::Fine);
    assert_eq!(booted.states, fresh);
    // The value of this boot is the baseline now.
    apply(&mut booted, dir.path(), &profile_a()).unwrap();
    rollback(&mut booted, dir.path()).unwrap();
    assert_eq!(booted.states, fresh);
}

#[test]
fn what_lives_on_after_a_reboot_still_goes_back() {
    let unit = "unit:irqbalance.service/enabled";
    let (dir, mut host) = (tempdir(), world());
    host.set(unit, "enabled");
    let profile = [selected("irq", Some(Wants(vec![want(unit, Want::is("disabled"))])))];
    apply(&mut host, dir.path(), &profile).unwrap();
    host.facts.node.boot_id = "boot-2".into();
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    rollback(&mut host, dir.path()).unwrap();
    assert_eq!(host.get(&unit.parse().unwrap()).text(), Some("enabled"));
}

#[test]
fn another_network_namespace_is_refused() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    host.facts.node.netns = 1;
    let error = rollback(&mut host, dir.path()).err().unwrap();
    assert_eq!(error.downcast_ref::<Refusal>().unwrap().exit, Exit::Config);
}

/// Moves everything of link `from` to `to`, as a rename does.
fn rename(host: &mut Memory, to: &str) {
    let states = std::mem::take(&mut host.states);
    host.states = states
        .into_iter()
        .map(|(r, s)| (if r.link().is_some() { r.renamed(to) } else { r }, s))
        .collect();
    host.facts.links[0].name = to.into();
}

#[test]
fn a_renamed_link_is_the_same_link() {
    let (dir, mut host) = (tempdir(), world());
    let before = host.states.clone();
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    rename(&mut host, "lan.0");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Fine);
    // A run of anything after the rename must not take our values for baselines.
    let tcp = &profile_a()[3..4];
    apply(&mut host, dir.path(), tcp).unwrap();
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
    rename(&mut host, "eth0");
    assert_eq!(host.states, before);
}

#[test]
fn a_new_link_with_an_old_name_is_another_link() {
    let (dir, mut host) = (tempdir(), world());
    apply(&mut host, dir.path(), &profile_a()).unwrap();
    let mut fresh = world();
    fresh.facts.links[0].index = 9;
    fresh.facts.links[0].permanent_mac = Some("02:00:00:00:00:02".into());
    for (resource, state) in &host.states {
        if resource.link().is_none() {
            fresh.states.insert(resource.clone(), state.clone());
        }
    }
    let eth0: Vec<_> = fresh
        .states
        .iter()
        .filter(|(r, _)| r.link().is_some())
        .map(|(r, s)| (r.clone(), s.clone()))
        .collect();
    let answer = rollback(&mut fresh, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::Fine, "{answer:#?}");
    assert!(answer.notes.iter().any(|n| n.contains("eth0 is gone")), "{:?}", answer.notes);
    for (resource, state) in eth0 {
        assert_eq!(fresh.get(&resource), state, "{resource}");
    }
    assert_eq!(verify(&fresh, dir.path()).exit, Exit::Nothing);
}

#[test]
fn a_value_that_moved_since_the_plan_stops_its_tweak() {
    let (dir, mut host) = (tempdir(), world());
    let key = "sysctl:net.ipv4.tcp_rmem".parse().unwrap();
    // The last of tweak tcp's three keys is written by somebody else while ours begins.
    host.meanwhile = Some((0, key, nettune::model::State::is("1 2 3")));
    let answer = apply(&mut host, dir.path(), &profile_a()[3..4]).unwrap();
    assert_eq!(
        (answer.exit, status(&answer, "tcp")),
        (Exit::Drift, Status::Drifted),
        "{answer:#?}"
    );
    let text = |r: &str| host.get(&r.parse().unwrap()).text().map(str::to_string).unwrap();
    assert_eq!(text("sysctl:net.ipv4.tcp_rmem"), "1 2 3");
    // What was written before it is undone: the tweak is the unit.
    assert_eq!(text("sysctl:net.core.rmem_max"), "212992");
    assert_eq!(text("sysctl:net.core.somaxconn"), "4096");
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
}

#[test]
fn an_old_limit_below_the_live_count_is_not_put_back() {
    let key = "sysctl:net.netfilter.nf_conntrack_max";
    let (dir, mut host) = (tempdir(), world());
    host.set(key, "1000");
    let profile = [selected("tcp", Some(Wants(vec![want(key, Want::is("100000"))])))];
    apply(&mut host, dir.path(), &profile).unwrap();
    host.facts.netfilter.conntrack =
        Some(nettune::model::facts::Conntrack { count: 5000, max: 100000 });
    let answer = rollback(&mut host, dir.path()).unwrap();
    assert_eq!(answer.exit, Exit::NotPutBack, "{answer:#?}");
    assert_eq!(host.get(&key.parse().unwrap()).text(), Some("100000"));
    assert_eq!(verify(&host, dir.path()).exit, Exit::Nothing);
}
