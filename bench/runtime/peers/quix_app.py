"""Quix Streams: one dataframe with a handler for each row and a deserializer for our Avro.

Its handlers are plain functions, called one after another; no setting runs them side by side, so there is one mode.
"""

from __future__ import annotations

import tempfile
from typing import Any

from quixstreams import Application
from quixstreams.models import Deserializer, SerializationContext
from quixstreams.models.serializers.exceptions import IgnoreMessage

from bench.runtime.job import COMMIT_S, Job, decoder, told, type_of
from bench.runtime.tally import Tally


class Readings(Deserializer):
    """Our Avro, by the type in the record's headers."""

    def __init__(self, job: Job) -> None:
        super().__init__()
        self._kind = job.event_type.encode()
        self._decode = decoder(job)

    def __call__(self, value: bytes, ctx: SerializationContext) -> Any:
        if type_of(ctx.headers) != self._kind:
            raise IgnoreMessage
        return self._decode(value)


def run(job: Job) -> None:
    """Run the application until killed."""
    with tempfile.TemporaryDirectory() as state:
        app = Application(
            broker_address=job.bootstrap,
            consumer_group=job.group,
            auto_offset_reset="earliest",
            auto_create_topics=False,
            commit_interval=COMMIT_S,
            consumer_poll_timeout=COMMIT_S / 2,  # its 1 s would hold up the last commit
            state_dir=state,
            loglevel=None,
        )
        rows = app.dataframe(app.topic(job.topic, value_deserializer=Readings(job)))
        tally = Tally(job.count, job.warm)

        def noop(event: dict[str, Any]) -> None:
            tally.add(event["number"])

        rows.update(noop)
        app.run()


if __name__ == "__main__":
    run(told())
