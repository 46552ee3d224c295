"""The part of a volume that its copies do not keep themselves: a clone's past, up to the LSN where the clone begins."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

from sixfold import errors
from sixfold_events import avro
from sixfold_events.volume import VolumeRedoBatch, VolumeRestored
from sixfold_functions.volume import files, index, segments
from sixfold_functions.volume.core.node import StorageNode


class OtherPastError(errors.SixfoldError):
    """The copy does not begin with what its volume was restored from."""


class Past(Protocol):
    """Records that lie elsewhere."""

    def between(self, first_lsn: int, last_lsn: int) -> Iterator[VolumeRedoBatch]:
        """Batches with records in `first_lsn` … `last_lsn`, in order. Raises LogDamagedError."""

    def prepare(self, first_lsn: int) -> None:
        """Have in memory what an answer from `first_lsn` on needs; from another thread."""


def is_shared(place: index.Place) -> bool:
    """Whether a batch lies elsewhere: in no segment, at its first LSN."""
    return not place.frame.segment


class Shared:
    """What a copy shares with another volume."""

    def __init__(self, node: Callable[[], StorageNode[index.Place]], folder: Path, label: str) -> None:
        self._node = node
        self._folder = folder
        self._label = label
        self.past: Past | None = None
        """Where it is read; set before the copy answers."""

    @property
    def origin(self) -> VolumeRestored | None:
        """Where the volume's past comes from, if it is a clone."""
        origin = self._node().origin
        return origin if origin is not None and origin.shared else None

    @property
    def last_lsn(self) -> int:
        """Up to here the records lie elsewhere."""
        return self.origin.last_lsn if self.origin is not None else 0

    @property
    def page_bytes(self) -> int:
        """What the first record says of pages, which the copy has not got."""
        return self.origin.page_bytes if self.origin is not None else 0

    def places(self, first_lsn: int, last_lsn: int) -> Iterator[index.Place]:
        """Of the batches in the range that lie elsewhere. Raises LogDamagedError."""
        last_lsn = min(last_lsn, self.last_lsn)
        if first_lsn <= last_lsn:
            for event in self._between(first_lsn, last_lsn):
                yield index.Place(segments.Location(0, event.first_lsn), 0)

    def batch(self, place: index.Place) -> VolumeRedoBatch:
        """The batch there. Raises LogDamagedError."""
        return next(self._between(place.frame.position, place.frame.position))

    def value(self, event: VolumeRedoBatch) -> bytes:
        """A batch that lies elsewhere as it would be stored here."""
        return avro.codec(VolumeRedoBatch).encode(event)

    def _between(self, first_lsn: int, last_lsn: int) -> Iterator[VolumeRedoBatch]:
        if self.past is None:
            raise files.LogDamagedError(f"{self._label}: what it shares with another volume cannot be read just now")
        return self.past.between(first_lsn, last_lsn)

    def check(self, event: VolumeRestored) -> None:
        """The partition says with what the volume begins. Raises OtherPastError where the copy began otherwise."""
        node = self._node()
        if not node.epoch:
            raise OtherPastError(
                f"{self._label}: the volume was restored from {event.url} after this copy had started; start it again"
            )
        if node.origin is not None and node.origin.epoch != event.epoch:
            raise OtherPastError(
                f"{self._label}: the volume begins with {event.source} at LSN {event.last_lsn} from {event.url}, but "
                f"{self._folder} was made from {node.origin.source} at LSN {node.origin.last_lsn} from {node.origin.url}; "
                "move it away and start the copy again: it makes its log anew"
            )
