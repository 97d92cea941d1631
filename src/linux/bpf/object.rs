//! The objects that come with nettune and those of the operator: loading them, and filling their maps.

use std::net::{IpAddr, Ipv4Addr};
use std::path::Path;

use anyhow::{Context, Result, anyhow, bail, ensure};
use aya::maps::lpm_trie::{Key, LpmTrie};
use aya::maps::{Array, HashMap, MapData};
use aya::programs::{Program, ProgramError, SchedClassifier, Xdp};
use aya::{Ebpf, EbpfLoader, include_bytes_aligned};

use super::super::root::Root;
use super::pins::Pins;
use crate::model::bpf::Deny;
use crate::open;

pub static ROUTING: &[u8] = include_bytes_aligned!("../../../bpf/host_routing.bpf.o");
pub static XDP: &[u8] = include_bytes_aligned!("../../../bpf/xdp.bpf.o");
pub static PASS: &[u8] = include_bytes_aligned!("../../../bpf/xdp_pass.bpf.o");

/// A larger file is not an object of a program that a kernel would take.
const MOST_BYTES: u64 = 16 << 20;
/// struct link of bpf/nettune.h.
const LINK: usize = 20;
/// Slots by a link's lower bits, and bits by an address's hash, as there.
const SLOTS: u32 = 16384;
const LOCAL_BITS: usize = 8192;
const SHARED: u32 = 8;

/// Pinned, and shared by all links of a program.
pub const ROUTING_MAPS: [&str; 5] = ["links", "slots", "locals", "local_bits", "counters"];
pub const FORWARDING_MAPS: [&str; 6] =
    ["xdp_links", "xdp_slots", "xdp_locals", "xdp_bits", "xdp_out", "xdp_counters"];

/// The table of links and the slots before it.
pub fn slots(links: &str) -> &'static str {
    if links == "links" { "slots" } else { "xdp_slots" }
}

#[derive(Debug, Clone, Default)]
pub struct Covered {
    pub to_peer: bool,
    pub rp_filter: u32,
    pub mtu: u32,
    pub mac: [u8; 6],
}

impl Covered {
    fn bytes(&self, index: u32) -> [u8; LINK] {
        let mut bytes = [0; LINK];
        let rp = [0, 2, 4].get(self.rp_filter as usize).copied().unwrap_or(2);
        let flags: u32 = u32::from(self.to_peer) | rp;
        bytes[..4].copy_from_slice(&index.to_ne_bytes());
        bytes[4..8].copy_from_slice(&flags.to_ne_bytes());
        bytes[8..12].copy_from_slice(&self.mtu.to_ne_bytes());
        bytes[12..18].copy_from_slice(&self.mac);
        bytes
    }
}

/// An object in the kernel, with one of its programs loaded.
pub struct Loaded {
    pub bpf: Ebpf,
    pub program: String,
    pub id: u32,
}

impl Loaded {
    fn new(mut bpf: Ebpf, program: &str) -> Result<Self> {
        let names: Vec<String> = bpf.programs().map(|(n, _)| n.to_string()).collect();
        let found = bpf
            .program_mut(program)
            .with_context(|| format!("no program {program} in it, only {}", names.join(", ")))?;
        let load = |result: Result<(), ProgramError>| {
            result.map_err(refused).with_context(|| format!("load program {program}"))
        };
        let info = match found {
            Program::Xdp(xdp) => {
                load(xdp.load())?;
                xdp.info()
            }
            Program::SchedClassifier(tc) => {
                load(tc.load())?;
                tc.info()
            }
            other => bail!("program {program} is of type {:?}", other.prog_type()),
        };
        let id = info.with_context(|| format!("ask program {program}"))?.id();
        Ok(Loaded { bpf, program: program.to_string(), id })
    }

    pub fn xdp(&mut self) -> Result<&mut Xdp> {
        let program = self.bpf.program_mut(&self.program).context("the program is gone")?;
        program.try_into().with_context(|| format!("program {} is not one of XDP", self.program))
    }

    pub fn tc(&mut self) -> Result<&mut SchedClassifier> {
        let program = self.bpf.program_mut(&self.program).context("the program is gone")?;
        program.try_into().with_context(|| format!("program {} is not one of tc", self.program))
    }
}

/// What the verifier says last is what it stumbled on.
fn refused(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::LoadError { io_error, verifier_log } => {
            let log = verifier_log.to_string();
            let lines: Vec<&str> = log
                .lines()
                .filter(|l| !l.trim().is_empty() && !l.starts_with("processed "))
                .filter(|l| !l.starts_with("verification time") && !l.starts_with("stack depth"))
                .collect();
            let last = lines[lines.len().saturating_sub(4)..].join(" | ");
            match (io_error.raw_os_error(), last.is_empty()) {
                (Some(nix::libc::EPERM), true) => anyhow!(
                    "{io_error}: loading takes root or CAP_BPF, CAP_NET_ADMIN and CAP_PERFMON \
                     (before 5.11 also unlimited locked memory)"
                ),
                (_, true) => io_error.into(),
                (_, false) => anyhow!("{io_error}: the verifier's last words: {last}"),
            }
        }
        other => other.into(),
    }
}

