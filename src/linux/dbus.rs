//! systemd and TuneD over D-Bus. No question starts a daemon: every call says so (NO_AUTO_START).

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use zbus::message::Flags;
use zbus::zvariant::DynamicType;
use zbus::{
    Connection, Message, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant, Variant,
};

use super::facts::agents;
use super::facts::settings::tuned_resources;
use super::files;
use super::link::Links;
use super::root::Root;
use crate::model::{Resource, State, UnitAspect};

const BUS: (&str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
const SYSTEMD: (&str, &str) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
const UNIT: &str = "org.freedesktop.systemd1.Unit";
const TUNED: (&str, &str) = ("com.redhat.tuned", "/Tuned");
const CONTROL: &str = "com.redhat.tuned.control";
const ANSWER: Duration = Duration::from_secs(5);
/// A unit may take as long to stop as its TimeoutStopSec; TuneD's profiles run scripts.
const JOB: Duration = Duration::from_secs(60);
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// The node's system bus, also where its root is seen through a mount.
async fn connect(root: &Root) -> Result<Option<Connection>> {
    // No socket, no D-Bus: that is an answer, not an error.
    if !root.exists("run/dbus/system_bus_socket") {
        return Ok(None);
    }
    let address = format!("unix:path={}", root.full("run/dbus/system_bus_socket"));
    let builder = zbus::connection::Builder::address(address.as_str());
    let connection = tokio::time::timeout(ANSWER, builder.build())
        .await
        .context("connect to D-Bus: no answer")?
        .context("connect to D-Bus")?;
    Ok(Some(connection))
}

async fn call<B>(
    bus: &Connection,
    to: (&str, &str),
    interface: &str,
    member: &str,
    body: &B,
) -> Result<Message>
where
    B: serde::Serialize + DynamicType,
{
    // TuneD answers a wish for another profile only when it has looked at the machine, and systemd
    // a reload when it has read all of its units.
    let slow = interface == CONTROL && !matches!(member, "active_profile" | "profile_mode")
        || member == "Reload";
    let patience = if slow { JOB } else { ANSWER };
    let what = || format!("call {member} of {}", to.0);
    let message = Message::method_call(to.1, member)
        .destination(to.0)
        .interface(interface)
        .with_flags(Flags::NO_AUTO_START)
        .build(body)
        .with_context(what)?;
    let serial = message.primary_header().serial_num();
    let mut stream = MessageStream::from(bus.clone());
    bus.send(&message).await.with_context(what)?;
    let reply = async {
        while let Some(reply) = stream.next().await {
            let reply = reply?;
            if reply.header().reply_serial() != Some(serial) {
                continue;
            }
            if reply.message_type() == zbus::message::Type::Error {
                let name = reply.header().error_name().map(|n| n.to_string()).unwrap_or_default();
                let text: String = reply.body().deserialize().unwrap_or_default();
                return Err(anyhow::Error::new(Refused { name, text }));
            }
            return Ok(reply);
        }
        bail!("the bus closed the connection")
    };
    tokio::time::timeout(patience, reply)
        .await
        .with_context(|| format!("{}: no answer", what()))?
        .with_context(what)
}

/// An error reply.
#[derive(Debug)]
struct Refused {
    name: String,
    text: String,
}

impl std::fmt::Display for Refused {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} ({})", self.text, self.name)
    }
}

impl std::error::Error for Refused {}

fn refused_with(error: &anyhow::Error, names: &[&str]) -> bool {
    let refused = error.chain().find_map(|e| e.downcast_ref::<Refused>());
    refused.is_some_and(|r| names.iter().any(|n| r.name.ends_with(n)))
}

/// The bus answers that nobody has that name.
fn nobody(error: &anyhow::Error) -> bool {
    refused_with(error, &["ServiceUnknown", "NameHasNoOwner", "Spawn.ServiceNotFound"])
}

async fn property(bus: &Connection, path: &str, interface: &str, name: &str) -> Result<String> {
    let to = (SYSTEMD.0, path);
    let reply = call(bus, to, "org.freedesktop.DBus.Properties", "Get", &(interface, name)).await?;
    let value: OwnedVariant = reply.body().deserialize().with_context(|| format!("read {name}"))?;
    String::try_from(value).with_context(|| format!("read {name}"))
}

