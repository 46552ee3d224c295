"""etcd: three members on loopback, each with a folder of its own and its default of an fsync before every answer.

Two clients load it through gRPC, on the leader, which is where a client is served soonest. `fastest` is h2load (nghttp2,
in C) with the same Put again and again, which costs the processors next to nothing. `python` is what a program like ours
has: grpc's asyncio client in one process. Neither is believed: the rate is that of the store's revision.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import time
import urllib.request
from collections.abc import AsyncIterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from bench.runtime import environments
from bench.runtime.sides import SideError, started
from bench.volume import debian, pins, rates
from bench.volume.load import RECORD

MEMBERS = 3
START_S = 30.0
CONNECTIONS = {128: 4, 1000: 40}
"""Connections of h2load by clients, which share them as streams: more cost etcd a tenth to a half of its rate."""


def varint(number: int) -> bytes:
    """As Protocol Buffers write it."""
    written = bytearray()
    while number > 127:
        written.append(number & 127 | 128)
        number >>= 7
    return bytes([*written, number])


def put(key: bytes, value: bytes) -> bytes:
    """An etcdserverpb.PutRequest: field 1 is the key, field 2 the value."""
    return b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(value)) + value


def message(body: bytes) -> bytes:
    """`body` as gRPC frames it: not compressed, and how long it is."""
    return b"\x00" + len(body).to_bytes(4, "big") + body


class Member(NamedTuple):
    """One of the three."""

    name: str
    client_port: int
    peer_port: int


def free_ports(count: int) -> list[int]:
    """Ports of the loopback that nobody uses."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def command(etcd: str, member: Member, members: Sequence[Member], folder: Path) -> list[str]:
    """What starts a member. Nothing but its place is set."""
    client, peer = (f"http://127.0.0.1:{port}" for port in (member.client_port, member.peer_port))
    cluster = ",".join(f"{each.name}=http://127.0.0.1:{each.peer_port}" for each in members)
    options = {
        "name": member.name,
        "data-dir": str(folder / member.name),
        "listen-client-urls": client,
        "advertise-client-urls": client,
        "listen-peer-urls": peer,
        "initial-advertise-peer-urls": peer,
        "initial-cluster": cluster,
        "initial-cluster-state": "new",
    }
    return [etcd, *(f"--{name}={value}" for name, value in options.items())]


async def status(port: int) -> dict[str, Any]:
    """What a member says of itself."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}/v3/maintenance/status", data=b"{}")

    def ask() -> dict[str, Any]:
        with urllib.request.urlopen(request, timeout=START_S) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    return await asyncio.to_thread(ask)


class Cluster:
    """A running etcd."""

    def __init__(self, programs: debian.Programs, leader_port: int, folder: Path) -> None:
        self._programs = programs
        self._port = leader_port
        self._put = folder / "put"

    async def look(self) -> rates.Point:
        """The store's revision, which each put makes one higher; read while the leader is loaded, so the middle counts."""
        begun = time.perf_counter()
        revision = int((await status(self._port))["header"]["revision"])
        return rates.Point(revision, (begun + time.perf_counter()) / 2)

    async def fastest(self, clients: int, seconds: float) -> float:
        """Puts a second of `clients` streams of h2load."""
        connections = CONNECTIONS.get(clients, clients)
        self._put.write_bytes(message(put(b"bench", RECORD)))
        load = [self._programs.path("h2load"), "--duration=3600", f"--clients={connections}"]
        load += [f"--max-concurrent-streams={clients // connections}", f"--data={self._put}"]
        load += ["--header=content-type: application/grpc", "--header=te: trailers"]
        load += [f"http://127.0.0.1:{self._port}/etcdserverpb.KV/Put"]
        return await self._rate(load, seconds, self._programs.environment)

    async def python(self, clients: int, seconds: float) -> float:
        """Puts a second of `clients` coroutines of one Python process."""
        python = await asyncio.to_thread(environments.python_of, "etcd", pins.PINNED)
        load = [python, "-m", "bench.volume.peers.etcd_client", str(self._port), str(clients)]
        return await self._rate(load, seconds, {})

    async def _rate(self, load: list[str], seconds: float, environment: dict[str, str]) -> float:
        async with started(load, environment) as running:
            found = await rates.rate(self.look, seconds)
            if running.process.returncode is not None or found <= 0:
                raise SideError(
                    f"expected puts, found {found:g} a second; `{load[0]}` ended: {running.process.returncode}"
                )
        return found


@contextlib.asynccontextmanager
async def cluster(folder: Path) -> AsyncIterator[Cluster]:
    """Three members with nothing in them. Raises PeerMissingError, SideError."""
    programs = await asyncio.to_thread(debian.programs, "etcd")
    ports = free_ports(2 * MEMBERS)
    members = [Member(f"member-{n}", ports[n], ports[MEMBERS + n]) for n in range(MEMBERS)]
    async with contextlib.AsyncExitStack() as stack:
        for member in members:
            await stack.enter_async_context(
                started(command(programs.path("etcd"), member, members, folder), programs.environment)
            )
        yield Cluster(programs, await _leader(members), folder)


async def _leader(members: Sequence[Member]) -> int:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            found = await status(members[0].client_port)
            for member in members if found.get("leader", "0") != "0" else ():
                if (await status(member.client_port))["header"]["member_id"] == found["leader"]:
                    return member.client_port
        await asyncio.sleep(0.05)
    raise SideError(f"expected that the three members of etcd choose a leader within {START_S:g} s, found none")
