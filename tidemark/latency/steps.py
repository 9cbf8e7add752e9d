"""The way of a sampled event as steps with a begin and an end: pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from tidemark.latency.sample import Sample


class Step(NamedTuple):
    """A part of the way; instants in epoch ms, the end never before the begin."""

    name: str
    begin_ms: int
    end_ms: int


def way(sample: Sample) -> Step:
    """The whole way, from the event to where it was seen last."""
    ends = [step.end_ms for step in steps(sample)]
    return Step("event", min(sample.event_ms, *ends), max(ends))


def steps(sample: Sample) -> Iterator[Step]:
    """The steps there are, in their order."""
    yield _step("to Kafka", sample.event_ms, sample.arrived_ms)
    yield _step("to the counter in Redis", sample.arrived_ms, sample.live_ms)
    if sample.stored_ms is not None:
        yield _step("to the row of usage_minute", sample.live_ms, sample.stored_ms)
    if sample.alert_ms is not None:
        yield _step("to the alert in the tables", *sample.alert_ms)


def attributes(sample: Sample) -> Mapping[str, str | int]:
    """Where the event is, and whose it is; the customer is in the event."""
    delta = sample.delta
    return {
        "tidemark.tenant": delta.key.tenant,
        "tidemark.meter": delta.key.meter,
        "messaging.system": "kafka",
        "messaging.destination.name": delta.source_topic,
        "messaging.destination.partition.id": str(delta.source_partition),
        "messaging.kafka.offset": delta.source_offset,
    }


def _step(name: str, begin_ms: int, end_ms: int) -> Step:
    # Clocks of machines differ, and producers may be ahead of all.
    return Step(name, min(begin_ms, end_ms), end_ms)
