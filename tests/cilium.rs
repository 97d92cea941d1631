//! Cilium on a node: a real HTTP server on a unix socket that answers well, cut off, slowly, without
//! end and with nonsense; state files where nobody answers; and what `check` makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/here.rs"]
mod here;
mod support;

use std::fmt::Write as _;
use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nettune::cilium::live;
use nettune::cilium::told::{FIELDS, Place};
use nettune::cilium::version::Version;
use nettune::engine::Observe;
use nettune::engine::evaluate::evaluate;
use nettune::engine::row::{Row, Selection};
use nettune::linux::Linux;
use nettune::model::Facts;
use nettune::model::facts::Cilium;
use nettune::profile::{Finder, Profile};
use serde_json::json;

fn recorded(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cilium").join(name);
    std::fs::read_to_string(path).unwrap()
}

/// A folder that stands for a node's root, with /var/run as every distribution has it.
struct Node(tempfile::TempDir);

impl Node {
    fn new() -> Self {
        let dir = support::tempdir();
        for folder in ["run/cilium", "var", "proc/sys/kernel"] {
            std::fs::create_dir_all(dir.path().join(folder)).unwrap();
        }
        std::os::unix::fs::symlink("/run", dir.path().join("var/run")).unwrap();
        Node(dir)
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn file(&self, path: &str, text: &str) {
        std::fs::create_dir_all(self.path(path).parent().unwrap()).unwrap();
        std::fs::write(self.path(path), text).unwrap();
    }

    /// Every connection is handed to `answer` with the path that was asked for.
    fn serve(&self, answer: impl Fn(&str, &mut UnixStream) + Send + 'static) {
        let listener = UnixListener::bind(self.path("run/cilium/cilium.sock")).unwrap();
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                let Ok(mut stream) = stream else { return };
                let mut request = [0; 4096];
                let Ok(length) = stream.read(&mut request) else { continue };
                let request = String::from_utf8_lossy(&request[..length]).into_owned();
                let path = request.split_whitespace().nth(1).unwrap_or_default().to_string();
                answer(&path, &mut stream);
            }
        });
    }

    fn cilium(&self) -> Option<Cilium> {
        Linux::open(self.0.path()).unwrap().facts().unwrap().agents.cilium
    }
}

fn ok(body: &str) -> String {
    let length = body.len();
    format!(
        "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{body}"
    )
}

/// An agent of that name, whose answers are framed by `frame`.
fn agent(name: &str, frame: fn(&str) -> String) -> Node {
    let node = Node::new();
    let (health, config) =
        (recorded(&format!("{name}/healthz.json")), recorded(&format!("{name}/config.json")));
    node.serve(move |path, stream| {
        let body = if path == "/v1/healthz" { &health } else { &config };
        let _ = stream.write_all(frame(body).as_bytes());
    });
    node
}

/// What its folder of tests/cilium has: answers, state files, or both.
fn recorded_node(name: &str) -> Node {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cilium").join(name);
    let node = if folder.join("healthz.json").exists() { agent(name, ok) } else { Node::new() };
    for file in ["agent-runtime-config.json", "viper-agent-config.yaml", "globals/node_config.h"] {
        if let Ok(text) = std::fs::read_to_string(folder.join("state").join(file)) {
            node.file(&format!("run/cilium/state/{file}"), &text);
        }
    }
    node
}

/// The rows of one good node for that Cilium.
fn rows(cilium: Option<Cilium>) -> Vec<Row> {
    let mut facts: Facts = serde_json::from_str(&recorded("node.json")).unwrap();
    facts.agents.cilium = cilium;
    let finder = Finder { folders: Vec::new(), strict: false };
    let profile = Profile::load(&finder, "cilium-max", &[]).unwrap();
    let (tweaks, links, pods) = (profile.tweaks().unwrap(), profile.links(), profile.pod_links());
    let selection = Selection {
        tweaks: tweaks.iter().collect(),
        links: &links,
        pod_links: &pods,
        cni: profile.cni(),
    };
    let mut rows = evaluate(&selection, &facts, None);
    rows.retain(|r| r.cluster.is_some());
    rows
}

fn shown(rows: &[Row]) -> String {
    let mut out = String::new();
    for row in rows {
        let share = row.cluster.as_ref().unwrap();
        writeln!(out, "{} {}", row.name, format!("{:?}", share.status).to_lowercase()).unwrap();
        for reason in &share.reasons {
            writeln!(out, "  {}: {}", reason.code, reason.text).unwrap();
        }
        for (name, said) in &share.sources {
            writeln!(out, "  by {name} {} ({})", said.value, said.source).unwrap();
        }
    }
    out
}

