"""How each function is, and whether that is well: what lies on the bus for it, and what its processes say. Pure.

A function is not well where its code contradicts its declaration (`halted`), where a process that ran it fell silent
and no other one runs it (`gone`), or where records lie there for it and nothing has moved for a minute (`stalled`).
Who waits is not stalled: for a handler within its time limit, for the time of a retry, for its circuit breaker.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import msgspec

from sixfold.telemetry import reporting
from sixfold_events.system import FunctionReport, ProcessReported

STALLED_S = 60.0
"""As long as a worker takes until it restarts itself (`Limits.stuck_s`): it has its chance first, nearly."""
GONE_S = 3 * reporting.HEARTBEAT_S
FORGOTTEN_S = 24 * 3600.0
"""A process that was silent for so long is history."""


class FunctionStatus(msgspec.Struct, frozen=True, kw_only=True):
    """One function, all its processes together."""

    name: str
    status: str
    """`ok`, `stalled`, `halted`, `gone`, or `idle` where no process runs it and nothing lies there for it."""
    reason: str = ""
    """Why it is not well."""
    processes: tuple[str, ...] = ()
    """Those that run it now."""
    lag: int | None = None
    """Records that it has not committed; None where the bus does not say."""
    age_s: float | None = None
    """Age of the oldest of them; 0 without any, None where the bus does not say."""
    records: int = 0
    """Done with since its processes started, as all counts here."""
    attempts: int = 0
    failures: int = 0
    dead_letters: int = 0
    restarts: int = 0
    running: int = 0
    retrying: int = 0
    breaker: str = ""
    records_per_s: float = 0.0
    """Between the last two reports of each process."""
    p50_s: float | None = None
    """Half of the attempts took no longer, of those between the last two reports, else of all; None without any."""
    p99_s: float | None = None

    @property
    def well(self) -> bool:
        """Whether nothing is wrong with it."""
        return self.status in ("ok", "idle")


class Lying(msgspec.Struct, frozen=True, kw_only=True):
    """What lies on the bus for a function."""

    lag: int
    age_s: float | None
    """Of the oldest record; None where it was not read."""
    waiting: bool
    """There is a record that the function has to handle; without, the lag is of what no reader sees, or before its start."""
    committed: int
    """Sum of the committed offsets: it changes when something moves."""


@dataclass
class Reports:
    """The newest reports of all processes, and when each was heard of."""

    newest: dict[str, ProcessReported] = field(default_factory=dict)
    _before: dict[str, ProcessReported] = field(default_factory=dict)
    _heard_s: dict[str, float] = field(default_factory=dict)

    def fold(self, report: ProcessReported, now_s: float, now_ms: int) -> None:
        """A process reported. Its first report may be old, and says so; of later ones only the arrival counts."""
        known = self.newest.get(report.process)
        if known is not None and known.started_at_ms == report.started_at_ms:
            self._before[report.process] = known
        else:
            self._before.pop(report.process, None)  # another process of that name: its counts begin at zero
        self.newest[report.process] = report
        age_s = max(0.0, (now_ms - report.reported_at_ms) / 1000) if known is None else 0.0
        self._heard_s[report.process] = now_s - age_s

    def living(self, now_s: float) -> list[ProcessReported]:
        """Of processes that are there."""
        return [each for each in self.newest.values() if not each.stopped and self.silent_s(each, now_s) <= GONE_S]

    def gone(self, now_s: float) -> list[ProcessReported]:
        """Of processes that fell silent, without a word of farewell."""
        return [
            each
            for each in self.newest.values()
            if not each.stopped and GONE_S < self.silent_s(each, now_s) <= FORGOTTEN_S
        ]

    def recent(self, report: ProcessReported, now: FunctionReport, now_s: float) -> tuple[float, list[int]]:
        """Records per second and the durations of attempts, between a process's last two reports."""
        before = self._before.get(report.process)
        then = next((each for each in before.functions if each.function == now.function), None) if before else None
        if before is None or then is None:
            return 0.0, []
        counts = [new - old for new, old in zip(now.duration_counts, then.duration_counts, strict=False)]
        took_s = (report.reported_at_ms - before.reported_at_ms) / 1000
        if took_s <= 0 or self.silent_s(report, now_s) > 2 * reporting.INTERVAL_S + 1.0:
            return 0.0, counts  # it would have told if there had been more
        return max(0, now.records - then.records) / took_s, counts

    def silent_s(self, report: ProcessReported, now_s: float) -> float:
        """For how long nothing was heard of a process."""
        return now_s - self._heard_s[report.process]


