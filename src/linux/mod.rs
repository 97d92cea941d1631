//! The only code that touches the kernel: one file a resource kind, and the facts. Nothing runs a
//! command of the host. `Linux` here is the engine's `Host`: which file reads and writes which kind.
//! netlink: `link.rs`, `routes.rs`, `qdisc.rs`, `ethtool.rs`, `rss.rs`, `nft/`, `bpf/` (`socket.rs` is the
//! blocking socket with the kernel's own words, rtnetlink the connection for links and routes); D-Bus: `bus.rs`,
//! `systemd.rs`, `tuned.rs`; files: `root.rs` (below which all are opened) and `files.rs`.
//! Uses the model and the engine's traits. Begin with `read_one` and `write` below.

pub mod bpf;
mod bus;
pub mod caller;
pub(crate) mod ethtool;
pub mod facts;
mod files;
pub(crate) mod irqbalance;
pub(crate) mod legacy;
pub(crate) mod link;
pub(crate) mod nexthops;
pub(crate) mod nft;
mod path;
pub mod probe;
pub(crate) mod qdisc;
pub mod root;
mod route;
pub(crate) mod routes;
pub(crate) mod rss;
pub mod session;
mod settle;
pub(crate) mod socket;
mod systemd;
mod tuned;
pub mod watchdog;
mod xdp_sockets;
pub(crate) mod xt;

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use anyhow::Result;

use crate::engine::{Host, Observe, Wrote};
use crate::model::bpf::Hook;
use crate::model::facts::{Link, LinkId};
use crate::model::reach::Reach;
use crate::model::{Facts, Group, Proof, Resource, State};
use crate::{stop, wait};
use link::Links;
use root::Root;

/// Name and content of every file that sets sysctls at boot, but for ours.
pub fn sysctl_files(root: &Root) -> Vec<(String, String)> {
    files::sysctl_files(root)
}

pub struct Linux {
    root: Root,
    links: Links,
    /// Path of Cilium's socket below the root.
    ethtool: ethtool::Ethtool,
    cilium: String,
    /// Units whose files were written, and whether they were taken away: systemd is told once.
    units: BTreeMap<String, bool>,
    programs: bpf::Programs,
    irqbalance: irqbalance::Irqbalance,
    /// Before the network daemons are only being started.
    early: bool,
}

impl Linux {
    /// `root` is `/`, or a live host's root seen through a mount.
    pub fn open(root: &Path) -> Result<Self> {
        let cilium = facts::cilium::SOCKET.to_string();
        let (root, links) = (Root::open(root)?, Links::open()?);
        Ok(Linux {
            root,
            links,
            ethtool: ethtool::Ethtool::default(),
            cilium,
            units: BTreeMap::new(),
            programs: bpf::Programs::default(),
            irqbalance: irqbalance::Irqbalance::default(),
            early: false,
        })
    }

    /// In the run of a boot that comes before the network.
    pub fn early(mut self, early: bool) -> Self {
        self.early = early;
        self
    }

    /// Where Cilium's agent listens, if not at its usual place.
    pub fn with_cilium(mut self, socket: Option<String>) -> Self {
        self.cilium = socket.unwrap_or(self.cilium);
        self
    }

    pub fn boot_id(&self) -> String {
        self.root.line("proc/sys/kernel/random/boot_id").unwrap_or_default()
    }

    /// What shows by itself whether this node can be reached.
    pub fn find_probes(&self, facts: &Facts) -> Vec<Reach> {
        probe::find(&self.root, facts)
    }

    pub fn sysctl_files(&self) -> Vec<(String, String)> {
        sysctl_files(&self.root)
    }

    /// Whether udev has seen to a link: it has its name then. Where there is no udev, nobody will.
    pub fn udev_is_through(&self, index: u32) -> bool {
        !self.root.exists("run/udev") || self.root.exists(&format!("run/udev/data/n{index}"))
    }

    pub fn systemd_answers(&self) -> bool {
        systemd::systemd_answers(&self.root, &self.links)
    }

    pub fn start_timer(&self, name: &str, command: &[String], seconds: u64) -> Result<()> {
        systemd::start_timer(&self.root, &self.links, name, command, seconds)
    }

    pub fn stop_timer(&self, name: &str) -> Result<()> {
        systemd::stop_timer(&self.root, &self.links, name)
    }

