"""Runs scenarios on kernels and tells how they went."""

import argparse
import fcntl
import hashlib
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import fetch
import report
import scenario
import vm
from common import CACHE, REPO, LabError, say
from image import Image

# A look in minutes, on the oldest and the newest kernel.
SHORT = ("check-rows", "roundtrip")
# All that the scenarios which can do more or less of the same have to do.
FULL = {"LAB_CUTS": "30", "LAB_KILLS": "all", "LAB_PAIRS": "all"}
DEFAULT_BIN = REPO / "target/x86_64-unknown-linux-gnu/release/nettune"


def arguments():
    p = argparse.ArgumentParser(prog="tests/lab/run", description="Runs nettune in virtual machines with real kernels.")
    p.add_argument("scenarios", nargs="*", metavar="scenario", help="names from tests/lab/scenarios; all without")
    p.add_argument("--kernel", default="all", help=f"{', '.join(fetch.SUITES)} or all; several with commas")
    p.add_argument("--bin", type=Path, default=DEFAULT_BIN, help="the static nettune (default: the release build)")
    p.add_argument("--out", type=Path, default=CACHE / "results.json", help="where results.json goes; logs/ beside it")
    p.add_argument("--table", type=Path, help="write the kernel x scenario table there, as Markdown")
    p.add_argument("--add", action="store_true", help="keep what --out holds of other scenarios and kernels")
    p.add_argument("--nic", choices=["e1000e", "vmxnet3"], default="e1000e", help="the second link's hardware")
    p.add_argument("--seed", type=int, help="repeat the random moments of an earlier run")
    p.add_argument("--cold", action="store_true", help="boot each kernel instead of using its saved booted state")
    p.add_argument("--refresh", action="store_true", help="look for newer kernels than the cached ones")
    p.add_argument("--keep", action="store_true", help="keep disks, consoles and QEMU's log")
    p.add_argument("--exec", metavar="COMMAND", help="run this in a fresh machine and show it, instead of scenarios")
    p.add_argument("--short", action="store_true", help=f"only {', '.join(SHORT)}, on the oldest and the newest kernel")
    p.add_argument("--full", action="store_true", help="30 power cuts, each kill, each pair (hours for a kernel)")
    p.add_argument("--jobs", type=int, default=1, help="kernels at once, each a machine of its own")
    p.add_argument("--list", action="store_true", help="list the scenarios")
    args = p.parse_args()
    every = list(fetch.SUITES)
    if args.short:
        args.scenarios = args.scenarios or list(SHORT)
        every = [every[0], every[-1]]
    args.kernels = every if args.kernel == "all" else args.kernel.split(",")
    for version in args.kernels:
        if version not in fetch.SUITES:
            p.error(f"no kernel {version}: {', '.join(fetch.SUITES)} or all")
    return args


