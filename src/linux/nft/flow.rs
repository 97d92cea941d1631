//! A flowtable: flows that conntrack knows to be established go around the chains. Its links are no part
//! of the table's text: they come and go with pods, each a resource of its own.

use super::expressions::{expression, expressions};
use super::transport::{number, string};
use crate::linux::socket::{Attrs, attributes, attrs, c_bytes, nla};

/// NF_CT_STATE_BIT(IP_CT_ESTABLISHED) with its reply, which nft calls established.
const ESTABLISHED: u32 = 1 << 1;
const NOT_EQUAL: u32 = 1;

pub fn hook(priority: Option<i32>, link: Option<&str>) -> Vec<u8> {
    let mut hook = Vec::new();
    if let Some(priority) = priority {
        hook.extend(attributes(&[(1, &0_u32.to_be_bytes()), (2, &priority.to_be_bytes())]));
    }
    if let Some(link) = link {
        hook.extend(nla(3, &nla(1, &c_bytes(link))));
    }
    hook
}

/// Without links: the kernel takes that from 5.8.
pub fn table(name: &str, priority: i32) -> Vec<u8> {
    attributes(&[(2, &c_bytes(name)), (3, &hook(Some(priority), None))])
}

pub fn text(flowtable: &Attrs) -> String {
    let hook = attrs(flowtable.get(&3).copied().unwrap_or_default());
    let name = string(flowtable, 2);
    match (number(&hook, 1), number(&hook, 2), number(flowtable, 7).unwrap_or(0)) {
        (Some(0), Some(priority), 0) => {
            format!("flowtable {name} hook ingress priority {}\n", priority as i32)
        }
        (hook, _, flags) => format!("flowtable {name} <unknown hook {hook:?} flags {flags:#x}>\n"),
    }
}

/// "ct state established flow add @f"
pub fn parse<'a>(words: &[&'a str]) -> Option<&'a str> {
    match words {
        ["ct", "state", "established", "flow", "add", name] => name.strip_prefix('@'),
        _ => None,
    }
}

pub fn encode(name: &str) -> Vec<u8> {
    let (zero, one, four) = (0_u32.to_be_bytes(), 1_u32.to_be_bytes(), 4_u32.to_be_bytes());
    // Connection states are in the byte order of the machine.
    let (mask, nothing) = (nla(1, &ESTABLISHED.to_ne_bytes()), nla(1, &zero));
    let mut list = expression("ct", &[(2, &zero), (1, &one)]);
    let parts: [(u16, &[u8]); 5] = [(1, &one), (2, &one), (3, &four), (4, &mask), (5, &nothing)];
    list.extend(expression("bitwise", &parts));
    list.extend(expression("cmp", &[(1, &one), (2, &NOT_EQUAL.to_be_bytes()), (3, &nothing)]));
    list.extend(expression("flow_offload", &[(1, &c_bytes(name))]));
    list
}

/// None unless the rule has exactly the expressions that `encode` makes.
pub fn decode(rule: &Attrs) -> Option<String> {
    let mut found = expressions(rule);
    let (_, data) = found.iter().find(|(name, _)| name == "flow_offload")?;
    let name = string(data, 1);
    for (_, data) in found.iter_mut().filter(|(name, _)| name == "bitwise") {
        if number(data, 6) == Some(0) {
            data.remove(&6);
        }
    }
    let ours = encode(&name);
    (found == expressions(&Attrs::from_iter([(4, &ours[..])])))
        .then(|| format!("ct state established flow add @{name}"))
}
