# Killed a hundred times at random moments of apply, rollback and switch: then rollback, and nothing
# is left.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
sysctl -q -w net.ipv6.conf.up0.mtu=1400
ip -6 route add fd99::/64 dev up0 mtu 1300
snapshot "$work/before"
set -- --accept path,bypass --set 'mtu.probe=["10.77.0.1"]' --set 'notrack.cidrs=["10.244.0.0/16","10.245.0.0/16"]' $signature
kill_after() {
    delay=$1; shift
    timeout --signal=KILL "$delay" "$NETTUNE" --state-dir "$state" "$@" > /dev/null 2>&1 || true
}
round=0
while [ $round -lt 100 ]; do
    # 0 to 25 ms: an apply takes about 20.
    delay=$(awk -v r=$round -v s="$(od -An -N2 -tu2 /dev/urandom)" 'BEGIN { printf "%.4f", 0.0005 + (s % 250) / 10000 }')
    case $((round % 4)) in
        0|2) kill_after "$delay" apply -p cilium-max --only tcp,mtu,notrack "$@" ;;
        1) kill_after "$delay" rollback ;;
        3) kill_after "$delay" apply -p network-throughput ;;
    esac
    round=$((round + 1))
done
# timeout does not wait for what it killed, which may hold the lock for a moment still.
expect 0 nettune --wait 10 rollback
snapshot "$work/after"
same "$work/before" "$work/after"
expect 3 nettune verify
