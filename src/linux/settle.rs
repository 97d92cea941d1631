//! A change that stops a link for a moment is over only when the link is back: its carrier, and in
//! a bond its place in the aggregate. So no more than one uplink, or member of a bond, is ever away.

use std::time::{Duration, Instant};

use anyhow::{Result, bail};

use super::link::Links;
use crate::model::State;
use crate::model::facts::Link;
use crate::wait;

/// Training of a 100 Gbit/s link takes up to ten seconds, and some firmware as long again.
const CARRIER: Duration = Duration::from_secs(30);
/// A partner with slow LACP timers sends once in thirty seconds.
const LACP: Duration = Duration::from_secs(75);
/// A port that comes back carries for a moment by what its partner said before, then starts anew
/// (seen on 5.10): it is back when it has carried for so long.
const STEADY: Duration = Duration::from_secs(1);

/// Does what may stop link `name`, and waits until it has again what it had, also where that failed:
/// what comes next may stop another one.
pub fn across<T>(links: &Links, name: &str, change: impl FnOnce() -> Result<T>) -> Result<T> {
    let had = links.one(name)?.map(|link| Had::of(&link));
    let changed = change();
    let back = had.map_or(Ok(()), |had| had.wait(links));
    let changed = changed?;
    back.map(|()| changed)
}

/// What a link had before it was stopped, and must have again.
struct Had {
    name: String,
    carrier: bool,
    aggregated: bool,
}

impl Had {
    fn of(link: &Link) -> Self {
        Had {
            name: link.name.clone(),
            carrier: link.up && link.carrier,
            aggregated: aggregated(link),
        }
    }

    fn wait(&self, links: &Links) -> Result<()> {
        let (most, steady) =
            if self.aggregated { (LACP, STEADY) } else { (CARRIER, Duration::ZERO) };
        let _waiting = wait::on(|| format!("waits until {} is back", self.name));
        let start = Instant::now();
        let mut since = start;
        loop {
            if let Some(missing) = self.missing(&links.one(&self.name)?) {
                if start.elapsed() > most {
                    bail!("{} {missing} {} s after the change", self.name, most.as_secs());
                }
                since = Instant::now();
            } else if since.elapsed() >= steady {
                return Ok(());
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn missing(&self, now: &Option<Link>) -> Option<&'static str> {
        match now {
            None => Some("is gone"),
            Some(link) if self.carrier && !link.carrier => Some("has no carrier"),
            Some(link) if self.aggregated && !aggregated(link) => {
                Some("is not back in its bond (LACP collecting and distributing)")
            }
            Some(_) => None,
        }
    }
}

/// A bond hands its MTU to all its members at once, which stops them together: they go before it,
/// one by one, whichever way.
pub fn set_mtu(links: &Links, name: &str, mtu: &State) -> Result<()> {
    let member =
        |l: &Link| l.master.as_deref() == Some(name) && *mtu != State::is(l.mtu.to_string());
    let members = match links.one(name)?.is_some_and(|l| l.is_a(&["bond"])) {
        true => links.all()?.into_iter().filter(member).collect(),
        false => Vec::new(),
    };
    for name in members.iter().map(|l| l.name.as_str()).chain([name]) {
        across(links, name, || links.set_mtu(name, mtu))?;
    }
    Ok(())
}

fn aggregated(link: &Link) -> bool {
    link.bond_port.as_ref().is_some_and(|port| port.carries)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::facts::BondPort;

    #[test]
    fn a_link_is_back_with_what_it_had() {
        let had = |carrier, aggregated| Had { name: "eth0".into(), carrier, aggregated };
        let link = |carrier, carries| {
            let bond_port = Some(BondPort { carries, lacp: true });
            Some(Link { carrier, bond_port, ..Link::default() })
        };
        assert_eq!(had(true, true).missing(&link(true, true)), None);
        assert!(had(true, true).missing(&link(true, false)).is_some());
        assert_eq!(had(true, false).missing(&link(false, false)), Some("has no carrier"));
        assert_eq!(had(false, false).missing(&link(false, false)), None);
        assert_eq!(had(false, false).missing(&None), Some("is gone"));
    }
}
