"""The gateway as it runs: its server on a free port, on an embedded bus, with the routes of every capability."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import NamedTuple

import httpx
import pytest

from sixfold import bus, catalogue
from sixfold import clock as clocks
from sixfold.gateway import credentials, server
from sixfold.process import Process
from sixfold.supervisor import lifeline, sockets


class Running(NamedTuple):
    """A gateway that serves."""

    url: str
    process: Process
    bus: bus.Bus
    operator: httpx.AsyncClient
    """Shows the bootstrap credential."""
    stranger: httpx.AsyncClient
    """Shows none."""


@pytest.fixture
async def gateway(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Running]:
    known = catalogue.installed()
    token = credentials.token(credentials.bootstrap(tmp_path))
    async with bus.open_bus("embedded:", data_dir=tmp_path) as opened:
        await opened.create_topics(known.topics)
        ready = asyncio.Event()
        process = Process(
            name="gateway",
            data_dir=tmp_path,
            registry=known.registry,
            clock=clocks.SystemClock(),
            bus=opened,
            ready=ready.set,
        )
        with sockets.listening("127.0.0.1", 0) as listen:
            url = sockets.url_of(listen)
            monkeypatch.setenv(lifeline.LISTEN_VARIABLE, str(listen.detach()))
        serving = asyncio.create_task(server.run(process))
        await asyncio.wait((serving, asyncio.ensure_future(ready.wait())), return_when=asyncio.FIRST_COMPLETED)
        bearer = {"Authorization": f"Bearer {token}"}
        try:
            async with (
                httpx.AsyncClient(base_url=url, headers=bearer, trust_env=False) as operator,
                httpx.AsyncClient(base_url=url, trust_env=False) as stranger,
            ):
                yield Running(url, process, opened, operator, stranger)
        finally:
            process.stopping.set()
            await serving
            await process.resources.close()
