# More pod links than are attached at tcx: by filters of clsact, in a moment. Uplinks, and links where the order with
# others' programs counts, stay at tcx; what others have at clsact stays theirs.
. "$(dirname "$0")/bpf-lib.sh"
router
tcx up0 > /dev/null 2>&1 || skip "this kernel has no tcx"
netns many
seq 0 69 | sed 's/.*/link add q& type veth peer name e& netns many\nlink set q& up/' | ip -batch -
seq 0 69 | sed 's/.*/link set e& up/' | ip -n many -batch -
tc qdisc add dev q2 clsact
tcx_add q3 early
profile
filter() { tc filter show dev "$1" ingress | grep -c 'pref 50000 .*nettune_route' || true; }
filters() { for link in $(links); do filter "$link"; done | awk '{ sum += $1 } END { print sum }'; }
gone() {
    [ ! -e /sys/fs/bpf/nettune ] || fail "pins are left: $(find /sys/fs/bpf/nettune)"
    [ "$(filters) $(tcx up0) $(tcx q3 names)" = "0 0 early" ] || fail "left: $(filters) filters, $(tcx up0) at up0, $(tcx q3 names) at q3"
}
snapshot "$work/before"

expect 0 nettune apply $full --strict
says "71 of them by a filter of clsact"
[ "$(tcx up0) $(filter up0)" = "1 0" ] || fail "the uplink is not at tcx"
[ "$(tcx pod1) $(filter pod1)" = "0 1" ] || fail "a pod is at tcx"
[ "$(tcx q3 names)" = "early nettune_route" ] || fail "behind somebody else's program: $(tcx q3 names)"
[ "$(filters)" = 71 ] || fail "$(filters) filters"
before=$(count fast)
peer ping -q -c 5 -i 0.1 10.244.0.1 > "$work/ping" || fail "no way to a pod: $(cat "$work/ping")"
pod1 ping -q -c 5 -i 0.1 10.77.0.1 > "$work/ping" || fail "no way out of a pod: $(cat "$work/ping")"
[ "$(count fast)" -ge $((before + 15)) ] || fail "nothing is fast: $before, $(count fast)"
expect 0 nettune verify

# Another configuration of what is attached, in place; with fewer pods it stays where it is.
sysctl -q -w net.ipv4.conf.pod1.rp_filter=2
expect 0 nettune apply $full
sysctl -q -w net.ipv4.conf.pod1.rp_filter=0
expect 0 nettune apply $full
[ "$(tcx pod1) $(filter pod1) $(filters)" = "0 1 71" ] || fail "attached anew: $(tcx pod1) $(filter pod1) $(filters)"

# Somebody takes one away, and puts a filter of theirs before another.
tc qdisc del dev q4 clsact
expect 4 nettune verify
says "bpf:q4/ingress is absent"
expect 0 nettune apply $full
[ "$(filter q4)" = 1 ] || fail "not set again"
tc filter add dev q5 ingress protocol ip pref 1 bpf da obj "$(dirname "$0")/../../bpf/bare_tc.bpf.o" sec classifier
expect 0 nettune rollback
gone
tc filter show dev q5 ingress | grep -q bare_tc || fail "somebody's filter is gone"
tc qdisc del dev q5 clsact
snapshot "$work/after"
same "$work/before" "$work/after"

# Somebody has taken a whole clsact away, and a run died that had just done so itself.
expect 0 nettune apply $full
tc qdisc del dev q0 clsact
expect 0 nettune rollback
gone
for delay in 0.02 0.04 0.06 0.08 0.1 0.15 0.2; do
    expect 0 nettune apply $full
    "$NETTUNE" --state-dir "$state" rollback > "$work/killed" 2>&1 & pid=$!
    sleep $delay
    kill -9 $pid 2> /dev/null || true
    wait $pid 2> /dev/null || true
    expect 0 nettune rollback
    gone
    ! grep 'BPF pins' "$work/err" || fail "something is left at a link"
done

# Pods that went meanwhile took theirs along.
expect 0 nettune apply $full
seq 6 69 | sed 's/.*/link del q&/' | ip -batch -
expect 0 nettune apply $full
[ "$(tcx pod1) $(filter pod1)" = "0 1" ] || fail "moved to tcx"
expect 0 nettune rollback
gone
