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

# Of each size: an apply that ends with 1 has undone everything, and one that ends otherwise says what stands. With room
# again rollback, and without it the script, ends where it began.
ip -n peer link set peer0 mtu 9000
snapshot "$work/before"
sizes=
umount "$state"
for size in 4 8 12 16 20 24 28 32 36 40 48 64; do
    for way in script rollback; do
        rm -rf "$state" "$work/kept"
        mkdir -m 700 "$state"
        mount -t tmpfs -o size=${size}k,mode=700 tmpfs "$state"
        got=0
        nettune apply -p cilium-max --only tcp,mtu,big-tcp --set mtu.mtu=4000 --set 'mtu.probe=["10.77.0.1"]' \
            --accept link-reset,path > "$work/out" 2>&1 || got=$?
        sizes="$sizes $got"
        snapshot "$work/after"
        case $got in
            1) same "$work/before" "$work/after" ;;
            0 | 7) cmp -s "$work/before" "$work/after" && { cat "$work/out" >&3; fail "$size KiB: $got, and nothing stands"; } ;;
            *) cat "$work/out" >&3; fail "$size KiB: exit $got" ;;
        esac
        [ "$got" = 1 ] || says "tcp"
        [ "$way" = rollback ] || [ ! -e "$state/undo.sh" ] || sh "$state/undo.sh" || fail "$size KiB: undo.sh: $?"
        # A larger disk: in a user namespace this one cannot be made larger.
        cp -a "$state" "$work/kept"
        umount "$state"
        cp -a "$work/kept/." "$state/"
        got=0
        nettune rollback > "$work/out" 2>&1 || got=$?
        case $got in 0 | 3) ;; *) cat "$work/out" >&3; fail "$size KiB, $way: rollback: $got" ;; esac
        snapshot "$work/after"
        same "$work/before" "$work/after"
    done
done
case $sizes in *7*) ;; *) fail "no disk ended between the two stages:$sizes" ;; esac
