"""The cell that a run lives in: nothing in it outlives its maker, and its zones can be cut off one by one."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pytest
from tests.conftest import missing
from tests.faults import cell
from tests.support import leftovers
from tests.support.checkout import ROOT
from tests.support.waiting import eventually

IN_A_CELL = "import sys; from tests.faults import cell; sys.exit(cell.run(sys.argv[1:]))"
ZONES = """
import asyncio, socket, subprocess
from tests.faults.zones import HUB, Zones

CONNECT = "import socket, sys; socket.create_connection((sys.argv[1], int(sys.argv[2])), timeout=0.5)"

async def main():
    zones = Zones()
    await zones.open()
    with socket.create_server((HUB, 0)) as server:
        def reach():
            where = [HUB, str(server.getsockname()[1])]
            commands = ([*zones.enter(zone), "python3", "-c", CONNECT, *where] for zone in "abc")
            return "".join("-+"[not subprocess.run(command, capture_output=True).returncode] for command in commands)
        print(reach())
        zones.cut("b")
        print(reach())
        zones.join("b")
        print(reach())
    await zones.close()

asyncio.run(main())
"""


@pytest.fixture(autouse=True)
def allowed() -> None:
    """Namespaces."""
    if refusal := cell.refused():
        missing(refusal)


@pytest.mark.parametrize("how", [signal.SIGTERM, signal.SIGKILL])
async def test_whatever_is_in_a_cell_ends_with_its_maker(tmp_path: Path, how: signal.Signals) -> None:
    """Also what was started in the background there."""
    script = f"tail -f /dev/null {tmp_path}/one 2>/dev/null & tail -f /dev/null {tmp_path}/two 2>/dev/null"
    maker = await asyncio.create_subprocess_exec(sys.executable, "-c", IN_A_CELL, "sh", "-c", script, cwd=ROOT)
    await eventually(lambda: sum("tail" in words for words in leftovers.processes_of(tmp_path).values()) > 1, "it runs")
    maker.send_signal(how)
    await maker.wait()
    await leftovers.none_left(tmp_path, 20.0)


def test_a_command_in_a_cell_gives_its_exit_code() -> None:
    """And is told apart from a cell that could not be made."""
    assert (
        subprocess.run([sys.executable, "-c", IN_A_CELL, "sh", "-c", "exit 7"], cwd=ROOT, check=False).returncode == 7
    )


def test_a_zone_that_is_cut_off_reaches_nothing_until_it_is_joined_again() -> None:
    """The others go on."""
    command = [sys.executable, "-c", IN_A_CELL, sys.executable, "-c", ZONES]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.stdout.split() == ["+++", "+-+", "+++"], done.stderr
