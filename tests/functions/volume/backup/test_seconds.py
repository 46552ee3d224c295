"""Ten minutes of a volume, restored at every second and compared with a plain model. Time is held in hand."""

from __future__ import annotations

import asyncio

from tests.simulation.minutes import Minutes

from sixfold_functions.volume.backup import moments
from sixfold_functions.volume.core import layout

SECONDS = 600


async def test_every_second_of_ten_minutes_is_restored_as_it_was() -> None:
    """Through real copies, the backup's objects and their merging; every 30 seconds a copy of a new volume is made."""
    lived = Minutes()
    begun_ms = int(lived.world.clock.seconds * 1000)
    await _live(lived, SECONDS)
    end_ms = int(lived.world.clock.seconds * 1000)
    assert end_ms - begun_ms >= SECONDS * 1000
    assert end_ms - lived.kept.latest_ms < 10_000
    assert {piece.level for piece in lived.kept.chain.pieces} >= {0, 1}
    assert await _compared(lived) > SECONDS - 10
    assert len(lived.model) > 1_000
    assert len({copy.node.epoch for copy in lived.world.copies.values()}) == 1
    assert len(layout.COPIES) == len(lived.world.copies)


async def test_every_second_of_a_window_of_pages_is_restored_while_what_is_older_goes() -> None:
    """Snapshots are made and older objects deleted while the volume lives; five minutes are promised and compared."""
    lived = Minutes(holds_pages=True, window_s=SECONDS // 2)
    await _live(lived, SECONDS)
    assert lived.collected > 3
    assert len(lived.kept.snapshots) > 5
    assert await _compared(lived) >= SECONDS // 2 - 1
    assert lived.kept.chain.base is not None


async def _live(lived: Minutes, seconds: int) -> None:
    for number in range(seconds):
        lived.second(number)
        await asyncio.sleep(0)


async def _compared(lived: Minutes) -> int:
    """How many seconds were; each of them was right."""
    compared = 0
    for at_ms, right in lived.compared(lived.moments()):
        assert right, moments.text(at_ms)
        compared += 1
        await asyncio.sleep(0)
    return compared


async def test_a_second_that_is_not_as_it_was_is_told() -> None:
    """So the other tests, and the figure that `make bench-volume` prints, mean something."""
    for holds_pages in (False, True):
        lived = Minutes(holds_pages=holds_pages)
        await _live(lived, 60)
        stamp, _ = lived.model.pop(-10)
        told = dict(lived.compared(lived.moments()))
        assert any(at_ms >= stamp for at_ms in told)
        assert all(right is (at_ms < stamp) for at_ms, right in told.items())
