# Ctrl-C, SIGTERM and SIGHUP while a path is asked for an answer that does not come: the MTU is back at once,
# and a person at a terminal sees what is waited for. A second one ends it on the spot, and the journal has the rest.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || skip "python3 is not installed"
uplink
snapshot "$work/before"

# at_terminal KEYS ARG...: runs nettune at a terminal of its own (script(1)'s work, which has no word for when), types KEYS
# once a line says what it waits for, and ends as nettune did.
at_terminal() {
    python3 - "$work/out" "$@" <<'PY'
import os, pty, select, sys, time
out, keys, command = sys.argv[1], sys.argv[2].encode().decode("unicode_escape").encode(), sys.argv[3:]
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
said, typed, last = b"", 0, time.monotonic()
while True:
    ready, _, _ = select.select([terminal], [], [], 0.1)
    if ready:
        try:
            piece = os.read(terminal, 65536)
        except OSError:
            break
        if not piece:
            break
        said += piece
    if b"packets of 9000" in said and typed < len(keys) and time.monotonic() - last > 0.3:
        os.write(terminal, keys[typed:typed + 1])
        typed, last = typed + 1, time.monotonic()
open(out, "wb").write(said)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
PY
}
: > "$work/err"
# A peer that is not there: six seconds of silence.
set -- apply --yes -p cilium-max --only tcp,mtu --accept path --set 'mtu.probe=["10.77.0.9"]'
mtu() { cat /sys/class/net/up0/mtu; }

begun=$(date +%s)
got=0
at_terminal '\x03' "$NETTUNE" --state-dir "$state" "$@" || got=$?
[ "$got" = 1 ] || { cat "$work/out" >&2; fail "Ctrl-C: exit $got instead of 1"; }
[ $(($(date +%s) - begun)) -lt 6 ] || fail "it waited on"
says "asks 10.77.0.9 by packets of 9000 bytes ("
says "interrupted"
[ "$(mtu)" = 1500 ] || fail "Ctrl-C: the MTU is $(mtu)"
expect 3 nettune status
snapshot "$work/after"
same "$work/before" "$work/after"

# Twice: at once, and what it left is undone by the next run.
got=0
at_terminal '\x03\x03' "$NETTUNE" --state-dir "$state" "$@" || got=$?
[ "$got" = 130 ] || { [ "$got" = 1 ] && [ "$(mtu)" = 1500 ]; } || { cat "$work/out" >&2; fail "Ctrl-C twice: exit $got"; }
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

changed() {
    tries=200
    until [ "$(mtu)" = 9000 ]; do tries=$((tries - 1)); [ $tries -gt 0 ] || fail "it never began"; sleep 0.02; done
}

# No terminal: no lines that go away, the same end.
# Who started the tests may ignore SIGHUP (nohup), and what ignores it is not ended by it.
signals="TERM HUP"
[ $(($(printf '%d' "0x$(sed -n 's/^SigIgn:[[:space:]]*//p' /proc/self/status)") & 1)) = 0 ] || signals=TERM
for signal in $signals; do
    "$NETTUNE" --state-dir "$state" "$@" > "$work/out" 2> "$work/err" &
    pid=$!
    changed
    kill -s $signal $pid
    got=0
    wait $pid || got=$?
    [ "$got" = 1 ] || { cat "$work/out" "$work/err" >&2; fail "$signal: exit $got instead of 1"; }
    says "interrupted"
    ! grep -q "$(printf '\r')" "$work/err" || fail "a line that goes away, and no terminal"
    [ "$(mtu)" = 1500 ] || fail "$signal: the MTU is $(mtu)"
    expect 0 nettune rollback
    snapshot "$work/after"
    same "$work/before" "$work/after"
done

# Whoever started it with nohup wants it to go on.
nohup "$NETTUNE" --state-dir "$state" apply -p cilium-max --only tcp,mtu --accept path --set 'mtu.probe=["10.77.0.9"]' \
    > "$work/out" 2> "$work/err" &
pid=$!
changed
kill -s HUP $pid
got=0
wait $pid || got=$?
[ "$got" = 7 ] || fail "nohup: exit $got"
says "does not get packets of 9000 bytes"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
