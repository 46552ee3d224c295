"""OpenTelemetry spans of our own: where an event was published, made, and handled.

Nothing of OpenTelemetry is imported unless it is configured: by the environment (`OTEL_TRACES_EXPORTER`,
`OTEL_EXPORTER_OTLP_ENDPOINT`; the extra `otel`), or by a program that set a tracer provider before it opened its
`Process`. A `Process` whose `tracing` is None pays nothing for it: the worker asks once a slice, not once a record.

A span `send` or `create` (PRODUCER) is an event's creation context: its `traceparent` travels with the event. The
span `process` (CONSUMER) of one record is its child, and links to it; that of a batch links to all of them.
"""

from __future__ import annotations

import importlib
import os
import re
import sys
from collections.abc import Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec
import structlog

from sixfold.telemetry import semconv
from sixfold_events import cloudevents

if TYPE_CHECKING:
    from opentelemetry.trace import Span, SpanContext, TracerProvider

    from sixfold.bus import port
    from sixfold.context import Context

Handler = Callable[[Any, Any], Awaitable[Any]]
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
EXPORTERS = {
    "otlp": "opentelemetry.exporter.otlp.proto.http.trace_exporter:OTLPSpanExporter",
    "console": "opentelemetry.sdk.trace.export:ConsoleSpanExporter",
}
LINKS_MAX = 128
"""Of one batch: the SDK's own limit."""
# W3C Trace Context, section 3.2: version, trace id, parent id, flags.
_TRACEPARENT = re.compile(r"^[0-9a-f]{2}-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})$")


def current() -> Tracing | None:
    """Spans by the tracer provider that this process has set; None where it has set none."""
    module = sys.modules.get("opentelemetry.trace")
    if module is None:
        return None
    provider = module.get_tracer_provider()
    if isinstance(provider, module.ProxyTracerProvider | module.NoOpTracerProvider):
        return None
    return Tracing(provider)


def configure(environment: Mapping[str, str], instance: str) -> None:
    """Set a tracer provider as OpenTelemetry's environment variables say, if they say anything and none is set.

    Spans are exported in the background and at the process's end. Without the packages a warning says what to install.
    """
    wanted = environment.get("OTEL_TRACES_EXPORTER") or ("otlp" if any(map(environment.get, ENDPOINTS)) else "none")
    if environment.get("OTEL_SDK_DISABLED", "").lower() == "true" or wanted == "none" or current() is not None:
        return
    log = structlog.get_logger()
    if wanted not in EXPORTERS:
        log.warning("no spans: this exporter is unknown", action="tracing.off", exporter=wanted, known=[*EXPORTERS])
        return
    module, _, name = EXPORTERS[wanted].partition(":")
    try:
        from opentelemetry import trace
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider
        from opentelemetry.sdk.trace.export import BatchSpanProcessor

        exporter = getattr(importlib.import_module(module), name)()
    except ImportError as error:
        log.warning("no spans: install sixfold[otel]", action="tracing.off", missing=error.name)
        return
    named = {"service.name": environment.get("OTEL_SERVICE_NAME") or "sixfold", "service.instance.id": instance}
    provider = TracerProvider(resource=Resource.create(named))
    provider.add_span_processor(BatchSpanProcessor(exporter))
    trace.set_tracer_provider(provider)


