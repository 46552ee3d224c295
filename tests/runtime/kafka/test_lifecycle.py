"""Opening and closing aiokafka's clients: both have an end, whatever aiokafka does with a cancellation."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.kafka import client as kafka_client
from sixfold.bus.kafka import consumer, lifecycle, membership, producers, reading, topics

NEVER_S = 3600.0


class Connection:
    """An open connection."""

    def __init__(self) -> None:
        self.closed = False

    def close(self) -> None:
        """It closes at once."""
        self.closed = True


class Stuck:
    """An aiokafka client of any kind that swallows each cancellation while it closes, until the test is over."""

    def __init__(self) -> None:
        self.over = asyncio.Event()
        self.ended = asyncio.Event()
        self.cancelled = 0
        self.connection = Connection()
        self._sync_task = None
        self._conns = {0: self.connection}
        self._client = self.client = self._sender = self
        self._coordinator = self._fetcher = None
        self._message_accumulator = self
        self._batches: dict[object, object] = {}

    def fail_all(self, error: Exception) -> None:
        """There is nothing to fail."""

    async def stop(self) -> None:
        """For ever."""
        while not self.over.is_set():
            try:
                await self.over.wait()
            except asyncio.CancelledError:
                self.cancelled += 1
        self.ended.set()

    close = stop


@pytest.fixture
async def stuck() -> AsyncIterator[Stuck]:
    """One that ends after the test, as every task must."""
    client = Stuck()
    yield client
    client.over.set()
    while tasks := asyncio.all_tasks() - {asyncio.current_task()}:
        await asyncio.wait(tasks)


def _bus(tmp_path: Path) -> kafka_client.KafkaBus:
    return kafka_client.KafkaBus("127.0.0.1:1", data_dir=tmp_path, clock=clocks.SystemClock())


def _admin(bus: kafka_client.KafkaBus, client: Any) -> Awaitable[None]:
    bus._admin._client = client
    return bus._admin.close()


def _reader(bus: kafka_client.KafkaBus, client: Any) -> Awaitable[None]:
    bus._reader._client = client
    return bus._reader.close()


def _publisher(bus: kafka_client.KafkaBus, client: Any) -> Awaitable[None]:
    bus._publisher._producers[0] = client
    return bus._publisher.close()


def _consumer(bus: kafka_client.KafkaBus, client: Any) -> Awaitable[None]:
    member = bus.assign([port.TopicPartition("t", 0)])
    assert isinstance(member, consumer.KafkaConsumer)
    member._client = client
    return member.__aexit__(None, None, None)


@pytest.mark.parametrize("close", [_admin, _reader, _publisher, _consumer])
async def test_what_swallows_cancellations_while_it_closes_is_left_behind(
    stuck: Stuck,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    close: Callable[[kafka_client.KafkaBus, Any], Awaitable[None]],
) -> None:
    """Every client's closing ends, says so, and leaves no connection open."""
    for module in (topics, reading, consumer):
        monkeypatch.setattr(module, "STOP_S", 0.01)
    monkeypatch.setattr(producers.stop, "__defaults__", (0.01,))
    monkeypatch.setattr(lifecycle, "CANCEL_S", 0.01)
    await close(_bus(tmp_path), stuck)
    assert not stuck.ended.is_set()
    assert stuck.cancelled >= lifecycle.CANCELS
    assert stuck.connection.closed
    assert "it is left behind" in caplog.text


async def test_closing_goes_on_when_a_cancellation_is_swallowed_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """aiokafka closes one part after the other; the next is cancelled, too."""
    swallowed = 0

    async def stop() -> None:
        nonlocal swallowed
        for _ in range(3):
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.Event().wait()
            swallowed += 1

    assert not await lifecycle.stop(stop(), Stuck(), 0.01)
    assert swallowed == 3


async def test_closing_that_aiokafka_cancels_itself_is_no_cancellation_of_its_user() -> None:
    """It waits for tasks of its own that it has cancelled, and not each of them hides that."""

    async def stop() -> None:
        fetching = asyncio.create_task(asyncio.sleep(NEVER_S))
        await asyncio.sleep(0)
        fetching.cancel()
        await fetching

    client = Stuck()
    assert not await lifecycle.stop(stop(), client, NEVER_S)
    assert client.connection.closed


async def test_a_takeover_that_swallows_its_cancellation_keeps_no_consumer_from_closing(
    stuck: Stuck, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """It is left behind, with a warning."""
    monkeypatch.setattr(membership, "LEAVE_S", 0.01)
    monkeypatch.setattr(lifecycle, "CANCEL_S", 0.01)
    member = _bus(tmp_path).assign([port.TopicPartition("t", 0)])
    assert isinstance(member, consumer.KafkaConsumer)
    member._members._taking = asyncio.create_task(stuck.stop(), name="taking")
    await asyncio.sleep(0)
    await member._members.leave()
    assert "taking did not end" in caplog.text
    assert not stuck.ended.is_set()


async def test_a_cancellation_waits_until_the_client_is_closed() -> None:
    """A second one does not."""
    begun, closing = asyncio.Event(), asyncio.Event()

    async def stop() -> None:
        begun.set()
        await closing.wait()

    client = Stuck()
    first = asyncio.create_task(lifecycle.stop(stop(), client, NEVER_S))
    await begun.wait()
    first.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    assert not first.done()
    closing.set()
    with pytest.raises(asyncio.CancelledError):
        await first
    assert not client.connection.closed  # by aiokafka itself, had it one

    begun.clear()
    closing.clear()
    second = asyncio.create_task(lifecycle.stop(stop(), client, NEVER_S))
    await begun.wait()
    second.cancel()
    await asyncio.sleep(0)
    second.cancel()
    with pytest.raises(asyncio.CancelledError):
        await second


async def test_an_error_in_closing_closes_the_connections_all_the_same() -> None:
    """What is no failure of Kafka's is raised after that."""

    async def stop() -> None:
        raise ValueError("unforeseen")

    client = Stuck()
    with pytest.raises(ValueError, match="unforeseen"):
        await lifecycle.stop(stop(), client, NEVER_S)
    assert client.connection.closed


class Slow:
    """A client that opens in two steps, and has what the first one opened until the second is over."""

    def __init__(self) -> None:
        self.begun, self.answered = asyncio.Event(), asyncio.Event()
        self.open = 0

    async def start(self) -> None:
        """Not for one who interrupts."""
        self.open += 1
        self.begun.set()
        await self.answered.wait()
        self.open -= 1


async def test_a_client_is_not_interrupted_while_it_opens() -> None:
    """Whoever is cancelled meanwhile is so once it has opened."""
    client = Slow()
    opening = asyncio.create_task(lifecycle.start(client, NEVER_S))
    await client.begun.wait()
    opening.cancel()
    for _ in range(10):
        await asyncio.sleep(0)
    client.answered.set()
    with pytest.raises(asyncio.CancelledError):
        await opening
    assert client.open == 0


async def test_a_client_that_does_not_open_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """After its time, or soon where its user is cancelled."""
    with pytest.raises(TimeoutError):
        await lifecycle.start(Slow(), 0.01)
    monkeypatch.setattr(lifecycle, "OPENING_S", 0.01)
    client = Slow()
    opening = asyncio.create_task(lifecycle.start(client, NEVER_S))
    await client.begun.wait()
    opening.cancel()
    with pytest.raises(asyncio.CancelledError):
        await opening
