"""A plain model of a volume of pages: every version of every page."""

from __future__ import annotations

import random

from sixfold_functions.volume.core import pages
from sixfold_functions.volume.core.prefix import Entry

PAGE_BYTES = 512


class Model:
    """Writes pages at random, and keeps all that ever was."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self.lsn = 0
        self.size = 0
        self.current: dict[int, bytes] = {}
        self.versions: dict[int, tuple[int, dict[int, bytes]]] = {}
        """What the volume was at each consistency point."""
        self.entries: list[tuple[Entry[int], list[bytes]]] = []
        self.commit([pages.format_record(PAGE_BYTES)])

    def commit(self, records: list[bytes]) -> None:
        """A batch of `records`."""
        first = self.lsn + 1
        self.lsn += len(records)
        entry = Entry(first, self.lsn, 1, 1, self.lsn, 0, first)
        self.entries.append((entry, records))
        self.versions[self.lsn] = self.size, dict(self.current)

    def write(self, pages_max: int = 40) -> None:
        """A commit as a database makes one: some pages, a few bytes of each; now and then it grows or shrinks."""
        rng, records = self._rng, []
        if rng.random() < 0.1 or not self.size:
            self.size = rng.randrange(1, pages_max) if rng.random() < 0.5 else min(self.size + 3, pages_max)
            self.current = {page: content for page, content in self.current.items() if page < self.size}
            records.append(pages.size_record(self.size))
        for page in sorted(rng.sample(range(self.size), min(self.size, rng.choice([1, 2, 5])))):
            before = self.current.get(page)
            content = bytearray(before or bytes(PAGE_BYTES))
            at = rng.randrange(PAGE_BYTES - 8)
            content[at : at + 8] = rng.randbytes(8)
            known = before if rng.random() < 0.9 else None
            records.append(pages.change_record(page, known, bytes(content))[0])
            self.current[page] = bytes(content)
        self.commit(records)

    def page(self, number: int, at: int) -> bytes:
        """Page `number` at the consistency point `at`; nothing beyond the end."""
        size, content = self.versions[at]
        return content.get(number, bytes(PAGE_BYTES)) if number < size else b""
