//! Sysctls of the profile: buffers, backlogs and whatever else it names.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{Context, Desired, Facts, Impact, Resource, Side, Tweak, Want, sysctls};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "tcp",
    side: Side::Node,
    summary: "socket buffers, backlogs and the other sysctls of the profile",
    doc: Doc {
        what: "Sets the sysctls that the profile names. Backlogs and buffers are raise-only: a node \
               that already has more keeps it.",
        cost: "Larger buffers take memory under load (tcp_mem and udp_mem still bound it). Which keys \
               new pods inherit is the kernel's choice: tcp_rmem, tcp_wmem and the congestion \
               control are taken over by a new network namespace, somaxconn is not.",
        needs: "nothing; a key that this kernel does not have is left out and named",
        impact: "new-flows",
        source: "Linux Documentation/networking/ip-sysctl.rst and admin-guide/sysctl/net.rst; TuneD's \
                 network-latency and network-throughput for the profiles of those names",
    },
    lever: lever::<Tcp>(),
    more: More::NONE,
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Tcp {
    /// Sysctl by its dotted name: a value, or { at-least = N } or { at-most = N }, number by number
    sysctl: BTreeMap<String, Value>,
    /// The same for files below /sys/kernel/mm/transparent_hugepage
    sysfs: BTreeMap<String, Value>,
}

#[derive(Deserialize, JsonSchema, Clone)]
#[serde(untagged)]
enum Value {
    Number(i64),
    Text(String),
    Bound(Bound),
}

#[derive(Deserialize, JsonSchema, Clone)]
#[serde(deny_unknown_fields, rename_all = "kebab-case")]
enum Bound {
    AtLeast(Scalar),
    AtMost(Scalar),
}

#[derive(Deserialize, JsonSchema, Clone)]
#[serde(untagged)]
enum Scalar {
    Number(u64),
    Text(String),
}

impl Scalar {
    fn text(&self) -> String {
        match self {
            Scalar::Number(n) => n.to_string(),
            Scalar::Text(t) => t.clone(),
        }
    }
}

impl Value {
    /// `printed` is what will be read once a text is written.
    fn want(&self, printed: impl Fn(&str) -> String) -> Want {
        match self {
            Value::Number(n) => Want::is(printed(&n.to_string())),
            Value::Text(t) => Want::is(printed(t)),
            Value::Bound(Bound::AtLeast(n)) => Want::AtLeast(printed(&n.text())),
            Value::Bound(Bound::AtMost(n)) => Want::AtMost(printed(&n.text())),
        }
    }
}

/// A key as the path below /proc/sys, however the profile writes it.
fn slashed(key: &str) -> String {
    match Resource::sysctl(key) {
        Resource::Sysctl { key } => key,
        _ => key.to_string(),
    }
}

/// What a new network namespace takes over from the first; the rest starts at the kernel's default.
const INHERITED: [&str; 2] = ["net/ipv4/tcp_rmem", "net/ipv4/tcp_wmem"];

/// kube-proxy and Cilium set it on their nodes; on others it may be raised.
const CONNTRACK_MAX: &str = "net/netfilter/nf_conntrack_max";

/// Who sets the limit of connections here; where it could not be told, somebody may.
fn sets_conntrack_max(facts: &Facts) -> Option<&'static str> {
    let agents = &facts.agents;
    if agents.cilium.is_some() {
        return Some("Cilium");
    }
    let none = agents.kube_proxy_rules.known() == Some(&false) && !facts.kubernetes();
    (!none).then_some("kube-proxy")
}

impl Tcp {
    fn left(&self, key: &str, cx: &Context) -> bool {
        slashed(key) == CONNTRACK_MAX && sets_conntrack_max(cx.facts).is_some()
    }
}

