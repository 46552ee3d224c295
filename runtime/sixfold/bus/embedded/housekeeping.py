"""Retention and compaction, a step at a time between the owner's other work.

A look at all partitions every `housekeeping_s` compares numbers that are in memory; only what is due touches the file.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import apsw
import msgspec
import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import catalogue as catalogue_
from sixfold.bus.embedded import compaction, retention
from sixfold.bus.embedded import settings as settings_
from sixfold.bus.embedded import store as store_

_log = structlog.get_logger(__name__)
_PAUSE_S = 0.002
"""Between two steps, so that what waits is served."""


class Housekeeper:
    """Used by the owner's thread alone."""

    def __init__(
        self,
        store: store_.Store,
        catalogue: catalogue_.Catalogue,
        settings: settings_.Settings,
        clock: clocks.Clock,
        loop: asyncio.AbstractEventLoop,
        *,
        first_in_s: float,
        before: Callable[[], None],
        broken: Callable[[Exception], None],
    ) -> None:
        """Begins in `first_in_s`; calls `before` ahead of each transaction, `broken` when the disk failed."""
        self._store = store
        self._catalogue = catalogue
        self._settings = settings
        self._clock = clock
        self._loop = loop
        self._before = before
        self._broken = broken
        self._compaction: compaction.Compaction | None = None
        self._clean_bytes: dict[int, int] = {}
        self._trash = bool(store.execute("SELECT count(*) FROM trash").get)
        self._timer = loop.call_later(first_in_s, self._look)

    def close(self) -> None:
        """Do nothing more."""
        self._timer.cancel()

    def topic_deleted(self) -> None:
        """There is something to sweep."""
        self._trash = True

    def _look(self) -> None:
        delay_s = self._settings.housekeeping_s
        try:
            if self._step():
                delay_s = _PAUSE_S
        except apsw.FullError as error:
            _log.warning("no room to clean up the log", action="bus.housekeeping.full", error=str(error))
        except (apsw.Error, msgspec.DecodeError) as error:
            self._broken(error)
            return
        self._timer = self._loop.call_later(delay_s, self._look)

    def _step(self) -> bool:
        """A little of what is due; true where there may be more."""
        now_ms = clocks.now_ms(self._clock)
        if self._compaction is not None:
            return self._compact(self._compaction, now_ms)
        expiring = []
        for log in self._store.logs.values():
            spec = self._catalogue.topics[log.topic].spec
            if spec.cleanup is port.Cleanup.COMPACT:
                if self._compaction is None and self._compaction_due(log, now_ms):
                    self._compaction = self._begin(log, now_ms)
            elif retention.due(log, spec, self._store, now_ms):
                expiring.append((log.id, spec))
        if not (expiring or self._trash or self._compaction):
            return False
        more = self._compaction is not None
        if expiring or self._trash:
            self._before()
            with self._store.transaction():
                for partition, spec in expiring[: retention.PARTITIONS_PER_STEP]:
                    more |= retention.expire(self._store.change(partition), spec, self._store, now_ms)
                self._trash = self._trash and retention.sweep(self._store)
        return more or self._trash or len(expiring) > retention.PARTITIONS_PER_STEP

    def _compaction_due(self, log: store_.Log, now_ms: int) -> bool:
        if log.clean >= log.end:
            return False
        if log.dirty_since_ms == 0:
            log.dirty_since_ms = now_ms  # an earlier owner left it; count from now
        clean = self._clean_bytes.get(log.id)
        if clean is None:
            clean = self._clean_bytes[log.id] = self._store.bytes_between(log.id, log.start, log.clean)
        dirty = self._store.bytes_between(log.id, log.clean, log.end)
        old = now_ms - log.dirty_since_ms >= self._settings.dirty_age_max_ms
        return old or dirty >= self._settings.dirty_ratio_min * (clean + dirty)

    def _begin(self, log: store_.Log, now_ms: int) -> compaction.Compaction:
        return compaction.Compaction(
            self._store,
            log.id,
            now_ms=now_ms,
            tombstone_ms=self._settings.tombstone_ms,
            batch_bytes_max=self._settings.batch_bytes_max,
        )

    def _compact(self, one: compaction.Compaction, now_ms: int) -> bool:
        self._before()
        if not one.step():
            self._clean_bytes[one.partition] = one.bytes_left
            self._compaction = None
        return True
