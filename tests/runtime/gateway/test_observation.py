"""Health and metrics say what is, not what should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import waiting

from sixfold import bus, catalogue, metrics
from sixfold.publisher import Publisher
from sixfold_events.system import FunctionReport, ProcessReported

if TYPE_CHECKING:
    from tests.runtime.gateway.conftest import Running


async def test_health_asks_the_bus(gateway: Running) -> None:
    """`ok` while it answers; `down`, and 503, once it does not."""
    answer = await gateway.stranger.get("/health")
    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "bus": "up", "processes": {}})
    await gateway.bus.__aexit__(None, None, None)

    async def down() -> bool:
        return (await gateway.stranger.get("/health")).status_code == 503

    await waiting.eventually(down, "health says 503")
    body = (await gateway.stranger.get("/health")).json()
    assert (body["status"], body["bus"]) == ("down", "down")
    answer = await gateway.operator.get("/metrics")
    assert "sixfold_bus_up 0" in answer.text


async def test_metrics_hold_lag_counters_and_requests(gateway: Running) -> None:
    """Lag comes from the bus, counters from the processes' reports, requests from the gateway itself."""
    function = next(iter(catalogue.installed().functions.values()))
    report = ProcessReported(
        process="functions",
        pid=1,
        started_at_ms=1,
        reported_at_ms=2,
        duration_bounds_s=[0.1, 1.0],
        functions=[
            FunctionReport(
                function=function.name, records=7, failures=2, duration_sum_s=1.25, duration_counts=[3, 2, 1]
            )
        ],
    )
    await Publisher(gateway.bus, source="/tests").publish(report)
    topic = function.topics[0]
    await gateway.bus.publish([bus.NewRecord(topic, b"x", partition=0)])
    await gateway.stranger.get("/nothing")

    async def reported() -> str:
        text = (await gateway.operator.get("/metrics")).text
        return text if "sixfold_function_records_total" in text else ""

    text = await waiting.eventually(reported, "the report is folded in")
    labels = f'function="{function.name}",process="functions"'
    lines = text.splitlines()
    assert f"sixfold_function_records_total{{{labels}}} 7" in lines
    assert f"sixfold_function_failures_total{{{labels}}} 2" in lines
    assert f'sixfold_function_duration_seconds_bucket{{{labels},le="0.1"}} 3' in lines
    assert f'sixfold_function_duration_seconds_bucket{{{labels},le="1"}} 5' in lines
    assert f'sixfold_function_duration_seconds_bucket{{{labels},le="+Inf"}} 6' in lines
    assert f"sixfold_function_duration_seconds_sum{{{labels}}} 1.25" in lines
    assert f"sixfold_function_duration_seconds_count{{{labels}}} 6" in lines
    assert f'sixfold_function_lag_records{{function="{function.name}",topic="{topic}",partition="0"}} 1' in lines
    assert 'sixfold_gateway_requests_total{method="GET",status="401"} 1' in lines
    assert "sixfold_bus_up 1" in lines


def test_every_metric_is_described_before_its_values_and_escaped() -> None:
    """As Prometheus reads it: HELP and TYPE once, then the values; quotes and newlines in labels are escaped."""
    text = metrics.render(
        [
            metrics.Sample(metrics.PROCESS_UP.name, {"process": 'a"b\\c\nd'}, 1),
            metrics.Sample(metrics.PROCESS_UP.name, {"process": "e"}, 0),
        ]
    )
    assert text.splitlines() == [
        f"# HELP sixfold_process_up {metrics.PROCESS_UP.help}",
        "# TYPE sixfold_process_up gauge",
        'sixfold_process_up{process="a\\"b\\\\c\\nd"} 1',
        'sixfold_process_up{process="e"} 0',
    ]
    assert len(set(metrics.NAMES)) == len(metrics.NAMES)


def test_a_process_that_was_stopped_is_told_no_more() -> None:
    """Its last report is not a present fact."""
    functions = [FunctionReport(function="f", records=1)]
    plain = ProcessReported(process="p", pid=1, started_at_ms=1, reported_at_ms=2, functions=functions)
    stopped = ProcessReported(process="q", pid=1, started_at_ms=1, reported_at_ms=2, functions=functions, stopped=True)
    assert {sample.labels["process"] for sample in metrics.of_reports([plain, stopped])} == {"p"}
