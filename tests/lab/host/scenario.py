"""Scenarios: finding them, running one of either kind, and what a host-side one can do."""

import importlib.util
import io
import os
import random
import re
import shlex
import shutil
import tarfile
import time

from common import LAB, LabError, run
from vm import Shape, set_clock, settle

FOLDER = LAB / "scenarios"
GUEST_FOLDER = "/usr/local/lib/lab"
SKIPPED = 77
COUNT = re.compile(r"^COUNT (\S+) (\d+)$", re.M)


class Failure(Exception):
    """What a scenario found wrong."""


class Skip(Exception):
    """Why a scenario does not apply here."""


class Scenario:
    def __init__(self, path):
        self.path = path
        self.on_host = path.name.endswith(".host.py")
        self.name = path.name.removesuffix(".host.py")
        text = path.read_text()
        found = re.search(r"^# timeout: (\d+)$", text, re.M)
        self.seconds = int(found.group(1)) if found else 300
        self.needs_nettune = not self.name.startswith("selftest")


def all_scenarios():
    return [Scenario(p) for p in sorted(FOLDER.iterdir()) if p.is_file()]


def chosen(names):
    everything = all_scenarios()
    if not names:
        return [s for s in everything if not s.name.startswith("bench")]
    known = {s.name: s for s in everything}
    unknown = [n for n in names if n not in known]
    if unknown:
        raise LabError(f"no scenario {', '.join(unknown)}; there are: {', '.join(known)}")
    return [known[n] for n in names]


def strace():
    """This machine's strace and the libraries that come with it: both ends are Debian 12."""
    program = os.path.realpath(shutil.which("strace"))
    return [program, *re.findall(r"=> (\S*/libunwind\S*) ", run("ldd", program))]


def push(machine, nettune):
    """Puts the binary and the guest's side of the lab on the guest's disk."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as tar:
        def add(path, name, mode):
            with open(path, "rb") as file:
                info = tar.gettarinfo(arcname=name, fileobj=file)
                info.uid = info.gid = 0
                info.uname = info.gname = "root"
                info.mode = mode
                tar.addfile(info, file)

        for path in [*(LAB / "guest").glob("*.sh"), *(LAB / "guest").glob("*.py"), LAB.parent / "support/shell.sh"]:
            add(path, f"{GUEST_FOLDER}/{path.name}"[1:], 0o644)
        for scenario in all_scenarios():
            if not scenario.on_host:
                add(scenario.path, f"{GUEST_FOLDER}/scenarios/{scenario.name}"[1:], 0o755)
        if nettune:
            add(nettune, "usr/local/bin/nettune", 0o755)
        for path in strace():
            add(path, f"{path}"[1:], 0o755)
    code, out, err = machine.guest("tar -x -C / && sync", packed.getvalue(), 120)
    if code != 0:
        raise LabError(f"cannot put files into the guest: {out}{err}")


class Log(list):
    """Lines that can be watched while a scenario runs: tail -f CACHE/run-*/log."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def append(self, line):
        super().append(line)
        with open(self.path, "a") as file:
            file.write(f"{line}\n")


