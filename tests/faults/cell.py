"""A cell for a run: network, mounts and processes of its own, so that nothing is left behind however it ends.

In it a run may fill a small disk and cut network links, and be root without touching the machine. Its first process
is a shell: that one takes in what is orphaned, and when it dies the kernel ends all the others.
"""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Sequence

_UNSHARE = ("unshare", "--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc", "--")
_INIT = '"$@"; exit $?'
"""Not `exec`: the shell must stay."""


def refused() -> str:
    """Why no cell can be had here; empty where one can."""
    missing = [tool for tool in ("unshare", "nsenter", "setpriv", "ip", "mount") if shutil.which(tool) is None]
    if missing:
        return f"{', '.join(missing)} is missing (on Debian: apt-get install util-linux iproute2)"
    tried = subprocess.run(
        [*_UNSHARE, "ip", "link", "add", "name", "tried", "type", "veth", "peer", "name", "other"],
        capture_output=True,
        text=True,
        check=False,
    )
    return "" if tried.returncode == 0 else f"namespaces cannot be made: {tried.stderr.strip()}"


def run(command: Sequence[str]) -> int:
    """Run `command` in a cell; its exit code. Whatever ends this process ends all that is in it."""
    words = ["setpriv", "--pdeathsig", "KILL", "--", *_UNSHARE, "sh", "-c", _INIT, "sh", *command]
    return subprocess.run(words, check=False).returncode
