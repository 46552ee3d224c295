"""Reads `pipeline.events` for those who watch: all that happened, and, if asked, what happens from then on."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable

from sixfold.bus import ends, port
from sixfold.process import Process
from sixfold_events import DecodeError
from sixfold_events import pipeline as events
from sixfold_functions.pipeline.view import ExecutionView, View


class History:
    """The executions: all that was published until it was opened, and what `changes` read since; `async with` it.

    Opening raises BusUnavailableError where the bus does not give all of it.
    """

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
        async with contextlib.AsyncExitStack() as opening:
            self._consumer = await opening.enter_async_context(self._bus.assign(partitions))
            until = await ends.of(self._bus, partitions)
            async for records in ends.read_up_to(self._consumer, until):
                self._fold(records)
            self._stack = opening.pop_all()
        return self

    async def __aexit__(self, *failure: object) -> None:
        await self._stack.aclose()

    async def changes(self, *, wait_s: float = 0.5) -> list[ExecutionView]:
        """Executions that changed since; waits so long for a change."""
        if self._consumer is None:
            return []
        fetched = await self._consumer.fetch(wait_s=wait_s)
        return self._fold(record for records in fetched.values() for record in records)

    def _fold(self, records: Iterable[port.Record]) -> list[ExecutionView]:
        changed: dict[str, ExecutionView] = {}
        for record in records:
            try:
                found = self.view.fold(self._registry.decode(record.value, record.headers))
            except DecodeError:
                continue  # of a newer version than this command; it shows what it knows
            if found is not None:
                changed[found.execution] = found
        return list(changed.values())
