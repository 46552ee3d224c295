"""Who is stuck and who only waits, as a table of looks."""

from __future__ import annotations

import dataclasses

from sixfold.worker.watchdog import JOINING_LOOKS, LOOKS, Sight, Watchdog

SIGHT = Sight(joined=True, fetches=1, moved=(1, 1), waits=False, backlog=0, settling=False)


@dataclasses.dataclass
class Looks:
    """A watchdog that is shown one sight after the other."""

    dog: Watchdog = dataclasses.field(default_factory=Watchdog)

    def stuck(self, *sights: Sight, lag: int = 1, answers: bool = True) -> bool:
        """Whether one of `sights` was too much."""
        stuck = False
        for each in sights:
            stuck |= bool(self.dog.look(each)) and self.dog.confirm(lag=lag, answers=answers)
        return stuck


def fetching(count: int, **fields: object) -> list[Sight]:
    """So many sights of a worker whose fetches come back."""
    return [SIGHT._replace(fetches=n, **fields) for n in range(count)]  # type: ignore[arg-type]


def test_a_worker_with_work_that_moves_nothing_is_stuck_at_the_last_look_and_not_before() -> None:
    """Records to fetch, fetched ones, and results to settle are work."""
    assert not Looks().stuck(*fetching(LOOKS))
    assert Looks().stuck(*fetching(LOOKS + 1))
    assert Looks().stuck(*fetching(LOOKS + 1, backlog=1), lag=0)
    assert Looks().stuck(*fetching(LOOKS + 1, settling=True), lag=0)


def test_a_worker_without_work_is_idle() -> None:
    """However long nothing comes; and what has just come is given all its time."""
    looks = Looks()
    assert not looks.stuck(*fetching(100), lag=0)
    assert not looks.stuck(*fetching(LOOKS - 1))


def test_a_fetch_that_does_not_come_back_is_stuck_whatever_else_waits() -> None:
    """Nothing new would ever arrive."""
    assert Looks().stuck(*[SIGHT._replace(waits=True)] * (LOOKS + 1), lag=0)
    assert not Looks().stuck(*fetching(100, waits=True))


def test_any_movement_begins_the_count_again() -> None:
    """A slow worker is no stuck one."""
    assert not Looks().stuck(*(SIGHT._replace(fetches=n, moved=(n // LOOKS, 0)) for n in range(100)))


def test_where_the_bus_does_not_answer_nobody_is_stuck() -> None:
    """A restart would not bring it back."""
    assert not Looks().stuck(*[SIGHT] * 100, answers=False)


def test_joining_may_take_longer_but_not_for_ever() -> None:
    """A rebalance waits for its slowest member."""
    joining = SIGHT._replace(joined=False, fetches=0)
    assert not Looks().stuck(*[joining] * JOINING_LOOKS, lag=0)
    assert Looks().stuck(*[joining] * (JOINING_LOOKS + 1), lag=0)
