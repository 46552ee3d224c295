"""`sixfold run --reload`: the functions as a process of their own, started anew when a source file changes.

A process anew, since Python cannot unload what a module left behind. Files are looked at once a second, in a thread;
that needs no library, and works on every kind of disk. A file that does not compile is told, and what runs goes on;
where the start itself fails, the next change is waited for.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib.util
import os
import signal
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from sixfold import clock as clocks
from sixfold import errors as failures
from sixfold.cli import common, references

SETTLE_S = 0.1
"""Without a change for so long, what was changed is whole."""
POLL_S = 1.0
FILES_MAX = 5_000
"""More in one tree are somebody's whole disk."""
PASSED_OVER = frozenset({"node_modules", "__pycache__", "site-packages"})


def roots_of(names: Iterable[str]) -> list[Path]:
    """The folders of the sources that references name. Raises UsageError where one is no reference of the user's own."""
    found: dict[Path, None] = {}
    for name in names:
        if not references.is_reference(name):
            raise failures.UsageError(
                f"--reload watches your own code, and {name} is installed; name FILE.py or MODULE:ATTRIBUTE"
            )
        place = name.partition(":")[0]
        if place.endswith(".py"):
            found[Path(place).absolute().parent] = None
            continue
        with contextlib.suppress(ImportError, ValueError):
            spec = importlib.util.find_spec(place.partition(".")[0])
            if spec is not None and spec.origin is not None:
                found[Path(spec.origin).parent] = None
    if not found:
        raise failures.UsageError("--reload has nothing to watch; name FILE.py or MODULE:ATTRIBUTE")
    return list(found)


class Watch:
    """The Python files below some folders."""

    def __init__(self, roots: Sequence[Path]) -> None:
        self._roots = roots
        self._known = self._look()

    def changed(self) -> list[Path]:
        """Files that were changed, made or taken away since the last look. Raises UsageError above `FILES_MAX`."""
        before, self._known = self._known, self._look()
        return sorted(path for path in {*before, *self._known} if before.get(path) != self._known.get(path))

    def _look(self) -> dict[Path, tuple[int, int, int]]:
        found: dict[Path, tuple[int, int, int]] = {}
        for path in self._files():
            with contextlib.suppress(OSError):  # it went meanwhile
                stat = path.stat()
                found[path] = (stat.st_mtime_ns, stat.st_size, stat.st_ino)
            if len(found) > FILES_MAX:
                raise failures.UsageError(
                    f"--reload: there are more than {FILES_MAX:,} Python files below {path.parent}; give your code a folder"
                )
        return found

    def _files(self) -> Iterator[Path]:
        for root in self._roots:
            for folder, folders, names in os.walk(root):
                folders[:] = [name for name in folders if not name.startswith(".") and name not in PASSED_OVER]
                if "pyvenv.cfg" in names:  # an environment of its own
                    folders.clear()
                    continue
                yield from (Path(folder) / name for name in names if name.endswith(".py"))


def broken(paths: Iterable[Path]) -> str:
    """What is wrong with the first of `paths` that does not compile; empty where all do."""
    for path in paths:
        try:
            compile(path.read_bytes(), str(path), "exec")
        except FileNotFoundError:
            continue
        except (SyntaxError, ValueError, OSError) as error:
            line = f":{error.lineno}" if isinstance(error, SyntaxError) else ""
            return f"{path}{line}: {type(error).__name__}: {getattr(error, 'msg', error)}"
    return ""


async def run(command: Sequence[str], watch: Watch, *, clock: clocks.Clock | None = None) -> int:
    """Run `command` until SIGTERM or SIGINT, anew after each change; returns its last exit code."""
    clock = clock or clocks.SystemClock()
    stopping = asyncio.Event()
    # Cached bytecode is told apart by seconds and size: two edits within a second may look the same.
    environment = {**os.environ, "PYTHONDONTWRITEBYTECODE": "1"}
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stopping.set)
    try:
        while True:
            # In a session of its own: a terminal's Ctrl-C comes to us alone, and the child is asked once.
            child = await asyncio.create_subprocess_exec(*command, start_new_session=True, env=environment)
            try:
                why = await _over(child, watch, stopping, clock)
            finally:
                if child.returncode is None:
                    child.terminate()
                code = await child.wait()
            if not why:
                return 0 if code == -signal.SIGTERM else code  # it was only starting, and ended as we asked
            _say(f"{why}; starting anew")
    finally:
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.remove_signal_handler(number)


async def _over(child: asyncio.subprocess.Process, watch: Watch, stopping: asyncio.Event, clock: clocks.Clock) -> str:
    """Return once the child should start anew, and why; empty to stop."""
    ended = asyncio.create_task(child.wait())
    stop = asyncio.create_task(stopping.wait())
    told = False
    try:
        while True:
            tick = asyncio.ensure_future(clock.sleep(POLL_S))
            await asyncio.wait([tick, stop, *([] if told else [ended])], return_when=asyncio.FIRST_COMPLETED)
            tick.cancel()
            if stop.done():
                return ""
            if ended.done() and not told:
                told = True
                _say(f"the functions ended with exit code {child.returncode}; waiting for a change")
            changed = await asyncio.to_thread(watch.changed)
            if not changed:
                continue
            while True:  # an editor may be at it still: a file that is cut off first and then filled changes twice
                await clock.sleep(SETTLE_S)
                if not (more := await asyncio.to_thread(watch.changed)):
                    break
                changed = list(dict.fromkeys([*changed, *more]))
            if wrong := await asyncio.to_thread(broken, changed):
                _say(f"{wrong}; {'waiting for' if told else 'what runs goes on until'} the next change")
                continue
            others = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
            return f"{changed[0]}{others} changed"
    finally:
        for task in (ended, stop):
            task.cancel()


def _say(text: str) -> None:
    common.errors.print(f"reload: {text}", markup=False, highlight=False, soft_wrap=True)
