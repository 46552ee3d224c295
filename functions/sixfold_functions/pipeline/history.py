"""Reads `pipeline.events` for those who watch: all that happened, and, if asked, what happens from then on."""

from __future__ import annotations

import contextlib

from sixfold.bus import port
from sixfold.process import Process
from sixfold_events import DecodeError
from sixfold_events import pipeline as events
from sixfold_functions.pipeline.view import ExecutionView, View


class History:
    """The executions, as fresh as the last `read`; `async with` it."""

    def __init__(self, process: Process) -> None:
        self._bus = process.require_bus()
        self._registry = process.registry
        self._stack = contextlib.AsyncExitStack()
        self._consumer: port.Consumer | None = None
        self.view = View()

    async def __aenter__(self) -> History:
        spec = (await self._bus.topics()).get(events.TOPIC)
        if spec is None:
            return self  # nothing was ever pushed here
        partitions = [port.TopicPartition(events.TOPIC, number) for number in range(spec.partitions)]
        self._consumer = await self._stack.enter_async_context(self._bus.assign(partitions))
        ends = {partition: (await self._bus.offsets(partition)) for partition in partitions}
        left = {partition for partition, offsets in ends.items() if offsets.end > offsets.start}
        while left:
            fetched = await self._consumer.fetch(wait_s=0.5)
            self._fold(fetched)
            left -= {tp for tp, records in fetched.items() if records[-1].offset + 1 >= ends[tp].end}
            if not fetched:
                break  # what is missing was a transaction's marker
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.aclose()

    async def changes(self, *, wait_s: float = 0.5) -> list[ExecutionView]:
        """Executions that changed since; waits so long for a change."""
        if self._consumer is None:
            return []
        return self._fold(await self._consumer.fetch(wait_s=wait_s))

    def _fold(self, fetched: dict[port.TopicPartition, list[port.Record]]) -> list[ExecutionView]:
        changed: dict[str, ExecutionView] = {}
        for records in fetched.values():
            for record in records:
                try:
                    found = self.view.fold(self._registry.decode(record.value, record.headers))
                except DecodeError:
                    continue  # of a newer version than this command; it shows what it knows
                if found is not None:
                    changed[found.execution] = found
        return list(changed.values())
