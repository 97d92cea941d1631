# Sourced by the BPF scripts: a router between a client, behind an uplink, and two pods.
. "$(dirname "$0")/lib.sh"
[ -n "${signature:-}" ] && skip "loading BPF programs takes root"
mount -t bpf bpf /sys/fs/bpf || skip "no BPF file system may be mounted here"
for tool in python3 iperf3 bpftool; do command -v $tool > /dev/null || skip "$tool is not installed"; done

# router: this namespace; client behind up0 (10.77.0.1, fd77::1), pods behind pod1 and pod2.
router() {
    uplink
    ip -n peer addr add fd77::1/64 dev peer0 nodad
    ip -n peer route add 10.244.0.0/16 via 10.77.0.2
    ip -n peer -6 route add fd44::/64 via fd77::2
    ip -6 route add default via fd77::1
    sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
    sysctl -q -w net.ipv4.conf.all.rp_filter=0 net.ipv4.conf.default.rp_filter=0 net.ipv4.conf.up0.rp_filter=0
    for n in 1 2; do
        netns pod$n
        ip link add pod$n type veth peer name eth0 netns pod$n
        sysctl -q -w net.ipv4.conf.pod$n.rp_filter=0
        ip link set pod$n up
        ip addr add 169.254.1.1/32 dev pod$n 2> /dev/null || true
        ip -n pod$n link set lo up
        ip -n pod$n addr add 10.244.0.$n/32 dev eth0
        ip -n pod$n addr add fd44::$n/128 dev eth0 nodad
        ip -n pod$n link set eth0 up
        ip -n pod$n route add 169.254.1.1 dev eth0
        ip -n pod$n route add default via 169.254.1.1
        ip -n pod$n -6 route add default via fe80::1 dev eth0
        ip addr add fe80::1/64 dev pod$n nodad
        ip route add 10.244.0.$n dev pod$n
        ip -6 route add fd44::$n dev pod$n
    done
    sleep 0.2
    # Neighbours of the uplink, and of the pods once.
    for pod in 10.244.0.1 10.244.0.2 fd44::1 fd44::2; do reaches peer ping -q -c 1 -W 2 $pod; done
}

peer() { ip netns exec peer "$@"; }
pod1() { ip netns exec pod1 "$@"; }
pod2() { ip netns exec pod2 "$@"; }

# Forwarded by the kernel's stack, as it counts them itself.
forwarded() { awk '/^Ip:/ && $4 ~ /^[0-9]+$/ { print $7 }' /proc/net/snmp; }

full="-p $work/full.toml --accept bypass,link-reset"
profile() { printf '[host-routing]\nmode = "full"\n%s\n' "${1:-}" > "$work/full.toml"; chmod 644 "$work/full.toml"; }

count() { nettune --json status | python3 -c "
import json, sys
bpf = json.load(sys.stdin)['applied'].get('bpf') or {}
print(bpf.get('host_routing_packets', {}).get('$1', 0))"; }

# How many programs are at a link's tcx ingress, or their names in order: this bpftool does not know.
tcx() { python3 - "$@" <<'PY'
import ctypes, os, platform, socket, struct, sys
ids = (ctypes.c_uint32 * 64)()
attr = struct.pack("=IIIIQI", socket.if_nametoindex(sys.argv[1]), 46, 0, 0, ctypes.addressof(ids), 64)
buffer = ctypes.create_string_buffer(attr, 128)
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
def bpf(command, buffer):
    result = ctypes.CDLL(None, use_errno=True).syscall(number, command, buffer, 128)
    return result if result >= 0 else sys.exit(os.strerror(ctypes.get_errno()))
bpf(16, buffer)
count = struct.unpack_from("=I", buffer, 24)[0]
def name(id):
    info = ctypes.create_string_buffer(256)
    program = bpf(13, ctypes.create_string_buffer(struct.pack("=I", id), 128))
    bpf(15, ctypes.create_string_buffer(struct.pack("=IIQ", program, 256, ctypes.addressof(info)), 128))
    return info.raw[64:80].split(b"\0")[0].decode()
print(*map(name, ids[:count]) if sys.argv[2:] else [count])
PY
}

# A program of somebody else's at a link's tcx ingress, behind all that are there.
tcx_add() { python3 - "$1" "$2" <<'PY'
import ctypes, os, platform, socket, struct, sys
number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
def bpf(command, attr):
    buffer = ctypes.create_string_buffer(attr, 128)
    result = ctypes.CDLL(None, use_errno=True).syscall(number, command, buffer, 128)
    return result if result >= 0 else sys.exit(os.strerror(ctypes.get_errno()))
# r0 = TCX_NEXT; exit
code = ctypes.create_string_buffer(struct.pack("=BBhi", 0xb7, 0, 0, -1) + struct.pack("=BBhi", 0x95, 0, 0, 0))
licence = ctypes.create_string_buffer(b"GPL")
load = struct.pack("=IIQQIIQII16s", 3, 2, ctypes.addressof(code), ctypes.addressof(licence), 0, 0, 0, 0, 0, sys.argv[2].encode())
bpf(8, struct.pack("=IIII", socket.if_nametoindex(sys.argv[1]), bpf(5, load), 46, 1 << 4))
PY
}

# Detached, by the kernel's own account.
nothing_left() {
    [ ! -e /sys/fs/bpf/nettune ] || fail "pins are left: $(find /sys/fs/bpf/nettune)"
    for link in $(links); do [ "$(tcx "$link")" = 0 ] || fail "a program is left at $link"; done
    ip -d link | grep -q 'prog/xdp' && fail "XDP is left"
    tc filter show dev up0 ingress | grep -q nettune && fail "a filter is left"
    return 0
}
