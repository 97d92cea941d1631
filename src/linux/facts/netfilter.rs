//! The rules of the node: nf_tables and the legacy tables that are registered, in one list.

use crate::linux::legacy::blob::Family;
use crate::linux::root::{Root, is_absent};
use crate::linux::socket::errno;
use crate::linux::{legacy, nft};
use crate::model::facts::{Chain, Conntrack, Fact, Netfilter};

const LEGACY: [(Family, &str); 2] =
    [(Family::V4, "ip_tables_names"), (Family::V6, "ip6_tables_names")];

pub fn gather(root: &Root) -> Netfilter {
    let number = |path: &str| root.line(path).and_then(|t| t.parse().ok());
    let conntrack = number("proc/sys/net/netfilter/nf_conntrack_count")
        .zip(number("proc/sys/net/netfilter/nf_conntrack_max"))
        .map(|(count, max)| Conntrack { count, max });
    let (mut chains, (legacy, rows)) = (chains(root), legacy_tables(root));
    if let Fact::Known(chains) = &mut chains {
        chains.extend(rows);
    }
    Netfilter { chains, legacy, conntrack }
}

/// By its chains: KUBE-SERVICES of the iptables modes, table kube-proxy of the nftables mode.
pub fn kube_proxy(netfilter: &Netfilter) -> Fact<bool> {
    match &netfilter.chains {
        Fact::Known(chains) => {
            let theirs = |c: &Chain| c.table == "kube-proxy" || c.chain == "KUBE-SERVICES";
            Fact::Known(chains.iter().any(theirs))
        }
        Fact::Unknown { unknown } => Fact::unknown(unknown.clone()),
    }
}

/// Chains with their rules; those that only jumps lead to stand with an empty hook.
fn chains(root: &Root) -> Fact<Vec<Chain>> {
    match nft::list_rules_summary(root) {
        Ok(all) => Fact::Known(all),
        Err(e) if errno(&e) == Some(nix::libc::EPERM) => {
            Fact::unknown("nf_tables rules can be read by root only")
        }
        // No nf_tables in this kernel: no rules either.
        Err(e) if matches!(errno(&e), Some(nix::libc::EOPNOTSUPP | nix::libc::EPROTONOSUPPORT)) => {
            Fact::Known(Vec::new())
        }
        Err(e) => Fact::unknown(format!("{e:#}")),
    }
}

/// The registered tables and their chains. Asking for any other table would register it, so a name
/// that only the root shows, of another namespace or of a copy, is not asked for.
fn legacy_tables(root: &Root) -> (Fact<Vec<String>>, Vec<Chain>) {
    let (mut tables, mut rows) = (Vec::new(), Vec::new());
    for (family, file) in LEGACY {
        let path = format!("proc/thread-self/net/{file}");
        let listed = match root.read(&path) {
            Ok(text) => text,
            Err(e) if is_absent(&e) => continue,
            Err(e) => {
                return (Fact::unknown(format!("read {}: {e}", root.full(&path))), Vec::new());
            }
        };
        let here = Root::open("/".as_ref()).and_then(|own| Ok(own.read(&path)?));
        let here = here.unwrap_or_default();
        for table in listed.lines() {
            tables.push(format!("{} {table}", family.name()));
            if !here.lines().any(|own| own == table) {
                continue;
            }
            match legacy::read(family, table) {
                Ok(chains) => rows.extend(chains),
                Err(e) => return (Fact::unknown(format!("{e:#}")), Vec::new()),
            }
        }
    }
    (Fact::Known(tables), rows)
}
