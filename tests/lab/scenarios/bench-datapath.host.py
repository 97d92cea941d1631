# timeout: 3000
"""Packets a second beside the peers, on a kernel that has a flowtable, and on 1, 2 and 4 CPUs. It only prints
(docs/performance.md has the figures), so it is run when it is named."""

import io
import sys
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(HERE / "benches"))

import nodes  # noqa: E402

# Under emulation a round is slow: few packets in it, and some of them while the host did something else.
COMMON = "--ruled --batch 4096 --busy --seconds 0.6 --rounds 9"
RUNS = [f"--only {what} --cpus {n}" for n in (1, 4, 2) for what in ("pods --established", "uplinks")]


def packed():
    """The benchmark and what it runs: the programs, and xdp-forward with its libraries where it can be had."""
    files = io.BytesIO()
    root = None
    with tarfile.open(fileobj=files, mode="w:gz", dereference=True) as tar:
        for name in ("routing", "frames.py", "nodes.py"):
            tar.add(HERE / "benches" / name, f"benches/{name}")
        for path in sorted((HERE / "bpf").glob("*.o")):
            tar.add(path, path.relative_to(HERE))
        try:
            root = nodes.xdp_tools()
            for path in nodes.foreign_files(root, "usr/sbin/xdp-forward"):
                tar.add(root / path, f"xdp-tools/{path}")
        except (OSError, SystemExit) as error:
            print(f"no xdp-tools: {error}")
    return files.getvalue(), "xdp-tools" if root else "none"


def run(lab):
    files, tools = packed()
    code, _, said = lab.machine.guest("mkdir -p /root/nettune && tar xz -C /root/nettune", stdin=files)
    if code:
        lab.fail(f"unpack: {said}")
    for module in ["nf_flow_table", "nf_flow_table_inet", "nf_conntrack", "nf_tables", "veth"]:
        lab.guest(f"modprobe {module}")
    for what in RUNS:
        _, said, wrong = lab.guest(
            f"cd /root/nettune && NETTUNE=$(command -v nettune) python3 benches/routing {COMMON} {what} --xdp-tools {tools}",
            seconds=900)
        print(f"\nbenches/routing {COMMON} {what}\n{said}", flush=True)
        if "| nettune" not in said:
            lab.fail(f"no figures of {what}: {wrong}")
        lab.count("variants", said.count("\n| ") - 1)
