"""A circuit breaker: stops calling a handler while what it depends on is down. Pure: no clock, no task.

========== ============================== =========== ==========================================================
state      what happened                  becomes     and
========== ============================== =========== ==========================================================
CLOSED     the n-th failure in a row      OPEN        no call begins for `pause_s`
CLOSED     a success                      CLOSED      the count begins again
OPEN       `pause_s` is over              HALF_OPEN   one call is let through as a trial
HALF_OPEN  the trial succeeds             CLOSED      the next pause is `pause_s` again
HALF_OPEN  the trial fails                OPEN        the next pause is twice as long, `pause_max_s` at most
========== ============================== =========== ==========================================================

Calls that were under way when it opened may still end: their failures change nothing, a success closes it. Source of
the pattern: M. Nygard, "Release It!" (2007), chapter 5.2.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from sixfold import errors


@dataclass(frozen=True, kw_only=True)
class Breaker:
    """When a function takes a dependency for down, and for how long it then leaves it in peace.

    While it is open the function's partitions are paused and no attempt is spent; records wait, in order.
    """

    failures: int = 5
    """So many failed attempts in a row open it."""
    pause_s: float = 5.0
    """How long no handler is called after it opened; doubles with each trial that fails."""
    pause_max_s: float = 300.0
    on: tuple[type[BaseException], ...] = (errors.TemporaryError, OSError, TimeoutError)
    """Failures that say something of a dependency. Others neither open nor close it."""


class State(enum.Enum):
    """What a circuit does with the next call."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half-open"


class Circuit:
    """One function's breaker at work. Times are seconds of any one monotonic clock."""

    def __init__(self, breaker: Breaker) -> None:
        self._breaker = breaker
        self._failures = 0
        self._pause_s = breaker.pause_s
        self._trial = False
        self.state = State.CLOSED
        self.until_s = 0.0
        """While OPEN: when the trial may begin."""
        self.opened = 0
        """How often it opened."""

    def may_call(self, now_s: float) -> bool:
        """Whether a call may begin now; while half open just one may, the trial."""
        if self.state is State.OPEN and now_s >= self.until_s:
            self.state, self._trial = State.HALF_OPEN, False
        if self.state is State.HALF_OPEN and not self._trial:
            self._trial = True
            return True
        return self.state is State.CLOSED

    def unused(self) -> None:
        """No call was made after all, as for a record that a filter keeps away: the next one may be the trial."""
        self._trial = False

    def ended(self, error: BaseException | None, now_s: float) -> bool:
        """A call ended, with `error` or well; True where that changed the state."""
        if error is None:
            self._failures = 0
            changed = self.state is not State.CLOSED
            self.state, self._pause_s = State.CLOSED, self._breaker.pause_s
            return changed
        if not isinstance(error, self._breaker.on):
            if self.state is State.HALF_OPEN:
                self._trial = False  # it told nothing: the next call is the trial
            return False
        self._failures += 1
        if self.state is State.HALF_OPEN:
            self._open(now_s)
            return True
        if self.state is State.CLOSED and self._failures >= self._breaker.failures:
            self._open(now_s)
            return True
        return False

    def _open(self, now_s: float) -> None:
        self.state, self.until_s = State.OPEN, now_s + self._pause_s
        self._pause_s = min(self._pause_s * 2, self._breaker.pause_max_s)
        self._failures = 0
        self.opened += 1
