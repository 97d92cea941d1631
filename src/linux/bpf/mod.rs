//! Our programs at the hooks of links. What is attached is asked of the kernel; what it was told is
//! written down beside the pin, with the id of the program that it is true of.

mod attach;
pub mod deep;
pub mod filters;
mod object;
mod pins;
pub mod probes;
pub mod sys;

use std::net::Ipv4Addr;
use std::os::fd::OwnedFd;

use anyhow::{Context, Result, bail};
use nix::libc::{EINVAL, ENODEV, ENOENT};

use super::link::Links;
use super::root::Root;
use crate::model::State;
use crate::model::bpf::{Coverage, Hook, NO_MAPS, REASONS, owner, remains, unpinned};
use crate::model::facts::Link;
use crate::model::typed::attached::{Attached, Via};
use object::{Covered, Loaded};
use pins::{Note, Pins};

/// Which shared maps name the links that a program is on.
fn maps(hook: Hook) -> &'static [&'static str] {
    match hook {
        Hook::Ingress => &["links"],
        Hook::Xdp => &["xdp_links", "xdp_out"],
    }
}

/// Programs that this process has loaded: one serves all links of a run.
#[derive(Default)]
pub struct Programs {
    /// The folders that all links share are made.
    ready: bool,
    routing: Option<Loaded>,
    forwarding: Option<Loaded>,
}

pub fn read(root: &Root, links: &Links, name: &str, hook: Hook) -> Result<State> {
    let Some(link) = links.one(name)? else { return Ok(State::Absent) };
    let pins = Pins::new(root);
    let xdp = link.xdp.as_ref().map(|x| x.program.unwrap_or(0));
    let program = match hook {
        Hook::Ingress => at_ingress(&pins, link.index)?,
        Hook::Xdp if xdp.is_none() => None,
        Hook::Xdp => pins
            .link(hook, link.index)?
            .filter(|pin| xdp == Some(pin.program) && pin.ifindex == link.index)
            .map(|pin| pin.program),
    };
    let Some(program) = program else {
        return Ok(match (stray(&link, hook)?, hook, xdp) {
            (Some((name, _)), _, _) => unpinned(&name),
            (None, Hook::Xdp, Some(id)) => foreign(id),
            (None, _, _) => State::Absent,
        });
    };
    let note = pins.noted(hook, link.index).filter(|note| note.program == program);
    let maps = |text: &str| whole(&pins, hook, link.index, text);
    Ok(match (note, sys::program_info(program)) {
        (Some(note), _) if maps(&note.text) => State::Is(note.text),
        (Some(_), Ok(info)) => State::Is(unfinished(&info) + " " + NO_MAPS),
        (None, Ok(info)) if owner(&info.name) == Some("nettune") => State::Is(unfinished(&info)),
        (None, Ok(info)) => State::Foreign {
            what: format!("program {} where nettune's was", info.name),
            owner: owner(&info.name).map(str::to_string),
        },
        (_, Err(_)) => State::is("object=unfinished"),
    })
}

fn unfinished(program: &sys::ProgramInfo) -> String {
    format!("object=unfinished program={} tag={}", program.name, program.tag)
}

/// Whether the maps that its program needs are there, and the link in them.
fn whole(pins: &Pins, hook: Hook, index: u32, text: &str) -> bool {
    let shares = text.parse::<Attached>().is_ok_and(|a| a.shares());
    let all: &[&str] = match hook {
        Hook::Ingress => &object::ROUTING_MAPS,
        Hook::Xdp => &object::FORWARDING_MAPS,
    };
    !shares || pins.has_maps(all) && object::covers(pins, maps(hook)[0], index)
}

/// Our own program on a link, by a bpf_link without the pin that we would find it by: where a BPF file
/// system was mounted over ours, or somebody has pinned it under another name.
fn stray(link: &Link, hook: Hook) -> Result<Option<(String, OwnedFd)>> {
    let ids = match hook {
        Hook::Xdp => link.xdp.iter().filter_map(|x| x.program).collect(),
        Hook::Ingress => match sys::query(link.index, sys::TCX_INGRESS) {
            Ok(ids) => ids,
            // Before 6.6; or nothing there.
            Err(e) if matches!(e.raw_os_error(), Some(EINVAL | ENOENT | ENODEV)) => Vec::new(),
            Err(e) => return Err(e).context("list programs at tcx ingress"),
        },
    };
    let ours: &[&str] = match hook {
        Hook::Ingress => &["nettune_route"],
        Hook::Xdp => &["nettune_filter", "nettune_filter_", "nettune_forward", "nettune_forwar_"],
    };
    for id in ids {
        let name = sys::program_info(id).map(|p| p.name).unwrap_or_default();
        if ours.contains(&name.as_str())
            && let Some(found) = sys::link_of(id, link.index).context("list links of programs")?
        {
            return Ok(Some((name, found)));
        }
    }
    Ok(None)
}

