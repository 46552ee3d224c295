"""`sixfold top` and `status` show how the functions of a running system are, on both buses, to people and to machines."""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import pty
import select
import subprocess
import termios
from collections.abc import AsyncIterator
from typing import Any, NamedTuple

import pytest
from tests.runtime.cli.commands import Sixfold, until
from tests.support import buses, naming, waiting

from sixfold import catalogue
from sixfold.cli import function_table
from sixfold.gateway.functions import FunctionStatus

pytestmark = pytest.mark.timeout(180)

APP = """
from sixfold import Context, Event, PermanentError, function


class Thing(Event, topic="{topic}", key="number"):
    number: int


@function(on=Thing, name="{name}")
async def handle(thing: Thing, ctx: Context) -> None:
    if thing.number == 0:
        raise PermanentError("never")
"""


class System(NamedTuple):
    """A gateway and one function, each a process."""

    sixfold: Sixfold
    name: str
    topic: str
    runner: subprocess.Popen[str]

    async def ask(self, *words: str) -> Any:
        """What `sixfold … --json` prints."""
        done = await asyncio.to_thread(self.sixfold.spawn, *words, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    async def function(self, *words: str) -> dict[str, Any]:
        """What it says of the one function; empty while it says nothing."""
        found = [each for each in (await self.ask(*words))["functions"] if each["name"] == self.name]
        return found[0] if found else {}


@pytest.fixture
async def system(sixfold: Sixfold, place: buses.Place, names: naming.Names) -> AsyncIterator[System]:
    """Running on each bus in turn; every other service is left out."""
    name, topic = names("handle"), names("things")
    sixfold.app.write_text(APP.format(name=name, topic=topic))
    services = [word for each in catalogue.installed().services for word in ("--without", each)]
    up = sixfold.start("--bus", place.url, "up", "--port", "0", "--without", "functions", *services)
    started = [up]
    try:
        await asyncio.to_thread(until, up, "Next")
        runner = sixfold.start("--bus", place.url, "run", str(sixfold.app))
        started.append(runner)
        await asyncio.to_thread(until, runner, "assigned")
        yield System(sixfold, name, topic, runner)
    finally:
        for each in reversed(started):
            each.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                await asyncio.to_thread(each.communicate, timeout=60)
            each.kill()
        if place.is_kafka:
            await names.delete_all(place)


async def test_top_and_status_show_how_each_function_is(system: System, place: buses.Place) -> None:
    """Counts, lag and age for machines; a live view for people that ends with q and with Ctrl-C, the terminal as before."""
    things = "\n".join(json.dumps({"number": number}) for number in range(5))
    file = system.sixfold.app.with_name("things.jsonl")
    file.write_text(things)
    words = ["--app", str(system.sixfold.app), "publish", "thing", "--file", str(file)]
    published = await asyncio.to_thread(system.sixfold.spawn, *words)
    assert published.returncode == 0, published.stderr

    async def seen() -> dict[str, Any] | None:
        found = await system.function("top", "--once")
        return found if found.get("attempts") == 5 and found["lag"] == 0 else None

    found = await waiting.eventually(seen, "top shows what was done", 60.0)
    assert found is not None
    assert (found["status"], found["dead_letters"], found["restarts"], found["age_s"]) == ("ok", 1, 0, 0.0)
    assert 0 < found["p50_s"] <= found["p99_s"]
    assert found["processes"]
    assert (await system.function("status"))["status"] == "ok"
    table = (await asyncio.to_thread(system.sixfold.spawn, "status")).stdout
    assert "gateway" in table
    assert system.name in table
    for key in (b"q", b"\x03"):
        await asyncio.to_thread(_live, system, key)


def _live(system: System, key: bytes) -> None:
    """`sixfold top` in a terminal of its own, ended with `key`."""
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, b"\x28\x00\xf0\x00\x00\x00\x00\x00")  # 40 lines of 240
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*system.sixfold.command, "top", "--interval", "0.2"],
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        env={**system.sixfold.environment, "TERM": "xterm"},
        start_new_session=True,
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )
    try:
        shown = b""
        while shown.count(system.name.encode()) < 3:  # it is drawn again and again
            assert process.poll() is None, shown[-500:]
            shown += _read(ours)
        os.write(ours, key)
        while process.poll() is None:
            shown += _read(ours)
        assert process.returncode == 0, shown[-500:]
        assert b"not well" in shown
        assert termios.tcgetattr(theirs) == before
    finally:
        process.kill()
        process.wait()
        os.close(ours)
        os.close(theirs)


def _read(descriptor: int) -> bytes:
    """What a terminal shows within a moment: who ended shows nothing more."""
    ready, _, _ = select.select([descriptor], [], [], 0.1)
    return os.read(descriptor, 65536) if ready else b""


def status(name: str, **fields: Any) -> FunctionStatus:
    """A function that is well unless told otherwise."""
    return FunctionStatus(name=name, **{"status": "ok", **fields})


def test_those_that_are_not_well_come_first_then_those_with_the_most_to_do() -> None:
    """Whoever looks sees what needs looking at."""
    found = function_table.by_lag(
        [status("a"), status("b", lag=5), status("c", lag=70), status("d", status="halted", lag=1)]
    )
    assert [each.name for each in found] == ["d", "c", "b", "a"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, ""),
        (0.0012, "1.2 ms"),
        (3.44, "3.4 s"),
        (119.0, "119.0 s"),
        (300.0, "5 min"),
        (7200.0, "2 h"),
        (2e5, "2 d"),
    ],
)
def test_durations_have_a_unit_that_suits_them(value: float | None, text: str) -> None:
    """From a millisecond to days in a few characters."""
    assert function_table.seconds(value) == text


def test_without_a_system_top_says_how_to_start_one(sixfold: Sixfold) -> None:
    """Wrong usage, in one line."""
    assert "sixfold up" in sixfold.bad("top", "--once", code=2)
