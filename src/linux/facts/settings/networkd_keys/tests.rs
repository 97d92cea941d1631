use super::*;
use proptest::prelude::*;

fn told(kind: Kind, text: &str) -> Vec<String> {
    let one = |s: &Set| {
        let key = s.key.as_ref().map(|k| format!(" {k}")).unwrap_or_default();
        format!("{} {}{key} = {}", s.line, s.resource, s.value.as_deref().unwrap_or("?"))
    };
    sets(&text::lines("f", text), kind).iter().map(one).collect()
}

#[test]
fn values_as_systemd_reads_them() {
    let text = "[Link]\nRxBufferSize=max\nRxCoalesceSec=50us\nTxCoalesceSec=1\n\
                UseAdaptiveRxCoalesce=yes\nLargeReceiveOffload=no\nMTUBytes=1400\nMTUBytes=9K\n\
                TxBufferSize=512\nTxBufferSize=\nGenericSegmentOffloadMaxBytes=64K\nTxFlowControl=no\n";
    assert_eq!(
        told(Kind::Link, text),
        [
            "2 ethtool:%/rings rx = ?",
            "3 ethtool:%/coalesce rx-usecs = 50",
            "4 ethtool:%/coalesce tx-usecs = 1000000",
            "5 ethtool:%/coalesce adaptive-rx = 1",
            "6 ethtool:%/features rx-lro = off",
            "8 mtu:% = 9216",
            "11 sizes:% gso = 65536",
            "12 ethtool:%/pause tx = 0",
        ]
    );
    assert_eq!(told(Kind::Network, text), ["8 mtu:% = 9216"]);
    assert!(told(Kind::Device, text).is_empty());
    assert!(told(Kind::Network, "[Link]\nMTUBytes=many\n").is_empty());
}

#[test]
fn a_qdisc_without_a_parent_is_at_the_root() {
    assert_eq!(told(Kind::Network, "[FairQueueing]\nFlowLimit=1\n"), ["1 qdisc:% = ?"]);
    assert_eq!(told(Kind::Network, "[CAKE]\nOverheadBytes=1\nParent=root\n"), ["3 qdisc:% = ?"]);
    assert!(told(Kind::Network, "[PFIFO]\nParent=1:1\n[QDisc]\nParent=clsact\n").is_empty());
    assert!(told(Kind::Link, "[FairQueueing]\nParent=root\n").is_empty());
}

proptest! {
    #[test]
    fn any_file_is_read(lines in proptest::collection::vec("(\\[(Link|Match|NetDev|CAKE|)\\]|(MTUBytes|RxCoalesceSec|Name|Parent|Kind|RxBufferSize|UseAdaptiveRxCoalesce)=[!*a-z0-9KMG\\[ ü]{0,20}|[ -~]{0,20})", 0..20)) {
        let lines = text::lines("f", &lines.join("\n"));
        for kind in [Kind::Link, Kind::Device, Kind::Network] {
            prop_assert!(sets(&lines, kind).iter().all(|s| s.line > 0));
        }
        let link = crate::model::facts::Link::default();
        super::super::match_section::Match::of(&lines).fit(&link);
    }
}
