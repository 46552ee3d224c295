"""Carries out a round: strikes, waits as long as the plan says, and mends."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from pathlib import Path

from tests.faults import crew as crews
from tests.faults.plan import FAULTS, Episode
from tests.faults.zones import Zones
from tests.support import brokers, disks
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold_functions.volume.core import layout

KILL, TERM, STOP, CONT = signal.SIGKILL, signal.SIGTERM, signal.SIGSTOP, signal.SIGCONT

STARTS = 3
OWNER_S = 60.0


class Nemesis:
    """Does harm. `left_out` says why some faults do not happen here."""

    def __init__(
        self,
        crew: crews.Crew,
        *,
        data_dir: Path,
        clock: clocks.Clock,
        say: Callable[[str], None],
        left_out: Mapping[str, str],
        kafka: Path | None = None,
        zones: Zones | None = None,
        small_disk: Path | None = None,
        small_copy: str = "c1",
    ) -> None:
        self._crew = crew
        self._data_dir = data_dir
        self._clock = clock
        self._say = say
        self._left_out = left_out
        self._kafka = kafka
        self._zones = zones
        self._small_disk = small_disk
        self._small_copy = small_copy
        self.hits: collections.Counter[str] = collections.Counter()

    async def strike(self, episodes: Sequence[Episode]) -> None:
        """A round: all of these side by side. In the end all is mended."""
        async with asyncio.TaskGroup() as group:
            for episode in episodes:
                group.create_task(self._episode(episode))

    async def _episode(self, episode: Episode) -> None:
        if reason := self._left_out.get(episode.fault):
            self._say(f"    {episode.text()}: left out, {reason}")
            return
        self._say(f"    {episode.text()}")
        await self._clock.sleep(episode.begins_s)  # the moments are the seed's, not conditions
        self.hits[episode.fault] += 1
        async with self._strike(episode):
            await self._clock.sleep(episode.lasts_s)

    @contextlib.asynccontextmanager
    async def _strike(self, episode: Episode) -> AsyncIterator[None]:
        fault, victims = episode.fault, list(episode.victims)
        if fault.startswith("broker"):
            async with self._struck_broker(fault):
                yield
            return
        if fault == "zone cut off":
            async with self._cut(victims):
                yield
            return
        if fault == "disk full":
            async with self._full():
                yield
            return
        if fault.startswith("owner"):
            # When one was killed just now, the next one takes the log in a moment.
            victims = await eventually(self._owner, "somebody owns the log", OWNER_S)
        elif fault.startswith("writer"):
            victims = self._crew.writers()
        elif fault == "tracker killed":
            victims = [crews.TRACKER]
        elif fault == "everything killed":
            victims = [*layout.COPIES, *crews.WRITERS, crews.TRACKER, *crews.CLIENTS]
        if fault.endswith("paused"):
            async with self._paused(victims, followed=fault == "writer followed while paused"):
                yield
        else:
            async with self._ended(victims, TERM if fault.endswith("in order") else KILL):
                yield

    @contextlib.asynccontextmanager
    async def _ended(self, victims: Sequence[str], how: signal.Signals) -> AsyncIterator[None]:
        self._crew.hold(victims)
        try:
            await self._crew.end(victims, how)
            yield
        finally:
            self._crew.release(victims)

    @contextlib.asynccontextmanager
    async def _paused(self, victims: Sequence[str], *, followed: bool) -> AsyncIterator[None]:
        self._crew.send(victims, STOP)
        try:
            if followed:
                await self._crew.follow()
            yield
        finally:
            self._crew.send(victims, CONT)

    @contextlib.asynccontextmanager
    async def _cut(self, victims: Sequence[str]) -> AsyncIterator[None]:
        assert self._zones is not None
        [zone] = {place.zone for place in layout.PLACES if place.copy in victims}
        self._zones.cut(zone)
        try:
            yield
        finally:
            self._zones.join(zone)

    @contextlib.asynccontextmanager
    async def _full(self) -> AsyncIterator[None]:
        assert self._small_disk is not None
        ballast = self._small_disk / "ballast"
        await asyncio.to_thread(disks.fill, ballast)
        try:
            yield
        finally:
            ballast.unlink()

    @contextlib.asynccontextmanager
    async def _struck_broker(self, fault: str) -> AsyncIterator[None]:
        assert self._kafka is not None
        if fault == "broker paused":
            pid = int((self._kafka / "broker-1" / "pid").read_text())
            os.kill(pid, STOP)
            try:
                yield
            finally:
                os.kill(pid, CONT)
            return
        end = brokers.kill_local if fault == "broker killed" else brokers.stop_local
        await asyncio.to_thread(end, self._kafka, 1)
        try:
            yield
        finally:
            await self._start_broker(self._kafka)

    async def _start_broker(self, folder: Path) -> None:
        """A busy machine may take longer than one attempt waits; the next one finds the broker on its way."""
        for _ in range(STARTS - 1):
            with contextlib.suppress(brokers.NoBrokerError):
                await asyncio.to_thread(brokers.start_local, folder)
                return
        await asyncio.to_thread(brokers.start_local, folder)

    def _owner(self) -> list[str]:
        """Who holds the embedded bus's lock: by /proc/locks, whose sixth word is `major:minor:inode`."""
        path = self._data_dir / "bus" / "lock"
        inode = path.stat().st_ino
        for line in Path("/proc/locks").read_text().splitlines():
            words = line.split()
            if "FLOCK" in words and words[5].rpartition(":")[2] == str(inode):
                name = self._crew.name_of(int(words[4]))
                return [] if name is None else [name]
        return []


def left_out(*, cell_refused: str, disk_refused: str) -> dict[str, str]:
    """Why some faults cannot be had here."""
    reasons = {fault.name: cell_refused for fault in FAULTS if fault.needs_cell} if cell_refused else {}
    return {**reasons, **({"disk full": disk_refused} if disk_refused else {})}
