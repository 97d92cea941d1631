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

use std::io::{Read, Write};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nettune::engine::Observe;
use nettune::linux::Linux;
use nettune::model::facts::Cilium;

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
        (recorded(&format!("{name}-healthz.json")), recorded(&format!("{name}-config.json")));
    node.serve(move |path, stream| {
        let body = if path == "/v1/healthz" { &health } else { &config };
        let _ = stream.write_all(frame(body).as_bytes());
    });
    node
}

#[test]
fn an_agent_of_1_13_in_legacy_mode() {
    let cilium = agent("1.13-legacy", ok).cilium().unwrap();
    assert_eq!(cilium.seen_by, "socket");
    assert!(cilium.agent_up && cilium.unread.is_empty(), "{:?}", cilium.unread);
    assert_eq!(cilium.version.as_deref(), Some("1.13.18"));
    let live = &cilium.live;
    assert_eq!(live.host_routing.as_deref(), Some("Legacy"));
    assert_eq!(cilium.host_routing, Some(false));
    assert_eq!(live.kube_proxy_replacement.as_deref(), Some("disabled"));
    assert_eq!(live.masquerading.as_deref(), Some("iptables"));
    assert_eq!(live.native_cidr.as_deref(), Some("10.244.0.0/16"));
    assert_eq!(live.socket_lb.as_deref(), Some("off"));
    // This agent says nothing of them: not known is not off.
    assert_eq!((live.network.as_deref(), live.big_tcp_v4, live.big_tcp_v6), (None, None, None));
    assert_eq!((live.hubble, live.device_mtu), (Some(false), Some(1450)));
    assert_eq!(cilium.key("ipam"), Some("cluster-pool"));
}

#[test]
fn an_agent_of_1_16_in_legacy_mode() {
    let cilium = agent("1.16-legacy", ok).cilium().unwrap();
    let live = &cilium.live;
    assert_eq!(live.network.as_deref(), Some("tunnel vxlan"));
    assert_eq!(live.host_routing.as_deref(), Some("Legacy"));
    assert_eq!((live.big_tcp_v4, live.big_tcp_v6), (Some(0), Some(0)));
    assert_eq!(live.kube_proxy_replacement.as_deref(), Some("false"));
    assert_eq!(live.attach_mode.as_deref(), Some("tcx"));
    assert_eq!(live.lb_mode.as_deref(), Some("off"));
    assert_eq!(live.maps["NAT"], 131072);
}

#[test]
fn an_agent_of_1_18_with_all_on() {
    let cilium = agent("1.18-all-on", ok).cilium().unwrap();
    let live = &cilium.live;
    assert_eq!(cilium.version.as_deref(), Some("1.18.12"));
    assert_eq!(live.network.as_deref(), Some("native"));
    assert_eq!(live.host_routing.as_deref(), Some("BPF"));
    assert_eq!(live.lb_mode.as_deref(), Some("dsr"));
    assert_eq!(live.dsr_dispatch.as_deref(), Some("opt"));
    assert_eq!(live.xdp.as_deref(), Some("native"));
    // The smaller of both sizes is what it gains.
    assert_eq!((live.big_tcp_v4, live.big_tcp_v6), (Some(196608), Some(65536)));
    assert_eq!(live.device_mode.as_deref(), Some("netkit"));
    assert_eq!(live.congestion_control.as_deref(), Some("bbr"));
    assert_eq!(live.devices, ["eth0"]);
    assert_eq!((live.map_ratio, live.clock.as_deref()), (Some(0.08), Some("jiffies")));
    assert_eq!(cilium.key("routing-mode"), Some("native"));
    assert_eq!(live.xdp_attached, None, "no pins were seen");
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
    for frame in [ok as fn(&str) -> String, chunked, to_the_end] {
        let cilium = agent("1.18-all-on", frame).cilium().unwrap();
        assert!(cilium.unread.is_empty(), "{:?}", cilium.unread);
        assert_eq!(cilium.live.host_routing.as_deref(), Some("BPF"));
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
    node.serve(|_, s| drop(s.write_all(ok(&recorded("1.16-legacy-healthz.json")).as_bytes())));
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
    assert_eq!(cilium.live.host_routing.as_deref(), Some("Legacy"));
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
