# Somebody took a part of what we attached away: what is left is ours. It is said, goes with a rollback
# and is made whole by an apply.
. "$(dirname "$0")/bpf-lib.sh"
router
tcx up0 > /dev/null 2>&1 || skip "this kernel has no tcx"
pins=/sys/fs/bpf/nettune
ip link add up1 type veth peer name other0
ip link set up1 up
ip link set other0 up
snapshot "$work/before"
back() {
    expect 0 nettune rollback
    nothing_left
}
# spoil WORDS COMMAND...: after it verify says WORDS; rollback and apply both mend it.
spoil() {
    words=$1; shift
    for mend in rollback apply; do
        expect 0 nettune apply $full --strict
        "$@"
        expect 4 nettune verify
        says "$words"
        says "nettune apply sets it again"
        [ $mend = rollback ] || { expect 0 nettune apply $full --strict; expect 0 nettune verify; }
        back
    done
}
part() { rm "$pins/maps/$1"; }
notes() { rm "$pins"/*/note; }
no_maps() { rm -r "$pins/maps"; }
no_links() { rm "$pins"/*/link; }
nothing() { rm -r "$pins"; }
# The pins live on below it, where no path leads: its programs stay attached.
covered() { mount -t bpf bpf /sys/fs/bpf; }
elsewhere() {
    rm -f /sys/fs/bpf/other-*
    n=0
    for link in "$pins"/*/link; do
        n=$((n + 1))
        bpftool link pin pinned "$link" /sys/fs/bpf/other-$n
    done
    nothing
}

profile
spoil "program nettune_route without its maps, which are gone" no_maps
spoil "program nettune_route without its maps, which are gone" part links
spoil "program nettune_route without its maps, which are gone" part slots
spoil "program nettune_route without the note of what it was told" notes
spoil "bpf:up0/ingress is absent" no_links
spoil "bpf:up0/ingress is absent" nothing
spoil "program nettune_route whose pin is gone" elsewhere
rm -f /sys/fs/bpf/other-*
spoil "program nettune_route whose pin is gone" covered
umount /sys/fs/bpf; umount /sys/fs/bpf

printf 'links = ["up0", "up1"]\n[xdp]\nmode = "forward"\nattach = "generic"\nbypass-netfilter = true\n' > "$work/full.toml"
spoil "program nettune_forwar" no_maps
spoil "program nettune_forwar" part xdp_out
spoil "program nettune_forwar" covered
umount /sys/fs/bpf; umount /sys/fs/bpf
printf '[xdp]\ndeny = ["tcp/23"]\nattach = "generic"\n' > "$work/full.toml"
spoil "program nettune_filter" notes
spoil "program nettune_filter" covered
umount /sys/fs/bpf; umount /sys/fs/bpf

# Another program in the place of ours is somebody's, and stays unless it is forced away.
profile
expect 0 nettune apply $full --strict
python3 - "$pins/ingress-$(cat /sys/class/net/up0/ifindex)/link" <<'PY'
import ctypes, os, platform, struct, sys
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
def bpf(command, attr):
    buffer = ctypes.create_string_buffer(attr, 128)
    result = ctypes.CDLL(None, use_errno=True).syscall(number, command, buffer, 128)
    return result if result >= 0 else sys.exit(os.strerror(ctypes.get_errno()))
code = ctypes.create_string_buffer(struct.pack("=BBhi", 0xb7, 0, 0, -1) + struct.pack("=BBhi", 0x95, 0, 0, 0))
licence = ctypes.create_string_buffer(b"GPL")
program = bpf(5, struct.pack("=IIQQIIQII16s", 3, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, b"theirs"))
path = ctypes.create_string_buffer(sys.argv[1].encode())
link = bpf(7, struct.pack("=Q", ctypes.addressof(path)))
bpf(29, struct.pack("=IIII", link, program, 0, 0))
PY
expect 4 nettune verify
says "program theirs where nettune's was"
expect 4 nettune rollback
says "program theirs where nettune's was"
[ "$(tcx up0 names)" = theirs ] || fail "at up0: $(tcx up0 names)"
expect 0 nettune rollback --force
nothing_left
sleep 0.2
snapshot "$work/after"
same "$work/before" "$work/after"
