"""Python's search for cycles of objects, which a life does without: it makes many objects, few of them in cycles."""

from __future__ import annotations

import contextlib
import gc
from collections.abc import Iterator


@contextlib.contextmanager
def unsearched() -> Iterator[None]:
    """Search once in the end, instead of all the time, which takes a fifth of a life."""
    searched = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        gc.collect()
        if searched:
            gc.enable()
