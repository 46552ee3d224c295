"""The writer of one group: a volume's writer that says of nothing that it is durable before its volume's writer does."""

from __future__ import annotations

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

    def take(self, records: Sequence[bytes]) -> None:
        """Send a part."""
        self.sequencer.offer(sequencer.Append[appending.Waiter](records, None))
        super()._pump()

    def _pump(self) -> None:
        super()._pump()
        self._whole.pump()

    def fail(self, error: Exception) -> None:
        """With it, its volume."""
        super().fail(error)
        self._whole.fail(error)
