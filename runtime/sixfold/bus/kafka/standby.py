"""Standby copies: what a member has on its disk of partitions that others own, so that it takes them over warm.

The changelogs of the numbers that a member does not own are followed into its file, in rounds that are those of a
restore: what cannot be gone on with is made afresh, and only committed rows are read. At a takeover the restore goes on
where the last round ended, so it reads what came since, be that a round old. Whoever owns a number writes its copy
itself; hence the following ends before a takeover begins, and goes on after it without the numbers that came.

Every member of the group follows, unlike Kafka Streams, where `num.standby.replicas` members do and the assignor knows
them: this way whoever gets a partition is warm, and the price is each member's disk and a reading of each changelog.
"""

from __future__ import annotations

import asyncio
from collections.abc import Collection

import structlog

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import restoring
from sixfold.bus.kafka import settings as kafka_settings

LOGS_AT_ONCE = 8
"""Partitions of changelogs that are read side by side: so many times `fetch_partition_bytes` wait in memory at most."""
REST = 4.0
"""A fifth of the process's time at most goes into storing, the rest is its functions'."""


class Standby:
    """Follows what the group's other members own."""

    def __init__(
        self, group: str, restorer: restoring.Restorer, clock: clocks.Clock, settings: kafka_settings.KafkaSettings
    ) -> None:
        self._group = group
        self._restorer = restorer
        self._clock = clock
        self._settings = settings
        self._following: asyncio.Task[None] | None = None
        self._left: dict[port.TopicPartition, int] | None = None

    @property
    def lag(self) -> int | None:
        """Offsets that it has yet to copy of what there was when it last looked; None before its first look."""
        return None if self._left is None else sum(self._left.values())

    def follow(self, owned: Collection[int]) -> None:
        """Follow all numbers but these from now on; it must be stopped."""
        self._following = asyncio.create_task(self._follow(frozenset(owned)), name=f"{self._group} standby")

    async def stop(self) -> None:
        """Follow nothing: when this returns it writes to no copy any more. May be called again."""
        if self._following is not None:
            if not self._following.cancelling():
                self._following.cancel()
            await asyncio.wait({self._following})
            self._following = None
        self._left = None

    async def _follow(self, owned: frozenset[int]) -> None:
        told = ""
        while True:
            try:
                await self._round(owned)
                told = ""
            except Exception as error:  # a standby that cannot be kept must not end the function
                if told != (told := f"{type(error).__name__}: {error}"):
                    structlog.get_logger().warning(
                        "standby copies are not kept up", action="standby.failed", group=self._group, why=told
                    )
            await self._clock.sleep(self._settings.standby_s)

    async def _round(self, owned: frozenset[int]) -> None:
        logs = sorted(log for log in await self._restorer.changelogs() if log.partition not in owned)
        spans = await self._restorer.spans(logs)
        watch = restoring.Watch(self._clock, self._group, what="standby", rest=REST)
        watch.left = self._left = {log: max(0, span.end - span.begin) for log, span in spans.items()}
        for first in range(0, len(logs), LOGS_AT_ONCE):
            await self._restorer.read({log: spans[log] for log in logs[first : first + LOGS_AT_ONCE]}, watch)
        watch.over()
        await self._restorer.sweep()
