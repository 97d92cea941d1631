//! What a node is: plain data, gathered once. `nettune facts --json` prints it and a test case
//! reads it, so a bug report is a test case.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

pub use super::cilium::{Cilium, CiliumLive, Preflight, Said};
use super::settings::Setting;

/// Something that may not be readable without root: unknown is not absent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(untagged)]
pub enum Fact<T> {
    Unknown { unknown: String },
    Known(T),
}

impl<T> Fact<T> {
    pub fn known(&self) -> Option<&T> {
        match self {
            Fact::Known(value) => Some(value),
            Fact::Unknown { .. } => None,
        }
    }

    pub fn unknown(why: impl Into<String>) -> Self {
        Fact::Unknown { unknown: why.into() }
    }
}

impl<T: Default> Default for Fact<T> {
    fn default() -> Self {
        Fact::Known(T::default())
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Facts {
    pub node: Node,
    pub kernel: Kernel,
    pub cpus: Cpus,
    /// KiB.
    pub memory_kib: u64,
    pub links: Vec<Link>,
    pub agents: Agents,
    /// What others will set by their own files.
    pub settings: Vec<Setting>,
    /// The same of TuneD's profiles: the active one and those that a profile may ask for.
    pub tuned_profiles: BTreeMap<String, Vec<Setting>>,
    pub netfilter: Netfilter,
    /// What Cilium's levers ask of a node besides.
    pub preflight: Preflight,
    pub routing: Routing,
    pub bpf: Bpf,
    /// Files and folders of configuration that are there and could not be read, and why.
    pub unread: BTreeMap<String, String>,
}

/// What a route lookup by BPF does not see, and what it starts from.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Routing {
    /// Rules by mark, user or tunnel: "ip rule 100 fwmark".
    pub rules: Fact<Vec<String>>,
    pub xfrm_policies: Fact<u32>,
    /// Virtual services of IPVS.
    pub ipvs: Fact<u32>,
    /// The node's own IPv4 addresses but loopback.
    pub addresses: Vec<String>,
    /// net.ipv4.conf.all.forwarding.
    pub forwarding: bool,
}

/// What the kernel's BPF can do, asked of the kernel itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Bpf {
    /// A BPF file system is mounted at /sys/fs/bpf.
    pub fs: Fact<bool>,
    pub tcx: Fact<bool>,
    pub tc: Fact<bool>,
    pub xdp: Fact<bool>,
    /// XDP programs may take packets in several fragments.
    pub frags: Fact<bool>,
    pub fib_lookup: Fact<bool>,
    pub redirect_neigh: Fact<bool>,
    pub redirect_peer: Fact<bool>,
    pub skb_set_tstamp: Fact<bool>,
    pub netkit: Fact<bool>,
}

