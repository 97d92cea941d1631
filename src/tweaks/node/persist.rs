//! What brings a profile back at each boot: a row of its own, which `apply --persist` makes and no table
//! of a profile asks for. Its files are made in `crate::persist`.

use schemars::JsonSchema;
use serde::Deserialize;

use crate::model::{Context, Desired, Side, Tweak};
use crate::tweaks::entry::{Doc, Entry, More, lever};

pub const ENTRY: Entry = Entry {
    name: crate::persist::NAME,
    side: Side::Node,
    summary: "the profile at each boot: apply --persist",
    doc: Doc {
        what: "Keeps the resolved profile in /etc/nettune/boot, with two units of systemd (before and after \
               the network), a udev rule for links that come later and a drop-in of sysctls.",
        cost: "Each boot applies what was resolved then: a profile that is edited since is kept anew by \
               the next apply --persist.",
        needs: "systemd; the default --state-dir; not with --link",
        impact: "none",
        source: "systemd.unit(5), udev(7), sysctl.d(5)",
    },
    lever: lever::<Nothing>(),
    more: More::NONE,
};

#[derive(Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Nothing {}

impl Tweak for Nothing {
    fn desired(&self, _: &Context) -> anyhow::Result<Vec<Desired>> {
        Ok(Vec::new())
    }
}
