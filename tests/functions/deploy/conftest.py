"""Fixtures of the deploy room."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.deploy.system import System, running_system


@pytest.fixture
def silence_s() -> str:
    """Seconds after which an agent without a word counts as gone; a test may say another number."""
    return "60"


@pytest.fixture
async def system(tmp_path: Path, silence_s: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[System]:
    """A running system without agents."""
    monkeypatch.setenv("SIXFOLD_DEPLOY_SILENCE_S", silence_s)
    async with running_system(tmp_path) as running:
        yield running
