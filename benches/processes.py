#!/usr/bin/env python3
"""What whole processes of nettune cost, interleaved with what a user would run instead and with the least that could be.

    sudo benches/processes.py [BINARY]

Needs root, cc, strace and time(1); works in network and mount namespaces of its own. Each figure is the median of ROUNDS runs (11),
all variants in turn in every round, so that a noisy machine is noisy for all of them. What is over its budget is said; the last line
of the table tells how many are.
"""

import json
import os
import re
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from hashlib import sha256
from pathlib import Path

import nodes
from nodes import CPUS, VECTORS, sh

HERE = Path(__file__).resolve().parent
ROUNDS = int(os.environ.get("ROUNDS", "11"))
CHECK = ["check", "-p", "cilium-max"]
BYPASS = ["--accept", "bypass,link-reset"]
ONLY = ["--only", "tcp,mtu,notrack", "--set", 'notrack.cidrs=["10.244.0.0/16"]', *BYPASS]


def measure(command):
    """(milliseconds of CPU, wall milliseconds, exit code) of one process."""
    pid = os.fork()
    if pid == 0:
        null = os.open(os.devnull, os.O_RDWR)
        for fd in (0, 1, 2):
            os.dup2(null, fd)
        os.execvp(command[0], command)
    start = time.monotonic()
    _, status, usage = os.wait4(pid, 0)
    wall = (time.monotonic() - start) * 1000
    return (usage.ru_utime + usage.ru_stime) * 1000, wall, os.waitstatus_to_exitcode(status)


def peak(command):
    """MiB at the peak, by time(1): a process forked from here would be given our own peak."""
    done = subprocess.run(["/usr/bin/time", "-f", "%M", *command], capture_output=True, text=True)
    return int(done.stderr.strip().splitlines()[-1]) / 1024


def row(name, label, runs, memory, budget):
    cpu, wall = ([run[at] for run in runs] for at in range(2))
    low, middle, high = statistics.quantiles(cpu, n=4)
    most, mib = budget
    held = [f"{most} ms" if most else "", f"{mib} MiB" if mib else ""]
    over = most and statistics.median(wall if "1,000 pods" in name else cpu) > most or mib and memory > mib
    told = ", ".join(filter(None, held)) + (" **OVER**" if over else "")
    codes = {run[2] for run in runs}
    if codes - {0, 1, 3}:
        raise SystemExit(f"{name}: {label} ended with {codes}")
    return f"| {name} | {label} | {middle:.1f} ({low:.1f}-{high:.1f}) | {statistics.median(wall):.1f} | {memory:.1f} | {told} |"


def scenario(name, prepare, variants):
    """Prepares in fresh namespaces, then runs all variants in turn: (label, command, its undoing, (ms, MiB) at most)."""

    def work():
        prepare()
        runs = {label: [] for label, *_ in variants}
        for _ in range(ROUNDS):
            for label, command, after, _ in variants:
                runs[label].append(measure(command))
                if after:
                    (runs[after[0]].append if after[0] in runs else lambda _: None)(measure(after[1]))
        lines = []
        for label, command, after, budget in variants:
            memory = peak(command)
            if after:
                measure(after[1])
            lines.append(row(name, label, runs[label], memory, budget))
        return "\n".join(lines) + "\n"

    print(nodes.within(work), end="", flush=True)


def floor(binary, root, work):
    """The least that could be: a program that reads the files which check reads, and no more."""
    subprocess.run(["cc", "-O2", "-o", f"{work}/floor", HERE / "floor.c"], check=True)

    def trace():
        nodes.uplink()
        subprocess.run(["strace", "-f", "-e", "trace=openat,openat2", "-o", "/run/trace", binary, *CHECK, "--host", root],
                       stdout=subprocess.DEVNULL, check=True)
        opened = re.findall(r'openat2?\([^,]+, "([^"]+)".*\) = [0-9]+$', Path("/run/trace").read_text(), re.M)
        return "\n".join(path if path.startswith("/") else f"{root}/{path}" for path in opened) + "\n"

    Path(f"{work}/files").write_text(nodes.within(trace))
    return [f"{work}/floor", f"{work}/files"]


