//! The table of notrack rules as canonical text. Attribute numbers here and below are those of
//! linux/netfilter/nf_tables.h.

use std::io::ErrorKind;
use std::net::IpAddr;

use anyhow::{Context, Result, bail, ensure};
use netlink_packet_core::{NLM_F_ACK, NLM_F_DUMP};

use crate::linux::root::Root;
use crate::linux::socket::{Attrs, attributes, attrs, c_bytes, io_error, nla};
use crate::linux::xt::HOOKS;
use crate::model::State;

use super::expressions::{Base, base, comment, expression, expression_kind, expressions};
use super::flow;
use super::transport::{
    ACCEPT, DELETE_TABLE, GET_CHAIN, GET_FLOWTABLE, GET_OBJECT, GET_RULE, GET_SET, GET_TABLE, INET,
    IPV4, IPV6, NEW_CHAIN, NEW_FLOWTABLE, NEW_RULE, NEW_TABLE, Nft, consistent, loaded, number,
    string,
};

/// NFT_NAME_MAXLEN with its end.
const MOST_NAME: usize = 255;
const MARK: &str = "nettune";

/// The table as canonical text: the same text that [`replace_table`] takes.
pub fn read_table(root: &Root, name: &str) -> Result<State> {
    if !loaded(root) {
        return Ok(State::Absent);
    }
    consistent(|conn| {
        let what = format!("read table {name}");
        let named = nla(1, &c_bytes(name));
        let table = match conn.request(GET_TABLE, NLM_F_ACK, INET, named.clone(), &what) {
            Err(err) if io_error(&err).is_some_and(|e| e.kind() == ErrorKind::NotFound) => {
                return Ok(State::Absent);
            }
            reply => reply?.pop().with_context(|| format!("{what}: no reply"))?,
        };
        let mut chains = conn.request(GET_CHAIN, NLM_F_DUMP, INET, vec![], &what)?;
        chains.retain(|chain| string(&attrs(&chain.body), 1) == name);
        let rules = conn.request(GET_RULE, NLM_F_DUMP, INET, named.clone(), &what)?;

        let table = attrs(&table.body);
        let ours = table.get(&6).and_then(|data| comment(data)).as_deref() == Some(MARK);
        if !ours {
            return Ok(State::Foreign { what: format!("a table inet {name}"), owner: None });
        }
        let mut text = String::new();
        if let Some(flags @ 1..) = number(&table, 2) {
            text += &format!("table <flags {flags:#x}>\n");
        }
        // The table's use count would tell too, but it also counts what is not committed yet.
        for message in conn.request(GET_FLOWTABLE, NLM_F_DUMP, INET, named.clone(), &what)? {
            let flowtable = attrs(&message.body);
            if string(&flowtable, 1) == name {
                text += &flow::text(&flowtable);
            }
        }
        for (kind, get) in [("set", GET_SET), ("object", GET_OBJECT)] {
            for other in conn.request(get, NLM_F_DUMP, INET, named.clone(), &what)? {
                text += &format!("{kind} {} <unknown>\n", string(&attrs(&other.body), 2));
            }
        }
        text.extend(chains.iter().map(|chain| chain_text(attrs(&chain.body))));
        text.extend(rules.iter().map(|rule| rule_text(&attrs(&rule.body))));
        Ok(State::Is(text))
    })
}

/// Puts the table of `state` in the place of inet table `name` in one transaction.
pub fn replace_table(root: &Root, name: &str, state: &State) -> Result<()> {
    let text = state.text();
    if text.is_none() && !loaded(root) {
        return Ok(());
    }
    let table = nla(1, &c_bytes(name));
    let mark = c_bytes(MARK);
    let marked = [&table[..], &nla(6, &[&[0, mark.len() as u8], &mark[..]].concat())].concat();
    // Deleting an absent table would fail the transaction, so it is made first.
    let mut batch = vec![
        (format!("create table {name}"), NEW_TABLE, table.clone()),
        (format!("delete table {name}"), DELETE_TABLE, table.clone()),
    ];
    if text.is_some() {
        batch.push((format!("create table {name}"), NEW_TABLE, marked));
    }
    for line in text.unwrap_or_default().lines() {
        let (message_type, body) = parse(line).with_context(|| format!("parse {line:?}"))?;
        batch.push((format!("create {line}"), message_type, [&table[..], &body].concat()));
    }
    Nft::open()?.commit(batch)
}

