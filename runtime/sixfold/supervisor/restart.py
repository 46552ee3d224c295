"""What becomes of a process: a table of states, and how long to wait before a crashed one is started again. Pure."""

from __future__ import annotations

import enum
import random
from dataclasses import dataclass

from sixfold.worker import limits

LEAVE_S = 5.0
"""For what follows when a process's workers have let go: to leave the groups and close what it opened."""


class State(enum.Enum):
    """Where a process is in its life; the values are what `sixfold status` shows."""

    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    WAITING = "waiting"
    """It ended by itself and is started again when its time has come."""


class Happening(enum.Enum):
    """What can happen to it."""

    START = "asked to start"
    READY = "said that it is ready"
    EXITED = "ended"
    FINISHED = "ended for good"
    STOP = "asked to stop"
    DUE = "time to start again"


class Doing(enum.Enum):
    """What the supervisor does about it."""

    NOTHING = "nothing"
    SPAWN = "spawn"
    TERMINATE = "terminate"
    SCHEDULE = "schedule"
    """Start it again after a wait."""
    CANCEL = "cancel"
    """Do not start it again."""


TABLE: dict[tuple[State, Happening], tuple[State, Doing]] = {
    (State.STOPPED, Happening.START): (State.STARTING, Doing.SPAWN),
    (State.STARTING, Happening.READY): (State.RUNNING, Doing.NOTHING),
    (State.STARTING, Happening.EXITED): (State.WAITING, Doing.SCHEDULE),
    (State.STARTING, Happening.FINISHED): (State.STOPPED, Doing.NOTHING),
    (State.STARTING, Happening.STOP): (State.STOPPING, Doing.TERMINATE),
    (State.RUNNING, Happening.EXITED): (State.WAITING, Doing.SCHEDULE),
    (State.RUNNING, Happening.FINISHED): (State.STOPPED, Doing.NOTHING),
    (State.RUNNING, Happening.STOP): (State.STOPPING, Doing.TERMINATE),
    (State.WAITING, Happening.DUE): (State.STARTING, Doing.SPAWN),
    (State.WAITING, Happening.START): (State.STARTING, Doing.SPAWN),
    (State.WAITING, Happening.STOP): (State.STOPPED, Doing.CANCEL),
    (State.STOPPING, Happening.EXITED): (State.STOPPED, Doing.NOTHING),
    (State.STOPPING, Happening.FINISHED): (State.STOPPED, Doing.NOTHING),
}
"""Every change there is; whatever is not listed changes nothing."""


def step(state: State, happening: Happening) -> tuple[State, Doing]:
    """The next state and what to do."""
    return TABLE.get((state, happening), (state, Doing.NOTHING))


@dataclass(frozen=True, kw_only=True)
class Policy:
    """How a process is started, stopped and started again."""

    backoff_s: float = 0.2
    """Wait before the first restart; it doubles with each further one. Short: most crashes are alone."""
    backoff_max_s: float = 30.0
    """The longest wait, so that a mended cause is noticed within half a minute."""
    jitter: float = 0.2
    """Each wait is drawn from the computed one plus or minus this share, so that siblings do not restart in step."""
    steady_s: float = 30.0
    """Whoever ran this long has recovered: the next crash counts as its first."""
    stop_s: float = limits.DEFAULT.stop_s + LEAVE_S
    """Time between the request to end (SIGTERM) and SIGKILL: a worker may use all that it is given to let go."""


def delay_s(policy: Policy, failures: int, rng: random.Random) -> float:
    """How long to wait before the restart that follows the `failures`-th crash in a row (1 and up)."""
    wait = min(policy.backoff_max_s, policy.backoff_s * 2.0 ** min(failures - 1, 30))
    return wait * (1 + policy.jitter * (2 * rng.random() - 1))


def failures_after(policy: Policy, failures: int, ran_s: float) -> int:
    """Crashes in a row, now that one more happened after the process had run `ran_s`."""
    return 1 if ran_s >= policy.steady_s else failures + 1
