//! What an agent leaves out: absence as documented, and never a claim.

use super::*;

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
                        .filter(|r| !["stands-on", "falls"].contains(&r.code()));
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

fn said(healthz: &str, config: &str) -> Cilium {
    told(&serde_json::from_str(healthz).unwrap(), &serde_json::from_str(config).unwrap())
}

fn reason(rows: &[Row], lever: &str) -> String {
    let row = rows.iter().find(|r| r.name == lever).unwrap();
    reasons::text(&row.cluster.as_ref().unwrap().reasons[0])
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

/// Names go with spaces between: what is no name of a link is none.
#[test]
fn a_device_is_a_link() {
    let many = format!(r#"{{"name":"{}"}},{{"name":"eth0"}},{{"name":""}}"#, "a ".repeat(600));
    let healthz = format!(r#"{{"kube-proxy-replacement":{{"deviceList":[{many}]}}}}"#);
    assert_eq!(said(&healthz, "{}").live.devices, ["eth0"]);
}