impl Default for Bpf {
    fn default() -> Self {
        let unasked = || Fact::unknown("the kernel's BPF was not asked");
        Bpf {
            fs: unasked(),
            tcx: unasked(),
            tc: unasked(),
            xdp: unasked(),
            frags: unasked(),
            fib_lookup: unasked(),
            redirect_neigh: unasked(),
            redirect_peer: unasked(),
            skb_set_tstamp: unasked(),
            netkit: unasked(),
        }
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Node {
    pub name: String,
    /// The name the kubelet registers, if its configuration tells.
    pub kubernetes_name: Option<String>,
    /// DMI product name, such as "m7i.4xlarge".
    pub machine_type: Option<String>,
    pub boot_id: String,
    /// Inode of the network namespace.
    pub netns: u64,
    /// Whether this is the first network namespace: some sysctls exist only there.
    pub first_netns: bool,
    pub root: bool,
    /// Those of /proc/sys, /sys and other places of values that are mounted read-only here.
    pub read_only: Vec<String>,
    /// net.ipv6.conf.all.forwarding: the kernel itself forwards IPv6.
    pub ipv6_forwarding: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Kernel {
    pub release: String,
    pub arch: String,
    pub cmdline: String,
    /// Where the configuration was found; null when none of the four places has it.
    pub config_file: Option<String>,
    /// The options that some lever asks for, such as "NET_SCH_FQ": "m"; "n" when not set.
    pub config: BTreeMap<String, String>,
    pub preempt: Preempt,
    pub btf: bool,
    /// net.core.bpf_jit_enable.
    pub jit: Fact<Option<u32>>,
    /// Lockdown mode in force, if the kernel has lockdown.
    pub lockdown: Option<String>,
    /// The modules that some lever asks for: builtin, loaded, loadable or absent.
    pub modules: BTreeMap<String, Fact<Module>>,
    pub congestion_controls: Vec<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Module {
    Builtin,
    Loaded,
    Loadable,
    Absent,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Preempt {
    /// none, voluntary, full, lazy or rt, as built.
    pub build: Option<String>,
    pub dynamic: Option<bool>,
    /// The mode in force; null where the kernel has no such switch.
    pub current: Fact<Option<String>>,
    pub modes: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Cpus {
    /// CPU lists, as the kernel writes them.
    pub online: String,
    pub possible: String,
    pub isolated: String,
    pub nohz_full: String,
    /// Given to pods for themselves, by the kubelet's CPU manager.
    pub exclusive: String,
    /// NUMA node number -> its CPUs.
    pub numa: BTreeMap<u32, String>,
    /// One entry a core: the CPUs that share it.
    pub cores: Vec<String>,
    pub cpufreq: Vec<CpuPolicy>,
    /// Whether each CPU has power/pm_qos_resume_latency_us.
    pub idle_latency: bool,
    /// Whether each CPU has power/energy_perf_bias.
    pub energy_perf_bias: bool,
    /// Whether there is an intel_pstate/min_perf_pct.
    pub min_perf_pct: bool,
    pub pstate: Option<Pstate>,
    /// Whether there is a cpufreq/boost.
    pub boost: bool,
    /// Uncore frequency domains of intel_uncore_frequency, and the most that each takes, in kHz.
    pub uncore: BTreeMap<String, u64>,
}

impl Cpus {
    /// As many CPUs as the kernel may ever have: its masks are that wide.
    pub fn bits(&self) -> u32 {
        let last = |list: &str| super::cpulist::parse(list).and_then(|c| c.last().copied());
        last(&self.possible).or_else(|| last(&self.online)).unwrap_or(0) + 1
    }
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Pstate {
    /// intel_pstate or amd_pstate.
    pub driver: String,
    /// active, passive, guided or off.
    pub mode: String,
    /// Whether it has no_turbo.
    pub turbo: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct CpuPolicy {
    /// "policy0".
    pub name: String,
    pub cpus: String,
    pub driver: String,
    pub governor: String,
    pub governors: Vec<String>,
    pub epp: Option<String>,
    pub epps: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Link {
    pub name: String,
    pub index: u32,
    /// veth, bond, vlan, bridge, ...; null for a device of a driver of its own.
    pub kind: Option<String>,
    pub driver: Option<String>,
    /// Where it is on its bus, such as "pci/0000:00:05.0".
    pub bus: Option<String>,
    pub mac: Option<String>,
    pub permanent_mac: Option<String>,
    pub numa_node: Option<u32>,
    pub up: bool,
    pub carrier: bool,
    pub loopback: bool,
    pub mtu: u32,
    pub min_mtu: u32,
    /// 0: the driver names no limit.
    pub max_mtu: u32,
    /// Queues allocated for it; the channels in use are in `channels`.
    pub rx_queues: u32,
    pub tx_queues: u32,
    /// ethtool groups as nettune compares them: "rx=1024 rx-max=4096 ...".
    pub channels: Option<String>,
    pub rings: Option<String>,
    pub coalesce: Option<String>,
    pub features: Option<Features>,
    pub vectors: Fact<Vec<Vector>>,
    /// How received packets are spread over the queues; null for a device that cannot.
    pub rss: Fact<Option<Rss>>,
    /// RSS contexts besides the first; null where the kernel cannot list them (before 6.11).
    pub rss_contexts: Option<u32>,
    /// Rules that send packets to a queue of their choice.
    pub ntuple_rules: Fact<u32>,
    /// AF_XDP sockets bound to its queues.
    pub xdp_sockets: Fact<u32>,
    /// Virtual functions that are enabled on it.
    pub virtual_functions: u32,
    /// Feature bits of a virtio device, bit 0 first: "1101...".
    pub virtio: Option<String>,
    /// A virtual function of another device.
    pub virtual_function: bool,
    /// The switch's side of a virtual function or of a subfunction, which has the device's own bus.
    pub representor: bool,
    pub sizes: Sizes,
    pub xdp: Option<Xdp>,
    pub qdisc: Option<String>,
    pub master: Option<String>,
    /// Where it stands in its bond, if its master is one.
    pub bond_port: Option<BondPort>,
    /// The link below it in this namespace (a VLAN's parent).
    pub parent: Option<String>,
    /// Its other end or parent is in another network namespace.
    pub other_netns: bool,
    pub default_route: bool,
    /// It has IPv6 addresses, which it would lose below an MTU of 1280.
    pub ipv6: bool,
    /// net.ipv6.conf.LINK.mtu; 0 where it has no IPv6.
    pub mtu_v6: u32,
    /// rp_filter in force: the greater of its own and that of all.
    pub rp_filter: u32,
    /// The smallest metric `mtu` of its routes, of which a lookup by BPF knows only a locked one.
    pub route_mtu: Option<u32>,
    /// Programs at tc that are not ours.
    pub programs: Fact<Vec<Attached>>,
    /// Its IPv6 routes with a metric `mtu` of their own, which a change of its MTU overwrites.
    pub mtu_routes: Vec<String>,
    /// Those of them that could not be put back.
    pub lost_routes: Vec<LostRoute>,
    /// Routes through a gateway there to pods of other nodes, where no default route makes it an
    /// uplink.
    pub pod_routes: u32,
    pub gateways: Vec<Gateway>,
    /// Its routes with a metric of their own that keeps packets small: "10.0.0.0/8 mtu 1400".
    pub small_routes: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Features {
    /// Those that can be set at all.
    pub changeable: Vec<String>,
    pub wanted: Vec<String>,
    pub active: Vec<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct BondPort {
    /// It is up in the bond's eyes, and with LACP both ends collect and distribute.
    pub carries: bool,
    pub lacp: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rss {
    /// "default" when it is the kernel's own (all queues in turn), "runs" when it is that of igb and
    /// igc (an equal run of entries for each queue), else the queue of each entry.
    pub table: String,
    /// Hexadecimal.
    pub key: String,
    /// The hash function, as a bit of ETH_RSS_HASH_*.
    pub hash: u8,
}

impl Rss {
    /// Somebody set the table: it names queues, which a change of channels may take away.
    pub fn by_hand(&self) -> bool {
        !matches!(self.table.as_str(), Self::DEFAULT | Self::RUNS)
    }

    pub const DEFAULT: &str = "default";
    pub const RUNS: &str = "runs";
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Attached {
    /// "tcx ingress", "tcx egress", "tc ingress", "tc egress".
    pub hook: String,
    /// A program's name, as far as the kernel keeps it (15 characters), else the kind of filter.
    pub name: String,
    pub owner: Option<String>,
    /// At tcx behind nettune's own program, which hands packets on before this one sees them.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub behind: bool,
}

/// An IPv6 route whose metric `mtu` is gone for good once the kernel has overwritten it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct LostRoute {
    /// "fd99::/64 table 254 metric 1024".
    pub route: String,
    pub mtu: u32,
    pub why: String,
}

/// The next hop of a default route.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Gateway {
    /// "10.0.0.1", "fe80::1%eth0".
    pub address: String,
    /// The route's own metric `mtu`: packets there are no larger.
    pub mtu: Option<u32>,
}

/// Bytes; null where the kernel does not report one.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sizes {
    pub gso: Option<u32>,
    pub gro: Option<u32>,
    pub gso_v4: Option<u32>,
    pub gro_v4: Option<u32>,
    pub tso_max: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Xdp {
    /// native, generic, offload or multi.
    pub mode: String,
    pub program: Option<u32>,
}

/// One MSI vector of a link.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Vector {
    pub irq: u32,
    /// As in /proc/irq/N: "virtio0-input.0"; empty while nobody uses it.
    pub name: String,
    pub role: Role,
    pub queue: Option<u32>,
    /// smp_affinity_list.
    pub affinity: String,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Role {
    Rx,
    Tx,
    /// One vector for a pair of queues.
    Both,
    Management,
    #[default]
    Unused,
    /// Its name does not tell.
    Unknown,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Agents {
    /// systemd is the init of this node.
    pub systemd: bool,
    pub tuned: Agent,
    /// Its active profile, as it wrote it down.
    pub tuned_profile: Option<String>,
    pub irqbalance: Agent,
    /// It takes orders over its socket.
    pub irqbalance_socket: bool,
    /// It is left to the run after the network: in the one before it is only being started.
    #[serde(skip)]
    pub irqbalance_later: bool,
    /// Where its unit takes its arguments from.
    pub irqbalance_config: Option<AgentConfig>,
    pub network_manager: Agent,
    pub networkd: Agent,
    pub firewalld: Agent,
    pub kubelet: Agent,
    /// Pods that run now.
    pub pods: Fact<u32>,
    pub cilium: Option<Cilium>,
    /// Chains of kube-proxy are in nf_tables, whoever runs it.
    pub kube_proxy_rules: Fact<bool>,
    /// The first CNI configuration file by name, if there is one.
    pub cni: Option<String>,
    /// Pod CIDRs named in the CNI configuration.
    pub pod_cidrs: Vec<String>,
    /// A container runtime's mark on this process.
    pub container: Option<String>,
    /// Hypervisor, if the CPU says that there is one.
    pub vm: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Agent {
    pub installed: bool,
    pub pid: Option<u32>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct AgentConfig {
    pub path: String,
    /// The variable in it that holds the arguments: IRQBALANCE_ARGS, or OPTIONS of older Debian.
    pub variable: String,
    /// The file as nettune compares it; null when there is none.
    pub state: Option<String>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Netfilter {
    /// Chains of nf_tables and of registered legacy tables, which are called "filter (legacy)".
    pub chains: Fact<Vec<Chain>>,
    /// Registered tables of legacy iptables, such as "ip nat": reading any other would register it.
    pub legacy: Fact<Vec<String>>,
    /// Connections tracked now and their limit; null without conntrack.
    pub conntrack: Option<Conntrack>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Conntrack {
    pub count: u64,
    pub max: u64,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Chain {
    pub family: String,
    pub table: String,
    pub chain: String,
    /// filter, nat or route.
    pub kind: String,
    pub hook: String,
    pub priority: i32,
    /// Its policy is not to accept.
    pub drops: bool,
    /// Rules in it; those of the chains that it jumps to are theirs.
    pub rules: u32,
    /// Kinds of expressions in those rules: "dnat", "ct state", "masq", "fib", ...
    pub expressions: Vec<String>,
    /// The rules one by one; null where its table has too many to tell.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub detail: Option<Vec<Rule>>,
}

/// What a rule does, and to which packets. Links are names ("eth0", "lxc*") or indexes ("#3"); a
/// "!" before one of these means all but that.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Rule {
    /// As those of its chain, connection states told: "ct state established,related".
    pub expressions: Vec<String>,
    /// A network such as "10.0.0.0/8".
    #[serde(skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub destination: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub input: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub output: Option<String>,
    /// It asks for more than these four.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub further: bool,
    /// The chain that it jumps or goes to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
}

impl Link {
    /// Queues in use of one side ("rx" or "tx"); None where its driver does not say.
    pub fn queues(&self, side: &str) -> Option<u32> {
        let state = super::State::is(self.channels.as_deref()?);
        let number = |key| state.field(key).and_then(|n| n.parse::<u32>().ok()).unwrap_or(0);
        Some(number(side) + number("combined")).filter(|used| *used > 0)
    }

    /// Its vectors and the queues in use that they serve: some drivers ask for those of all queues
    /// that there could be.
    pub fn serving(&self) -> impl Iterator<Item = (&Vector, u32)> {
        let used = self.queues("rx").max(self.queues("tx")).unwrap_or(u32::MAX);
        let serves = |v: &&Vector| matches!(v.role, Role::Rx | Role::Tx | Role::Both);
        let vectors = self.vectors.known().into_iter().flatten().filter(serves);
        vectors.filter_map(|v| Some((v, v.queue?))).filter(move |(_, queue)| *queue < used)
    }

    /// Of one of these kinds, as the kernel names them; a NIC has none.
    pub fn is_a(&self, kinds: &[&str]) -> bool {
        self.kind.as_deref().is_some_and(|kind| kinds.contains(&kind))
    }

    /// A program is on it in its driver.
    pub fn native_xdp(&self) -> bool {
        self.xdp.as_ref().is_some_and(|x| x.mode != "generic")
    }
}

impl Agents {
    /// What is known of the pods' networks: the cluster's, or this node's own alone.
    pub fn pod_networks(&self) -> Vec<String> {
        let mut networks = self.pod_cidrs.clone();
        if let Some(cilium) = &self.cilium {
            let keys = ["ipv4-native-routing-cidr", "ipv6-native-routing-cidr"];
            networks.extend(keys.iter().filter_map(|key| cilium.key(key)).map(str::to_string));
            networks.extend(cilium.live.native_cidr.clone());
        }
        networks
    }
}

impl Facts {
    pub fn link(&self, name: &str) -> Option<&Link> {
        self.links.iter().find(|l| l.name == name)
    }

    /// Pods are running, or it could not be told whether.
    pub fn live(&self) -> bool {
        self.agents.pods.known() != Some(&0)
    }

    /// A kubelet on disk means a Kubernetes node, also before its first start.
    pub fn kubernetes(&self) -> bool {
        self.agents.kubelet.installed || self.agents.kubelet.pid.is_some()
    }

    /// (major, minor) of the kernel's release.
    pub fn kernel_version(&self) -> (u32, u32) {
        let mut parts = self.kernel.release.split(['.', '-']).map(|p| p.parse().unwrap_or(0));
        (parts.next().unwrap_or(0), parts.next().unwrap_or(0))
    }

    /// Who a link is, so that it is found again under another name and not mistaken for another.
    pub fn identity(&self, name: &str) -> Option<LinkId> {
        self.link(name).map(|l| LinkId {
            name: l.name.clone(),
            index: l.index,
            mac: l.permanent_mac.clone(),
            bus: l.bus.clone(),
        })
    }
}

/// (ifindex, name, permanent MAC, bus path).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LinkId {
    pub name: String,
    pub index: u32,
    pub mac: Option<String>,
    pub bus: Option<String>,
}

impl LinkId {
    /// Same ifindex, and nothing that speaks against it.
    pub fn is(&self, link: &Link) -> bool {
        self.index == link.index && self.mac == link.permanent_mac && self.bus == link.bus
    }
}
