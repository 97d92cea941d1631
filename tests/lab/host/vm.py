"""A virtual machine: QEMU in a network namespace of its own, its monitor, and the channel to the guest's agent."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

from common import CACHE, LabError, drop_older, key_of, run

# On a machine that does much else besides: LAB_BOOT_SECONDS=900.
BOOT_SECONDS = int(os.environ.get("LAB_BOOT_SECONDS", "240"))
# The tap's far end is the peer. The namespace belongs to the QEMU process and goes with it; no link leads out of it.
NETWORK = """
set -e
ip link set lo up
ip tuntap add dev lab0 mode tap multi_queue
ip tuntap add dev lab1 mode tap
ip addr add 10.77.0.1/24 dev lab0
ip addr add fd77::1/64 dev lab0 nodad
ip addr add 10.77.1.1/24 dev lab1
ip link set lab0 up
ip link set lab1 up
exec "$@"
"""
CMDLINE = ("root=/dev/vda rw console=ttyS0 loglevel=4 systemd.show_status=0 net.ifnames=1 "
           "systemd.log_level=notice random.trust_cpu=on mitigations=off")


# QEMU's emulation with a thread for each CPU has a race that a kernel falls into when it patches its own code, as `preempt`
# makes it do: a CPU goes on with the breakpoint that the patch has replaced long ago ("Oops: int3", or it hangs). With
# LAB_THREADS=single the CPUs take turns in one thread, slower and without the race.
THREADS = os.environ.get("LAB_THREADS", "multi")


# The kernel then clears and copies eight bytes at a time: under emulation a `rep movsb` costs what it has bytes (a fifth less
# for all that starts processes).
CPU = "Skylake-Client-v3,-erms,-fsrm"


# What a scenario may ask for instead of the usual machine.
class Shape:
    cpus, topology = 4, "sockets=2,cores=2,threads=1"
    cmdline = CMDLINE
    devices, bus = (), ""
    queues, vectors, slot = 4, 10, "addr=0x5"


class Wide(Shape):
    """Two threads a core, CPUs kept for others, and a NIC with 256 vectors that hangs on the second socket."""
    cpus, topology = 32, "sockets=2,cores=8,threads=2"
    cmdline = CMDLINE + " isolcpus=28-31 nohz_full=28-31"
    devices = ("-device", "pxb,id=second,bus=pci.0,bus_nr=128,numa_node=1,addr=0x10")
    bus = ",bus=pci.0"  # a second bus takes those that name none
    queues, vectors, slot = 127, 256, "bus=second,addr=0x1"


def qemu_arguments(image, second_nic, shape=Shape):
    half = shape.cpus // 2
    return [
        "qemu-system-x86_64", "-nodefaults", "-no-user-config", "-display", "none", "-machine", "pc",
        "-accel", f"tcg,thread={THREADS}", "-cpu", CPU, "-smp", f"{shape.cpus},{shape.topology}",
        "-m", "2048",
        "-object", "memory-backend-ram,id=m0,size=1G", "-object", "memory-backend-ram,id=m1,size=1G",
        "-numa", f"node,nodeid=0,cpus=0-{half - 1},memdev=m0",
        "-numa", f"node,nodeid=1,cpus={half}-{shape.cpus - 1},memdev=m1",
        "-acpitable", f"file={image.acpi}",
        "-kernel", str(image.vmlinuz), "-initrd", str(image.initrd), "-append", shape.cmdline,
        "-device", f"virtio-blk-pci,drive=disk,addr=0x4{shape.bus}",
        *shape.devices,
        "-netdev", f"tap,id=n0,ifname=lab0,queues={shape.queues},script=no,downscript=no",
        "-device", f"virtio-net-pci,netdev=n0,mq=on,vectors={shape.vectors},mac=52:54:00:77:00:02,{shape.slot}",
        "-netdev", "tap,id=n1,ifname=lab1,script=no,downscript=no",
        "-device", f"{second_nic},netdev=n1,mac=52:54:00:77:01:02,addr=0x6{shape.bus}",
        "-device", f"virtio-serial-pci,addr=0x7{shape.bus}",
        "-device", "virtserialport,chardev=agent,name=lab",
        "-device", f"virtio-rng-pci,addr=0x8{shape.bus}",
    ]


class Channel:
    """Requests to the agent and its answers, each with a deadline."""

    def __init__(self, path):
        self.socket = socket.socket(socket.AF_UNIX)
        self.socket.connect(str(path))
        self.buffer = b""
        self.number = int(time.time() * 1000) % 10**9  # unlike any number of an earlier connection

    def send(self, command, stdin=b"", seconds=60):
        self.number += 1
        command = command.encode()
        self.socket.settimeout(60)
        self.socket.sendall(b"LAB %d %d %d %d\n" % (self.number, seconds, len(command), len(stdin)) + command + stdin)
        return self.number

    def fill(self, deadline):
        left = deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError
        self.socket.settimeout(left)
        data = self.socket.recv(1 << 16)
        if not data:
            raise LabError("the machine has gone away")
        self.buffer += data

    def take(self, size, deadline):
        while len(self.buffer) < size:
            self.fill(deadline)
        data, self.buffer = self.buffer[:size], self.buffer[size:]
        return data

    def receive(self, number, seconds, first=None):
        """The answer with this number, or any from `first` on; those to requests given up before are passed over."""
        deadline = time.monotonic() + seconds
        while True:
            while b"\n" not in self.buffer:
                self.fill(deadline)
            line, self.buffer = self.buffer.split(b"\n", 1)
            head = re.fullmatch(rb"LAB (\d+) (\d+) (\d+) (\d+)", line.strip())
            if not head:
                continue
            got, code, outlen, errlen = (int(g) for g in head.groups())
            out, err = self.take(outlen, deadline), self.take(errlen, deadline)
            if (number if first is None else first) <= got <= number:
                return code, out.decode(errors="replace"), err.decode(errors="replace")


class Machine:
    """One machine with one disk, which may be started, cut off and started again."""

    def __init__(self, image, work, second_nic="e1000e"):
        self.image = image
        self.work = Path(work)
        self.second_nic = second_nic
        self.disk = self.work / "disk.qcow2"
        self.console = self.work / "console.log"
        self.process = self.channel = self.qmp = None
        self.shape = Shape
        self.boots = 0
        self.plugged = []

    def new_disk(self, of=None):
        """An empty overlay: the image itself is never written."""
        self.disk.unlink(missing_ok=True)
        run("qemu-img", "create", "-q", "-f", "qcow2", "-b", of or self.image.disk, "-F", "raw", self.disk)

    def start(self, loadvm=None):
        """Powers the machine on; without `loadvm` it boots from what is on the disk now."""
        self.boots += 1
        self.plugged = []
        for name in ("qmp", "agent"):
            (self.work / name).unlink(missing_ok=True)
        argv = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", NETWORK, "lab"]
        argv += qemu_arguments(self.image, self.second_nic, self.shape)
        argv += [
            # writeback: what the guest flushed is on the disk when the power goes, what it did not may be lost
            "-drive", f"if=none,id=disk,file={self.disk},format=qcow2,cache=writeback",
            "-chardev", f"socket,id=agent,path={self.work}/agent,server=on,wait=off",
            "-qmp", f"unix:{self.work}/qmp,server=on,wait=off",
            "-chardev", f"file,id=console,path={self.console},append=on", "-serial", "chardev:console",
        ]
        if loadvm:
            argv += ["-loadvm", loadvm]
        log = open(self.work / "qemu.log", "ab")
        self.process = subprocess.Popen(argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
        log.close()
        try:
            self.connect()
        except (TimeoutError, LabError, OSError) as e:
            self.kill()
            raise LabError(f"the machine did not come up ({e or 'timeout'}); its console ends with:\n"
                           f"{self.tail(self.console)}\n{self.tail(self.work / 'qemu.log')}") from e

    def connect(self):
        deadline = time.monotonic() + BOOT_SECONDS
        while not ((self.work / "qmp").exists() and (self.work / "agent").exists()):
            self.alive(deadline)
        self.qmp = socket.socket(socket.AF_UNIX)
        self.qmp.settimeout(120)
        self.qmp.connect(str(self.work / "qmp"))
        self.qmp_file = self.qmp.makefile("rw")
        self.qmp_file.readline()
        self.monitor("qmp_capabilities")
        self.channel = Channel(self.work / "agent")
        # A request sent before the agent listens can be lost: ask until one is answered, however late.
        first = self.channel.number + 1
        while True:
            number = self.channel.send("true", seconds=5)
            try:
                return self.channel.receive(number, 2, first)
            except TimeoutError:
                self.alive(deadline)

    def alive(self, deadline):
        if self.process.poll() is not None:
            raise LabError(f"QEMU ended with {self.process.returncode}")
        if time.monotonic() > deadline:
            raise TimeoutError
        time.sleep(0.05)

    def monitor(self, command, **arguments):
        """A QMP command, e.g. monitor("device_add", driver=..., id=...)."""
        self.qmp_file.write(json.dumps({"execute": command, "arguments": arguments}) + "\n")
        self.qmp_file.flush()
        while True:
            answer = json.loads(self.qmp_file.readline() or '{"error": "QEMU has ended"}')
            if "error" in answer:
                raise LabError(f"{command}: {answer['error']}")
            if "return" in answer:
                return answer["return"]

    def plug(self, driver, name, queues=1, hub=None, **more):
        """Plugs in a NIC `name`, with a new tap of that name at its far end or the other NICs of a hub (a number);
        returns its MAC address."""
        mac = f"52:54:00:77:{len(self.plugged) + 2:02x}:02"
        several = {"queues": queues} if queues > 1 else {}
        if hub is not None:
            self.monitor("netdev_add", type="hubport", id=f"net-{name}", hubid=hub)
        else:
            self.tap(name, queues)
            self.monitor("netdev_add", type="tap", id=f"net-{name}", ifname=name, script="no", downscript="no", **several)
        if driver.startswith("virtio-net"):
            more = {"mq": queues > 1, "vectors": 2 * queues + 2} | more
        self.monitor("device_add", driver=driver, id=name, netdev=f"net-{name}", mac=mac, **more)
        self.plugged.append(name)
        return mac

    def tap(self, name, queues):
        mode = ["mode", "tap"] + (["multi_queue"] if queues > 1 else [])
        code, _, err = self.peer("sh", "-ec", 'ip tuntap add dev "$@"; ip link set "$1" up', "lab", name, *mode)
        if code != 0:
            raise LabError(f"no tap {name}: {err}")

    def hmp(self, line):
        said = self.monitor("human-monitor-command", **{"command-line": line}).strip()
        if said:
            raise LabError(f"{line}: {said}")

    def guest(self, command, stdin=b"", seconds=60):
        """Runs a bash command in the guest: (exit code, stdout, stderr)."""
        number = self.channel.send(command, stdin, seconds)
        try:
            return self.channel.receive(number, seconds + 30)
        except TimeoutError:
            return 124, "", f"no answer from the guest; its console ends with:\n{self.tail(self.console)}"

    def peer(self, *argv, seconds=60):
        """Runs a program of this machine at the far end of the taps (10.77.0.1, 10.77.1.1)."""
        done = subprocess.run(["nsenter", "-t", str(self.process.pid), "-n", *argv], capture_output=True, text=True,
                              timeout=seconds)
        return done.returncode, done.stdout, done.stderr

    def kill(self):
        """The power goes: nothing is flushed, nothing is told to the guest."""
        if self.process and self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
        for end in (self.qmp, self.channel and self.channel.socket):
            if end:
                end.close()
        self.channel = self.qmp = None

    @staticmethod
    def tail(path):
        try:
            return "\n".join(path.read_text(errors="replace").splitlines()[-15:])
        except OSError:
            return ""


def booted(image, work, second_nic, cold, log):
    """A machine that has booted: from a state saved by an earlier run, or by booting it now and saving that."""
    states = CACHE / "states"
    states.mkdir(parents=True, exist_ok=True)
    key = key_of(image.key, *qemu_arguments(image, second_nic), run("qemu-system-x86_64", "--version"),
                 image.vmlinuz.stat().st_size)
    state = states / f"{image.version}-{second_nic}-{key}.qcow2"
    machine = Machine(image, work, second_nic)
    if state.exists() and not cold:
        run("cp", "--sparse=always", state, machine.disk)
        try:
            machine.start(loadvm="booted")
            set_clock(machine)
            return machine
        except LabError as e:
            log(f"the saved state is of no use, booting ({str(e).splitlines()[0]})")
            state.unlink()
    machine.new_disk()
    machine.start()
    settle(machine)
    machine.hmp("savevm booted")
    if not cold:
        part = state.with_suffix(".new")
        machine.kill()
        shutil.copyfile(machine.disk, part)
        os.replace(part, state)
        drop_older(states, f"{image.version}-{second_nic}-*", {state})
        machine.start(loadvm="booted")
        set_clock(machine)
    return machine


def settle(machine):
    """Waits until the guest has nothing more to start."""
    script = """
state=$(timeout 120 systemctl is-system-running --wait)
for i in {1..60}; do
    tuned=$(busctl --auto-start=no call com.redhat.tuned /Tuned com.redhat.tuned.control active_profile 2>/dev/null)
    [[ $tuned == 's "'?* ]] && break
    sleep 0.5
done
udevadm settle
[[ $state == running ]] && exit
echo "the system is $state"
systemctl list-units --failed --no-legend --plain
systemctl list-units --failed --no-legend --plain | while read -r unit _; do journalctl -b -o cat -n 100 -u "$unit"; done
systemctl list-jobs --no-legend
dmesg | grep -E 'Oops|lockup|stall|blocked for more' | tail -n 5
exit 1
"""
    code, out, err = machine.guest(script, seconds=180)
    if code != 0:
        raise LabError(f"the guest did not finish its boot: {out}{err}")


def set_clock(machine):
    machine.guest(f"date -s @{time.time():.3f} >/dev/null", seconds=20)
