"""How often the consumers of one bus ask brokers for nothing.

Each consumer asks for itself, and an answer without a record costs as much as one with some: fifty idle functions that ask
four times a second, and send a heartbeat twice, take an eighth of a core. So consumers that are many ask more seldom. A
record that comes ends a fetch at once, however long it may wait; what resumes or seeks a partition waits for the one that
is under way.
"""

from __future__ import annotations

from typing import Any

EACH_MS = 25
"""A bus makes forty empty fetches a second and broker at most, until `MAX_MS` is reached."""
MAX_MS = 1_000
BEAT_S = 0.02
"""And fifty heartbeats a second, until `BEAT_MAX_S` is reached: groups know a member for several times as long."""
BEAT_MAX_S = 2.0


class Patience:
    """Tells the fetchers of aiokafka's consumers how long to wait."""

    def __init__(self, wait_ms: int) -> None:
        """`wait_ms` is for a few consumers."""
        self._wait_ms = wait_ms
        self._fetchers: list[Any] = []

    def add(self, fetcher: Any) -> None:
        """A consumer was opened."""
        self._fetchers.append(fetcher)
        self._tell()

    def remove(self, fetcher: Any) -> None:
        """A consumer is closed; nothing happens where it was not added."""
        if fetcher in self._fetchers:
            self._fetchers.remove(fetcher)
            self._tell()

    @property
    def beat_s(self) -> float:
        """The least time between a consumer's heartbeats."""
        return min(BEAT_S * len(self._fetchers), BEAT_MAX_S)

    def _tell(self) -> None:
        wait_ms = max(self._wait_ms, min(EACH_MS * len(self._fetchers), MAX_MS))
        for fetcher in self._fetchers:
            fetcher._fetch_max_wait_ms = wait_ms
