"""How a record says which schema its Avro body was written with: an id before the body, or a GUID in a header.

A reader takes both, the header first: whoever moves from one to the other changes readers before writers. Source:
Confluent wire format (`0x00`, 4-byte id, body; or `__value_schema_id: 0x01`, 16-byte GUID beside the bare body).
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterable
from typing import NamedTuple

from sixfold_events.avro import DecodeError

HEADER = "__value_schema_id"
"""Of a record's value; keys are no Avro here."""
ID_MAGIC = 0
GUID_MAGIC = 1
PREFIX_BYTES = 5
GUID_BYTES = 17
_PREFIX = struct.Struct(">bI")

Identifier = int | uuid.UUID
"""What names a schema: a registry's id, or a GUID."""


class Frame(NamedTuple):
    """What a writer puts around a body."""

    prefix: bytes
    headers: tuple[tuple[str, bytes], ...] = ()


class Framed(NamedTuple):
    """What a reader found around one."""

    identifier: Identifier
    start: int
    """Where the body begins in the value."""


def by_id(identifier: int) -> Frame:
    """The frame with a registry's id before the body."""
    return Frame(_PREFIX.pack(ID_MAGIC, identifier))


def by_guid(guid: uuid.UUID) -> Frame:
    """The frame with a GUID in a header; the value is the bare body."""
    return Frame(b"", ((HEADER, bytes([GUID_MAGIC]) + guid.bytes),))


def read(value: bytes, headers: Iterable[tuple[str, bytes | None]]) -> Framed:
    """Which schema `value` was written with. Raises DecodeError where neither a header nor the value says it."""
    for name, data in headers:
        if name == HEADER and data is not None:
            return Framed(_identifier(data, f"its header {HEADER}")[0], 0)
    return Framed(*_identifier(value, "its bytes"))


def _identifier(data: bytes, where: str) -> tuple[Identifier, int]:
    if len(data) >= PREFIX_BYTES and data[0] == ID_MAGIC:
        return int(_PREFIX.unpack_from(data)[1]), PREFIX_BYTES
    if len(data) >= GUID_BYTES and data[0] == GUID_MAGIC:
        return uuid.UUID(bytes=bytes(data[1:GUID_BYTES])), GUID_BYTES
    start = data[:5].hex() or "nothing"
    raise DecodeError(
        f"expected a Confluent-framed Avro value (0x00 and a 4-byte schema id, or 0x01 and a 16-byte GUID) in {where}, "
        f"found {start}"
    )
