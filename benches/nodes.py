"""Nodes to measure on: namespaces with links, and folders that stand in for a root."""

import ctypes
import os
import re
import subprocess
import sys
from pathlib import Path

CPUS, VECTORS = 512, 4096


def sh(script):
    subprocess.run(["sh", "-euc", script], check=True)


def unshare():
    newnet, newns = 0x40000000, 0x00020000
    if ctypes.CDLL(None, use_errno=True).unshare(newnet | newns) != 0:
        raise OSError(ctypes.get_errno(), "unshare")
    sh("mount --make-rprivate /; mount -t sysfs sysfs /sys; mount -t tmpfs tmpfs /run; ip link set lo up")


def within(work):
    """What work() returns, as text, from a process in namespaces of its own."""
    read, write = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            unshare()
            os.write(write, work().encode())
            os._exit(0)
        except BaseException as error:
            print(error, file=sys.stderr, flush=True)
        finally:
            os._exit(1)
    os.close(write)
    with os.fdopen(read) as pipe:
        text = pipe.read()
    if os.waitpid(pid, 0)[1] != 0:
        raise SystemExit("the work in a namespace failed")
    return text


def uplink():
    sh("ip link add eth0 type veth peer name e1; ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up; ip link set e1 up; "
       "ip route add default via 10.0.0.1")


