"""Standard output and error that lose nothing of what is written to them.

With PYTHONUNBUFFERED (usual in containers) or `python -u` Python's streams hand a text to one `write` of the system,
which may take a part of it: a pipe whose reader is slow, a signal at that moment. The rest is dropped without a word.
A buffer between them writes on until all is out.
"""

from __future__ import annotations

import contextlib
import io
import os
import sys


def whole() -> None:
    """Put a buffer under the process's own streams where they have none; each line still goes out at once."""
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        raw = getattr(stream, "buffer", None)
        # Whoever put another stream there keeps it. The process's own lives on in `sys.__stdout__`.
        if stream is getattr(sys, f"__{name}__") and isinstance(raw, io.RawIOBase):
            setattr(
                sys,
                name,
                io.TextIOWrapper(
                    io.BufferedWriter(raw), encoding=stream.encoding, errors=stream.errors, line_buffering=True
                ),
            )


def settle() -> None:
    """Let go of what could not be written, so that the interpreter's own last flush does not change the exit code."""
    for stream in filter(None, (sys.stdout, sys.stderr, sys.__stdout__, sys.__stderr__)):
        try:
            stream.flush()
        except (OSError, ValueError):
            with contextlib.suppress(OSError, ValueError):
                os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
