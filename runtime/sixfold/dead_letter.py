"""Dead letters: a record that could not be handled, as it was, with where it lay and what went wrong as headers.

Value, key and headers are the original's bytes, so a redrive publishes exactly what came. The names follow Spring's
`kafka_dlt-…` headers. A record that is parked a second time keeps only the newest set.
"""

from __future__ import annotations

import traceback
from collections.abc import Iterable, Mapping

import msgspec

from sixfold.bus import port
from sixfold.function import AnyFunction

PREFIX = "sixfold_dlq_"
MESSAGE_CHARS_MAX = 2_000
STACK_CHARS_MAX = 8_000
OVERHEAD_BYTES = 64 * 1024
"""What a dead-letter topic takes beyond the largest record of its sources: the headers below, in any script."""


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A parked record, read back."""

    topic: str
    """Where the record lay."""
    partition: int
    offset: int
    timestamp_ms: int
    function: str
    attempts: int
    redrives: int
    """How often it had been redriven before it was parked again."""
    error_type: str
    error_message: str
    error_stack: str
    key: bytes | None
    value: bytes | None
    headers: list[port.Header]
    """The original's own."""


def park(
    function: AnyFunction, record: port.Record, attempts: int, error: BaseException, redrives: int = 0
) -> port.NewRecord:
    """`record` as a dead letter of `function`, after `attempts` attempts of which the last ended with `error`.

    It had been taken back from there `redrives` times.
    """
    stack = "".join(traceback.format_exception(error))
    details = {
        "original-topic": record.topic,
        "original-partition": str(record.partition),
        "original-offset": str(record.offset),
        "original-timestamp": str(record.timestamp_ms),
        "function": function.name,
        "attempts": str(attempts),
        "redrives": str(redrives),
        "error-type": f"{type(error).__module__}.{type(error).__qualname__}",
        "error-message": str(error)[:MESSAGE_CHARS_MAX],
        # The end of a stack names the line that raised.
        "error-stack": stack[-STACK_CHARS_MAX:],
    }
    return port.NewRecord(
        topic=function.dead_letter_topic,
        value=record.value,
        key=record.key,
        headers=[
            *original_headers(record.headers),
            *((PREFIX + name, text.encode(errors="replace")) for name, text in details.items()),
        ],
    )


def read(record: port.Record) -> DeadLetter:
    """What `park` made, as read from the dead-letter topic; details that are missing are empty or -1."""
    details = {
        name.removeprefix(PREFIX): value.decode(errors="replace")
        for name, value in record.headers
        if name.startswith(PREFIX) and value is not None
    }
    return DeadLetter(
        topic=details.get("original-topic", ""),
        partition=_number(details, "original-partition"),
        offset=_number(details, "original-offset"),
        timestamp_ms=_number(details, "original-timestamp"),
        function=details.get("function", ""),
        attempts=_number(details, "attempts"),
        redrives=max(0, _number(details, "redrives")),
        error_type=details.get("error-type", ""),
        error_message=details.get("error-message", ""),
        error_stack=details.get("error-stack", ""),
        key=record.key,
        value=record.value,
        headers=original_headers(record.headers),
    )


def original_headers(headers: Iterable[port.Header]) -> list[port.Header]:
    """`headers` without what parking added."""
    return [header for header in headers if not header[0].startswith(PREFIX)]


def topic_spec(function: AnyFunction, sources: Mapping[str, port.TopicSpec]) -> port.TopicSpec:
    """The dead-letter topic of `function`: kept for ever, and large enough for any record of its `sources`."""
    largest = max(
        (sources[topic].record_bytes_max for topic in function.sources_among(sources) if topic in sources),
        default=port.TopicSpec(name="").record_bytes_max,
    )
    return port.TopicSpec(
        name=function.dead_letter_topic,
        partitions=1,
        retention_ms=None,
        record_bytes_max=largest + OVERHEAD_BYTES,
    )


def _number(details: Mapping[str, str], name: str) -> int:
    text = details.get(name, "")
    return int(text) if text.isdecimal() else -1
