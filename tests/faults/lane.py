"""A client of the volume, and what it does all day: registers, and transactions on lists, into a history.

A volume is a log: whoever appends a record has a place in its order. So a write is an append; a compare-and-set is one
whose outcome follows from the records before it; a transaction is one append of several records, which are durable
together, and its reads are answered as of that place. The volume's public API has no read that is linearizable by itself
(`read` gives what the asked copies know to be durable): a read here appends a record that says nothing, and reads up to it.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
from collections.abc import Sequence
from typing import Any

from tests.faults import machine
from tests.history.recording import Event, Recorder

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_functions.volume.client import AppendResult, QuorumLostError, RequestRefusedError, VolumeClient
from sixfold_functions.volume.core import layout
from sixfold_functions.volume.reader import CopyDamagedError, CopyUnreachableError

APPEND_TIMEOUT_S = 4.0
READ_TIMEOUT_S = 8.0
PAUSE_S_MAX = 0.06
AGAIN_S = 0.02
OTHERS_S = 5.0
KEYS = 3
"""Registers, and lists, in use at a time."""
GENERATION_LSNS = 500
"""After so many records there are new ones, so that none has more operations than can be checked."""
PADS = (0, 0, 0, 40, 300, 3000)


class WrongPlaceError(Exception):
    """An append was acknowledged at LSNs where the volume has something else."""


class NotReadError(Exception):
    """No copy gave all records in time."""


class Lane:
    """One client process's lane: one operation at a time."""

    def __init__(
        self, name: str, client: VolumeClient, recorder: Recorder, *, clock: clocks.Clock, rng: random.Random
    ) -> None:
        self._name = name
        self._client = client
        self._recorder = recorder
        self._clock = clock
        self._rng = rng
        self._state = machine.State()
        self._count = 0

    async def run(self, stopping: asyncio.Event) -> None:
        """Operate until told to stop."""
        while not stopping.is_set():
            operation = self._rng.choices([self.read, self.write, self.cas, self.transact], [3, 2, 1, 4])[0]
            await operation()
            await self._clock.sleep(self._rng.uniform(0.0, PAUSE_S_MAX))

    # -- what it does ----------------------------------------------------------------------------------------------

    async def read(self, key: str = "") -> None:
        """Read a register."""
        key = key or self._key("r")
        invoked = self._recorder.invoke(self._name, "read", key)
        try:
            await self._advance(await self._read_point())
        except (QuorumLostError, RequestRefusedError, NotReadError, port.BusError) as error:
            self._recorder.complete(invoked, "fail", error=type(error).__name__)
        except WrongPlaceError as error:
            self._recorder.complete(invoked, "info", wrong=str(error))
        else:
            self._recorder.complete(invoked, "ok", self._state.registers.get(key))

    async def write(self, key: str = "") -> None:
        """Write a register."""
        key, value = key or self._key("r"), self._unique()
        records = [self._command("write", key, value)]
        invoked = self._recorder.invoke(self._name, "write", key, value, records=_texts(records))
        result = await self._append(invoked, records)
        if result is not None:
            self._recorder.complete(invoked, "ok", lsn=result.first_lsn)

    async def cas(self) -> None:
        """Write a register if it holds what this lane last saw in it."""
        key = self._key("r")
        value = [self._state.registers.get(key), self._unique()]
        records = [self._command("cas", key, value)]
        invoked = self._recorder.invoke(self._name, "cas", key, value, records=_texts(records))
        result = await self._append(invoked, records)
        if result is None:
            return
        try:
            took = await self._own(result.first_lsn, records[0])
        except NotReadError:
            self._recorder.complete(invoked, "info", lsn=result.first_lsn)  # it is in the log; what it did is not known
        except WrongPlaceError as error:
            self._recorder.complete(invoked, "info", lsn=result.first_lsn, wrong=str(error))
        else:
            self._recorder.complete(invoked, "ok", took, lsn=result.first_lsn)

    async def transact(self) -> None:
        """Append to lists and read some, as one."""
        parts: list[list[Any]] = []
        for _ in range(self._rng.randint(1, 4)):
            key = self._key("l")
            parts.append(["r", key, None] if self._rng.random() < 0.5 else ["append", key, self._unique()])
        records = [self._command("append", key, value) for f, key, value in parts if f == "append"]
        records = records or [self._command("nothing")]
        invoked = self._recorder.invoke(self._name, "txn", value=parts, records=_texts(records))
        result = await self._append(invoked, records)
        if result is None:
            return
        try:
            told = await self._answers(parts, records, result)
        except NotReadError:
            told = parts  # it happened; what it read is not known
        except WrongPlaceError as error:
            self._recorder.complete(invoked, "info", lsn=result.first_lsn, wrong=str(error))
            return
        self._recorder.complete(invoked, "ok", told, lsn=result.first_lsn)

    async def _answers(
        self, parts: Sequence[list[Any]], records: Sequence[bytes], result: AppendResult
    ) -> list[list[Any]]:
        await self._advance(result.first_lsn - 1)
        told, lsn = [], result.first_lsn
        for f, key, value in parts:
            if f == "append":
                await self._own(lsn, records[lsn - result.first_lsn])
                lsn += 1
                told.append([f, key, value])
            else:
                told.append([f, key, list(self._state.lists.get(key, []))])
        return told

    # -- how it does it --------------------------------------------------------------------------------------------

    def _key(self, letter: str) -> str:
        return f"{letter}{self._state.lsn // GENERATION_LSNS}.{self._rng.randrange(KEYS)}"

    def _unique(self) -> str:
        self._count += 1
        return f"{self._name}-{self._count}"

    def _command(self, f: Any, key: str = "", value: Any = None) -> bytes:
        pad = "." * self._rng.choice(PADS)
        return machine.encode(machine.Command(id=self._unique(), f=f, key=key, value=value, pad=pad))

    async def _read_point(self) -> int:
        """An LSN up to which everything is that was acknowledged before."""
        return (await self._client.append([self._command("nothing")], timeout_s=APPEND_TIMEOUT_S)).last_lsn

    async def _append(self, invoked: Event, records: list[bytes]) -> AppendResult | None:
        """Append; where that is not acknowledged the operation is completed, and there is no result."""
        try:
            return await self._client.append(records, timeout_s=APPEND_TIMEOUT_S)
        except RequestRefusedError as error:
            self._recorder.complete(invoked, "fail", error=str(error))
        except (QuorumLostError, port.BusError) as error:
            self._recorder.complete(invoked, "info", error=type(error).__name__)
        return None

    async def _own(self, lsn: int, record: bytes) -> bool:
        """Go on to this lane's own record at `lsn`; whether it took. Raises WrongPlaceError, NotReadError."""
        await self._advance(lsn - 1)
        [found] = await self._read(1)
        if found != record:
            raise WrongPlaceError(f"LSN {lsn} was acknowledged for {record!r}, and holds {found!r}")
        return self._state.apply(found)

    async def _advance(self, lsn: int) -> None:
        """Take all records up to `lsn`. Raises WrongPlaceError, NotReadError."""
        if lsn < self._state.lsn:
            raise WrongPlaceError(
                f"an append was acknowledged behind LSN {lsn}, and LSN {self._state.lsn} was there before"
            )
        while self._state.lsn < lsn:
            for record in await self._read(lsn - self._state.lsn):
                self._state.apply(record)

    async def _read(self, count: int) -> list[bytes]:
        """The next records, one at least, from any copy that has them. Raises NotReadError."""
        try:
            async with asyncio.timeout(READ_TIMEOUT_S):
                while True:
                    copy = self._rng.choice(layout.COPIES)
                    try:
                        found = await self._client.read(self._state.lsn + 1, count, copy=copy, timeout_s=2.0)
                    except (CopyUnreachableError, CopyDamagedError, port.BusError):
                        found = None
                    if found is not None and found.payloads:
                        return found.payloads[:count]
                    await self._clock.sleep(AGAIN_S)
        except TimeoutError:
            raise NotReadError from None


