# timeout: 1500
"""As nic, with undo.sh in place of rollback: channels, rings, RSS, coalescing and offloads by the node's own ethtool."""

import runpy
from pathlib import Path


def run(lab):
    runpy.run_path(str(Path(__file__).with_name("nic.host.py")))["run"](lab, back="script")
