# The command that check ends in is whole: pasted as it is, with what was given, it does what check said.
. "$(dirname "$0")/lib.sh"
uplink
snapshot "$work/before"
cat > "$work/my profile.toml" <<'TOML'
[tcp.sysctl]
"net.ipv4.tcp_retries2" = 9
[mtu]
probe = ["10.77.0.1"]
TOML
ip -n peer link set peer0 mtu 9000

# next: what the last check said, without sudo and for this binary.
next() { sed -n "s|^next: sudo nettune|\"$NETTUNE\"|p" "$work/out"; }
# Read before expect writes the file anew.
pasted() { eval "$command"; }

# What belongs to no link is not asked for by one, and so is not as wanted either.
expect 0 nettune check -p "$work/my profile.toml" --link up0 --set 'tcp.sysctl={"net.ipv4.tcp_fin_timeout"=43}'
says "not asked for by --link: tcp"

expect 0 nettune check -p "$work/my profile.toml" --skip mtu --set 'tcp.sysctl={"net.ipv4.tcp_fin_timeout"=42}' --accept path
says "next: sudo nettune apply -p '$work/my profile.toml' --state-dir $state --skip mtu --set"
command=$(next)
expect 0 pasted
[ "$(sysctl -n net.ipv4.tcp_fin_timeout)" = 42 ] || fail "the --set is lost"
[ "$(cat /sys/class/net/up0/mtu)" = 1500 ] || fail "the --skip is lost"
# What is held is accepted by the next one.
expect 0 nettune check -p "$work/my profile.toml" --only mtu --link up0
says "next: sudo nettune apply -p '$work/my profile.toml' --state-dir $state --only mtu --link up0 --accept path"
command=$(next)
expect 0 pasted
[ "$(cat /sys/class/net/up0/mtu)" = 9000 ] || fail "nothing was accepted"
# Nothing is left to do, and nothing is suggested.
expect 0 nettune check -p "$work/my profile.toml" --only mtu --exit-code
[ -z "$(next)" ] || fail "more to do: $(next)"
expect 0 nettune rollback
says "put back"

# A switch of profile says what goes back by it, in a section of its own; so does a dry run, and so do the pages.
expect 0 nettune apply -p network-throughput --only tcp
for verb in "plan" "apply --dry-run"; do
    # shellcheck disable=SC2086
    expect 0 nettune $verb -p network-latency --only tcp
    says "PUT BACK: not wanted any more tcp tcp_rmem 4096 87380"
    says "NEW-FLOWS: only new sockets or pods see it tcp tcp_fastopen 1 -> 3"
done
expect 0 nettune plan -p network-latency --only tcp --format markdown
says '**PUT BACK: not wanted any more** | tweak | change | | --- | --- | | tcp | tcp\_rmem 4096 87380'
expect 0 nettune check -p network-latency --only tcp --format html
says '<td>tcp</td><td class="ready">ready</td>'
expect 0 nettune log --format markdown
says '| apply network-throughput |'
expect 2 nettune status --format html
says "--format markdown and html are for check, plan and log"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
