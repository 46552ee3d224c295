"""`sixfold run --reload`: a function's new version runs soon after its file was saved."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

import pytest
from tests.runtime.cli.commands import ORDERS, Sixfold, until
from tests.support import waiting

from sixfold.cli import reloading
from sixfold.errors import UsageError

ORDER = '{"order_id": "o-1", "amount_cents": 5}'


@pytest.mark.slow
async def test_an_edit_is_run_and_a_broken_one_is_told_and_waited_out(sixfold: Sixfold) -> None:
    """The old version goes on while the file does not compile; a start that fails waits for the next change."""
    types = sixfold.data_dir.parent / "elsewhere" / "types_of_orders.py"
    types.parent.mkdir()
    types.write_text(ORDERS)
    app = ["--app", str(types)]
    running = sixfold.start("run", "--reload", str(sixfold.app))

    async def handled(count: int) -> list[str]:
        await asyncio.to_thread(sixfold.spawn, *app, "publish", "order.placed", "--data", ORDER)
        words = [*app, "tail", "order.accepted", "--follow", "--count", str(count), "--json"]
        lines = (await asyncio.to_thread(sixfold.spawn, *words)).stdout.splitlines()
        return [json.loads(line)["data"]["order_id"] for line in lines]

    try:
        await asyncio.to_thread(until, running, "ready")
        assert await handled(1) == ["o-1"]
        sixfold.app.write_text(ORDERS + "\ndef broken(:\n")
        assert "SyntaxError" in await asyncio.to_thread(until, running, "what runs goes on")
        assert await handled(2) == ["o-1", "o-1"]
        sixfold.app.write_text(ORDERS + "\nraise RuntimeError('at the start')\n")
        assert "at the start" in await asyncio.to_thread(until, running, "waiting for a change")
        sixfold.app.write_text(ORDERS.replace("order_id=order.order_id", "order_id=order.order_id + '!'"))
        await asyncio.to_thread(until, running, "ready")
        assert await handled(3) == ["o-1", "o-1", "o-1!"]
    finally:
        running.send_signal(signal.SIGTERM)
        said, _ = await asyncio.to_thread(running.communicate, timeout=60)
    assert running.returncode == 0, said
    assert "action=ended" in said


async def test_an_edit_in_two_steps_starts_anew_once_and_a_stop_is_no_failure(tmp_path: Path) -> None:
    """An editor cuts the file off and then fills it; what is ended by the stop's own SIGTERM has not failed."""
    (tmp_path / "app").mkdir()
    source, starts = tmp_path / "app" / "orders.py", tmp_path / "starts"
    source.write_text("number = 1")
    program = f"import time; open({str(starts)!r}, 'a').write('x'); time.sleep(60)"
    watch = reloading.Watch([source.parent])
    running = asyncio.create_task(reloading.run([sys.executable, "-c", program], watch))

    async def started(count: int) -> None:
        await waiting.eventually(lambda: starts.exists() and len(starts.read_text()) >= count, f"{count} starts")

    await started(1)
    source.write_text("")
    await asyncio.sleep(reloading.SETTLE_S / 4)
    source.write_text("number = 2")
    await started(2)
    source.write_text("number = 3")
    await started(3)
    os.kill(os.getpid(), signal.SIGTERM)
    assert await running == 0
    assert starts.read_text() == "xxx"


def test_files_that_change_come_and_go_are_seen(tmp_path: Path) -> None:
    """Python files alone, and none of environments, hidden folders and what is installed."""
    for folder in ("app", ".hidden", "venv", "node_modules"):
        (tmp_path / folder).mkdir()
    (tmp_path / "venv" / "pyvenv.cfg").touch()
    one, two = tmp_path / "one.py", tmp_path / "app" / "two.py"
    one.write_text("1")
    watch = reloading.Watch([tmp_path])
    assert watch.changed() == []
    two.write_text("2")
    for name in (".hidden/x.py", "venv/x.py", "node_modules/x.py", "note.txt"):
        (tmp_path / name).write_text("3")
    assert watch.changed() == [two]
    one.write_text("11")
    two.unlink()
    assert watch.changed() == [two, one]
    assert watch.changed() == []


def test_what_does_not_compile_is_told_with_its_line(tmp_path: Path) -> None:
    """A file that is gone is no mistake."""
    path = tmp_path / "one.py"
    path.write_text("a = 1\ndef b(:\n")
    assert reloading.broken([tmp_path / "gone.py", path]).startswith(f"{path}:2: SyntaxError: ")
    path.write_text("a = 1\n")
    assert reloading.broken([path]) == ""


def test_only_ones_own_code_is_watched() -> None:
    """What is installed does not change."""
    with pytest.raises(UsageError, match=r"pipeline\.source is installed"):
        reloading.roots_of(["pipeline.source"])
    with pytest.raises(UsageError, match="nothing to watch"):
        reloading.roots_of([])