async fn load_unit(bus: &Connection, name: &str) -> Result<OwnedObjectPath> {
    Ok(call(bus, SYSTEMD, MANAGER, "LoadUnit", &(name,)).await?.body().deserialize()?)
}

/// Active: active, inactive or failed. Enabled: enabled, disabled, masked, static ...
/// Absent where there is no systemd or no such unit.
pub fn read_unit(root: &Root, links: &Links, name: &str, aspect: UnitAspect) -> Result<State> {
    links.block_on(async {
        let Some(bus) = connect(root).await? else { return Ok(State::Absent) };
        let unit = match load_unit(&bus, name).await {
            Err(e) if nobody(&e) => return Ok(State::Absent),
            unit => unit?,
        };
        if property(&bus, &unit, UNIT, "LoadState").await? == "not-found" {
            return Ok(State::Absent);
        }
        match aspect {
            UnitAspect::Active => {
                let state = property(&bus, &unit, UNIT, "ActiveState").await?;
                // A unit on its way counts as what it is becoming.
                Ok(State::is(match state.as_str() {
                    "activating" | "reloading" => "active",
                    "deactivating" => "inactive",
                    other => other,
                }))
            }
            UnitAspect::Enabled => {
                match call(&bus, SYSTEMD, MANAGER, "GetUnitFileState", &(name,)).await {
                    Ok(reply) => Ok(State::Is(reply.body().deserialize::<String>()?)),
                    Err(e) if refused_with(&e, &["FileNotFound", "NoSuchUnit"]) => {
                        Ok(State::Absent)
                    }
                    Err(e) => Err(e),
                }
            }
        }
    })
}

pub fn write_unit(
    root: &Root,
    links: &Links,
    name: &str,
    aspect: UnitAspect,
    state: &State,
) -> Result<()> {
    let wanted = state.text().context("a unit cannot be taken away")?;
    links.block_on(async {
        let bus = connect(root).await?.context("there is no D-Bus to reach systemd by")?;
        match (aspect, wanted) {
            (UnitAspect::Active, "active") => job(&bus, "StartUnit", name).await,
            (UnitAspect::Active, "inactive") => job(&bus, "StopUnit", name).await,
            // What had failed before cannot be made to have failed; stopped is the nearest.
            (UnitAspect::Active, other) => bail!("a unit cannot be made {other}"),
            (UnitAspect::Enabled, wanted) => {
                let files = vec![name];
                if wanted != "masked" {
                    call(&bus, SYSTEMD, MANAGER, "UnmaskUnitFiles", &(&files, false)).await?;
                }
                match wanted {
                    "enabled" => {
                        call(&bus, SYSTEMD, MANAGER, "EnableUnitFiles", &(&files, false, false))
                            .await?
                    }
                    "disabled" => {
                        call(&bus, SYSTEMD, MANAGER, "DisableUnitFiles", &(&files, false)).await?
                    }
                    "masked" => {
                        call(&bus, SYSTEMD, MANAGER, "MaskUnitFiles", &(&files, false, true))
                            .await?
                    }
                    other => bail!("a unit file cannot be made {other}"),
                };
                call(&bus, SYSTEMD, MANAGER, "Reload", &()).await.map(drop)
            }
        }
    })
}

/// Starts or stops a unit and waits until systemd says that the job is done.
async fn job(bus: &Connection, member: &str, name: &str) -> Result<()> {
    let what = || format!("{member} {name}");
    // Without this systemd sends no signals; a second subscription is no error worth stopping for.
    let _ = call(bus, SYSTEMD, MANAGER, "Subscribe", &()).await;
    let rule = zbus::MatchRule::builder()
        .msg_type(zbus::message::Type::Signal)
        .interface(MANAGER)
        .member("JobRemoved")
        .build()?;
    let mut removed = MessageStream::for_match_rule(rule, bus, None).await.with_context(what)?;
    let reply = call(bus, SYSTEMD, MANAGER, member, &(name, "replace")).await?;
    let ours: OwnedObjectPath = reply.body().deserialize().with_context(what)?;
    let done = async {
        while let Some(signal) = removed.next().await {
            let signal = signal?;
            let body = signal.body();
            let (_, path, _, result): (u32, ObjectPath, String, String) = body.deserialize()?;
            if path == *ours {
                return if result == "done" { Ok(()) } else { bail!("the job ended as {result}") };
            }
        }
        bail!("the bus closed the connection")
    };
    tokio::time::timeout(JOB, done)
        .await
        .with_context(|| format!("{}: not done after {} s", what(), JOB.as_secs()))?
        .with_context(what)
}

