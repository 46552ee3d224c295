"""Following clients' histories: who had an answer to what was asked since."""

from __future__ import annotations

from pathlib import Path

from tests.faults.progress import Progress
from tests.history.recording import Event, Recorder

from sixfold import clock as clocks


def test_only_answers_to_questions_since_the_mark_count(tmp_path: Path) -> None:
    """From every lane of every process, as it runs now."""
    path, clock = tmp_path / "history", clocks.SystemClock()
    progress = Progress(path, clock)
    assert not progress.anybody()
    assert not progress.everybody(["one"])
    with Recorder(path, clock) as recorder:

        def ask(process: str) -> Event:
            return recorder.invoke(process, "read", "x")

        early = [ask("one-1.0"), ask("one-1.1"), ask("two-1.0")]
        assert not progress.anybody()
        progress.mark()
        recorder.complete(early[0], "ok")
        recorder.complete(early[1], "info")
        assert not progress.anybody()
        recorder.complete(ask("one-1.0"), "ok")
        assert progress.anybody()
        assert not progress.everybody(["one"])
        recorder.complete(ask("one-1.1"), "fail")
        assert not progress.everybody(["one"])
        recorder.complete(ask("one-1.1"), "ok")
        assert progress.everybody(["one"])
        assert not progress.everybody(["one", "two"])
        recorder.complete(ask("two-2.0"), "ok")  # the lane of its earlier start was killed, and never answers
        assert progress.everybody(["one", "two"])
        progress.mark()
        assert not progress.anybody()
        assert progress.counts == {"invoke": 7, "ok": 4, "info": 1, "fail": 1}


def test_a_line_that_is_not_whole_yet_is_read_once_it_is(tmp_path: Path) -> None:
    """A writer may be amid it."""
    path, clock = tmp_path / "history", clocks.SystemClock()
    with Recorder(path, clock) as recorder:
        recorder.complete(recorder.invoke("one-1.0", "read", "x"), "ok")
    data = path.read_bytes()
    path.write_bytes(data[:-5])
    progress = Progress(path, clock)
    assert not progress.anybody()
    path.write_bytes(data)
    assert progress.anybody()
