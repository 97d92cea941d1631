# The main job: apply, verify, apply again, roll back, and everything is as it was.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
set -- -p cilium-max --only tcp,mtu,notrack --accept path,bypass \
    --set 'mtu.probe=["10.77.0.1"]' --set 'notrack.cidrs=["10.244.0.0/16","fd00:10::/56"]'
# shellcheck disable=SC2086
set -- "$@" $signature
snapshot "$work/before"
expect 3 nettune verify
expect 0 nettune check "$@"
says "would change"
says "next: sudo nettune apply -p cilium-max"
expect 10 nettune check "$@" --exit-code
expect 0 nettune plan "$@" --as script
sh -n "$work/out" || fail "the script is no shell"
snapshot "$work/looked"
same "$work/before" "$work/looked"
expect 0 nettune apply "$@"
[ "$(cat /sys/class/net/up0/mtu)" = 9000 ] || fail "mtu"
[ "$(sysctl -n net.core.somaxconn)" -ge 4096 ] || fail "somaxconn"
nft list table inet nettune-notrack | grep -q 'ip saddr 10.244.0.0/16 notrack' || fail "notrack"
nft list table inet nettune-notrack | grep -q 'ip6 daddr fd00:10::/56 notrack' || fail "notrack v6"
expect 0 nettune verify
expect 0 nettune check "$@" --exit-code
expect 0 nettune status
says "profile cilium-max"
snapshot "$work/applied"
expect 0 nettune apply "$@"
snapshot "$work/again"
same "$work/applied" "$work/again"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
expect 3 nettune status
expect 0 nettune rollback
says "nothing to put back"
