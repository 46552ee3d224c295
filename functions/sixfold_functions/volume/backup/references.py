"""Volumes that read their past from a backup: what they read stays, whatever the retention says.

A clone reads for as long as it lives: `clones/NAME`. A restored volume reads while its copies make their logs, which one
that loses its folder does again as long as its partition begins with its past: `restores/NAME`, for `RESTORED_MS`.
"""

from __future__ import annotations

import msgspec

from sixfold_events.volume import VolumeRestored
from sixfold_functions.volume.backup import archive, store

CLONES, RESTORES = "clones/", "restores/"
RESTORED_MS = 8 * 24 * 3_600_000
"""A day longer than a partition is kept."""


class Reference(msgspec.Struct, frozen=True, kw_only=True):
    """What is needed, and for how long."""

    from_lsn: int = 0
    """Of the snapshot that the past begins with; 0 for the log from its first record on."""
    until_ms: int = 0
    """Unix milliseconds; 0 for no end."""


def clones(kept: archive.Archive) -> list[str]:
    """Volumes that read their past from here for ever."""
    return [item.name.removeprefix(CLONES) for item in kept.store.names(CLONES)]


def refer(kept: archive.Archive, origin: VolumeRestored, now_ms: int) -> None:
    """Note what the new volume reads. Raises StoreError."""
    until_ms = 0 if origin.shared else now_ms + RESTORED_MS
    reference = Reference(from_lsn=origin.snapshot_lsn, until_ms=until_ms)
    kept.store.replace((CLONES if origin.shared else RESTORES) + origin.volume, msgspec.json.encode(reference))


def held_lsn(kept: archive.Archive, now_ms: int) -> int | None:
    """The snapshot from which on everything is read, 0 for the first record; None where nobody reads. Raises StoreError."""
    lowest: int | None = None
    for item in [*kept.store.names(CLONES), *kept.store.names(RESTORES)]:
        try:
            data = kept.store.read(item.name)
            found = msgspec.json.decode(data, type=Reference) if data else Reference()
        except store.ObjectMissingError:
            continue
        except msgspec.DecodeError:
            found = Reference()  # whatever it needs, it is there
        if found.until_ms and found.until_ms < now_ms:
            kept.store.delete(item.name)
        elif lowest is None or found.from_lsn < lowest:
            lowest = found.from_lsn
    return lowest
