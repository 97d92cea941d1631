# How an uplink polls: threaded NAPI and deferred interrupts are set, kept and put back; two links at once,
# and one that comes later is left alone.
. "$(dirname "$0")/lib.sh"
uplink
ip link add up1 type veth peer name peer1 netns peer
ip link set up1 up
# Without GRO a veth has no NAPI.
ethtool -K up0 gro on; ethtool -K up1 gro on
folder=/sys/class/net/up0
[ -e $folder/threaded ] || skip "this kernel has no threaded NAPI"
echo 7 > /sys/class/net/up1/napi_defer_hard_irqs 2> /dev/null || skip "the files of a link take real root"
polling() { grep . /sys/class/net/up?/threaded /sys/class/net/up?/napi_defer_hard_irqs /sys/class/net/up?/gro_flush_timeout; }
cat > "$work/p.toml" <<'TOML'
links = ["up*"]
[steering]
xps = "off"
threaded-napi = true
napi-defer-hard-irqs = 2
gro-flush-timeout = 200000
busy-poll-us = 50
TOML
polling > "$work/polling"
snapshot "$work/before"
expect 0 nettune apply -p "$work/p.toml"
says "net.core.busy_poll and 1 more are the whole machine's"
for link in up0 up1; do
    values=$(cat /sys/class/net/$link/threaded /sys/class/net/$link/napi_defer_hard_irqs /sys/class/net/$link/gro_flush_timeout | tr '\n' ' ')
    [ "$values" = "1 2 200000 " ] || fail "$link: $values"
done
ip link add up2 type veth peer name peer2 netns peer
[ "$(cat /sys/class/net/up2/threaded)" = 0 ] || fail "a new link"
ip link del up2
expect 0 nettune verify
echo 0 > $folder/threaded
expect 4 nettune verify
says "class/net/up0/threaded is 0"
echo 1 > $folder/threaded
expect 0 nettune rollback
polling > "$work/polling-after"
same "$work/polling" "$work/polling-after"
snapshot "$work/after"
same "$work/before" "$work/after"
# A link without NAPI refuses its share, and nothing else is lost.
ethtool -K up1 gro off
ip link set up1 down; ip link set up1 up
snapshot "$work/before"
expect 0 nettune apply -p "$work/p.toml"
says "the link has nothing that it would be for"
[ "$(cat $folder/threaded /sys/class/net/up1/threaded /sys/class/net/up1/napi_defer_hard_irqs | tr '\n' ' ')" = "1 0 2 " ] ||
    fail "$(polling)"
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
# A value that the kernel does not take.
expect 78 nettune check -p "$work/p.toml" --set 'steering.napi-defer-hard-irqs=-1'
