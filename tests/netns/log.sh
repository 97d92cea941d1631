# What was done, by whom, and one run of it taken back: to what was before that run, not to the baseline.
. "$(dirname "$0")/lib.sh"
uplink
snapshot "$work/before"
expect 0 nettune log
says "nothing was done here yet"
profile() { printf '[tcp.sysctl]\n%s\n' "$2" > "$work/$1.toml"; }
profile a '"net.ipv4.tcp_retries2" = 9
"net.ipv4.tcp_fin_timeout" = 41'
profile b '"net.ipv4.tcp_retries2" = 9
"net.ipv4.tcp_fin_timeout" = 41
"net.ipv4.tcp_keepalive_time" = 700'
profile c '"net.ipv4.tcp_retries2" = 8
"net.ipv4.tcp_fin_timeout" = 41
"net.ipv4.tcp_keepalive_time" = 700'
run_of() { nettune --json log | python3 -c "import json, sys; print(json.load(sys.stdin)['runs'][$1]['run'])"; }
applied() {
    SUDO_USER=${2:-} expect 0 nettune apply -p "$work/$1.toml"
    snapshot "$work/$1"
}
applied a alice
a=$(run_of 0)
applied b
b=$(run_of 0)
applied c
c=$(run_of 0)
expect 0 nettune log
for word in "alice (sudo)" "apply a" "s ago" "2 values"; do says "$word"; done
[ "$(nettune log | grep -c ' apply ')" = 3 ] || fail "not three runs: $(nettune log)"
expect 0 nettune log "$b"
says "sysctl:net.ipv4.tcp_keepalive_time: "
says "command nettune --state-dir $state apply -p $work/b.toml"
expect 2 nettune log nosuch
says "no run nosuch is known"

# The last one, then the one before it.
expect 0 nettune rollback --run last
says "as before run $c"
snapshot "$work/now"
same "$work/b" "$work/now"
expect 0 nettune verify
expect 0 nettune rollback --run last
says "as before run $b"
snapshot "$work/now"
same "$work/a" "$work/now"
expect 0 nettune verify
# One in the middle: what a later one wrote as well is left, and named.
applied b
applied c
expect 6 nettune rollback --run "$a"
says "left: sysctl:net.ipv4.tcp_retries2: run $(run_of 1) wrote it later"
[ "$(sysctl -n net.ipv4.tcp_fin_timeout)" = "$(sed -n 's/^net.ipv4.tcp_fin_timeout = //p' "$work/before")" ] ||
    fail "fin_timeout was not taken back"
[ "$(sysctl -n net.ipv4.tcp_retries2)" = 8 ] || fail "retries2 is $(sysctl -n net.ipv4.tcp_retries2)"
# Made short, the journal has forgotten them and the log has not.
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
python3 - "$state/journal.jsonl" <<'PY'
import hashlib, json, sys
path = sys.argv[1]
text = '{"schema":1,"type":"owned","owned":[],"links":[]'
history = open(path).read()
open(path.replace("journal", "history"), "a").write(history)
open(path, "w").write(text + ',"sum":"' + hashlib.sha256(text.encode()).hexdigest()[:16] + '"}\n')
PY
chmod 600 "$state/history.jsonl"
expect 0 nettune log "$a"
says "sysctl:net.ipv4.tcp_fin_timeout: "
expect 0 nettune apply -p "$work/a.toml"
expect 0 nettune rollback --run last
snapshot "$work/after"
same "$work/before" "$work/after"
expect 3 nettune status
expect 2 nettune rollback --run last tcp
