"""The gateway knows a user's own functions, those of `--app`, as it knows those of capabilities."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator

import httpx
import pytest
from tests.runtime.cli.commands import Sixfold, until
from tests.support.waiting import eventually

from sixfold import bus
from sixfold.gateway import credentials

PLACED = {"ce-id": "e-1", "ce-source": "/tests", "ce-type": "order.placed", "ce-specversion": "1.0"}


@pytest.fixture
async def client(sixfold: Sixfold) -> AsyncIterator[httpx.AsyncClient]:
    """The operator, at a gateway with a user's functions and a topic that takes 2 MB."""
    async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:
        await opened.create_topics([bus.TopicSpec(name="order.placed", partitions=1, record_bytes_max=2_000_000)])
    bearer = {"Authorization": f"Bearer {credentials.token(credentials.bootstrap(sixfold.data_dir))}"}
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    gateway = sixfold.start("--app", str(sixfold.app), "run", "gateway", "--port", str(port))
    try:
        await asyncio.to_thread(until, gateway, "ready")
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", headers=bearer, trust_env=False) as found:
            yield found
    finally:
        gateway.terminate()
        await asyncio.to_thread(gateway.communicate, timeout=60)


async def test_the_lag_of_a_users_function_is_measured(client: httpx.AsyncClient) -> None:
    """What was published for it and not handled yet stands in /metrics under its name."""
    for number in range(3):
        order = {"order_id": f"o-{number}", "amount_cents": 1}
        answer = await client.post("/events", json=order, headers=PLACED)
        assert answer.status_code == 200, answer.text

    async def measured() -> bool:
        lines = (await client.get("/metrics")).text.splitlines()
        return 'sixfold_function_lag_records{function="accept",topic="order.placed",partition="0"} 3' in lines

    await eventually(measured, "the lag is three: it is asked for every few seconds", 30)


async def test_an_event_may_be_as_large_as_its_topic_takes(client: httpx.AsyncClient) -> None:
    """Not only as large as a topic that nobody declared."""
    for size, status in ((1_500_000, 200), (2_000_000, 413)):
        order = {"order_id": "o-1", "amount_cents": 1, "note": "x" * size}
        answer = await client.post("/events", json=order, headers=PLACED)
        assert answer.status_code == status, answer.text
    assert "2,000,000" in answer.json()["detail"]
