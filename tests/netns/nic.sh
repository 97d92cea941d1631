# Channels of a link with several queues: what new queues come up with is put back, a bad number is
# said, and what the driver does not have is named and loses nothing.
. "$(dirname "$0")/lib.sh"
sysctl -q -w net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0
ip link set lo up
ip link add v0 numrxqueues 4 numtxqueues 4 type veth peer name v1 numrxqueues 4 numtxqueues 4
ip link set v0 up
ip link set v1 up
ethtool -L v0 rx 4 tx 4 2> /dev/null || skip "this kernel's veth has no channels"
echo 2 > /sys/class/net/v0/queues/tx-3/xps_cpus 2> /dev/null || skip "XPS wants root of the machine"
echo 1 > /sys/class/net/v0/queues/rx-3/rps_cpus
echo 64 > /sys/class/net/v0/queues/rx-2/rps_flow_cnt
cat > "$work/nic.toml" <<'TOML'
links = ["v0"]
[nic]
channels = 2
offloads = { tso = false, rx-nothing = true }
TOML
snapshot "$work/before"
expect 0 nettune plan -p "$work/nic.toml"
says "LINK-RESET: the link or its queues stop for a moment"
expect 0 nettune apply -p "$work/nic.toml"
says "v0 has no rx-nothing that can be set"
ethtool -l v0 | sed -n '/Current/,$p' | grep -q '^RX:.*2' || fail "$(ethtool -l v0)"
ethtool -k v0 | grep -q 'tx-tcp-segmentation: off' || fail "$(ethtool -k v0)"
expect 0 nettune verify
expect 0 nettune apply -p "$work/nic.toml"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
[ "$(cat /sys/class/net/v0/queues/tx-3/xps_cpus)" = 2 ] || fail "XPS of the queue that was away"
# More than there are.
expect 0 nettune check -p "$work/nic.toml" --set nic.channels=64
says "at most 4"
expect 5 nettune apply -p "$work/nic.toml" --set nic.channels=64 --strict
snapshot "$work/after"
same "$work/before" "$work/after"
