"""One run: a volume of real processes, clients, faults by a plan, an end in which all is well, and what it was worth."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import os
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path

from tests.faults import cell, ending, nemesis, plan
from tests.faults import crew as crews
from tests.faults.progress import Progress
from tests.faults.zones import HUB, Zones
from tests.history import checking, recording
from tests.support import brokers, disks
from tests.support.waiting import eventually

from sixfold import clock as clocks
from sixfold_functions.volume.core import layout

SMALL_COPY = "c1"
SMALL_DISK = "64m"
KAFKA_DISK = "2g"
WARM_S = 120.0
"""Until clients have their first answers, on a busy machine."""
HEALED_S = 180.0
"""Until clients have answers again once all is mended."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Which run."""

    bus: str
    seed: int
    seconds: float
    """No round of faults begins after that."""
    rounds: int
    """There are no more than these."""
    folder: Path
    """Everything lies there, the history too; what is on disks of the run's own ends with its cell."""
    in_cell: bool = False
    mutation: str = ""
    broken_clients: bool = False

    @property
    def history(self) -> Path:
        """What clients saw."""
        return self.folder / "history.jsonl"


@dataclasses.dataclass
class Outcome:
    """How it went."""

    violations: list[str]
    report: checking.Report
    hits: collections.Counter[str]
    left_out: dict[str, str]
    ended: list[crews.Ended]
    records: int
    rounds: int


async def run(options: Options, clock: clocks.Clock, say: Callable[[str], None]) -> Outcome:
    """Run it. Raises AssertionError where the volume does not come back once all is mended."""
    data_dir = options.folder / "data"
    data_dir.mkdir(parents=True)
    disk_refused = _small_disk(options.folder, data_dir) if options.in_cell else ""
    left_out = nemesis.left_out(
        cell_refused="" if options.in_cell else cell.refused() or "the run is not in a cell", disk_refused=disk_refused
    )
    async with _bus(options) as (url, kafka, zones):
        crew = crews.Crew(
            data_dir,
            url,
            history=options.history,
            seed=str(options.seed),
            clock=clock,
            mutation=options.mutation,
            broken_clients=options.broken_clients,
            enter=zones.enter if zones is not None else lambda zone: (),
        )
        harm = nemesis.Nemesis(
            crew,
            data_dir=data_dir,
            clock=clock,
            say=say,
            left_out=left_out,
            kafka=kafka,
            zones=zones,
            small_disk=options.folder / "small",
        )
        try:
            await crew.open()
            progress = Progress(options.history, clock)
            await eventually(lambda: progress.everybody(crews.CLIENTS), "all clients have answers", WARM_S)
            done = await _rounds(options, harm, progress, clock, say)
            progress.mark()
            await eventually(lambda: progress.everybody(crews.CLIENTS), "all clients have answers again", HEALED_S)
            await crew.dismiss(crews.CLIENTS)
            with recording.Recorder(options.history, clock) as recorder:
                copies = await ending.read_all(data_dir, url, recorder)
        finally:
            await crew.close()
    operations = recording.operations(recording.read(options.history))
    return Outcome(
        violations=ending.wrong(copies, operations),
        report=checking.check(operations),
        hits=harm.hits,
        left_out=left_out,
        ended=crew.ended,
        records=len(copies[layout.COPIES[0]]),
        rounds=done,
    )


async def _rounds(
    options: Options, harm: nemesis.Nemesis, progress: Progress, clock: clocks.Clock, say: Callable[[str], None]
) -> int:
    """Strike again and again; between two rounds there is an answer. How many there were."""
    begun_s = clock.monotonic()
    for number, episodes in enumerate(plan.rounds(options.seed, options.bus), 1):
        past_s, counts = clock.monotonic() - begun_s, progress.counts
        if number > options.rounds or past_s > options.seconds:
            return number - 1
        told = f"{counts['ok']:,} ok, {counts['info']:,} not known, {counts['fail']:,} failed"
        say(f"  round {number}, {past_s:.0f} s of {options.seconds:.0f}: {told}")
        await harm.strike(episodes)
        progress.mark()
        await eventually(progress.anybody, f"somebody has an answer after round {number}", HEALED_S)
    raise AssertionError("rounds have no end")


def unmount(options: Options) -> None:
    """Take the run's own disks away, so that its folder can be removed; what lies on them is gone."""
    if options.in_cell:
        for name in ("small", "kafka"):
            subprocess.run(["umount", "-l", options.folder / name], check=False, capture_output=True)


def _small_disk(folder: Path, data_dir: Path) -> str:
    """Put one copy's folder on a small disk. Why not; empty where it was done."""
    small = folder / "small"
    small.mkdir()
    if refusal := disks.mount(small, size=SMALL_DISK):
        return refusal
    (small / SMALL_COPY).mkdir()
    volume = data_dir / "volume" / layout.DEFAULT_VOLUME
    volume.mkdir(parents=True)
    (volume / SMALL_COPY).symlink_to(small / SMALL_COPY)
    return ""


@contextlib.asynccontextmanager
async def _bus(options: Options) -> AsyncIterator[tuple[str, Path | None, Zones | None]]:
    """The bus's URL; of a Kafka of the run's own its folder, and in a cell the zones."""
    if options.bus == "embedded":
        yield "embedded:", None, None
        return
    zones = Zones() if options.in_cell else None
    folder = options.folder / "kafka"
    folder.mkdir()
    if options.in_cell:
        disks.mount(folder, size=KAFKA_DISK)  # in memory: a killed broker finds there what it would find on a disk
    try:
        if zones is not None:
            await zones.open()
            os.environ["KAFKA_HOST"] = HUB
        bootstrap = await asyncio.to_thread(brokers.start_local, folder)
        yield f"kafka://{bootstrap}", folder, zones
    finally:
        os.environ.pop("KAFKA_HOST", None)
        await asyncio.to_thread(brokers.kill_local, folder)
        if zones is not None:
            await zones.close()
