//! Cilium on a node: a real HTTP server on a unix socket that answers well, cut off, slowly, without
//! end and with nonsense; state files where nobody answers; and what `check` makes of it.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

mod answers;
#[path = "../support/here.rs"]
mod here;
#[path = "../support/mod.rs"]
mod support;
mod told;

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
use nettune::report::reasons;
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
            writeln!(out, "  {}: {}", reason.code(), reasons::text(reason)).unwrap();
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
