"""Spans by OpenTelemetry, which is an extra: nothing imports this module unless spans are wanted.

Where they go, and how many are kept, the standard variables OTEL_… say.
"""

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Final

from opentelemetry import trace
from opentelemetry.context import Context
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.trace import SpanKind, Status, StatusCode
from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

from service.kit.tracing import Span, use_spans

NAME: Final = "callsheet"  # of the tracer, and of the service unless OTEL_SERVICE_NAME is set
STOP_TIMEOUT: Final = 5.0  # seconds in which the last spans are sent when a process ends
_W3C: Final = TraceContextTextMapPropagator()


class RecordedSpan(Span):
    """A span of OpenTelemetry."""

    def __init__(self, span: trace.Span) -> None:
        self._span = span
        self.recording = span.is_recording()
        if self.recording:
            carrier: dict[str, str] = {}
            _W3C.inject(carrier, trace.set_span_in_context(span, Context()))
            self.traceparent = carrier.get("traceparent")

    def set(self, **attributes: str | float | None) -> None:
        for name, value in attributes.items():
            if value is not None:
                self._span.set_attribute(f"callsheet.{name}", value)

    def link(self, subject_id: str, traceparent: str | None) -> None:
        self._span.set_attribute("callsheet.subject.id", subject_id)
        if traceparent is not None:
            context = _W3C.extract({"traceparent": traceparent}, Context())
            self._span.add_link(trace.get_current_span(context).get_span_context())

    def fail(self, reason: str) -> None:
        self._span.set_status(Status(StatusCode.ERROR, reason))


@contextmanager
def make_span(
    tracer: trace.Tracer, name: str, *, server: bool, headers: Mapping[str, str]
) -> Iterator[Span]:
    """A span of this tracer: a SpanMaker of kit/tracing.py, once the tracer is given."""
    kind = SpanKind.SERVER if server else SpanKind.CLIENT
    span = tracer.start_span(name, _W3C.extract(headers, Context()), kind)
    made = RecordedSpan(span)
    try:
        yield made
    except Exception as error:
        made.fail(type(error).__name__)  # its text may hold what nobody else should read
        raise
    finally:
        span.end()


def start_tracing() -> TracerProvider:
    """Make and send spans from now on; the result is for `stop_tracing`."""
    resource = Resource.create({"service.name": NAME})
    provider = TracerProvider(resource=resource, shutdown_on_exit=False)
    provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
    use_spans(partial(make_span, provider.get_tracer(NAME)))
    return provider


def stop_tracing(provider: TracerProvider) -> None:
    """Make no more spans, and send the last ones, for STOP_TIMEOUT seconds at most: who takes them
    may be away."""
    use_spans(None)
    sending = threading.Thread(target=provider.shutdown, daemon=True)
    sending.start()
    sending.join(STOP_TIMEOUT)
