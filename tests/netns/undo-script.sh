# The script that is left beside the journal undoes everything without nettune.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
snapshot "$work/before"
expect 0 nettune apply -p cilium-max --only tcp,mtu,notrack --accept path,bypass \
    --set 'mtu.probe=["10.77.0.1"]' --set 'notrack.cidrs=["10.244.0.0/16"]' $signature
sh "$state/undo.sh" || fail "undo.sh"
snapshot "$work/after"
same "$work/before" "$work/after"
# nettune sees that everything is back at its baseline and lets go.
expect 4 nettune verify
expect 0 nettune rollback
expect 3 nettune verify
