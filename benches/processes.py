#!/usr/bin/env python3
"""CPU time and peak memory of whole processes, interleaved with what a user would run instead.

    sudo benches/processes.py [BINARY] > docs/performance-table.md

Needs root and time(1) (Debian package time); works in network and mount namespaces of its own. Each row is the median of ROUNDS runs, all
variants in turn in every round, so that a noisy machine is noisy for all of them.
"""

import ctypes
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROUNDS = int(os.environ.get("ROUNDS", "11"))
CPUS, VECTORS = 512, 4096
ONLY = ["--only", "tcp,mtu,notrack", "--set", 'notrack.cidrs=["10.244.0.0/16"]', "--accept", "bypass"]


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
    code = os.waitstatus_to_exitcode(status)
    return (usage.ru_utime + usage.ru_stime) * 1000, wall, code


def peak(command):
    """MiB at the peak, by time(1): a process forked from here would be given our own peak."""
    done = subprocess.run(["/usr/bin/time", "-f", "%M", *command], capture_output=True, text=True)
    return int(done.stderr.strip().splitlines()[-1]) / 1024


def unshare():
    newnet, newns = 0x40000000, 0x00020000
    if ctypes.CDLL(None, use_errno=True).unshare(newnet | newns) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def sh(script):
    subprocess.run(["sh", "-euc", script], check=True)


def links(count, spaces):
    """`count` veth links of which some have their peer in one of `spaces` other namespaces."""
    batch = [f"link add v{n} type veth peer name w{n}" for n in range(count // 2)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(batch) + "\n", text=True, check=True)
    for n in range(spaces):
        sh(f"ip netns add s{n}; ip link set w{n} netns s{n}")


def fake_root(folder):
    """A root with many CPUs and a link of many vectors; eth0 is a veth of this namespace."""
    root = Path(folder)

    def put(path, text):
        path = root / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    for path in ("sys/kernel/random/boot_id", "sys/kernel/osrelease", "sys/kernel/hostname", "meminfo", "cmdline"):
        put(f"proc/{path}", Path(f"/proc/{path}").read_text().strip())
    cpu = "sys/devices/system/cpu"
    for name in ("online", "possible"):
        put(f"{cpu}/{name}", f"0-{CPUS - 1}")
    put(f"{cpu}/isolated", "")
    for n in range(8):
        put(f"sys/devices/system/node/node{n}/cpulist", f"{n * CPUS // 8}-{(n + 1) * CPUS // 8 - 1}")
    for n in range(CPUS):
        put(f"{cpu}/cpu{n}/topology/thread_siblings_list", f"{n % (CPUS // 2)},{n % (CPUS // 2) + CPUS // 2}")
        put(f"{cpu}/cpufreq/policy{n}/scaling_governor", "schedutil")
        put(f"{cpu}/cpufreq/policy{n}/scaling_driver", "acpi-cpufreq")
        put(f"{cpu}/cpufreq/policy{n}/affected_cpus", str(n))
        put(f"{cpu}/cpufreq/policy{n}/scaling_available_governors", "performance schedutil")
    device = "sys/devices/pci0000:00/0000:00:05.0"
    for n in range(VECTORS):
        put(f"{device}/msi_irqs/{100 + n}", "msix")
        put(f"proc/irq/{100 + n}/smp_affinity_list", f"0-{CPUS - 1}")
        put(f"sys/kernel/irq/{100 + n}/actions", f"eth0-TxRx-{n}")
    put(f"{device}/numa_node", "1")
    net = root / "sys/class/net/eth0"
    net.mkdir(parents=True)
    (net / "device").symlink_to("../../../devices/pci0000:00/0000:00:05.0")
    for key, value in {"core/somaxconn": 4096, "core/default_qdisc": "fq_codel", "ipv4/tcp_max_syn_backlog": 512}.items():
        put(f"proc/sys/net/{key}", str(value))


def scenario(name, prepare, variants):
    """Prepares in fresh namespaces, then runs all variants in turn."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        unshare()
        sh("mount --make-rprivate /; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; ip link set lo up")
        prepare()
        lines = []
        runs = {label: [] for label, _, _ in variants}
        for _ in range(ROUNDS):
            for label, command, after in variants:
                runs[label].append(measure(command))
                if after:
                    measure(after)
        peaks = {}
        for label, command, after in variants:
            peaks[label] = peak(command)
            if after:
                measure(after)
        for label, _, _ in variants:
            cpu, wall = (statistics.median(run[i] for run in runs[label]) for i in range(2))
            spread = max(run[0] for run in runs[label]) - min(run[0] for run in runs[label])
            codes = sorted({run[2] for run in runs[label]})
            memory = peaks[label]
            lines.append(f"| {name} | `{label}` | {cpu:.1f} ± {spread / 2:.1f} | {wall:.1f} | {memory:.1f} | {codes} |")
        os.write(write, ("\n".join(lines) + "\n").encode())
        os._exit(0)
    os.close(write)
    with os.fdopen(read) as pipe:
        print(pipe.read(), end="", flush=True)
    os.waitpid(pid, 0)


def main():
    if len(sys.argv) > 1:
        binary = sys.argv[1]
    else:
        binary = str(next(Path(__file__).parent.parent.glob("target/*/release/nettune")))
    work = tempfile.mkdtemp()
    nettune = [binary, "--state-dir", f"{work}/state"]
    peer = shutil.which("tuned-adm")
    print("| node | command | CPU ms (median ± half the spread) | wall ms | peak MiB | exit |")
    print("|---|---|---|---|---|---|")
    check = ("nettune check", nettune + ["check", "-p", "cilium-max"], None)
    apply = ("nettune apply", nettune + ["apply", "-p", "cilium-max", *ONLY], nettune + ["rollback"])
    verify = [("tuned-adm verify", [peer, "verify"], None)] if peer else []
    for count, spaces in ((1, 0), (100, 20), (2000, 500)):
        scenario(f"{count} links", lambda c=count, s=spaces: links(max(c, 2), s), [check, apply, *verify])
    root = f"{work}/root"
    fake_root(root)
    host = nettune + ["--host", root]
    big = ("nettune check", host + ["check", "-p", "cilium-max"], None)
    applied = ("nettune apply --only irq,cpu", host + ["apply", "-p", "cilium-max", "--only", "irq,cpu"],
               host + ["rollback"])
    # All of them in use: a link of two queues has two vectors, whatever its device lists.
    eth0 = f"ip link add eth0 numtxqueues {VECTORS} numrxqueues {VECTORS} type veth peer name e1; " \
           "ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up; ip link set e1 up; ip route add default via 10.0.0.1"
    scenario(f"{CPUS} CPUs, {VECTORS} vectors", lambda: sh(eth0), [big, applied, *verify])
    shutil.rmtree(work)


main()
