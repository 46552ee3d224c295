"""A client of a volume that is spread over groups: appends through its writer, reads by volume LSN, and its status."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from types import TracebackType
from typing import Self

import msgspec

from sixfold import clock as clocks
from sixfold import errors as usage
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_events.volume import VolumeReadAnswered
from sixfold_functions.volume import client as clients
from sixfold_functions.volume import errors, status, topics
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.groups import finding
from sixfold_functions.volume.settings import AppendResult


class GroupedState(msgspec.Struct, frozen=True, kw_only=True):
    """A volume that is spread over groups."""

    volume: str
    stripe: int
    page_bytes: int
    durable_lsn: int
    """VDL, as the writer announced it last."""
    writable: bool
    """Four copies that count answer in each group."""
    groups: list[status.VolumeState]
    """Each by its own LSNs."""


class _Whole(clients.VolumeClient):
    """What the volume has besides its groups: appends and announcements."""

    def __init__(self, groups: Sequence[clients.VolumeClient], bus: port.Bus, **named: object) -> None:
        super().__init__(bus, **named)  # type: ignore[arg-type]
        self._groups = groups

    async def __aenter__(self) -> Self:
        await self._bus.create_topics(topics.spread_specs(self.volume))
        await self._begin_listening()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self._end_listening()

    async def _unanswered(self, timeout_s: float) -> errors.QuorumLostError:
        """Of the group that has no write quorum, if one has none."""
        states = await asyncio.gather(*(group.status() for group in self._groups))
        lost = [group for group, state in zip(self._groups, states, strict=True) if not state.writable]
        return await (lost or self._groups)[0]._unanswered(timeout_s)


class GroupedClient:
    """Appends to and reads from the volume with `plan`. Use as an async context manager."""

    def __init__(self, bus: port.Bus, plan: Plan, *, registry: Registry, clock: clocks.Clock | None = None) -> None:
        self.plan = plan
        self.volume = plan.volume
        self._registry = registry
        self.groups = [
            clients.VolumeClient(bus, registry=registry, volume=plan.volume_of(number), clock=clock)
            for number in plan.numbers
        ]
        self._whole = _Whole(self.groups, bus, registry=registry, volume=plan.volume, clock=clock)

    async def __aenter__(self) -> Self:
        entered: list[clients.VolumeClient] = []
        try:
            for client in (*self.groups, self._whole):
                await client.__aenter__()
                entered.append(client)
        except BaseException:
            for client in entered:
                await client.__aexit__(None, None, None)
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for client in (*self.groups, self._whole):
            await client.__aexit__(None, None, None)

    async def append(self, records: Sequence[bytes], *, timeout_s: float = 10.0) -> AppendResult:
        """As `VolumeClient.append`, with volume LSNs."""
        return await self._whole.append(records, timeout_s=timeout_s)

    async def status(self, *, timeout_s: float = 1.0) -> GroupedState:
        """Each group as its copies answer now."""
        states = await asyncio.gather(*(group.status(timeout_s=timeout_s) for group in self.groups))
        announced = self._whole.announced
        return GroupedState(
            volume=self.volume,
            stripe=self.plan.stripe,
            page_bytes=self.plan.page_bytes,
            durable_lsn=announced.durable_lsn if announced is not None else 0,
            writable=all(state.writable for state in states),
            groups=list(states),
        )

    async def read(
        self, from_lsn: int, count: int, *, copy: str | None = None, timeout_s: float = 2.0
    ) -> clients.ReadResult:
        """Up to `count` records from volume LSN `from_lsn` on, fewer only where what is announced as durable ends.

        Each group is read from one copy, no quorum is needed. Raises CopyUnreachableError where no copy of a group that
        answers has its part of it, UsageError for a `copy`, which is a group's: read that group by its own name.
        """
        if copy is not None:
            raise usage.UsageError(
                f"volume {self.volume} is spread over groups, each with a copy {copy}; name one: --volume "
                f"{self.plan.volume_of(1)} --copy {copy}"
            )
        announced = self._whole.announced
        epoch, durable_lsn = (announced.epoch, announced.durable_lsn) if announced is not None else (0, 0)
        last_lsn = min(durable_lsn, from_lsn + count - 1)
        if last_lsn < from_lsn:
            return clients.ReadResult("", from_lsn, [])
        found: dict[int, bytes] = {}
        read = await asyncio.gather(*(self._read(group, epoch, from_lsn, last_lsn, found) for group in self.groups))
        missing = next((lsn for lsn in range(from_lsn, last_lsn + 1) if lsn not in found), None)
        if missing is not None:
            raise readers.CopyUnreachableError(
                f"volume {self.volume}: LSN {durable_lsn} is durable, but the copies that answer have no LSN {missing}; "
                f"which do not: sixfold volume status --volume {self.volume}"
            )
        return clients.ReadResult(", ".join(read), from_lsn, [found[lsn] for lsn in range(from_lsn, last_lsn + 1)])

    async def _read(
        self, group: clients.VolumeClient, epoch: int, from_lsn: int, last_lsn: int, found: dict[int, bytes]
    ) -> str:
        """Add what a group has to `found`. Returns the copy that gave it."""
        answers = await group.reader.ask_all()
        ranked = sorted(answers.values(), key=finding.rank, reverse=True)
        failure: Exception = readers.CopyUnreachableError(f"volume {group.volume}: none of its copies answers")
        for answer in ranked:
            try:
                await self._read_copy(group, answer, epoch, from_lsn, last_lsn, found)
            except (readers.CopyUnreachableError, readers.CopyDamagedError) as error:
                failure = error
                continue
            return f"{answer.copy} of {group.volume}"
        raise failure

    async def _read_copy(
        self,
        group: clients.VolumeClient,
        answer: VolumeReadAnswered,
        epoch: int,
        from_lsn: int,
        last_lsn: int,
        found: dict[int, bytes],
    ) -> None:
        state = answer.status
        # A copy of an older epoch may have, above what it knows to be durable, what was annulled.
        end_lsn = state.complete_lsn if state.log_epoch >= epoch else state.settled_lsn
        place = await finding.place_of(group.reader, self._registry, answer.copy, state.settled_lsn, from_lsn - 1)
        async for part in finding.stored(group.reader, self._registry, answer.copy, place + 1, end_lsn):
            if part.label.first_lsn > last_lsn:
                return
            wanted = part.parse().records.items()
            found.update((lsn, record) for lsn, record in wanted if from_lsn <= lsn <= last_lsn)
