"""Packs stream through the gateway, and every side of a call has its limits."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import gzip
import os
import random
import re
from pathlib import Path

import httpx
import pytest
from tests.functions.git import serving
from tests.functions.git.client import Git, GitFailedError
from tests.support.waiting import eventually

from sixfold.bus import port
from sixfold_functions.git import protocol
from sixfold_functions.git.client import GitRepositories
from sixfold_functions.git.settings import MIB, GitSettings

BIG_BYTES = 96 * MIB
FETCH = {"Content-Type": "application/x-git-upload-pack-request"}


def peak_bytes(pid: int) -> int:
    """The most memory that a process ever held."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found
    return int(found[1]) * 1024


def environment_of(pid: int) -> bytes:
    return Path(f"/proc/{pid}/environ").read_bytes()


def client(data_dir: Path, url: str) -> httpx.AsyncClient:
    token = (data_dir / "credentials" / "bootstrap.token").read_text().strip()
    return httpx.AsyncClient(base_url=url, auth=("sixfold", token), timeout=30, trust_env=False)


def serving_git(path: Path) -> list[int]:
    """Pids of git's programs that serve a repository."""
    found = []
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            words = each.read_bytes()
            if str(path).encode() in words and b"--stateless-rpc" in words:
                found.append(int(each.parent.name))
    return found


@pytest.mark.slow
async def test_a_big_pack_streams_through_in_bounded_memory(
    git: Git, data_dir: Path, repositories: GitRepositories
) -> None:
    """The gateway's memory does not grow with the pack, neither in a push nor in a clone."""
    await repositories.create("web")
    async with serving.separate(data_dir) as (url, child):
        folder = await git.working_copy("work", f"{url}/git/web")
        await git("push", "--quiet", "origin", "main", cwd=folder)
        before = peak_bytes(child.pid)
        await git("config", "core.compression", "0", cwd=folder)
        await git.commit(folder, "big", random.Random(6).randbytes(BIG_BYTES))
        await git("push", "--quiet", "origin", "main", cwd=folder)
        await git("clone", "--quiet", f"{url}/git/web", "copy")
        assert (git.home / "copy" / "big").stat().st_size == BIG_BYTES
        assert peak_bytes(child.pid) - before < 24 * MIB


async def test_a_pack_over_the_limit_is_refused(
    git: Git, data_dir: Path, bus: port.Bus, repositories: GitRepositories
) -> None:
    """A push that is too large is told so, moves nothing and leaves nothing behind."""
    path = await repositories.create("web")
    async with serving.serving(data_dir, bus, settings=GitSettings(pack_bytes_max=2 * MIB)) as url:
        folder = await git.working_copy("work", f"{url}/git/web")
        await git.commit(folder, "big", random.Random(6).randbytes(4 * MIB))
        with pytest.raises(GitFailedError, match=r"exceeds maximum allowed size"):
            await git("push", "origin", "main", cwd=folder)
        assert repositories.refs("web") == {}
        assert list(path.glob("objects/pack/*")) + list(path.glob("objects/tmp*")) == []


