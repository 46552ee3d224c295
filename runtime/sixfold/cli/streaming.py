"""Lists whose length has no bound, printed as they are read: as one JSON array, or as tables of so many rows each.

Nothing is printed before the first row, so that a failure before it leaves standard output empty. A failure after it
closes the array, which then holds every row that there was.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import TracebackType
from typing import Any, Protocol, Self

import msgspec
from rich.console import RenderableType

from sixfold.cli import common

ROWS_MAX = 200
"""Rows of one table; a longer list is printed as several."""


class Rows(Protocol):
    """Takes rows one by one. Use as a context manager."""

    def add(self, row: Any) -> None: ...

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


def rows(*, as_json: bool, render: Callable[[list[Any]], RenderableType]) -> Rows:
    """Where rows go: a JSON array, or tables that `render` makes (of no row where there is none)."""
    return JsonArray() if as_json else Tables(render)


class JsonArray:
    """One JSON array on one line, printed item by item."""

    def __init__(self) -> None:
        self._begun = False

    def add(self, row: Any) -> None:
        """Print `row`: anything that msgspec encodes."""
        sys.stdout.write(f"{',' if self._begun else '['}{msgspec.json.encode(row).decode()}")
        self._begun = True

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if isinstance(error, BrokenPipeError) or (error is not None and not self._begun):
            return
        sys.stdout.write("]\n" if self._begun else "[]\n")
        sys.stdout.flush()


class Tables:
    """Tables of `ROWS_MAX` rows and what is left."""

    def __init__(self, render: Callable[[list[Any]], RenderableType]) -> None:
        self._render = render
        self._held: list[Any] = []
        self._printed = False

    def add(self, row: Any) -> None:
        """Print `row` with those before it once they fill a table."""
        self._held.append(row)
        if len(self._held) == ROWS_MAX:
            self._print()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._held or (error is None and not self._printed):
            self._print()

    def _print(self) -> None:
        common.draw(self._render(self._held))
        self._held, self._printed = [], True