def journal(binary, work, records):
    """A state folder of that many records: what one apply and its rollback write, again and again."""
    state = f"{work}/long"

    def made():
        nodes.uplink()
        base = [binary, "--state-dir", state]
        subprocess.run([*base, "apply", "-p", "cilium-max", "--only", "tcp"], stdout=subprocess.DEVNULL, check=True)
        subprocess.run([*base, "rollback"], stdout=subprocess.DEVNULL, check=True)
        return Path(f"{state}/journal.jsonl").read_text()

    first, *lines = nodes.within(made).splitlines()
    lines = [json.loads(line) for line in lines]
    with open(f"{state}/journal.jsonl", "w", encoding="utf-8") as out:
        out.write(first + "\n")
        for number in range(records):
            record = dict(lines[number % len(lines)])
            record.pop("sum")
            record["run"] += f" x{number // len(lines)}"
            text = json.dumps(record, separators=(",", ":"), ensure_ascii=False)[:-1]
            out.write(f'{text},"sum":"{sha256(text.encode()).hexdigest()[:16]}"}}\n')
    return state


def pods(count):
    sh("mount -t bpf bpf /sys/fs/bpf; ip netns add pods; sysctl -q -w net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1")
    nodes.uplink()
    batches = {"": ["link add p{n} type veth peer name e{n} netns pods", "link set p{n} up"], "-n pods ": ["link set e{n} up"]}
    batches[" "] = ["route add 10.244.{high}.{low} dev p{n}"]
    for where, batch in batches.items():
        text = "\n".join(line.format(n=n, high=n // 250, low=n % 250 + 1) for n in range(count) for line in batch)
        subprocess.run(["sh", "-c", f"ip {where}-batch -"], input=text + "\n", text=True, check=True)


def routes(count):
    nodes.uplink()
    text = "\n".join(f"route add 11.{n >> 16}.{n >> 8 & 255}.{n & 255}/32 via 10.0.0.1" for n in range(count))
    subprocess.run(["ip", "-batch", "-"], input=text + "\n", text=True, check=True)


def rules(count):
    nodes.uplink()
    text = "".join(f"add rule ip nat services ip daddr 10.{n >> 16}.{n >> 8 & 255}.{n & 255} tcp dport 80 counter jump one\n" for n in range(count))
    head = "add table ip nat\nadd chain ip nat services\nadd chain ip nat one\n"
    subprocess.run(["nft", "-f", "-"], input=head + text, text=True, check=True)


def main():
    binary = str(Path(sys.argv[1] if len(sys.argv) > 1 else next(HERE.parent.glob("target/*/release/nettune"))).resolve())
    work = tempfile.mkdtemp()
    os.chmod(work, 0o755)
    nodes.ordinary(f"{work}/root")
    nodes.large(f"{work}/large")
    Path(f"{work}/pods.toml").write_text('[host-routing]\nmode = "full"\n')
    base = [binary, "--state-dir", f"{work}/state"]
    peer = shutil.which("tuned-adm")
    none = (None, None)
    check = ("`check`", [*base, *CHECK], None, none)
    back = ("`rollback`", [*base, "rollback"])
    apply = ("`apply`", [*base, "apply", "-p", "cilium-max", *ONLY], back, none)
    verify = [("`tuned-adm verify`", [peer, "verify"], None, none)] if peer else []
    print("| node | command | CPU ms: median (quartiles) | wall ms | peak MiB | at most |")
    print("|---|---|---|---|---|---|")
    ordinary = [*base, "--host", f"{work}/root"]
    scenario("ordinary", nodes.uplink, [("floor", floor(binary, f"{work}/root", work), None, none),
                                        ("`check`", [*ordinary, *CHECK], None, (None, 8)), *verify])
    scenario("this machine's, 1 link", nodes.uplink, [check, apply])
    for count, spaces, budget in ((2000, 500, (60, 24)), (10000, 1000, (350, None))):
        scenario(f"{count:,} links", lambda c=count, s=spaces: nodes.links(c, s), [("`check`", check[1], None, budget), apply])
    scenario("100,000 routes", lambda: routes(100_000), [check])
    scenario("10,000 rules of nf_tables", lambda: rules(10_000), [check])
    host = [*base, "--host", f"{work}/large"]
    scenario(f"{CPUS} CPUs, {VECTORS:,} queues in use", nodes.many_queues, [
        ("`check`", [*host, *CHECK], None, (150, None)),
        ("`apply --only irq,cpu`", [*host, "apply", "-p", "cilium-max", "--only", "irq,cpu"], ("`rollback`", [*host, "rollback"]), (600, None))])
    on = [*base, "apply", "-p", f"{work}/pods.toml", *BYPASS]
    scenario("1,000 pods", lambda: pods(1000), [("`host-routing` full, on", on, back, (1000, None))])
    scenario("1,000 pods, covered", lambda: (pods(1000), measure(on)), [("off", [*base, "rollback"], ("on", on), (1000, None))])
    long = [binary, "--state-dir", journal(binary, work, 100_000)]
    scenario("a journal of 100,000 records", nodes.uplink, [("`status`", [*long, "status"], None, (300, 20))])
    shutil.rmtree(work)


if __name__ == "__main__":
    main()
