"""Records, and stores that fail, for the tests of backups."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator

from sixfold_functions.volume.backup import archive, store
from sixfold_functions.volume.core import epoch as epochs
from sixfold_functions.volume.core.backup import Batch

E1, E2 = (epochs.make(counter, 7) for counter in (1, 2))
BEGAN_MS = 1_764_000_000_000
HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


def batches(count: int, *, first_lsn: int = 1, every_ms: int = 1_000, began_ms: int = BEGAN_MS) -> Iterator[Batch]:
    """`count` batches of two records each, one for each `every_ms`."""
    for number in range(count):
        lsn = first_lsn + 2 * number
        payloads = [f"record {lsn}".encode(), f"record {lsn + 1}".encode()]
        stamp = began_ms + every_ms * (lsn // 2)
        yield Batch(lsn, E1, E1 if lsn > 1 else 0, stamp, [lsn + 1], payloads)


def archive_of(*groups: Iterable[Batch], kept: store.Store | None = None) -> archive.Archive:
    """A backup with an object for each group."""
    made = archive.Archive(kept if kept is not None else store.MemoryStore(), "default")
    made.refresh()
    for group in groups:
        made.add(group)
    return made


def records(kept: archive.Archive) -> list[bytes]:
    """All that can be restored."""
    return [payload for batch in kept.batches() for payload in batch.payloads]


class FlakyStore(store.MemoryStore):
    """Objects of a store whose answers are lost: before it did what it was asked for, or after."""

    def __init__(self, rng: random.Random) -> None:
        super().__init__()
        self.rng = rng
        self.failing = 0.0
        """Chance that a call fails."""
        self.failures = 0

    def _fails(self, name: str) -> None:
        if self.rng.random() < self.failing / 2:
            self.failures += 1
            raise store.StoreError(f"{self.url}: {name}: the connection was lost")

    def create(self, name: str, data: bytes) -> bool:
        self._fails(name)
        done = super().create(name, data)
        self._fails(name)
        return done

    def delete(self, name: str) -> None:
        self._fails(name)
        super().delete(name)
        self._fails(name)

    def read(self, name: str, start: int = 0, size: int | None = None) -> bytes:
        self._fails(name)
        return super().read(name, start, size)
