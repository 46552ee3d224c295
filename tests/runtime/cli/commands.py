"""Calling `sixfold` as a user does: words in, an exit code and what it prints out."""

from __future__ import annotations

import contextlib
import io
import json
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

from sixfold.cli import main

ORDERS = '''
from sixfold import Context, Event, PermanentError, function


class OrderPlaced(Event, key="order_id"):
    """An order."""

    order_id: str
    amount_cents: int
    note: str = ""


class OrderAccepted(Event, key="order_id"):
    """An order that was taken."""

    order_id: str


@function(on=OrderPlaced, emits=[OrderAccepted])
async def accept(order: OrderPlaced, ctx: Context) -> str:
    """Take an order."""
    if order.amount_cents < 0:
        raise PermanentError("an order below nothing")
    ctx.emit(OrderAccepted(order_id=order.order_id))
    return "taken"
'''


class Sixfold:
    """The command line on one data folder."""

    def __init__(self, data_dir: Path) -> None:
        self.data_dir = data_dir
        self.app = data_dir.parent / "orders.py"
        self.app.write_text(ORDERS)

    @property
    def command(self) -> list[str]:
        """What comes before the verb."""
        return [sys.executable, "-m", "sixfold", "--data-dir", str(self.data_dir)]

    @property
    def environment(self) -> dict[str, str]:
        """Nothing of the caller's own Sixfold."""
        return {name: value for name, value in os.environ.items() if not name.startswith("SIXFOLD_")}

    def run(self, *words: str, text: str = "") -> subprocess.CompletedProcess[str]:
        """Call it to its end, in this process: what starts a process of its own costs a second."""
        out, problems = io.StringIO(), io.StringIO()
        standard_input = io.TextIOWrapper(io.BytesIO(text.encode()))
        with (
            mock.patch.object(sys, "stdin", standard_input),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(problems),
        ):
            try:
                main.main(["--data-dir", str(self.data_dir), *words])
                code: Any = 0
            except SystemExit as end:
                code = end.code or 0
        return subprocess.CompletedProcess(words, code, out.getvalue(), problems.getvalue())

    def spawn(self, *words: str, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        """Call it to its end, as a process."""
        command = [*self.command, *words]
        return subprocess.run(
            command, capture_output=True, text=True, timeout=timeout_s, check=False, env=self.environment
        )

    def good(self, *words: str, text: str = "") -> str:
        """What it prints; it must succeed."""
        done = self.run(*words, text=text)
        assert done.returncode == 0, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        return done.stdout

    def json(self, *words: str, text: str = "") -> Any:
        """The one JSON document that it prints with --json."""
        return json.loads(self.good(*words, "--json", text=text))

    def bad(self, *words: str, code: int, text: str = "") -> str:
        """Its error; it must fail with `code`, say so on standard error alone, and show no traceback."""
        done = self.run(*words, text=text)
        assert done.returncode == code, f"{words}: {done.returncode}\n{done.stdout}\n{done.stderr}"
        assert done.stdout == ""
        assert "Traceback" not in done.stderr
        return done.stderr

    def start(self, *words: str) -> subprocess.Popen[str]:
        """Call it and let it run; standard output and error come as one."""
        return subprocess.Popen(
            [*self.command, *words],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=self.environment,
        )


def until(process: subprocess.Popen[str], words: str) -> str:
    """What a process prints up to a line with `words`; it must get there. pytest's timeout is the deadline."""
    assert process.stdout is not None
    lines: list[str] = []
    for line in process.stdout:
        lines.append(line)
        if words in line:
            return "".join(lines)
    raise AssertionError(f"ended without {words!r}:\n{''.join(lines)}")


@contextlib.contextmanager
def running(sixfold: Sixfold, *words: str, ready: str) -> Iterator[subprocess.Popen[str]]:
    """A command that runs, from the line with `ready` on to the end of the block, where it is asked to stop."""
    process = sixfold.start(*words)
    try:
        until(process, ready)
        yield process
    finally:
        process.terminate()
        try:
            process.communicate(timeout=60)
        finally:
            process.kill()


def eventually(check: Callable[[], Any], what: str) -> Any:
    """Ask until it is so, and return what was said; there is no loop here, so it asks a process each time."""
    deadline = time.monotonic() + 150  # noqa: TID251 (the test's own time)
    while not (found := check()):
        assert time.monotonic() < deadline, what  # noqa: TID251
    return found
