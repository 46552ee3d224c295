"""A registry for each test."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.registry import serving
from tests.support import buses


@pytest.fixture
async def registry(tmp_path: Path) -> AsyncIterator[serving.Served]:
    """On an embedded bus."""
    async with serving.served(buses.Place("embedded:", tmp_path)) as running:
        yield running
