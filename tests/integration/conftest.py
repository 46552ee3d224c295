"""Fixtures of the tests on a real Kafka."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.support import buses, naming

from sixfold.bus import port


@pytest.fixture
def cluster(kafka_bootstrap: str, tmp_path: Path) -> buses.Place:
    """A place on the session's Kafka."""
    return buses.Place(f"kafka://{kafka_bootstrap}", tmp_path)


@pytest.fixture
async def kafka(cluster: buses.Place, names: naming.Names) -> AsyncIterator[port.Bus]:
    """A bus there."""
    async with buses.open_bus(cluster) as bus:
        yield bus
        await names.delete_all(cluster)
