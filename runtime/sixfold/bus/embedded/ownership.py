"""Who owns the log: the holder of a file lock, reached through a Unix socket.

A process that forks without starting another program shares the lock with its child: open the bus after the fork.

The socket is `bus.sock` in the log's folder. Where that path is longer than a socket address may be (about 100
bytes), it lies in a folder of our own, `$XDG_RUNTIME_DIR/sixfold-UID` or `/tmp/sixfold-UID`, named by a hash of the log's folder.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import stat
import tempfile
from pathlib import Path

from sixfold.bus import port

SOCKET_PATH_BYTES_MAX = 100
"""sockaddr_un holds 108 bytes, with the closing zero."""


class Lock:
    """The right to open the log; the operating system takes it back when the process dies."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor

    def release(self) -> None:
        """Let another become owner."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1


def acquire(folder: Path) -> Lock | None:
    """The lock of `folder`, None where another has it. Makes the folder, 0700. Raises BusUnavailableError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        descriptor = os.open(folder / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise port.BusUnavailableError(
            f"the bus's folder {folder} cannot be used: {error.strerror}; check its path and permissions"
        ) from error
    try:
        # flock belongs to the open file, so two buses in one process contend as two processes do.
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(descriptor)
        return None
    except OSError as error:
        os.close(descriptor)
        raise port.BusUnavailableError(f"{folder}/lock cannot be locked: {error.strerror}") from error
    return Lock(descriptor)


def socket_path(folder: Path) -> Path:
    """Where the owner of `folder` listens."""
    folder = folder.absolute()
    path = folder / "bus.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES_MAX:
        return path
    base = Path(os.environ.get("XDG_RUNTIME_DIR") or tempfile.gettempdir())
    private = base / f"sixfold-{os.getuid()}"
    private.mkdir(mode=0o700, exist_ok=True)
    found = private.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or found.st_mode & 0o077:
        raise port.BusUnavailableError(
            f"{private} is not a folder of this user alone (expected mode 0700); remove it, or use a shorter data folder"
        )
    return private / f"{hashlib.sha256(os.fsencode(folder.resolve())).hexdigest()[:24]}.sock"
