# The script that is left beside the journal undoes everything without nettune.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
undo() { sh "$state/undo.sh" > "$work/undo" 2>&1; }
undone() { undo || { cat "$work/undo" >&2; fail "undo.sh: $?"; }; snapshot "$work/after"; same "$work/before" "$work/after"; }
snapshot "$work/before"
expect 0 nettune apply -p cilium-max --only tcp,mtu,notrack --accept path,bypass \
    --set 'mtu.probe=["10.77.0.1"]' --set 'notrack.cidrs=["10.244.0.0/16"]' $signature
undone
# nettune sees that everything is back at its baseline and lets go.
expect 4 nettune verify
expect 0 nettune rollback
expect 3 nettune verify

# Queues that come back with their channels have what they had, a route and the IPv6 MTU as well; and a
# link that took the old name is another one.
ip link del up0
ip link add up0 numtxqueues 4 numrxqueues 4 type veth peer name peer0 netns peer
ip addr add 10.77.0.2/24 dev up0
ip addr add fd77::2/64 dev up0 nodad
ip link set up0 up
ip -n peer addr add 10.77.0.1/24 dev peer0
ip -n peer link set peer0 mtu 9000 up
ip route add default via 10.77.0.1
ip -6 route add fd99::/64 via fd77::1 mtu 1400 metric 77 proto static
ip -6 route add fd98::/64 via fd77::1 mtu 1350 table 123
sysctl -q -w net.ipv6.conf.up0.mtu=1320
sleep 0.1
queue() { echo "$2" > "/sys/class/net/up0/queues/$1" 2> /dev/null || skip "RPS and XPS want real root"; }
queue rx-3/rps_cpus 1; queue rx-3/rps_flow_cnt 4096; queue tx-3/xps_cpus 1; queue tx-2/xps_rxqs 4
snapshot "$work/before"
printf '[nic]\nchannels = 2\n[steering]\n[mtu]\nmtu = 4000\nprobe = ["10.77.0.1"]\n[big-tcp]\n' > "$work/p.toml"
expect 0 nettune apply -p "$work/p.toml" --accept path,link-reset
[ "$(cat /sys/class/net/up0/mtu) $(ls /sys/class/net/up0/queues | wc -l)" = "4000 4" ] || fail "not applied"
undone
expect 0 nettune rollback
expect 0 nettune apply -p "$work/p.toml" --accept path,link-reset
# Whoever changed it since meant it.
echo 2 > /sys/class/net/up0/queues/tx-0/xps_cpus 2> /dev/null || echo 0 > /sys/class/net/up0/queues/tx-0/xps_cpus
undo && fail "nothing was said of a foreign value"
grep -q 'tx-0/xps_cpus is .*not ours' "$work/undo" || { cat "$work/undo" >&2; fail "not named"; }
FORCE=1 undo || { cat "$work/undo" >&2; fail "FORCE=1"; }
snapshot "$work/after"
same "$work/before" "$work/after"
expect 0 nettune rollback --force

expect 0 nettune apply -p "$work/p.toml" --only mtu --accept path,link-reset
ip link set up0 down; ip link set up0 name lan0; ip link set lan0 up
ip link add up0 type veth peer name other0
ip link set up0 mtu 1600
undo || { cat "$work/undo" >&2; fail "undo.sh after a rename"; }
[ "$(cat /sys/class/net/lan0/mtu) $(cat /sys/class/net/up0/mtu)" = "1500 1600" ] ||
    fail "lan0 $(cat /sys/class/net/lan0/mtu), up0 $(cat /sys/class/net/up0/mtu)"
ip link del lan0
undo || fail "undo.sh of a link that is gone"
grep -q 'up0 (number .*) is gone' "$work/undo" || { cat "$work/undo" >&2; fail "not said"; }
ip netns exec peer sh "$state/undo.sh" 2> "$work/undo" && fail "it ran in another namespace"
grep -q 'not the network namespace' "$work/undo" || { cat "$work/undo" >&2; fail "not said"; }
