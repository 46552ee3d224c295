"""Spans of our own: from publishing over handling to what is emitted, one trace; the exporter is OpenTelemetry's own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from typing import Any

import pytest
from opentelemetry import trace
from opentelemetry.sdk.trace import ReadableSpan, Span, SpanProcessor, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.trace import SpanKind, StatusCode
from structlog.testing import capture_logs

from sixfold import Batch, BatchContext, Context, Event, PermanentError, Publisher, function
from sixfold.function import AnyFunction
from sixfold.telemetry import semconv, tracing
from sixfold.testing import Harness
from sixfold_events import cloudevents


class Order(Event, topic="tracing.orders", key="number"):
    number: int


class Bill(Event, topic="tracing.bills", key="number"):
    number: int


class Traced:
    """A harness whose process and publisher make spans, and what they made."""

    def __init__(self, *functions: AnyFunction, opt_in: str = "") -> None:
        self.exporter = InMemorySpanExporter()
        self.provider = TracerProvider()
        self.provider.add_span_processor(SimpleSpanProcessor(self.exporter))
        self.spans = tracing.Tracing(self.provider, opt_in=opt_in)
        self.harness = Harness(*functions, events=[Order, Bill])
        self.harness.process.tracing = self.spans

    async def handle(self, *orders: Order) -> None:
        """Publish `orders` and handle all that comes of them."""
        publisher = Publisher(self.harness.bus, source="/test", clock=self.harness.clock, spans=self.spans)
        await publisher.publish(*orders, correlation_id="c-1")
        await self.harness.until_idle()

    def named(self, name: str) -> list[ReadableSpan]:
        """Finished spans."""
        return [span for span in self.exporter.get_finished_spans() if span.name == name]


def told(span: ReadableSpan) -> dict[str, Any]:
    """A span's attributes."""
    return dict(span.attributes or {})


def context(span: ReadableSpan) -> Any:
    """A span's context."""
    return span.get_span_context()


@function(on=Order, emits=[Bill], name="tracing.bill")
async def bill(order: Order, ctx: Context) -> None:
    """A bill for each order but the unlucky one, under a span of the user's own."""
    if order.number == 13:
        raise PermanentError("unlucky")
    with trace.get_tracer("user", tracer_provider=PROVIDERS[-1]).start_as_current_span("of the user"):
        ctx.emit(Bill(number=order.number))


@function(on=Order, emits=[Bill], name="tracing.plain")
def plain(order: Order, ctx: Context) -> None:
    """As `bill`, in a thread."""
    ctx.emit(Bill(number=order.number))


PROVIDERS: list[TracerProvider] = []


async def test_one_trace_goes_from_publishing_over_handling_to_what_is_emitted() -> None:
    """PRODUCER, CONSUMER, PRODUCER, parent and child; the consumer links to the producer; users' spans nest."""
    traced = Traced(bill)
    PROVIDERS.append(traced.provider)
    async with traced.harness as harness:
        await traced.handle(Order(number=1))
        (record,) = await harness.records("tracing.bills")
    (sent,), (processed,) = traced.named("send tracing.orders"), traced.named("process tracing.orders")
    (created,), (own,) = traced.named("create tracing.bills"), traced.named("of the user")
    assert (sent.kind, processed.kind, created.kind) == (SpanKind.PRODUCER, SpanKind.CONSUMER, SpanKind.PRODUCER)
    for child, parent in ((processed, sent), (created, processed), (own, processed)):
        assert child.parent is not None
        assert (child.parent.span_id, child.parent.trace_id) == (context(parent).span_id, context(sent).trace_id)
    assert [link.context.span_id for link in processed.links] == [context(sent).span_id]
    attributes = cloudevents.attributes_of(record.headers)
    assert attributes.traceparent == tracing.traceparent_of(context(created))
    assert told(created) == {
        "messaging.system": "sixfold",
        "messaging.operation.name": "create",
        "messaging.operation.type": "create",
        "messaging.destination.name": "tracing.bills",
        "messaging.message.id": attributes.id,
        "cloudevents.event_type": Bill.__event__.type,
        "sixfold.correlation_id": "c-1",
        "sixfold.causation_id": told(sent)["messaging.message.id"],
    }
    assert (
        told(processed).items()
        >= {
            "messaging.operation.name": "process",
            "messaging.consumer.group.name": "tracing.bill",
            "messaging.kafka.message.key": "1",
            "messaging.kafka.offset": 0,
            "sixfold.correlation_id": "c-1",
            "sixfold.attempt": 1,
        }.items()
    )
    assert "messaging.destination.partition.id" in told(processed)


async def test_a_plain_handlers_record_has_its_span_too() -> None:
    """What runs in a thread is the same trace."""
    traced = Traced(plain)
    async with traced.harness:
        await traced.handle(Order(number=1))
    (processed,), (created,) = traced.named("process tracing.orders"), traced.named("create tracing.bills")
    assert created.parent is not None
    assert created.parent.span_id == context(processed).span_id


