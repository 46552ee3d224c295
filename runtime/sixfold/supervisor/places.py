"""A member name that stays for a process, though nobody gave it one: its number among those that run the same here.

A group on Kafka keeps the partitions of a member that vanished for a session timeout. One that comes back under the same
name (static membership, KIP-345) has them again at once. A process takes the lowest free number of its kind on its data
folder, and the kernel frees it when the process ends, however it ends; so the successor of one that was killed gets
the number that it had. The data folder's own identity is part of the name: two folders never share one, even where two
containers have one host name and one path.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import re
import uuid
from collections.abc import Iterator
from itertools import count
from pathlib import Path

FOLDER = "members"
IDENTITY = "identity"
NAME_MAX = 200
"""Kafka takes `group.instance.id`s of 249 characters of letters, digits, dots, dashes and underscores."""


@contextlib.contextmanager
def taken(folder: Path, kind: str) -> Iterator[str]:
    """A member name that no other process has, for as long as this is open. `folder` is that of the processes' locks."""
    places = folder / FOLDER
    places.mkdir(parents=True, exist_ok=True, mode=0o700)
    kind = re.sub(r"[^A-Za-z0-9._-]", "_", kind)[:NAME_MAX]
    for number in count():
        descriptor = os.open(places / f"{kind}.{number}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(descriptor)
            continue
        try:
            yield f"{kind}.{_identity_of(places)}.{number}"
        finally:
            os.close(descriptor)
        return


def _identity_of(places: Path) -> str:
    """The data folder's own identity; made once, whoever comes first."""
    path = places / IDENTITY
    if not path.exists():
        draft = places / f"{IDENTITY}.{uuid.uuid4().hex}"
        with draft.open("x") as file:
            file.write(uuid.uuid4().hex[:12])
            file.flush()
            os.fsync(file.fileno())  # an empty one after a power failure would be every such folder's
        with contextlib.suppress(FileExistsError):
            os.link(draft, path)
        draft.unlink()
    return path.read_text()
