//! On a real kernel, in namespaces made here: each script of tests/netns, and resources that no
//! lever sets yet. Never the machine's own links.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/here.rs"]
mod here;
mod support;

use std::process::Command;

use here::{root, skip};
use nettune::engine::{Host, Observe};
use nettune::linux::Linux;
use nettune::model::{Resource, State};

fn script(name: &str) {
    run(name, "rollback");
}

/// With `back` "script" undo.sh stands in for rollback.
fn run(name: &str, back: &str) {
    let path = format!("{}/tests/netns/{name}.sh", env!("CARGO_MANIFEST_DIR"));
    let mut command = match here::namespaces() {
        Ok(command) => command,
        Err(why) => return skip(&why),
    };
    let output = command
        .args(["sh", &path])
        .env("NETTUNE", env!("CARGO_BIN_EXE_nettune"))
        .env("BACK", back)
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    if output.status.code() == Some(77) {
        let said = text.lines().last().unwrap_or_default();
        return skip(said.trim_start_matches("SKIPPED: "));
    }
    assert!(output.status.success(), "{name}: {text}");
}

macro_rules! scripts {
    ($($test:ident => $name:literal),* $(,)?) => {
        $(#[test] fn $test() { script($name); })*

        #[test]
        fn every_script_is_run() {
            let folder = format!("{}/tests/netns", env!("CARGO_MANIFEST_DIR"));
            for entry in std::fs::read_dir(folder).unwrap() {
                let name = entry.unwrap().file_name().into_string().unwrap();
                let name = name.trim_end_matches(".sh");
                assert!(name == "lib" || name == "bpf-lib" || [$($name),*].contains(&name), "{name}");
            }
        }
    };
}

macro_rules! alike {
    ($($test:ident => $name:literal),* $(,)?) => {
        /// Wherever rollback leads, the script leads as well.
        mod undo_script_instead_of_rollback {
            $(#[test] fn $test() { super::run($name, "script"); })*
        }
    };
}

alike! {
    big_tcp => "big-tcp",
    bpf_load => "bpf-load",
    bpf_many => "bpf-many",
    bpf_order => "bpf-order",
    host_routing => "host-routing",
    links => "links",
    log => "log",
    log_links => "log-links",
    mtu_above => "mtu-above",
    mtu_collateral => "mtu-collateral",
    mtu_gateway => "mtu-gateway",
    mtu_path => "mtu-path",
    mtu_path6 => "mtu-path6",
    next => "next",
    nic => "nic",
    notrack => "notrack",
    persist => "persist",
    polling => "polling",
    roundtrip => "roundtrip",
    signals => "signals",
    steering => "steering",
    xdp => "xdp",
    xdp_forward => "xdp-forward",
}

scripts! {
    roundtrip => "roundtrip",
    undo_foreign => "undo-foreign",
    undo_script => "undo-script",
    mtu_above => "mtu-above",
    mtu_collateral => "mtu-collateral",
    mtu_gateway => "mtu-gateway",
    mtu_path => "mtu-path",
    mtu_path6 => "mtu-path6",
    mtu_order => "mtu-order",
    routes => "routes",
    uplinks => "uplinks",
    polling => "polling",
    host => "host",
    tuned => "tuned",
    next => "next",
    nic => "nic",
    notrack => "notrack",
    legacy => "legacy",
    links => "links",
    log => "log",
    log_links => "log-links",
    drift => "drift",
    sysctls => "sysctls",
    readonly => "readonly",
    full_disk => "full-disk",
    bad_input => "bad-input",
    bake => "bake",
    completion => "completion",
    prompt => "prompt",
    doctor => "doctor",
    confirm => "confirm",
    persist => "persist",
    journal => "journal",
    kill => "kill",
    signals => "signals",
    steering => "steering",
    big_tcp => "big-tcp",
    host_routing => "host-routing",
    bpf_order => "bpf-order",
    bpf_many => "bpf-many",
    bpf_security => "bpf-security",
    bpf_load => "bpf-load",
    bpf_kill => "bpf-kill",
    bpf_remains => "bpf-remains",
    deep => "deep",
    xdp => "xdp",
    xdp_forward => "xdp-forward",
}

/// Runs `test` in namespaces with a pair of links.
fn in_namespace(test: impl FnOnce(&mut Linux) + Send + 'static) {
    here::in_namespace(&[("sysfs", "/sys")], || {
        sh(
            "ip link add v0 numtxqueues 4 numrxqueues 4 type veth peer name v1 numtxqueues 4 numrxqueues 4",
        );
        sh("ethtool -L v0 rx 4 tx 4; ip link set v0 up; ip link set v1 up");
        let mut host = Linux::open("/".as_ref()).unwrap();
        test(&mut host);
    });
}

fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-c", command]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn set(host: &mut Linux, resource: &str, state: &State) {
    let resource: Resource = resource.parse().unwrap();
    host.write(&resource, state).unwrap();
    assert_eq!(host.read(&resource).unwrap(), *state, "{resource}");
}

/// Debian 12's ip does not show them: straight from the kernel's answer.
fn ipv4_sizes(link: &str) -> String {
    let program = format!(
        r#"
import socket, struct
s = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, 0)
index = socket.if_nametoindex("{link}")
s.send(struct.pack("=IHHIIBBHiII", 32, 18, 1, 1, 0, 0, 0, 0, index, 0, 0))
data = s.recv(65536)[32:]
found = {{}}
while len(data) >= 4:
    length, kind = struct.unpack("=HH", data[:4])
    found[kind] = data[4:length]
    data = data[(length + 3) & ~3:]
print(*[struct.unpack("=I", found[k])[0] for k in (63, 64)])
"#
    );
    let output = Command::new("python3").args(["-c", &program]).output().unwrap();
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

#[test]
fn sizes_in_one_message_set_and_restore_exactly() {
    in_namespace(|host| {
        let resource: Resource = "sizes:v0".parse().unwrap();
        let before = host.read(&resource).unwrap();
        let link = sh("ip -d -j link show v0");
        // The v6 pair above, the v4 pair below: set apart, the kernel would let one overwrite the other.
        set(host, "sizes:v0", &State::is("gso=180000 gro=180000 gso_v4=60000 gro_v4=50000"));
        let now = sh("ip -d link show v0");
        assert!(now.contains("gso_max_size 180000"), "{now}");
        assert!(now.contains("gro_max_size 180000"), "{now}");
        assert_eq!(ipv4_sizes("v0"), "60000 50000");
        set(host, "sizes:v0", &before);
        assert_eq!(sh("ip -d -j link show v0"), link);
    });
}

#[test]
fn channels_and_what_they_disturb() {
    in_namespace(|host| {
        sh(
            "echo 2 > /sys/class/net/v0/queues/tx-3/xps_cpus; echo 1 > /sys/class/net/v0/queues/rx-3/rps_cpus",
        );
        let resource: Resource = "ethtool:v0/channels".parse().unwrap();
        let before = host.read(&resource).unwrap();
        assert_eq!(before.field("rx"), Some("4"), "{before}");
        let few = before.text().unwrap().replace("rx=4", "rx=2").replace("tx=4", "tx=2");
        set(host, "ethtool:v0/channels", &State::Is(few));
        assert!(sh("ethtool -l v0 | tail -5").contains("RX:\t\t2"), "{}", sh("ethtool -l v0"));
        let facts = host.facts().unwrap();
        let disturbed = nettune::model::collateral::disturbs(&resource, &facts);
        let xps: Resource = "sysfs:class/net/v0/queues/tx-3/xps_cpus".parse().unwrap();
        assert!(disturbed.contains(&xps), "{disturbed:?}");
        assert_eq!(host.read(&xps).unwrap(), State::Absent);
        set(host, "ethtool:v0/channels", &before);
        // This is why the engine puts it back: the queue comes up with 0.
        assert_eq!(sh("cat /sys/class/net/v0/queues/tx-3/xps_cpus").trim().trim_matches('0'), "");
    });
}

#[test]
fn features_are_what_is_wanted_not_what_is_active() {
    in_namespace(|host| {
        let resource: Resource = "ethtool:v0/features".parse().unwrap();
        let before = host.read(&resource).unwrap();
        let shown = sh("ethtool -k v0");
        let off =
            before.text().unwrap().replace("tx-tcp-segmentation=on", "tx-tcp-segmentation=off");
        assert_ne!(before.text(), Some(off.as_str()));
        set(host, "ethtool:v0/features", &State::Is(off));
        assert!(sh("ethtool -k v0").contains("tx-tcp-segmentation: off"));
        set(host, "ethtool:v0/features", &before);
        // Checksums off take TSO along, but it stays wanted.
        sh("ethtool -K v0 tx off");
        assert_eq!(host.read(&resource).unwrap().field("tx-tcp-segmentation"), Some("on"));
        sh("ethtool -K v0 tx on");
        assert_eq!(sh("ethtool -k v0"), shown);
    });
}

#[test]
fn a_qdisc_set_by_hand_is_foreign_and_the_default_is_told_apart() {
    in_namespace(|host| {
        let resource: Resource = "qdisc:v0".parse().unwrap();
        assert_eq!(host.read(&resource).unwrap(), State::is("default noqueue"));
        sh("tc qdisc add dev v0 root pfifo limit 10");
        let state = host.read(&resource).unwrap();
        assert!(matches!(state, State::Foreign { .. }), "{state:?}");
        host.write(&resource, &State::is("default noqueue")).unwrap();
        assert_eq!(host.read(&resource).unwrap(), State::is("default noqueue"));
        assert!(!sh("tc qdisc show dev v0").contains("pfifo"));
    });
}

#[test]
fn a_file_is_whole_or_as_it_was() {
    if !root() {
        return skip("a file's owner is set by root only");
    }
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("etc-default");
    let resource = format!("file:{}", path.display());
    let mut host = Linux::open("/".as_ref()).unwrap();
    let read = |host: &Linux| host.read(&resource.parse().unwrap()).unwrap();
    assert_eq!(read(&host), State::Absent);
    let first = State::is("mode=0640 owner=0:4\nARGS=\"--x\"\n");
    set(&mut host, &resource, &first);
    let stat = format!("stat -c '%a %u:%g' {}; cat {}", path.display(), path.display());
    assert_eq!(sh(&stat), "640 0:4\nARGS=\"--x\"\n");
    set(&mut host, &resource, &State::is("mode=0600 owner=0:0\n"));
    set(&mut host, &resource, &State::is("link /etc/hostname"));
    assert_eq!(std::fs::read_link(&path).unwrap().to_str(), Some("/etc/hostname"));
    set(&mut host, &resource, &first);
    set(&mut host, &resource, &State::Absent);
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

#[test]
fn looking_changes_nothing() {
    in_namespace(|host| {
        let all = "nft list ruleset; cat /proc/modules 2>/dev/null; ip -d -j link; tc -j qdisc; cat /proc/net/ip_tables_names";
        let before = sh(all);
        host.facts().unwrap();
        assert_eq!(sh(all), before);
    });
}

#[test]
fn rules_are_told_with_their_packets() {
    in_namespace(|host| {
        sh(r#"nft 'table inet f { chain c { type filter hook forward priority 5; policy drop;
            ip saddr 10.78.0.0/24 ip daddr != 10.64.0.0/10 ct state established,related accept;
            iifname "lxc*" oifname != eth0 ip6 saddr fd00::/7 jump d; iif lo tcp dport 22 drop; };
            chain d { ct mark set 7; }; }'"#);
        sh(
            "iptables-nft -A FORWARD -s 192.0.2.0/25 -o wg+ -m conntrack --ctstate NEW -j MARK --set-mark 1",
        );
        sh(
            "iptables-legacy -A FORWARD ! -s 192.0.2.0/25 -o wg+ -m conntrack --ctstate NEW -j DROP",
        );
        let netfilter = host.facts().unwrap().netfilter;
        let mut told = Vec::new();
        for chain in netfilter.chains.known().unwrap() {
            for r in chain.detail.iter().flatten() {
                let words = [&r.source, &r.destination, &r.input, &r.output, &r.to];
                let words = words.map(|w| w.as_deref().unwrap_or("-").to_string()).join(" ");
                let loud = |e: &&String| {
                    !["meta", "cmp", "payload", "bitwise", "counter"].contains(&e.as_str())
                };
                let does: Vec<&str> =
                    r.expressions.iter().filter(loud).map(String::as_str).collect();
                told.push(format!("{} {} {words} {}", chain.table, chain.chain, does.join("+")));
            }
        }
        told.sort();
        let mut want = vec![
            "f c - - #1 - - drop",
            "f c 10.78.0.0/24 !10.64.0.0/10 - - - ct state established,related+accept",
            "f c fc00::/7 - lxc* !eth0 d jump",
            "f d - - - - - immediate+ct set mark",
        ];
        // Where they are installed, and the kernel has them.
        let extra = [
            (
                "filter ",
                "filter FORWARD 192.0.2.0/25 - - wg* - xt match conntrack new+xt target MARK",
            ),
            (
                "filter (legacy)",
                "filter (legacy) FORWARD !192.0.2.0/25 - - wg* - xt match conntrack new+drop",
            ),
        ];
        for (table, line) in extra {
            match told.iter().any(|t| t.starts_with(table)) {
                true => want.push(line),
                false => skip(&format!("no table {table} could be made here")),
            }
        }
        want.sort();
        assert_eq!(told, want);
        // Without legacy tables nothing is registered by looking.
        assert!(
            netfilter.legacy.known().unwrap().iter().all(|t| t == "ip filter"),
            "{:?}",
            netfilter.legacy
        );
    });
}

#[test]
fn a_link_that_is_gone_is_absent_and_not_an_error() {
    in_namespace(|host| {
        for resource in [
            "mtu:nosuch",
            "sizes:nosuch",
            "qdisc:nosuch",
            "ethtool:nosuch/rings",
            "sysctl:net.ipv4.conf.nosuch.mtu",
        ] {
            let resource: Resource = resource.parse().unwrap();
            assert_eq!(host.read(&resource).unwrap(), State::Absent, "{resource}");
        }
        assert!(host.write(&"mtu:nosuch".parse().unwrap(), &State::is("1500")).is_err());
    });
}
