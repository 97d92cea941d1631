//! A committed program in a namespace with routes and neighbours of its own; the benchmark uses it too.
#![allow(dead_code, reason = "the benchmark uses a part")]

use std::process::Command;

use aya::maps::{Array, HashMap, MapData, PerCpuArray};
use aya::programs::{SchedClassifier, TestRun, TestRunOptions};
use aya::{Ebpf, EbpfLoader};

use crate::here;
use crate::packets::Frame;
use nettune::model::bpf::REASONS;

pub const TO_PEER: u32 = 1;

pub const RP_STRICT: u32 = 2;

pub const RP_LOOSE: u32 = 4;

pub const UP_THE_STACK: u32 = u32::MAX;

pub const REDIRECT: u32 = 7;

pub const XDP_DROP: u32 = 1;

pub const XDP_PASS: u32 = 2;

pub const XDP_REDIRECT: u32 = 4;

pub fn sh(command: &str) -> String {
    let output = Command::new("sh").args(["-ec", command]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command}: {text}");
    String::from_utf8_lossy(&output.stdout).trim().to_string()
}

pub fn in_namespace(test: impl FnOnce() + Send + 'static) {
    here::in_namespace(
        &[("sysfs", "/sys"), ("tmpfs", "/run")],
        || match aya::sys::is_map_supported(aya::maps::MapType::Array) {
            Ok(_) => test(),
            Err(e) => here::skip(&format!("the bpf call is refused here: {e}: {}", e.io_error)),
        },
    );
}

pub fn object(name: &str) -> Vec<u8> {
    std::fs::read(format!("{}/bpf/{name}.bpf.o", env!("CARGO_MANIFEST_DIR"))).unwrap()
}

pub fn load(name: &str) -> Ebpf {
    EbpfLoader::new().btf(None).load(&object(name)).unwrap()
}

pub fn index(link: &str) -> u32 {
    sh(&format!("cat /sys/class/net/{link}/ifindex")).parse().unwrap()
}

pub fn mac(link: &str) -> [u8; 6] {
    let text = sh(&format!("cat /sys/class/net/{link}/address"));
    let bytes: Vec<u8> = text.split(':').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
    bytes.try_into().unwrap()
}

