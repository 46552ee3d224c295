"""Judges whether a worker is stuck: it has work, the bus answers, and nothing moves. Pure: no clock, no task.

`Worker.stuck` looks at itself and asks this; `running.py` then starts a new worker. What is counted are looks, not
seconds: a machine that slept, or an event loop that was held up, lets no look pass, so it accuses nobody.

Not stuck is who waits for something that comes: a handler within its time limit, the time of a retry or of a batch's
window, a circuit breaker's pause, a bus that is away or whose disk is full. A fetch that does not come back is stuck
whatever waits beside it, since nothing new would ever arrive.
"""

from __future__ import annotations

from typing import NamedTuple

from sixfold import errors

LOOKS = 4
"""Looks at which nothing had moved, the first included, until a worker counts as stuck."""
JOINING_LOOKS = 12
"""As many while it joins its group: a rebalance may wait for the slowest member, and tables are restored then."""


class StuckError(errors.SixfoldError):
    """A worker has work and does none. Its message says what was seen."""


class Sight(NamedTuple):
    """What a worker shows of itself at one look."""

    joined: bool
    """It is a member of its group."""
    fetches: int
    """Fetches that came back, well or not."""
    moved: tuple[int, ...]
    """Counts that change when a record is taken in, tried, done or settled, or a partition comes or goes."""
    waits: bool
    """What it has waits for something that comes; see above."""
    backlog: int
    """Records fetched and not done."""
    settling: bool
    """Results wait to be settled."""


class Watchdog:
    """Looks at one worker, again and again."""

    def __init__(self) -> None:
        self._last: Sight | None = None
        self._still = 0
        self._hanging = 0

    def look(self, sight: Sight) -> str:
        """What did not move since the last look, in words; empty where all is well. Ask the bus then: `confirm`."""
        last, self._last = self._last, sight
        if last is None or not (last.joined or sight.joined):
            self._hanging = self._hanging + 1 if last is not None else 0
            return "" if last is None else "joining the group does not come to an end"
        hanging = last.joined and sight.fetches == last.fetches
        self._hanging = self._hanging + 1 if hanging else 0
        still = sight.moved == last.moved and not sight.waits
        self._still = self._still + 1 if still else 0
        if hanging:
            return "a fetch does not come back"
        return "nothing moves" if still else ""

    def confirm(self, *, lag: int, answers: bool) -> bool:
        """Whether that is stuck by now: `lag` is what lies on the bus for this worker, `answers` whether that said so."""
        sight = self._last
        if sight is None or not answers:
            self._still = self._hanging = 0
            return False
        if not (lag or sight.backlog or sight.settling):
            self._still = 0
        if not sight.joined:
            return self._hanging >= JOINING_LOOKS
        return self._hanging >= LOOKS or self._still >= LOOKS
