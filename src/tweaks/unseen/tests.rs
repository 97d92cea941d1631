//! Rule sets in a few words: a line a chain (`forward drop`, `MINE`), then its rules.

use super::packets::Packets;
use super::rules::{Lost, find};
use crate::model::Facts;
use crate::model::facts::{Chain, Link, Rule};

/// Words of a rule: `from NET`, `to NET`, `in LINK`, `out LINK`, `=> CHAIN`, `...`; others are expressions.
fn rule(line: &str) -> Rule {
    let mut rule = Rule::default();
    let mut words = line.split(' ').filter(|w| !w.is_empty());
    while let Some(word) = words.next() {
        let mut value = || words.next().map(str::to_string);
        match word {
            "from" => rule.source = value(),
            "to" => rule.destination = value(),
            "in" => rule.input = value(),
            "out" => rule.output = value(),
            "=>" => rule.to = value(),
            "..." => rule.further = true,
            "flow_offload" => rule.expressions.push(word.to_string()),
            _ => rule.expressions.push(word.replace('_', " ")),
        }
    }
    rule
}

fn chains(family: &str, text: &str) -> Vec<Chain> {
    let mut chains: Vec<Chain> = Vec::new();
    for line in text.lines() {
        if let Some(line) = line.strip_prefix("  ") {
            let chain = chains.last_mut().unwrap();
            chain.detail.get_or_insert_default().push(rule(line));
            chain.rules += 1;
            continue;
        }
        let words: Vec<&str> = line.split(' ').collect();
        let base = words[0].chars().all(|c| c.is_ascii_lowercase());
        chains.push(Chain {
            family: family.into(),
            table: "t".into(),
            chain: words[0].into(),
            hook: if base { words[0].into() } else { String::new() },
            kind: if words.contains(&"nat") { "nat" } else { "filter" }.into(),
            drops: words.contains(&"drop"),
            detail: Some(Vec::new()),
            ..Chain::default()
        });
    }
    chains
}

fn facts() -> Facts {
    let bridge =
        |name: &str| Link { name: name.into(), kind: Some("bridge".into()), ..Link::default() };
    let mut facts = Facts { links: vec![bridge("docker0"), bridge("empty0")], ..Facts::default() };
    facts.agents.pod_cidrs = vec!["10.78.0.0/24".into()];
    facts
}

fn links() -> (Link, Link) {
    let link = |name: &str, index| Link { name: name.into(), index, ..Link::default() };
    (link("eth0", 2), link("lxc1", 3))
}

/// The first that is found: chain and expression.
fn said(found: Vec<super::rules::Found>) -> String {
    let found = found.first().map(|f| format!("{}: {}", f.chain, f.by.as_deref().unwrap_or("?")));
    found.unwrap_or_default()
}

fn tracking(family: &str, text: &str) -> String {
    let (facts, (_, pod)) = (facts(), links());
    let packets = Packets::of(&facts, &facts.agents.pod_cidrs, vec![&pod]);
    said(find(&chains(family, text), &packets, Lost::Tracking))
}

fn passing(text: &str) -> String {
    let (facts, (up, pod)) = (facts(), links());
    let packets = Packets::between(&facts, vec![&up, &pod], vec![&pod]);
    said(find(&chains("ip", text), &packets, Lost::Chains))
}

#[test]
fn connections_that_pods_need() {
    for (text, by) in [
        ("forward drop\n  ct_state_established accept ...", "forward: ct state established"),
        ("forward\n  ct_state_established accept ...\n  reject", "forward: ct state established"),
        ("forward\n  ct_state vmap ...", "forward: ct state"),
        ("forward\n  ct_state_invalid drop ...", "forward: ct state invalid"),
        ("prerouting\n  ct_mark meta_set", "prerouting: ct mark"),
        ("prerouting\n  xt_target_CONNMARK", "prerouting: xt target CONNMARK"),
        ("prerouting\n  xt_target_CT", "prerouting: xt target CT"),
        ("output\n  ct_set_mark", "output: ct set mark"),
        ("forward\n  objref\n  ct_helper", "forward: ct helper"),
        ("forward\n  flow_offload", "forward: flow_offload"),
        ("postrouting nat\n  masq", "postrouting: masq"),
        ("postrouting nat\n  from 10.78.0.0/16 to !10.78.0.0/16 masq", "postrouting: masq"),
        ("postrouting nat\n  from !10.0.0.0/8 masq", "postrouting: masq"),
        ("postrouting nat\n  from 192.168.9.0/24 to 10.78.0.0/24 masq", "postrouting: masq"),
        ("prerouting nat\n  to 192.0.2.1/32 dnat ...", "prerouting: dnat"),
        ("prerouting nat\n  meta_set", "prerouting: meta set"),
        // Answers of another network, which nothing else lets in.
        (
            "forward drop\n  from 192.168.9.0/24 ct_state accept ...\n  from 10.78.0.0/24 accept",
            "forward: ct state",
        ),
        (
            "forward drop\n  ct_state accept ...\n  from 10.78.0.0/25 accept\n  to 10.78.0.0/24 accept",
            "forward: ct state",
        ),
        ("forward drop\n  ct_state accept ...\n  accept ...", "forward: ct state"),
        (
            "forward drop\n  ct_state accept ...\n  in lxc1 accept\n  out other* accept",
            "forward: ct state",
        ),
        (
            "input drop\n  ct_state accept ...\n  in lxc1 accept\n  out lxc1 accept",
            "input: ct state",
        ),
        ("input\n  ct_state_new drop ...", "input: ct state new"),
        // What has left before the rule that would cover it.
        ("forward drop\n  ct_state accept ...\n  return ...\n  accept", "forward: ct state"),
        ("forward drop\n  ct_state accept ...\n  goto => A ...\n  accept\nA", "forward: ct state"),
        ("forward drop\n  ct_state accept ...\n  jump => A ...\nA\n  accept", "forward: ct state"),
        ("forward\n  jump => A ...\nA\n  jump => B\nB\n  xt_match_state drop", "B: xt match state"),
        ("forward\n  jump => A ct_state_new ...\nA\n  accept", "forward: ct state new"),
        ("forward\n  in other0 vmap\nA\n  connlimit drop", "A: connlimit"),
        (
            "forward\n  in docker1 ct_state drop ...\n  out !docker0 ct_state drop ...",
            "forward: ct state",
        ),
        ("forward\n  ct_state accept ...\n  xt_target_MARK", "forward: ct state"),
    ] {
        assert_eq!(tracking("ip", text), format!("ip t {by}"), "{text}");
    }
}

