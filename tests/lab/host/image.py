"""The guest's disk and initramfs, made once for a kernel and cached."""

import os
import shutil
import subprocess

from common import CACHE, LAB, LabError, drop_older, key_of, run, say
from fetch import HOST_SUITE, kernel, mirror

PACKAGES = """systemd systemd-sysv dbus libpam-systemd tuned irqbalance udev kmod iproute2 nftables iptables ethtool
procps bpftool iputils-ping util-linux-extra""".split()
# Taken out of the disk: what no scenario can meet in a virtual machine, most of the size of a kernel.
MODULES_LEFT_OUT = """sound drivers/gpu drivers/media drivers/staging drivers/iio drivers/infiniband drivers/isdn
drivers/bluetooth drivers/net/wireless drivers/usb drivers/scsi drivers/md drivers/mtd drivers/hid drivers/input
drivers/accel drivers/ata drivers/comedi fs/ocfs2 fs/xfs fs/btrfs fs/bcachefs net/bluetooth
net/mac80211 net/wireless""".split()
FILES_LEFT_OUT = "usr/share/doc usr/share/man usr/share/locale var/cache/apt var/lib/apt/lists".split()
UNITS_ENABLED = ["systemd-networkd", "lab-agent", "tuned", "irqbalance"]
# Work that a timer or a first boot starts by itself would show up in snapshots at random moments.
UNITS_MASKED = """apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer fstrim.timer
systemd-tmpfiles-clean.timer e2scrub_reap.service systemd-timesyncd.service getty@tty1.service
serial-getty@ttyS0.service systemd-networkd-wait-online.service""".split()
# virtio_net too, so that the links have the same indices at each boot.
EARLY_MODULES = "crc32c_generic crc32c_intel crc32c_cryptoapi virtio_pci virtio_blk ext4 virtio_net".split()
DISK_SIZE = "1536M"

INIT = """#!/bin/busybox sh
B=/bin/busybox
$B mount -t proc proc /proc
$B mount -t sysfs sysfs /sys
$B mount -t devtmpfs dev /dev
while read -r m; do $B insmod "/modules/$m" || echo "lab: insmod $m failed"; done < /modules/order
n=0
until $B test -b /dev/vda || $B test $n -gt 100; do n=$((n + 1)); $B sleep 0.1; done
$B mount -t ext4 -o rw /dev/vda /root || exec $B sh
$B mount --move /dev /root/dev
$B umount /sys /proc
exec $B switch_root /root /sbin/init
"""


def base():
    """The Debian root file system all kernels share."""
    folder = CACHE / "base" / key_of(*PACKAGES)
    if folder.is_dir():
        return folder
    say("lab: making the root file system (about a minute)")
    for old in (CACHE / "base").glob("*"):
        shutil.rmtree(old)
    work = folder.with_suffix(".new")
    work.mkdir(parents=True)
    run("debootstrap", "--variant=minbase", f"--include={','.join(PACKAGES)}", HOST_SUITE, work, mirror())
    for name in FILES_LEFT_OUT:
        shutil.rmtree(work / name, ignore_errors=True)
    work.rename(folder)
    return folder