    /// Takes away what BPF programs of links that are gone have left.
    pub fn tidy(&mut self) -> Result<()> {
        bpf::tidy(&self.root, &self.links)
    }

    /// Attaches a program to the link for a moment: its driver may stop it meanwhile.
    pub fn deep(&mut self, facts: &Facts, link: &str) -> Result<crate::model::bpf::Deep> {
        let ask = || bpf::deep::ask(&self.root, &self.links, facts, link);
        settle::across(&self.links, link, ask)
    }

    pub fn coverage(&self) -> Result<crate::model::bpf::Coverage> {
        bpf::coverage(&self.root, &self.links)
    }

    fn read_one(&self, resource: &Resource, dumps: &mut Dumps) -> Result<State> {
        match resource {
            Resource::Sysctl { key } => files::read_sysctl(&self.root, key),
            Resource::Sysfs { path } => files::read_sysfs(&self.root, path),
            Resource::Irq { link, vector } => {
                if dumps.batch && !dumps.vectors.contains_key(link) {
                    dumps.vectors.insert(link.clone(), files::vectors(&self.root, link));
                }
                files::read_irq(&self.root, link, *vector, dumps.vectors.get(link))
            }
            Resource::IrqDefault => files::read_irq_default(&self.root),
            Resource::File { path } => files::read_file(&self.root, path),
            Resource::Rss { link } => Ok(rss::state(rss::read(link)?.as_ref())),
            Resource::Mtu { link } => Ok(dumps
                .link(&self.links, link)?
                .map_or(State::Absent, |l| State::Is(l.mtu.to_string()))),
            Resource::LinkSizes { link } => Ok(dumps
                .link(&self.links, link)?
                .map_or(State::Absent, |l| link::sizes_state(&l.sizes))),
            Resource::RouteMtu { link, route } => {
                let Some(link) = dumps.link(&self.links, link)? else { return Ok(State::Absent) };
                if dumps.routes.is_none() {
                    dumps.routes = Some(self.links.routes_v6()?);
                }
                Ok(dumps.routes.as_ref().map_or(State::Absent, |r| r.mtu(link.index, route)))
            }
            Resource::Ethtool { link, group } => {
                let Some(link) = dumps.link(&self.links, link)? else { return Ok(State::Absent) };
                ethtool::read(&self.ethtool, link.index, *group)
            }
            Resource::Qdisc { link } => {
                let Some(link) = dumps.link(&self.links, link)? else { return Ok(State::Absent) };
                // One dump answers for all links, but a write makes it old.
                if dumps.qdiscs.is_none() {
                    dumps.qdiscs = Some(qdisc::dump(&self.links)?);
                }
                let all = dumps.qdiscs.as_ref().and_then(|q| q.get(&link.index));
                Ok(all.map_or(State::Absent, |q| qdisc::state(q, link.mtu)))
            }
            Resource::Nft { table } => nft::read_table(&self.root, table),
            Resource::Flow { link } => nft::read_link(&self.root, link),
            Resource::Bpf { link, hook } => bpf::read(&self.root, &self.links, link, *hook),
            Resource::Unit { name, aspect } => {
                systemd::read_unit(&self.root, &self.links, name, *aspect)
            }
            Resource::Tuned => tuned::read(&self.root, &self.links),
            Resource::IrqbalanceBans => self.irqbalance.read(&self.root),
        }
    }
}

/// What one call of `read_many` has dumped already.
#[derive(Default)]
struct Dumps {
    qdiscs: Option<BTreeMap<u32, Vec<qdisc::Qdisc>>>,
    routes: Option<routes::RoutesV6>,
    vectors: BTreeMap<String, BTreeSet<String>>,
    links: Option<BTreeMap<String, Link>>,
    /// Many are asked for: worth listing a folder, or all links, once.
    batch: bool,
}

impl Dumps {
    fn link(&mut self, links: &Links, name: &str) -> Result<Option<Link>> {
        if !self.batch {
            return links.one(name);
        }
        if self.links.is_none() {
            let all = links.all()?.into_iter().map(|l| (l.name.clone(), l));
            self.links = Some(all.collect());
        }
        Ok(self.links.as_ref().and_then(|all| all.get(name)).cloned())
    }
}

impl Observe for Linux {
    fn facts(&self) -> Result<Facts> {
        let mut facts = facts::gather(&self.root, &self.links, &self.ethtool, &self.cilium)?;
        facts.agents.irqbalance_later = self.early;
        if !self.early {
            facts::agents::await_irqbalance(&self.root, &mut facts.agents);
        }
        Ok(facts)
    }

