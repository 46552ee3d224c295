"""The whole system from one command: it starts, serves, is seen, restarts what crashes, and stops in order."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from tests.runtime.cli.commands import Sixfold, until
from tests.support import waiting

from sixfold.cli import sampling
from sixfold.supervisor import control
from sixfold_events.git import GitPushed

pytestmark = pytest.mark.timeout(180)
ZONE_A = ["volume.storage.a1", "volume.storage.a2"]


def alive(pid: int) -> bool:
    """Whether a process runs (a zombie does not)."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def words_of(pid: int) -> str:
    """The command line of a process, which every user of the machine can read."""
    return Path(f"/proc/{pid}/cmdline").read_text()


def pids(sixfold: Sixfold) -> dict[str, int]:
    """The children, as the system recorded them."""
    found: dict[str, int] = json.loads((sixfold.data_dir / "system.json").read_text())["processes"]
    return found


@pytest.fixture
async def up(sixfold: Sixfold) -> AsyncIterator[subprocess.Popen[str]]:
    """The system, ready, on a free port."""
    process = sixfold.start("up", "--port", "0")
    try:
        said = await asyncio.to_thread(until, process, "Next")
        assert "Sixfold is up" in said
        yield process
    finally:
        process.terminate()
        try:
            await asyncio.to_thread(process.communicate, timeout=60)
        finally:
            process.kill()


async def states(sixfold: Sixfold) -> dict[str, str]:
    """States by name."""
    return await control.request(sixfold.data_dir, "status")


async def test_the_system_lives(sixfold: Sixfold, up: subprocess.Popen[str]) -> None:
    """One start, and everything that a user does with it: status, health, stop and start of a zone, a crash, down."""
    status: dict[str, Any] = json.loads((await asyncio.to_thread(sixfold.spawn, "status", "--json")).stdout)
    processes = {each["name"]: each for each in status["processes"]}
    assert {"functions", "gateway", "volume.writer", *ZONE_A} <= set(processes)
    assert {each["state"] for each in processes.values()} == {"running"}
    assert status["pid"] == up.pid

    await _only_the_owner_gets_in(sixfold)
    await _the_gateway_serves(status)
    await _a_second_start_is_refused(sixfold, up)
    await _a_zone_stops_and_starts(sixfold, status)
    await _a_crash_is_restarted(sixfold, processes)

    children = list(pids(sixfold).values())
    down = await asyncio.to_thread(sixfold.spawn, "down", "--json")
    assert (down.returncode, json.loads(down.stdout)) == (0, {"stopped": True})
    assert await asyncio.to_thread(up.wait, 30) == 0
    assert not [pid for pid in children if alive(pid)]
    assert not (sixfold.data_dir / "system.json").exists()
    assert not (sixfold.data_dir / "run" / "control.sock").exists()
    assert (await asyncio.to_thread(sixfold.spawn, "status")).returncode == 2


async def _only_the_owner_gets_in(sixfold: Sixfold) -> None:
    """The control socket, the credential and the logs are the owner's alone; the credential is in no log."""
    token = (sixfold.data_dir / "credentials" / "bootstrap.token").read_text().strip()
    private = [sixfold.data_dir / "run" / "control.sock", *(sixfold.data_dir / "credentials").iterdir()]
    assert {stat.S_IMODE(path.stat().st_mode) for path in private} == {0o600}
    logs = list((sixfold.data_dir / "logs").iterdir())
    assert {stat.S_IMODE(path.stat().st_mode) for path in logs} == {0o600}
    assert not [path for path in logs if token in path.read_text()]
    assert not [pid for pid in pids(sixfold).values() if token in words_of(pid)]


async def _the_gateway_serves(status: dict[str, Any]) -> None:
    """Its health counts every process, and it listens on loopback."""
    assert status["gateway_url"].startswith("http://127.0.0.1:")
    async with httpx.AsyncClient(base_url=status["gateway_url"], trust_env=False) as client:
        health = (await client.get("/health")).json()
        assert (health["status"], set(health["processes"].values())) == ("ok", {"running"})
        assert (await client.get("/metrics")).status_code == 401


async def _a_second_start_is_refused(sixfold: Sixfold, up: subprocess.Popen[str]) -> None:
    """With who holds the folder."""
    second = await asyncio.to_thread(sixfold.spawn, "up", "--port", "0")
    assert second.returncode == 1
    assert f"pid {up.pid}" in second.stderr
    assert "sixfold down" in second.stderr


async def _a_zone_stops_and_starts(sixfold: Sixfold, status: dict[str, Any]) -> None:
    """A name's beginning means all of them; health says that they are missing."""
    stopped = await control.request(sixfold.data_dir, "stop", ["volume.storage.a"])
    assert stopped == dict.fromkeys(ZONE_A, "stopped")
    assert set(ZONE_A).isdisjoint(pids(sixfold))
    async with httpx.AsyncClient(base_url=status["gateway_url"], trust_env=False) as client:

        async def degraded() -> bool:
            answer = await client.get("/health")
            return answer.status_code == 200 and answer.json()["status"] == "degraded"

        await waiting.eventually(degraded, "health says degraded")
    started = await asyncio.to_thread(sixfold.spawn, "start", "volume.storage.a", "--json")
    assert json.loads(started.stdout) == dict.fromkeys(ZONE_A, "running")
    unknown = await asyncio.to_thread(sixfold.spawn, "stop", "volume.storage.x")
    assert unknown.returncode == 2
    assert "volume.storage.a1" in unknown.stderr


