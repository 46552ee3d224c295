"""A whole system for deployments: embedded bus, functions in their workers, a gateway on real uvicorn, real agents."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
import io
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path
from typing import TypeVar

import httpx
import uvicorn
from tests.support.waiting import eventually

from sixfold import capability as capabilities
from sixfold import objects, running
from sixfold.bus import open_bus
from sixfold.catalogue import Catalogue
from sixfold.gateway import app as apps
from sixfold.gateway import credentials
from sixfold.process import Process
from sixfold_events import Event
from sixfold_events import deploy as events
from sixfold_functions.deploy import client, pack, signing
from sixfold_functions.deploy.capability import capability

E = TypeVar("E", bound=Event)
ROOT = Path(__file__).parents[3]
EXAMPLE = ROOT / "examples" / "05-web-service"


class _Server(uvicorn.Server):
    @contextlib.contextmanager
    def capture_signals(self):  # type: ignore[no-untyped-def]
        yield


class Door:
    """The gateway: it may be stopped and started again on the same port."""

    def __init__(self, process: Process) -> None:
        self._process = process
        with socket.create_server(("127.0.0.1", 0)) as chosen:
            self._port: int = chosen.getsockname()[1]
        self.url = f"http://127.0.0.1:{self._port}"

    async def open(self) -> None:
        functions = self._process
        self.process = Process(
            name="gateway", data_dir=functions.data_dir, registry=functions.registry, bus=functions.require_bus()
        )
        listening = socket.create_server(("127.0.0.1", self._port))
        app = apps.create_app(self.process, (capability,), self.url)
        config = uvicorn.Config(app, lifespan="on", log_config=None, access_log=False, timeout_graceful_shutdown=2)
        self._server = _Server(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        await eventually(lambda: self._server.started, "the gateway serves")

    async def close(self) -> None:
        self.process.stopping.set()
        self._server.should_exit = True
        await self._serving
        await self.process.resources.close()


@dataclasses.dataclass
class System:
    """What a test holds in its hands."""

    process: Process
    """That of the functions."""
    gateway: Door
    data_dir: Path
    agents: dict[str, asyncio.subprocess.Process] = dataclasses.field(default_factory=dict)

    @property
    def url(self) -> str:
        return self.gateway.url

    def folder(self, instance: str) -> Path:
        return self.data_dir / "instances" / instance

    async def start_agent(self, instance: str, group: str = "production") -> None:
        """Start the agent as a process of its own and wait until it is ready."""
        credential = credentials.create(self.data_dir, kind="agent", name=instance)
        # fmt: off
        command = [
            sys.executable, "-P", "-m", "sixfold_functions.deploy.agent", "--instance", instance, "--group", group,
            "--gateway", self.url, "--folder", str(self.folder(instance)), "--credential", str(credential),
            "--public-key", str(signing.ensure(self.data_dir)),
        ]
        # fmt: on
        log = (self.data_dir / f"{instance}.log").open("wb")
        with log:
            process = await asyncio.create_subprocess_exec(*command, stdout=log, stderr=log)
        self.agents[instance] = process
        await eventually(
            lambda: process.returncode is not None or "ready\n" in self.log(instance),
            f"the agent of {instance} is ready",
        )
        assert process.returncode is None, self.log(instance)

    def log(self, instance: str) -> str:
        """What the instance's agent wrote since it was started last."""
        return (self.data_dir / f"{instance}.log").read_text()

    async def kill_agent(self, instance: str, number: int = signal.SIGKILL) -> None:
        agent = self.agents.pop(instance)
        agent.send_signal(number)
        await agent.wait()

    async def store(self, files: Mapping[str, str]) -> str:
        """The artifact of a revision with these files; scripts are executable."""
        folder = self.data_dir / "packing"
        shutil.rmtree(folder, ignore_errors=True)
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
            path.chmod(0o755 if name.endswith(".sh") else 0o644)
        data = io.BytesIO()
        pack.pack(folder, data)
        return await objects.FolderObjects(self.data_dir / "artifacts").put(data.getvalue())

    async def request(self, name: str, artifact: str, *, revision: str = "", group: str = "production") -> None:
        wanted = events.DeploymentRequested(
            deployment_id=name,
            application="web",
            group=group,
            revision=revision or f"revision-{name}",
            artifact=artifact,
            creator="user",
        )
        await client.request(self.process, wanted, source="/test")

    async def finished(self, name: str, deadline_s: float = 60.0) -> events.DeploymentFinished:
        found = await self.eventually(events.DeploymentFinished, lambda each: each.deployment_id == name, deadline_s)
        return found[0]

    async def eventually(self, cls: type[E], wanted: Callable[[E], bool], deadline_s: float = 30.0) -> list[E]:
        """The events of a type that are wanted, once there is one."""

        async def look() -> list[E]:
            return [each for each in await self.events(cls) if wanted(each)]

        check: Callable[[], Awaitable[list[E]]] = look
        return await eventually(check, f"a {cls.__name__} that is wanted", deadline_s)

    async def deploy(self, name: str, files: Mapping[str, str], **options: str) -> events.DeploymentFinished:
        await self.request(name, await self.store(files), **options)
        return await self.finished(name)

    async def events(self, cls: type[E]) -> list[E]:
        return [event async for event in client.read(self.process, cls)]

    async def steps(self, name: str, instance: str) -> list[tuple[str, str]]:
        """(lifecycle event, status) as an instance reported them, in the log's order."""
        found = await self.events(events.DeploymentStepReported)
        return [
            (each.lifecycle_event, each.status)
            for each in found
            if each.deployment_id == name and each.instance == instance
        ]

    def answers(self, instance: str) -> dict[str, str]:
        """What the web service on an instance answers over HTTP now."""
        state = json.loads((self.folder(instance) / "root" / "run" / "web.json").read_text())
        answer = httpx.get(f"http://127.0.0.1:{state['port']}/version", trust_env=False, timeout=10)
        return dict(answer.json())


