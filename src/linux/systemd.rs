//! systemd's units and timers.

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use zbus::{Connection, MessageStream, ObjectPath, OwnedObjectPath, OwnedVariant, Variant};

use super::bus::{JOB, call, call_within, connect, nobody, refused_with};
use super::link::Links;
use super::root::Root;
use crate::model::{State, UnitAspect};

const SYSTEMD: (&str, &str) = ("org.freedesktop.systemd1", "/org/freedesktop/systemd1");
const MANAGER: &str = "org.freedesktop.systemd1.Manager";
pub const UNIT: &str = "org.freedesktop.systemd1.Unit";

pub async fn property(bus: &Connection, path: &str, interface: &str, name: &str) -> Result<String> {
    let to = (SYSTEMD.0, path);
    let reply = call(bus, to, "org.freedesktop.DBus.Properties", "Get", &(interface, name)).await?;
    let value: OwnedVariant = reply.body().deserialize().with_context(|| format!("read {name}"))?;
    String::try_from(value).with_context(|| format!("read {name}"))
}

pub async fn load_unit(bus: &Connection, name: &str) -> Result<OwnedObjectPath> {
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
                call_within(JOB, &bus, SYSTEMD, MANAGER, "Reload", &()).await.map(drop)
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
        match call_within(JOB, &bus, SYSTEMD, MANAGER, "Reload", &()).await {
            Ok(_) => Ok(()),
            Err(e) if nobody(&e) => Ok(()),
            Err(e) => Err(e),
        }
    })
}