class Image:
    """What a machine of one kernel boots: vmlinuz, initrd, disk and their key."""

    def __init__(self, version, refresh=False):
        folder = kernel(version, refresh)
        self.version = version
        self.release = (folder / "release").read_text().strip()
        self.key = key_of(self.release, *PACKAGES, *MODULES_LEFT_OUT, *UNITS_ENABLED, *UNITS_MASKED, *EARLY_MODULES,
                          INIT, DISK_SIZE, LAB / "guest/rootfs")
        self.folder = folder
        self.vmlinuz = folder / "vmlinuz"
        images = CACHE / "images"
        images.mkdir(parents=True, exist_ok=True)
        self.disk = images / f"{version}-{self.key}.raw"
        self.initrd = images / f"{version}-{self.key}.initrd"
        self.acpi = images / f"cpufreq-{key_of(LAB / 'host/cpufreq.dsl')}.aml"
        if not self.acpi.exists():
            run("iasl", "-p", self.acpi.with_suffix(""), LAB / "host/cpufreq.dsl")
        if not (self.disk.exists() and self.initrd.exists()):
            say(f"lab: {version}: making the disk of {self.release}")
            self.make()
            drop_older(images, f"{version}-*", {self.disk, self.initrd})

    def make(self):
        root = CACHE / "images" / f"{self.version}.root"
        modules = self.tree(root)
        self.make_initrd(modules)
        part = self.disk.with_suffix(".new")
        self.pack(root, part)
        part.rename(self.disk)
        shutil.rmtree(root)

    def tree(self, root):
        """The guest's root file system as a folder; returns that of its modules."""
        shutil.rmtree(root, ignore_errors=True)
        run("cp", "-a", base(), root)
        modules = root / "usr/lib/modules" / self.release
        modules.parent.mkdir(parents=True, exist_ok=True)
        run("cp", "-a", self.folder / "modules", modules)
        for name in MODULES_LEFT_OUT:
            shutil.rmtree(modules / "kernel" / name, ignore_errors=True)
        for link in ("build", "source"):
            (modules / link).unlink(missing_ok=True)
        run("depmod", "-b", root / "usr", self.release)
        if (self.folder / "boot-config").exists():
            shutil.copy(self.folder / "boot-config", root / f"boot/config-{self.release}")
        run("cp", "-r", "--no-preserve=ownership,timestamps", f"{LAB}/guest/rootfs/.", root)
        (root / "etc/machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        run("chroot", root, "systemctl", "enable", *UNITS_ENABLED)
        run("chroot", root, "systemctl", "mask", *UNITS_MASKED)
        return modules

    @staticmethod
    def pack(root, disk):
        disk.unlink(missing_ok=True)
        run("mke2fs", "-q", "-t", "ext4", "-E", "lazy_itable_init=0,lazy_journal_init=0", "-L", "lab", "-d", root, disk,
            DISK_SIZE)

    def make_initrd(self, modules):
        tree = CACHE / "images" / f"{self.version}.initramfs"
        shutil.rmtree(tree, ignore_errors=True)
        for name in "bin dev proc sys root modules".split():
            (tree / name).mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), tree / "bin/busybox")
        os.symlink("busybox", tree / "bin/sh")
        (tree / "init").write_text(INIT)
        (tree / "init").chmod(0o755)
        order = []
        for path in early_modules(modules):
            name = path.name.split(".ko")[0] + ".ko"
            data = path.read_bytes()
            if path.suffix in (".xz", ".zst"):
                tool = "xz" if path.suffix == ".xz" else "zstd"
                data = subprocess.run([tool, "-dc", str(path)], check=True, capture_output=True).stdout
            (tree / "modules" / name).write_bytes(data)
            order.append(name)
        (tree / "modules/order").write_text("".join(f"{n}\n" for n in order))
        listing = "\n".join(str(p.relative_to(tree)) for p in sorted(tree.rglob("*")))
        packed = subprocess.run(["cpio", "-o", "-H", "newc", "--quiet", "-R", "0:0"], input=listing.encode(),
                                cwd=tree, capture_output=True, check=True).stdout
        self.initrd.write_bytes(packed)
        shutil.rmtree(tree)


def early_modules(modules):
    """The modules that find the disk, each after those it needs, as depmod has written them down."""
    needs = {}
    for line in (modules / "modules.dep").read_text().splitlines():
        path, _, rest = line.partition(":")
        needs[path] = rest.split()
    by_name = {p.rsplit("/", 1)[-1].split(".ko")[0].replace("-", "_"): p for p in needs}
    ordered = []

    def take(path):
        if path in ordered:
            return
        for other in needs[path]:
            take(other)
        ordered.append(path)

    for name in EARLY_MODULES:
        if name in by_name:
            take(by_name[name])
        elif name == "virtio_blk":
            raise LabError(f"{modules.name} has no virtio_blk module")
    return [modules / p for p in ordered]
