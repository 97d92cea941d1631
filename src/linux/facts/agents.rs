//! Who else runs on the node and sets what nettune might set.

use std::cell::OnceCell;
use std::io::Read;
use std::time::{Duration, Instant};

use procfs::FromRead;
use procfs::process::Stat;

use super::cilium;
use crate::linux::irqbalance;
use crate::linux::root::{Root, is_absent};
use crate::model::State;
use crate::model::facts::{Agent, AgentConfig, Agents, Fact, Link};

const UNIT_FOLDERS: [&str; 4] =
    ["etc/systemd/system", "run/systemd/system", "usr/lib/systemd/system", "lib/systemd/system"];

/// Where systemd keeps the processes of its services: cgroup 2, then the hybrid and old layouts.
const SLICES: [&str; 3] = [
    "sys/fs/cgroup/system.slice",
    "sys/fs/cgroup/unified/system.slice",
    "sys/fs/cgroup/systemd/system.slice",
];

const KUBELETS: [&str; 6] =
    ["kubelet", "k3s", "k3s-agent", "rke2-server", "rke2-agent", "snap.microk8s.daemon-kubelite"];
const KUBELET_FILES: [&str; 4] =
    ["usr/bin/kubelet", "usr/local/bin/kubelet", "opt/bin/kubelet", "var/lib/kubelet"];

pub fn gather(root: &Root, socket: &str, links: &[Link]) -> Agents {
    let systemd = root.exists("run/systemd/system");
    let running = Running::new(root, systemd);
    let agent = |units: &[&str], comm: &str| {
        let pid = units.iter().find_map(|unit| service_pid(root, unit));
        let installed = units.iter().any(|unit| installed(root, unit));
        match pid {
            Some(_) => Agent { installed, pid, unseen: false },
            None => running.agent(installed, comm),
        }
    };
    let (cni, pod_cidrs) = cni(root);
    let mut kubelet = agent(&KUBELETS, "kubelet");
    kubelet.installed |= KUBELET_FILES.iter().any(|path| root.exists(path));
    let balancer = agent(&["irqbalance"], "irqbalance");
    Agents {
        tuned: agent(&["tuned"], "tuned"),
        tuned_profile: root.line("etc/tuned/active_profile").filter(|name| !name.is_empty()),
        irqbalance_socket: irqbalance::socket_path(root).is_some(),
        irqbalance_later: false,
        irqbalance: balancer,
        irqbalance_config: irqbalance_config(root),
        network_manager: agent(&["NetworkManager"], "NetworkManager"),
        networkd: agent(&["systemd-networkd"], "systemd-network"),
        firewalld: agent(&["firewalld"], "firewalld"),
        pods: pods(root),
        cilium: cilium::gather(root, socket, links, cni.as_deref()),
        // From the netfilter rules, which are read elsewhere.
        kube_proxy_rules: Fact::Known(false),
        cni,
        pod_cidrs,
        container: container(root),
        vm: vm(root),
        systemd,
        kubelet,
    }
}

/// Of an image, where nothing runs: what is installed.
pub fn of_image(root: &Root) -> Agents {
    let agent = |units: &[&str]| Agent {
        installed: units.iter().any(|unit| installed(root, unit)),
        ..Agent::default()
    };
    let mut kubelet = agent(&KUBELETS);
    kubelet.installed |= KUBELET_FILES.iter().any(|path| root.exists(path));
    let (cni, pod_cidrs) = cni(root);
    Agents {
        systemd: ["usr/lib/systemd/systemd", "lib/systemd/systemd"].iter().any(|p| root.exists(p)),
        tuned: agent(&["tuned"]),
        irqbalance: agent(&["irqbalance"]),
        network_manager: agent(&["NetworkManager"]),
        networkd: agent(&["systemd-networkd"]),
        firewalld: agent(&["firewalld"]),
        cilium: cilium::of_image(cni.as_deref()),
        cni,
        pod_cidrs,
        kubelet,
        ..Agents::default()
    }
}

