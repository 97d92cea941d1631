# A full disk under the journal: nothing is written to the node at all.
. "$(dirname "$0")/lib.sh"
uplink
mkdir -p "$state"
mount -t tmpfs -o size=64k,mode=700 tmpfs "$state"
snapshot "$work/before"
dd if=/dev/zero of="$state/fill" bs=4k count=99 2>/dev/null || true
expect 1 nettune apply -p cilium-max --only tcp
says "No space left"
snapshot "$work/after"
same "$work/before" "$work/after"
rm "$state/fill"
expect 0 nettune apply -p cilium-max --only tcp
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
