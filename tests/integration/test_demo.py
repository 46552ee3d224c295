"""`sixfold demo` as a user starts it: what it shows, how it fails, and that it always leaves the machine as it was."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import socket
import sys
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.support import leftovers
from tests.support.checkout import ROOT, Checkout
from tests.support.tree import Tree

from sixfold import Event, Publisher
from sixfold.bus import EARLIEST, TopicPartition, TopicSpec, open_bus
from sixfold.demo import place, processes, steps

pytestmark = [pytest.mark.slow, pytest.mark.timeout(480)]


class Kept(Event, topic="test.kept", key="number"):
    """Something that a user gave a system to keep."""

    number: int


class Demonstration:
    """One call of `sixfold demo`, or of the script behind `make demo`."""

    def __init__(self, data_dir: Path, checkout: Path, *options: str, script: str = "") -> None:
        words = ["--repository", str(checkout), *options]
        demo = [sys.executable, "-m", "sixfold", "--bus", "embedded:", "demo", *words]
        self._command = [str(ROOT / "examples" / "demo.sh"), script, *words] if script else demo
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("SIXFOLD_")}
        self._environment = {
            **inherited,
            "SIXFOLD_DATA_DIR": str(data_dir),
            "SIXFOLD_BUS": "kafka://127.0.0.1:1",  # of some other system of the user's
            "PYTHON": sys.executable,
        }
        self.errors = ""

    async def __aenter__(self) -> Demonstration:
        self._process = await asyncio.create_subprocess_exec(
            *self._command,
            env=self._environment,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._process.returncode is None:
            self._process.kill()
            await self._process.wait()

    async def until(self, text: str) -> None:
        """Return once it has said `text`."""
        assert self._process.stderr is not None
        while text not in self.errors:
            line = await self._process.stderr.readline()
            assert line, f"ended without {text!r}: {self.errors}"
            self.errors += line.decode()

    def send(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    async def unread(self) -> int:
        """Its exit code, when nobody reads what it says from now on."""
        self._process._transport.get_pipe_transport(2).close()  # type: ignore[attr-defined]
        return await self._process.wait()

    async def ended(self) -> tuple[int, str, str]:
        """Its exit code, its output and its errors."""
        out, errors = await self._process.communicate()
        assert self._process.returncode is not None
        self.errors += errors.decode()
        assert "Traceback" not in self.errors
        return self._process.returncode, out.decode(), self.errors


async def run(data_dir: Path, checkout: Path, *options: str, script: str = "") -> tuple[int, str, str]:
    """A demonstration from its beginning to its end."""
    async with Demonstration(data_dir, checkout, *options, script=script) as demonstration:
        return await demonstration.ended()


@pytest.fixture
async def checkout(tmp_path: Path) -> AsyncIterator[Checkout]:
    """What is pushed; where the test fails, what it left behind is ended."""
    yield await Checkout(tmp_path / "checkout").make()
    processes.kill(leftovers.processes_of(tmp_path))


async def test_a_run_shows_every_step_leaves_no_process_and_can_be_repeated(tmp_path: Path, checkout: Checkout) -> None:
    """Exit code 0 and a table with every step, nothing that it started runs any more; and so again on the same folder."""
    commit = await checkout.git("rev-parse", "HEAD")
    code, out, errors = await run(tmp_path / "data", checkout.folder)
    assert code == 0, errors
    assert [step.title for step in steps.STEPS if step.title not in errors] == []
    for promised in (
        "Sixfold at work",
        "2 commits",
        "stages build, deploy",
        "i-1, i-2, i-3",
        "10,000 records",
        "32 bytes",
    ):
        assert promised in " ".join(out.replace("│", " ").split()), promised
    await leftovers.none_left(tmp_path)

    code, out, errors = await run(tmp_path / "data", checkout.folder, "--json")
    assert code == 0, errors
    lines = json.loads(out)
    assert [line["step"] for line in lines] == [step.title for step in steps.STEPS]
    assert all(line["took_s"] >= 0 and line["what"] and line["look"] for line in lines)
    assert lines[3]["what"] == f"revision {commit[:12]} answers on i-1, i-2, i-3"
    await leftovers.none_left(tmp_path)


async def test_a_hook_that_fails_after_some_deploys_is_the_reason_and_nothing_is_left(
    tmp_path: Path, checkout: Checkout
) -> None:
    """The service on the first instance runs, the second one's check fails, and stopping fails too: all is ended."""
    checkout.break_script("validate.sh", "i-2", 7)
    checkout.break_script("stop.sh", "i-1", 8)
    start = checkout.service / "scripts" / "start.sh"
    start.write_text(start.read_text().replace('"$(dirname "$0")/stop.sh"\n', ""))
    await checkout.commit("No good")
    code, out, errors = await run(tmp_path / "data", checkout.folder)
    assert (code, out) == (1, "")
    assert "error: Run its pipeline: execution sixfold-" in errors
    assert "i-2: ValidateService failed: script scripts/validate.sh failed with exit code 7" in errors
    assert (tmp_path / "data" / "demo" / "deploy" / "instances" / "i-1" / "root" / "run" / "web.json").exists()
    await leftovers.none_left(tmp_path)


