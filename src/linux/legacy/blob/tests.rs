//! On what a 6.18 gave for rules of iptables-legacy 1.8.9: the structure of a table, then its entries.

use proptest::prelude::*;

use super::*;

const FILTER: &str = include_str!("ip-filter.hex");
const RAW: &str = include_str!("ip-raw.hex");
const NAT6: &str = include_str!("ip6-nat.hex");

fn recorded(text: &str) -> (Vec<u8>, Vec<u8>) {
    let bytes = |part: &str| -> Vec<u8> {
        let digits: String = part.split_whitespace().collect();
        let pair = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
        (0..digits.len()).step_by(2).map(pair).collect()
    };
    let (info, entries) = text.split_once("\n\n").unwrap();
    (bytes(info), bytes(entries))
}

/// A line a chain, a line a rule.
fn text(chains: &[Chain]) -> String {
    let mut text = String::new();
    for c in chains {
        let drops = if c.drops { " drops" } else { "" };
        text += &format!(
            "{} {} {} {} {} {}{drops}\n",
            c.family, c.table, c.chain, c.kind, c.hook, c.priority
        );
        for r in c.detail.iter().flatten() {
            let mut line = format!("  {}", r.expressions.join(" + "));
            for (name, value) in [
                ("from", &r.source),
                ("to", &r.destination),
                ("in", &r.input),
                ("out", &r.output),
                ("=>", &r.to),
            ] {
                line += &value.as_ref().map(|v| format!(" {name} {v}")).unwrap_or_default();
            }
            text += &format!("{line}{}\n", if r.further { " ..." } else { "" });
        }
    }
    text
}

#[cfg(target_endian = "little")]
#[test]
fn what_the_kernel_gives() {
    let (info, entries) = recorded(FILTER);
    let chains = parse(Family::V4, "filter", &info, &entries).unwrap();
    assert_eq!(
        text(&chains),
        "\
ip filter (legacy) INPUT filter input 0
ip filter (legacy) FORWARD filter forward 0 drops
  xt match conntrack established,related + xt match comment + accept ...
  jump in lxc* out !eth9 => PODS ...
  goto from !10.0.0.0/9 to 10.0.0.1/32 => PODS
ip filter (legacy) OUTPUT filter output 0
ip filter (legacy) PODS   0
  xt match conntrack invalid + drop ...
  xt target REJECT from 10.0.0.0/8 ...
   in lo
"
    );
    assert_eq!(chains[1].rules, 3);
    let kinds = ["accept", "goto", "jump", "xt match comment", "xt match conntrack"];
    assert_eq!(chains[1].expressions, kinds);
    let (info, entries) = recorded(RAW);
    let raw = parse(Family::V4, "raw", &info, &entries).unwrap();
    assert_eq!(
        text(&raw),
        "\
ip raw (legacy) PREROUTING filter prerouting -300
  xt target NOTRACK from 10.78.0.0/24
ip raw (legacy) OUTPUT filter output -300
  xt target CT
"
    );
    let (info, entries) = recorded(NAT6);
    let nat = parse(Family::V6, "nat", &info, &entries).unwrap();
    assert_eq!(
        text(&nat),
        "\
ip6 nat (legacy) PREROUTING nat prerouting -100
ip6 nat (legacy) INPUT nat input 100
ip6 nat (legacy) OUTPUT nat output -100
  xt match tcp + xt target DNAT to fd00::1/128 ...
ip6 nat (legacy) POSTROUTING nat postrouting 100
  xt target MASQUERADE from fd78::/64 to !fd78::/64
"
    );
}

#[test]
fn what_is_cut_short_is_refused() {
    let (info, entries) = recorded(FILTER);
    for length in 1..entries.len() {
        assert!(parse(Family::V4, "filter", &info, &entries[..length]).is_err(), "{length}");
    }
    assert!(parse(Family::V6, "filter", &info, &entries).is_err());
    assert!(parse(Family::V4, "filter", &info[..80], &entries).is_err());
}

#[test]
fn a_network_by_its_mask() {
    let of = |address: [u8; 4], mask: [u8; 4]| network(&address, &mask);
    assert_eq!(of([10, 1, 2, 3], [255, 255, 0, 0]), Some(("10.1.0.0/16".into(), true)));
    assert_eq!(of([10, 1, 2, 3], [255, 128, 0, 0]), Some(("10.0.0.0/9".into(), true)));
    assert_eq!(of([10, 1, 2, 3], [255, 0, 0, 255]), Some(("10.0.0.0/8".into(), false)));
    assert_eq!(of([10, 1, 2, 3], [0, 0, 0, 255]), None);
}

proptest! {
    #[test]
    fn no_bytes_make_it_panic(info in proptest::collection::vec(any::<u8>(), 84), entries in proptest::collection::vec(any::<u8>(), 0..600)) {
        let _ = parse(Family::V4, "filter", &info, &entries);
        let _ = parse(Family::V6, "nat", &info, &entries);
    }

    #[test]
    fn no_changed_byte_makes_it_panic(changes in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..6), in_info: bool, which in 0..3usize) {
        let (text, family) = [(FILTER, Family::V4), (RAW, Family::V4), (NAT6, Family::V6)][which];
        let (mut info, mut entries) = recorded(text);
        let bytes = if in_info { &mut info } else { &mut entries };
        for (index, byte) in changes {
            let at = index.index(bytes.len());
            bytes[at] = byte;
        }
        let _ = parse(family, "filter", &info, &entries);
    }
}
