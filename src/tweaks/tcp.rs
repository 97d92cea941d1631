//! Sysctls of the profile: buffers, backlogs and whatever else it names.

use std::collections::BTreeMap;

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use super::{Doc, Entry, lever};
use crate::model::{Context, Desired, Impact, Resource, Side, Tweak, Want};

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
            Scalar::Text(t) => t.split_whitespace().collect::<Vec<_>>().join(" "),
        }
    }
}

impl Value {
    fn want(&self) -> Want {
        match self {
            Value::Number(n) => Want::is(n.to_string()),
            Value::Text(t) => Want::is(t.split_whitespace().collect::<Vec<_>>().join(" ")),
            Value::Bound(Bound::AtLeast(n)) => Want::AtLeast(n.text()),
            Value::Bound(Bound::AtMost(n)) => Want::AtMost(n.text()),
        }
    }
}

/// Keys whose writing rewrites others that nettune does not put back, keys that Cilium or kube-proxy
/// write, and keys that another tweak owns.
fn refused(key: &str) -> Option<&'static str> {
    let parts: Vec<&str> = key.split(['.', '/']).collect();
    match parts[..] {
        ["net", "ipv4", "ip_forward"] => Some("it wipes the per-link forwarding values"),
        ["net", "ipv6", "conf", _, "forwarding"] => {
            Some("it removes routes that routers advertised")
        }
        ["vm", "overcommit_ratio" | "overcommit_kbytes"] => Some("the two exclude each other"),
        ["kernel", "modules_disabled" | "kexec_load_disabled" | "unprivileged_bpf_disabled"] => {
            Some("it cannot be taken back before the next boot")
        }
        ["net", "ipv4" | "ipv6", "conf", "all", ..] => Some("it rewrites the values of all links"),
        ["net", "ipv6", "conf", _, "disable_ipv6"] => Some("it removes addresses and routes"),
        ["vm", "dirty_bytes" | "dirty_background_bytes"] => {
            Some("it and its ratio exclude each other: set the ratio")
        }
        ["net", "ipv4", "conf", _, "rp_filter"] => Some("the CNI decides it"),
        ["net", "core", "default_qdisc"] => Some("tweak bandwidth-manager sets it"),
        ["net", "ipv4", "tcp_congestion_control"] => Some("tweak bbr sets it"),
        ["net", "netfilter", "nf_conntrack_max"] => Some("kube-proxy or Cilium sets it"),
        ["net" | "vm" | "kernel" | "fs", ..] => None,
        _ => Some("only keys below net, vm, kernel and fs can be set"),
    }
}

/// Keys that belong to the whole machine: in another network namespace than the first the kernel
/// refuses them, or would change them for everybody.
fn machine_wide(key: &str) -> bool {
    const OF_A_NAMESPACE: [&str; 5] =
        ["optmem_max", "rps_default_mask", "somaxconn", "tstamp_allow_data", "txrehash"];
    let parts: Vec<&str> = key.split(['.', '/']).collect();
    match parts[..] {
        ["net", "core", name] => !OF_A_NAMESPACE.contains(&name),
        ["net", "ipv4", "tcp_mem" | "udp_mem"] => true,
        ["net", ..] => false,
        _ => true,
    }
}

/// What a new network namespace takes over from the first; the rest starts at the kernel's default.
const INHERITED: [&str; 2] = ["net.ipv4.tcp_rmem", "net.ipv4.tcp_wmem"];

impl Tcp {
    fn here(&self, key: &str, cx: &Context) -> bool {
        cx.facts.node.first_netns || !machine_wide(key)
    }
}

impl Tweak for Tcp {
    fn validate(&self) -> Result<()> {
        for key in self.sysctl.keys() {
            Resource::sysctl(key).validate().map_err(anyhow::Error::msg)?;
            if let Some(why) = refused(key) {
                bail!("sysctl {key} is refused: {why}");
            }
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
        let elsewhere: Vec<&str> = keys().filter(|k| !self.here(k, cx)).collect();
        if !elsewhere.is_empty() {
            let list = elsewhere.join(" ");
            remarks
                .push(format!("these are of the whole machine, and this is a namespace: {list}"));
        }
        let inherited = keys().filter(|k| INHERITED.contains(k)).count();
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
        for (key, value) in self.sysctl.iter().filter(|(key, _)| self.here(key, cx)) {
            desired.push(Desired::new(Resource::sysctl(key), value.want(), Impact::NewFlows));
        }
        for (path, value) in self.sysfs.iter().filter(|_| cx.facts.node.first_netns) {
            let resource = Resource::sysfs(path.trim_start_matches("/sys/"));
            desired.push(Desired::new(resource, value.want(), Impact::Node));
        }
        Ok(desired)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_that_rewrite_others_are_refused() {
        for key in [
            "net.ipv4.ip_forward",
            "net.ipv4.conf.all.rp_filter",
            "net/ipv6/conf/eth0/disable_ipv6",
            "vm.dirty_bytes",
            "user.max_user_namespaces",
        ] {
            assert!(refused(key).is_some(), "{key}");
        }
        assert!(refused("net.core.somaxconn").is_none() && refused("vm.dirty_ratio").is_none());
    }
}
