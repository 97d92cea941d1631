# Stateful rules of iptables-legacy and of nf_tables hold notrack back where packets would be lost, and nowhere
# else: each rule set is tried by traffic of a pod, before, under and after.
. "$(dirname "$0")/lib.sh"
command -v iptables-legacy > /dev/null || skip "iptables-legacy is not installed"
uplink
iptables-legacy -t filter -L > /dev/null 2>&1 || skip "this kernel has no legacy tables"
[ -z "$signature" ] || skip "in a user namespace nobody may see which legacy tables are registered"
netns pod
ip link add lxcpod type veth peer name eth0 netns pod
ip addr add 10.78.0.1/24 dev lxcpod
ip addr add fd78::1/64 dev lxcpod nodad
ip link set lxcpod up
ip -n pod addr add 10.78.0.2/24 dev eth0
ip -n pod addr add fd78::2/64 dev eth0 nodad
ip -n pod link set eth0 up
ip -n pod link set lo up
ip -n pod route add default via 10.78.0.1
ip -n pod -6 route add default via fd78::1
ip -n peer route add 10.78.0.0/24 via 10.77.0.2
ip -n peer addr add fd77::1/64 dev peer0 nodad
ip -n peer -6 route add fd78::/64 via fd77::2
sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1
set -- -p cilium-max --only notrack --accept bypass --set 'notrack.cidrs=["10.78.0.0/24","fd78::/64"]'

echoes() { "$@" -c 1 -W 0.5 > /dev/null 2>&1 && printf + || printf -- -; }
# Pod to peer and peer to pod, host to pod, pod to host; then IPv6 to the peer.
traffic() {
    echoes ip netns exec pod ping 10.77.0.1
    echoes ip netns exec peer ping 10.78.0.2
    echoes ping 10.78.0.2
    echoes ip netns exec pod ping 10.78.0.1
    echoes ip netns exec pod ping fd77::1
}
clean() {
    for tool in iptables-legacy ip6tables-legacy; do
        names=/proc/net/ip_tables_names
        [ $tool = iptables-legacy ] || names=/proc/net/ip6_tables_names
        for table in $(cat $names); do
            $tool -t "$table" -F && $tool -t "$table" -X
            [ "$table" != filter ] || for hook in INPUT FORWARD OUTPUT; do $tool -P $hook ACCEPT; done
        done
    done
    nft flush ruleset
}
# The rule set is made by then. Under a signature the packets tell whether the block was right.
blocked() {
    before=$(traffic)
    expect 0 nettune check "$@"
    says "$why"
    expect 5 nettune apply "$@" --strict
    [ -z "$cuts" ] || {
        expect 0 nettune apply "$@" --set notrack.bypass-netfilter=true
        [ "$(traffic)" != "$before" ] || fail "$name: it was blocked, and loses nothing: $before"
        expect 0 nettune rollback
    }
    [ "$(traffic)" = "$before" ] || fail "$name: $(traffic) after, $before before"
    clean
}
free() {
    before=$(traffic)
    expect 0 nettune apply "$@" --strict
    nft list tables | grep -q nettune-notrack || fail "$name: nothing was applied"
    [ "$(traffic)" = "$before" ] || fail "$name: $(traffic) under notrack, $before before"
    expect 0 nettune rollback
    [ "$(traffic)" = "$before" ] || fail "$name: $(traffic) after, $before before"
    clean
}
reaches ip netns exec pod ping -c 1 -W 1 10.77.0.1
reaches ip netns exec pod ping -c 1 -W 1 fd77::1
L=iptables-legacy
established='-m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT'

name='empty tables'
$L -S > /dev/null; ip6tables-legacy -t mangle -S > /dev/null
registered=$(cat /proc/net/ip_tables_names /proc/net/ip6_tables_names)
free "$@"
[ "$(cat /proc/net/ip_tables_names /proc/net/ip6_tables_names)" = "$registered" ] || fail "a table was registered"

name='pods may begin' cuts=1 why='connection tracking is needed by chain ip filter (legacy) FORWARD: rules by `xt match conntrack established,related`'
$L -P FORWARD DROP; $L -A FORWARD $established; $L -A FORWARD -i lxcpod -j ACCEPT
blocked "$@"

