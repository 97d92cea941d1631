//! Chains and expressions as the kernel writes them, and their names.

use super::transport::{ACCEPT, ARP, NETDEV, number, string};
use crate::linux::socket::{Attrs, attributes, attrs, c_bytes, c_string, nla, nlas};
use crate::linux::xt::{self, HOOKS};

const VERDICTS: [&str; 5] = ["return", "goto", "jump", "break", "continue"];
const CT_KEYS: &str = "state direction status mark secmark expiration helper l3proto src dst \
                       protocol proto-src proto-dst label packets bytes avgpkt zone event";

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    pub hook: String,
    pub priority: i32,
    pub kind: String,
    pub accept: bool,
}

pub fn base(family: u8, chain: &Attrs) -> Option<Base> {
    let hook = attrs(chain.get(&4)?);
    let index = number(&hook, 1)? as usize;
    let names: &[&str] = match family {
        NETDEV => &["ingress", "egress"],
        ARP => &["input", "output", "forward"],
        _ => &HOOKS,
    };
    Some(Base {
        hook: names.get(index).map_or_else(|| format!("hook {index}"), |name| name.to_string()),
        priority: number(&hook, 2)? as i32,
        kind: string(chain, 7),
        accept: number(chain, 5).is_none_or(|policy| policy == ACCEPT),
    })
}

/// Name and data of the expressions of a rule.
pub fn expressions<'a>(rule: &Attrs<'a>) -> Vec<(String, Attrs<'a>)> {
    let elements = nlas(rule.get(&4).copied().unwrap_or_default());
    let parsed = elements.map(|(_, element)| {
        let element = attrs(element);
        (string(&element, 1), attrs(element.get(&2).copied().unwrap_or_default()))
    });
    parsed.collect()
}

pub fn expression_kind(name: &str, data: &Attrs) -> String {
    let verdict = || number(&attrs(attrs(data.get(&2)?).get(&2)?), 1);
    match name {
        "immediate" => match verdict() {
            None => name.to_owned(),
            Some(0) => "drop".to_owned(),
            Some(ACCEPT) => "accept".to_owned(),
            Some(code) => match VERDICTS.get(code.wrapping_add(5) as usize) {
                Some(known) => (*known).to_owned(),
                None => format!("verdict {code:#x}"),
            },
        },
        "lookup" if number(data, 3) == Some(0) => "vmap".to_owned(),
        "ct" => {
            let key = CT_KEYS.split(' ').nth(number(data, 2).unwrap_or(u32::MAX) as usize);
            let set = if data.contains_key(&4) { "set " } else { "" };
            format!("ct {set}{}", key.unwrap_or("other"))
        }
        "meta" if data.contains_key(&3) => "meta set".to_owned(),
        "payload" if data.contains_key(&5) => "payload set".to_owned(),
        "exthdr" if data.contains_key(&7) => "exthdr set".to_owned(),
        "objref" => match number(data, 1) {
            Some(3) => "ct helper",
            Some(7) => "ct timeout",
            Some(9) => "ct expectation",
            _ => "objref",
        }
        .to_owned(),
        "nat" => if number(data, 1) == Some(0) { "snat" } else { "dnat" }.to_owned(),
        "match" | "target" => xt::kind(name, &string(data, 1), extension(data)),
        name => name.to_owned(),
    }
}

/// Revision and data of an extension of iptables.
pub fn extension<'a>(data: &Attrs<'a>) -> (u32, &'a [u8]) {
    (number(data, 2).unwrap_or(0), data.get(&3).copied().unwrap_or_default())
}

/// The comment in userdata: type 0, length, string.
pub fn comment(mut data: &[u8]) -> Option<String> {
    while let [kind, len, rest @ ..] = data {
        let (value, next) = rest.split_at_checked(*len as usize)?;
        if *kind == 0 {
            return Some(c_string(value));
        }
        data = next;
    }
    None
}

pub fn expression(name: &str, parts: &[(u16, &[u8])]) -> Vec<u8> {
    nla(1, &attributes(&[(1, &c_bytes(name)), (2, &attributes(parts))]))
}