/// A message type and its attributes without the table's name.
pub(crate) fn parse(line: &str) -> Result<(u16, Vec<u8>)> {
    let words: Vec<_> = line.split(' ').collect();
    let fits = |word: &&str| word.len() <= MOST_NAME && !word.contains('\0');
    ensure!(words.iter().all(fits), "a name with NUL, or over {MOST_NAME} bytes");
    match words[..] {
        ["chain", name, "hook", hook, "priority", priority] => {
            let hook = HOOKS.iter().position(|known| *known == hook).context("unknown hook")?;
            let hook = attributes(&[
                (1, &(hook as u32).to_be_bytes()),
                (2, &priority.parse::<i32>()?.to_be_bytes()),
            ]);
            let (policy, kind) = (ACCEPT.to_be_bytes(), c_bytes("filter"));
            let chain = [(3, &c_bytes(name)[..]), (4, &hook), (5, &policy), (7, &kind)];
            Ok((NEW_CHAIN, attributes(&chain)))
        }
        ["flowtable", name, "hook", "ingress", "priority", priority] => {
            Ok((NEW_FLOWTABLE, flow::table(name, priority.parse()?)))
        }
        ["rule", chain, ref words @ ..] => {
            let expressions = match flow::parse(words) {
                Some(name) => flow::encode(name),
                None => Match::parse(words)?.encode(),
            };
            Ok((NEW_RULE, attributes(&[(2, &c_bytes(chain)), (4, &expressions)])))
        }
        _ => bail!("neither chain nor rule nor flowtable"),
    }
}

#[derive(Debug, Clone, Copy)]
pub struct Match {
    source: bool,
    address: IpAddr,
    prefix: u8,
}

impl Match {
    pub fn parse(words: &[&str]) -> Result<Self> {
        let [_, field, network, "notrack"] = words else { bail!("not a notrack rule") };
        let (address, prefix) = network.split_once('/').context("no prefix length")?;
        let (address, prefix) = (address.parse()?, prefix.parse()?);
        let matched = Match { source: *field == "saddr", address, prefix };
        let bytes = matched.bytes();
        ensure!(prefix as usize <= bytes.len() * 8, "prefix length out of range");
        let host_bits = bytes.iter().zip(matched.mask()).any(|(byte, mask)| byte & !mask != 0);
        ensure!(!host_bits, "host bits set");
        ensure!(matched.text() == words.join(" "), "canonical form is {:?}", matched.text());
        Ok(matched)
    }

    pub fn text(&self) -> String {
        let family = if self.address.is_ipv4() { "ip" } else { "ip6" };
        let field = if self.source { "saddr" } else { "daddr" };
        format!("{family} {field} {}/{} notrack", self.address, self.prefix)
    }

    pub fn bytes(&self) -> Vec<u8> {
        match self.address {
            IpAddr::V4(address) => address.octets().to_vec(),
            IpAddr::V6(address) => address.octets().to_vec(),
        }
    }

    pub fn mask(&self) -> Vec<u8> {
        let ones = |byte: usize| (self.prefix as usize).saturating_sub(byte * 8).min(8);
        (0..self.bytes().len()).map(|byte| !(0xff_u16 >> ones(byte)) as u8).collect()
    }

