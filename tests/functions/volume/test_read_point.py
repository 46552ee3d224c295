"""Reading at a read point: from one copy that holds all of it, never less than what is durable."""

from __future__ import annotations

from typing import Any, cast

import pytest
from tests.functions.volume.making import E1, ack

from sixfold import catalogue, errors
from sixfold.bus import port
from sixfold_events.volume import VolumeDurableAdvanced, VolumeReadAnswered
from sixfold_functions.volume import reader as readers
from sixfold_functions.volume.client import VolumeClient


class Copies:
    """Copies that hold records up to their LSNs; those in `lost` have nothing any more when they are read."""

    def __init__(self, held: dict[str, int], lost: tuple[str, ...] = ()) -> None:
        self._held = held
        self._lost = lost
        self.read_from: list[str] = []

    def _answer(self, copy: str, **more: Any) -> VolumeReadAnswered:
        return VolumeReadAnswered(
            volume="default", copy=copy, request_id="", status=ack(copy, self._held[copy]), **more
        )

    async def ask_all(self, copies: list[str] | None = None, *, timeout_s: float) -> dict[str, VolumeReadAnswered]:
        return {copy: self._answer(copy) for copy in self._held if copies is None or copy in copies}

    async def ask(self, copy: str, *, from_lsn: int, count: int, **_: Any) -> VolumeReadAnswered:
        self.read_from.append(copy)
        last_lsn = 0 if copy in self._lost else min(self._held[copy], from_lsn + count - 1)
        found = [b"%d" % lsn for lsn in range(from_lsn, last_lsn + 1)]
        return self._answer(copy, payloads=found[:4])  # as much as one answer holds


def client(copies: Copies) -> VolumeClient:
    """A client that asks these copies."""
    made = VolumeClient(cast("port.Bus", FakeBus()), registry=catalogue.installed().registry)
    made._reader = copies  # type: ignore[assignment]
    return made


class FakeBus:
    """Nothing is read from it."""

    def assign(self, partitions: Any, **_: Any) -> None:
        return None


LEVEL = {"a1": 3, "a2": 10, "b1": 10, "b2": 10, "c1": 12}


async def test_all_comes_from_one_copy_that_holds_the_read_point() -> None:
    """Four copies have LSN 10, so it is durable; the one that has less is never asked for records."""
    copies = Copies(LEVEL)
    found = await client(copies).read(1, 100)
    assert found.payloads == [b"%d" % lsn for lsn in range(1, 11)]
    assert set(copies.read_from) == {"a2"}


async def test_a_copy_that_lost_what_it_had_is_followed_by_the_next_and_answers_nothing_short() -> None:
    """It is asked once, and nothing of what it gave is kept."""
    copies = Copies(LEVEL, lost=("a2",))
    found = await client(copies).read(1, 100)
    assert found.payloads == [b"%d" % lsn for lsn in range(1, 11)]
    assert copies.read_from[0] == "a2"
    assert "a1" not in copies.read_from


async def test_where_no_copy_holds_the_read_point_that_is_an_error_and_what_is_there_can_be_read() -> None:
    """What is durable was announced, but the copies that have it are down."""
    made = client(Copies({"a1": 3, "a2": 7}))
    made._announced = VolumeDurableAdvanced(volume="default", epoch=E1, durable_lsn=10, append_offset=0)
    with pytest.raises(readers.CopyUnreachableError) as unreachable:
        await made.read(1, 100)
    assert "LSN 10 is durable, but none of the copies that answer (zone a: a1, a2; zone b: none; zone c: none)" in str(
        unreachable.value
    )
    assert "a2 has most, up to LSN 7" in str(unreachable.value)
    assert len((await made.read(1, 7)).payloads) == 7, "all that is asked for is there"
    assert len((await made.read(1, 100, copy="a1")).payloads) == 3


async def test_nobody_answers() -> None:
    """The message says what to start."""
    with pytest.raises(
        readers.CopyUnreachableError, match="none of its copies answers; start it: sixfold volume start all"
    ):
        await client(Copies({})).read(1, 1)


async def test_a_copy_that_is_no_member_is_not_asked() -> None:
    """The message says which ones there are."""
    copies = Copies(LEVEL)
    with pytest.raises(errors.UsageError, match="'d1' is no copy of volume default; expected one of a1, a2, b1"):
        await client(copies).read(1, 1, copy="d1")
    assert copies.read_from == []