fn at_ingress(pins: &Pins, index: u32) -> Result<Option<u32>> {
    match pins.link(Hook::Ingress, index)? {
        Some(pin) if pin.ifindex == index => {
            let there =
                sys::query(index, sys::TCX_INGRESS).context("list programs at tcx ingress")?;
            Ok(there.contains(&pin.program).then_some(pin.program))
        }
        _ => attach::filter(index),
    }
}

fn foreign(id: u32) -> State {
    let name = sys::program_info(id).map(|p| p.name).unwrap_or_default();
    let what =
        if name.is_empty() { "an XDP program".into() } else { format!("XDP program {name}") };
    State::Foreign { what, owner: owner(&name).map(str::to_string) }
}

impl Programs {
    pub fn write(
        &mut self,
        root: &Root,
        links: &Links,
        name: &str,
        hook: Hook,
        state: &State,
    ) -> Result<()> {
        let pins = Pins::new(root);
        let found = links.one(name)?;
        let Some(text) = state.text() else {
            self.ready = false;
            return match found {
                Some(link) => {
                    detach(&pins, name, link.index, hook)?;
                    match stray(&link, hook)? {
                        Some((program, fd)) => pins::off(&fd)
                            .with_context(|| format!("take program {program} off {name}")),
                        None => Ok(()),
                    }
                }
                None => Ok(()),
            };
        };
        let link = found.with_context(|| format!("link {name} is gone"))?;
        if !self.ready {
            pins.make()?;
            self.ready = true;
        }
        pins.make_for(hook, link.index)?;
        if pins.link(hook, link.index)?.is_none_or(|pin| pin.ifindex != link.index)
            && let Some((_, fd)) = stray(&link, hook)?
        {
            pins.adopt(hook, link.index, &fd)?;
        }
        let wanted: Attached = text.parse().map_err(anyhow::Error::msg)?;
        let mac = link.mac.as_deref().and_then(mac).unwrap_or_default();
        // What shares no maps with the programs of other links.
        let alone = |mut loaded: object::Loaded, way| -> Result<u32> {
            uncover(&pins, hook, link.index)?;
            attach::xdp(&mut loaded, &pins, name, link.index, way)?;
            Ok(loaded.id)
        };
        let id = match (hook, &wanted) {
            (Hook::Ingress, Attached::Route { via, to_pod, rp_filter, mtu, .. }) => {
                let loaded = match &mut self.routing {
                    Some(loaded) => loaded,
                    none => none.insert(object::routing(&pins, &locals(links)?)?),
                };
                // The other way, if it was that before, once this one stands: no packet is unseen in between.
                match via {
                    Via::Tcx => {
                        attach::tcx(loaded, &pins, name, link.index)?;
                        attach::detach_clsact(&pins, name, link.index)?;
                    }
                    Via::Clsact => {
                        attach::clsact(loaded, &pins, name, link.index)?;
                        pins.detach(hook, link.index)?;
                        pins.remove_link(hook, link.index)?;
                    }
                }
                let (rp_filter, mtu) = (*rp_filter, *mtu);
                let covered = Covered { to_peer: *to_pod, rp_filter, mtu, mac };
                object::cover(&mut loaded.bpf, "links", link.index, &covered)?;
                loaded.id
            }
            (Hook::Xdp, Attached::Forward { xdp, rp_filter, .. }) => {
                let loaded = match &mut self.forwarding {
                    Some(loaded) if loaded.program == xdp.program => loaded,
                    other => {
                        other.insert(object::forwarding(&pins, &xdp.program, &locals(links)?)?)
                    }
                };
                attach::xdp(loaded, &pins, name, link.index, xdp.way)?;
                object::way_out(&mut loaded.bpf, link.index)?;
                let covered = Covered { to_peer: false, rp_filter: *rp_filter, mtu: 0, mac };
                object::cover(&mut loaded.bpf, "xdp_links", link.index, &covered)?;
                loaded.id
            }
            (Hook::Xdp, Attached::Filter { xdp, deny, .. }) => {
                let counters = pins.path(hook, link.index, "counters");
                alone(object::filter(&counters, &xdp.program, deny)?, xdp.way)?
            }
            (Hook::Xdp, Attached::Object { path, xdp }) => {
                alone(object::operator(root, path, &xdp.program)?, xdp.way)?
            }
            (hook, _) => bail!("no program for {hook}: {text}"),
        };
        pins.note(hook, link.index, &Note { program: id, text: text.to_string() })
    }
}

