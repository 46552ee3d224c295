"""Telling a log that can no longer be read from a disk that failed a write.

After a failed write another owner may start afresh from what is readable. What cannot be read stays so for every owner:
the one that found it keeps the log and refuses everybody, so that nobody builds on it or tries again for ever.
"""

from __future__ import annotations

from pathlib import Path

import apsw
import msgspec

from sixfold.bus import port

_UNREADABLE = {
    apsw.SQLITE_IOERR_READ,
    apsw.SQLITE_IOERR_SHORT_READ,
    apsw.SQLITE_IOERR_CORRUPTFS,
    apsw.SQLITE_IOERR_DATA,
}


def found(error: Exception) -> bool:
    """Whether `error` says that the log's content is not as it was written."""
    if isinstance(error, apsw.IOError):
        return getattr(error, "extendedresult", 0) in _UNREADABLE  # apsw sets it on each, its types do not know it
    return isinstance(error, (apsw.CorruptError, apsw.NotADBError, msgspec.DecodeError))


def described(path: Path, error: object) -> port.BusError:
    """The error for everybody who wants something of the log at `path`."""
    return port.BusError(
        f"the log {path} is damaged: {error}. Nothing more is read or stored: stop the processes that use it, then restore "
        "it from a copy, or move it away to start empty"
    )
