"""CPU-bound handlers: in processes of their own, which a timeout really ends."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import pytest
from tests.support import cpu_app
from tests.support.cpu_app import Done, Job, many, work
from tests.support.waiting import eventually

from sixfold import Context, function
from sixfold.bus import TopicSpec
from sixfold.clock import SystemClock
from sixfold.errors import FunctionBugError
from sixfold.function import FunctionDefinitionError
from sixfold.testing import Harness

ONE = [TopicSpec(name="cpu.jobs", partitions=1)]


async def test_a_cpu_bound_handler_runs_in_as_many_processes_as_its_concurrency() -> None:
    """What it emits and schedules comes back; what it prints disturbs nobody."""
    async with Harness(work, topics=ONE, clock=SystemClock()) as harness:
        await harness.publish(*(Job(number=number) for number in range(40)), Job(number=99, kind="later"))
        await harness.until_idle()
        done = await harness.emitted(Done)
        assert sorted(each.number for each in done) == [*range(40), 99, 99]
        pids = {each.pid for each in done} - {0}
        assert len(pids) == 2
        assert os.getpid() not in pids
    await eventually(lambda: not any(Path(f"/proc/{pid}").exists() for pid in pids), "the processes have ended", 10)


async def test_a_handler_that_hangs_is_killed_and_the_rest_goes_on() -> None:
    """A thread could not be ended; a process can. The record is parked after its attempts."""
    async with Harness(work, topics=ONE, clock=SystemClock()) as harness:
        await harness.publish(Job(number=0, kind="stuck"), *(Job(number=number) for number in range(1, 9)))
        await harness.until_idle(40)
        (letter,) = await harness.dead_letters(work)
        assert letter.offset == 0
        assert "timeout_s=3" in letter.error_message
        assert len(await harness.emitted(Done)) == 8


async def test_errors_come_back_as_they_were_and_a_crash_is_one_more_attempt() -> None:
    """PermanentError parks at once; an error that cannot be sent is told of; a dead process is replaced."""
    async with Harness(work, topics=ONE, clock=SystemClock()) as harness:
        await harness.publish(Job(number=0, kind="bad"), Job(number=1, kind="odd"), Job(number=2, kind="crash"))
        await harness.until_idle()
        bad, odd = sorted(await harness.dead_letters(work), key=lambda letter: letter.offset)
        assert (bad.attempts, bad.error_message) == (1, "bad job")
        assert (odd.attempts, odd.error_message) == (2, "OddError: oddly")
        assert "cpu_app.py" in odd.error_stack
        assert [each.number for each in await harness.emitted(Done)] == [2]


async def test_batches_run_in_processes_too() -> None:
    """With failures record by record."""
    async with Harness(many, topics=ONE) as harness:
        await harness.publish(Job(number=0), Job(number=1, kind="bad"), Job(number=2, kind="once"), Job(number=3))
        await harness.until_idle()
        (letter,) = await harness.dead_letters(many)
        assert letter.offset == 1
        assert sorted(each.number for each in await harness.emitted(Done)) == [0, 2, 3]


async def test_code_that_contradicts_its_declaration_stops_there_too() -> None:
    """An undeclared emit, and a function that other processes cannot find."""

    @function(on=Job, cpu_bound=True)
    def hidden(job: Job, ctx: Context) -> None: ...

    for each, message in ((cpu_app.undeclared, "declares nothing"), (hidden, "define it at the top level")):
        async with Harness(each, topics=ONE) as harness:
            await harness.publish(Job(number=0))
            with pytest.raises(FunctionBugError, match=message):
                await harness.until_idle()


def test_an_async_handler_and_one_with_tables_are_refused() -> None:
    """When they are declared."""
    with pytest.raises(FunctionDefinitionError, match="needs a plain handler"):

        @function(on=Job, cpu_bound=True)
        async def one(job: Job, ctx: Context) -> None: ...

    with pytest.raises(FunctionDefinitionError, match="no tables"):

        @function(on=Job, cpu_bound=True, tables=["t"])
        def two(job: Job, ctx: Context) -> None: ...


async def test_a_process_ends_with_its_parent() -> None:
    """kill -9 of the worker's process leaves none behind: the kernel tells the child."""
    script = (
        "import asyncio, sys\n"
        "from sixfold.worker import children\n"
        "from tests.support.cpu_app import work\n"
        "async def main():\n"
        "    child = children.Child(work)\n"
        "    print((await child._started()).pid, flush=True)\n"
        "    await asyncio.Event().wait()\n"
        "asyncio.run(main())\n"
    )
    parent = await asyncio.create_subprocess_exec(sys.executable, "-c", script, stdout=asyncio.subprocess.PIPE)
    assert parent.stdout is not None
    pid = int(await parent.stdout.readline())
    os.kill(pid, 0)
    parent.kill()
    await parent.wait()

    def gone() -> bool:
        try:
            return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
        except FileNotFoundError:
            return True

    await eventually(gone, "the child has ended", 10)
