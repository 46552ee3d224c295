"""How far clients are: what their history says so far, read on from where it was read last."""

from __future__ import annotations

import collections
from collections.abc import Iterable
from pathlib import Path

import msgspec
from tests.history.recording import Event

from sixfold import clock as clocks


class Progress:
    """Follows a history while it is written."""

    def __init__(self, history: Path, clock: clocks.Clock) -> None:
        self._history = history
        self._clock = clock
        self._offset = 0
        self._since_ns = 0
        self._asked: dict[str, int] = {}
        """When each lane began what it is at."""
        self._starts: dict[str, int] = {}
        """The newest start of each client process; lanes of earlier ones are gone."""
        self._lanes: dict[str, dict[str, bool]] = {}
        """Whether a lane asked something since the mark, and had its answer."""
        self.counts: collections.Counter[str] = collections.Counter()
        """Events by type."""

    def mark(self) -> None:
        """From now on only answers count to questions that come now."""
        self._read_on()
        self._since_ns = int(self._clock.monotonic() * 1e9)
        self._lanes = {name: dict.fromkeys(lanes, False) for name, lanes in self._lanes.items()}

    def anybody(self) -> bool:
        """Whether any lane had an answer since the mark."""
        self._read_on()
        return any(any(lanes.values()) for lanes in self._lanes.values())

    def everybody(self, names: Iterable[str]) -> bool:
        """Whether all lanes of these processes, as they run now, had one."""
        self._read_on()
        return all(self._lanes.get(name) and all(self._lanes[name].values()) for name in names)

    def _read_on(self) -> None:
        if not self._history.exists():
            return
        with self._history.open("rb") as file:
            file.seek(self._offset)
            data = file.read()
        whole = data[: data.rfind(b"\n") + 1]
        self._offset += len(whole)
        for line in whole.splitlines():
            self._take(msgspec.json.decode(line, type=Event))

    def _take(self, event: Event) -> None:
        self.counts[event.type] += 1
        process, _, lane = event.process.partition(".")
        name, _, start = process.rpartition("-")
        if int(start) > self._starts.get(name, 0):
            self._starts[name], self._lanes[name] = int(start), {}
        if int(start) < self._starts[name]:
            return
        if event.type == "invoke":
            self._asked[event.process] = event.at_ns
        answered = event.type == "ok" and self._asked.get(event.process, 0) > self._since_ns
        self._lanes[name][lane] = self._lanes[name].get(lane, False) or answered
