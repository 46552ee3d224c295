"""`sixfold record` and `sixfold replay`: real traffic as a regression test."""

from __future__ import annotations

import asyncio
import json
import stat
import sys
from pathlib import Path

from tests.runtime.cli.commands import ORDERS, Sixfold, until


async def test_recorded_traffic_is_replayed_without_a_bus_and_a_changed_function_is_exit_code_1(
    sixfold: Sixfold, tmp_path: Path
) -> None:
    """The same function: 0; one that emits otherwise: 1, with a readable difference; --expect --update accepts it."""
    app = ["--app", str(sixfold.app)]
    for cents in (5, -5):
        order = json.dumps({"order_id": "o-1", "amount_cents": cents})
        await asyncio.to_thread(sixfold.good, *app, "publish", "order.placed", "--data", order)
    running = sixfold.start("run", str(sixfold.app))
    try:
        await asyncio.to_thread(until, running, "action=park")
    finally:
        running.terminate()
        await asyncio.to_thread(running.communicate, timeout=60)
    capture = tmp_path / "capture.ndjson"
    told = await asyncio.to_thread(sixfold.json, *app, "record", "accept", "--out", str(capture))
    assert (told["records"], told["outputs"], told["parked"]) == (2, 1, 1)
    assert stat.S_IMODE(capture.stat().st_mode) == 0o600
    again = await asyncio.to_thread(sixfold.bad, *app, "record", "accept", "--out", str(capture), code=2)
    assert "never written over" in again
    topic = tmp_path / "topic.ndjson"
    words = ["record", "--topic", "order.placed", "--count", "1", "--out", str(topic)]
    assert (await asyncio.to_thread(sixfold.json, *app, *words))["records"] == 1

    (tmp_path / "elsewhere").mkdir()
    elsewhere = Sixfold(tmp_path / "elsewhere" / "data")
    reference = f"{elsewhere.app}:accept"
    same = await asyncio.to_thread(elsewhere.json, "replay", str(capture), reference)
    assert (same["records"], same["compared"], same["differences"]) == (2, 2, [])
    assert not elsewhere.data_dir.exists()

    elsewhere.app.write_text(ORDERS.replace("order_id=order.order_id", "order_id=order.order_id + '!'"))
    sys.modules.pop("orders", None)
    words = ["replay", str(capture), reference]
    changed = await asyncio.to_thread(elsewhere.run, *words)
    assert changed.returncode == 1
    assert "1 differences" in changed.stdout
    lines = [line.strip() for line in changed.stdout.splitlines()]
    assert any(line.startswith("- ") and '"o-1"' in line for line in lines)
    assert any(line.startswith("+ ") and '"o-1!"' in line for line in lines)
    expected = ["--expect", str(tmp_path / "expected.json")]
    assert "--update" in await asyncio.to_thread(elsewhere.bad, *words, *expected, code=2)
    await asyncio.to_thread(elsewhere.good, *words, *expected, "--update")
    await asyncio.to_thread(elsewhere.good, *words, *expected)


def test_what_cannot_be_recorded_or_replayed_is_wrong_usage(sixfold: Sixfold, tmp_path: Path) -> None:
    """Each message says what to do."""
    app = ["--app", str(sixfold.app)]
    out = ["--out", str(tmp_path / "c.ndjson")]
    assert "either a function's name or --topic" in sixfold.bad(*app, "record", *out, code=2)
    assert "none of the function's topics exists" in sixfold.bad(*app, "record", "accept", *out, code=2)
    assert "cannot be read" in sixfold.bad(*app, "replay", "/no/such", "accept", code=2)
    assert "no capture of version 1" in sixfold.bad(*app, "replay", "/dev/null", "accept", code=2)
    assert "--update needs --expect" in sixfold.bad(*app, "replay", "/dev/null", "accept", "--update", code=2)
    assert not (tmp_path / "c.ndjson").exists()
