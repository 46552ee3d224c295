"""Asking the copies of one group for pages: one that has everything up to the read point is enough."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from sixfold_functions.volume import errors
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core import pages as records

if TYPE_CHECKING:
    from sixfold_functions.volume.writer import VolumeWriter


class PagesUnreadableError(errors.VolumeError):
    """No copy could give the pages; the message has what each said."""


class PageReader:
    """Reads pages for a writer, who knows each copy's SCL."""

    def __init__(self, writer: VolumeWriter) -> None:
        self._writer = writer

    def sources(self, lsn: int) -> list[str]:
        """Copies that have everything up to `lsn`, for all that was heard."""
        acks = self._writer.tracker.copies.values()
        current = [ack for ack in acks if ack.epoch == ack.log_epoch == self._writer.epoch and not ack.joining]
        return [ack.copy for ack in sorted(current, key=lambda ack: -ack.complete_lsn) if ack.complete_lsn >= lsn]

    async def page_bytes(self) -> int:
        """Of a page, as a copy knows it or the first record says; 0 for plain records. Raises PagesUnreadableError."""
        writer, said = self._writer, []
        for copy in self.sources(writer.durable_lsn):
            try:
                if known := (await writer.reader.ask(copy)).page_bytes:
                    return known
                answer = await writer.reader.ask(copy, count=1, epoch=writer.epoch, durable_lsn=writer.durable_lsn)
                return records.page_bytes(answer.payloads[0])
            except readers.RecordsGoneError:
                return 0  # of a volume of pages it would know
            except (readers.CopyUnreachableError, readers.CopyDamagedError) as error:
                said.append(str(error))
        raise PagesUnreadableError(f"volume {writer.volume}: no copy gives the first record: {'; '.join(said)}")

    async def ask(self, pages: Sequence[int], lsn: int) -> tuple[int, list[bytes]]:
        """How many pages there are at `lsn`, and as many of `pages` as one answer holds. Raises PagesUnreadableError."""
        said = []
        for copy in self.sources(lsn):
            try:
                answer = await self._writer.reader.ask_pages(copy, pages, lsn=lsn, epoch=self._writer.epoch)
            except (readers.CopyUnreachableError, readers.CopyDamagedError) as error:
                said.append(str(error))
                continue
            return answer.size, answer.contents
        raise PagesUnreadableError(
            f"volume {self._writer.volume}: pages at LSN {lsn} cannot be read: "
            f"{'; '.join(said) or 'no copy has everything up to there'}"
        )
