"""The limits of the Git server, in one frozen record."""

from __future__ import annotations

from dataclasses import dataclass

MIB = 1 << 20


@dataclass(frozen=True, kw_only=True)
class GitSettings:
    """Limits of the smart HTTP front. The defaults serve repositories of a few GB on one machine."""

    pack_bytes_max: int = 2048 * MIB
    """Largest pack of one push (git's `receive.maxInputSize`). 2 GiB, as GitHub's limit on a push."""
    fetch_request_bytes_max: int = 64 * MIB
    """Largest request of a fetch, unpacked: its wants and haves. A million haves are 50 MB."""
    commands_bytes_max: int = 16 * MIB
    """Largest list of refs in one push, and largest report held back: about 100,000 refs."""
    idle_timeout_s: float = 120.0
    """A side that gives and takes nothing for so long is given up. Git itself sends a sign of life each 5 s."""
    call_timeout_s: float = 3600.0
    """One fetch or push may take this long."""
    wait_timeout_s: float = 30.0
    """A call waits so long for its turn, then gets 503."""
    fetches_max: int = 8
    """Fetches at once per repository: each is a `git pack-objects`, which takes a core and memory for its objects."""
    pushes_max: int = 4
    """Pushes at once per repository."""
    publish_attempts_max: int = 3
    """Attempts to put a push's events into the log before the client is told that they are late."""
    publish_batch: int = 500
    """Events per publish; the bus's own best batch."""
    packs_max: int = 50
    """Packs in a repository before they are made one; git's own `gc.autoPackLimit`."""
