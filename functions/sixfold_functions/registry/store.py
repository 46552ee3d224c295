"""The registry of one gateway: its fold of the log, and writing to it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from sixfold import clock as clocks
from sixfold import publisher
from sixfold.bus import port
from sixfold.follower import Follower
from sixfold.process import Process
from sixfold_functions.registry import refusal
from sixfold_functions.registry.core import Decision
from sixfold_functions.registry.state import State
from sixfold_functions.registry.topics import TOPIC

Decide = Callable[[State, int], Decision]


class Store:
    """Reads what was written anywhere, writes what nobody else wrote at the same time."""

    def __init__(self, process: Process) -> None:
        self._clock = process.clock
        self._state = State()
        self._follower = Follower(process, TOPIC, self._state.apply)
        self._publisher = publisher.Publisher(process.require_bus(), source="/registry", clock=process.clock)
        self._writing = asyncio.Lock()

    async def read(self) -> State:
        """The state with all that was written before this call."""
        await self._follower.catch_up()
        if self._state.shadowed:
            await self.write(lambda _state, _now_ms: Decision((), None))
        return self._state

    async def write(self, decide: Decide) -> object:
        """Write what `decide(state, now_ms)` wants and return its answer once that is durable.

        Raises RefusedError as `decide` does, and where a record is too large. Nothing is written then.
        """
        async with self._writing:
            await self._follower.catch_up()
            while True:
                self._state.rejected.clear()
                decision = decide(self._state, clocks.now_ms(self._clock))
                events = (*self._state.shadowed.values(), *decision.events)
                if events:
                    try:
                        await self._publisher.publish(*events)
                    except port.RecordTooLargeError as error:
                        raise refusal.invalid_schema(f"the schema is too large: {error}") from error
                    await self._follower.catch_up()
                if not any(event in self._state.rejected for event in decision.events):
                    return decision.answer
                # Another gateway wrote the same subject in between: decide on what is there now.

    async def close(self) -> None:
        """Stop following."""
        await self._follower.close()