#[test]
fn connections_that_pods_do_not_need() {
    for text in [
        "forward drop",
        "forward\n  drop",
        "forward\n  ct_state accept ...\n  counter\n  log ...\n  ct_state_established counter",
        "forward\n  from 192.168.9.0/24 to 192.168.8.0/24 ct_state drop ...",
        "forward\n  from !10.0.0.0/8 to !10.78.0.0/16 ct_state drop ...",
        "forward\n  to 192.168.9.0/24 jump => A\nA\n  from 192.168.9.0/24 ct_state drop ...",
        "forward drop\n  ct_state accept ...\n  accept",
        "forward drop\n  ct_state accept ...\n  from 10.0.0.0/8 accept\n  to !10.79.0.0/16 accept\n  drop",
        "forward drop\n  ct_state accept ...\n  in lxc* accept\n  out lxc1 accept",
        "forward drop\n  ct_state accept ...\n  jump => A\nA\n  from 10.78.0.0/24 accept\n  to 10.78.0.0/24 accept",
        "input drop\n  ct_state_invalid drop ...\n  ct_state accept ...\n  from 10.78.0.0/24 accept\n  to 10.78.0.0/24 accept",
        "prerouting\n  xt_target_NOTRACK",
        "postrouting nat\n  from 172.17.0.0/16 out !docker0 masq",
        "postrouting nat\n  from 192.168.122.0/24 to !192.168.122.0/24 masq",
        "prerouting nat\n  jump => DOCKER ...\nDOCKER\n  in docker0 return",
        "forward drop\n  out docker0 ct_state accept ...\n  in empty0 ct_state accept ...",
        "forward\nUNUSED\n  ct_state drop",
        "forward\n  from fd00::/8 ct_state drop ...",
    ] {
        assert_eq!(tracking("ip", text), "", "{text}");
    }
    assert_eq!(tracking("ip6", "forward drop\n  ct_state accept ..."), "");
    assert_eq!(tracking("inet", "forward\n  from ::/0 ct_state drop ..."), "");
    assert_ne!(tracking("inet", "forward\n  from 0.0.0.0/0 ct_state drop ..."), "");
}

#[test]
fn what_packets_past_the_stack_would_no_longer_meet() {
    for (text, by) in [
        ("forward drop", "forward: policy drop"),
        ("forward\n  drop ...", "forward: drop"),
        ("forward\n  from 192.168.9.0/24 drop", "forward: drop"),
        ("prerouting\n  counter", "prerouting: counter"),
        ("postrouting nat\n  from 10.0.0.0/8 masq", "postrouting: masq"),
        ("forward drop\n  ct_state accept ...", "forward: policy drop"),
    ] {
        assert_eq!(passing(text), format!("ip t {by}"), "{text}");
    }
    for text in [
        "input drop\n  ct_state accept ...",
        "output\n  drop",
        "forward\n  ct_state accept ...\n  jump => A\nA\n  return",
        "forward\n  in docker0 drop\n  out !eth0 in eth0 out wg* drop\n  in #9 drop",
        "postrouting nat\n  from 172.17.0.0/16 out !docker0 masq",
        "forward drop\n  from 10.78.0.0/24 accept\n  to 10.78.0.0/24 accept\n  drop",
    ] {
        assert_eq!(passing(text), "", "{text}");
    }
}

#[test]
fn between_uplinks_any_address_may_come() {
    let (facts, (up, pod)) = (facts(), links());
    let second = Link { name: "eth1".into(), index: 9, ..Link::default() };
    let masquerade = chains("ip", "postrouting nat\n  from 172.17.0.0/16 out !docker0 masq");
    let packets = Packets::between(&facts, vec![&up, &second, &pod], vec![&pod]);
    assert_eq!(said(find(&masquerade, &packets, Lost::Chains)), "ip t postrouting: masq");
    // Docker's containers taken for pods.
    let docker = Link { name: "docker0".into(), index: 4, ..Link::default() };
    let packets = Packets::between(&facts, vec![&up, &docker], vec![&docker]);
    assert_eq!(said(find(&masquerade, &packets, Lost::Chains)), "ip t postrouting: masq");
}

#[test]
fn a_walk_without_end_blocks() {
    let mut text = "forward".to_string();
    for chain in 0..20 {
        text += &format!("\n  jump => C{chain}");
    }
    for chain in 0..20 {
        text += &format!("\nC{chain}");
        (0..20).filter(|to| *to != chain).for_each(|to| text += &format!("\n  jump => C{to}"));
    }
    assert!(tracking("ip", &text).ends_with(": ?"));
}