pub(crate) fn installed(root: &Root, unit: &str) -> bool {
    UNIT_FOLDERS.iter().any(|folder| root.exists(&format!("{folder}/{unit}.service")))
}

/// The last file that its unit names, where distributions let the administrator write, and the
/// variable that its command line takes.
fn irqbalance_config(root: &Root) -> Option<AgentConfig> {
    let unit = UNIT_FOLDERS
        .iter()
        .find_map(|folder| root.read(&format!("{folder}/irqbalance.service")).ok())?;
    let values = |key: &str| -> Vec<String> {
        let lines = unit.lines().filter_map(|l| l.trim().strip_prefix(key)?.strip_prefix('='));
        lines.map(|v| v.trim().to_string()).collect()
    };
    let command = values("ExecStart").pop()?;
    let variable = command.split_whitespace().find_map(|word| word.strip_prefix('$'))?;
    let file = values("EnvironmentFile").pop()?;
    let path = file.trim_start_matches('-').to_string();
    let state = crate::linux::files::read_file(root, &path).ok()?;
    if matches!(state, State::Foreign { .. }) || !path.starts_with("/etc/") {
        return None;
    }
    Some(AgentConfig {
        path,
        variable: variable.trim_matches(['{', '}']).to_string(),
        state: state.text().map(str::to_string),
    })
}

fn service_pid(root: &Root, unit: &str) -> Option<u32> {
    SLICES.iter().find_map(|slice| {
        let text = root.read(&format!("{slice}/{unit}.service/cgroup.procs")).ok()?;
        text.lines().next()?.parse().ok()
    })
}

/// An irqbalance that has just been started gets its time to make its socket, or it would be stopped
/// as one that cannot be told.
pub fn await_irqbalance(root: &Root, agents: &mut Agents) {
    let Some(pid) = agents.irqbalance.pid else { return };
    let deadline = Instant::now() + Duration::from_secs(3);
    while !agents.irqbalance_socket
        && age(root, pid).is_some_and(|s| s < 10.0)
        && Instant::now() < deadline
    {
        std::thread::sleep(Duration::from_millis(50));
        agents.irqbalance_socket = irqbalance::socket_path(root).is_some();
    }
}

/// Seconds that a process runs.
pub(crate) fn age(root: &Root, pid: u32) -> Option<f64> {
    let uptime: f64 = root.line("proc/uptime")?.split(' ').next()?.parse().ok()?;
    let stat = root.value(&format!("proc/{pid}/stat")).ok()?;
    // procfs cuts it by these two and panics where it is not the kernel's: a root that is given may hold anything.
    let (head, rest) = stat.split_once(" (")?;
    rest.rsplit_once(") ").filter(|_| head.bytes().all(|b| b.is_ascii_digit()))?;
    let stat = Stat::from_read(stat.as_bytes()).ok()?;
    Some(uptime - stat.starttime as f64 / procfs::ticks_per_second() as f64)
}

/// Where agents are found that are no services of systemd's: by the files in which they write their number, else by
/// the names of processes, of which no more than the first are asked: a daemon is older than what a node works on.
struct Running<'a> {
    root: &'a Root,
    /// A service manager or its cgroups tell of all that runs.
    told: bool,
    names: OnceCell<Names>,
}

struct Names {
    all: Vec<(u32, String)>,
    cut: bool,
}

const MOST_NAMES: usize = 512;

const PID_FILES: [(&str, &str); 4] = [
    ("tuned", "run/tuned/tuned.pid"),
    ("irqbalance", "run/irqbalance.pid"),
    ("NetworkManager", "run/NetworkManager/NetworkManager.pid"),
    ("firewalld", "run/firewalld.pid"),
];

impl<'a> Running<'a> {
    fn new(root: &'a Root, systemd: bool) -> Self {
        let told = systemd || SLICES.iter().any(|slice| root.exists(slice));
        Running { root, told, names: OnceCell::new() }
    }

