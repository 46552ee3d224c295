"""A volume's backup in a simulated world: processes that are killed between any two calls, a store whose answers are lost.

What it promises is looked at when the life is over: at each moment that was ever called restorable, the backup has the
records that were durable then, no more and no fewer.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from tests.simulation.lossy import LossyDisk
from tests.simulation.paging import applied
from tests.simulation.violations import ViolationError
from tests.simulation.world import World

from sixfold_events.volume import VolumeCopyAcknowledged, VolumeReadRequested, VolumeRedoBatch
from sixfold_functions.volume import copy as copies
from sixfold_functions.volume.backup import archive, building, snapshots, store
from sixfold_functions.volume.core import backup, restore
from sixfold_functions.volume.core import snapshots as deciding

RETENTION_MS = 24 * 3_600_000
PAGES_RETENTION_MS = 30_000
"""Of a volume of pages: what is older goes during the life."""
SNAPSHOTS = 0.5
"""Chance that a backup of such a volume is followed by a snapshot."""
MOMENTS = 8
"""Random ones that are looked at in the end, besides those that were called the latest restorable time."""


class Killed(Exception):  # noqa: N818 (nobody's error: the process is gone)
    """The process that backs up is no more."""


class _Store(store.MemoryStore):
    """Objects in memory; a call may be lost before it comes or its answer after, or be its process's last."""

    def __init__(self, world: World) -> None:
        super().__init__()
        self._world = world
        self.reliable = False

    def _fate(self) -> None:
        fate = 1.0 if self.reliable else self._world.rng.random()
        if fate < 0.05:
            self._world.hits["backup killed"] += 1
            raise Killed
        if fate < 0.12:
            self._world.hits["object store failed"] += 1
            raise store.StoreError("the connection was lost")

    def create(self, name: str, data: bytes) -> bool:
        self._fate()
        done = super().create(name, data)
        self._fate()
        return done

    def delete(self, name: str) -> None:
        self._fate()
        super().delete(name)
        self._fate()


