"""What a newcomer and the checks call: `make`'s targets and `.ci/run`, which cleans up behind itself."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from tests import conftest

ROOT = Path(__file__).parents[2]
MAKEFILE = (ROOT / "Makefile").read_text()
TARGETS = re.findall(r"^([a-z-]+):", MAKEFILE, re.MULTILINE)


def test_every_phony_target_has_a_rule_and_every_rule_is_phony() -> None:
    """`make` offers nothing that it cannot do, and no file of a target's name keeps it from running."""
    [named] = re.findall(r"^\.PHONY: (.*)$", MAKEFILE, re.MULTILINE)
    assert sorted(named.split()) == sorted(TARGETS)


def test_every_bus_that_the_help_offers_is_one_that_the_demonstration_takes() -> None:
    """`make demo BUS=…` with any other value ends with what would have worked."""
    [offered] = re.findall(r"BUS=([a-z]+(?:, [a-z]+)* or [a-z]+)", MAKEFILE)
    taken = re.findall(r"^  ([a-z]+)\)", (ROOT / "examples" / "demo.sh").read_text(), re.MULTILINE)
    assert sorted(re.split(r", | or ", offered)) == sorted(taken)


def test_the_files_that_may_take_longest_are_begun_first(request: pytest.FixtureRequest) -> None:
    """Else one process works on them alone in the end, while the others have nothing left."""
    assert "--dist loadfile --no-loadscope-reorder" in MAKEFILE, "xdist's own order begins with the most tests"
    modules = [pytest.Module.from_parent(request.session, path=ROOT / name) for name in ("a.py", "b.py", "c.py")]
    items: list[pytest.Item] = [
        pytest.Function.from_parent(module, name=name, callobj=lambda: None) for module in modules for name in "xy"
    ]
    items[3].add_marker(pytest.mark.slow)
    items[4].add_marker(pytest.mark.slow)
    items[4].add_marker(pytest.mark.timeout(900))
    conftest.pytest_collection_modifyitems(items)
    assert [(item.path.name, item.name) for item in items] == [(f"{of}.py", name) for of in "cba" for name in "xy"]


# A tool that notes its call, and answers what .ci/run reads.
TOOL = """#!/bin/sh
echo "$(basename "$0") $*" >>"$CALLS"
case "$(basename "$0") $*" in
  "${FAILS:-nothing}"*) exit 7 ;;
  "containers engine") echo "export DOCKER_HOST=unix:///nowhere" ;;
  "containers image") echo an-image ;;
  "local start"*) echo 127.0.0.1:9092 ;;
esac
"""


def ci(folder: Path, *, fails: str = "") -> tuple[int, list[str]]:
    """The exit code of `.ci/run` with every tool of it replaced, and the calls that it made."""
    tools = folder / "bin"
    for path in (*(tools / name for name in ("git", "make", "java", "mvn", "curl", "apt-get")), folder / "python"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(TOOL)
        path.chmod(0o755)
    clone = folder / "clone"
    for name in ("tests/kafka/containers", "tests/kafka/local", ".venv/bin/python"):
        (clone / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(folder / "python", clone / name)
    (clone / ".ci").mkdir()
    shutil.copy(ROOT / ".ci" / "run", clone / ".ci" / "run")
    calls = folder / "calls"
    environment = {
        "PATH": f"{tools}:{os.environ['PATH']}",
        "CALLS": str(calls),
        "FAILS": fails,
        "TMPDIR": str(folder / "tmp"),
    }
    (folder / "tmp").mkdir()
    done = subprocess.run([clone / ".ci" / "run"], env=environment, capture_output=True, text=True, check=False)
    assert not [*(folder / "tmp").iterdir()], "a folder is left behind"
    return done.returncode, calls.read_text().splitlines()


def test_the_checks_run_what_the_readme_promises_and_stop_what_they_started(tmp_path: Path) -> None:
    """The tests, in containers too, simulated volumes, the demonstration on both buses; then nothing goes on."""
    code, calls = ci(tmp_path)
    assert code == 0
    made = [call.partition(" REPORTS=")[0] for call in calls if call.startswith("make ")]
    assert made[0] == "make setup lint types imports"
    assert sorted(made[1:3]) == ["make simulate SEEDS=200", "make test PROCESSES=3"], "side by side"
    assert made[3:] == ["make demo", "make demo BUS=kafka"]
    assert "-m containers" in MAKEFILE
    assert calls[-1] == "containers stop"
    started = [call.split()[2] for call in calls if call.startswith("local start ")]
    assert calls[-4:-1] == [f"local stop {folder}" for folder in started]
    assert len(set(started)) == 3, "a broker for each process of the tests"


@pytest.mark.parametrize("fails", ["make test", "make simulate", "make demo", "containers image"])
def test_checks_that_fail_say_so_and_stop_what_they_started_too(tmp_path: Path, fails: str) -> None:
    """The exit code is not 0, nothing further is run, and the clean-up is the same."""
    code, calls = ci(tmp_path, fails=fails)
    assert code == 7
    [failed] = [index for index, call in enumerate(calls) if call.startswith(fails)]
    beside = ("make s", "make test", "python -")  # the tests run beside the simulation, checks beside the engine
    further = [call for call in calls[failed + 1 :] if not call.startswith(beside)]
    assert further == [*calls[-4:-1], "containers stop"]
    assert all(call.startswith("local stop ") for call in calls[-4:-1])
