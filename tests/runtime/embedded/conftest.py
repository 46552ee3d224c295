"""Fixtures of the embedded bus's own tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.runtime.embedded import processes as processes_


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A bus's folder."""
    return tmp_path / "bus"


@pytest.fixture
def processes(folder: Path, tmp_path: Path) -> Iterator[processes_.Processes]:
    """Starts processes on the bus in `folder`."""
    notes = tmp_path / "notes"
    notes.mkdir()
    started = processes_.Processes(folder, notes)
    yield started
    started.close()
