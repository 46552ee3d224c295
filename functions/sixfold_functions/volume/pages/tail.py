"""Settled page changes that no layer has yet, in memory."""

from __future__ import annotations

from collections.abc import Iterator

from sixfold_functions.volume.core.pages import SIZE_PAGE, Change, Kind, Shrink
from sixfold_functions.volume.core.prefix import End

ENTRY_BYTES = 150
"""What a change takes in memory beside its body."""


class Tail:
    """Changes above `from_end`, by page."""

    def __init__(self, from_end: End, size: int = 0) -> None:
        self.from_end = from_end
        self.end = from_end
        self.size = size
        """Pages of the volume at its end."""
        self.bytes = 0
        self.shrinks: list[Shrink] = []
        self._changes: dict[int, list[Change]] = {}

    def add(self, change: Change) -> None:
        """Take a change above all others."""
        if change.kind is Kind.SIZE:
            if change.page < self.size:
                self.shrinks.append(Shrink(change.lsn, change.page))
            self.size = change.page
            change = change._replace(page=SIZE_PAGE, body=change.page.to_bytes(8, "big"))
        self._changes.setdefault(change.page, []).append(change)
        self.bytes += len(change.body) + ENTRY_BYTES

    def changes(self, page: int, after: int, upto: int) -> list[Change]:
        """Changes of `page` with `after` < LSN <= `upto`, oldest first."""
        return [change for change in self._changes.get(page, ()) if after < change.lsn <= upto]

    def scan(self, first_page: int = 0) -> Iterator[Change]:
        """Those of pages from `first_page` on, in the order of (page, LSN)."""
        for page in sorted(page for page in self._changes if page >= first_page):
            yield from self._changes[page]
