"""Carries out a build: a working copy of exactly the commit, the commands, the artifact, and a result that stays.

Each action execution has a folder, `<data_dir>/pipeline/<execution>/<action execution>/`, with `log` and, once it has
ended, `result.json`. A build that is asked for again answers from that; one that was interrupted starts afresh, after
what it left behind was ended. Two at once are kept apart by a lock that dies with its process.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import os
import re
import shutil
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import msgspec

from sixfold import clock as clocks
from sixfold import errors, objects
from sixfold.process import Process
from sixfold_events.pipeline import BuildRequested
from sixfold_functions.git import client as git
from sixfold_functions.pipeline import artifact, commandline
from sixfold_functions.pipeline.log import BuildLog
from sixfold_functions.pipeline.settings import PipelineSettings

_FOLDER = re.compile(r"[A-Za-z0-9_.-]{1,200}")
LOCK_POLL_S = 0.2
"""After a rebalance another process may still be ending the same action."""
Progress = Callable[[int, int, str], Awaitable[None]]


class BuildResult(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a build."""

    succeeded: bool
    reason: str = ""
    log_tail: str = ""
    artifact: str = ""
    summary: str = ""


class Builder:
    """Builds on this machine."""

    def __init__(
        self,
        data_dir: Path,
        store: objects.Objects,
        clock: clocks.Clock,
        settings: PipelineSettings | None = None,
    ) -> None:
        self._folder = data_dir.absolute() / "pipeline"
        self._repositories = git.GitRepositories(data_dir)
        self._store = store
        self._clock = clock
        self._settings = settings or PipelineSettings()

    async def build(self, request: BuildRequested, progress: Progress) -> BuildResult:
        """Carry `request` out, or give the result that it had."""
        folder = action_folder(self._folder.parent, request.action_execution)
        await asyncio.to_thread(folder.mkdir, mode=0o700, parents=True, exist_ok=True)
        async with self._locked(folder / "lock"):
            known = await asyncio.to_thread(_read, folder / "result.json")
            if known is not None:
                return known
            await asyncio.to_thread(commandline.end_marked, request.action_execution)
            log = BuildLog(folder / "log", self._settings)
            try:
                result = await self._build(request, folder, log, progress)
            finally:
                log.close()
                await asyncio.to_thread(shutil.rmtree, folder / "work", ignore_errors=True)
                await asyncio.to_thread(shutil.rmtree, folder / "home", ignore_errors=True)
            await asyncio.to_thread(_write, folder / "result.json", result)
            return result

    async def _build(self, request: BuildRequested, folder: Path, log: BuildLog, progress: Progress) -> BuildResult:
        began_s = self._clock.monotonic()
        work, home = folder / "work", folder / "home"
        await asyncio.to_thread(_clear, work, home)
        steps, of = len(request.commands), len(request.commands) + (1 if request.artifact_files else 0)

        def failed(reason: str) -> BuildResult:
            log.line(reason)
            return BuildResult(succeeded=False, reason=reason, log_tail=log.tail(self._settings.event_tail_bytes))

        log.line(f"{request.repository} at {request.commit}")
        try:
            await self._repositories.checkout(request.repository, request.commit, work)
        except git.GitError as error:
            return failed(f"the working copy cannot be made: {error}")
        env = commandline.environment(
            request.action_execution,
            home,
            SIXFOLD_PIPELINE=request.pipeline,
            SIXFOLD_EXECUTION=request.execution,
            SIXFOLD_REPOSITORY=request.repository,
            SIXFOLD_BRANCH=request.ref.removeprefix("refs/heads/"),
            SIXFOLD_COMMIT=request.commit,
        )
        for number, command in enumerate(request.commands, 1):
            await progress(number, of, command)
            log.line(f"[{number}/{steps}] {command}")
            left_s = request.timeout_s - (self._clock.monotonic() - began_s)
            what = f"command {number} of {steps} ({_short(command)})"
            try:
                code = await commandline.run(
                    command, work, env, log, timeout_s=max(0.0, left_s), grace_s=self._settings.grace_s
                )
            except commandline.CommandTimeoutError:
                return failed(f"{what} was ended: the build took more than timeout_s: {request.timeout_s}")
            if code:
                how = f"exit code {code}" if code > 0 else f"signal {-code}"
                return failed(f"{what} ended with {how}")
        took_s = self._clock.monotonic() - began_s
        summary = f"{steps} command{'s' * (steps != 1)} in {took_s:.1f} s"
        if not request.artifact_files:
            log.line(summary)
            return BuildResult(succeeded=True, summary=summary)
        await progress(of, of, f"packing {request.artifact_base}")
        try:
            digest, files, size = await self._pack(request, work, home / "artifact.tar.gz")
        except (artifact.ArtifactError, objects.ObjectError) as error:
            return failed(str(error))
        summary += f"; {files} file{'s' * (files != 1)}, {size / 1024:.0f} KiB packed"
        log.line(f"{summary}, sha256 {digest}")
        return BuildResult(succeeded=True, summary=summary, artifact=digest)

    async def _pack(self, request: BuildRequested, work: Path, target: Path) -> tuple[str, int, int]:
        settings = self._settings
        files = await asyncio.to_thread(
            artifact.pack,
            work,
            request.artifact_base,
            request.artifact_files,
            target,
            bytes_max=settings.artifact_bytes_max,
            files_max=settings.artifact_files_max,
        )
        digest = await self._store.put(target)
        return digest, files, await self._store.size(digest)

    @contextlib.asynccontextmanager
    async def _locked(self, path: Path) -> AsyncIterator[None]:
        """Wait until no other process carries the action out; the lock dies with its process."""
        with await asyncio.to_thread(path.open, "ab") as file:
            while True:
                try:
                    fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    await self._clock.sleep(LOCK_POLL_S)
            yield


def action_folder(data_dir: Path, action_execution: str) -> Path:
    """Where an action execution's log and result lie. Raises UsageError for what is no action execution's id."""
    execution = action_execution.rsplit(".", 3)[0]
    if not (_FOLDER.fullmatch(action_execution) and execution.strip(".")):
        raise errors.UsageError(
            f"{action_execution[:100]!r} is no action execution; `sixfold pipeline show` names them"
        )
    return data_dir / "pipeline" / execution / action_execution


async def open_builder(process: Process) -> Builder:
    """This process's builder: `await ctx.resource(builder.open_builder)` in a handler."""
    store = await process.resources.get(objects.open_objects)
    return Builder(process.data_dir, store, process.clock)


def _short(command: str) -> str:
    first, _, rest = command.strip().partition("\n")
    return first[:120] + (" …" if rest or len(first) > 120 else "")


def _clear(work: Path, home: Path) -> None:
    for each in (work, home):
        shutil.rmtree(each, ignore_errors=True)
    (home / "tmp").mkdir(parents=True)


def _read(path: Path) -> BuildResult | None:
    try:
        return msgspec.json.decode(path.read_bytes(), type=BuildResult)
    except FileNotFoundError:
        return None


def _write(path: Path, result: BuildResult) -> None:
    partial = path.with_suffix(".partial")
    with partial.open("wb") as file:
        file.write(msgspec.json.encode(result))
        file.flush()
        os.fsync(file.fileno())
    partial.replace(path)
    objects.sync_folder(path.parent)
