"""Programs, kernels and the mirror: everything that comes through apt."""

import os
import re
import shutil

from common import CACHE, LabError, run, say

# The program that is wanted, and the package that has it.
PROGRAMS = {
    "qemu-system-x86_64": "qemu-system-x86",
    "qemu-img": "qemu-utils",
    "debootstrap": "debootstrap",
    "iasl": "acpica-tools",
    "busybox": "busybox-static",
    "cpio": "cpio",
    "xz": "xz-utils",
    "zstd": "zstd",
    "depmod": "kmod",
    "mke2fs": "e2fsprogs",
    "ip": "iproute2",
    "nsenter": "util-linux",
    "strace": "strace",
}
HOST_SUITE = "bookworm"
SUITES = {"5.10": "bullseye", "6.1": "bookworm", "6.12": "trixie", "7": "trixie-backports"}
KERNEL_PACKAGE = re.compile(r"^linux-(image|binary|modules|base)-\d")
KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"
QUIET = dict(os.environ, DEBIAN_FRONTEND="noninteractive")
INSTALL = ["install", "-y", "-qq", "--no-install-recommends", "-o", "DPkg::Lock::Timeout=300"]


def need_programs():
    """Installs what is missing, and only that: a package of a machine that has it stays as it is."""
    for _ in range(2):  # a package of this suite may have thrown out its neighbour of another
        missing = sorted({pkg for prog, pkg in PROGRAMS.items() if not shutil.which(prog)})
        if not missing:
            return
        say(f"lab: installing {' '.join(missing)}")
        qemu = [pkg for pkg in missing if pkg.startswith("qemu-")]
        if qemu and install_from_backports(qemu):
            continue
        run("apt-get", "update", "-qq", env=QUIET)
        run("apt-get", *INSTALL, *missing, env=QUIET)


def install_from_backports(packages):
    """Under QEMU 10 a boot takes two thirds of the time that it takes under 7.2; False where the mirror has no backports."""
    backports = f"{HOST_SUITE}-backports"
    try:
        suite = Suite(backports, beside=[HOST_SUITE], status="/var/lib/dpkg/status")
        suite.update()
        run("apt-get", *suite.options, *INSTALL, "-t", backports, *packages, env=QUIET)
    except LabError as e:
        say(f"lab: no newer QEMU from {backports}, taking {HOST_SUITE}'s: {e}")
        return False
    return True


def mirror():
    """The archive this machine's own apt uses for its suite."""
    fmt = "$(REPO_URI)|$(CODENAME)|$(COMPONENT)"
    for line in run("apt-get", "indextargets", "--format", fmt, "Created-By: Packages").splitlines():
        uri, codename, component = line.split("|")
        if codename == HOST_SUITE and component == "main":
            return uri.rstrip("/")
    raise LabError(f"apt on this machine has no source for {HOST_SUITE} main (is it Debian 12?)")


class Suite:
    """Another suite's index in a private apt root; the machine's own lists stay untouched, and its packages, too, unless
    `status` is its own."""

    def __init__(self, name, beside=(), status="/dev/null"):
        self.name = name
        self.root = CACHE / "apt" / name
        for folder in ("lists/partial", "cache/archives/partial"):
            (self.root / folder).mkdir(parents=True, exist_ok=True)
        sources = self.root / "sources.list"
        sources.write_text("".join(f"deb [signed-by={KEYRING}] {mirror()} {suite} main\n" for suite in (name, *beside)))
        self.options = []
        for option in (
            f"Dir::Etc::sourcelist={sources}",
            "Dir::Etc::sourceparts=-",
            "Dir::Etc::preferencesparts=-",
            f"Dir::State::lists={self.root}/lists",
            f"Dir::State::status={status}",
            f"Dir::Cache={self.root}/cache",
            "APT::Architecture=amd64",
            "APT::Sandbox::User=root",
            "Acquire::Languages=none",
            "Acquire::Retries=3",
        ):
            self.options += ["-o", option]

    def update(self):
        try:
            run("apt-get", *self.options, "update", "-qq")
            run("apt-cache", *self.options, "show", "linux-image-amd64")
        except LabError as e:
            raise LabError(f"suite {self.name} cannot be had from this machine's mirror: {e}") from e

    def kernel_packages(self):
        """The newest kernel's packages, however many the suite splits it into."""
        listed = run("apt-cache", *self.options, "depends", "--recurse", "--no-recommends", "--no-suggests",
                     "--no-conflicts", "--no-breaks", "--no-replaces", "--no-enhances", "linux-image-amd64")
        return sorted({line for line in listed.splitlines() if KERNEL_PACKAGE.match(line)})

    def download(self, packages, folder):
        run("apt-get", *self.options, "download", "-qq", *packages, cwd=folder)


def kernel(version, refresh=False):
    """The unpacked kernel of a version: a folder with vmlinuz, config, release and modules/."""
    folder = CACHE / "kernels" / version
    if (folder / "release").exists() and not refresh:
        return folder
    suite = Suite(SUITES[version])
    suite.update()
    packages = suite.kernel_packages()
    if not packages:
        raise LabError(f"suite {suite.name} names no kernel packages")
    say(f"lab: {version}: fetching {' '.join(packages)}")
    work = folder.with_suffix(".new")
    shutil.rmtree(work, ignore_errors=True)
    (work / "deb").mkdir(parents=True)
    (work / "tree").mkdir()
    suite.download(packages, work / "deb")
    for deb in (work / "deb").glob("*.deb"):
        run("dpkg-deb", "-x", deb, work / "tree")
    arrange(work)
    shutil.rmtree(folder, ignore_errors=True)
    work.rename(folder)
    return folder


def arrange(work):
    """Puts the parts where the lab looks for them, wherever this kernel's packages have them."""
    tree = work / "tree"
    found = [d for top in ("lib/modules", "usr/lib/modules") for d in tree.glob(f"{top}/*") if (d / "kernel").is_dir()]
    if len(found) != 1:
        raise LabError(f"expected one set of modules in the kernel packages, found {found}")
    modules, release = found[0], found[0].name
    images = [p for p in (tree / f"boot/vmlinuz-{release}", modules / "vmlinuz") if p.is_file()]
    images = images or [p for p in tree.rglob("vmlinuz*") if p.is_file() and not p.is_symlink()]
    if not images:
        raise LabError(f"no vmlinuz in the packages of {release}")
    shutil.copy(images[0], work / "vmlinuz")
    # Debian puts the configuration in /boot, from 7.x beside the modules; the guest sees it in the same place.
    config = tree / f"boot/config-{release}"
    if config.is_file():
        shutil.copy(config, work / "boot-config")
    else:
        beside = [p for p in tree.glob(f"usr/lib/modules/{release}/config")]
        if beside and beside[0].parent != modules:
            shutil.copy(beside[0], modules / "config")
    shutil.move(modules, work / "modules")
    shutil.rmtree(tree)
    shutil.rmtree(work / "deb")
    (work / "release").write_text(release + "\n")
