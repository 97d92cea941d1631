# A run that nobody confirms is taken back to what was before it, whatever becomes of who made it.
. "$(dirname "$0")/lib.sh"
uplink
chmod 700 "$work"
profile() { printf '[tcp.sysctl]\n"net.ipv4.tcp_syn_retries" = %s\n"net.ipv4.tcp_retries2" = %s\n' "$2" "$3" > "$work/$1.toml"; chmod 600 "$work/$1.toml"; }
profile a 4 11
profile b 5 12
now() { echo "$(sysctl -n net.ipv4.tcp_syn_retries) $(sysctl -n net.ipv4.tcp_retries2)"; }
is() { [ "$(now)" = "$1" ] || fail "$2: $(now) instead of $1"; }
# Waits until the values are as they should be; the watchdog has its own time.
becomes() { for _ in $(seq 60); do [ "$(now)" = "$1" ] && return; sleep 0.25; done; fail "$2: still $(now) instead of $1"; }
ended() { for _ in $(seq 40); do nettune status > "$work/out" 2>&1 || true; grep -q 'was taken back' "$work/out" && return; sleep 0.25; done; cat "$work/out" >&2; fail "$1: status does not say that it was taken back"; }

snapshot "$work/before"
first=$(now)
for bad in '--confirm 0' '--confirm 86401' '--confirm -1' '--confirm soon' '--probe icmp:10.77.0.1' \
    '--confirm 5 --probe udp:1.2.3.4' '--confirm 5 --probe tcp:gateway:22' '--confirm 5 --dry-run'; do
    # shellcheck disable=SC2086
    expect 2 nettune apply -p "$work/a.toml" $bad
done
expect 3 nettune confirm
says "nothing waits"

# Confirmed: it stays, and a second run is refused until then.
expect 0 nettune apply -p "$work/a.toml" --confirm 60
says "must still answer: icmp:10.77.0.1"
says "nettune confirm"
expect 0 nettune status
says "unless you say: nettune confirm"
expect 11 nettune apply -p "$work/b.toml"
says "waits for its confirmation"
expect 11 nettune rollback
expect 11 nettune apply -p "$work/b.toml" --confirm 5
expect 0 nettune confirm
says "stays"
expect 3 nettune confirm
expect 0 nettune verify
is "4 11" "confirmed"

# Not confirmed: back to what the first profile set, not to the baseline, and verified.
snapshot "$work/a"
expect 0 nettune apply -p "$work/b.toml" --confirm 1
is "5 12" "applied"
becomes "4 11" "nobody confirmed"
ended "nobody confirmed"
says "nobody confirmed it within 1 s"
expect 0 nettune verify
expect 3 nettune confirm
says "was taken back"
snapshot "$work/again"
same "$work/a" "$work/again"

# The command and what started it are killed at once; the watchdog is neither's.
setsid sh -c '"$1" --state-dir "$2" apply -p "$3" --confirm 2 > /dev/null 2>&1; sleep 30' \
    sh "$NETTUNE" "$state" "$work/b.toml" &
shell=$!
for _ in $(seq 40); do [ "$(now)" = "5 12" ] && break; sleep 0.1; done
kill -9 "-$shell"
becomes "4 11" "killed"
ended "killed"

# A rollback that nobody confirms: what was applied is applied again.
expect 0 nettune rollback --confirm 1
is "$first" "rolled back"
becomes "4 11" "the rollback was not confirmed"
ended "rollback"
expect 0 nettune verify

# The watchdog is killed: the next run takes it back before it does anything.
expect 0 nettune apply -p "$work/b.toml" --confirm 1
kill -9 "$(sed 's/.*"process":{"pid":\([0-9]*\),.*/\1/' /run/nettune/pending.json)"
sleep 1.5
is "5 12" "the watchdog is dead"
expect 0 nettune status
says "not confirmed in time"
expect 0 nettune rollback
says "was taken back first"
is "$first" "rolled back after all"
expect 3 nettune status
snapshot "$work/after"
same "$work/before" "$work/after"

# A probe that fails: an MTU that the uplink's path does not carry, proved against a peer that is
# reached by another.
ip link add side0 mtu 9000 type veth peer name side1 netns peer
ip -n peer link set side1 mtu 9000 up
ip link set side0 up
ip addr add 10.78.0.2/24 dev side0
ip -n peer addr add 10.78.0.1/24 dev side1
reaches ping -c 1 -W 2 -q 10.78.0.1
# No gateway, which mtu would ask by itself.
ip route replace default dev up0
snapshot "$work/before"
set -- -p cilium-max --only mtu --accept path,link-reset --set 'mtu.probe=["10.78.0.1"]' --set mtu.mtu=9000
expect 1 nettune apply "$@" --confirm 30 --probe icmp:10.77.0.1
says "icmp:10.77.0.1 answered with packets as large as its path takes before and does not now"
[ "$(cat /sys/class/net/up0/mtu)" = 1500 ] || fail "the MTU was left"
expect 3 nettune confirm
snapshot "$work/after"
same "$work/before" "$work/after"
# A probe that did not answer before decides nothing: the MTU goes when nobody confirms.
expect 0 nettune apply "$@" --confirm 1 --probe tcp:10.77.0.1:9 --probe icmp:10.77.0.99
says "did not answer before the change either"
[ "$(cat /sys/class/net/up0/mtu)" = 9000 ] || fail "the MTU was not set"
for _ in $(seq 60); do [ "$(cat /sys/class/net/up0/mtu)" = 1500 ] && break; sleep 0.25; done
ended "MTU"
ping -c 1 -W 2 -q 10.77.0.1 > /dev/null || fail "the connection is not back"
snapshot "$work/after"
same "$work/before" "$work/after"

# Nothing to change is nothing to confirm.
expect 0 nettune apply -p "$work/a.toml"
expect 0 nettune apply -p "$work/a.toml" --confirm 30
says "nothing to confirm"
expect 3 nettune confirm
# One of another boot is void.
expect 0 nettune apply -p "$work/b.toml" --confirm 30
sed -i 's/"boot":"[^"]*"/"boot":"another"/' /run/nettune/pending.json
expect 3 nettune confirm
expect 0 nettune rollback
