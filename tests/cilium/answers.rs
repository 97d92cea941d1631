//! The socket: every framing, bad answers, none, elsewhere; and the state files where it is silent.

use super::*;

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
