"""How far a partition may be committed while its records complete out of order: never past an unfinished one.

Pure. `member.py` has one `Watermark` for each assigned partition.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator


class Watermark:
    """The contiguous watermark of one partition.

    Offsets are begun in rising order, gaps allowed (compaction, transaction markers), and finished in any order.
    """

    __slots__ = ("_begun", "_finished", "position")

    def __init__(self) -> None:
        self._begun: deque[int] = deque()
        self._finished: set[int] = set()
        self.position: int | None = None
        """The offset to commit: every record begun below it is finished. None until the first one is."""

    @property
    def unfinished(self) -> int:
        """Records begun and not finished yet."""
        return len(self._begun) - len(self._finished)

    @property
    def span(self) -> int:
        """Records begun that `position` has not passed; a crash now would deliver them again."""
        return len(self._begun)

    @property
    def lowest(self) -> int | None:
        """The first offset that is begun and not finished; None where there is none."""
        return self._begun[0] if self._begun else None

    @property
    def gapped(self) -> bool:
        """Whether records are finished above one that is not."""
        return bool(self._finished)

    def ranges(self) -> Iterator[tuple[int, int]]:
        """Offsets finished above `position`, as ranges: first, and one after the last. Offsets that were never begun,
        since nothing lies there, do not divide a range.
        """
        first = last = None
        for offset in self._begun:
            if offset in self._finished:
                first = offset if first is None else first
                last = offset
            elif first is not None and last is not None:
                yield first, last + 1
                first = None
        if first is not None and last is not None:
            yield first, last + 1

    def begin(self, offsets: Iterable[int]) -> None:
        """These are being worked on now; they rise, and are above all that were begun before."""
        self._begun.extend(offsets)

    def finish(self, offset: int) -> bool:
        """The record at `offset`, begun before, is done; True where that moves `position`."""
        begun = self._begun
        if begun[0] != offset:
            self._finished.add(offset)
            return False
        begun.popleft()
        finished = self._finished
        while finished and begun[0] in finished:
            offset = begun.popleft()
            finished.remove(offset)
        self.position = offset + 1
        return True
