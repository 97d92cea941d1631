"""What benches/routing sends: frames of an XDP generator, or a socket's where a frame is too large for one; and what arrived."""

import ctypes
import os
import platform
import socket
import statistics
import struct
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent
FS = "/sys/fs/bpf"
LARGEST = 3400  # A live frame lies in one page, beside its headroom and the kernel's notes on it.


def sh(command, check=True):
    done = subprocess.run(["sh", "-ec", command], capture_output=True, text=True)
    if check and done.returncode:
        sys.exit(f"{command}\n{done.stdout}{done.stderr}")
    return done.stdout.strip()


def bpf(command, attr):
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    buffer = ctypes.create_string_buffer(attr, 128)
    result = ctypes.CDLL(None, use_errno=True).syscall(number, command, buffer, 128)
    if result < 0:
        raise OSError(ctypes.get_errno(), f"bpf({command})")
    return result, buffer.raw


def opened(path):
    text = ctypes.create_string_buffer(path.encode())
    return bpf(7, struct.pack("=Q", ctypes.addressof(text)))[0]


def update(fd, value):
    key, data = ctypes.c_uint32(0), ctypes.create_string_buffer(value, len(value))
    bpf(2, struct.pack("=IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(data), 0))


def counted(fd, cpu):
    """Of a per-CPU counter."""
    cpus = int(Path("/sys/devices/system/cpu/possible").read_text().split("-")[-1]) + 1
    key, data = ctypes.c_uint32(0), (ctypes.c_uint64 * cpus)()
    bpf(1, struct.pack("=IIQQQ", fd, 0, ctypes.addressof(key), ctypes.addressof(data), 0))
    return data[cpu]


def mac(link, netns=""):
    inside = f"ip netns exec {netns} " if netns else ""
    return bytes(int(b, 16) for b in sh(f"{inside}cat /sys/class/net/{link}/address").split(":"))


def index(link, netns):
    return int(sh(f"ip -n {netns} -o link show {link}").split(":")[0])


def family(address):
    return socket.AF_INET6 if ":" in address else socket.AF_INET


class Sender:
    """Packets from namespace peer, out of peer0 to the router, on each of some CPUs."""

    def __init__(self, cpus, batch, busy):
        if not os.path.exists(f"{FS}/bench"):
            sh(f"bpftool prog loadall {HERE}/bpf/bench.bpf.o {FS}/bench pinmaps {FS}/bench")
            # Attached somewhere, or each test run puts it into the kernel's XDP dispatcher and takes it out: two grace
            # periods of RCU, which are longer than the frames of a run.
            sh("ip -n peer link add hold type veth peer name hold1; "
               f"nsenter --net=/run/netns/peer bpftool net attach xdpgeneric pinned {FS}/bench/generate dev hold")
        self.received = opened(f"{FS}/bench/received")
        self.cpus, self.batch, self.busy = cpus, batch, busy

    def run(self, seconds):
        """Millions of packets a second that arrived, all CPUs together. A CPU that sends a packet also forwards and drops it."""
        rates, wrong = [], []

        def work(number, cpu):
            try:
                os.sched_setaffinity(0, {cpu})
                # Only while it sends: a program that waits for another one on its CPU would never end so.
                if self.busy:
                    os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(1))
                rates.append(self.rate(number, cpu, seconds))
            except OSError as error:
                wrong.append(error)
            finally:
                if self.busy:
                    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))

        if len(self.cpus) == 1:
            work(0, self.cpus[0])
        else:
            # Threads of whoever is in the namespace are in it as well.
            threads = [threading.Thread(target=work, args=pair) for pair in enumerate(self.cpus)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
        if wrong:
            raise wrong[0]
        return sum(rates) / 1e6

    def rate(self, number, cpu, seconds):
        """Packets a second of one CPU; `busy`: the median of the batches, which have not all been interrupted."""
        slices = []
        start = before = time.perf_counter()
        first = count = counted(self.received, cpu)
        for _ in self.send(number):
            now, more = time.perf_counter(), counted(self.received, cpu)
            slices.append((more - count) / (now - before))
            before, count = now, more
            if now - start >= seconds:
                break
        return statistics.median(slices) if self.busy else (count - first) / (before - start)


class Generator(Sender):
    """XDP live frames: they cost next to nothing."""

    def __init__(self, *how):
        super().__init__(*how)
        self.program, self.orders = opened(f"{FS}/bench/generate"), opened(f"{FS}/bench/orders")

    def aim(self, source, dest, flows, size):
        self.size, kind = size, family(dest)
        packed = [socket.inet_pton(kind, text) for text in (source, dest)]
        order = struct.pack("=III16s16s", index("peer0", "peer"), flows, kind, *packed)
        update(self.orders, order + mac("up0") + mac("peer0", "peer"))

    def send(self, _number):
        frame = ctypes.create_string_buffer(bytes(self.size), self.size)
        attr = struct.pack("=IIIIQQIIIIQQIII", self.program, 0, self.size, 0, ctypes.addressof(frame), 0, self.batch, 0,
                           0, 0, 0, 0, 2, 0, 64)
        while True:
            yield bpf(10, attr)


class Sockets(Sender):
    """UDP by sendmmsg: what a packet costs its sender is in the rate."""

    def aim(self, source, dest, _flows, size):
        self.source, self.dest = source, dest
        self.payload = size - 14 - 8 - (40 if family(dest) == socket.AF_INET6 else 20)

    def send(self, number):
        libc = ctypes.CDLL(None, use_errno=True)
        data = ctypes.create_string_buffer(self.payload)
        part = ctypes.create_string_buffer(struct.pack("=QQ", ctypes.addressof(data), self.payload), 16)
        one = struct.pack("=QQQQQQQQ", 0, 0, ctypes.addressof(part), 1, 0, 0, 0, 0)
        many = ctypes.create_string_buffer(one * 64, 64 * 64)
        with socket.socket(family(self.dest), socket.SOCK_DGRAM) as sock:
            sock.bind((self.source, 1024 + number))
            sock.connect((self.dest, 9))
            while True:
                for _ in range(16):
                    libc.sendmmsg(sock.fileno(), many, 64, 0)
                yield


def in_peer(action):
    """A live frame is sent by the namespace of whoever asks."""
    here, there = os.open("/proc/self/ns/net", 0), os.open("/run/netns/peer", 0)
    libc = ctypes.CDLL(None)
    assert libc.setns(there, 0x40000000) == 0
    try:
        return action()
    finally:
        assert libc.setns(here, 0x40000000) == 0
        os.close(here)
        os.close(there)
