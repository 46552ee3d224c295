"""`sixfold run`: functions, or one service, as one process that drains when it is asked to stop."""

from __future__ import annotations

import asyncio
import json
import signal

import pytest
from tests.runtime.cli.commands import Sixfold, until

from sixfold import bus
from sixfold.cli import run
from sixfold.errors import UsageError

ORDER = '{"order_id": "o-1", "amount_cents": 5}'


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_users_functions_run_until_they_are_asked_to_stop(sixfold: Sixfold, number: signal.Signals) -> None:
    """Events published before and during are handled, outputs follow, and SIGTERM or Ctrl-C ends it in order."""
    app = ["--app", str(sixfold.app)]
    await asyncio.to_thread(sixfold.good, *app, "publish", "order.placed", "--data", ORDER)
    running = sixfold.start("run", str(sixfold.app))
    try:
        await asyncio.to_thread(until, running, "ready")
        for count in (1, 2):
            words = [*app, "tail", "order.accepted", "--follow", "--count", str(count), "--json"]
            lines = (await asyncio.to_thread(sixfold.spawn, *words)).stdout.splitlines()
            assert [json.loads(line)["data"] for line in lines] == [{"order_id": "o-1"}] * count
            await asyncio.to_thread(sixfold.good, *app, "publish", "order.placed", "--data", ORDER)
    finally:
        running.send_signal(number)
        said, _ = await asyncio.to_thread(running.communicate, timeout=60)
    assert running.returncode == 0, said
    async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:
        assert set(await opened.topics()) >= {"order.placed", "order.accepted", "accept.dlq"}
        assert "git.pushed" not in await opened.topics()


async def test_a_dead_letter_is_listed_shown_redriven_and_dropped(sixfold: Sixfold) -> None:
    """As it was, with why."""
    app = ["--app", str(sixfold.app)]
    bad = '{"order_id": "o-1", "amount_cents": -5}'
    [position] = await asyncio.to_thread(sixfold.json, *app, "publish", "order.placed", "--data", bad)
    running = sixfold.start("run", f"{sixfold.app}:accept")
    try:
        await asyncio.to_thread(until, running, "action=park")
    finally:
        running.terminate()
        await asyncio.to_thread(running.communicate, timeout=60)
    [row] = await asyncio.to_thread(sixfold.json, *app, "dlq", "ls")
    assert (row["function"], row["topic"], row["original_offset"]) == ("accept", "order.placed", position["offset"])
    assert row["error_message"] == "an order below nothing"
    shown = await asyncio.to_thread(sixfold.json, *app, "dlq", "show", "accept", str(row["offset"]))
    assert shown["event"]["data"]["amount_cents"] == -5
    assert "PermanentError" in shown["error_stack"]
    assert "an order below nothing" in await asyncio.to_thread(sixfold.good, *app, "dlq", "show", "accept", "0")
    assert "dlq ls" in await asyncio.to_thread(lambda: sixfold.bad(*app, "dlq", "show", "accept", "7", code=2))
    assert "no dead letter 7" in await asyncio.to_thread(
        lambda: sixfold.bad(*app, "dlq", "redrive", "accept", "7", code=2)
    )
    assert "or --all" in await asyncio.to_thread(lambda: sixfold.bad(*app, "dlq", "drop", "accept", code=2))
    redriven = await asyncio.to_thread(sixfold.json, *app, "dlq", "redrive", "accept", "--all")
    assert redriven == {"function": "accept", "redriven": [0], "looping": []}
    assert await asyncio.to_thread(sixfold.json, *app, "dlq", "ls") == []
    running = sixfold.start("run", f"{sixfold.app}:accept")
    try:
        await asyncio.to_thread(until, running, "action=park")
    finally:
        running.terminate()
        await asyncio.to_thread(running.communicate, timeout=60)
    [row] = await asyncio.to_thread(sixfold.json, *app, "dlq", "ls")
    assert (row["offset"], row["redrives"], row["original_offset"]) == (1, 1, position["offset"])
    dropped = await asyncio.to_thread(sixfold.json, *app, "dlq", "drop", "accept", "1")
    assert dropped == {"function": "accept", "dropped": [1]}
    assert await asyncio.to_thread(sixfold.json, *app, "dlq", "ls") == []
    assert len(await asyncio.to_thread(sixfold.json, *app, "dlq", "ls", "--all")) == 2


def test_a_service_takes_its_own_options_alone(sixfold: Sixfold) -> None:
    """An unknown option, one without a value, and a service among functions are wrong usage."""
    assert "--copy" in sixfold.bad("run", "volume.storage", "--zone", "a", code=2)
    assert "needs a value" in sixfold.bad("run", "volume.storage", "--copy", code=2)
    assert "runs alone" in sixfold.bad("run", "volume.storage", "pipeline.source", code=2)
    assert "no option --copy" in sixfold.bad("run", "pipeline.source", "--copy", "a1", code=2)


def test_a_name_that_is_nothing_names_near_ones(sixfold: Sixfold) -> None:
    """Functions and services alike."""
    assert "volume.storage" in sixfold.bad("run", "volume.storag", code=2)
    assert "name what to run" in sixfold.bad("run", code=2)
    assert "leave the names away" in sixfold.bad("run", "--all", "pipeline.source", code=2)
    assert "no file" in sixfold.bad("run", "/no/such.py", code=2)


def test_options_of_a_service_come_in_either_form() -> None:
    """`--copy a1` and `--copy=a1`."""
    assert run.split_options(["volume.storage", "--copy", "a1"]) == (["volume.storage"], {"copy": "a1"})
    assert run.split_options(["volume.storage", "--copy=a1"]) == (["volume.storage"], {"copy": "a1"})
    with pytest.raises(UsageError):
        run.split_options(["--copy", "--volume"])


async def test_two_processes_do_not_share_one_storage_node(sixfold: Sixfold) -> None:
    """The second is refused with the pid of the first: two writers would spoil its files."""
    first = sixfold.start("run", "volume.storage", "--copy", "a1")
    try:
        await asyncio.to_thread(until, first, "ready")
        second = await asyncio.to_thread(sixfold.spawn, "run", "volume.storage", "--copy", "a1")
        assert second.returncode == 1
        assert str(first.pid) in second.stderr
    finally:
        first.terminate()
        await asyncio.to_thread(first.communicate, timeout=60)
