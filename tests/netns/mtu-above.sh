# What stands on a link can have no larger MTU than it: it comes back with it, and keeps it up.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
mtu() { cat "/sys/class/net/$1/mtu"; }
is() { [ "$(mtu "$1")" = "$2" ] || fail "$1 has $(mtu "$1"), not $2"; }
ip link set up0 mtu 9000
ip link add link up0 name mv0 type macvlan mode bridge
ip link set mv0 mtu 8900 up
ip addr add fd66::2/64 dev mv0 nodad
ip link add link mv0 name mv1 type macvlan mode bridge
ip link set mv1 mtu 8800 up
# Of the same MTU as what it stands on, and smaller than all that is asked for.
ip link add link up0 name mv2 type macvlan mode bridge
ip link add link up0 name mv3 type macvlan mode bridge
ip link set mv3 mtu 1400 up
# One kernel has VLANs, another ipvlans: each has its own way.
ip link add link up0 name v100 type vlan id 100 2> /dev/null && ip link set v100 mtu 9000 up
ip link add link up0 name iv0 type ipvlan 2> /dev/null && ip link set iv0 up
sleep 0.2
sysctl -q -w net.ipv6.conf.mv0.mtu=1300
ip -6 route add fd99::/64 via fd66::9 mtu 8000
snapshot "$work/before"
set -- -p cilium-max --only mtu --set 'mtu.probe=["10.77.0.1"]' --accept link-reset,path
expect 0 nettune plan "$@" --set mtu.mtu=4000
says "mv0"
expect 0 nettune apply "$@" --set mtu.mtu=4000
is up0 4000; is mv0 4000; is mv3 1400
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
# In two steps, and by the script.
expect 0 nettune apply "$@" --set mtu.mtu=5000
expect 0 nettune apply "$@" --set mtu.mtu=3000
sh "$state/undo.sh" || fail "undo.sh"
snapshot "$work/after"
same "$work/before" "$work/after"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

# Raised by us, and somebody gave a link above more of it: it would be clamped without a word.
for link in mv1 mv0 mv2 iv0 v100; do ip link del $link 2> /dev/null || true; done
ip link set up0 mtu 1500
expect 0 nettune apply "$@" --set mtu.mtu=9000
ip link set mv3 mtu 8000
expect 6 nettune rollback
says "mv3 stands on it and uses 8000, more than"
is up0 9000; is mv3 8000
