# What a naive program lets through: each tried with the program on, and most with it off to show that
# the packet is one that would arrive.
. "$(dirname "$0")/bpf-lib.sh"
router
# arrived COMMAND...: how many packets with the odd source reach the client while it runs.
peer nft -f - <<'RULES'
table inet seen {
    counter odd { }
    chain in {
        type filter hook prerouting priority -400;
        ip saddr 10.9.9.9 counter name odd
        ip saddr 10.77.0.2 udp dport 9 counter name odd
        ip6 saddr fe80::9 counter name odd
    }
}
RULES
arrived() {
    peer nft reset counter inet seen odd > /dev/null
    "$@"
    sleep 0.2
    peer nft list counter inet seen odd | sed -n 's/.*packets \([0-9]*\) .*/\1/p'
}
# Three UDP packets from pod1 with a source of its own choice.
spoof() {
    pod1 python3 - "$1" <<'PY'
import socket, struct, subprocess, re, sys, ipaddress
source = ipaddress.ip_address(sys.argv[1])
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
hop = "169.254.1.1" if source.version == 4 else "fe80::1"
found = subprocess.check_output(["ip", "neigh", "show", hop, "dev", "eth0"], text=True)
to = bytes(int(b, 16) for b in re.search(r"lladdr (\S+)", found).group(1).split(":"))
udp = struct.pack("!HHHH", 9, 9, 16, 0) + bytes(8)
if source.version == 4:
    ip = struct.pack("!BBHHHBBH4s4s", 0x45, 0, 36, 1, 0, 64, 17, 0, source.packed, bytes([10, 77, 0, 1]))
    words = struct.unpack("!10H", ip)
    total = sum(words)
    total = (total & 0xffff) + (total >> 16)
    ip = ip[:10] + struct.pack("!H", ~total & 0xffff) + ip[12:]
    frame = to + bytes(6) + b"\x08\x00" + ip + udp
else:
    dest = ipaddress.ip_address("fd77::1").packed
    frame = to + bytes(6) + b"\x86\xdd" + struct.pack("!IHBB", 6 << 28, 16, 17, 64) + source.packed + dest + udp
for _ in range(3):
    s.send(frame)
PY
}
profile
reaches peer ping -q -c 1 -W 1 fd77::2
reaches pod1 ping -q -c 1 -W 1 fd77::1
expect 0 nettune apply $full
[ "$(arrived spoof 10.9.9.9)" = 3 ] || fail "without rp_filter it is nobody's business"
[ "$(arrived spoof 10.77.0.2)" = 0 ] || fail "the node's own address came from a pod"
[ "$(arrived spoof fe80::9)" = 0 ] || fail "a link-local source was forwarded"
# rp_filter set later is a change of the configuration, applied by the next run.
sysctl -q -w net.ipv4.conf.pod1.rp_filter=1
expect 0 nettune apply $full
[ "$(arrived spoof 10.9.9.9)" = 0 ] || fail "a spoofed source passed rp_filter"
[ "$(count spoofed)" -ge 3 ] || fail "spoofed: $(count spoofed)"
pod1 ping -q -c 2 -i 0.05 -W 1 10.77.0.1 > /dev/null || fail "the true source"
sysctl -q -w net.ipv4.conf.pod1.rp_filter=0
expect 0 nettune rollback
# Half covered: with a rule that drops what conntrack has not seen, a flow still works.
expect 0 nettune apply $full
nft -f - <<'RULES'
table ip half {
    chain f {
        type filter hook forward priority 0;
        ct state invalid drop
    }
}
RULES
expect 0 nettune rollback --link up0
[ "$(tcx up0)" = 0 ] && [ "$(tcx pod1)" = 1 ] || fail "not half covered"
pod1 iperf3 -s -1 -D > /dev/null; sleep 0.3
peer timeout 10 iperf3 -c 10.244.0.1 -t 1 > "$work/tcp" 2>&1 || fail "half covered: $(cat "$work/tcp")"
[ "$(count not-covered)" -gt 100 ] || fail "not covered: $(count not-covered)"
expect 0 nettune rollback
# Rules that these packets would no longer meet: blocked, unless signed.
expect 5 nettune apply $full --strict
says "rules of chain ip half f would no longer be met"
[ "$(tcx up0)" = 0 ] || fail "attached although it is blocked"
profile 'bypass-netfilter = true'
expect 0 nettune apply $full --strict
expect 0 nettune rollback
nft delete table ip half
# What no signature waives.
blocked() {
    expect 5 nettune apply $full --strict
    says "$1"
    [ "$(tcx up0)" = 0 ] || fail "attached although: $1"
}
nft 'add chain inet seen2 x' 2> /dev/null || true
nft -f - <<'RULES'
table netdev early {
    chain in {
        type filter hook ingress device up0 priority 0;
        ip saddr 192.0.2.1 drop
    }
}
RULES
blocked "netdev early in"
nft delete table netdev early
ip rule add fwmark 7 table 100
blocked "fwmark"
ip rule del fwmark 7 table 100
ip -6 rule add uidrange 1000-2000 table 100
blocked "uidrange"
ip -6 rule del uidrange 1000-2000 table 100
if ip xfrm policy add dir fwd src 10.244.0.0/16 dst 10.77.0.0/24 action block 2> "$work/xfrm"; then
    blocked "IPsec policies"
    ip xfrm policy flush
else
    echo "no IPsec policies here: $(cat "$work/xfrm")" >&2
fi
# Somebody else's program: before us it keeps its packets, at the other hooks it is named.
tc qdisc add dev pod1 clsact
tc filter add dev pod1 ingress protocol ip pref 1 bpf da obj "$(dirname "$0")/../../bpf/bare_tc.bpf.o" sec classifier
blocked "at tc ingress of pod1"
tc qdisc del dev pod1 clsact
expect 0 nettune apply $full --strict
expect 0 nettune rollback
nothing_left