class Backups:
    """Two processes that back the world's volume up, now the one and now the other."""

    def __init__(self, world: World, made: Callable[[Backups], None] = lambda backups: None) -> None:
        self._world = world
        self.store = _Store(world)
        self._processes: list[archive.Archive | None] = [None, None]
        self.up_to: Callable[[VolumeCopyAcknowledged], int] = lambda ack: ack.settled_lsn
        """Which records of a copy are taken; a test may cripple it."""
        self.holds_pages = False
        self.pages_retention_ms = PAGES_RETENTION_MS
        """What a collection keeps; a test may cripple it."""
        self.last_lsn = 0
        """All up to here is in the store."""
        self._promised: dict[int, int] = {}
        """Each latest restorable time, and the last LSN that was in the backup then."""
        made(self)

    def back_up(self) -> None:
        """One of the processes takes what is durable, and merges. Raises ViolationError."""
        number = self._world.rng.randrange(len(self._processes))
        try:
            kept = self._processes[number] or self._begun()
            self._processes[number] = kept
            self._take(kept)
            if self._world.rng.random() < 0.2:
                kept.refresh()
                kept.compact(retention_ms=RETENTION_MS)
            if self.holds_pages and self._world.rng.random() < SNAPSHOTS:
                self._snapshot(kept)
            self._promised.setdefault(kept.latest_ms, kept.chain.last_lsn)
            self.last_lsn = max(self.last_lsn, kept.chain.last_lsn)
        except (store.StoreError, Killed):
            self._processes[number] = None  # the next one lists what there is

    def _snapshot(self, kept: archive.Archive) -> None:
        """Make one, and let go of what is older than the window."""
        maker = snapshots.Maker(kept, Path("/nowhere"), part_bytes=self._world.rng.choice([500, 1 << 20]))
        if maker.make() is not None:
            self._world.hits["snapshot made"] += 1
        kept.refresh()
        gone = snapshots.collect(kept, retention_ms=self.pages_retention_ms, now_ms=0, grace_ms=0)
        self._world.hits["object let go"] += gone

    def _begun(self) -> archive.Archive:
        kept = archive.Archive(self.store, "default")
        kept.refresh()
        return kept

    def _take(self, kept: archive.Archive) -> None:
        world = self._world
        here = world.rng.sample(sorted(world.copies), min(len(world.copies), world.rng.choice([4, 5, 6])))
        words = sorted((world.copies[name].node.acknowledgement() for name in here), key=lambda ack: -self.up_to(ack))
        tail = kept.tail()
        for word in words[:1]:
            last_lsn = self.up_to(word)
            while tail.last_lsn < last_lsn and word.copy in world.copies:
                stored = world.batches(word.copy, tail.last_lsn + 1, last_lsn)
                taken = self._taken(tail, stored, last_lsn)
                if not taken:
                    break
                kept.add(taken)
                tail = backup.Tail(taken[-1].last_lsn, taken[-1].origin_epoch, taken[-1].committed_at_ms)
        membership = max(world.announced, key=lambda each: each.key)
        if (quiet := backup.promise(words, world.quorum, membership=membership)) is not None:
            kept.note(quiet)

    def _taken(self, tail: backup.Tail, stored: list[VolumeRedoBatch], last_lsn: int) -> list[backup.Batch]:
        try:
            return list(tail.taken(stored, last_lsn))
        except backup.HistoryError as error:
            raise ViolationError("I5", f"the backup does not go on: {error}") from error

    # -- in the end ------------------------------------------------------------------------------------------------

    def look(self, settled: dict[int, VolumeRedoBatch]) -> None:
        """All copies are level, and `settled` is what they had: compare every moment. Raises ViolationError."""
        self.store.reliable = True
        kept = self._begun()
        self._take(kept)
        if self.holds_pages:
            self._snapshot(kept)
        truth = [batch for _, batch in sorted(settled.items())]
        self._compare(truth, list(kept.batches()))
        first_ms, latest_ms = truth[0].committed_at_ms, kept.latest_ms
        if self.holds_pages:
            first_ms = max(first_ms, latest_ms - PAGES_RETENTION_MS)
        first_ms = min(first_ms, latest_ms)  # a shortened life may store all within its first millisecond: none is sure
        for at_ms, backed_up_lsn in self._promised.items():
            point = _truth_at(truth, at_ms)
            if point > backed_up_lsn:
                raise ViolationError("I5", f"at {at_ms} ms the volume had LSN {point}, the backup LSN {backed_up_lsn}")
        moments = [self._world.rng.randint(first_ms, latest_ms) for _ in range(MOMENTS)]
        promised = [at_ms for at_ms in self._promised if at_ms >= first_ms]
        for at_ms in (*moments, *promised[:: len(promised) // MOMENTS + 1]):
            found = kept.find(at_ms).last_lsn
            if found != _truth_at(truth, at_ms):
                raise ViolationError(
                    "I5", f"at {at_ms} ms the volume had LSN {_truth_at(truth, at_ms)}, restored {found}"
                )
        for at_ms in [moments[0], latest_ms] if self.holds_pages else moments[:1]:
            self._restore(kept, truth, at_ms)

    def _compare(self, truth: list[VolumeRedoBatch], found: list[backup.Batch]) -> None:
        """The backup's records are the volume's."""
        if found:
            truth = [batch for batch in truth if batch.first_lsn >= found[0].first_lsn]
        for theirs, ours in zip(truth, found, strict=False):
            if (theirs.first_lsn, theirs.origin_epoch, theirs.committed_at_ms, theirs.payloads) != (
                ours.first_lsn,
                ours.origin_epoch,
                ours.committed_at_ms,
                ours.payloads,
            ):
                raise ViolationError(
                    "I5", f"the backup has {ours.payloads} at LSN {ours.first_lsn}, not {theirs.payloads}"
                )
        if len(found) > len(truth):
            raise ViolationError("I5", f"the backup has LSN {found[-1].last_lsn}, which the volume has not")

    def _restore(self, kept: archive.Archive, truth: list[VolumeRedoBatch], at_ms: int) -> None:
        """A copy of a new volume is made and read."""
        point = kept.find(at_ms)
        if not point.last_lsn:
            return
        snapshot = deciding.newest(kept.snapshots, kept.chain, at_ms)
        origin = restore.restored(point, at_ms, volume="again", url=kept.url, source="default", snapshot=snapshot)
        made = copies.Copy(LossyDisk(), Path("/again"), volume="again", name="a1", registry=self._world.registry)
        made.open(1)
        for group in building.groups(origin, kept):
            made.learn(*group)
        expected = [payload for batch in truth for payload in batch.payloads][: point.last_lsn]
        found = payloads_of(made)
        if snapshot is not None:
            self._world.hits["snapshot restored"] += 1
            if applied(found) != applied(expected):
                raise ViolationError("I5", f"restored at {at_ms} ms it has other pages than the volume had")
        elif found != expected:
            raise ViolationError("I5", f"restored at {at_ms} ms it has {len(found)} records, expected {len(expected)}")


def payloads_of(copy: copies.Copy) -> list[bytes]:
    """All that a reader gets of a copy."""
    found: list[bytes] = []
    while True:
        request = VolumeReadRequested(
            volume=copy.node.volume, copy=copy.node.copy, request_id="", from_lsn=len(found) + 1, count=1 << 30
        )
        answer = copy.answer(request)
        if not answer.payloads:
            return found
        found.extend(answer.payloads)


def _truth_at(truth: list[VolumeRedoBatch], at_ms: int) -> int:
    """The plain model: the last consistency point of what was committed up to then."""
    points = [lsn for batch in truth if batch.committed_at_ms <= at_ms for lsn in batch.consistency_points]
    return max(points, default=0)
