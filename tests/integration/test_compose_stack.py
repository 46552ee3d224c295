"""`compose.yaml` as a user starts it: three zones, six storage nodes, and a zone that goes away while others write on."""

from __future__ import annotations

import functools
import json
import os
import shutil
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.conftest import missing
from tests.support import waiting

pytestmark = [pytest.mark.containers, pytest.mark.slow, pytest.mark.timeout(900)]
ROOT = Path(__file__).parents[2]
DESCRIPTION = yaml.safe_load((ROOT / "compose.yaml").read_text())
BROKERS = [name for name in DESCRIPTION["services"] if name.startswith("kafka-")]
STORAGE = [name for name in DESCRIPTION["services"] if name.startswith("storage-")]
WAIT_S = 180


class Stack:
    """The services of compose.yaml, under a project name of their own."""

    def __init__(self, compose: Sequence[str], environment: dict[str, str]) -> None:
        self._compose = [*compose, "--project-name", f"sixfold-test-{os.getpid()}"]
        self._environment = environment

    def call(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """One call of the compose tool."""
        done = subprocess.run(
            [*self._compose, *words],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            timeout=600,
            check=False,
        )
        assert done.returncode == 0 or not check, f"{' '.join(words)}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    async def start(self, services: Sequence[str]) -> None:
        """Start these and return once each is healthy by the word of its own check, whatever the engine makes of it."""
        self.call("up", "--detach", "--no-deps", *services)
        for service in services:
            check = DESCRIPTION["services"][service]["healthcheck"]["test"][1:]
            asked = functools.partial(self.call, "exec", "-T", service, *check, check=False)
            try:
                await waiting.eventually(lambda asked=asked: asked().returncode == 0, f"{service} is healthy", WAIT_S)  # type: ignore[misc]
            except AssertionError as error:
                logs = self.call("logs", service, check=False)
                error.add_note(f"{logs.stdout[-3000:]}{logs.stderr[-3000:]}")
                raise

    def sixfold(self, *words: str) -> Any:
        """What `sixfold` answers within the functions' container."""
        return _answer(self._sixfold(*words))

    def _sixfold(self, *words: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        bus = "kafka://" + ",".join(f"{name}:9092" for name in BROKERS)
        return self.call("exec", "-T", "functions", "sixfold", "--bus", bus, *words, "--json", check=check)

    async def status(self, is_so: Callable[[dict[str, Any]], bool], what: str) -> None:
        """Return once the volume's status is so.

        When a zone goes, an engine's name server may answer nobody while it is asked for names that are gone: the
        command says so then, and is repeated.
        """

        def is_there() -> bool:
            asked = self._sixfold("volume", "status", check=False)
            assert "Traceback" not in asked.stderr, asked.stderr
            return asked.returncode == 0 and is_so(_answer(asked))

        await waiting.eventually(is_there, what, WAIT_S)


def _answer(done: subprocess.CompletedProcess[str]) -> Any:
    return json.loads(done.stdout[done.stdout.index("{") :])


def compose_tool() -> list[str]:
    """Docker's compose plugin, or podman-compose."""
    if shutil.which("docker") and not subprocess.run(["docker", "compose", "version"], capture_output=True).returncode:
        return ["docker", "compose"]
    beside = Path(sys.executable).with_name("podman-compose")
    found = shutil.which("podman-compose") or (str(beside) if beside.exists() else None)
    if found is None or shutil.which("podman") is None:
        missing("neither docker with its compose plugin nor podman with podman-compose")
    return [found]


@pytest.fixture
def stack(container_engine: None) -> Iterator[Stack]:
    """Nothing runs yet; whatever does in the end is taken away with its volumes."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    made = Stack(compose_tool(), {**os.environ, "SIXFOLD_PORT": str(port)})
    try:
        made.call("build", "functions")
        yield made
    finally:
        made.call("down", "--volumes", "--timeout", "5", check=False)


async def test_the_composed_cluster_writes_on_without_a_zone(stack: Stack) -> None:
    """All services are healthy; 4 of 6 copies acknowledge while a zone's broker and storage nodes are away; then all do."""
    await stack.start(BROKERS)
    await stack.start([name for name in DESCRIPTION["services"] if name not in BROKERS])
    assert stack.sixfold("volume", "append", "--count", "20", "--timeout", "60")["last_lsn"] == 20
    await stack.status(lambda status: status["answering"] == 6, "six copies answer")
    zone = [name for name, service in DESCRIPTION["services"].items() if "c" in service.get("labels", {}).values()]
    assert len(zone) == 3
    stack.call("stop", "--timeout", "5", *zone)
    await stack.status(lambda status: status["answering"] == 4, "a zone is away")
    done = stack.sixfold("volume", "append", "--count", "20", "--timeout", "120")
    assert (done["last_lsn"], done["unknown"]) == (40, [])
    assert stack.sixfold("volume", "status")["writable"]
    await stack.start(zone)
    await stack.status(
        lambda status: all(copy["complete_lsn"] >= 40 for copy in status["copies"]), "all copies have it all"
    )
    assert len(stack.sixfold("volume", "read", "--count", "40")["records"]) == 40
