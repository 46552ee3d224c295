"""One child, as a real process: ready, crashing, stopping, and never outliving its supervisor."""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from tests.support import waiting

from sixfold import clock as clocks
from sixfold.supervisor import restart
from sixfold.supervisor.child import Child
from sixfold.supervisor.plan import ProcessSpec
from sixfold.supervisor.restart import State

QUICK = restart.Policy(backoff_s=0.01, backoff_max_s=0.05, stop_s=0.5)

READY = """
import os, signal, threading
from sixfold.supervisor.lifeline import Lifeline
line = Lifeline.from_environment(os.environ)
assert "SIXFOLD_LIFELINE_FD" not in os.environ
line.watch(lambda: print("lost", flush=True), grace_s=0.2)
line.ready()
print("serving as", line.name, flush=True)
"""
SERVE = READY + "signal.pause()\n"
STUBBORN = "import signal\nsignal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY + "while True: signal.pause()\n"


@pytest.fixture
def make(tmp_path: Path) -> Callable[[str], Child]:
    """A child that runs a program."""

    def child(program: str) -> Child:
        return Child(
            ProcessSpec(name="this.child", command=(sys.executable, "-c", program)),
            log=tmp_path / "logs" / "this.child.log",
            clock=clocks.SystemClock(),
            rng=random.Random(1),
            environment=os.environ,
            policy=QUICK,
        )

    return child


async def test_a_child_is_running_once_it_says_so(make: Callable[[str], Child], tmp_path: Path) -> None:
    """Not before: the state follows the child's own word, and its output is in its log."""
    child = make(SERVE)
    await asyncio.wait_for(child.start(), 20)
    status = child.status()
    assert (status.state, status.restarts) == ("running", 0)
    assert status.pid is not None
    log = tmp_path / "logs" / "this.child.log"
    await waiting.eventually(lambda: "serving as this.child" in log.read_text(), "the child's output is in its log")
    assert log.stat().st_mode & 0o777 == 0o600
    await asyncio.wait_for(child.stop(), 20)
    assert child.status().state == "stopped"
    assert child.status().pid is None
    await child.close()


async def test_a_child_that_is_killed_is_started_again(make: Callable[[str], Child]) -> None:
    """Another pid, one restart more, and how it ended is told."""
    child = make(SERVE)
    await asyncio.wait_for(child.start(), 20)
    first = child.status().pid
    assert first is not None
    os.kill(first, signal.SIGKILL)
    await asyncio.wait_for(child.until(State.WAITING, State.STARTING), 20)
    await asyncio.wait_for(child.until(State.RUNNING), 20)
    status = child.status()
    assert status.pid not in (None, first)
    assert (status.restarts, status.reason) == (1, "killed by SIGKILL")
    await asyncio.wait_for(child.stop(), 20)
    await child.close()


async def test_a_child_that_cannot_start_is_tried_again_and_says_why(make: Callable[[str], Child]) -> None:
    """The last line that it wrote is the reason; stopping ends the attempts."""
    child = make("import sys; sys.exit('error: the disk is on fire')")
    child.apply(restart.Happening.START)
    await waiting.eventually(lambda: child.status().restarts >= 3, "several restarts")
    assert child.status().reason == "exit code 1: error: the disk is on fire"
    await asyncio.wait_for(child.stop(), 20)
    assert child.status().state == "stopped"
    await child.close()


async def test_a_child_that_does_not_stop_is_killed(make: Callable[[str], Child]) -> None:
    """SIGKILL follows SIGTERM after the policy's time, no sooner."""
    child = make(STUBBORN)
    await asyncio.wait_for(child.start(), 20)
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await asyncio.wait_for(child.stop(), 20)
    assert loop.time() - begun >= QUICK.stop_s
    await child.close()


async def test_a_command_that_does_not_exist_is_a_reason_not_a_crash(tmp_path: Path) -> None:
    """The supervisor goes on."""
    child = Child(
        ProcessSpec(name="none", command=("/no/such/program",)),
        log=tmp_path / "none.log",
        clock=clocks.SystemClock(),
        rng=random.Random(1),
        environment={},
        policy=QUICK,
    )
    child.apply(restart.Happening.START)
    await waiting.eventually(lambda: child.status().restarts >= 1, "a restart")
    assert child.status().reason.startswith("cannot be started")
    await asyncio.wait_for(child.stop(), 20)
    await child.close()


async def test_a_listener_that_fails_does_not_end_the_life_of_a_child_half_way(tmp_path: Path) -> None:
    """The child starts, comes back after a crash, and `stop` ends, though nobody could be told."""

    def broken(child: Child) -> None:
        raise OSError(28, "No space left on device")

    child = Child(
        ProcessSpec(name="this.child", command=(sys.executable, "-c", SERVE)),
        log=tmp_path / "this.child.log",
        clock=clocks.SystemClock(),
        rng=random.Random(1),
        environment=os.environ,
        policy=QUICK,
        changed=broken,
    )
    starting = asyncio.create_task(child.start())
    await waiting.eventually(starting.done, "it is started")
    pid = child.status().pid
    assert pid is not None
    os.kill(pid, signal.SIGKILL)
    await waiting.eventually(lambda: child.status().restarts == 1 and child.state is State.RUNNING, "it is back")
    await asyncio.wait_for(child.stop(), 20)
    await child.close()


SUPERVISOR = """
import asyncio, os, random, sys
from pathlib import Path
from sixfold import clock
from sixfold.supervisor.child import Child
from sixfold.supervisor.plan import ProcessSpec

async def main():
    child = Child(
        ProcessSpec(name="orphan", command=(sys.executable, "-c", sys.argv[1])), log=Path(sys.argv[2]),
        clock=clock.SystemClock(), rng=random.Random(1), environment=os.environ,
    )
    await child.start()
    print(child.status().pid, flush=True)
    await asyncio.Event().wait()

asyncio.run(main())
"""


@pytest.mark.parametrize("program", [SERVE, STUBBORN], ids=["serves", "ignores SIGTERM"])
async def test_a_child_does_not_outlive_a_supervisor_that_was_killed(program: str, tmp_path: Path) -> None:
    """The kernel closes the lifeline with the supervisor; the child notices and ends, even one that hangs."""
    log = tmp_path / "orphan.log"
    command = [sys.executable, "-c", SUPERVISOR, program, str(log)]
    supervisor = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    assert supervisor.stdout is not None
    pid = int(await supervisor.stdout.readline())
    supervisor.kill()
    await supervisor.wait()
    await waiting.eventually(lambda: not Path(f"/proc/{pid}").exists() or _is_zombie(pid), "the child ended")
    assert "lost" in log.read_text()


def _is_zombie(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True
