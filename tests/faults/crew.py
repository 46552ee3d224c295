"""All processes of a run: six copies, writers, the tracker, clients. Started again when they end, as a supervisor does."""

from __future__ import annotations

import asyncio
import collections
import contextlib
import dataclasses
import os
import signal
import sys
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

from tests.support.checkout import ROOT

from sixfold import clock as clocks
from sixfold_functions.volume.core import layout

LOOK_S = 0.2
AGAIN_S = (0.5, 8.0)
"""Between the end of a process and its next start: twice as long each time, at most so long, until one runs longer than that."""
STOP_S = 60.0
WRITERS = ("writer1", "writer2")
"""Names; one of them is at work at a time, or both where one does not know yet that it was followed."""
TRACKER = "tracker"
CLIENTS = ("clients1", "clients2")
BROKEN_CLIENTS = dict(zip(CLIENTS, ("stale-reads", "torn-transactions"), strict=True))
"""What each does wrong where clients are to be broken on purpose."""


@dataclasses.dataclass(frozen=True)
class Ended:
    """A process that ended by itself."""

    name: str
    code: int
    last_words: str


class Crew:
    """Starts processes and sees to it that those that are wanted run."""

    def __init__(
        self,
        data_dir: Path,
        bus_url: str,
        *,
        history: Path,
        seed: str,
        clock: clocks.Clock,
        mutation: str = "",
        broken_clients: bool = False,
        enter: Callable[[str], Sequence[str]] = lambda zone: (),
    ) -> None:
        self._data_dir = data_dir
        self._bus_url = bus_url
        self._history = history
        self._seed = seed
        self._clock = clock
        self._sixfold = ("-m", "tests.faults.broken", mutation) if mutation else ("-m", "sixfold")
        self._broken_clients = broken_clients
        self._enter = enter
        self._running: dict[str, asyncio.subprocess.Process] = {}
        self._starts: collections.Counter[str] = collections.Counter()
        self._held: collections.Counter[str] = collections.Counter()
        """Processes that a fault keeps from starting, by how many faults do."""
        self._wanted: dict[str, None] = {}
        self._started_s: dict[str, float] = {}
        self._next_s: dict[str, float] = {}
        """When one that ended by itself may start again."""
        self._waits_s: dict[str, float] = {}
        self._task: asyncio.Task[None] | None = None
        self._starting = asyncio.Lock()
        """No process is begun while another one is ended: it would not be found."""
        self.ended: list[Ended] = []

    def command(self, name: str) -> list[str]:
        """How the process `name` is started."""
        python = [sys.executable]
        place = ["--data-dir", str(self._data_dir), "--bus", self._bus_url]
        if name in layout.COPIES:
            zone = next(place.zone for place in layout.PLACES if place.copy == name)
            return [*self._enter(zone), *python, *self._sixfold, *place, "run", "volume.storage", "--copy", name]
        if name in WRITERS:
            # Two of one name do not run on one data folder; with its volume named the second has another name.
            words = ["--volume", layout.DEFAULT_VOLUME] if name == WRITERS[1] else []
            return [*python, *self._sixfold, *place, "run", "volume.writer", *words]
        if name == TRACKER:
            # By its module it needs no topics of other capabilities, which a killed broker would have to recover.
            return [*python, *self._sixfold, *place, "run", "sixfold_functions.volume.handler:track"]
        words = ["--name", f"{name}-{self._starts[name]}", "--seed", self._seed, "--history", str(self._history)]
        words += ["--broken", BROKEN_CLIENTS[name]] if self._broken_clients else []
        return [*python, "-m", "tests.faults.clients", *place, *words]

    async def open(self) -> None:
        """Start all but the second writer. The tracker comes first: on the embedded bus it then owns the log."""
        for name in (TRACKER, *layout.COPIES, WRITERS[0], *CLIENTS):
            self._wanted[name] = None
            await self._start(name)
        self._task = asyncio.create_task(self._look_after(), name="crew")

    async def close(self) -> None:
        """Kill whatever still runs."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        for process in self._running.values():
            with contextlib.suppress(ProcessLookupError):
                process.kill()
        await asyncio.gather(*(process.wait() for process in self._running.values()))

    def log_path(self, name: str) -> Path:
        """What a process printed, over all its starts."""
        return self._data_dir / "logs" / f"{name}.log"

    async def _start(self, name: str) -> None:
        self._starts[name] += 1
        self._started_s[name] = self._clock.monotonic()
        path = self.log_path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as log:
            self._running[name] = await asyncio.create_subprocess_exec(
                *self.command(name),
                cwd=ROOT,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,  # Ctrl-C is for the runner
            )

    async def _look_after(self) -> None:
        while True:
            await self._clock.sleep(LOOK_S)
            for name in [name for name, process in self._running.items() if process.returncode is not None]:
                process = self._running.pop(name)
                self.ended.append(Ended(name, process.returncode or 0, self._last_words(name)))
                self._wait(name)
                if name in WRITERS and any(self.runs(other) for other in WRITERS):
                    self._wanted.pop(name, None)  # it was followed
            for name in list(self._wanted):
                async with self._starting:
                    if self._is_due(name):
                        await self._start(name)

    def _wait(self, name: str) -> None:
        """A process that ends again and again, as while the bus is away, must not take the machine's time from the others."""
        now = self._clock.monotonic()
        first, longest = AGAIN_S
        ran = now - self._started_s[name] > longest
        self._waits_s[name] = first if ran else min(2 * self._waits_s.get(name, first / 2), longest)
        self._next_s[name] = now + self._waits_s[name]

    def _is_due(self, name: str) -> bool:
        wanted = name in self._wanted and name not in self._running and not self._held[name]
        return wanted and self._clock.monotonic() >= self._next_s.get(name, 0.0)

    def _last_words(self, name: str) -> str:
        lines = self.log_path(name).read_text(errors="replace").splitlines()
        return lines[-1].strip()[:300] if lines else ""

    # -- what happens to them --------------------------------------------------------------------------------------

    def runs(self, name: str) -> bool:
        """Whether it runs, or is paused."""
        process = self._running.get(name)
        return process is not None and process.returncode is None

    def names(self) -> list[str]:
        """All that run."""
        return [name for name in self._running if self.runs(name)]

    def pid_of(self, name: str) -> int:
        """Its process."""
        return self._running[name].pid

    def name_of(self, pid: int) -> str | None:
        """Whose process that is."""
        return next((name for name, process in self._running.items() if process.pid == pid), None)

    def hold(self, names: Iterable[str]) -> None:
        """Do not start these again until `release`."""
        self._held.update(names)

    def release(self, names: Iterable[str]) -> None:
        """Start them again, unless another fault holds them."""
        self._held.subtract(names)

    def send(self, names: Iterable[str], how: signal.Signals) -> None:
        """Send it to those that run."""
        for name in names:
            if self.runs(name):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(self.pid_of(name), how)

    async def end(self, names: Iterable[str], how: signal.Signals) -> None:
        """Send `how` and wait until they are gone; what does not go is killed. They do not count as ended by themselves."""
        async with self._starting:
            ending = {name: self._running.pop(name) for name in names if name in self._running}
        for process in ending.values():
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(how)
                process.send_signal(signal.SIGCONT)  # one that is paused takes a kill, and nothing else
        for name, process in ending.items():
            try:
                async with asyncio.timeout(STOP_S):
                    await process.wait()
            except TimeoutError:
                process.kill()
                await process.wait()
                self.ended.append(Ended(name, process.returncode or 0, f"did not end {STOP_S:g} s after {how.name}"))

    def writers(self) -> list[str]:
        """Those at work."""
        return [name for name in WRITERS if name in self._wanted]

    async def follow(self) -> str | None:
        """Start the writer that is not at work, as the successor of the one that is. Its name, None if both are."""
        successor = next((name for name in WRITERS if name not in self._wanted), None)
        if successor is not None:
            self._wanted[successor] = None
            async with self._starting:
                await self._start(successor)
        return successor

    async def dismiss(self, names: Iterable[str]) -> None:
        """Tell them to end, for good."""
        names = list(names)
        for name in names:
            self._wanted.pop(name, None)
        await self.end(names, signal.SIGTERM)
