//! TuneD's profile, where TuneD runs.

use anyhow::{Result, bail};
use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::typed::tuned::Profile;
use crate::model::{Context, Desired, Impact, Need, Resource, Side, Tweak, Want};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: "tuned",
    side: Side::Node,
    summary: "TuneD's profile network-latency or network-throughput",
    doc: Doc {
        what: "Asks a running TuneD over D-Bus for its network profile and waits until it is in force. It \
               goes first, so that nettune's own values are laid over TuneD's, and goes back last.",
        cost: "TuneD writes its profile's values again whenever it restarts or switches: `verify` then \
               shows which of nettune's it changed.",
        needs: "TuneD running; without it the profiles network-latency and network-throughput hold the \
                same values",
        impact: "node",
        source: "Cilium tuning guide (tuned network-* profiles); TuneD's D-Bus interface com.redhat.tuned",
    },
    lever: lever::<Tuned>(),
    more: More::NONE,
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields, rename_all = "kebab-case", default)]
pub struct Tuned {
    /// Name of the profile, or several with spaces between, as tuned-adm takes them
    profile: String,
}

impl Default for Tuned {
    fn default() -> Self {
        Tuned { profile: "network-throughput".into() }
    }
}

impl Tweak for Tuned {
    fn validate(&self) -> Result<()> {
        let plain = |c: char| c.is_ascii_alphanumeric() || "-_. ".contains(c);
        if self.profile.trim().is_empty() || !self.profile.chars().all(plain) {
            bail!("profile {:?} is not the name of a TuneD profile", self.profile);
        }
        Ok(())
    }

    fn needs(&self, cx: &Context) -> Vec<Need> {
        let tuned = &cx.facts.agents.tuned;
        if tuned.pid.is_some() {
            return vec![Need::met("tuned-running")];
        }
        let why = if tuned.installed {
            "TuneD is installed and stopped"
        } else {
            "there is no TuneD here"
        };
        let fix =
            "use the profile network-latency or network-throughput: the same values without TuneD";
        vec![Need::blocked("tuned-running", why, fix)]
    }

    fn desired(&self, _: &Context) -> Result<Vec<Desired>> {
        let want = Want::Exactly(Profile::manual(&self.profile).into());
        Ok(vec![Desired::new(Resource::Tuned, want, Impact::Node)])
    }
}
