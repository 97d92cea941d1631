//! The levers, one file each. A lever is its settings (the table of the profile) and says what it
//! needs and what it wants; `TWEAKS` is the list that everything else is derived from: the rows of
//! `check`, `explain`, docs/tweaks.md, the keys a profile may have.

mod bandwidth_manager;
mod bbr;
mod big_tcp;
mod bpf_maps;
mod bpf_masquerade;
pub mod cilium_side;
pub mod cilium_xdp;
mod cpu;
mod dsr;
mod host_routing;
mod hubble;
mod irq;
mod kube_proxy_replacement;
mod mtu;
mod native_routing;
mod netkit;
mod nic;
mod notrack;
mod preempt;
mod steering;
mod tcp;
mod tuned;
mod unseen;
mod xdp;

use anyhow::Result;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

use crate::model::drivers::DRIVERS;
use crate::model::uplinks::candidates;
use crate::model::{Context, Need, Side, Tweak};

pub struct Entry {
    pub name: &'static str,
    pub side: Side,
    /// One line: what it sets or asks for.
    pub summary: &'static str,
    pub doc: Doc,
    pub lever: Lever,
}

/// What `explain` and docs/tweaks.md say.
pub struct Doc {
    /// What it does and why that helps.
    pub what: &'static str,
    /// What it costs, and when not to use it.
    pub cost: &'static str,
    pub needs: &'static str,
    pub impact: &'static str,
    /// Where this comes from.
    pub source: &'static str,
}

/// What a lever knows of drivers: limits, how they are known, and where from.
pub fn drivers(entry: &Entry) -> Vec<(&'static str, String)> {
    if !["nic", "mtu", "xdp"].contains(&entry.name) {
        return Vec::new();
    }
    DRIVERS.iter().map(|driver| (driver.name, driver.describe())).collect()
}

pub struct Lever {
    /// The keys of its table, with their descriptions.
    pub settings: fn() -> Schema,
    /// From the merged table, without `enable`, `required` and `owner`.
    pub build: fn(toml::Table) -> Result<Box<dyn Tweak>, toml::de::Error>,
}

/// The lever whose settings are `T`.
const fn lever<T: Tweak + DeserializeOwned + JsonSchema + 'static>() -> Lever {
    Lever {
        settings: || schemars::schema_for!(T),
        build: |table| Ok(Box::new(toml::Value::Table(table).try_into::<T>()?)),
    }
}

/// Why there is no uplink, and what to do about it.
fn no_uplink(cx: &Context) -> Need {
    if cx.links.is_empty() {
        let by_tunnel = cx.facts.links.iter().find(|l| l.default_route && !l.loopback);
        let why = match by_tunnel {
            Some(tunnel) => format!("the default route leaves by {}, a tunnel", tunnel.name),
            None => "there is no default route, so no uplink".to_string(),
        };
        let fix = match candidates(cx.facts)[..] {
            [] => "name the links in the profile: links = [...]".to_string(),
            ref up => format!("name those that carry it in the profile: links = {up:?}"),
        };
        return Need::blocked("uplink", why, fix);
    }
    let why = format!("no link here is what the profile's links name: {}", cx.links.join(", "));
    Need::blocked("uplink", why, "correct links in the profile; ip link shows what there is")
}

/// In the order of application.
pub const TWEAKS: &[Entry] = &[
    preempt::ENTRY,
    tuned::ENTRY,
    cpu::ENTRY,
    nic::ENTRY,
    mtu::ENTRY,
    irq::ENTRY,
    steering::ENTRY,
    tcp::ENTRY,
    bandwidth_manager::ENTRY,
    bbr::ENTRY,
    big_tcp::ENTRY,
    notrack::ENTRY,
    host_routing::ENTRY,
    xdp::ENTRY,
    native_routing::ENTRY,
    kube_proxy_replacement::ENTRY,
    bpf_masquerade::ENTRY,
    dsr::ENTRY,
    hubble::ENTRY,
    bpf_maps::ENTRY,
    netkit::ENTRY,
];

pub fn find(name: &str) -> Option<&'static Entry> {
    TWEAKS.iter().find(|t| t.name == name)
}

/// The keys of a tweak's own table.
pub fn keys(entry: &Entry) -> Vec<Key> {
    let schema = (entry.lever.settings)();
    let Some(properties) = schema.get("properties").and_then(|p| p.as_object()) else {
        return Vec::new();
    };
    let key = |(name, value): (&String, &serde_json::Value)| Key {
        name: name.clone(),
        about: value.get("description").and_then(|d| d.as_str()).unwrap_or_default().to_string(),
    };
    properties.iter().map(key).collect()
}

pub struct Key {
    pub name: String,
    pub about: String,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_unique_and_every_key_is_described() {
        for (at, entry) in TWEAKS.iter().enumerate() {
            assert!(TWEAKS[at + 1..].iter().all(|e| e.name != entry.name), "{}", entry.name);
            assert!(!entry.summary.is_empty() && !entry.doc.what.is_empty(), "{}", entry.name);
            assert_eq!(find(entry.name).map(|e| e.name), Some(entry.name));
            for key in keys(entry) {
                assert!(!key.about.is_empty(), "{}.{}", entry.name, key.name);
            }
        }
    }
}