    fn told(&self, facts: &Facts) -> BTreeMap<Resource, State> {
        facts::told(facts)
    }

    fn read_many(&self, resources: &[Resource]) -> Vec<Result<State>> {
        let mut dumps = Dumps { batch: resources.len() > 8, ..Dumps::default() };
        resources.iter().map(|r| self.read_one(r, &mut dumps)).collect()
    }
}

impl Host for Linux {
    fn has(&self, link: &LinkId) -> bool {
        // What cannot be listed is not known to be gone.
        self.links.all().map_or(true, |all| all.iter().any(|l| l.index == link.index))
    }

    fn write(&mut self, resource: &Resource, state: &State) -> Result<Wrote> {
        let _waiting = wait::on(|| format!("sets {resource}"));
        match resource {
            Resource::Sysctl { key } => return files::write_sysctl(&self.root, key, state),
            Resource::Sysfs { path } => return files::write_sysfs(&self.root, path, state),
            Resource::Irq { vector, .. } => return files::write_irq(&self.root, *vector, state),
            Resource::IrqDefault => files::write_irq_default(&self.root, state)?,
            Resource::Mtu { link } => settle::set_mtu(&self.links, link, state)?,
            Resource::Rss { link } => rss::write(link, state)?,
            Resource::File { path } => {
                let wrote = files::write_file(&self.root, path, state)?;
                if let Some(unit) = systemd::unit_of(path) {
                    self.units.insert(unit.to_string(), *state == State::Absent);
                }
                return Ok(wrote);
            }
            Resource::LinkSizes { link } => self.links.set_sizes(link, state)?,
            Resource::RouteMtu { link, route } => {
                return self.links.set_route_mtu(link, route, state);
            }
            Resource::Ethtool { link, group } => {
                let index = self.links.index(link)?;
                let write = || ethtool::write(&self.ethtool, index, *group, state);
                let mut wrote = settle::across(&self.links, link, write)?;
                if let (Group::Channels, Wrote::KernelKeeps { why, lasting }) = (group, &mut wrote)
                    && self.links.one(link)?.is_some_and(|l| l.native_xdp())
                {
                    // virtio_net takes no other channels meanwhile, and says no more than EINVAL.
                    why.push_str(
                        "; a native XDP program is attached: take it off first (nettune rollback xdp)",
                    );
                    *lasting = false;
                }
                return Ok(wrote);
            }
            Resource::Qdisc { link } => {
                return qdisc::write(&self.root, &self.links, link, state);
            }
            Resource::Nft { table } => nft::replace_table(&self.root, table, state)?,
            Resource::Flow { link } => nft::write_link(&self.root, link, state)?,
            Resource::Bpf { link, hook } => {
                let mut write = || self.programs.write(&self.root, &self.links, link, *hook, state);
                match hook {
                    // Many drivers make their rings anew for a program.
                    Hook::Xdp => settle::across(&self.links, link, write)?,
                    Hook::Ingress => write()?,
                }
            }
            Resource::Unit { name, aspect } => {
                self.irqbalance.switched();
                systemd::write_unit(&self.root, &self.links, name, *aspect, state)?
            }
            Resource::Tuned => tuned::write(&self.root, &self.links, state)?,
            Resource::IrqbalanceBans => self.irqbalance.write(&self.root, state)?,
        }
        Ok(Wrote::Yes)
    }

    fn stage_ends(&mut self) -> Result<()> {
        let units = std::mem::take(&mut self.units);
        if units.is_empty() {
            return Ok(());
        }
        let gone: Vec<String> = units.into_iter().filter(|(_, g)| *g).map(|(u, _)| u).collect();
        systemd::reload(&self.root, &self.links, &gone)
    }

    fn prove(&mut self, proof: &Proof) -> Result<()> {
        match proof {
            Proof::Path { peer, mtu } | Proof::Gateway { peer, mtu } => {
                let _waiting = wait::on(|| format!("asks {peer} by packets of {mtu} bytes"));
                path::prove(peer, *mtu)
            }
        }
    }

    fn answers(&mut self, peer: &str) -> bool {
        let _waiting = wait::on(|| format!("asks {peer}"));
        path::answers(peer)
    }

    fn interrupted(&self) -> bool {
        stop::asked()
    }
}
