# XPS masks as this kernel prints them: set, kept, put back.
. "$(dirname "$0")/lib.sh"
sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
ip link set lo up
ip link add up0 numtxqueues 4 numrxqueues 4 type veth peer name w0 numtxqueues 4 numrxqueues 4
ethtool -L up0 rx 4 tx 4
ip link set up0 up; ip link set w0 up
ip addr add 10.77.0.2/24 dev up0
ip route add default via 10.77.0.1
sleep 0.1
{ cat /sys/class/net/up0/queues/tx-0/xps_cpus > "$work/mask" && cat "$work/mask" > /sys/class/net/up0/queues/tx-0/xps_cpus; } 2>/dev/null ||
    skip 'the files of a queue take real root'
snapshot "$work/before"
expect 0 nettune apply -p cilium-max --only steering
grep -q '[1-9a-f]' /sys/class/net/up0/queues/tx-0/xps_cpus || fail "no CPU for tx-0"
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
