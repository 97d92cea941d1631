# A change of MTU overwrites a link's IPv6 MTU and its routes' own; both are put back at once.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
sysctl -q -w net.ipv6.conf.up0.mtu=1400
ip -6 route add fd99::/64 dev up0 mtu 1300
snapshot "$work/before"
expect 0 nettune apply -p cilium-max --only mtu --accept path --set 'mtu.probe=["10.77.0.1"]'
[ "$(cat /sys/class/net/up0/mtu)" = 9000 ] || fail "mtu"
[ "$(sysctl -n net.ipv6.conf.up0.mtu)" = 1400 ] || fail "IPv6 MTU $(sysctl -n net.ipv6.conf.up0.mtu)"
ip -6 route show fd99::/64 | grep -q 'mtu 1300' || fail "route: $(ip -6 route show fd99::/64)"
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
# Below 1280 the link's IPv6 addresses would be gone for good: blocked, not done.
expect 0 nettune check -p cilium-max --only mtu --set mtu.mtu=1000 --set 'mtu.probe=["10.77.0.1"]'
says "loses its IPv6 addresses"
# A bridge's automatic MTU would be off for good.
ip link add br0 type bridge
ip link set br0 up
ip route del default
ip route add default dev br0
expect 0 nettune check -p cilium-max --only mtu --set 'mtu.probe=["10.77.0.1"]'
says "br0 is a bridge"
