"""Health and metrics say what is, not what should be."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.support import waiting

from sixfold import bus, catalogue
from sixfold import clock as clocks
from sixfold.publisher import Publisher
from sixfold.telemetry import metrics
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
        reported_at_ms=clocks.now_ms(gateway.process.clock),
        duration_bounds_s=[0.1, 1.0],
        batch_bounds=[1, 10],
        functions=[
            FunctionReport(
                function=function.name,
                records=7,
                failures=2,
                duration_sum_s=1.25,
                duration_counts=[3, 2, 1],
                breaker="open",
                breaker_openings=3,
                batch_records=5,
                batch_counts=[1, 1, 0],
                topics=list(function.topics),
            )
        ],
    )
    await Publisher(gateway.bus, source="/tests").publish(report)
    topic = function.topics[0]
    hour_ago_ms = clocks.now_ms(gateway.process.clock) - 3_600_000
    await gateway.bus.publish([bus.NewRecord(topic, b"x", partition=0, timestamp_ms=hour_ago_ms)])
    await gateway.stranger.get("/nothing")

    async def reported() -> str:
        text = (await gateway.operator.get("/metrics")).text
        return text if "sixfold_function_records_total" in text and 'partition="0"} 1' in text else ""

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
    assert f"sixfold_function_breaker_state{{{labels}}} 2" in lines
    assert f"sixfold_function_breaker_openings_total{{{labels}}} 3" in lines
    assert f'sixfold_function_batch_records_bucket{{{labels},le="1"}} 1' in lines
    assert f"sixfold_function_batch_records_sum{{{labels}}} 5" in lines
    assert f'sixfold_function_stalled{{function="{function.name}"}} 0' in lines
    (age,) = [
        float(line.split()[-1])
        for line in lines
        if line.startswith(f'sixfold_function_oldest_record_age_seconds{{function="{function.name}"}}')
    ]
    assert 3600 <= age < 3700


async def test_health_is_degraded_where_a_function_stopped_for_good_and_details_are_for_operators(
    gateway: Running,
) -> None:
    """Everyone hears that something is wrong, by status and code; only who shows a credential hears what."""
    name = next(iter(catalogue.installed().functions))
    report = ProcessReported(
        process="functions",
        pid=1,
        started_at_ms=1,
        reported_at_ms=clocks.now_ms(gateway.process.clock),
        functions=[FunctionReport(function=name, halted="emitted what it does not declare")],
    )
    answer = await gateway.operator.get("/health?verbose")
    assert answer.status_code == 200
    assert {each["name"]: each["status"] for each in answer.json()["functions"]}[name] == "idle"
    await Publisher(gateway.bus, source="/tests").publish(report)

    async def degraded() -> bool:
        return (await gateway.stranger.get("/health")).status_code == 503

    await waiting.eventually(degraded, "health says 503")
    answer = await gateway.stranger.get("/health")
    assert answer.json() == {"status": "degraded", "bus": "up", "processes": {}}
    verbose = await gateway.operator.get("/health?verbose")
    listed = await gateway.operator.get("/functions")
    for functions in (verbose.json()["functions"], listed.json()["functions"]):
        (found,) = [each for each in functions if each["name"] == name]
        assert (found["status"], found["reason"]) == ("halted", "emitted what it does not declare")
        assert found["processes"] == ["functions"]
    for path in ("/health?verbose", "/functions"):
        assert (await gateway.stranger.get(path)).status_code == 401


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
