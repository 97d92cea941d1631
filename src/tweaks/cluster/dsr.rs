//! A backend answers the client directly.

use anyhow::Result;
use schemars::JsonSchema;
use serde::Deserialize;

use super::cilium_side::{cilium, excludes_big_tcp, release};
use crate::cilium::told;
use crate::model::helm;
use crate::model::helm::{DSR_DISPATCH, HelmValue, LB_MODE, TUNNEL_PROTOCOL};
use crate::model::{Context, Desired, Live, Need, Side, Tweak, Warning};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "dsr",
    side: Side::Cilium,
    summary: "loadBalancer.mode=dsr: no way back through the node that took the packet",
    doc: Doc {
        what: "The answer of a backend on another node goes to the client directly, with the service's \
               address: one hop less, and the client's address is kept.",
        cost: "12 to 48 bytes of MTU for what tells the backend of the client. Switches, routers and \
               clouds may drop packets with an option or with a source that is not the node's. Changing \
               it cuts connections to services from outside.",
        needs: "kube-proxy replacement; opt: native routing; geneve: tunnelProtocol geneve, Cilium 1.14; \
                ipip: before 1.19 XDP acceleration too; a fabric that passes such packets",
        impact: "path",
        source: "Cilium kubeproxy-free.rst (DSR)",
    },
    lever: lever::<Dsr>(),
    more: More {
        keys: &[&helm::LB_MODE, &helm::DSR_DISPATCH, &helm::TUNNEL_PROTOCOL],
        told: &[told::DSR, told::XDP, told::BIG, told::NETWORK],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Dsr {
    /// "dsr", or "hybrid": DSR for TCP, SNAT for UDP
    mode: Mode,
    /// How the backend learns the service's address: "opt" (IP option), "geneve" or "ipip"
    dispatch: Dispatch,
    /// Your word that the fabric passes such packets: no node can see that
    fabric: bool,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Mode {
    #[default]
    Dsr,
    Hybrid,
}

#[derive(Deserialize, JsonSchema, Default, Clone, Copy, PartialEq)]
#[serde(rename_all = "lowercase")]
enum Dispatch {
    #[default]
    Opt,
    Geneve,
    Ipip,
}

impl Dsr {
    fn words(&self) -> (&'static str, &'static str) {
        let mode = if self.mode == Mode::Dsr { "dsr" } else { "hybrid" };
        let dispatch = match self.dispatch {
            Dispatch::Opt => "opt",
            Dispatch::Geneve => "geneve",
            Dispatch::Ipip => "ipip",
        };
        (mode, dispatch)
    }
}

impl Tweak for Dsr {
    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(Vec::new())
    }

    fn stands_on(&self) -> &'static [&'static str] {
        match self.dispatch {
            Dispatch::Opt => &["kube-proxy-replacement", "native-routing"],
            _ => &["kube-proxy-replacement"],
        }
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = Vec::new();
        // Where it is so already, the fabric has shown that it does.
        let mode = cilium(cx).and_then(|c| c.live.lb_mode.as_deref());
        if !self.fabric && !matches!(mode, Some("dsr" | "hybrid")) {
            let why =
                "no node can see whether the fabric passes an answer from another node's backend";
            let fix = "try it, then set dsr.fabric = true (on AWS the source/destination check must be off)";
            needs.push(Need::blocked("fabric", why, fix));
        }
        let kernel = |option: &str| cx.facts.kernel.config.get(option).is_some_and(|v| v == "n");
        match self.dispatch {
            Dispatch::Geneve if kernel("GENEVE") => {
                needs.push(Need::unsupported("geneve", "this kernel is built without geneve"));
            }
            Dispatch::Geneve if release(cx) < (1, 14) => {
                let why = "Cilium before 1.14 has no DSR by geneve";
                needs.push(Need::blocked(
                    "dsr-geneve",
                    why,
                    "dsr.dispatch = \"opt\", or Cilium 1.14",
                ));
            }
            Dispatch::Geneve
                if cilium(cx).and_then(|c| c.live.network.as_deref()) == Some("tunnel vxlan") =>
            {
                let why = "with VXLAN an agent that starts refuses DSR by geneve";
                needs.push(Need::blocked("dsr-vxlan", why, "tunnelProtocol=geneve"));
            }
            Dispatch::Ipip if kernel("NET_IPIP") => {
                needs.push(Need::unsupported("ipip", "this kernel is built without IP in IP"));
            }
            _ => {}
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        let live = cilium(cx).map(|c| &c.live);
        let now = live.and_then(|l| match (l.lb_mode.as_deref()?, l.dsr_dispatch.as_deref()) {
            (mode @ ("off" | "snat"), _) => Some(mode.to_string()),
            (mode, dispatch) => Some(format!("{mode} {}", dispatch.unwrap_or("opt"))),
        });
        let (mode, dispatch) = self.words();
        Some(Live::new(now, format!("{mode} {dispatch}")))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let mut warnings = Vec::new();
        if cx.facts.preflight.tcp_fastopen.is_some_and(|v| v & 2 != 0) {
            let text = "TCP Fast Open is on for servers here, and DSR breaks such connections";
            let fix = "net.ipv4.tcp_fastopen = 1";
            warnings.push(Warning::new("tcp-fastopen", text).fix(fix));
        }
        let live = cilium(cx).map(|c| &c.live);
        let xdp = live.and_then(|l| l.xdp.as_deref()).is_some_and(|x| x != "none");
        if self.dispatch == Dispatch::Ipip && xdp {
            let text =
                "DSR by ipip with XDP acceleration drops packets of protocols it does not know";
            warnings.push(Warning::new("dsr-ipip-xdp", text).fix("dsr.dispatch = \"opt\""));
        }
        let big = live.is_some_and(|l| l.big_tcp_v4.max(l.big_tcp_v6).is_some_and(|n| n > 0));
        let (_, dispatch) = self.words();
        if big && excludes_big_tcp(cx, dispatch) {
            let text = format!(
                "BIG TCP and DSR by {dispatch} exclude each other: its device ends at 64 KiB here"
            );
            warnings.push(Warning::new("dsr-big-tcp", text).fix("dsr.dispatch = \"opt\""));
        }
        warnings
    }

    fn advice(&self, _: &Context) -> Vec<HelmValue> {
        let (mode, dispatch) = self.words();
        let mut values = vec![LB_MODE.is(mode), DSR_DISPATCH.is(dispatch)];
        if self.dispatch == Dispatch::Geneve {
            values.push(TUNNEL_PROTOCOL.is("geneve"));
        }
        values
    }
}
