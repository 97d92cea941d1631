# A run that stops the link by which somebody is logged in waits for Enter, at a terminal and there alone. sshd is played: by a process
# of that name which holds the connection, as the one above a login does.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || skip "python3 is not installed"
uplink
ip link add side0 type veth peer name side1
ip addr add 10.78.0.1/24 dev side0
ip link set side0 up
ip link set side1 up
snapshot "$work/before"
: > "$work/err"

# login LINK-ADDRESS KEYS ARG..: nettune at a terminal, below an sshd whose connection is to that address; types KEYS when asked.
login() {
    python3 - "$work/out" "$@" << 'PY'
import os, pty, select, socket, sys
out, address, keys, command = sys.argv[1], sys.argv[2], sys.argv[3].encode().decode("unicode_escape").encode(), sys.argv[4:]
with open("/proc/self/comm", "w") as comm:
    comm.write("sshd")
server = socket.create_server((address, 0))
client = socket.create_connection(server.getsockname())
connection, _ = server.accept()
pid, terminal = pty.fork()
if pid == 0:
    os.execvp(command[0], command)
said, typed, early = b"", False, False
while True:
    if not select.select([terminal], [], [], 30)[0]:
        break
    try:
        piece = os.read(terminal, 65536)
    except OSError:
        break
    if not piece:
        break
    said += piece
    # Typed before anybody has asked: no answer.
    if b"will be disturbed" in said and not early:
        os.write(terminal, b"\n")
        early = True
    if b"press Enter to keep it:" in said and not typed:
        os.write(terminal, keys)
        typed = True
open(out, "wb").write(said)
_, status = os.waitpid(pid, 0)
sys.exit(os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status))
PY
}
mtu() { cat /sys/class/net/up0/mtu; }
ip -n peer link set peer0 mtu 9000
set -- apply -p cilium-max --only mtu --accept path --set 'mtu.probe=["10.77.0.1"]'

expect 0 login 10.77.0.2 '\n' "$NETTUNE" --state-dir "$state" --run-dir "$work/run" "$@"
says "up0, by which this session comes, will be disturbed"
says "press Enter to keep it: 60 s left"
says "stays"
[ "$(mtu)" = 9000 ] || fail "Enter did not keep it"
expect 0 nettune verify
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"

# The end of the input and Ctrl-C are a no: back at once.
for no in '\x04' '\x03'; do
    expect 1 login 10.77.0.2 "$no" "$NETTUNE" --state-dir "$state" --run-dir "$work/run" "$@"
    says "was taken back: it was refused at the terminal"
    [ "$(mtu)" = 1500 ] || fail "$no kept it"
    expect 3 nettune status
done
snapshot "$work/after"
same "$work/before" "$work/after"

# Nobody is asked whose session comes by another link, who says --yes, or who sits at no terminal.
expect 0 login 10.78.0.1 'x' "$NETTUNE" --state-dir "$state" --run-dir "$work/run" "$@"
grep -q 'press Enter' "$work/out" && fail "asked though the session is of another link"
expect 0 nettune rollback
expect 0 login 10.77.0.2 'x' "$NETTUNE" --state-dir "$state" --run-dir "$work/run" "$@" --yes
grep -q 'press Enter' "$work/out" && fail "asked in spite of --yes"
expect 0 nettune rollback
expect 0 nettune --run-dir "$work/run" "$@"
grep -q 'press Enter' "$work/out" "$work/err" && fail "asked without a terminal"
expect 0 nettune rollback
# What disturbs no link asks nothing.
expect 0 login 10.77.0.2 'x' "$NETTUNE" --state-dir "$state" --run-dir "$work/run" apply -p cilium-max --only tcp
grep -q 'press Enter' "$work/out" && fail "asked for what disturbs no link"
expect 0 nettune rollback
snapshot "$work/after"
same "$work/before" "$work/after"