fn uncover(pins: &Pins, hook: Hook, index: u32) -> Result<()> {
    maps(hook).iter().try_for_each(|map| object::uncover(pins, map, index))
}

/// Out of the maps first: nothing is sent to a link that does not carry the program any more.
fn detach(pins: &Pins, name: &str, index: u32, hook: Hook) -> Result<()> {
    uncover(pins, hook, index)?;
    pins.detach(hook, index)?;
    if hook == Hook::Ingress {
        attach::detach_clsact(pins, name, index)?;
    }
    pins.clear(hook, index)
}

/// Takes away what is left of links that are gone, of programs that somebody detached, and of runs
/// that died half way.
pub fn tidy(root: &Root, links: &Links) -> Result<()> {
    let pins = Pins::new(root);
    let folders = match pins.all() {
        Ok(folders) => folders,
        Err(e) if e.raw_os_error() == Some(nix::libc::EACCES) => return Ok(()),
        Err(e) => return Err(e).context("list pins"),
    };
    if folders.is_empty() {
        return Ok(());
    }
    let all = links.all()?;
    for (hook, index) in folders {
        let link = all.iter().find(|l| l.index == index);
        let attached = match (hook, link) {
            (_, None) => false,
            (Hook::Ingress, Some(_)) => at_ingress(&pins, index)?.is_some(),
            (Hook::Xdp, Some(_)) => pins.link(hook, index)?.is_some_and(|pin| pin.ifindex == index),
        };
        if attached {
            continue;
        }
        match link {
            Some(link) => detach(&pins, &link.name, index, hook)?,
            None => {
                uncover(&pins, hook, index)?;
                pins.clear(hook, index)?;
            }
        }
    }
    Ok(())
}

/// The node's own IPv4 addresses.
pub fn locals(links: &Links) -> Result<Vec<Ipv4Addr>> {
    let mut all = links.addresses_v4()?;
    all.retain(|a| !a.is_loopback());
    all.sort_unstable();
    all.dedup();
    Ok(all)
}

fn mac(text: &str) -> Option<[u8; 6]> {
    let bytes: Option<Vec<u8>> = text.split(':').map(|b| u8::from_str_radix(b, 16).ok()).collect();
    bytes?.try_into().ok()
}

pub fn coverage(root: &Root, links: &Links) -> Result<Coverage> {
    let pins = Pins::new(root);
    let folders = pins.all().context("list pins")?;
    let mut coverage = Coverage::default();
    if folders.is_empty() {
        return Ok(coverage);
    }
    for link in links.all()? {
        for hook in Hook::ALL {
            if folders.contains(&(hook, link.index))
                && read(root, links, &link.name, hook)
                    .is_ok_and(|state| state.text().is_some() && remains(&state).is_none())
            {
                match hook {
                    Hook::Ingress => coverage.host_routing.push(link.name.clone()),
                    Hook::Xdp => coverage.xdp.push(link.name.clone()),
                }
            }
        }
    }
    let named = |counts: Vec<u64>| {
        let pairs = REASONS.into_iter().map(str::to_string).zip(counts);
        pairs.filter(|(_, n)| *n > 0).collect()
    };
    coverage.host_routing_packets = named(pins.counters(&pins.shared("counters")));
    let mut xdp = pins.counters(&pins.shared("xdp_counters"));
    for (hook, index) in folders.into_iter().filter(|(h, _)| *h == Hook::Xdp) {
        for (sum, n) in xdp.iter_mut().zip(pins.counters(&pins.path(hook, index, "counters"))) {
            *sum += n;
        }
    }
    coverage.xdp_packets = named(xdp);
    Ok(coverage)
}