async def test_what_a_handler_raises_is_recorded() -> None:
    """Status, type and exception of the record that failed, and of no other."""
    traced = Traced(bill)
    PROVIDERS.append(traced.provider)
    async with traced.harness:
        await traced.handle(Order(number=13), Order(number=14))
    by_key = {told(span)["messaging.kafka.message.key"]: span for span in traced.named("process tracing.orders")}
    assert by_key["13"].status.status_code is StatusCode.ERROR
    assert told(by_key["13"])["error.type"] == "PermanentError"
    assert [event.name for event in by_key["13"].events] == ["exception"]
    assert by_key["14"].status.status_code is StatusCode.UNSET


async def test_a_batch_has_one_span_that_links_to_what_made_its_records() -> None:
    """With how many there were and how many failed; what is emitted continues its own record's trace."""

    @function(on=Order, emits=[Bill], name="tracing.batched", batch=Batch(size=100, window_s=1.0), ordering="none")
    async def batched(orders: Sequence[Order], ctx: BatchContext) -> None:
        for index, order in enumerate(orders):
            if order.number == 13:
                ctx.fail(index, PermanentError("unlucky"))
            else:
                ctx[index].emit(Bill(number=order.number))

    traced = Traced(batched)
    async with traced.harness:
        await traced.handle(Order(number=12), Order(number=13), Order(number=14))
    sent = {context(span).span_id: context(span).trace_id for span in traced.named("send tracing.orders")}
    batches = traced.named("process tracing.orders")
    assert sum(told(span)["messaging.batch.message_count"] for span in batches) == 3
    assert {link.context.span_id for span in batches for link in span.links} == sent.keys()
    assert [told(span)["sixfold.batch.failed_count"] for span in batches if "error.type" in told(span)] == [1]
    assert {span.parent.span_id for span in traced.named("create tracing.bills") if span.parent} < sent.keys()


class _Open(SpanProcessor):
    """Spans that were started and have not ended."""

    def __init__(self) -> None:
        self.spans: set[int] = set()
        self.most = 0

    def on_start(self, span: Span, parent_context: Any = None) -> None:
        self.spans.add(context(span).span_id)
        self.most = max(self.most, len(self.spans))

    def on_end(self, span: ReadableSpan) -> None:
        self.spans.discard(context(span).span_id)


async def test_spans_end_with_their_record_and_none_is_the_next_ones_parent() -> None:
    """However many records a worker handles, also those that fail: no chain of spans grows."""

    @function(on=Order, name="tracing.ending")
    async def ending(order: Order, ctx: Context) -> None:
        if order.number % 3 == 0:
            raise PermanentError("unlucky")

    traced, still_open = Traced(ending), _Open()
    traced.provider.add_span_processor(still_open)
    async with traced.harness:
        for number in range(60):
            await traced.handle(Order(number=number))
            assert not still_open.spans
            assert not trace.get_current_span().get_span_context().is_valid
    assert still_open.most < 10
    handled = traced.named("process tracing.orders")
    sent = {context(span).span_id: context(span).trace_id for span in traced.named("send tracing.orders")}
    assert (len(handled), len(set(sent.values()))) == (60, 60)
    assert {span.parent.span_id for span in handled if span.parent} == sent.keys()


@pytest.mark.parametrize(
    ("opt_in", "names"),
    [
        ("", {"messaging.system", "messaging.kafka.offset"}),
        ("messaging", {"messaging.system.name", "kafka.offset"}),
        ("http,messaging/dup", {"messaging.system", "messaging.system.name", "messaging.kafka.offset", "kafka.offset"}),
    ],
)
def test_names_follow_the_stability_opt_in(opt_in: str, names: set[str]) -> None:
    """The old ones, the new ones, or both; what is empty is left out."""
    found = semconv.Names(opt_in).attributes({"system": "kafka", "offset": 0, "key": "", "id": None})
    assert found.keys() == names


def test_without_configuration_nothing_of_opentelemetry_is_imported() -> None:
    """Who does not trace pays nothing for it, not even at the start."""
    code = """
import sys
import sixfold, sixfold.running, sixfold.publisher
from sixfold.telemetry import tracing
tracing.configure({}, "x")
tracing.configure({"OTEL_TRACES_EXPORTER": "otlp", "OTEL_SDK_DISABLED": "true"}, "x")
assert tracing.current() is None
assert not [name for name in sys.modules if name.startswith("opentelemetry")]
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_environment_configures_spans_and_what_is_missing_is_said() -> None:
    """`OTEL_TRACES_EXPORTER=console` shows spans; an exporter that is not there is a warning, not an end."""
    code = """
from sixfold.telemetry import tracing
from sixfold_events import cloudevents
tracing.configure({"OTEL_TRACES_EXPORTER": "console", "OTEL_SERVICE_NAME": "shop"}, "worker-1")
made = cloudevents.Attributes(id="i", type="t", source="/s")
assert tracing.current().created("topic", "kafka", made)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert '"create topic"' in done.stdout
    assert '"service.name": "shop"' in done.stdout
    assert '"service.instance.id": "worker-1"' in done.stdout
    with capture_logs() as logs:
        tracing.configure({"OTEL_TRACES_EXPORTER": "smoke"}, "x")
    assert [log["action"] for log in logs] == ["tracing.off"]
