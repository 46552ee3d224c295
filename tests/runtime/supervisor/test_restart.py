"""What becomes of a process is a table, and restarts wait longer and longer."""

from __future__ import annotations

import random

import pytest

from sixfold.supervisor import restart
from sixfold.supervisor.restart import Doing, Happening, Policy, State
from sixfold.worker import limits

S, H, D = State, Happening, Doing

LIVES = [
    ("it starts, is asked to stop, and ends", [H.START, H.READY, H.STOP, H.EXITED], S.STOPPED, [D.SPAWN, D.TERMINATE]),
    (
        "it crashes and comes back",
        [H.START, H.READY, H.EXITED, H.DUE, H.READY],
        S.RUNNING,
        [D.SPAWN, D.SCHEDULE, D.SPAWN],
    ),
    ("it crashes before it is ready", [H.START, H.EXITED], S.WAITING, [D.SPAWN, D.SCHEDULE]),
    ("it is stopped while it waits", [H.START, H.EXITED, H.STOP], S.STOPPED, [D.SPAWN, D.SCHEDULE, D.CANCEL]),
    ("it is started while it waits", [H.START, H.EXITED, H.START], S.STARTING, [D.SPAWN, D.SCHEDULE, D.SPAWN]),
    ("it is stopped before it is ready", [H.START, H.STOP, H.READY, H.EXITED], S.STOPPED, [D.SPAWN, D.TERMINATE]),
    ("it is asked twice", [H.START, H.START, H.READY, H.STOP, H.STOP], S.STOPPING, [D.SPAWN, D.TERMINATE]),
    ("it is stopped before it ever ran", [H.STOP], S.STOPPED, []),
]


@pytest.mark.parametrize(("life", "happenings", "end", "doings"), LIVES, ids=[life[0] for life in LIVES])
def test_a_process_lives_by_the_table(life: str, happenings: list[Happening], end: State, doings: list[Doing]) -> None:
    """Each life ends in its state, with what the supervisor had to do."""
    state, done = State.STOPPED, []
    for happening in happenings:
        state, doing = restart.step(state, happening)
        done += [doing] if doing is not Doing.NOTHING else []
    assert (state, done) == (end, doings), life


def test_restarts_wait_longer_and_longer_up_to_a_limit() -> None:
    """The wait doubles with each crash in a row, stays within its jitter, and never passes the limit's."""
    policy, rng = Policy(backoff_s=0.2, backoff_max_s=30.0, jitter=0.2), random.Random(6)
    waits = [restart.delay_s(policy, failures, rng) for failures in range(1, 2000)]
    for failures, wait in enumerate(waits, start=1):
        expected = min(30.0, 0.2 * 2 ** min(failures - 1, 30))
        assert 0.8 * expected <= wait <= 1.2 * expected
    assert len({round(wait, 6) for wait in waits[20:]}) > 1000


def test_whoever_ran_steadily_begins_again_at_the_shortest_wait() -> None:
    """Crashes count in a row; one after a long run is the first."""
    policy = Policy(steady_s=30.0)
    assert restart.failures_after(policy, 5, ran_s=1.0) == 6
    assert restart.failures_after(policy, 5, ran_s=30.0) == 1


def test_a_process_is_not_killed_while_its_workers_still_may_let_go() -> None:
    """SIGKILL comes after all the time that a worker's own deadlines add up to."""
    assert Policy().stop_s > limits.DEFAULT.stop_s >= limits.DEFAULT.drain_s
