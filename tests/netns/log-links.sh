# One run taken back on links that were renamed, swapped or replaced, twice, after a rollback, and of a run that undid itself.
. "$(dirname "$0")/lib.sh"
uplink
for at in 0 1; do
    ip link add v$at type veth peer name p$at
    ip link set v$at up
    ip link set p$at up
done
sleep 0.3
# What is renamed here has its routes in another order afterwards.
snapshot() {
    {
        for link in v0 v1; do ethtool -k $link; done
        sysctl -a 2> /dev/null | grep '^net.ipv4.tcp_'
    } > "$1"
}
snapshot "$work/before"
offload() { printf 'links = ["v*"]\n[nic]\nchannels = "leave"\noffloads = { %s = false }\n' "$1" > "$work/$1.toml"; }
offload gso
offload tso
is() { ethtool -k "$1" | sed -n "s/^[[:space:]]*$2: \([a-z]*\).*/\1/p"; }
swap() {
    ip link set v0 down
    ip link set v1 down
    ip link set v0 name zz0
    ip link set v1 name v0
    ip link set zz0 name v1
    ip link set v0 up
    ip link set v1 up
    sleep 0.3
}

# Each on a link of its own; the links change their names, and the run goes back on the link that it was of.
expect 0 nettune apply -p "$work/gso.toml" --link v0
expect 0 nettune apply -p "$work/tso.toml" --link v1
[ "$(is v0 generic-segmentation-offload) $(is v1 tx-tcp-segmentation)" = "off off" ] || fail "not applied"
swap
expect 0 nettune rollback --run last
[ "$(is v0 tx-tcp-segmentation)" = on ] || fail "tso of the second run is not back"
[ "$(is v1 generic-segmentation-offload)" = off ] || fail "gso of the first run went as well"
swap
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

# Gone, and another with its name: nobody asked for that one.
ip link add x0 type veth peer name y0
ip link set x0 up
ip link set y0 up
printf 'links = ["x0"]\n[nic]\nchannels = "leave"\noffloads = { tso = false }\n' > "$work/x.toml"
expect 0 nettune apply -p "$work/x.toml"
ip link del x0
ip link add x0 type veth peer name y0
ip link set x0 up
ip link set y0 up
ethtool -K x0 tx-tcp-segmentation off
expect 2 nettune rollback --run last
x=$(nettune --json log | python3 -c "import json, sys; print(json.load(sys.stdin)['runs'][0]['run'])")
expect 0 nettune rollback --run "$x"
says "its link is gone"
[ "$(is x0 tx-tcp-segmentation)" = off ] || fail "the new link was written"
ip link del x0

# What undid itself is no run to take back, and in nobody's way.
profile() { printf '[tcp.sysctl]\n%s\n' "$2" > "$work/$1.toml"; }
profile a '"net.ipv4.tcp_retries2" = 9'
profile f '"net.ipv4.tcp_retries2" = 8
"net.ipv4.tcp_keepalive_intvl" = 999999999'
expect 0 nettune apply -p "$work/a.toml"
expect 1 nettune apply -p "$work/f.toml" --atomic
expect 0 nettune status
says "profile $work/a.toml"
expect 0 nettune log
says "undone"
expect 0 nettune rollback --run last
[ "$(sysctl -n net.ipv4.tcp_retries2)" = 15 ] || fail "the run before it was not meant"
# Once more it is nothing; neither is what a rollback has put back.
expect 2 nettune rollback --run last
a=$(nettune --json log | python3 -c "import json, sys; print([r['run'] for r in json.load(sys.stdin)['runs'] if r['profile'] and r['profile'].endswith('a.toml')][0])")
sysctl -q -w net.ipv4.tcp_retries2=9
expect 3 nettune rollback --run "$a"
[ "$(sysctl -n net.ipv4.tcp_retries2)" = 9 ] || fail "a run that was taken back was taken back again"
sysctl -q -w net.ipv4.tcp_retries2=15
expect 0 nettune apply -p "$work/a.toml"
expect 0 nettune rollback
expect 2 nettune rollback --run last
# The taking back taken back stands again.
expect 0 nettune apply -p "$work/a.toml"
expect 0 nettune rollback --run last
back=$(nettune --json log | python3 -c "import json, sys; print(json.load(sys.stdin)['runs'][0]['run'])")
expect 3 nettune rollback --run "$back"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
