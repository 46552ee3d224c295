"""`sixfold shadow`: a new version on the traffic of the one that runs."""

from __future__ import annotations

import asyncio
import json

import pytest
from tests.runtime.cli.commands import ORDERS, Sixfold, until


@pytest.mark.slow
async def test_a_new_version_is_compared_with_the_running_one_on_live_traffic(sixfold: Sixfold) -> None:
    """The same: exit code 0; one that emits otherwise: told as it happens, summed at the end, exit code 1."""
    app = ["--app", str(sixfold.app)]
    new = sixfold.data_dir.parent / "orders_2.py"
    new.write_text(ORDERS.replace("order_id=order.order_id", "order_id=order.order_id.upper()"))
    order = '{"order_id": "ID", "amount_cents": 5}'
    running = sixfold.start("run", str(sixfold.app))
    try:
        await asyncio.to_thread(until, running, "ready")
        await asyncio.to_thread(sixfold.spawn, *app, "publish", "order.placed", "--data", order)
        for data, code, says in ((order, 0, "no difference"), (order.replace("ID", "id"), 1, "1 differ")):
            shadow = sixfold.start(*app, "shadow", f"{new}:accept", "--against", "accept", "--count", "1", "--id", "x")
            assert "accept.shadow.x" in await asyncio.to_thread(until, shadow, "compares")
            await asyncio.to_thread(sixfold.spawn, *app, "publish", "order.placed", "--data", data)
            said, _ = await asyncio.to_thread(shadow.communicate, timeout=60)
            assert shadow.returncode == code, said
            assert says in said
            assert ('+ {"topic":"order.accepted"' in said) == bool(code)
        done = await asyncio.to_thread(
            sixfold.spawn, *app, "shadow", f"{new}:accept", "--against", "accept", "--seconds", "0.5", "--json"
        )
        assert done.returncode == 0, done.stderr
        assert json.loads(done.stdout)["compared"] == 0
    finally:
        running.terminate()
        await asyncio.to_thread(running.communicate, timeout=60)
    accepted = await asyncio.to_thread(sixfold.good, *app, "tail", "order.accepted", "--json")
    assert len(accepted.splitlines()) == 3, "those of the running version alone"


def test_what_cannot_be_shadowed_is_wrong_usage(sixfold: Sixfold) -> None:
    """Each message says what was expected."""
    new = f"{sixfold.app}:accept"
    assert "is no new version" in sixfold.bad("shadow", "accept", "--against", "accept", code=2)
    assert "expected letters" in sixfold.bad("shadow", new, "--against", "accept", "--id", "a b", code=2)
    assert "start it first" in sixfold.bad("shadow", new, "--against", "accept", "--seconds", "5", code=2)
