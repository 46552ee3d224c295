"""Puts every move of a ref into the log as `git.pushed`, each once, in each ref's own order.

After a push only the refs that it named are looked at; the sweep at the start looks at all. What was published is
kept beside the repository, in `sixfold/published.json`. Between a move and its event, and between the event and that
file, a crash costs nothing: the reflog still has the move, and its event has the same id again (`core.py`).
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import tempfile
import uuid
from collections import defaultdict
from collections.abc import AsyncIterator, Collection
from pathlib import Path
from typing import IO

import msgspec
import structlog
from dulwich.refs import Ref, check_ref_format
from dulwich.repo import Repo

from sixfold import clock as clocks
from sixfold import objects, publisher
from sixfold.bus import port
from sixfold_events.git import GitPushed
from sixfold_functions.git import client, core

LOOK_BACK_BYTES = 4096
"""A reflog line is about 150 bytes; so far back lies the last published one."""
log = structlog.get_logger()


class Published(msgspec.Struct):
    """Content of `published.json`."""

    id: str
    """Of the repository itself: a repository made again under the same name has other event ids."""
    refs: dict[str, core.Known] = {}


class Publication:
    """The one who publishes moves; safe for many tasks and many processes."""

    def __init__(self, repositories: client.GitRepositories, bus: port.Bus, clock: clocks.Clock) -> None:
        self._repositories = repositories
        self._bus = bus
        self._clock = clock
        self._locks: defaultdict[str, asyncio.Lock] = defaultdict(asyncio.Lock)

    async def sweep(self) -> int:
        """Publish what no push has published, in every repository; how many events."""
        return sum([await self.publish(name) for name in self._repositories.names()])

    async def publish(self, name: str, refs: Collection[str] | None = None) -> int:
        """Publish the unpublished moves of `refs` (None: of all) and return how many, once they are in the log.

        Raises BusError where the log does not take them; they stay to be published.
        """
        path = self._repositories.path(name)
        async with self._locks[name], _file_lock(path):
            published, moves = await asyncio.to_thread(self._unpublished, path, refs)
            batch = self._repositories.settings.publish_batch
            for start in range(0, len(moves), batch):
                part = moves[start : start + batch]
                await self._bus.publish([self._record(name, published.id, move) for move in part])
            if moves:
                await asyncio.to_thread(_store, path, published)
                log.info("moves published", action="git.published", repository=name, events=len(moves))
            return len(moves)

    def _unpublished(self, path: Path, refs: Collection[str] | None) -> tuple[Published, list[core.Move]]:
        published = _load(path)
        now_ms = clocks.now_ms(self._clock)
        found: list[core.Move] = []
        with Repo(str(path)) as repo:
            if refs is None:
                refs = {ref.decode(errors="surrogateescape") for ref in repo.get_refs() if ref != b"HEAD"}
                refs |= set(published.refs)
            for ref in sorted(refs):
                # A push names what it likes; only what git itself takes for a ref may become a path.
                if not (ref.startswith("refs/") and check_ref_format(_name(ref))):
                    continue
                known = published.refs.get(ref, core.Known())
                value = repo.refs.read_loose_ref(_name(ref)) or repo.refs.get_packed_refs().get(_name(ref))
                current = value.decode() if value and len(value) == 40 else core.NO_COMMIT
                before, lines = _read_log(path / "logs" / ref, known)
                moves, after = core.moves(ref, known, current, before, lines, now_ms)
                if moves:
                    found += moves
                    published.refs[ref] = after
        return published, found

    def _record(self, name: str, repository_id: str, move: core.Move) -> port.NewRecord:
        event = GitPushed(
            repository=name, ref=move.ref, old=move.old, new=move.new, pusher=move.who, pushed_at_ms=move.at_ms
        )
        identifier = core.event_id(repository_id, move)
        return publisher.record_of(event, source=f"/git/{name}", clock=self._clock, event_id=identifier)


def _name(ref: str) -> Ref:
    return Ref(ref.encode(errors="surrogateescape"))


def _read_log(path: Path, known: core.Known) -> tuple[str | None, list[core.Line]]:
    """The log's value at the published offset (None where it is another log), and the lines after it."""
    start = max(0, known.log_bytes - LOOK_BACK_BYTES)
    try:
        with path.open("rb") as file:
            file.seek(start)
            data = file.read()
    except (FileNotFoundError, IsADirectoryError, NotADirectoryError):
        return None, []
    if known.log_bytes == 0:
        return known.commit if known.commit == core.NO_COMMIT else None, core.parse_log(data)
    if start:
        first = data.find(b"\n") + 1
        start, data = start + first, data[first:]
    lines = core.parse_log(data, start)
    before = next((line.new for line in lines if line.end == known.log_bytes and line.new == known.commit), None)
    if before is None:
        return None, core.parse_log(path.read_bytes())
    return before, [line for line in lines if line.end > known.log_bytes]


def _load(path: Path) -> Published:
    try:
        return msgspec.json.decode((path / "sixfold" / "published.json").read_bytes(), type=Published)
    except FileNotFoundError:
        published = Published(id=uuid.uuid4().hex)
        _store(path, published)  # before the first event: its id is made from this one
        return published


def _store(path: Path, published: Published) -> None:
    folder = path / "sixfold"
    handle, name = tempfile.mkstemp(prefix=".published-", dir=folder)
    with os.fdopen(handle, "wb") as file:
        file.write(msgspec.json.encode(published))
        file.flush()
        os.fsync(file.fileno())
    Path(name).replace(folder / "published.json")
    objects.sync_folder(folder)


@contextlib.asynccontextmanager
async def _file_lock(path: Path) -> AsyncIterator[None]:
    """One publisher per repository among all processes; a process that dies lets go."""

    def take() -> IO[bytes]:
        folder = path / "sixfold"
        folder.mkdir(mode=0o700, exist_ok=True)
        file = (folder / "lock").open("ab")
        fcntl.flock(file, fcntl.LOCK_EX)
        return file

    file = await asyncio.to_thread(take)
    try:
        yield
    finally:
        file.close()
