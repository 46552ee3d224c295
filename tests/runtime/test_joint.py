"""Many who ask at once are answered together, and never with something older than their question."""

from __future__ import annotations

import asyncio

import pytest
from tests.support import waiting

from sixfold.joint import Joint


class Source:
    """Answers with how often it was asked, when it is let."""

    def __init__(self) -> None:
        self.asked = 0
        self.answers = asyncio.Semaphore(0)

    async def ask(self) -> int:
        """The number of this question."""
        self.asked += 1
        number = self.asked
        await self.answers.acquire()
        if number == 3:
            raise OSError("gone")
        return number


async def test_who_comes_while_it_is_asked_gets_the_next_answer() -> None:
    """Fifty at once are one question; those that come meanwhile are one more, asked after the first."""
    source = Source()
    joint = Joint(source.ask)
    first = [asyncio.create_task(joint()) for _ in range(50)]
    await waiting.eventually(lambda: source.asked, "it is asked")
    second = [asyncio.create_task(joint()) for _ in range(50)]
    await waiting.eventually(lambda: joint._next is not None, "the others have come")
    assert source.asked == 1
    second[0].cancel()
    source.answers.release()
    assert set(await asyncio.gather(*first)) == {1}
    source.answers.release()
    assert set(await asyncio.gather(*second[1:])) == {2}
    assert second[0].cancelled()


async def test_a_failure_is_everybodys_and_the_next_one_asks_anew() -> None:
    """The error reaches each who waited for that question."""
    source = Source()
    source.asked = 2
    joint = Joint(source.ask)
    asking = [asyncio.create_task(joint()) for _ in range(3)]
    source.answers.release()
    assert [str(each) for each in await asyncio.gather(*asking, return_exceptions=True)] == ["gone"] * 3
    source.answers.release()
    assert await joint() == 4


async def test_what_is_asked_ends_when_it_is_closed() -> None:
    """Nothing is left behind, and who waits is not left waiting."""
    joint = Joint(Source().ask)
    asking = asyncio.create_task(joint())
    await waiting.eventually(lambda: joint._asking is not None, "it is asked")
    await joint.close()
    with pytest.raises(asyncio.CancelledError):
        await asking
    await Joint(Source().ask).close()
