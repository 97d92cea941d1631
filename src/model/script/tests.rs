use super::*;
use crate::model::State;

fn script(steps: Vec<Step>) -> String {
    let node = Node { boot_id: "b".into(), netns: 7, ..Node::default() };
    let named = |name: &str, index| LinkId { name: name.into(), index, mac: None, bus: None };
    let links = vec![named("a;$(id)'", 3), named("eth0", 2)];
    Script { title: "t", node: &node, links, steps, notes: Vec::new() }.text()
}

fn step(resource: Resource, from: &str, to: State) -> Step {
    Step { resource, from: State::is(from), to, ours: Vec::new(), disturbed: Vec::new() }
}

#[test]
fn a_hostile_link_name_stays_one_word() {
    let mtu = Resource::Mtu { link: "a;$(id)'".into() };
    let text = script(vec![step(mtu, "9000", State::is("1500"))]);
    assert!(text.contains("L3=$(link 3 'a;$(id)'\\''' '' '')"), "{text}");
    assert!(text.contains("[ -z \"$L3\" ] || mtu \"$L3\" '1500'\n"), "{text}");
    assert_eq!(text.lines().filter(|l| l.starts_with("# mtu:")).count(), 1);
}

#[test]
fn what_is_a_file_is_tried_again_at_the_end() {
    let xps = Resource::sysfs("class/net/eth0/queues/tx-3/xps_cpus");
    let text = script(vec![step(xps, "0", State::is("8"))]);
    let put = "[ -z \"$L2\" ] || put '/sys/class/net/'\"$L2\"'/queues/tx-3/xps_cpus' '8'\n";
    assert_eq!(text.matches(put).count(), 2, "{text}");
}

#[test]
fn it_is_shell() {
    let text = script(vec![
        step("sysctl:net.core.somaxconn".parse().unwrap(), "2", State::is("1")),
        step("nft:nettune-notrack".parse().unwrap(), "x", State::Absent),
    ]);
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("undo.sh");
    std::fs::write(&path, text).unwrap();
    let checked = std::process::Command::new("sh").arg("-n").arg(&path).status().unwrap();
    assert!(checked.success());
}
