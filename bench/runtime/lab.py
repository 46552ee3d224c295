"""What every measurement works with: the broker, the scale, names that nobody used, topics that are filled once."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from bench.runtime import load
from bench.runtime.scale import Scale
from sixfold.bus import Bus


@dataclass(frozen=True)
class Lab:
    """One run's means."""

    bus: Bus
    bootstrap: str
    folder: Path
    """For files of the measured processes; on the project's own disk."""
    scale: Scale
    _numbers: Iterator[int] = field(default_factory=itertools.count)
    _filled: dict[int, str] = field(default_factory=dict)

    def name(self, what: str) -> str:
        """A name for a topic or a group that nobody used before."""
        return f"bench.{what}.{os.getpid()}.{next(self._numbers)}"

    async def readings(self, usual: int) -> tuple[str, int]:
        """A topic with `usual` records at this run's scale, and their number; groups share it."""
        count = self.scale.records(usual)
        if count not in self._filled:
            topic = self.name("readings")
            await load.fill(self.bus, topic, range(count))
            self._filled[count] = topic
        return self._filled[count], count
