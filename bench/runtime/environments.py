"""The peers' Python environments: made once, outside the project, from the one table of their pinned versions."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

SHARED = ("fastavro==1.13.1", "uvloop==0.23.0")
"""The same Avro library and event loop on every side, ours included."""
PINNED: dict[str, tuple[str, ...]] = {
    "bare": ("aiokafka==0.14.0", *SHARED),
    "faststream": ("faststream[kafka]==0.7.8", "aiokafka==0.14.0", *SHARED),
    "faust": ("faust-streaming==0.15.3", "aiokafka==0.14.0", *SHARED),
    "quix": ("quixstreams==3.28.1", *SHARED),
}
"""What each peer's environment is made of."""
INSTALL_TIMEOUT_S = 600


class InstallError(RuntimeError):
    """A peer's environment could not be made; the message says what pip said."""


def folder() -> Path:
    """Where the environments are kept."""
    cache = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(cache) / "sixfold" / "bench-peers"


def python_of(peer: str, pinned: Mapping[str, tuple[str, ...]] = PINNED) -> str:
    """The interpreter of `peer`'s environment, which is made first where it is missing or its pins have changed.

    Raises InstallError.
    """
    wanted = "\n".join((sys.version, *pinned[peer]))
    home = folder() / f"{peer}-{hashlib.sha256(wanted.encode()).hexdigest()[:12]}"
    python, complete = home / "bin" / "python", home / "complete"
    if complete.exists():
        return str(python)
    folder().mkdir(parents=True, exist_ok=True)
    with (folder() / f"{peer}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not complete.exists():
            print(f"installing {', '.join(pinned[peer])}", flush=True)
            shutil.rmtree(home, ignore_errors=True)
            _run(peer, sys.executable, "-m", "venv", str(home))
            _run(peer, str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *pinned[peer])
            complete.touch()
    return str(python)


def _run(peer: str, *command: str) -> None:
    done = subprocess.run(command, capture_output=True, text=True, timeout=INSTALL_TIMEOUT_S, check=False)
    if done.returncode:
        raise InstallError(f"{peer}: expected `{' '.join(command[:4])} …` to succeed, found:\n{done.stderr[-2000:]}")
