"""Beginning with a broker that answers, while others are gone and even their names are."""

from __future__ import annotations

import asyncio
import socket
import threading
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest

from sixfold.bus.kafka import bootstrap


@pytest.fixture
async def listening() -> AsyncIterator[str]:
    """A server's `host:port`."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        host, port = server.sockets[0].getsockname()
        yield f"{host}:{port}"


@pytest.fixture
def slow_names(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Nobody knows what `gone` is, and it takes the name servers until the test's end to say so."""
    over, known = threading.Event(), socket.getaddrinfo

    def look(host: str, *rest: Any, **more: Any) -> Any:
        if host == "gone":
            over.wait()
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return known(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    yield
    over.set()


async def test_those_that_answer_are_begun_with(listening: str, slow_names: None) -> None:
    """Whatever the order, and however long the others take to say nothing."""
    refused = "127.0.0.1:1"
    for others in (f"gone:9092,{listening}", f"{refused},{listening}", f"{listening},gone:9092,{refused}"):
        assert await bootstrap.answering(others, timeout_s=30) == listening


async def test_one_that_answers_is_not_all_that_is_begun_with(listening: str, slow_names: None) -> None:
    """It may take connections and do no more; aiokafka goes on to the next."""
    server = await asyncio.start_server(lambda reader, writer: writer.close(), "127.0.0.1", 0)
    async with server:
        other = f"127.0.0.1:{server.sockets[0].getsockname()[1]}"
        found = await bootstrap.answering(f"gone:9092,{listening},{other}", timeout_s=30)
    assert set(found.split(",")) == {listening, other}


async def test_where_none_answers_all_are_left_to_be_tried(slow_names: None) -> None:
    """aiokafka then says what is wrong."""
    for servers in ("127.0.0.1:1,127.0.0.1:2", "gone:1,127.0.0.1:2"):
        assert await bootstrap.answering(servers, timeout_s=0.2, names_s=0.2) == servers


async def test_a_name_server_that_is_slow_takes_nothing_from_the_time_to_connect(
    listening: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In container networks one that asks others for a name that is gone keeps everybody waiting meanwhile."""
    known, asked_for = socket.getaddrinfo, threading.Event()

    def look(host: str, *rest: Any, **more: Any) -> Any:
        asked_for.wait()
        return known(host, *rest, **more)

    monkeypatch.setattr(socket, "getaddrinfo", look)
    asking = asyncio.create_task(bootstrap.answering(f"127.0.0.1:1,{listening}", timeout_s=0.2))
    await asyncio.wait({asking}, timeout=0.5)
    asked_for.set()
    assert await asking == listening


async def test_a_single_broker_is_not_asked_twice() -> None:
    """There is nothing to choose."""
    assert await bootstrap.answering("nobody.invalid:9092", timeout_s=30) == "nobody.invalid:9092"
