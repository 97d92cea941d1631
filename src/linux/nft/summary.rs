//! What the chains of all tables hold.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result};
use netlink_packet_core::NLM_F_DUMP;

use super::expressions::{base, expression_kind, expressions};
use super::transport::{
    GET_CHAIN, GET_RULE, GET_TABLE, UNSPEC, consistent, family_name, loaded, number, string,
};
use crate::linux::root::Root;
use crate::linux::socket::{Message, attrs};
use crate::linux::xt::{MOST_RULES, bound};
use crate::model::facts::Chain;

const DORMANT: u32 = 1;

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
