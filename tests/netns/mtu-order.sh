# A link that stands on another takes no more than that one has: up from below, down from above. What
# follows by itself (a bridge above the uplink) comes back by itself.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
ip route del default
ip link add link up0 name lan0 type macvlan mode bridge
ip link add link up0 name pod0 type macvlan mode bridge
ip link add vx0 type vxlan id 7 dev up0 remote 10.77.0.1 dstport 4789
ip addr add 10.77.0.3/24 dev lan0
ip link set lan0 up
ip link set pod0 mtu 1400
ip link set vx0 up
# The address of up0 would send the probe past lan0.
ip addr del 10.77.0.2/24 dev up0
ip route add default via 10.77.0.1 dev lan0
sleep 0.1
mtu() { cat "/sys/class/net/$1/mtu"; }
mtus() { for link in up0 lan0 pod0 vx0; do echo "$link $(mtu $link)"; done; }
snapshot "$work/before"
ip link set lan0 mtu 9000 2> /dev/null && fail "this kernel takes any order: the test shows nothing"
set -- -p cilium-max --only mtu --accept path --set 'mtu.probe=["10.77.0.1"]'
expect 0 nettune apply "$@"
[ "$(mtus | tr '\n' ' ')" = "up0 9000 lan0 9000 pod0 1400 vx0 1450 " ] || fail "$(mtus)"
expect 0 nettune verify
expect 0 nettune apply "$@"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

# Lowering is the other way round, in both directions.
expect 0 nettune apply "$@" --set mtu.mtu=1480
[ "$(mtu up0) $(mtu lan0)" = "1480 1480" ] || fail "$(mtus)"
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

# A bridge whose port the uplink is takes its MTU from it.
ip link del lan0; ip link del pod0; ip link del vx0
ip link add br0 type bridge
ip link set up0 master br0
ip addr add 10.77.0.2/24 dev br0
ip link set br0 up
sleep 0.1
printf 'links = ["up0"]\n[mtu]\nprobe = ["10.77.0.1"]\n' > "$work/p.toml"
expect 0 nettune apply -p "$work/p.toml" --accept path
[ "$(mtu up0) $(mtu br0)" = "9000 9000" ] || fail "up0 $(mtu up0), br0 $(mtu br0)"
expect 0 nettune rollback
[ "$(mtu up0) $(mtu br0)" = "1500 1500" ] || fail "up0 $(mtu up0), br0 $(mtu br0)"
# It is the bridge that follows still, not a number that was left in it.
ip link set up0 mtu 1600
[ "$(mtu br0)" = 1600 ] || fail "the bridge does not follow any more: $(mtu br0)"
