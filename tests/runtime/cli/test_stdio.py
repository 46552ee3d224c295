"""What a command prints arrives whole, also where Python's streams are unbuffered, as in containers."""

from __future__ import annotations

import io
import sys
from typing import Any, cast

import pytest

from sixfold.cli import stdio


class Sips(io.RawIOBase):
    """Takes seven bytes at a time, as a pipe may whose reader is slow."""

    def __init__(self) -> None:
        self.taken = b""

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        part = bytes(data)[:7]  # type: ignore[call-overload]
        self.taken += part
        return len(part)


def test_a_text_that_the_system_takes_in_parts_arrives_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the buffer all but the first seven bytes would be lost, and nobody would be told."""
    raw = Sips()
    unbuffered = io.TextIOWrapper(cast("Any", raw), encoding="utf-8", write_through=True)
    monkeypatch.setattr(sys, "stdout", unbuffered)
    monkeypatch.setattr(sys, "__stdout__", unbuffered)
    sys.stdout.write("lost after seven\n")
    assert raw.taken == b"lost af"
    stdio.whole()
    sys.stdout.write("all of this arrives, at the end of its line\n")
    assert raw.taken.endswith(b"all of this arrives, at the end of its line\n")


def test_streams_that_have_a_buffer_stay_as_they_are() -> None:
    """A pipe's that has a buffer, and a test's own."""
    before = sys.stdout
    stdio.whole()
    assert sys.stdout is before
