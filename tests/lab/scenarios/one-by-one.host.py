# timeout: 900
"""Two uplinks whose driver takes the link down for each change: whatever is changed or put back, one of them carries."""


def run(lab):
    # Its virtual functions take two slots more, sixteen further on.
    links = [lab.plug("igb", name, addr=addr) for name, addr in (("lab2", "0xb"), ("lab3", "0xe"))]
    for n, name in enumerate(("lab2", "lab3")):
        lab.peer("ip", "link", "set", name, "mtu", "9000")
        lab.peer("ip", "addr", "add", f"10.77.{n + 2}.1/24", "dev", name)
    said = lab.want(f". /usr/local/lib/lab/one-by-one.sh; settle; one_by_one {' '.join(links)}", seconds=600)
    lab.counts_of(said)
