"""Registers and lists as a state machine over the volume's records: each record is a command, their order is the log's."""

from __future__ import annotations

from typing import Any, Literal

import msgspec


class Command(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What one record says."""

    id: str
    """Of this record and no other."""
    f: Literal["write", "cas", "append", "nothing"]
    """`nothing` only takes a place in the order: whoever reads up to it sees all that came before."""
    key: str = ""
    value: Any = None
    """What is written or appended; of a cas the old and the new value."""
    pad: str = ""
    """Makes records of several sizes."""


def encode(command: Command) -> bytes:
    """A command as a record's bytes."""
    return msgspec.json.encode(command)


def decode(record: bytes) -> Command:
    """Raises msgspec.DecodeError for what is not a command."""
    return msgspec.json.decode(record, type=Command)


class State:
    """All registers and lists, after the records up to `lsn`."""

    def __init__(self) -> None:
        self.lsn = 0
        self.registers: dict[str, Any] = {}
        self.lists: dict[str, list[Any]] = {}

    def apply(self, record: bytes) -> bool:
        """Take the next record. Whether it took: only a cas may not."""
        command = decode(record)
        self.lsn += 1
        if command.f == "write":
            self.registers[command.key] = command.value
        elif command.f == "append":
            self.lists.setdefault(command.key, []).append(command.value)
        elif command.f == "cas":
            old, new = command.value
            if self.registers.get(command.key) != old:
                return False
            self.registers[command.key] = new
        return True
