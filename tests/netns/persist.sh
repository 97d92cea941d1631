# What makes a profile come back at boot: files of a root made here, written and taken away as any other value.
. "$(dirname "$0")/lib.sh"
uplink
root=$work/root
mkdir -p "$root/etc/systemd/system/multi-user.target.wants" "$root/etc/sysctl.d" "$root/etc/udev" \
    "$root/usr/local/bin" "$root/proc" "$root/sys" "$root/var/lib" "$root/run"
mount --rbind /proc "$root/proc"
mount --rbind /sys "$root/sys"
chmod 755 "$work" "$root"
cat > "$work/p.toml" << 'TOML'
[tcp.sysctl]
"net.core.somaxconn" = { at-least = 5000 }
"net.ipv4.tcp_syn_retries" = 5
[mtu]
mtu = 1400
probe = ["10.77.0.1"]
TOML
chmod 600 "$work/p.toml"
printf '# somebody\nnet.core.* = 1\n' > "$root/etc/sysctl.d/zzzz-other.conf"
nettune() { "$NETTUNE" --host "$root" "$@"; }
tree() { (cd "$root" && find etc usr -printf '%p %y %m %U:%G %l\n' -type f -exec sha256sum {} + | sort); }
tree > "$work/before"
snapshot "$work/node"

# Blocked, and nothing is done, where nothing would bring it back.
expect 5 nettune apply -p "$work/p.toml" --persist
says "systemd is not the init of this node"
mkdir -p "$root/run/systemd/system"
expect 5 nettune apply -p "$work/p.toml" --persist
says "this binary is not where the node's next boot would find it"
cp "$NETTUNE" "$root/usr/local/bin/nettune"
tree > "$work/before"
expect 2 nettune apply -p "$work/p.toml" --persist --link up0
expect 0 nettune apply -p "$work/p.toml" --persist --dry-run --accept path
says "persist /etc/nettune written"
tree > "$work/after"
same "$work/before" "$work/after"

expect 0 nettune apply -p "$work/p.toml" --persist --accept path
profile=$root/etc/nettune/boot/p.toml
[ "$(stat -c '%a %U' "$profile")" = "644 root" ] || fail "$(stat "$profile")"
grep -q 'accept = \["path"\]' "$profile" || fail "what was accepted is not kept: $(cat "$profile")"
dropin=$root/etc/sysctl.d/zzzz-other.conf.zzz-nettune.conf
grep -qx 'net.core.somaxconn = 5000' "$dropin" || fail "$(cat "$root"/etc/sysctl.d/*)"
grep -qx 'net.ipv4.tcp_syn_retries = 5' "$dropin" || fail "$(cat "$dropin")"
unit=$root/etc/systemd/system/nettune.service
grep -q '^ExecStart=/usr/local/bin/nettune --wait 20 apply -p /etc/nettune/boot/p.toml --boot late$' "$unit" || fail "$(cat "$unit")"
[ "$(readlink "$root/etc/systemd/system/multi-user.target.wants/nettune.service")" = ../nettune.service ] || fail "not enabled"
grep -q 'nettune-link@' "$root/etc/udev/rules.d/90-nettune.rules" || fail "no rule"
expect 0 nettune verify
expect 0 nettune status
says "persist"
tree > "$work/kept"
expect 0 nettune apply -p "$work/p.toml" --persist --accept path
tree > "$work/again"
same "$work/kept" "$work/again"

# What the units run. Early the link is not told by a route; a link without a device is none of ours.
expect 0 nettune apply -p "$profile" --boot early --uplink mac:02:00:00:00:00:09
expect 0 nettune apply -p "$profile" --boot late
expect 0 nettune verify
expect 0 nettune apply -p "$profile" --boot link --link up0
says "no device behind it"
expect 0 nettune apply -p "$profile" --boot link --link nosuch
expect 2 nettune apply -p "$profile" --boot late --persist

# Drift of a file is drift like any other.
cp "$unit" "$work/unit"
echo '# by hand' >> "$unit"
expect 4 nettune verify
says "nettune.service"
cp "$work/unit" "$unit"
expect 0 nettune verify

