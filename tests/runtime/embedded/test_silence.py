"""An owner that lives but does not answer: calls end with a clear error in time, and nothing is stored twice."""

from __future__ import annotations

import asyncio
import functools
import os
import signal
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest
from tests.runtime.embedded import program
from tests.runtime.embedded.processes import Processes, owner_pid
from tests.support import waiting

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import calls, settings, wire
from sixfold.bus.embedded.client import EmbeddedBus

TOPIC = program.TOPIC
PARTITION = port.TopicPartition(TOPIC, 0)
IMPATIENT = settings.Settings(connect_timeout_s=0.5)
SOON_S = 10.0
"""Far more than half a second, for a busy machine; a call that hangs takes for ever."""


def record(text: str = "v", size: int = 0) -> port.NewRecord:
    """A record of partition 0."""
    return port.NewRecord(TOPIC, text.encode() + bytes(size), partition=0)


@pytest.fixture
async def stopped(processes: Processes, folder: Path) -> AsyncIterator[Callable[[signal.Signals], None]]:
    """Another process owns the bus; called with a signal sends it there."""
    await processes.start("idle")
    pid = owner_pid(folder)
    assert pid is not None

    def send(number: signal.Signals) -> None:
        os.kill(pid, number)
        if number == signal.SIGSTOP:
            os.waitpid(pid, os.WUNTRACED)

    yield send
    for _, process in processes.running.values():
        process.send_signal(signal.SIGCONT)


async def test_calls_to_a_stopped_owner_end_in_time_and_name_it(
    stopped: Callable[[signal.Signals], None], folder: Path
) -> None:
    """BusUnavailableError that says which process is silent, and of a publish that it may have been stored."""
    async with EmbeddedBus(folder, clock=clocks.SystemClock(), settings=IMPATIENT) as bus:
        await bus.topic(TOPIC)
        stopped(signal.SIGSTOP)
        async with asyncio.timeout(SOON_S):
            with pytest.raises(port.BusUnavailableError, match=f"process {owner_pid(folder)} .*nothing for 0.5 s"):
                await bus.topics()
            with pytest.raises(port.BusUnavailableError, match="may have been stored"):
                await bus.publish([record(size=900_000) for _ in range(5)])
            with pytest.raises(port.BusUnavailableError, match="Nothing was sent"):
                await bus.publish([record()])
        stopped(signal.SIGCONT)
        await waiting.eventually(lambda: answered(bus.topics()), "it answers again")


async def test_a_long_poll_outlasts_a_stopped_owner(stopped: Callable[[signal.Signals], None], folder: Path) -> None:
    """A fetch ends when its time is over, with nothing; one that waits longer gets its records once there are any."""
    async with (
        EmbeddedBus(folder, clock=clocks.SystemClock()) as patient,
        EmbeddedBus(folder, clock=clocks.SystemClock(), settings=IMPATIENT) as bus,
        bus.assign([PARTITION]) as consumer,
    ):
        stopped(signal.SIGSTOP)
        async with asyncio.timeout(SOON_S):
            assert await consumer.fetch(wait_s=0.1) == {}
            with pytest.raises(port.BusUnavailableError):
                await bus.topics()
        poll = asyncio.create_task(consumer.fetch(wait_s=waiting.DEADLINE_S))
        stopped(signal.SIGCONT)
        await patient.publish([record()])
        assert [each.value for each in (await poll)[PARTITION]] == [b"v"]


async def test_a_member_that_could_not_join_in_time_holds_no_partition(
    stopped: Callable[[signal.Signals], None], folder: Path
) -> None:
    """The owner comes to its request later, and finds that it has left again."""
    async with (
        EmbeddedBus(folder, clock=clocks.SystemClock()) as patient,
        EmbeddedBus(folder, clock=clocks.SystemClock(), settings=IMPATIENT) as bus,
    ):
        await bus.topic(TOPIC)
        stopped(signal.SIGSTOP)
        async with asyncio.timeout(SOON_S):
            with pytest.raises(port.BusUnavailableError, match="has answered nothing"):
                await bus.subscribe("g", [TOPIC]).__aenter__()
        stopped(signal.SIGCONT)
        async with patient.subscribe("g", [TOPIC]) as consumer:
            await waiting.assigned(consumer, program.PARTITIONS)


