"""A real bus of which parts do not answer: some partitions hang, some topics refuse."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

from sixfold.bus import port
from sixfold_functions.volume.core import layout


class FaultyBus:
    """As a cluster whose brokers fail one by one; everything but `publish` is the real bus."""

    def __init__(self, bus: port.Bus) -> None:
        self._bus = bus
        self._whole = asyncio.Event()
        self._whole.set()
        self._hanging: set[tuple[str, int | None]] = set()
        self.refused: set[str] = set()
        """Topics whose records are not taken."""
        self._silent: set[port.TopicPartition] = set()
        self.calls: list[list[int | None]] = []
        """Partitions of each publish call."""

    def __getattr__(self, name: str) -> Any:
        return getattr(self._bus, name)

    def hang(self, topic: str, copies: Iterable[str]) -> None:
        """The leaders of these copies' partitions are away: a call with one of them waits for `heal`."""
        self._hanging = {(topic, layout.PARTITION[copy]) for copy in copies}
        self._whole.clear()

    def silence(self, topic: str, copies: Iterable[str]) -> None:
        """Whoever reads these copies' partitions gets nothing any more."""
        self._silent = {port.TopicPartition(topic, layout.PARTITION[copy]) for copy in copies}

    def assign(self, partitions: Sequence[port.TopicPartition], **given: Any) -> Any:
        consumer = self._bus.assign(partitions, **given)
        fetch = consumer.fetch

        async def fetched(**how: Any) -> dict[port.TopicPartition, list[port.Record]]:
            found = await fetch(**how)
            return {partition: records for partition, records in found.items() if partition not in self._silent}

        consumer.fetch = fetched  # type: ignore[method-assign]
        return consumer

    def heal(self) -> None:
        self._hanging = set()
        self._whole.set()

    async def publish(self, records: Sequence[port.NewRecord]) -> list[port.Position]:
        self.calls.append([record.partition for record in records])
        if refused := self.refused & {record.topic for record in records}:
            raise port.BusUnavailableError(f"no broker has {', '.join(sorted(refused))}")
        stuck = [record for record in records if (record.topic, record.partition) in self._hanging]
        taken = await self._bus.publish([record for record in records if record not in stuck])
        if stuck:
            # What its brokers took is stored; the call as a whole is not over.
            await self._whole.wait()
            taken += await self._bus.publish(stuck)
        return taken
