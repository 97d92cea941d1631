# An image that takes no more writes is as it was, however much of it was written.
. "$(dirname "$0")/lib.sh"
mkdir "$work/image"
tree() { (cd "$work/image" && find . -printf '%p %y %m %s %T@ %l\n' | sort; find . -type f -exec sha256sum {} + | sort); }
image() { # SIZE
    umount "$work/image" 2> /dev/null || true
    mount -t tmpfs -o "size=$1" tmpfs "$work/image"
    cd "$work/image"
    mkdir -p etc/systemd/system usr/bin usr/lib/systemd usr/lib/modules/6.12.0 var/lib boot
    ln -s usr/lib lib
    echo ID=test > etc/os-release
    # Only its head is looked at.
    head -c 4096 "$NETTUNE" > usr/lib/systemd/systemd
    echo 'kernel/net/sched/sch_fq.ko:' > usr/lib/modules/6.12.0/modules.dep
    printf 'CONFIG_NET_SCH_FQ=m\n' > boot/config-6.12.0
    cd - > /dev/null
}
export SOURCE_DATE_EPOCH=1700000000
need=$(($(stat -c %s "$NETTUNE") + 200000))

image $((need * 2))
tree > "$work/before"
expect 0 nettune bake --root "$work/image" -p cilium-max
expect 0 nettune bake --root "$work/image" --check
expect 0 nettune bake --root "$work/image" --undo
tree > "$work/after"
same "$work/before" "$work/after"

# Full in the middle of the binary, and full after it.
for room in $((need / 2)) $((need - 190000)); do
    image "$room"
    tree > "$work/before"
    expect 1 nettune bake --root "$work/image" -p cilium-max
    says "No space left"
    says "what was written is taken out again"
    tree > "$work/after"
    same "$work/before" "$work/after"
    expect 3 nettune bake --root "$work/image" --check
done

image $((need * 2))
tree > "$work/before"
mount -o remount,bind,ro "$work/image"
expect 1 nettune bake --root "$work/image" -p cilium-max
says "Read-only file system"
tree > "$work/after"
same "$work/before" "$work/after"
# Killed in the middle: what it says it did can be undone.
mount -o remount,bind,rw "$work/image"
expect 0 nettune bake --root "$work/image" -p cilium-max
rm "$work/image/etc/udev/rules.d/90-nettune.rules" "$work/image/usr/bin/nettune"
expect 4 nettune bake --root "$work/image" --check
says "/usr/bin/nettune is gone"
expect 0 nettune bake --root "$work/image" --undo
tree > "$work/after"
same "$work/before" "$work/after"
umount "$work/image"
