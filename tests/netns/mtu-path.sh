# A path that does not carry the size: the old MTU is back at once.
. "$(dirname "$0")/lib.sh"
uplink
snapshot "$work/before"
expect 7 nettune apply -p cilium-max --only tcp,mtu --accept path --set 'mtu.probe=["10.77.0.1"]'
says "does not get packets of 9000 bytes"
[ "$(cat /sys/class/net/up0/mtu)" = 1500 ] || fail "mtu was left raised"
[ "$(sysctl -n net.core.somaxconn)" -ge 4096 ] || fail "the rest was not applied"
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
expect 1 nettune apply -p cilium-max --only tcp,mtu --accept path --atomic --set 'mtu.probe=["10.77.0.1"]'
snapshot "$work/after"
same "$work/before" "$work/after"
# The node itself answers any size, and proves nothing.
expect 7 nettune apply -p cilium-max --only tcp,mtu --accept path --set 'mtu.probe=["10.77.0.2"]'
says "10.77.0.2 is this node itself"
[ "$(cat /sys/class/net/up0/mtu)" = 1500 ] || fail "mtu was left raised"
expect 0 nettune rollback