/// "profile=NAME mode=manual"; absent where there is no TuneD.
pub fn read_tuned(root: &Root, links: &Links) -> Result<State> {
    // One that is stopped begins again with what it was told last, so it is not as if it were not there.
    let stopped = || match agents::installed(root, "tuned") {
        true => {
            bail!("TuneD does not run and cannot be asked: systemctl start tuned, then try again")
        }
        false => Ok(State::Absent),
    };
    links.block_on(async {
        let Some(bus) = connect(root).await? else { return stopped() };
        match ask_tuned(&bus).await {
            Err(e) if nobody(&e) => stopped(),
            answer => answer,
        }
    })
}

async fn ask_tuned(bus: &Connection) -> Result<State> {
    let name = call(bus, TUNED, CONTROL, "active_profile", &()).await?;
    let name: String = name.body().deserialize()?;
    let mode = call(bus, TUNED, CONTROL, "profile_mode", &()).await?;
    let (mode, _): (String, String) = mode.body().deserialize()?;
    let post = match call(bus, TUNED, CONTROL, "post_loaded_profile", &()).await {
        Ok(reply) => reply.body().deserialize::<String>()?,
        // An older TuneD knows none.
        Err(e) if refused_with(&e, &["UnknownMethod"]) => String::new(),
        Err(e) => return Err(e),
    };
    Ok(tuned_state(&name, &mode, &post))
}

/// A call that nobody answered any more: whom it went to is gone, and may have heeded it before.
fn lost(error: &anyhow::Error) -> bool {
    nobody(error) || refused_with(error, &["Error.NoReply", "Error.Disconnected"])
}

async fn tuned_unit(bus: &Connection) -> Result<String> {
    property(bus, &load_unit(bus, "tuned.service").await?, UNIT, "ActiveState").await
}

async fn tuned_leaves(bus: &Connection) -> bool {
    tuned_unit(bus).await.is_ok_and(|state| state == "deactivating")
}

async fn tuned_owner(bus: &Connection) -> Result<String> {
    Ok(call(bus, BUS, BUS.0, "GetNameOwner", &(TUNED.0,)).await?.body().deserialize()?)
}

/// A TuneD that is being restarted comes back and says when its profile is in force; told to switch
/// before that, it would take what it has set for the machine's own. One that was stopped stays away.
async fn tuned_returns(bus: &Connection, changed: &mut MessageStream) -> Result<()> {
    let mut stopped = 0;
    let owner: String = loop {
        let state = tuned_unit(bus).await?;
        match tuned_owner(bus).await {
            Err(e) if nobody(&e) => {}
            Ok(_) if state == "deactivating" => {}
            owner => break owner?,
        }
        // Between its two halves a restart is a unit that is stopped.
        stopped = if matches!(state.as_str(), "inactive" | "failed") { stopped + 1 } else { 0 };
        if stopped > 12 {
            bail!("TuneD was stopped meanwhile: systemctl start tuned, then try again");
        }
        tokio::time::sleep(LOOK_AGAIN).await;
    };
    loop {
        let signal = changed.next().await.context("the bus closed the connection")??;
        if signal.header().sender().is_some_and(|s| s.as_str() == owner) {
            return Ok(());
        }
    }
}

/// TuneD names what it loads after every profile with the others, though it is not asked for with them.
fn tuned_state(active: &str, mode: &str, post: &str) -> State {
    let mut names: Vec<&str> = active.split_whitespace().collect();
    if names.is_empty() {
        return State::is("profile= mode=off");
    }
    if names.last() == Some(&post) {
        names.pop();
    }
    if names.is_empty() {
        // Switching TuneD off would take it away as well, and nothing sets it alone.
        let what = format!("post-loaded profile {post} alone");
        return State::Foreign { what, owner: Some("TuneD".into()) };
    }
    // Several are written with spaces between; a state's pairs are split at spaces.
    State::Is(format!("profile={} mode={mode}", names.join("+")))
}

