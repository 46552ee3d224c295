"""The writer of one group: a volume's writer that says of nothing that it is durable before its volume's writer does."""

from __future__ import annotations

import collections
import dataclasses
import random
from collections.abc import Sequence
from typing import Protocol

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold_events.registry import Registry
from sixfold_functions.volume import appending
from sixfold_functions.volume import writer as writers
from sixfold_functions.volume.core import parts, sequencer
from sixfold_functions.volume.core.plan import Plan
from sixfold_functions.volume.settings import WriterSettings


class Volume(Protocol):
    """What a group's writer needs of its volume's."""

    def on_group(self, group: GroupWriter) -> None:
        """More may be durable in `group`."""

    def pump(self) -> None:
        """A group has room."""

    def fail(self, error: Exception) -> None:
        """A group failed."""

    async def hold_group(self, group: GroupWriter) -> None:
        """Take the volume over, this group with it; then return once its announcements may begin."""


def settings_of(volume: WriterSettings) -> WriterSettings:
    """A group's: its volume's limits hold, and each part is one batch, whatever its label adds."""
    limits = volume.limits
    return dataclasses.replace(
        volume,
        limits=dataclasses.replace(
            limits,
            batch_appends_max=1,
            batch_records_max=limits.batch_records_max + 1,
            batch_bytes_max=max(limits.batch_bytes_max, limits.record_bytes_max) + parts.LABEL_BYTES_MAX,
            record_bytes_max=max(limits.record_bytes_max, parts.LABEL_BYTES_MAX),
            ahead_records_max=2 * limits.ahead_records_max + 2,  # a label for each record at most
            window_bytes_max=4 * limits.window_bytes_max,
        ),
    )


class GroupWriter(writers.VolumeWriter):
    """Writes the group with this number."""

    is_group = True

    def __init__(
        self,
        bus: port.Bus,
        plan: Plan,
        number: int,
        volume: Volume,
        *,
        registry: Registry,
        name: str,
        clock: clocks.Clock,
        rng: random.Random,
        tag: int,
        settings: WriterSettings,
    ) -> None:
        super().__init__(
            bus,
            registry=registry,
            name=name,
            volume=plan.volume_of(number),
            clock=clock,
            rng=rng,
            settings=settings_of(settings),
        )
        self.number = number
        self.kept_lsn = 0
        """Copies keep what is above, whoever reads: the last part of which they were told says to a recovery where the
        volume was."""
        self._taken: collections.deque[tuple[int, int]] = collections.deque()
        """First and last LSN of each part of which the copies are not told yet."""
        self.outlet.low_water = self._low_water
        self.recovery.tag = tag
        self._whole = volume

    async def _hold(self) -> None:
        await self._whole.hold_group(self)
        await self.announcer.run()

    def advance(self) -> None:
        """Its volume says how much of it counts."""
        self._whole.on_group(self)

    def has_room(self) -> bool:
        """Whether another part would be sent at once."""
        return self.sender.has_room() and not self.sequencer.waiting()[0]

    def _low_water(self, durable_lsn: int) -> int:
        return min(self.read_points.low_water(durable_lsn), self.kept_lsn)

    def durable(self, lsn: int) -> None:
        """All up to `lsn` is durable in the volume."""
        while self._taken and self._taken[0][1] <= lsn:
            self.kept_lsn = self._taken.popleft()[0] - 1
        super().durable(lsn)

    def take(self, records: Sequence[bytes], end_lsn: int) -> None:
        """Send a part that ends at the group's `end_lsn`."""
        self._taken.append((end_lsn - len(records) + 1, end_lsn))
        self.sequencer.offer(sequencer.Append[appending.Waiter](records, None))
        super()._pump()

    def _pump(self) -> None:
        super()._pump()
        self._whole.pump()

    def fail(self, error: Exception) -> None:
        """With it, its volume."""
        super().fail(error)
        self._whole.fail(error)
