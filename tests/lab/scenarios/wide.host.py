# timeout: 2400
"""Two sockets with two threads a core, CPUs kept for others, and a NIC with 256 vectors on the second socket. With
LAB_CAPTURE=FOLDER the files that facts are read from go there, for the unit tests of facts."""

import json
import os
from pathlib import Path

from vm import Wide

USE = ". /usr/local/lib/lab/wide.sh; cd /root"


def run(lab):
    lab.want("sync")
    lab.boot_as(Wide)
    lab.want("settle")
    link = lab.plug("vmxnet3", "lab2", bus="pci.0")  # whose vectors have the link's name
    lab.want(f"ip link set {link} up; settle")
    if folder := os.environ.get("LAB_CAPTURE"):
        text = lab.want(f"{USE}; capture", seconds=300)
        release = lab.want("uname -r").strip()
        Path(folder, f"wide-{release}.txt").write_text(text)
    facts = json.loads(lab.want("nettune --json facts"))
    seen(lab, facts.get("facts", facts))
    # The disk's queues are placed by the kernel itself: EIO.
    lab.want("irq=$(awk -F: '/virtio.*-req/ { print $1 + 0; exit }' /proc/interrupts); ! echo 1 > /proc/irq/$irq/smp_affinity_list")
    lab.want("snapshot /var/tmp/lab-before", seconds=600)
    for command in ["-p cilium-max --only nic,irq,steering,cpu", "-p cilium-max --only irq,steering",
                    "-p cilium-max --only irq --set irq.irqbalance=stop"]:
        lab.want(f'expect 0 nettune apply {command} --accept link-reset; note "$OUT"', seconds=600)
        lab.want(f"{USE}; placed $NIC; again {command}; expect 0 nettune verify")
        lab.want(f"expect 0 nettune rollback; settle; snapshot /var/tmp/lab-after;"
                 f" same /var/tmp/lab-before /var/tmp/lab-after 'after the rollback of {command}'", seconds=600)
        lab.count("applied")
    # So many that irqbalance cannot be told of them: it is stopped, and started again.
    lab.want(f"{USE}; ethtool -L $NIC combined 127; settle; snapshot /var/tmp/lab-before", seconds=600)
    lab.want('expect 0 nettune apply -p cilium-max --only irq; note "$OUT"; ! systemctl -q is-active irqbalance', seconds=600)
    lab.want("again -p cilium-max --only irq; expect 0 nettune verify")
    lab.want("expect 0 nettune rollback; systemctl -q is-active irqbalance; settle; snapshot /var/tmp/lab-after;"
             " same /var/tmp/lab-before /var/tmp/lab-after 'after the rollback with all 127 queues'", seconds=600)
    lab.count("applied")


def seen(lab, facts):
    """By the machine that this is."""
    cpus = facts["cpus"]
    wide = [link for link in facts["links"] if link.get("numa_node") == 1]
    if [link["driver"] for link in wide] != ["virtio_net"]:
        lab.fail(f"on the second node: {wide}")
    vectors = wide[0]["vectors"]
    found = {"vectors": len(vectors), "queues": len({v["queue"] for v in vectors if v.get("queue") is not None}),
             "isolated": cpus["isolated"], "numa": cpus["numa"], "cores": len(cpus["cores"])}
    want = {"vectors": 255, "queues": 127, "isolated": "28-31", "numa": {"0": "0-15", "1": "16-31"}, "cores": 16}
    if found != want:
        lab.fail(f"facts are {found}, not {want}")
    lab.count("vectors", len(vectors))
