"""The process of all functions, as `sixfold up` starts it, does what Lambda's API was asked for."""

from __future__ import annotations

import asyncio
import json
import signal
from pathlib import Path
from typing import Any

from tests.runtime.cli.commands import Sixfold, until
from tests.runtime.lambdas import invoked_app as app
from tests.runtime.lambdas.conftest import Served
from tests.support.waiting import eventually

from sixfold import dead_letter
from sixfold.bus import NewRecord, TopicSpec


async def test_the_process_of_all_functions_calls_what_was_invoked_and_runs_what_was_mapped(served: Served) -> None:
    """Asked for before it starts; a handler that has no topics of its own needs nothing else."""
    await served.bus.create_topics([TopicSpec(name="orders", partitions=1)])
    await served.bus.publish([NewRecord(topic="orders", value=json.dumps({"n": n}).encode()) for n in (1, -2)])
    await served.invoke("greet", {"name": "ada"}, InvocationType="Event")
    await served.call(
        "create_event_source_mapping", FunctionName="worked", Topics=["orders"], StartingPosition="TRIM_HORIZON",
        FunctionResponseTypes=["ReportBatchItemFailures"], MaximumRetryAttempts=1,
        DestinationConfig={"OnFailure": {"Destination": "kafka://failed"}},
    )  # fmt: skip
    process = Sixfold(served.process.data_dir).start("--app", str(Path(app.__file__)), "run", "--all")
    try:
        await asyncio.to_thread(until, process, "ready")

        async def failed() -> list[Any]:
            return await served.records("failed") if "failed" in await served.bus.topics() else []

        [letter] = await eventually(failed, "what the mapping's handler named is at its destination", 60)
        found = dead_letter.read(letter)
        assert (found.topic, found.offset, found.attempts) == ("orders", 1, 2)

        async def greeted() -> list[Any]:
            return await served.records("greeted")

        assert len(await eventually(greeted, "the invocation was called", 60)) == 1
    finally:
        process.send_signal(signal.SIGTERM)
        said, _ = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, said
