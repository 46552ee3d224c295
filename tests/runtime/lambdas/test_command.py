"""`sixfold run --lambda`: a handler from a file, without an edit to it."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path

import pytest
from tests.runtime.cli.commands import Sixfold, until
from tests.support import waiting

from sixfold import bus
from sixfold.bus import NewRecord

APP = Path(__file__).parents[3] / "examples" / "06-lambda" / "app.py"


@pytest.fixture
def sixfold(tmp_path: Path) -> Sixfold:
    """On a data folder of its own."""
    return Sixfold(tmp_path / "data")


async def test_a_handler_is_run_from_its_file_for_the_records_of_a_topic(sixfold: Sixfold) -> None:
    """Records of any bytes come to it; what it names is set aside after its attempts, and the rest is committed."""
    words = ["--lambda", f"{APP}:handler", "--topic", "orders", "--batch-size", "10", "--batch-window", "0"]
    running = sixfold.start("run", *words, "--attempts", "1")
    try:
        await asyncio.to_thread(until, running, "ready")
        async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:
            good = {"order_id": "o-1", "amount_cents": 5}
            await opened.publish([NewRecord(topic="orders", value=json.dumps(good).encode(), partition=0)])
            await opened.publish([NewRecord(topic="orders", value=b"\xff", partition=1)])

            async def settled() -> bool:
                return len(await opened.committed("app.handler")) == 2

            await waiting.eventually(settled, "both records are done")
            assert (await opened.offsets(bus.TopicPartition("app.handler.dlq", 0))).end == 1
    finally:
        running.send_signal(signal.SIGTERM)
        said, _ = await asyncio.to_thread(running.communicate, timeout=60)
    assert running.returncode == 0, said
    assert "app.handler took o-1" in said


def test_a_handler_is_invoked_from_its_file(sixfold: Sixfold, tmp_path: Path) -> None:
    """`sixfold invoke` shows what it returns, with any JSON as its event, and its error as Lambda has it."""
    event = tmp_path / "event.json"
    event.write_text('{"records": {}}')
    outcome = sixfold.json("invoke", f"{APP}:handler", "--event", str(event))
    assert (outcome["function"], outcome["result"]) == ("app.handler", {"batchItemFailures": []})
    event.write_text("{}")
    failed = sixfold.run("invoke", f"{APP}:handler", "--event", str(event), "--json")
    assert failed.returncode == 1
    assert json.loads(failed.stdout.splitlines()[-1])["error"]["errorType"] == "KeyError"


def test_what_is_no_handler_and_a_missing_topic_are_wrong_usage(sixfold: Sixfold) -> None:
    """Each says what was expected."""
    assert "needs --topic" in sixfold.bad("run", "--lambda", f"{APP}:handler", code=2)
    assert "has no 'missing'" in sixfold.bad("run", "--lambda", f"{APP}:missing", "--topic", "orders", code=2)
    assert "handler(event, context)" in sixfold.bad("run", "--lambda", f"{APP}:json", "--topic", "orders", code=1)
