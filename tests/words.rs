//! A refusal carries the kernel's own words, whichever socket it came by.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "a test that cannot go on has failed"
)]

#[path = "support/here.rs"]
mod here;

use std::path::Path;
use std::process::Command;

use nettune::engine::{Host, Wrote};
use nettune::linux::Linux;
use nettune::model::State;

#[test]
fn a_refused_write_says_why() {
    here::in_namespace(&[("sysfs", "/sys"), ("tmpfs", "/run")], || {
        let made =
            Command::new("ip").args("link add name va type veth peer name vb".split(' ')).status();
        assert!(made.unwrap().success());
        let mut host = Linux::open(Path::new("/")).unwrap();
        for (resource, state, words) in [
            ("mtu:va", "70000", "mtu greater than device maximum"),
            (
                "ethtool:va/channels",
                "combined=0 rx=0 tx=1",
                "requested channel counts would result in no RX",
            ),
        ] {
            let said = match host.write(&resource.parse().unwrap(), &State::is(state)) {
                Ok(Wrote::KernelKeeps { why, .. }) => why,
                other => format!("{:#}", other.unwrap_err()),
            };
            assert!(said.contains(words), "{resource}: {said}");
        }
    });
}
