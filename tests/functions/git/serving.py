"""The gateway with the Git room alone: in this process, or as one to be killed.

`python -m tests.functions.git.serving DATA_DIR [stuck]` prints its URL and runs until it is killed. With `stuck` a
publish never ends, so it can be killed between the move of a ref and its event.
"""

from __future__ import annotations

import asyncio
import contextlib
import contextvars
import dataclasses
import os
import socket
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import cast

import uvicorn

from sixfold.bus import opening, port
from sixfold.gateway import Gateway, Route, credentials
from sixfold.gateway import app as apps
from sixfold.process import Process
from sixfold_events import cloudevents
from sixfold_events.git import GitPushed
from sixfold_events.registry import Registry
from sixfold_functions.git import routes
from sixfold_functions.git.capability import capability
from sixfold_functions.git.settings import GitSettings

SETTINGS: contextvars.ContextVar[GitSettings | None] = contextvars.ContextVar("SETTINGS", default=None)
ROOT = Path(__file__).parents[3]
TOPIC = port.TopicSpec(name="git.pushed", partitions=2)


class FaultyBus:
    """A bus whose log can be made to refuse what is published, or to be stuck."""

    def __init__(self, bus: port.Bus, *, refuses: bool = False, stuck: bool = False) -> None:
        self._bus = bus
        self.refuses = refuses
        self.stuck = stuck
        self.calls = 0

    async def publish(self, records: Sequence[port.NewRecord]) -> list[port.Position]:
        self.calls += 1
        if self.stuck:
            await asyncio.Event().wait()
        if self.refuses:
            raise port.BusUnavailableError("the log takes nothing now")
        return await self._bus.publish(records)

    def __getattr__(self, name: str) -> object:
        return getattr(self._bus, name)


def routes_with_settings(gateway: Gateway) -> Sequence[Route]:
    """The Git room's routes with the limits of the test."""
    return routes.routes(gateway, SETTINGS.get())


@contextlib.asynccontextmanager
async def serving(data_dir: Path, bus: port.Bus, *, settings: GitSettings | None = None) -> AsyncIterator[str]:
    """The gateway's URL while it runs in this process."""
    token = SETTINGS.set(settings)
    listener = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    process = Process(name="gateway", data_dir=data_dir, registry=Registry([GitPushed]), bus=bus)
    credentials.bootstrap(data_dir)
    (data_dir / "gateway.json").write_text(f'{{"url": "{url}"}}')
    app = apps.create_app(process, [dataclasses.replace(capability, routes=f"{__name__}:routes_with_settings")], url)
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning", timeout_graceful_shutdown=5))
    task = asyncio.create_task(server.serve([listener]))
    try:
        while not server.started:
            assert not task.done(), "the server ended before it began"
            await asyncio.sleep(0)
        yield url
    finally:
        server.should_exit = True
        await task
        listener.close()
        SETTINGS.reset(token)


async def pushed(bus: port.Bus) -> list[tuple[str, GitPushed]]:
    """Every `git.pushed` in the log with its id, in each repository's order."""
    registry = Registry([GitPushed])
    partitions = [port.TopicPartition(TOPIC.name, number) for number in range(TOPIC.partitions)]
    ends = {partition: (await bus.offsets(partition)).end for partition in partitions}
    found: list[tuple[str, GitPushed]] = []
    async with bus.assign(partitions) as consumer:
        missing = sum(ends.values())
        while len(found) < missing:
            for records in (await consumer.fetch()).values():
                for record in records:
                    event = registry.decode(record.value, record.headers)
                    assert isinstance(event, GitPushed)
                    found.append((cloudevents.attributes_of(record.headers).id, event))
    return found


async def main(data_dir: Path, stuck: bool) -> None:
    async with opening.open_bus(data_dir=data_dir) as bus:
        await bus.create_topics([TOPIC])
        log = cast("port.Bus", FaultyBus(bus, stuck=stuck))
        async with serving(data_dir, log) as url:
            sys.stdout.write(f"{url}\n")
            sys.stdout.flush()
            await asyncio.Event().wait()


@contextlib.asynccontextmanager
async def separate(data_dir: Path, *options: str) -> AsyncIterator[tuple[str, asyncio.subprocess.Process]]:
    """The gateway as a process of its own: its URL, and the process to kill."""
    child = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "tests.functions.git.serving", str(data_dir), *options),
        stdout=asyncio.subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([*sys.path, str(ROOT)])},
    )
    assert child.stdout is not None
    try:
        while True:
            line = (await child.stdout.readline()).decode()
            assert line, "the gateway ended before it began"
            if line.startswith("http://"):
                break
        yield line.strip(), child
    finally:
        if child.returncode is None:
            child.kill()
        await child.communicate()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), sys.argv[2:] == ["stuck"]))
