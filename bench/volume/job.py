"""What one process that appends is told."""

from __future__ import annotations

import json
import sys
from dataclasses import asdict, dataclass, field


@dataclass(frozen=True, kw_only=True)
class Job:
    """Append to `volume` on the bus at `url`, or to six bare files; say a JSON line for each load that was measured."""

    data_dir: str
    url: str = ""
    """Empty for six bare files."""
    volume: str = ""
    clients: tuple[int, ...] = ()
    """Loads to measure, one after the other: how many clients each has."""
    seconds: float = 4.0
    """Of each, once its rate is level."""
    fill_bytes: int = 0
    """Appended first, by large appends."""
    say_s: float = 0.0
    """Say the last acknowledged LSN so often, until killed."""
    processes: dict[str, int] = field(default_factory=dict)
    """Pids by name: whose processor time and fsyncs count, beside this process's own."""
    syncs: str = ""
    """Where the fsyncs are counted."""

    def text(self) -> str:
        """The job as one argument of a command."""
        return json.dumps(asdict(self))

    def command(self) -> list[str]:
        """What starts its process."""
        return [sys.executable, "-m", "bench.volume.appending", self.text()]


def told() -> Job:
    """The job that this process was started with."""
    return Job(**json.loads(sys.argv[1]))
