# Full host routing: applied, seen, rolled back, with real traffic; what is unusual goes up the stack.
. "$(dirname "$0")/bpf-lib.sh"
router
profile
snapshot "$work/before"
expect 0 nettune check $full
says "host-routing"
expect 0 nettune apply $full
expect 0 nettune verify
for link in up0 pod1 pod2; do [ "$(tcx $link)" = 1 ] || fail "nothing at $link"; done
# TCP, UDP, ICMP, both ways, both families, and the stack no longer forwards them.
before=$(forwarded)
peer ping -q -c 5 -i 0.05 -W 1 10.244.0.1 > /dev/null || fail "ping to a pod"
peer ping -q -c 5 -i 0.05 -W 1 fd44::1 > /dev/null || fail "ping6 to a pod"
pod1 ping -q -c 5 -i 0.05 -W 1 10.244.0.2 > /dev/null || fail "pod to pod"
pod1 iperf3 -s -1 -D -I "$work/iperf.pid" > /dev/null
sleep 0.3
peer iperf3 -c 10.244.0.1 -t 1 > "$work/tcp" || fail "TCP: $(cat "$work/tcp")"
pod1 iperf3 -s -1 -D > /dev/null; sleep 0.3
peer iperf3 -6 -c fd44::1 -t 1 -R > "$work/tcp" || fail "TCP over IPv6"
pod1 iperf3 -s -1 -D > /dev/null; sleep 0.3
peer iperf3 -u -b 100M -c 10.244.0.1 -t 1 > "$work/udp" || fail "UDP"
after=$(forwarded)
[ $((after - before)) -lt 50 ] || fail "the stack still forwarded $((after - before)) packets"
[ "$(count fast)" -gt 1000 ] || fail "counted $(count fast)"
# A TTL that ends here is answered by the node.
peer ping -c 1 -W 1 -t 1 10.244.0.1 > "$work/ttl" 2>&1 || true
grep -q 'From 10.77.0.2.*Time to live exceeded' "$work/ttl" || fail "$(cat "$work/ttl")"
peer ping -c 1 -W 1 -t 1 fd44::1 > "$work/ttl" 2>&1 || true
grep -q 'From fd77::2.*Time exceeded' "$work/ttl" || fail "$(cat "$work/ttl")"
# A path that narrows behind the node: the sender learns it.
ip link set pod1 mtu 1300
ip -n pod1 link set eth0 mtu 1300
peer ping -c 1 -W 1 -M do -s 1400 10.244.0.1 > "$work/mtu" 2>&1 || true
grep -qE 'Frag needed.*mtu = 1300|message too long, mtu=1300|mtu 1300' "$work/mtu" || fail "$(cat "$work/mtu")"
peer ping -c 1 -W 1 -M do -s 1400 fd44::1 > "$work/mtu" 2>&1 || true
grep -qE 'mtu=1300|mtu = 1300|Packet too big' "$work/mtu" || fail "$(cat "$work/mtu")"
pod1 iperf3 -s -1 -D > /dev/null; sleep 0.3
peer iperf3 -c 10.244.0.1 -t 1 > "$work/tcp" || fail "TCP over the narrow path"
ip link set pod1 mtu 1500
ip -n pod1 link set eth0 mtu 1500
peer ip route flush cache
# Fragments arrive, by the stack.
peer ping -q -c 2 -i 0.05 -W 1 -s 4000 10.244.0.1 > /dev/null || fail "fragments"
[ "$(count fragment)" -gt 3 ] || fail "fragments counted: $(count fragment)"
# Cut short in the middle of the IP header, tagged, of another host: to nobody's harm.
peer python3 - <<'PY'
import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("peer0", 0))
mac = open("/sys/class/net/peer0/address").read()
import subprocess, re
to = bytes(int(b, 16) for b in re.search(r"lladdr (\S+)", subprocess.check_output(
    ["ip", "neigh", "show", "10.77.0.2"], text=True)).group(1).split(":"))
head = to + bytes(6) + b"\x08\x00"
for cut in range(1, 40):
    s.send(head + (bytes([0x45, 0, 0, 60, 0, 1, 0x40, 0, 64, 6, 0, 0, 10, 77, 0, 1, 10, 244, 0, 1]) + bytes(40))[:cut])
s.send(to + bytes(6) + b"\x81\x00\x00\x07\x08\x00" + bytes([0x45]) + bytes(59))
PY
[ "$(count malformed)" -ge 19 ] || fail "malformed: $(count malformed)"
[ "$(count tagged)" -ge 1 ] || fail "tagged: $(count tagged)"
# A second apply has nothing to do; a later pod is slow, no drift, and joins by the next apply.
expect 0 nettune apply $full
netns pod3
ip link add pod3 type veth peer name eth0 netns pod3
ip link set pod3 up; ip -n pod3 link set eth0 up
expect 0 nettune verify
expect 0 nettune status
says "covers 2 of 3 pod links"
expect 0 nettune apply $full
expect 0 nettune status
says "covers 3 of 3 pod links"
# A pod that goes takes its program along, and its pin is collected.
ip netns del pod3
sleep 0.5
expect 0 nettune apply $full
ls /sys/fs/bpf/nettune | grep -c ingress | grep -qx 3 || fail "dead pins: $(ls /sys/fs/bpf/nettune)"
ip link show pod3 2> /dev/null && fail "pod3 is still there"
expect 0 nettune rollback
nothing_left
sleep 0.2
snapshot "$work/after"
same "$work/before" "$work/after"
peer ping -q -c 2 -i 0.05 -W 1 10.244.0.1 > /dev/null || fail "after the rollback"
