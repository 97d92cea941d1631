# Attached, replaced and detached while packets flow: none is lost that the kernel would have
# delivered, and connections live on.
. "$(dirname "$0")/bpf-lib.sh"
router
profile
# 2,000 packets a second from the client to pod1, numbered; the pod says which are missing.
pod1 python3 - > "$work/missing" <<'PY' &
import socket
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4 << 20)
s.bind(("10.244.0.1", 7777))
s.settimeout(3)
seen = set()
try:
    while True:
        seen.add(int(s.recv(64)))
except TimeoutError:
    pass
sent = max(seen) + 1
print(sent, sent - len(seen))
PY
receiver=$!
sleep 0.3
peer python3 - <<'PY' &
import socket, time
s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
start = time.monotonic()
for n in range(16000):
    s.sendto(b"%d" % n, ("10.244.0.1", 7777))
    rest = start + n / 2000 - time.monotonic()
    if rest > 0:
        time.sleep(rest)
PY
sender=$!
pod2 iperf3 -s -1 -D > /dev/null; sleep 0.3
peer iperf3 -c 10.244.0.2 -t 7 -b 200M > "$work/tcp" 2>&1 &
stream=$!
for round in 1 2 3 4 5; do
    expect 0 nettune apply $full
    # Another configuration: the program and its maps are replaced in place.
    sysctl -q -w net.ipv4.conf.pod1.rp_filter=2
    expect 0 nettune apply $full
    sysctl -q -w net.ipv4.conf.pod1.rp_filter=0
    sleep 0.3
    [ "$round" = 3 ] && { [ "$(count fast)" -gt 100 ] || fail "nothing fast under load"; }
    expect 0 nettune rollback
done
wait $sender
wait $stream || fail "the connection did not survive: $(cat "$work/tcp")"
wait $receiver
read -r sent missing < "$work/missing"
[ "$sent" = 16000 ] || fail "sent $sent"
[ "$missing" = 0 ] || fail "$missing of $sent lost"
nothing_left
