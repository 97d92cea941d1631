# One file with what nettune sees, and no secret of the node in it; read back anywhere it says what check said.
. "$(dirname "$0")/lib.sh"
command -v python3 > /dev/null || skip "python3 is not installed"
uplink

expect 0 nettune apply -p network-throughput --only tcp
snapshot "$work/before"
expect 0 nettune doctor -p cilium-max -o "$work/report"
says "nettune doctor --read FILE checks that node anywhere"
[ "$(stat -c %a "$work/report")" = 600 ] || fail "others can read it"
snapshot "$work/after"
same "$work/before" "$work/after"
# Nothing is written over, and no link is followed.
expect 1 nettune doctor -p cilium-max -o "$work/report"
ln -s "$work/elsewhere" "$work/link"
expect 1 nettune doctor -p cilium-max -o "$work/link"
[ ! -e "$work/elsewhere" ] || fail "it wrote through a link"
expect 2 nettune doctor -o "$work/x" --read "$work/report"

expect 0 nettune rollback
expect 0 nettune --json check -p cilium-max
cp "$work/out" "$work/check"
expect 0 nettune doctor -p cilium-max -o "$work/untouched"
# What this machine is meanwhile does not matter.
ip route del default
expect 0 nettune --json doctor --read "$work/untouched"
python3 - "$work/check" "$work/out" << 'PY' || fail "the report says something else than check"
import json, sys
live, read = (json.load(open(path)) for path in sys.argv[1:])
rows = [{t["name"]: (t["status"], t["reasons"], t["changes"]) for t in said["tweaks"]} for said in (live, read)]
for name in rows[0]:
    if rows[0][name] != rows[1][name]:
        sys.exit(f"{name}: {rows[0][name]} {rows[1][name]}")
PY
ip route add default via 10.77.0.1

# A folder as a node's root, with a secret in each file that there may be one in.
root=$work/root
plant() { mkdir -p "$root/$(dirname "$1")"; cat > "$root/$1"; }
mkdir -p "$root/sys/class/net" "$root/proc/sys/net/ipv4" "$root/run"
plant proc/cmdline << 'T'
BOOT_IMAGE=/vmlinuz root=UUID=SECRETdisk ks=https://user:SECRETks@h/ks rd.luks.key=SECRETluks preempt=full SECRETbare
T
plant etc/wireguard/wg0.conf << 'T'
[Interface]
PrivateKey = SECRETwireguard
MTU = 1420
T
plant etc/NetworkManager/system-connections/eth0.nmconnection << 'T'
[connection]
id=eth0
interface-name=eth0
[ethernet]
mtu=9000
[wifi-security]
psk=SECRETpsk
T
plant etc/systemd/network/10-eth0.network << 'T'
[Match]
Name=eth0
[Link]
MTUBytes=1500
[WireGuard]
PrivateKey=SECRETnetworkd
T
for file in etc/kubernetes/kubelet.conf var/lib/kubelet/kubeconfig var/lib/rancher/k3s/agent/kubelet.kubeconfig; do
    plant "$file" << 'T'
clusters:
- cluster:
    server: https://10.0.0.1:6443
users:
- user:
    client-key-data: SECRETkubelet
    token: SECRETtoken
T
done
plant etc/sysctl.d/99-x.conf << 'T'
net.core.somaxconn = 4096
net.ipv4.tcp_fastopen_key = SECRETfastopen
net.ipv6.conf.all.stable_secret = SECRETstable
kernel.core_pattern = |/usr/bin/x SECRETpattern
T
plant proc/sys/net/ipv4/tcp_fastopen_key << 'T'
SECRETfastopen
T
for file in etc/shadow root/.ssh/id_ed25519 etc/default/irqbalance etc/netplan/50.yaml etc/network/interfaces \
    etc/nftables.conf etc/cloud/cloud.cfg etc/nettune/secret etc/cni/net.d/10-x.conflist etc/default/tuned etc/modprobe.d/x.conf; do
    echo "SECRET$file" | plant "$file"
done
expect 0 nettune_itself --host "$root" doctor -p cilium-max -o "$work/planted"
python3 - "$work/planted" << 'PY' || fail "a secret is in the report"
import sys, tarfile
with tarfile.open(sys.argv[1]) as tar:
    names = tar.getnames()
    for member in tar:
        content = tar.extractfile(member).read().decode()
        for line in content.splitlines():
            if "SECRET" in line:
                sys.exit(f"{member.name}: {line}")
    assert "nettune-doctor/facts.json" in names, names
    assert "preempt=full" in tar.extractfile("nettune-doctor/facts.json").read().decode()
PY
expect 0 nettune doctor --read "$work/planted"

# What is no report says so in a line.
for bad in /dev/null "$work/check"; do
    expect 78 nettune doctor --read "$bad"
done
expect 78 nettune doctor --read "$work/none"