class Lab:
    """What `run(lab)` of a NAME.host.py gets."""

    def __init__(self, machine, deadline, seed, nettune):
        self.machine = machine
        self.nettune = nettune
        self.deadline = deadline
        self.random = random.Random(seed)
        self.log = Log(machine.work / "log")
        self.counts = {}

    def note(self, text):
        self.log.append(str(text))

    def count(self, name, more=1):
        self.counts[name] = self.counts.get(name, 0) + more

    def counts_of(self, said):
        """Takes over what lib.sh's `count` has counted in a guest's output."""
        for name, more in COUNT.findall(said):
            self.count(name, int(more))

    def fail(self, text):
        raise Failure(text)

    def skip(self, text):
        raise Skip(text)

    def left(self):
        left = self.deadline - time.monotonic()
        if left <= 0:
            raise Failure("the scenario's time is over")
        return left

    def guest(self, command, seconds=120):
        """(exit code, stdout, stderr) of a bash command in the guest, with lib.sh's functions at hand."""
        seconds = int(min(seconds, self.left())) or 1
        code, out, err = self.machine.guest(f". {GUEST_FOLDER}/lib.sh\n{command}", seconds=seconds)
        self.log.append(f"$ {command} -> {code}\n{out}{err}".rstrip())
        return code, out, err

    def want(self, command, code=0, out=None, seconds=120):
        """As guest(), and it must end with `code` and say `out`; returns what it said."""
        got, said, err = self.guest(command, seconds)
        if got != code:
            why = [line for line in said.splitlines() if line.startswith("FAILED: ")]
            raise Failure(why[-1].removeprefix("FAILED: ") if why else f"`{command}` ended with {got}, not {code}")
        if out is not None and said != out:
            raise Failure(f"`{command}` said {said!r}, not {out!r}")
        return said

    def start(self, command):
        """Starts a command in the guest and does not wait: for a power cut in the middle of it."""
        self.log.append(f"$ {command} &")
        self.machine.channel.send(command, seconds=300)

    def wait(self, seconds):
        time.sleep(min(seconds, self.left()))

    def powercut(self):
        self.log.append("-- power cut")
        self.machine.kill()

    def boot(self, settled=True):
        """Powers on with the disk as it is; waits until the boot is finished unless told otherwise."""
        self.log.append("-- boot")
        self.machine.start()
        if settled:
            settle(self.machine)

    def boot_from(self, disk, nettune=None):
        """Powers on with an overlay of another disk image, for the rest of this scenario."""
        self.log.append(f"-- boot from {disk.name}")
        self.machine.kill()
        self.machine.disk = self.machine.work / f"over-{disk.stem}.qcow2"
        self.machine.new_disk(disk)
        self.boot()
        push(self.machine, nettune)

    def boot_as(self, shape):
        """Powers on as another machine (a Shape of vm.py) with this disk, for the rest of this scenario."""
        self.log.append(f"-- boot as {shape.__name__}")
        self.machine.kill()
        self.machine.shape = shape
        self.boot()

    def peer(self, *argv, seconds=60):
        """Runs a program of this machine at the far end of the taps, 10.77.0.1."""
        return self.machine.peer(*argv, seconds=seconds)

    def plug(self, driver, name, **more):
        """Plugs in a NIC whose far end is a tap `name`; waits for the guest's driver and returns the link's name."""
        mac = self.machine.plug(driver, name, **more)
        self.log.append(f"-- {driver} plugged in as {name}, {mac}")
        return self.want(f"for i in {{1..100}}; do link_with_mac {mac} >/dev/null && break; sleep 0.2; done;"
                         # udev may be about to give it another name.
                         f" udevadm settle; link_with_mac {mac}").strip()

    def unplug(self, name, link):
        """Takes the NIC `name` out, which the guest calls `link`."""
        self.log.append(f"-- {name} unplugged")
        self.monitor("device_del", id=name)
        self.want(f"for i in {{1..100}}; do [[ -e /sys/class/net/{link} ]] || exit 0; sleep 0.2; done; exit 1")

    def monitor(self, command, **arguments):
        """A QMP command: device_add, device_del, set_link, cpu hotplug ..."""
        return self.machine.monitor(command, **arguments)


def run_one(scenario, machine, nettune, seed):
    """Runs a scenario in a machine that is as freshly booted: (status, log, counts)."""
    if machine.plugged:
        machine.kill()  # a saved state knows no other devices than its own
    if machine.process.poll() is None and machine.channel:
        machine.hmp("loadvm booted")
    else:
        machine.start(loadvm="booted")
    set_clock(machine)
    push(machine, nettune)
    return run_on_host(scenario, machine, seed, nettune) if scenario.on_host else run_in_guest(scenario, machine, seed)


def run_in_guest(scenario, machine, seed):
    asked = "".join(f" {k}={shlex.quote(v)}" for k, v in os.environ.items() if k.startswith("LAB_"))
    command = (f"export{asked} LAB_SEED={seed}; exec 2>&1; . {GUEST_FOLDER}/lib.sh; "
               f". {GUEST_FOLDER}/scenarios/{scenario.name}")
    code, out, err = machine.guest(command, seconds=scenario.seconds)
    log = out + err
    counts = {}
    for name, more in COUNT.findall(log):
        counts[name] = counts.get(name, 0) + int(more)
    if code == 124:
        log += f"\nFAILED: not through after {scenario.seconds} s"
    elif code not in (0, SKIPPED) and "FAILED: " not in log:
        log += f"\nFAILED: the scenario ended with {code}"
    return {0: "ok", SKIPPED: "skip"}.get(code, "FAIL"), log, counts


def run_on_host(scenario, machine, seed, nettune):
    lab = Lab(machine, time.monotonic() + scenario.seconds, seed, nettune)
    spec = importlib.util.spec_from_file_location("scenario_" + scenario.name.replace("-", "_"), scenario.path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    status, disk = "ok", machine.disk
    try:
        module.run(lab)
    except Skip as e:
        status = "skip"
        lab.note(f"SKIPPED: {e}")
    except (Failure, LabError, OSError) as e:
        status = "FAIL"
        lab.note(f"FAILED: {e or type(e).__name__}")
    if machine.disk != disk or machine.shape != Shape:
        machine.kill()
        machine.disk, machine.shape = disk, Shape
    return status, "\n".join(lab.log), lab.counts