fn shared(
    pins: &Pins,
    maps: &[&'static str],
    object: &'static [u8],
    program: &str,
) -> Result<Loaded> {
    let mut loader = EbpfLoader::new();
    loader.btf(None);
    for map in maps {
        loader.map_pin_path(map, pins.shared(map));
    }
    let bpf = loader.load(object).map_err(described).context("load nettune's own object")?;
    Loaded::new(bpf, program)
}

/// aya's own words do not always hold the errno that is below them.
fn described(error: aya::EbpfError) -> anyhow::Error {
    let error = anyhow::Error::from(error);
    anyhow!("{}", error.chain().map(ToString::to_string).collect::<Vec<_>>().join(": "))
}

/// Its maps are those that all links share, so that one link knows which others are covered.
pub fn routing(pins: &Pins, locals: &[Ipv4Addr]) -> Result<Loaded> {
    let mut loaded = shared(pins, &ROUTING_MAPS, ROUTING, "nettune_route")?;
    fill_locals(&mut loaded.bpf, ("locals", "local_bits"), locals)?;
    Ok(loaded)
}

pub fn forwarding(pins: &Pins, program: &str, locals: &[Ipv4Addr]) -> Result<Loaded> {
    let mut loaded = shared(pins, &FORWARDING_MAPS, XDP, program)?;
    fill_locals(&mut loaded.bpf, ("xdp_locals", "xdp_bits"), locals)?;
    Ok(loaded)
}

fn fill_locals(bpf: &mut Ebpf, names: (&str, &str), locals: &[Ipv4Addr]) -> Result<()> {
    let mut map: HashMap<_, u32, u8> =
        bpf.map_mut(names.0).context("no map of addresses")?.try_into()?;
    let key = |a: &Ipv4Addr| u32::from_ne_bytes(a.octets());
    let old: Vec<u32> = map.keys().collect::<Result<_, _>>().context("read addresses")?;
    for address in locals {
        map.insert(key(address), 1, 0).context("write the node's addresses")?;
    }
    // The bits after the table that they lead to, and before what leaves it.
    let mut words = [0u64; LOCAL_BITS / 64];
    for address in locals {
        let bit = (key(address).wrapping_mul(2_654_435_761) >> 19) as usize;
        words[bit / 64] |= 1 << (bit % 64);
    }
    let mut bits: Array<_, [u64; LOCAL_BITS / 64]> =
        bpf.map_mut(names.1).context("no map of address bits")?.try_into()?;
    bits.set(0, words, 0).context("write the bits of the node's addresses")?;
    let mut map: HashMap<_, u32, u8> =
        bpf.map_mut(names.0).context("no map of addresses")?.try_into()?;
    for gone in old.iter().filter(|o| !locals.iter().any(|l| key(l) == **o)) {
        map.remove(gone).context("remove an address")?;
    }
    Ok(())
}

/// A drop list has maps of its own: an update changes program and list in one moment. Only what it
/// counted stays.
pub fn filter(counters: &Path, program: &str, deny: &[Deny]) -> Result<Loaded> {
    let of = |pick: fn(&Deny) -> bool| deny.iter().filter(|d| pick(d)).count() as u32;
    let n4 = of(|d| matches!(d, Deny::Network(IpAddr::V4(_), _)));
    let n6 = of(|d| matches!(d, Deny::Network(IpAddr::V6(_), _)));
    let ports = of(|d| matches!(d, Deny::Port(..)));
    let mut bpf = EbpfLoader::new()
        .btf(None)
        .override_global("denies4", &n4, true)
        .override_global("denies6", &n6, true)
        .override_global("denies_ports", &ports, true)
        .map_max_entries("deny4", n4.max(1))
        .map_max_entries("deny6", n6.max(1))
        .map_max_entries("deny_ports", ports.max(1))
        .map_pin_path("xdp_counters", counters)
        .load(XDP)
        .map_err(described)
        .context("load nettune's own object")?;
    for entry in deny {
        match entry {
            Deny::Network(IpAddr::V4(address), length) => {
                let mut trie: LpmTrie<_, [u8; 4], u8> =
                    bpf.map_mut("deny4").context("no map deny4")?.try_into()?;
                trie.insert(&Key::new(u32::from(*length), address.octets()), 1, 0)
            }
            Deny::Network(IpAddr::V6(address), length) => {
                let mut trie: LpmTrie<_, [u8; 16], u8> =
                    bpf.map_mut("deny6").context("no map deny6")?.try_into()?;
                trie.insert(&Key::new(u32::from(*length), address.octets()), 1, 0)
            }
            Deny::Port(protocol, port) => {
                let mut map: HashMap<_, u32, u8> =
                    bpf.map_mut("deny_ports").context("no map deny_ports")?.try_into()?;
                map.insert(u32::from(protocol.number()) << 16 | u32::from(*port), 1, 0)
            }
        }
        .with_context(|| format!("write {entry} to the drop list"))?;
    }
    Loaded::new(bpf, program)
}

/// The operator's own object. Only root may have written it, or whoever could would own the node.
pub fn operator(root: &Root, path: &str, program: &str) -> Result<Loaded> {
    use std::os::unix::fs::MetadataExt;
    let full = root.full(path);
    let file = root.file(path).with_context(|| format!("open {full}"))?;
    let meta = file.metadata().with_context(|| format!("stat {full}"))?;
    ensure!(meta.is_file(), "{full} is not a file");
    ensure!(
        meta.uid() == 0 && meta.mode() & 0o022 == 0,
        "{full} may be written by others than root: chown root, chmod go-w"
    );
    ensure!(meta.len() <= MOST_BYTES, "{full} is larger than {} MiB", MOST_BYTES >> 20);
    let bytes = open::all(file, MOST_BYTES).with_context(|| format!("read {full}"))?;
    let bpf = EbpfLoader::new()
        .load(&bytes)
        .map_err(described)
        .with_context(|| format!("load {full}: is it an object of BPF programs?"))?;
    Loaded::new(bpf, program).with_context(|| format!("load {full}"))
}

/// A program that lets everything pass, alone.
pub fn passing(program: &str) -> Result<Loaded> {
    Loaded::new(EbpfLoader::new().btf(None).load(PASS)?, program)
}

/// Into the table, then into its slot if that is free: a slot that is another's leads to the table.
pub fn cover(bpf: &mut Ebpf, map: &str, index: u32, covered: &Covered) -> Result<()> {
    let bytes = covered.bytes(index);
    let mut links: HashMap<_, u32, [u8; LINK]> =
        bpf.map_mut(map).context("no map of links")?.try_into()?;
    links.insert(index, bytes, 0).context("add to the map of links")?;
    let mut near: Array<_, [u8; LINK]> =
        bpf.map_mut(slots(map)).context("no map of slots")?.try_into()?;
    let slot = near.get(&(index % SLOTS), 0).context("read a slot")?;
    let (owner, flags) = slot_of(&slot);
    let mut new = if owner == 0 || owner == index { bytes } else { slot };
    let shared = flags & SHARED | if new == slot && owner != index { SHARED } else { 0 };
    let flags = slot_of(&new).1 | shared;
    new[4..8].copy_from_slice(&flags.to_ne_bytes());
    near.set(index % SLOTS, new, 0).context("write a slot")
}

/// Whose a slot is, and its flags.
fn slot_of(bytes: &[u8; LINK]) -> (u32, u32) {
    let word =
        |at: usize| u32::from_ne_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]]);
    (word(0), word(4))
}

