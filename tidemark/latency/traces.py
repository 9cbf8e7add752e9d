"""Sampled events as traces, sent by OTLP over HTTP; needs the extra `trace`, which is imported where it is used."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from tidemark.latency.sample import Sample
from tidemark.latency.steps import Step, attributes, steps, way

SERVICE = "tidemark"
_NS = 1_000_000
# A receiver that is down delays nothing: spans wait in memory, the oldest are dropped, and a thread of its own sends.
_TIMEOUT_S = 5


class Tracer:
    """Sends a trace for each sampled event; one that its producer began (`traceparent`) goes on, if that samples it.

    Parameters
    ----------
    endpoint:
        OTLP receiver, without the path.
    ratio:
        Share of the events that no producer traces.
    run_id:
        Of the run.

    Raises
    ------
    UsageError
        The extra `trace` is not installed.
    """

    def __init__(self, endpoint: str, ratio: float, run_id: str) -> None:
        try:
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter  # noqa: PLC0415
            from opentelemetry.sdk.resources import Resource  # noqa: PLC0415
            from opentelemetry.sdk.trace import TracerProvider  # noqa: PLC0415
            from opentelemetry.sdk.trace.export import BatchSpanProcessor  # noqa: PLC0415
            from opentelemetry.sdk.trace.sampling import ParentBasedTraceIdRatio  # noqa: PLC0415
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator  # noqa: PLC0415
        except ImportError as error:
            raise UsageError(f"trace.endpoint needs {error.name}.", "pip install '.[trace]' in a checkout.") from error
        resource = Resource({"service.name": SERVICE, "tidemark.run_id": run_id})
        self._provider = TracerProvider(
            resource=resource, sampler=ParentBasedTraceIdRatio(ratio), shutdown_on_exit=False
        )
        exporter = OTLPSpanExporter(endpoint=f"{endpoint.rstrip('/')}/v1/traces", timeout=_TIMEOUT_S)
        self._provider.add_span_processor(BatchSpanProcessor(exporter))
        self._tracer = self._provider.get_tracer(SERVICE)
        self._propagator = TraceContextTextMapPropagator()

    def send(self, samples: Iterable[Sample]) -> None:
        """Queue the traces of events; what a step before the last lacks is left out."""
        for sample in samples:
            self._send(sample)

    def close(self) -> None:
        """Send what waits, for some seconds at most."""
        self._provider.force_flush(_TIMEOUT_S * 1_000)
        self._provider.shutdown()

    def _send(self, sample: Sample) -> None:
        from opentelemetry.trace import SpanKind, set_span_in_context  # noqa: PLC0415

        parent = self._propagator.extract({"traceparent": sample.parent}) if sample.parent else None
        root = self._begin(way(sample), parent, kind=SpanKind.CONSUMER, attributes=dict(attributes(sample)))
        inside = set_span_in_context(root)
        for step in steps(sample):
            self._begin(step, inside).end(step.end_ms * _NS)
        root.end(way(sample).end_ms * _NS)

    def _begin(self, step: Step, context: Any, **more: Any) -> Any:
        return self._tracer.start_span(step.name, context=context, start_time=step.begin_ms * _NS, **more)


def tracer_of(settings: Settings) -> Tracer | None:
    """What the settings want; None by default. Raises as `Tracer` does."""
    trace = settings.trace
    return Tracer(trace.endpoint, trace.ratio, settings.run_id) if trace.endpoint else None