async def test_a_small_request_that_unpacks_to_a_huge_one_is_refused(
    data_dir: Path, bus: port.Bus, repositories: GitRepositories
) -> None:
    """A gzip bomb ends at the limit; what is no gzip, and what is no git request, are named."""
    await repositories.create("web")
    settings = GitSettings(fetch_request_bytes_max=MIB)
    async with serving.serving(data_dir, bus, settings=settings) as url, client(data_dir, url) as http:
        have = protocol.packet(b"have " + b"a" * 40 + b"\n")
        bomb = gzip.compress(protocol.packet(b"command=fetch") + b"0001" + have * (32 * MIB // len(have)))
        headers = {**FETCH, "Content-Encoding": "gzip", "Git-Protocol": "version=2"}
        answer = await http.post("/git/web/git-upload-pack", content=bomb, headers=headers)
        assert (answer.status_code, "larger than" in answer.text) == (413, True)
        answer = await http.post(
            "/git/web/git-upload-pack",
            content=gzip.compress(b"0000")[:-4],
            headers={**FETCH, "Content-Encoding": "gzip"},
        )
        assert (answer.status_code, "not valid gzip" in answer.text) == (400, True)
        answer = await http.post(
            "/git/web/git-upload-pack", content=b"no gzip at all", headers={**FETCH, "Content-Encoding": "gzip"}
        )
        assert (answer.status_code, "not valid gzip" in answer.text) == (400, True)
        answer = await http.post("/git/web/git-upload-pack", content=b"x", headers={**FETCH, "Content-Encoding": "br"})
        assert answer.status_code == 415
        answer = await http.post("/git/web/git-upload-pack", content=b"0000")
        assert answer.status_code == 415
        answer = await http.get("/git/web/info/refs")
        assert answer.status_code == 403
        push = {"Content-Type": "application/x-git-receive-pack-request"}
        answer = await http.post("/git/web/git-receive-pack", content=b"GET / HTTP/1.1", headers=push)
        assert (answer.status_code, "four hex digits" in answer.text) == (400, True)


async def test_a_client_that_stops_sending_is_given_up(
    data_dir: Path, bus: port.Bus, repositories: GitRepositories
) -> None:
    """A request that never ends holds no git process for ever."""
    path = await repositories.create("web")
    async with serving.serving(data_dir, bus, settings=GitSettings(idle_timeout_s=0.2)) as url:
        reader, writer = await asyncio.open_connection("127.0.0.1", int(url.rpartition(":")[2]))
        writer.write(request_head(data_dir, "git-receive-pack", 1000) + b"0000")
        answer = await asyncio.wait_for(reader.read(1000), 30)
        assert answer.startswith(b"HTTP/1.1 408")
        writer.close()
        assert serving_git(path) == []


@pytest.mark.parametrize("service", ["git-upload-pack", "git-receive-pack"])
async def test_a_client_that_leaves_in_the_middle_leaves_no_process(
    data_dir: Path, url: str, repositories: GitRepositories, service: str
) -> None:
    """A connection that breaks ends git's program at once; half a push has moved nothing."""
    path = await repositories.create("web")
    _, writer = await asyncio.open_connection("127.0.0.1", int(re.findall(r":(\d+)", url)[0]))
    writer.write(request_head(data_dir, service, 1000) + b"0032")
    await eventually(lambda: serving_git(path), "git serves")
    writer.transport.abort()
    await eventually(lambda: not serving_git(path), "no git serves any more")
    assert repositories.refs("web") == {}


def request_head(data_dir: Path, service: str, length: int) -> bytes:
    token = (data_dir / "credentials" / "bootstrap.token").read_text().strip()
    basic = base64.b64encode(f"sixfold:{token}".encode()).decode()
    return (
        f"POST /git/web/{service} HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Basic {basic}\r\n"
        f"Content-Type: application/x-{service}-request\r\nContent-Length: {length}\r\n\r\n"
    ).encode()


async def test_no_secret_of_this_process_reaches_gits_programs(
    data_dir: Path, url: str, repositories: GitRepositories, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The environment of git's programs is an allow-list."""
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-this-process")
    path = await repositories.create("web")
    _, writer = await asyncio.open_connection("127.0.0.1", int(re.findall(r":(\d+)", url)[0]))
    writer.write(request_head(data_dir, "git-upload-pack", 1000))
    await eventually(lambda: serving_git(path), "git serves")
    (pid,) = serving_git(path)
    environment = environment_of(pid)
    assert b"GIT_CONFIG_COUNT" in environment
    assert b"secret-of-this-process" not in environment
    assert os.environ["AWS_SECRET_ACCESS_KEY"]
    writer.transport.abort()
    await eventually(lambda: not serving_git(path), "no git serves any more")
