# timeout: 2400
"""Kept over a reboot: early values are there before the network, all of them in the end, a link that is plugged in later
gets them too, a restart of systemd-sysctl undoes nothing; after a rollback the next boot is like a fresh one."""

PROFILE = """
accept = ["link-reset"]
[cpu]
governor = "performance"
[irq]
policy = "numa-local"
irqbalance = "ban"
[steering]
rps = "auto"
[tcp.sysctl]
"net.core.somaxconn" = { at-least = 16384 }
"net.ipv4.tcp_syn_retries" = 5
"""
UNITS = "nettune-early.service nettune.service"


def run(lab):
    # At boot irqbalance moves what was placed before the network, unless it is told at once.
    lab.want("quick_irqbalance; mkdir -p /etc/systemd/system/nettune.service.d; cd /etc/systemd/system/nettune.service.d;"
             " printf '[Service]\\nExecStartPre=/bin/sleep 4\\n' > wait.conf; systemctl daemon-reload; sync")
    lab.powercut()
    lab.boot()
    lab.want("settle; snapshot /var/tmp/lab-fresh && sync /var/tmp/lab-fresh")
    lab.want(f"umask 022; mkdir -p /etc/nettune/profiles; cat > /etc/nettune/profiles/lab.toml << 'TOML'\n{PROFILE}TOML")
    # Somebody's file with one of the keys, which sorts after what is usual.
    lab.want("echo net.core.somaxconn=4096 > /etc/sysctl.d/zzzz-other.conf")
    lab.want("nettune apply -p lab --persist")
    lab.want(f"systemd-analyze verify {' '.join('/etc/systemd/system/' + u for u in UNITS.split())}")
    for unit in [*UNITS.split(), "nettune-link@eth9.service"]:
        _, out, _ = lab.guest(f"systemd-analyze security --no-pager {unit} | tail -n 1")
        lab.note(f"security of {unit}: {out.strip()}")
    held(lab)
    lab.want("sync")

    lab.powercut()
    lab.boot()
    lab.want("settle")
    lab.want("for i in {1..60}; do systemctl -q is-active nettune.service && break; sleep 0.5; done")
    _, out, _ = lab.guest(f"systemctl status --no-pager -l {UNITS}; journalctl -b -u 'nettune*' --no-pager")
    lab.note(out)
    lab.want(f"systemctl is-active {UNITS}")
    # Before anything brought a link up, and before the network counts as there.
    enter = "systemctl show -p ActiveEnterTimestampMonotonic --value"
    begin = "systemctl show -p InactiveExitTimestampMonotonic --value"
    lab.want(f"(( $({enter} nettune-early.service) <= $({begin} systemd-networkd.service) ))")
    lab.want(f"(( $({enter} nettune-early.service) <= $({enter} network-online.target) ))")
    held(lab)
    lab.want("nettune verify")
    # What no file but the units brings back.
    lab.want("nettune status | grep -E '^  irq '; nettune status | grep -E '^  tcp '")
    lab.count("boots")

    lab.want("systemctl restart systemd-sysctl")
    held(lab)

    # A link that comes later, by its bus; and a pod's end, which is left alone.
    lab.monitor("netdev_add", type="hubport", id="n9", hubid=9)
    lab.monitor("device_add", driver="e1000e", netdev="n9", id="late", mac="52:54:00:77:09:02", addr="0x9")
    lab.want("for i in {1..60}; do late=$(link_with_mac 52:54:00:77:09:02) && break; sleep 0.5; done; udevadm settle;"
             " for i in {1..60}; do rps=$(cat /sys/class/net/$late/queues/rx-0/rps_cpus); [[ $rps != 0 ]] && break; sleep 0.5; done;"
             " echo $late $rps; systemctl status --no-pager nettune-link@$late; [[ $rps != 0 ]]", seconds=90)
    lab.want("ip link add v8 type veth peer name v9; udevadm settle; sleep 1;"
             " [[ $(cat /sys/class/net/v8/queues/rx-0/rps_cpus) == 0 ]] && ip link del v8"
             " && ! systemctl list-units --all --no-legend 'nettune-link@v*' | grep .")
    lab.want("nettune verify")
    lab.count("links")
    lab.monitor("device_del", id="late")
    lab.want("for i in {1..60}; do link_with_mac 52:54:00:77:09:02 || break; sleep 0.5; done; udevadm settle")

    # A rollback takes the link that is gone for what it is.
    code, out, err = lab.guest("nettune rollback")
    lab.note(out + err)
    if code not in (0, 6):
        lab.fail(f"rollback ended with {code}")
    lab.want("nettune status", code=3)
    # Though a file had set them before nettune ran in this boot.
    lab.want("[[ $(sysctl -n net.core.somaxconn) == 4096 && $(sysctl -n net.ipv4.tcp_syn_retries) == 6 ]]")
    lab.want("! ls /etc/systemd/system/nettune*.service /etc/systemd/system/*/*nettune* /etc/udev/rules.d/*nettune*"
             " /etc/sysctl.d/*nettune* /etc/nettune/boot 2>/dev/null")
    lab.want(f"! systemctl list-units --all --no-legend {UNITS} | grep .")
    lab.want("rm -r /etc/nettune /etc/sysctl.d/zzzz-other.conf; sync")
    lab.powercut()
    lab.boot()
    lab.want("settle; snapshot /var/tmp/lab-after; same /var/tmp/lab-fresh /var/tmp/lab-after 'the boot after the rollback'")
    lab.count("boots")


def held(lab):
    lab.want("[[ $(sysctl -n net.core.somaxconn) == 16384 && $(sysctl -n net.ipv4.tcp_syn_retries) == 5 ]]")
    lab.want("[[ $(cat /sys/devices/system/cpu/cpufreq/policy0/scaling_governor) == performance ]]")
