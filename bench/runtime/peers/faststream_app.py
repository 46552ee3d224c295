"""FastStream: one subscriber with an async handler and a decoder for our Avro.

Its fastest honest settings: no log line per message (`logger=None`), no signature checks (`apply_types=False`),
uvloop. Modes: `noop` commits before the handler (its default), `noop_ack` after it, `keyed` runs a handler for each
partition side by side and commits after it, the one concurrent setting that keeps order.
"""

from __future__ import annotations

import asyncio
from typing import Any

import uvloop
from faststream import AckPolicy, FastStream
from faststream.kafka import KafkaBroker, KafkaMessage

from bench.runtime.job import COMMIT_S, Job, decoder, told
from bench.runtime.tally import OrderedTally, Tally


def app(job: Job) -> FastStream:
    """The application for `job`."""
    broker = KafkaBroker(job.bootstrap, logger=None, apply_types=False)
    read = decoder(job)

    async def decode(message: KafkaMessage) -> Any:
        if message.headers["ce_type"] != job.event_type:
            raise ValueError(f"expected {job.event_type}, found {message.headers['ce_type']}")
        return read(message.body)

    options: dict[str, Any] = {
        "noop": {"ack_policy": AckPolicy.ACK_FIRST, "auto_commit_interval_ms": int(COMMIT_S * 1000)},
        "noop_ack": {"ack_policy": AckPolicy.ACK},
        "keyed": {"ack_policy": AckPolicy.ACK, "max_workers": job.concurrency},
    }[job.mode]
    subscriber = broker.subscriber(
        job.topic, group_id=job.group, auto_offset_reset="earliest", decoder=decode, **options
    )
    if job.mode == "keyed":
        ordered = OrderedTally(job.count, job.warm)

        @subscriber
        async def wait(event: dict[str, Any]) -> None:
            ordered.begin(event["sensor"], event["number"])
            await asyncio.sleep(0.01)
            ordered.end(event["sensor"], event["number"])
    else:
        tally = Tally(job.count, job.warm)

        @subscriber
        async def noop(event: dict[str, Any]) -> None:
            tally.add(event["number"])

    return FastStream(broker, logger=None)


if __name__ == "__main__":
    uvloop.run(app(told()).run())
