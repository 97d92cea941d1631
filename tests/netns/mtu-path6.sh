# IPv6: a peer that answers the large packet proves the path, and a smaller link two hops away does not.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer addr add fd77::1/64 dev peer0 nodad
ip -n peer link set peer0 mtu 9000
netns far
ip -n peer link add far1 mtu 9000 type veth peer name far0 netns far
ip -n far link set far0 mtu 9000
ip -n peer addr add fd88::1/64 dev far1 nodad
ip -n far addr add fd88::2/64 dev far0 nodad
ip -n peer link set far1 up
ip -n far link set far0 up
ip -n far route add fd77::/64 via fd88::1
ip netns exec peer sysctl -q -w net.ipv6.conf.all.forwarding=1
ip route add fd88::/64 via fd77::1
reaches ping -6 -c1 -W2 fd88::2
set -- -p cilium-max --only mtu --accept path --set 'mtu.probe=["fd77::1", "fd88::2"]'
snapshot "$work/before"
expect 0 nettune apply "$@"
[ "$(cat /sys/class/net/up0/mtu)" = 9000 ] || fail "mtu"
ip addr show dev up0 | grep -q fd77::2 || fail "the address went"
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

# The router answers "packet too big", which is no answer of the peer.
ip -n peer link set far1 mtu 1500
expect 7 nettune apply "$@"
says "fd88::2 does not get packets of 9000 bytes"
[ "$(cat /sys/class/net/up0/mtu)" = 1500 ] || fail "mtu was left raised"
expect 3 nettune verify
snapshot "$work/after"
same "$work/before" "$work/after"
# Nor is somebody else's answer.
expect 7 nettune apply -p cilium-max --only mtu --accept path --set 'mtu.probe=["fd77::99"]'
says "fd77::99"
