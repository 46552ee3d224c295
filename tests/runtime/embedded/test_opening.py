"""Opening a bus: whose file, which socket, who may connect."""

from __future__ import annotations

import asyncio
import socket
import stat
from pathlib import Path

import apsw
import pytest

from sixfold import clock as clocks
from sixfold.bus import port
from sixfold.bus.embedded import frames, ownership, schema, wire
from sixfold.bus.embedded import settings as settings_
from sixfold.bus.embedded.client import EmbeddedBus

CLOCK = clocks.SystemClock()


async def test_the_first_bus_owns_the_folder_and_the_next_takes_over(folder: Path) -> None:
    """Two buses in one process behave as two processes: one owner, and the other follows when it closes."""
    first = EmbeddedBus(folder, clock=CLOCK)
    await first.__aenter__()
    async with EmbeddedBus(folder, clock=CLOCK) as second:
        assert (first.owner, second.owner) == (True, False)
        await first.create_topics([port.TopicSpec(name="t", partitions=1)])
        await first.__aexit__(None, None, None)
        assert set(await second.topics()) == {"t"}
        assert second.owner
    assert not ownership.socket_path(folder).exists()


async def test_only_this_user_can_reach_the_log(folder: Path) -> None:
    """The folder is 0700, the socket, the lock and the log are 0600."""
    async with EmbeddedBus(folder, clock=CLOCK):
        modes = await asyncio.to_thread(
            lambda: {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
        )
        assert modes == {"lock": 0o600, "bus.sock": 0o600, "log.sqlite": 0o600, "log.sqlite-wal": 0o600}
        assert stat.S_IMODE((await asyncio.to_thread(folder.stat)).st_mode) == 0o700


@pytest.fixture
def made_folder(folder: Path) -> Path:
    """The bus's folder, there already."""
    folder.mkdir()
    return folder


async def test_a_file_that_is_no_log_is_refused_and_left_alone(made_folder: Path) -> None:
    """Text, another program's SQLite file, a log of another format: each says what was found; none is changed."""
    folder = made_folder
    path = folder / schema.FILE_NAME
    path.write_bytes(b"This is no database, but a page of text.\n" * 200)
    content = path.read_bytes()
    with pytest.raises(port.BusError, match="cannot be opened"):
        await EmbeddedBus(folder, clock=CLOCK).__aenter__()
    assert path.read_bytes() == content

    path.unlink()
    with apsw.Connection(str(path)) as other:
        other.execute("CREATE TABLE notes(text)")
    other.close()
    with pytest.raises(port.BusError, match="not a log of this bus"):
        await EmbeddedBus(folder, clock=CLOCK).__aenter__()

    path.unlink()
    async with EmbeddedBus(folder, clock=CLOCK):
        pass
    with apsw.Connection(str(path)) as log:
        log.pragma("user_version", 99)
    log.close()
    with pytest.raises(port.BusError, match="format 99"):
        await EmbeddedBus(folder, clock=CLOCK).__aenter__()


async def test_a_damaged_log_is_a_clear_error(folder: Path) -> None:
    """Pages overwritten with noise: a BusError that names the file, not a crash and not an empty bus."""
    async with EmbeddedBus(folder, clock=CLOCK) as bus:
        await bus.create_topics([port.TopicSpec(name="t", partitions=1)])
        await bus.publish([port.NewRecord("t", bytes(3000), partition=0) for _ in range(50)])
    path = folder / schema.FILE_NAME
    with path.open("r+b") as file:
        file.seek(1024)
        file.write(b"\xa5" * 60_000)
    with pytest.raises(port.BusError, match=r"log\.sqlite"):
        async with EmbeddedBus(folder, clock=CLOCK) as bus:
            await bus.topics()


async def test_a_long_folder_has_its_socket_elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the folder's path is too long for a socket, a private folder holds it, and two processes agree on it."""
    runtime = Path("/tmp") / f"sixfold-test-{tmp_path.name}"
    runtime.mkdir()
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))
    folder = tmp_path / ("long" * 30) / "bus"
    try:
        async with EmbeddedBus(folder, clock=CLOCK) as first, EmbeddedBus(folder, clock=CLOCK) as second:
            path = ownership.socket_path(folder)
            assert path.parent.parent == runtime
            assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
            await first.create_topics([port.TopicSpec(name="t")])
            assert set(await second.topics()) == {"t"}
        path.parent.chmod(0o777)
        with pytest.raises(port.BusUnavailableError, match="0700"):
            ownership.socket_path(folder)
    finally:
        path.parent.rmdir()
        runtime.rmdir()


async def test_an_owner_that_does_not_answer_is_a_clear_error(folder: Path) -> None:
    """Somebody holds the lock, but does not serve: BusUnavailableError after the timeout, naming the lock."""
    lock = ownership.acquire(folder)
    assert lock is not None
    impatient = settings_.Settings(connect_timeout_s=0.2)
    with pytest.raises(port.BusUnavailableError, match="lock"):
        await EmbeddedBus(folder, clock=CLOCK, settings=impatient).__aenter__()
    lock.release()
    async with EmbeddedBus(folder, clock=CLOCK, settings=impatient) as bus:
        assert bus.owner


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        (2**31).to_bytes(4, "big") + b"x",
        (5).to_bytes(4, "big") + b"\xff\xff\xff\xff\xff",
        bytes(frames.encode(wire.ListTopics(id=1))),
    ],
    ids=["another protocol", "a frame too large", "noise", "a request before hello"],
)
async def test_a_connection_that_breaks_the_protocol_is_closed_and_harms_nobody(folder: Path, sent: bytes) -> None:
    """The owner closes such a connection and goes on serving the others."""
    async with EmbeddedBus(folder, clock=CLOCK) as bus:
        reader, writer = await asyncio.open_unix_connection(str(ownership.socket_path(folder)))
        writer.write(sent)
        assert await asyncio.wait_for(_rest(reader), 10) == b""
        writer.close()
        assert await bus.topics() == {}


async def _rest(reader: asyncio.StreamReader) -> bytes:
    try:
        return await reader.read()
    except ConnectionResetError:
        return b""


async def test_an_owner_of_another_version_is_named(folder: Path) -> None:
    """A client of another version is told so and disconnected, not misunderstood."""
    async with EmbeddedBus(folder, clock=CLOCK):
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(ownership.socket_path(folder)))
            client.sendall(frames.encode(wire.Hello(version=wire.VERSION + 1)))
            answer = await asyncio.to_thread(client.recv, 100)
            assert answer == bytes(frames.encode(wire.Welcome(version=wire.VERSION)))
            assert await asyncio.to_thread(client.recv, 100) == b""
