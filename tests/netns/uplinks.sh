# Which links are uplinks: by nexthop objects, by gateways of the other family, and never by a tunnel.
. "$(dirname "$0")/lib.sh"
uplink
ip -n peer link set peer0 mtu 9000
# Whether it has a default route, and the gateways of that.
gateways() {
    nettune facts --json | python3 -c '
import json, sys
link = next(l for l in json.load(sys.stdin)["facts"]["links"] if l["name"] == sys.argv[1])
print(str(link["default_route"]).lower(), *(g["address"] for g in link["gateways"]))' "$1"
}
command -v python3 > /dev/null || skip "python3 is not installed"
is() { [ "$1" = "$2" ] || fail "$1 instead of $2"; }
mtu() { cat "/sys/class/net/$1/mtu"; }
check() { nettune check -p cilium-max --only mtu,big-tcp,steering "$@"; }
apply() { nettune apply -p cilium-max --only mtu --accept path --set 'mtu.probe=["gateway"]' "$@"; }
local_of() { ip -n peer -6 -o addr show dev "$1" scope link | awk '{ sub("/.*", "", $4); print $4 }'; }

is "$(gateways up0)" "true 10.77.0.1"
ip link add up1 type veth peer name peer1 netns peer
ip addr add 10.78.0.2/24 dev up1
ip link set up1 up
ip -n peer link set peer1 mtu 9000 up
ip -n peer addr add 10.78.0.1/24 dev peer1

# By an object, by a group of them, and by a group of one family's for the other's routes.
ip nexthop add id 7 via 10.77.0.1 dev up0
ip nexthop add id 8 via 10.78.0.1 dev up1
ip nexthop add id 9 group 7/8
for compat in 1 0; do
    sysctl -q -w net.ipv4.nexthop_compat_mode=$compat
    ip route replace default nhid 7
    is "$(gateways up0)" "true 10.77.0.1"
    is "$(gateways up1)" "false"
    ip route replace default nhid 9
    is "$(gateways up0)" "true 10.77.0.1"
    is "$(gateways up1)" "true 10.78.0.1"
    expect 0 apply --set mtu.mtu=4000
    is "$(mtu up0) $(mtu up1)" "4000 4000"
    expect 0 nettune rollback
    is "$(mtu up0) $(mtu up1)" "1500 1500"
    ip nexthop replace id 17 via fd77::1 dev up0
    ip route replace default nhid 17
    is "$(gateways up0)" "true fd77::1"
done
ip nexthop flush > /dev/null
is "$(gateways up0)" false
sysctl -q -w net.ipv4.nexthop_compat_mode=1

# IPv4 by an IPv6 gateway (RFC 5549), alone and as one of two.
router=$(local_of peer0)
other=$(local_of peer1)
# Without -4 ip takes it for an IPv6 route.
ip -4 route add default via inet6 "$router" dev up0
is "$(gateways up0)" "true $router%up0"
ip -n peer link set peer0 mtu 1500
expect 7 apply --set mtu.mtu=4000
says "$router%up0 does not get packets of 4000 bytes"
ip -n peer link set peer0 mtu 9000
expect 0 apply --set mtu.mtu=4000
is "$(mtu up0)" 4000
expect 0 nettune rollback
ip route del default
ip -4 route add default nexthop via inet6 "$router" dev up0 nexthop via inet6 "$other" dev up1
is "$(gateways up0)" "true $router%up0"
is "$(gateways up1)" "true $other%up1"
ip route del default
ip route add default via 10.77.0.1

# tunnel KIND COMMAND...: a default route of another table makes none of them an uplink.
tunnel() {
    kind=$1
    shift
    ip "$@" 2> /dev/null || { echo "no $kind here" >&2; return 0; }
    ip link set tun0 mtu 1280
    ip link set tun0 up 2> /dev/null || { ip link del tun0; return 0; }
    ip route add default dev tun0 table 52
    is "$(gateways tun0)" true
    expect 0 apply --set mtu.mtu=4000
    is "$(mtu up0) $(mtu up1) $(mtu tun0)" "4000 1500 1280"
    expect 0 check
    ! grep -q tun0 "$work/out" || { cat "$work/out"; fail "$kind: tun0 is named"; }
    expect 0 nettune rollback
    # Named it is one.
    expect 0 check --set 'links=["tun0"]'
    grep -q tun0 "$work/out" || { cat "$work/out"; fail "$kind: tun0 is not named"; }
    ip link del tun0
}
tunnel tun tuntap add dev tun0 mode tun
tunnel tap tuntap add dev tun0 mode tap
# What it stands on is no uplink for its sake.
tunnel vxlan link add tun0 type vxlan id 7 dev up1 dstport 4789 remote 10.78.0.1
tunnel geneve link add tun0 type geneve id 7 remote 10.78.0.1
tunnel gre link add tun0 type gretap dev up1 local 10.78.0.2 remote 10.78.0.1
tunnel wireguard link add tun0 type wireguard
# An ordinary user may not open the device that makes one of the former.
ip tuntap add dev tun0 mode tap 2> /dev/null ||
    ip link add tun0 type vxlan id 7 dev up1 dstport 4789 remote 10.78.0.1
ip link set tun0 up
if ip link add tun1 link tun0 type macvlan mode bridge 2> /dev/null; then
    ip link set tun1 up
    ip route add default dev tun1 table 52
    expect 0 check
    ! grep -q 'tun[01]' "$work/out" || { cat "$work/out"; fail "what stands on a tunnel is named"; }
    ip link del tun1
fi

# Everything by a tunnel: nobody knows which link carries it.
ip route del default
ip route add default dev tun0
expect 0 check
says "the default route leaves by tun0, a tunnel"