class Watch:
    """Remembers since when nothing has moved for each function."""

    def __init__(self) -> None:
        self._seen: dict[str, tuple[tuple[int, ...], float]] = {}

    def still_s(self, name: str, mark: tuple[int, ...], now_s: float, *, work: bool) -> float:
        """For how long `name` had work and moved nothing, `mark` being what changes when it does."""
        if not work or self._seen.get(name, (None, 0.0))[0] != mark:
            self._seen[name] = (mark, now_s)
        return now_s - self._seen[name][1]


def look(
    names: Iterable[str],
    reports: Reports,
    lying: Mapping[str, Lying],
    watch: Watch,
    now_s: float,
    timeouts_s: Mapping[str, float],
) -> list[FunctionStatus]:
    """The status of every function that is known by name or runs somewhere, by name."""
    living, gone = reports.living(now_s), reports.gone(now_s)
    running = {each.function for report in (*living, *gone) for each in report.functions}
    found = []
    for name in sorted({*names, *running}):
        here = [(report, each) for report in living for each in report.functions if each.function == name]
        lost = [report for report in gone if any(each.function == name for each in report.functions)]
        status = _status(name, here, lost, lying.get(name), watch, now_s, timeouts_s.get(name, 0.0))
        recent = [reports.recent(report, each, now_s) for report, each in here]
        bounds = here[0][0].duration_bounds_s if here else []
        counts = _summed([counts for _, counts in recent])
        if not any(counts):
            counts = _summed([each.duration_counts for _, each in here])
        found.append(
            msgspec.structs.replace(
                status,
                records_per_s=round(sum(rate for rate, _ in recent), 3),
                p50_s=quantile(bounds, counts, 0.5),
                p99_s=quantile(bounds, counts, 0.99),
            )
        )
    return found


def quantile(bounds: Sequence[float], counts: Sequence[int], share: float) -> float | None:
    """The value that `share` of a histogram's observations do not exceed, as Prometheus' histogram_quantile estimates it.

    The last bound where it lies above; None without observations.
    """
    left, low = share * sum(counts), 0.0
    if not sum(counts) or not bounds:
        return None
    for bound, count in zip(bounds, counts, strict=False):
        if count and left <= count:
            return low + (bound - low) * left / count
        left, low = left - count, bound
    return bounds[-1]


def _summed(many: Sequence[Sequence[int]]) -> list[int]:
    return [sum(each) for each in zip(*(counts for counts in many if counts), strict=False)]


def _status(
    name: str,
    here: list[tuple[ProcessReported, FunctionReport]],
    lost: list[ProcessReported],
    lies: Lying | None,
    watch: Watch,
    now_s: float,
    timeout_s: float,
) -> FunctionStatus:
    ours = [each for _, each in here]
    mark = (
        lies.committed if lies else 0,
        sum(each.records for each in ours),
        sum(each.attempts for each in ours),
        len(ours),
    )
    work = lies is not None and lies.waiting
    still_s = watch.still_s(name, mark, now_s, work=work)
    allowed_s = STALLED_S + (
        max([timeout_s, *(each.timeout_s for each in ours)]) if any(each.running for each in ours) else 0.0
    )
    waits = any(each.retrying or each.breaker in ("open", "half-open") for each in ours)
    halted = next((each.halted for each in ours if each.halted), "")
    status, reason = "ok" if ours else "idle", ""
    if halted:
        status, reason = "halted", halted
    elif work and still_s > allowed_s and not waits:
        what = f"{lies.lag if lies else 0} records lie there and nothing moved for {still_s:.0f} s"
        status, reason = "stalled", what if ours else f"{what}; no process runs it"
    elif lost and not ours:
        status, reason = "gone", f"the process {lost[0].process} (pid {lost[0].pid}) fell silent without stopping"
    return FunctionStatus(
        name=name,
        status=status,
        reason=reason,
        processes=tuple(sorted(report.process for report, _ in here)),
        lag=None if lies is None else lies.lag,
        age_s=None if lies is None else lies.age_s,
        records=sum(each.records for each in ours),
        attempts=sum(each.attempts for each in ours),
        failures=sum(each.failures for each in ours),
        dead_letters=sum(each.dead_letters for each in ours),
        restarts=sum(each.restarts for each in ours),
        running=sum(each.running for each in ours),
        retrying=sum(each.retrying for each in ours),
        breaker=_worst([each.breaker for each in ours]),
    )


def _worst(states: list[str]) -> str:
    return max(states, key=lambda each: ("", "closed", "half-open", "open").index(each), default="")
