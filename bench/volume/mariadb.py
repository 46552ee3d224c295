"""MariaDB: one server, one copy, every insert its own transaction that is fsynced before its answer (the default).

Two clients load it through a Unix socket. `fastest` is MariaDB's own mariadb-slap, in C. `python` is what a program like
ours has: asyncmy with a connection for each coroutine in one process. The rate is that of the table's highest key that
is committed, at the server's own clock.
"""

from __future__ import annotations

import asyncio
import contextlib
import getpass
import subprocess
import time
from collections.abc import AsyncIterator
from pathlib import Path

from bench.runtime import environments
from bench.runtime.sides import SideError, started
from bench.volume import debian, pins, rates
from bench.volume.load import RECORD

START_S = 60.0
SETTINGS = (
    "--innodb-flush-log-at-trx-commit=1",
    "--thread-handling=pool-of-threads",
    "--innodb-log-file-size=1G",
    "--innodb-buffer-pool-size=1G",
    "--max-connections=1200",
)
"""The first is the default, said so that nobody need look it up. A pool of threads is worth twice the inserts of a thread
for each connection; with a log of 96 MB, the default, checkpoints get into the way."""
TABLE = "CREATE TABLE records (id BIGINT AUTO_INCREMENT PRIMARY KEY, body VARBINARY(300) NOT NULL) ENGINE=InnoDB"
INSERT = f"INSERT INTO records (body) VALUES ('{RECORD.decode()}')"
DATABASE = "bench"


class Server:
    """A running MariaDB with an empty table."""

    def __init__(self, programs: debian.Programs, socket: Path) -> None:
        self._programs = programs
        self._socket = socket
        self._connect = ["--no-defaults", "--user=root", f"--socket={socket}"]

    async def ask(self, statement: str) -> str:
        """What the server answers. Raises SideError."""
        command = [self._programs.path("mariadb"), *self._connect, "--batch", "--skip-column-names", "-e", statement]
        done = await asyncio.to_thread(
            subprocess.run, command, capture_output=True, text=True, env=self._programs.environment, check=False
        )
        if done.returncode:
            raise SideError(f"expected an answer to `{statement}`, found: {done.stderr.strip()}")
        return done.stdout.strip()

    async def look(self) -> rates.Point:
        """The highest key."""
        found = await self.ask(f"SELECT COALESCE(MAX(id), 0), UNIX_TIMESTAMP(SYSDATE(6)) FROM {DATABASE}.records")
        total, at_s = found.split()
        return rates.Point(int(total), float(at_s))

    async def fastest(self, clients: int, seconds: float) -> float:
        """Inserts a second of `clients` connections of mariadb-slap."""
        load = [self._programs.path("mariadb-slap"), *self._connect, f"--concurrency={clients}", "--no-drop"]
        load += ["--number-of-queries=1000000000", f"--create-schema={DATABASE}", f"--query={INSERT}"]
        return await self._rate(load, seconds, self._programs.environment)

    async def python(self, clients: int, seconds: float) -> float:
        """Inserts a second of `clients` coroutines of one Python process."""
        python = await asyncio.to_thread(environments.python_of, "mariadb", pins.PINNED)
        load = [python, "-m", "bench.volume.peers.mariadb_client", str(self._socket), DATABASE, INSERT, str(clients)]
        return await self._rate(load, seconds, {})

    async def _rate(self, load: list[str], seconds: float, environment: dict[str, str]) -> float:
        async with started(load, environment) as running:
            found = await rates.rate(self.look, seconds)
            if running.process.returncode is not None or found <= 0:
                raise SideError(f"expected inserts, found {found:g} a second; `{load[0]}` has ended")
        return found


@contextlib.asynccontextmanager
async def server(folder: Path) -> AsyncIterator[Server]:
    """A server with nothing but its table. Raises PeerMissingError, SideError."""
    programs = await asyncio.to_thread(debian.programs, "mariadb")
    mariadbd = Path(programs.path("mariadbd"))
    data_dir, user = folder / "mariadb", getpass.getuser()
    place = ["--no-defaults", f"--basedir={mariadbd.parents[1]}", f"--datadir={data_dir}", f"--user={user}"]
    install = [programs.path("mariadb-install-db"), *place, "--auth-root-authentication-method=normal"]
    done = await asyncio.to_thread(
        subprocess.run, install, capture_output=True, text=True, env=programs.environment, check=False
    )
    if done.returncode:
        raise SideError(f"expected that mariadb-install-db makes a database, found: {done.stderr[-2000:]}")
    socket = data_dir / "socket"
    command = [str(mariadbd), *place, f"--socket={socket}", "--skip-networking", *SETTINGS]
    async with started(command, programs.environment) as running:
        found = Server(programs, socket)
        await _answering(found, running.process)
        await found.ask(f"CREATE DATABASE {DATABASE}; USE {DATABASE}; {TABLE}")
        yield found


async def _answering(server: Server, process: asyncio.subprocess.Process) -> None:
    deadline = time.monotonic() + START_S
    while True:
        try:
            await server.ask("SELECT 1")
            return
        except SideError:
            if time.monotonic() > deadline or process.returncode is not None:
                raise
        await asyncio.sleep(0.05)
