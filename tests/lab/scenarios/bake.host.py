# timeout: 2400
"""A root file system in a plain folder is baked, checked, undone byte for byte and baked again; what boots from it is tuned,
also before the units have run, and so is a machine whose running root was baked as a build of an image does it."""

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

PROFILE = """
[tuned]
profile = "network-throughput"
[tcp.sysctl]
"net.core.somaxconn" = { at-least = 16384 }
[irq]
policy = "numa-local"
irqbalance = "stop"
[bandwidth-manager]
[bbr]
"""


def run(lab):
    work = Path(lab.machine.work)
    (work / "lab.toml").write_text(PROFILE)
    (work / "lab.toml").chmod(0o600)
    root = work / "root"
    lab.machine.image.tree(root)
    try:
        baked(lab, root, work)
        lab.machine.image.pack(root, work / "baked.raw")
    finally:
        shutil.rmtree(root)
    lab.boot_from(work / "baked.raw")
    tuned(lab)
    lab.want("nettune bake --root / --image-build --check")
    lab.count("boots")

    # The other way: in the image itself, as Packer and a Dockerfile do. The lab's own disk, with no trace of the above.
    lab.boot_from(lab.machine.image.disk, lab.nettune)
    lab.want(f"umask 077; cat > /root/lab.toml << 'TOML'\n{PROFILE}TOML")
    lab.want("nettune bake --root / -p /root/lab.toml", code=78)
    lab.want("cp /usr/local/bin/nettune /tmp/nettune; rm /usr/local/bin/nettune;"
             " /tmp/nettune bake --root / --image-build -p /root/lab.toml && sync", seconds=600)
    lab.powercut()
    lab.boot()
    tuned(lab)
    lab.count("boots")


def nettune(lab, *argv, code=0):
    env = dict(os.environ, SOURCE_DATE_EPOCH="1700000000")
    done = subprocess.run([lab.nettune, *map(str, argv)], capture_output=True, text=True, env=env)
    lab.note(f"$ nettune {' '.join(map(str, argv))} -> {done.returncode}\n{done.stdout}{done.stderr}".rstrip())
    if done.returncode != code:
        lab.fail(f"nettune {argv[0]} ended with {done.returncode}, not {code}")


def listing(root):
    """Each path with kind, mode, owner, time, attributes and content, by other means than nettune's."""
    lines = []
    for folder, folders, files in os.walk(root):
        for path in [Path(folder), *(Path(folder, name) for name in files + folders)]:
            stat = path.lstat()
            line = [str(path.relative_to(root)), oct(stat.st_mode), stat.st_uid, stat.st_gid, stat.st_mtime_ns]
            line += [(name, os.getxattr(path, name, follow_symlinks=False))
                     for name in sorted(os.listxattr(path, follow_symlinks=False))]
            if path.is_symlink():
                line.append(os.readlink(path))
            elif path.is_file():
                line.append(hashlib.sha256(path.read_bytes()).hexdigest())
            lines.append(repr(line))
    return sorted(set(lines))


def baked(lab, root, work):
    before = listing(root)
    bake = ("bake", "--root", root)
    nettune(lab, *bake, "-p", work / "lab.toml")
    first = listing(root)
    nettune(lab, *bake, "--check")
    nettune(lab, *bake, "--undo")
    after = listing(root)
    if after != before:
        lab.fail("undo left: " + "; ".join(sorted(set(after) ^ set(before))[:10]))
    nettune(lab, *bake, "--check", code=3)
    nettune(lab, *bake, "-p", work / "lab.toml")
    if listing(root) != first:
        lab.fail("baked again, and not the same: " + "; ".join(sorted(set(listing(root)) ^ set(first))[:10]))
    lab.count("images")


def tuned(lab):
    lab.want("for i in {1..120}; do systemctl -q is-active nettune.service && break; sleep 0.5; done; settle")
    _, out, _ = lab.guest("systemctl --no-pager -l status nettune-early.service nettune.service")
    lab.note(out)
    lab.want("systemctl is-active nettune-early.service nettune.service")
    lab.want("[[ $(sysctl -n net.core.default_qdisc) == fq && $(sysctl -n net.ipv4.tcp_congestion_control) == bbr ]]")
    # Set by a file, before the first link and long before the unit that sees to it.
    lab.want("journalctl -b -o short-monotonic --no-pager -u systemd-sysctl -u nettune")
    lab.want("[[ $(sysctl -n net.core.somaxconn) -ge 16384 ]]")
    lab.want("tc qdisc show dev $NIC | grep -q 'qdisc fq '")
    lab.want("[[ $(tuned_profile) == network-throughput ]]")
    lab.want("! systemctl is-active irqbalance")
    lab.want("nettune status | grep -E '^  (irq|tcp) '")
    lab.want("nettune verify")
