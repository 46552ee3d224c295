"""The command line on a data folder of its own."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from tests.runtime.cli import commands


@pytest.fixture
def sixfold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> commands.Sixfold:
    """`sixfold` with a data folder that does not exist yet, and an app of a user's own beside it."""
    monkeypatch.delitem(sys.modules, "orders", raising=False)
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in ("SIXFOLD_DATA_DIR", "SIXFOLD_BUS", "SIXFOLD_APP"):
        monkeypatch.delenv(name, raising=False)
    return commands.Sixfold(tmp_path / "data")
