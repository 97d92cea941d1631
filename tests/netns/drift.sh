# What somebody else changed since is reported, never overwritten, and goes back only by force.
. "$(dirname "$0")/lib.sh"
uplink
snapshot "$work/before"
expect 0 nettune apply -p cilium-max --only tcp
sysctl -q -w net.ipv4.tcp_max_syn_backlog=12345
expect 4 nettune verify
says "net.ipv4.tcp_max_syn_backlog is 12345"
expect 4 nettune apply -p cilium-max --only tcp
[ "$(sysctl -n net.ipv4.tcp_max_syn_backlog)" = 12345 ] || fail "overwritten"
expect 4 nettune rollback
[ "$(sysctl -n net.ipv4.tcp_max_syn_backlog)" = 12345 ] || fail "overwritten by rollback"
expect 0 nettune rollback --force
snapshot "$work/after"
same "$work/before" "$work/after"
