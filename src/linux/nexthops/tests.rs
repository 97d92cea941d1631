use super::*;
use crate::linux::socket::attributes;

/// As the kernel answers: nhmsg (family, scope, protocol, flags), then attributes.
fn answer(parts: &[(u16, &[u8])]) -> Message {
    let body = [vec![0; 4], attributes(parts)].concat();
    Message { message_type: 104, head: [2, 0, 4, 0], body }
}

#[test]
fn a_group_goes_where_its_members_go() {
    let id = |n: u32| n.to_ne_bytes();
    let group = [&id(7)[..], &[0; 4], &id(8), &[0; 4], &id(9), &[0; 4], &id(99), &[0; 4]];
    let all = parse_nexthops(&[
        // Before its members, and with one that is gone.
        answer(&[(NHA_ID, &id(5)), (NHA_GROUP, &group.concat())]),
        answer(&[(NHA_ID, &id(7)), (NHA_OIF, &id(2)), (NHA_GATEWAY, &[10, 77, 0, 2])]),
        answer(&[(NHA_ID, &id(8)), (NHA_OIF, &id(3)), (NHA_GATEWAY, &[0xfd; 16])]),
        answer(&[(NHA_ID, &id(9)), (NHA_OIF, &id(4))]),
        // A blackhole.
        answer(&[(NHA_ID, &id(10)), (4, &[])]),
    ]);
    let v4 = Hop { index: 2, via: Some([10, 77, 0, 2].into()) };
    let v6 = Hop { index: 3, via: Some([0xfd; 16].into()) };
    let direct = Hop { index: 4, via: None };
    let want = [
        (5, vec![v4.clone(), v6.clone(), direct.clone()]),
        (7, vec![v4]),
        (8, vec![v6]),
        (9, vec![direct]),
    ];
    assert_eq!(all, Nexthops::from(want));
    let by = |id| {
        let mut route = RouteMessage::default();
        route.attributes = vec![RouteAttribute::NhId(id), RouteAttribute::Oif(6)];
        hops(&route, &all)
    };
    assert_eq!(by(5).len(), 3);
    // What the list says besides, where the object came after the list of objects.
    assert_eq!(by(77), [Hop { index: 6, via: None }]);
}

#[test]
fn an_ipv4_route_by_an_ipv6_gateway() {
    let gateway: std::net::Ipv6Addr = "fe80::1".parse().unwrap();
    let mut route = RouteMessage::default();
    route.attributes = vec![RouteAttribute::Oif(6), RouteAttribute::Via(RouteVia::Inet6(gateway))];
    let want = [Hop { index: 6, via: Some(gateway.into()) }];
    assert_eq!(hops(&route, &Nexthops::new()), want);
}
