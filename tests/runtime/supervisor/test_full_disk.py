"""A full disk under the data folder: the supervisor goes on, tells it once, and stops when it is asked to."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from structlog import testing
from tests.support import disks
from tests.support.waiting import eventually

from sixfold import catalogue, system
from sixfold.supervisor import control, plan, restart, tree

pytestmark = pytest.mark.timeout(180)
QUICK = restart.Policy(backoff_s=0.05, backoff_max_s=0.2, stop_s=5.0)


class Quiet:
    """Watches, and says what it is told to a file on the same disk, as `sixfold up --detach` does."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def changed(self, status: control.SystemStatus) -> None:
        self._path.write_text(f"{status}\n")

    def started(self, status: control.SystemStatus) -> None:
        self._path.write_text(f"{status}\n")

    def stopping(self) -> None:
        self._path.write_text("stopping\n" * 10_000)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 8 MiB."""
    with disks.small(tmp_path / "small", size="8m") as folder:
        yield folder


@contextlib.asynccontextmanager
async def running(data_dir: Path) -> AsyncIterator[tree.Tree]:
    """A system whose only process is the gateway, ready; it must stop within the deadline."""
    settings = plan.Settings(data_dir=data_dir, port=0)
    known = catalogue.Catalogue((catalogue.SYSTEM,))
    made = tree.Tree(settings, known, watch=Quiet(data_dir / "said"), policy=QUICK)
    work = asyncio.create_task(made.run())
    try:
        await eventually(lambda: work.done() or _state(made) == "running", "the gateway runs")
        yield made
    finally:
        made.stopping.set()
        await asyncio.wait_for(work, 30)


def _state(made: tree.Tree) -> str:
    return next((process.state for process in made.status().processes), "")


def _pid(made: tree.Tree) -> int | None:
    return made.status().processes[0].pid


def _recorded(data_dir: Path) -> int | None:
    found = system.read(data_dir)
    return found.processes.get("gateway") if found else None


async def test_a_full_disk_keeps_no_process_from_starting_again_and_the_record_follows_once_there_is_room(
    small_disk: Path,
) -> None:
    """The process comes back while nothing can be written; the record is late, says so once, and is mended."""
    async with running(small_disk) as made:
        first = _pid(made)
        assert first is not None
        assert _recorded(small_disk) == first
        disks.fill(small_disk / "ballast")
        with testing.capture_logs() as logged:
            os.kill(first, signal.SIGKILL)
            await eventually(lambda: _pid(made) not in (None, first), "it is started again")
            await eventually(lambda: _state(made) == "running", "it runs again")
            assert _recorded(small_disk) == first
            (small_disk / "ballast").unlink()
            await eventually(lambda: _recorded(small_disk) == _pid(made), "the record is true again")
        assert [entry["action"] for entry in logged if entry["action"].startswith("record_")] == [
            "record_late",
            "record_written",
        ]


async def test_a_system_on_a_full_disk_stops_when_it_is_asked_to(small_disk: Path) -> None:
    """Whatever cannot be written then; no process is left."""
    async with running(small_disk) as made:
        pid = _pid(made)
        assert pid is not None
        disks.fill(small_disk / "ballast")
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert system.read(small_disk) is None