def links(count, spaces):
    """`count` veth links of which some have their peer in one of `spaces` other namespaces."""
    batch = [f"link add v{n} type veth peer name w{n}" for n in range(count // 2)]
    subprocess.run(["ip", "-batch", "-"], input="\n".join(batch) + "\n", text=True, check=True)
    for n in range(spaces):
        sh(f"ip netns add s{n}; ip link set w{n} netns s{n}")


def many_queues(count=VECTORS):
    """All of them in use: a link of two queues has two vectors, whatever its device lists."""
    sh(f"ip link add eth0 numtxqueues {count} numrxqueues {count} type veth peer name e1; "
       "ip addr add 10.0.0.2/24 dev eth0; ip link set eth0 up; ip link set e1 up; ip route add default via 10.0.0.1")


class Root:
    """A folder with the files of a node; eth0 is a link of the namespace."""

    def __init__(self, folder):
        self.folder = Path(folder)
        boot = "94a2ba0b-7143-407e-8284-78781f2868ae"
        for path, text in {"kernel/random/boot_id": boot, "kernel/osrelease": "6.12.48", "kernel/hostname": "node",
                           "kernel/version": "#1 SMP", "net/core/default_qdisc": "fq_codel", "net/core/somaxconn": "4096",
                           "net/ipv4/tcp_max_syn_backlog": "512", "net/ipv4/ip_forward": "0"}.items():
            self.put(f"proc/sys/{path}", text)
        self.put("proc/meminfo", "MemTotal:       16384000 kB")
        self.put("proc/cmdline", "root=/dev/vda1 ro quiet")

    def put(self, path, text):
        path = self.folder / path
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text + "\n")

    def cpus(self, count, nodes):
        cpu = "sys/devices/system/cpu"
        for name in ("online", "possible"):
            self.put(f"{cpu}/{name}", f"0-{count - 1}")
        self.put(f"{cpu}/isolated", "")
        for n in range(nodes):
            self.put(f"sys/devices/system/node/node{n}/cpulist", f"{n * count // nodes}-{(n + 1) * count // nodes - 1}")
        for n in range(count):
            half = count // 2
            self.put(f"{cpu}/cpu{n}/topology/thread_siblings_list", f"{n % half},{n % half + half}")
            for name, text in {"scaling_governor": "schedutil", "scaling_driver": "acpi-cpufreq", "affected_cpus": str(n),
                               "scaling_available_governors": "performance schedutil"}.items():
                self.put(f"{cpu}/cpufreq/policy{n}/{name}", text)

    def vectors(self, count, cpus):
        device = "sys/devices/pci0000:00/0000:00:05.0"
        for n in range(count):
            self.put(f"{device}/msi_irqs/{100 + n}", "msix")
            self.put(f"proc/irq/{100 + n}/smp_affinity_list", f"0-{cpus - 1}")
            self.put(f"sys/kernel/irq/{100 + n}/actions", f"eth0-TxRx-{n}")
        self.put(f"{device}/numa_node", "1")
        net = self.folder / "sys/class/net/eth0"
        net.mkdir(parents=True)
        (net / "device").symlink_to("../../../devices/pci0000:00/0000:00:05.0")


def large(folder):
    """512 CPUs in 8 nodes, and a link of 4,096 vectors."""
    root = Root(folder)
    root.cpus(CPUS, 8)
    root.vectors(VECTORS, CPUS)


def ordinary(folder):
    """8 CPUs, two vectors, systemd, a kernel's configuration as long as Debian's, some files of sysctls and of networkd."""
    root = Root(folder)
    root.cpus(8, 1)
    root.vectors(2, 8)
    for path in ("run/systemd/system/x", "sys/fs/cgroup/system.slice/cron.service/cgroup.procs"):
        root.put(path, "")
    asked = ["BPF_JIT=y", "BPF_SYSCALL=y", "CGROUP_BPF=y", "CPU_FREQ=y", "DEBUG_INFO_BTF=y", "NET_CLS_ACT=y", "NET_SCH_FQ=m",
             "NF_CONNTRACK=m", "NF_TABLES=m", "PREEMPT_DYNAMIC=y", "TCP_CONG_BBR=m", "XDP_SOCKETS=y"]
    lines = [f"# CONFIG_OPTION_{n} is not set" if n % 3 else f"CONFIG_SOME_OPTION_{n}=m" for n in range(10000)]
    for n, option in enumerate(asked):
        lines.insert(n * 800, f"CONFIG_{option}")
    root.put("boot/config-6.12.48", "\n".join(lines))
    for n in range(4):
        root.put(f"usr/lib/sysctl.d/{n}0-some.conf", "# of the distribution\nkernel.sysrq = 0x01b6\nnet.ipv4.conf.all.rp_filter = 2")
    root.put("etc/systemd/network/10-eth0.network", "[Match]\nName=eth0\n\n[Network]\nDHCP=yes")


def tool(package, program):
    """A root of Debian trixie with a package that this Debian has not, or not as new."""
    cache = Path(os.environ.get("NETTUNE_LAB_CACHE") or Path.home() / ".cache/nettune-lab")
    root = cache / package
    if not (root / program).exists():
        cache.mkdir(parents=True, exist_ok=True)
        prepare = Path(__file__).resolve().parent.parent / "packaging/prepare"
        mirror = subprocess.run(["sh", "-c", f". {prepare}; mirror"], capture_output=True, text=True, check=True).stdout.strip()
        # Whole or not at all: one that was interrupted has a program that does not run.
        new = cache / f"{package}.new"
        subprocess.run(["rm", "-rf", "--one-file-system", new], check=True)
        done = subprocess.run(["debootstrap", "--variant=minbase", f"--include={package}", "trixie", new, mirror],
                              stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        if done.returncode != 0:
            raise SystemExit(f"debootstrap of trixie: {done.stdout[-2000:]}")
        new.rename(root)
    return root


def valgrind():
    """A root with a valgrind that knows what we call."""
    return tool("valgrind", "usr/bin/valgrind")


def xdp_tools():
    """A root with an `xdp-forward load` (xdp-tools 1.5)."""
    return tool("xdp-tools", "usr/sbin/xdp-forward")


def foreign(root, program):
    """(environment, words) that run a program of a root from outside of it, with the libraries of that root."""
    libraries = next(root.glob("usr/lib/*/ld-linux-*.so.*")).parent
    loader = next(libraries.glob("ld-linux-*.so.*"))
    return {"LIBXDP_OBJECT_PATH": str(libraries / "bpf")}, [str(loader), "--library-path", str(libraries), str(root / program)]


def foreign_files(root, program):
    """What foreign() needs of a root, of a program with BPF objects of libxdp: paths below it."""
    _, words = foreign(root, program)
    said = subprocess.run([words[0], "--list", *words[1:]], capture_output=True, text=True, check=True).stdout
    found = {Path(path) for path in re.findall(rf"({re.escape(str(root))}\S+) \(0x", said)} | {Path(words[0]), root / program}
    found.update(root.glob("usr/lib/*/bpf/xdp-dispatcher.o"))
    return sorted(path.relative_to(root) for path in found)


def instructions(tool, folder, words):
    """User instructions of FOLDER/nettune WORDS.., which sees the folder as /bench; from within a namespace."""
    sh(f"mkdir -p {tool}/bench; mountpoint -q {tool}/bench || {{ mount --bind {folder} {tool}/bench; mount -t proc proc {tool}/proc; "
       f"mount -t sysfs sysfs {tool}/sys; mount -t tmpfs tmpfs {tool}/run; }}")
    command = ["chroot", tool, "valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", "/bench/nettune", *words]
    grind = subprocess.run(command, capture_output=True, text=True)
    found = re.search(r"I\s+refs:\s+([0-9,]+)", grind.stderr)
    if grind.returncode != 0 or not found:
        raise SystemExit(f"callgrind ended with {grind.returncode}: {grind.stderr[-2000:]}")
    return int(found[1].replace(",", ""))
