"""Which back end a bus URL means. Back ends are imported only when they are asked for."""

from __future__ import annotations

from pathlib import Path

from sixfold import clock as clocks
from sixfold import errors
from sixfold.bus.port import Bus


def open_bus(url: str = "embedded:", *, data_dir: Path, clock: clocks.Clock | None = None) -> Bus:
    """A bus that connects when it is entered (`async with open_bus(…) as bus`).

    `embedded:` is the log in `data_dir`; `kafka://host:port[,host:port…]` a Kafka cluster. Raises UsageError for
    any other URL.
    """
    clock = clock or clocks.SystemClock()
    scheme, _, rest = url.partition(":")
    if scheme == "embedded":
        from sixfold.bus.embedded.client import EmbeddedBus

        return EmbeddedBus(data_dir / "bus", clock=clock)
    if scheme == "kafka" and rest.startswith("//") and rest.strip("/"):
        from sixfold.bus.kafka.client import KafkaBus

        return KafkaBus(rest.strip("/"), data_dir=data_dir, clock=clock)
    raise errors.UsageError(f"bus {url!r}: expected embedded: or kafka://HOST:PORT[,HOST:PORT…]")
