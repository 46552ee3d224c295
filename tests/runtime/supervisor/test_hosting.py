"""What stands around the work of one process."""

from __future__ import annotations

from pathlib import Path

from sixfold.process import Process
from sixfold.supervisor import hosting
from sixfold_events.registry import Registry


async def test_a_process_is_marked_as_ready_from_its_own_word_to_its_end(tmp_path: Path) -> None:
    """A mark that a killed one left behind is taken away before the next one begins."""
    mark = tmp_path / "run" / f"this.one{hosting.READY}"
    mark.parent.mkdir()
    mark.touch()
    seen: list[bool] = []

    async def serve(process: Process) -> None:
        seen.append(mark.exists())
        process.ready()
        seen.append(mark.exists())

    await hosting.host(hosting.Hosted(name="this.one", data_dir=tmp_path, registry=Registry(), run=serve, bus_url=None))
    assert seen == [False, True]
    assert not mark.exists()
