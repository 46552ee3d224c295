"""Which back end a bus URL means. Back ends are imported only when they are asked for."""

from __future__ import annotations

import os
from pathlib import Path

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus.port import Bus


def open_bus(url: str = "embedded:", *, data_dir: Path, clock: clocks.Clock | None = None) -> Bus:
    """A bus that connects when it is entered (`async with open_bus(…) as bus`).

    `embedded:` is the log in `data_dir`; `kafka://host:port[,host:port…]` a Kafka cluster. Raises UsageError for
    any other URL. How to get into a secured cluster is read from `SIXFOLD_KAFKA_…` and `kafka.toml` in `data_dir`.
    """
    clock = clock or clocks.SystemClock()
    scheme, _, rest = url.partition(":")
    if scheme == "embedded":
        from sixfold.bus.embedded.client import EmbeddedBus

        return EmbeddedBus(data_dir / "bus", clock=clock)
    if scheme == "kafka" and rest.startswith("//") and rest.strip("/"):
        if "@" in rest:  # and neither is shown: a message may end in a log
            raise errors.UsageError(
                "the bus's address has a user or a password in it, which process lists would show; "
                "set SIXFOLD_KAFKA_USER and SIXFOLD_KAFKA_PASSWORD_FILE instead"
            )
        from sixfold.bus.kafka import security
        from sixfold.bus.kafka.client import KafkaBus
        from sixfold.bus.kafka.settings import KafkaSettings

        found = security.read(os.environ, data_dir)
        settings = KafkaSettings(security=found.security, compression=found.compression, rack=found.rack)
        return KafkaBus(rest.strip("/"), data_dir=data_dir, clock=clock, settings=settings)
    raise errors.UsageError(f"bus {url!r}: expected embedded: or kafka://HOST:PORT[,HOST:PORT…]")


def keeps_places(url: str) -> bool:
    """Whether a group on that bus waits for a member that vanished, so that one with a name is better off.

    The owner of an embedded bus sees at once that a process has gone, and gives its partitions to the others.
    """
    return url.startswith("kafka:")
