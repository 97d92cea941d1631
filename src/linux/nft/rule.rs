//! Which packets a rule of nf_tables is for: the comparisons of its own addresses and links. What is
//! not understood narrows nothing.

use super::expressions::{expression_kind, extension};
use super::transport::{INET, IPV4, IPV6, number, string};
use crate::linux::socket::{Attrs, attrs, c_string};
use crate::linux::xt::{self, network};
use crate::model::facts::Rule;

/// What a register holds until the next expression that is no comparison of it.
#[derive(Clone, Copy)]
enum Loaded {
    Protocol,
    Header { offset: usize, length: usize },
    Input,
    Output,
    InputIndex,
    OutputIndex,
    State,
}

/// A comparison of what was loaded, with the mask that was laid over it.
struct Compared<'a> {
    equal: bool,
    mask: Option<&'a [u8]>,
    value: &'a [u8],
}

pub fn read(family: u8, expressions: &[(String, Attrs)]) -> Rule {
    let mut rule = Rule::default();
    let mut protocol = [IPV4, IPV6].contains(&family).then_some(family);
    let (mut loaded, mut mask) = (None, None);
    for (name, data) in expressions {
        let mut label = expression_kind(name, data);
        match name.as_str() {
            "meta" | "payload" | "ct" if !label.contains(" set") => {
                loaded = load(name, data).zip(number(data, 1));
                mask = None;
            }
            "bitwise" => {
                let held = loaded.filter(|(_, register)| {
                    let here = [number(data, 1), number(data, 2)];
                    here.iter().all(|r| *r == Some(*register))
                        && number(data, 6).unwrap_or(0) == 0
                        && value(data, 5).is_some_and(|xor| xor.iter().all(|b| *b == 0))
                });
                (loaded, mask) = (held, value(data, 4));
            }
            "cmp" => {
                let held = loaded.filter(|(_, register)| number(data, 1) == Some(*register));
                let compared = match (number(data, 2), value(data, 3)) {
                    (Some(operation @ 0..=1), Some(value)) => {
                        Some(Compared { equal: operation == 0, mask, value })
                    }
                    _ => None,
                };
                let understood = held
                    .zip(compared)
                    .is_some_and(|((what, _), c)| compare(&mut rule, &mut protocol, what, &c));
                rule.further |= !understood;
            }
            "immediate" => {
                let verdict = attrs(value_attr(data));
                rule.to = verdict.contains_key(&2).then(|| string(&verdict, 2)).or(rule.to);
                loaded = None;
            }
            "match" => {
                label = xt::label(name, &string(data, 1), extension(data));
                rule.further |= label != "xt match comment";
            }
            "counter" | "log" | "target" => {}
            // What is loaded from elsewhere is compared next: that is not understood either.
            _ => {
                (loaded, mask) = (None, None);
                let acts = ACTIONS.contains(&label.as_str()) || label.contains(" set");
                rule.further |= !acts;
            }
        }
        rule.expressions.push(label);
    }
    // A rule of a mixed table for one protocol alone.
    if let (INET, Some(protocol), None, None) = (family, protocol, &rule.source, &rule.destination)
    {
        rule.source = Some(if protocol == IPV4 { "0.0.0.0/0" } else { "::/0" }.to_string());
    }
    rule
}

/// They ask for nothing.
const ACTIONS: [&str; 7] = ["masq", "snat", "dnat", "redir", "reject", "notrack", "queue"];

fn value<'a>(data: &Attrs<'a>, kind: u16) -> Option<&'a [u8]> {
    attrs(data.get(&kind)?).get(&1).copied()
}

/// Of NFTA_IMMEDIATE_DATA, the nested verdict.
fn value_attr<'a>(data: &Attrs<'a>) -> &'a [u8] {
    let nested = data.get(&2).map(|nested| attrs(nested)).unwrap_or_default();
    nested.get(&2).copied().unwrap_or_default()
}

fn load(name: &str, data: &Attrs) -> Option<Loaded> {
    const NETWORK_HEADER: u32 = 1;
    match (name, number(data, 2)?) {
        ("payload", NETWORK_HEADER) => Some(Loaded::Header {
            offset: number(data, 3)? as usize,
            length: number(data, 4)? as usize,
        }),
        ("meta", 4) => Some(Loaded::InputIndex),
        ("meta", 5) => Some(Loaded::OutputIndex),
        ("meta", 6) => Some(Loaded::Input),
        ("meta", 7) => Some(Loaded::Output),
        ("meta", 15) => Some(Loaded::Protocol),
        ("ct", 0) => Some(Loaded::State),
        _ => None,
    }
}