class StaleLane(Lane):
    """Broken on purpose: it answers reads from what it saw in its last transaction."""

    async def run(self, stopping: asyncio.Event) -> None:
        """See something, then read what has just been written."""
        while not stopping.is_set():
            await self.transact()
            key = self._key("r")
            await self.write(key)
            await self.read(key)

    async def _read_point(self) -> int:
        return self._state.lsn


class TornLane(Lane):
    """Broken on purpose: it appends the two records of a transaction one after the other, and others get in between."""

    async def run(self, stopping: asyncio.Event) -> None:
        """Nothing but such transactions."""
        while not stopping.is_set():
            await self.transact()

    async def transact(self) -> None:
        """Append two elements to one list."""
        key = self._key("l")
        parts = [["append", key, self._unique()] for _ in range(2)]
        invoked = self._recorder.invoke(self._name, "txn", value=parts)
        for f, _, value in parts:
            if await self._append(invoked, [self._command(f, key, value)]) is None:
                return
            with contextlib.suppress(TimeoutError, QuorumLostError, RequestRefusedError, NotReadError, port.BusError):
                async with asyncio.timeout(OTHERS_S):
                    await self._others(key, value)
        self._recorder.complete(invoked, "ok", parts)

    async def _others(self, key: str, value: str) -> None:
        """Return once somebody appended to the list behind `value`."""
        elements: list[str] = []
        while value not in elements or elements[-1] == value:
            await self._advance(await self._read_point())
            elements = self._state.lists.get(key, [])


BROKEN = {"": Lane, "stale-reads": StaleLane, "torn-transactions": TornLane}
"""By the word that asks for it."""


def _texts(records: Sequence[bytes]) -> list[str]:
    return [record.decode() for record in records]