/// One that goes away in the middle is told anew when it is back.
pub fn write_tuned(root: &Root, links: &Links, state: &State) -> Result<()> {
    let profile = state.tuned_profile().unwrap_or_default();
    let keys = tuned_resources(root, &profile);
    let found = values(root, &keys);
    links.block_on(async {
        let bus = connect(root).await?.context("there is no D-Bus to reach TuneD by")?;
        let rule = zbus::MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface(CONTROL)
            .member("profile_changed")
            .build()?;
        let mut changed = MessageStream::for_match_rule(rule, &bus, None).await?;
        if !tuned_leaves(&bus).await {
            let owner = tuned_owner(&bus).await.ok();
            match switch_tuned(&bus, state, &mut changed).await {
                Err(e) if lost(&e) => {}
                Ok(()) if tuned_leaves(&bus).await || tuned_owner(&bus).await.ok() != owner => {}
                other => return other,
            }
        }
        let back = tokio::time::timeout(JOB, tuned_returns(&bus, &mut changed)).await;
        back.context("TuneD went away and did not come back in time").flatten()?;
        // One that is being stopped heeds a switch, sets the profile and goes without taking it back: the
        // next one takes that for the machine's own. So it takes it back, and finds what was there.
        if ask_tuned(&bus).await? == *state {
            let set = values(root, &keys);
            call(&bus, TUNED, CONTROL, "disable", &()).await?;
            let left = values(root, &keys);
            for (at, resource) in keys.iter().enumerate() {
                if left[at] == set[at]
                    && left[at] != found[at]
                    && let Some(found) = &found[at]
                {
                    set_value(root, resource, found)?;
                }
            }
        }
        switch_tuned(&bus, state, &mut changed).await
    })
}

fn values(root: &Root, resources: &[Resource]) -> Vec<Option<State>> {
    let read = |r: &Resource| match r {
        Resource::Sysctl { key } => files::read_sysctl(root, key).ok(),
        Resource::Sysfs { path } => files::read_sysfs(root, path).ok(),
        _ => None,
    };
    resources.iter().map(|r| read(r).filter(|state| *state != State::Absent)).collect()
}

fn set_value(root: &Root, resource: &Resource, state: &State) -> Result<()> {
    match resource {
        Resource::Sysctl { key } => files::write_sysctl(root, key, state).map(drop),
        Resource::Sysfs { path } => files::write_sysfs(root, path, state).map(drop),
        _ => Ok(()),
    }
}

async fn switch_tuned(bus: &Connection, state: &State, changed: &mut MessageStream) -> Result<()> {
    let profile = state.field("profile").context("TuneD cannot be made absent")?;
    let reply = match state.field("mode") {
        Some("off") => {
            call(bus, TUNED, CONTROL, "disable", &()).await?;
            return Ok(());
        }
        Some("auto") => call(bus, TUNED, CONTROL, "auto_profile", &()).await?,
        _ => call(bus, TUNED, CONTROL, "switch_profile", &(profile.replace('+', " "),)).await?,
    };
    let (taken, why): (bool, String) = reply.body().deserialize()?;
    if !taken {
        bail!("TuneD refused profile {profile}: {why}");
    }
    // One that was off only takes note, and is told to begin as tuned-adm does it.
    let reply = call(bus, TUNED, CONTROL, "is_running", &()).await?;
    if !reply.body().deserialize::<bool>()? {
        let reply = call(bus, TUNED, CONTROL, "start", &()).await?;
        if !reply.body().deserialize::<bool>()? {
            bail!("TuneD took profile {profile} and did not begin");
        }
    }
    // The call only starts a thread; the signal says that the profile is in force.
    let done = async {
        let signal = changed.next().await.context("the bus closed the connection")??;
        let (_, result, why): (String, bool, String) = signal.body().deserialize()?;
        if result { Ok(()) } else { bail!("TuneD could not set {profile}: {why}") }
    };
    tokio::time::timeout(JOB, done)
        .await
        .context("TuneD did not say that it is done: systemctl restart tuned, then try again")?
}

