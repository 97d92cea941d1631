# What somebody else has changed since is left alone by the script too, named (6), and FORCE=1 puts all of it back.
. "$(dirname "$0")/lib.sh"
uplink
ip link del up0
ip link add up0 numtxqueues 4 numrxqueues 4 type veth peer name peer0 netns peer
ip addr add 10.77.0.2/24 dev up0
ip addr add fd77::2/64 dev up0 nodad
ip link set up0 mtu 9000 up
ip -n peer addr add 10.77.0.1/24 dev peer0
ip -n peer link set peer0 mtu 9000 up
ip route add default via 10.77.0.1
ip link add link up0 name mv0 type macvlan mode bridge
ip link set mv0 mtu 8900 up
sysctl -q -w net.ipv6.conf.up0.mtu=8000
printf 'links = ["up0"]\n[nic]\nchannels = 2\noffloads = { tso = false }\n' > "$work/nic.toml"
printf 'links = ["up0"]\n[nic]\nchannels = 2\n[steering]\n' > "$work/queues.toml"
printf 'links = ["up0"]\n[mtu]\nmtu = 4000\nprobe = ["10.77.0.1"]\n' > "$work/mtu.toml"
undo() { sh "$state/undo.sh" > "$work/out" 2>&1; }
channels() { ethtool -l up0 | sed -n '/Current/,$s/^RX:[[:space:]]*//p'; }
feature() { ethtool -k up0 | sed -n "s/^[[:space:]]*$1: \([a-z]*\).*/\1/p"; }
size() { ip -d link show dev up0 | sed -n "s/.* $1 \([0-9]*\).*/\1/p"; }
is() { [ "$1" = "$2" ] || { cat "$work/out" >&2; fail "$3: $1, not $2"; }; }
snapshot "$work/before"

# leaves WHAT: by the script and then by rollback the same, with another exit; then all of it by force.
leaves() {
    snapshot "$work/foreign"
    expect 6 undo
    says "$1"
    "$2"
    # What the script has put back is nobody's any more; rollback leaves the rest, and names it.
    got=0
    nettune rollback > "$work/out" 2>&1 || got=$?
    [ "$got" = 4 ] || { cat "$work/out" >&2; fail "rollback after undo.sh: $got"; }
    "$2"
    expect 0 env FORCE=1 sh "$state/undo.sh"
    snapshot "$work/after"
    same "$work/before" "$work/after"
    expect 0 nettune rollback
}

expect 0 nettune apply -p "$work/nic.toml" --accept link-reset
ethtool -L up0 rx 3 tx 3
left() { is "$(channels)" 3 channels; is "$(feature tx-tcp-segmentation)" on tso; }
leaves "is 3, which is not ours" left

expect 0 nettune apply -p "$work/nic.toml" --accept link-reset
ethtool -K up0 tx-tcp-segmentation on tx-tcp6-segmentation off
left() { is "$(channels)" 4 channels; is "$(feature tx-tcp6-segmentation)" off tso6; }
ethtool -K up0 tx-tcp-segmentation on
if undo; then :; fi
left
expect 0 env FORCE=1 sh "$state/undo.sh"
snapshot "$work/after"; same "$work/before" "$work/after"
nettune rollback > "$work/out" 2>&1 || true

expect 0 nettune apply -p cilium-max --only big-tcp
ip link set up0 gso_max_size 60000
left() { is "$(size gso_max_size)" 60000 gso; }
leaves "gso_max_size of up0 is 60000, which is not ours" left

expect 0 nettune apply -p cilium-max --only notrack --accept bypass --set 'notrack.cidrs=["10.244.0.0/16"]' $signature
nft add rule inet nettune-notrack prerouting ip saddr 9.9.9.9 drop
left() { nft list ruleset | grep -q 9.9.9.9 || fail "the rule is gone"; }
leaves "holds what is not ours" left

expect 0 nettune apply -p "$work/mtu.toml" --accept link-reset,path
ip link set mv0 mtu 1400
sysctl -q -w net.ipv6.conf.up0.mtu=1350
undo || fail "undo.sh: $?"
is "$(cat /sys/class/net/mv0/mtu)" 1400 "mtu of mv0"
is "$(cat /sys/class/net/up0/mtu)" 9000 "mtu of up0"
is "$(sysctl -n net.ipv6.conf.up0.mtu)" 1350 "IPv6 MTU of up0"
says "which is not ours: it stays so"
nettune rollback > "$work/out" 2>&1 || true
ip link set mv0 mtu 8900
sysctl -q -w net.ipv6.conf.up0.mtu=8000
snapshot "$work/after"; same "$work/before" "$work/after"

echo 1 > /sys/class/net/up0/queues/tx-0/xps_cpus 2> /dev/null || exit 0
[ "$(nproc)" -gt 1 ] || exit 0
echo 0 > /sys/class/net/up0/queues/tx-0/xps_cpus
expect 0 nettune apply -p "$work/queues.toml" --accept link-reset
wrote=$(cat /sys/class/net/up0/queues/tx-0/xps_cpus)
for other in 1 2 3; do [ "$other" = "$wrote" ] || break; done
echo "$other" > /sys/class/net/up0/queues/tx-0/xps_cpus
expect 6 undo
is "$(cat /sys/class/net/up0/queues/tx-0/xps_cpus)" "$other" "XPS of somebody's"
