"""Stored batches of a range of LSNs, read from several copies at once and given in the order of LSNs.

Most of the time that a question takes is waiting: for the bus, and for a copy that fsyncs. So several are on their way,
each for about as many records as one answer holds, and the copies that have them take turns.
"""

from __future__ import annotations

import asyncio
import collections
from collections.abc import Coroutine
from typing import Any, NamedTuple, Protocol

from sixfold_events.volume import VolumeReadAnswered, VolumeRedoBatch
from sixfold_functions.volume import answering

QUESTIONS_MAX = 4
"""On their way at once; so many answers, of 700,000 bytes each, are held at most."""
RECORDS_MAX = 100_000
"""Asked for at once: records may be empty."""


class Part(NamedTuple):
    """What one answer holds."""

    answer: VolumeReadAnswered
    batches: list[VolumeRedoBatch]
    """Its batches, decoded; one at least."""


class Read(Protocol):
    """Reads batches; in vain where nobody has them."""

    def __call__(self, first_lsn: int, last_lsn: int, *, turn: int) -> Coroutine[Any, Any, Part | None]:
        """As many as one answer holds. `turn` counts the questions, so that each may go to the next copy."""


class _Question(NamedTuple):
    first_lsn: int
    last_lsn: int
    answer: asyncio.Task[Part | None]


class ReadAhead:
    """Reads up to `last_lsn`, ahead of what is asked for. `close` it in the end."""

    def __init__(self, read: Read, last_lsn: int) -> None:
        self._read = read
        self._last_lsn = last_lsn
        self._questions: collections.deque[_Question] = collections.deque()
        self._records = 0
        """About as many as one answer holds; 0 while that is not known."""
        self._aligned = True
        """False while batches are so large, and so uneven, that answers to guessed ranges would overlap by much."""
        self._turn = 0

    async def next(self, lsn: int) -> Part | None:
        """Batches from `lsn` on; None if nobody has them. Raises what `read` raises."""
        while self._questions and not (self._aligned and self._questions[0].last_lsn >= lsn):
            self._questions.popleft().answer.cancel()
        if not self._questions or self._questions[0].first_lsn > lsn:
            # Nothing was asked yet, or an answer did not hold all that it was asked for: the rest comes first.
            last_lsn = self._questions[0].first_lsn - 1 if self._questions else self._last_lsn
            self._questions.appendleft(self._ask(lsn, min(last_lsn, lsn + self._span() - 1)))
        self._ask_ahead()
        question = self._questions.popleft()
        try:
            part = await question.answer
        finally:
            question.answer.cancel()
        if part is not None:
            self._learn(question, part.batches)
        return part

    def _span(self) -> int:
        """How many records to ask for."""
        return self._records if self._records and self._aligned else RECORDS_MAX

    def _ask(self, first_lsn: int, last_lsn: int) -> _Question:
        self._turn += 1
        answer = asyncio.create_task(self._read(first_lsn, last_lsn, turn=self._turn), name="volume-read-ahead")
        answer.add_done_callback(_looked_at)
        return _Question(first_lsn, last_lsn, answer)

    def _ask_ahead(self) -> None:
        while self._records and self._aligned and len(self._questions) < QUESTIONS_MAX:
            first_lsn = self._questions[-1].last_lsn + 1
            if first_lsn > self._last_lsn:
                return
            self._questions.append(self._ask(first_lsn, min(first_lsn + self._records - 1, self._last_lsn)))

    def _learn(self, question: _Question, batches: list[VolumeRedoBatch]) -> None:
        reached = batches[-1].first_lsn + len(batches[-1].payloads) - 1
        held = sum(len(batch.payloads) for batch in batches)
        size = sum(len(each) for batch in batches for each in batch.payloads)
        asked = question.last_lsn - question.first_lsn + 1
        if 4 * max(len(batch.payloads) for batch in batches) <= held:
            self._aligned = True
        elif asked <= self._records and reached != question.last_lsn:
            self._aligned = False
        if reached < question.last_lsn and size > answering.ANSWER_BYTES_MAX // 4:
            self._records = held  # it was full
        elif asked >= self._records and size < answering.ANSWER_BYTES_MAX // 4:
            self._records = min(2 * max(held, self._records), RECORDS_MAX)

    async def close(self) -> None:
        """Forget what is on its way."""
        tasks = [question.answer for question in self._questions]
        self._questions.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _looked_at(answer: asyncio.Task[Part | None]) -> None:
    """An error of an answer that nobody wants any more is nobody's."""
    if not answer.cancelled():
        answer.exception()
