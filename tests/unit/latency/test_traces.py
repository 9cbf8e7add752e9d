"""Traces of sampled events: the steps of their way, and what a real OTLP receiver gets."""

from __future__ import annotations

import sys
from contextlib import closing
from dataclasses import replace

import pytest

from tests.otlp_receiver import Receiver, receiving
from tidemark.core.errors import UsageError
from tidemark.core.settings import Settings
from tidemark.latency.sample import Delta, Key, Sample
from tidemark.latency.steps import Step, steps, way
from tidemark.latency.traces import Tracer, tracer_of

TRACE, SPAN = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
DELTA = Delta(Key("acme", "alice", "calls"), "", 0, 0, 7, 1_900, "usage.events", 2, 31)
# event 1000   arrival 1500   Redis 2000   row 6000, and an alert from 1990 to 3200
SAMPLE = Sample(DELTA, 1_000, 1_500, 2_000, 6_000, "", (1_990, 3_200))
STEPS = {
    "to Kafka": (1_000, 1_500), "to the counter in Redis": (1_500, 2_000),
    "to the row of usage_minute": (2_000, 6_000), "to the alert in the tables": (1_990, 3_200),
}  # fmt: skip


def sent(*samples: Sample, ratio: float = 1.0) -> Receiver:
    with receiving() as got:
        with closing(Tracer(got.endpoint, ratio, "r1")) as tracer:
            tracer.send(samples)
        return got


def test_the_way_of_an_event_is_made_of_its_steps() -> None:
    assert {step.name: step[1:] for step in steps(SAMPLE)} == STEPS
    assert way(SAMPLE) == Step("event", 1_000, 6_000)
    assert [step.name for step in steps(replace(SAMPLE, stored_ms=None, alert_ms=None))] == [*STEPS][:2]


def test_no_step_ends_before_it_begins_though_clocks_differ() -> None:
    ahead = replace(SAMPLE, event_ms=90_000)
    assert all(step.begin_ms <= step.end_ms for step in steps(ahead))
    assert way(ahead) == Step("event", 1_500, 6_000)


def test_a_receiver_gets_one_trace_for_each_event_with_its_steps_and_where_it_is() -> None:
    got = sent(SAMPLE, replace(SAMPLE, alert_ms=None))
    assert got.paths == {"/v1/traces"}
    assert (got.resource["service.name"], got.resource["tidemark.run_id"]) == ("tidemark", "r1")
    first, second = got.named("event")
    assert first.trace_id != second.trace_id
    assert (first.start_time_unix_nano, first.end_time_unix_nano) == (1_000_000_000, 6_000_000_000)
    inside = {
        span.name: (span.start_time_unix_nano // 1_000_000, span.end_time_unix_nano // 1_000_000)
        for span in got.spans
        if span.parent_span_id == first.span_id
    }
    assert inside == STEPS
    assert len([span for span in got.spans if span.trace_id == second.trace_id]) == 4
    where = {one.key: one.value.string_value or one.value.int_value for one in first.attributes}
    assert (where["messaging.destination.name"], where["messaging.kafka.offset"]) == ("usage.events", 31)
    assert "alice" not in str(got.spans)


def test_the_trace_that_a_producer_began_goes_on_and_one_that_it_does_not_sample_is_left_out() -> None:
    parents = [f"00-{TRACE}-{SPAN}-01", f"00-{TRACE[::-1]}-{SPAN}-00", "no traceparent at all \ufffd"]
    got = sent(*(replace(SAMPLE, parent=parent) for parent in parents))
    followed, own = got.named("event")
    assert (followed.trace_id.hex(), followed.parent_span_id.hex()) == (TRACE, SPAN)
    assert own.parent_span_id == b""
    assert {span.trace_id for span in got.spans} == {followed.trace_id, own.trace_id}


def test_a_ratio_of_nothing_leaves_those_that_a_producer_traces() -> None:
    got = sent(SAMPLE, replace(SAMPLE, parent=f"00-{TRACE}-{SPAN}-01"), ratio=0.0)
    assert [span.trace_id.hex() for span in got.named("event")] == [TRACE]


def test_nothing_is_traced_by_default_and_a_missing_extra_is_named_with_what_to_install(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    assert tracer_of(Settings()) is None
    for name in [one for one in sys.modules if one.startswith("opentelemetry")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "opentelemetry", None)
    with pytest.raises(UsageError, match=r"\.\[trace\]"):
        tracer_of(Settings().with_changes({"trace.endpoint": "http://127.0.0.1:4318"}))
