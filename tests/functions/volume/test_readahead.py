"""Reading ahead: several answers on their way, given in the order of LSNs, nothing left out."""

from __future__ import annotations

import asyncio
import random

import pytest
from tests.functions.volume.making import ack, batch

from sixfold_events.volume import VolumeReadAnswered, VolumeRedoBatch
from sixfold_functions.volume import answering, readahead

LAST = 3000


class Copies:
    """All have batches of all sizes, and an answer holds 50 records; they answer when they like."""

    def __init__(self, seed: int, *, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(answering, "ANSWER_BYTES_MAX", 300)
        self._rng = random.Random(seed)
        self.batches: list[VolumeRedoBatch] = []
        while not self.batches or self._last(self.batches[-1]) < LAST:
            first = self._last(self.batches[-1]) + 1 if self.batches else 1
            self.batches.append(batch(first, min(first + self._rng.choice((1, 3, 20, 45)) - 1, LAST)))
        self.asked: list[tuple[int, int]] = []
        self.under_way = 0
        self.under_way_max = 0

    @staticmethod
    def _last(each: VolumeRedoBatch) -> int:
        return each.first_lsn + len(each.payloads) - 1

    async def read(self, first_lsn: int, last_lsn: int, *, turn: int) -> readahead.Part:
        assert first_lsn <= last_lsn
        self.asked.append((first_lsn, last_lsn))
        self.under_way += 1
        self.under_way_max = max(self.under_way, self.under_way_max)
        try:
            for _ in range(self._rng.randrange(9)):
                await asyncio.sleep(0)
        finally:
            self.under_way -= 1
        found: list[VolumeRedoBatch] = []
        for each in self.batches:
            if self._last(each) < first_lsn or each.first_lsn > last_lsn:
                continue
            if found and sum(len(held.payloads) for held in found) + len(each.payloads) > 50:
                break
            found.append(each)
        answer = VolumeReadAnswered(volume="default", copy="a1", request_id="r", status=ack("a1", LAST))
        return readahead.Part(answer, found)


@pytest.mark.parametrize("seed", range(20))
async def test_every_record_is_given_in_order_while_several_answers_are_on_their_way(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever the batches' sizes, and wherever an answer ends; what is held is bounded."""
    copies = Copies(seed, monkeypatch=monkeypatch)
    ahead = readahead.ReadAhead(copies.read, LAST)
    lsn, payloads = 1, []
    while lsn <= LAST:
        part = await ahead.next(lsn)
        assert part is not None
        for each in part.batches:
            assert each.first_lsn <= lsn, "nothing is left out"
            payloads += each.payloads[lsn - each.first_lsn :]
            lsn = max(lsn, each.first_lsn + len(each.payloads))
    await ahead.close()
    assert payloads == [payload for each in copies.batches for payload in each.payloads]
    assert 2 <= copies.under_way_max <= readahead.QUESTIONS_MAX
    assert len(copies.asked) < 4 * LAST / 50, "most answers are about full"


async def test_what_nobody_wants_any_more_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """No question stays behind."""
    copies = Copies(1, monkeypatch=monkeypatch)
    ahead = readahead.ReadAhead(copies.read, LAST)
    await ahead.next(1)
    await ahead.next(51)
    await ahead.close()
    assert [task for task in asyncio.all_tasks() if task.get_name() == "volume-read-ahead"] == []
