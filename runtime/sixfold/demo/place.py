"""Where a demonstration keeps its data: a folder of its own, which no running system may be using.

On the embedded bus the folder is everything, and is made anew each time. On Kafka, keys and volumes have one half on
the cluster and the other (the root key, the copies' logs) in the folder: it stays for as long as the cluster has its
half, so that the demonstration can run again on the same cluster.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import AsyncIterator
from pathlib import Path

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus import BusUnavailableError, TopicPartition, open_bus
from sixfold.demo import processes
from sixfold.supervisor import control, hosting, tree
from sixfold_events.kms import KeyChanged
from sixfold_events.volume import VolumeDurableAdvanced

FOLDER = "demo"
MARK = "MADE-BY-SIXFOLD-DEMO"
"""A file that says that the folder may be replaced."""
_MARK_TEXT = "`sixfold demo` made this folder and replaces it when it runs again; keep nothing else here.\n"
_HALVES = (KeyChanged.__event__.topic, VolumeDurableAdvanced.__event__.topic)
"""Topics whose records are of use only with what lies in the folder."""
_POLL_S = 0.05


class PlaceError(errors.UsageError):
    """The demonstration cannot have its folder; nothing was changed."""


def folder_of(data_dir: Path, bus_url: str) -> Path:
    """The folder of demonstrations on this bus: each cluster has its own."""
    if bus_url.startswith("kafka://"):
        cluster = re.sub(r"[^A-Za-z0-9.-]+", "-", bus_url.removeprefix("kafka://")).strip("-")
        return data_dir / f"{FOLDER}-{cluster[:100]}"
    return data_dir / FOLDER


async def prepare(folder: Path, bus_url: str, clock: clocks.Clock) -> bool:
    """Make the folder ready; True where it goes on with what an earlier demonstration left.

    Raises PlaceError where a system runs on it, where somebody else made it, or where the cluster's other half is in
    another folder; BusUnavailableError where the cluster does not answer.
    """
    is_used = bus_url.startswith("kafka://") and await _is_used(folder, bus_url)
    is_ours = (folder / MARK).exists()
    if not is_ours and _has_content(folder):
        raise PlaceError(
            f"{folder} was not made by a demonstration (it has no file {MARK}), so it is left alone; "
            "move it away, or choose another --data-dir"
        )
    if is_used and not is_ours:
        raise PlaceError(
            f"{bus_url} has keys and a volume of another data folder, whose root key and copies are needed to open "
            f"them; run the demonstration with the --data-dir that it had there before (now it would use {folder}), "
            "or on a cluster without them"
        )
    async with _unused(folder, clock):
        await processes.end(lambda: processes.deployed_under(folder), clock)
        if not is_used:
            await asyncio.to_thread(_remove, folder)
    await asyncio.to_thread(_make, folder)
    return is_used


def _has_content(folder: Path) -> bool:
    return folder.exists() and any(folder.iterdir())


def _remove(folder: Path) -> None:
    if folder.exists():
        # Away in one step, locks and all: whoever starts a system here meanwhile has a new folder.
        folder.rename(folder.with_name(f".{folder.name}.{os.getpid()}.old"))
    for old in folder.parent.glob(f".{folder.name}.*.old"):
        shutil.rmtree(old)


def _make(folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    (folder / MARK).write_text(_MARK_TEXT)


async def _is_used(folder: Path, bus_url: str) -> bool:
    """Whether the cluster has one half of keys or of a volume."""
    try:
        async with asyncio.timeout(tree.BUS_WAIT_S), open_bus(bus_url, data_dir=folder.parent) as bus:
            known = await bus.topics()
            for name in _HALVES:
                for number in range(known[name].partitions if name in known else 0):
                    if (await bus.offsets(TopicPartition(name, number))).end > 0:
                        return True
    except TimeoutError:
        raise BusUnavailableError(
            f"no bus answers at {bus_url} within {tree.BUS_WAIT_S:g} s; check the address and that Kafka runs there"
        ) from None
    return False


@contextlib.asynccontextmanager
async def _unused(folder: Path, clock: clocks.Clock) -> AsyncIterator[None]:
    """Hold every lock in the folder, so that none of its processes runs or starts. Raises PlaceError."""
    supervisor = folder / control.FOLDER / f"{tree.NAME}.lock"
    others = [*sorted((folder / control.FOLDER).glob("*.lock")), folder / "bus" / "lock"]
    with contextlib.ExitStack() as held:
        if not await _lock(supervisor, held, clock, wait_s=0.0):
            raise PlaceError(
                f"a system runs on {folder} (pid {supervisor.read_text().strip() or 'unknown'}); the demonstration "
                f"starts its own there, so stop that one first: sixfold --data-dir {folder} down"
            )
        for path in others:
            # Processes that lost their supervisor end by themselves; this waits as `sixfold up` does.
            if path != supervisor and not await _lock(path, held, clock, wait_s=hosting.LOCK_WAIT_S):
                raise PlaceError(
                    f"a process still uses {folder} (it holds {path.relative_to(folder)}): a `sixfold tail` or "
                    "`sixfold run`, perhaps; end it, then try again"
                )
        yield


async def _lock(path: Path, held: contextlib.ExitStack, clock: clocks.Clock, *, wait_s: float) -> bool:
    """Take the lock and keep it until `held` closes; False where another has it. A file that is not there is free."""
    try:
        descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True
    held.callback(os.close, descriptor)
    deadline = clock.monotonic() + wait_s
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
        except BlockingIOError:
            if clock.monotonic() >= deadline:
                return False
        await clock.sleep(_POLL_S)
