"""Which events are sampled, and how long they took."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from tidemark.latency.sample import (
    HISTORY_MS,
    PER_PARTITION,
    Delta,
    Key,
    Sample,
    candidates,
    delta_of,
    is_history,
    latencies_s,
    shown_by,
)

TICK_MS = 250
ALICE = Key("acme", "alice", "calls")
VALUE = {
    "tenant_id": "acme", "customer_id": "alice", "meter": "calls", "dims": "", "part": "",
    "minute": "2026-11-29T16:10:00Z", "period_start": "2026-11-01T00:00:00Z", "period_end": "2026-12-01T00:00:00Z",
    "n": 3, "samples": 3, "total": "3", "events": 3, "source_topic": "usage.events", "source_partition": 1,
    "first_offset": 5, "last_offset": 9,
}  # fmt: skip


def delta(written_ms: int, key: Key = ALICE, partition: int = 0) -> Delta:
    return Delta(key, "", 0, partition, written_ms, written_ms, "usage.events", 0, written_ms)


def test_a_delta_is_read_from_its_record() -> None:
    read = delta_of(2, 40, 1_000, json.dumps(VALUE).encode())
    assert read is not None
    assert (read.key, read.partition, read.offset, read.written_ms) == (ALICE, 2, 40, 1_000)
    assert (read.minute_ms, read.source_partition, read.source_offset) == (1_795_968_600_000, 1, 9)


@pytest.mark.parametrize(
    "value", [None, b"", b"no", b"[]", b"{}", json.dumps({**VALUE, "part": "u1"}).encode(),
              json.dumps({**VALUE, "minute": "yesterday"}).encode()],
)  # fmt: skip
def test_what_no_counter_shows_or_is_no_delta_is_no_sample(value: bytes | None) -> None:
    assert delta_of(0, 0, 0, value) is None


# deltas of a counter, a tick apart       1000      1250      1500
# written to Redis                           1010      1290
@pytest.mark.parametrize(
    ("counter_ms", "shown"),
    [(1_010, 1_000), (990, 1_000), (1_290, 1_250), (1_510, 1_500), (9_000, 1_500), (800, None), (0, None)],
)
def test_a_counter_shows_the_last_delta_that_was_written_with_it(counter_ms: int, shown: int | None) -> None:
    found = shown_by(counter_ms, [delta(at) for at in (1_000, 1_250, 1_500)], TICK_MS)
    assert (found.written_ms if found else None) == shown


def test_of_each_partition_a_few_are_looked_at_the_quietest_first() -> None:
    def keys(partition: int) -> Sequence[Key]:
        return [Key("t", f"{partition}-{number}", "calls") for number in range(9)]

    deltas = [delta(1_000 + place, key, partition) for partition in (0, 1) for place, key in enumerate(keys(partition))]
    taken = candidates([*deltas, delta(5_000, keys(0)[0])])
    assert {key.customer for key in taken} == {
        *(f"0-{number}" for number in range(1, 1 + PER_PARTITION)), *(f"1-{number}" for number in range(PER_PARTITION)),
    }  # fmt: skip


def test_history_that_a_producer_loads_is_no_latency_and_an_outage_of_minutes_is() -> None:
    assert is_history(delta(HISTORY_MS + 2), 1)
    assert not is_history(delta(HISTORY_MS), 1)


def test_latency_is_since_the_arrival_and_since_the_event_and_never_negative() -> None:
    sample = Sample(delta(1_900), event_ms=1_000, arrived_ms=1_500, live_ms=2_000)
    assert latencies_s(sample) == {("live", "event"): 1.0, ("live", "arrival"): 0.5}
    stored: Any = latencies_s(sample.stored(6_000))
    assert (stored["stored", "event"], stored["stored", "arrival"]) == (5.0, 4.5)
    ahead = replace(sample, event_ms=90_000)
    assert latencies_s(ahead)["live", "event"] == 0.0
