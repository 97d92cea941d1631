//! No overlay between nodes.

use anyhow::{Result, ensure};
use schemars::JsonSchema;
use serde::Deserialize;

use super::cilium_side::{cilium, floor, release};
use crate::cilium::told;
use crate::model::helm;
use crate::model::helm::{AUTO_DIRECT_ROUTES, HelmValue, NATIVE_CIDR, ROUTING_MODE, TUNNEL};
use crate::model::{Context, Desired, Live, Need, Side, Tweak, Warning};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "native-routing",
    side: Side::Cilium,
    summary: "routingMode=native: no overlay between nodes",
    doc: Doc {
        what: "Pod packets travel as they are, without 50 bytes of VXLAN or Geneve around each: a larger \
               MTU, and no second pass through the stack.",
        cost: "The network between the nodes, or their routes, must know every pod network. Changing it \
               on a live cluster cuts connections between nodes while agents with both modes run.",
        needs: "a fabric that carries pod addresses, or nodes on one L2 network \
                (auto-direct-node-routes); the pod network of the whole cluster, from Cilium 1.18 on",
        impact: "path",
        source: "Cilium concepts/routing.rst, Cilium tuning guide; systemd networkd.conf(5)",
    },
    lever: lever::<NativeRouting>(),
    more: More {
        keys: &[&helm::TUNNEL, &helm::ROUTING_MODE, &helm::NATIVE_CIDR, &helm::AUTO_DIRECT_ROUTES],
        told: &[told::NETWORK, &["ipv4-native-routing-cidr", "node-pods", "ipam"]],
        ..More::NONE
    },
};

#[derive(Deserialize, JsonSchema, Default)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct NativeRouting {
    /// Pod network of the whole cluster, such as "10.244.0.0/16"; default: what Cilium has now
    cidr: Option<String>,
    /// Nodes are on one L2 network and install routes to each other's pods
    auto_direct_node_routes: bool,
    /// Your word that the fabric carries pod addresses between nodes: no node can see that
    fabric: bool,
}

impl NativeRouting {
    fn cidr<'a>(&'a self, cx: &Context<'a>) -> Option<&'a str> {
        let live = cilium(cx).and_then(|c| c.live.native_cidr.as_deref());
        self.cidr.as_deref().or(live).filter(|c| !c.is_empty())
    }

    /// Where the cloud gives pods addresses of its own network, its fabric carries them.
    fn cloud(cx: &Context) -> bool {
        let ipam = cilium(cx).and_then(|c| c.key("ipam"));
        matches!(ipam, Some("eni" | "azure" | "alibabacloud"))
    }
}

impl Tweak for NativeRouting {
    fn validate(&self) -> Result<()> {
        if let Some(cidr) = &self.cidr {
            let network = cidr.split_once('/').map(|(a, l)| (a.parse(), l.parse::<u8>()));
            let good = matches!(network, Some((Ok(std::net::Ipv4Addr { .. }), Ok(0..=32))));
            ensure!(good, "cidr {cidr:?} is not an IPv4 network: write it as ADDRESS/LENGTH");
        }
        Ok(())
    }

    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        Ok(Vec::new())
    }

    fn cluster_needs(&self, cx: &Context) -> Vec<Need> {
        let mut needs = vec![floor(cx)];
        if cx.facts.kernel.config.get("IP_MULTIPLE_TABLES").is_some_and(|v| v == "n") {
            needs.push(Need::unsupported("policy-routing", "this kernel has no policy routing"));
        }
        // Where it is so already, the fabric has shown that it does.
        let native = cilium(cx).and_then(|c| c.tunnel()) == Some(false);
        if !native && !self.fabric && !self.auto_direct_node_routes && !Self::cloud(cx) {
            let why = "no node can see whether the fabric carries pod addresses";
            let fix = "native-routing.auto-direct-node-routes = true where nodes share an L2 network, \
                       else native-routing.fabric = true once it does";
            needs.push(Need::blocked("fabric", why, fix));
        }
        // Where it is native already and does not tell, it may be set.
        let unset = cilium(cx).and_then(|c| c.key("ipv4-native-routing-cidr")) == Some("");
        if self.cidr(cx).is_none() && !Self::cloud(cx) && (!native || unset) {
            let why = "the pod network of the cluster is not known, and Cilium from 1.18 on does not \
                       render without it";
            let pool = cilium(cx).and_then(|c| c.key("ipam")) == Some("cluster-pool");
            let fix = match pool && release(cx) >= (1, 20) {
                true => {
                    "set native-routing.cidr = \"10.244.0.0/16\", or nativeRoutingCIDRFromClusterPool=true \
                     in Helm"
                }
                false => "set native-routing.cidr = \"10.244.0.0/16\"",
            };
            needs.push(Need::blocked("native-cidr", why, fix));
        }
        needs
    }

    fn live(&self, cx: &Context) -> Option<Live> {
        Some(Live::new(cilium(cx).and_then(|c| c.live.network.clone()), "native"))
    }

    fn warnings(&self, cx: &Context) -> Vec<Warning> {
        let mut warnings = Vec::new();
        let preflight = &cx.facts.preflight;
        if preflight.networkd_rules == Some(true) {
            let text = "networkd removes routing rules that it did not make, Cilium's too, when a link \
                        comes back";
            warnings.push(Warning::new("networkd-foreign-rules", text).fix(
                "ManageForeignRoutingPolicyRules=no in a drop-in of /etc/systemd/networkd.conf.d",
            ));
        }
        if preflight.networkd_routes == Some(true) && release(cx) < (1, 14) {
            let text = "networkd removes routes that it did not make, Cilium's before 1.14 too";
            let fix = "ManageForeignRoutes=no in a drop-in of /etc/systemd/networkd.conf.d";
            warnings.push(Warning::new("networkd-foreign-routes", text).fix(fix));
        }
        let strict = preflight.rp_filter.iter().find(|(link, _)| link.starts_with("lxc"));
        if let Some((link, value)) = strict {
            let text =
                format!("rp_filter is {value} on the pod link {link}: replies to it are dropped");
            let fix = "net.ipv4.conf.lxc*.rp_filter = 0 in a file of /etc/sysctl.d that sorts last";
            warnings.push(Warning::new("rp-filter", text).fix(fix));
        }
        warnings
    }

    fn advice(&self, cx: &Context) -> Vec<HelmValue> {
        let mut values = vec![TUNNEL.is("disabled"), ROUTING_MODE.is("native")];
        values.extend(self.cidr(cx).map(|cidr| NATIVE_CIDR.is(cidr)));
        if self.auto_direct_node_routes {
            values.push(AUTO_DIRECT_ROUTES.is("true"));
        }
        values
    }
}
