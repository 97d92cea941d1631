# timeout: 1200
"""Two e1000e links in an 802.3ad bond: reset one at a time, the next only when the first collects and distributes."""


def run(lab):
    # Each member's far end is a link of the same machine, in a namespace: a tap's Linux bridge would eat LACP.
    links = [lab.plug("e1000e", name, hub=hub) for name, hub in (("a1", 1), ("a2", 2), ("b1", 1), ("b2", 2))]
    lab.want(f". /usr/local/lib/lab/bond.sh; settle; bonded {' '.join(links)}", seconds=180)
    for part in ("rings", "mtu", "unproved", "stays_away"):
        lab.counts_of(lab.want(f". /usr/local/lib/lab/bond.sh; bond_{part}", seconds=500))
