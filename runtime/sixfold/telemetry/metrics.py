"""Metrics in Prometheus's text format: their names, what they mean, and how they are written. Pure.

The gateway fills them at `/metrics`: lag from the bus, counters from the processes' `ProcessReported` events, states
from the supervisor. Source: Prometheus exposition formats, text format 0.0.4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

from sixfold_events.system import FunctionReport, ProcessReported

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Metric(NamedTuple):
    """One metric."""

    name: str
    kind: str
    """`counter`, `gauge` or `histogram`."""
    help: str


class Sample(NamedTuple):
    """One value."""

    name: str
    labels: Mapping[str, str]
    value: float
    suffix: str = ""
    """Of histograms: `_bucket`, `_sum` or `_count`."""


COUNTERS: dict[str, Metric] = {
    "records": Metric("sixfold_function_records_total", "counter", "Records done with: handled, skipped or parked."),
    "skipped": Metric("sixfold_function_skipped_total", "counter", "Records that held no event for the function."),
    "attempts": Metric("sixfold_function_attempts_total", "counter", "Calls of the handler."),
    "failures": Metric("sixfold_function_failures_total", "counter", "Attempts that raised or took too long."),
    "dead_letters": Metric(
        "sixfold_function_dead_letters_total", "counter", "Records parked in the dead-letter topic."
    ),
    "emitted": Metric("sixfold_function_emitted_total", "counter", "Events that the function emitted."),
    "fenced": Metric("sixfold_function_fenced_total", "counter", "Settles refused because a rebalance came first."),
    "restarts": Metric(
        "sixfold_function_restarts_total", "counter", "Restarts of the function's worker after a crash, or stuck."
    ),
    "breaker_openings": Metric(
        "sixfold_function_breaker_openings_total", "counter", "Times that the function's circuit breaker opened."
    ),
}
GAUGES: dict[str, Metric] = {
    "running": Metric("sixfold_function_running", "gauge", "Handlers that run now."),
    "retrying": Metric("sixfold_function_retrying", "gauge", "Records that wait for their next attempt."),
}
BREAKER = Metric(
    "sixfold_function_breaker_state", "gauge", "The function's circuit breaker: 0 closed, 1 half open, 2 open."
)
BREAKER_STATES = {"closed": 0, "half-open": 1, "open": 2}
HALTED = Metric("sixfold_function_halted", "gauge", "1 where the function's worker stopped for good.")
DURATION = Metric("sixfold_function_duration_seconds", "histogram", "Time of the attempts.")
BATCH = Metric("sixfold_function_batch_records", "histogram", "Records of the batches that the handler was given.")
AGE = Metric(
    "sixfold_function_oldest_record_age_seconds", "gauge", "Age of the oldest record that is not committed; 0 without."
)
STANDBY = Metric(
    "sixfold_function_standby_lag_records",
    "gauge",
    "Rows that the process's standby copies of others' partitions lacked when it last looked, at most.",
)
STALLED = Metric(
    "sixfold_function_stalled", "gauge", "1 where the function has records to handle and nothing moves; see /functions."
)
LAG = Metric("sixfold_function_lag_records", "gauge", "Records that the function has not committed, by partition.")
BUS_UP = Metric("sixfold_bus_up", "gauge", "1 where the bus answers the gateway.")
PROCESS_UP = Metric("sixfold_process_up", "gauge", "1 where the process of the system runs and is ready.")
PROCESS_RESTARTS = Metric(
    "sixfold_process_restarts_total", "counter", "Restarts of the process after it ended by itself."
)
REQUESTS = Metric(
    "sixfold_gateway_requests_total", "counter", "Requests that the gateway answered, by method and status."
)
PUBLISHED = Metric("sixfold_gateway_events_total", "counter", "Events published over HTTP, by type.")

METRICS: tuple[Metric, ...] = (
    *COUNTERS.values(),
    *GAUGES.values(),
    BREAKER,
    HALTED,
    DURATION,
    BATCH,
    LAG,
    AGE,
    STALLED,
    STANDBY,
    BUS_UP,
    PROCESS_UP,
    PROCESS_RESTARTS,
    REQUESTS,
    PUBLISHED,
)
NAMES: tuple[str, ...] = tuple(metric.name for metric in METRICS)


def of_reports(reports: Iterable[ProcessReported]) -> list[Sample]:
    """What the processes said of their functions. One that was stopped in order is left out."""
    return [
        sample
        for report in reports
        if not report.stopped
        for function in report.functions
        for sample in _of_function(report, function)
    ]


def _of_function(report: ProcessReported, function: FunctionReport) -> list[Sample]:
    labels = {"function": function.function, "process": report.process}
    samples = [
        Sample(metric.name, labels, float(getattr(function, field))) for field, metric in {**COUNTERS, **GAUGES}.items()
    ]
    samples.append(Sample(HALTED.name, labels, 1.0 if function.halted else 0.0))
    if function.breaker:
        samples.append(Sample(BREAKER.name, labels, float(BREAKER_STATES.get(function.breaker, 0))))
    if function.standby_lag is not None:
        samples.append(Sample(STANDBY.name, labels, float(function.standby_lag)))
    samples += _histogram(DURATION, labels, report.duration_bounds_s, function.duration_counts, function.duration_sum_s)
    if function.batch_records:
        samples += _histogram(BATCH, labels, report.batch_bounds, function.batch_counts, function.batch_records)
    return samples


def _histogram(
    metric: Metric, labels: Mapping[str, str], bounds: Sequence[float], counts: Sequence[int], summed: float
) -> list[Sample]:
    samples: list[Sample] = []
    total = 0
    for bound, count in zip([*map(_number, bounds), "+Inf"], counts, strict=False):
        total += count
        samples.append(Sample(metric.name, {**labels, "le": bound}, total, "_bucket"))
    samples.append(Sample(metric.name, labels, summed, "_sum"))
    samples.append(Sample(metric.name, labels, total, "_count"))
    return samples


def render(samples: Iterable[Sample]) -> str:
    """The samples as Prometheus reads them, grouped by metric; a metric without samples is left out."""
    grouped: dict[str, list[Sample]] = {}
    for sample in samples:
        grouped.setdefault(sample.name, []).append(sample)
    lines: list[str] = []
    for metric in METRICS:
        found = grouped.get(metric.name)
        if not found:
            continue
        lines.append(f"# HELP {metric.name} {metric.help}")
        lines.append(f"# TYPE {metric.name} {metric.kind}")
        for sample in found:
            labels = ",".join(f'{name}="{_escaped(value)}"' for name, value in sample.labels.items())
            braces = f"{{{labels}}}" if labels else ""
            lines.append(f"{sample.name}{sample.suffix}{braces} {_number(sample.value)}")
    return "\n".join(lines) + "\n"


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else repr(float(value))


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace("\n", r"\n").replace('"', r"\"")
