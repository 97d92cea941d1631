//! What the chains of all tables hold.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use netlink_packet_core::NLM_F_DUMP;

use super::HOOKS;
use super::transport::{
    ACCEPT, ARP, GET_CHAIN, GET_RULE, GET_TABLE, NETDEV, UNSPEC, consistent, family_name, loaded,
    number, string,
};
use crate::linux::legacy;
use crate::linux::root::Root;
use crate::linux::socket::{Attrs, Message, attrs, c_string, nlas};
use crate::model::facts::Chain;

const DORMANT: u32 = 1;
/// Of one table.
const MOST_RULES: usize = 512;
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

/// All chains of all families, but those of dormant tables.
pub fn list_rules_summary(root: &Root) -> Result<Vec<Chain>> {
    if !loaded(root) {
        return Ok(Vec::new());
    }
    consistent(|conn| {
        let dump = |kind, what| conn.request(kind, NLM_F_DUMP, UNSPEC, vec![], what);
        let tables = dump(GET_TABLE, "list tables")?;
        summary(&tables, &dump(GET_CHAIN, "list chains")?, &dump(GET_RULE, "list rules")?)
    })
}

/// What the kernel answered for tables, chains and rules, as one list of chains.
pub(crate) fn summary(
    tables: &[Message],
    chain_messages: &[Message],
    rules: &[Message],
) -> Result<Vec<Chain>> {
    let mut dormant = BTreeSet::new();
    for message in tables {
        let table = attrs(&message.body);
        if number(&table, 2).is_some_and(|flags| flags & DORMANT != 0) {
            dormant.insert((family_name(message.head[0]), string(&table, 1)));
        }
    }
    let (mut chains, mut index) = (Vec::new(), BTreeMap::new());
    for message in chain_messages {
        let chain = attrs(&message.body);
        let (family, table, name) =
            (family_name(message.head[0]), string(&chain, 1), string(&chain, 3));
        index.insert((family.clone(), table.clone(), name.clone()), chains.len());
        let base = base(message.head[0], &chain);
        chains.push(Chain {
            kind: base.as_ref().map(|b| b.kind.clone()).unwrap_or_default(),
            hook: base.as_ref().map(|b| b.hook.clone()).unwrap_or_default(),
            priority: base.as_ref().map_or(0, |b| b.priority),
            drops: base.as_ref().is_some_and(|b| !b.accept),
            family,
            table,
            chain: name,
            detail: Some(Vec::new()),
            ..Chain::default()
        });
    }
    for message in rules {
        let rule = attrs(&message.body);
        let key = (family_name(message.head[0]), string(&rule, 1), string(&rule, 2));
        let position = index.get(&key).with_context(|| format!("list rules: no {key:?}"))?;
        let chain = &mut chains[*position];
        chain.rules += 1;
        let parts = expressions(&rule);
        chain.expressions.extend(parts.iter().map(|(name, data)| expression_kind(name, data)));
        if let Some(detail) = chain.detail.as_mut().filter(|d| d.len() < MOST_RULES) {
            detail.push(super::rule::read(message.head[0], &parts));
        }
    }
    chains.retain(|c| !dormant.contains(&(c.family.clone(), c.table.clone())));
    for chain in &mut chains {
        chain.expressions.sort_unstable();
        chain.expressions.dedup();
    }
    bound(&mut chains);
    Ok(chains)
}

/// A table of kube-proxy may have a hundred thousand rules: those are told by their kinds alone.
pub fn bound(chains: &mut [Chain]) {
    let mut rules: BTreeMap<(String, String), usize> = BTreeMap::new();
    for chain in chains.iter() {
        *rules.entry((chain.family.clone(), chain.table.clone())).or_default() +=
            chain.rules as usize;
    }
    rules.retain(|_, count| *count > MOST_RULES);
    for chain in chains {
        if rules.contains_key(&(chain.family.clone(), chain.table.clone())) {
            chain.detail = None;
        }
    }
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
        "match" | "target" => legacy::kind(name, &string(data, 1), extension(data)),
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
