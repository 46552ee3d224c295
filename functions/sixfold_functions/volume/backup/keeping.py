"""Beside what a backup takes: page snapshots are made when they are due, and what is older than the window goes.

In a thread, on a listing of its own, as a second process would do it: taking goes on meanwhile.
"""

from __future__ import annotations

import asyncio
import hashlib
import threading
from pathlib import Path

import structlog

from sixfold import clock as clocks
from sixfold import errors
from sixfold_functions.volume.backup import archive, objects, reencrypting, settings, snapshots
from sixfold_functions.volume.core import snapshots as deciding
from sixfold_functions.volume.core.backup import Piece
from sixfold_functions.volume.encryption.envelope import DataKey
from sixfold_functions.volume.encryption.keyring import KeyMissingError


class Keeper:
    """Of one backup; `folder` is for files that it needs while it makes a snapshot."""

    def __init__(
        self, kept: archive.Archive, folder: Path, *, clock: clocks.Clock, chosen: settings.BackupSettings
    ) -> None:
        self._source = kept
        self._kept = archive.Archive(kept.whole_store, kept.volume)
        self._folder = folder / f"{kept.volume}-{hashlib.sha256(kept.url.encode()).hexdigest()[:8]}"
        self._clock = clock
        self._settings = chosen
        self._holds_pages: bool | None = None
        self._renewed: set[Piece] = set()
        """Objects that are known to be under the current data key, since it was."""
        self._key: DataKey | None = None
        self._stopped = threading.Event()
        self._working: asyncio.Task[None] | None = None
        self._log = structlog.get_logger().bind(volume=kept.volume, store=kept.url)

    def begin(self) -> None:
        """Have it work, unless it does."""
        if self._working is None:
            snapshots.tidy(self._folder)
        if self._working is None or self._working.done():
            self._working = asyncio.create_task(asyncio.to_thread(self._work))

    async def stop(self) -> None:
        """Return once it works no more; what it did not finish goes on next time."""
        self._stopped.set()
        if self._working is not None:
            await self._working

    def _work(self) -> None:
        self._kept.keyring = self._source.keyring
        try:
            self.work()
        except (errors.SixfoldError, OSError) as error:
            self._log.warning("a snapshot has to wait", action="volume.backup.failed", error=str(error))

    def work(self) -> None:
        """Make what is due, let go of what is old. Raises StoreError, ObjectDamagedError, BackupError, OSError."""
        kept = self._kept
        kept.refresh()
        self._renew()
        if self._holds_pages is None and kept.chain.last_lsn:
            self._holds_pages = snapshots.page_bytes(kept) > 0
        if not self._holds_pages:
            return
        newest = kept.snapshots[-1] if kept.snapshots else None
        if deciding.due(kept.chain, newest, log_bytes_min=self._settings.snapshot_log_bytes):
            maker = snapshots.Maker(kept, self._folder, going_on=lambda: not self._stopped.is_set())
            if (made := maker.make()) is not None:
                self._log.info("a snapshot was made", action="volume.backup.snapshot", lsn=made.last_lsn)
        now_ms = clocks.now_ms(self._clock)
        gone = snapshots.collect(kept, retention_ms=self._settings.retention_ms, now_ms=now_ms)
        if gone:
            self._log.info("older objects were let go", action="volume.backup.collected", objects=gone)

    def _renew(self) -> None:
        """Write objects anew that are under a retired data key, if they are to be."""
        kept = self._kept
        if kept.keyring.current is None or not kept.keyring.reencrypt:
            return
        if self._key is not kept.keyring.current:
            self._key, self._renewed = kept.keyring.current, set()
            return  # next time: by then all that read the backup have the key
        stale = list(reencrypting.stale(kept, but=self._renewed))
        self._renewed = {*kept.pieces, *kept.parts}
        for piece in stale:
            if self._stopped.is_set():
                return
            self._renewed.discard(piece)
            try:
                reencrypting.rewrite(kept, piece)
            except (objects.ObjectDamagedError, KeyMissingError) as error:
                self._log.warning(
                    "an object is not written anew", action="volume.reencryption.failed", error=str(error)
                )
