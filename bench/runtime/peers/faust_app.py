"""Faust-streaming: one agent over one stream, a codec for our Avro, uvloop, no web server and no leader topic.

Mode `keyed` gives each partition an actor of its own (`isolated_partitions`), the one concurrent setting that keeps
order.
"""

from __future__ import annotations

import asyncio
import tempfile
from typing import Any

import mode.loop

mode.loop.use("uvloop")  # before faust is imported, as Faust's manual says

import faust  # noqa: E402
from faust.serializers import codecs  # noqa: E402

from bench.runtime.job import COMMIT_S, Job, decoder, told  # noqa: E402
from bench.runtime.tally import OrderedTally, Tally  # noqa: E402


class Readings(codecs.Codec):
    """Our Avro."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._decode = decoder(job)

    def _loads(self, s: bytes) -> dict[str, Any]:
        return self._decode(s)


def run(job: Job) -> None:
    """Run the worker until killed."""
    app = faust.App(
        job.group,
        broker=f"kafka://{job.bootstrap}",
        store="memory://",
        datadir=tempfile.mkdtemp(),
        web_enabled=False,
        topic_disable_leader=True,
        consumer_auto_offset_reset="earliest",
        broker_commit_interval=COMMIT_S,
        stream_wait_empty=False,
    )
    topic = app.topic(job.topic, key_serializer="raw", value_serializer=Readings(job))
    kind = job.event_type.encode()
    if job.mode == "keyed":
        ordered = OrderedTally(job.count, job.warm)

        @app.agent(topic, isolated_partitions=True)
        async def wait(stream: Any) -> None:
            async for event in stream.events():
                if event.headers["ce_type"] == kind:
                    ordered.begin(event.value["sensor"], event.value["number"])
                    await asyncio.sleep(0.01)
                    ordered.end(event.value["sensor"], event.value["number"])
    else:
        tally = Tally(job.count, job.warm)

        async def noop(event: dict[str, Any]) -> None:
            tally.add(event["number"])

        @app.agent(topic)
        async def handle(stream: Any) -> None:
            async for event in stream.events():
                if event.headers["ce_type"] == kind:
                    await noop(event.value)

    faust.Worker(app, loglevel="ERROR", quiet=True, redirect_stdouts=False).execute_from_commandline()


if __name__ == "__main__":
    run(told())