/// Whether the comparison is told whole by the rule's fields.
fn compare(rule: &mut Rule, protocol: &mut Option<u8>, what: Loaded, c: &Compared) -> bool {
    let word = || Some(u32::from_ne_bytes(c.value.try_into().ok()?));
    match what {
        Loaded::Protocol => match c.value {
            [family] if c.equal && c.mask.is_none() && protocol.is_none() => {
                *protocol = Some(*family).filter(|f| [IPV4, IPV6].contains(f));
                protocol.is_some()
            }
            _ => false,
        },
        Loaded::State => {
            let mask = c.mask.and_then(|m| Some(u32::from_ne_bytes(m.try_into().ok()?)));
            let any_of = !c.equal && word() == Some(0);
            if let (Some(mask), true, Some(last)) =
                (mask, any_of, rule.expressions.iter_mut().rfind(|e| *e == "ct state"))
            {
                *last = xt::with_states("ct state", mask, 64);
            }
            false
        }
        Loaded::Input | Loaded::Output if c.mask.is_none() => {
            let field =
                if matches!(what, Loaded::Input) { &mut rule.input } else { &mut rule.output };
            let wild = if c.value.contains(&0) || c.value.len() >= 16 { "" } else { "*" };
            set(field, c.equal, format!("{}{wild}", c_string(c.value)))
        }
        Loaded::InputIndex | Loaded::OutputIndex if c.mask.is_none() => {
            let input = matches!(what, Loaded::InputIndex);
            let field = if input { &mut rule.input } else { &mut rule.output };
            word().is_some_and(|index| set(field, c.equal, format!("#{index}")))
        }
        Loaded::Header { offset, length } => {
            let Some(protocol) = *protocol else { return false };
            addresses(rule, protocol == IPV6, (offset, length), c)
        }
        _ => false,
    }
}

/// Source and destination in a part of the header: one of them, a prefix in whole bytes, or both in
/// one comparison.
fn addresses(rule: &mut Rule, v6: bool, (offset, length): (usize, usize), c: &Compared) -> bool {
    let (width, first) = if v6 { (16, 8) } else { (4, 12) };
    let (end, middle) = (offset.saturating_add(length), first + width);
    let inside = offset >= first && end <= middle + width;
    let fits = c.value.len() == length && c.mask.is_none_or(|m| m.len() == length);
    // "Not these two" says nothing about either alone.
    if !inside || !fits || (!c.equal && offset < middle && end > middle) {
        return false;
    }
    let mut told = true;
    for (field, start) in [(&mut rule.source, first), (&mut rule.destination, middle)] {
        let bytes = |of: &dyn Fn(usize) -> u8| -> Vec<u8> {
            let loaded = |at: usize| (offset..end).contains(&at);
            (start..start + width).map(|at| if loaded(at) { of(at - offset) } else { 0 }).collect()
        };
        let mask = bytes(&|i| c.mask.map_or(0xff, |m| m[i]));
        if mask.iter().all(|b| *b == 0) {
            continue;
        }
        told &= match network(&bytes(&|i| c.value[i]), &mask) {
            Some((text, exact)) if exact || c.equal => set(field, c.equal, text) && exact,
            _ => false,
        };
    }
    told
}