    fn agent(&self, installed: bool, comm: &str) -> Agent {
        if self.told {
            return Agent { installed, ..Agent::default() };
        }
        if let pid @ Some(_) = self.by_file(comm) {
            return Agent { installed, pid, unseen: false };
        }
        let names = self.names.get_or_init(|| names(self.root));
        let pid = names.all.iter().find(|(_, name)| name == comm).map(|(pid, _)| *pid);
        Agent { installed, pid, unseen: pid.is_none() && names.cut }
    }

    /// A file that outlived its process names another one, or none.
    fn by_file(&self, comm: &str) -> Option<u32> {
        let (_, file) = PID_FILES.iter().find(|(agent, _)| *agent == comm)?;
        let pid: u32 = self.root.line(file)?.parse().ok()?;
        (self.root.line(&format!("proc/{pid}/comm"))? == comm).then_some(pid)
    }
}

fn names(root: &Root) -> Names {
    let pids = root.list("proc").unwrap_or_default();
    let mut pids: Vec<u32> = pids.iter().filter_map(|name| name.parse().ok()).collect();
    pids.sort_unstable();
    let cut = pids.len() > MOST_NAMES;
    pids.truncate(MOST_NAMES);
    let name = |pid: u32| Some((pid, root.line(&format!("proc/{pid}/comm"))?));
    Names { all: pids.into_iter().filter_map(name).collect(), cut }
}

/// Pods have a cgroup each, wherever the kubelet puts them.
fn pods(root: &Root) -> Fact<u32> {
    let bases = ["sys/fs/cgroup", "sys/fs/cgroup/unified", "sys/fs/cgroup/systemd"];
    let slices = ["kubepods.slice", "kubepods"];
    let mut count = 0;
    for base in bases {
        for slice in slices {
            let top = format!("{base}/{slice}");
            let names = match root.list(&top) {
                Ok(names) => names,
                Err(e) if is_absent(&e) => continue,
                Err(e) => return Fact::unknown(format!("read {}: {e}", root.full(&top))),
            };
            let is_class = |n: &str| n.contains("burstable") || n.contains("besteffort");
            let is_pod = |n: &str| n.starts_with("pod") || n.contains("-pod");
            for name in names {
                if is_class(&name) && !is_pod(&name) {
                    let below = root.list(&format!("{top}/{name}")).unwrap_or_default();
                    count += below.iter().filter(|n| is_pod(n)).count() as u32;
                } else if is_pod(&name) {
                    count += 1;
                }
            }
        }
        if count > 0 {
            break;
        }
    }
    Fact::Known(count)
}

/// The first configuration by name decides, as for the kubelet.
fn cni(root: &Root) -> (Option<String>, Vec<String>) {
    let folder = "etc/cni/net.d";
    let names = root.list(folder).unwrap_or_default();
    let is_config =
        |n: &&String| n.ends_with(".conflist") || n.ends_with(".conf") || n.ends_with(".json");
    let Some(name) = names.iter().find(is_config) else { return (None, Vec::new()) };
    let text = root.read(&format!("{folder}/{name}")).unwrap_or_default();
    let mut cidrs = Vec::new();
    if let Ok(json) = serde_json::from_str(&text) {
        subnets(&json, &mut cidrs);
    }
    (Some(name.clone()), cidrs)
}

/// `subnet` wherever host-local IPAM may have it.
fn subnets(json: &serde_json::Value, found: &mut Vec<String>) {
    match json {
        serde_json::Value::Object(map) => {
            for (key, value) in map {
                match value {
                    serde_json::Value::String(text) if key == "subnet" => found.push(text.clone()),
                    other => subnets(other, found),
                }
            }
        }
        serde_json::Value::Array(list) => list.iter().for_each(|v| subnets(v, found)),
        _ => {}
    }
}