def web_service(revision: str, change: Callable[[dict[str, str]], None] | None = None) -> dict[str, str]:
    """The files of examples/05-web-service as built from `revision`, with a change."""
    names = [path for path in EXAMPLE.rglob("*") if path.is_file() and "__pycache__" not in path.parts]
    files = {str(path.relative_to(EXAMPLE)): path.read_text() for path in names}
    files["REVISION"] = f"{revision}\n"
    if change:
        change(files)
    return files


def hooks(**scripts: str) -> dict[str, str]:
    """A revision without files whose hooks are these shell commands, ten seconds each."""
    spec = "version: 0.0\nos: linux\nhooks:\n"
    files = {}
    for event, script in scripts.items():
        spec += f"  {event}:\n    - location: {event}.sh\n      timeout: 10\n"
        files[f"{event}.sh"] = f"#!/bin/sh\n{script}\n"
    return {"appspec.yml": spec, **files}


@contextlib.asynccontextmanager
async def running_system(data_dir: Path) -> AsyncIterator[System]:
    """A system on a new data folder; agents and web services that it started are gone afterwards."""
    credentials.bootstrap(data_dir)
    catalogue = Catalogue((capability,))
    async with open_bus("embedded:", data_dir=data_dir) as bus:
        await bus.create_topics(catalogue.topics)
        process = Process(name="test", data_dir=data_dir, registry=catalogue.registry, bus=bus)
        functions = asyncio.create_task(
            running.run_functions(
                process,
                capabilities.functions_of(capability),
                stopping=process.stopping,
                topics=catalogue.topics,
            )
        )
        gateway = Door(process)
        await gateway.open()
        system = System(process, gateway, data_dir)
        try:
            yield system
        finally:
            for instance in list(system.agents):
                await system.kill_agent(instance, signal.SIGTERM)
            await gateway.close()
            process.stopping.set()
            await functions
            _end_services(data_dir / "instances")
            await process.resources.close()


def _end_services(instances: Path) -> None:
    for state in instances.glob("*/root/run/web.json"):
        pid = json.loads(state.read_text())["pid"]
        with contextlib.suppress(OSError):
            if str(state).encode() in Path(f"/proc/{pid}/cmdline").read_bytes():
                os.kill(pid, signal.SIGKILL)