@pytest.mark.parametrize("then", [signal.SIGCONT, signal.SIGKILL], ids=["it goes on", "it is killed"])
async def test_a_settle_in_doubt_is_asked_for_again_and_stored_once(
    stopped: Callable[[signal.Signals], None], folder: Path, then: signal.Signals
) -> None:
    """Whether the owner stores what it was sent before it stopped or dies: outputs, rows and offset are there once."""
    async with EmbeddedBus(folder, clock=clocks.SystemClock(), settings=IMPATIENT) as bus:
        await bus.publish([record("input")])
        async with bus.assign([PARTITION], group="g") as consumer:
            records, state = [record("output")], {("table", 0): {b"key": b"row"}}
            stopped(signal.SIGSTOP)
            async with asyncio.timeout(SOON_S):
                for _ in range(2):
                    with pytest.raises(port.BusUnavailableError, match="may have been stored"):
                        await consumer.settle(records=records, state=state, offsets={PARTITION: 1})
            stopped(then)
            again = functools.partial(consumer.settle, records=records, state=state, offsets={PARTITION: 1})
            await waiting.eventually(lambda: answered(again()), "the settle is answered")
            more = functools.partial(consumer.settle, records=[record("next")], offsets={PARTITION: 2})
            await waiting.eventually(lambda: answered(more()), "the next one is, too")
            found = await waiting.collect(consumer, 3)
            assert [each.value for each in found] == [b"input", b"output", b"next"]
            assert (await bus.offsets(PARTITION)).end == 3
            assert await consumer.state_get("table", 0, b"key") == b"row"


async def answered(call: Awaitable[object]) -> bool:
    """Whether it went through this time; a busy machine may take longer than the half second."""
    try:
        await call
    except port.BusUnavailableError:
        return False
    return True


class Time:
    """The running loop's time, in the test's hand."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now_s = asyncio.get_running_loop().time()
        monkeypatch.setattr(asyncio.get_running_loop(), "time", lambda: self.now_s)

    async def advance(self, seconds: float) -> None:
        """Let it pass, and those due run."""
        self.now_s += seconds
        for _ in range(3):
            await asyncio.sleep(0)


async def test_an_owner_that_answers_others_is_busy_and_not_silent(monkeypatch: pytest.MonkeyPatch) -> None:
    """A call that waits long is given up only when nothing at all came for the time."""
    time = Time(monkeypatch)
    waiting_calls = calls.Calls(10.0, lambda: "process 1")
    waiting_calls.heard()
    call = waiting_calls.add(wire.ListTopics(id=1))
    reply = asyncio.create_task(waiting_calls.reply(call))
    for _ in range(10):
        await time.advance(6.0)
        waiting_calls.heard()
    assert not reply.done()
    await time.advance(11.0)
    with pytest.raises(port.BusUnavailableError, match="process 1, has answered nothing for 10 s"):
        await reply
    assert not waiting_calls


async def test_a_call_that_no_owner_lives_to_answer_is_not_sent_for_ever() -> None:
    """What may be killing the owners one after the other is given up after some of them."""
    waiting_calls = calls.Calls(10.0, lambda: "process 1")
    call = waiting_calls.add(wire.ListTopics(id=1))
    reply = asyncio.create_task(waiting_calls.reply(call))
    sent = 1 + sum(len(list(waiting_calls.resend())) for _ in range(10))
    assert sent == calls.SENDS_MAX
    with pytest.raises(port.BusUnavailableError, match="5 owners of the bus ended"):
        await reply
    waiting_calls.close()
