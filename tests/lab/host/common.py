"""What every part of the lab's host side shares: paths, errors, running programs."""

import hashlib
import os
import subprocess
import sys
from pathlib import Path

LAB = Path(__file__).resolve().parent.parent
REPO = LAB.parent.parent
CACHE = Path(os.environ.get("NETTUNE_LAB_CACHE") or Path.home() / ".cache" / "nettune-lab")


class LabError(Exception):
    """The lab itself could not do something; the text is for the person who started it."""


def say(text):
    print(text, file=sys.stderr, flush=True)


def run(*argv, **options):
    """Runs a program, returns its stdout, raises LabError with its stderr when it fails."""
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, **options)
    if done.returncode != 0:
        tail = "\n".join((done.stderr or done.stdout).strip().splitlines()[-8:])
        raise LabError(f"`{' '.join(str(a) for a in argv)}` failed ({done.returncode}):\n{tail}")
    return done.stdout


def key_of(*parts):
    """A short name for cached things: a hash of texts and of the files (or trees) given as Path."""
    h = hashlib.sha256()
    for part in parts:
        if isinstance(part, Path):
            for file in sorted(part.rglob("*")) if part.is_dir() else [part]:
                h.update(str(file.relative_to(LAB)).encode() + b"\0")
                if file.is_symlink():
                    h.update(os.readlink(file).encode())
                elif file.is_file():
                    h.update(file.read_bytes())
        else:
            h.update(str(part).encode())
        h.update(b"\1")
    return h.hexdigest()[:12]


def drop_older(folder, pattern, keep):
    """Removes the files that an older key left behind."""
    for old in folder.glob(pattern):
        if old not in keep:
            old.unlink()
