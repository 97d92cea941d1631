//! What every lever is to the rest: its row of the list, its document, its settings.

use anyhow::Result;
use schemars::{JsonSchema, Schema};
use serde::de::DeserializeOwned;

use crate::model::drivers::DRIVERS;
use crate::model::helm::HelmKey;
use crate::model::uplinks::candidates;
use crate::model::{Context, Need, Side, Tweak};

pub struct Entry {
    pub name: &'static str,
    pub side: Side,
    /// One line: what it sets or asks for.
    pub summary: &'static str,
    pub doc: Doc,
    pub lever: Lever,
    pub more: More,
}

/// What some levers are besides.
pub struct More {
    /// Made before the network at each boot: its change stops a link, or asks for none. The late run, after the
    /// network, makes all.
    pub early: bool,
    /// Its document lists what is known of drivers.
    pub drivers: bool,
    /// Modules that it needs where the kernel has them as such: an image loads them at boot.
    pub modules: &'static [&'static str],
    /// Its own keys of Cilium's chart.
    pub keys: &'static [&'static HelmKey],
    /// What it goes by of what is told of Cilium: names of `cilium::told`.
    pub told: &'static [&'static [&'static str]],
}

impl More {
    pub const NONE: More =
        More { early: false, drivers: false, modules: &[], keys: &[], told: &[] };
}

impl Entry {
    /// The names it goes by, each once.
    pub fn told(&self) -> Vec<&'static str> {
        let mut names = self.more.told.concat();
        names.sort_unstable();
        names.dedup();
        names
    }
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
    if !entry.more.drivers {
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
pub const fn lever<T: Tweak + DeserializeOwned + JsonSchema + 'static>() -> Lever {
    Lever {
        settings: || schemars::schema_for!(T),
        build: |table| Ok(Box::new(toml::Value::Table(table).try_into::<T>()?)),
    }
}

/// Why there is no uplink, and what to do about it.
pub fn no_uplink(cx: &Context) -> Need {
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