/// The first of two conditions stays: a packet meets both.
fn set(field: &mut Option<String>, equal: bool, text: String) -> bool {
    if field.is_some() {
        return false;
    }
    *field = Some(if equal { text } else { format!("!{text}") });
    true
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::linux::nft::expressions::expression;
    use crate::linux::nft::expressions::expressions;
    use crate::linux::nft::table::Match;
    use crate::linux::socket::{c_bytes, nla};

    fn rule(family: u8, list: &[u8]) -> Rule {
        super::read(family, &expressions(&Attrs::from_iter([(4, list)])))
    }

    fn load(kind: &str, key: u32) -> Vec<u8> {
        expression(kind, &[(1, &1_u32.to_be_bytes()), (2, &key.to_be_bytes())])
    }

    fn cmp(operation: u32, value: &[u8]) -> Vec<u8> {
        let (register, operation) = (1_u32.to_be_bytes(), operation.to_be_bytes());
        expression("cmp", &[(1, &register), (2, &operation), (3, &nla(1, value))])
    }

    fn header(offset: u32, length: u32) -> Vec<u8> {
        let numbers = [1, 1, offset, length].map(u32::to_be_bytes);
        let parts: Vec<(u16, &[u8])> =
            numbers.iter().enumerate().map(|(i, n)| (i as u16 + 1, &n[..])).collect();
        expression("payload", &parts)
    }

    #[test]
    fn networks_as_nft_compares_them() {
        let matched = |text: &str| {
            let words: Vec<&str> = text.split(' ').collect();
            rule(INET, &Match::parse(&words).unwrap().encode())
        };
        let found = matched("ip saddr 10.128.0.0/9 notrack");
        assert_eq!((found.source.as_deref(), found.further), (Some("10.128.0.0/9"), false));
        let found = matched("ip6 daddr fd00::/121 notrack");
        assert_eq!((found.source, found.destination.as_deref()), (None, Some("fd00::/121")));
        // A prefix of whole bytes is loaded alone; two addresses may be loaded at once.
        let short = [header(12, 3), cmp(0, &[10, 78, 0])].concat();
        assert_eq!(rule(IPV4, &short).source.as_deref(), Some("10.78.0.0/24"));
        let both = [header(12, 7), cmp(0, &[10, 0, 0, 1, 10, 2, 3])].concat();
        let found = rule(IPV4, &both);
        assert_eq!(found.source.as_deref(), Some("10.0.0.1/32"));
        assert_eq!(found.destination.as_deref(), Some("10.2.3.0/24"));
        assert!(!found.further);
    }

    #[test]
    fn what_is_not_understood_narrows_nothing() {
        let nothing = |family, list: Vec<u8>| {
            let found = rule(family, &list);
            assert_eq!((found.source, found.destination), (None, None));
            assert_eq!((found.input, found.output, found.further), (None, None, true));
        };
        let both = cmp(1, &[10, 0, 0, 1, 10, 2, 3, 0]);
        nothing(IPV4, [header(12, 8), both].concat());
        nothing(IPV4, [header(9, 1), cmp(0, &[6])].concat());
        nothing(INET, [header(12, 4), cmp(0, &[10, 0, 0, 1])].concat());
        // Less than, and a register that something else was put in.
        nothing(IPV4, [header(12, 4), cmp(2, &[10, 0, 0, 1])].concat());
        nothing(IPV4, [header(12, 4), expression("numgen", &[]), cmp(0, &[10, 0, 0, 1])].concat());
        nothing(IPV4, [header(12, 4), expression("lookup", &[(1, &c_bytes("s"))])].concat());
    }

    #[test]
    fn links_protocols_and_states() {
        let name = |text: &str| [text.as_bytes(), &vec![0; 16 - text.len()]].concat();
        let found = rule(INET, &[load("meta", 6), cmp(0, &name("eth0"))].concat());
        assert_eq!((found.input.as_deref(), found.further), (Some("eth0"), false));
        let found = rule(INET, &[load("meta", 7), cmp(1, b"lxc")].concat());
        assert_eq!(found.output.as_deref(), Some("!lxc*"));
        let found = rule(INET, &[load("meta", 4), cmp(0, &7_u32.to_ne_bytes())].concat());
        assert_eq!(found.input.as_deref(), Some("#7"));
        let found = rule(INET, &[load("meta", 15), cmp(0, &[IPV6])].concat());
        assert_eq!((found.source.as_deref(), found.further), (Some("::/0"), false));
        let mask = |bits: u32| {
            let (one, four) = (1_u32.to_be_bytes(), 4_u32.to_be_bytes());
            let (bits, zero) = (nla(1, &bits.to_ne_bytes()), nla(1, &[0; 4]));
            expression("bitwise", &[(1, &one), (2, &one), (3, &four), (4, &bits), (5, &zero)])
        };
        let found = rule(INET, &[load("ct", 0), mask(6), cmp(1, &[0; 4])].concat());
        assert_eq!(found.expressions[0], "ct state established,related");
        let found = rule(INET, &[load("ct", 0), mask(6), cmp(0, &[0; 4])].concat());
        assert_eq!(found.expressions[0], "ct state");
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(family in 0..11_u8, bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            let _ = rule(family, &bytes);
        }

        #[test]
        fn no_changed_byte_makes_it_panic(at: prop::sample::Index, byte: u8, more: prop::sample::Index) {
            let mut list = [header(12, 7), cmp(0, &[10, 0, 0, 1, 10, 2, 3]), load("meta", 6), cmp(1, b"lxc")].concat();
            let length = list.len();
            list[at.index(length)] = byte;
            list[more.index(length)] ^= byte;
            let _ = rule(IPV4, &list);
        }
    }
}
