//! A configuration of Cilium with its questions, and how sure an answer is.

use std::cell::RefCell;
use std::collections::BTreeSet;

use super::configmap::Config;
use super::version::Version;

pub struct Rule {
    /// Short and stable.
    pub code: &'static str,
    pub keys: &'static [&'static str],
    pub when: fn(&Seen) -> bool,
    pub consequence: &'static str,
}

/// A configuration with its questions.
pub struct Seen<'a> {
    config: &'a Config,
    pub(super) version: Version,
    /// Keys that were asked for and are not there.
    untold: RefCell<BTreeSet<&'static str>>,
}

impl<'a> Seen<'a> {
    pub fn new(config: &'a Config, version: Version) -> Self {
        Seen { config, version, untold: RefCell::default() }
    }

    pub fn get(&self, key: &'static str) -> &str {
        let value = self.config.get(key);
        if value.is_none() {
            self.untold.borrow_mut().insert(key);
        }
        value.map(String::as_str).unwrap_or_default()
    }

    pub(super) fn on(&self, key: &'static str) -> bool {
        self.get(key) == "true"
    }

    pub(super) fn before(&self, minor: u32) -> bool {
        (self.version.major, self.version.minor) < (1, minor)
    }

    pub fn tunnel(&self) -> bool {
        match (self.get("routing-mode"), self.get("tunnel")) {
            ("native", _) => false,
            ("", "disabled") => false,
            // Neither key: the agent's own default is a tunnel.
            _ => true,
        }
    }

    pub(super) fn kpr(&self) -> bool {
        matches!(self.get("kube-proxy-replacement"), "true" | "strict")
    }

    /// The agent's own default is on, for a family that is.
    pub(super) fn masquerades_v4(&self) -> bool {
        self.get("enable-ipv4") != "false" && self.get("enable-ipv4-masquerade") != "false"
    }

    pub(super) fn masquerades(&self) -> bool {
        self.masquerades_v4() || (self.on("enable-ipv6") && self.on("enable-ipv6-masquerade"))
    }

    pub(super) fn by_iptables(&self) -> bool {
        self.masquerades() && !self.on("enable-bpf-masquerade")
    }

    /// What the agent will make of it, whatever is asked.
    pub(super) fn host_routing(&self) -> bool {
        let ipsec = self.on("enable-ipsec") && self.before(19);
        let old =
            self.before(14) && (self.on("enable-endpoint-routes") || self.on("enable-wireguard"));
        let forced = ipsec || old || self.on("enable-host-legacy-routing");
        self.kpr() && !self.by_iptables() && !forced
    }

    pub(super) fn dsr(&self) -> bool {
        matches!(self.get("bpf-lb-mode"), "dsr" | "hybrid")
    }

    pub(super) fn dispatch(&self) -> &str {
        match self.get("bpf-lb-dsr-dispatch") {
            "" => "opt",
            other => other,
        }
    }

    pub(super) fn big_tcp(&self) -> bool {
        self.on("enable-ipv4-big-tcp") || self.on("enable-ipv6-big-tcp")
    }

    pub(super) fn xdp(&self) -> bool {
        !matches!(self.get("bpf-lb-acceleration"), "" | "disabled")
    }

    pub(super) fn netkit(&self) -> bool {
        self.get("datapath-mode").starts_with("netkit")
    }
}

impl Rule {
    pub fn holds(&self, config: &Config, version: Version) -> bool {
        (self.when)(&Seen::new(config, version))
    }

    /// It stands on a key that is not there, and another word there would end it.
    pub fn stands_on_silence(&self, config: &Config, version: Version) -> bool {
        const WORDS: [&str; 9] =
            ["true", "false", "native", "tunnel", "vxlan", "geneve", "opt", "0.08", "10.0.0.0/8"];
        let seen = Seen::new(config, version);
        (self.when)(&seen);
        let with = |key: &str, word: &str| {
            let mut config = config.clone();
            config.insert(key.to_string(), word.to_string());
            config
        };
        let untold = seen.untold.into_inner();
        let mut ways = untold.iter().flat_map(|key| WORDS.map(|word| with(key, word)));
        ways.any(|config| !self.holds(&config, version))
    }
}
