//! Which packets a rule of nf_tables is for: the comparisons of its own addresses and links. What is
//! not understood narrows nothing.

use super::summary::{expression_kind, extension};
use super::transport::{INET, IPV4, IPV6, number, string};
use crate::linux::legacy::{self, network};
use crate::linux::socket::{Attrs, attrs, c_string};
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
                label = legacy::label(name, &string(data, 1), extension(data));
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
                *last = legacy::with_states("ct state", mask, 64);
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
