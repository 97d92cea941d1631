# timeout: 1500
"""Packets a second with the kernel's flowtable, on a kernel that has one. It only prints (docs/performance.md has the
figures), so it is run when it is named."""

import io
import tarfile
from pathlib import Path

HERE = Path(__file__).resolve().parents[3]


def run(lab):
    files = io.BytesIO()
    with tarfile.open(fileobj=files, mode="w:gz") as tar:
        for path in [HERE / "benches/routing", *sorted((HERE / "bpf").glob("*.o"))]:
            tar.add(path, path.relative_to(HERE))
    code, _, said = lab.machine.guest("mkdir -p /root/nettune && tar xz -C /root/nettune", stdin=files.getvalue())
    if code:
        lab.fail(f"unpack: {said}")
    for module in ["nf_flow_table", "nf_conntrack", "nf_tables", "veth"]:
        lab.guest(f"modprobe {module}")
    # Under emulation a round is slow: few packets, many rounds.
    _, said, wrong = lab.guest(
        "cd /root/nettune && NETTUNE=$(command -v nettune) python3 benches/routing --only pods --established"
        " --rounds 9 --seconds 0.5", seconds=1300)
    lab.note(said + wrong)
    print(said, flush=True)
    if "nettune established" not in said:
        lab.fail(f"no figures: {wrong}")
    lab.count("variants", said.count("\n| ") - 1)
