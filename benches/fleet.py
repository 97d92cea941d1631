#!/usr/bin/env python3
"""Time and peak memory of merging the reports of a fleet.

    benches/fleet.py [BINARY] [NODES]

Needs time(1) (Debian package time). The reports are this node's own `check --json` under other names; every tenth holds another lever
back, with a reason of its own, so that the merge has something to tell apart.
"""

import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

BINARY = sys.argv[1] if len(sys.argv) > 1 else "target/release/nettune"
NODES = int(sys.argv[2]) if len(sys.argv) > 2 else 5000
ROUNDS = int(os.environ.get("ROUNDS", "5"))


def fleet(folder):
    """Writes the reports; their size in MB."""
    text = subprocess.run([BINARY, "check", "--json"], capture_output=True, text=True, check=True).stdout
    chance = random.Random(1)
    size = 0
    for number in range(NODES):
        report = json.loads(text)
        report["node"].update(name=f"node-{number:05}", kubernetes_name=None, cilium="1.18.4")
        shares = [t["cluster"] for t in report["tweaks"] if t["cluster"]]
        for share in shares:
            share["status"] = "cilium"
        if number % 10 == 0:
            share = chance.choice(shares)
            share["status"] = "blocked"
            reason = {"code": "made-up", "text": f"kind {chance.randrange(20)} of trouble", "fix": None}
            share["reasons"] = [reason]
        line = json.dumps(report)
        size += len(line)
        (folder / f"{number:05}.json").write_text(line)
    return size / 1e6


def measure(command):
    """(seconds on the clock, MiB at the peak)."""
    timed = ["/usr/bin/time", "-f", "%e %M", *command]
    done = subprocess.run(timed, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=True)
    seconds, kib = done.stderr.strip().splitlines()[-1].split()
    return float(seconds), int(kib) / 1024


def main():
    print("| command | s (median, most) | peak MiB |\n|---|---|---|")
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        size = fleet(folder)
        for form in ([], ["--command"], ["--node-configs"], ["--json"]):
            command = [BINARY, "cilium", "values", "--cilium", "1.18", *form, name]
            runs = [measure(command) for _ in range(ROUNDS)]
            seconds = [s for s, _ in runs]
            title = " ".join(["nettune cilium values", *form])
            peak = max(m for _, m in runs)
            print(f"| `{title}` | {statistics.median(seconds):.2f}, {max(seconds):.2f} | {peak:.1f} |")
        print(f"\n{NODES} reports, {size:.0f} MB", file=sys.stderr)


main()
