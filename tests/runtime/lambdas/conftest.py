"""A gateway with functions of a test's own, and boto3 to call it."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from tests.runtime.lambdas import invoked_app as app

from sixfold import bus, catalogue
from sixfold.bus import Bus, Record, TopicPartition
from sixfold.gateway import credentials, server
from sixfold.process import Process
from sixfold.supervisor import lifeline, sockets

FUNCTIONS = (app.greet, app.counting, app.echo, app.worked, app.held)


class Served(NamedTuple):
    """A gateway with our functions."""

    url: str
    token: str
    bus: Bus
    process: Process

    async def call(self, operation: str, **arguments: Any) -> dict[str, Any]:
        """One call by boto3."""
        config = Config(retries={"max_attempts": 0})
        client = boto3.client(
            "lambda", endpoint_url=self.url, region_name="local", aws_access_key_id="bootstrap",
            aws_secret_access_key=self.token, config=config,
        )  # fmt: skip
        try:
            answer: dict[str, Any] = await asyncio.to_thread(getattr(client, operation), **arguments)
            if "Payload" in answer:
                answer["Payload"] = answer["Payload"].read()
        finally:
            client.close()
        return answer

    async def invoke(self, name: str, payload: Any = None, **arguments: Any) -> tuple[Any, dict[str, Any]]:
        """What the function returned, and the whole answer."""
        answer = await self.call("invoke", FunctionName=name, Payload=json.dumps(payload), **arguments)
        return json.loads(answer["Payload"] or "null"), answer

    async def refused(self, code: str, operation: str = "invoke", **arguments: Any) -> str:
        """Why a call was refused; it must be with AWS's `code`."""
        with pytest.raises(ClientError) as caught:
            await self.call(operation, **arguments)
        assert caught.value.response["Error"]["Code"] == code
        return str(caught.value.response["Error"]["Message"])

    async def records(self, topic: str) -> list[Record]:
        """All of a topic."""
        found = []
        for number in range((await self.bus.topics())[topic].partitions):
            partition = TopicPartition(topic, number)
            async with self.bus.assign([partition]) as consumer:
                end = (await self.bus.offsets(partition)).end
                while consumer.position(partition) < end:
                    for records in (await consumer.fetch(wait_s=0.1)).values():
                        found += records
        return found


@pytest.fixture
async def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Served]:
    known = catalogue.installed(FUNCTIONS)
    token = credentials.token(credentials.bootstrap(tmp_path))
    async with bus.open_bus("embedded:", data_dir=tmp_path) as opened:
        await opened.create_topics(known.topics)
        ready = asyncio.Event()
        process = Process(name="gateway", data_dir=tmp_path, registry=known.registry, bus=opened, ready=ready.set)
        with sockets.listening("127.0.0.1", 0) as listen:
            url = sockets.url_of(listen)
            monkeypatch.setenv(lifeline.LISTEN_VARIABLE, str(listen.detach()))
        serving = asyncio.create_task(server.run(process, functions=FUNCTIONS))
        waiting = asyncio.ensure_future(ready.wait())
        await asyncio.wait((serving, waiting), return_when=asyncio.FIRST_COMPLETED)
        try:
            yield Served(url, token, opened, process)
        finally:
            process.stopping.set()
            await serving
            await process.resources.close()
