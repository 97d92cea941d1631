# What somebody else changed since is reported, never overwritten, and goes back only by force.
. "$(dirname "$0")/lib.sh"
uplink
backlog=net.ipv4.tcp_max_syn_backlog
is() { [ "$(sysctl -n $backlog)" = "$1" ] || fail "$backlog is $(sysctl -n $backlog), not $1"; }
snapshot "$work/before"
expect 0 nettune apply -p cilium-max --only tcp
sysctl -q -w $backlog=77
expect 4 nettune verify
says "$backlog is 77"
expect 4 nettune apply -p cilium-max --only tcp
is 77
expect 4 nettune rollback
is 77
expect 0 nettune rollback --force
snapshot "$work/after"
same "$work/before" "$work/after"

# Somebody went beyond a bound: it holds, and the value is theirs, as bpftune does it under load.
expect 0 nettune apply -p cilium-max --only tcp
sysctl -q -w $backlog=12345
expect 0 nettune verify
expect 0 nettune apply -p cilium-max --only tcp
is 12345
expect 6 nettune rollback
says "somebody went beyond what nettune wrote"
is 12345
expect 6 nettune rollback
expect 0 nettune rollback --force
snapshot "$work/after"
same "$work/before" "$work/after"