impl Tweak for Tcp {
    fn validate(&self) -> Result<()> {
        for key in self.sysctl.keys() {
            Resource::sysctl(key).validate().map_err(anyhow::Error::msg)?;
        }
        let keys: Vec<(&String, String)> =
            self.sysctl.keys().map(|key| (key, slashed(key))).collect();
        let mut values = BTreeMap::new();
        for (key, path) in &keys {
            if let Some(other) = values.insert(sysctls::value_of(path), key) {
                bail!("sysctls {other} and {key} are one value of the kernel: keep one of the two");
            }
        }
        for (key, path) in &keys {
            if let Some((why, instead)) = sysctls::refused(path) {
                bail!("sysctl {key} is refused: {why}; {instead}");
            }
        }
        let lowers = |value: &Value| !matches!(value, Value::Bound(Bound::AtLeast(_)));
        let max = |key: &&String| slashed(key) == CONNTRACK_MAX;
        if let Some(key) = self.sysctl.keys().find(max).filter(|key| lowers(&self.sysctl[*key])) {
            bail!("sysctl {key} may only be raised: write it as {{ at-least = NUMBER }}");
        }
        for path in self.sysfs.keys() {
            let resource = Resource::sysfs(path.trim_start_matches("/sys/"));
            resource.validate().map_err(anyhow::Error::msg)?;
            if !path.trim_start_matches("/sys/").starts_with("kernel/mm/transparent_hugepage/") {
                bail!("sysfs {path} is not below /sys/kernel/mm/transparent_hugepage");
            }
        }
        Ok(())
    }

    fn remarks(&self, cx: &Context) -> Vec<String> {
        let mut remarks = Vec::new();
        let keys = || self.sysctl.keys().map(String::as_str);
        if let (Some(key), Some(who)) =
            (keys().find(|k| self.left(k, cx)), sets_conntrack_max(cx.facts))
        {
            remarks.push(format!("{key} is left to {who}, which sets it here"));
        }
        let inherited = keys().filter(|k| INHERITED.contains(&slashed(k).as_str())).count();
        if inherited > 0 && cx.facts.node.first_netns && cx.facts.kubernetes() {
            remarks.push(format!(
                "{inherited} of {} reach new pods, which inherit them",
                self.sysctl.len()
            ));
        }
        remarks
    }

    fn desired(&self, cx: &Context) -> Result<Vec<Desired>> {
        let mut desired = Vec::new();
        for (key, value) in self.sysctl.iter().filter(|(key, _)| !self.left(key, cx)) {
            let path = slashed(key);
            let want = value.want(|text| sysctls::canonical(&path, text, cx.facts));
            desired.push(Desired::new(Resource::sysctl(key), want, Impact::NewFlows));
        }
        for (path, value) in &self.sysfs {
            let resource = Resource::sysfs(path.trim_start_matches("/sys/"));
            let folded = |text: &str| text.split_whitespace().collect::<Vec<_>>().join(" ");
            desired.push(Desired::new(resource, value.want(folded), Impact::Node));
        }
        Ok(desired)
    }
}
#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Facts;

    fn tcp(profile: &str) -> Tcp {
        toml::from_str(profile).unwrap()
    }

    fn refused(keys: &str) -> String {
        tcp(&format!("[sysctl]\n{keys}")).validate().unwrap_err().to_string()
    }

    #[test]
    fn what_is_refused_names_its_keys_and_what_to_do() {
        assert_eq!(
            refused("\"net/ipv4/conf/e0.7/rp_filter\" = 1"),
            "sysctl net/ipv4/conf/e0.7/rp_filter is refused: the CNI decides it; set it in the CNI"
        );
        assert_eq!(
            refused(
                "\"net.ipv4.neigh.e0.retrans_time_ms\" = 9\n\"net.ipv4.neigh.e0.retrans_time\" = 9"
            ),
            "sysctls net.ipv4.neigh.e0.retrans_time and net.ipv4.neigh.e0.retrans_time_ms are one \
             value of the kernel: keep one of the two"
        );
        let twice = "\"net.core.somaxconn\" = 9\n\"net/core/somaxconn\" = 9";
        assert!(refused(twice).contains("net.core.somaxconn and net/core/somaxconn are one value"));
        assert!(tcp("[sysctl]\n\"net.core.somaxconn\" = 9").validate().is_ok());
    }

    #[test]
    fn a_wish_is_in_the_form_of_its_key() {
        let tcp = tcp("[sysctl]\n\"net.core.somaxconn\" = { at-least = \"0x1000\" }\n\
             \"net/ipv4/ip_local_reserved_ports\" = \"102,100-101\"\n\"vm.swappiness\" = 10");
        let mut facts = Facts::default();
        facts.node.first_netns = true;
        let cx = Context::new(&facts, &[]);
        let desired = tcp.desired(&cx).unwrap();
        let wants: Vec<String> =
            desired.iter().map(|d| format!("{} {}", d.resource, d.want)).collect();
        assert_eq!(
            wants,
            [
                "sysctl:net.core.somaxconn at least 4096",
                "sysctl:net.ipv4.ip_local_reserved_ports 100-102",
                "sysctl:vm.swappiness 10",
            ]
        );
    }
}