fn recordings() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cilium");
    let entries = std::fs::read_dir(folder).unwrap().map(|e| e.unwrap());
    let folders = entries.filter(|e| e.file_type().unwrap().is_dir());
    let mut names: Vec<String> = folders.map(|e| e.file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

/// Each folder of tests/cilium is what one version of the agent said in one configuration, and rows.txt what
/// is made of it. `NETTUNE_UPDATE_CASES=1` rewrites that: read the difference.
#[test]
fn each_recorded_agent_gives_its_rows() {
    for name in recordings() {
        let found = shown(&rows(recorded_node(&name).cilium()));
        let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cilium").join(&name);
        let path = path.join("rows.txt");
        if std::env::var_os("NETTUNE_UPDATE_CASES").is_some() {
            std::fs::write(&path, &found).unwrap();
        }
        let expected = std::fs::read_to_string(&path).unwrap_or_default();
        assert_eq!(found, expected, "{name}");
    }
}

fn does(name: &str) -> nettune::model::facts::CiliumLive {
    recorded_node(name).cilium().unwrap().live
}

#[test]
fn what_is_left_out_is_off_where_its_object_is_there() {
    let default = does("1.20-default");
    assert_eq!(default.bandwidth_manager, Some(false));
    assert_eq!((default.big_tcp_v4, default.big_tcp_v6), (Some(0), Some(0)));
    assert_eq!(default.masquerading.as_deref(), Some("off"));
    assert_eq!((default.lb_mode.as_deref(), default.xdp.as_deref()), (Some("off"), Some("none")));
    assert_eq!(default.socket_lb.as_deref(), Some("off"));
    // An agent of 1.13 has no such objects: not known is not off.
    let old = does("1.13-legacy");
    assert_eq!((old.network.as_deref(), old.big_tcp_v4, old.big_tcp_v6), (None, None, None));
    assert_eq!((old.bandwidth_manager, old.socket_lb.as_deref()), (Some(false), Some("off")));
    assert_eq!((old.host_routing.as_deref(), old.device_mtu), (Some("Legacy"), Some(1450)));
    // The smaller of both sizes is what is gained.
    let on = does("1.18-all-on");
    assert_eq!((on.big_tcp_v4, on.big_tcp_v6), (Some(196_608), Some(65_536)));
    assert_eq!((on.lb_mode.as_deref(), on.dsr_dispatch.as_deref()), (Some("dsr"), Some("opt")));
    assert_eq!(on.xdp_attached, None, "no pins were seen");
}

#[test]
fn the_allocation_of_a_node_is_no_network_of_the_cluster() {
    assert_eq!(does("1.20-node-cidr").native_cidr, None);
    // A string in newer agents, an object in older ones.
    assert_eq!(does("1.21-native-1").native_cidr.as_deref(), Some("10.0.0.0/8"));
    assert_eq!(does("1.19-native-2").native_cidr.as_deref(), Some("10.0.0.0/8"));
    let own = r#"{"cilium":{"msg":"1.20.0"},"routing":{"inter-host-routing-mode":"Native"}}"#;
    for (value, want) in [
        (r#""10.0.7.0/24""#, None),
        (r#""""#, None),
        ("null", None),
        ("7", None),
        (r#"{"IP":"10.0.7.0","Mask":"////AA=="}"#, None),
        (r#"{"IP":"10.128.0.0","Mask":"//+AAA=="}"#, Some("10.128.0.0/17")),
        (r#"{"IP":"","Mask":null}"#, None),
        (r#"{"IP":"10.0.0.0","Mask":"*"}"#, None),
    ] {
        let node = Node::new();
        let config = format!(
            r#"{{"status":{{"addressing":{{"ipv4":{{"alloc-range":"10.0.7.0/24"}}}},
                "daemonConfigurationMap":{{"IPv4NativeRoutingCIDR":{value}}}}}}}"#
        );
        node.serve(move |path, s| {
            let body = if path == "/v1/healthz" { own } else { &config };
            drop(s.write_all(ok(body).as_bytes()));
        });
        assert_eq!(node.cilium().unwrap().live.native_cidr.as_deref(), want, "{value}");
    }
}

/// Two nodes of one cluster, each with pods of its own network: the values are the cluster's.
#[test]
fn values_of_two_nodes_with_pod_networks_of_their_own() {
    let dir = support::tempdir();
    let profile = dir.path().join("p.toml");
    std::fs::write(&profile, "[native-routing]\nfabric = true\n").unwrap();
    let report = |name: &str, as_: &str| {
        let node = recorded_node(name);
        node.file("proc/sys/kernel/osrelease", "6.12.40\n");
        node.file("proc/sys/kernel/hostname", as_);
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_nettune"))
            .args(["--json", "--host"])
            .arg(node.0.path())
            .arg("check")
            .arg("-p")
            .arg(&profile)
            .output()
            .unwrap();
        let path = dir.path().join(format!("{as_}.json"));
        std::fs::write(&path, output.stdout).unwrap();
        path
    };
    let values = |reports: &[std::path::PathBuf]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_nettune"))
            .args(["cilium", "values", "--cilium", "1.20", "-p"])
            .arg(&profile)
            .args(reports)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let found = values(&[report("1.21-native-1", "a"), report("1.19-native-2", "b")]);
    assert!(found.contains("ipv4NativeRoutingCIDR: 10.0.0.0/8"), "{found}\n");
    assert!(!found.contains("Left out: native-routing"), "{found}");
    // Of a cluster that tells none, no node's own becomes it.
    let found = values(&[report("1.20-node-cidr", "a"), report("1.20-node-cidr", "b")]);
    assert!(!found.contains("ipv4NativeRoutingCIDR"), "{found}");
    assert!(found.contains("the pod network of the cluster is not known"), "{found}");
}

/// A small generator: no library is asked for four lines of it.
struct Dice(u64);

impl Dice {
    fn roll(&mut self, sides: usize) -> usize {
        self.0 = self.0.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (self.0 >> 33) as usize % sides
    }
}

/// The names of an answer's objects.
fn objects(answer: &serde_json::Value) -> Vec<String> {
    answer.as_object().into_iter().flat_map(|o| o.keys().cloned()).collect()
}

/// Whatever part of its objects an agent has not: what is not known any more is unknown, and all else is
/// as it was. So for each row: no claim comes out of silence.
#[test]
fn objects_that_are_gone_never_make_a_claim() {
    let mut dice = Dice(1);
    for name in recordings() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cilium").join(&name);
        let Ok(text) = std::fs::read_to_string(folder.join("healthz.json")) else { continue };
        let whole: serde_json::Value = serde_json::from_str(&text).unwrap();
        let config: serde_json::Value =
            serde_json::from_str(&recorded(&format!("{name}/config.json"))).unwrap();
        let before = told(&whole, &config);
        for _ in 0..200 {
            let (mut answer, mut less) = (whole.clone(), config.clone());
            for key in objects(&whole).iter().filter(|key| *key != "cilium") {
                if dice.roll(3) == 0 {
                    answer.as_object_mut().unwrap().remove(key);
                }
            }
            let map = less["status"]["daemonConfigurationMap"].as_object_mut().unwrap();
            map.retain(|_, _| dice.roll(3) > 0);
            let after = told(&answer, &less);
            for (what, value) in &after.said {
                assert_eq!(before.said.get(what), Some(value), "{name}: {what} of {answer}");
            }
            let (was, is) = (lives(&before), lives(&after));
            for (what, value) in is.as_object().unwrap() {
                let nothing = [json!(null), json!([]), json!({})].contains(value);
                // The agent's own words may stand in for what its state was told by.
                let other =
                    ["host_routing", "masquerading", "xdp", "lb_mode", "network", "map_ratio"];
                assert!(
                    nothing || was[what] == *value || other.contains(&what.as_str()),
                    "{name}: {what} is {value}, was {} by {answer}",
                    was[what]
                );
            }
        }
    }
}

/// What is made of two answers.
fn told(healthz: &serde_json::Value, config: &serde_json::Value) -> Cilium {
    let mut cilium = Cilium::default();
    live::healthz(healthz, &mut cilium);
    live::configuration(config, &mut cilium);
    live::conclude(&mut cilium, |_| String::new());
    cilium
}

fn lives(cilium: &Cilium) -> serde_json::Value {
    serde_json::to_value(&cilium.live).unwrap()
}

/// Each field that may be left out means, without it, what the list says and no more; and each row that
/// changes with what was told names it as its source.
#[test]
fn a_field_that_is_gone_is_its_documented_absence_and_rows_name_what_they_go_by() {
    for name in recordings() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/cilium").join(&name);
        if !folder.join("healthz.json").exists() || name.ends_with("starting") {
            continue;
        }
        let json = |file: &str| -> serde_json::Value {
            serde_json::from_str(&recorded(&format!("{name}/{file}.json"))).unwrap()
        };
        let (healthz, config) = (json("healthz"), json("config"));
        let whole = told(&healthz, &config);
        let version = Version::parse(whole.version.as_deref().unwrap()).unwrap();
        let before = rows(Some(whole.clone()));
        for field in FIELDS {
            let mut answers = [healthz.clone(), config.clone()];
            let (which, path) = match field.place {
                Place::Healthz => (0, field.path.to_string()),
                Place::Config => (1, field.path.to_string()),
                Place::Own => (1, format!("status.daemonConfigurationMap.{}", field.path)),
            };
            let pointer = format!("/{}", path.replace('.', "/"));
            let (parent, last) = pointer.rsplit_once('/').unwrap();
            let Some(object) = answers[which].pointer_mut(parent).and_then(|v| v.as_object_mut())
            else {
                continue;
            };
            object.remove(last);
            let after = told(&answers[0], &answers[1]);
            if FIELDS.iter().filter(|f| f.name == field.name).count() == 1 {
                let want = field.absent.filter(|_| version.within(field.cilium));
                let is = after.said.get(field.name).map(|s| s.value.as_str());
                assert_eq!(is, want, "{name}: {} without {path}", field.name);
            }
            if field.name == "message" {
                continue;
            }
            for (old, new) in before.iter().zip(rows(Some(after))) {
                let of = |row: &Row| {
                    let share = row.cluster.as_ref().unwrap();
                    let told = share
                        .reasons
                        .iter()
                        .filter(|r| !["stands-on", "falls"].contains(&r.code.as_str()));
                    (share.live.clone(), told.cloned().collect::<Vec<_>>())
                };
                let listed = nettune::tweaks::find(&old.name).unwrap().told().contains(&field.name);
                assert!(
                    listed || of(old) == of(&new),
                    "{name}: {} goes by {}, which its sources do not name",
                    old.name,
                    field.name
                );
            }
        }
    }
}

#[test]
fn every_framing_of_an_answer() {
    let chunked = |body: &str| {
        let mut out = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n".to_string();
        for part in body.as_bytes().chunks(700) {
            out += &format!("{:x}\r\n{}\r\n", part.len(), String::from_utf8_lossy(part));
        }
        out + "0\r\n\r\n"
    };
    let to_the_end = |body: &str| format!("HTTP/1.0 200 OK\r\n\r\n{body}");
    let frames = [ok as fn(&str) -> String, chunked, to_the_end];
    for frame in frames {
        let cilium = agent("1.18-all-on", frame).cilium().unwrap();
        assert!(cilium.unread.is_empty(), "{:?}", cilium.unread);
        assert_eq!(cilium.live.host_routing.as_deref(), Some("BPF"));
    }
    // In small writes, and cut short at any of them: whole, or not at all.
    let health = recorded("1.18-all-on/healthz.json").trim_end().to_string();
    for frame in frames {
        let text = frame(&health);
        for cut in [text.len(), text.len() - 8, text.len() / 2, text.len() / 3] {
            let node = Node::new();
            let answer = text.clone();
            node.serve(move |_, s| {
                for part in answer.as_bytes()[..cut].chunks(97) {
                    if s.write_all(part).and_then(|()| s.flush()).is_err() {
                        return;
                    }
                }
            });
            let cilium = node.cilium().unwrap();
            // A body that ends with the connection cannot show that it was cut, but is no JSON then.
            let whole = cut == text.len();
            assert_eq!(cilium.agent_up, whole, "{cut} of {}: {:?}", text.len(), cilium.unread);
            assert_eq!(cilium.live.host_routing.is_some(), whole);
        }
    }
}

/// What is wrong with an answer is named, soon, and the agent is there all the same.
fn broken(answer: impl Fn(&mut UnixStream) + Send + 'static) -> String {
    let node = Node::new();
    node.serve(move |_, stream| answer(stream));
    let start = Instant::now();
    let cilium = node.cilium().unwrap();
    let took = start.elapsed();
    assert!(took < Duration::from_secs(3), "took {took:?}");
    assert!(!cilium.agent_up && cilium.live.host_routing.is_none(), "{cilium:?}");
    let why = cilium.config.known().is_none();
    assert!(why, "a configuration that nobody told is unknown");
    cilium.unread.join("; ")
}

#[test]
fn bad_answers_are_errors_with_a_name() {
    let send = |text: &'static str| move |s: &mut UnixStream| drop(s.write_all(text.as_bytes()));
    for (text, want) in [
        ("", "cut off in its head"),
        ("HTTP/1.1 200 OK\r\nContent-Le", "cut off in its head"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{\"cilium\"", "cut off: 9 of 100 bytes"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{\"a\"", "cut off in a chunk"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "chunks are malformed"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffff\r\n", "too long"),
        ("HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip\r\n\r\n{}", "transfer encoding"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", "too long"),
        ("HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n", "its length is"),
        ("HTTP/1.1 500 Internal Server Error\r\nContent-Length: 0\r\n\r\n", "it answers 500"),
        ("SSH-2.0-OpenSSH_9.6\r\n", "does not speak HTTP"),
        ("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nnot\u{1b}[JSON", "not JSON"),
    ] {
        let found = broken(send(text));
        assert!(found.contains(want), "{text:?}: {found}");
    }
}

#[test]
fn an_answer_without_end_and_one_that_never_comes() {
    let found = broken(|s| {
        let _ = s.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        let noise = vec![b'x'; 1 << 16];
        while s.write_all(&noise).is_ok() {}
    });
    assert!(found.contains("over 4 MiB"), "{found}");
    let found = broken(|_| std::thread::sleep(Duration::from_secs(2)));
    assert!(found.contains("no whole answer in time"), "{found}");
    // One byte now and then would keep a timeout of each read from ever coming.
    let found = broken(|s| {
        for byte in b"HTTP/1.1 200 OK\r\nContent-Length: 500\r\n\r\n".iter().cycle() {
            if s.write_all(&[*byte]).is_err() {
                return;
            }
            std::thread::sleep(Duration::from_millis(50));
        }
    });
    assert!(found.contains("no whole answer in time"), "{found}");
    let found = broken(|s| {
        let header = "X-Noise: 0123456789\r\n".repeat(8000);
        let _ = s.write_all(format!("HTTP/1.1 200 OK\r\n{header}\r\n").as_bytes());
    });
    assert!(!found.is_empty(), "a head of 160 KB is no answer");
}

#[test]
fn a_socket_that_nobody_serves_is_no_absence() {
    let node = Node::new();
    drop(UnixListener::bind(node.path("run/cilium/cilium.sock")).unwrap());
    let cilium = node.cilium().unwrap();
    assert!(!cilium.agent_up);
    assert!(cilium.unread[0].contains("Connection refused"), "{:?}", cilium.unread);
}

#[test]
fn the_socket_may_be_elsewhere() {
    let node = Node::new();
    std::fs::create_dir_all(node.path("srv")).unwrap();
    node.serve(|_, s| drop(s.write_all(ok(&recorded("1.16-legacy/healthz.json")).as_bytes())));
    std::fs::rename(node.path("run/cilium/cilium.sock"), node.path("srv/agent.sock")).unwrap();
    assert!(node.cilium().is_none(), "nothing is at the usual place");
    let host = Linux::open(node.0.path()).unwrap().with_cilium(Some("/srv/agent.sock".into()));
    let cilium = host.facts().unwrap().agents.cilium.unwrap();
    assert_eq!(cilium.version.as_deref(), Some("1.16.19"));
}

#[test]
fn state_files_speak_where_the_agent_does_not() {
    let node = Node::new();
    node.file(
        "run/cilium/state/globals/node_config.h",
        "#define ENABLE_BANDWIDTH_MANAGER 1\n#define TUNNEL_MODE 1\n",
    );
    node.file(
        "run/cilium/state/viper-agent-config.yaml",
        "routing-mode: tunnel\ntunnel-protocol: vxlan\nenable-ipv4-masquerade: \"true\"\n\
         kube-proxy-replacement: \"false\"\nenable-hubble: true\nsecret-thing: hidden\n",
    );
    node.file(
        "run/cilium/state/agent-runtime-config.json",
        "{\"RoutingMode\": \"tunnel\", \"Nested\": {\"EnableBPFMasquerade\": false}}",
    );
    let cilium = node.cilium().unwrap();
    assert_eq!(cilium.seen_by, "state");
    assert_eq!(cilium.live.host_routing, None, "a macro that is not there proves nothing");
    assert_eq!(cilium.live.bandwidth_manager, Some(true));
    assert_eq!(cilium.live.network.as_deref(), Some("tunnel vxlan"));
    assert_eq!(cilium.live.masquerading.as_deref(), Some("iptables"));
    assert_eq!(cilium.live.hubble, Some(true));
    assert_eq!(cilium.key("enable-bpf-masquerade"), Some("false"));
    assert_eq!(cilium.key("secret-thing"), None, "only what some lever asks for is kept");
}

#[test]
fn state_files_of_nonsense_are_named() {
    let node = Node::new();
    node.file("run/cilium/state/viper-agent-config.yaml", "a: [1\nb: &x {");
    node.file("run/cilium/state/agent-runtime-config.json", "{\"a\": ");
    let cilium = node.cilium().unwrap();
    assert_eq!(cilium.unread.len(), 2, "{:?}", cilium.unread);
    assert!(cilium.config.known().is_none());
}

#[test]
fn pins_name_the_programs_and_where_xdp_is() {
    let node = Node::new();
    node.file("run/cilium/state/globals/node_config.h", "#define ENABLE_HOST_ROUTING 1\n");
    for pin in
        ["eth0/links/cil_from_netdev", "eth0/links/cil_xdp_entry", "lxc1/links/cil_from_container"]
    {
        node.file(&format!("sys/fs/bpf/cilium/devices/{pin}"), "");
    }
    let cilium = node.cilium().unwrap();
    let programs = cilium.programs.known().unwrap();
    assert_eq!(programs, &["cil_from_contai", "cil_from_netdev", "cil_xdp_entry"]);
    assert_eq!(cilium.live.attach_mode.as_deref(), Some("tcx"));
    assert_eq!(cilium.live.xdp_attached.as_deref(), Some(&["eth0".to_string()][..]));
}

#[test]
fn a_cloud_that_owns_the_chart_is_known_by_its_label() {
    for (file, text, cloud) in [
        (
            "etc/default/kubelet",
            "KUBELET_NODE_LABELS=a=b,kubernetes.azure.com/ebpf-dataplane=cilium\n",
            "AKS",
        ),
        (
            "etc/kubernetes/kubelet/config.json",
            "--node-labels=eks.amazonaws.com/compute-type=auto",
            "EKS Auto Mode",
        ),
        (
            "run/cilium/state/viper-agent-config.yaml",
            "enable-google-multi-nic: \"false\"\n",
            "GKE Dataplane V2",
        ),
    ] {
        let node = Node::new();
        node.file("run/cilium/state/globals/node_config.h", "");
        node.file(file, text);
        assert_eq!(node.cilium().unwrap().managed.as_deref(), Some(cloud));
    }
}

/// `nettune check` as a program would read it.
fn check(node: &Node) -> serde_json::Value {
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nettune"))
        .args(["--json", "--host"])
        .arg(node.0.path())
        .args(["check", "-p", "cilium-max"])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"))
}

#[test]
fn check_shows_what_is_live_beside_what_is_wanted() {
    let json = check(&agent("1.16-legacy", ok));
    let row = |name: &str| {
        let rows = json["tweaks"].as_array().unwrap();
        rows.iter().find(|t| t["name"] == name).unwrap().clone()
    };
    assert_eq!(json["node"]["cilium"], "1.16.19");
    let masquerade = row("bpf-masquerade");
    assert_eq!(masquerade["cluster"]["now"], "iptables");
    assert_eq!(masquerade["cluster"]["wanted"], "BPF");
    assert_eq!(row("native-routing")["cluster"]["now"], "tunnel vxlan");
    assert_eq!(row("hubble")["status"], "ok");
    let json = check(&agent("1.18-all-on", ok));
    let status = |name: &str| {
        let rows = json["tweaks"].as_array().unwrap();
        rows.iter().find(|t| t["name"] == name).unwrap()["status"].clone()
    };
    for lever in ["native-routing", "kube-proxy-replacement", "bpf-masquerade", "dsr", "bbr"] {
        assert_eq!(status(lever), "ok", "{lever}");
    }
}

/// The agent's socket does not tell every key of cilium-config: what it leaves out is no difference.
#[test]
fn the_local_diff_does_not_take_untold_for_unset() {
    let node = agent("1.18-all-on", ok);
    node.file("proc/sys/kernel/osrelease", "6.12.40\n");
    node.file(
        "profile.toml",
        "[native-routing]\n[bpf-masquerade]\n[bpf-maps]\ndistributed-lru = true\n",
    );
    let output = std::process::Command::new(env!("CARGO_BIN_EXE_nettune"))
        .args(["--json", "--host"])
        .arg(node.0.path())
        .args(["cilium", "diff", "-p", node.path("profile.toml").to_str().unwrap()])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let kinds: Vec<&str> =
        json["findings"].as_array().unwrap().iter().filter_map(|f| f["kind"].as_str()).collect();
    assert!(!kinds.is_empty() && kinds.iter().all(|k| *k == "set"), "{text}");
    let note = "the agent does not tell these, which are not compared (--config FILE has all): \
                bpf-distributed-lru";
    assert_eq!(json["notes"][0], note, "{text}");
    assert_eq!(output.status.code(), Some(0));
}

/// Who may not ask the agent is told so: it is neither down nor absent.
#[test]
fn an_ordinary_user_gets_unknown_and_why() {
    use std::os::unix::fs::PermissionsExt;
    use std::os::unix::process::CommandExt;
    let mode = |path: &Path, mode| {
        std::fs::set_permissions(path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    let node = agent("1.16-legacy", ok);
    mode(node.0.path(), 0o755);
    mode(&node.path("run/cilium/cilium.sock"), 0o600);
    let mut command = std::process::Command::new(env!("CARGO_BIN_EXE_nettune"));
    command.args(["--json", "--host"]).arg(node.0.path()).args(["check", "-p", "cilium-max"]);
    if nix::unistd::geteuid().is_root() {
        command.uid(65534).gid(65534);
    } else {
        mode(&node.path("run/cilium/cilium.sock"), 0o000);
    }
    let output = match command.output() {
        Ok(output) => output,
        // The build folder is closed to others.
        Err(e) => return here::skip(&format!("run as another user: {e}")),
    };
    let text = String::from_utf8_lossy(&output.stdout);
    let json: serde_json::Value =
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e}: {text}"));
    let rows = json["tweaks"].as_array().unwrap();
    let row = rows.iter().find(|t| t["name"] == "bpf-masquerade").unwrap();
    assert!(row["cluster"]["now"].is_null(), "{row}");
    let reason = &row["reasons"][0];
    assert_eq!(reason["code"], "live-unknown", "{row}");
    assert!(reason["text"].as_str().unwrap().contains("Permission denied"), "{row}");
    assert_eq!(reason["fix"], "sudo nettune check");
}

/// Its rows are unknown, and that is no failure of the node unless it is asked for.
#[test]
fn an_agent_that_is_starting_is_asked_again() {
    let node = recorded_node("1.20-starting");
    // What the agent before it has left is not what this one will do.
    node.file("run/cilium/state/globals/node_config.h", "#define ENABLE_HOST_ROUTING 1\n");
    for (args, exit) in [(&[][..], 0), (&["--strict"], 5)] {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_nettune"))
            .args(["--json", "--host"])
            .arg(node.0.path())
            .args(["check", "-p", "cilium-max"])
            .args(args)
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(exit), "{args:?}");
        let json: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
        assert!(json["node"]["cilium"].is_null(), "its version is not guessed");
        for row in json["tweaks"].as_array().unwrap() {
            let Some(cluster) = row.get("cluster").filter(|c| !c.is_null()) else { continue };
            assert_eq!(cluster["status"], "unknown", "{row}");
            assert_eq!(cluster["reasons"][0]["code"], "starting", "{row}");
            assert_eq!(row["advice"], json!([]), "{row}");
        }
    }
    // One that is not well and says more is not starting.
    let node = Node::new();
    node.serve(|_, s| {
        let body =
            r#"{"cilium":{"state":"Failure","msg":"x"},"bandwidth-manager":{"devices":null}}"#;
        drop(s.write_all(ok(body).as_bytes()));
    });
    let cilium = node.cilium().unwrap();
    assert!(!cilium.starting && cilium.live.bandwidth_manager == Some(false));
}

#[test]
fn a_node_that_has_nothing_of_kubernetes_gets_one_line_of_cilium() {
    let node = Node::new();
    let check = |args: &[&str]| {
        let output = std::process::Command::new(env!("CARGO_BIN_EXE_nettune"))
            .arg("--host")
            .arg(node.0.path())
            .args(["--color", "never", "check", "-p", "cilium-max"])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8(output.stdout).unwrap()
    };
    let line = "no Cilium here: nettune check --cilium shows what it could take\n";
    let rows = |text: &str| {
        let levers = ["kube-proxy-replacement", "bpf-masquerade", "dsr", "netkit", "bpf-maps"];
        levers.iter().filter(|name| text.contains(&format!("  {name} "))).count()
    };
    let text = check(&[]);
    assert!(text.contains(line) && rows(&text) == 0, "{text}");
    let text = check(&["--cilium"]);
    assert!(!text.contains(line) && rows(&text) >= 4, "{text}");
    let text = check(&["--only", "netkit"]);
    assert!(!text.contains(line) && rows(&text) == 1, "{text}");
    node.file("usr/lib/systemd/system/kubelet.service", "[Service]\n");
    let text = check(&[]);
    assert!(!text.contains(line) && rows(&text) > 1, "{text}");
}

fn said(healthz: &str, config: &str) -> Cilium {
    told(&serde_json::from_str(healthz).unwrap(), &serde_json::from_str(config).unwrap())
}

fn reason(rows: &[Row], lever: &str) -> String {
    let row = rows.iter().find(|r| r.name == lever).unwrap();
    row.cluster.as_ref().unwrap().reasons[0].text.clone()
}

const LEGACY: &str = r#"{"cilium":{"state":"Ok","msg":"1.20.0 (v)"},
    "routing":{"inter-host-routing-mode":"Native","intra-host-routing-mode":"Legacy"},
    "masquerading":{"enabled":true,"enabledProtocols":{"ipv4":true},"mode":"BPF"},
    "kube-proxy-replacement":{"mode":"True","features":{"nodePort":{}}},
    "bandwidth-manager":{"enabled":true,"congestionControl":"bbr"}}"#;

/// A cause is what the agent tells; what it does not tell is none.
#[test]
fn why_host_routing_is_legacy_is_told_or_not_said() {
    for (map, why) in [
        (r#"{"UnsafeDaemonConfigOption":{"EnableHostLegacyRouting":true}}"#, "is set"),
        (r#"{"EnableHostLegacyRouting":true}"#, "is set"),
        (r#"{"EnableHostLegacyRouting":false}"#, "not restarted since it changed"),
        ("{}", "Legacy -> BPF"),
    ] {
        let config = format!(r#"{{"status":{{"daemonConfigurationMap":{map}}}}}"#);
        let found = reason(&rows(Some(said(LEGACY, &config))), "host-routing");
        assert!(found.ends_with(why), "{map}: {found}");
    }
    // BBR there is for pods or for the node alone: not told is neither.
    let config = r#"{"status":{"daemonConfigurationMap":{}}}"#;
    assert!(reason(&rows(Some(said(LEGACY, config))), "bbr").ends_with("bbr"));
    let no_answer = said(LEGACY, "{}");
    assert!(reason(&rows(Some(no_answer)), "bbr").starts_with("unknown"));
}

/// Files that contradict each other: what it runs with before what it was compiled with, and nothing on a
/// stone that is not there.
#[test]
fn state_files_that_disagree() {
    let state = |runtime: &str, header: &str| {
        let node = Node::new();
        node.file("run/cilium/state/agent-runtime-config.json", runtime);
        node.file("run/cilium/state/globals/node_config.h", header);
        node.cilium().unwrap().live
    };
    let found = state(
        r#"{"RoutingMode":"native","EnableHostLegacyRouting":true}"#,
        "#define ENABLE_HOST_ROUTING 1\n#define TUNNEL_MODE 1\n",
    );
    assert_eq!(found.host_routing.as_deref(), Some("Legacy"));
    assert_eq!(found.network.as_deref(), Some("native"));
    let off = r#"{"KubeProxyReplacement":"false","EnableHostLegacyRouting":false,"NodePortAcceleration":"native"}"#;
    let found = state(off, "");
    assert_eq!(
        (found.host_routing.as_deref(), found.xdp.as_deref()),
        (Some("Legacy"), Some("none"))
    );
    let found = state(r#"{"NodePortAcceleration":"best-effort"}"#, "");
    assert_eq!(found.xdp, None, "best effort may be nothing");
    // Only an agent before 1.19 tells of IPsec there.
    let node = Node::new();
    node.file("run/cilium/state/agent-runtime-config.json", r#"{"X":{"EnableIPSec":true}}"#);
    let cilium = node.cilium().unwrap();
    assert!(cilium.version.is_none() && cilium.before(19) && !cilium.before(18));
    assert_eq!(cilium.said["enable-ipsec"].source, "agent-runtime-config.json X.EnableIPSec");
}

/// Names go with spaces between: what is no name of a link is none.
#[test]
fn a_device_is_a_link() {
    let many = format!(r#"{{"name":"{}"}},{{"name":"eth0"}},{{"name":""}}"#, "a ".repeat(600));
    let healthz = format!(r#"{{"kube-proxy-replacement":{{"deviceList":[{many}]}}}}"#);
    assert_eq!(said(&healthz, "{}").live.devices, ["eth0"]);
}

#[test]
fn an_agent_that_has_probed_in_part_is_starting_and_one_that_failed_is_not() {
    let part = r#"{"cilium":{"state":"Warning","msg":"Not all probes executed at least once"},
        "kube-proxy-replacement":{"mode":"True","features":{"nodePort":{}}}}"#;
    assert!(said(part, "{}").starting);
    for not in [
        r#"{"cilium":{"state":"Failure","msg":"Kvstore service is not ready"}}"#,
        "{}",
        "[1,2]",
        r#"{"cilium":{"state":"Ok","msg":"1.20.0"}}"#,
    ] {
        let cilium = said(not, "{}");
        assert!(!cilium.starting, "{not}");
        assert!(not.contains("Ok") || cilium.unread[0].contains("says no more than"), "{not}");
    }
}