name='in a chain that a jump leads to' why='connection tracking is needed by chain ip filter (legacy) MINE'
$L -P FORWARD DROP; $L -N MINE; $L -A FORWARD -p icmp -j MINE; $L -A MINE -m state --state ESTABLISHED -j ACCEPT
$L -A FORWARD -s 10.78.0.0/24 -j ACCEPT
blocked "$@"

name='IPv6' why='connection tracking is needed by chain ip6 filter (legacy) FORWARD'
ip6tables-legacy -P FORWARD DROP; ip6tables-legacy -A FORWARD $established
ip6tables-legacy -A FORWARD -s fd78::/64 -j ACCEPT
blocked "$@"

name='other networks, inverted' why='connection tracking is needed by chain ip filter (legacy) FORWARD'
$L -P FORWARD DROP; $L -A FORWARD ! -d 192.168.9.0/24 $established; $L -A FORWARD -s 10.78.0.0/24 -j ACCEPT
blocked "$@"

name='the host asks pods' why='connection tracking is needed by chain inet f in: rules by `ct state established,related`'
nft 'table inet f { chain in { type filter hook input priority 0; policy drop; ct state established,related accept; iif lo accept; }; }'
blocked "$@"

name='marks of connections' cuts= why='connection tracking is needed by chain ip mangle (legacy) PREROUTING: rules by `xt target CONNMARK`'
$L -t mangle -A PREROUTING -j CONNMARK --restore-mark
blocked "$@"

name='zones' why='connection tracking is needed by chain ip raw (legacy) PREROUTING: rules by `xt target CT`'
$L -t raw -A PREROUTING -i lxcpod -j CT --zone 1
blocked "$@"

name='security' why='connection tracking is needed by chain ip security (legacy) FORWARD'
if $L -t security -A FORWARD -d 10.0.0.0/8 -m conntrack --ctstate INVALID -j DROP 2> /dev/null; then
    blocked "$@"
fi

name='not tracked already'
$L -t raw -A PREROUTING -s 10.78.0.0/24 -j CT --notrack
free "$@"

name='nothing drops'
$L -A FORWARD $established; $L -A FORWARD -s 192.168.9.0/24 -j ACCEPT
free "$@"

name='between other networks'
$L -A FORWARD -s 192.168.9.0/24 -d 192.168.8.0/24 -m conntrack --ctstate INVALID -j DROP
$L -A FORWARD ! -s 10.0.0.0/8 ! -d 10.64.0.0/10 -m conntrack --ctstate NEW -j DROP
free "$@"

name='pods let pass anyway'
$L -P FORWARD DROP; $L -A FORWARD $established
$L -N PODS; $L -A PODS -s 10.78.0.0/24 -j ACCEPT; $L -A PODS -d 10.0.0.0/8 -j ACCEPT; $L -A FORWARD -j PODS
free "$@"

name='pods let pass by their links'
nft 'table inet f { chain fw { type filter hook forward priority 0; policy drop; ct state established accept; iifname "lxc*" accept; oifname lxcpod accept; }; }'
free "$@"

name='a firewall of the host that knows pods'
nft 'table inet f { chain in { type filter hook input priority 0; policy drop; ct state invalid drop; ct state established,related accept; iif lo accept; ip saddr 10.78.0.0/24 accept; ip daddr 10.78.0.0/24 accept; ip6 saddr fd78::/64 accept; ip6 daddr fd78::/64 accept; icmpv6 type nd-neighbor-solicit accept; }; }'
free "$@"

name='what Docker makes for its own'
nft -f - <<'RULES'
table ip nat {
    chain POSTROUTING {
        type nat hook postrouting priority 100
        oifname != "docker0" ip saddr 172.17.0.0/16 counter masquerade
    }
    chain DOCKER {
        iifname "docker0" counter return
    }
    chain PREROUTING {
        type nat hook prerouting priority -100
        fib daddr type local counter jump DOCKER
    }
}
RULES
free "$@"
