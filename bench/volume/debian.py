"""Peers' programs from Debian's packages, unpacked into a cache folder: nothing is installed, and no root is needed.

apt works on lists of its own in that folder; of the packages and what they depend on, it fetches what the machine lacks.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import re
import shutil
import subprocess
from pathlib import Path

from bench.runtime import environments

PACKAGES: dict[str, tuple[str, ...]] = {
    "etcd": ("etcd-server", "nghttp2-client"),
    "mariadb": ("mariadb-server-core", "mariadb-client-core", "mariadb-client"),
}
"""What each peer is made of: the server, and the client that loads it."""
SERVERS = {"etcd": "etcd", "mariadb": "mariadbd"}
"""The program that says a peer's version."""
TIMEOUT_S = 600
_VERSION = re.compile(r"\d+\.\d+\.\d+\S*")


class PeerMissingError(RuntimeError):
    """A peer cannot be had on this machine; the message says why."""


class Programs:
    """A peer's programs, and the environment that they need."""

    def __init__(self, root: Path) -> None:
        binaries = [str(root / "usr" / name) for name in ("bin", "sbin")]
        libraries = sorted(str(path) for where in ("usr/lib", "lib") for path in (root / where).glob("*-linux-gnu*"))
        self._path = os.pathsep.join([*binaries, os.environ.get("PATH", ""), "/usr/sbin"])
        self.environment = {"PATH": self._path, "LD_LIBRARY_PATH": os.pathsep.join(libraries)}

    def path(self, name: str) -> str:
        """Where the program `name` is. Raises PeerMissingError."""
        found = shutil.which(name, path=self._path)
        if found is None:
            raise PeerMissingError(f"expected a program {name} in Debian's packages, found none")
        return found

    def version(self, name: str) -> str:
        """What it says of itself, without the rest of the line."""
        said = _run([self.path(name), "--version"], self.environment)
        found = _VERSION.search(said.removeprefix(self.path(name)))
        return found.group() if found else said.splitlines()[0]


def programs(peer: str) -> Programs:
    """Those of `peer`, fetched where they are missing. Raises PeerMissingError."""
    for tool in ("apt-get", "dpkg"):
        if shutil.which(tool) is None:
            raise PeerMissingError(f"{peer} comes from Debian's packages, and this machine has no {tool}")
    wanted = hashlib.sha256(" ".join(PACKAGES[peer]).encode()).hexdigest()[:12]
    home = environments.folder() / f"debian-{peer}-{wanted}"
    complete = home / "complete"
    if not complete.exists():
        environments.folder().mkdir(parents=True, exist_ok=True)
        with (environments.folder() / f"debian-{peer}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not complete.exists():
                print(f"fetching {', '.join(PACKAGES[peer])}", flush=True)
                shutil.rmtree(home, ignore_errors=True)
                _fetch(peer, home)
                complete.touch()
    return Programs(home / "root")


def versions() -> dict[str, str]:
    """What the peers that are here say of themselves."""
    found = {}
    for peer, server in SERVERS.items():
        with contextlib.suppress(PeerMissingError):
            found[f"{peer}-server"] = programs(peer).version(server)
    return found


def _fetch(peer: str, home: Path) -> None:
    packages, root = home / "packages", home / "root"
    for folder in (home / "lists" / "partial", home / "archives" / "partial", packages, root):
        folder.mkdir(parents=True)
    apt = ["apt-get", "-qq", "-o", f"Dir::State::Lists={home / 'lists'}", "-o", f"Dir::Cache={home}"]
    # The fetched lists are ours to read and write, whoever runs this; apt would hand them to a user of its own.
    apt += ["-o", "Debug::NoLocking=1", "-o", "APT::Sandbox::User="]
    _run([*apt, "update"])
    planned = _run([*apt, "--simulate", "--no-install-recommends", "install", *PACKAGES[peer]])
    names = [line.split()[1] for line in planned.splitlines() if line.startswith("Inst ")]
    if names:
        _run([*apt, "download", *names], folder=packages)
    for package in sorted(packages.iterdir()):
        _run(["dpkg", "--extract", str(package), str(root)])
    shutil.rmtree(packages)
    shutil.rmtree(home / "lists")


def _run(command: list[str], environment: dict[str, str] | None = None, folder: Path | None = None) -> str:
    try:
        done = subprocess.run(
            command,
            cwd=folder,
            env={**os.environ, "LC_ALL": "C", **(environment or {})},
            capture_output=True,
            text=True,
            timeout=TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise PeerMissingError(f"`{command[0]}` could not be run: {error}") from error
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
        raise PeerMissingError(f"expected `{' '.join(command[:3])} … {command[-1]}` to succeed, found: {last}")
    return done.stdout
