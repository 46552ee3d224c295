"""Object stores of every kind: of this process, a folder, and one that speaks S3."""

from __future__ import annotations

import re
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from sixfold_functions.volume.backup import store


@pytest.fixture(scope="session")
def s3_url() -> Iterator[str]:
    """A server that speaks S3 and keeps nothing."""
    command = [sys.executable, "-m", "moto.server", "-H", "127.0.0.1", "-p", "0"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as server:
        try:
            assert server.stderr is not None
            said = (re.search(r"http://127\.0\.0\.1:(\d+)", line) for line in server.stderr)
            yield next(f"http://127.0.0.1:{match.group(1)}" for match in said if match)
        finally:
            server.terminate()


@pytest.fixture
def bucket(s3_url: str, monkeypatch: pytest.MonkeyPatch) -> str:
    """A new bucket, and what the environment must say to reach it."""
    name = f"bucket-{uuid.uuid4().hex}"
    said = {
        "AWS_ENDPOINT_URL": s3_url,
        "AWS_ACCESS_KEY_ID": "somebody",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "us-east-1",
    }
    for key, value in said.items():
        monkeypatch.setenv(key, value)
    httpx.put(f"{s3_url}/{name}", trust_env=False).raise_for_status()
    return name


@pytest.fixture(params=["memory", "obstore", "folder", "s3"])
def kept(request: pytest.FixtureRequest, tmp_path: Path) -> store.Store:
    """A store of each kind."""
    match request.param:
        case "memory":
            return store.MemoryStore()
        case "obstore":
            return store.open_store("memory:///")
        case "folder":
            return store.open_store(str(tmp_path / "backups"))
    return store.open_store(f"s3://{request.getfixturevalue('bucket')}/sixfold")
