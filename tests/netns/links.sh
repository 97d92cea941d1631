# A renamed link is the same link; one that is gone is let go; a new one with the old name is new.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
set -- -p cilium-max --only tcp,mtu --accept path --set 'mtu.probe=["10.77.0.1"]' --set 'tcp.sysctl."net.ipv4.conf.up0.arp_ignore"=1'
expect 0 nettune apply "$@"
[ "$(sysctl -n net.ipv4.conf.up0.arp_ignore)" = 1 ] || fail "per-link sysctl"
ip link set up0 down
ip link set up0 name 'lan.7'
ip link set 'lan.7' up
expect 0 nettune verify
expect 0 nettune rollback
[ "$(cat '/sys/class/net/lan.7/mtu')" = 1500 ] || fail "mtu of the renamed link"
[ "$(sysctl -n net/ipv4/conf/lan.7/arp_ignore)" = 0 ] || fail "sysctl of the renamed link"
ip link set 'lan.7' down
ip link set 'lan.7' name up0
ip link set up0 up
ip route replace default via 10.77.0.1
expect 0 nettune apply "$@"
ip link del up0
ip link add up0 type veth peer name other0
expect 0 nettune verify
says "went with its link"
expect 0 nettune rollback
says "up0 is gone"
[ "$(cat /sys/class/net/up0/mtu)" = 1500 ] || fail "the new link was touched"
expect 3 nettune verify
# A name that is legal and hostile.
ip link add 'a;$(id)' type veth peer name b0
expect 0 nettune facts
says 'a;$(id)'
expect 0 nettune apply -p cilium-max --only tcp --set 'tcp.sysctl."net/ipv4/conf/a;$(id)/arp_ignore"=1'
[ "$(cat '/proc/sys/net/ipv4/conf/a;$(id)/arp_ignore')" = 1 ] || fail "hostile name"
sh -n "$state/undo.sh" || fail "undo.sh"
expect 0 nettune rollback
[ "$(cat '/proc/sys/net/ipv4/conf/a;$(id)/arp_ignore')" = 0 ] || fail "hostile name, back"
