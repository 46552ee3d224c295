"""`python -m bench.volume.counted …`: `sixfold …`, with every fsync of the process counted, whoever calls it.

What a copy itself might count would not find an fsync that somebody adds beside it.
"""

from __future__ import annotations

import functools
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.volume.meter import Counter

FOLDER = "SIXFOLD_BENCH_SYNCS"
"""The environment's name for the folder of the counts."""


def counting(call: Callable[..., Any], counter: Counter) -> Callable[..., Any]:
    """`call`, counted."""

    @functools.wraps(call)
    def counted(*arguments: Any) -> Any:
        counter.add()
        return call(*arguments)

    return counted


def main() -> None:
    counter = Counter(Path(os.environ[FOLDER]))
    for name in ("fsync", "fdatasync", "sync"):
        setattr(os, name, counting(getattr(os, name), counter))
    from sixfold.cli.main import main as program  # after the calls were replaced

    sys.exit(program())


if __name__ == "__main__":
    main()
