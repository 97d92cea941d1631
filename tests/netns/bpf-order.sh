# Somebody else's programs at the same hook: ours is behind those that are there, and one that comes behind ours is said.
. "$(dirname "$0")/bpf-lib.sh"
router
tcx up0 > /dev/null 2>&1 || skip "this kernel has no tcx"
profile
order() { tcx up0 names; }
tcx_add up0 early
expect 0 nettune apply $full --strict
[ "$(order)" = "early nettune_route" ] || fail "in this order: $(order)"
tcx_add up0 late
[ "$(order)" = "early nettune_route late" ] || fail "in this order: $(order)"
expect 0 nettune check $full
says "late at tcx ingress of up0 would no longer see these packets"
says "sudo nettune rollback, then apply again"
expect 0 nettune rollback
expect 0 nettune apply $full --strict
[ "$(order)" = "early late nettune_route" ] || fail "in this order: $(order)"
expect 0 nettune check $full --strict
expect 0 nettune rollback
[ "$(order)" = "early late" ] || fail "in this order: $(order)"
