"""A bus, the real git and a served repository for the Git room's tests."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.functions.git import serving
from tests.functions.git.client import Git

from sixfold.bus import opening, port
from sixfold_functions.git.client import GitRepositories


@pytest.fixture
def data_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    folder.mkdir()
    return folder


@pytest.fixture
async def bus(data_dir: Path) -> AsyncIterator[port.Bus]:
    async with opening.open_bus(data_dir=data_dir) as opened:
        await opened.create_topics([serving.TOPIC])
        yield opened


@pytest.fixture
def repositories(data_dir: Path) -> GitRepositories:
    return GitRepositories(data_dir)


@pytest.fixture
def git(tmp_path: Path, data_dir: Path) -> Git:
    home = tmp_path / "home"
    home.mkdir()
    return Git(home, data_dir)


@pytest.fixture
async def url(data_dir: Path, bus: port.Bus) -> AsyncIterator[str]:
    async with serving.serving(data_dir, bus) as found:
        yield f"{found}/git"
