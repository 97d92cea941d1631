//! TuneD's profile. It answers a wish for another one only when it has looked at the machine, hence the
//! patience of a unit's job.

use std::time::Duration;

use anyhow::{Context, Result, bail};
use futures_util::StreamExt;
use zbus::{Connection, MessageStream};

use super::bus::{JOB, call, call_within, connect, lost, nobody, refused_with};
use super::facts::agents;
use super::facts::settings::tuned_resources;
use super::files;
use super::link::Links;
use super::root::Root;
use super::systemd::{UNIT, load_unit, property};
use crate::model::typed::tuned::{Mode, Profile};
use crate::model::{Resource, State, typed};
use crate::wait;

const BUS: (&str, &str) = ("org.freedesktop.DBus", "/org/freedesktop/DBus");
const TUNED: (&str, &str) = ("com.redhat.tuned", "/Tuned");
const CONTROL: &str = "com.redhat.tuned.control";
const LOOK_AGAIN: Duration = Duration::from_millis(250);

/// "profile=NAME mode=manual"; absent where there is no TuneD.
pub fn read(root: &Root, links: &Links) -> Result<State> {
    // One that is stopped begins again with what it was told last, so it is not as if it were not there.
    let stopped = || match agents::installed(root, "tuned") {
        true => {
            bail!("TuneD does not run and cannot be asked: systemctl start tuned, then try again")
        }
        false => Ok(State::Absent),
    };
    links.block_on(async {
        let Some(bus) = connect(root).await? else { return stopped() };
        match ask(&bus).await {
            Err(e) if nobody(&e) => stopped(),
            answer => answer,
        }
    })
}

async fn ask(bus: &Connection) -> Result<State> {
    let name = call(bus, TUNED, CONTROL, "active_profile", &()).await?;
    let name: String = name.body().deserialize()?;
    let mode = call(bus, TUNED, CONTROL, "profile_mode", &()).await?;
    let (mode, _): (String, String) = mode.body().deserialize()?;
    let post = match call_within(JOB, bus, TUNED, CONTROL, "post_loaded_profile", &()).await {
        Ok(reply) => reply.body().deserialize::<String>()?,
        // An older TuneD knows none.
        Err(e) if refused_with(&e, &["UnknownMethod"]) => String::new(),
        Err(e) => return Err(e),
    };
    Ok(state_of(&name, &mode, &post))
}

async fn unit(bus: &Connection) -> Result<String> {
    property(bus, &load_unit(bus, "tuned.service").await?, UNIT, "ActiveState").await
}

async fn leaves(bus: &Connection) -> bool {
    unit(bus).await.is_ok_and(|state| state == "deactivating")
}

async fn owner_of(bus: &Connection) -> Result<String> {
    Ok(call(bus, BUS, BUS.0, "GetNameOwner", &(TUNED.0,)).await?.body().deserialize()?)
}

/// A TuneD that is being restarted comes back and says when its profile is in force; told to switch
/// before that, it would take what it has set for the machine's own. One that was stopped stays away.
async fn returns(bus: &Connection, changed: &mut MessageStream) -> Result<()> {
    let mut stopped = 0;
    let owner: String = loop {
        let state = unit(bus).await?;
        match owner_of(bus).await {
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
fn state_of(active: &str, mode: &str, post: &str) -> State {
    let mut names: Vec<&str> = active.split_whitespace().collect();
    if names.is_empty() {
        return Profile { names: Vec::new(), mode: Mode::Off }.into();
    }
    if names.last() == Some(&post) {
        names.pop();
    }
    if names.is_empty() {
        // Switching TuneD off would take it away as well, and nothing sets it alone.
        let what = format!("post-loaded profile {post} alone");
        return State::Foreign { what, owner: Some("TuneD".into()) };
    }
    let mode = if mode == "auto" { Mode::Auto } else { Mode::Manual };
    Profile { mode, ..Profile::manual(&names.join(" ")) }.into()
}

/// One that goes away in the middle is told anew when it is back.
pub fn write(root: &Root, links: &Links, state: &State) -> Result<()> {
    let profile: Profile = typed::of(state).context("TuneD cannot be made absent")?;
    let _waiting = wait::on(|| "waits until TuneD has its profile in force".to_string());
    let keys = tuned_resources(root, &profile.spaced());
    let found = values(root, &keys);
    links.block_on(async {
        let bus = connect(root).await?.context("there is no D-Bus to reach TuneD by")?;
        let rule = zbus::MatchRule::builder()
            .msg_type(zbus::message::Type::Signal)
            .interface(CONTROL)
            .member("profile_changed")
            .build()?;
        let mut changed = MessageStream::for_match_rule(rule, &bus, None).await?;
        if !leaves(&bus).await {
            let owner = owner_of(&bus).await.ok();
            match switch(&bus, &profile, &mut changed).await {
                Err(e) if lost(&e) => {}
                Ok(()) if leaves(&bus).await || owner_of(&bus).await.ok() != owner => {}
                other => return other,
            }
        }
        let back = tokio::time::timeout(JOB, returns(&bus, &mut changed)).await;
        back.context("TuneD went away and did not come back in time").flatten()?;
        // One that is being stopped heeds a switch, sets the profile and goes without taking it back: the
        // next one takes that for the machine's own. So it takes it back, and finds what was there.
        if ask(&bus).await? == *state {
            let set = values(root, &keys);
            call_within(JOB, &bus, TUNED, CONTROL, "disable", &()).await?;
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
        switch(&bus, &profile, &mut changed).await
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

async fn switch(bus: &Connection, profile: &Profile, changed: &mut MessageStream) -> Result<()> {
    let names = profile.spaced();
    let reply = match profile.mode {
        Mode::Off => {
            call_within(JOB, bus, TUNED, CONTROL, "disable", &()).await?;
            return Ok(());
        }
        Mode::Auto => call_within(JOB, bus, TUNED, CONTROL, "auto_profile", &()).await?,
        Mode::Manual => call_within(JOB, bus, TUNED, CONTROL, "switch_profile", &(&names,)).await?,
    };
    let (taken, why): (bool, String) = reply.body().deserialize()?;
    if !taken {
        bail!("TuneD refused profile {names}: {why}");
    }
    // One that was off only takes note, and is told to begin as tuned-adm does it.
    let reply = call_within(JOB, bus, TUNED, CONTROL, "is_running", &()).await?;
    if !reply.body().deserialize::<bool>()? {
        let reply = call_within(JOB, bus, TUNED, CONTROL, "start", &()).await?;
        if !reply.body().deserialize::<bool>()? {
            bail!("TuneD took profile {names} and did not begin");
        }
    }
    // The call only starts a thread; the signal says that the profile is in force.
    let done = async {
        let signal = changed.next().await.context("the bus closed the connection")??;
        let (_, result, why): (String, bool, String) = signal.body().deserialize()?;
        if result { Ok(()) } else { bail!("TuneD could not set {names}: {why}") }
    };
    tokio::time::timeout(JOB, done)
        .await
        .context("TuneD did not say that it is done: systemctl restart tuned, then try again")?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_post_loaded_profile_is_not_one_that_was_asked_for() {
        let of = |active, post| state_of(active, "manual", post).to_string();
        assert_eq!(of("", ""), "profile= mode=off");
        assert_eq!(of("a b", ""), "profile=a+b mode=manual");
        assert_eq!(of("a b", "b"), "profile=a mode=manual");
        assert!(matches!(state_of("b", "manual", "b"), State::Foreign { .. }));
    }
}
