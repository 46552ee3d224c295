"""What the running system records in its data folder, so that every other process finds it: `system.json`.

`gateway.json` holds the gateway's URL alone, for clients that need nothing else (git's credential helper).
"""

from __future__ import annotations

import os
from pathlib import Path

import msgspec

FILE = "system.json"
GATEWAY_FILE = "gateway.json"


class System(msgspec.Struct, frozen=True, kw_only=True):
    """One start of the system."""

    pid: int
    """Of the supervisor."""
    bus_url: str
    gateway_url: str
    processes: dict[str, int] = {}
    """Pids of the children, by process name."""


def write(data_dir: Path, system: System) -> None:
    """Record `system`; a reader sees the old file or the new one, never half of one."""
    _replace(data_dir / FILE, msgspec.json.encode(system))
    _replace(data_dir / GATEWAY_FILE, msgspec.json.encode({"url": system.gateway_url}))


def read(data_dir: Path) -> System | None:
    """What was recorded last, None where nothing (or nothing readable) is. The system need not run any more."""
    try:
        return msgspec.json.decode((data_dir / FILE).read_bytes(), type=System)
    except (OSError, msgspec.DecodeError):
        return None


def clear(data_dir: Path) -> None:
    """The system stopped: nothing is to be found any more."""
    for name in (FILE, GATEWAY_FILE):
        (data_dir / name).unlink(missing_ok=True)


def _replace(path: Path, data: bytes) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    temporary.write_bytes(data + b"\n")
    temporary.replace(path)
