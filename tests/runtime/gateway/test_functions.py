"""Which functions are well, as a table of what is seen of them."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from sixfold.gateway.functions import GONE_S, STALLED_S, FunctionStatus, Lying, Reports, Watch, look, quantile
from sixfold_events.system import FunctionReport, ProcessReported

NOW_MS = 1_415_811_600_000
WORK = Lying(lag=3, age_s=7.0, waiting=True, committed=10)
NOTHING = Lying(lag=0, age_s=0.0, waiting=False, committed=10)


def report(process: str = "p", *, stopped: bool = False, at_ms: int = NOW_MS, **counts: Any) -> ProcessReported:
    """What a process says of the function `f`."""
    return ProcessReported(
        process=process,
        pid=7,
        started_at_ms=1,
        reported_at_ms=at_ms,
        stopped=stopped,
        duration_bounds_s=[0.1, 1.0],
        functions=[FunctionReport(function="f", **counts)],
    )


class Seen:
    """One function over time."""

    def __init__(self) -> None:
        self.reports = Reports()
        self.watch = Watch()

    def at(self, now_s: float, lying: Lying, *reports: ProcessReported) -> FunctionStatus:
        """Its status, after `reports` came."""
        for each in reports:
            self.reports.fold(each, now_s, NOW_MS)
        (found,) = look(["f"], self.reports, {"f": lying}, self.watch, now_s, {"f": 60.0})
        return found


def test_records_that_lie_there_while_nothing_moves_are_a_stall_after_a_minute() -> None:
    """Heartbeats alone move nothing; a commit or an attempt does; nothing to do is no stall."""
    seen = Seen()
    assert seen.at(0, WORK, report()).status == "ok"
    assert seen.at(STALLED_S, WORK, report()).status == "ok"
    stalled = seen.at(STALLED_S + 1, WORK, report())
    assert (stalled.status, stalled.well) == ("stalled", False)
    assert "3 records lie there and nothing moved for 61 s" in stalled.reason
    assert seen.at(STALLED_S + 2, msgspec.structs.replace(WORK, committed=11), report()).status == "ok"
    assert seen.at(STALLED_S * 2 + 1, msgspec.structs.replace(WORK, committed=11), report(attempts=1)).status == "ok"
    assert seen.at(STALLED_S * 4, NOTHING, report(attempts=1)).status == "ok"
    assert seen.at(STALLED_S * 4 + 1, WORK, report(attempts=1)).status == "ok"


def test_who_waits_is_not_stalled() -> None:
    """For the time of a retry, for an open breaker, and for a handler as long as it may take."""
    for counts in ({"retrying": 1}, {"breaker": "open"}):
        seen = Seen()
        seen.at(0, WORK, report(**counts))
        assert seen.at(1000, WORK, report(**counts)).status == "ok"
    seen = Seen()
    for now_s, status in ((0, "ok"), (STALLED_S + 300, "ok"), (STALLED_S + 301, "stalled")):
        assert seen.at(now_s, WORK, report(running=1, timeout_s=300.0)).status == status


def test_a_function_that_no_process_runs_is_idle_until_records_wait_for_it() -> None:
    """That nobody runs it is only wrong where it has something to do."""
    seen = Seen()
    assert (seen.at(0, NOTHING).status, seen.at(0, NOTHING).well) == ("idle", True)
    assert seen.at(1000, NOTHING).status == "idle"
    assert seen.at(1000, WORK).status == "idle"
    assert "no process runs it" in seen.at(1000 + STALLED_S + 1, WORK).reason


def test_a_process_that_fell_silent_is_gone_and_one_that_stopped_is_not() -> None:
    """Another process that runs the function makes it well again."""
    seen = Seen()
    assert seen.at(0, NOTHING, report("p")).status == "ok"
    gone = seen.at(GONE_S + 1, NOTHING)
    assert (gone.status, gone.processes) == ("gone", ())
    assert "p (pid 7) fell silent" in gone.reason
    assert seen.at(GONE_S + 2, NOTHING, report("q")).status == "ok"
    assert seen.at(GONE_S + 3, NOTHING, report("q", stopped=True), report("p", stopped=True)).status == "idle"


def test_an_old_report_that_is_read_at_the_start_is_no_sign_of_life() -> None:
    """What was said long ago was said by somebody who may be gone since."""
    seen = Seen()
    assert seen.at(1000, NOTHING, report(at_ms=NOW_MS - 120_000)).status == "gone"
    assert seen.at(1001, NOTHING, report(at_ms=NOW_MS - 120_000)).status == "ok"


def test_code_that_contradicts_its_declaration_is_halted_whatever_else() -> None:
    """All processes of the function are told together, the worst of them first."""
    found = Seen().at(
        0,
        WORK,
        report("p", halted="wrong", records=1, breaker="closed", duration_counts=[1, 2, 3]),
        report("q", records=2, breaker="half-open", duration_counts=[1, 0, 0]),
    )
    assert (found.status, found.reason, found.processes) == ("halted", "wrong", ("p", "q"))
    assert (found.records, found.breaker) == (3, "half-open")
    assert (found.lag, found.age_s) == (3, 7.0)


def test_rate_and_durations_are_those_between_the_last_two_reports() -> None:
    """What happened an hour ago says nothing of now; a process that tells nothing new does nothing."""
    seen = Seen()
    first = report(records=1000, duration_counts=[0, 100, 0])
    assert seen.at(0, NOTHING, first).records_per_s == 0.0
    assert seen.at(0, NOTHING).p50_s == pytest.approx(0.55)
    second = report(at_ms=NOW_MS + 5000, records=1050, duration_counts=[50, 100, 0])
    found = seen.at(5, NOTHING, second)
    assert found.records_per_s == 10.0
    assert found.p50_s == pytest.approx(0.05)
    assert found.p99_s == pytest.approx(0.099)
    assert seen.at(17, NOTHING).records_per_s == 0.0
    again = msgspec.structs.replace(report(records=5, at_ms=NOW_MS + 9000), started_at_ms=9)
    assert seen.at(18, NOTHING, again).records_per_s == 0.0, "a new process of that name counts from zero"


def test_quantiles_are_estimated_as_prometheus_does() -> None:
    """Linear within a bucket, the last bound above it, nothing of nothing."""
    assert quantile([1.0, 2.0], [10, 10, 0], 0.75) == pytest.approx(1.5)
    assert quantile([1.0, 2.0], [0, 0, 5], 0.5) == 2.0
    assert quantile([1.0], [0, 0], 0.5) is None
