# timeout: 900
"""A node that boots into Kubernetes: nettune at boot, then kube-proxy's rules, then an XDP program of Cilium's: all work,
and nothing of the others goes with a rollback."""

# What stands for kubelet: it starts when the network is there, and with it come kube-proxy's rules and Cilium's program.
KUBELET = r"""
[Unit]
Description=stands for kubelet
Wants=network-online.target
After=network-online.target
[Service]
Type=oneshot
RemainAfterExit=yes
ExecStart=/usr/local/bin/kubelet
[Install]
WantedBy=multi-user.target
"""
START = r"""#!/bin/bash
set -e
nic=$(grep -l 52:54:00:77:00:02 /sys/class/net/*/address | cut -d/ -f5)
iptables -t nat -N KUBE-SERVICES
iptables -t nat -A PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES
iptables -t nat -A OUTPUT -j KUBE-SERVICES
iptables -t nat -A KUBE-SERVICES -d 10.96.0.1/32 -p tcp --dport 443 -j DNAT --to-destination 10.77.0.1:6443
iptables -A FORWARD -m conntrack --ctstate INVALID -j DROP
sysctl -q net.ipv4.ip_forward=1
mount -t bpf bpf /sys/fs/bpf 2>/dev/null || :
python3 /usr/local/lib/lab/load-xdp.py cil_xdp_entry /sys/fs/bpf/cil_xdp_entry
ip link set dev "$nic" xdpdrv pinned /sys/fs/bpf/cil_xdp_entry || {
    echo native XDP is refused
    ip link set dev "$nic" xdpgeneric pinned /sys/fs/bpf/cil_xdp_entry
}
"""


def run(lab):
    lab.want("mkdir -p /etc/kubernetes /var/lib/kubelet")
    lab.want(f"cat > /usr/local/bin/kubelet << 'E'\n{START}E\nchmod 755 /usr/local/bin/kubelet")
    lab.want(f"cat > /etc/systemd/system/kubelet.service << 'E'\n{KUBELET}E\nsystemctl -q enable kubelet")
    said = lab.want("expect 0 nettune apply -p cilium-max --persist --accept link-reset; printf '%s\\n' \"$OUT\"")
    lab.note(said)
    lab.want("sync")
    lab.powercut()
    lab.boot()
    lab.want("settle; for i in {1..240}; do [[ $(systemctl is-active nettune.service) == activating ]] || break; sleep 0.5; done",
             seconds=200)
    _, out, _ = lab.guest("systemctl status --no-pager -l nettune.service kubelet.service; journalctl -b -u kubelet --no-pager")
    lab.note(out)
    lab.want("systemctl -q is-active nettune.service && systemctl -q is-active kubelet.service")
    when = "systemctl show -p %s --value"
    lab.want(f"(( $({when % 'ActiveEnterTimestampMonotonic'} nettune.service)"
             f" <= $({when % 'InactiveExitTimestampMonotonic'} kubelet.service) )) || fail 'kubelet started before nettune was through'")
    lab.want("expect 0 nettune verify")
    lab.want("ip -d link show $NIC | grep -q xdp || fail 'no XDP program'")
    lab.want("ping -c 2 -i 0.2 -q 10.77.0.1 >/dev/null || fail 'no way to the peer'")
    # What Cilium and kube-proxy brought is theirs: check and apply see it, rollback leaves it.
    lab.want("expect 0 nettune check -p cilium-max; printf '%s\\n' \"$OUT\"")
    lab.want("expect 0 nettune apply -p cilium-max --accept link-reset")
    lab.want("iptables-save -t nat > /run/nat; bpftool net show > /run/net; expect 0 nettune rollback; expect 3 nettune status")
    lab.want("iptables-save -t nat | sed '/^#/d; s/ .[0-9]*:[0-9]*.$//' | diff - <(sed '/^#/d; s/ .[0-9]*:[0-9]*.$//' /run/nat) || fail 'rollback touched kube-proxy'; bpftool net show | diff - /run/net")
    lab.count("boots")