/// Whether systemd answers on the node's bus.
pub fn systemd_answers(root: &Root, links: &Links) -> bool {
    links.block_on(async {
        let Ok(Some(bus)) = connect(root).await else { return false };
        call(&bus, SYSTEMD, "org.freedesktop.DBus.Peer", "Ping", &()).await.is_ok()
    })
}

/// A transient timer that runs `command` once, `seconds` from now, as `name`.service.
pub fn start_timer(
    root: &Root,
    links: &Links,
    name: &str,
    command: &[String],
    seconds: u64,
) -> Result<()> {
    let binary = command.first().context("a timer has a command")?;
    let (timer, service) = (format!("{name}.timer"), format!("{name}.service"));
    let text = "nettune takes a change back that nobody confirmed";
    let when = vec![("OnActiveSec", seconds.saturating_mul(1_000_000))];
    let timer_properties = vec![
        ("Description", Variant::from(text)),
        ("TimersMonotonic", Variant::from(when)),
        ("AccuracyUSec", Variant::from(100_000u64)),
        ("RemainAfterElapse", Variant::from(false)),
        ("CollectMode", Variant::from("inactive-or-failed")),
    ];
    let start = vec![(binary.as_str(), command.to_vec(), false)];
    let service_properties = vec![
        ("Description", Variant::from(text)),
        ("ExecStart", Variant::from(start)),
        ("Type", Variant::from("exec")),
        ("Restart", Variant::from("on-failure")),
        ("RestartUSec", Variant::from(1_000_000u64)),
        ("CollectMode", Variant::from("inactive-or-failed")),
    ];
    let aux = vec![(service.as_str(), service_properties)];
    links.block_on(async {
        let bus = connect(root).await?.context("there is no D-Bus to reach systemd by")?;
        let body = (timer.as_str(), "fail", timer_properties, aux);
        call(&bus, SYSTEMD, MANAGER, "StartTransientUnit", &body).await.map(drop)
    })
}

/// Stops a timer of [`start_timer`]; one that has elapsed is gone already.
pub fn stop_timer(root: &Root, links: &Links, name: &str) -> Result<()> {
    let timer = format!("{name}.timer");
    links.block_on(async {
        let Some(bus) = connect(root).await? else { return Ok(()) };
        match call(&bus, SYSTEMD, MANAGER, "StopUnit", &(timer.as_str(), "replace")).await {
            Ok(_) => Ok(()),
            Err(e) if refused_with(&e, &["NoSuchUnit"]) => Ok(()),
            Err(e) => Err(e),
        }
    })
}

const UNIT_FOLDER: &str = "/etc/systemd/system/";

/// The unit that a file is of, where systemd reads it; a link in a folder of wants is none.
pub fn unit_of(path: &str) -> Option<&str> {
    path.strip_prefix(UNIT_FOLDER).filter(|name| name.ends_with(".service") && !name.contains('/'))
}

/// Unit files were written or taken away: systemd reads them again. A oneshot unit of ours whose
/// file is gone would be listed as active until the next boot, so that one is stopped first.
pub fn reload(root: &Root, links: &Links, gone: &[String]) -> Result<()> {
    links.block_on(async {
        // No bus, no systemd that would have read them.
        let Some(bus) = connect(root).await? else { return Ok(()) };
        for name in gone.iter().filter(|n| n.starts_with("nettune") && !n.contains('@')) {
            match call(&bus, SYSTEMD, MANAGER, "StopUnit", &(name, "replace")).await {
                Ok(_) => {}
                Err(e) if refused_with(&e, &["NoSuchUnit"]) || nobody(&e) => {}
                Err(e) => return Err(e),
            }
        }
        match call(&bus, SYSTEMD, MANAGER, "Reload", &()).await {
            Ok(_) => Ok(()),
            Err(e) if nobody(&e) => Ok(()),
            Err(e) => Err(e),
        }
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_loaded_profile_is_not_one_that_was_asked_for() {
        let of = |active, post| tuned_state(active, "manual", post).to_string();
        assert_eq!(of("", ""), "profile= mode=off");
        assert_eq!(of("a b", ""), "profile=a+b mode=manual");
        assert_eq!(of("a b", "b"), "profile=a mode=manual");
        assert!(matches!(tuned_state("b", "manual", "b"), State::Foreign { .. }));
    }
}