/// up0: uplink; pod0: a pod's host side; up1: an uplink that carries no program.
pub fn node() {
    sh("
        ip link set lo up
        ip netns add far
        for pair in up0:r0 up1:r1 pod0:eth0; do
            ip link add ${pair%:*} type veth peer name ${pair#*:} netns far
            ip link set ${pair%:*} up
            ip -n far link set ${pair#*:} up
        done
        sysctl -qw net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
        sysctl -qw net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.up0.rp_filter=0
        sysctl -qw net.ipv4.conf.pod0.rp_filter=0 net.ipv4.conf.up1.rp_filter=0
        ip addr add 10.77.0.2/24 dev up0
        ip addr add fd77::2/64 dev up0 nodad
        ip addr add 192.0.2.2/24 dev up1
        ip route add default via 10.77.0.1
        ip -6 route add default via fd77::1
        ip route add 10.99.0.0/16 via 10.77.0.1 mtu lock 600
        ip -6 route add fd99::/64 via fd77::1 mtu lock 1300
        ip route add blackhole 198.51.100.0/24
        ip route add unreachable 203.0.113.0/24
        ip route add 10.244.1.2 dev pod0
        ip -6 route add fd44::2 dev pod0
        for n in 10.77.0.1 fd77::1; do ip neigh add $n lladdr 02:00:00:00:00:01 dev up0; done
        for n in 10.244.1.2 fd44::2; do ip neigh add $n lladdr 02:00:00:00:01:02 dev pod0; done
        ip neigh add 192.0.2.1 lladdr 02:00:00:00:00:01 dev up1
    ");
}

pub struct Program {
    pub bpf: Ebpf,
    pub name: &'static str,
    pub counters: PerCpuArray<MapData, [u64; 20]>,
}

impl Program {
    pub fn new(object: &str, name: &'static str, counters: &str) -> Self {
        Self::of(load(object), name, counters)
    }

    pub fn of(mut bpf: Ebpf, name: &'static str, counters: &str) -> Self {
        let map = bpf.take_map(counters).unwrap();
        match bpf.program_mut(name).unwrap() {
            aya::programs::Program::Xdp(xdp) => xdp.load().unwrap(),
            other => TryInto::<&mut SchedClassifier>::try_into(other).unwrap().load().unwrap(),
        }
        Program { bpf, name, counters: map.try_into().unwrap() }
    }

    pub fn cover(&mut self, map: &str, link: &str, flags: u32, mtu: u32) {
        let index = index(link);
        let mut value = [0u8; 20];
        value[..4].copy_from_slice(&index.to_ne_bytes());
        value[4..8].copy_from_slice(&flags.to_ne_bytes());
        value[8..12].copy_from_slice(&mtu.to_ne_bytes());
        value[12..18].copy_from_slice(&mac(link));
        self.slot(map, index, value);
        let mut links: HashMap<_, u32, [u8; 20]> =
            self.bpf.map_mut(map).unwrap().try_into().unwrap();
        links.insert(index, value, 0).unwrap();
    }

    pub fn slot(&mut self, map: &str, index: u32, value: [u8; 20]) {
        let slots = if map == "links" { "slots" } else { "xdp_slots" };
        let mut slots: Array<_, [u8; 20]> = self.bpf.map_mut(slots).unwrap().try_into().unwrap();
        slots.set(index % 16384, value, 0).unwrap();
    }

    pub fn uncover(&mut self, map: &str, link: &str) {
        self.slot(map, index(link), [0; 20]);
        let mut links: HashMap<_, u32, [u8; 20]> =
            self.bpf.map_mut(map).unwrap().try_into().unwrap();
        links.remove(&index(link)).unwrap();
    }

    /// The node's own address, in the table and as its bit.
    pub fn local(&mut self, table: &str, bits: &str, address: [u8; 4]) {
        let key = u32::from_ne_bytes(address);
        let mut locals: HashMap<_, u32, u8> = self.bpf.map_mut(table).unwrap().try_into().unwrap();
        locals.insert(key, 1, 0).unwrap();
        let mut words = [0u64; 128];
        let bit = (key.wrapping_mul(2654435761) >> 19) as usize;
        words[bit / 64] |= 1 << (bit % 64);
        let mut map: Array<_, [u64; 128]> = self.bpf.map_mut(bits).unwrap().try_into().unwrap();
        map.set(0, words, 0).unwrap();
    }

    pub fn counts(&self) -> [u64; 20] {
        let all = self.counters.get(&0, 0).unwrap();
        std::array::from_fn(|i| all.iter().map(|cpu| cpu[i]).sum())
    }

    /// Verdict, the packet afterwards, and the one counter that moved.
    pub fn run(&self, frame: &Frame, context: &[u8]) -> (u32, Vec<u8>, &'static str) {
        let before = self.counts();
        let mut out = vec![0; frame.0.len() + 512];
        let options = TestRunOptions {
            data_in: Some(&frame.0),
            data_out: Some(&mut out),
            ctx_in: Some(context),
            ..TestRunOptions::default()
        };
        let result = match self.bpf.program(self.name).unwrap() {
            aya::programs::Program::Xdp(xdp) => xdp.test_run(options).unwrap(),
            other => {
                let tc: &SchedClassifier = other.try_into().unwrap();
                tc.test_run(options).unwrap_or_else(|e| panic!("{e:?} with {:?}", frame.0))
            }
        };
        let after = self.counts();
        let moved: Vec<usize> = (0..20).filter(|i| after[*i] != before[*i]).collect();
        assert_eq!(moved.len(), 1, "{moved:?}");
        assert_eq!(after[moved[0]], before[moved[0]] + 1);
        out.truncate(result.data_size_out as usize);
        (result.return_value, out, REASONS[moved[0]])
    }
}

/// __sk_buff with the fields that a test run takes.
pub fn skb(link: &str, gso_size: u32, mark: u32) -> Vec<u8> {
    let mut bytes = vec![0; 184];
    let mut set = |at: usize, value: u32| bytes[at..at + 4].copy_from_slice(&value.to_ne_bytes());
    set(8, mark);
    set(36, index(link));
    set(40, index(link));
    set(176, gso_size);
    if gso_size > 0 {
        set(164, 2);
    }
    bytes
}

pub fn xdp_md(link: &str, length: usize) -> Vec<u8> {
    let mut bytes = vec![0; 24];
    bytes[4..8].copy_from_slice(&(length as u32).to_ne_bytes());
    bytes[12..16].copy_from_slice(&index(link).to_ne_bytes());
    bytes
}

pub fn host_routing() -> Program {
    node();
    let mut program = Program::new("host_routing", "nettune_route", "counters");
    program.cover("links", "up0", 0, 0);
    program.cover("links", "pod0", TO_PEER, 0);
    program.local("locals", "local_bits", [10, 77, 0, 2]);
    program
}

pub fn filter(deny4: &[(u32, [u8; 4])], deny6: &[(u32, [u8; 16])], ports: &[(u8, u16)]) -> Program {
    use aya::maps::lpm_trie::{Key, LpmTrie};
    let (n4, n6, np) = (deny4.len() as u32, deny6.len() as u32, ports.len() as u32);
    let mut bpf = EbpfLoader::new()
        .btf(None)
        .override_global("denies4", &n4, true)
        .override_global("denies6", &n6, true)
        .override_global("denies_ports", &np, true)
        .map_max_entries("deny4", n4.max(1))
        .map_max_entries("deny6", n6.max(1))
        .map_max_entries("deny_ports", np.max(1))
        .load(&object("xdp"))
        .unwrap();
    let mut trie: LpmTrie<_, [u8; 4], u8> = bpf.map_mut("deny4").unwrap().try_into().unwrap();
    deny4.iter().for_each(|(l, a)| trie.insert(&Key::new(*l, *a), 1, 0).unwrap());
    let mut trie: LpmTrie<_, [u8; 16], u8> = bpf.map_mut("deny6").unwrap().try_into().unwrap();
    deny6.iter().for_each(|(l, a)| trie.insert(&Key::new(*l, *a), 1, 0).unwrap());
    let mut map: HashMap<_, u32, u8> = bpf.map_mut("deny_ports").unwrap().try_into().unwrap();
    ports.iter().for_each(|(p, n)| map.insert(u32::from(*p) << 16 | u32::from(*n), 1, 0).unwrap());
    Program::of(bpf, "nettune_filter", "xdp_counters")
}
