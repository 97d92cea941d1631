# A link's MTU overwrites the mtu of its IPv6 routes: each goes back to where it was and no other is
# taken for it; what could not go back blocks the row before anything is written.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
ip link add up1 type veth peer name peer1 netns peer
ip addr add fd76::2/64 dev up1 nodad
ip link set up1 up
ip -n peer link set peer1 up
sleep 0.3
apply() { nettune apply -p cilium-max --only mtu --accept path --set 'mtu.probe=["10.77.0.1"]' --set "mtu.mtu=$1"; }
check() { nettune check -p cilium-max --only mtu --set 'mtu.probe=["10.77.0.1"]' --set "mtu.mtu=$1"; }
mtu() { cat /sys/class/net/up0/mtu; }
routes() { ip -6 route show table all | grep ' mtu '; ip -4 route show table all | grep ' mtu '; }
six() { ip -6 route add "$@"; }

via='via fd77::1 dev up0'
six fd90::/64 $via mtu 8000
six fd90::/64 $via mtu 7000 table 99
six fd90::/64 $via mtu 6000 metric 5
six fd90::/64 from fd78::/64 $via mtu 5000
six fd90::/64 from fd79::/64 $via mtu 4500
six fd91::/64 dev up0 mtu 8000
six fd91::/64 dev up1 mtu 1400 metric 77
six fd92::/64 $via mtu 8000 src fd77::2 pref high proto 99 advmss 7000 hoplimit 7
six local fd93::/64 dev up0 mtu 8000
six fd94::/64 $via mtu lock 8000
six fd95::/64 $via mtu 1400
six default $via mtu 1500
# Overwritten only where it is what IPv6 has on the link.
six fd96::/64 $via mtu 1350
sysctl -q -w net.ipv6.conf.up0.mtu=1350
ip nexthop add id 5 via fd77::1 dev up0
ip nexthop add id 6 via fd76::1 dev up1
ip nexthop add id 10 group 5/6
six fd97::/64 nhid 5 mtu 8000
six fd98::/64 nhid 10 mtu 7500
# Which the kernel leaves alone.
ip route add 10.90.0.0/24 via 10.77.0.1 mtu 8000
ip route add 10.91.0.0/24 via 10.77.0.1 mtu lock 8000

snapshot "$work/before"
routes > "$work/told"
for compat in 1 0; do
    sysctl -q -w net.ipv4.nexthop_compat_mode=$compat
    routes > "$work/told"
    expect 0 apply 4000
    [ "$(mtu)" = 4000 ] || fail "mtu $(mtu)"
    routes > "$work/now"
    same "$work/told" "$work/now"
    expect 0 nettune verify
    expect 0 nettune rollback
    [ "$(mtu)" = 1500 ] || fail "mtu $(mtu)"
    routes > "$work/now"
    same "$work/told" "$work/now"
done
sysctl -q -w net.ipv4.nexthop_compat_mode=1
snapshot "$work/after"
same "$work/before" "$work/after"

# What somebody does to it meanwhile stands; what is gone is no reason to hold anything.
expect 0 apply 4000
ip -6 route change fd91::/64 dev up0 mtu 3500
ip -6 route del fd90::/64 $via metric 5
ip -6 route del fd97::/64
six fd97::/64 $via mtu 2500
expect 0 nettune rollback
[ "$(mtu)" = 1500 ] || fail "mtu $(mtu)"
ip -6 route show fd91::/64 dev up0 | grep -q 'mtu 3500' || fail "$(ip -6 route show fd91::/64)"
ip -6 route show fd97::/64 | grep -q 'mtu 2500' || fail "$(ip -6 route show fd97::/64)"
expect 0 nettune rollback
says "nothing to put back"

# blocks WHY WHAT...: a route that could not be put back, and one like it that nothing overwrites.
blocks() {
    why=$1
    shift
    six fda0::/64 mtu 8000 "$@" 2> /dev/null || [ "${1#encap}" = "$1" ] || return 0
    expect 0 check 4000
    says "the mtu 8000 of route fda0::/64 table 254 metric 1024"
    says "$why"
    says "mtu lock 8000"
    routes > "$work/told"
    expect 0 apply 4000
    [ "$(mtu)" = 1500 ] || fail "mtu $(mtu) was written"
    routes > "$work/now"
    sed -i 's/expires [0-9]*sec//' "$work/told" "$work/now"
    same "$work/told" "$work/now"
    ip -6 route flush fda0::/64
    for free in 'lock 8000' 1450; do
        six fda0::/64 mtu $free "$@"
        routes | sed 's/expires [0-9]*sec//' > "$work/told"
        expect 0 apply 4000
        [ "$(mtu)" = 4000 ] || { cat "$work/out"; fail "mtu $(mtu) beside a route of mtu $free"; }
        expect 0 nettune rollback
        routes | sed 's/expires [0-9]*sec//' > "$work/now"
        same "$work/told" "$work/now"
        ip -6 route flush fda0::/64
    done
}
blocks "several next hops" nexthop via fd77::1 dev up0 nexthop via fd76::1 dev up1
blocks "it expires" $via expires 600
blocks "it encapsulates" encap seg6 mode encap segs fc00::1 $via
six fda0::/64 dev up1
twin() { ip -6 route append fda0::/64 dev up0 mtu "$1"; }
twin 8000
expect 0 check 4000
says "another route has the same destination and metric"
ip -6 route del fda0::/64 dev up0
twin 1450
expect 0 apply 4000
[ "$(mtu)" = 4000 ] || fail "mtu $(mtu)"
expect 0 nettune rollback
ip -6 route show fda0::/64 | grep -q 'dev up0 .*mtu 1450' || fail "$(ip -6 route show fda0::/64)"
