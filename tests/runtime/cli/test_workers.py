"""`sixfold run --workers N`: the same functions in several processes, kept running, ended together."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess

import pytest
from tests.runtime.cli.commands import Sixfold, until
from tests.support import waiting

from sixfold import bus
from sixfold.cli import workers

pytestmark = pytest.mark.timeout(180)
NAMES = ["here.accept.0", "here.accept.1"]


def running(process: subprocess.Popen[str]) -> tuple[str, int]:
    """The next worker that is said to run."""
    line = until(process, "state=running").splitlines()[-1]
    plain = re.sub(r"\x1b\[\d*m", "", line)
    return re.findall(r"name=(\S+)", plain)[0], int(re.findall(r"pid=(\d+)", plain)[0])


def partitions(sixfold: Sixfold, name: str) -> list[str]:
    """What a worker was assigned, of all its lives, as its log says."""
    lines = (sixfold.data_dir / "logs" / f"{name}.log").read_text().splitlines()
    told = [json.loads(line) for line in lines if '"assigned"' in line]
    return [each["partitions"] for each in told]


async def test_workers_share_the_partitions_come_back_when_they_crash_and_end_together(sixfold: Sixfold) -> None:
    """Each has a name; one that is killed starts again; Ctrl-C lets all finish."""
    app = ["--app", str(sixfold.app)]
    process = sixfold.start("run", "--workers", "2", "--member-prefix", "here", str(sixfold.app))
    try:
        pids = dict([await asyncio.to_thread(running, process), await asyncio.to_thread(running, process)])
        assert sorted(pids) == NAMES

        def shared() -> bool:
            return all(partitions(sixfold, name) for name in NAMES)

        await waiting.eventually(shared, "both have partitions")
        os.kill(pids[NAMES[0]], signal.SIGKILL)
        name, pid = await asyncio.to_thread(running, process)
        assert name == NAMES[0]
        assert pid != pids[name]
        order = '{"order_id": "o-1", "amount_cents": 5}'
        published = await asyncio.to_thread(
            sixfold.spawn, *app, "publish", "order.placed", "--data", order, "--count", "20"
        )
        assert published.returncode == 0, published.stderr
        async with bus.open_bus("embedded:", data_dir=sixfold.data_dir) as opened:

            async def done() -> bool:
                return not any((await opened.lag("accept", ["order.placed"])).values())

            await waiting.eventually(done, "all is handled", 60.0)
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = await asyncio.to_thread(process.communicate, timeout=60)
    assert process.returncode == 0, said
    assert said.count("state=stopped") == 2
    for name in NAMES:
        log = (sixfold.data_dir / "logs" / f"{name}.log").read_text()
        assert '"ended"' in log.splitlines()[-1], log[-500:]


def test_names_stay_and_options_are_not_passed_on() -> None:
    """PREFIX.FUNCTIONS.INDEX; a worker does not start workers."""
    assert workers.names_of("a+b", 2, "host") == ["host.a+b.0", "host.a+b.1"]
    words = ["run", "--workers", "2", "--member-prefix=x", "f.py"]
    assert workers.words_without(words, "--workers", "--member-prefix") == ["run", "f.py"]


def test_a_service_is_no_worker(sixfold: Sixfold) -> None:
    """A storage node has one process."""
    assert "runs alone" in sixfold.bad("run", "volume.writer", "--workers", "2", code=2)
