"""What a span of OpenTelemetry says of the usage recorded in it; nothing where opentelemetry is not installed."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any


def annotator() -> Callable[[Any], None] | None:
    """What puts a recorded event on the current span; None where there are no spans."""
    if find_spec("opentelemetry") is None:
        return None
    from opentelemetry.trace import get_current_span  # noqa: PLC0415  only where it is installed

    def annotate(event: Any) -> None:
        span = get_current_span()
        if span.is_recording():
            span.set_attributes(attributes(event))

    return annotate


def attributes(event: Any) -> dict[str, str | int]:
    """Attributes of a span for an event; of several of one type in one span the last is seen."""
    return {
        "tidemark.customer": event.customer,
        "tidemark.event_id": event.id,
        f"tidemark.usage.{event.event_type}": event.quantity,
    }
