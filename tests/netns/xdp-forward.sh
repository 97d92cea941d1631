# Forwarding between two uplinks, in the driver; what is unusual passes to the stack.
. "$(dirname "$0")/bpf-lib.sh"
router
netns other
ip link add up1 type veth peer name other0 netns other
ip addr add 10.78.0.2/24 dev up1
ip addr add fd78::2/64 dev up1 nodad
sysctl -q -w net.ipv4.conf.up1.rp_filter=0
ip link set up1 up
ip -n other link set lo up
ip -n other addr add 10.78.0.1/24 dev other0
ip -n other addr add fd78::1/64 dev other0 nodad
ip -n other link set other0 up
ip -n other route add default via 10.78.0.2
ip -n other -6 route add default via fd78::2
ip -n peer route add 10.78.0.0/24 via 10.77.0.2
ip -n peer -6 route add fd78::/64 via fd77::2
# A veth takes redirected frames where its other end polls, and leaves checksums to whoever receives.
ip netns exec peer ethtool -K peer0 gro on tx off > /dev/null
ip netns exec other ethtool -K other0 gro on tx off > /dev/null
sleep 0.2
other() { ip netns exec other "$@"; }
reaches peer ping -q -c 1 -W 2 10.78.0.1
reaches peer ping -q -c 1 -W 2 fd78::1
snapshot "$work/before"
printf 'links = ["up0", "up1"]\n[xdp]\nmode = "forward"\n' > "$work/xdp.toml"
xdp="-p $work/xdp.toml --accept link-reset,bypass"
expect 0 nettune apply $xdp --strict
expect 0 nettune verify
ip -d link show up1 | grep -q 'xdp' || fail "not attached"
before=$(forwarded)
peer ping -q -c 20 -i 0.02 -W 1 10.78.0.1 > /dev/null || fail "ping"
peer ping -q -c 20 -i 0.02 -W 1 fd78::1 > /dev/null || fail "ping over IPv6"
other iperf3 -s -1 -D > /dev/null; sleep 0.3
peer timeout 15 iperf3 -c 10.78.0.1 -t 1 > "$work/tcp" 2>&1 || fail "TCP: $(cat "$work/tcp")"
[ $(($(forwarded) - before)) -lt 50 ] || fail "the stack forwarded $(($(forwarded) - before))"
nettune --json status | grep -qE '"xdp_packets":\{"fast":[0-9]{3}' || fail "$(nettune --json status)"
peer ping -c 1 -W 1 -t 1 10.78.0.1 > "$work/ttl" 2>&1 || true
grep -q 'From 10.77.0.2.*Time to live exceeded' "$work/ttl" || fail "$(cat "$work/ttl")"
peer ping -q -c 2 -i 0.05 -W 1 -s 4000 10.78.0.1 > /dev/null || fail "fragments"
# On one of the two alone nothing is redirected.
expect 0 nettune rollback --link up1
before=$(forwarded)
peer ping -q -c 5 -i 0.02 -W 1 10.78.0.1 > /dev/null || fail "half covered"
[ $(($(forwarded) - before)) -ge 10 ] || fail "not by the stack"
expect 0 nettune rollback
nothing_left
snapshot "$work/after"
same "$work/before" "$work/after"