    pub fn encode(&self) -> Vec<u8> {
        let bytes = self.bytes();
        let (zero, one, len) = (0_u32.to_be_bytes(), 1_u32.to_be_bytes(), bytes.len() as u32);
        let (family, offset) = match (self.address.is_ipv4(), self.source) {
            (true, source) => (IPV4, if source { 12_u32 } else { 16 }),
            (false, source) => (IPV6, if source { 8 } else { 24 }),
        };
        let nfproto = 15_u32.to_be_bytes();
        let (len, offset) = (len.to_be_bytes(), offset.to_be_bytes());
        let equal = |value: &[u8]| expression("cmp", &[(1, &one), (2, &zero), (3, &nla(1, value))]);
        let mut list = expression("meta", &[(2, &nfproto), (1, &one)]);
        list.extend(equal(&[family]));
        list.extend(expression("payload", &[(1, &one), (2, &one), (3, &offset), (4, &len)]));
        if self.mask().iter().any(|byte| *byte != 0xff) {
            let (mask, xor) = (nla(1, &self.mask()), nla(1, &vec![0; bytes.len()]));
            let parts: [(u16, &[u8]); 5] = [(1, &one), (2, &one), (3, &len), (4, &mask), (5, &xor)];
            list.extend(expression("bitwise", &parts));
        }
        list.extend(equal(&bytes));
        list.extend(expression("notrack", &[]));
        list
    }

    /// None unless the rule has exactly the expressions that `encode` makes.
    pub fn decode(rule: &Attrs) -> Option<Self> {
        let mut found = expressions(rule);
        let (mut offset, mut address, mut ones) = (None, vec![], None);
        for (name, data) in &mut found {
            let value = |kind| Some(*attrs(data.get(&kind)?).get(&1)?);
            match name.as_str() {
                "payload" => offset = number(data, 3),
                "cmp" => address = value(3)?.to_vec(),
                "bitwise" => {
                    ones = Some(value(4)?.iter().map(|byte| byte.count_ones() as u8).sum());
                    // Kernels before 5.5 do not know the operation, later ones tell the default.
                    if number(data, 6) == Some(0) {
                        data.remove(&6);
                    }
                }
                _ => {}
            }
        }
        let prefix = ones.unwrap_or(address.len() as u8 * 8);
        let (source, address) = match <[u8; 4]>::try_from(&address[..]) {
            Ok(v4) => (offset == Some(12), IpAddr::from(v4)),
            Err(_) => (offset == Some(8), IpAddr::from(<[u8; 16]>::try_from(address).ok()?)),
        };
        let matched = Match { source, address, prefix };
        let list = matched.encode();
        (found == expressions(&Attrs::from_iter([(4, &list[..])]))).then_some(matched)
    }
}

pub(crate) fn chain_text(mut chain: Attrs) -> String {
    let (name, base) = (string(&chain, 3), base(INET, &chain));
    let hook = attrs(chain.get(&4).copied().unwrap_or_default());
    // Handle, use count and the flag of a base chain.
    chain.retain(|kind, value| ![2, 6].contains(kind) && (*kind, value) != (10, &[0, 0, 0, 1]));
    let plain = chain.keys().eq(&[1, 3, 4, 5, 7]) && hook.keys().eq(&[1, 2]);
    match base {
        Some(Base { hook, priority, kind, accept: true }) if plain && kind == "filter" => {
            format!("chain {name} hook {hook} priority {priority}\n")
        }
        base => format!("chain {name} <unknown {base:?}>\n"),
    }
}

pub(crate) fn rule_text(rule: &Attrs) -> String {
    let mut text = format!("rule {} ", string(rule, 2));
    let known = Match::decode(rule).map(|matched| matched.text()).or_else(|| flow::decode(rule));
    text += &known.unwrap_or_else(|| {
        let kinds = expressions(rule).into_iter().map(|(name, data)| expression_kind(&name, &data));
        format!("<unknown expr {}>", kinds.collect::<Vec<_>>().join(", "))
    });
    // Table, chain, handle, expressions, position of the rule and padding.
    for kind in rule.keys().filter(|kind| ![1, 2, 3, 4, 6, 8].contains(*kind)) {
        text += &format!(" <unknown attribute {kind}>");
    }
    text + "\n"
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn a_name_is_as_long_as_the_kernels() {
        let chain = |name: &str| parse(&format!("chain {name} hook input priority 0"));
        assert!(chain(&"x".repeat(255)).is_ok());
        for name in ["x".repeat(256), "x".repeat(1 << 17), "a\0b".into()] {
            let error = chain(&name).unwrap_err().to_string();
            assert_eq!(error, "a name with NUL, or over 255 bytes");
        }
    }
}
