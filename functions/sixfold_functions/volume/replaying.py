"""Reading a copy's log back at its start: from the newest checkpoint on, or all of it where the index is not whole."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec

from sixfold_functions.volume import files, frames, index, kinds, segments, sharing
from sixfold_functions.volume.core.node import Redo, StorageNode
from sixfold_functions.volume.core.state import NodeState


class Checkpoint(msgspec.Struct, frozen=True):
    """What a segment begins with: all that reading the earlier ones back would give."""

    node: NodeState[index.Place]
    position: int
    index_rows: int
    page_bytes: int = 0
    """Of a volume of pages."""
    afresh: bool = False
    """Nothing that lies before counts: the copy went on from another one's pages here."""


class Replay:
    """One reading. What is found goes into `node` and `rows`; `released` is called after each frame."""

    def __init__(
        self,
        log: segments.SegmentLog,
        rows: index.Index,
        node: StorageNode[index.Place],
        shared: sharing.Shared,
        *,
        decode: Callable[[frames.Entry], Redo],
        released: Callable[[], None],
        remedy: Callable[[], str],
    ) -> None:
        self._log = log
        self._rows = rows
        self._node = node
        self._shared = shared
        self._decode = decode
        self._released = released
        self._remedy = remedy
        self._lost = False
        """Whether something damaged was passed over."""
        self.position = 0
        """Next offset to read from the copy's partition."""
        self.page_bytes = 0

    def run(self, *, whole: bool) -> bool:
        """Read the log. False where the newest checkpoint does not help, so all must be read. Raises LogError."""
        begun = False
        for location, frame in self._log.replay(whole=whole):
            if not begun and not self._begin(frame, whole=whole):
                return False
            for number, entry in enumerate(frame.entries):
                self._take(index.Place(location, number), entry, first=not begun)
            begun = True
            self._released()
        if not begun:
            self._rows.restart(0, 0)
        return True

    def _begin(self, frame: frames.Frame, *, whole: bool) -> bool:
        known = next((entry.data for entry in frame.entries if entry.kind is frames.Kind.CHECKPOINT), None)
        if known is None:
            if self._log.first > 1:
                raise files.LogDamagedError(
                    f"{self._log.path(self._log.first)}: expected to begin with a checkpoint, as nothing before it is "
                    f"kept; that was damaged. {self._remedy()}"
                )
            self._rows.begin_lsn = 0
            if whole or not self._rows.trim(0, 0):
                self._rows.restart(0, 0)
            return True
        try:
            checkpoint = msgspec.json.decode(known, type=Checkpoint)
        except msgspec.DecodeError:
            return False  # of another version
        self._restore(checkpoint)
        if whole:
            self._rows.restart(checkpoint.index_rows, self._node.prefix.floor_lsn)
            return True
        return self._rows.trim(checkpoint.index_rows, self._node.prefix.floor_lsn)

    def _restore(self, checkpoint: Checkpoint) -> None:
        self._node.restore(checkpoint.node)
        self.position, self.page_bytes = checkpoint.position, checkpoint.page_bytes
        self._rows.begin_lsn = self._shared.last_lsn

    def _take(self, place: index.Place, entry: frames.Entry, *, first: bool) -> None:
        if entry.kind is frames.Kind.STARTED:
            self._node.start(int.from_bytes(entry.data, "big"))
        elif entry.kind is frames.Kind.JOINING:
            self._node.join()
        elif entry.kind is frames.Kind.POSITION:
            self.position = entry.offset
        elif entry.kind in kinds.CLASS:
            self._node.take(self._decode(entry), place)
            self.position, self._rows.begin_lsn = entry.offset + 1, self._shared.last_lsn
        elif entry.kind is frames.Kind.MENDED:
            self._node.take(msgspec.structs.replace(self._decode(entry), epoch=self._node.epoch), place)
        elif entry.kind is frames.Kind.LOST:
            self._lost = True
        elif entry.kind is frames.Kind.CHECKPOINT and not first:
            self._pass(msgspec.json.decode(entry.data, type=Checkpoint))

    def _pass(self, checkpoint: Checkpoint) -> None:
        """A later checkpoint, in the reading of a whole log."""
        if checkpoint.afresh:
            self._restore(checkpoint)
            self._rows.restart(checkpoint.index_rows, self._node.prefix.floor_lsn)
        elif self._lost:
            self._restore(checkpoint)
            if (len(self._rows), self._rows.last_lsn) != (checkpoint.index_rows, self._node.prefix.floor_lsn):
                raise files.LogDamagedError(
                    f"{Path(self._log.path(1)).parent}: the index is gone, and it cannot be made anew, as the segments were "
                    f"damaged where they say which records count. {self._remedy()}"
                )
        else:
            return
        self._lost = False
