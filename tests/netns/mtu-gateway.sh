# A gateway that answers small packets must answer large ones; one that answers nobody is no proof.
. "$(dirname "$0")/lib.sh"
uplink
ip link add up1 mtu 9000 type veth peer name peer1 netns peer mtu 9000
ip addr add 10.78.0.2/24 dev up1
ip link set up1 up
ip -n peer addr add 10.78.0.1/24 dev peer1
ip -n peer link set peer1 up
other='mtu.probe=["10.78.0.1"]'
apply() { nettune apply -p cilium-max --only mtu --accept path --set "$1"; }
silent() {
    ip netns exec peer nft "add table inet silent; add chain inet silent in { type filter hook input priority 0; };
        add rule inet silent in ip daddr 10.77.0.1 drop"
}
mtu() { cat /sys/class/net/up0/mtu; }
snapshot "$work/before"

# The peer on another link proves nothing of this one: its gateway does.
expect 7 apply "$other"
says "10.77.0.1 does not get packets of 9000 bytes"
[ "$(mtu)" = 1500 ] || fail "mtu was left raised"
expect 7 apply 'mtu.probe=["gateway"]'
says "10.77.0.1 does not get packets of 9000 bytes"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

# Silent before, so silence afterwards says nothing; asked for by name it must speak.
silent
expect 0 apply "$other"
[ "$(mtu)" = 9000 ] || fail "mtu $(mtu)"
expect 0 nettune rollback
expect 7 apply 'mtu.probe=["gateway"]'
[ "$(mtu)" = 1500 ] || fail "mtu was left raised"
expect 0 nettune rollback
ip netns exec peer nft delete table inet silent

# IPv6, by the address of its link: the smaller far end is seen there as well.
ip route del default
router=$(ip -n peer -6 -o addr show dev peer0 scope link | awk '{ sub("/.*", "", $4); print $4 }')
ip -6 route add default via "$router" dev up0
expect 7 apply "$other"
says "$router%up0 does not get packets of 9000 bytes"
ip -n peer link set peer0 mtu 9000
expect 0 apply 'mtu.probe=["gateway"]'
[ "$(mtu)" = 9000 ] || fail "mtu $(mtu)"
expect 0 nettune rollback

# A route that says itself how large its packets may be is believed, and named.
ip -n peer link set peer0 mtu 1500
ip -6 route del default
ip route add default via 10.77.0.1 mtu 1500 advmss 1400
expect 0 nettune check -p cilium-max --only mtu --set "$other"
says "route default mtu 1500 advmss 1400 keeps what goes there small"
expect 0 apply "$other"
[ "$(mtu)" = 9000 ] || fail "mtu $(mtu)"
expect 0 nettune rollback
# No gateway at all.
ip route del default
ip route add default dev up0
expect 0 nettune check -p cilium-max --only mtu --set 'mtu.probe=["gateway"]'
says "up0 has no gateway to prove the path against"