class Runner:
    def __init__(self, args):
        self.args = args
        self.results = []
        self.seed = args.seed if args.seed is not None else random.randrange(10**6)
        self.logs = args.out.parent / "logs"
        self.nettune = args.bin if args.bin.is_file() else None
        self.build = hashlib.sha256(args.bin.read_bytes()).hexdigest()[:12] if self.nettune else None

    def scenarios(self):
        todo = scenario.chosen(self.args.scenarios)
        if not self.nettune and not self.args.exec:
            needing = [s.name for s in todo if s.needs_nettune]
            if needing:
                raise LabError(f"there is no binary {self.args.bin}, and these need it: {', '.join(needing)}")
        return todo

    def machine(self, version, work):
        """The machine of a kernel, booted. One run at a time prepares what the cache holds."""
        with open(CACHE / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            image = Image(version, self.args.refresh)
            return image, vm.booted(image, work, self.args.nic, self.args.cold, say)

    def record(self, version, release, name, status, began, log, counts):
        seconds = round(time.monotonic() - began, 1)
        entry = {"kernel": version, "release": release, "scenario": name, "status": status, "seconds": seconds,
                 "counts": counts, "seed": self.seed, "build": self.build}
        if log.strip():
            self.logs.mkdir(parents=True, exist_ok=True)
            path = self.logs / f"{version}-{name}.log"
            path.write_text(log.rstrip() + "\n")
            entry["log"] = str(path.relative_to(self.args.out.parent))
        if status != "ok":
            reasons = [line for line in log.splitlines() if line.startswith(("FAILED", "SKIPPED"))]
            entry["reason"] = reasons[-1] if reasons else ""
        self.results.append(entry)
        self.write()
        counted = "".join(f"  {k} {v}" for k, v in counts.items())
        print(f"{version:<5} {name:<22} {status:<4} {seconds:6.1f}s{counted}", flush=True)
        if status == "FAIL":
            print("".join(f"      {line}\n" for line in log.rstrip().splitlines()[-25:]), end="", flush=True)
        elif status == "skip":
            print(f"      {entry['reason']}", flush=True)

    def counted(self):
        return [sum(r["status"] == status for r in self.results) for status in ("FAIL", "ok")]

    def write(self):
        """After each scenario: a run that is broken off has its results too. Runs side by side share a file with --add."""
        ours = {(r["kernel"], r["scenario"]) for r in self.results}
        self.args.out.parent.mkdir(parents=True, exist_ok=True)
        with open(self.args.out.with_suffix(".lock"), "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            earlier = report.earlier(self.args.out) if self.args.add else []
            kept = [r for r in earlier if (r["kernel"], r["scenario"]) not in ours]
            report.save(self.args.out, kept + self.results)

    def kernel(self, version, todo):
        work = Path(tempfile.mkdtemp(prefix=f"run-{version}-", dir=CACHE))
        machine, release, began = None, "", time.monotonic()
        try:
            image, machine = self.machine(version, work)
            release = image.release
            say(f"lab: {version}: {release} is up after {time.monotonic() - began:.1f}s")
            for one in todo:
                began = time.monotonic()
                status, log, counts = scenario.run_one(one, machine, self.nettune, self.seed)
                if status == "FAIL":
                    log = f"{log.rstrip()}\n-- seed {self.seed}, {release}"
                self.record(version, release, one.name, status, began, log, counts)
        except (LabError, TimeoutError, OSError) as e:
            self.record(version, release, "machine", "FAIL", began, f"FAILED: {e or type(e).__name__}", {})
        finally:
            if machine:
                machine.kill()
            if self.args.keep:
                say(f"lab: kept {work}")
            else:
                shutil.rmtree(work, ignore_errors=True)

    def execute(self, version):
        """--exec: one command in a fresh machine, for looking around."""
        with tempfile.TemporaryDirectory(prefix=f"run-{version}-", dir=CACHE) as work:
            _, machine = self.machine(version, Path(work))
            try:
                scenario.push(machine, self.nettune)
                command = f". {scenario.GUEST_FOLDER}/lib.sh\n{self.args.exec}"
                code, out, err = machine.guest(command, seconds=600)
            finally:
                machine.kill()
        print(out, end="")
        print(err, end="", file=sys.stderr)
        return code


def side_by_side(args):
    """A process for each kernel, --jobs of them at once, all with one file of results."""
    if not args.add:
        args.out.unlink(missing_ok=True)
    waiting = [[sys.executable, "-B", __file__, *sys.argv[1:], "--kernel", version, "--jobs", "1", "--add"]
               for version in args.kernels]
    running, failed = [], False
    try:
        while waiting or running:
            while waiting and len(running) < args.jobs:
                running.append(subprocess.Popen(waiting.pop(0)))
            time.sleep(0.5)
            done = [one for one in running if one.poll() is not None]
            failed |= any(one.returncode != 0 for one in done)
            running = [one for one in running if one not in done]
    finally:
        for one in running:
            one.terminate()
        for one in running:
            one.wait()
    return 1 if failed else 0


def main():
    args = arguments()
    if args.full:
        for name, much in FULL.items():
            os.environ.setdefault(name, much)
    if args.list:
        for one in scenario.all_scenarios():
            print(f"{one.name:<22} {'host' if one.on_host else 'guest'}, at most {one.seconds} s")
        return 0
    if os.geteuid() != 0:
        raise LabError("the lab needs root: for apt, debootstrap and the machines' network")
    CACHE.mkdir(parents=True, exist_ok=True)
    fetch.need_programs()
    if args.jobs > 1 and not args.exec:
        return side_by_side(args)
    runner = Runner(args)
    todo = runner.scenarios()
    if args.exec:
        return max(runner.execute(version) for version in args.kernels)
    for version in args.kernels:
        runner.kernel(version, todo)
    failed, passed = runner.counted()
    print(f"{passed} passed, {failed} failed")
    if args.table:
        report.write(args.table, report.earlier(args.out))
    return 1 if failed or not passed else 0


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))  # so that machines and their disks go
    try:
        sys.exit(main())
    except LabError as e:
        sys.exit(f"lab: {e}")
    except KeyboardInterrupt:
        sys.exit(130)