fn container(root: &Root) -> Option<String> {
    if let Some(kind) = root.line("run/systemd/container") {
        return Some(kind);
    }
    let marks = [("run/.containerenv", "podman"), (".dockerenv", "docker")];
    marks.iter().find(|(path, _)| root.exists(path)).map(|(_, kind)| kind.to_string())
}

/// The CPU flag `hypervisor`; its maker by DMI where that is told.
fn vm(root: &Root) -> Option<String> {
    // The first CPU is enough: with 512 of them the file is long.
    let mut start = vec![0; 4096];
    let length = root.file("proc/cpuinfo").ok()?.read(&mut start).ok()?;
    let text = String::from_utf8_lossy(&start[..length]).into_owned();
    let first = text.split("\n\n").next()?;
    let flags = first.lines().find(|l| l.starts_with("flags"))?;
    if !flags.split_whitespace().any(|flag| flag == "hypervisor") {
        return None;
    }
    let vendor = root.line("sys/class/dmi/id/sys_vendor").filter(|v| !v.is_empty());
    Some(vendor.unwrap_or_else(|| "unknown hypervisor".to_string()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_irqbalance_that_was_just_started_gets_time_for_its_socket() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        put("proc/7/comm", "irqbalance\n");
        let started = |ticks: u64| {
            format!("7 (irq) balance) S{} {ticks}{}\n", " 0".repeat(18), " 0".repeat(30))
        };
        put("proc/uptime", "1000.50 99.0\n");
        let root = Root::open(dir.path()).unwrap();
        put("proc/7/stat", &started(99_000));
        assert_eq!(age(&root, 7), Some(10.5));
        let begin = Instant::now();
        let awaited = || {
            let irqbalance = Agent { installed: true, pid: Some(7), unseen: false };
            let mut agents = Agents { irqbalance, ..Agents::default() };
            await_irqbalance(&root, &mut agents);
            agents.irqbalance_socket
        };
        assert!(!awaited(), "an old one without a socket has none");
        assert!(begin.elapsed() < Duration::from_secs(1));
        put("proc/7/stat", &started(100_000));
        std::thread::scope(|scope| {
            scope.spawn(|| {
                std::thread::sleep(Duration::from_millis(200));
                put("run/irqbalance/irqbalance7.sock", "");
            });
            assert!(awaited());
        });
    }

    /// Who they are is told by what they write down, or by the names of the first processes; behind those nothing
    /// is known, unless somebody keeps track of services.
    #[test]
    fn agents_among_many_processes() {
        let dir = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = dir.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for pid in 1..=600 {
            put(&format!("proc/{pid}/comm"), "sleep\n");
        }
        put("proc/90/comm", "firewalld\n");
        put("proc/599/comm", "irqbalance\n");
        let root = Root::open(dir.path()).unwrap();
        let agent = |name: &str| Running::new(&root, false).agent(true, name);
        assert_eq!(agent("firewalld").pid, Some(90));
        assert_eq!((agent("irqbalance").pid, agent("irqbalance").unseen), (None, true));
        for (pid, found) in [("599", Some(599)), ("598", None), ("x", None)] {
            put("run/irqbalance.pid", pid);
            assert_eq!(agent("irqbalance").pid, found, "{pid}");
        }
        std::fs::create_dir_all(dir.path().join("sys/fs/cgroup/system.slice")).unwrap();
        assert!(!agent("irqbalance").unseen && agent("firewalld").pid.is_none());
    }

    #[test]
    fn subnets_of_a_cni_configuration() {
        let json = serde_json::json!({
            "name": "bridge",
            "plugins": [{"ipam": {"ranges": [[{"subnet": "10.244.1.0/24"}], [{"subnet": "fd00::/64"}]]}}]
        });
        let mut found = Vec::new();
        subnets(&json, &mut found);
        assert_eq!(found, ["10.244.1.0/24", "fd00::/64"]);
    }
}
