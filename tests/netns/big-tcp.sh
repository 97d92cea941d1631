# BIG TCP sizes in one message and exactly back; never the IPv6 pair where the node forwards IPv6.
. "$(dirname "$0")/lib.sh"
uplink
snapshot "$work/before"
expect 0 nettune apply -p cilium-max --only big-tcp
ip -d link show up0 | grep -q 'gso_max_size 196608 .*gro_max_size 196608' || fail "$(ip -d link show up0)"
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
sysctl -q -w net.ipv6.conf.all.forwarding=1
snapshot "$work/before"
expect 0 nettune apply -p cilium-max --only big-tcp
says "IPv6 stays at 64 KiB"
ip -d link show up0 | grep -q 'gso_max_size 65536 ' || fail "$(ip -d link show up0)"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
