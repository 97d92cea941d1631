# timeout: 1500
"""Channels, rings, RSS table and key, coalescing and offloads on each driver that QEMU has, and back byte for byte."""


def run(lab, back=""):
    rss = lab.plug("virtio-net-pci", "lab2", queues=4, rss=True, hash=True, rx_queue_size=1024, tx_queue_size=256)
    vmxnet3 = lab.plug("vmxnet3", "lab3")
    e1000e = lab.plug("e1000e", "lab4")
    igb = lab.plug("igb", "lab5", addr="0xe")
    main = lab.want('echo "$NIC"').strip()
    lab.want("settle")
    for link, parts in {
        e1000e: ["rings", "keys"],
        igb: ["channels", "rings", "rss", "keys"],
        vmxnet3: ["channels", "rings", "rss", "keys"],
        rss: ["channels", "rings", "rss", "keys"],
        main: ["channels"],
    }.items():
        for part in parts:
            lab.counts_of(lab.want(f"BACK={back}; . /usr/local/lib/lab/nic.sh; nic_round {link} {part}", seconds=400))
    if lab.counts.get("channels", 0) < 4 or lab.counts.get("rings", 0) < 2:
        lab.fail(f"too little could be set to say anything: {lab.counts}")