async def test_a_port_that_is_taken_is_the_reason(tmp_path: Path, checkout: Checkout) -> None:
    """It cannot start the system: exit code 1, which port and what to do, and nothing is left."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, out, errors = await run(tmp_path / "data", checkout.folder, "--port", str(port))
    assert (code, out) == (1, "")
    assert f"port {port} on 127.0.0.1 is in use by another process" in errors
    await leftovers.none_left(tmp_path)


@pytest.mark.parametrize(
    ("number", "during", "again", "code"),
    [
        pytest.param(signal.SIGINT, "stages build, deploy succeeded", False, 130, id="Ctrl-C"),
        pytest.param(signal.SIGTERM, "starting every process", False, 143, id="SIGTERM"),
        pytest.param(signal.SIGHUP, "starting every process", False, 129, id="SIGHUP"),
        pytest.param(signal.SIGINT, "stages build, deploy succeeded", True, 130, id="Ctrl-C twice"),
    ],
)
async def test_an_interrupted_run_ends_what_it_started(
    tmp_path: Path, checkout: Checkout, number: signal.Signals, during: str, again: bool, code: int
) -> None:
    """130 for Ctrl-C, 143 for SIGTERM, no traceback, and neither the system nor a deployed service runs any more."""
    async with Demonstration(tmp_path / "data", checkout.folder) as demonstration:
        await demonstration.until(during)
        demonstration.send(number)
        if again:
            await demonstration.until("Stop what was started")
            demonstration.send(number)
        found, out, errors = await demonstration.ended()
    assert (found, out) == (code, "")
    assert f"ended by {number.name}" in errors
    await leftovers.none_left(tmp_path)


async def test_a_reader_who_goes_away_ends_the_run(tmp_path: Path, checkout: Checkout) -> None:
    """`sixfold demo 2>&1 | head`: it cannot show anything any more, and what it started is ended all the same."""
    async with Demonstration(tmp_path / "data", checkout.folder) as demonstration:
        await demonstration.until("starting every process")
        assert await demonstration.unread() == 141
    await leftovers.none_left(tmp_path)


async def test_a_system_that_runs_there_is_neither_replaced_nor_stopped(tmp_path: Path, checkout: Checkout) -> None:
    """The summary says how to start the demonstration's system again; the next run refuses and says how to stop it."""
    folder = tmp_path / "data" / place.FOLDER
    tree = Tree(folder)
    folder.mkdir(parents=True)
    (folder / place.MARK).touch()
    await tree.start()
    try:
        async with open_bus(data_dir=folder) as bus:
            await bus.create_topics([TopicSpec(name=Kept.__event__.topic, partitions=1)])
            await Publisher(bus, source="/test").publish(Kept(number=1))
        code, out, errors = await run(tmp_path / "data", checkout.folder)
        assert (code, out) == (2, "")
        assert f"a system runs on {folder} (pid {tree.pid})" in errors
        assert f"stop that one first: sixfold --data-dir {folder} down" in errors
        kept = [TopicPartition(Kept.__event__.topic, 0)]
        async with open_bus(data_dir=folder) as bus, bus.assign(kept, start=EARLIEST) as consumer:
            assert len(await consumer.fetch(wait_s=5)) == 1, "what it acknowledged is still there"
    finally:
        assert await tree.stop() == 0
    await leftovers.none_left(tmp_path)


@pytest.mark.kafka
async def test_on_kafka_it_runs_twice_on_one_cluster(tmp_path: Path, checkout: Checkout) -> None:
    """`make demo BUS=kafka`, twice: the second finds keys, executions and a volume of the first, and all works again.

    Another data folder on that cluster could open none of them; it is told so before anything is started.
    """
    absent = [tool for tool in ("java", "mvn") if shutil.which(tool) is None]
    if absent:
        missing(f"{' and '.join(absent)} is missing, so no local Kafka can be started")
    data_dir = tmp_path / "data"
    for run_number in (1, 2):
        code, out, errors = await run(data_dir, checkout.folder, "--json", script="kafka")
        assert code == 0, errors
        what = [line["what"] for line in json.loads(out)]
        assert ("on what an earlier run left" in what[0]) == (run_number == 2)
        await leftovers.none_left(tmp_path, deadline_s=10)
    (former,) = data_dir.glob("demo-*")
    former.rename(tmp_path / "elsewhere")
    code, out, errors = await run(data_dir, checkout.folder, script="kafka")
    assert (code, out) == (2, "")
    assert "has keys and a volume of another data folder" in errors
    await leftovers.none_left(tmp_path, deadline_s=10)
