# The drop list: what it drops, replacing it under load, somebody else's program, bad input.
. "$(dirname "$0")/bpf-lib.sh"
router
objects=$(cd "$(dirname "$0")/../../bpf" && pwd)
list() { printf '[xdp]\ndeny = [%s]\n' "$1" > "$work/xdp.toml"; }
own() { printf '[xdp]\nmode = "object"\nobject = "%s"\nprogram = "%s"\n' "$1" "$2" > "$work/xdp.toml"; }
xdp="-p $work/xdp.toml --accept link-reset,bypass"
mode() { ip -d link show up0 | grep -o 'xdp[a-z]*' | head -1; }
# Whether the client gets a TCP answer from the node.
answers() { peer timeout 1 python3 -c "
import socket
socket.create_connection(('$1', $2), 0.6)" 2> /dev/null; }
# On a busy machine an answer may take longer than that.
soon() { for try in 1 2 3 4 5; do answers "$@" && return; done; return 1; }
python3 -c "
import socket, threading
for port in (23, 8080):
    s = socket.create_server(('::', port), family=socket.AF_INET6, dualstack_ipv6=True)
    threading.Thread(target=lambda s=s: [s.accept() for _ in iter(int, 1)]).start()
" &
server=$!
trap 'kill $server 2> /dev/null' EXIT
for try in 1 2 3 4 5 6 7 8 9 10; do answers 10.77.0.2 23 && break; sleep 0.5; done
soon 10.77.0.2 23 && soon fd77::2 8080 || fail "the servers do not answer"
snapshot "$work/before"
list '"tcp/23", "198.51.100.0/24"'
expect 0 nettune apply $xdp
[ "$(mode)" = xdp ] || fail "not native: $(ip -d link show up0)"
answers 10.77.0.2 23 && fail "port 23 answers"
answers fd77::2 23 && fail "port 23 answers over IPv6"
soon 10.77.0.2 8080 || fail "port 8080 does not"
expect 0 nettune verify
expect 0 nettune status
says "XDP on up0"
# Replaced while a sender keeps knocking: nothing gets through in between.
python3 - > "$work/heard" <<'PY' &
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.bind(("10.77.0.2", 9999))
s.settimeout(0.2)
heard, until = 0, time.time() + 4
while time.time() < until:
    try:
        s.recv(64)
        heard += 1
    except TimeoutError:
        pass
print(heard)
PY
listener=$!
list '"udp/9999"'
expect 0 nettune apply $xdp
peer python3 -c "
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
until = time.time() + 2.5
while time.time() < until:
    s.sendto(b'knock', ('10.77.0.2', 9999))
" &
sender=$!
for n in 1 2 3 4 5 6; do
    list "\"udp/9999\", \"tcp/$n\""
    expect 0 nettune apply $xdp
done
wait $sender $listener
[ "$(cat "$work/heard")" = 0 ] || fail "$(cat "$work/heard") packets came through while the list was replaced"
nettune --json status | grep -qE '"dropped":[0-9]{4}' || fail "not dropped: $(nettune --json status)"
expect 0 nettune rollback
nothing_left
soon 10.77.0.2 23 || fail "still dropped"
snapshot "$work/after"
same "$work/before" "$work/after"
# The operator's own.
cp "$objects/xdp_pass.bpf.o" "$work/own.o"
own "$work/own.o" nettune_pass
expect 0 nettune apply $xdp
ip -d link show up0 | grep -q 'xdp' || fail "not attached"
expect 0 nettune verify
expect 0 nettune rollback
chmod 666 "$work/own.o"
expect 7 nettune apply $xdp
says "may be written by others than root"
chmod 644 "$work/own.o"
own "$work/own.o" nosuch
expect 7 nettune apply $xdp
says "no program nosuch in it, only"
echo "not an object" > "$work/own.o"
own "$work/own.o" x
expect 7 nettune apply $xdp
says "is it an object of BPF programs?"
cp "$objects/host_routing.bpf.o" "$work/own.o"
own "$work/own.o" nettune_route
expect 7 nettune apply $xdp
says "is not one of XDP"
# A register that was never set: no verifier takes it.
python3 - "$objects/xdp_pass.bpf.o" "$work/own.o" <<'PY'
import sys
code = bytes.fromhex("b700000002000000")
data = open(sys.argv[1], "rb").read()
assert data.count(code) >= 1
open(sys.argv[2], "wb").write(data.replace(code, bytes.fromhex("bf20000000000000")))
PY
own "$work/own.o" nettune_pass
expect 7 nettune apply $xdp
says "the verifier's last words"
says "R2 !read_ok"
nothing_left
# Somebody else's program is named and left alone.
bpftool prog load "$objects/bare_xdp.bpf.o" /sys/fs/bpf/theirs type xdp
bpftool net attach xdpdrv pinned /sys/fs/bpf/theirs dev up0
list '"tcp/23"'
expect 5 nettune apply $xdp --strict
says "XDP program bare_forward"
ip -d link show up0 | grep -q xdp || fail "theirs is gone"
bpftool net detach xdpdrv dev up0
rm /sys/fs/bpf/theirs
# A large MTU: our own program takes fragments, one of the operator's may not.
ip link set up0 mtu 9000
own "$work/own.o" nettune_pass
expect 5 nettune apply $xdp --strict
says "mtu 9000 is over the 3506"
list '"tcp/23"'
expect 0 nettune apply $xdp --strict
expect 0 nettune rollback
ip link set up0 mtu 1500
# No BPF file system, no capability.
umount /sys/fs/bpf
expect 5 nettune apply $xdp --strict
says "no BPF file system is mounted at /sys/fs/bpf"
mount -t bpf bpf /sys/fs/bpf
expect 0 setpriv --bounding-set=-sys_admin,-bpf,-perfmon,-net_admin "$NETTUNE" --state-dir "$state" check $xdp
says "can be asked by root only"
