"""A volume of pages that lives for hours in no time, its backup, and what a restored volume has, worked out plainly."""

from __future__ import annotations

import bisect
import random
from pathlib import Path

from tests.functions.volume.backup.making import BEGAN_MS, E1
from tests.functions.volume.pages.model import Model
from tests.simulation.paging import applied

from sixfold_functions.volume.backup import archive, building, restoring, snapshots, store
from sixfold_functions.volume.core.backup import Batch, Quiet
from sixfold_functions.volume.encryption.keyring import Keyring

EVERY_MS = 60_000
"""A commit a minute."""


class Lived:
    """Commits of `model`, one each minute; `back_up` takes what came since."""

    def __init__(self, kept: store.Store, seed: int = 1, keyring: Keyring | None = None) -> None:
        self.model = Model(random.Random(seed))
        self.store = kept
        self._keyring = keyring
        self._taken = 0
        self.stamps: list[int] = []
        """Of each commit."""

    def opened(self) -> archive.Archive:
        """The backup, as a process that has just begun sees it."""
        made = archive.Archive(self.store, "default")
        made.keyring = self._keyring or Keyring()
        made.refresh()
        return made

    def live(self, commits: int) -> None:
        for _ in range(commits):
            self.model.write()

    def back_up(self) -> None:
        """In one object; the time is promised up to a minute later."""
        found = []
        for number, (entry, records) in list(enumerate(self.model.entries))[self._taken :]:
            stamp = BEGAN_MS + number * EVERY_MS
            self.stamps.append(stamp)
            backlink = E1 if entry.first_lsn > 1 else 0
            found.append(Batch(entry.first_lsn, E1, backlink, stamp, [entry.last_lsn], records))
        self._taken += len(found)
        kept = self.opened()
        kept.add(found)
        kept.note(Quiet(self.stamps[-1] + EVERY_MS - 1, self.model.lsn))

    def snapshot(self, folder: Path, **more: int) -> int:
        """Make one now; its LSN."""
        at = snapshots.Maker(self.opened(), folder, **more).make()  # type: ignore[arg-type]
        assert at is not None
        return at.last_lsn

    def truth(self, at_ms: int) -> tuple[int, dict[int, bytes]]:
        """What the volume was at a moment: how many pages, and those that were ever written."""
        entry, _ = self.model.entries[bisect.bisect_right(self.stamps, at_ms) - 1]
        return self.model.versions[entry.last_lsn]

    def moments(self, from_ms: int) -> list[int]:
        """Every half minute from then on."""
        return list(range(from_ms, self.opened().latest_ms + 1, EVERY_MS // 2))


def restored(kept: archive.Archive, at_ms: int, *, shared: bool = False) -> tuple[int, dict[int, bytes]]:
    """The pages of a new volume, from the records that its copies get."""
    origin = restoring.find(kept, at_ms, volume="again", shared=shared)
    batches = list(building.events(building.past(origin, kept), origin))
    assert batches[-1].first_lsn + len(batches[-1].payloads) - 1 == origin.last_lsn
    return applied([payload for batch in batches for payload in batch.payloads])