# Another profile applied without it, or a part rolled back: said.
expect 0 nettune rollback tcp
says "what comes back at each boot is as it was"
expect 0 nettune apply -p "$work/p.toml" --only tcp
says "apply --persist to make it follow"
# Alone, it goes alone; a folder that others use stays.
touch "$root/etc/nettune/mine"
expect 0 nettune rollback persist
[ -e "$root/etc/nettune/mine" ] || fail "somebody's file is gone"
[ ! -e "$unit" ] && [ ! -e "$dropin" ] || fail "files are left"
rm "$root/etc/nettune/mine"
rmdir "$root/etc/nettune"
tree > "$work/after"
same "$work/before" "$work/after"
[ "$(sysctl -n net.ipv4.tcp_syn_retries)" = 5 ] || fail "tcp went with it"

# And with everything.
expect 0 nettune apply -p "$work/p.toml" --persist --only tcp
! grep -q '^\[mtu\]' "$profile" || fail "more is kept than was chosen: $(cat "$profile")"
expect 0 nettune rollback
tree > "$work/after"
same "$work/before" "$work/after"
snapshot "$work/node2"
same "$work/node" "$work/node2"

# With --confirm it is written only once the run is confirmed.
expect 0 nettune apply -p "$work/p.toml" --persist --only tcp --confirm 60
[ ! -e "$unit" ] || fail "written before the confirmation"
expect 0 nettune confirm
says "comes back at every boot"
[ -e "$unit" ] || fail "not written by the confirmation"
expect 0 nettune verify
expect 0 nettune rollback
tree > "$work/after"
same "$work/before" "$work/after"
# What a power cut left, and D-Bus is to be asked about, is not for the run before the network.
line='{"schema":1,"type":"begin","run":"t 1","verb":"apply","profile":"p","version":"0.1.0","time":"2026-01-01T00:00:00.000000Z"'
change='{"resource":"unit:x.service/enabled","before":null,"after":"enabled","impact":"none","claims":{},"tweaks":["irq"]}'
echo "$line,\"boot\":\"another\",\"netns\":1,\"changes\":[$change],\"collateral\":[],\"links\":[]}" \
    >> "$root/var/lib/nettune/journal.jsonl"
cp "$root/var/lib/nettune/journal.jsonl" "$work/journal"
expect 0 nettune apply -p "$work/p.toml" --boot early --uplink mac:02:00:00:00:00:09
says "left to nettune.service"
cmp "$root/var/lib/nettune/journal.jsonl" "$work/journal" || fail "the early run wrote"
expect 0 nettune apply -p "$work/p.toml" --boot late
says "finished what an interrupted apply"
expect 0 nettune rollback

# undo.sh takes it away as well.
expect 0 nettune apply -p "$work/p.toml" --persist --only tcp
sed "s|'/etc/|'$root/etc/|g" "$root/var/lib/nettune/undo.sh" > "$work/undo.sh"
sh "$work/undo.sh" || fail "undo.sh"
tree > "$work/after"
same "$work/before" "$work/after"

# What TuneD sets as well is left to the boot unit: TuneD starts later and would take the drop-in's for the machine's own.
mount -t tmpfs tmpfs "$root/sys/fs/cgroup"
mkdir -p "$root/sys/fs/cgroup/system.slice/tuned.service" "$root/etc/tuned/x"
echo $$ > "$root/sys/fs/cgroup/system.slice/tuned.service/cgroup.procs"
echo x > "$root/etc/tuned/active_profile"
printf '[sysctl]\nnet.core.somaxconn=4000\nnet.ipv4.tcp_syn_retries=9\n' > "$root/etc/tuned/x/tuned.conf"
expect 0 nettune apply -p "$work/p.toml" --persist --only tcp
[ "$(grep -v '^#' "$root"/etc/sysctl.d/*zzz-nettune.conf)" = "net.core.somaxconn = 5000" ] ||
    fail "only what another file names: $(cat "$root"/etc/sysctl.d/*zzz-nettune.conf)"
expect 0 nettune rollback