class Tracing:
    """Makes spans with one tracer provider."""

    def __init__(self, provider: TracerProvider, *, opt_in: str | None = None) -> None:
        from opentelemetry import trace

        self._trace = trace
        self._tracer = provider.get_tracer("sixfold")
        self._names = semconv.Names(os.environ.get(semconv.OPT_IN, "") if opt_in is None else opt_in)

    @contextmanager
    def sending(self, records: Sequence[port.NewRecord], system: str) -> Iterator[list[port.NewRecord]]:
        """A span for each of `records`, around publishing them; yields them with their traceparents.

        A span's parent is what the record names already, else the span that runs now.
        """
        spans: list[Span] = []
        sent: list[port.NewRecord] = []
        for record in records:
            attributes = cloudevents.attributes_of(record.headers)
            named = self._context(attributes.traceparent)
            span = self._tracer.start_span(
                f"{semconv.SEND} {record.topic}",
                context=None if named is None else self._parent(attributes.traceparent),
                kind=self._trace.SpanKind.PRODUCER,
                attributes=self._told(semconv.SEND, record.topic, system, attributes),
            )
            spans.append(span)
            kept = [header for header in record.headers if header[0] != "traceparent"]
            headers = [*kept, ("traceparent", traceparent_of(span.get_span_context()).encode())]
            sent.append(msgspec.structs.replace(record, headers=headers))
        try:
            yield sent
        except BaseException as error:
            for span in spans:
                self._failed(span, error)
            raise
        finally:
            for span in spans:
                span.end()

    def created(self, topic: str, system: str, attributes: cloudevents.Attributes) -> str:
        """The traceparent of an event that a handler emitted, the child of the one in `attributes`."""
        span = self._tracer.start_span(
            f"{semconv.CREATE} {topic}",
            context=self._parent(attributes.traceparent),
            kind=self._trace.SpanKind.PRODUCER,
            attributes=self._told(semconv.CREATE, topic, system, attributes),
        )
        span.end()
        return traceparent_of(span.get_span_context())

    def single(self, call: Handler, group: str, system: str) -> Handler:
        """`call` with a span around each record; what the handler emits then continues that span's trace."""

        async def traced(event: Any, ctx: Context) -> Any:
            attributes = ctx.attributes
            told = {
                **self._told(semconv.PROCESS, ctx.record.topic, system, attributes),
                **self._names.attributes(
                    {
                        "group": group,
                        "partition": str(ctx.record.partition),
                        "offset": ctx.record.offset,
                        "key": None if ctx.record.key is None else ctx.record.key.decode(errors="replace"),
                        "attempt": ctx.attempt,
                    }
                ),
            }
            with self._processing(ctx.record.topic, told, [attributes.traceparent]) as span:
                ctx.continue_trace(traceparent_of(span.get_span_context()))
                return await call(event, ctx)

        return traced

    def batch(self, call: Handler, group: str, system: str, records: Sequence[port.Record]) -> Handler:
        """`call` with one span around the batch, linked to what made its records."""

        async def traced(events: Any, ctx: Any) -> Any:
            topic = records[0].topic
            told = self._names.attributes(
                {
                    "system": system,
                    "operation": semconv.PROCESS,
                    "operation_type": semconv.PROCESS,
                    "topic": topic,
                    "group": group,
                    "batch": len(records),
                    "attempt": ctx.attempt,
                }
            )
            parents = [_header(record, "traceparent") for record in records[:LINKS_MAX]]
            with self._processing(topic, told, parents, alone=False) as span:
                result = await call(events, ctx)
                if ctx.failures:
                    first = next(iter(ctx.failures.values()))
                    self._failed(span, first)
                    span.set_attributes(self._names.attributes({"failed": len(ctx.failures)}))
                return result

        return traced

    @contextmanager
    def _processing(
        self, topic: str, told: dict[str, semconv.Value], parents: Sequence[str], *, alone: bool = True
    ) -> Iterator[Span]:
        contexts = [context for parent in parents if (context := self._context(parent)) is not None]
        with self._tracer.start_as_current_span(
            f"{semconv.PROCESS} {topic}",
            context=self._parent(parents[0]) if alone else self._parent(""),
            kind=self._trace.SpanKind.CONSUMER,
            attributes=told,
            links=[self._trace.Link(context) for context in contexts],
            record_exception=False,
            set_status_on_exception=False,
        ) as span:
            try:
                yield span
            except BaseException as error:
                self._failed(span, error)
                raise

    def _told(
        self, operation: str, topic: str, system: str, attributes: cloudevents.Attributes
    ) -> dict[str, semconv.Value]:
        return self._names.attributes(
            {
                "system": system,
                "operation": operation,
                "operation_type": operation,
                "topic": topic,
                "id": attributes.id,
                "type": attributes.type,
                "correlation": attributes.correlation_id or attributes.id,
                "causation": attributes.causation_id,
            }
        )

    def _failed(self, span: Span, error: BaseException) -> None:
        span.record_exception(error)
        span.set_status(self._trace.StatusCode.ERROR, str(error))
        span.set_attributes(self._names.attributes({"error": type(error).__qualname__}))

    def _context(self, traceparent: str) -> SpanContext | None:
        match = _TRACEPARENT.match(traceparent)
        if match is None:
            return None
        flags = self._trace.TraceFlags(int(match[3], 16))
        found = self._trace.SpanContext(int(match[1], 16), int(match[2], 16), is_remote=True, trace_flags=flags)
        return found if found.is_valid else None

    def _parent(self, traceparent: str) -> Any:
        """A context with just that span in it: what happens to run in this task is not the cause."""
        from opentelemetry.context import Context as Empty

        found = self._context(traceparent)
        return (
            Empty() if found is None else self._trace.set_span_in_context(self._trace.NonRecordingSpan(found), Empty())
        )


def traceparent_of(context: SpanContext) -> str:
    """A span's context as the W3C header."""
    return f"00-{context.trace_id:032x}-{context.span_id:016x}-{int(context.trace_flags):02x}"


def system_of(bus_url: str) -> str:
    """`kafka`, or our own bus."""
    return "kafka" if bus_url.startswith("kafka:") else "sixfold"


def _header(record: port.Record, name: str) -> str:
    return next((value.decode(errors="replace") for key, value in record.headers if key == name and value), "")
