//! Putting a program on a hook: by tcx from 6.6, before by a filter of clsact, by bpf_link for XDP.
//! A program that is there already is replaced in place, no packet unseen in between.

use std::path::Path;

use anyhow::{Context, Result};
use aya::programs::links::{FdLink, LinkOrder, PinnedLink};
use aya::programs::tc::{NlOptions, SchedClassifierLink, TcAttachOptions, TcHandle};
use aya::programs::xdp::{XdpLink, XdpMode};
use aya::programs::{ProgramError, TcAttachType, tc};
use nix::libc::ERANGE;

use super::super::socket::errno;
use super::filters::{self, Filter};
use super::object::Loaded;
use super::pins::Pins;
use crate::model::bpf::Hook;
use crate::model::typed::attached::Way;

/// After whatever others have put there with the numbers that tc gives by itself (49152 and below).
pub const PREFERENCE: u16 = 50000;
const HANDLE: TcHandle = TcHandle::new(0, 0x6e74);
/// Of a filter in a clsact that was made for it: it says so when our own notes are gone. At clsact no
/// packet is classified by it.
const OWN_CLSACT: TcHandle = TcHandle::new(0x6e74, 1);
const CLSACT: &str = "clsact";

/// The errno of a refusal, with the driver's own words where netlink brought some.
fn plain(error: ProgramError) -> anyhow::Error {
    match error {
        ProgramError::SyscallError(e) => {
            let what = e.call;
            anyhow::Error::from(e.io_error).context(what)
        }
        other => {
            let error = anyhow::Error::from(other);
            let words: Vec<String> = error.chain().map(ToString::to_string).collect();
            anyhow::anyhow!("{}", words.join(": "))
        }
    }
}

fn pin(link: FdLink, path: &Path) -> Result<()> {
    link.pin(path).map(drop).with_context(|| format!("pin {}", path.display()))
}

pub fn tcx(loaded: &mut Loaded, pins: &Pins, name: &str, index: u32) -> Result<()> {
    let path = pins.path(Hook::Ingress, index, "link");
    let program = loaded.tc()?;
    match pins.link(Hook::Ingress, index)? {
        Some(info) if info.ifindex == index => {
            let old =
                PinnedLink::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
            let old: SchedClassifierLink = FdLink::from(old).try_into()?;
            program
                .attach_to_link(old)
                .map_err(plain)
                .with_context(|| format!("replace the program of {name}"))?;
            return Ok(());
        }
        Some(_) => pins.remove_link(Hook::Ingress, index)?,
        None => {}
    }
    // Behind all that are there, so that each of them sees what this one takes away.
    let options = TcAttachOptions::TcxOrder(LinkOrder::last());
    let id = program
        .attach_with_options(name, TcAttachType::Ingress, options)
        .map_err(plain)
        .with_context(|| format!("attach to {name} at tcx ingress"))?;
    pin(program.take_link(id)?.try_into()?, &path)
}

pub fn clsact(loaded: &mut Loaded, pins: &Pins, name: &str, index: u32) -> Result<()> {
    if !filters::has_clsact(index)? {
        // Ours to take away again.
        pins.mark(Hook::Ingress, index, CLSACT)?;
        tc::qdisc_add_clsact(name).with_context(|| format!("add qdisc clsact to {name}"))?;
    }
    let there = ours(index)?;
    let own = pins.marked(Hook::Ingress, index, CLSACT) || there.as_ref().is_some_and(made_clsact);
    let classid = own.then_some(OWN_CLSACT);
    let options = NlOptions { priority: PREFERENCE, handle: HANDLE, classid };
    let program = loaded.tc()?;
    let id = if there.is_some() {
        let at = TcAttachType::Ingress;
        let old = SchedClassifierLink::attached(name, at, PREFERENCE, HANDLE, classid)?;
        program.attach_to_link(old)
    } else {
        program.attach_with_options(name, TcAttachType::Ingress, TcAttachOptions::Netlink(options))
    };
    let id = id.map_err(plain).with_context(|| format!("attach to {name} at clsact ingress"))?;
    // Dropped, it would take the filter away.
    std::mem::forget(program.take_link(id)?);
    Ok(())
}

/// By place as well as by name: a program of that name that somebody has put elsewhere is theirs.
fn ours(index: u32) -> Result<Option<Filter>> {
    let handle: u32 = HANDLE.into();
    let ours =
        |f: &Filter| (f.preference, f.handle) == (PREFERENCE, handle) && f.name == "nettune_route";
    Ok(filters::ingress(index)?.into_iter().find(ours))
}

fn made_clsact(filter: &Filter) -> bool {
    filter.class == Some(OWN_CLSACT.into())
}

/// The id of the program of our filter.
pub fn filter(index: u32) -> Result<Option<u32>> {
    Ok(ours(index)?.and_then(|f| f.program))
}

/// Takes the filter away, and a clsact that was ours once nobody uses it any more.
pub fn detach_clsact(pins: &Pins, name: &str, index: u32) -> Result<()> {
    let there = ours(index)?;
    if there.is_some() {
        filters::delete(index, PREFERENCE, HANDLE.into())
            .with_context(|| format!("delete the filter of {name}"))?;
    }
    let own = pins.marked(Hook::Ingress, index, CLSACT) || there.as_ref().is_some_and(made_clsact);
    // It may be gone already: by somebody else, or by a run that died before it was through.
    if own && filters::both(index)?.is_empty() && filters::has_clsact(index)? {
        filters::delete_clsact(index)?;
    }
    Ok(())
}

pub fn xdp(loaded: &mut Loaded, pins: &Pins, name: &str, index: u32, way: Way) -> Result<()> {
    let path = pins.path(Hook::Xdp, index, "link");
    let mode = match way {
        Way::Native => XdpMode::Driver,
        Way::Generic => XdpMode::Skb,
    };
    let program = loaded.xdp()?;
    if let Some(info) = pins.link(Hook::Xdp, index)? {
        if info.ifindex == index {
            let old =
                PinnedLink::from_pin(&path).with_context(|| format!("open {}", path.display()))?;
            let old: XdpLink = FdLink::from(old).try_into()?;
            program
                .attach_to_link(old)
                .map_err(plain)
                .with_context(|| format!("replace the program of {name}"))?;
            return Ok(());
        }
        pins.remove_link(Hook::Xdp, index)?;
    }
    let id = program.attach_to_if_index(index, mode).map_err(plain).map_err(|err| {
        // The other end of a veth may be in another namespace, so nobody saw it before.
        let why = match errno(&err) {
            Some(ERANGE) => ": the MTU of the link, or of its veth peer, is too large for XDP here",
            _ => "",
        };
        err.context(format!("attach to {name} at XDP{why}"))
    })?;
    let link: FdLink = program.take_link(id)?.try_into().with_context(|| {
        format!("attach to {name} at XDP: this kernel has no bpf_link for it (5.9 has)")
    })?;
    pin(link, &path)
}
