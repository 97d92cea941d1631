# timeout: 600
"""A NIC unplugged while values of ours are on it, and another one plugged in that takes its name."""


def run(lab):
    lab.want("settle; snapshot /run/lab-bare")
    link = lab.plug("virtio-net-pci", "lab2", queues=4, addr="0x10")
    lab.want(f"ip link set {link} up; settle")
    lab.want(f"""mkdir -p /run/lab; umask 077
printf '%s\\n' 'links = ["{link}"]' '[nic]' 'channels = 2' '[irq]' '[steering]' '[bandwidth-manager]' > /run/lab/nic.toml
expect 0 nettune apply -p /run/lab/nic.toml --accept "$IMPACTS" --set 'tcp.sysctl."net.ipv4.conf.{link}.arp_ignore"=1'
expect 0 nettune verify
[[ $(ethtool -l {link} | tail -n 4 | grep -c 'Combined:.*2') == 1 ]] || fail "not 2 channels" """)
    lab.unplug("lab2", link)
    code, out, err = lab.guest("nettune verify")
    lab.note(f"verify without the link: {code}")
    if code not in (0, 4) or link not in out + err:
        lab.fail(f"verify without {link} ended with {code} and said: {out}{err}")
    # A new NIC in the same slot has the old one's name and nothing of ours.
    again = lab.plug("e1000e", "lab3", addr="0x10")
    if again != link:
        lab.want(f"ip link set {again} down; ip link set {again} name {link}")
    lab.want(f". /usr/local/lib/lab/nic.sh; ready_link {link}; settle; snapshot /run/lab-new")
    code, out, err = lab.guest("nettune rollback")
    if code not in (0, 6) or link not in out + err:
        lab.fail(f"rollback without {link} ended with {code} and said: {out}{err}")
    lab.want("nettune status", code=3)
    # What is of the machine and not of the link goes back; of the new link nothing changes.
    lab.want("""settle; snapshot /run/lab-after
for f in new after; do grep -E -v -e '^(service|irq|files) ' -e 'net\\.core\\.default_qdisc' /run/lab-$f > /run/lab-$f.link; done
same /run/lab-new.link /run/lab-after.link 'rollback touched the new link'""")
    lab.unplug("lab3", link)
    lab.want("settle; snapshot /run/lab-end; same /run/lab-bare /run/lab-end 'after the link went'")
    lab.count("unplugged")
