"""Standard output and error that lose nothing of what is written to them.

With PYTHONUNBUFFERED (usual in containers) or `python -u` Python's streams hand a text to one `write` of the system,
which may take a part of it: a pipe whose reader is slow, a signal at that moment. The rest is dropped without a word.
A buffer between them writes on until all is out.
"""

from __future__ import annotations

import io
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