async def _a_crash_is_restarted(sixfold: Sixfold, processes: dict[str, Any]) -> None:
    """A child that is killed comes back with another pid, and status says so; the gateway keeps its port."""
    for name in ("gateway", "volume.storage.b1"):
        os.kill(processes[name]["pid"], signal.SIGKILL)

    async def back() -> bool:
        system = await control.ask(sixfold.data_dir, "status")
        now = {each.name: each for each in system.processes}
        return all(
            now[name].state == "running" and now[name].restarts == 1 and now[name].pid != processes[name]["pid"]
            for name in ("gateway", "volume.storage.b1")
        )

    await waiting.eventually(back, "both run again", 60)
    log = (sixfold.data_dir / "logs" / "supervisor.log").read_text()
    assert "process_restarts" in log
    assert "killed by SIGKILL" in log


async def test_a_killed_supervisor_takes_its_children_along_and_the_next_start_needs_no_repair(
    sixfold: Sixfold, up: subprocess.Popen[str]
) -> None:
    """`kill -9` of the supervisor: no child lives on for ever, and the same folder starts again at once."""
    children = list(pids(sixfold).values())
    port = json.loads((sixfold.data_dir / "gateway.json").read_text())["url"].rpartition(":")[2]
    up.kill()
    await asyncio.to_thread(up.wait)
    again = sixfold.start("up", "--port", port)
    try:
        said = await asyncio.to_thread(until, again, "Next")
        ready = len(await states(sixfold))
        assert f"{ready} of {ready} processes ready" in said
        assert not [pid for pid in children if alive(pid)]
        assert set((await states(sixfold)).values()) == {"running"}
    finally:
        again.send_signal(signal.SIGINT)
        await asyncio.to_thread(again.communicate, timeout=60)
    assert again.returncode == 0


async def test_a_system_in_the_background_outlives_the_command(sixfold: Sixfold) -> None:
    """--detach returns when everything is ready, as JSON where asked; `down` ends it."""
    started = await asyncio.to_thread(sixfold.spawn, "up", "--port", "0", "--detach", "--json", timeout_s=100)
    assert started.returncode == 0, started.stderr
    status = json.loads(started.stdout)
    assert {each["state"] for each in status["processes"]} == {"running"}
    try:
        assert set((await states(sixfold)).values()) == {"running"}
    finally:
        await asyncio.to_thread(sixfold.spawn, "down")
    await waiting.eventually(lambda: not alive(status["pid"]), "the supervisor ended")


def test_a_port_in_use_is_named_and_nothing_is_left_running(sixfold: Sixfold) -> None:
    """With the option that chooses another; detached as well."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        for words in ([], ["--detach"]):
            done = sixfold.spawn("up", "--port", port, *words)
            assert done.returncode == 1
            assert f"port {port} on 127.0.0.1 is in use" in done.stderr
            assert "--port" in done.stderr
    assert not (sixfold.data_dir / "system.json").exists()


@pytest.mark.parametrize("verb", [["up", "--port", "0"], ["topics"], ["publish", "git.pushed", "--data"]])
async def test_no_kafka_at_the_address_is_said_within_seconds(sixfold: Sixfold, verb: list[str]) -> None:
    """Whatever the verb; the address is in the message."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"kafka://127.0.0.1:{closed.getsockname()[1]}"
        words = [*verb, json.dumps(sampling.sample(GitPushed))] if verb[0] == "publish" else verb
        loop = asyncio.get_running_loop()
        begun = loop.time()
        done = await asyncio.to_thread(sixfold.spawn, "--bus", url, *words)
        took_s = loop.time() - begun
    assert done.returncode == 1, done.stderr
    assert url.removeprefix("kafka://") in done.stderr.replace("\n", "")
    assert took_s < 15, took_s  # five seconds of waiting, and a loaded machine's start


def test_the_plan_can_be_seen_without_starting_anything(sixfold: Sixfold) -> None:
    """--dry-run prints the processes as data."""
    names = [each["name"] for each in sixfold.json("up", "--dry-run", "--without", "volume.storage")]
    assert {"functions", "gateway", "volume.writer"} <= set(names)
    assert not [name for name in names if name.startswith("volume.storage")]
    assert not (sixfold.data_dir / "run").exists()


def test_without_a_system_its_verbs_say_how_to_start_one(sixfold: Sixfold) -> None:
    """status, down, start and stop: exit code 2."""
    for words in (["status"], ["down"], ["start", "x"], ["stop", "x"]):
        assert "sixfold up" in sixfold.bad(*words, code=2)