fn empty_slot(pins: &Pins, map: &str, index: u32) -> Result<()> {
    let Ok(data) = MapData::from_pin(pins.shared(slots(map))) else { return Ok(()) };
    let mut near: Array<MapData, [u8; LINK]> = aya::maps::Map::Array(data).try_into()?;
    let slot = near.get(&(index % SLOTS), 0).context("read a slot")?;
    let (owner, flags) = slot_of(&slot);
    if owner != index {
        return Ok(());
    }
    let mut new = [0; LINK];
    new[4..8].copy_from_slice(&(flags & SHARED).to_ne_bytes());
    near.set(index % SLOTS, new, 0).context("empty a slot")
}

pub fn way_out(bpf: &mut Ebpf, index: u32) -> Result<()> {
    let mut out: aya::maps::xdp::DevMapHash<_> =
        bpf.map_mut("xdp_out").context("no map of ways out")?.try_into()?;
    out.insert(index, index, None, 0).context("add to the ways out")
}

/// From the maps that all links share, if they are there.
pub fn uncover(pins: &Pins, map: &str, index: u32) -> Result<()> {
    if map != "xdp_out" {
        empty_slot(pins, map, index)?;
    }
    let Ok(data) = MapData::from_pin(pins.shared(map)) else { return Ok(()) };
    let gone = if map == "xdp_out" {
        let out = aya::maps::Map::DevMapHash(data);
        let mut out: aya::maps::xdp::DevMapHash<MapData> = out.try_into()?;
        out.remove(index)
    } else {
        let links = aya::maps::Map::HashMap(data);
        let mut links: HashMap<MapData, u32, [u8; LINK]> = links.try_into()?;
        links.remove(&index)
    };
    match gone {
        Err(e)
            if !format!("{e:?}").contains("NotFound")
                && !matches!(e, aya::maps::MapError::KeyNotFound) =>
        {
            Err(e).with_context(|| format!("remove from map {map}"))
        }
        _ => Ok(()),
    }
}

/// Whether a link is in a shared map; in none when there is no such map.
pub fn covers(pins: &Pins, map: &str, index: u32) -> bool {
    let Ok(data) = MapData::from_pin(pins.shared(map)) else { return false };
    let links: Result<HashMap<MapData, u32, [u8; LINK]>, _> =
        aya::maps::Map::HashMap(data).try_into();
    links.is_ok_and(|links| links.get(&index, 0).is_ok())
}
