use proptest::prelude::*;

use super::*;

fn attached() -> impl Strategy<Value = Attached> {
    let word = || "[!-<>-~]{1,20}";
    let via = prop_oneof![Just(Via::Tcx), Just(Via::Clsact)];
    let way = prop_oneof![Just(Way::Native), Just(Way::Generic)];
    let xdp = (word(), way).prop_map(|(program, way)| Xdp { program, way }).boxed();
    let entries = ["10.0.0.0/8", "2001:db8::/32", "192.0.2.1/32", "tcp/23", "sctp/9"];
    let deny = proptest::sample::subsequence(entries.to_vec(), 0..=entries.len());
    let deny = deny.prop_map(|all| all.into_iter().map(|e| e.parse().unwrap()).collect());
    prop_oneof![
        (via, any::<bool>(), any::<u32>(), any::<u32>(), word(), word()).prop_map(
            |(via, to_pod, rp_filter, mtu, locals, tag)| Attached::Route {
                via,
                to_pod,
                rp_filter,
                mtu,
                locals,
                tag
            }
        ),
        (xdp.clone(), any::<u32>(), word(), word()).prop_map(|(xdp, rp_filter, locals, tag)| {
            Attached::Forward { xdp, rp_filter, locals, tag }
        }),
        (xdp.clone(), word(), word(), deny).prop_map(|(xdp, config, tag, deny)| Attached::Filter {
            xdp,
            config,
            tag,
            deny
        }),
        (word(), xdp).prop_map(|(path, xdp)| Attached::Object { path, xdp }),
    ]
}

proptest! {
    #[test]
    fn what_is_written_is_read(attached in attached()) {
        prop_assert_eq!(attached.to_string().parse(), Ok(attached));
    }

    #[test]
    fn what_lacks_a_word_is_refused(attached in attached(), at in any::<prop::sample::Index>()) {
        let text = attached.to_string();
        let (head, rest) = text.split_once('\n').unwrap_or((&text, ""));
        let mut words: Vec<&str> = head.split(' ').collect();
        words.remove(at.index(words.len()));
        let text = format!("{}\n{rest}", words.join(" "));
        prop_assert!(text.parse::<Attached>().is_err(), "{}", text);
    }
}
