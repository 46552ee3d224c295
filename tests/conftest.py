"""Fixtures for every test: a real Kafka where one can be had, and both back ends of the bus."""

from __future__ import annotations

import collections
import os
import signal
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import NoReturn

import pytest
import structlog
from tests.support import brokers, buses, naming

from sixfold.bus import port

TIMEOUT_S = 120
"""Of a test that names none, as pyproject.toml says."""

if "PYTEST_XDIST_WORKER" in os.environ:
    os.environ.pop("COLUMNS", None)  # of xdist's own making: what commands write to a pipe has no width to keep to

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # As in a shell's background job; what tests start would inherit it, and could not be interrupted.
    signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Files are given out in this order where several processes share them: none is left with a long one at the end."""
    may_take_s: collections.Counter[Path] = collections.Counter()
    for item in items:
        if item.get_closest_marker("slow"):
            timeout = item.get_closest_marker("timeout")
            may_take_s[item.path] += timeout.args[0] if timeout else TIMEOUT_S
    items.sort(key=lambda item: -may_take_s[item.path])  # stable: the tests of a file stay in their order


def missing(reason: str) -> NoReturn:
    """A service is not here: a skip at a desk, a failure where CI=true."""
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """A command that a test ran in this process sets up logging for itself, not for the tests after it."""
    yield
    structlog.reset_defaults()
    structlog.contextvars.clear_contextvars()


@pytest.fixture(scope="session")
def kafka_found() -> Iterator[str | brokers.NoBrokerError]:
    """A broker for the session, or why there is none."""
    try:
        with brokers.found() as bootstrap:
            yield bootstrap
    except brokers.NoBrokerError as error:
        yield error


@pytest.fixture
def kafka_bootstrap(kafka_found: str | brokers.NoBrokerError) -> str:
    """Bootstrap servers of a real Kafka."""
    if isinstance(kafka_found, brokers.NoBrokerError):
        missing(f"no Kafka: {kafka_found}")
    return str(kafka_found)


@pytest.fixture
def container_engine() -> None:
    """A container engine that has the Kafka image."""
    try:
        brokers.engine()
    except brokers.NoEngineError as error:
        missing(str(error))


@pytest.fixture(params=["embedded", pytest.param("kafka", marks=pytest.mark.kafka)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> buses.Place:
    """Each back end in turn."""
    if request.param == "kafka":
        return buses.Place(f"kafka://{request.getfixturevalue('kafka_bootstrap')}", tmp_path)
    return buses.Place("embedded:", tmp_path)


@pytest.fixture
async def bus(place: buses.Place, names: naming.Names) -> AsyncIterator[port.Bus]:
    """An open bus; what the test made on a cluster is deleted after it."""
    async with buses.open_bus(place) as opened:
        yield opened
        if place.is_kafka:
            await names.delete_all(place)


@pytest.fixture
def names() -> naming.Names:
    """Names that no other test uses: a cluster is shared."""
    return naming.Names()
